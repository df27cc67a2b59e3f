# SPDX-License-Identifier: GPL-3.0-or-later
"""The writing side of a history: samples, roll-ups, events and what is to be forwarded, each poll in one transaction.

Rules that every method keeps, whatever comes in whatever order:

- a sample that was committed stays as it is; the same series and time once more changes nothing
- the roll-up of a bucket is in `current` (the bucket that a series is recorded into) or in `rollups`, never in both,
  and equals one that is computed from the samples of that bucket
- the samples of a day are in its block, in `samples`, or in both, each once
"""

from __future__ import annotations

import time as clock
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec

from rockit.common.quality import Quality
from rockit.history import statements as sql
from rockit.history.database import Database, Session
from rockit.history.days import Blocks, Days
from rockit.history.model import (
    BUCKET,
    BUCKETS_A_DAY,
    DAY,
    LATEST_TIME,
    Batch,
    Event,
    Samples,
    Series,
    bucket_of,
    day_of,
    exact,
    possible,
)
from rockit.history.rollup import Growing, stored
from rockit.history.schema import samples

MANY = 1000
"""So many samples of a finished day are put into its block at once; fewer wait as rows for `seal`."""
TEND, STEPS = 60.0, 20
"""How often `tend` looks, s, and how many days of a series it seals at a time."""
Recorded = tuple[int, int, float, int]
"""Series id, time in ms, value, quality."""
_Row = tuple[int, int, int, float, int]
"""The same behind its bucket."""


class Outbox(msgspec.Struct, array_like=True):
    """What one row of the outbox holds."""

    samples: list[Recorded]
    events: list[Event]


class _ChangedError(Exception):
    """Another process has recorded into the same bucket."""


def wall_clock() -> int:
    """Now, ms since 1970."""
    return clock.time_ns() // 1_000_000


