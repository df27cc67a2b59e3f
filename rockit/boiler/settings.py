# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be changed while the plant runs: names, limits, defaults. Inside in °C, K and s; people see their scale.

Defaults of the set point and the cascade are those of Chronos's production database; times that protect machines and
temperatures that protect from frost are practice of the field (see docs/boiler.md).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from rockit.boiler import curve as curves
from rockit.boiler.units import Scale, fahrenheit, fahrenheit_difference


class Kind(StrEnum):
    """What a setting is, which tells how it is converted for people."""

    TEMPERATURE = "temperature"
    DIFFERENCE = "difference"
    MINUTES = "minutes"
    SECONDS = "seconds"
    SWITCH = "0 or 1"
    CURVE = "break points"
    LOWERING = "break points of a lowering"
    """A curve whose second number is a difference."""


def _setting(kind: Kind, default: Any, low: float, high: float, text: str) -> Any:
    return field(default=default, metadata={"kind": kind, "low": low, "high": high, "text": text})


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a plant. Temperatures in °C, differences in K, `cascade_time` and the like as their kind says."""

    setpoint_min: float = _setting(Kind.TEMPERATURE, fahrenheit(52), -10, 90, "lowest set point")
    setpoint_max: float = _setting(Kind.TEMPERATURE, fahrenheit(60), -10, 90, "highest set point")
    setpoint_offset_summer: float = _setting(
        Kind.DIFFERENCE, fahrenheit_difference(-5), -40, 40, "added to the set point in summer"
    )
    setpoint_offset_winter: float = _setting(
        Kind.DIFFERENCE, fahrenheit_difference(-14), -40, 40, "added to the set point in winter"
    )
    tolerance: float = _setting(
        Kind.DIFFERENCE, fahrenheit_difference(2), 0.05, 20, "how far the return may be from the set point"
    )
    mode_change_delta_temp: float = _setting(
        Kind.DIFFERENCE, fahrenheit_difference(7), 0.5, 40, "how far beyond it another season is needed"
    )
    cascade_time: float = _setting(Kind.MINUTES, 7.0, 0.1, 240, "least time between two chillers")
    mode_switch_lockout_time: float = _setting(
        Kind.MINUTES, -1.0, -1, 100_000, "least time between two seasons; 0 or less: seasons change by hand only"
    )
    valve_time: float = _setting(Kind.SECONDS, 120.0, 1, 3600, "travel time of a valve")
    flow_through_time: float = _setting(
        Kind.SECONDS, 60.0, 0, 3600, "from the last source going off to the valves moving"
    )
    boiler_minimum_on_time: float = _setting(Kind.SECONDS, 180.0, 0, 7200, "the boiler stays on at least so long")
    boiler_minimum_off_time: float = _setting(Kind.SECONDS, 300.0, 0, 7200, "the boiler stays off at least so long")
    chiller_minimum_on_time: float = _setting(Kind.SECONDS, 180.0, 0, 7200, "a chiller stays on at least so long")
    chiller_minimum_off_time: float = _setting(Kind.SECONDS, 300.0, 0, 7200, "a chiller stays off at least so long")
    return_low: float = _setting(Kind.TEMPERATURE, fahrenheit(36), -15, 30, "return below this is an emergency")
    return_high: float = _setting(Kind.TEMPERATURE, fahrenheit(110), 20, 95, "return above this is an emergency")
    freeze_on: float = _setting(
        Kind.TEMPERATURE, fahrenheit(38), -15, 30, "return below this is heated, whoever said off"
    )
    freeze_off: float = _setting(Kind.TEMPERATURE, fahrenheit(45), -10, 40, "until it is above this")
    freeze_outside: float = _setting(
        Kind.TEMPERATURE, 2.0, -30, 20, "outside below this, water of unknown temperature is heated now and then"
    )
    outside_hold: float = _setting(
        Kind.MINUTES, 180.0, 0, 10_000, "so long the last known outside temperature stands for one that is lost"
    )
    wind_chill: float = _setting(Kind.SWITCH, 0.0, 0, 1, "in winter use the wind chill for the outside temperature")
    curve: curves.Points = _setting(  # noqa: RUF009 - it is a field
        Kind.CURVE, curves.CHRONOS, -80, 120, "outside temperature and set point"
    )
    history_curve: curves.Points = _setting(  # noqa: RUF009 - it is a field
        Kind.LOWERING, curves.CHRONOS_HISTORY, -80, 120, "mean outside temperature of 96 h, and what it lowers"
    )

    def rules(self) -> curves.Rules:
        """What the set point is made with."""
        return curves.Rules(
            self.curve, self.history_curve, self.setpoint_offset_winter, self.setpoint_offset_summer,
            self.setpoint_min, self.setpoint_max,
        )  # fmt: skip


FIELDS = {one.name: one.metadata for one in fields(Settings)}
"""Name -> its `kind`, `low`, `high` (inside) and `text`."""
_CURVES = (Kind.CURVE, Kind.LOWERING)
_ORDERED = (
    ("setpoint_min", "setpoint_max"), ("return_low", "return_high"), ("freeze_on", "freeze_off"),
    ("return_low", "freeze_on"), ("freeze_off", "return_high"), ("return_low", "setpoint_min"),
    ("setpoint_max", "return_high"),
)  # fmt: skip
"""The first must be below the second."""
_LARGEST = sys.float_info.max


class BadSetting(ValueError):
    """A name or a value that cannot be; the text says why, in the scale of the site."""


def outward(name: str, value: Any, scale: Scale) -> Any:
    """A value as people see it."""
    kind = FIELDS[name]["kind"]
    if kind is Kind.TEMPERATURE:
        return scale.temperature(value)
    if kind is Kind.DIFFERENCE:
        return scale.difference(value)
    if kind in _CURVES:
        second = scale.temperature if kind is Kind.CURVE else scale.difference
        return [[scale.temperature(at), second(to)] for at, to in value]
    return value


def unit_of(name: str, scale: Scale) -> str:
    """The unit in which people see it."""
    kind = FIELDS[name]["kind"]
    if kind is Kind.TEMPERATURE or kind in _CURVES:
        return scale.value
    return {Kind.DIFFERENCE: "K" if scale is Scale.CELSIUS else "degF", Kind.MINUTES: "min", Kind.SECONDS: "s"}.get(
        kind, ""
    )


def range_of(name: str, scale: Scale) -> dict[str, float]:
    """The least and the greatest value, as people see them; empty for a curve."""
    known = FIELDS[name]
    if known["kind"] in _CURVES:
        return {}
    return {"low": outward(name, known["low"], scale), "high": outward(name, known["high"], scale)}


def inward(name: str, value: Any, scale: Scale) -> Any:
    """A value that a person gave, as it is inside. Raises BadSetting."""
    if name not in FIELDS:
        near = get_close_matches(name.lower(), FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}"
        raise BadSetting(f"there is no setting {name!r}; {hint}")
    known = FIELDS[name]
    kind = known["kind"]
    if kind in _CURVES:
        return _curve(name, value, scale)
    if isinstance(value, bool) and kind is Kind.SWITCH:
        value = float(value)
    if not _number(value):
        raise BadSetting(f"{name} must be a number, not {value!r}")
    convert = {Kind.TEMPERATURE: scale.celsius, Kind.DIFFERENCE: scale.kelvin}.get(kind, float)
    inside = convert(value)
    if not known["low"] - 1e-9 <= inside <= known["high"] + 1e-9 or (kind is Kind.SWITCH and inside not in (0, 1)):
        low, high = outward(name, known["low"], scale), outward(name, known["high"], scale)
        raise BadSetting(f"{name} must be {low:g} to {high:g} {unit_of(name, scale)}".rstrip() + f", not {value:g}")
    return inside


def _number(value: Any) -> bool:
    """Whether it is a number that can be used; an integer may be too large for that."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _curve(name: str, value: Any, scale: Scale) -> curves.Points:
    known = FIELDS[name]
    second = scale.celsius if known["kind"] is Kind.CURVE else scale.kelvin
    try:
        given = [(at, to) for at, to in value]
    except (TypeError, ValueError):
        given = []
    if not given or not all(_number(number) for point in given for number in point):
        raise BadSetting(f"{name} must be break points as [[10, 100], [70, 70]], not {value!r}")
    points = tuple((scale.celsius(at), second(to)) for at, to in given)
    if not all(known["low"] <= number <= known["high"] for point in points for number in point):
        raise BadSetting(f"{name}: a break point is no temperature: {value!r}")
    if (wrong := curves.problem(points)) is not None:
        raise BadSetting(f"{name}: {wrong}")
    return points


