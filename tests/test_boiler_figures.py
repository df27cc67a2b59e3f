# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures over hours: the mean outside temperature of four days and how hard the plant works, whatever clocks do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.boiler.figures import AVERAGED, HOUR, LONGEST, QUARTER, Efficiency, Hour, Instant, OutsideMean
from rockit.boiler.model import Season

T0 = 1_700_000_000 // 3600 * 3600.0
"""The begin of an hour."""


def noted(mean: OutsideMean, begin: float, end: float, celsius: float, every: float = 60.0) -> None:
    """A temperature every so often, begin included, end not."""
    at = begin
    while at < end:
        mean.note(celsius, at)
        at += every


def test_the_mean_is_that_of_the_last_96_hours() -> None:
    mean = OutsideMean()
    noted(mean, T0 - 200 * HOUR, T0 - AVERAGED * HOUR, 40.0, 600)
    noted(mean, T0 - AVERAGED * HOUR, T0 - 48 * HOUR, 0.0, 600)
    noted(mean, T0 - 48 * HOUR, T0, 10.0, 600)
    assert mean.mean(T0 - 1) == pytest.approx(5.0)
    assert mean.covered(T0 - 1) == AVERAGED
    assert mean.mean(T0 + 1) == pytest.approx(480 / 95), "an hour later the first of them is out"
    assert mean.covered(T0 + 1) == AVERAGED - 1
    assert mean.mean(T0 + 47 * HOUR) == pytest.approx(10.0)
    assert mean.mean(T0 + 95 * HOUR) is None
    assert mean.covered(T0 + 95 * HOUR) == 0


def test_at_most_one_value_a_minute_counts() -> None:
    mean = OutsideMean()
    for second in range(0, 3600, 5):
        mean.note(1.0 if second % 60 == 0 else 99.0, T0 + second)
    assert mean.hours == {int(T0 // HOUR): Hour(60.0, 60)}


def test_nothing_is_no_mean_and_the_first_value_is_one_at_once() -> None:
    mean = OutsideMean()
    assert mean.mean(T0) is None
    mean.note(7.0, T0 + 5)
    assert mean.mean(T0 + 5) == 7.0


def test_a_gap_counts_as_nothing_and_not_as_zero() -> None:
    mean = OutsideMean()
    noted(mean, T0, T0 + HOUR, 20.0)
    assert mean.mean(T0 + 90 * HOUR) == 20.0
    assert mean.covered(T0 + 90 * HOUR) == 1


@pytest.mark.parametrize("step", [-2 * HOUR, -400 * HOUR, 400 * HOUR, -1.6e9, 1e9])
def test_a_clock_that_is_wrong_for_a_while_costs_no_hour(step: float) -> None:
    mean = OutsideMean()
    noted(mean, T0, T0 + 90 * HOUR, 10.0, 600)
    wrong = T0 + 90 * HOUR + step
    noted(mean, wrong, wrong + HOUR, 10.0, 600)
    mean.mean(wrong)
    noted(mean, T0 + 91 * HOUR, T0 + 92 * HOUR, 10.0, 600)
    assert mean.covered(T0 + 92 * HOUR - 1) >= 90
    assert mean.mean(T0 + 92 * HOUR - 1) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.floats(0, 4e9), st.floats(-60, 60)), max_size=60))
def test_whatever_the_clock_does_the_mean_lies_within_what_was_measured(values: list[tuple[float, float]]) -> None:
    mean = OutsideMean()
    for utc, celsius in values:
        mean.note(celsius, utc)
        found = mean.mean(utc)
        assert found is None or -60 <= found <= 60
        assert len(mean.hours) <= 2 * AVERAGED + 1


def test_years_of_hours_are_not_kept() -> None:
    mean = OutsideMean()
    noted(mean, T0, T0 + 24 * 365 * HOUR, 10.0, HOUR)
    assert len(mean.hours) <= 2 * AVERAGED + 1
    again = OutsideMean(msgspec.json.decode(msgspec.json.encode(mean.hours), type=dict[int, Hour]))
    assert again.mean(T0 + 24 * 365 * HOUR - 1) == pytest.approx(10.0)


