# SPDX-License-Identifier: GPL-3.0-or-later
"""Weather for a simulated plant: made up, but like a year of it. Any moment can be asked for, in any order.

The temperature is the sum of a course over the year, one over the day that is stronger on some days than on others,
and fronts of some days. Once every winter a cold snap goes down to `coldest`, once every summer a heat wave goes up to
`hottest`, so that a rehearsed year has frost and full cooling in it whatever the seed. Nothing here is measured.
"""

from __future__ import annotations

from math import cos, exp, floor, tau

DAY = 86400.0
YEAR = 365.2425
"""Days."""
_MASK = (1 << 64) - 1
# What the noise is for: each stream is independent of the others.
_FRONTS, _SHORT_FRONTS, _SKY, _COLD, _HEAT, _WIND, _GUSTS = range(7)


def noise(seed: int, stream: int, index: int) -> float:
    """A number in [-1, 1) that depends on nothing but the three arguments (a SplitMix64 mixing step)."""
    z = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + index * 0x8CB92BA72F3D8DD7) & _MASK
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = ((z ^ (z >> shift)) * factor) & _MASK
    return (z ^ (z >> 31)) / 2.0**63 - 1.0


def smooth(seed: int, stream: int, at: float) -> float:
    """Noise without corners: `noise` at whole numbers, and a smooth way between them."""
    index = floor(at)
    part = at - index
    left, right = noise(seed, stream, index), noise(seed, stream, index + 1)
    return left + (right - left) * part * part * (3.0 - 2.0 * part)


class Climate:
    """One site. Temperatures in °C, amplitudes in K, wind in m/s. All may be called from any thread.

    `mean` and `amplitude` are of the year, `daily` is half the mean difference of day and night, `fronts` the size of
    weather changes of days. `coldest` and `hottest` are what each winter and each summer reaches. `coldest_day` is the
    day of the year (20: northern; 202: southern), `wind` the mean.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        mean: float = 8.0,
        amplitude: float = 12.0,
        daily: float = 6.0,
        fronts: float = 5.0,
        coldest: float = -20.0,
        hottest: float = 36.0,
        coldest_day: float = 20.0,
        wind: float = 4.0,
    ) -> None:
        self.seed = seed
        self.mean, self.amplitude, self.daily, self.fronts = mean, amplitude, daily, fronts
        self.coldest, self.hottest, self.coldest_day, self.wind = coldest, hottest, coldest_day, wind
        self._cached = (-1, 0.0, 0.0, 0.0, 0.0)  # one tuple, so that threads never see half of a change

    @classmethod
    def cold(cls, seed: int = 1) -> Climate:
        """A high or far northern site: frost most of the year, hardly a summer."""
        return cls(seed, mean=-4.0, amplitude=11.0, coldest=-38.0, hottest=20.0, wind=7.0)

    def at(self, utc: float) -> tuple[float, float]:
        """Temperature and wind at `utc`, s since 1970: straight lines between the full hours."""
        hours = utc / 3600.0
        index, t0, t1, w0, w1 = self._cached
        part = hours - index
        if not 0.0 <= part < 1.0:
            index = floor(hours)
            part = hours - index
            (t0, w0), (t1, w1) = self.hour(index), self.hour(index + 1)
            self._cached = (index, t0, t1, w0, w1)
        return t0 + (t1 - t0) * part, w0 + (w1 - w0) * part

    def hour(self, index: int) -> tuple[float, float]:
        """Temperature and wind at the start of one hour since 1970."""
        days = index / 24.0
        afternoon = cos(tau * (days - 15.0 / 24.0))  # 1 at 15 h, when it is warmest
        clear = 1.0 + 0.6 * smooth(self.seed, _SKY, days / 1.7)
        moving = 0.7 * smooth(self.seed, _FRONTS, days / 3.1) + 0.3 * smooth(self.seed, _SHORT_FRONTS, days / 0.9)
        winter = (days - self.coldest_day) / YEAR  # whole at the coldest day of each winter
        celsius = self.mean - self.amplitude * cos(tau * winter)
        celsius += self.daily * clear * afternoon + 1.6 * self.fronts * moving
        # A spell has its own course over the day, which touches the extreme once a day.
        weight = self._spell(_COLD, winter)
        celsius += weight * (self.coldest + 0.5 * self.daily * (1.0 + afternoon) - celsius)
        weight = self._spell(_HEAT, winter - 0.5)
        celsius += weight * (self.hottest - self.daily * (1.0 - afternoon) - celsius)
        strength = smooth(self.seed, _WIND, days / 1.3) + 0.6 * smooth(self.seed, _GUSTS, days * 6.0)
        return celsius, self.wind * exp(0.9 * strength - 0.15) * (1.0 + 0.25 * afternoon)

    def _spell(self, stream: int, years: float) -> float:
        """0 to 1: how much the yearly spell rules. It comes within 14 days of whole `years` and is full for 2 days."""
        index = round(years)
        centre = index + 14.0 / YEAR * noise(self.seed, stream, index)
        away = abs(years - centre) * YEAR
        if away >= 3.5:
            return 0.0
        part = min(1.0, (3.5 - away) / 2.5)
        return part * part * (3.0 - 2.0 * part)


class Steady:
    """Weather that stays as it is until somebody changes `celsius` (°C) or `wind` (m/s)."""

    def __init__(self, celsius: float = 5.0, wind: float = 0.0) -> None:
        self.celsius, self.wind = celsius, wind

    def at(self, utc: float) -> tuple[float, float]:  # noqa: ARG002 - as of Climate
        """Temperature and wind."""
        return self.celsius, self.wind
