# SPDX-License-Identifier: GPL-3.0-or-later
"""The change of season: its steps, its times, and that neither crashes nor clocks nor relays change them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boilerloop import SOURCES, Loop, forbidden

from rockit.boiler import safety, seasons
from rockit.boiler.memory import SeasonState, Step
from rockit.boiler.model import BOILER, SUMMER_VALVE, VALVE_OF, VALVES, WINTER_VALVE, Override, Season
from rockit.boiler.plant import Decision
from rockit.boiler.safety import Guard, Verdict
from rockit.boiler.settings import Settings

EVERY = 15.0
"""One poll, s."""
FLOW, VALVE = 60.0, 120.0
DURATION = FLOW + 2 * VALVE
OTHER = {Season.WINTER: Season.SUMMER, Season.SUMMER: Season.WINTER}
OWN = {Season.WINTER: BOILER, Season.SUMMER: "chiller1"}


class Change(Loop):
    """A plant in a season."""

    def __init__(self, season: Season, running: bool) -> None:
        settings = Settings(
            flow_through_time=FLOW, valve_time=VALVE, boiler_minimum_on_time=0, chiller_minimum_on_time=0,
            boiler_minimum_off_time=0, chiller_minimum_off_time=0,
        )  # fmt: skip
        self.start(VALVE_OF[season], settings)
        self.run_for(VALVE + 60.0)
        self.override(OWN[season], Override.ON if running else Override.OFF)
        self.run_for(60.0)
        assert self.in_season is season
        assert self.board[OWN[season]] is running

    def run_for(self, seconds: float) -> None:
        for _ in range(round(seconds / EVERY)):
            self.tick()

    def tick(self) -> None:
        self.advance(EVERY)
        self.poll()

    def judged(self, relays: dict[str, bool] | None, before: Guard, decision: Decision, verdict: Verdict) -> None:
        """Nothing that may never be is ever ordered; times are kept in true time."""
        if relays is None:
            assert not verdict.orders
            return
        running = any(relays[name] for name in SOURCES)
        for name, on in verdict.orders:
            if name in VALVES:
                assert not running or forbidden(relays)
            if on and name in VALVES:
                other = next(valve for valve in VALVES if valve != name)
                assert not self.read_as[other][0]
                assert self.true - self.read_as[other][1] >= VALVE - 1e-3
            if on and name in SOURCES:
                valve = WINTER_VALVE if name == BOILER else SUMMER_VALVE
                assert self.read_as[valve][0]
                assert self.true - self.read_as[valve][1] >= VALVE - 1e-3

    def switched(self, before: dict[str, bool], name: str, on: bool) -> None:
        assert forbidden(before) or not forbidden(self.board), (name, on)

    def until(self, season: Season, most: float) -> float:
        """How long it takes until that season is in force."""
        begun = self.true
        while self.in_season is not season:
            assert self.true - begun <= most, (self.saved.memory.season, self.board)
            self.tick()
        return self.true - begun

    def finished(self, season: Season) -> None:
        """In that season, and able to work."""
        assert not self.saved.guard.emergency
        assert {valve: self.board[valve] for valve in VALVES} == {
            WINTER_VALVE: season is Season.WINTER, SUMMER_VALVE: season is Season.SUMMER,
        }  # fmt: skip
        self.override(OWN[season], Override.ON)
        self.run_for(3 * EVERY)
        assert self.board[OWN[season]], self.verdict and self.verdict.denied


def undisturbed(season: Season, running: bool) -> float:
    """How long the change takes where nothing happens."""
    change = Change(season, running)
    change.go(OTHER[season])
    return change.until(OTHER[season], DURATION + 60)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("season", OTHER)
def test_a_change_takes_its_time_and_not_more(season: Season, running: bool) -> None:
    assert DURATION <= undisturbed(season, running) <= DURATION + 3 * EVERY
    change = Change(season, running)
    change.go(season)
    change.run_for(120)
    assert (change.in_season, change.board[OWN[season]]) == (season, running), "it is in that season already"


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("stepped", [-86400.0, 0.0, 3600.0])
@pytest.mark.parametrize("season", OTHER)
def test_a_crash_at_any_poll_neither_restarts_nor_shortens_it(season: Season, stepped: float, reboot: bool) -> None:
    expected = undisturbed(season, True)
    for crashed_after in range(round(expected / EVERY)):
        change = Change(season, True)
        change.go(OTHER[season])
        change.run_for(crashed_after * EVERY)
        change.wall += stepped  # while it runs, which it sees; what it keeps is right again
        change.crash(0.0, reboot, 0.0, True)
        took = crashed_after * EVERY + change.until(OTHER[season], DURATION + 60)
        assert took == pytest.approx(expected)
        change.finished(OTHER[season])


@pytest.mark.parametrize("season", OTHER)
def test_a_crash_between_any_two_operations_costs_a_poll_at_most(season: Season) -> None:
    expected = undisturbed(season, True)
    for operations in range(70):
        change = Change(season, True)
        change.go(OTHER[season])
        change.fuse = operations
        took = change.until(OTHER[season], DURATION + 60)
        assert expected <= took + 1e-6
        assert took <= expected + 3.0 + EVERY
        change.finished(OTHER[season])


@pytest.mark.parametrize("back", [40.0, 86400.0])
def test_a_clock_that_was_set_back_while_the_daemon_was_down_shortens_nothing(back: float) -> None:
    expected = undisturbed(Season.WINTER, True)
    for crashed_after in range(round(expected / EVERY)):
        change = Change(Season.WINTER, True)
        change.go(Season.SUMMER)
        change.run_for(crashed_after * EVERY)
        change.crash(0.0, True, back, True)
        took = crashed_after * EVERY + change.until(Season.SUMMER, DURATION + 60)
        assert expected - 1e-6 <= took <= expected + VALVE + EVERY  # the step that was running begins anew at most
        change.finished(Season.SUMMER)


@pytest.mark.parametrize("season", OTHER)
def test_a_board_that_forgot_its_relays_is_brought_there_all_the_same(season: Season) -> None:
    for polls in range(24):
        change = Change(season, True)
        change.go(OTHER[season])
        change.run_for(polls * EVERY)
        change.board = dict.fromkeys(change.board, False)
        change.until(OTHER[season], 2 * DURATION + 60)
        change.run_for(2 * DURATION)
        assert change.in_season is OTHER[season]
        change.finished(OTHER[season])


@pytest.mark.parametrize("relay", [BOILER, *VALVES])
@pytest.mark.parametrize("season", OTHER)
def test_a_relay_that_sticks_holds_the_change_and_does_not_break_it(season: Season, relay: str) -> None:
    for polls in range(0, 24, 2):
        for stuck_for in (30.0, 300.0):
            change = Change(season, True)
            change.go(OTHER[season])
            change.run_for(polls * EVERY)
            change.stuck = {relay}
            change.run_for(stuck_for)
            change.stuck = set()
            change.saved = replace(change.saved, guard=safety.acknowledged(change.saved.guard))
            change.until(OTHER[season], 2 * DURATION + 120)
            change.finished(OTHER[season])


@pytest.mark.parametrize("season", OTHER)
def test_a_change_that_is_reversed_on_its_way_comes_back_through_all_steps(season: Season) -> None:
    for polls in range(22):
        change = Change(season, True)
        change.go(OTHER[season])
        change.run_for(polls * EVERY)
        stayed = change.board[VALVE_OF[season]]  # then it need not close to be opened
        change.go(season)
        took = change.until(season, DURATION + 60)
        assert took >= (0.0 if not polls else DURATION - VALVE if stayed else DURATION)
        change.finished(season)


@pytest.mark.parametrize("season", OTHER)
def test_a_board_that_forgets_in_a_season_comes_back_to_it(season: Season) -> None:
    change = Change(season, True)
    change.board = dict.fromkeys(change.board, False)
    change.tick()
    assert change.in_season is not season
    change.until(season, DURATION + 60)
    change.finished(season)


def test_a_board_that_does_not_answer_stops_no_clock_and_gets_no_order() -> None:
    change = Change(Season.WINTER, True)
    change.go(Season.SUMMER)
    change.run_for(30)
    change.silent = True
    before = change.board.copy()
    change.run_for(600)
    assert change.board == before
    change.silent = False
    change.until(Season.SUMMER, DURATION + 60)
    change.finished(Season.SUMMER)


@pytest.mark.parametrize(
    ("relays", "expected"),
    [
        ({WINTER_VALVE: True, SUMMER_VALVE: False}, Season.WINTER),
        ({WINTER_VALVE: False, SUMMER_VALVE: True}, Season.SUMMER),
        ({WINTER_VALVE: False, SUMMER_VALVE: False}, Season.TO_WINTER),
        ({WINTER_VALVE: True, SUMMER_VALVE: True}, Season.TO_WINTER),
        ({BOILER: True}, Season.TO_WINTER),
    ],
)
def test_where_nothing_is_remembered_the_valves_say_the_season(relays: dict[str, bool], expected: Season) -> None:
    assert seasons.found(relays, 5.0).season is expected
    nothing = seasons.advance(SeasonState(), None, seasons.Times(FLOW, VALVE), 5.0)
    assert nothing.season is None, "relays that were never read say nothing"


def test_a_plant_without_valves_changes_when_its_sources_are_off() -> None:
    times = seasons.Times(FLOW, VALVE, valves=False)
    state = seasons.begin(SeasonState(Season.WINTER), Season.SUMMER)
    state = seasons.advance(state, {BOILER: True}, times, 0.0)
    state = seasons.advance(state, {BOILER: False}, times, 10.0)
    assert seasons.ends_at(state, times, 10.0) == 10.0 + FLOW
    assert seasons.advance(state, {BOILER: False}, times, 69.0).season is Season.TO_SUMMER
    assert seasons.advance(state, {BOILER: False}, times, 70.0).season is Season.SUMMER


def test_valves_that_were_taken_out_of_the_config_hold_no_change_for_ever() -> None:
    times = seasons.Times(FLOW, VALVE, valves=False)
    state = SeasonState(Season.TO_WINTER, Step.OPEN, step_at=1.0)
    for now in range(0, 200, 20):
        state = seasons.advance(state, {BOILER: False}, times, float(now))
    assert state.season is Season.WINTER


def test_the_end_is_told_from_the_begin_on() -> None:
    times = seasons.Times(FLOW, VALVE)
    relays = {BOILER: False, WINTER_VALVE: True, SUMMER_VALVE: False}
    state = seasons.begin(SeasonState(Season.WINTER), Season.SUMMER)
    assert seasons.ends_at(state, times, 100.0) == 100.0 + DURATION
    state = seasons.advance(state, relays, times, 100.0)
    assert seasons.ends_at(state, times, 130.0) == 100.0 + DURATION
    state = seasons.advance(state, relays, times, 160.0)
    assert state.step is Step.CLOSE
    assert seasons.ends_at(state, times, 160.0) == 160.0 + 2 * VALVE
    assert seasons.ends_at(SeasonState(Season.WINTER), times, 1.0) is None


LOCKOUT = 600.0


def automatic(state: SeasonState, wanted: Season | None, now: float, lockout: float = LOCKOUT) -> SeasonState:
    return seasons.automatic(state, wanted, lockout, now)


def test_the_weather_must_want_another_season_for_a_while_and_after_the_lockout() -> None:
    state = automatic(SeasonState(Season.WINTER, since_at=0.0), Season.SUMMER, 100.0)
    assert automatic(state, Season.SUMMER, LOCKOUT + seasons.MARGIN).season is Season.WINTER
    assert automatic(state, Season.SUMMER, LOCKOUT + seasons.MARGIN + 1).season is Season.TO_SUMMER
    state = automatic(SeasonState(Season.WINTER, since_at=-1e6), Season.SUMMER, 0.0)
    assert automatic(state, Season.SUMMER, 299.0).season is Season.WINTER
    assert automatic(state, Season.SUMMER, 300.0).season is Season.TO_SUMMER
    broken = automatic(state, None, 150.0)
    assert broken.asked_at is None, "one reading that says no begins the time anew"


@pytest.mark.parametrize(
    ("state", "lockout"),
    [
        (SeasonState(Season.WINTER, automatic=False), 60.0),
        (SeasonState(Season.WINTER), 0.0),
        (SeasonState(Season.WINTER), -60.0),
    ],
)
def test_by_hand_only(state: SeasonState, lockout: float) -> None:
    for now in range(0, 10_000, 100):
        state = automatic(state, Season.SUMMER, float(now), lockout)
    assert state.season is Season.WINTER


def test_which_season_the_return_asks_for() -> None:
    def asked(season: Season, value: float) -> Season | None:
        return seasons.wanted_season(season, value, winter=11.0, summer=13.0, delta=4.0)

    assert [asked(Season.WINTER, value) for value in (9.0, 15.0, 15.1)] == [None, None, Season.SUMMER]
    assert [asked(Season.SUMMER, value) for value in (9.0, 8.9, 15.1)] == [None, Season.WINTER, None]
    assert asked(Season.TO_SUMMER, 50.0) is None