SUMMER = Instant(Season.SUMMER, 2, False, 12.0, 10.0, None)
WINTER = Instant(Season.WINTER, 0, True, 9.0, 10.0, 80.0)


def ran(figures: Efficiency, what: Instant, begin: float, seconds: float, every: float = 10.0) -> None:
    for number in range(int(seconds / every) + 1):
        figures.note(what, begin + number * every)


def test_shares_of_summer_count_each_chiller() -> None:
    figures = Efficiency()
    ran(figures, SUMMER, T0, 1800)
    ran(figures, replace(SUMMER, chillers_on=0), T0 + 1800, 1800)
    told = figures.told(4)
    assert told["chillers_share"] == pytest.approx(0.25)
    assert told["return_minus_setpoint"] == pytest.approx(2.0)
    assert set(told) == {"chillers_share", "return_minus_setpoint"}


def test_shares_of_winter() -> None:
    figures = Efficiency()
    ran(figures, WINTER, T0, 900)
    ran(figures, replace(WINTER, boiler_on=False, power=0.0), T0 + 900, 2700)
    told = figures.told(4)
    assert told["boiler_share"] == pytest.approx(0.25)
    assert told["cascade_power_average"] == pytest.approx(20.0)
    assert told["return_minus_setpoint"] == pytest.approx(-1.0)
    assert "chillers_share" not in told


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"boiler_on": None}, "boiler_share"), ({"return_temp": None}, "return_minus_setpoint"),
        ({"power": None}, "cascade_power_average"), ({"season": None}, "boiler_share"),
        ({"season": Season.TO_SUMMER}, "boiler_share"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_absent_and_not_zero(changes: dict[str, Any], absent: str) -> None:
    figures = Efficiency()
    ran(figures, replace(WINTER, **changes), T0, 600)
    assert absent not in figures.told(4)
    ran(figures, WINTER, T0 + 600, 600)
    assert figures.told(4)[absent] in (1.0, 80.0, -1.0), "nor does it thin out what is known"


def test_a_plant_without_chillers_has_no_share_of_them() -> None:
    figures = Efficiency()
    ran(figures, replace(SUMMER, chillers_on=0), T0, 600)
    assert "chillers_share" not in figures.told(0)


def test_gaps_and_steps_of_the_clock_are_not_counted() -> None:
    figures = Efficiency()
    figures.note(WINTER, T0)
    assert figures.told(4) == {}, "nothing passed yet"
    figures.note(WINTER, T0 + LONGEST)
    assert figures.told(4)["boiler_share"] == 1.0
    for wrong in (T0 + LONGEST + LONGEST + 1, T0, T0 - 1e6, T0 + 1e6):
        figures.note(replace(WINTER, boiler_on=False), wrong)
    assert figures.told(4)["boiler_share"] == 1.0


def test_the_window_forgets() -> None:
    figures = Efficiency()
    ran(figures, WINTER, T0, 3600)
    ran(figures, replace(WINTER, boiler_on=False), T0 + 3600, 3600)
    figures.forget(T0 + 7200, 3)
    assert figures.told(4)["boiler_share"] == pytest.approx(0.5, abs=0.01)
    figures.forget(T0 + 7199, 1)
    assert figures.told(4)["boiler_share"] == pytest.approx(0.0, abs=0.01)
    assert len(figures.quarters) <= 4
    figures.forget(T0 - 1e6, 1)
    assert figures.told(4) == {}, "what lies ahead of a clock that was set back is not of the last hours"


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(0, 4), st.floats(-5, 40)), max_size=80))
def test_shares_are_shares(steps: list[tuple[float, int, float]]) -> None:
    figures, now = Efficiency(), T0
    for seconds, on, value in steps:
        now += seconds
        figures.note(Instant(Season.SUMMER, on, False, value, 10.0, None), now)
        figures.forget(now, 1)
    told = figures.told(4)
    assert 0 <= told.get("chillers_share", 0) <= 1 + 1e-9
    assert -15 - 1e-6 <= told.get("return_minus_setpoint", 0) <= 30 + 1e-6
    assert all(number > (now - 3600 - QUARTER) // QUARTER - 1 for number in figures.quarters)
