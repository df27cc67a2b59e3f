# SPDX-License-Identifier: GPL-3.0-or-later
"""Alarms and warnings of ThermoTek TTK units, bit by bit.

Source: "TTK Serial Communication Protocol Release II", rev X2.003; the bits of C0 that it prints twice with one name
after the enumerations of the Rubin Observatory's driver. Each character of the data is one hex digit of four bits,
named by its letter and place: A2 is the third digit of level 1. Level 2 explains level 1: page 1 (B) the unit's own
electronics, page 2 (C) its sensors and fans.
"""

from __future__ import annotations

from collections.abc import Sequence

from rockit.chiller.protocols import thermotek
from rockit.common.framing import ProtocolError

Bits = tuple[str, str, str, str]
"""Names of the bits 1, 2, 4 and 8 of one digit; empty: reserved."""

RESERVED: Bits = ("", "", "", "")

LEVEL_1: tuple[Bits, ...] = (
    ("ambient sensor fault", "high control temperature", "PT7 high temperature", "low control temperature"),
    ("supply sensor fault", "external RTD fault", "return sensor fault", "external thermistor fault"),
    ("low coolant level", "low process flow", "low plant flow", "current sensor 1 fault"),
    ("PT7 low temperature", "high ambient temperature", "low ambient temperature", "external connector not installed"),
    ("temperature above built-in limit", "temperature below built-in limit", "no process flow", "fan failure"),
    ("current sensor 2 fault", "2.5 V reference fault", "5 V reference fault", "system error"),
)
"""A0 to A5."""

LEVEL_2_SYSTEM: tuple[Bits, ...] = (
    RESERVED,
    ("ADC system error", "I2C system error", "EEPROM system error", "watchdog system error"),
    RESERVED,
    ("ADC reset error", "ADC calibration error", "ADC conversion error", ""),
    ("no acknowledge from IO expander", "no acknowledge from PSA IO expander", "no acknowledge from clock", ""),
    ("I2C clock line low", "I2C data line low", "no acknowledge from EEPROM 1", "no acknowledge from EEPROM 2"),
    RESERVED,
    ("EEPROM 1 read error", "EEPROM 1 write error", "EEPROM 2 read error", "EEPROM 2 write error"),
)
"""B0 to B7."""

LEVEL_2_SENSORS: tuple[Bits, ...] = (
    ("external RTD open", "external RTD short", "return sensor open", "return sensor short"),
    ("supply sensor global fault", "supply sensor fault locked", "supply sensor open", "supply sensor short"),
    ("2.5 V reference high", "2.5 V reference low", "5 V reference high", "5 V reference low"),
    ("external thermistor open", "external thermistor short", "ambient sensor open", "ambient sensor short"),
    RESERVED,
    ("current sensor 1 open", "current sensor 1 short", "current sensor 2 open", "current sensor 2 short"),
    ("rear left fan noise", "rear right fan noise", "front left fan noise", "front right fan noise"),
    ("rear left fan open", "rear right fan open", "front left fan open", "front right fan open"),
)
"""C0 to C7."""

WARNINGS: tuple[Bits, ...] = (
    ("low process flow", "low coolant level", "fell back to supply sensor as control sensor", ""),
    ("high control temperature", "low control temperature", "high ambient temperature", "low ambient temperature"),
    RESERVED,
    RESERVED,
)
"""W0 to W3."""

STOPPING = frozenset(
    {
        "low coolant level",
        "no process flow",
        "temperature above built-in limit",
        "temperature below built-in limit",
        "fan failure",
        "supply sensor fault",
        "system error",
    }
)
"""Level 1 alarms on which a unit stops by itself (manual of the RC rack chillers; the system error: our judgement)."""


def _names(letter: str, table: Sequence[Bits], digits: str) -> tuple[str, ...]:
    found = []
    for place, (bits, digit) in enumerate(zip(table, digits, strict=True)):
        for bit, name in zip((1, 2, 4, 8), bits, strict=True):
            if int(digit, 16) & bit:
                found.append(name or f"reserved bit {letter}{place}.{bit}")
    return tuple(found)


def level_1(data: str) -> tuple[str, ...]:
    """Names of the level 1 alarms in the data of command 18, in the order of the table.

    Reading them is not harmless: the unit clears its latched level 1 alarms when it answers command 18. Raises
    ProtocolError for data that are not six hex digits. A reserved bit comes out as, say, "reserved bit A3.8".
    """
    if not thermotek.ALARMS_1.fits(data):
        raise ProtocolError(f"{data!r} is not a TTK alarm level 1")
    return _names("A", LEVEL_1, data)


def level_2(page: int, data: str) -> tuple[str, ...]:
    """Names of the level 2 alarms in the data of command 19, asked for `page` 1 or 2; nothing is cleared by it.

    Raises ProtocolError for data that are not eight hex digits after the echo of that page.
    """
    if not thermotek.ALARMS_2.fits(data) or data[0] != str(page):
        raise ProtocolError(f"{data!r} is not page {page} of a TTK alarm level 2")
    return _names("B", LEVEL_2_SYSTEM, data[1:]) if page == 1 else _names("C", LEVEL_2_SENSORS, data[1:])


def warnings(data: str) -> tuple[str, ...]:
    """Names of the warnings in the data of command 20. Raises ProtocolError for data that are not four hex digits."""
    if not thermotek.WARNINGS.fits(data):
        raise ProtocolError(f"{data!r} is not a TTK warning status")
    return _names("W", WARNINGS, data)
