# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated boiler plant: heat, valves, the boiler's own control, the books of a rehearsal, the weather."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.boiler.simulators import burner, hydronics
from rockit.boiler.simulators.climate import Climate, Steady
from rockit.boiler.simulators.ledger import VIOLATIONS
from rockit.boiler.simulators.world import World, forget, shared

NEW_YEAR = 1767225600.0
"""2026-01-01T00:00:00Z."""


def winter(setpoint: float | None = 60.0, celsius: float = -5.0, **options: object) -> World:
    """A plant with the winter valve open and the boiler's contact closed."""
    world = World(climate=Steady(celsius), **options)  # type: ignore[arg-type]
    world.switch("winter_valve", True)
    world.step(world.travel)
    world.switch("boiler", True)
    world.burner.setpoint = setpoint
    return world


def stored(world: World) -> float:
    return (
        hydronics.LOOP * world.loop_temp
        + hydronics.BUILDING * world.building_temp
        + hydronics.CHILLED * world.chilled_temp
        + burner.CAPACITY * world.burner.outlet_temp
    )


# --- heat


def test_loop_heats_up_as_the_reference_says():
    """50 to 63 °C in an hour at -5 °C with about 60 % of 150 kW, and the building 5 K warmer in five hours."""
    world = winter(70.0)
    world.fill(50.0)
    world.building_temp = 20.0
    world.step(3600)
    assert world.return_temp == pytest.approx(63.0, abs=1.0)
    assert 55.0 <= world.burner.firing_rate <= 66.0
    assert world.burner.outlet_temp - world.return_temp == pytest.approx(6.7, abs=1.0), "12.6 kW/K of flow"
    world.step(4 * 3600)
    assert world.building_temp == pytest.approx(25.0, abs=1.0)


RELAYS = st.sampled_from(["boiler", "winter_valve", "summer_valve", *(f"chiller{n}" for n in range(1, 9))])


@settings(max_examples=40, deadline=None)
@given(
    moves=st.lists(st.tuples(RELAYS, st.booleans(), st.sampled_from([1.0, 15.0, 30.0, 60.0, 600.0])), max_size=25),
    celsius=st.floats(-40.0, 45.0),
    coarse=st.booleans(),
)
def test_no_energy_is_lost_and_nothing_runs_away(moves, celsius, coarse):
    world = World(climate=Steady(celsius, 8.0), chillers=8, load=3000.0, own_setpoint=80.0)
    before = stored(world)
    for name, on, seconds in moves:
        world.switch(name, on)
        world.step(seconds, 60.0 if coarse else 15.0)
        assert min(world.loop_temp, world.chilled_temp) > min(2.0, celsius - 1.0)
        assert max(world.loop_temp, world.building_temp) < 100.0
    balance = world.heated - world.cooled + world.gained - world.lost
    assert stored(world) - before == pytest.approx(balance, rel=1e-6, abs=1e3)


