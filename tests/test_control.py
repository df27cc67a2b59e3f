# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules by which a chiller runs, each with a clock of the test's own and a chiller of five lines."""

from __future__ import annotations

import math
from dataclasses import replace

import msgspec
import pytest

from rockit.chiller.control import (
    ATTEMPTS,
    FAULTS_AGAIN,
    LASTED,
    PANEL_SCAN,
    RETRY_AFTER,
    TRIP_PAUSE,
    TRIPS,
    TRIPS_FORGOTTEN_AFTER,
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
from rockit.common.conditions import Priority
from rockit.common.moments import moved

MANUAL, AUTOMATIC = ChillerMode.MANUAL, ChillerMode.AUTOMATIC
STANDBY, RUN = RunState.STANDBY, RunState.RUN


class Plant:
    """A chiller, the world around it, and the control that is under test."""

    def __init__(self, *, state: RunState = STANDBY, limits: Limits | None = None, **world: object) -> None:
        self.limits = limits or Limits()
        self.request, self.memory = Request(), Memory()
        self.now = 1000.0
        self.state: RunState = state
        self.alarm: bool | None = False
        self.ambient: float | None = 20.0
        self.set_point = 20.0
        self.online = self.obeys = self.answers_faults = True
        self.channels: dict[str, bool | None] | None = None
        self.dome: float | None = None
        self.dome_expected = False
        self.orders: list[tuple[float, bool]] = []
        self.fault_reads: list[float] = []
        self.writes: list[float] = []
        for name, value in world.items():
            setattr(self, name, value)

    def reading(self) -> Reading:
        return Reading(self.state, self.set_point, self.ambient, self.alarm) if self.online else Reading()

    def poll(self) -> Decision:
        """Decide and act until there is nothing more to do, as the unit does; returns the last decision."""
        for _ in range(5):
            inputs = Inputs(self.channels, self.dome, self.dome_expected)
            decision = decide(self.reading(), inputs, self.request, self.limits, self.memory, self.now)
            self.memory = decision.memory
            if decision.switch is not None:
                self.orders.append((self.now, decision.switch))
                if self.obeys:
                    self.state = RUN if decision.switch else STANDBY
            elif decision.read_faults:
                self.fault_reads.append(self.now)
                if self.answers_faults:
                    self.memory = replace(self.memory, faults=("low coolant level",), faults_read=True)
            elif decision.set_point is not None:
                self.writes.append(decision.set_point)
                self.set_point = decision.set_point
            else:
                return decision
        pytest.fail("the control does not come to rest")

    def wait(self, seconds: float, step: float = 10.0) -> Decision:
        """Let time pass, polling; returns the last decision."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + step, until)
            decision = self.poll()
        return decision

    def set_mode(self, mode: ChillerMode) -> None:
        self.request, self.memory = change_mode(self.request, self.memory, self.reading(), mode)

    def restart(self, down_for: float = 0.0, clock_step: float = 0.0) -> None:
        """A new daemon on a host that was booted anew: another monotonic clock, memory from the state file."""
        saved = msgspec.json.encode(moved(self.memory, 1.7e9 - self.now, math.inf))
        wall = 1.7e9 + down_for + clock_step
        self.now = 7.0
        self.memory = moved(msgspec.json.decode(saved, type=Memory), self.now - wall, self.now)

    @property
    def runs(self) -> bool:
        return self.state.running


def manual(enabled: bool | None) -> Request:
    return Request(MANUAL, enabled)


# Demand.


@pytest.mark.parametrize(
    ("channels", "runs"),
    [({"a": True}, True), ({"a": False, "b": True}, True), ({"a": False, "b": False}, False), ({"a": False}, False)],
)
def test_automatic_cools_while_any_channel_is_on(channels: dict[str, bool | None], runs: bool) -> None:
    for state in (STANDBY, RUN):
        plant = Plant(state=state, channels=channels)
        decision = plant.poll()
        assert (plant.runs, decision.want) == (runs, runs)
        assert decision.alarms == {}
        assert all(name in decision.why for name, on in channels.items() if on)


@pytest.mark.parametrize("last", [True, False])
def test_a_lost_power_daemon_holds_the_last_demand_and_is_an_alarm(last: bool) -> None:
    plant = Plant(channels={"ccd1": last, "ccd2": last})
    plant.poll()
    plant.channels = {"ccd1": None, "ccd2": None}
    decision = plant.wait(7200)
    assert plant.runs is last
    alarm = decision.alarms["power_daemon"]
    assert alarm.priority is Priority.HIGH
    assert "ccd1, ccd2" in alarm.text
    plant.restart(down_for=3600)
    plant.wait(600)
    assert plant.runs is last
    plant.channels = {"ccd1": not last, "ccd2": not last}
    assert plant.wait(60).alarms == {}
    assert plant.runs is not last


def test_one_channel_that_is_known_to_be_on_is_enough() -> None:
    plant = Plant(channels={"a": None, "b": True})
    assert "power_daemon" in plant.poll().alarms
    assert plant.runs


def test_one_unknown_channel_is_not_off() -> None:
    plant = Plant(channels={"a": True, "b": False})
    plant.poll()
    plant.channels = {"a": None, "b": False}
    plant.wait(3600)
    assert plant.runs


@pytest.mark.parametrize("state", [STANDBY, RUN])
def test_a_daemon_that_starts_without_its_power_daemon_changes_nothing(state: RunState) -> None:
    plant = Plant(state=state, channels={"a": None})
    plant.wait(3600)
    assert (plant.state, plant.orders) == (state, [])


@pytest.mark.parametrize("state", [STANDBY, RUN])
def test_without_power_channels_the_chiller_is_left_as_it_was_found(state: RunState) -> None:
    plant = Plant(state=state)
    plant.wait(3600)
    assert (plant.state, plant.orders) == (state, [])


@pytest.mark.parametrize("channels", [None, {"a": None}])
@pytest.mark.parametrize("request_", [Request(), manual(None)])
@pytest.mark.parametrize("state", [STANDBY, RUN])
def test_where_nobody_asks_the_panel_is_obeyed(
    state: RunState, request_: Request, channels: dict[str, bool | None] | None
) -> None:
    plant = Plant(state=state, request=request_, channels=channels)
    plant.wait(60)
    other = STANDBY if state is RUN else RUN
    for pressed in (other, state, other):  # to fill in coolant, say, or for a camera that nobody has wired up
        plant.state = pressed
        plant.wait(30)
        assert (plant.state, plant.orders) == (pressed, [])
    plant.restart(down_for=60)
    plant.wait(3600)
    assert (plant.state, plant.orders) == (other, [])
    plant.state = state  # while the daemon is down, too
    plant.restart(down_for=3600)
    plant.wait(3600)
    assert (plant.state, plant.orders) == (state, [])


@pytest.mark.parametrize("on", [True, False])
def test_when_nobody_asks_any_more_the_chiller_stays_as_it_was_asked_to_be(on: bool) -> None:
    plant = Plant(state=STANDBY if on else RUN, channels={"a": on})
    plant.wait(60)
    assert plant.runs is on
    plant.channels = None  # a config without them, and a new start
    plant.restart()
    plant.wait(3600)
    assert plant.runs is on


def test_its_test_mode_is_nobody_s_stop() -> None:
    plant = Plant(state=RUN)
    plant.wait(60)
    plant.state = RunState.TEST
    plant.wait(30)
    plant.state = RUN
    plant.wait(60)
    assert (plant.state, plant.orders) == (RUN, [])


@pytest.mark.parametrize("pressed", [False, True])
def test_where_nobody_asks_antifreeze_and_alarms_give_back_what_they_found(pressed: bool) -> None:
    plant = Plant(state=RUN if pressed else STANDBY)
    plant.poll()
    for _ in range(2):
        plant.ambient = 0.0
        plant.wait(3600)
        assert plant.runs
        plant.ambient = 20.0
        plant.wait(60)
        assert plant.runs is pressed
        plant.alarm, plant.state = True, STANDBY  # it stops by itself
        plant.wait(60)
        assert not plant.runs
        plant.alarm = False
        plant.wait(3600)
        assert plant.runs is pressed


def test_a_stop_at_the_panel_counts_while_antifreeze_runs_the_chiller() -> None:
    plant = Plant(state=RUN, ambient=0.0)
    plant.wait(1200)
    plant.state = STANDBY
    plant.wait(600)
    assert plant.runs, "antifreeze does not ask"
    plant.ambient = 20.0
    plant.wait(60)
    assert not plant.runs


def test_cooling_runs_on_after_the_power_went_off() -> None:
    plant = Plant(channels={"a": True}, limits=Limits(demand_hold=900.0))
    plant.poll()
    plant.channels = {"a": False}
    assert "cooling goes on for 10 s" in plant.wait(890).why
    assert plant.runs
    plant.wait(20)
    assert not plant.runs


def test_a_power_daemon_that_is_lost_does_not_end_the_run_on() -> None:
    plant = Plant(channels={"a": True}, limits=Limits(demand_hold=900.0))
    plant.poll()
    plant.channels = {"a": False}
    plant.wait(100)
    plant.channels = {"a": None}
    plant.wait(700)
    assert plant.runs
    plant.wait(200)
    assert not plant.runs, "the last demand was off, and the run-on is over"


# Modes.


def test_manual_does_what_was_asked_whatever_the_channels_say() -> None:
    plant = Plant(channels={"a": True}, request=manual(False))
    plant.wait(600)
    assert not plant.runs
    plant.channels, plant.request = {"a": False}, manual(True)
    plant.wait(600)
    assert plant.runs


@pytest.mark.parametrize("on", [True, False])
def test_switching_to_manual_keeps_the_running_state(on: bool) -> None:
    plant = Plant(channels={"a": on})
    plant.poll()
    plant.set_mode(MANUAL)
    plant.channels = {"a": not on}
    plant.wait(3600)
    assert plant.runs is on
    assert plant.request.enabled is on


def test_switching_to_manual_while_the_chiller_is_away_keeps_what_ran_last() -> None:
    plant = Plant(channels={"a": True})
    plant.poll()
    plant.online = False
    plant.set_mode(MANUAL)
    plant.online = True
    plant.wait(600)
    assert plant.runs


@pytest.mark.parametrize("state", [STANDBY, RUN])
def test_manual_before_the_chiller_was_ever_seen_leaves_it_as_it_is_found(state: RunState) -> None:
    plant = Plant(state=state, online=False)
    plant.poll()
    plant.set_mode(MANUAL)
    plant.online = True
    plant.wait(600)
    assert (plant.state, plant.orders) == (state, [])
    plant.ambient = 0.0
    plant.wait(600)
    assert plant.runs
    plant.ambient = 20.0
    plant.wait(600)
    assert plant.state is state, "antifreeze leaves it as it found it"


@pytest.mark.parametrize("running", [True, False])
def test_switching_to_automatic_without_a_power_daemon_keeps_the_running_state(running: bool) -> None:
    plant = Plant(channels={"a": not running}, request=manual(running))
    plant.poll()
    plant.channels = {"a": None}
    plant.set_mode(AUTOMATIC)
    plant.wait(600)
    assert plant.runs is running


# Antifreeze.

COLD_NIGHT = [
    (5.0, False),
    (4.9, True),
    (5.1, True),
    (7.0, True),
    (7.1, False),
    (5.0, False),
    (-40.0, True),
    (20, False),
]


@pytest.mark.parametrize("request_", [Request(), manual(False), manual(None)])
@pytest.mark.parametrize("dome", [True, False])
def test_antifreeze_has_hysteresis_and_works_in_every_mode(request_: Request, dome: bool) -> None:
    plant = Plant(request=request_, dome_expected=dome)
    for temperature, runs in COLD_NIGHT:
        if dome:
            plant.dome, plant.ambient = temperature, 30.0
        else:
            plant.ambient = temperature
        decision = plant.wait(60)
        assert (plant.runs, decision.memory.antifreeze) == (runs, runs), temperature
        assert decision.alarms == {}


def test_a_lost_dome_temperature_is_an_alarm_and_the_chillers_own_is_used() -> None:
    plant = Plant(dome=20.0, dome_expected=True, ambient=2.0)
    plant.poll()
    assert not plant.runs
    plant.dome = None
    decision = plant.wait(10)
    assert plant.runs
    assert "chiller ambient temperature is 2.0" in decision.why
    assert "dome_temperature" in decision.alarms


@pytest.mark.parametrize("broken", [None, math.nan, math.inf, 999.9, -999.9])
def test_a_sensor_that_cannot_be_right_is_not_believed(broken: float | None) -> None:
    plant = Plant(ambient=20.0)
    plant.poll()
    plant.ambient = broken
    decision = plant.wait(60)
    assert not decision.memory.antifreeze
    assert "antifreeze_blind" in decision.alarms
    plant.dome, plant.dome_expected, plant.ambient = broken, True, 3.0
    plant.wait(60)
    assert plant.runs


def test_without_any_temperature_the_last_state_is_held_and_then_the_air_is_taken_to_cool() -> None:
    plant = Plant(ambient=4.0, request=manual(False))
    plant.poll()
    plant.ambient = None
    plant.wait(6 * 3600)
    assert plant.runs, "it was freezing when the sensor was lost"
    plant.ambient = 10.0
    plant.wait(60)
    plant.ambient = None
    decision = plant.wait(1800)
    assert not plant.runs
    assert decision.alarms["antifreeze_blind"].priority is Priority.HIGH
    plant.wait(3600)
    assert plant.runs, "from 10 °C it may freeze within some hours"
    plant.restart(down_for=60, clock_step=-86400)
    plant.wait(600)
    assert plant.runs, "only a temperature that is known ends it"


def test_a_chiller_without_any_temperature_says_so_and_runs_for_nothing() -> None:
    plant = Plant(ambient=None)
    assert "antifreeze_blind" in plant.wait(48 * 3600, step=600).alarms
    assert plant.orders == []


def test_antifreeze_can_be_switched_off() -> None:
    plant = Plant(ambient=-20.0, limits=Limits(antifreeze_enable=None, antifreeze_disable=None))
    assert plant.wait(60).alarms == {}
    assert not plant.runs


# Minimum times.


def test_minimum_off_time_holds_a_start_and_minimum_on_time_a_stop() -> None:
    plant = Plant(channels={"a": True}, limits=Limits(minimum_on_time=180.0, minimum_off_time=300.0))
    plant.poll()
    assert "minimum off time (10 s left)" in str(plant.wait(290).held), "it may have stopped a moment before"
    plant.wait(10)
    assert plant.runs
    plant.channels = {"a": False}
    assert "minimum on time (10 s left)" in str(plant.wait(170).held)
    assert plant.runs
    plant.wait(10)
    assert not plant.runs
    plant.channels = {"a": True}
    assert "minimum off time (10 s left)" in str(plant.wait(290).held)
    assert not plant.runs
    plant.wait(10)
    assert plant.runs


def test_a_chiller_that_was_found_running_may_have_just_started() -> None:
    plant = Plant(state=RUN, channels={"a": False}, limits=Limits(minimum_on_time=180.0))
    plant.poll()
    assert "minimum on time (10 s left)" in str(plant.wait(170).held)
    plant.wait(10)
    assert not plant.runs


@pytest.mark.parametrize(
    ("down_for", "clock_step", "left"),
    [(0.0, 0.0, 200.0), (150.0, 0.0, 50.0), (0.0, -86400.0, 300.0), (3600, 0.0, 0.0)],
)
def test_minimum_off_time_survives_a_restart(down_for: float, clock_step: float, left: float) -> None:
    plant = Plant(state=RUN, channels={"a": False}, limits=Limits(minimum_off_time=300.0))
    plant.wait(30)
    assert not plant.runs
    plant.channels = {"a": True}
    plant.wait(80)
    plant.restart(down_for, clock_step)
    plant.orders.clear()
    if left:
        plant.wait(left - 1.0)
        assert not plant.runs, "a clock that was set back makes it longer, never shorter"
    plant.wait(2.0)
    assert plant.runs


def test_a_state_that_changed_while_the_daemon_was_away_changed_just_now() -> None:
    plant = Plant(state=RUN, channels={"a": True}, limits=Limits(minimum_off_time=300.0))
    plant.poll()
    plant.restart(down_for=86400)
    plant.state = STANDBY
    plant.wait(290)
    assert not plant.runs
    plant.wait(20)
    assert plant.runs


# Starts and stops that fail.


@pytest.mark.parametrize("goal", [True, False])
def test_an_ignored_order_is_given_three_times_and_is_then_an_alarm(goal: bool) -> None:
    plant = Plant(state=STANDBY if goal else RUN, channels={"a": goal}, obeys=False)
    name = "start_failed" if goal else "stop_failed"
    plant.poll()
    decision = plant.wait(ATTEMPTS * RETRY_AFTER - 1, step=1.0)
    assert [at - 1000.0 for at, _ in plant.orders] == [0.0, RETRY_AFTER, 2 * RETRY_AFTER]
    assert {order for _, order in plant.orders} == {goal}
    assert name not in decision.alarms, "the last one has its time, too"
    decision = plant.wait(86400, step=60.0)
    assert len(plant.orders) == ATTEMPTS
    assert decision.alarms[name].latched
    plant.restart(down_for=60)
    assert name in plant.wait(3600).alarms
    assert len(plant.orders) == ATTEMPTS, "a daemon that restarts again and again does not try for ever"


def test_only_what_an_operator_saw_to_is_tried_again() -> None:
    plant = Plant(channels={"a": True}, obeys=False)
    plant.wait(600)
    for alarm in ("humidity", "device_alarm", "setpoint_failed"):
        plant.memory = plant.memory.acknowledged(alarm)
    plant.memory = plant.memory.set_point_forgiven()
    plant.wait(600)
    assert len(plant.orders) == ATTEMPTS
    plant.memory = plant.memory.acknowledged("start_failed")
    assert "start_failed" not in plant.wait(1).alarms
    plant.wait(600)
    assert len(plant.orders) == 2 * ATTEMPTS
    plant.obeys = True
    plant.memory = plant.memory.acknowledged("start_failed")
    plant.wait(10)
    assert plant.runs
    assert plant.wait(10).alarms == {}


@pytest.mark.parametrize("minimum_off_time", [0.0, 180.0])
def test_a_start_that_does_not_last_is_no_start(minimum_off_time: float) -> None:
    plant = Plant(channels={"a": True}, limits=Limits(minimum_off_time=minimum_off_time))
    for _ in range(100):
        decision = plant.wait(30)
        plant.state = STANDBY
    assert len(plant.orders) == ATTEMPTS
    assert "start_failed" in decision.alarms
    plant.memory = plant.memory.acknowledged("start_failed")
    plant.wait(LASTED + RETRY_AFTER + minimum_off_time)
    assert plant.runs
    plant.state = STANDBY
    plant.wait(RETRY_AFTER + minimum_off_time)
    assert plant.runs, "it ran long enough: stopping now is a new story"


# The device's own alarm.


def tripped_plant(**world: object) -> Plant:
    plant = Plant(channels={"a": True})
    plant.wait(60)
    plant.orders.clear()
    plant.alarm = True
    for name, value in world.items():
        setattr(plant, name, value)
    return plant


@pytest.mark.parametrize("state", [RUN, STANDBY])
def test_a_device_alarm_first_standby_then_the_words_two_seconds_later(state: RunState) -> None:
    plant = tripped_plant(limits=Limits(minimum_on_time=3600.0))
    plant.state = state
    decision = plant.wait(0.1)
    began = plant.now
    assert plant.orders == [(began, False)], "also to a device that stopped by itself: its panel has to hear it"
    assert plant.fault_reads == []
    assert decision.alarms["device_alarm"].priority is Priority.CRITICAL
    plant.wait(PANEL_SCAN + 0.5, step=0.1)
    assert len(plant.fault_reads) == 1
    assert plant.fault_reads[0] - began >= PANEL_SCAN
    assert "low coolant level" in plant.poll().alarms["device_alarm"].text
    plant.wait(3600)
    assert [order for _, order in plant.orders] == [False], "no start while the alarm is there"


def test_the_words_wait_for_the_standby_that_the_device_took() -> None:
    plant = tripped_plant(obeys=False, limits=Limits(minimum_on_time=3600.0))
    plant.wait(0.1)
    plant.wait(RETRY_AFTER - 1)
    assert plant.fault_reads == []
    plant.obeys = True
    plant.wait(1.0, step=0.1)
    assert not plant.runs
    stood = plant.now
    plant.wait(5.0, step=0.1)
    assert plant.fault_reads[0] - stood >= PANEL_SCAN


def test_the_words_wait_when_the_device_stops_by_itself_after_it_ignored_the_order() -> None:
    plant = tripped_plant(obeys=False)
    plant.wait(10.0)
    plant.state = STANDBY
    plant.wait(0.1)
    stood = plant.now
    plant.wait(5.0, step=0.1)
    assert plant.fault_reads[0] - stood >= PANEL_SCAN


def test_the_words_are_read_again_while_the_alarm_lasts() -> None:
    plant = tripped_plant()
    plant.wait(300, step=1.0)
    pauses = [b - a for a, b in zip(plant.fault_reads, plant.fault_reads[1:], strict=False)]
    assert pauses
    assert all(pause == pytest.approx(FAULTS_AGAIN, abs=1.0) for pause in pauses)


def test_words_that_cannot_be_read_are_not_asked_for_at_every_poll() -> None:
    plant = tripped_plant(answers_faults=False)
    decision = plant.wait(600, step=1.0)
    assert 3 <= len(plant.fault_reads) <= 600 / RETRY_AFTER + 1
    assert "not read yet" in decision.alarms["device_alarm"].text


def test_after_an_alarm_comes_a_pause_and_then_a_start() -> None:
    plant = tripped_plant()
    plant.wait(100)
    plant.alarm = False
    decision = plant.wait(10)
    gone = plant.now
    assert "reported an alarm (low coolant level)" in decision.alarms["device_alarm"].text
    assert "pause after a device alarm" in str(decision.held)
    plant.wait(TRIP_PAUSE - 1, step=1.0)
    assert not plant.runs
    assert plant.memory.faults, "what it was can still be seen"
    plant.wait(2, step=1.0)
    assert plant.runs
    assert plant.orders[-1][0] - gone == pytest.approx(TRIP_PAUSE, abs=1.0)
    assert "device_alarm" not in plant.poll().alarms
    assert plant.memory.faults == ()


def test_an_alarm_that_the_standby_ends_is_asked_for_its_name_all_the_same() -> None:
    plant = tripped_plant()
    plant.poll()
    plant.alarm = False  # low flow with a limit: without the pump there is none
    decision = plant.wait(10, step=1.0)
    assert len(plant.fault_reads) == 1
    assert "low coolant level" in decision.alarms["device_alarm"].text
    plant.wait(TRIP_PAUSE + 10)
    assert plant.runs
    assert len(plant.fault_reads) == 1


@pytest.mark.parametrize("times", [1, 10])
def test_an_alarm_that_flickers_counts_once(times: int) -> None:
    plant = tripped_plant()
    for _ in range(times):  # a float switch that bobs
        plant.alarm = True
        plant.wait(4, step=1.0)
        plant.alarm = False
        plant.wait(4, step=1.0)
    assert plant.memory.trips == 1
    plant.wait(TRIP_PAUSE + 10)
    assert plant.runs


def test_acknowledging_an_alarm_that_has_gone_clears_its_words() -> None:
    plant = tripped_plant(channels={"a": False})
    plant.wait(100)
    plant.memory = plant.memory.acknowledged("device_alarm")
    assert plant.memory.faults, "not while it is there"
    plant.alarm = False
    plant.wait(10)
    assert plant.memory.faults
    plant.memory = plant.memory.acknowledged("device_alarm")
    assert plant.memory.faults == ()


def trip_again(plant: Plant) -> Decision:
    """An alarm comes and goes, and the chiller gets the time to start again."""
    plant.alarm = True
    plant.wait(100)
    plant.alarm = False
    return plant.wait(TRIP_PAUSE + 60)


def test_three_trips_lock_the_chiller_out_until_an_operator_acts() -> None:
    plant = Plant(channels={"a": True})
    plant.poll()
    for _ in range(TRIPS - 1):
        assert "too_many_device_alarms" not in trip_again(plant).alarms
        assert plant.runs
    decision = trip_again(plant)
    assert not plant.runs
    assert decision.held == "too many device alarms"
    assert decision.alarms["too_many_device_alarms"].latched
    plant.restart(down_for=86400)
    for alarm in ("device_alarm", "start_failed", "setpoint_failed"):
        plant.memory = plant.memory.acknowledged(alarm)
    plant.memory = plant.memory.set_point_forgiven()
    plant.wait(86400, step=60.0)
    assert not plant.runs
    plant.memory = plant.memory.acknowledged("too_many_device_alarms")
    assert "too_many_device_alarms" not in plant.wait(10).alarms
    assert plant.runs


def test_an_hour_of_running_forgets_the_trips() -> None:
    plant = Plant(channels={"a": True})
    plant.poll()
    for _ in range(2 * TRIPS):
        trip_again(plant)
        assert plant.runs
        plant.wait(TRIPS_FORGOTTEN_AFTER + 60)


def test_running_before_the_trip_does_not_count_as_running_after_it() -> None:
    plant = Plant(channels={"a": True})
    plant.wait(5 * 3600)
    plant.obeys = False
    for _ in range(TRIPS):
        decision = trip_again(plant)
    assert "too_many_device_alarms" in decision.alarms


def test_an_alarm_that_flickers_in_standby_locks_nothing_out() -> None:
    plant = Plant(channels={"a": False})
    plant.wait(600)
    for _ in range(5):
        trip_again(plant)
    plant.channels = {"a": True}
    plant.wait(10)
    assert plant.runs


def test_an_alarm_whose_state_is_lost_has_not_gone() -> None:
    plant = tripped_plant()
    plant.wait(60)
    plant.alarm = None
    plant.wait(3600)
    assert not plant.runs
    plant.restart(down_for=60)
    assert "device_alarm" in plant.wait(3600).alarms
    assert not plant.runs


def test_safety_is_an_alarm_without_a_flag() -> None:
    plant = Plant(state=RUN, channels={"a": True})
    plant.poll()
    plant.state, plant.obeys = RunState.SAFETY, False
    decision = plant.wait(10)
    assert "device_alarm" in decision.alarms
    assert plant.orders[-1][1] is False


# Other states of the device.


def test_nothing_is_sent_in_test_mode() -> None:
    plant = Plant(state=RunState.TEST, alarm=True, channels={"a": True}, request=Request(setpoint=10.0))
    decision = plant.wait(3600)
    assert "test_mode" in decision.alarms
    assert (plant.orders, plant.fault_reads, plant.writes) == ([], [], [])
    plant.state, plant.alarm = STANDBY, False
    plant.wait(TRIP_PAUSE + 10)
    assert plant.runs


def test_a_chiller_that_powers_up_runs() -> None:
    plant = Plant(state=RunState.STARTING, channels={"a": True})
    plant.wait(600)
    assert plant.orders == []
    plant.channels = {"a": False}
    plant.wait(10)
    assert plant.orders[-1][1] is False


def test_a_chiller_that_is_not_there_gets_no_orders() -> None:
    plant = Plant(channels={"a": True}, online=False, ambient=-10.0)
    decision = plant.wait(3600)
    assert (plant.orders, decision.switch, decision.set_point) == ([], None, None)
    assert "antifreeze_blind" not in decision.alarms
    plant.online = True
    plant.wait(10)
    assert plant.runs


def test_a_wish_for_the_set_point_is_written_once_and_leaves_the_running_alone() -> None:
    plant = Plant(request=Request(setpoint=12.5))
    plant.wait(3600)
    assert (plant.writes, plant.orders) == ([12.5], [])
