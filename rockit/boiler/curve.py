# SPDX-License-Identifier: GPL-3.0-or-later
"""From the weather to the set point of the water: outdoor reset, history, season, limits. Pure; °C and K.

The default curve is Chronos's table (read from its production database): 100 °F of water at 10 °F outside and below,
half a degree less for each degree up to 70 °F, then three degrees less, down to 36 °F; less twice what the mean of the
last four days is above 70 °F, at most 36 °F less. Chronos rounds temperatures to whole degrees and looks them up; here
what lies between two whole degrees is interpolated. Its table goes from 81 °F (37 °F) to 82 °F (36 °F), which is why
the curve has both as break points.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from rockit.boiler.model import Season
from rockit.boiler.units import fahrenheit, fahrenheit_difference

Points = tuple[tuple[float, float], ...]
"""Break points of a curve, rising in the first; straight lines between them, level beyond them."""

CHRONOS: Points = tuple(
    (fahrenheit(outside), fahrenheit(water)) for outside, water in ((10, 100), (70, 70), (81, 37), (82, 36))
)
"""Outside temperature -> set point, °C."""
CHRONOS_HISTORY: Points = ((fahrenheit(70), 0.0), (fahrenheit(88), fahrenheit_difference(36)))
"""Mean outside temperature of 96 h, °C -> what the set point is lowered by, K."""


def on_curve(points: Points, at: float) -> float:
    """The value of a curve at `at`."""
    if at <= points[0][0]:
        return points[0][1]
    if at >= points[-1][0]:
        return points[-1][1]
    right = bisect_right(points, (at, float("inf")))
    (x0, y0), (x1, y1) = points[right - 1], points[right]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def problem(points: Points) -> str | None:
    """What is wrong with the break points of a curve, if anything."""
    if not 2 <= len(points) <= 50:
        return "a curve has 2 to 50 break points"
    if any(second[0] <= first[0] for first, second in pairwise(points)):
        return "the outside temperatures of a curve must rise from each break point to the next"
    return None


@dataclass(frozen=True, slots=True)
class Rules:
    """What turns a temperature outside into a set point, °C and K."""

    curve: Points
    history_curve: Points
    offset_winter: float
    offset_summer: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class SetPoint:
    """A set point with every step to it, °C and K."""

    outside: float
    average: float
    baseline: float
    adjustment: float
    tha: float
    """Set point after the history adjustment (Chronos's name for it: temperature history adjusted)."""
    offset: float
    effective: float


def set_point(rules: Rules, outside: float, average: float | None, season: Season) -> SetPoint:
    """The set point for `season`. Without an `average`, the temperature of now stands for it, as in Chronos."""
    average = outside if average is None else average
    baseline = on_curve(rules.curve, outside)
    adjustment = on_curve(rules.history_curve, average)
    tha = baseline - adjustment
    offset = rules.offset_winter if season.target is Season.WINTER else rules.offset_summer
    effective = min(max(tha + offset, rules.least), rules.most)
    return SetPoint(outside, average, baseline, adjustment, tha, offset, effective)
