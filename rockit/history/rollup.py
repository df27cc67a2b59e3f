# SPDX-License-Identifier: GPL-3.0-or-later
"""Count, least, greatest, sum, last and falls of the samples of a stretch of time. No I/O.

Sums are those of the exact numbers, rounded once: they do not depend on the order in which samples came, so that a
roll-up that grew sample by sample equals one that is computed anew, bit by bit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import fsum
from operator import gt
from typing import NamedTuple

from rockit.history.model import Samples

Stored = tuple[int, float, float, float, float, int]
"""A roll-up as it lies in the tables: the five of `Rollup`, and how often a value was less than the one before it."""
_NUMBERS = 16
"""So many numbers are kept of a sum before they are made fewer: it costs less than to do so for each."""


class Rollup(NamedTuple):
    """The samples of one stretch of time, in short. `last` is the value of the latest one."""

    samples: int
    least: float
    greatest: float
    total: float
    last: float

    @property
    def mean(self) -> float:
        """Of all samples; between least and greatest whatever the rounding."""
        return min(max(self.total / self.samples, self.least), self.greatest)

    @classmethod
    def of(cls, values: Sequence[float]) -> Rollup:
        """Of values in order of time; at least one."""
        return cls(len(values), min(values), max(values), fsum(values), values[-1])

    @classmethod
    def joined(cls, parts: Sequence[Rollup]) -> Rollup:
        """One for several that follow each other."""
        return cls(
            sum(part.samples for part in parts),
            min(part.least for part in parts),
            max(part.greatest for part in parts),
            fsum(part.total for part in parts),
            parts[-1].last,
        )


def stored(values: Sequence[float]) -> Stored:
    """Of values in order of time; at least one."""
    return (*Rollup.of(values), sum(map(gt, values, values[1:])))


@dataclass(slots=True)
class Growing:
    """The roll-up of the stretch that is being recorded; grows by one sample in a time that does not grow."""

    count: int = 0
    least: float = 0.0
    greatest: float = 0.0
    last_time: int = -1
    last: float = 0.0
    falls: int = 0
    _numbers: list[float] = field(default_factory=list)
    """Their sum is exactly that of all that came."""

    @classmethod
    def of(cls, samples: Samples) -> Growing:
        """From all samples of the stretch; the bad ones do not count."""
        grown = cls()
        for time, value, _ in samples.believed().rows():
            grown.add(time, value)
        return grown

    def add(self, time: int, value: float) -> None:
        """One more, at `time` in ms, which is later than that of all before."""
        if not self.count:
            self.least = self.greatest = value
        elif value < self.last:
            self.falls += 1
            self.least = min(self.least, value)
        elif value > self.greatest:
            self.greatest = value
        self.count += 1
        self.last_time, self.last = time, value
        self._numbers.append(value)
        if len(self._numbers) > _NUMBERS:
            self._numbers = _shortened(self._numbers)

    @property
    def total(self) -> float:
        """The exact sum, rounded once."""
        return fsum(self._numbers)

    def stored(self) -> Stored:
        """Of what came up to now; something must have come."""
        return self.count, self.least, self.greatest, fsum(self._numbers), self.last, self.falls


def _shortened(numbers: list[float]) -> list[float]:
    """A few numbers with exactly the same sum: what a rounded sum lacks is the next one, until nothing is left."""
    fewer: list[float] = []
    rest = list(numbers)
    while part := fsum(rest):
        fewer.append(part)
        rest.append(-part)
    return fewer


def stretches(samples: Samples, width: int) -> Iterator[tuple[int, list[float]]]:
    """(number of the stretch, its values) for each stretch of `width` ms, counted from 1970, that has samples."""
    believed = samples.believed()
    times, values = believed.times, believed.values
    begin = 0
    while begin < len(times):
        number = times[begin] // width
        end = bisect_left(times, (number + 1) * width, begin)
        yield number, values[begin:end]
        begin = end
