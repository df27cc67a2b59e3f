# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as text: what people and scripts may write for the ends of a range, and how times are written back.

All times are integers, ms since 1970-01-01 UTC. No clock and nothing heavy here: daemons and command lines share it.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from rockit.history.model import DAY, LATEST_TIME, MINUTE

_EPOCH = datetime(1970, 1, 1)
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_UNITS = {"s": 1000, "m": MINUTE, "h": 60 * MINUTE, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}
_AGE = re.compile(r"(\d{1,12}(?:\.\d{1,12})?) ?([smhdwy])", re.ASCII)
_SECONDS = re.compile(r"\d{9,12}(?:\.\d{1,12})?", re.ASCII)  # fewer digits are a year or a date without hyphens
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})"
    r"(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:(?<=:\d{2}:\d{2})[.,](\d{1,12}))? ?(?:(Z)|([+-])(\d{2})(?::?(\d{2}))?)?)?",
    re.ASCII | re.IGNORECASE,
)
FORMS = (
    "give an age before now (90s, 15m, 1h, 2d, 3w, 1y), a date or time in UTC (2026-11-21, 2026-11-21T10:00, "
    "2026-11-21T10:00:00.5Z; or with an offset, 2026-11-21T11:00+01:00), or seconds since 1970"
)
"""What `parse` takes, for people."""


def parse(value: str | float, now_ms: int) -> int:
    """The time that a text or a number means, ms; ages count back from `now_ms`.

    An age that reaches beyond 1970 means 1970; a year of age has 365 days; digits beyond the millisecond are cut off.
    Raises ValueError, with a sentence that names the forms.
    """
    if isinstance(value, str) and value.strip().lower() == "now":
        return now_ms
    time = _from_text(value, now_ms) if isinstance(value, str) else _from_number(value)
    if time is None:
        raise ValueError(f"{_shown(value)} is no time: {FORMS}")
    if not 0 <= time <= LATEST_TIME:
        raise ValueError(f"{_shown(value)} is outside the years 1970 to 9999: {FORMS}")
    return time


def is_age(value: object) -> bool:
    """Whether `parse` would count it back from now."""
    return isinstance(value, str) and (value.strip().lower() == "now" or _AGE.fullmatch(value.strip()) is not None)


def iso(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, as rockit writes times; what is beyond the second is cut off."""
    day, rest = divmod(ms, DAY)
    return f"{_date(day)}T{rest // 3_600_000:02}:{rest // MINUTE % 60:02}:{rest // 1000 % 60:02}Z"


def iso_ms(ms: int) -> str:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`, exact."""
    day, rest = divmod(ms, DAY)
    return f"{_date(day)}T{rest // 3_600_000:02}:{rest // MINUTE % 60:02}:{rest // 1000 % 60:02}.{rest % 1000:03}Z"


@lru_cache(64)
def _date(day: int) -> str:
    """A day by its number since 1970; cached, for columns of times are written with it."""
    return (date(1970, 1, 1) + timedelta(day)).isoformat()


def ms_of(text: str) -> int:
    """The time that `iso` or `iso_ms` wrote; quicker than `parse`, for columns of them. Raises ValueError."""
    return (datetime.fromisoformat(text) - _EPOCH_UTC) // _MILLISECOND


def _shown(value: object) -> str:
    """A value as part of a sentence, whatever it is and however long."""
    short = isinstance(value, str) or (isinstance(value, int | float) and abs(value) < 1e18)
    return repr(value)[:60] if short else "this"


def _from_number(value: float) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int):
        return value * 1000
    return round(value * 1000) if math.isfinite(value * 1000) else None


def _from_text(text: str, now_ms: int) -> int | None:
    text = text.strip()
    if age := _AGE.fullmatch(text):
        return max(0, now_ms - round(float(age[1]) * _UNITS[age[2]]))
    if _SECONDS.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return int(whole) * 1000 + _fraction(fraction)
    if not (parts := _ISO.fullmatch(text)):
        return None
    date, clock, fraction, _, sign, hours, minutes = parts.groups(default="")
    try:
        moment = datetime.fromisoformat(f"{date}T{clock or '00:00'}")
    except ValueError:  # the 30th of February, the 25th hour, a leap second
        return None
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return None
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * MINUTE * (-1 if sign == "-" else 1)
    return (moment - _EPOCH) // _MILLISECOND + _fraction(fraction) - offset


def _fraction(digits: str) -> int:
    """Thousandths of a second from the digits after the point."""
    return int(digits[:3].ljust(3, "0")) if digits else 0
