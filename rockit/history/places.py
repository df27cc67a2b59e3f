# SPDX-License-Identifier: GPL-3.0-or-later
"""Which history a person means by a word, and a look at it that makes nothing and changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import sqlalchemy
from sqlalchemy import NullPool, literal_column, select, text

from rockit.common import config as configs
from rockit.common.daemonconfig import HistoryConfig
from rockit.common.errors import Code, CommandError, ConfigError
from rockit.history import schema
from rockit.history.database import BUSY, Database, Statement, StoreError, Trouble, file_of, parsed
from rockit.history.store import Store, wall_clock

FILE = "history.sqlite"
"""The file in a daemon's state directory."""
_IS_THERE_ON_SQLITE = text("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'about'")
_IS_THERE = Statement(text("SELECT count(to_regclass('about'))"), (), _IS_THERE_ON_SQLITE)
_VERSION = Statement(select(schema.about.c.value).where(schema.about.c.name == literal_column("'version'")))


class _Kept(msgspec.Struct, frozen=True):
    """All that is wanted of a daemon's config."""

    daemon: str
    state_directory: str | None = None
    history: HistoryConfig | msgspec.UnsetType | None = msgspec.UNSET


class Looking(Database):
    """A database that is only read: SQLite itself sees to that."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        if self.path is not None:
            uri = for_reading(self.path)
            self.engine = sqlalchemy.create_engine(
                "sqlite://",
                creator=lambda: sqlite3.connect(
                    uri, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
                ),
                poolclass=NullPool,
            )


def for_reading(path: Path) -> str:
    """The URI by which SQLite opens a file and does not write to it."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    log = path.with_name(f"{path.name}-wal")
    if not os.access(path.resolve().parent, os.W_OK, effective_ids=True) and not os.path.exists(log):
        uri += "&immutable=1"  # a copy on a disk that is read only: SQLite could not make its log there
    return uri


def url_of(store: str) -> str:
    """The URL of the history that is meant by a URL, a file of SQLite, or the config of a daemon (`*.json`).

    Nothing is looked at but the config. Raises ConfigError, and ValueError for a URL that is none of ours.
    """
    if "://" in store:
        parsed(store)
        return store
    if store.endswith(".json"):
        return _of_config(store)
    return f"sqlite:///{Path(store).absolute()}"


def forwards(store: str | None) -> tuple[str, str] | None:
    """(site, device) that the daemon of a config (`*.json`) forwards; None for none, and for what is no config."""
    if store is None or not store.endswith(".json") or "://" in store:
        return None
    kept = configs.load(store, _Kept, others=True)
    if not isinstance(kept.history, HistoryConfig) or not kept.history.forward:
        return None
    return kept.history.site, kept.daemon


def _of_config(path: str) -> str:
    kept = configs.load(path, _Kept, others=True)
    if kept.history is None:
        raise ConfigError(path, ["history: null; this daemon keeps none"])
    url = None if isinstance(kept.history, msgspec.UnsetType) else kept.history.url
    if url is not None:
        try:
            parsed(url)
        except ValueError as error:
            raise ConfigError(path, [f"history.url: {error}"]) from None
        return url
    if kept.state_directory is not None:
        return f"sqlite:///{Path(kept.state_directory) / FILE}"
    # Where a daemon without that key keeps its state depends on who runs it; unlike it, we make no folder.
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    folders = [Path("/var/lib/rockit") / kept.daemon, Path(home) / "rockit" / kept.daemon]
    files = [folder / FILE for folder in folders]
    return f"sqlite:///{next((file for file in files if os.path.exists(file)), files[0])}"


def require(url: str) -> None:
    """See that the file is there and may be read. Raises CommandError."""
    path = file_of(url)
    if path is None:
        return
    try:
        if path.is_dir():
            raise CommandError(Code.FAILED, f"{path} is a folder; name the file in it")
        if not path.exists():
            why = "" if path.parent.exists() else f", nor the folder {path.parent}"
            raise CommandError(Code.FAILED, f"there is no file {path}{why}; a daemon makes it when it begins to record")
        if not path.is_file():
            raise CommandError(Code.FAILED, f"{path} is no file")
        readable = os.access(path, os.R_OK)
    except OSError:
        readable = False
    if not readable:
        raise CommandError(
            Code.FAILED, f"{path} cannot be read by user id {os.geteuid()}; do it as the user whose file it is"
        )


