# SPDX-License-Identifier: GPL-3.0-or-later
"""What a chiller is: its states, its measurements with label and unit. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

from rockit.common.quality import Measurement


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


_WATER = (-60.0, 120.0)  # °C; beyond any coolant that these machines take
AIR = (-60.0, 80.0)
"""What air can have, °C; a broken sensor reads the end of its format (T257P: 999.9)."""
HUMIDITY = (1.0, 110.0)
"""What a sensor can read, %: a little above 100 in fog; 0 is what a dead one reads, and no air has."""

MEASUREMENTS: dict[str, Measurement] = {
    "water_temp": Measurement("Supply temperature", "degC", *_WATER),
    "setpoint_temp": Measurement("Set point in the device", "degC", *_WATER),
    "ambient_temp": Measurement("Ambient temperature at the chiller", "degC", *AIR),
    "tec_power": Measurement("Drive level", "%", 0, 100),
    "flow": Measurement("Process flow", "L/min", 0, 1000),
    "pump": Measurement("Pump running", "", 0, 1),
    "return_temp": Measurement("Return temperature", "degC", *_WATER),
    "external_temp": Measurement("External sensor temperature", "degC", *_WATER),
    "pressure": Measurement("Supply pressure", "kPa", -100, 2000),
    "tec_current_1": Measurement("Current of thermoelectric bank 1", "A", -100, 100),
    "tec_current_2": Measurement("Current of thermoelectric bank 2", "A", -100, 100),
    "uptime": Measurement("Time since the device was switched on", "min", 0, 999_999, counter=True),
    "dome_temp": Measurement("Dome temperature", "degC", *AIR),
    "humidity": Measurement("Relative humidity", "%", *HUMIDITY),
    "dew_point": Measurement("Dew point", "degC", -100, 80),
}
