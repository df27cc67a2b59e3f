# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to SQLite or PostgreSQL that runs prepared statements of SQLAlchemy Core, with one kind of error.

A poll is committed several times a minute for years, on boards with slow cores: statements are compiled once, and run
by the driver's cursor, which takes a fifth of the time.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import ClauseElement, Engine, Table, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from rockit.history import schema

BUSY = 20.0
"""So long a writer waits for another one on the same file, s."""
_WAIT = f"PRAGMA busy_timeout={int(BUSY * 1000)}"
_PRAGMAS = (
    "PRAGMA synchronous=FULL",  # in WAL only this is durable: what was committed survives a power cut
    _WAIT,
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA cache_size=-2000",
)
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WRONG = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)


class Trouble(Enum):
    """What kind of trouble a store is in, and so what helps."""

    REFUSES = "refuses"
    """Disk full or not writable, server away, file locked: the same thing may succeed later."""
    CORRUPT = "corrupt"
    """The file is damaged."""
    WRONG = "wrong"
    """The statement or its data; to try again is of no use."""


class StoreError(Exception):
    """The database said no. Nothing of the transaction is in it."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.trouble = trouble


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement, and the names of its parameters in the order in which their values are given."""

    clause: ClauseElement
    names: tuple[str, ...] = ()
    on_sqlite: ClauseElement | None = None
    """Where it is built in another way there."""


class _Compiled(NamedTuple):
    """`places`: for each parameter the index of its value, or None for one that is `fixed`; None: all in order."""

    sql: str
    places: tuple[int | None, ...] | None
    fixed: tuple[Any, ...]


class Database:
    """A history's database. Raises StoreError where it cannot be opened, ValueError for a URL that is none of ours."""

    def __init__(self, url: str, *, make: bool = True) -> None:
        """Without `make`, a file of SQLite that is not there is not made by connecting to it."""
        self.url = parsed(url)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self.url.set(query={}).render_as_string(hide_password=True)
        self.found_version = 0
        options: dict[str, Any] = {"connect_args": {"timeout": BUSY, "check_same_thread": False}}
        if not self.sqlite:
            logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what goes wrong comes as an error, too
            # A server that has gone without a word (power, cable) is noticed by TCP in about half a minute.
            alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30000}
            options = {"connect_args": {"connect_timeout": 10, **alive}, "pool_pre_ping": True}
        place = self.url
        if self.sqlite and not make:
            place = self.url.set(database=Path(str(self.url.database)).as_uri(), query={"mode": "rw", "uri": "true"})
        self.engine: Engine = sqlalchemy.create_engine(
            place, pool_size=2, max_overflow=2, pool_timeout=5, poolclass=sqlalchemy.QueuePool, **options
        )
        if self.sqlite:
            event.listen(self.engine, "connect", _settle)
            event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        self._compiled: dict[Statement, _Compiled] = {}

    @property
    def path(self) -> Path | None:
        """The file, of SQLite."""
        return Path(self.url.database) if self.sqlite and self.url.database else None

    def prepare(self) -> None:
        """Make the tables or bring them up to date. Raises StoreError."""
        with _told(self.name):
            try:
                with self.engine.begin() as connection:
                    if not self.sqlite:  # two daemons may start at once
                        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7077)")
                    self.found_version = schema.prepare(connection)
                    if not self.found_version and self.path is not None:
                        self.path.chmod(0o640)  # as all state; the log beside it takes the same mode
                if self.sqlite:
                    self._log_ahead()
            except schema.NotOursError as error:
                raise StoreError(Trouble.REFUSES, f"{self.name}: {error}") from None

    def _log_ahead(self) -> None:
        """Have SQLite write a log ahead of the file, which is a property of the file: nobody waits for who writes.

        Only now, for a file that turns out to be another program's shall stay as it is.
        """
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                cursor.execute("PRAGMA journal_mode=WAL").fetchall()
        finally:
            connection.close()

    def session(self) -> Session:
        """A connection for one thread. Raises StoreError."""
        with _told(self.name):
            return Session(self, self.engine.raw_connection())

    def close(self) -> None:
        """Close what no session holds."""
        self.engine.dispose()

    def compiled(self, statement: Statement) -> _Compiled:
        """The statement in this database's words."""
        known = self._compiled.get(statement)
        if known is None:
            clause = statement.on_sqlite if self.sqlite and statement.on_sqlite is not None else statement.clause
            made = clause.compile(dialect=self.engine.dialect)
            places: tuple[int | None, ...] | None = None
            fixed: tuple[Any, ...] = ()
            if self.sqlite:
                order = tuple(getattr(made, "positiontup", None) or ())
                if order != statement.names:
                    places = tuple(statement.names.index(name) if name in statement.names else None for name in order)
                    fixed = tuple(made.params[name] for name in order)  # a LIMIT brings an OFFSET of 0
            known = self._compiled[statement] = _Compiled(str(made), places, fixed)
        return known


