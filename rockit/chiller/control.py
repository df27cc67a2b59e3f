# SPDX-License-Identifier: GPL-3.0-or-later
"""Decides whether the chiller runs. Pure: everything it knows comes in, everything it wants goes out.

    (reading, inputs, request, limits, memory, now) -> Decision(actions, memory, alarms, explanation)

What is not known is None. Losing an input is never the same as the input saying no: a lost input holds what was
decided last, and raises an alarm. The set point has a room of its own, `setpoint.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from rockit.chiller import setpoint
from rockit.chiller.memory import Memory, Request
from rockit.chiller.model import AIR, ChillerMode, RunState
from rockit.chiller.setpoint import ATTEMPTS, INPUT_DELAY, LASTED, RETRY_AFTER, within
from rockit.common.conditions import Condition, Priority

TRIP_PAUSE = 60.0
"""After a device alarm has gone the chiller stays in standby for so long, s."""
TRIPS = 3
"""So many device alarms without an hour of running between them, and only an operator starts the chiller again."""
TRIPS_FORGOTTEN_AFTER = 3600.0
"""s of running"""
PANEL_SCAN = 2.0
"""Alarm words are read no sooner than this after the standby, s: the T257P's panel looks every 1.5 s."""
FAULTS_AGAIN = 60.0
"""While the alarm lasts its words are read so often, s: a T257P forgets an alarm whose cause is gone only when read."""
AIR_FALLS = 5.0
"""How fast the air is taken to cool while nobody knows its temperature, K/h."""


OF_THE_DEVICE = frozenset({"device_alarm", "start_failed", "stop_failed", "setpoint_failed", "antifreeze_blind"})
"""Alarms that only the chiller itself can end: of one that does not answer nobody knows."""


@dataclass(frozen=True)
class Limits:
    """What the config fixes. Temperatures °C, times s; None switches a function off."""

    antifreeze_enable: float | None = 5.0
    antifreeze_disable: float | None = 7.0
    minimum_on_time: float = 0.0
    minimum_off_time: float = 0.0
    demand_hold: float = 0.0
    setpoint: setpoint.Limits = field(default_factory=setpoint.Limits)


@dataclass(frozen=True)
class Reading:
    """What the chiller itself says now; None is not known."""

    run_state: RunState | None = None
    setpoint_temp: float | None = None
    ambient_temp: float | None = None
    device_alarm: bool | None = None


@dataclass(frozen=True)
class Inputs:
    """What other daemons say now. `channels` is None without a power daemon, one channel is None when not known."""

    channels: Mapping[str, bool | None] | None = None
    dome_temp: float | None = None
    dome_expected: bool = False
    humidity: float | None = None


@dataclass(frozen=True)
class Decision:
    """The one thing to do now: switch, or read the faults, or write the set point, or (None, False, None) nothing.

    After it comes the next decision: the memory counts what is asked for as done. `want` is what the chiller should
    be doing, `held` says which protection keeps it from that, `why` explains the state to a person.
    """

    memory: Memory
    want: bool | None
    why: str
    switch: bool | None = None
    read_faults: bool = False
    set_point: float | None = None
    held: str | None = None
    set_point_held: str | None = None
    alarms: Mapping[str, Condition] = field(default_factory=dict)


def decide(reading: Reading, inputs: Inputs, request: Request, limits: Limits, memory: Memory, now: float) -> Decision:
    """One decision at time `now` (monotonic s)."""
    alarms: dict[str, Condition] = {}
    reading = replace(reading, ambient_temp=within(reading.ambient_temp, *AIR))
    inputs = replace(inputs, dome_temp=within(inputs.dome_temp, *AIR))
    memory = _observe(reading, memory, now)
    memory, base, why = _demand(inputs, request, limits, memory, now, alarms)
    memory, cold = _antifreeze(reading, inputs, limits, memory, now, alarms)
    want = True if memory.antifreeze else base
    why = cold if memory.antifreeze and not base else why
    memory = _trip(reading, memory, now, alarms)
    memory, switch, held = _switch(reading, limits, memory, want, now, alarms)
    if switch is None and held is None and memory.attempts and want not in (None, memory.running):
        why += "; the chiller has not followed yet"
    testing = reading.run_state is RunState.TEST
    point = setpoint.decide(
        None if testing else reading.setpoint_temp, request.setpoint, inputs.dome_temp, inputs.humidity,
        reading.ambient_temp, limits.setpoint, memory.setpoint, now,
    )  # fmt: skip
    if testing:
        point = replace(point, held="the chiller's test mode")
    alarms.update(point.alarms)
    read_faults = switch is None and _may_read_faults(reading, memory, now)
    if read_faults:
        memory = replace(memory, faults_asked_at=now)
    if point.write is not None and (read_faults or switch is not None):
        point = replace(point, write=None, memory=memory.setpoint)
    return Decision(
        memory=replace(memory, setpoint=point.memory),
        want=want, why=why, switch=switch, held=held, read_faults=read_faults,
        set_point=point.write, set_point_held=point.held, alarms=alarms,
    )  # fmt: skip


