# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Linux 1-wire driver tells of a DS18B20: the two lines of its file `w1_slave`.

Line 1: the nine bytes of the scratchpad and the driver's own check; line 2: the bytes again, and m°C. Bytes 0 and 1 are
the temperature in 1/16 °C, low byte first, signed; byte 8 is a CRC of the others (x^8 + x^5 + x^4 + 1, reflected
0x8C). A line that is held low reads as zeros, whose CRC is right. Sources: Linux, Documentation/w1/slaves/w1_therm;
Maxim DS18B20 data sheet.
"""

from __future__ import annotations

import re

from rockit.common.framing import ProtocolError

LOW, HIGH = -55.0, 125.0
"""What the sensor can measure, °C."""
_STEP = 0.51
"""The driver's own figure may differ from the bytes by what coarser resolutions leave undefined, K."""
_BYTES = r"((?:[0-9a-f]{2} ){9})"
_FIRST = re.compile(_BYTES + r": crc=([0-9a-f]{2}) (YES|NO)")
_SECOND = re.compile(_BYTES + r"t=(-?[0-9]{1,6})")


def parse(text: str) -> float:
    """The temperature, °C, in steps of 1/16. Raises ProtocolError, with the reason, for all that is not beyond doubt.

    Power-on values (85 °C exactly) pass: only who knows the values before can tell.
    """
    lines = text.splitlines()
    first = _FIRST.fullmatch(lines[0].rstrip()) if len(lines) == 2 else None
    second = _SECOND.fullmatch(lines[1].rstrip()) if len(lines) == 2 else None
    if first is None or second is None:
        raise ProtocolError(f"not the two lines of a DS18B20: {text[:80]!r}")
    scratchpad = bytes.fromhex(first[1])
    if first[3] != "YES":
        raise ProtocolError("the checksum was wrong on the wire (NO): bad contact, or too long a line?")
    if not any(scratchpad):
        raise ProtocolError("all bytes are 0: the data line is held low (a short?)")
    if scratchpad == b"\xff" * 9:
        raise ProtocolError("all bytes are FF: nothing drives the data line (a broken wire?)")
    if crc8(scratchpad[:8]) != scratchpad[8] or int(first[2], 16) != scratchpad[8] or second[1] != first[1]:
        raise ProtocolError(f"the checksum of the bytes is wrong: {first[1].strip()}")
    celsius = int.from_bytes(scratchpad[:2], "little", signed=True) / 16
    if not LOW <= celsius <= HIGH:
        raise ProtocolError(f"{celsius:g} °C is beyond what the sensor measures")
    if abs(int(second[2]) / 1000 - celsius) > _STEP:
        raise ProtocolError(f"the bytes say {celsius:g} °C, and the driver {int(second[2]) / 1000:g} °C")
    return celsius


def crc8(data: bytes) -> int:
    """The 1-wire CRC of some bytes."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0x8C if value & 1 else value >> 1
    return value
