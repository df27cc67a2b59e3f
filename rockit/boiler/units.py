# SPDX-License-Identifier: GPL-3.0-or-later
"""The temperature scale that people of a site use. Inside everything is in °C and K."""

from __future__ import annotations

from enum import StrEnum


class Scale(StrEnum):
    """A temperature scale, spelled as astropy spells the unit."""

    CELSIUS = "degC"
    FAHRENHEIT = "degF"

    def temperature(self, celsius: float) -> float:
        """A temperature of °C on this scale, without the last digits that only conversion made."""
        return round(celsius if self is Scale.CELSIUS else celsius * 1.8 + 32, 6)

    def celsius(self, temperature: float) -> float:
        """A temperature of this scale in °C."""
        return temperature if self is Scale.CELSIUS else (temperature - 32) / 1.8

    def difference(self, kelvin: float) -> float:
        """A difference of K on this scale."""
        return round(kelvin if self is Scale.CELSIUS else kelvin * 1.8, 6)

    def kelvin(self, difference: float) -> float:
        """A difference of this scale in K."""
        return difference if self is Scale.CELSIUS else difference / 1.8

    def speed(self, metres_per_second: float) -> float:
        """A speed in what goes with this scale: m/s, or miles per hour."""
        return round(metres_per_second if self is Scale.CELSIUS else metres_per_second / 0.44704, 6)

    def metres_per_second(self, speed: float) -> float:
        """A speed of this scale in m/s."""
        return speed if self is Scale.CELSIUS else speed * 0.44704

    @property
    def sign(self) -> str:
        """As people write it."""
        return "°C" if self is Scale.CELSIUS else "°F"

    @property
    def speed_unit(self) -> str:
        """The unit of `speed`."""
        return "m/s" if self is Scale.CELSIUS else "mph"


def fahrenheit(temperature: float) -> float:
    """°F in °C."""
    return Scale.FAHRENHEIT.celsius(temperature)


def fahrenheit_difference(difference: float) -> float:
    """A difference in °F in K."""
    return Scale.FAHRENHEIT.kelvin(difference)
