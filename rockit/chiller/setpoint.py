# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides the set point: limits, dew point floor, ramp, and few writes. Pure, with the clock as an argument.

Writes are few because set points are kept in memory that wears out (SMC says so of its FRAM, LAUDA refuses the 21st
change in an hour): only on change, and moves that nobody ordered at most once a minute, or as rarely as the driver
says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rockit.chiller.dewpoint import dew_point
from rockit.chiller.model import HUMIDITY
from rockit.common.conditions import Condition, Priority

WRITE_GAP = 60.0
"""Least time between two writes of a moving set point where the driver wants no more, s."""
DEW_STEP = 0.5
"""The dew point floor moves in such steps, K, so that it does not write at every flicker of a humidity sensor."""
HUMIDITY_HOLD = 600.0
"""For so long the last dew point is believed after the humidity was lost, s."""
ASSUMED_HUMIDITY = 90.0
"""% relative; what is assumed after that, or what was known last where that is more."""
INPUT_DELAY = 10.0
"""How long another daemon's value must be missing before that is an alarm, s: it may just not have been asked yet."""
ATTEMPTS = 3
"""How often a start, a stop or a set point is tried before it is an alarm and left alone."""
RETRY_AFTER = 20.0
"""Time between two tries, and what the last one has before it counts as failed, s."""
LASTED = 600.0
"""What did not last so long, s (a start, a stop, a set point that the device left again), counts among the tries."""


@dataclass(frozen=True)
class Limits:
    """°C and K; `rate` in K/min. None switches a function off."""

    low: float = 5.0
    high: float = 45.0
    rate: float | None = None
    dew_point_margin: float | None = None
    resolution: float = 0.1
    """Smallest step that the device takes, K."""
    gap: float = WRITE_GAP
    """Least time between two writes of a moving set point, s."""


@dataclass(frozen=True)
class Memory:
    """What a decision needs of earlier ones."""

    base: float | None = None
    """The device's own set point as it was found, for when nobody asked for another."""
    asked: float | None = None
    ramp: float | None = None
    ramp_at: float | None = None
    written_at: float | None = None
    floor: float | None = None
    floor_at: float | None = None
    missing_at: float | None = None
    """Since when the dew point is not known."""
    damp: float = ASSUMED_HUMIDITY
    goal: float | None = None
    """What was written last."""
    attempts: int = 0
    """Writes of it that the device has not taken."""
    undone: int = 0
    """How often the device took one and left it again."""
    tried_at: float | None = None

    def forgiven(self) -> Memory:
        """After an operator acted: tries count from zero again, and the next write need not wait."""
        return replace(self, goal=None, attempts=0, undone=0, tried_at=None, written_at=None)


@dataclass(frozen=True)
class Point:
    """`write` is the set point to write now, or None; `target` where it goes; `held` what keeps it from the request."""

    memory: Memory
    write: float | None = None
    target: float | None = None
    held: str | None = None
    alarms: Mapping[str, Condition] = field(default_factory=dict)


def decide(
    device: float | None, asked: float | None, dome_temp: float | None, humidity: float | None,
    ambient_temp: float | None, limits: Limits, memory: Memory, now: float,
) -> Point:  # fmt: skip
    """One decision. `device` is the set point in the device, `asked` what a person asked for; None is not known."""
    alarms: dict[str, Condition] = {}
    device, asked = within(device, -math.inf, math.inf), within(asked, -math.inf, math.inf)
    floored, memory = _floor(dome_temp, within(humidity, *HUMIDITY), ambient_temp, limits, memory, now, alarms)
    if memory.floor is not None and memory.floor > limits.high:
        alarms["dew_point_above_limits"] = Condition(
            f"the dew point asks for {memory.floor:.1f} °C, above the highest set point {limits.high:g} °C: "
            "surfaces may get wet",
            Priority.HIGH,
        )
    if asked != memory.asked:
        memory = replace(memory.forgiven(), asked=asked)
    if device is None:
        return Point(memory, alarms=alarms)
    if memory.base is None:
        memory = replace(memory, base=device)
    if asked is None and limits.dew_point_margin is None:  # nobody asked and nothing forces: the device's own business
        return Point(replace(memory, base=device, ramp=None, ramp_at=None), alarms=alarms)
    wish = asked if asked is not None else memory.base if memory.base is not None else device
    floor = memory.floor
    if not floored:  # the set point is not lowered blindly
        floor = device if floor is None else max(floor, device)
    wanted = wish if floor is None else max(wish, floor)
    target = min(max(wanted, limits.low), limits.high)
    held = None
    if floor is not None and floor > wish + 1e-6:
        held = f"the dew point floor of {floor:.1f} °C" if floored else "the unknown dew point"
    elif abs(target - wish) > 1e-6:
        held = f"the limits of {limits.low:g} to {limits.high:g} °C"
    memory = _ramp(device, target, floor, limits, memory, now)
    if (
        held is None
        and limits.rate is not None
        and abs((target if memory.ramp is None else memory.ramp) - target) >= limits.resolution
    ):
        held = f"setpoint_rate, {limits.rate:g} K/min"
    return _write(device, floor, limits, memory, now, Point(memory, None, target, held, alarms), alarms)


