# SPDX-License-Identifier: GPL-3.0-or-later
"""Every statement that a history runs; SQLAlchemy writes what SQLite and PostgreSQL spell differently."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from rockit.history.database import Statement
from rockit.history.model import BUCKETS_A_DAY
from rockit.history.schema import blocks, current, cursors, damaged, devices, events, outbox, rollups, samples, series


def _b(name: str) -> BindParameter[Any]:
    return bindparam(name)


def _insert(table: Table, names: tuple[str, ...] = (), update_: tuple[str, ...] = ()) -> Statement:
    """Insert all columns (or those of `names`); where the key is there already, change `update_`, or do nothing."""
    names = names or tuple(table.columns.keys())
    values = {name: _b(name) for name in names}
    theirs = postgresql.insert(table).values(values)
    ours = sqlite.insert(table).values(values)
    if not update_:
        return Statement(theirs.on_conflict_do_nothing(), names, ours.on_conflict_do_nothing())
    keys = [column.name for column in table.primary_key]
    return Statement(
        theirs.on_conflict_do_update(index_elements=keys, set_={name: theirs.excluded[name] for name in update_}),
        names,
        ours.on_conflict_do_update(index_elements=keys, set_={name: ours.excluded[name] for name in update_}),
    )


SHORT = ("count", "least", "greatest", "total", "last", "falls")
_DAY = tuple(f"b{index}" for index in range(BUCKETS_A_DAY))


def _of_day() -> ColumnElement[bool]:
    """Rows of one series and one day: as many ranges of the key as a day has roll-ups."""
    return (samples.c.series == _b("series")) & samples.c.bucket.in_([_b(name) for name in _DAY])


# Series and devices
ALL_SERIES = Statement(
    select(series.c.id, series.c.site, series.c.device, series.c.key, series.c.unit, series.c.label, series.c.counter)
    .order_by(series.c.id)
)  # fmt: skip
ADD_SERIES = _insert(series, ("site", "device", "key", "unit", "label", "counter", "kept_from"))
FIND_SERIES = Statement(
    select(series.c.id, series.c.label, series.c.counter).where(
        (series.c.site == _b("site")) & (series.c.device == _b("device")) & (series.c.key == _b("key"))
        & (series.c.unit == _b("unit"))
    ),
    ("site", "device", "key", "unit"),
)  # fmt: skip
RENAME_SERIES = Statement(
    update(series).where(series.c.id == _b("which")).values(label=_b("label"), counter=_b("counter")),
    ("which", "label", "counter"),
)
LOCK_SERIES = Statement(select(series.c.kept_from).where(series.c.id == _b("series")).with_for_update(), ("series",))
KEPT_FROM = Statement(select(series.c.kept_from).where(series.c.id == _b("series")), ("series",))
KEEP_FROM = Statement(update(series).where(series.c.id == _b("which")).values(kept_from=_b("day")), ("which", "day"))
ALL_DEVICES = Statement(select(devices.c.id, devices.c.site, devices.c.device))
ADD_DEVICE = _insert(devices, ("site", "device"))
FIND_DEVICE = Statement(
    select(devices.c.id).where((devices.c.site == _b("site")) & (devices.c.device == _b("device"))), ("site", "device")
)

# Samples that are not sealed
ADD_SAMPLE = _insert(samples)
SAMPLE_AT = Statement(
    select(samples.c.value, samples.c.quality).where(
        (samples.c.bucket == _b("bucket")) & (samples.c.series == _b("series")) & (samples.c.time == _b("time"))
    ),
    ("bucket", "series", "time"),
)
_COLUMNS = (samples.c.time, samples.c.value, samples.c.quality)
BUCKET_SAMPLES = Statement(
    select(*_COLUMNS)
    .where((samples.c.bucket == _b("bucket")) & (samples.c.series == _b("series")))
    .order_by(samples.c.time),
    ("bucket", "series"),
)
DAY_SAMPLES = Statement(
    select(*_COLUMNS).where(_of_day()).order_by(samples.c.bucket, samples.c.time), ("series", *_DAY)
)
TAKE_DAY = Statement(delete(samples).where(_of_day()).returning(*_COLUMNS), ("series", *_DAY))
OLDEST_BUCKET = Statement(select(func.min(samples.c.bucket)))
NEWEST_BUCKET = Statement(select(func.max(samples.c.bucket)))
FIRST_SERIES = Statement(
    select(samples.c.bucket, samples.c.series)
    .where(samples.c.bucket >= _b("bucket"))
    .order_by(samples.c.bucket, samples.c.series)
    .limit(literal_column("1")),
    ("bucket",),
)
FORGET_SAMPLES = Statement(
    delete(samples).where((samples.c.bucket < _b("bucket")) & (samples.c.series == _b("series"))), ("bucket", "series")
)
FORGET_BUCKET = Statement(
    delete(samples).where((samples.c.bucket == _b("bucket")) & (samples.c.series == _b("series"))), ("bucket", "series")
)
OLDEST_LOOSE = Statement(select(func.min(samples.c.bucket)).where(samples.c.series == _b("series")), ("series",))

# Sealed days
BLOCK = Statement(
    select(blocks.c.data).where((blocks.c.series == _b("series")) & (blocks.c.day == _b("day"))), ("series", "day")
)
BLOCKS = Statement(
    select(blocks.c.day, blocks.c.data)
    .where((blocks.c.series == _b("series")) & blocks.c.day.between(_b("first"), _b("last")))
    .order_by(blocks.c.day),
    ("series", "first", "last"),
)
NEXT_BLOCK = Statement(
    select(func.min(blocks.c.day)).where((blocks.c.series == _b("series")) & (blocks.c.day > _b("day"))),
    ("series", "day"),
)
NEXT_BUCKET = Statement(select(func.min(samples.c.bucket)).where(samples.c.bucket >= _b("bucket")), ("bucket",))
PUT_BLOCK = _insert(blocks, update_=("count", "data"))
DROP_BLOCK = Statement(
    delete(blocks).where((blocks.c.series == _b("series")) & (blocks.c.day == _b("day"))), ("series", "day")
)
SET_ASIDE = _insert(damaged)
FORGET_BLOCKS = Statement(
    delete(blocks).where((blocks.c.series == _b("series")) & (blocks.c.day < _b("day"))), ("series", "day")
)

# Roll-ups
PUT_ROLLUP = _insert(rollups, update_=SHORT)
DROP_ROLLUP = Statement(
    delete(rollups).where((rollups.c.series == _b("series")) & (rollups.c.bucket == _b("bucket"))),
    ("series", "bucket"),
)
PUT_CURRENT = _insert(current, update_=("bucket", *SHORT, "last_time"))
CURRENT = Statement(
    select(current.c.bucket, *(current.c[name] for name in SHORT), current.c.last_time)
    .where(current.c.series == _b("series"))
    .with_for_update(),
    ("series",),
)
GROW_CURRENT = Statement(
    update(current)
    .where((current.c.series == _b("which")) & (current.c.bucket == _b("was_bucket")) & (current.c.count == _b("was")))
    .values({name: _b(name) for name in (*SHORT, "last_time")}),
    (*SHORT, "last_time", "which", "was_bucket", "was"),
)
"""Grows a roll-up only where it still is as it was when we looked: another process may record the same series."""

# Events, outbox
ADD_EVENT = _insert(events)
_WORDS = ("kind", "name", "value", "detail", "who")
SAME_EVENT = Statement(
    select(events.c.number).where(
        (events.c.device == _b("device"))
        & (events.c.time == _b("time"))
        & and_(*(events.c[word] == _b(word) for word in _WORDS))
    ),
    ("device", "time", *_WORDS),
)
NEXT_EVENT_NUMBER = Statement(
    select(func.coalesce(func.max(events.c.number) + literal_column("1"), literal_column("0"))).where(
        (events.c.device == _b("device")) & (events.c.time == _b("time"))
    ),
    ("device", "time"),
)
POST = Statement(
    outbox.insert().values(device=_b("device"), time=_b("time"), payload=_b("payload")), ("device", "time", "payload")
)
UNSENT = Statement(
    select(outbox.c.id, outbox.c.time, outbox.c.payload)
    .where((outbox.c.device == _b("device")) & (outbox.c.id > _b("after")))
    .order_by(outbox.c.id)
    .limit(_b("most")),
    ("device", "after", "most"),
)
NEWEST_POST = Statement(select(func.max(outbox.c.id)).where(outbox.c.device == _b("device")), ("device",))
POST_BEFORE = Statement(
    select(func.max(outbox.c.id)).where(
        (outbox.c.device == _b("device")) & (outbox.c.id <= _b("id")) & (outbox.c.time < _b("time"))
    ),
    ("device", "id", "time"),
)
_OLDEST_POSTS = (
    select(outbox.c.id)
    .where((outbox.c.device == _b("device")) & (outbox.c.id <= _b("id")) & (outbox.c.time < _b("time")))
    .order_by(outbox.c.id)
)
DROP_POSTS = Statement(
    delete(outbox).where(
        (outbox.c.device == _b("device"))
        & (outbox.c.id <= _b("id"))
        & (outbox.c.time < _b("time"))
        & outbox.c.id.in_(_OLDEST_POSTS.limit(literal_column("1000")))
    ),
    ("device", "id", "time"),
)
_SENT_TO_ALL = select(func.coalesce(func.min(cursors.c.sent), literal_column("0"))).where(
    cursors.c.device == _b("again")
)
UNSENT_ROWS = Statement(
    select(func.count()).where((outbox.c.device == _b("device")) & (outbox.c.id > _SENT_TO_ALL.scalar_subquery())),
    ("device", "again"),
)
"""How many rows some target has not confirmed; all of them where none has confirmed any."""
CURSORS = Statement(select(cursors.c.target, cursors.c.sent).where(cursors.c.device == _b("device")), ("device",))
PUT_CURSOR = _insert(cursors, update_=("sent",))
DROP_CURSOR = Statement(
    delete(cursors).where((cursors.c.target == _b("target")) & (cursors.c.device == _b("device"))), ("target", "device")
)

# What a question reads
_OF_SERIES = (rollups.c.series == _b("series")) & (rollups.c.bucket >= _b("first")) & (rollups.c.bucket < _b("end"))
ROLLUPS = Statement(
    select(rollups.c.bucket, *(rollups.c[name] for name in SHORT)).where(_OF_SERIES).order_by(rollups.c.bucket),
    ("series", "first", "end"),
)
READINGS = Statement(
    select(rollups.c.bucket, rollups.c.least, rollups.c.last, rollups.c.falls)
    .where(_OF_SERIES)
    .order_by(rollups.c.bucket),
    ("series", "first", "end"),
)
"""Of a roll-up what a counter needs."""
_group = (rollups.c.bucket // _b("wide")).label("number")
_wide = (
    select(
        _group,
        func.sum(rollups.c.count).label("count"),
        func.min(rollups.c.least).label("least"),
        func.max(rollups.c.greatest).label("greatest"),
        func.sum(rollups.c.total).label("total"),
        func.max(rollups.c.bucket).label("newest"),
    )
    .where(_OF_SERIES)
    .group_by(literal_column("number"))
    .subquery()
)
WIDE_ROLLUPS = Statement(
    select(_wide.c.newest, _wide.c.count, _wide.c.least, _wide.c.greatest, _wide.c.total, rollups.c.last)
    .join(rollups, (rollups.c.series == _b("again")) & (rollups.c.bucket == _wide.c.newest))
    .order_by(_wide.c.number),
    ("wide", "series", "first", "end", "again"),
)
"""Several roll-ups as one: `wide` of them each."""
LAST_BEFORE = Statement(
    select(rollups.c.bucket, rollups.c.last)
    .where((rollups.c.series == _b("series")) & (rollups.c.bucket < _b("bucket")))
    .order_by(rollups.c.bucket.desc())
    .limit(literal_column("1")),
    ("series", "bucket"),
)
FIRST_ROLLUP = Statement(select(func.min(rollups.c.bucket)).where(rollups.c.series == _b("series")), ("series",))
BLOCK_DAYS = Statement(
    select(func.min(blocks.c.day), func.max(blocks.c.day)).where(blocks.c.series == _b("series")), ("series",)
)
LOOK_CURRENT = Statement(
    select(current.c.bucket, *(current.c[name] for name in SHORT), current.c.last_time)
    .where(current.c.series == _b("series")),
    ("series",),
)  # fmt: skip
_EVENT = ("time", "kind", "name", "value", "detail", "who", "number")
EVENTS = Statement(
    select(*(events.c[name] for name in _EVENT))
    .where((events.c.device == _b("device")) & (events.c.time >= _b("start")) & (events.c.time < _b("end")))
    .order_by(events.c.time.desc(), events.c.number.desc())
    .limit(_b("most")),
    ("device", "start", "end", "most"),
)
