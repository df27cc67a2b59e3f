# SPDX-License-Identifier: GPL-3.0-or-later
"""The `history` key of a config: what can be wrong with it, and the history that it says.

What only checks connects to nothing, and imports databases only for a `url`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rockit.common.daemonconfig import DaemonConfig, Forward, HistoryConfig
from rockit.common.log import Log
from rockit.common.quality import Measurement
from rockit.common.record import NoRecord, Record

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

_NAMES_DATABASE = {"dbname", "service"}
"""Words of a PostgreSQL URL's query that say which database, or where that is said."""


def history(config: DaemonConfig, folder: Path, measured: Mapping[str, Measurement], log: Log) -> Record:
    """The history of a daemon, as its config says; `folder` is its state directory."""
    chosen = config.history
    if chosen is None:
        return NoRecord()
    from rockit.history.keeping import History  # databases and all; who keeps nothing does not pay for it

    return History(
        HistoryConfig() if isinstance(chosen, msgspec.UnsetType) else chosen, folder, config.daemon, measured, log
    )


def history_problems(config: HistoryConfig | msgspec.UnsetType | None) -> Iterator[tuple[str, str]]:
    """(path of the key, what is wrong with its words). A daemon does not start with such a config."""
    if config is None or isinstance(config, msgspec.UnsetType):
        return
    if not config.site.isprintable() or "/" in config.site:
        yield "history.site", "must be a name of printable characters without a slash"
    if config.url is not None:
        from rockit.history.database import parsed  # only where somebody names one: it is slow to import

        try:
            url = parsed(config.url)
        except ValueError as error:
            yield "history.url", str(error)
        else:
            yield from (("history.url", text) for text in _url_problems(url, config.url))
    if config.forward:
        from rockit.history.targets import problems

        for index, target in enumerate(config.forward):
            for text in problems(target.url, target.token_file):
                yield f"history.forward[{index}].url", text
        ours = config.url and _server(config.url)
        for index, target in enumerate(config.forward):
            if ours and _server(target.url) == ours:
                yield f"history.forward[{index}].url", "is this history itself, and so no second copy"
    names = [target.url for target in config.forward]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"history.forward[{index}].url", "is there twice"


def _server(url: str) -> tuple[object, ...]:
    """What tells one PostgreSQL database from others; nothing of other URLs."""
    from rockit.history.database import parsed

    try:
        found = parsed(url)
    except ValueError:
        return ()
    if found.drivername == "sqlite":
        return ()
    host = "127.0.0.1" if found.host in (None, "", "localhost", "::1") else found.host
    return host, found.port or 5432, found.database, tuple(sorted(found.query.items())) if not found.host else ()


def _url_problems(url: URL, text: str) -> Iterator[str]:
    if url.port is not None and not 0 < url.port < 65536:
        yield f"{url.port} is no port; say a number from 1 to 65535, or none for 5432"
    elif url.drivername != "sqlite" and not url.database and not _NAMES_DATABASE & url.query.keys():
        yield "names no database; say postgresql+psycopg://user@host/database"
    elif url.drivername != "sqlite":
        from rockit.history.targets import unprotected
        from rockit.history.targets.address import Address

        yield from unprotected(Address.of(text))


def history_findings(config: HistoryConfig | msgspec.UnsetType | None) -> Iterator[tuple[str, str]]:
    """(path of the key, what is not there just now, or not as it must be), of a config without problems.

    It is looked at as the user who asks, which need not be the daemon's.
    """
    if config is None or isinstance(config, msgspec.UnsetType):
        return
    if config.url is not None:
        from rockit.history.database import parsed

        url = parsed(config.url)
        if url.drivername == "sqlite":
            yield from (("history.url", text) for text in _file_findings(str(url.database)))
    for index, target in enumerate(config.forward):
        for key, text in _forward_findings(target):
            yield f"history.forward[{index}].{key}", text


def _file_findings(path: str) -> Iterator[str]:
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        yield f"{path} is a folder; name a file in it: sqlite:///{path.rstrip('/')}/history.sqlite"
    elif not os.path.isdir(folder):
        yield f"user id {os.geteuid()} finds no folder {folder}; make it, or mount what it lies on"


def _forward_findings(target: Forward) -> Iterator[tuple[str, str]]:
    if target.token_file is None and target.ca_file is None:
        return
    from rockit.history.targets import TargetRefused
    from rockit.history.targets.credentials import read_token, trusting

    for key, path, look in (("token_file", target.token_file, read_token), ("ca_file", target.ca_file, trusting)):
        if path is not None:
            try:
                look(path)
            except TargetRefused as error:
                yield key, str(error).removeprefix(f"{key} ")
