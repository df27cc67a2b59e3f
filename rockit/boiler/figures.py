# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures over hours: the mean outside temperature of four days, and how hard the plant works. Pure; UTC s as argument.

Chronos's share of chillers counted minutes with any chiller on and divided by their number; here each chiller counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rockit.boiler.model import Season

HOUR = 3600.0
AVERAGED = 96
"""Hours of the mean outside temperature, as in Chronos."""
QUARTER = 900.0
LONGEST = 120.0
"""What lies further apart than this, s, is not known to have been the same meanwhile."""


@dataclass
class Hour:
    """Outside temperatures of one hour of UTC: their sum, °C, and how many."""

    sum: float = 0.0
    count: int = 0


class OutsideMean:
    """The mean of all outside temperatures of the last 96 hours, a value a minute."""

    def __init__(self, hours: dict[int, Hour] | None = None) -> None:
        self.hours = hours or {}
        """Number of the hour since 1970 -> what was measured in it."""
        self._noted = 0.0
        self._older: tuple[int, float, int] = (-1, 0.0, 0)
        """Of the hours before that one: its number, their sum and count."""

    def note(self, celsius: float, utc: float) -> None:
        """Take a measured value; at most one a minute counts. A clock that was set back begins its minutes anew."""
        if 0 <= utc - self._noted < 60:
            return
        self._noted = utc
        number = int(utc // HOUR)
        if number not in self.hours:
            if len(self.hours) > 2 * AVERAGED:  # not before: a clock that is wrong for a while costs no hour
                self.hours = {key: hour for key, hour in self.hours.items() if number - AVERAGED < key <= number}
            self.hours = {**self.hours, number: Hour()}  # who walks along it in another thread goes on with the old one
        hour = self.hours[number]
        hour.sum += celsius
        hour.count += 1

    def mean(self, utc: float) -> float | None:
        """The mean, °C; None where nothing was measured."""
        number = int(utc // HOUR)
        if self._older[0] != number:
            older = [hour for key, hour in self.hours.items() if number - AVERAGED < key < number]
            self._older = number, sum(hour.sum for hour in older), sum(hour.count for hour in older)
        _, total, count = self._older
        if (hour := self.hours.get(number)) is not None:
            total, count = total + hour.sum, count + hour.count
        return total / count if count else None

    def covered(self, utc: float) -> int:
        """Of how many of the last 96 hours anything was measured."""
        number = int(utc // HOUR)
        return sum(1 for key in self.hours if number - AVERAGED < key <= number)


@dataclass
class Quarter:
    """What happened in one quarter of an hour: seconds, and seconds times values."""

    summer: float = 0.0
    chillers: float = 0.0
    winter: float = 0.0
    boiler: float = 0.0
    difference_seconds: float = 0.0
    difference: float = 0.0
    power_seconds: float = 0.0
    power: float = 0.0


@dataclass
class Instant:
    """The plant as it is now; None: not known. Temperatures in °C, power in %."""

    season: Season | None
    chillers_on: int | None
    boiler_on: bool | None
    return_temp: float | None
    setpoint: float
    power: float | None


@dataclass
class Efficiency:
    """Figures of the last hours, by quarters of an hour."""

    quarters: dict[int, Quarter] = field(default_factory=dict)
    noted_until: float = 0.0

    def note(self, now: Instant, utc: float) -> None:
        """Count what passed since the last time, as the plant is now."""
        seconds, self.noted_until = utc - self.noted_until, utc
        if not 0 < seconds <= LONGEST:
            return
        number = int(utc // QUARTER)
        if number not in self.quarters:
            self.quarters = {**self.quarters, number: Quarter()}  # see OutsideMean.note
        quarter = self.quarters[number]
        if now.season is Season.SUMMER and now.chillers_on is not None:
            quarter.summer += seconds
            quarter.chillers += seconds * now.chillers_on
        if now.season is Season.WINTER and now.boiler_on is not None:
            quarter.winter += seconds
            quarter.boiler += seconds * now.boiler_on
        if now.return_temp is not None:
            quarter.difference_seconds += seconds
            quarter.difference += seconds * (now.return_temp - now.setpoint)
        if now.season is Season.WINTER and now.power is not None:
            quarter.power_seconds += seconds
            quarter.power += seconds * now.power

    def forget(self, utc: float, hours: float) -> None:
        """Drop what is older than the window, and what a clock that was set back left ahead."""
        last = int(utc // QUARTER)
        first = last - int(hours * HOUR / QUARTER)
        if any(not first < number <= last for number in self.quarters):
            self.quarters = {n: quarter for n, quarter in self.quarters.items() if first < n <= last}

    def observed(self) -> float:
        """Seconds in which anything was counted."""
        return sum(max(q.summer + q.winter, q.difference_seconds) for q in self.quarters.values())

    def told(self, chillers: int) -> dict[str, Any]:
        """The figures; one that nothing is known of is absent. Shares of 0 to 1, differences in K, power in %."""
        all_ = self.quarters.values()
        sums = {
            "chillers_share": (sum(q.chillers for q in all_), sum(q.summer for q in all_) * chillers),
            "boiler_share": (sum(q.boiler for q in all_), sum(q.winter for q in all_)),
            "return_minus_setpoint": (sum(q.difference for q in all_), sum(q.difference_seconds for q in all_)),
            "cascade_power_average": (sum(q.power for q in all_), sum(q.power_seconds for q in all_)),
        }
        return {name: over / under for name, (over, under) in sums.items() if under > 0}
