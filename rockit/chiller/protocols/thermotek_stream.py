# SPDX-License-Identifier: GPL-3.0-or-later
"""How both ThermoTek dialects lay frames on the line: start character, text, checksum of two hex digits, CR.

Source: ThermoTek, "TTK Serial Communication Protocol Release II", rev X2.003; the T255P does the same.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

from rockit.common.framing import Damage, Damaged

F = TypeVar("F")

XON, XOFF, CR, LF = 0x11, 0x13, 0x0D, 0x0A
GARBAGE_CHUNK = 64
"""Garbage is handed out in pieces of this many bytes, so that a babbling line costs no memory."""


def checksum(data: bytes) -> int:
    """Sum of the bytes modulo 256."""
    return sum(data) & 0xFF


def seal(text: str) -> bytes:
    """The frame of `text` (from its start character on): checksum in upper-case hex and CR added."""
    body = text.encode("ascii")
    return body + b"%02X\r" % checksum(body)


def unseal(frame: bytes) -> str | Damage:
    """What stands between start character and checksum of a frame that ends in CR, or what is wrong with it."""
    if len(frame) < 5:
        return Damage.MALFORMED
    if re.fullmatch(rb"[0-9A-Fa-f]{2}", frame[-3:-1]) is None or int(frame[-3:-1], 16) != checksum(frame[:-3]):
        return Damage.CHECKSUM
    if not all(0x20 <= byte <= 0x7E for byte in frame[:-1]):
        return Damage.MALFORMED
    return frame[1:-3].decode("ascii")


class StreamDecoder(ABC, Generic[F]):
    """Cuts a stream into frames that begin with START and end in CR.

    XON and XOFF are skipped wherever they stand, one LF after the CR is allowed. START inside a frame begins a new
    one: neither protocol has it anywhere else. Bytes outside frames are handed out as GARBAGE when the next
    frame begins, when there are GARBAGE_CHUNK of them, or on flush; so the result does not depend on the splits.
    """

    START: ClassVar[int]
    LONGEST: ClassVar[int]
    """Length of the longest frame with its CR."""

    def __init__(self) -> None:
        self._frame = bytearray()
        self._garbage = bytearray()
        self._ended = False

    def feed(self, data: bytes) -> list[F | Damaged]:
        """Take more bytes; return what became whole, in order. Never raises."""
        found: list[F | Damaged] = []
        for byte in data:
            if byte in (XON, XOFF):
                continue
            after_frame, self._ended = self._ended, False
            if byte == self.START:
                found += self.flush()
                self._frame.append(byte)
            elif self._frame:
                self._frame.append(byte)
                if byte == CR:
                    frame = bytes(self._frame)
                    read = self._read(frame)
                    found.append(Damaged(read, frame) if isinstance(read, Damage) else read)
                    self._frame.clear()
                    self._ended = True
                elif len(self._frame) >= self.LONGEST:
                    found.append(Damaged(Damage.MALFORMED, bytes(self._frame)))
                    self._frame.clear()
            elif not (byte == LF and after_frame):
                self._garbage.append(byte)
                if len(self._garbage) >= GARBAGE_CHUNK:
                    found += self.flush()
        return found

    def flush(self) -> list[F | Damaged]:
        """Give up what is unfinished: a begun frame as TRUNCATED, other bytes as GARBAGE."""
        given_up: list[F | Damaged] = []
        if self._garbage:
            given_up.append(Damaged(Damage.GARBAGE, bytes(self._garbage)))
            self._garbage.clear()
        if self._frame:
            given_up.append(Damaged(Damage.TRUNCATED, bytes(self._frame)))
            self._frame.clear()
        return given_up

    @abstractmethod
    def _read(self, frame: bytes) -> F | Damage:
        """The meaning of a whole frame, start and CR included."""
