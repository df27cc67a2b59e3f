# SPDX-License-Identifier: GPL-3.0-or-later
"""Dew point. Pure arithmetic."""

from __future__ import annotations

import math

_A = 17.62
_B = 243.12  # °C; Magnus coefficients over water, WMO Guide to Instruments (WMO-No. 8), valid -45..60 °C


def dew_point(temperature: float, humidity: float) -> float:
    """Dew point over water, °C, of air at `temperature` °C and `humidity` % relative (clamped to 1..100)."""
    g = math.log(min(max(humidity, 1.0), 100.0) / 100.0) + _A * temperature / (_B + temperature)
    return _B * g / (_A - g)