def change_mode(request: Request, memory: Memory, reading: Reading, mode: ChillerMode) -> tuple[Request, Memory]:
    """A person changes the mode: what runs goes on running until somebody or something asks for a change."""
    running = reading.run_state.running if reading.run_state is not None else memory.running
    if mode is ChillerMode.MANUAL and request.mode is not ChillerMode.MANUAL:
        request = replace(request, enabled=running)
    if mode is ChillerMode.AUTOMATIC and request.mode is not ChillerMode.AUTOMATIC and running is not None:
        memory = replace(memory, demand=running, found=running, pressed=False)
    return replace(request, mode=mode), memory.forgiven()


def forbids_to_leave_running(request: Request, inputs: Inputs, memory: Memory, now: float) -> str | None:
    """What keeps a daemon that ends from starting the chiller, whatever the config's safe state is."""
    if memory.tripped:
        return "it reports an alarm"
    if memory.trips >= TRIPS or _paused(memory, now):
        return "it had an alarm"
    if request.mode is ChillerMode.MANUAL and request.enabled is False:
        return "it was disabled by hand"
    nobody_asks = request.enabled is None if request.mode is ChillerMode.MANUAL else not inputs.channels
    if nobody_asks and memory.pressed and memory.found is False:
        return "it was stopped at its panel"
    return None


def told_by_the_device(decision: Decision, warnings: Collection[str]) -> dict[str, Condition]:
    """What the device has a name for, one alarm each, so that one can be shelved and the others still be heard."""
    told = {name: Condition(f"the chiller warns of {name}", Priority.MEDIUM) for name in warnings}
    if "device_alarm" in decision.alarms:
        for name in decision.memory.faults:
            told[name] = Condition(f"the chiller reported {name}", Priority.HIGH, latched=True)
    return {re.sub("[^a-z0-9]+", "_", name.lower()): condition for name, condition in told.items()}


def _observe(reading: Reading, memory: Memory, now: float) -> Memory:
    """Take note of what runs, and since when."""
    if reading.run_state in (None, RunState.TEST):
        return memory
    running = reading.run_state.running
    if memory.running is None:
        return replace(memory, running=running, found=running, found_at=now)
    if running != memory.running:
        memory = replace(memory, running=running, switched_at=now)
        return memory if _ours(reading, memory, running, now) else replace(memory, found=running, pressed=True)
    if running and memory.faults and not memory.tripped:
        memory = replace(memory, faults=())
    if running and memory.trips and not memory.tripped and memory.tripped_at is not None:
        since = max(memory.tripped_at, memory.switched_at if memory.switched_at is not None else memory.tripped_at)
        if now - since > TRIPS_FORGOTTEN_AFTER:
            return replace(memory, trips=0)
    return memory


def _ours(reading: Reading, memory: Memory, running: bool, now: float) -> bool:
    """Whether a change that is seen was ordered, or is a failure; else somebody has made it at the panel."""
    alarm = memory.tripped or reading.device_alarm or reading.run_state is RunState.SAFETY
    did_not_last = memory.goal and memory.tried_at is not None and now - memory.tried_at < LASTED
    return bool(alarm or running == memory.goal or did_not_last)


def _asked(memory: Memory, run: bool | None) -> Memory:
    """Somebody asks now; when nobody does any more, the chiller stays as it was asked to be."""
    return replace(memory, found=run, pressed=False)


def _demand(
    inputs: Inputs, request: Request, limits: Limits, memory: Memory, now: float, alarms: dict[str, Condition]
) -> tuple[Memory, bool | None, str]:
    """Whether cooling is asked for, antifreeze aside."""
    channels = inputs.channels
    unknown = sorted(name for name, on in (channels or {}).items() if on is None)
    if unknown:
        alarms["power_daemon"] = Condition(
            f"power state of {', '.join(unknown)} is not known; the last demand is held", Priority.HIGH,
            delay=INPUT_DELAY,
        )  # fmt: skip
    on = sorted(name for name, on in (channels or {}).items() if on)
    if on:
        memory = replace(memory, demand=True, demand_on_at=now)
    elif channels and not unknown:
        memory = replace(memory, demand=False)
    if request.mode is ChillerMode.MANUAL:
        if request.enabled is None:
            return memory, memory.found, "manual: nobody has asked; left to its own panel"
        memory = _asked(memory, request.enabled)
        return memory, request.enabled, "manual: enabled" if request.enabled else "manual: disabled"
    if on:
        return _asked(memory, True), True, f"automatic: power is on at {', '.join(on)}"
    if not channels:
        return memory, memory.found, "automatic: no power channels are configured; left to its own panel"
    left = limits.demand_hold - (now - memory.demand_on_at) if memory.demand_on_at is not None else 0.0
    if left > 0 and not memory.demand:
        return _asked(memory, True), True, f"automatic: power went off; cooling goes on for {left:.0f} s"
    if unknown:
        if memory.demand is None:
            return memory, memory.found, "automatic: power state is not known, and never was; left to its own panel"
        held = "cool" if memory.demand else "do not cool"
        why = f"automatic: power state is not known; the last demand ({held}) is held"
        return _asked(memory, memory.demand), memory.demand, why
    return _asked(memory, False), False, "automatic: power is off at all channels"


