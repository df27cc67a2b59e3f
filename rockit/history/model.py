# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history is made of: series, samples, events, and the grid of time that they lie on. No I/O, no clock.

Times are integers, milliseconds since 1970-01-01 UTC: exact, without zones, without leap seconds, and so without the
hours that daylight saving repeats.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from numbers import Integral, Real

import msgspec

from rockit.common.quality import Quality

MINUTE = 60_000
BUCKET = 15 * MINUTE
"""Length of a roll-up, ms."""
DAY = 24 * 60 * MINUTE
"""Days are those of UTC, ms."""
BUCKETS_A_DAY = DAY // BUCKET
EXACT = 2**53
"""Integers up to this are exact as floating point numbers; larger ones are refused."""
LARGEST = 1e290
"""Sums of numbers up to this are numbers."""
LATEST_TIME = 253_402_300_799_999
"""The end of the year 9999, ms."""


class Series(msgspec.Struct, frozen=True):
    """One quantity of one device at one site.

    A `counter` only grows (energy, pulses): what counts is its difference over a period, never a mean.
    """

    site: str
    device: str
    key: str
    unit: str = ""
    label: str = ""
    counter: bool = False

    @property
    def name(self) -> tuple[str, str, str]:
        """What tells it from all others."""
        return self.site, self.device, self.key


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened or changed: `kind` is `state`, `alarm`, `command` or `daemon`.

    `name` says of what (`mode`, an alarm's name, a method), `value` to what, `who` from where. `number` tells events of
    one device in the same millisecond apart.
    """

    time: int
    kind: str
    name: str
    value: str = ""
    detail: str = ""
    who: str = ""
    number: int = 0


@dataclass(slots=True)
class Samples:
    """Samples of one series in order of time: three columns of one length.

    `times` in ms, ascending, each once; `values` finite; `qualities` a byte each, or None where all are good.
    """

    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    qualities: bytes | None = None

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def of(cls, samples: Iterable[tuple[int, float, int]]) -> Samples:
        """From (time, value, quality) in any order; of two with one time the first counts.

        Raises ValueError for a value that is not finite or a time that is none.
        """
        known: dict[int, tuple[float, int]] = {}
        for time, value, quality in samples:
            known.setdefault(possible(time), (exact(value), int(Quality(quality))))
        times = sorted(known)
        qualities = bytes(known[time][1] for time in times)
        return cls(times, [known[time][0] for time in times], qualities if any(qualities) else None)

    @classmethod
    def stored(cls, rows: Iterable[tuple[int, float, int]]) -> Samples:
        """As `of`, from rows of a store: they were looked at when they went in, and no time is there twice."""
        ordered = sorted(rows)
        if not ordered:
            return cls()
        times, values, qualities = zip(*ordered, strict=True)
        return cls(list(times), list(values), bytes(qualities) if any(qualities) else None)

    def rows(self) -> Iterator[tuple[int, float, int]]:
        """(time, value, quality), one after the other."""
        return zip(self.times, self.values, self.qualities or bytes(len(self.times)), strict=True)

    def merged(self, others: Samples) -> Samples:
        """These and those `others` whose time is not here yet."""
        if not self.times or not others.times:
            return self if self.times else others
        if self.times[-1] < others.times[0]:
            qualities = None
            if self.qualities is not None or others.qualities is not None:
                qualities = (self.qualities or bytes(len(self))) + (others.qualities or bytes(len(others)))
            return Samples(self.times + others.times, self.values + others.values, qualities)
        return Samples.of([*self.rows(), *others.rows()])

    @classmethod
    def joined(cls, parts: Iterable[Samples]) -> Samples:
        """One run of several that follow each other in time."""
        runs = list(parts)
        qualities = None
        if any(run.qualities is not None for run in runs):
            qualities = b"".join(run.qualities or bytes(len(run)) for run in runs)
        times, values = (run.times for run in runs), (run.values for run in runs)
        return cls(list(chain.from_iterable(times)), list(chain.from_iterable(values)), qualities)

    def between(self, start: int, end: int) -> Samples:
        """Those with start <= time < end."""
        low, high = bisect_left(self.times, start), bisect_left(self.times, end)
        if low == 0 and high == len(self.times):
            return self
        qualities = None if self.qualities is None else self.qualities[low:high]
        return Samples(self.times[low:high], self.values[low:high], qualities)

    def believed(self) -> Samples:
        """Without the bad ones."""
        if self.qualities is None or Quality.BAD not in self.qualities:
            return self
        return Samples.of(row for row in self.rows() if row[2] != Quality.BAD)


class Batch(msgspec.Struct):
    """What goes from one history to another: samples are (index into `series`, time, value, quality)."""

    series: list[Series] = []
    samples: list[tuple[int, int, float, int]] = []
    events: list[tuple[str, str, Event]] = []
    """(site, device, event)"""


def possible(time: int) -> int:
    """A time that a history can hold, ms. Raises ValueError, as for that of a clock which is set before 1970."""
    if not (isinstance(time, int) and 0 <= time <= LATEST_TIME):
        raise ValueError(f"{time!r} is no time in ms since 1970")
    return time


def exact(value: float | Real | Decimal) -> float:
    """`value` as the floating point number that is stored.

    Raises ValueError where it would not be the same number; of a Decimal, where other digits would be read back.
    """
    number = float(value)
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise ValueError(f"{value!r} is no number that can be recorded")
    if isinstance(value, Integral) and abs(int(value)) > EXACT:
        raise ValueError(f"{value!r} is too large to be recorded exactly")
    if isinstance(value, Decimal) and Decimal(repr(number)) != value:
        raise ValueError(f"{value!r} has more digits than can be recorded")
    return number + 0.0  # which makes 0.0 of -0.0, as SQLite does


def bucket_of(time: int) -> int:
    """Number of the 15 minutes that a time (ms) lies in, since 1970."""
    return time // BUCKET


def day_of(time: int) -> int:
    """Number of the UTC day that a time (ms) lies in, since 1970."""
    return time // DAY