class Session:
    """One connection. Not for several threads at once."""

    def __init__(self, database: Database, fairy: Any) -> None:
        self._database = database
        self._fairy = fairy
        self._cursor: Any = fairy.cursor()
        self._name = database.name
        self._sqlite = database.sqlite

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all of it is on disk when this ends, or nothing. Raises StoreError."""
        with _told(self._name):
            if self._sqlite:
                self._cursor.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._fairy.commit()
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read inside is of one moment. Raises StoreError."""
        with _told(self._name):
            self._cursor.execute(
                "BEGIN" if self._sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
            )
            try:
                yield
            finally:
                self._roll_back()

    def run(self, statement: Statement, *values: Any) -> list[tuple[Any, ...]]:
        """Run with values in the order of the statement's names; the rows that it gives."""
        compiled = self._database.compiled(statement)
        self._cursor.execute(compiled.sql, self._arranged(statement, compiled, values))
        rows: list[tuple[Any, ...]] = self._cursor.fetchall() if self._cursor.description else []
        return rows

    def changed(self, statement: Statement, *values: Any) -> int:
        """Run; how many rows of the table that changed."""
        self.run(statement, *values)
        return int(self._cursor.rowcount)

    def many(self, statement: Statement, rows: Sequence[tuple[Any, ...]]) -> int:
        """Run for each of `rows`; how many rows of the table that changed."""
        if not rows:
            return 0
        compiled = self._database.compiled(statement)
        plain = self._sqlite and compiled.places is None
        self._cursor.executemany(
            compiled.sql, rows if plain else [self._arranged(statement, compiled, row) for row in rows]
        )
        return int(self._cursor.rowcount)

    def _arranged(self, statement: Statement, compiled: _Compiled, values: tuple[Any, ...]) -> Any:
        if not self._sqlite:
            return dict(zip(statement.names, values, strict=True))
        if compiled.places is None:
            return values
        pairs = zip(compiled.places, compiled.fixed, strict=True)
        return tuple(fixed if place is None else values[place] for place, fixed in pairs)

    def copy(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> int:
        """On PostgreSQL: put rows with all columns into `table` but those whose key is there; how many were new."""
        incoming = f"incoming_{table.name}"
        self._cursor.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        with self._cursor.copy(f"COPY {incoming} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        self._cursor.execute(f"INSERT INTO {table.name} SELECT * FROM {incoming} ON CONFLICT DO NOTHING")  # noqa: S608
        return int(self._cursor.rowcount)

    def fold(self) -> None:
        """On SQLite: move what is in the log beside the file into the file, as far as nobody reads it."""
        if self._sqlite:
            with suppress(Exception):
                self._cursor.execute("PRAGMA busy_timeout=100")  # readers keep what they read, and we do not wait
                self._cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            with suppress(Exception):
                self._cursor.execute(_WAIT)

    def close(self) -> None:
        """End the connection. That to a server is cut: others may close what waits for an answer just now."""
        with suppress(Exception):
            self._fairy.invalidate() if not self._sqlite else self._fairy.close()

    def _roll_back(self) -> None:
        with suppress(Exception):  # a connection that is broken has nothing to roll back
            self._fairy.rollback()


def parsed(url: str) -> URL:
    """The URL. Raises ValueError for one that is not SQLite's or PostgreSQL's."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("that is no database URL; say sqlite:////folder/file.sqlite") from None
    if found.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(f"{found.drivername} is not known; there is sqlite:////folder/file and postgresql+psycopg://")
    if found.drivername == "sqlite" and (not found.database or found.database == ":memory:"):
        raise ValueError("a history needs a file: sqlite:////folder/file.sqlite")
    if found.drivername == "sqlite" and not str(found.database).startswith("/"):
        raise ValueError("the file needs its whole path: sqlite:////folder/file.sqlite, with four slashes")
    return found


def file_of(url: str) -> Path | None:
    """The file of SQLite; None for a server. Raises ValueError for a URL that is none of ours."""
    found = parsed(url)
    return Path(found.database) if found.drivername == "sqlite" and found.database else None


def _settle(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say when a transaction begins
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Every error of a driver as StoreError."""
    try:
        yield
    except StoreError:
        raise
    except DBAPIError as error:
        raise _judged(error.orig or error, name) from error
    except SQLAlchemyError as error:
        raise StoreError(Trouble.REFUSES, f"{name}: {error}") from error
    except ImportError:
        raise StoreError(
            Trouble.REFUSES, f"{name} needs psycopg, which is not installed: pip install 'rockit-plant[postgresql]'"
        ) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("sqlite3", "psycopg"):
            raise _judged(error, name) from error
        raise


def _judged(error: BaseException, name: str) -> StoreError:
    text = f"{name}: {str(error).strip().splitlines()[0] if str(error).strip() else repr(error)}"
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None)
        primary = None if code is None else code & 0xFF
        if primary in _CORRUPT:
            return StoreError(Trouble.CORRUPT, text)
        return StoreError(Trouble.WRONG if primary in _WRONG else Trouble.REFUSES, text)
    # PostgreSQL: class 22 data, 23 constraints; without a class it is the connection, or psycopg's word about a value.
    state = getattr(error, "sqlstate", None) or ""
    if state[:2] in ("22", "23") or (not state and type(error).__name__ == "DataError"):
        return StoreError(Trouble.WRONG, text)
    return StoreError(Trouble.CORRUPT if state[:2] == "XX" else Trouble.REFUSES, text)
