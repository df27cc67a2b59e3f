# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASCII protocol of LAUDA circulators (LOOP, Microcool, ECO, PRO, Integral, Variocool).

One command, one reply; a reply names neither device nor question and has no checksum. All that tells a right one from
another is its form, so the forms below are exact: a fixed number of digits shows a lost character.
The address prefix of RS-485 (`A015_`) is not supported: this is RS-232. Sources: LAUDA LOOP 100/250 manual, 5.11;
Microcool MC 250 manual, 6.7; ECO Gold manual, interface commands.
"""

from __future__ import annotations

import math
import re

from rockit.common.framing import LineDecoder, ProtocolError, Refused, Request

MAX_LINE = 64
"""Longest reply that is believed, without its end."""

NUMBER = re.compile(r"-?[0-9]{3}\.[0-9]{2}")
OK = re.compile(r"OK")
MODE = re.compile(r"[01]")
STATUS = re.compile(r"0|-1")
STAT = re.compile(r"[01]{6,7}")
TEXT = re.compile(r"(?!OK$|ERR)[A-Za-z][A-Za-z0-9 _./-]*")
_ERROR = re.compile(r"ERR_([0-9]{1,3})")

ERRORS = {
    "2": "wrong input or buffer overflow",
    "3": "wrong command",
    "5": "wrong syntax of the value",
    "6": "value not permitted",
    "32": "upper limit not above the lower one",
    "38": "set point changed more than 20 times in an hour",
}

STAT_FLAGS = ("error", "alarm", "warning", "overtemperature", "low level", "", "external value missing")
"""Meaning of the characters of a STAT reply; the sixth has none. LOOP units send the first six."""


def encode(command: str) -> bytes:
    """One command line. Raises ValueError for what is not printable ASCII."""
    if not command or not command.isascii() or not command.isprintable():
        raise ValueError(f"not a command: {command!r}")
    return command.encode("ascii") + b"\r\n"


class Decoder(LineDecoder):
    """Reply lines, without their CR LF, out of a byte stream."""

    def __init__(self) -> None:
        super().__init__(b"\r\n", MAX_LINE)


def request(command: str, form: re.Pattern[str], errors: bool = True) -> Request[str]:
    """A command whose reply has exactly that form, or (with `errors`) is an error."""

    def matches(reply: str) -> bool:
        return bool(form.fullmatch(reply) or (errors and _ERROR.fullmatch(reply)))

    return Request(command, encode(command), matches)


def answer(reply: str) -> str:
    """The reply itself. Raises Refused for ERR_n."""
    if found := _ERROR.fullmatch(reply):
        raise Refused(found[1], ERRORS.get(found[1], "unknown error"))
    return reply


def number(reply: str) -> float:
    """A number in the fixed format `XXX.XX` or `-XXX.XX`. Raises ProtocolError for any other form."""
    if not NUMBER.fullmatch(reply):
        raise ProtocolError(f"not a number of the form XXX.XX: {reply!r}")
    return float(reply)


def set_setpoint(celsius: float) -> str:
    """The command that sets the set point, °C with two decimals. Raises ValueError beyond three digits before them."""
    if not math.isfinite(celsius) or abs(celsius) >= 999.995:
        raise ValueError(f"not a set point: {celsius} °C")
    return f"OUT_SP_00_{celsius:.2f}"


def stat_flags(reply: str) -> tuple[str, ...]:
    """Names of what a STAT reply reports, in the order of its characters."""
    return tuple(
        name or f"STAT character {at + 1}"
        for at, (character, name) in enumerate(zip(reply, STAT_FLAGS, strict=False))
        if character == "1"
    )
