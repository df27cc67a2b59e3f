# SPDX-License-Identifier: GPL-3.0-or-later
"""What a chiller is: its states, its measurements with label and unit. No I/O, no clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any


class ChillerMode(IntEnum):
    """Who decides whether the chiller runs. The numbers are on the wire (as in rockit's chillerd)."""

    MANUAL = 0
    AUTOMATIC = 1


class ChillerStatus(IntEnum):
    """What the chiller does now. The numbers are on the wire (as in rockit's chillerd)."""

    OFFLINE = 0
    IDLE = 1
    COOLING = 2
    HEATING = 3


class RunState(StrEnum):
    """The device's own run state, in one vocabulary for all families."""

    STARTING = "starting"
    """Power-up phase that leads to RUN by itself (TTK: auto-start)."""
    STANDBY = "standby"
    RUN = "run"
    SAFETY = "safety"
    """The device protects itself and takes no start."""
    TEST = "test"

    @property
    def running(self) -> bool:
        """True where the device circulates and controls, or is about to."""
        return self in (RunState.RUN, RunState.STARTING)


class Drive(StrEnum):
    """Which way heat goes at the device's heat pump."""

    COOL = "cool"
    HEAT = "heat"


Values = Mapping[str, Any]
"""What one exchange with the device taught us: keys of MEASUREMENTS (float, int or bool in the unit given there), and
`run_state` (RunState), `drive` (Drive), `device_alarm` and `device_warning` (bool: the device's summary flags) and
`warnings` (names of those that are active, a tuple of str)."""


@dataclass(frozen=True)
class Measurement:
    """A numeric quantity that a chiller may report."""

    label: str
    unit: str
    low: float = -math.inf
    high: float = math.inf
    """Beyond these a device is not measuring but broken (an open sensor reads as the end of its scale)."""

    def plausible(self, value: Any) -> bool:
        """Whether a value can be true."""
        return isinstance(value, int | float) and self.low <= value <= self.high


_WATER = (-60.0, 120.0)  # °C; beyond any coolant that these machines take
_AIR = (-60.0, 80.0)  # °C

MEASUREMENTS: dict[str, Measurement] = {
    "water_temp": Measurement("Supply temperature", "degC", *_WATER),
    "setpoint_temp": Measurement("Set point in the device", "degC", *_WATER),
    "ambient_temp": Measurement("Ambient temperature at the chiller", "degC", *_AIR),
    "tec_power": Measurement("Drive level", "%", 0, 100),
    "flow": Measurement("Process flow", "L/min", 0, 1000),
    "pump": Measurement("Pump running", ""),
    "return_temp": Measurement("Return temperature", "degC", *_WATER),
    "external_temp": Measurement("External sensor temperature", "degC", *_WATER),
    "pressure": Measurement("Supply pressure", "kPa"),
    "tec_current_1": Measurement("Current of thermoelectric bank 1", "A"),
    "tec_current_2": Measurement("Current of thermoelectric bank 2", "A"),
    "uptime": Measurement("Time since the device was switched on", "min"),
    "dome_temp": Measurement("Dome temperature", "degC", *_AIR),
    # Humidity sensors read a little above 100 % in fog; 0 is what a dead one reads, and no air has.
    "humidity": Measurement("Relative humidity", "%", 1, 110),
    "dew_point": Measurement("Dew point", "degC"),
}