def _antifreeze(
    reading: Reading, inputs: Inputs, limits: Limits, memory: Memory, now: float, alarms: dict[str, Condition]
) -> tuple[Memory, str]:
    """Freeze protection, in every mode: the dome's temperature where it is known, else the chiller's own.

    With neither, the last one is taken to fall, so that a sensor lost at dusk does not cost the pipes by dawn.
    """
    if limits.antifreeze_enable is None or limits.antifreeze_disable is None:
        return replace(memory, antifreeze=False), ""
    dome, ambient = inputs.dome_temp, reading.ambient_temp
    if dome is None and inputs.dome_expected:
        alarms["dome_temperature"] = Condition(
            "dome temperature is not known; antifreeze looks at the chiller's own ambient sensor", Priority.MEDIUM,
            delay=INPUT_DELAY,
        )  # fmt: skip
    value, source = (dome, "dome") if dome is not None else (ambient, "chiller ambient")
    if value is not None:
        memory = replace(memory, air=value, air_at=now, air_missing_at=None)
    elif reading.run_state is None:  # a chiller that is offline has its own alarm
        return memory, "antifreeze: held, the chiller is offline and no temperature is known"
    elif memory.air is None or memory.air_at is None:
        alarms["antifreeze_blind"] = Condition(
            "antifreeze has never known a temperature and does not work; name a temperature_daemon in the config, or "
            "set both antifreeze limits to null",
            Priority.HIGH,
            delay=INPUT_DELAY,
        )
        return memory, "antifreeze: held, no temperature was ever known"
    else:
        value, source = memory.air - AIR_FALLS * max(0.0, now - memory.air_at) / 3600.0, "assumed"
        alarms["antifreeze_blind"] = Condition(
            f"no temperature for antifreeze; the last one, {memory.air:.1f} °C, is taken to fall by {AIR_FALLS:g} K/h",
            Priority.HIGH, delay=INPUT_DELAY,
        )  # fmt: skip
        since = memory.air_missing_at if memory.air_missing_at is not None else now
        memory = replace(memory, air_missing_at=since)
        if now - since < INPUT_DELAY:  # whoever has just started has not been told yet
            return memory, "antifreeze: held, no temperature is known at the moment"
    limit = limits.antifreeze_disable if memory.antifreeze else limits.antifreeze_enable
    active = value <= limit if memory.antifreeze else value < limit
    if source == "assumed":  # only a temperature that is known ends it
        active = active or memory.antifreeze
    return (
        replace(memory, antifreeze=active),
        f"antifreeze: {source} temperature is {value:.1f} °C; runs until above {limits.antifreeze_disable:g} °C",
    )


def _trip(reading: Reading, memory: Memory, now: float, alarms: dict[str, Condition]) -> Memory:
    """A device that reports an alarm is put into standby first; its alarm words are read after that.

    On a T257P, reading them clears latched alarms, and doing so before the standby can leave the front panel in a
    mode mismatch that only a power cycle ends (ThermoTek by way of the Rubin Observatory's driver).
    """
    alarm = reading.device_alarm or reading.run_state is RunState.SAFETY
    known = reading.device_alarm is not None or reading.run_state is RunState.SAFETY
    if alarm and not memory.tripped:
        # An alarm that flickers in standby has tripped nothing, and must not lock anything out; one that is seen just
        # after the chiller stopped by itself has.
        stopped = memory.switched_at if memory.switched_at is not None else -math.inf
        before = memory.tripped_at if memory.tripped_at is not None else -math.inf
        ran = memory.running or before < stopped > now - TRIP_PAUSE
        memory = replace(
            memory, tripped=True, tripped_at=now, trips=memory.trips + bool(ran), attempts=0, tried_at=None,
            standby_sent=False, standby_at=None, faults=(), faults_read=False, faults_asked_at=None,
        )  # fmt: skip
    elif known and not alarm and memory.tripped:
        memory = replace(memory, tripped=False, tripped_at=now)
    if memory.tripped or _paused(memory, now):
        what = ", ".join(memory.faults) or ("it names none" if memory.faults_read else "not read yet")
        verb = "reports" if memory.tripped else "reported"
        alarms["device_alarm"] = Condition(
            f"the chiller {verb} an alarm ({what}); it is kept in standby", Priority.CRITICAL, latched=True
        )
    if memory.trips >= TRIPS:
        alarms["too_many_device_alarms"] = Condition(
            f"{memory.trips} device alarms without an hour of running between them; "
            "the chiller stays in standby until an operator enables it, sets the mode or acknowledges this",
            Priority.CRITICAL, latched=True,
        )  # fmt: skip
    return memory