def test_length_of_the_steps_hardly_matters():
    results = []
    for seconds in (1, 30, 60):
        world = World(climate=Steady(6.0, 3.0), water=20.0, building=18.0)
        world.switch("winter_valve", True)
        world.switch("boiler", True)
        world.burner.setpoint = 55.0
        seen = []
        for minute in range(240):
            if minute == 60:
                world.switch("boiler", False)
                world.switch("winter_valve", False)
            elif minute == 65:
                world.switch("summer_valve", True)
            elif minute in (70, 120):
                world.switch("chiller1", minute == 70)
            for _ in range(60 // seconds):
                world.step(seconds)
            if minute in (20, 59, 75, 119, 150, 239):
                seen += [world.return_temp, world.water_out_temp, world.building_temp]
        results.append(seen)
    for other in results[1:]:
        assert other == pytest.approx(results[0], abs=0.5)


def test_a_chiller_cools_only_through_the_summer_valve():
    world = World(climate=Steady(30.0), water=25.0, building=27.0)
    world.switch("chiller1", True)
    world.step(1800)
    assert world.return_temp > 24.5
    assert world.chilled_temp == pytest.approx(3.0, abs=0.1), "water that does not flow is not cooled to ice"
    world.switch("summer_valve", True)
    world.step(100)
    start = world.loop_temp
    world.step(300)
    # 50 kW take 1.2 K a minute from the water in the loop and the chillers; the building gives some back.
    assert -6.5 < world.loop_temp - start < -4.0
    assert world.water_out_temp < world.loop_temp


def test_more_chillers_cool_more_and_a_broken_one_does_not():
    ends = []
    for count, broken in ((1, False), (2, False), (2, True)):
        world = World(climate=Steady(30.0), water=30.0, building=27.0)
        world.switch("summer_valve", True)
        if broken:
            world.fail("chiller2")
        for number in range(count):
            world.switch(f"chiller{number + 1}", True)
        world.step(600)
        ends.append(world.return_temp)
    assert ends[1] < ends[0] - 4.0
    assert ends[2] == ends[0]
    with pytest.raises(ValueError, match=r"chiller5 cannot break"):
        world.fail("chiller5")


def test_a_plant_that_is_off_in_winter_freezes():
    world = World(climate=Steady(-20.0, 10.0))
    world.step(86400)
    assert 0.0 < world.comfort.frost_seconds < 86400.0
    assert world.return_temp < 0.0


def test_wind_costs_heat():
    still, windy = World(climate=Steady(-5.0)), World(climate=Steady(-5.0, 20.0))
    for world in (still, windy):
        world.step(6 * 3600)
    assert windy.building_temp < still.building_temp - 0.5


# --- valves


def test_valves_take_their_time_and_come_back():
    world = World(climate=Steady(), travel=100.0)
    world.switch("summer_valve", True)
    world.step(25)
    assert (world.winter_open, world.summer_open) == (0.0, pytest.approx(0.25))
    world.step(75)
    assert world.summer_open == pytest.approx(1.0)
    world.switch("summer_valve", False)
    world.step(99)
    assert 0.0 < world.summer_open < 0.02
    world.step(2)
    assert world.summer_open == 0.0


def test_a_stuck_valve_stays():
    world = winter()
    world.fail("winter_valve")
    world.switch("winter_valve", False)
    world.step(1000)
    assert world.winter_open == pytest.approx(1.0)
    world.fail("winter_valve", False)
    world.step(1000)
    assert world.winter_open == 0.0


def test_the_boiler_heats_the_loop_only_through_the_winter_valve():
    world = World(climate=Steady(-5.0), water=30.0)
    world.switch("boiler", True)
    world.burner.setpoint = 85.0
    world.step(1800)
    assert world.return_temp < 30.0
    assert world.burner.outlet_temp > 60.0
    assert world.water_out_temp == pytest.approx(world.loop_temp)


def test_both_valves_open_mix_hot_and_cold():
    world = winter(60.0)
    world.step(1800)
    world.switch("summer_valve", True)
    world.switch("chiller1", True)
    world.step(300)
    assert world.chilled_temp < world.water_out_temp < world.burner.outlet_temp
    assert world.water_out_temp == pytest.approx((world.chilled_temp + world.burner.outlet_temp) / 2, abs=0.1)


# --- the boiler's own control


def test_flame_comes_after_the_ignition_delay_and_rises_slowly():
    world = winter(70.0)
    for _ in range(45):
        world.step(1)
        assert not world.burner.flame
    world.step(2)
    assert world.burner.flame
    assert world.burner.firing_rate < 25.0
    world.step(20)
    assert 55.0 < world.burner.firing_rate < 66.0, "2 % a second"


def test_flame_ends_with_the_contact_and_rests():
    world = winter(70.0)
    world.step(300)
    assert world.burner.flame
    world.switch("boiler", False)
    world.step(1)
    assert (world.burner.flame, world.burner.firing_rate, world.burner.phase) == (False, 0.0, "postpurge")
    world.step(30)
    assert world.burner.phase == "standby"
    world.switch("boiler", True)
    world.step(260)
    assert not world.burner.flame
    world.step(120)
    assert world.burner.flame
    assert world.burner.starts == 2


def test_without_a_set_point_there_is_no_demand_unless_it_has_its_own():
    world = winter(None)
    world.step(1800)
    assert world.burner.starts == 0
    world.burner.own_setpoint = 60.0
    world.step(7200)
    assert world.burner.outlet_temp == pytest.approx(60.0, abs=1.0)


def test_outlet_limit_stops_the_flame_whatever_is_asked():
    world = winter(120.0, celsius=25.0)
    hottest = 0.0
    for _ in range(4 * 360):
        world.step(10)
        hottest = max(hottest, world.burner.outlet_temp)
    assert 85.0 < hottest < 92.0


def test_a_lockout_keeps_the_burner_off():
    world = winter(70.0)
    world.step(300)
    world.burner.lockout = 3
    world.step(600)
    assert not world.burner.flame
    world.burner.lockout = 0
    world.step(600)
    assert world.burner.flame


def test_small_demand_makes_the_burner_cycle():
    """Below 20 % it cannot fire: what a plant on a mild day does."""
    world = winter(30.0, celsius=17.0)
    world.step(12 * 3600)
    assert world.burner.starts > 5
    assert world.return_temp < 36.0


# --- the books


def test_a_changeover_as_it_must_be_leaves_no_violation():
    world = winter()
    world.step(3600)
    world.switch("boiler", False)
    world.step(120)
    world.switch("winter_valve", False)
    world.step(120)
    world.switch("summer_valve", True)
    world.step(120)
    world.switch("chiller2", True)
    world.step(600)
    assert world.violations == []
    assert [(name, on) for _, name, on in world.moves] == [
        ("winter_valve", True), ("boiler", True), ("boiler", False), ("winter_valve", False), ("summer_valve", True),
        ("chiller2", True),
    ]  # fmt: skip
    assert world.moves[2][0] == pytest.approx(3700.0)


def test_violations_are_noted_once_each_with_their_time():
    world = winter()
    world.step(600)
    world.switch("summer_valve", True)  # both energised
    world.step(30)  # both open, boiler on
    world.switch("winter_valve", False)
    world.switch("boiler", False)
    world.switch("chiller1", True)  # the winter valve is still open
    world.step(1000)
    begun = [(round(time), text.split(":")[0]) for time, text in world.violations]
    assert begun == [
        (700, "both valves are energised"),
        (715, "both valves are open"),
        (715, "the boiler is on while the summer valve is 15% open"),
        (730, "chiller1 on while the winter valve is 100% open"),
    ]
    assert world.ledger.violation_count == 4
    assert world.ledger.violation_seconds == pytest.approx(130.0, abs=31.0)


def test_violations_are_bounded_and_counted():
    world = World(climate=Steady())
    world.switch("winter_valve", True)
    for _ in range(VIOLATIONS + 7):
        world.switch("summer_valve", True)
        world.switch("summer_valve", False)
    assert len(world.violations) == VIOLATIONS
    assert world.ledger.violation_count == VIOLATIONS + 7


def test_starts_and_shortest_times_are_kept():
    world = World(climate=Steady())
    for on, seconds in ((True, 600), (False, 90), (True, 45), (True, 15), (False, 400), (True, 100)):
        world.switch("chiller3", on)
        world.step(seconds)
    duty = world.duties["chiller3"]
    assert duty.starts == 3
    assert (duty.shortest_on, duty.shortest_off) == (pytest.approx(60.0), pytest.approx(90.0))
    assert duty.ran(world.time) == pytest.approx(760.0)
    world.switch("led_red", True)
    assert world.relays["led_red"]
    assert "led_red" not in world.duties


def test_comfort_is_weighed_by_time():
    world = World(climate=Steady(20.0), water=30.0, building=20.0)
    world.step(60)
    world.note_setpoint(30.0)
    while world.return_temp > 24.0:
        world.step(10)
    comfort = world.comfort
    assert 0.0 < comfort.within_2 < comfort.within_5 < comfort.seconds
    assert comfort.seconds == pytest.approx(world.time - 60.0)
    assert comfort.worst_low == pytest.approx(-6.0, abs=0.1)
    assert comfort.worst_high == 0.0
    world.note_setpoint(None)
    world.step(600)
    assert comfort.seconds < world.time - 600.0


# --- time


def test_the_clock_of_the_carrier_drives_the_world():
    world = World(speed=60.0, now=1000.0, climate=Steady())
    world.advance(1010.0)
    world.advance(1005.0)  # a clock that jumps back
    assert world.time == pytest.approx(600.0)
    assert world.utc == NEW_YEAR + world.time
    world.speed = 0.0
    world.return_temp = 77.0
    world.advance(2000.0)
    assert (world.time, world.return_temp) == (pytest.approx(600.0), 77.0)


def test_after_a_long_stall_the_calendar_is_right_and_the_water_too():
    world = winter(55.0, celsius=0.0)
    world.advance(40 * 86400.0)
    assert world.utc == pytest.approx(NEW_YEAR + 40 * 86400.0 + 100.0)
    assert 45.0 < world.return_temp < 56.0
    assert world.building_temp == pytest.approx(26.0, abs=3.0)


def test_many_small_advances_are_as_one():
    often, once = World(climate=Steady(-5.0)), World(climate=Steady(-5.0))
    for tick in range(20_000):
        often.advance(tick * 0.03)
    once.advance(599.97)
    assert often.time == pytest.approx(once.time)
    assert often.return_temp == pytest.approx(once.return_temp, abs=0.05)


def test_devices_that_name_a_world_share_it():
    try:
        world = shared("test-world", 5.0, chillers=2)
        assert shared("test-world", 99.0) is world
        assert world.chillers == ("chiller1", "chiller2")
        forget("test-world")
        assert shared("test-world", 5.0) is not world
    finally:
        forget("test-world")


@pytest.mark.parametrize("options", [{"chillers": 9}, {"travel": 0.0}, {"start": "2026-01-01"}, {"speed": -1.0}])
def test_impossible_plants_are_refused(options):
    with pytest.raises(ValueError, match=r"chillers; travel|time zone"):
        World(**options)


# --- weather


@pytest.mark.parametrize("seed", [1, 2, 77])
def test_a_year_has_frost_and_heat_in_it(seed):
    climate = Climate(seed)
    year = [climate.at(NEW_YEAR + 3600.0 * hour) for hour in range(8760)]
    celsius = [each[0] for each in year]
    winds = [each[1] for each in year]
    assert -23.0 < min(celsius) < -18.0
    assert 34.0 < max(celsius) < 38.0
    assert sum(celsius) / len(celsius) == pytest.approx(8.0, abs=1.5)
    assert 0.0 <= min(winds) < 1.5
    assert 12.0 < max(winds) < 30.0
    july, january = celsius[181 * 24 : 212 * 24], celsius[: 31 * 24]
    assert sum(july) / len(july) > sum(january) / len(january) + 15.0
    assert max(abs(a - b) for a, b in pairwise(celsius)) < 5.0, "K an hour"
    days = [celsius[24 * day : 24 * day + 24] for day in range(365)]
    warmest = sum(day[15] > day[3] for day in days)
    assert warmest > 330


def test_weather_is_the_same_in_any_order_and_other_with_another_seed():
    moments = [NEW_YEAR + 86400.0 * 400 * part / 97 for part in range(97)]
    forward = [Climate(5).at(moment) for moment in moments]
    one = Climate(5)
    assert [one.at(moment) for moment in reversed(moments)] == forward[::-1]
    assert [Climate(6).at(moment) for moment in moments] != forward


def test_weather_has_no_steps_at_the_hours():
    climate = Climate(3)
    for hour in range(500):
        edge = NEW_YEAR + hour * 3600.0
        assert climate.at(edge - 0.01)[0] == pytest.approx(climate.at(edge)[0], abs=0.001)


def test_sites_differ():
    cold = [Climate.cold().at(NEW_YEAR + 3600.0 * hour)[0] for hour in range(8760)]
    assert min(cold) < -35.0
    assert max(cold) < 24.0
    south = Climate(coldest_day=202.0)
    summer_there = [south.at(NEW_YEAR + 3600.0 * hour)[0] for hour in range(31 * 24)]
    assert sum(summer_there) / len(summer_there) > 15.0


def test_sixty_days_through_a_season_stay_sane():
    """A crude control, from spring into summer: everything stays a number, and the water near what is asked."""
    world = World(seed=4, start="2026-04-15T00:00:00Z")
    world.switch("winter_valve", True)
    world.burner.setpoint = 45.0
    world.note_setpoint(35.0)
    for _ in range(60 * 1440):
        world.step(60.0)
        if world.return_temp < 33.0:
            world.switch("boiler", True)
        elif world.return_temp > 37.0:
            world.switch("boiler", False)
    figures = (
        world.return_temp, world.water_out_temp, world.building_temp, world.outside_temp, world.wind_speed,
        world.chilled_temp, world.burner.outlet_temp, world.burner.inlet_temp, world.burner.flue_temp, world.heated,
        world.lost, world.burner.fuel,
    )  # fmt: skip
    assert all(isfinite(figure) for figure in figures)
    assert world.duties["boiler"].starts > 10
    assert world.comfort.within_5 > 0.9 * world.comfort.seconds
    assert 0.85 < world.heated / world.burner.fuel < 0.98
