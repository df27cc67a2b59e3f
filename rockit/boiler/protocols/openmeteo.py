# SPDX-License-Identifier: GPL-3.0-or-later
"""The current weather of Open-Meteo's forecast API: JSON with `current`, its units, and the zone of its times.

Asked for as `…/v1/forecast?latitude=…&longitude=…&current=temperature_2m,wind_speed_10m`. It is a model's, made
for each `interval` (900 s) from `time` on. `time` is without a zone (`2026-03-26T16:15`), that of `utc_offset_seconds`,
or in seconds since 1970 where that was asked for (`timeformat=unixtime`). Source: open-meteo.com/en/docs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rockit.boiler.protocols.units import celsius, metres_per_second
from rockit.common.framing import ProtocolError

OLDEST = 3600.0
"""What is of a time so long ago, or so far ahead, is not current, s."""


def parse(text: str, now: datetime) -> dict[str, float | None]:
    """`outside_temp` in °C, `wind_speed` in m/s, and `age`: how long ago, s, the interval ended that they are for.

    What is not there or null is None. `now` is in UTC. Raises ProtocolError for what is no such answer, what is not
    current, and units that are not known.
    """
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        raise ProtocolError(f"not JSON: {text[:60]!r}") from None
    if isinstance(answer, dict) and answer.get("error") is True:
        raise ProtocolError(f"Open-Meteo refuses: {str(answer.get('reason'))[:100]}")
    current, units = (answer.get(key) if isinstance(answer, dict) else None for key in ("current", "current_units"))
    if not isinstance(current, dict) or not isinstance(units, dict):
        raise ProtocolError("no current weather in the answer: does the URL ask for current=temperature_2m,…?")
    since = (now - _time(current.get("time"), answer.get("utc_offset_seconds", 0))).total_seconds()
    if abs(since) >= OLDEST:
        raise ProtocolError(
            f"its current weather is of {str(current['time'])[:20]}, and now is {now:%Y-%m-%dT%H:%M} UTC"
        )
    interval = _number(current.get("interval"))
    wind = _quantity(current, units, "wind_speed_10m", metres_per_second)
    return {
        "outside_temp": _quantity(current, units, "temperature_2m", celsius),
        "wind_speed": None if wind is not None and wind < 0 else wind,
        "age": max(0.0, since - min(max(interval or 0.0, 0.0), OLDEST)),
    }


def _time(value: Any, offset: Any) -> datetime:
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC) - timedelta(seconds=int(offset))
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        pass
    raise ProtocolError(f"not a time: {str(value)[:40]}")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _quantity(
    current: Mapping[str, Any], units: Mapping[str, Any], key: str, convert: Callable[[float, str], float]
) -> float | None:
    value = _number(current.get(key))
    if value is None:
        return None
    try:
        return convert(value, units[key])
    except (KeyError, TypeError):
        raise ProtocolError(f"{key} is in {str(units.get(key))[:20]!r}, a unit that is not known here") from None
