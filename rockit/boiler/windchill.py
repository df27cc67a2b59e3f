# SPDX-License-Identifier: GPL-3.0-or-later
"""Wind chill. Source: the index of the US National Weather Service and Environment Canada, 2001."""

from __future__ import annotations

import math

WARMEST = 10.0
"""Above this there is no wind chill, °C."""
CALMEST = 4.8
"""Below this there is none, km/h."""


def wind_chill(celsius: float, metres_per_second: float) -> float:
    """What the air feels like, °C; its temperature itself where the index is not defined.

    It is about faces, and not about houses.
    """
    speed = 3.6 * metres_per_second
    if celsius > WARMEST or speed < CALMEST:
        return celsius
    power = math.pow(speed, 0.16)
    return 13.12 + 0.6215 * celsius - 11.37 * power + 0.3965 * celsius * power
