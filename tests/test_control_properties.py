# SPDX-License-Identifier: GPL-3.0-or-later
"""The control against a chiller that obeys, refuses, dawdles, drops out, trips and vanishes, in any order of events.

The machine below keeps books of its own, in true time; what it asserts is what an operator relies upon.
"""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from rockit.chiller import setpoint
from rockit.chiller.control import (
    AIR,
    ATTEMPTS,
    LASTED,
    PANEL_SCAN,
    TRIP_PAUSE,
    Decision,
    Inputs,
    Limits,
    Memory,
    Reading,
    Request,
    change_mode,
    decide,
)
from rockit.chiller.model import ChillerMode, RunState
from rockit.common.moments import moved

BROKEN = [None, math.nan, 999.9]
temperatures = st.one_of(st.sampled_from(BROKEN), st.sampled_from([-20.0, 4.9, 5.0, 6.0, 7.0, 7.1, 20.0]))
switches = st.sampled_from([True, False, None])
ALARMS = ("start_failed", "stop_failed", "too_many_device_alarms", "device_alarm", "setpoint_failed", "humidity")


class Site(RuleBasedStateMachine):
    """A chiller, its daemon's memory, the people and daemons around."""

    @initialize(
        state=st.sampled_from([RunState.STANDBY, RunState.RUN]),
        minimum=st.sampled_from([0.0, 200.0]), hold=st.sampled_from([0.0, 500.0]),
        margin=st.sampled_from([None, 2.0]), rate=st.sampled_from([None, 0.5]),
    )  # fmt: skip
    def begin(self, state: RunState, minimum: float, hold: float, margin: float | None, rate: float | None) -> None:
        self.limits = Limits(
            minimum_on_time=minimum, minimum_off_time=1.5 * minimum, demand_hold=hold,
            setpoint=setpoint.Limits(5.0, 25.0, rate, margin),
        )  # fmt: skip
        self.request, self.memory = Request(), Memory()
        self.true, self.monotonic, self.wall = 1000.0, 300.0, 1.7e9  # three clocks; only the first is always right
        self.state, self.alarm, self.set_point = state, False, 20.0
        self.online, self.flag_known, self.mood = True, True, "obeys"
        self.later: list[tuple[float, RunState, bool]] = []
        self.channels: dict[str, bool | None] | None = None
        self.dome: float | None = None
        self.ambient: float | None = 20.0
        self.humidity: float | None = 50.0
        # The books.
        self.seen: bool | None = None
        self.changed: float | None = None
        self.demand: bool | None = None
        self.left: bool | None = None
        self.powered: float | None = None
        self.alarmed = self.stood = self.standby_ordered = -math.inf
        self.tripped = self.operator_freed = False
        self.ordered = {True: 0, False: 0}
        self.last_order = -math.inf
        self.want: bool | None = None

    # What happens.

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.5, 10.0, 25.0, 70.0]), polls=st.integers(1, 12))
    def time_passes(self, seconds: float, polls: int) -> None:
        for _ in range(polls):
            self.advance(seconds)
            self.poll()

    @rule()
    def a_quiet_hour(self) -> None:
        for _ in range(62):
            self.advance(60.0)
            self.poll()

    @rule(channels=st.one_of(st.none(), st.fixed_dictionaries({"a": switches, "b": switches})))
    def power(self, channels: dict[str, bool | None] | None) -> None:
        self.channels = channels

    @rule(dome=temperatures, ambient=temperatures, humidity=st.sampled_from([None, math.nan, 0.0, 50.0, 95.0, 104.0]))
    def air(self, dome: float | None, ambient: float | None, humidity: float | None) -> None:
        self.dome, self.ambient, self.humidity = dome, ambient, humidity

    @rule(mood=st.sampled_from(["obeys", "obeys", "ignores", "dawdles", "drops out", "trips"]))
    def device_changes_its_mood(self, mood: str) -> None:
        self.mood = mood

    @rule(state=st.sampled_from(list(RunState)))
    def device_changes_its_state(self, state: RunState) -> None:
        self.state = state

    @rule(alarm=st.booleans(), known=st.sampled_from([True, True, False]))
    def device_alarm(self, alarm: bool, known: bool) -> None:
        self.alarm, self.flag_known = alarm, known

    @rule(online=st.booleans())
    def cable(self, online: bool) -> None:
        self.online = online

    @rule(mode=st.sampled_from(ChillerMode))
    def set_mode(self, mode: ChillerMode) -> None:
        if mode is ChillerMode.AUTOMATIC and self.request.mode is not mode:
            running = self.reading().run_state.running if self.reading().run_state is not None else self.seen
            if running is not None:
                self.demand = self.left = running
        before = self.request.mode
        self.request, self.memory = change_mode(self.request, self.memory, self.reading(), mode)
        if mode is ChillerMode.MANUAL and before is not mode and self.online:
            assert self.request.enabled is self.state.running, "who takes over by hand changes nothing by that"
        self.operator()

    @rule(enabled=st.booleans())
    def set_enabled(self, enabled: bool) -> None:
        if self.request.mode is ChillerMode.MANUAL:
            self.request, self.memory = replace(self.request, enabled=enabled), self.memory.forgiven()
            self.operator()

    @rule(celsius=st.sampled_from([5.0, 9.0, 15.0, 25.0]))
    def set_setpoint(self, celsius: float) -> None:
        self.request, self.memory = replace(self.request, setpoint=celsius), self.memory.set_point_forgiven()

    @rule(alarm=st.sampled_from(ALARMS))
    def acknowledge(self, alarm: str) -> None:
        self.memory = self.memory.acknowledged(alarm)
        if alarm in ("start_failed", "stop_failed", "too_many_device_alarms"):
            self.ordered = {True: 0, False: 0}
        if alarm == "too_many_device_alarms":
            self.operator()

    @rule(down=st.sampled_from([0.0, 30.0, 3600.0]), step=st.sampled_from([0.0, 0.0, -40.0, -1e7]))
    def restart(self, down: float, step: float) -> None:
        saved = msgspec.json.encode(moved(self.memory, self.wall - self.monotonic, math.inf))
        self.advance(down)
        self.wall += step
        self.monotonic = 5.0
        self.memory = moved(msgspec.json.decode(saved, type=Memory), self.monotonic - self.wall, self.monotonic)

    # The chiller.

    def advance(self, seconds: float) -> None:
        self.true, self.monotonic, self.wall = self.true + seconds, self.monotonic + seconds, self.wall + seconds
        for at, state, alarm in [event for event in self.later if event[0] <= self.true]:
            self.state, self.alarm = state, self.alarm or alarm
            self.later.remove((at, state, alarm))

    def carry_out(self, run: bool) -> None:
        wanted = RunState.RUN if run else RunState.STANDBY
        if self.mood == "ignores" or self.state in (RunState.SAFETY, RunState.TEST):
            return
        if self.mood == "dawdles":
            self.later.append((self.true + 15.0, wanted, False))
            return
        self.state = wanted
        if run and self.mood in ("drops out", "trips"):
            self.later.append((self.true + 12.0, RunState.STANDBY, self.mood == "trips"))

    def reading(self) -> Reading:
        if not self.online:
            return Reading()
        return Reading(self.state, self.set_point, self.ambient, self.alarm if self.flag_known else None)

    def poll(self) -> None:
        for _ in range(5):
            reading = self.reading()
            inputs = Inputs(self.channels, self.dome, True, self.humidity)
            arguments = (reading, inputs, self.request, self.limits, self.memory, self.monotonic)
            decision = decide(*arguments)
            assert decision == decide(*arguments), "the same question has the same answer"
            self.check(reading, decision)
            self.memory = decision.memory
            if decision.switch is not None:
                self.carry_out(decision.switch)
            elif decision.read_faults:
                self.memory = replace(self.memory, faults=("low level",), faults_read=True)
            elif decision.set_point is not None:
                if self.mood != "ignores":
                    self.set_point = decision.set_point
            else:
                return
        raise AssertionError("the control does not come to rest")

    # The books, and what must hold.

    def operator(self) -> None:
        self.ordered = {True: 0, False: 0}
        self.operator_freed = True

    def check(self, reading: Reading, decision: Decision) -> None:
        alarm = reading.device_alarm is True or reading.run_state is RunState.SAFETY
        self.observe(reading, alarm)
        if decision.want is not self.want or decision.memory.tripped is not self.tripped:
            self.ordered = {True: 0, False: 0}
        self.want, self.tripped = decision.want, decision.memory.tripped
        if alarm:
            assert decision.memory.tripped
            assert "device_alarm" in decision.alarms
        asked = (decision.switch is not None, decision.read_faults, decision.set_point is not None)
        assert sum(asked) <= 1, "the unit does one thing, and the memory has noted them all"
        self.check_demand(decision)
        self.check_antifreeze(reading, decision)
        self.check_order(reading, decision, alarm)
        self.check_faults(reading, decision)
        self.check_set_point(reading, decision)

    def observe(self, reading: Reading, alarm: bool) -> None:
        if alarm:
            self.alarmed, self.operator_freed = self.true, False
        if reading.run_state in (None, RunState.TEST):
            return
        running = reading.run_state.running
        if self.seen is None:
            self.left = running
        if self.seen is not None and running != self.seen:
            self.changed = self.true
            self.stood = self.true
            tried = self.memory.tried_at
            failed = self.memory.goal and tried is not None and self.monotonic - tried < LASTED
            if not (alarm or self.memory.tripped or failed or running is self.memory.goal):
                self.left = running  # somebody did that at its panel
        self.seen = running
        if self.true - self.last_order >= LASTED:
            self.ordered[running] = 0

    def check_demand(self, decision: Decision) -> None:
        states = list((self.channels or {}).values())
        if True in states:
            self.demand, self.powered = True, self.true
        elif states and None not in states:
            self.demand = False
        if None in states:
            assert "power_daemon" in decision.alarms
        if self.request.mode is not ChillerMode.AUTOMATIC:
            self.left = self.request.enabled if self.request.enabled is not None else self.left
            return
        run_on = bool(states) and self.powered is not None and self.true - self.powered < self.limits.demand_hold
        if not states or (None in states and True not in states and self.demand is None):
            assert run_on or decision.memory.antifreeze or decision.want is self.left, "the panel's own business"
            return
        self.left = bool(self.demand) or run_on  # and so it stays when nobody asks any more
        if self.demand or run_on:
            assert decision.want is True, "power is on, or nobody said that it went off"
        elif self.limits.demand_hold == 0.0 and not decision.memory.antifreeze:
            assert decision.want is self.demand

    def check_antifreeze(self, reading: Reading, decision: Decision) -> None:
        known = [t for t in (self.dome, reading.ambient_temp) if t is not None and AIR[0] <= t <= AIR[1]]
        before, after = self.memory.antifreeze, decision.memory.antifreeze
        if not known:
            assert after or not before, "a lost sensor does not end the protection"
            if reading.run_state is not None:
                assert "antifreeze_blind" in decision.alarms
        elif known[0] < 5.0:
            assert after
        elif known[0] > 7.0:
            assert not after
        else:
            assert after is before or known[0] == 5.0
        if after:
            assert decision.want is True, "in manual mode, too"

    def check_order(self, reading: Reading, decision: Decision, alarm: bool) -> None:
        order = decision.switch
        if order is None:
            return
        assert reading.run_state is not None
        assert reading.run_state is not RunState.TEST
        running = reading.run_state.running
        if order or not decision.memory.tripped:
            assert decision.want is order
            assert running is not order
            minimum = self.limits.minimum_off_time if order else self.limits.minimum_on_time
            assert self.changed is None or self.true - self.changed >= minimum - 1e-3
        if order:
            assert not alarm
            assert self.operator_freed or self.true - self.alarmed >= TRIP_PAUSE - 1e-3
        self.ordered[order] += 1
        self.last_order = self.true
        assert self.ordered[order] <= ATTEMPTS, "no order for ever"
        if not order:
            self.standby_ordered = self.true

    def check_faults(self, reading: Reading, decision: Decision) -> None:
        if not decision.read_faults:
            return
        assert decision.switch is None
        assert reading.run_state not in (None, RunState.TEST)
        assert not self.seen
        assert decision.memory.standby_sent
        assert self.true - self.standby_ordered >= PANEL_SCAN - 1e-3
        assert self.true - self.stood >= PANEL_SCAN - 1e-3

    def check_set_point(self, reading: Reading, decision: Decision) -> None:
        value, floor, limits = decision.set_point, decision.memory.setpoint.floor, self.limits.setpoint
        if value is None:
            return
        assert reading.setpoint_temp is not None
        assert reading.run_state is not RunState.TEST
        assert limits.low <= value <= limits.high
        if limits.dew_point_margin is not None:
            assert value >= min(floor if floor is not None else reading.setpoint_temp, limits.high) - 0.05
        if limits.rate is not None and value < reading.setpoint_temp:
            assert reading.setpoint_temp - value <= limits.rate * setpoint.WRITE_GAP / 60.0 + 0.2


Site.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSite = Site.TestCase
