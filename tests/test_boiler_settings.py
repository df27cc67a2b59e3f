# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: what people give on their scale, what is refused, and what does not go together."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.boiler.settings import FIELDS, BadSetting, Kind, Settings, changed, inward, outward, unit_of
from rockit.boiler.units import Scale

CURVES = (Kind.CURVE, Kind.LOWERING)
NUMBERS = [name for name, known in FIELDS.items() if known["kind"] not in (*CURVES, Kind.SWITCH)]
C, F = Scale.CELSIUS, Scale.FAHRENHEIT


@pytest.mark.parametrize("scale", Scale)
@pytest.mark.parametrize("name", NUMBERS)
def test_limits_hold_on_both_scales(name: str, scale: Scale) -> None:
    low, high = (outward(name, FIELDS[name][end], scale) for end in ("low", "high"))
    for value in (low, high, (low + high) / 2):
        assert outward(name, inward(name, value, scale), scale) == pytest.approx(value, abs=1e-6)
    for value in (low - 0.01, high + 0.01, 1e300, -1e300):
        with pytest.raises(BadSetting, match=rf"{name} must be .* to .*, not"):
            inward(name, value, scale)


@given(st.sampled_from(NUMBERS), st.sampled_from(Scale), st.floats(0, 1))
def test_what_people_gave_is_what_they_see(name: str, scale: Scale, part: float) -> None:
    low, high = (outward(name, FIELDS[name][end], scale) for end in ("low", "high"))
    value = min(max(round(low + part * (high - low), 4), low), high)
    assert outward(name, inward(name, value, scale), scale) == value


BROKEN = [math.nan, math.inf, -math.inf, True, False, "7", "", None, [7], {}, 10**400, -(10**400), b"7", 7j]


@pytest.mark.parametrize("value", BROKEN, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("name", list(FIELDS))
def test_what_is_no_number_is_refused(name: str, value: Any) -> None:
    if name == "wind_chill" and isinstance(value, bool):
        assert inward(name, value, C) == float(value)
        return
    with pytest.raises(BadSetting):
        inward(name, value, C)


def test_a_switch_is_0_or_1() -> None:
    assert [inward("wind_chill", value, F) for value in (0, 1, 1.0)] == [0, 1, 1]
    with pytest.raises(BadSetting):
        inward("wind_chill", 0.5, F)


def test_names_are_checked() -> None:
    with pytest.raises(BadSetting, match=r"there is no setting 'mode'"):
        changed(Settings(), {"mode": 1}, C)


@pytest.mark.parametrize(
    "value",
    [
        [], [[10, 100]], [[10, 100], [10, 70]], [[70, 70], [10, 100]], [[10, 100], [70]], [[10, 100], [70, 70, 1]],
        [["10", 100], [70, 70]], [[True, 100], [70, 70]], [[10, math.nan], [70, 70]], [[10, 100], [math.inf, 70]],
        [[10, 100], [70, 10**400]], "10", ["10", "70"], {"10": 100, "70": 70}, 7, [[10, None], [70, 70]],
        [[-200, 0], [70, 70]], [[10, 500], [70, 70]], [[at, 50] for at in range(51)],
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
@pytest.mark.parametrize("name", ["curve", "history_curve"])
def test_bad_curves_are_refused(name: str, value: Any) -> None:
    with pytest.raises(BadSetting, match=rf"{name}"):
        inward(name, value, F)


def test_curves_are_given_and_seen_on_the_scale_of_the_site() -> None:
    shown = outward("curve", Settings().curve, F)
    assert shown == [[10, 100], [70, 70], [81, 37], [82, 36]]
    assert outward("history_curve", Settings().history_curve, F) == [[70, 0], [88, 36]]
    assert outward("curve", inward("curve", [[-12, 40.5], (21, 20)], C), C) == [[-12, 40.5], [21, 20]]
    for name in ("curve", "history_curve"):
        given_ = outward(name, getattr(Settings(), name), F)
        assert outward(name, inward(name, given_, F), F) == given_


PAIRS = [
    ({"setpoint_min": 60}, "setpoint_min"), ({"setpoint_max": 52}, "setpoint_max"),
    ({"setpoint_max": 51}, "setpoint_max"), ({"return_low": 50, "freeze_on": 40}, "return_low"),
    ({"freeze_on": 45}, "freeze_on"), ({"freeze_off": 38}, "freeze_off"), ({"freeze_on": 36}, "freeze_on"),
    ({"return_low": 38}, "return_low"), ({"setpoint_max": 110}, "setpoint_max"),
    ({"return_low": 53, "freeze_on": 54, "freeze_off": 58}, "return_low"),
]  # fmt: skip


@pytest.mark.parametrize(("given_", "name"), PAIRS)
def test_settings_that_do_not_go_together_are_refused(given_: dict[str, float], name: str) -> None:
    with pytest.raises(BadSetting, match=rf"{name}.* must be below|must be below {name}"):
        changed(Settings(), given_, F)


def test_pairs_are_compared_as_they_will_be() -> None:
    both = changed(Settings(), {"setpoint_min": 70, "setpoint_max": 80}, F)
    assert F.temperature(both.setpoint_min) == 70
    assert changed(both, {"setpoint_max": 90, "setpoint_min": 89}, F).setpoint_max == pytest.approx(32.2222, abs=1e-3)
    assert changed(both, {}, F) == both


def test_the_defaults_are_within_their_own_limits() -> None:
    for scale in Scale:
        shown = {name: outward(name, getattr(Settings(), name), scale) for name in FIELDS}
        again = changed(Settings(), shown, scale)
        assert {name: outward(name, getattr(again, name), scale) for name in FIELDS} == shown
        assert all(isinstance(unit_of(name, scale), str) for name in FIELDS)


@given(st.floats(-1e4, 1e4))
def test_scales_go_there_and_back(value: float) -> None:
    value = round(value, 4)
    assert F.temperature(F.celsius(value)) == pytest.approx(value, abs=1e-6)
    assert F.difference(F.kelvin(value)) == pytest.approx(value, abs=1e-6)
    assert F.speed(F.metres_per_second(value)) == pytest.approx(value, abs=1e-6)
    assert (F.temperature(100), F.celsius(32), F.temperature(-40)) == (212, 0, -40)
