# SPDX-License-Identifier: GPL-3.0-or-later
"""The binary "NC" protocol of Thermo NESLAB baths (RTE) and ThermoFlex chillers.

A frame is `lead, 00, address, command, n, n data bytes, checksum`, the same in both directions; the checksum is the
inverted sum of all that stands between lead and checksum, modulo 256. Sources: Thermo NESLAB RTE-7 and RTE-17 manuals,
appendix B; ThermoFlex manual, appendix D.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from rockit.common.framing import Damage, Damaged, ProtocolError, Refused, Request

RS232 = 0xCA
RS485 = 0xCC
LEADS = (RS232, RS485)
MAX_ADDRESS = 100
MAX_DATA = 32
"""Most data bytes that are believed: what is documented ends at 10 (software version of a ThermoFlex)."""

ACKNOWLEDGE = 0x00
STATUS = 0x09
ERROR = 0x0F
FLOW = 0x10
TEMPERATURE = 0x20
SUPPLY_PRESSURE = 0x28
SETPOINT = 0x70
ON_OFF = 0x81
SET_SETPOINT = 0xF0

OFF, ON, NO_CHANGE = 0, 1, 2
"""Data bytes of the on/off command."""

BAD_CHECKSUM = 3
ERRORS = {1: "bad command", 2: "bad data", BAD_CHECKSUM: "bad checksum"}

THERMOFLEX_STATUS: tuple[tuple[str, ...], ...] = (
    ("running", "RTD 1 open or shorted", "RTD 2 open or shorted", "RTD 3 open or shorted",
     "high temperature, fixed limit", "low temperature, fixed limit", "high temperature", "low temperature"),
    ("high pressure", "low pressure", "drip pan", "high level",
     "phase monitor", "motor overload", "low pressure cut-out", "high pressure cut-out"),
    ("external emergency off", "local emergency off", "low flow", "low level",
     "5 V sense", "invalid level", "low flow, fixed limit", "high pressure, factory limit"),
    ("low pressure, factory limit", "powering up", "powering down"),
)  # fmt: skip
"""Names of the status bits of a ThermoFlex, by data byte and bit from b0 on. Bits without a name are not documented."""


class Unit(IntEnum):
    """Units of measure in the low nibble of a qualifier byte."""

    NONE = 0
    CELSIUS = 1
    FAHRENHEIT = 2
    LITRES_PER_MINUTE = 3
    GALLONS_PER_MINUTE = 4
    SECONDS = 5
    PSI = 6
    BAR = 7
    MEGOHM_CM = 8
    PERCENT = 9
    VOLT = 10
    KILOPASCAL = 11


_CELSIUS: dict[Unit, Callable[[float], float]] = {
    Unit.CELSIUS: lambda value: value,
    Unit.FAHRENHEIT: lambda value: (value - 32) / 1.8,
}
_LITRES_PER_MINUTE: dict[Unit, Callable[[float], float]] = {
    Unit.LITRES_PER_MINUTE: lambda value: value,
    Unit.GALLONS_PER_MINUTE: lambda value: value * 3.785411784,
}
_KILOPASCAL: dict[Unit, Callable[[float], float]] = {
    Unit.KILOPASCAL: lambda value: value,
    Unit.BAR: lambda value: value * 100,
    Unit.PSI: lambda value: value * 6.894757,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One intact frame."""

    lead: int
    address: int
    command: int
    data: bytes


def checksum(body: bytes | bytearray) -> int:
    """The checksum over `body`, which is everything between the lead byte and the checksum."""
    return 0xFF ^ sum(body) & 0xFF


def encode(command: int, data: bytes = b"", lead: int = RS232, address: int = 1) -> bytes:
    """One whole frame. Raises ValueError for what no frame can carry."""
    if lead not in LEADS or not 1 <= address <= MAX_ADDRESS or not 0 <= command <= 0xFF or len(data) > MAX_DATA:
        raise ValueError(f"no such frame: lead {lead:#x}, address {address}, command {command}, {len(data)} bytes")
    body = bytes([0, address, command, len(data)]) + data
    return bytes([lead]) + body + bytes([checksum(body)])


