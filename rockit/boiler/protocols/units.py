# SPDX-License-Identifier: GPL-3.0-or-later
"""Units in which weather comes, into ours: °C and m/s."""

from __future__ import annotations

_SPEEDS = {
    "m/s": 1.0, "ms": 1.0, "km/h": 1 / 3.6, "kmh": 1 / 3.6, "mph": 0.44704, "mp/h": 0.44704, "kn": 1852 / 3600,
    "knots": 1852 / 3600,
}  # fmt: skip


def celsius(value: float, unit: str) -> float:
    """A temperature in °C. Raises KeyError for another unit than °C and °F."""
    if unit in ("°C", "degC"):
        return value
    if unit in ("°F", "degF"):
        return (value - 32.0) / 1.8
    raise KeyError(unit)


def metres_per_second(value: float, unit: str) -> float:
    """A speed in m/s. Raises KeyError for a unit that is not known."""
    return value * _SPEEDS[unit]