def exists(url: str) -> bool:
    """Whether there is a history; False where one can be begun: no file, an empty one, a database on a server.

    Raises CommandError for a file of another program, and StoreError.
    """
    path = file_of(url)
    if path is not None and not os.path.lexists(path):
        return False
    require(url)
    if path is not None and not path.stat().st_size:
        return False
    database = Looking(url)
    try:
        if _version(database) is not None:
            return True
        if path is not None:
            raise _none(database)
        return False
    finally:
        database.close()


@contextmanager
def looking(url: str, *, older: bool = False) -> Iterator[Looking]:
    """The history at a URL, for reading. With `older`, also one with tables of an earlier version.

    Raises CommandError where there is none or where this software cannot read it, and StoreError.
    """
    require(url)
    path = file_of(url)
    if path is not None and not path.stat().st_size:
        # SQLite would remove the log beside it, in which all may be that a daemon has recorded since.
        raise CommandError(Code.FAILED, f"{path} is empty (0 bytes), and not that of a history of rockit's")
    database = Looking(url)
    try:
        version = _version(database)
        if version is None:
            raise _none(database)
        if version > schema.VERSION:
            raise CommandError(
                Code.FAILED,
                f"{database.name}: its tables have version {version}; this software knows versions up to"
                f" {schema.VERSION}: update it",
            )
        if version < schema.VERSION and not older:
            raise CommandError(
                Code.FAILED,
                f"{database.name}: its tables have version {version}; `rockit history vacuum`, or a start of the"
                f" daemon, brings them to {schema.VERSION}",
            )
        yield database
    finally:
        database.close()


@contextmanager
def writing(url: str, now: Callable[[], int] = wall_clock) -> Iterator[Store]:
    """The store at a URL, which must be there; tables of an earlier version are brought up to date.

    `now` tells it the time, ms. Raises CommandError and StoreError.
    """
    with looking(url, older=True):
        pass
    with Store(url, now) as store:
        yield store


def begun(url: str) -> None:
    """Begin a history where there is none, for the daemon that will record into it. Raises CommandError, StoreError."""
    path = file_of(url)
    if path is not None and not path.exists():
        try:
            above = path.parent.stat()
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
            if os.geteuid() == 0:  # else root's file would be in the way of a daemon that is not root
                os.chown(path, above.st_uid, above.st_gid)
        except OSError as error:
            raise CommandError(Code.FAILED, f"{path} cannot be made: {error.strerror}") from None
    Store(url).close()


def salvage(name: str) -> str:
    """What to do with a damaged history."""
    file = name.removeprefix("sqlite:///")
    return (
        "A daemon that meets this sets the file aside and begins a new one. To save what can be read of it:"
        f" `rockit history import {file} --into STORE`; where that cannot read it, {mending(file)}"
    )


def mending(file: str) -> str:
    """How a damaged file of SQLite is made one that can be read."""
    # Not `.recover`: Debian's sqlite3 lacks what that needs. `.dump` reads on behind what is damaged, and ends with
    # a ROLLBACK then.
    return (
        f"`sqlite3 {file} .dump | sed 's/^ROLLBACK;.*/COMMIT;/' | sqlite3 saved.sqlite` saves what SQLite can read of"
        " a damaged file; import saved.sqlite then"
    )


def advice(error: StoreError) -> str:
    """What the database said, and what helps."""
    text = str(error)
    if error.trouble is Trouble.CORRUPT:
        if "not a database" in text:
            return f"{text}: it is of another kind, or its beginning is destroyed"
        return f"{text}. {salvage(text.partition(': ')[0])}"
    if "locked" in text or "busy" in text:
        return f"{text}: another program has been writing to it for {BUSY:g} s; try again, or stop the daemon for this"
    if "disk is full" in text:
        return f"{text}: nothing of this step was changed; make room and try again"
    if "disk I/O error" in text:
        return f"{text}: the disk is full or broken; `df` and the kernel's log tell which"
    if "readonly" in text or "unable to open" in text:
        return (
            f"{text}: SQLite must be able to write to the file and its folder, and user id {os.geteuid()} may not; do"
            " it as the user whose file it is, or with a copy"
        )
    return text


def _none(database: Database) -> CommandError:
    return CommandError(Code.FAILED, f"{database.name} is a database, and not that of a history of rockit's")


def _version(database: Database) -> int | None:
    """That of the tables; None where there are none."""
    session = database.session()
    try:
        with session.reading():
            if not session.run(_IS_THERE)[0][0]:
                return None
            found = session.run(_VERSION)
    finally:
        session.close()
    try:
        return int(found[0][0]) if found else None
    except ValueError:
        return None
