# SPDX-License-Identifier: GPL-3.0-or-later
"""What a boiler plant is: its seasons, its devices, its measurements with label and unit. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Any

from rockit.common.quality import Measurement


class Season(IntEnum):
    """Which way the water goes. The numbers are on the wire (as in Chronos)."""

    WINTER = 0
    SUMMER = 1
    TO_WINTER = 2
    TO_SUMMER = 3

    @property
    def target(self) -> Season:
        """The season that is, or is being entered."""
        return Season.WINTER if self in (Season.WINTER, Season.TO_WINTER) else Season.SUMMER

    @property
    def changing(self) -> bool:
        """Whether the valves are on their way."""
        return self in (Season.TO_WINTER, Season.TO_SUMMER)


class Override(StrEnum):
    """Who decides about one device."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


BOILER, WINTER_VALVE, SUMMER_VALVE = "boiler", "winter_valve", "summer_valve"
VALVES = (WINTER_VALVE, SUMMER_VALVE)
VALVE_OF = {Season.WINTER: WINTER_VALVE, Season.SUMMER: SUMMER_VALVE}
CHILLERS = tuple(f"chiller{number}" for number in range(1, 9))
SOURCES = (BOILER, *CHILLERS)
LIGHTS = ("led_red", "led_green", "led_blue", "led_breather")
RELAYS = (*SOURCES, *VALVES, *LIGHTS)
"""Every name that a relay may have in the config."""

Values = Mapping[str, Any]
"""What one exchange with a device taught us: keys of MEASUREMENTS, and `faults` (names of what the device reports)."""

WATER = (-20.0, 130.0)
"""What water in such a loop, glycol in it, can have, °C."""
AIR = (-60.0, 60.0)

RELAY_KEYS = {name: f"{name}_on" for name in (*SOURCES, *VALVES)}
"""Source or valve -> the key of its relay, 0 or 1, among the measurements."""

MEASUREMENTS: dict[str, Measurement] = {
    "return_temp": Measurement("Return water temperature", "degC", *WATER),
    "water_out_temp": Measurement("Outlet water temperature", "degC", *WATER),
    "outside_temp": Measurement("Outside temperature", "degC", *AIR),
    "wind_speed": Measurement("Wind speed", "m/s", 0, 120),
    "outside_temp_average": Measurement("Mean outside temperature of 96 h", "degC", *AIR),
    "baseline_setpoint": Measurement("Set point by the curve", "degC", -100, 200),
    "history_adjustment": Measurement("Adjustment by the mean outside temperature", "K", -200, 200),
    "tha_setpoint": Measurement("Set point after history adjustment", "degC", -100, 200),
    "effective_setpoint": Measurement("Effective set point", "degC", *WATER),
    "system_supply_temp": Measurement("System supply temperature", "degC", *WATER),
    "outlet_temp": Measurement("Boiler outlet temperature", "degC", *WATER),
    "inlet_temp": Measurement("Boiler inlet temperature", "degC", *WATER),
    "flue_temp": Measurement("Flue gas temperature", "degC", -40, 400),
    "outlet_setpoint": Measurement("Set point of the boiler's outlet", "degC", *WATER),
    "system_setpoint": Measurement("Set point in the boiler", "degC", *WATER),
    "cascade_power": Measurement("Cascade power", "%", 0, 800),
    "firing_rate": Measurement("Firing rate of the lead boiler", "%", 0, 100),
    "boiler_pump": Measurement("Speed of the boiler's pump", "%", 0, 100),
    "system_pump": Measurement("Speed of the system's pump", "%", 0, 100),
    "flame": Measurement("Flame", "", 0, 1),
    "flame_current": Measurement("Flame current", "uA", 0, 100),
    "water_pressure": Measurement("Water pressure", "bar", 0, 20),
    "status_code": Measurement("Status code of the boiler", "", 0, 65535),
    "blocking_code": Measurement("Blocking code of the boiler", "", 0, 65535),
    "lockout_code": Measurement("Lockout code of the boiler", "", 0, 65535),
    **{key: Measurement(f"Relay of {name.replace('_', ' ')}", "", 0, 1) for name, key in RELAY_KEYS.items()},
}
