# SPDX-License-Identifier: GPL-3.0-or-later
"""Values in the data of ThermoTek TTK frames.

Source: "TTK Serial Communication Protocol Release II", rev X2.003. Every parser takes the data of a reply without
error and raises ProtocolError for anything that is not exactly in the documented form; the two encoders raise
ValueError, because what they are given is ours.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import NamedTuple

from rockit.chiller.model import Drive, RunState
from rockit.chiller.protocols import thermotek
from rockit.chiller.protocols.thermotek import Shape
from rockit.common.framing import ProtocolError

_CONTROL = (RunState.STARTING, RunState.STANDBY, RunState.RUN, RunState.SAFETY, RunState.TEST)
_DRIVES = {"C": Drive.COOL, "H": Drive.HEAT}


class Watchdog(NamedTuple):
    """Answer to command 1: what the unit is doing, and its three flags."""

    control: RunState
    pump: bool
    alarm: bool
    warning: bool


class ControlSensor(StrEnum):
    """The sensor whose temperature the unit holds."""

    SUPPLY = "supply"
    RETURN = "return"
    EXTERNAL_RTD = "external RTD"
    EXTERNAL_THERMISTOR = "external thermistor"


def _formed(data: str, shape: Shape, what: str) -> str:
    if not shape.fits(data):
        raise ProtocolError(f"{data!r} is not a TTK {what}")
    return data


def temperature(data: str) -> float:
    """°C from sign and four digits of 0.1 °C: `+0152` is 15.2."""
    return int(_formed(data, thermotek.TEMPERATURE, "temperature")) / 10


def flow(data: str) -> float:
    """L/min from `+` and four digits of 0.1 L/min: `+0032` is 3.2."""
    return int(_formed(data, thermotek.FLOW, "flow")) / 10


def current(data: str) -> float:
    """A from sign and four digits of 0.001 A: `+2152` is 2.152. (The manual writes "ADC"; Rubin's driver: amperes.)"""
    return int(_formed(data, thermotek.CURRENT, "current")) / 1000


def drive(data: str) -> tuple[int, Drive]:
    """Drive level in % and its direction: `063,C` is (63, Drive.COOL)."""
    percent = int(_formed(data, thermotek.DRIVE, "drive level")[:3])
    if percent > 100:
        raise ProtocolError(f"a TTK drive level of {percent} % is impossible")
    return percent, _DRIVES[data[4]]


def watchdog(data: str) -> Watchdog:
    """Run state and flags from four digits: `2101` is running, pump on, no alarm, a warning."""
    control, pump, alarm, warning = tuple(_formed(data, thermotek.WATCHDOG, "watchdog status"))
    return Watchdog(_CONTROL[int(control)], pump == "1", alarm == "1", warning == "1")


def pwm(data: str) -> tuple[int, Drive]:
    """Pulse width (1 to 255) and relay position: `128,H` is (128, Drive.HEAT).

    The letter is that of the drive level by pythermotek; the manual does not spell it out.
    """
    width = int(_formed(data, thermotek.PWM, "pulse width")[:3])
    if not 1 <= width <= 255:
        raise ProtocolError(f"a TTK pulse width of {width} is impossible")
    return width, _DRIVES[data[4]]


def pid(data: str) -> tuple[float, int]:
    """Temperature in °C and a mode digit whose meaning the manual does not give: `+0152,3` is (15.2, 3)."""
    _formed(data, thermotek.PID, "PID status")
    return temperature(data[:5]), int(data[6])


def uptime(data: str) -> int:
    """Minutes since the unit was switched on, six digits."""
    return int(_formed(data, thermotek.MINUTES, "uptime"))


def fan_speed(data: str) -> int:
    """Revolutions per second, four digits."""
    return int(_formed(data, thermotek.HERTZ, "fan speed"))


def switch(data: str) -> bool:
    """A single digit, 0 or 1."""
    return _formed(data, thermotek.SWITCH, "switch") == "1"


def control_sensor(data: str) -> ControlSensor:
    """The control sensor from its digit, 0 to 3."""
    return tuple(ControlSensor)[int(_formed(data, thermotek.SENSOR, "control sensor"))]


def _tenths(value: float, lowest: int, highest: int, what: str) -> int:
    if not math.isfinite(value) or not lowest <= round(value * 10) <= highest:
        raise ValueError(f"a {what} of {value} cannot be sent: TTK takes {lowest / 10} to {highest / 10}")
    return round(value * 10)


def temperature_data(celsius: float) -> str:
    """Data of a temperature in °C, rounded to 0.1: -5.04 is `-0050`. Raises ValueError beyond ±999.9."""
    return f"{_tenths(celsius, -9999, 9999, 'temperature in °C'):+05d}"


def flow_data(litres_per_minute: float) -> str:
    """Data of a flow in L/min, rounded to 0.1: 0.5 is `+0005`. Raises ValueError below 0 and beyond 999.9."""
    return f"{_tenths(litres_per_minute, 0, 9999, 'flow in L/min'):+05d}"
