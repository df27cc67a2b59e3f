# SPDX-License-Identifier: GPL-3.0-or-later
"""The reading side of a history: samples, buckets that keep their spikes, growth of counters, events.

Nothing here waits for who writes: SQLite in WAL mode and PostgreSQL both show readers the last committed state.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from rockit.history import block
from rockit.history import statements as sql
from rockit.history.database import Database, Session
from rockit.history.model import BUCKET, BUCKETS_A_DAY, DAY, Event, Samples, Series, bucket_of, day_of
from rockit.history.rollup import Rollup, stretches
from rockit.history.times import iso

WIDTHS = tuple(1000 * seconds for seconds in (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 300, 450))
"""Buckets narrower than a roll-up, ms; they divide it."""
ROUND = ((4 * DAY, DAY), (DAY // 2, DAY // 4), (DAY // 12, DAY // 24), (0, BUCKET))
"""Buckets wider than the one, ms, are multiples of the other."""
SPARE = 7
"""So many days of blocks are read at once."""
TOGETHER = 100 * BUCKETS_A_DAY
"""So many roll-ups of a counter."""


@dataclass(frozen=True)
class Growth:
    """How much a counter grew: exactly, between two readings; what it did at a reset is not known and not in it."""

    value: float
    start: int
    end: int
    resets: int


class Reader:
    """Questions to one history, from any thread. All times in ms; ranges are start <= time < end.

    Raises StoreError.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    @contextmanager
    def view(self) -> Iterator[View]:
        """All that is asked inside is of one moment."""
        session = self.database.session()
        try:
            with session.reading():
                yield View(session)
        finally:
            session.close()


