# SPDX-License-Identifier: GPL-3.0-or-later
"""What a codec and a driver share with the line that carries their bytes.

A codec has no port, no clock and no log: bytes go in, frames come out. Whatever it cannot
believe comes out too, as `Damaged`, so that the line can count it; it never disappears and never becomes a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

F = TypeVar("F")


class Damage(StrEnum):
    """Why bytes were not believed. The values are names of counters."""

    CHECKSUM = "checksum"
    """A whole frame whose checksum does not fit."""
    TRUNCATED = "truncated"
    """A frame that began and never ended: another began in it, or the wait was over."""
    MALFORMED = "malformed"
    """A whole frame, checksum right or not carried, whose form is impossible (length, digits, fields)."""
    GARBAGE = "garbage"
    """Bytes that belong to no frame."""


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that a codec threw away, and why."""

    kind: Damage
    data: bytes


class Decoder(Protocol[F]):
    """Turns a stream of bytes, split anyhow, into frames. Memory is bounded whatever comes in."""

    def feed(self, data: bytes) -> list[F | Damaged]:
        """Take more bytes; return what became whole, in order. Never raises on any input."""
        ...

    def flush(self) -> list[F | Damaged]:
        """The wait is over: give up an unfinished frame (as TRUNCATED) and start clean."""
        ...


class LineDecoder:
    """A `Decoder` of printable ASCII lines. Every byte of what is damaged comes out once.

    `end` is what ends a line (its last byte occurs nowhere else), `longest` the most characters before it that are
    believed.
    """

    def __init__(self, end: bytes, longest: int) -> None:
        self._end = end
        self._longest = longest
        self._buffer = bytearray()
        self._overlong = False

    def feed(self, data: bytes) -> list[str | Damaged]:
        """See `Decoder.feed`."""
        out: list[str | Damaged] = []
        self._buffer += data
        while (stop := self._buffer.find(self._end[-1:]) + 1) > 0:
            out.append(self._line(bytes(self._buffer[:stop])))
            del self._buffer[:stop]
        if self._overlong or len(self._buffer) >= self._longest + len(self._end):
            # The end of such a line would look like a reply of its own: nothing is believed up to the next end.
            self._overlong = True
            out += self.flush()
            self._overlong = True
        return out

    def flush(self) -> list[str | Damaged]:
        """See `Decoder.flush`."""
        kind = Damage.GARBAGE if self._overlong else Damage.TRUNCATED
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._overlong = False
        return [Damaged(kind, rest)] if rest else []

    def _line(self, line: bytes) -> str | Damaged:
        if self._overlong or len(line) > self._longest + len(self._end):
            self._overlong = False
            return Damaged(Damage.GARBAGE, line)
        text = line[: -len(self._end)]
        if not line.endswith(self._end) or not text or not all(0x20 <= byte < 0x7F for byte in text):
            return Damaged(Damage.MALFORMED, line)
        return text.decode("ascii")


class ProtocolError(Exception):
    """The device sent a frame that is intact and still cannot be right. The device's fault, not ours."""


class Refused(ProtocolError):
    """The device understood us and said no.

    `code` is the device's own error code, `reason` says it in words.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"the device refused: {reason} (code {code})")
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class Request(Generic[F]):
    """One question to a device.

    `data` is the whole frame, sent in one write. `matches` says whether a frame can be the answer to this
    question (echo, address, function, length), which is how foreign and late frames are told from the answer.
    """

    name: str
    data: bytes
    matches: Callable[[F], bool]


class Exchange(Protocol[F]):
    """What a driver sees of its line: `line.exchange(request)` returns the matching frame.

    Raises `rockit.common.transport.LineError` (or a subclass) when the port is gone or no whole answer came in time.
    """

    def exchange(self, request: Request[F]) -> F:
        """Send it and return its answer. Raises LineError."""
        ...
