# SPDX-License-Identifier: GPL-3.0-or-later
"""Meters with a P1 port (DSMR): what a telegram says."""

from __future__ import annotations

import dataclasses
import re

from rockit.common.transport.settings import LineSettings
from rockit.meter.model import Reading, Register
from rockit.meter.protocols import datalines, p1

LINE = LineSettings(baud=115200)
"""DSMR 4 and 5. The signal is inverted: the adapter has to turn it."""
LINE_DSMR2 = LineSettings(baud=9600, bytesize=7, parity="E")

_EQUIPMENT = re.compile(r"0-(?P<channel>[0-9]+):96\.1\.[01]\*255")
_TARIFF = re.compile(r"1-0:[12]\.8\.(?P<tariff>[12])\*255")
_TARIFFS = {"1": "low", "2": "normal"}
_BELGIAN = {"1": "normal", "2": "low"}
"""Fluvius (e-MUCS P1): tariff 1 is the day."""
_SAID = {"1-3:0.2.8*255": "version", "0-0:96.1.4*255": "version", "0-0:1.0.0*255": "time"}


def readings(telegram: p1.Telegram) -> list[Reading]:
    """What one telegram says; nothing where it has no register.

    Registers by whole code; energies in Wh, powers in W, gas in m3. Notes: `manufacturer`, `identification`,
    `version`, `time` (the meter's clock), `equipment 1` (what hangs on M-Bus channel 1), and for a register that the
    meter reads less often (gas) `<code> time`, the UTC of its value, or `<code> local time` where the zone is not told.
    """
    registers, notes = datalines.registers(telegram.lines)
    if not registers:
        return []
    tariffs = _BELGIAN if telegram.header.startswith("FLU") else _TARIFFS
    server_id = ""
    for code, register in registers.items():
        if found := _TARIFF.fullmatch(code):
            name = f"{register.label} ({tariffs[found['tariff']]})"
            registers[code] = dataclasses.replace(register, label=name)
        elif (found := _EQUIPMENT.fullmatch(code)) and (said := _ascii(register)):
            if found["channel"] == "0":
                server_id = said
            else:
                notes[f"equipment {found['channel']}"] = said
    notes |= {"manufacturer": telegram.header[:3], "identification": telegram.header[3:]}
    for code, name in _SAID.items():
        if code in registers:
            notes[name] = str(registers[code].value)
    return [Reading(registers, server_id=server_id, notes=notes)]


def _ascii(register: Register) -> str:
    """`K8EG004046395507` of `4B384547303034303436333935353037`; as it is where it is no hex of printable ASCII."""
    text = str(register.value or "")
    try:
        plain = bytes.fromhex(text).decode("ascii")
    except ValueError:
        return text
    return plain if plain.isprintable() else text
