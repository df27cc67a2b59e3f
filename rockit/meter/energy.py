# SPDX-License-Identifier: GPL-3.0-or-later
"""How much energy flowed in each period: from the readings of a counter, exactly, and nothing invented. No clock.

What flowed while nobody read the meter is known as a whole, and not when. Inside of one period it counts for that one;
across the borders of several it stands beside them as a gap, so that no single bar shows it all.

A counter does not always go on where it stood: a new meter begins at another reading, a display rolls over, somebody
aligns a count of pulses with the meter's own display. Each is a `Jump`, and no energy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise
from typing import Literal

import msgspec

from rockit.history.counters import Run

GAP = 15 * 60_000
"""Two readings that are further apart than this, ms, have a gap between them: roll-ups tell no shorter ones."""
Cause = Literal["replaced", "aligned", "rolled over", "returned", "leapt"]


class Jump(msgspec.Struct, frozen=True):
    """At `time` (ms) a register went from one reading to another, and no energy flowed for it.

    `before` is what the old count stood at, `after` what the new one began with; None where nobody knows: then the
    nearest reading counts, and what flowed in between is not known.
    """

    time: int
    cause: Cause
    before: Decimal | None = None
    after: Decimal | None = None


@dataclass(slots=True)
class Period:
    """From `start` to before `end` (ms) so much energy flowed (Wh); None where no reading says anything.

    `complete` is False where part of it is in a gap, or where it has not ended yet.
    """

    start: int
    end: int
    energy: Decimal | None = None
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Gap:
    """Between two readings (ms), over borders of periods: so much flowed (Wh), nobody knows when."""

    start: int
    end: int
    energy: Decimal


@dataclass(slots=True)
class Account:
    """What a counter counted."""

    periods: list[Period]
    gaps: list[Gap] = field(default_factory=list)
    known_from: int | None = None
    """When it was read first, as far as is known, ms."""
    falls: int = 0
    """So often the counter fell and nobody said why; what flowed then is not known, and in no period."""


def exact(number: float) -> Decimal:
    """The number that was read, digit by digit."""
    return Decimal(repr(number))


def account(
    runs: Iterable[Run], jumps: Sequence[Jump], edges: Sequence[int], until: int, before: tuple[int, float] | None, *,
    gap: int = GAP,
) -> Account:  # fmt: skip
    """What flowed in each period between `edges` (ms), from readings up to `until`.

    `before` is the last reading before the first edge, and its time. The reading nearest before an edge stands for it.
    Readings that are no more than `gap` ms apart have none between them.
    """
    result = Account([Period(*pair) for pair in pairwise(edges)])
    at, value = (None, Decimal(0)) if before is None else (before[0], exact(before[1]))
    result.known_from = at
    to_come = deque(sorted((jump for jump in jumps if at is None or jump.time > at), key=lambda jump: jump.time))
    for run in runs:
        first, last = exact(run.first), exact(run.last)
        passed = []
        while to_come and to_come[0].time <= run.begin:
            passed.append(to_come.popleft())
        if at is not None:
            grown, falls = _between(value, first, passed)
            result.falls += falls
            _book(result, edges, at, run.begin, grown, gap)
        else:
            result.known_from = run.begin
            if run.begin - edges[0] > gap:
                _unknown(result, edges, edges[0], run.begin)
        _add(result, edges, run.begin, last - first)
        at, value = run.end, last
    if at is None or until - at > gap:
        _unknown(result, edges, edges[0] if at is None else at, until)
    for period in result.periods:
        if period.end > until:
            period.complete = False
            if period.start >= until:
                period.energy = None
        period.complete = period.complete and period.energy is not None
    return result


def _between(value: Decimal, first: Decimal, jumps: Sequence[Jump]) -> tuple[Decimal, int]:
    """What flowed between two readings that follow each other, and how often the counter fell without a reason."""
    grown, falls = Decimal(0), 0
    for jump in jumps:
        if jump.before is not None:
            step = jump.before - value
            grown, falls = grown + max(step, Decimal(0)), falls + (step < 0)
        value = first if jump.after is None else jump.after
    step = first - value
    return grown + max(step, Decimal(0)), falls + (step < 0)


def _book(result: Account, edges: Sequence[int], at: int, begin: int, grown: Decimal, gap: int) -> None:
    """What flowed between the readings at two moments."""
    if begin - at <= gap:
        _add(result, edges, begin, grown)
        return
    old, new = _index(edges, max(at - 1, 0)), _index(edges, begin)
    if old == new:
        _add(result, edges, begin, grown)
        return
    result.gaps.append(Gap(at, begin, grown))
    _unknown(result, edges, at, begin)


def _add(result: Account, edges: Sequence[int], time: int, grown: Decimal) -> None:
    index = _index(edges, time)
    if 0 <= index < len(result.periods):
        period = result.periods[index]
        period.energy = grown if period.energy is None else period.energy + grown


def _unknown(result: Account, edges: Sequence[int], start: int, end: int) -> None:
    """Of these moments it is not known what flowed in each period."""
    for period in result.periods[max(_index(edges, start), 0) : _index(edges, end - 1) + 1]:
        period.complete = False


def _index(edges: Sequence[int], time: int) -> int:
    return bisect_right(edges, time) - 1


def together(accounts: Sequence[Account]) -> Account:
    """What several counters counted together (the tariffs of one meter): a period is known where all of them are."""
    first, *others = accounts
    periods = [Period(one.start, one.end, one.energy, one.complete) for one in first.periods]
    for other in others:
        for period, more in zip(periods, other.periods, strict=True):
            both = period.energy, more.energy
            period.energy = None if both[0] is None or both[1] is None else both[0] + both[1]
            period.complete = period.complete and more.complete and period.energy is not None
    totals: dict[tuple[int, int], Decimal] = {}
    for gap in (gap for one in accounts for gap in one.gaps):
        totals[gap.start, gap.end] = totals.get((gap.start, gap.end), Decimal(0)) + gap.energy
    gaps = [Gap(*when, energy) for when, energy in sorted(totals.items())]
    begun = [one.known_from for one in accounts if one.known_from is not None]
    return Account(periods, gaps, max(begun) if begun else None, sum(one.falls for one in accounts))
