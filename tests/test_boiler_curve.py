# SPDX-License-Identifier: GPL-3.0-or-later
"""The set point of the water: Chronos's table to the digit, what lies between its rows, offsets and limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.boiler.curve import CHRONOS, CHRONOS_HISTORY, Rules, on_curve, problem, set_point
from rockit.boiler.model import Season
from rockit.boiler.settings import Settings
from rockit.boiler.units import Scale, fahrenheit, fahrenheit_difference
from rockit.boiler.windchill import wind_chill

F = Scale.FAHRENHEIT


def rules(winter: float = 0.0, summer: float = 0.0, least: float = -40.0, most: float = 200.0) -> Rules:
    """The default curves with offsets and limits in °F."""
    return Rules(
        CHRONOS, CHRONOS_HISTORY, fahrenheit_difference(winter), fahrenheit_difference(summer),
        fahrenheit(least), fahrenheit(most),
    )  # fmt: skip


def baseline(outside: int) -> float:
    """Chronos's table, °F."""
    if outside <= 10:
        return 100.0
    return 105 - 0.5 * outside if outside <= 70 else max(36.0, 280.0 - 3 * outside)


def adjustment(average: int) -> float:
    """Chronos's second table, °F."""
    return 0.0 if average < 71 else min(36.0, 2.0 * (average - 70))


@pytest.mark.parametrize("average", [None, -30, 69, 70, 71, 72, 79, 88, 89, 116])
def test_every_row_of_the_table_is_exact(average: int | None) -> None:
    for outside in range(-30, 117):
        days = None if average is None else fahrenheit(average)
        found = set_point(rules(), fahrenheit(outside), days, Season.WINTER)
        lowered = adjustment(outside if average is None else average)
        assert F.temperature(found.baseline) == baseline(outside)
        assert F.difference(found.adjustment) == lowered
        assert F.temperature(found.tha) == baseline(outside) - lowered
        assert F.temperature(found.effective) == max(-40.0, baseline(outside) - lowered)


def test_every_adjustment_is_exact() -> None:
    for average in range(-30, 117):
        found = set_point(rules(), fahrenheit(20), fahrenheit(average), Season.SUMMER)
        assert F.difference(found.adjustment) == adjustment(average)


@given(st.floats(-30, 115.99))
def test_between_two_rows_the_set_point_lies_on_the_line_between_them(outside: float) -> None:
    below = int(outside // 1)
    part = outside - below
    found = set_point(rules(), fahrenheit(outside), None, Season.WINTER)
    assert F.temperature(found.baseline) == pytest.approx(
        baseline(below) * (1 - part) + baseline(below + 1) * part, abs=1e-5
    )
    assert F.difference(found.adjustment) == pytest.approx(
        adjustment(below) * (1 - part) + adjustment(below + 1) * part, abs=1e-5
    )


def test_the_production_settings_of_chronos() -> None:
    production = Settings().rules()
    cold = set_point(production, fahrenheit(20), fahrenheit(30), Season.WINTER)
    assert [F.temperature(value) for value in (cold.baseline, cold.tha, cold.effective)] == [95, 95, 60]
    assert F.difference(cold.offset) == -14
    mild = set_point(production, fahrenheit(75), fahrenheit(60), Season.WINTER)
    assert [F.temperature(value) for value in (mild.baseline, mild.effective)] == [55, 52]  # 41 is below the least
    hot = set_point(production, fahrenheit(73), fahrenheit(71), Season.TO_SUMMER)
    assert [F.temperature(value) for value in (hot.tha, hot.effective)] == [59, 54]


@given(
    st.floats(-60, 60), st.none() | st.floats(-60, 60), st.sampled_from(Season), st.floats(-40, 40), st.floats(-40, 40)
)
def test_the_set_point_is_never_beyond_its_limits(
    outside: float, average: float | None, season: Season, winter: float, summer: float
) -> None:
    found = set_point(rules(winter, summer, 52, 60), outside, average, season)
    assert fahrenheit(52) <= found.effective <= fahrenheit(60)
    assert found.offset == fahrenheit_difference(winter if season in (Season.WINTER, Season.TO_WINTER) else summer)
    plain = found.baseline - found.adjustment + found.offset
    assert found.effective == min(max(plain, fahrenheit(52)), fahrenheit(60))


points = st.lists(
    st.tuples(st.floats(-80, 120), st.floats(-80, 120)), min_size=2, max_size=50, unique_by=lambda p: p[0]
)


@given(points.map(sorted).map(tuple), st.floats(-100, 200))
def test_any_curve_goes_through_its_points_and_never_beyond_them(
    curve: tuple[tuple[float, float], ...], at: float
) -> None:
    for x, y in curve:
        assert on_curve(curve, x) == y
    value = on_curve(curve, at)
    heights = [y for _, y in curve]
    assert min(heights) - 1e-9 <= value <= max(heights) + 1e-9
    assert problem(curve) is None


def test_break_points_must_rise() -> None:
    assert problem(((0.0, 1.0), (0.0, 2.0))) is not None
    assert problem(((1.0, 1.0), (0.0, 2.0))) is not None
    assert problem(((1.0, 1.0),)) is not None
    assert problem(tuple((float(at), 0.0) for at in range(51))) is not None


@pytest.mark.parametrize(
    ("celsius", "kmh", "felt"), [(-10, 20, -17.9), (0, 15, -4.4), (-20, 50, -35.4), (11, 50, 11), (5, 4.7, 5)]
)
def test_wind_chill_is_that_of_the_weather_services(celsius: float, kmh: float, felt: float) -> None:
    assert wind_chill(celsius, kmh / 3.6) == pytest.approx(felt, abs=0.05)