class Store:
    """One history, for one thread at a time. Raises StoreError; then nothing of that call is in it."""

    def __init__(self, url: str, now: Callable[[], int] = wall_clock) -> None:
        """Opens it, or makes it. `now` tells the time in ms: which days are finished."""
        self.database = Database(url)
        self.now = now
        try:
            self.database.prepare()
            self._session = self.database.session()
        except BaseException:
            self.database.close()
            raise
        self._ids: dict[tuple[str, str, str, str], tuple[int, Series]] = {}
        self._tended = clock.monotonic()
        self._devices: dict[tuple[str, str], int] = {}
        self._growing: dict[int, tuple[int, Growing]] = {}
        self._too_old = 0
        self._days = Days(self._session, now)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back; of SQLite, with everything in the file itself, so that a copy of it is whole."""
        self._session.fold()
        self._session.close()
        self.database.close()

    @property
    def session(self) -> Session:
        """The store's own connection, for maintenance."""
        return self._session

    # Names

    def series(self) -> dict[int, Series]:
        """Id -> series, of all."""
        with self._session.reading():
            return self._all_series()

    def _all_series(self) -> dict[int, Series]:
        rows = self._session.run(sql.ALL_SERIES)
        return {row[0]: Series(row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in rows}

    def series_id(self, series: Series) -> int:
        """The id of a series, which is made when it is new. A new label takes the place of the old one."""
        name = (*series.name, series.unit)
        known = self._ids.get(name)
        if known is not None and known[1] == series:
            return known[0]
        with self._session.writing():
            number = self._series_id(series)
        self._ids[name] = (number, series)
        return number

    def _series_id(self, series: Series) -> int:
        name = (*series.name, series.unit)
        # Looked for first: to try an insert in vain takes a number of PostgreSQL's sequence each time.
        if not (found := self._session.run(sql.FIND_SERIES, *name)):
            self._session.run(sql.ADD_SERIES, *name, series.label, int(series.counter), 0)
            found = self._session.run(sql.FIND_SERIES, *name)
        [(number, label, counter)] = found
        if (label, bool(counter)) != (series.label, series.counter):
            self._session.run(sql.RENAME_SERIES, number, series.label, int(series.counter))
        return int(number)

    def device_id(self, site: str, device: str) -> int:
        """The id of a device, which is made when it is new."""
        known = self._devices.get((site, device))
        if known is None:
            with self._session.writing():
                known = self._device_id(site, device)
            self._devices[site, device] = known
        return known

    def _device_id(self, site: str, device: str) -> int:
        if not (found := self._session.run(sql.FIND_DEVICE, site, device)):
            self._session.run(sql.ADD_DEVICE, site, device)
            found = self._session.run(sql.FIND_DEVICE, site, device)
        return int(found[0][0])

    # What a daemon records

    def record(self, device: int, rows: Sequence[Recorded], events: Sequence[Event] = (), *, post: bool = False) -> int:
        """Commit what was measured and what happened just now, by ids of this store; with `post` for forwarding, too.

        Where the clock has stepped back onto the very millisecond of another sample of the series, the new one takes
        the next that is free. Returns how many values were not kept: those of days that were forgotten already.
        """
        rows = [(series, possible(time), exact(value), quality) for series, time, value, quality in rows]
        self._too_old = 0
        try:
            with self._session.writing():
                self._record(device, rows, events, post=post)
        except _ChangedError:
            self._forget_all()
            self._too_old = 0
            with self._session.writing():
                self._record(device, rows, events, post=post)
        except BaseException:
            self._forget_all()  # it may not have been committed
            raise
        return self._too_old

    def _forget_all(self) -> None:
        self._growing.clear()
        self._days.unlearn()

    def _record(self, device: int, rows: Sequence[Recorded], events: Sequence[Event], *, post: bool) -> None:
        full = [(time // BUCKET, series, time, value, quality) for series, time, value, quality in rows]
        taken = any(time in self._days.sealed(series, day_of(time)) for _, series, time, _, _ in full)
        if taken or self._session.many(sql.ADD_SAMPLE, full) != len(full):
            full = [self._beside(row) for row in full]
            rows = [row[1:] for row in full]
            self._growing.clear()
        self._grow(full)
        numbered = [self._numbered(device, event) for event in events]
        if post and (rows or numbered):
            newest = max([row[1] for row in rows] + [event.time for event in numbered])
            payload = msgspec.msgpack.encode(Outbox(list(rows), numbered))
            self._session.run(sql.POST, device, newest, payload)

    def _beside(self, row: _Row) -> _Row:
        """`row` as it is in `samples` now: later by some ms where another value had its time."""
        _, series, time, value, quality = row
        while True:
            bucket = bucket_of(time)
            sealed = self._days.sealed(series, day_of(time)).get(time)
            if sealed is None:
                self._session.run(sql.ADD_SAMPLE, bucket, series, time, value, quality)
                [sealed] = self._session.run(sql.SAMPLE_AT, bucket, series, time)
            if sealed == (value, quality):
                return bucket, series, time, value, quality
            time += 1

    def _numbered(self, device: int, event: Event) -> Event:
        words = event.kind, event.name, event.value, event.detail, event.who
        for (number,) in self._session.run(sql.SAME_EVENT, device, event.time, *words):
            # It was committed, and we were not told: a connection that was lost while it confirmed.
            return msgspec.structs.replace(event, number=int(number))
        [(number,)] = self._session.run(sql.NEXT_EVENT_NUMBER, device, event.time)
        numbered = msgspec.structs.replace(event, number=int(number))
        self._session.run(sql.ADD_EVENT, *_event_row(device, numbered))
        return numbered

    def _grow(self, rows: Sequence[_Row]) -> None:
        """Bring the roll-ups up to `rows`, which are in `samples` by now."""
        growing = self._growing
        grown: dict[int, tuple[int, Growing, int]] = {}  # the count is that of before
        for bucket, series, time, value, quality in rows:
            if quality == Quality.BAD:
                continue
            now = growing.get(series)
            if now is None or now[0] != bucket or time < now[1].last_time:
                believed = ((row[1], row[0]) for row in rows if row[4] != Quality.BAD)
                for series, bucket in dict.fromkeys(believed):  # noqa: PLW2901 (this loop is over)
                    self._enter(series, bucket, {})
                return
            if series not in grown:
                grown[series] = bucket, now[1], now[1].count
            now[1].add(time, value)
        changes = [
            (*roll.stored(), roll.last_time, series, bucket, count) for series, (bucket, roll, count) in grown.items()
        ]
        if self._session.many(sql.GROW_CURRENT, changes) != len(changes):
            raise _ChangedError

    def _enter(self, series: int, bucket: int, blocks: Blocks) -> None:
        """Make `bucket`, which has samples, the one that the series is recorded into."""
        [(kept_from,)] = self._session.run(sql.LOCK_SERIES, series)
        if bucket // BUCKETS_A_DAY < kept_from:
            self._too_old += self._session.changed(sql.FORGET_BUCKET, bucket, series)
            return
        found = self._session.run(sql.CURRENT, series)
        grown = Growing.of(self._days.bucket(series, bucket, blocks))
        if found and found[0][0] != bucket:
            self._session.run(sql.PUT_ROLLUP, series, *found[0][:-1])
        self._session.run(sql.PUT_CURRENT, series, bucket, *grown.stored(), grown.last_time)
        self._session.run(sql.DROP_ROLLUP, series, bucket)
        self._growing[series] = bucket, grown

    # What comes late, or in bulk

    def merge(self, series: Series, samples: Samples) -> int:
        """Add samples of any age; those whose time is there already change nothing. How many were new."""
        with self._session.writing():
            return self._merge([(self._series_id(series), samples)])

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        """Add events; those that are there already (device, time and number) change nothing. How many were new."""
        with self._session.writing():
            return self._add_events(site, device, events)

    def _add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        number = self._device_id(site, device)
        return self._session.many(sql.ADD_EVENT, [_event_row(number, event) for event in events])

    def receive(self, batch: Batch) -> int:
        """Add what another history forwarded, in one transaction; how many samples were new.

        Raises ValueError where it is not whole.
        """
        parts: defaultdict[int, list[tuple[int, float, int]]] = defaultdict(list)
        for index, time, value, quality in batch.samples:
            if not 0 <= index < len(batch.series):
                raise ValueError(f"a sample names series {index} of {len(batch.series)}")
            parts[index].append((time, value, quality))
        events: defaultdict[tuple[str, str], list[Event]] = defaultdict(list)
        for site, device, event in batch.events:
            events[site, device].append(event)
        columns = {index: Samples.of(rows) for index, rows in parts.items()}
        with self._session.writing():
            # In one order for all who write, so that no two wait for each other.
            named = sorted(columns, key=lambda index: (batch.series[index].name, batch.series[index].unit))
            ids = {index: self._series_id(batch.series[index]) for index in named}
            new = self._merge([(ids[index], columns[index]) for index in sorted(columns, key=lambda index: ids[index])])
            for (site, device), those in sorted(events.items()):
                self._add_events(site, device, those)
        return new

    def _merge(self, parts: Iterable[tuple[int, Samples]]) -> int:
        today = day_of(self.now())
        loose: list[_Row] = []
        touched: dict[int, set[int]] = {}
        blocks: Blocks = {}
        new = 0
        for series, whole in parts:
            [(kept_from,)] = self._session.run(sql.LOCK_SERIES, series)
            self._growing.pop(series, None)
            run = whole.between(int(kept_from) * DAY, LATEST_TIME + 1)
            buckets = {time // BUCKET for time in run.times}
            touched.setdefault(series, set()).update(buckets)
            for day in sorted({bucket // BUCKETS_A_DAY for bucket in buckets}):
                part = run.between(day * DAY, (day + 1) * DAY)
                if day < today and len(part) >= MANY:
                    new += self._days.seal(series, day, part, blocks)
                    continue
                known = set(self._days.block(series, day, blocks).times)
                loose += [
                    (bucket_of(time), series, time, value, quality)
                    for time, value, quality in part.rows()
                    if time not in known
                ]
        new += self._insert(loose)
        for series, buckets in touched.items():
            self._roll_up(series, buckets, blocks)
        return new

    def _insert(self, rows: list[_Row]) -> int:
        """Rows into `samples`, those that are there already excepted."""
        if self.database.sqlite or len(rows) < MANY // 10:
            return self._session.many(sql.ADD_SAMPLE, rows)
        return self._session.copy(samples, rows)

    def _roll_up(self, series: int, buckets: Collection[int], blocks: Blocks) -> None:
        """Compute the roll-ups of these buckets anew; the newest of all becomes the current one."""
        found = self._session.run(sql.CURRENT, series)
        current = found[0][0] if found else None
        newest = current
        others = []
        for bucket in sorted(buckets):
            run = self._days.bucket(series, bucket, blocks).believed()
            if not len(run):
                continue
            if bucket == current:
                self._session.run(sql.PUT_CURRENT, series, bucket, *stored(run.values), run.times[-1])
            else:
                others.append((series, bucket, *stored(run.values)))
                newest = bucket if newest is None else max(newest, bucket)
        self._session.many(sql.PUT_ROLLUP, others)
        if newest is not None and newest != current:
            self._enter(series, newest, blocks)

    # Sealing and forgetting: a little at a time, so that no poll waits for long

    def seal(self) -> bool:
        """Seal one finished day of one series; False when there is none."""
        with self._session.reading():
            [(oldest,)] = self._session.run(sql.OLDEST_BUCKET)
        if oldest is None or oldest // BUCKETS_A_DAY >= day_of(self.now() - BUCKET):
            return False
        with self._session.writing():
            for bucket, series in self._session.run(sql.FIRST_SERIES, oldest):
                if bucket // BUCKETS_A_DAY >= day_of(self.now() - BUCKET):
                    return False  # another daemon was here meanwhile
                self._session.run(sql.LOCK_SERIES, series)
                self._days.seal(series, bucket // BUCKETS_A_DAY, Samples(), {})
        return True

    def tend(self) -> None:
        """Seal some of what has ended, now and then: for those who only receive."""
        if clock.monotonic() - self._tended < TEND:
            return
        for _ in range(STEPS):
            if not self.seal():
                self._tended = clock.monotonic()
                return

    def forget(self, days: int, place: tuple[str, str] | None = None) -> bool:
        """Drop the oldest day of raw samples where it ended more than so many days ago; False where none did.

        Of the series of one (site, device), or of all. Roll-ups and events stay.
        """
        limit = day_of(self.now()) - days
        with self._session.writing():
            oldest = {
                number: day
                for number, series in self._all_series().items()
                if place in (None, series.name[:2]) and (day := self._days.oldest(number)) is not None and day < limit
            }
            for series_id in oldest:
                self._session.run(sql.LOCK_SERIES, series_id)
                first = min(oldest.values()) + 1
                self._session.run(sql.KEEP_FROM, series_id, first)
                self._session.run(sql.FORGET_BLOCKS, series_id, first)
                self._session.run(sql.FORGET_SAMPLES, first * BUCKETS_A_DAY, series_id)
        self._forget_all()
        return bool(oldest)


def _event_row(device: int, event: Event) -> tuple[Any, ...]:
    return device, event.time, event.number, event.kind, event.name, event.value, event.detail, event.who
