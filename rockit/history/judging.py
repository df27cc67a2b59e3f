# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a history has of one series and one day is right. No I/O, no clock."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import isfinite
from operator import ge
from typing import Any

from rockit.common.quality import Quality
from rockit.history import block, times
from rockit.history.model import BUCKET, BUCKETS_A_DAY, DAY, MINUTE, Samples
from rockit.history.rollup import stored as short_of
from rockit.history.rollup import stretches

AHEAD = 5 * MINUTE
"""A clock may be ahead of ours by this, ms."""
_SHORT = struct.Struct("<qddddq")


class What(Enum):
    """What a problem is with."""

    FILE = "file"
    NAMES = "names"
    BLOCK = "block"
    COUNT = "count"
    ROWS = "rows"
    DOUBLE = "double"
    FUTURE = "future"
    GONE = "gone"
    ASIDE = "aside"
    WRONG = "wrong"
    MISSING = "missing"
    TWICE = "twice"
    CURRENT = "current"


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be."""

    what: What
    where: str
    text: str
    mendable: bool = False
    """`--repair` can put it right."""
    repaired: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" + (" (repaired)" if self.repaired else "")


@dataclass
class Day:
    """All rows of one series and one day, as they were at one moment."""

    where: str
    day: int
    now: int
    blocks: Sequence[tuple[Any, ...]]
    """(count, data)"""
    rows: Sequence[tuple[Any, ...]]
    """(time, value, quality)"""
    rollups: Sequence[tuple[Any, ...]]
    """(bucket, count, least, greatest, total, last, falls)"""
    current: tuple[Any, ...] | None
    """The same with the time of the last sample; of whatever day."""
    aside: Sequence[tuple[int, str]]
    """(when, why) of blocks that were set aside and cannot be read."""
    forgotten: bool
    """The samples of days as old as this one were forgotten."""
    pending: bool
    """A block of it was set aside that can be put back."""
    newest: bool
    """The series has no roll-ups of later days."""


@dataclass
class Verdict:
    """What is wrong with a day, and what would mend it."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: int = 0
    rollups: int = 0
    anew: Samples = field(default_factory=Samples)
    """A sample of each bucket whose roll-up is to be computed anew."""
    twice: bool = False
    """The current roll-up stands among the others as well."""
    count: bool = False
    """The block's number of samples is to be put right."""


def judged(day: Day) -> Verdict:
    """Look at everything."""
    verdict = Verdict(rollups=len(day.rollups))

    def tell(what: What, text: str, *, mendable: bool = False) -> None:
        verdict.problems.append(Problem(what, day.where, text, mendable))

    sealed: Samples | None = Samples()
    for count, data in day.blocks:
        sealed, why = unpacked(data, day.day)
        if sealed is None:
            tell(What.BLOCK, f"its block cannot be used: {why}; import this day from a copy, if there is one")
        elif count != len(sealed):
            verdict.count = True
            tell(What.COUNT, f"its block has {len(sealed)} samples and says {count}", mendable=True)
    loose, why = plain(day.rows, day.day)
    if loose is None:
        tell(What.ROWS, f"its rows cannot be used: {why}")
    if sealed is None or loose is None:
        return verdict
    both = set(sealed.times).intersection(loose.times)
    if both:
        tell(What.DOUBLE, f"{_counted(len(both), 'sample')} in its block and as a row, too; the block counts")
    raw = sealed.merged(loose)
    verdict.samples = len(raw)
    if len(raw) and raw.times[-1] > day.now + AHEAD:
        ahead = len(raw.between(day.now + AHEAD, raw.times[-1] + 1))
        tell(What.FUTURE, f"{_counted(ahead, 'sample')} of the future, up to {times.iso(raw.times[-1])}: a wrong clock")
    _compare(day, raw, verdict)
    return verdict


