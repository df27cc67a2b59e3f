# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a counter between two readings: it grows, rolls over, is replaced, or does what none can do. Pure.

A meter's counter never goes back, and no faster than power flows. One that does is another meter, or has passed the end
of its display, or something is wrong: the first two are told by facts (its id, the width of its display) and never
guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from rockit.meter.energy import Jump

NEAR = Decimal("0.05")
"""A counter that rolled over was no further from its end, and is no further from its beginning: part of its width."""
FASTEST = Decimal(10_000_000)
"""No line behind such a meter carries more, W."""
SLACK = Decimal(1000)
"""What a counter of whole kWh may grow in no time, Wh."""
Change = Literal["grows", "rolled over", "replaced", "returned", "fell", "leapt"]


@dataclass(frozen=True, slots=True)
class Step:
    """What a new reading means: `jump` where the count does not simply go on."""

    change: Change
    jump: Jump | None = None


def step(
    last: Decimal | None, value: Decimal, time: int, rollover: Decimal | None = None, begin: Decimal = Decimal(0), *,
    replaced: bool = False, elapsed: float | None = None, fell_from: Decimal | None = None,
) -> Step:  # fmt: skip
    """From the `last` reading of a register (None: there was none) to this one, at `time` (ms).

    At `rollover` its display begins anew, with `begin`; `replaced` says that another meter tells it. `elapsed` is the
    time since the last reading (s), `fell_from` what it has fallen from not long ago.
    """
    if last is None:
        return Step("grows")
    if replaced:
        return Step("replaced", Jump(time, "replaced", last, value))
    if value < last:
        if rollover is not None:
            near = (rollover - begin) * NEAR
            if rollover - near <= last <= rollover and value <= begin + near:
                return Step("rolled over", Jump(time, "rolled over", rollover, begin))
        return Step("fell")
    if fell_from is not None and value >= fell_from:
        return Step("returned", Jump(time, "returned", last, fell_from))
    if elapsed is not None and value - last > FASTEST * Decimal(max(elapsed, 0.0)) / 3600 + SLACK:
        return Step("leapt")
    return Step("grows")