class Decoder:
    """Frames out of a byte stream. Every byte that comes in leaves once, in a Reply or in a Damaged."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Reply | Damaged]:
        """See `framing.Decoder.feed`."""
        self._buffer += data
        return self._frames(last=False)

    def flush(self) -> list[Reply | Damaged]:
        """See `framing.Decoder.flush`. A whole frame that a false beginning had hidden still comes out."""
        return self._frames(last=True)

    def _frames(self, last: bool) -> list[Reply | Damaged]:
        out: list[Reply | Damaged] = []
        buffer = self._buffer
        while buffer:
            length = _length(buffer)
            if length == 0:
                out.append(self._drop(Damage.GARBAGE, len(buffer)))
            elif length <= len(buffer):
                if checksum(buffer[1 : length - 1]) == buffer[length - 1]:
                    out.append(Reply(buffer[0], buffer[2], buffer[3], bytes(buffer[5 : length - 1])))
                    del buffer[:length]
                else:
                    out.append(self._drop(Damage.CHECKSUM, length))
            elif last:
                out.append(self._drop(Damage.TRUNCATED, len(buffer)))
            else:
                break
        return out

    def _drop(self, kind: Damage, most: int) -> Damaged:
        """Give up what stands in front, but not what may be the beginning of another frame in it."""
        end = next((i for i in range(1, most) if self._buffer[i] in LEADS), most)
        damaged = Damaged(kind, bytes(self._buffer[:end]))
        del self._buffer[:end]
        return damaged


def _length(buffer: bytearray) -> int:
    """Length of the frame that begins here as far as can be told; 0 where none can begin."""
    if buffer[0] not in LEADS or (len(buffer) > 1 and buffer[1] != 0):
        return 0
    if len(buffer) > 2 and not 1 <= buffer[2] <= MAX_ADDRESS:
        return 0
    if len(buffer) > 4:
        return 0 if buffer[4] > MAX_DATA else buffer[4] + 6
    return 6


def request(
    name: str,
    command: int,
    data: bytes = b"",
    *,
    answer_length: int,
    lead: int = RS232,
    address: int = 1,
) -> Request[Reply]:
    """A question whose answer has `answer_length` data bytes, or is the error reply about this command.

    The length is no formality: a corrupted length byte can leave a shorter frame whose checksum fits by accident
    (the last data byte of 20.3 °C does).
    """

    def matches(reply: Reply) -> bool:
        if (reply.lead, reply.address) != (lead, address):
            return False
        if reply.command == ERROR:
            return len(reply.data) == 2 and reply.data[1] == command
        return reply.command == command and len(reply.data) == answer_length

    return Request(name, encode(command, data, lead, address), matches)


def answer(reply: Reply) -> bytes:
    """The data of an answer. Raises Refused for an error reply; a ProtocolError for "bad checksum", which says that
    our question was damaged on its way: the line's fault and no answer to it.
    """
    if reply.command == ERROR:
        code = reply.data[0]
        if code == BAD_CHECKSUM:
            raise ProtocolError(f"the unit reports {ERRORS[code]}")
        raise Refused(str(code), ERRORS.get(code, "unknown error"))
    return reply.data


def quantity(data: bytes) -> tuple[float, Unit]:
    """Value and unit out of a qualifier byte (decimals, unit) and a signed 16 bit integer, high byte first.

    (A ThermoFlex may send 32 bit integers too; none of the quantities read here is documented with one.)
    Raises ProtocolError for another length or a unit that is not documented.
    """
    if len(data) != 3:
        raise ProtocolError(f"a value of {len(data)} bytes where 3 were expected: {data.hex(' ')}")
    try:
        unit = Unit(data[0] & 0x0F)
    except ValueError:
        raise ProtocolError(f"a value in an unknown unit, qualifier {data[0]:02X}") from None
    return int.from_bytes(data[1:], "big", signed=True) / 10.0 ** (data[0] >> 4), unit


def celsius(data: bytes) -> float:
    """A temperature in °C, whichever scale the device is set to. Raises ProtocolError."""
    return _converted(data, _CELSIUS, "temperature")


def litres_per_minute(data: bytes) -> float:
    """A flow in L/min; gallons are US gallons. Raises ProtocolError."""
    return _converted(data, _LITRES_PER_MINUTE, "flow")


def kilopascal(data: bytes) -> float:
    """A pressure in kPa. Raises ProtocolError."""
    return _converted(data, _KILOPASCAL, "pressure")


def _converted(data: bytes, units: Mapping[Unit, Callable[[float], float]], what: str) -> float:
    value, unit = quantity(data)
    if unit not in units:
        raise ProtocolError(f"a {what} in the unit {unit.name}")
    return units[unit](value)


def encode_value(temperature: float, qualifier: int) -> bytes:
    """The two data bytes that write `temperature` (°C) in the precision and scale of `qualifier`.

    Writes carry no qualifier: the device takes them in the one that it reads out with. Raises ProtocolError for a
    qualifier that is no temperature's, ValueError for a temperature that does not fit.
    """
    decimals, unit = qualifier >> 4, qualifier & 0x0F
    if unit not in (Unit.CELSIUS, Unit.FAHRENHEIT):
        raise ProtocolError(f"a temperature with the qualifier {qualifier:02X}")
    value = temperature if unit == Unit.CELSIUS else temperature * 1.8 + 32
    scaled = value * 10.0**decimals
    if not math.isfinite(scaled) or not -0x8000 <= round(scaled) <= 0x7FFF:
        raise ValueError(f"{temperature} °C cannot be written with {decimals} decimals")
    return round(scaled).to_bytes(2, "big", signed=True)


def on_off_array(state: int) -> bytes:
    """The eight data bytes of the RTE's on/off command that set the unit to `state` and leave all else alone."""
    return bytes([state]) + bytes([NO_CHANGE]) * 7


def status_flags(status: bytes) -> tuple[str, ...]:
    """Names of the bits set in the status of a ThermoFlex (4 bytes), in the order of the bits."""
    return tuple(
        name
        for byte, names in zip(status, THERMOFLEX_STATUS, strict=False)
        for bit, name in enumerate(names)
        if byte >> bit & 1
    )
