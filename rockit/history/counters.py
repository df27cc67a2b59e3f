# SPDX-License-Identifier: GPL-3.0-or-later
"""The readings of a counter as runs in which it only grew: what energies of hours, days and years are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rockit.history.model import BUCKET, Samples, bucket_of

if TYPE_CHECKING:
    from rockit.history.query import View


@dataclass(frozen=True, slots=True)
class Run:
    """Between two moments (ms) a counter grew from its `first` reading to its `last`, and never fell.

    Where a moment is the border of a roll-up, the reading lies somewhere in these 15 minutes.
    """

    begin: int
    end: int
    first: float
    last: float


def runs(
    view: View, series: int, start: int, end: int, *, cuts: Collection[int] = (), borders: Collection[int] = ()
) -> Iterator[Run]:
    """The readings with start <= time < end, in order of time; `start`, `end`, `borders` are borders of roll-ups.

    No run goes over a fall, a gap, one of `cuts` (any moment, ms), or one of `borders`. Where the samples of a fall
    were forgotten, what the roll-up tells is the least that the counter can have grown.
    """
    return _joined(_pieces(view, series, start, end, cuts), frozenset(borders))


def _joined(pieces: Iterable[tuple[int, int, float, float, bool]], borders: frozenset[int]) -> Iterator[Run]:
    """Whole roll-ups that follow each other as one: a year has 35,000 of them."""
    begin = end = -1
    first = last = 0.0
    for start, until, least, newest, whole in pieces:
        if whole and start == end and least >= last and start not in borders:
            end, last = until, newest
            continue
        if begin >= 0:
            yield Run(begin, end, first, last)
        begin, end, first, last = start, until, least, newest
        if not whole:
            yield Run(begin, end, first, last)
            begin = end = -1
    if begin >= 0:
        yield Run(begin, end, first, last)


def _pieces(
    view: View, series: int, start: int, end: int, cuts: Collection[int]
) -> Iterator[tuple[int, int, float, float, bool]]:
    """Begin, end, first and last reading of each piece, and whether that is a whole roll-up."""
    look = {bucket_of(cut) for cut in cuts}
    for bucket, least, greatest, last, falls in view.counter_rollups(series, bucket_of(start), -(-end // BUCKET)):
        begin = bucket * BUCKET
        if not falls and bucket not in look:
            yield begin, begin + BUCKET, least, last, True
            continue
        raw = view.samples(series, begin, begin + BUCKET).believed()
        if len(raw):
            yield from _rises(raw, cuts)
        elif not falls:
            yield begin, begin + BUCKET, least, last, True
        else:
            yield begin, begin, greatest, greatest, False
            yield begin, begin + BUCKET, least, last, False


def _rises(samples: Samples, cuts: Collection[int]) -> Iterator[tuple[int, int, float, float, bool]]:
    times, values = samples.times, samples.values
    inside = [cut for cut in cuts if times[0] < cut <= times[-1]]
    began = 0
    for index in range(1, len(times) + 1):
        if (
            index == len(times)
            or values[index] < values[index - 1]
            or any(times[index - 1] < cut <= times[index] for cut in inside)
        ):
            yield times[began], times[index - 1], values[began], values[index - 1], False
            began = index
