# SPDX-License-Identifier: GPL-3.0-or-later
"""Hours, days, weeks, months and years of a time zone, as moments in UTC. No clock.

A day in which clocks change has 23 or 25 hours; a week begins on Monday (ISO 8601). Times are ms since 1970.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Literal, get_args

By = Literal["hour", "day", "week", "month", "year"]
KINDS: tuple[str, ...] = get_args(By)
_HOUR = 3_600_000


def local(time: int, zone: tzinfo) -> datetime:
    """A moment as the clocks there show it."""
    return datetime.fromtimestamp(time / 1000, UTC).astimezone(zone)


def begin_of_day(day: date, zone: tzinfo) -> int:
    """When a day begins there; where clocks are put forward at midnight, the first moment that it has."""
    wall = datetime(day.year, day.month, day.day, tzinfo=zone)
    return round(wall.timestamp() * 1000)


def _begin(time: int, by: By, zone: tzinfo) -> int:
    """When the period that a moment lies in has begun."""
    here = local(time, zone)
    if by == "hour":
        past = (here.minute * 60 + here.second) * 1000 + time % 1000
        return time - past
    return begin_of_day(_first(here.date(), by), zone)


def _first(day: date, by: By) -> date:
    if by == "week":
        return day - timedelta(days=day.weekday())
    if by == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if by == "year" else day


def _next(begin: int, by: By, zone: tzinfo) -> int:
    """When the period after the one that has begun then begins."""
    if by == "hour":
        return begin + _HOUR
    # A day is 23 to 25 hours: noon of the day itself is the same day in every zone, and the days after it count on.
    day = local(begin + 12 * _HOUR, zone).date()
    if by == "year":
        following = date(day.year + 1, 1, 1)
    elif by == "month":
        following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        following = day + timedelta(days=7 if by == "week" else 1)
    return begin_of_day(following, zone)


def edges(by: By, start: int, end: int, zone: tzinfo) -> list[int]:
    """Where periods begin and end, from the one that `start` lies in to the one that holds the moment before `end`."""
    found = [_begin(start, by, zone)]
    while found[-1] < end:
        found.append(_next(found[-1], by, zone))
    return found


def spans(borders: list[int]) -> list[tuple[int, int]]:
    """(begin, end) of each period between edges."""
    return list(pairwise(borders))
