# SPDX-License-Identifier: GPL-3.0-or-later
"""The Modbus map of Honeywell SOLA and Sage2 controls (Burnham Alpine, Camus DynaFlame and others).

All are holding registers, by their address on the wire; temperatures are signed and count 0.1 °C. Sources: the
register use of a driver of the Burnham Alpine; Camus dmc103 instructions (what a building's control writes).

Doubtful: that without its top bit a firing rate is fan speed, of which register 193 holds 100 %; which sensor each of
the states 48 to 53 belongs to (taken from software in the field, not from the maker); what else than 1, 2 and 3 a state
can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

BLOCK, BLOCK_COUNT = 7, 10
"""Registers 7 to 16: supply, rates requested and measured, flame, return, hot water, header, stack, free, set point."""
BURNER, BURNER_COUNT = 33, 2
"""State and lockout code."""
HOLD = 40
"""Alarm or hold code."""
SENSORS, SENSORS_COUNT = 48, 6
"""States of the sensors."""
FULL_SPEED = 193
"""Fan speed at 100 %, rpm."""
DEMAND, SETPOINT = 0x0235, 0x0243
"""What a building's control writes: bit 15 demand; and the set point of the heating, 0.1 °C."""
DEMAND_BIT = 0x8000
LEAST, MOST = 0.0, 130.0
"""What is written as a set point, °C: it is not documented that it may be negative, and no water is hotter."""

STATES = {
    0: "initiate", 1: "standby delay", 2: "standby", 3: "safe start", 4: "prepurge", 5: "prepurge", 6: "prepurge",
    7: "preignition", 8: "preignition", 9: "pilot", 10: "main burner", 12: "run", 13: "postpurge", 14: "lockout",
    255: "offline",
}  # fmt: skip
_LOCKED, _OFFLINE = 14, 255
_BURNING = frozenset({10, 12})

_SENSOR_NAMES = ("supply", "return", "hot water", "stack", "header", "4-20 mA")
_MEASURED = {"supply": "outlet_temp", "return": "inlet_temp", "stack": "flue_temp", "header": "system_supply_temp"}
_WELL = 1
_SENSOR_STATES = {2: "open", 3: "short"}
_WATER = (-40.0, 130.0)
_OVERSHOOT = 110
"""A fan may be this fast for a moment, %."""
_LIMITS = {"outlet_temp": _WATER, "inlet_temp": _WATER, "system_supply_temp": _WATER, "flue_temp": (-40.0, 400.0)}


def temperature(word: int) -> float:
    """°C."""
    return (word - 0x10000 if word & 0x8000 else word) / 10


def temperatures(block: Sequence[int], sensors: Sequence[int]) -> dict[str, float | None]:
    """Temperatures by the key of the measurement, °C; None where the sensor is not well or the value cannot be."""
    words = {"supply": block[0], "return": block[4], "header": block[6], "stack": block[7]}
    found: dict[str, float | None] = {}
    for sensor, state in zip(_SENSOR_NAMES, sensors, strict=True):
        if (key := _MEASURED.get(sensor)) is not None:
            low, high = _LIMITS[key]
            celsius = temperature(words[sensor])
            found[key] = celsius if state == _WELL and low <= celsius <= high else None
    return found


def setpoint(block: Sequence[int]) -> float | None:
    """The set point of the heating, °C, or None for what cannot be one."""
    celsius = temperature(block[9])
    return celsius if _WATER[0] <= celsius <= _WATER[1] else None


def flame_current(block: Sequence[int]) -> float | None:
    """µA, or None beyond what a flame gives."""
    current = block[3] / 100
    return current if current <= 100 else None


def rate_in_percent(block: Sequence[int]) -> bool:
    """Whether the measured firing rate needs no `full_speed`."""
    return bool(block[2] & 0x8000)


def firing_rate(block: Sequence[int], full_speed: int = 0) -> float | None:
    """The measured firing rate, %. `full_speed` in rpm, 0 where it is not known; then a speed tells nothing."""
    word = block[2]
    if rate_in_percent(block):
        rate = (word & 0x7FFF) / 10
    elif full_speed:
        rate = 100 * word / full_speed
    else:
        return None
    return min(round(rate, 1), 100.0) if rate <= _OVERSHOOT else None


def state_text(state: int) -> str:
    """The state of the burner in words, or as its number."""
    return STATES.get(state, f"state {state}")


def flame(state: int) -> bool:
    """Whether the control has proved the main flame."""
    return state in _BURNING


def faults(state: int, lockout: int) -> tuple[str, ...]:
    """What keeps the burner off until a person resets it."""
    return (f"lockout code {lockout}",) if lockout or state == _LOCKED else ()


def warnings(state: int, hold: int, sensors: Sequence[int]) -> tuple[str, ...]:
    """What else the control reports. A sensor that is not fitted (state 0) is none of it."""
    return (
        *(("the burner control is offline",) if state == _OFFLINE else ()),
        *((f"hold code {hold}",) if hold else ()),
        *(
            f"{name} sensor: {_SENSOR_STATES.get(state, f'state {state}')}"
            for name, state in zip(_SENSOR_NAMES, sensors, strict=True)
            if state not in (0, _WELL)
        ),
    )


def setpoint_word(celsius: float) -> int:
    """What SETPOINT must hold, held to LEAST and MOST. Raises ValueError for what is no number."""
    if not math.isfinite(celsius):
        raise ValueError(f"no set point: {celsius} °C")
    return round(min(max(celsius, LEAST), MOST) * 10)
