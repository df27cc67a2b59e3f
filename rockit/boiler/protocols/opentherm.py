# SPDX-License-Identifier: GPL-3.0-or-later
"""The serial side of an OpenTherm gateway: commands and their replies, and the telegrams that it overhears.

A telegram is a letter (who sent it) and 32 bits as hexadecimal digits: parity over all 32 (even), kind, number of the
datum, value. Sources: the gateway's firmware page (otgw.tclcode.com) and pyotgw for the lines; the OpenTherm protocol
2.2 for telegrams, the bits of data 0 and 5 among them.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import IntEnum

from rockit.boiler.model import MEASUREMENTS
from rockit.common.framing import Damage, Damaged, LineDecoder, ProtocolError, Refused, Request

MAX_LINE = 256
"""Longest line that is believed, without its end: a summary has all values in one."""
LEAST, MOST = 8.0, 100.0
"""The least set point that overrides the thermostat, and the most that OpenTherm has, °C."""

BOILER = "B"
"""Senders are T thermostat, B boiler, R request as changed by the gateway, A answer as changed by it, E in error."""


class Kind(IntEnum):
    """What a telegram is. Number 3 is reserved."""

    READ, WRITE, INVALID, RESERVED, READ_ACK, WRITE_ACK, DATA_INVALID, UNKNOWN_ID = range(8)


STATUS, SETPOINT, FAULTS = 0, 1, 5
"""Data that are not one number each, and the one that is written."""
NUMBERS = {
    SETPOINT: "outlet_setpoint", 14: "most_modulation", 17: "firing_rate", 18: "water_pressure", 25: "outlet_temp",
    26: "hot_water_temp", 27: "outdoor_temp", 28: "inlet_temp", 56: "hot_water_setpoint", 57: "most_setpoint",
}  # fmt: skip
"""Data that are a number with 8 binary places."""
_WRITTEN = frozenset({SETPOINT, 14, 56, 57})

_FAULT_BIT, _FLAME_BIT = 0x01, 0x08
_FAULT_NAMES = (
    "service request", "lockout reset", "low water pressure", "gas or flame fault", "air pressure fault",
    "water too hot",
)  # fmt: skip

_TELEGRAM = re.compile(r"[TBRAE][0-9A-F]{8}")
_ERRORS = {
    "NG": "it does not know the command", "SE": "it does not understand the command", "BV": "bad value",
    "OR": "value out of range", "NS": "no space for it", "NF": "not found", "OE": "it was overrun",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Telegram:
    """32 bits on the OpenTherm line. `value` is the datum's, 0 to 65535."""

    sender: str
    kind: Kind
    number: int
    value: int

    @property
    def decimal(self) -> float:
        """The value as a signed number with 8 binary places."""
        return (self.value - 0x10000 if self.value & 0x8000 else self.value) / 256


class Decoder:
    """Telegrams, and other lines without their end, out of a byte stream. A telegram of wrong parity is damage."""

    def __init__(self) -> None:
        self._lines = LineDecoder(b"\r\n", MAX_LINE)

    def feed(self, data: bytes) -> list[Telegram | str | Damaged]:
        """See `rockit.common.framing.Decoder.feed`."""
        return [_frame(line) for line in self._lines.feed(data)]

    def flush(self) -> list[Telegram | str | Damaged]:
        """See `rockit.common.framing.Decoder.flush`."""
        return [_frame(line) for line in self._lines.flush()]


def _frame(line: str | Damaged) -> Telegram | str | Damaged:
    if isinstance(line, Damaged) or not _TELEGRAM.fullmatch(line):
        return line
    bits = int(line[1:], 16)
    # What the gateway itself reports as an error (E) may well have the wrong parity.
    if bits.bit_count() % 2 and line[0] != "E":
        return Damaged(Damage.CHECKSUM, line.encode() + b"\r\n")
    return Telegram(line[0], Kind(bits >> 28 & 7), bits >> 16 & 0xFF, bits & 0xFFFF)


def values_of(telegram: Telegram) -> dict[str, object]:
    """What a telegram tells of the boiler; nothing, unless the boiler itself answered.

    None is what the boiler does not know, or what cannot be. Besides numbers: `flame` and `fault` (bool), and
    `fault_names` (tuple of str). Temperatures in °C, `firing_rate` in %, `water_pressure` in bar.
    """
    if telegram.sender != BOILER:
        return {}
    number, kind = telegram.number, telegram.kind
    if number in NUMBERS:
        name = NUMBERS[number]
        if kind in (Kind.DATA_INVALID, Kind.UNKNOWN_ID):
            return {name: None}
        if kind == Kind.READ_ACK or (kind == Kind.WRITE_ACK and number in _WRITTEN):
            believed = name not in MEASUREMENTS or MEASUREMENTS[name].plausible(telegram.decimal)
            return {name: round(telegram.decimal, 2) if believed else None}
    if kind != Kind.READ_ACK:
        return {}
    if number == STATUS:
        return {"flame": bool(telegram.value & _FLAME_BIT), "fault": bool(telegram.value & _FAULT_BIT)}
    if number == FAULTS:
        names = tuple(name for bit, name in enumerate(_FAULT_NAMES) if telegram.value >> 8 >> bit & 1)
        code = telegram.value & 0xFF
        return {"fault_names": (*names, *((f"fault code {code}",) if code not in (0, 0xFF) else ()))}
    return {}


def request(name: str, value: str) -> Request[Telegram | str]:
    """The command `name=value`. Its reply begins with the name, or is an error."""

    def matches(frame: Telegram | str) -> bool:
        return isinstance(frame, str) and (frame.startswith(f"{name}: ") or frame in _ERRORS)

    return Request(f"{name}={value}", f"{name}={value}\r\n".encode("ascii"), matches)


def report(what: str) -> Request[Telegram | str]:
    """The command that reports something (A: the version of the firmware). An error is no reply to it."""
    wanted = f"PR: {what}="
    return Request(
        f"PR={what}", f"PR={what}\r\n".encode("ascii"), lambda f: isinstance(f, str) and f.startswith(wanted)
    )


def text(reply: Telegram | str) -> str:
    """What a reply tells behind its name. Raises Refused for an error."""
    if isinstance(reply, Telegram):
        raise ProtocolError(f"a telegram is no reply: {reply}")
    if reply in _ERRORS:
        raise Refused(reply, _ERRORS[reply])
    return reply.partition(": ")[2]


def number(reply: Telegram | str) -> float:
    """The number that a reply tells. Raises Refused for an error, ProtocolError for what is no number."""
    told = text(reply)
    if not re.fullmatch(r"-?[0-9]{1,5}(\.[0-9]{1,3})?", told):
        raise ProtocolError(f"not a number: {reply!r}")
    return float(told)


def control_setpoint(celsius: float) -> str:
    """The value of a CS command, held to LEAST and MOST. Raises ValueError for what is no number."""
    if not math.isfinite(celsius):
        raise ValueError(f"no set point: {celsius} °C")
    return f"{min(max(celsius, LEAST), MOST):.2f}"
