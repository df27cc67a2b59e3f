# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of a history, the same on SQLite and on PostgreSQL, and how an older file becomes a newer one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
    update,
)

VERSION = 1
"""Of the tables. A file of a later version is left alone."""
metadata = MetaData()
_Long = BigInteger().with_variant(Integer, "sqlite")
"""64 bits on both; only an INTEGER key numbers itself on SQLite."""


def _number(name: str, **options: object) -> Column[float]:
    return Column(name, Float(53), nullable=False, **options)  # type: ignore[arg-type]


def _integer(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, _Long, primary_key=key, nullable=False, autoincrement=False)


def _text(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=key, nullable=False)


about = Table("about", metadata, _text("name", key=True), _text("value"))
"""`version`: of the tables."""

devices = Table(
    "devices",
    metadata,
    Column("id", _Long, primary_key=True),
    _text("site"),
    _text("device"),
    UniqueConstraint("site", "device"),
)

series = Table(
    "series",
    metadata,
    Column("id", _Long, primary_key=True),
    _text("site"),
    _text("device"),
    _text("key"),
    _text("unit"),
    _text("label"),
    Column("counter", SmallInteger, nullable=False),
    # Samples of earlier days were forgotten: what came for them now would spoil their roll-ups.
    _integer("kept_from"),
    # A key whose unit changes is another quantity from then on: no series has values of two units.
    UniqueConstraint("site", "device", "key", "unit"),
)

samples = Table(
    "samples",
    metadata,
    # Roll-up first: what one poll brings for all its series lies together, and a commit writes few pages.
    _integer("bucket", key=True),
    _integer("series", key=True),
    _integer("time", key=True),
    _number("value"),
    Column("quality", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""What is not sealed yet: as a rule today's."""

blocks = Table(
    "blocks",
    metadata,
    _integer("series", key=True),
    _integer("day", key=True),
    _integer("count"),
    Column("data", LargeBinary, nullable=False),
)
"""Sealed days, see `block`."""

damaged = Table(
    "damaged",
    metadata,
    _integer("series", key=True),
    _integer("day", key=True),
    _integer("found", key=True),
    _text("why"),
    Column("data", LargeBinary, nullable=False),
)
"""Blocks that could not be read, as they were found, at which time."""


def _short() -> list[Column[Any]]:
    values = (_number(name) for name in ("least", "greatest", "total", "last"))
    # Without the falls of a counter a fall and a rise inside of one stretch would look like a rise.
    return [_integer("count"), *values, _integer("falls")]


rollups = Table(
    "rollups",
    metadata,
    _integer("series", key=True),
    _integer("bucket", key=True),
    *_short(),
    sqlite_with_rowid=False,
)
"""All roll-ups but those in `current`."""

current = Table(
    "current",
    metadata,
    _integer("series", key=True),
    _integer("bucket"),
    *_short(),
    _integer("last_time"),
)
"""The roll-up that each series is recorded into. All of a device lie on one page: they change with every poll."""

events = Table(
    "events",
    metadata,
    _integer("device", key=True),
    _integer("time", key=True),
    _integer("number", key=True),
    *(_text(name) for name in ("kind", "name", "value", "detail", "who")),
    sqlite_with_rowid=False,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _Long, primary_key=True),
    _integer("device"),
    _integer("time"),
    Column("payload", LargeBinary, nullable=False),
)
"""What is to be forwarded, in the order in which it was recorded. The newest row always stays: ids only grow."""

cursors = Table("cursors", metadata, _text("target", key=True), _integer("device", key=True), _integer("sent"))
"""The id of the last row of the outbox that a target has confirmed."""

MIGRATIONS: dict[int, Callable[[Connection], None]] = {}
"""Version -> what makes a file of that version one of the next."""


class NotOursError(RuntimeError):
    """The database is another program's, or was written by a later version of this software."""


def prepare(connection: Connection) -> int:
    """Make the tables, or bring them to this version; returns the version that was found, 0 for none.

    In the caller's transaction. Raises NotOursError, and nothing is changed.
    """
    found = _version(connection)
    if found > VERSION:
        raise NotOursError(f"its tables have version {found}; this software knows versions up to {VERSION}")
    if not found:
        metadata.create_all(connection)
        connection.execute(about.insert().values(name="version", value=str(VERSION)))
        return 0
    for version in range(found, VERSION):
        MIGRATIONS[version](connection)
    if found < VERSION:
        connection.execute(update(about).where(about.c.name == "version").values(value=str(VERSION)))
    return found


def _version(connection: Connection) -> int:
    """Of the tables; 0 where they may be made. A file of another program's must not get them, nor a server lose its."""
    looked = inspect(connection)
    names = set(looked.get_table_names())
    ours = {column["name"] for column in looked.get_columns(about.name)} if about.name in names else set()
    if ours == {"name", "value"}:
        text = connection.execute(select(about.c.value).where(about.c.name == "version")).scalar()
        if text and text.isdecimal():
            return int(text)
    elsewhere = connection.dialect.name == "sqlite"  # on a server others may have tables of other names beside ours
    if strange := sorted(names if elsewhere else names & metadata.tables.keys()):
        raise NotOursError(f"it is another program's: it has a table {strange[0]!r} that is not that of a history")
    return 0