def _compare(day: Day, raw: Samples, verdict: Verdict) -> None:
    """The roll-ups that are stored against those of the samples, bit by bit."""
    expected = {bucket: short_of(values) for bucket, values in stretches(raw, BUCKET)}
    stored = {row[0]: tuple(row[1:]) for row in day.rollups}
    anew: set[int] = set()
    wrong: list[int] = []

    def tell(what: What, text: str, *, mendable: bool = True) -> None:
        verdict.problems.append(Problem(what, day.where, text, mendable))

    if day.current is not None and day.current[0] // BUCKETS_A_DAY == day.day:
        bucket, *short, last = day.current
        verdict.rollups += bucket not in stored
        if bucket in stored:
            verdict.twice = bucket in expected
            anew.update({bucket} & expected.keys())
            tell(What.TWICE, f"the roll-up of {_clock(bucket)} is there twice", mendable=verdict.twice)
        stored[bucket] = tuple(short)
        if bucket in expected and last != raw.believed().between(0, (bucket + 1) * BUCKET).times[-1]:
            wrong.append(bucket)
    elif day.current is None and day.newest and expected:
        anew.add(max(expected))
        tell(What.CURRENT, "none of its roll-ups is the current one")
    missing = sorted(expected.keys() - stored.keys())
    wrong += [bucket for bucket in expected.keys() & stored.keys() if _bits(stored[bucket]) != _bits(expected[bucket])]
    # A block vouches for its day by its checksum. Else a roll-up of more samples than there are is the last witness.
    vouched = bool(day.blocks) and not day.aside
    lost = {bucket for bucket in wrong if not vouched and _samples(stored[bucket]) > expected[bucket][0]}
    wrong = sorted(set(wrong) - lost)
    lost.update(stored.keys() - expected.keys())
    if missing:
        tell(What.MISSING, f"{_counted(len(missing), 'roll-up')} missing, the first that of {_clock(missing[0])}")
    if wrong:
        tell(What.WRONG, f"{_counted(len(wrong), 'roll-up')} wrong, the first that of {_clock(wrong[0])}")
    _judge_lost(day, sorted(lost), verdict)
    anew.update(missing, wrong)
    chosen = [raw.between(bucket * BUCKET, (bucket + 1) * BUCKET) for bucket in sorted(anew)]
    verdict.anew = Samples.of(next(part.rows()) for part in chosen)


def _judge_lost(day: Day, lost: list[int], verdict: Verdict) -> None:
    """Roll-ups that tell of samples which are not there."""
    if day.forgotten or day.pending:
        return
    asides = [f"a block of it was set aside on {times.iso(when)} ({why})" for when, why in day.aside]
    if not lost:
        verdict.notes += [f"{day.where}: {text}; by its roll-ups nothing is missing" for text in asides]
        return
    because = "; ".join(asides) or "they are lost"
    verdict.problems.append(
        Problem(
            What.ASIDE if asides else What.GONE,
            day.where,
            f"samples of {_counted(len(lost), 'roll-up', be=False)} are not there, the first that of {_clock(lost[0])}:"
            f" {because}; import them from a copy, if there is one",
        )
    )


def unpacked(data: Any, day: int) -> tuple[Samples | None, str]:
    """The samples of a block of that day; None, and why, where they are not what they should be."""
    if not isinstance(data, bytes):
        return None, "it is no block"
    try:
        found = block.decode(data)
    except block.BlockError as error:
        return None, str(error)
    why = _fault(found, day)
    return (None, why) if why else (found, "")


def plain(rows: Sequence[tuple[Any, ...]], day: int) -> tuple[Samples | None, str]:
    """Rows (time, value, quality) of that day as samples; None, and why, where they are not what they should be."""
    try:
        found = Samples([row[0] for row in rows], [float(row[1]) for row in rows], bytes(row[2] for row in rows))
        return (None, why) if (why := _fault(found, day)) else (found, "")
    except (TypeError, ValueError, OverflowError) as error:
        return None, str(error)


def _fault(samples: Samples, day: int) -> str:
    """What is wrong with samples that are said to be of that day."""
    moments = samples.times
    if any(map(ge, moments, moments[1:])):
        return "its times are not in order"
    if moments and not day * DAY <= moments[0] <= moments[-1] < (day + 1) * DAY:
        return f"it has times from {times.iso(moments[0])} to {times.iso(moments[-1])}"
    if not all(map(isfinite, samples.values)):
        return "it has values that are not finite"
    if samples.qualities is not None and max(samples.qualities, default=0) > max(Quality):
        return "it has qualities that there are none of"
    return ""


def _bits(short: tuple[Any, ...]) -> bytes:
    try:
        return _SHORT.pack(*short)
    except struct.error:
        return b""


def _samples(short: tuple[Any, ...]) -> int:
    return short[0] if isinstance(short[0], int) else 0


def _clock(bucket: int) -> str:
    return times.iso(bucket * BUCKET)[11:16]


def _counted(count: int, what: str, *, be: bool = True) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}" + ((" is" if count == 1 else " are") if be else "")
