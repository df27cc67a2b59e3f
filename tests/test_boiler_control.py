# SPDX-License-Identifier: GPL-3.0-or-later
"""The control: heating, frost, cascade, overrides, minimum times, and what becomes of them where an input is lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from boilerloop import CHILLERS, SOURCES, Loop

from rockit.boiler import cascade, plant, seasons
from rockit.boiler.alarms import CHANGE_SLACK, Sources, conditions
from rockit.boiler.cascade import Unit
from rockit.boiler.heating import BLIND_EVERY, BLIND_ON, HOLD, hysteresis
from rockit.boiler.memory import DeviceState, Memory, Request, SeasonState, Trend
from rockit.boiler.model import BOILER, SUMMER_VALVE, WINTER_VALVE, Override, Season
from rockit.boiler.plant import Decision, Facts, Site
from rockit.boiler.safety import BLIND_FOR, RETURN_LOW, Guard, acknowledged
from rockit.boiler.settings import Settings, changed
from rockit.boiler.units import Scale, fahrenheit

SITE = Site(True, ("chiller1", "chiller2", "chiller3", "chiller4"))
OFF = dict.fromkeys(SITE.sources, False)
IN_WINTER = {**OFF, WINTER_VALVE: True, SUMMER_VALVE: False}
IN_SUMMER = {**OFF, WINTER_VALVE: False, SUMMER_VALVE: True}


class Running(Loop):
    """A plant in its season for a while, with a return that hardly asks for anything."""

    def __init__(self, season: Season, settings: Mapping[str, Any] | None = None) -> None:
        chosen = changed(Settings(), settings or {}, Scale.CELSIUS)
        self.start(WINTER_VALVE if season is Season.WINTER else SUMMER_VALVE, chosen)
        value = 17.0 if season is Season.WINTER else 15.0  # the set point is 60 °F in both
        self.facts = Facts(return_temp=value, water_out=value, outside=15.0, average=15.0)
        self.run_for(900)
        assert self.in_season is season
        assert not any(self.board[name] for name in SOURCES)

    def run_for(self, seconds: float, every: float = 10.0) -> list[float]:
        """Polls; how long, s, each time, the boiler was on."""
        times = []
        for _ in range(round(seconds / every)):
            self.advance(every)
            self.poll()
            times.append(every if self.board[BOILER] else 0.0)
        return times

    def water(self, value: float | None, out: float | None = None) -> None:
        self.facts = replace(self.facts, return_temp=value, water_out=value if out is None else out)

    def lose_all(self) -> None:
        self.facts = replace(self.facts, return_temp=None, water_out=None, boiler={})

    def decided(self) -> Decision:
        assert self.decision is not None
        return self.decision

    def alarms(self, sources: Sources | None = None) -> set[str]:
        site = Site(True, CHILLERS)
        return set(conditions(self.decided(), self.saved.guard, self.saved.request, site, sources or Sources()))


# Heating.


def test_the_boiler_heats_within_its_tolerance() -> None:
    settings = Settings(tolerance=1.0)
    for heating, value, on in (
        (False, 9.0, True), (False, 9.01, False), (False, 11.0, False), (True, 9.0, True), (True, 11.0, True),
        (True, 11.01, False),
    ):  # fmt: skip
        assert hysteresis(value, 10.0, settings, Memory(heating=heating), 0.0)[0] is on


def test_the_boiler_is_switched_by_the_return() -> None:
    home = Running(Season.WINTER)
    home.water(fahrenheit(48))  # the set point is 60 °F, the tolerance 2 °F
    home.run_for(20)
    assert home.board[BOILER]
    home.water(fahrenheit(61.9))
    home.run_for(600)
    assert home.board[BOILER]
    home.water(fahrenheit(62.1))
    home.run_for(20)
    assert not home.board[BOILER]
    home.water(fahrenheit(58.1))
    home.run_for(600)
    assert not home.board[BOILER]
    assert home.decided().effective == pytest.approx(fahrenheit(60))


@pytest.mark.parametrize("running", [False, True])
def test_a_return_that_is_lost_for_a_while_changes_nothing(running: bool) -> None:
    home = Running(Season.WINTER)
    home.water(5.0 if running else 20.0)
    home.run_for(60)
    home.lose_all()
    home.run_for(HOLD - 20)
    assert home.board[BOILER] is running
    home.run_for(60)
    assert not home.board[BOILER], "not known for long: off"
    assert "return_sensor" in home.alarms()
    home.water(5.0)
    home.run_for(320)
    assert home.board[BOILER], "and on again by itself"
    assert "return_sensor" not in home.alarms()


def test_the_boilers_inlet_stands_for_the_return_in_winter() -> None:
    home = Running(Season.WINTER)
    home.facts = replace(home.facts, return_temp=None, water_out=None, boiler={"inlet_temp": 8.0})
    home.run_for(HOLD + 60)
    assert not home.board[BOILER], "the inlet of a boiler that stands says nothing of the loop"
    assert home.decided().return_how == "none"
    home.run_for(BLIND_EVERY)
    assert home.board[BOILER], "it runs to see what the inlet says"
    assert home.decided().return_how == "boiler"
    assert "return_sensor" in home.alarms(Sources({"return": "x"}))
    home.facts = replace(home.facts, boiler={"inlet_temp": 40.0})
    home.run_for(300)
    assert not home.board[BOILER]


def test_an_emergency_that_is_over_lets_no_water_freeze() -> None:
    home = Running(Season.WINTER)
    home.water(50.0)
    home.run_for(120)
    assert home.saved.guard.emergency
    home.water(1.5)
    home.run_for(600)
    assert home.board[BOILER]
    home.water(20.0)
    home.run_for(600)
    assert not home.board[BOILER], "against frost, and for nothing else"


def test_a_plant_without_a_boiler_begins_with_summer() -> None:
    assert seasons.found({"chiller1": False}, 0.0, boiler=False).season is Season.TO_SUMMER
    assert seasons.found({"boiler": False}, 0.0).season is Season.TO_WINTER


def test_a_mean_of_days_is_no_warm_night() -> None:
    home = Running(Season.WINTER, {"outside_hold": 0})
    home.facts = replace(home.facts, return_temp=None, water_out=None, outside=None, average=5.0)
    home.run_for(HOLD + 600)
    assert home.board[BOILER], "it may freeze, and nobody knows"


def test_a_register_that_nobody_writes_is_no_frost() -> None:
    home = Running(Season.WINTER)
    home.facts = replace(home.facts, return_temp=30.0, water_out=30.0, boiler={"inlet_temp": 0.0, "outlet_temp": 1.0})
    home.run_for(600)
    assert not home.board[BOILER]


# Frost.


@pytest.mark.parametrize("override", Override)
def test_cold_water_in_winter_is_heated_whoever_says_off(override: Override) -> None:
    home = Running(Season.WINTER)
    home.override(BOILER, override)
    home.run_for(600)
    home.water(3.0)
    home.run_for(20)
    assert home.board[BOILER]
    home.water(7.0)
    home.run_for(600)
    assert home.board[BOILER], "until it is above freeze_off"
    assert home.decided().demand is not None
    home.water(7.3)
    home.run_for(30)
    assert home.board[BOILER] is (override is not Override.OFF)


def test_an_emergency_of_cold_water_is_heated_before_anybody_sees_it() -> None:
    home = Running(Season.WINTER)
    home.override(BOILER, Override.OFF)
    home.water(0.5)
    home.run_for(900)
    assert home.saved.guard.emergency == (RETURN_LOW,)
    assert home.board[BOILER]
    home.board = dict.fromkeys(home.board, False)  # a board that forgets on top of it
    home.run_for(900)
    assert home.board[BOILER]
    assert home.board[WINTER_VALVE]
    home.water(20.0)
    home.run_for(60)
    assert home.saved.guard.emergency == (RETURN_LOW,)
    home.saved = replace(home.saved, guard=acknowledged(home.saved.guard))
    home.run_for(20)
    assert home.saved.guard.emergency == ()


@pytest.mark.parametrize("value", [3.0, 0.5])
def test_water_that_freezes_in_summer_brings_the_plant_to_winter(value: float) -> None:
    home = Running(Season.SUMMER)
    home.go(Season.SUMMER)
    home.facts = replace(home.facts, outside=-5.0)
    home.water(value)
    home.run_for(1200)
    assert home.in_season is Season.WINTER
    assert home.board[BOILER]


@pytest.mark.parametrize("outside", [20.0, None])
def test_a_bus_of_sensors_that_dies_in_summer_moves_no_valve(outside: float | None) -> None:
    home = Running(Season.SUMMER, {"outside_hold": 0})
    home.facts = replace(home.facts, outside=outside, average=None)
    home.lose_all()
    assert sum(home.run_for(4 * 3600)) == 0
    assert home.in_season is Season.SUMMER
    assert home.board[SUMMER_VALVE]


def test_water_that_was_cold_when_all_sensors_were_lost_is_heated_on() -> None:
    home = Running(Season.WINTER)
    home.water(3.0)
    home.run_for(60)
    home.lose_all()
    home.run_for(HOLD - 30)
    assert home.board[BOILER]
    assert "frost" in home.decided().wishes[BOILER].why.told(Scale.CELSIUS)


BLIND = BLIND_ON / BLIND_EVERY


@pytest.mark.parametrize(("outside", "share"), [(-5.0, BLIND), (None, BLIND), (10.0, 0)])
def test_blind_heating_is_bounded_and_only_where_it_may_freeze(outside: float | None, share: float) -> None:
    home = Running(Season.WINTER, {"outside_hold": 0})
    home.override(BOILER, Override.OFF)
    home.facts = replace(home.facts, outside=outside, average=None)
    home.lose_all()
    home.run_for(HOLD)
    hours = 6
    assert sum(home.run_for(hours * 3600)) / (hours * 3600) == pytest.approx(share, abs=0.03)
    assert ("frost" in home.alarms()) is (home.decided().memory.frost)


def test_a_daemon_that_has_just_started_does_not_take_its_sensors_for_lost() -> None:
    memory = Memory(season=SeasonState(Season.WINTER, since_at=0.0))
    blind = Facts(IN_WINTER)
    decision = plant.decide(blind, Request(), Settings(), SITE, memory, 1000.0)
    assert not decision.memory.frost
    decision = plant.decide(blind, Request(), Settings(), SITE, decision.memory, 1000.0 + HOLD)
    assert not decision.memory.frost
    decision = plant.decide(blind, Request(), Settings(), SITE, decision.memory, 1001.0 + HOLD)
    assert decision.memory.frost
    assert decision.relays[BOILER]


def test_an_order_to_heat_blind_is_bounded_as_well() -> None:
    home = Running(Season.WINTER)
    home.override(BOILER, Override.ON)
    home.run_for(60)
    home.lose_all()
    assert sum(home.run_for(6 * 3600)) <= 0.55 * 6 * 3600
    home.water(20.0)
    home.run_for(BLIND_FOR)
    assert home.board[BOILER], "with a temperature the order counts again, and nobody has to acknowledge anything"
    assert not home.saved.guard.emergency


def test_a_relay_that_sticks_holds_up_no_other() -> None:
    home = Running(Season.SUMMER)
    for name in CHILLERS:
        home.override(name, Override.ON)
    home.run_for(400)
    assert all(home.board[name] for name in CHILLERS)
    home.stuck = {"chiller1"}
    for name in CHILLERS:
        home.override(name, Override.OFF)
    home.run_for(10)
    assert [name for name in CHILLERS if home.board[name]] == ["chiller1"]
    home.run_for(60)
    assert home.saved.guard.emergency == ("chiller1 does not go off",)
    assert "relay_chiller1" in home.alarms()
    assert "relay_chiller2" not in home.alarms()


# The weather.


def test_a_weather_that_is_lost_counts_on_for_its_hold_and_then_the_mean_of_the_days() -> None:
    home = Running(Season.WINTER, {"outside_hold": 10})
    home.facts = replace(home.facts, outside=None, average=2.0)
    home.run_for(590)
    assert (home.decided().outside_how, home.decided().set_point.outside) == ("last known", 15.0)  # type: ignore[union-attr]
    assert home.decided().outside_age == pytest.approx(590)
    home.run_for(30)
    assert (home.decided().outside_how, home.decided().set_point.outside) == ("average", 2.0)  # type: ignore[union-attr]
    home.facts = replace(home.facts, average=None)
    home.run_for(10)
    assert (home.decided().outside_how, home.decided().set_point) == ("none", None)
    assert home.decided().effective == home.settings.setpoint_max
    assert "weather" in home.alarms()


def test_wind_chill_counts_in_winter_and_on_with_the_last_known_weather() -> None:
    settings = {"wind_chill": 1, "curve": [[-30, 40], [30, 10]], "setpoint_min": 0, "setpoint_max": 38,
                "return_low": -5, "setpoint_offset_winter": 0}  # fmt: skip
    home = Running(Season.WINTER, {**settings, "setpoint_min": 5})
    home.facts = replace(home.facts, outside=-10.0, wind=20 / 3.6)
    home.run_for(10)
    felt = home.decided().effective
    assert felt == pytest.approx(25 + 17.86 / 2, abs=0.05)
    home.facts = replace(home.facts, outside=None, wind=None)
    home.run_for(600)
    assert home.decided().effective == felt


def test_a_guess_of_the_weather_changes_no_season() -> None:
    home = Running(Season.WINTER, {"mode_switch_lockout_time": 1, "outside_hold": 0})
    home.facts = replace(home.facts, outside=None)
    home.water(30.0)
    home.run_for(3600)
    assert home.in_season is Season.WINTER
    home.facts = replace(home.facts, outside=25.0)
    home.run_for(1200)
    assert home.in_season is Season.SUMMER


# Overrides and minimum times.


def test_an_order_off_is_followed_at_once_also_while_the_season_changes() -> None:
    home = Running(Season.WINTER, {"boiler_minimum_on_time": 3600})
    home.override(BOILER, Override.ON)
    home.run_for(20)
    home.go(Season.SUMMER)
    home.run_for(60)
    assert home.board[BOILER], "it runs out its minimum time"
    home.override(BOILER, Override.OFF)
    home.run_for(10)
    assert not home.board[BOILER]


def test_minimum_times_hold_what_is_automatic_and_starts_by_hand() -> None:
    home = Running(Season.WINTER)
    home.water(5.0)
    home.run_for(20)
    home.water(30.0)
    home.run_for(100)
    assert home.board[BOILER]
    assert home.decided().held == {BOILER: "the minimum time on"}
    home.run_for(100)
    assert not home.board[BOILER]
    home.override(BOILER, Override.ON)
    home.run_for(150)
    assert not home.board[BOILER]
    assert home.decided().held == {BOILER: "the minimum time off"}
    assert home.decided().may_change[BOILER] > home.monotonic
    home.run_for(200)
    assert home.board[BOILER]


def test_a_source_out_of_its_season_follows_no_order() -> None:
    home = Running(Season.WINTER)
    home.override("chiller1", Override.ON)
    home.run_for(600)
    assert not home.board["chiller1"]
    home.go(Season.SUMMER)
    home.run_for(900)
    assert home.board["chiller1"]


# The cascade.


@pytest.mark.parametrize(
    ("seconds", "lost"), [(HOLD - 30, False), (HOLD + 30, True)],
)  # fmt: skip
def test_chillers_run_on_without_a_return_for_a_while_and_come_back(seconds: float, lost: bool) -> None:
    home = Running(Season.SUMMER)
    for step in range(100):
        home.water(17.0 + step * 0.02)
        home.run_for(10)
    assert home.board["chiller1"]
    home.lose_all()
    home.run_for(seconds)
    assert home.board["chiller1"] is not lost
    home.run_for(HOLD)
    assert not home.board["chiller1"]
    for step in range(200):
        home.water(17.0 + step * 0.02)
        home.run_for(10)
    assert any(home.board[name] for name in CHILLERS), "and nobody acknowledged anything"


def loop(**changes: Any) -> cascade.Loop:
    """A loop that is due for one more."""
    rising = Trend(15.0, 0.0, (1, 1, 1))
    return replace(cascade.Loop(15.0, 10.0, 1.0, rising, 420.0, 420.0, 0.0), **changes)


def units(*hours: float) -> list[Unit]:
    return [
        Unit(f"chiller{number}", DeviceState(changed_at=1.0, run_seconds=one)) for number, one in enumerate(hours, 1)
    ]


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        ({}, True), ({"value": 11.0}, True), ({"value": 10.99}, False), ({"gap": 419.0}, False),
        ({"trend": Trend(15.0, 0.0, (0, 0, 1))}, True), ({"trend": Trend(15.0, 0.0, (1, 0, -1))}, False),
        ({"trend": Trend(15.0, 0.0, (1, 1))}, False), ({"trend": Trend(15.0, 0.0, (0, 0, 0)), "far": 839.0}, False),
        ({"trend": Trend(15.0, 0.0, (0, 0, 0)), "far": 840.0}, True),
    ],
)  # fmt: skip
def test_one_more_as_chronos_does_it(changes: dict[str, Any], goes: bool) -> None:
    more, less, _ = cascade.step(loop(**changes), units(5.0, 3.0, 4.0), [])
    assert (more, less) == ("chiller2" if goes else None, None), "the one with the fewest hours"


FALLING = {"value": 8.0, "trend": Trend(8.5, 0.0, (-1, -1, -1)), "gap": 280.0}


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        ({}, True), ({"gap": 279.0}, False), ({"value": 8.5}, False), ({"value": 8.6}, False),
        ({"trend": Trend(9.0, 0.0, (-1, -1, -1))}, False), ({"trend": Trend(None)}, False),
        ({"value": 8.5, "far": 840.0}, True),
    ],
)  # fmt: skip
def test_one_less_as_chronos_does_it(changes: dict[str, Any], goes: bool) -> None:
    more, less, _ = cascade.step(loop(**(FALLING | changes)), [], units(3.0, 5.0, 4.0))
    assert (more, less) == (None, "chiller2" if goes else None), "the one with the most hours"


def test_nobody_is_chosen_where_nobody_is_free() -> None:
    assert cascade.step(loop(), [], units(1.0))[:2] == (None, None)
    assert cascade.step(loop(**FALLING), units(1.0), [])[:2] == (None, None)


def test_the_trend_is_made_of_a_value_a_minute() -> None:
    trend = Trend()
    for second in range(0, 200, 5):
        trend = trend.noted(10.0 + second / 100, float(second))
    assert trend.deltas == (1, 1, 1)
    assert trend.mean == 1
    assert trend.sign(trend.logged or 0.0) == 0
    assert Trend(10.0).sign(10.1) == 0
    assert Trend(10.0).sign(9.99) == -1


def test_a_value_that_is_lost_for_a_moment_ends_no_trend_and_a_long_gap_does() -> None:
    trend = Trend(10.0, 100.0, (1, 1, 1))
    assert trend.noted(None, 110.0) == trend
    assert trend.noted(12.0, 165.0).deltas == (1, 1, 1)
    assert trend.noted(None, 251.0) == Trend()
    assert trend.noted(12.0, 251.0) == Trend(12.0, 251.0)


class Summer:
    """Chillers that follow at once, seen every 20 s, without a guard."""

    def __init__(self, **settings: Any) -> None:
        self.settings = changed(Settings(), settings, Scale.CELSIUS)
        self.relays = dict(IN_SUMMER)
        self.memory = Memory(season=SeasonState(Season.SUMMER, since_at=0.0))
        self.now = 0.0
        self.starts: list[str] = []
        self.request, self.broken = Request(), frozenset[str]()

    def run(self, seconds: float, value: Callable[[float], float | None]) -> None:
        for _ in range(round(seconds / 20)):
            self.now += 20
            found = value(self.now)
            facts = Facts(dict(self.relays), found, found, {}, 20.0, None, 20.0, self.broken)
            decision = plant.decide(facts, self.request, self.settings, SITE, self.memory, self.now)
            changes = [name for name in SITE.chillers if decision.relays[name] is not self.relays[name]]
            assert len(changes) <= 1, "one at a time"
            self.starts += [name for name in changes if decision.relays[name]]
            self.relays |= {name: decision.relays[name] for name in SITE.chillers}
            self.memory = decision.memory

    @property
    def on(self) -> list[str]:
        return [name for name in SITE.chillers if self.relays[name]]


def test_a_return_that_stays_far_off_gets_more_though_its_last_digit_dances() -> None:
    home = Summer()
    home.run(4 * 3600, lambda now: 20.0 + 0.0625 * (round(now / 20) % 2))
    assert len(home.on) == 4
    home.run(6 * 3600, lambda now: 3.9 + 0.0625 * (round(now / 20) % 2))
    assert home.on == []


def test_a_sensor_that_is_lost_now_and_then_does_not_stop_the_cascade() -> None:
    home = Summer()
    home.run(4 * 3600, lambda now: None if now % 100 == 0 else 20.0)
    assert len(home.on) == 4


def test_a_return_that_comes_nearer_gets_no_more() -> None:
    home = Summer()
    home.run(3 * 3600, lambda now: 30.0 - now / 1000)
    assert home.on == []


def test_what_was_far_off_last_summer_starts_nothing_this_summer() -> None:
    home = Summer()
    home.run(600, lambda _: 20.0)
    assert home.memory.far_at is not None
    home.memory = replace(home.memory, season=SeasonState(Season.WINTER, since_at=0.0))
    home.relays = dict(IN_WINTER)
    home.run(3600, lambda _: 20.0)
    home.memory = replace(home.memory, season=SeasonState(Season.SUMMER, since_at=0.0))
    home.relays = dict(IN_SUMMER)
    home.run(800, lambda _: 20.0)
    assert home.on == []


def test_the_hours_of_all_chillers_stay_within_one_cycle() -> None:
    home = Summer()

    def value(now: float) -> float:
        phase = now % 7200
        return 13.0 + phase / 400 if phase < 3600 else 10.0 - (phase - 3600) / 1200

    home.run(3 * 86400, value)
    hours = [home.memory.devices[name].run_seconds for name in SITE.chillers]
    assert min(hours) > 10 * 3600
    assert max(hours) - min(hours) <= 7200
    assert {home.starts.count(name) for name in SITE.chillers} != {0}


def test_a_chiller_that_is_broken_or_in_somebodys_hand_is_never_chosen() -> None:
    home = Summer()
    home.request = Request({"chiller1": Override.OFF, "chiller3": Override.ON})
    home.broken = frozenset({"chiller2"})
    home.run(4 * 3600, lambda _: 20.0)
    assert home.on == ["chiller3", "chiller4"]
    assert home.starts == ["chiller3", "chiller4"]
    home.run(4 * 3600, lambda _: 5.0)
    assert home.on == ["chiller3"]


# What somebody should know.


def test_a_change_that_may_take_long_is_not_stuck() -> None:
    home = Running(Season.WINTER, {"valve_time": 3600, "flow_through_time": 1800})
    home.go(Season.SUMMER)
    home.run_for(10)
    found = conditions(home.decided(), Guard(), Request(), Site(True, CHILLERS), Sources())
    assert found["season_stuck"].delay == 2 * 3600 + 1800 + CHANGE_SLACK