class View:
    """One moment of a history."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.run = session.run
        self._loose: tuple[int, int] | None = None
        self._day: tuple[tuple[int, int], Samples] = (-1, -1), Samples()
        self.problems: list[str] = []
        """What could not be read, in sentences."""

    def series(self) -> dict[int, Series]:
        """Id -> series, of all."""
        return {
            row[0]: Series(row[1], row[2], row[3], row[4], row[5], bool(row[6])) for row in self.run(sql.ALL_SERIES)
        }

    def samples(self, series: int, start: int, end: int) -> Samples:
        """The raw samples of a range."""
        if start >= end:
            return Samples()
        if (day := day_of(start)) == day_of(end - 1):
            # Along a counter, one roll-up of a day after the other is looked into.
            if self._day[0] != (series, day):
                self._day = (series, day), next(self.days(series, day * DAY, (day + 1) * DAY), Samples())
            return self._day[1].between(start, end)
        return Samples.joined(self.days(series, start, end))

    def days(self, series: int, start: int, end: int) -> Iterator[Samples]:
        """The raw samples of a range, a UTC day at a time; days without are left out."""
        for day, sealed, loose in self._parts(series, start, end):
            found = Samples() if sealed is None else self._decoded(series, day, sealed)
            found = found.merged(loose).between(start, end)
            if len(found):
                yield found

    def blocks(self, series: int, start: int, end: int) -> Iterator[tuple[int, bytes]]:
        """(day, its raw samples as a block) of a range: what is sealed as it lies there."""
        for day, sealed, loose in self._parts(series, start, end):
            if sealed is not None and not len(loose) and start <= day * DAY and (day + 1) * DAY <= end:
                if self._whole(series, day, sealed):
                    yield day, sealed
                continue
            found = Samples() if sealed is None else self._decoded(series, day, sealed)
            found = found.merged(loose).between(start, end)
            if len(found):
                yield day, block.encode(found)

    def _parts(self, series: int, start: int, end: int) -> Iterator[tuple[int, bytes | None, Samples]]:
        """(day, its block, its samples that are not sealed) of each day of a range that has any."""
        oldest, newest = self._days(series)
        first, last = max(day_of(max(start, 0)), oldest), min(day_of(end - 1), newest)
        begin = first
        while begin <= last:
            until = min(begin + SPARE - 1, last)
            sealed = dict(self.run(sql.BLOCKS, series, begin, until))
            for day in range(begin, until + 1):
                loose = Samples()
                if day >= self._loose_days()[0]:
                    # Of a part of a day, the buckets at the ends are named several times.
                    buckets = range(day * BUCKETS_A_DAY, (day + 1) * BUCKETS_A_DAY)
                    wanted = (min(max(bucket, bucket_of(start)), bucket_of(end - 1)) for bucket in buckets)
                    loose = _ordered(self.run(sql.DAY_SAMPLES, series, *wanted))
                if day in sealed or len(loose):
                    yield day, sealed.get(day), loose
            if until == last:
                return
            # A clock that was wrong once may have left years without anything.
            [(day,)], [(bucket,)] = (
                self.run(sql.NEXT_BLOCK, series, until),
                self.run(sql.NEXT_BUCKET, (until + 1) * BUCKETS_A_DAY),
            )
            days = (day, bucket and bucket // BUCKETS_A_DAY, last + 1)
            begin = min(int(n) for n in days if n is not None)

    def width(self, series: int, start: int, end: int, points: int) -> int:
        """The width of buckets, ms, by which a range has `points` at most (and parts of one at its ends)."""
        wanted = max((end - start - 1) / points, 1)  # the last millisecond is not in the range
        for width in WIDTHS:
            if width >= wanted and not self._only_rolled_up(series, start):
                return width
        step = next(step for least, step in ROUND if wanted > least)
        return max(1, -int(-wanted // step)) * step

    def buckets(self, series: int, start: int, end: int, width: int) -> list[tuple[int, Rollup]]:
        """(start of the bucket, its samples in short); those without samples are absent.

        Buckets are counted from 1970; `width` is one of WIDTHS or a multiple of a roll-up. Of a bucket that lies
        only in part in the range, only that part counts (where its raw samples are kept).
        """
        if width % BUCKET:
            days = self.days(series, start, end)
            return [(number * width, Rollup.of(values)) for day in days for number, values in stretches(day, width)]
        first, last = -(-start // BUCKET), end // BUCKET
        if first >= last:
            return _joined(self._raw(series, start, end), width)
        head = self._raw(series, start, first * BUCKET)
        tail = self._raw(series, last * BUCKET, end)
        wide = width // BUCKET
        middle = [
            (row[0] * BUCKET, Rollup(int(row[1]), *row[2:]))
            for row in self.run(sql.WIDE_ROLLUPS, wide, series, first, last, series)
        ]
        for row in self.run(sql.LOOK_CURRENT, series):
            if first <= row[0] < last:
                middle.append((row[0] * BUCKET, Rollup(*row[1:6])))
                middle.sort(key=lambda pair: pair[0])
        return _joined([*head, *middle, *tail], width)

    def latest(self, series: int) -> tuple[int, float] | None:
        """Time and value of what was recorded last."""
        for *_, last, _falls, time in self.run(sql.LOOK_CURRENT, series):
            return time, last
        return None

    def growth(self, series: int, start: int, end: int) -> Growth | None:
        """How much a counter grew from its last reading at or before `start` to its last one before `end`.

        Where there is none before, from its first one in the range; None where there are not two readings.
        """
        newest = self.at(series, end - 1)
        if newest is None:
            return None
        walk = _Walk(self.at(series, start))
        first, last = -(-start // BUCKET), end // BUCKET
        walk.samples(self.samples(series, start, min(first * BUCKET, end)))
        for begin in range(first, last, TOGETHER):
            readings = self._readings(series, begin, min(begin + TOGETHER, last))
            before = [None if walk.value is None else (begin, 0.0, walk.value, 0), *readings]
            # All that only grew needs no look at its samples, and a year of it no time.
            for was, (bucket, least, latest, falls) in zip(before, readings, strict=False):
                if was is not None and was[2] <= least and not falls:
                    continue
                walk.value = was and was[2]
                raw = self.samples(series, bucket * BUCKET, (bucket + 1) * BUCKET).believed()
                if len(raw):
                    walk.samples(raw)
                else:
                    walk.roll_up(bucket * BUCKET, self._extremes(series, bucket), latest, falls)
            if readings:
                walk.value = readings[-1][2]
        if first <= last:
            walk.samples(self.samples(series, last * BUCKET, end))
        return walk.growth(newest[0])

    def counter_rollups(self, series: int, first: int, end: int) -> Iterator[tuple[int, float, float, float, int]]:
        """(bucket number, least, greatest, last, falls) of each roll-up of a range of numbers, in their order."""
        for begin in range(first, end, TOGETHER):
            until = min(begin + TOGETHER, end)
            rows = [(row[0], row[2], row[3], row[5], row[6]) for row in self.run(sql.ROLLUPS, series, begin, until)]
            for row in self.run(sql.LOOK_CURRENT, series):
                if begin <= row[0] < until:
                    insort(rows, (row[0], row[2], row[3], row[5], row[6]))
            yield from rows

    def _readings(self, series: int, first: int, end: int) -> list[tuple[int, float, float, int]]:
        """(bucket number, least, last, falls) of each roll-up of a range."""
        rows: list[Any] = self.run(sql.READINGS, series, first, end)
        for bucket, _, least, _, _, last, falls, _ in self.run(sql.LOOK_CURRENT, series):
            if first <= bucket < end:
                insort(rows, (bucket, least, last, falls))
        return rows

    def _extremes(self, series: int, bucket: int) -> tuple[float, float]:
        """The least and the greatest value of a roll-up."""
        rows = self.run(sql.ROLLUPS, series, bucket, bucket + 1) or self.run(sql.LOOK_CURRENT, series)
        return rows[0][2], rows[0][3]

    def at(self, series: int, time: int) -> tuple[int, float] | None:
        """The last reading at or before `time`, and its time; None where there is none.

        Where only its roll-up is kept, its time is the end of that.
        """
        bucket = bucket_of(time)
        here = self.samples(series, bucket * BUCKET, time + 1).believed()
        if len(here):
            return here.times[-1], here.values[-1]
        found: list[tuple[int, float]] = [(row[0], row[1]) for row in self.run(sql.LAST_BEFORE, series, bucket)]
        found += [(row[0], row[5]) for row in self.run(sql.LOOK_CURRENT, series) if row[0] < bucket]
        if not found:
            return None
        number, value = max(found)
        raw = self.samples(series, number * BUCKET, (number + 1) * BUCKET).believed()
        return (raw.times[-1] if len(raw) else (number + 1) * BUCKET), value

    def events(self, site: str, device: str, start: int, end: int, most: int) -> list[Event]:
        """The newest events of a range, `most` at most, in order of time."""
        found: list[Event] = []
        for (number,) in self.run(sql.FIND_DEVICE, site, device):
            found = [Event(*row) for row in self.run(sql.EVENTS, number, start, end, most)]
        return found[::-1]

    def _raw(self, series: int, start: int, end: int) -> list[tuple[int, Rollup]]:
        """An end of a range that begins or ends inside a roll-up."""
        if start >= end:
            return []
        days = self.days(series, start, end)
        return [(number * BUCKET, Rollup.of(values)) for day in days for number, values in stretches(day, BUCKET)]

    def _only_rolled_up(self, series: int, start: int) -> bool:
        """Whether the raw samples of `start` are kept no more, and their roll-ups are."""
        [(oldest,)], kept = self.run(sql.FIRST_ROLLUP, series), self.run(sql.KEPT_FROM, series)
        forgotten = max((row[0] for row in kept), default=0) * BUCKETS_A_DAY
        return oldest is not None and max(oldest, bucket_of(start)) < forgotten

    def _days(self, series: int) -> tuple[int, int]:
        """The first and the last day that may have raw samples of a series."""
        [(oldest, newest)] = self.run(sql.BLOCK_DAYS, series)
        first, last = self._loose_days()
        return (first, last) if oldest is None else (min(first, oldest), max(last, newest))

    def _loose_days(self) -> tuple[int, int]:
        """The first and the last day that have samples which are not sealed; where there are none, first > last."""
        if self._loose is None:
            [(oldest,)], [(newest,)] = self.run(sql.OLDEST_BUCKET), self.run(sql.NEWEST_BUCKET)
            self._loose = (2**40, -1) if oldest is None else (oldest // BUCKETS_A_DAY, newest // BUCKETS_A_DAY)
        return self._loose

    def _decoded(self, series: int, day: int, data: bytes) -> Samples:
        return block.decode(data) if self._whole(series, day, data) else Samples()

    def _whole(self, series: int, day: int, data: bytes) -> bool:
        """Whether a block can be read; what cannot is a problem to tell."""
        try:
            block.verify(data)
        except block.BlockError as error:
            one = self.series().get(series)
            name = f"series {series}" if one is None else f"{one.key} of {one.device}"
            self.problems.append(f"{name} of {iso(day * DAY)[:10]} cannot be read: {error}")
            return False
        return True


class _Walk:
    """Along the readings of a counter. Sums are decimal: 0.1 Wh a thousand times are 100 Wh."""

    def __init__(self, before: tuple[int, float] | None) -> None:
        self._total = Decimal(0)
        self._resets = 0
        self._first: int | None = before[0] if before else None
        self._base = before[1] if before else 0.0
        self.value: float | None = before[1] if before else None
        """Where it stands; may be set to what it has grown to."""

    def samples(self, samples: Samples) -> None:
        for time, value, _ in samples.believed().rows():
            self.step(time, value)

    def roll_up(self, time: int, extremes: tuple[float, float], last: float, falls: int) -> None:
        """A stretch whose samples were forgotten: it grew by this at least, and fell so often."""
        least, greatest = extremes
        before, resets = self.value, self._resets
        if greatest > last:  # it was there before it fell
            self.step(time, greatest)
        if before is not None and least < before:
            self.step(time, least)
        self.step(time, last)
        self._resets = max(self._resets, resets + falls)

    def step(self, time: int, value: float) -> None:
        if self.value is None:
            self._first, self._base = time, value
        elif value < self.value:
            self._total += self._rise()
            self._resets += 1
            self._base = value
        self.value = value

    def _rise(self) -> Decimal:
        """Since the beginning or the last reset: the steps in between cancel each other."""
        return Decimal(0) if self.value is None else Decimal(repr(self.value)) - Decimal(repr(self._base))

    def growth(self, end: int) -> Growth | None:
        if self._first is None or end <= self._first:
            return None
        return Growth(float(self._total + self._rise()), self._first, end, self._resets)


def _joined(parts: Sequence[tuple[int, Rollup]], width: int) -> list[tuple[int, Rollup]]:
    """Parts in order of time put together where they lie in one bucket of `width`."""
    whole: list[tuple[int, Rollup]] = []
    for time, rollup in parts:
        begin = time // width * width
        if whole and whole[-1][0] == begin:
            whole[-1] = begin, Rollup.joined([whole[-1][1], rollup])
        else:
            whole.append((begin, rollup))
    return whole


def _ordered(rows: list[tuple[Any, ...]]) -> Samples:
    """Rows that come in order of time."""
    if not rows:
        return Samples()
    times, values, qualities = zip(*rows, strict=True)
    return Samples(list(times), list(values), bytes(qualities) if any(qualities) else None)
