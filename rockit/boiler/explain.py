# SPDX-License-Identifier: GPL-3.0-or-later
"""Every step from the outside temperature to the set point, as numbers and as sentences. Pure."""

from __future__ import annotations

from typing import Any

from rockit.boiler.curve import SetPoint
from rockit.boiler.model import Season
from rockit.boiler.settings import Settings
from rockit.boiler.units import Scale

KEYS = ("baseline_setpoint", "history_adjustment", "tha_setpoint", "season_offset", "effective_setpoint", "unit")
"""What `boiler explain --json` prints."""


def explained(
    found: SetPoint, settings: Settings, scale: Scale, season: Season, how: str, hours: int | None = None
) -> dict[str, Any]:
    """KEYS, what they were made of, and `steps`: sentences. `how`: where the outside temperature comes from;
    `hours`: of how many hours the mean is, where that is known.
    """
    temperature, difference, sign = scale.temperature, scale.difference, scale.sign
    offset_name = f"setpoint_offset_{season.name.lower()}"
    before = found.tha + found.offset
    limit = "which is within"
    if found.effective < before:
        limit = "lowered to setpoint_max of"
    elif found.effective > before:
        limit = "raised to setpoint_min of"
    least, most = temperature(settings.setpoint_min), temperature(settings.setpoint_max)
    known = "" if hours is None or hours >= 96 else f" ({hours} h of it known)"
    source = {"given": "", "measured": "", "last known": ", the last known", "average": ", the mean of the last days"}
    steps = [
        f"outside it is {temperature(found.outside):g} {sign}{source.get(how, '')}",
        f"the curve says {temperature(found.baseline):g} {sign}",
        f"the mean of 96 h{known}, {temperature(found.average):g} {sign}, "
        f"lowers that by {difference(found.adjustment):g} to {temperature(found.tha):g} {sign}",
        f"{offset_name} of {difference(found.offset):+g} makes it {temperature(before):g} {sign}",
        f"{limit} the limits, {least:g} to {most:g} {sign}: the set point is {temperature(found.effective):g} {sign}",
    ]
    return {
        "baseline_setpoint": temperature(found.baseline),
        "history_adjustment": difference(found.adjustment),
        "tha_setpoint": temperature(found.tha),
        "season_offset": difference(found.offset),
        "effective_setpoint": temperature(found.effective),
        "unit": scale.value,
        "outside_temp": temperature(found.outside),
        "outside_temp_average": temperature(found.average),
        "season": season.name,
        "steps": steps,
    }