def changed(settings: Settings, given: Mapping[str, Any], scale: Scale) -> Settings:
    """`settings` with what a person gave in its place. Raises BadSetting, also for settings that do not go together."""
    new = replace(settings, **{name: inward(name, value, scale) for name, value in given.items()})
    wrong = []
    for lower, upper in _ORDERED:
        if getattr(new, lower) >= getattr(new, upper) and {lower, upper} & set(given):
            low, high = (outward(name, getattr(new, name), scale) for name in (lower, upper))
            wrong.append(f"{lower} ({low:g}) must be below {upper} ({high:g})")
    # The control overshoots its set point by the tolerance, and the water by more: neither may be an emergency.
    near = {"tolerance", "setpoint_max", "setpoint_min", "return_low", "return_high"} & set(given)
    if near and not wrong and new.setpoint_max + 2 * new.tolerance > new.return_high:
        wrong.append("setpoint_max and twice the tolerance come to more than return_high, which is an emergency")
    if near and not wrong and new.setpoint_min - 2 * new.tolerance < new.return_low:
        wrong.append("setpoint_min less twice the tolerance comes to less than return_low, which is an emergency")
    if wrong:
        raise BadSetting("; ".join(wrong))
    return new


def shown(name: str, value: Any) -> str:
    """A value as people write it, from `outward`."""
    if FIELDS[name]["kind"] in _CURVES:
        return ",".join(f"{at:g}:{to:g}" for at, to in value)
    return f"{value:g}"
