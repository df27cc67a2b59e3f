# SPDX-License-Identifier: GPL-3.0-or-later
"""The text that Davis WeatherLink puts on a web site (`downld02.txt`): one line for each interval, the newest last.

Columns, counted from 0 and separated by blanks: 0 date, 1 time, 2 temperature outside, 3 and 4 its extremes, 5
humidity, 6 dew point, 7 wind speed, 8 its direction, 9 wind run, 10 highest wind, 11 its direction, 12 wind chill, 13
heat index. `---` is what was not measured. Three lines of headings and dashes come first. The text names no units: it
has those that the station's PC shows (in the USA °F and mph), nor a time zone, nor the order of day and month.
Sources: Chronos (2, 7 and 12); headings of published files of several stations.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from rockit.boiler.protocols.units import celsius, metres_per_second
from rockit.common.framing import ProtocolError

TEMPERATURE, WIND = 2, 7
COLUMNS = 8
"""A record has at least so many."""
UNKNOWN = re.compile(r"-+")
_DATE = re.compile(r"([0-9]{1,4})[/.-]([0-9]{1,2})[/.-]([0-9]{1,4})")
_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2} ?([ap]m?)?", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9]{1,3}([.,][0-9]{1,2})?")


def last_record(text: str) -> list[str]:
    """The columns of the newest line. Raises ProtocolError where the last line is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    columns = lines[-1].split() if lines else []
    if len(columns) < COLUMNS or not _DATE.fullmatch(columns[0]) or not _TIME.fullmatch(columns[1]):
        raise ProtocolError(f"the last line is no record of WeatherLink: {(lines or [''])[-1][:60]!r}")
    return columns


def parse(text: str, now: datetime, temperature_unit: str = "degF", wind_unit: str = "mph") -> dict[str, float | None]:
    """`outside_temp` in °C and `wind_speed` in m/s of the newest record; None is what it does not know.

    `now` is in UTC. `age` is always None: the text has no time zone, so only a date that is neither yesterday, today
    nor tomorrow tells that the station is dead. Raises ProtocolError for that, and for what is no such text.
    """
    columns = last_record(text)
    if not _around(columns[0], now):
        raise ProtocolError(f"its newest record is of {columns[0]}; is the station's PC still running?")
    temperature, wind = _number(columns[TEMPERATURE]), _number(columns[WIND])
    return {
        "outside_temp": None if temperature is None else celsius(temperature, temperature_unit),
        "wind_speed": None if wind is None or wind < 0 else metres_per_second(wind, wind_unit),
        "age": None,
    }


def _around(date: str, now: datetime) -> bool:
    """Whether a date can be of these days, in whatever order day, month and year stand."""
    found = _DATE.fullmatch(date)
    numbers = sorted(int(text) for text in found.groups()) if found else []
    days = (now + timedelta(days=offset) for offset in (-1, 0, 1))
    return any(numbers in (sorted((d.day, d.month, d.year)), sorted((d.day, d.month, d.year % 100))) for d in days)


def _number(text: str) -> float | None:
    if UNKNOWN.fullmatch(text):
        return None
    if not text.isascii() or not _NUMBER.fullmatch(text):
        raise ProtocolError(f"not a number of WeatherLink: {text[:20]!r}")
    return float(text.replace(",", "."))
