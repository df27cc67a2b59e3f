# SPDX-License-Identifier: GPL-3.0-or-later
"""The readings of a counter as runs in which it only grew: what energies of hours, days and years are made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
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
    view: View, series: int, start: int, end: int, *, cuts: Mapping[int, float | None] | None = None,
    borders: Collection[int] = (),
) -> Iterator[Run]:  # fmt: skip
    """The readings with start <= time < end, in order of time; `start`, `end`, `borders` are borders of roll-ups.

    No run goes over a fall, a gap, one of `borders`, or one of `cuts`: moments (ms) from which on the counter stood at
    another reading (None where that is not known). Where the samples were forgotten, what a roll-up with a fall or a
    cut tells is the least that the counter can have grown.
    """
    return _joined(_pieces(view, series, start, end, cuts or {}), frozenset(borders))


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
    view: View, series: int, start: int, end: int, cuts: Mapping[int, float | None]
) -> Iterator[tuple[int, int, float, float, bool]]:
    """Begin, end, first and last reading of each piece, and whether that is a whole roll-up."""
    look = {bucket_of(cut): cut for cut in sorted(cuts)}
    stood = -inf
    for bucket, least, greatest, last, falls in view.counter_rollups(series, bucket_of(start), -(-end // BUCKET)):
        begin, until, before = bucket * BUCKET, (bucket + 1) * BUCKET, stood
        stood = last
        if not falls and bucket not in look:
            yield begin, until, least, last, True
            continue
        raw = view.samples(series, begin, until).believed()
        if len(raw):
            yield from _rises(raw, cuts)
            continue
        cut = look.get(bucket, begin)
        behind = cuts.get(cut)
        if not falls and (least < before or (behind is not None and before < behind <= least)):
            yield cut, until, least, last, False  # all of its readings are of behind the cut
            continue
        # It stood at one end of the roll-up before the fall or the cut, and at the other behind it.
        ahead, after = (greatest, least) if falls else (least, last)
        yield begin, begin, ahead, ahead, False
        yield cut, until, after, last, False


def _rises(samples: Samples, cuts: Iterable[int]) -> Iterator[tuple[int, int, float, float, bool]]:
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
