# SPDX-License-Identifier: GPL-3.0-or-later
"""The Modbus map of Lochinvar boilers (SYNC, Knight, FTXL, Crest, Armor): what the registers mean.

Addresses are those on the wire: number of the register in the manuals - 1. Sources: Lochinvar's SYNC-MODB, FTXL and
Knight MODB I-O and Crest FB-MODB instructions; the wire addresses by the field use of Chronos.

Doubtful: register 30008 counts 0.5 °C by the maker's instructions and 0.1 °C by others' tools; the maker is followed.
The list of status codes is partial and the Crest's; lists of blocking and lockout codes were not to be had. Of the
discrete inputs (high limits, flow switch, gas and air pressure, louver, drain) only the names are known, and not
whether 1 means well, save for the flame: so no other is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIGURATION, COILS, RATE, SYSTEM_SUPPLY = 0, 1, 2, 6
"""Holding registers 40001, 40002, 40003 and 40007. No other may be written: 40004 and 40005 are of a hot water tank."""
BY_RATE = 0x0004
"""Configuration: take the set point from 40003, and all else, the enabling contact too, from the unit's own inputs."""
BY_RATE_AND_ENABLE = 0x0005
"""Configuration: take the set point from 40003, and bit 0 of 40002 for the enabling contact."""

FLAME = 7
"""Discrete input 10008."""
DISCRETE_COUNT = 16
"""So many are read: the maker's own example."""


@dataclass(frozen=True)
class Field:
    """An input register. `scale` is the value of 1; beyond `low` and `high` it does not tell anything."""

    name: str
    scale: float
    low: float
    high: float


_WATER = (-20.0, 130.0)

BLOCK, BLOCK_COUNT = 3, 10
"""Input registers 30004 to 30013, told by FIELDS."""
CODES, CODES_COUNT = 13, 3
"""Input registers 30014 to 30016: status, blocking and lockout code."""

SYSTEM_SUPPLY_FIELD = Field("system_supply_temp", 0.1, *_WATER)
FIELDS = (
    Field("system_setpoint", 0.5, 0.5, 130.0),  # 0: there is none
    Field("system_pump", 1, 0, 100),
    Field("cascade_total_power", 1, 100, 800),
    Field("cascade_power", 1, 0, 800),
    Field("outlet_setpoint", 0.5, 0.0, 130.0),
    Field("outlet_temp", 0.1, *_WATER),
    Field("inlet_temp", 0.1, *_WATER),
    Field("flue_temp", 0.1, -40.0, 400.0),
    Field("firing_rate", 1, 0, 100),
    Field("boiler_pump", 1, 0, 100),
)
"""30004 to 30013. Documented is the range of the inlet; those of the other temperatures are assumed."""

STATUS = {
    2: "blocked: outlet too hot", 3: "blocked: flue gas too hot", 4: "blocked: outlet too far above inlet",
    7: "personality plug", 8: "low 24 V supply", 9: "outdoor shutdown", 10: "switched off", 12: "line frequency",
    16: "service", 19: "hot water demand", 21: "space heat demand",
}  # fmt: skip
_TROUBLE = frozenset({2, 3, 4, 7, 8, 12})


def value(field: Field, word: int) -> float | None:
    """What a register tells, in the unit of its field, or None where it tells nothing (sensor open, not fitted)."""
    signed = word - 0x10000 if word & 0x8000 else word
    found = signed * field.scale
    return round(found, 1) if field.low <= found <= field.high else None


def block(words: Sequence[int]) -> dict[str, float | None]:
    """Registers 30004 to 30013 by name."""
    return {field.name: value(field, word) for field, word in zip(FIELDS, words, strict=True)}


def status_text(code: int) -> str:
    """A status code in words, or as its number."""
    return STATUS.get(code, f"status {code}")


def faults(lockout: int) -> tuple[str, ...]:
    """What keeps the burner off until a person resets it."""
    return (f"lockout code {lockout}",) if lockout else ()


def warnings(status: int, blocking: int) -> tuple[str, ...]:
    """What keeps the burner off until it is gone."""
    return (
        *((f"status {status}: {STATUS[status]}",) if status in _TROUBLE else ()),
        *((f"blocking code {blocking}",) if blocking else ()),
    )


def rate(setpoint: float, span: tuple[float, float]) -> int:
    """What 40003 must hold to ask for `setpoint` °C: ten times the volts of the maker's formula, rounded down.

    `span` is what the unit is set to at 2 V and at 10 V, °C. Held to 20 to 100: below 2 V there is no demand.
    Raises ValueError for what is no number, or no span.
    """
    low, high = span
    if not (math.isfinite(setpoint) and math.isfinite(low) and low < high < math.inf):
        raise ValueError(f"no set point {setpoint} °C with a span of {low} to {high} °C")
    volts = (setpoint - low) * (10 - 2) / (high - low) + 2
    return math.floor(min(max(round(volts * 10, 6), 20.0), 100.0))


def setpoint_of(value: int, span: tuple[float, float]) -> float | None:
    """The set point, °C, that a value in 40003 asks for; None for one below 2 V."""
    low, high = span
    return low + (value / 10 - 2) * (high - low) / (10 - 2) if value >= 20 else None
