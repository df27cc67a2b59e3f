# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard alone: what it lets pass, what it never does, emergencies and how they end, relays that do not follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import msgspec
import pytest
from boilerloop import CHILLERS, RELAYS, SOURCES, forbidden
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.boiler import safety
from rockit.boiler.model import BOILER, SUMMER_VALVE, VALVES, WINTER_VALVE, Season
from rockit.boiler.safety import (
    BLIND_FOR,
    RETURN_HIGH,
    RETURN_LOW,
    UNKNOWN_FOR,
    Contact,
    Guard,
    Limits,
    Seen,
    Verdict,
    acknowledged,
    forgiven,
    judge,
)

VALVE = 120.0
LIMITS = Limits(SOURCES, True, VALVE, 2.0, 43.0)
ALL_ON = dict.fromkeys(SOURCES, True)
START = 10_000.0


def relays(*on: str) -> dict[str, bool]:
    """The board with these relays on."""
    return {name: name in on for name in RELAYS}


def seen(
    board: Mapping[str, bool] | None, season: Season | None = Season.WINTER, value: float | None = 11.0,
    waters: tuple[float, ...] | None = None,
) -> Seen:  # fmt: skip
    """What the guard sees; `waters` is the return where it is not given."""
    return Seen(board, value, waters if waters is not None else () if value is None else (value,), season)


def standing(board: Mapping[str, bool], since: float = 0.0, at: float = START) -> Guard:
    """A guard that has read the board so for long, and has known the water until now."""
    return Guard({name: Contact(on, since) for name, on in board.items()}, return_at=at, water_at=at)


def ask(wanted: Mapping[str, bool], what: Seen, guard: Guard, now: float = START, limits: Limits = LIMITS) -> Verdict:
    return judge(wanted, what, limits, guard, now)


WINTER, SUMMER = relays(WINTER_VALVE), relays(SUMMER_VALVE)


def test_each_source_starts_in_its_season_only() -> None:
    assert ask(ALL_ON, seen(WINTER), standing(WINTER)).orders == ((BOILER, True),)
    summer = ask(ALL_ON, seen(SUMMER, Season.SUMMER), standing(SUMMER))
    assert summer.orders == tuple((name, True) for name in CHILLERS)
    for season in (None, Season.TO_WINTER, Season.TO_SUMMER):
        for board in (WINTER, SUMMER):
            assert ask(ALL_ON, seen(board, season), standing(board)).orders == ()


def test_a_source_waits_for_its_valve() -> None:
    for age, orders in ((0.0, ()), (VALVE - 1, ()), (VALVE, ((BOILER, True),))):
        assert ask({BOILER: True}, seen(WINTER), standing(WINTER, START - age)).orders == orders


def test_no_order_where_the_relays_are_not_known() -> None:
    verdict = ask({**ALL_ON, WINTER_VALVE: False}, seen(None), standing(WINTER))
    assert verdict.orders == ()
    assert set(verdict.denied) == set(SOURCES)


def test_a_control_that_asks_for_both_valves_gets_none() -> None:
    closed = relays()
    verdict = ask(dict.fromkeys(VALVES, True), seen(closed, Season.TO_WINTER), standing(closed))
    assert verdict.orders == ()
    assert ask({WINTER_VALVE: True}, seen(closed, None), standing(closed)).orders == ((WINTER_VALVE, True),)


def test_a_source_does_not_start_while_its_valve_is_told_to_close() -> None:
    verdict = ask({BOILER: True, WINTER_VALVE: False}, seen(WINTER), standing(WINTER))
    assert verdict.orders == ((WINTER_VALVE, False),)
    assert BOILER in verdict.denied


def test_a_valve_does_not_close_on_what_runs() -> None:
    board = relays(WINTER_VALVE, BOILER)
    verdict = ask({BOILER: True, WINTER_VALVE: False}, seen(board), standing(board))
    assert verdict.orders == ()
    off = ask({WINTER_VALVE: False}, seen(board), standing(board))
    assert off.orders == ((BOILER, False),), "the valve after it has been read off"


