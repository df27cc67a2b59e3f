# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the boiler heats in winter: hysteresis about the set point, and frost, which nobody can switch off. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rockit.boiler.memory import Memory
from rockit.boiler.model import BOILER, Season
from rockit.boiler.reasons import Reason
from rockit.boiler.settings import Settings

HOLD = 300.0
"""So long a lost return temperature changes nothing, s: losing it is not the same as being told to stop."""
BLIND_ON, BLIND_EVERY = 600.0, 1800.0
"""Water of unknown temperature is heated so long, once in so long, s, while it may freeze."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one part of the control wants of a source. `firm`: an off that no minimum time on holds up."""

    on: bool
    why: Reason
    firm: bool = False


def hysteresis(
    value: float | None, setpoint: float, settings: Settings, memory: Memory, now: float, *, inlet: bool = False
) -> tuple[bool, Reason]:
    """Heat from the set point less tolerance, until it is passed by the tolerance. `value`: return temperature, °C.

    `inlet`: the boiler tells that of its inlet, which is the return's while it runs.
    """
    low, high = setpoint - settings.tolerance, setpoint + settings.tolerance
    if value is None:
        known_at = memory.return_known_at
        if known_at is not None and now - known_at <= HOLD:
            return memory.heating, Reason("the return temperature is lost; as it was, for now")
        if inlet and memory.season.season is Season.WINTER and _long_off(memory, now):
            return True, Reason("the return sensor is lost: the boiler runs to see what its inlet says")
        return False, Reason("the return temperature is not known")
    if memory.heating:
        if value > high:
            return False, Reason("the return, {}, is above {}", (value, high))
        return True, Reason("the return, {}, has not passed {}", (value, high))
    if value <= low:
        return True, Reason("the return, {}, is not above {}", (value, low))
    return False, Reason("the return, {}, is above {}", (value, low))


def _long_off(memory: Memory, now: float) -> bool:
    """Whether the boiler has been off for so long, or just runs to look, that looking is due."""
    boiler = memory.devices.get(BOILER)
    if boiler is None or boiler.changed_at is None:
        return False
    since = now - boiler.changed_at
    return since < BLIND_ON if boiler.on else since >= BLIND_EVERY


def frost(waters: tuple[float, ...], outside: float | None, settings: Settings, memory: Memory, now: float) -> Memory:
    """Memory with `frost` as it is now. `waters`: every water temperature that is known; `outside` None: not known.

    Water that is known to be warm ends it. Water of which nothing is known is taken to freeze where it freezes outside,
    and where that is not known either.
    """
    if waters:
        coldest = min(waters)
        cold = coldest < (settings.freeze_off if memory.frost else settings.freeze_on)
        return (
            memory if cold is memory.frost and memory.blind_at is None else replace(memory, frost=cold, blind_at=None)
        )
    known_at = memory.return_known_at
    if known_at is not None and now - known_at <= HOLD:
        return memory
    cold = outside is None or outside < settings.freeze_outside
    if not cold:
        return replace(memory, frost=False, blind_at=None) if memory.frost or memory.blind_at is not None else memory
    if memory.blind_at is None or now - memory.blind_at >= BLIND_EVERY:
        memory = replace(memory, blind_at=now)
    heat = memory.blind_at is not None and now - memory.blind_at < BLIND_ON
    return memory if heat is memory.frost else replace(memory, frost=heat)


def frost_reason(memory: Memory, waters: tuple[float, ...]) -> Reason:
    """Why the boiler heats because of frost."""
    if memory.blind_at is not None:
        return Reason("frost: no water temperature is known and it may freeze, so that it is heated now and then")
    if not waters:
        return Reason("frost: the water was too cold when it was known last")
    return Reason("frost: the water is at {}", (min(waters),))
