# SPDX-License-Identifier: GPL-3.0-or-later
"""Active power of a reading, whatever registers its meter has for it. No I/O, no clock."""

from __future__ import annotations

from rockit.meter.model import Number, Reading, Register

_SIGNED = "1-0:16.7.0*255"
_ABSOLUTE = "1-0:15.7.0*255"
_IMPORT = "1-0:1.7.0*255"
_EXPORT = "1-0:2.7.0*255"
_HAGER = "1-0:1.7.1*255"
_ENERGIES = ("1-0:1.8.0*255", "1-0:2.8.0*255")

_MODERN = 0x04
"""Low octet of the status of modern meters, whose bits mean other things than those of the EDL21 generation."""
_EXPORTING = 0x20
"""EDL21: bit 5 of the status (FNN Lastenheft EDL 1.0, p. 31, as cited in libsml issue 101)."""


def power(reading: Reading) -> Number | None:
    """Active power in W: positive is import, negative export. None where the reading does not say, or not in which
    direction.

    16.7.0 is signed. 15.7.0 is not: its direction is in the status of the energy register, of the EDL21 generation
    only. 1.7.0 and 2.7.0 are import and export; 1.7.1 is Hager's, and signed.
    """
    signed = _number(reading, _SIGNED)
    if signed is not None:
        return signed
    absolute = _number(reading, _ABSOLUTE)
    if absolute is not None:
        sign = _direction(reading) if absolute > 0 else 1
        if sign is not None:
            return sign * absolute
    ways = [(sign, _number(reading, code)) for sign, code in ((1, _IMPORT), (-1, _EXPORT)) if code in reading.registers]
    if ways:
        # A meter may have one of them alone; one that it has and does not tell is not 0.
        known = [sign * number for sign, number in ways if number is not None]
        return sum(known) if len(known) == len(ways) else None
    return _number(reading, _HAGER)


def _direction(reading: Reading) -> int | None:
    registers = (reading.registers.get(code) for code in _ENERGIES)
    status = next((each.status for each in registers if each is not None and each.status is not None), None)
    if status is None or status & 0xFF == _MODERN:
        return None
    return -1 if status & _EXPORTING else 1


def _number(reading: Reading, code: str) -> Number | None:
    value = reading.registers.get(code, Register(None)).value
    return None if value is None or isinstance(value, bool | str) else value
