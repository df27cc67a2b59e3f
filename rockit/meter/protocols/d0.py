# SPDX-License-Identifier: GPL-3.0-or-later
"""D0: the optical interface of IEC 62056-21 (IEC 1107), modes A to D.

`/XXXZident CR LF` says who the meter is, STX ... ETX BCC is what it has to tell. BCC is the exclusive or of what
follows STX up to ETX. In mode D, and from some meters that send by themselves, the block stands bare between the
identification and `! CR LF`. Sources: IEC 62056-21, 5 and 6.3 to 6.5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import ClassVar

from rockit.common.framing import Damage, Damaged
from rockit.meter.protocols.datalines import DataLine, parse_all

LONGEST = 65536
"""Most bytes of a block that are believed: a year of historic values is about 16 KiB."""
STX, ETX, ACK = 0x02, 0x03, 0x06

_PLAIN = rb"[ \"-.0-~]"  # printable, without ! and /
# Each matches the longest beginning of what it stands for, so that a wrong byte is seen when it comes.
_HEAD = re.compile(
    rb"/(?:\?[0-9A-Za-z ]{0,32}(?:!(?:\r\n?)?)?|[A-Za-z]{3}" + _PLAIN + rb"{0,40}(?:\r\n?)?|[A-Za-z]{0,2})"
)
_HEAD_AT_END = re.compile(rb"/[A-Za-z]{3}" + _PLAIN + rb"{0,40}\r\n(?:\r\n)?$")
_ACKNOWLEDGE = re.compile(rb"\x06(?:[0-9](?:[0-9A-Za-z](?:[0-9](?:\r\n?)?)?)?)?")
_BLOCK_STOP = re.compile(rb"[\x02\x03]|\n/|!\r\n[^\x03]")
_BARE_STOP = re.compile(rb"[^ -.0-~\r\n]|!\r\n")
_START = re.compile(rb"[/\x02\x06]")
_ADDRESS = re.compile(r"[0-9A-Za-z ]{0,32}")
_CRLF = b"\r\n"

# 7 bits with even parity -> the 7 bits; with wrong parity -> 0x80, which occurs in nothing that is believed.
_PARITY = bytes(byte & 0x7F if byte.bit_count() % 2 == 0 else 0x80 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Ident:
    """An identification line. `offset` and `end` are positions in the stream, bytes."""

    offset: int
    end: int
    maker: str
    """Three letters (FLAG association); the third in lower case: the meter reacts within 20 ms."""
    baud_character: str
    text: str
    whole: ClassVar[bool] = False
    """A part of a readout, not one."""


@dataclass(frozen=True, slots=True)
class Telegram:
    """A data block. `offset` and `end` are positions in the stream, bytes; `checked`: its BCC was there, and right."""

    offset: int
    end: int
    lines: tuple[DataLine, ...]
    ident: Ident | None = None
    """The identification that stood directly before it."""
    checked: bool = True


def request(address: str = "") -> bytes:
    """Asks every meter, or the one with that address, for its identification. Raises ValueError."""
    if not _ADDRESS.fullmatch(address):
        raise ValueError(f"{address!r} is no address of a meter: at most 32 letters and digits")
    return b"/?" + address.encode("ascii") + b"!\r\n"


def acknowledge(baud_character: str, mode: int = 0) -> bytes:
    """Answers an identification of mode C: the new speed; data readout (0) or programming (1). Raises ValueError."""
    if not re.fullmatch(r"[0-9]", baud_character) or mode not in range(10):
        raise ValueError(f"no acknowledgement for speed {baud_character!r} and mode {mode}")
    return f"\x060{baud_character}{mode}\r\n".encode("ascii")


def mode_of(ident: Ident) -> str:
    """`C`: acknowledge, then switch; `B`: switch without; `A`: neither. Mode D looks like C: it is not asked."""
    if re.fullmatch(r"[0-6]", ident.baud_character):
        return "C"
    return "B" if re.fullmatch(r"[A-F]", ident.baud_character) else "A"


def baud_of(ident: Ident) -> int | None:
    """Bits a second that the meter proposes for its block; None: the speed stays (mode A, reserved characters)."""
    mode, character = mode_of(ident), ident.baud_character
    if mode == "A":
        return None
    return 300 << (int(character) if mode == "C" else ord(character) - ord("A") + 1)


def reaction_time(ident: Ident) -> float:
    """Seconds to wait before the acknowledgement."""
    return 0.02 if ident.maker[2].islower() else 0.2


class Decoder:
    """Identifications and data blocks out of a byte stream; our own requests that an optical head gives back are none.

    `checked` False also takes blocks without STX and BCC: their form is all that can show damage, so that one wrong
    line spoils the block. `parity`: bytes carry even parity in bit 7 (a 7E1 line on a port that is set to 8N1).
    """

    def __init__(self, checked: bool = True, parity: bool = False) -> None:
        self._bare = not checked
        self._parity = parity
        self._buffer = bytearray()  # as it came
        self._plain = bytearray()  # without parity; of the same length
        self._position = 0  # of the first byte of both
        self._scanned = 0
        self._ident: Ident | None = None
        self._ident_until = 0  # where what belongs to it has to begin
        self._in_bare = False

    def feed(self, data: bytes) -> list[Ident | Telegram | Damaged]:
        """See `framing.Decoder.feed`."""
        self._buffer += data
        self._plain += data.translate(_PARITY) if self._parity else data
        out: list[Ident | Telegram | Damaged] = []
        while self._buffer and self._step(out):
            pass
        return out

    def flush(self) -> list[Ident | Telegram | Damaged]:
        """See `framing.Decoder.flush`."""
        self._ident, self._in_bare = None, False
        rest = self._take(len(self._buffer))
        return [Damaged(Damage.TRUNCATED, rest)] if rest else []

    def _step(self, out: list[Ident | Telegram | Damaged]) -> bool:
        """Deal with the first thing in the buffer. False: it needs more bytes."""
        if self._in_bare:
            return self._bare_block(out)
        first = self._plain[0]
        if first == STX:
            return self._block(out)
        if first in b"/\x06":
            return self._head(out)
        if self._ident is not None and first in _CRLF:
            self._take(1)  # an empty line after the identification
            self._ident_until = self._position
            return True
        if self._ident is not None and self._bare and 0x20 < first < 0x7F:
            self._in_bare = True
            return True
        self._ident = None
        start = _START.search(self._plain)
        out.append(Damaged(Damage.GARBAGE, self._take(start.start() if start else len(self._buffer))))
        return True

    def _head(self, out: list[Ident | Telegram | Damaged]) -> bool:
        """An identification, or an echo of our own request or acknowledgement (which is forgotten)."""
        acknowledged = self._plain[0] == ACK
        found = (_ACKNOWLEDGE if acknowledged else _HEAD).match(self._plain)
        assert found is not None
        head = found[0]
        if not head.endswith(_CRLF):
            if found.end() == len(self._plain):
                return False
            self._ident = None
            self._damaged(found.end(), out)
            return True
        offset = self._position
        self._take(found.end())
        self._ident_until = self._position
        if not acknowledged:
            self._ident = None
            if not head.startswith(b"/?"):
                text = head[1:-2].decode("ascii")
                self._ident = Ident(offset, self._position, text[:3], text[3:4], text[4:])
                out.append(self._ident)
        return True

    def _block(self, out: list[Ident | Telegram | Damaged]) -> bool:
        stop = _BLOCK_STOP.search(self._plain, max(1, self._scanned - 3), LONGEST)
        if stop is None:
            return self._unfinished(out)
        if stop[0] != b"\x03":  # another thing begins, or what follows the end is no ETX
            self._ident = None
            at = stop.end() - 1
            # A block that was cut off in mid-line, with the next identification behind it.
            head = _HEAD_AT_END.search(self._plain[:at]) if stop[0] == b"\x02" else None
            self._damaged(head.start() if head else at, out)
            return True
        etx = stop.start()
        if len(self._plain) < etx + 2:
            self._scanned = etx
            return False
        content, bcc = self._plain[1 : etx + 1], self._plain[etx + 1]
        if (0x80 in content and self._parity) or reduce(xor, content) != bcc:
            # A check byte that got lost may be the beginning of what follows.
            out.append(Damaged(Damage.CHECKSUM, self._take(etx + (1 if bcc in b"/\x02" else 2))))
            self._ident = None
            return True
        lines, wrong = _lines(content[:-1])
        offset = self._position
        self._take(etx + 2)
        out.append(Telegram(offset, self._position, lines, self._known(offset)))
        out += [Damaged(Damage.MALFORMED, line.encode("latin-1")) for line in wrong]
        return True

    def _bare_block(self, out: list[Ident | Telegram | Damaged]) -> bool:
        stop = _BARE_STOP.search(self._plain, max(0, self._scanned - 3), LONGEST)
        if stop is None:
            return self._unfinished(out)
        self._in_bare = False
        if stop[0] != b"!\r\n":
            self._ident = None
            self._damaged(stop.end() - 1, out)
            return True
        lines, wrong = _lines(self._plain[: stop.end()])
        offset = self._position
        data = self._take(stop.end())
        ident = self._known(offset)
        if wrong or not lines:
            out.append(Damaged(Damage.MALFORMED, data))
        else:
            out.append(Telegram(offset, self._position, lines, ident, checked=False))
        return True

    def _unfinished(self, out: list[Ident | Telegram | Damaged]) -> bool:
        self._scanned = len(self._plain)
        if len(self._plain) < LONGEST:
            return False
        self._ident, self._in_bare = None, False
        out.append(Damaged(Damage.MALFORMED, self._take(LONGEST)))
        return True

    def _damaged(self, length: int, out: list[Ident | Telegram | Damaged]) -> None:
        """Throw away what began and cannot be; the byte behind it is looked at anew."""
        begins = self._plain[length] in b"/\x02\x06"
        out.append(Damaged(Damage.TRUNCATED if begins else Damage.MALFORMED, self._take(length)))

    def _known(self, offset: int) -> Ident | None:
        ident, self._ident = self._ident, None
        return ident if self._ident_until == offset else None

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length], self._plain[:length]
        self._position += length
        self._scanned = 0
        return data


def _lines(content: bytes | bytearray) -> tuple[tuple[DataLine, ...], tuple[str, ...]]:
    text = content.decode("latin-1").rstrip("\r\n").removesuffix("!")
    return parse_all(line for line in text.split("\r\n") if line)
