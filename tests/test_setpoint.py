# SPDX-License-Identifier: GPL-3.0-or-later
"""The set point: limits, dew point floor, ramp, few writes. With the dew point itself."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.chiller.dewpoint import dew_point
from rockit.chiller.setpoint import (
    ATTEMPTS,
    DEW_STEP,
    HUMIDITY_HOLD,
    INPUT_DELAY,
    RETRY_AFTER,
    WRITE_GAP,
    Limits,
    Memory,
    Point,
    decide,
)
from rockit.common.conditions import Priority

# Dew point: Magnus over water, WMO coefficients (Guide to Instruments and Methods of Observation, WMO-No. 8).


@pytest.mark.parametrize(
    ("temperature", "humidity", "expected"),
    [(20, 50, 9.26), (10, 80, 6.71), (15, 60, 7.29), (25, 40, 10.46), (5, 90, 3.50), (0, 70, -4.82), (-5, 80, -7.92)],
)
def test_dew_point_vectors(temperature: float, humidity: float, expected: float) -> None:
    assert dew_point(temperature, humidity) == pytest.approx(expected, abs=0.005)


@given(st.floats(-60, 80), st.floats(0, 110))
def test_the_dew_point_is_never_above_the_air(temperature: float, humidity: float) -> None:
    assert dew_point(temperature, humidity) <= temperature + 1e-9


def test_humidity_beyond_the_scale_is_clamped() -> None:
    assert dew_point(10.0, 104.0) == pytest.approx(10.0)
    assert dew_point(10.0, 0.0) == dew_point(10.0, 1.0)


class Bath:
    """A device that holds a set point, the air around it, and the decision that is under test."""

    def __init__(self, device: float = 20.0, asked: float | None = None, **limits: float | None) -> None:
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.memory = Memory()
        self.now = 500.0
        self.device: float | None = device
        self.asked = asked
        self.dome: float | None = 15.0
        self.humidity: float | None = 40.0
        self.ambient: float | None = 18.0
        self.obeys = True
        self.writes: list[tuple[float, float]] = []

    def poll(self) -> Point:
        for _ in range(5):
            point = decide(
                self.device, self.asked, self.dome, self.humidity, self.ambient, self.limits, self.memory, self.now
            )
            self.memory = point.memory
            if point.write is None:
                return point
            self.writes.append((self.now, point.write))
            if self.obeys:
                self.device = point.write
        pytest.fail("the decision does not come to rest")

    def wait(self, seconds: float, step: float = 10.0) -> Point:
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + step, until)
            point = self.poll()
        return point

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.writes]

    @property
    def gaps(self) -> list[float]:
        return [b - a for (a, _), (b, _) in itertools.pairwise(self.writes)]


# What was asked.


def test_nobody_asked_and_nothing_is_written() -> None:
    bath = Bath(device=60.0)
    assert bath.wait(86400, step=60.0).alarms == {}
    assert bath.writes == []


def test_a_wish_is_written_once() -> None:
    bath = Bath(asked=12.5)
    assert bath.poll().held is None
    bath.wait(86400, step=60.0)
    assert bath.values == [12.5]


def test_a_wish_that_the_device_has_already_is_not_written() -> None:
    bath = Bath(device=12.5, asked=12.5)
    bath.wait(3600)
    assert bath.writes == []


def test_every_new_wish_is_written_at_once() -> None:
    bath = Bath()
    for wish in (15.0, 16.0, 15.0):
        bath.asked = wish
        bath.wait(1.0)
    assert bath.values == [15.0, 16.0, 15.0]


@pytest.mark.parametrize(("asked", "written"), [(-30.0, 5.1), (4.9, 5.1), (30.0, 24.9), (24.99, 24.9), (12.34, 12.3)])
def test_what_is_written_is_a_tenth_within_the_limits(asked: float, written: float) -> None:
    bath = Bath(asked=asked, low=5.05, high=24.95)
    point = bath.poll()
    assert bath.values == [written]
    assert (point.held == "the limits of 5.05 to 24.95 °C") is not (5.05 <= asked <= 24.95)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_known(nonsense: float) -> None:
    bath = Bath(asked=12.0, dew_point_margin=2.0)
    bath.poll()
    bath.device = nonsense
    bath.wait(600)
    assert bath.values == [12.0]
    bath.device, bath.asked = 12.0, nonsense
    bath.wait(600)
    bath.asked, bath.humidity = 13.0, nonsense
    assert "humidity" in bath.wait(60).alarms
    assert all(math.isfinite(value) for value in bath.values)


# The ramp.


def test_a_change_goes_at_the_limited_rate_with_few_writes() -> None:
    bath = Bath(device=20.0, asked=15.0, rate=0.5)
    bath.wait(600 + 2 * WRITE_GAP, step=2.0)
    assert bath.device == 15.0
    assert len(bath.writes) <= 12
    assert all(gap >= WRITE_GAP for gap in bath.gaps)
    for (t1, v1), (t2, v2) in itertools.combinations([(500.0, 20.0), *bath.writes], 2):
        assert v1 - v2 <= 0.5 * (t2 - t1) / 60.0 + 0.1 + 1e-9, "never faster than asked, but for the rounding"


def test_time_without_a_device_is_no_time_on_the_ramp() -> None:
    bath = Bath(device=20.0, asked=10.0, rate=0.5)
    bath.wait(120)
    before = bath.device
    assert before is not None
    bath.device = None
    bath.wait(3600)
    bath.device = before
    bath.wait(10)
    assert bath.device >= before - 0.7


def test_a_ramp_does_not_run_away_from_a_device_that_refuses() -> None:
    bath = Bath(device=20.0, asked=10.0, rate=0.5)
    bath.obeys = False
    bath.wait(7200)
    assert len(bath.writes) == ATTEMPTS
    assert min(bath.values) >= 19.3


# A device that does not take it.


def test_a_refused_set_point_is_tried_three_times_and_is_then_an_alarm() -> None:
    bath = Bath(asked=12.0)
    bath.obeys = False
    bath.poll()
    point = bath.wait(ATTEMPTS * RETRY_AFTER - 1, step=1.0)
    assert bath.gaps == [RETRY_AFTER] * (ATTEMPTS - 1)
    assert "setpoint_failed" not in point.alarms, "the last one has its time, too"
    point = bath.wait(86400, step=60.0)
    assert len(bath.writes) == ATTEMPTS
    assert point.alarms["setpoint_failed"].latched
    bath.memory = bath.memory.forgiven()
    bath.obeys = True
    assert bath.wait(1.0).alarms == {}
    assert bath.device == 12.0


def test_a_device_that_takes_a_set_point_and_leaves_it_again_is_not_written_to_for_ever() -> None:
    bath = Bath(asked=12.0)
    for _ in range(300):
        point = bath.wait(60)
        bath.device = 20.0
    assert len(bath.writes) == 1 + ATTEMPTS
    assert "setpoint_failed" in point.alarms
    bath.asked = 13.0
    bath.wait(10)
    assert bath.device == 13.0


def test_a_set_point_that_somebody_changed_days_later_is_put_right() -> None:
    bath = Bath(asked=12.0)
    for _ in range(6):
        bath.wait(86400, step=600.0)
        bath.device = 20.0
    assert bath.wait(WRITE_GAP).alarms == {}
    assert bath.device == 12.0


# The dew point floor.


def damp(dew: float, dome: float = 15.0) -> float:
    """The humidity that gives this dew point."""
    low, high = 1.0, 100.0
    for _ in range(60):
        low, high = ((low + high) / 2, high) if dew_point(dome, (low + high) / 2) < dew else (low, (low + high) / 2)
    return high


def test_the_floor_lifts_the_set_point_at_once_and_lets_it_fall_at_the_rate() -> None:
    bath = Bath(device=10.0, asked=10.0, rate=0.5, dew_point_margin=2.0)
    assert bath.poll().held is None
    bath.humidity = damp(11.3)
    point = bath.wait(1.0)
    assert bath.values == [13.5], "11.3 + 2, up to the next half degree, all at once"
    assert point.held == "the dew point floor of 13.5 °C"
    bath.humidity = 40.0
    bath.wait(WRITE_GAP + 10)
    assert bath.device is not None
    assert 12.7 <= bath.device < 13.5
    bath.wait(600)
    assert bath.device == 10.0


def test_a_set_point_that_waits_for_its_turn_says_so() -> None:
    bath = Bath(device=10.0, asked=10.0, dew_point_margin=2.0)
    bath.humidity = damp(11.3)
    bath.poll()
    bath.humidity = 40.0
    assert bath.wait(10.0).held == f"the pause between two writes ({WRITE_GAP - 10:.0f} s left)"
    assert bath.wait(WRITE_GAP).held is None
    assert bath.device == 10.0


def test_a_floor_that_rises_again_within_the_write_gap_is_followed_at_once() -> None:
    bath = Bath(device=10.0, asked=10.0, dew_point_margin=2.0)
    for dew in (9.0, 10.0, 11.0):
        bath.humidity = damp(dew)
        bath.wait(1.0)
        assert bath.device == pytest.approx(math.ceil((dew + 2.0) / DEW_STEP - 0.01) * DEW_STEP)


def test_a_flickering_humidity_sensor_causes_no_writes() -> None:
    bath = Bath(device=10.0, asked=10.0, dew_point_margin=2.0)
    bath.humidity = damp(10.1)
    bath.poll()
    for i in range(500):
        bath.humidity = damp(10.1 + (0.3 if i % 2 else -0.3))
        bath.wait(60)
    assert bath.values == [12.5]


def test_the_floor_also_lifts_a_set_point_that_nobody_asked_for_and_gives_it_back() -> None:
    bath = Bath(device=10.0, dew_point_margin=2.0)
    bath.humidity = damp(13.0)
    bath.wait(10)
    assert bath.device == 15.0
    bath.humidity = damp(2.0)
    bath.wait(300)
    assert bath.device == 10.0


def test_a_floor_above_the_limits_is_an_alarm() -> None:
    bath = Bath(device=10.0, asked=10.0, high=12.0, dew_point_margin=2.0)
    bath.humidity = 100.0
    point = bath.wait(10)
    assert bath.device == 12.0
    assert point.alarms["dew_point_above_limits"].priority is Priority.HIGH
    bath.humidity = 20.0
    assert bath.wait(10).alarms == {}


def test_lost_humidity_holds_the_floor_and_then_damp_air_is_assumed() -> None:
    bath = Bath(device=10.0, asked=8.0, dew_point_margin=2.0)
    bath.humidity = damp(7.0)
    bath.poll()
    assert bath.device == 9.0
    bath.humidity = None
    point = bath.wait(HUMIDITY_HOLD - 10)
    assert (bath.device, "humidity" in point.alarms) == (9.0, True)
    assert "humidity" in point.alarms
    bath.wait(20)
    assert bath.device == 15.5, "90 % at 15 °C: 13.4 °C, and the margin"
    bath.dome = None
    bath.wait(20)
    assert bath.device == 18.5, "and at the chiller's 18 °C where the dome's temperature is lost, too: 16.3 °C"
    bath.humidity, bath.dome = damp(7.0), 15.0
    assert bath.wait(WRITE_GAP).alarms == {}
    assert bath.device == 9.0


def test_lost_humidity_in_fog_does_not_dry_the_air() -> None:
    bath = Bath(device=20.0, asked=8.0, dew_point_margin=2.0)
    bath.humidity = 100.0
    bath.poll()
    before = bath.device
    bath.humidity = None
    bath.wait(2 * HUMIDITY_HOLD)
    assert bath.device == before == 17.0


def test_a_daemon_that_just_started_waits_for_its_first_humidity() -> None:
    bath = Bath(device=10.0, asked=10.0, dew_point_margin=2.0)
    bath.humidity = bath.dome = None
    bath.wait(INPUT_DELAY - 1.0, step=1.0)
    assert bath.writes == []
    bath.humidity, bath.dome = 40.0, 15.0
    bath.wait(60)
    assert bath.writes == []


def test_without_any_knowledge_of_the_air_the_set_point_rises_but_does_not_fall() -> None:
    bath = Bath(device=14.0, asked=10.0, dew_point_margin=2.0)
    bath.humidity = bath.dome = bath.ambient = None
    assert bath.wait(7200).held == "the unknown dew point"
    assert bath.device == 14.0
    bath.asked = 16.0
    bath.wait(10)
    bath.asked = 12.0
    bath.wait(7200)
    assert bath.device == 16.0
    bath.dome, bath.humidity = 15.0, 40.0
    bath.wait(WRITE_GAP)
    assert bath.device == 12.0


def test_all_air_lost_later_does_not_lower_the_set_point_either() -> None:
    bath = Bath(device=14.0, asked=14.0, dew_point_margin=2.0)
    bath.humidity = damp(6.0)
    bath.poll()
    bath.humidity = bath.dome = bath.ambient = None
    bath.wait(2 * HUMIDITY_HOLD)
    bath.asked = 9.0
    bath.wait(600)
    assert bath.device == 14.0


# Everything at once.


temperatures = st.one_of(st.none(), st.sampled_from([math.nan, math.inf]), st.floats(-60, 80), st.floats(5, 20))
moments = st.tuples(
    st.floats(0.1, 900), temperatures, st.one_of(st.none(), st.floats(-10, 120)), temperatures,
    st.sampled_from(["the same"] * 6 + [None, 9.0, 14.0, 60.0, math.nan]),
    st.sampled_from(["takes", "takes", "takes", "ignores", "ignores", "vanishes", "wanders"]),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.lists(moments, max_size=40), st.integers(0, 1500).map(lambda n: n / 100), st.floats(0.3, 30),
    st.one_of(st.none(), st.floats(0.05, 5)), st.one_of(st.none(), st.floats(0, 10)), st.floats(-5, 50),
)  # fmt: skip
def test_whatever_happens(
    story: list[tuple[float, float | None, float | None, float | None, float | str | None, str]],
    low: float, span: float, rate: float | None, margin: float | None, device: float,
) -> None:  # fmt: skip
    limits = Limits(low, round(low + span, 2), rate, margin)
    memory, now, held, unanswered, earliest = Memory(), 100.0, round(device, 1), 0, -math.inf
    asked: float | None = None
    for seconds, dome, humidity, ambient, wish, mood in story:
        now += seconds
        if not isinstance(wish, str):
            if wish != asked:
                unanswered, earliest = 0, -math.inf
            asked = wish
        if mood == "wanders":
            held = round(held + 0.7, 1)
            unanswered = 0  # the device did move, and it is not our write that it follows
        seen = None if mood == "vanishes" else held
        dome = dome if dome is not None and math.isfinite(dome) else None
        ambient = ambient if ambient is not None and math.isfinite(ambient) else None
        point = decide(seen, asked, dome, humidity, ambient, limits, memory, now)
        again = decide(seen, asked, dome, humidity, ambient, limits, memory, now)
        assert point == again
        memory = point.memory
        if point.write is None:
            if seen is not None and point.target is not None and abs(seen - point.target) < 0.05:
                unanswered = 0  # it is where it should be now, whoever put it there
            continue
        assert seen is not None, "nothing is written to a device that is away"
        assert limits.low <= point.write <= limits.high
        assert point.write == round(point.write, 1)
        if memory.floor is not None:
            assert point.write >= min(memory.floor, math.floor(limits.high * 10 + 1e-6) / 10) - 1e-9
        elif margin is not None and seen <= limits.high:
            assert point.write >= seen - 0.05, "not lowered while the dew point is not known"
        if rate is not None and point.write < seen <= limits.high:
            assert seen - point.write <= rate * WRITE_GAP / 60.0 + 0.2
        below_floor = memory.floor is not None and seen < memory.floor - 0.05
        assert below_floor or now >= earliest
        unanswered += 1
        assert unanswered <= ATTEMPTS
        earliest = now + (RETRY_AFTER if mood == "ignores" else WRITE_GAP)
        if mood != "ignores":
            held, unanswered = point.write, 0
            read_back = decide(held, asked, dome, humidity, ambient, limits, memory, now)
            assert read_back.write is None
            memory = read_back.memory