wishes = st.one_of(
    st.fixed_dictionaries({name: st.booleans() for name in RELAYS}),
    st.dictionaries(st.sampled_from(RELAYS), st.booleans()),
)
boards = st.one_of(
    st.sampled_from([relays(), WINTER, SUMMER, relays(WINTER_VALVE, BOILER), relays(SUMMER_VALVE, "chiller1")]),
    st.fixed_dictionaries({name: st.booleans() for name in RELAYS}),
)
ages = st.sampled_from([5000.0, VALVE, 0.0])


@given(wishes, boards, st.sampled_from([None, *Season]), ages, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_part_of_the_orders_is_safe(
    wanted: dict[str, bool], board: dict[str, bool], season: Season | None, age: float, known: bool
) -> None:
    verdict = ask(wanted, seen(board, season, 11.0 if known else None), standing(board, START - age))
    for part in product((False, True), repeat=len(verdict.orders)):
        after = board | {name: on for (name, on), done in zip(verdict.orders, part, strict=True) if done}
        assert forbidden(board) or not forbidden(after)
        assert all(board[valve] for valve in VALVES) or not all(after[valve] for valve in VALVES)
    if forbidden(board):
        assert verdict.guard.emergency
        assert all((name, False) in verdict.orders for name in SOURCES if board[name])


FORBIDDEN = [
    (*VALVES,), (*VALVES, BOILER), (BOILER,), (BOILER, SUMMER_VALVE), ("chiller1",), ("chiller1", WINTER_VALVE),
    (BOILER, "chiller2", WINTER_VALVE), (*VALVES, "chiller1"),
]  # fmt: skip


@pytest.mark.parametrize("on", FORBIDDEN, ids="+".join)
def test_what_may_never_be_is_an_emergency_until_it_is_gone_and_somebody_saw_it(on: tuple[str, ...]) -> None:
    board = relays(*on)
    season = Season.SUMMER if SUMMER_VALVE in on else Season.WINTER
    verdict = ask(board, seen(board, season), standing(board))
    assert verdict.guard.emergency
    assert [name for name, to in verdict.orders if not to and name in SOURCES] == [n for n in SOURCES if board[n]]
    # Somebody acknowledges while it is still so: it stays, also while the relays are not known.
    guard = acknowledged(verdict.guard)
    guard = ask({}, seen(board, season), guard, START + 2).guard
    assert guard.emergency
    guard = ask({}, seen(None, season), guard, START + 4).guard
    assert guard.emergency, "relays that are not known are not known to be right"
    guard = ask({}, seen(relays(), season), guard, START + 6).guard
    assert not guard.emergency
    # And without anybody it stays for ever.
    guard = verdict.guard
    for later in range(10):
        guard = ask(ALL_ON, seen(WINTER), guard, START + 1e4 * later).guard
    assert guard.emergency
    assert ask(ALL_ON, seen(WINTER), guard, START + 1e6).orders == ()


def test_what_runs_and_does_not_obey_keeps_its_water() -> None:
    for source, other in ((BOILER, SUMMER_VALVE), ("chiller1", WINTER_VALVE)):
        board = relays(*VALVES, source)
        assert ask({}, seen(board, None), standing(board)).orders == ((source, False), (other, False))
    board = relays(*VALVES)
    assert ask({}, seen(board, None), standing(board)).orders == ((WINTER_VALVE, False), (SUMMER_VALVE, False))


def test_no_valve_opens_in_an_emergency_but_winters_against_the_cold() -> None:
    closed = relays()
    for cause, valve, opens in (
        ("x", WINTER_VALVE, False), ("x", SUMMER_VALVE, False), (RETURN_LOW, SUMMER_VALVE, False),
        (RETURN_HIGH, WINTER_VALVE, False), (RETURN_LOW, WINTER_VALVE, True),
    ):  # fmt: skip
        guard = replace(standing(closed), emergency=(cause,), emergency_at=1.0)
        assert bool(ask({valve: True}, seen(closed, Season.TO_WINTER), guard).orders) is opens


def after_seconds(value: float, board: Mapping[str, bool], season: Season, seconds: float = 70.0) -> Guard:
    """A guard that has seen that return for so long."""
    guard, now = standing(board), START
    while now <= START + seconds:
        guard = ask({}, seen(board, season, value), guard, now).guard
        now += 10.0
    return guard


@pytest.mark.parametrize(("value", "cause"), [(1.0, RETURN_LOW), (50.0, RETURN_HIGH)])
def test_a_return_outside_of_its_window_is_an_emergency_after_a_minute(value: float, cause: str) -> None:
    assert after_seconds(value, WINTER, Season.WINTER, 50.0).emergency == ()
    guard = after_seconds(value, WINTER, Season.WINTER)
    assert guard.emergency == (cause,)
    assert ask({}, seen(WINTER, value=11.0), guard, START + 80).guard.emergency, "it is latched"
    assert not ask({}, seen(WINTER, value=11.0), acknowledged(guard), START + 80).guard.emergency


def test_two_wrong_readings_with_nothing_between_them_are_no_emergency() -> None:
    guard = ask({}, seen(WINTER, value=85.0), standing(WINTER)).guard
    for now in range(10, 300, 10):
        guard = ask({}, seen(WINTER, value=None), guard, START + now).guard
    assert ask({}, seen(WINTER, value=85.0), guard, START + 300).guard.emergency == ()


def test_losing_the_sensor_does_not_say_that_the_water_is_right_again() -> None:
    guard = acknowledged(after_seconds(1.0, SUMMER, Season.SUMMER))
    guard = ask({}, seen(SUMMER, Season.SUMMER, None), guard, START + 90).guard
    assert guard.emergency == (RETURN_LOW,)
    guard = ask({}, seen(SUMMER, Season.SUMMER, 1.0), guard, START + 400).guard
    assert guard.emergency == (RETURN_LOW,), "nor does its first value"
    later = START + 400 + UNKNOWN_FOR + 1
    guard = ask({}, seen(SUMMER, Season.SUMMER, None), guard, later).guard
    assert guard.emergency == (), "in the end nobody can know, and an operator has seen it"
    assert ask(ALL_ON, seen(SUMMER, Season.SUMMER, None), guard, later + 1).orders == ()


def test_the_boiler_heats_in_an_emergency_of_cold_water_only() -> None:
    heat = ((BOILER, True),)
    for causes, warm in (((RETURN_LOW,), heat), ((RETURN_HIGH,), ()), ((RETURN_LOW, "x"), ()), (("x",), ())):
        guard = replace(standing(WINTER), emergency=causes, emergency_at=1.0)
        verdict = ask({BOILER: True}, seen(WINTER, value=1.0), guard)
        assert (verdict.orders, verdict.may_heat) == (heat, True), "what is over lets no water freeze"
        verdict = ask({BOILER: True}, seen(WINTER, value=20.0), guard)
        assert (verdict.orders, verdict.may_heat) == (warm, bool(warm))
        welded = replace(guard, failures={"chiller1": Contact(False, 1.0)})
        on = seen(relays(WINTER_VALVE, "chiller1"), value=1.0)
        assert (BOILER, True) not in ask({BOILER: True}, on, welded).orders
        guard = replace(standing(SUMMER), emergency=causes, emergency_at=1.0)
        assert ask(ALL_ON, seen(SUMMER, Season.SUMMER, 1.0), guard).orders == ()


def test_water_that_is_too_hot_or_too_cold_stops_at_once() -> None:
    board = relays(WINTER_VALVE, BOILER)
    assert ask({BOILER: True}, seen(board, value=43.1), standing(board)).orders == ((BOILER, False),)
    hot = seen(board, value=20.0, waters=(20.0, 91.0))
    assert ask({BOILER: True}, hot, standing(board)).orders == ((BOILER, False),)
    board = relays(SUMMER_VALVE, "chiller1")
    cold = ask({"chiller1": True}, seen(board, Season.SUMMER, 1.9), standing(board))
    assert cold.orders == (("chiller1", False),)
    assert cold.denied == {"chiller1": RETURN_LOW}


def test_chillers_do_not_run_long_without_a_return() -> None:
    board = relays(SUMMER_VALVE, "chiller1")
    blind = seen(board, Season.SUMMER, None)
    assert ask({"chiller1": True}, blind, standing(board), START + UNKNOWN_FOR).orders == ()
    assert ask({"chiller1": True}, blind, standing(board), START + UNKNOWN_FOR + 1).orders == (("chiller1", False),)
    back = replace(blind, return_temp=12.0, waters=(12.0,))
    assert ask({"chiller1": True}, back, standing(board), START + UNKNOWN_FOR + 2).orders == ()


def test_blind_heating_is_bounded_whoever_asks_for_it() -> None:
    board, guard = relays(WINTER_VALVE), standing(WINTER)
    on_for = longest = total = 0.0
    for second in range(0, 36_000, 10):
        verdict = ask({BOILER: True}, seen(board, value=None), guard, START + second)
        guard = verdict.guard
        board = {**board, **dict(verdict.orders)}
        on_for = on_for + 10.0 if board[BOILER] else 0.0
        longest = max(longest, on_for)
        total += 10.0 if board[BOILER] else 0.0
    assert longest <= BLIND_FOR + 20
    assert 0.4 * 36_000 <= total <= 0.6 * 36_000
    assert ask({BOILER: True}, seen(board, value=11.0), guard, START + 36_000).guard.water_at == START + 36_000


def judged_again(guard: Guard, board: dict[str, bool], wanted: Mapping[str, bool], seconds: int) -> tuple[Guard, int]:
    """A board that does not follow, for so long; how many orders it got."""
    count = 0
    for second in range(0, seconds, 2):
        verdict = ask(wanted, seen(board), guard, START + second)
        guard, count = verdict.guard, count + len(verdict.orders)
    return guard, count


def test_a_relay_that_does_not_go_off_is_an_emergency_that_no_acknowledgement_ends() -> None:
    board = relays(WINTER_VALVE, BOILER)
    guard, count = judged_again(standing(board), board, {BOILER: False}, 30)
    assert guard.emergency == ("boiler does not go off",)
    assert count == 15, "it is told with every poll"
    guard = acknowledged(forgiven(guard, BOILER))
    guard = ask({}, seen(board), guard, START + 40).guard
    assert guard.emergency
    assert guard.broken == {BOILER}
    assert not ask({}, seen(WINTER), guard, START + 42).guard.emergency


def test_a_relay_that_does_not_close_is_tried_again_after_a_while_or_when_somebody_saw_to_it() -> None:
    guard, count = judged_again(standing(WINTER), WINTER, {BOILER: True}, 200)
    assert guard.broken == {BOILER}
    assert guard.emergency == ()
    assert 4 <= count <= 7, "not with every poll"
    guard = forgiven(guard, BOILER)
    verdict = ask({BOILER: True}, seen(WINTER), guard, START + 201)
    assert verdict.orders == ((BOILER, True),)
    assert verdict.guard.broken == set(), "it has a new chance before it counts as broken again"
    followed = ask({BOILER: True}, seen(relays(WINTER_VALVE, BOILER)), verdict.guard, START + 203).guard
    assert followed.orders == {}


def test_forgetting_of_failures() -> None:
    guard = replace(standing(WINTER), failures={"chiller1": Contact(True, START)})
    assert ask({}, seen(WINTER), guard, START + safety.FORGIVEN).guard.broken == {"chiller1"}
    assert ask({}, seen(WINTER), guard, START + safety.FORGIVEN + 1).guard.broken == set()
    assert forgiven(guard, "chiller2") == guard


def test_lights_are_switched_last_and_do_not_hold_up_anything() -> None:
    board = {**WINTER, "led_red": False}
    verdict = ask({BOILER: True, "led_red": True}, seen(board), standing(board))
    assert verdict.orders == ((BOILER, True), ("led_red", True))
    guard = replace(standing(board), emergency=("x",))
    assert ask({"led_red": True}, seen(board), guard).orders == (("led_red", True),)


@pytest.mark.parametrize(("name", "season"), [(BOILER, Season.SUMMER), ("chiller1", Season.WINTER)])
def test_a_plant_without_valves_has_seasons_all_the_same(name: str, season: Season) -> None:
    limits = Limits((name,), False, VALVE, 2.0, 43.0)
    verdict = ask({name: True}, seen({name: True}, season), standing({name: True}), limits=limits)
    assert verdict.orders == ((name, False),)
    assert verdict.guard.emergency
    other = Season.WINTER if season is Season.SUMMER else Season.SUMMER
    off = {name: False}
    assert ask({name: True}, seen(off, other), standing(off), limits=limits).orders == ((name, True),)


def test_what_the_guard_remembers_survives_the_disk() -> None:
    guard, _ = judged_again(standing(WINTER), WINTER, {BOILER: True}, 200)
    guard = replace(guard, emergency=(RETURN_LOW,), emergency_at=5.0, acknowledged=True)
    assert msgspec.json.decode(msgspec.json.encode(guard), type=Guard) == guard