def within(value: float | None, low: float, high: float) -> float | None:
    """`value`, or None when it is outside of what can be, infinite or NaN."""
    return value if value is not None and math.isfinite(value) and low <= value <= high else None


def _floor(
    dome_temp: float | None, humidity: float | None, ambient_temp: float | None, limits: Limits, memory: Memory,
    now: float, alarms: dict[str, Condition],
) -> tuple[bool, Memory]:  # fmt: skip
    """Whether there is a floor that can be relied on, and the floor in the memory.

    The floor moves in steps that rise at once and fall with hysteresis. When the humidity is lost it stays for a
    while; then damp air is assumed.
    """
    air = dome_temp if dome_temp is not None else ambient_temp
    dew = dew_point(dome_temp, humidity) if dome_temp is not None and humidity is not None else None
    margin = limits.dew_point_margin
    if margin is None:
        return True, replace(memory, floor=None, floor_at=None, missing_at=None, damp=ASSUMED_HUMIDITY)
    if dew is not None:
        damp = max(ASSUMED_HUMIDITY, math.ceil(min(humidity or 0.0, 100.0)))
        return True, _stepped(dew + margin, replace(memory, floor_at=now, missing_at=None, damp=damp))
    alarms["humidity"] = Condition(
        "the dew point is not known; the set point stays on the safe side", Priority.MEDIUM, delay=INPUT_DELAY
    )
    since = memory.missing_at if memory.missing_at is not None else now
    memory = replace(memory, missing_at=since)
    recent = memory.floor_at is not None and now - memory.floor_at < HUMIDITY_HOLD
    if recent or now - since < INPUT_DELAY:
        return memory.floor is not None, memory
    if air is None:
        return False, memory
    return True, _stepped(dew_point(air, memory.damp) + margin, memory)


def _stepped(raw: float, memory: Memory) -> Memory:
    stepped = math.ceil(raw / DEW_STEP - 1e-9) * DEW_STEP
    if memory.floor is None or stepped > memory.floor or raw < memory.floor - 1.5 * DEW_STEP:
        return replace(memory, floor=stepped)
    return memory


def _ramp(device: float, target: float, floor: float | None, limits: Limits, memory: Memory, now: float) -> Memory:
    """Move the ideal set point towards the target at the limited rate; a rising floor lifts it at once."""
    if limits.rate is None:
        return replace(memory, ramp=target, ramp_at=now)
    position = memory.ramp if memory.ramp is not None else device
    elapsed = max(0.0, now - memory.ramp_at) if memory.ramp_at is not None else 0.0
    step = limits.rate / 60.0 * elapsed
    position += min(max(target - position, -step), step)
    # It does not run away from a device that refuses or is away.
    lead = limits.rate / 60.0 * limits.gap + limits.resolution
    position = min(max(position, device - lead), device + lead)
    if floor is not None:
        position = max(position, floor)
    return replace(memory, ramp=min(max(position, limits.low), limits.high), ramp_at=now)


def _write(
    device: float, floor: float | None, limits: Limits, memory: Memory, now: float, point: Point,
    alarms: dict[str, Condition],
) -> Point:  # fmt: skip
    """`point` with a write, if the ideal set point is worth one now."""
    goal = _writable(memory.ramp if memory.ramp is not None else device, floor, limits)
    took = memory.goal is not None and abs(device - memory.goal) < limits.resolution / 2
    since_try = now - memory.tried_at if memory.tried_at is not None else math.inf
    if took:
        memory = replace(memory, attempts=0, undone=memory.undone if since_try < LASTED else 0)
    if abs(goal - device) < limits.resolution / 2:
        return replace(point, memory=memory if took else replace(memory, goal=None, attempts=0, undone=0))
    missed = memory.goal is not None and not took
    undone = missed and memory.attempts == 0
    if missed and since_try < RETRY_AFTER:
        return replace(point, memory=memory)
    if memory.attempts >= ATTEMPTS or (undone and memory.undone >= ATTEMPTS):
        alarms["setpoint_failed"] = Condition(
            f"the device did not take and keep a set point of {goal:.1f} °C after {ATTEMPTS} tries; "
            "set it again, or acknowledge this, to try again",
            Priority.HIGH, latched=True,
        )  # fmt: skip
        return replace(point, memory=memory)
    urgent = floor is not None and device < floor - limits.resolution / 2
    retry = missed and not undone
    if not retry and not urgent and memory.written_at is not None and now - memory.written_at < limits.gap:
        left = limits.gap - (now - memory.written_at)
        return replace(point, memory=memory, held=point.held or f"the pause between two writes ({left:.0f} s left)")
    memory = replace(
        memory, goal=goal, attempts=memory.attempts + 1, undone=memory.undone + undone, tried_at=now, written_at=now
    )
    return replace(point, memory=memory, write=goal)


def _writable(celsius: float, floor: float | None, limits: Limits) -> float:
    """The step of the resolution next to `celsius` that is within the limits and not below the floor, °C."""
    lowest = math.ceil(
        max(limits.low, min(floor, limits.high) if floor is not None else limits.low) / limits.resolution - 1e-6
    )
    highest = math.floor(limits.high / limits.resolution + 1e-6)
    return round(min(max(round(celsius / limits.resolution), lowest), highest) * limits.resolution, 6)
