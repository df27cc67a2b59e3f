# SPDX-License-Identifier: GPL-3.0-or-later
"""Which chillers run in summer: one more or one less by tolerance, trend and the time since the last change. Pure.

As Chronos does it: one more where the return is at or above the set point plus tolerance and has risen in the mean of
three minutes, one less where it was logged below the set point less tolerance and falls. Two things are added, since
with the trend alone a return that stays far off changes nothing: a return that has not come nearer for two cascade
times counts as well, and the chiller with the fewest hours goes first (Chronos: the longest rested).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rockit.boiler.memory import DeviceState, Trend
from rockit.boiler.reasons import Reason

LESS = 1.5
"""One less may follow after the cascade time divided by this, as in Chronos."""
PATIENCE = 2.0
"""So many cascade times may pass without the return coming nearer."""
ADVERSE = 0.1
"""The mean of the last three signs must be above this for one more."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A chiller that the cascade may choose: healthy, AUTO, and free to switch."""

    name: str
    state: DeviceState


@dataclass(frozen=True, slots=True)
class Loop:
    """The return and its set point, °C, K. `gap`: s since a chiller was switched, `far`: since it came no nearer."""

    value: float
    setpoint: float
    tolerance: float
    trend: Trend
    gap: float
    cascade_time: float
    far: float


def step(loop: Loop, off: Iterable[Unit], on: Iterable[Unit]) -> tuple[str | None, str | None, Reason]:
    """(who goes on, who goes off, why): at most one of both."""
    high, low = loop.setpoint + loop.tolerance, loop.setpoint - loop.tolerance
    mean = loop.trend.mean
    if loop.value >= high:
        rising = mean is not None and mean > ADVERSE
        if not rising and loop.far < PATIENCE * loop.cascade_time:
            return None, None, Reason("the return, {}, is above {} and does not rise", (loop.value, high))
        if loop.gap < loop.cascade_time:
            return None, None, Reason("the return, {}, is above {}; it is too soon for one more", (loop.value, high))
        chosen = min(off, key=_fewest_hours, default=None)
        if chosen is None:
            return None, None, Reason("the return, {}, is above {}, and no other chiller is free", (loop.value, high))
        how = "rises" if rising else "comes no nearer"
        return chosen.name, None, Reason(f"the return, {{}}, is above {{}} and {how}", (loop.value, high))
    logged = loop.trend.logged
    if logged is not None and logged < low:
        falling = loop.trend.sign(loop.value) < 0
        if not falling and not (loop.value < low and loop.far >= PATIENCE * loop.cascade_time):
            return None, None, Reason("the return, {}, is below {} and does not fall", (loop.value, low))
        if loop.gap < loop.cascade_time / LESS:
            return None, None, Reason("the return, {}, is below {}; it is too soon for one less", (loop.value, low))
        chosen = min(on, key=_most_hours, default=None)
        if chosen is not None:
            how = "falls" if falling else "comes no nearer"
            return None, chosen.name, Reason(f"the return, {{}}, is below {{}} and {how}", (loop.value, low))
    if loop.value < low:
        return None, None, Reason("the return, {}, is below {}", (loop.value, low))
    return None, None, Reason("the return, {}, is within {} and {}", (loop.value, low, high))


def _since(unit: Unit) -> float:
    return -1.0 if unit.state.changed_at is None else unit.state.changed_at


def _fewest_hours(unit: Unit) -> tuple[float, float, str]:
    return unit.state.run_seconds, _since(unit), unit.name


def _most_hours(unit: Unit) -> tuple[float, float, str]:
    return -unit.state.run_seconds, _since(unit), unit.name
