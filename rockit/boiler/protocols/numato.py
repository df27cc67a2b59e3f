# SPDX-License-Identifier: GPL-3.0-or-later
"""The text protocol of Numato USB relay boards with 8 or 16 relays.

A command ends with CR. The board echoes it, answers `value LF CR` where the command has an answer, and ends with the
prompt `>`: `relay read 0` CR -> `relay read 0` LF CR `off` LF CR `>`. Relays are numbered 0-9, A-F. There is no
checksum: the echo tells what was answered, and the forms below are exact, so that a lost character shows.
Sources: docs.numato.com, 8 and 16 channel USB relay modules; transcripts of Chronos, which also show spaces after the
echo. What a board says to a command that it does not know is not documented: it is never taken for an answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rockit.common.framing import Damage, Damaged, ProtocolError, Request

LONGEST = 64
"""Bytes before a prompt that are believed, at most."""
COUNTS = (8, 16)
"""How many relays a board may have; others number them with two digits."""

_BREAK = re.compile(rb"[\r\n]+")
_FORMS: tuple[tuple[re.Pattern[str], re.Pattern[str] | None], ...] = (
    (re.compile(r"relay (on|off) [0-9A-F]"), None),
    (re.compile(r"relay read [0-9A-F]"), re.compile(r"on|off")),
    (re.compile(r"relay readall"), re.compile(r"[0-9A-Fa-f]{2}|[0-9A-Fa-f]{4}")),
    (re.compile(r"ver"), re.compile(r"[0-9A-Za-z][0-9A-Za-z. _-]{0,31}")),
    (re.compile(r"id get"), re.compile(r"[!-=?-~]{1,16}")),
)
"""Commands that have a reply, and the form of their value; None: they have none."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What stood before a prompt: the command as it was echoed, and its value ("" where it has none)."""

    command: str
    value: str = ""


class Decoder:
    """Replies out of a byte stream. A bare prompt is the reply to an empty command. Every damaged byte comes out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[Reply | Damaged]:
        """See `Decoder.feed` of `rockit.common.framing`."""
        out: list[Reply | Damaged] = []
        self._buffer += data
        while (stop := self._buffer.find(b">") + 1) > 0:
            out.append(self._reply(bytes(self._buffer[:stop])))
            del self._buffer[:stop]
        if self._buffer and (self._overlong or len(self._buffer) > LONGEST):
            out.append(Damaged(Damage.GARBAGE, bytes(self._buffer)))
            self._buffer.clear()
            self._overlong = True
        return out

    def flush(self) -> list[Reply | Damaged]:
        """See `Decoder.flush` of `rockit.common.framing`."""
        rest, self._overlong = bytes(self._buffer), False
        self._buffer.clear()
        return [Damaged(Damage.TRUNCATED, rest)] if rest else []

    def _reply(self, frame: bytes) -> Reply | Damaged:
        if self._overlong or len(frame) > LONGEST + 1:
            self._overlong = False
            return Damaged(Damage.GARBAGE, frame)
        lines = [line.rstrip(b" ") for line in _BREAK.split(frame[:-1])]
        lines = [line for line in lines if line]
        if not lines:
            return Reply("")
        # A prompt stands at the begin of a line: any other `>` is noise, which may cut a value short.
        if frame[-2] not in b"\r\n" or not all(0x20 <= byte < 0x7F for line in lines for byte in line):
            return Damaged(Damage.MALFORMED, frame)
        command, *values = (line.decode("ascii") for line in lines)
        for echo, form in _FORMS:
            if echo.fullmatch(command):
                if form is None and not values:
                    return Reply(command)
                if form is not None and len(values) == 1 and form.fullmatch(values[0]):
                    return Reply(command, values[0])
        return Damaged(Damage.MALFORMED, frame)


def request(command: str, *, flush: bool = False) -> Request[Reply]:
    """A command whose reply is believed only with its echo. `flush`: a CR first ends what a command left unfinished.

    Raises ValueError for a command that is none of this protocol.
    """
    if not any(echo.fullmatch(command) for echo, _ in _FORMS):
        raise ValueError(f"not a command: {command!r}")
    data = command.encode("ascii") + b"\r"
    return Request(command, b"\r" + data if flush else data, lambda reply: reply.command == command)


def read_all(count: int) -> Request[Reply]:
    """The command that reads all relays of a board that has `count`; only as many digits as it sends are an answer."""
    _check(count)
    asked = request("relay readall")
    return Request(asked.name, asked.data, lambda reply: asked.matches(reply) and len(reply.value) == count // 4)


def write(number: int, on: bool, count: int) -> Request[Reply]:
    """The command that switches one relay. Raises ValueError for one that the board does not have."""
    return request(f"relay {'on' if on else 'off'} {index(number, count)}")


def index(number: int, count: int) -> str:
    """A relay as the board numbers it: one digit, 0-9 and A-F. Raises ValueError."""
    _check(count)
    if isinstance(number, bool) or not 0 <= number < count:
        raise ValueError(f"the board has the relays 0 to {count - 1}, and no {number}")
    return f"{number:X}"


def states(value: str, count: int) -> tuple[bool, ...]:
    """What every relay is, by the digits of `relay readall`; the last digit holds the relays 0 to 3.

    Raises ProtocolError for digits of another board.
    """
    _check(count)
    if not re.fullmatch(rf"[0-9A-Fa-f]{{{count // 4}}}", value):
        raise ProtocolError(f"not the states of {count} relays: {value!r}")
    bits = int(value, 16)
    return tuple(bool(bits >> number & 1) for number in range(count))


def _check(count: int) -> None:
    if count not in COUNTS:
        raise ValueError(f"boards have 8 or 16 relays, not {count}")