def _paused(memory: Memory, now: float) -> bool:
    """Whether an alarm is only just over."""
    return memory.standby_sent and memory.tripped_at is not None and now - memory.tripped_at < TRIP_PAUSE


def _may_read_faults(reading: Reading, memory: Memory, now: float) -> bool:
    """Only in standby, and only when the panel has had the time to see that; then again while the alarm lasts.

    An alarm that the standby itself ends (low flow with a limit) is asked for its name as well.
    """
    wanted = memory.tripped or (_paused(memory, now) and not memory.faults_read)
    if not wanted or memory.standby_at is None or reading.run_state in (None, RunState.TEST):
        return False
    stands_since = max(memory.standby_at, memory.switched_at if memory.switched_at is not None else memory.standby_at)
    if memory.running or now - stands_since < PANEL_SCAN:
        return False
    pause = FAULTS_AGAIN if memory.faults_read else RETRY_AFTER
    return memory.faults_asked_at is None or now - memory.faults_asked_at >= pause


def _switch(
    reading: Reading, limits: Limits, memory: Memory, want: bool | None, now: float, alarms: dict[str, Condition]
) -> tuple[Memory, bool | None, str | None]:
    """The order to give now, if any, and the protection that forbids it, if one does."""
    if reading.run_state is None:
        return memory, None, None
    if reading.run_state is RunState.TEST:
        alarms["test_mode"] = Condition("the chiller is in its test mode; no commands are sent", Priority.MEDIUM)
        return memory, None, "the chiller's test mode"
    running = reading.run_state.running
    goal, held = (False, "the device's alarm" if want else None) if memory.tripped else (want, None)
    if goal is None:
        return replace(memory, goal=None, attempts=0, tried_at=None), None, None
    if goal != memory.goal:
        memory = replace(memory, goal=goal, attempts=0, tried_at=None)
    if memory.tripped and not memory.standby_sent:  # whatever it says it does: its panel has to hear it
        return replace(memory, attempts=1, tried_at=now, standby_sent=True, standby_at=now), False, held
    tried = now - memory.tried_at if memory.tried_at is not None else None
    if goal == running:
        if tried is not None and tried < LASTED:
            return memory, None, held
        return replace(memory, attempts=0, tried_at=None), None, held
    recent = tried is not None and tried < RETRY_AFTER
    if memory.attempts >= ATTEMPTS and not recent:
        what = "start, or did not go on running," if goal else "stop, or did not stay in standby,"
        alarms["start_failed" if goal else "stop_failed"] = Condition(
            f"the chiller did not {what} after {ATTEMPTS} tries; give a command or acknowledge this to try again",
            Priority.CRITICAL if goal else Priority.HIGH, latched=True,
        )  # fmt: skip
        return memory, None, held or f"{ATTEMPTS} tries without success"
    if not memory.tripped and (protection := _protection(limits, memory, goal, now)) is not None:
        return memory, None, protection
    if recent or memory.attempts >= ATTEMPTS:
        return memory, None, held
    return replace(memory, attempts=memory.attempts + 1, tried_at=now), goal, held


def _protection(limits: Limits, memory: Memory, start: bool, now: float) -> str | None:
    """What stands in the way of a start (or a stop) that is wanted."""
    if start and memory.trips >= TRIPS:
        return "too many device alarms"
    if start and memory.tripped_at is not None and now - memory.tripped_at < TRIP_PAUSE:
        return f"the pause after a device alarm ({TRIP_PAUSE - (now - memory.tripped_at):.0f} s left)"
    minimum, name = (
        (limits.minimum_off_time, "minimum off time") if start else (limits.minimum_on_time, "minimum on time")
    )
    # Of a chiller that was found as it is, nobody knows since when.
    since = memory.switched_at if memory.switched_at is not None else memory.found_at
    if since is not None and now - since < minimum:
        return f"the {name} ({minimum - (now - since):.0f} s left)"
    return None
