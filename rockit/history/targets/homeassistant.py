# SPDX-License-Identifier: GPL-3.0-or-later
"""What Home Assistant is told about a series over MQTT, so that it shows it without being configured. No I/O.

After its documentation of MQTT discovery and of sensors: which unit belongs to which device class, and which state
class that one takes. What does not fit is left out, since Home Assistant complains of what does not agree; the value is
shown all the same.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from rockit.common import VERSION
from rockit.history.model import Series

STATUS = "homeassistant/status"
"""Where it says that it has started: `online`."""
_UNITS = {"degC": "°C", "degF": "°F", "deg": "°", "m3": "m³", "m3/h": "m³/h", "W/m2": "W/m²"}
"""Our spelling -> theirs, where they differ."""
_GAUGES = {
    "°C": "temperature",
    "°F": "temperature",
    "K": "temperature",
    "A": "current",
    "mA": "current",
    "V": "voltage",
    "mV": "voltage",
    "W": "power",
    "kW": "power",
    "MW": "power",
    "VA": "apparent_power",
    "Hz": "frequency",
    "Pa": "pressure",
    "hPa": "pressure",
    "kPa": "pressure",
    "mbar": "pressure",
    "bar": "pressure",
    "L/min": "volume_flow_rate",
    "m³/h": "volume_flow_rate",
    "m/s": "speed",
    "km/h": "speed",
    "W/m²": "irradiance",
    "ms": "duration",
    "s": "duration",
    "min": "duration",
    "h": "duration",
    "d": "duration",
}
"""Unit -> device class of what goes up and down."""
_COUNTERS = {
    "Wh": "energy",
    "kWh": "energy",
    "MWh": "energy",
    "L": "volume",
    "m³": "volume",
    "s": "duration",
    "min": "duration",
    "h": "duration",
    "d": "duration",
}
"""Unit -> device class of what only grows."""
_PLAIN = re.compile(r"[a-zA-Z0-9_]+")
_NOT_IN_TOPICS = re.compile(r"[+#/%\x00-\x1f\x7f]")


def topic(*names: str) -> str:
    """`rockit/…` with these names as levels; what MQTT forbids there is written as in URLs."""
    return "/".join(["rockit", *(_NOT_IN_TOPICS.sub(lambda found: quote(found[0], safe=""), name) for name in names)])


def identity(*names: str) -> str:
    """Names as one word of letters, digits, `_` and `-`; different names give different words."""
    return "-".join(["rockit", *(_word(name) for name in names)])


def config_topic(series: Series) -> str:
    """Where Home Assistant looks for `config`."""
    return f"homeassistant/sensor/{identity(series.site, series.device)}/{_word(series.key)}/config"


def config(series: Series, availability: str, expire_after: int) -> dict[str, Any]:
    """How Home Assistant shows a series.

    `availability`: the topic that says whether we live; `expire_after`: a value counts so long, s.
    """
    unit = _UNITS.get(series.unit, series.unit)
    told: dict[str, Any] = {
        "name": series.label or series.key,
        "unique_id": identity(*series.name),
        "state_topic": topic(*series.name),
        "value_template": "{{ value_json.value }}",
        "state_class": "total_increasing" if series.counter else "measurement",
        "availability_topic": availability,
        "expire_after": expire_after,
        "device": {
            "identifiers": [identity(series.site, series.device)],
            "name": series.device,
            "manufacturer": "rockit-plant",
        },
        "origin": {"name": "rockit-plant", "sw_version": VERSION},
    }
    if unit:
        told["unit_of_measurement"] = unit
    kind = _COUNTERS.get(unit) if series.counter else _gauge(series.key, unit)
    if kind is not None:
        told["device_class"] = kind
    return told


def _gauge(key: str, unit: str) -> str | None:
    if unit == "%":
        return "humidity" if "humidity" in key else None
    if unit == "m/s" and "wind" in key:
        return "wind_speed"
    return _GAUGES.get(unit)


def _word(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    return f"{re.sub('[^a-zA-Z0-9_]', '_', name)}_{sha256(name.encode()).hexdigest()[:8]}"
