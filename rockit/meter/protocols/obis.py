# SPDX-License-Identifier: GPL-3.0-or-later
"""OBIS codes (IEC 62056-61) and the units of DLMS (IEC 62056-62): numbers on the wire, words for people.

A code that is not named here is a channel like any other, with its code as its label.
"""

from __future__ import annotations

import re
from functools import lru_cache

_TEXT = re.compile(
    r"(?:(?P<a>\d{1,3})-(?P<b>\d{1,3}):)?(?P<c>[0-9A-Z]{1,3})\.(?P<d>\d{1,3})(?:\.(?P<e>\d{1,3}))?(?:[*&](?P<f>\d{1,3}))?"
)
_LETTERS = {"C": 96, "F": 97, "L": 98, "P": 99}
"""What meters with a D0 interface write for the groups of abstract values (IEC 62056-61, annex of EDIS)."""

UNITS: dict[int, str] = {
    1: "yr", 2: "mo", 3: "wk", 4: "d", 5: "h", 6: "min", 7: "s", 8: "deg", 9: "degC", 11: "m", 12: "m/s",
    13: "m3", 14: "m3", 15: "m3/h", 16: "m3/h", 19: "L", 20: "kg", 22: "N m", 23: "Pa", 24: "bar", 25: "J",
    26: "J/h", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A", 34: "C", 35: "V",
    36: "V/m", 37: "F", 38: "Ohm", 40: "Wb", 41: "T", 42: "A/m", 43: "H", 44: "Hz", 52: "K", 56: "%",
}  # fmt: skip
_NO_UNIT = (0, 254, 255)
"""255 is a count; 0 is sent by meters that mean none."""


def unit(code: int | None) -> str:
    """The unit of a DLMS code; one that is not known is named by its number, none is empty."""
    return "" if code is None or code in _NO_UNIT else UNITS.get(code, f"unit {code}")


@lru_cache(maxsize=4096)
def text(code: bytes) -> str:
    """`1-0:1.8.0*255` of six bytes; of any other number of bytes (which a damaged device may send), their hex."""
    if len(code) != 6:
        return code.hex()
    return "{}-{}:{}.{}.{}*{}".format(*code)


def parse(written: str) -> bytes:
    """The six bytes of a code as people write it: whole, or without A-B (then 1-0) and F (then 255), or as hex.

    `1.8.0`, `1-0:1.8.0`, `1-0:1.8.0*255`, `0x0100010800FF`, `C.1.0`. Raises ValueError.
    """
    plain = written.strip()
    digits = plain.lower().removeprefix("0x")
    if len(digits) == 12 and all(digit in "0123456789abcdef" for digit in digits):
        return bytes.fromhex(digits)
    found = _TEXT.fullmatch(plain.upper())
    if found is None:
        raise ValueError(f"{written!r} is no OBIS code; write 1-0:1.8.0*255, or 1.8.0 for short")
    a, b, c, d, e, f = found.groups()
    group = _LETTERS.get(c) if not c.isdecimal() else int(c)
    numbers = (a or 1, b or 0, group, d, e or 0, 255 if f is None else f)
    if group is None or any(int(number) > 255 for number in numbers if number is not None):
        raise ValueError(f"{written!r} is no OBIS code: each number is 0 to 255")
    return bytes(int(number) for number in numbers if number is not None)


_QUANTITIES: dict[int, str] = {
    1: "Active power import", 2: "Active power export", 3: "Reactive power import", 4: "Reactive power export",
    5: "Reactive power QI", 6: "Reactive power QII", 7: "Reactive power QIII", 8: "Reactive power QIV",
    9: "Apparent power import", 10: "Apparent power export", 11: "Current", 12: "Voltage", 13: "Power factor",
    14: "Frequency", 15: "Active power, absolute", 16: "Active power",
}  # fmt: skip
_ENERGIES = {
    **{number: name.replace("power", "energy") for number, name in _QUANTITIES.items() if number not in (11, 12, 13)},
    14: "Frequency",
}
_LABELS: dict[str, str] = {
    "1-0:0.0.0*255": "Identification",
    "1-0:0.0.9*255": "Server id",
    "1-0:0.2.0*0": "Firmware",
    "1-0:96.1.0*255": "Server id",
    "0-0:96.1.255*255": "Serial number",
    "1-0:96.5.0*255": "Status word",
    "1-0:96.50.1*1": "Manufacturer",
    "1-0:96.90.2*1": "Checksum of the firmware",
    "129-129:199.130.3*255": "Manufacturer",
    "129-129:199.130.5*255": "Public key",
    "1-0:81.7.1*255": "Angle U2 to U1",
    "1-0:81.7.2*255": "Angle U3 to U1",
    "1-0:81.7.4*255": "Angle I1 to U1",
    "1-0:81.7.15*255": "Angle I2 to U2",
    "1-0:81.7.26*255": "Angle I3 to U3",
    "1-0:1.8.0*96": "Active energy import, last day",
    "1-0:1.8.0*97": "Active energy import, last 7 days",
    "1-0:1.8.0*98": "Active energy import, last 30 days",
    "1-0:1.8.0*99": "Active energy import, last 365 days",
    "1-0:1.8.0*100": "Active energy import since the last reset",
    "0-0:96.14.0*255": "Tariff",
}
PUBLIC_KEY = "129-129:199.130.5*255"
"""Says nothing of the meter's state, and is long: it is never kept."""
_COUNTER_UNITS = ("Wh", "varh", "VAh", "m3", "J", "L")


@lru_cache(maxsize=4096)
def label(code: str) -> str:
    """What a code (`1-0:1.8.0*255`) means; the code itself where that is not known."""
    if code in _LABELS:
        return _LABELS[code]
    try:
        a, _, c, d, e, f = parse(code)
    except ValueError:
        return code
    if a == 0 and (c, d, e) == (24, 2, 1):
        return "Volume"
    if a != 1:
        return code
    phase, quantity = "", c
    for number, base in ((1, 20), (2, 40), (3, 60)):
        if base < c <= base + 20:
            phase, quantity = f" L{number}", c - base
    if d == 7 and quantity in _QUANTITIES and (e == 0 or (c, e) == (1, 1)):
        return _QUANTITIES[quantity] + phase
    if d == 8 and quantity in _ENERGIES and f == 255:
        return _ENERGIES[quantity] + phase + (f", tariff {e}" if e else "")
    return code


@lru_cache(maxsize=4096)
def counter(code: str, unit: str) -> bool:
    """Whether a register only grows: energies and volumes, but for those of a period that begins anew."""
    if unit not in _COUNTER_UNITS:
        return False
    try:
        _, _, c, d, _, f = parse(code)
    except ValueError:
        return False
    return f == 255 and (d == 8 or (c, d) == (24, 2))
