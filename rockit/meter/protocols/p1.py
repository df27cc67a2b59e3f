# SPDX-License-Identifier: GPL-3.0-or-later
"""The P1 port of Dutch and Belgian meters (DSMR 2.2 to 5): `/header ... !CRC CR LF`.

The CRC is CRC-16/ARC over `/` to `!`, as four hexadecimal digits; DSMR 2.2 has none. Meters in Luxembourg and Austria
send the same encrypted (DLMS general-global-ciphering, 0xDB 0x08): such telegrams are recognised and not read.
Source: DSMR P1 companion standard 5.0.2, 6.2; 2.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rockit.common.framing import Damage, Damaged
from rockit.meter.protocols import crc
from rockit.meter.protocols.datalines import DataLine, parse_all

LONGEST = 16384
"""Most bytes of a telegram that are believed: four M-Bus devices and two long text messages are below 6 KiB."""

_PLAIN = rb"[ \"-.0-~]"
# Each matches the longest beginning of what it stands for, so that a wrong byte is seen when it comes.
_HEADER = re.compile(rb"/(?:[A-Za-z]{3}" + _PLAIN + rb"{0,64}(?:\r\n?)?|[A-Za-z]{0,2})")
_TAIL = re.compile(rb"\n!(?:[0-9A-Fa-f]{4}(?:\r\n?)?|[0-9A-Fa-f]{1,3}|(?:\r\n?)?)")
_LATER = re.compile(rb"/[A-Za-z]{3}" + _PLAIN + rb"{0,64}\r\n")
_STOP = re.compile(rb"\n[/!]")
_START = re.compile(rb"[/\xdb]")
_CIPHERED = b"\xdb\x08"
# Tag, system title (8 bytes), length in two bytes, security control 0x30 (authenticated and encrypted).
_CIPHERED_HEAD = re.compile(rb"\xdb(?:\x08(?:.{8}(?:\x82(?:.{2}\x30|.{0,2}))?|.{0,7}))?", re.DOTALL)
_CIPHERED_LENGTH = 14


@dataclass(frozen=True, slots=True)
class Telegram:
    """One telegram. `offset` and `end` are positions in the stream, bytes; `header` stands without `/`."""

    offset: int
    end: int
    header: str
    lines: tuple[DataLine, ...]


def hint(damaged: Damaged) -> str:
    """What a person should know of damaged bytes; empty where nothing is known."""
    if damaged.kind is Damage.MALFORMED and damaged.data.startswith(_CIPHERED):
        return "the telegrams are encrypted, which is not supported"
    if damaged.kind is Damage.MALFORMED and damaged.data.startswith(b"/") and damaged.data.endswith(b"\n!\r\n"):
        return "the telegrams have no CRC, as those of DSMR 2.2: they are read only when that is asked for"
    return ""


class Decoder:
    """Telegrams out of a byte stream.

    `checked` False also takes telegrams without CRC: their form is all that can show damage, so that one wrong line
    spoils the telegram. A CRC that is there is always checked.
    """

    def __init__(self, checked: bool = True) -> None:
        self._checked = checked
        self._buffer = bytearray()
        self._position = 0
        self._scanned = 0

    def feed(self, data: bytes) -> list[Telegram | Damaged]:
        """See `framing.Decoder.feed`."""
        self._buffer += data
        out: list[Telegram | Damaged] = []
        while self._buffer and self._step(out):
            pass
        return out

    def flush(self) -> list[Telegram | Damaged]:
        """See `framing.Decoder.flush`."""
        rest = self._take(len(self._buffer))
        return [Damaged(Damage.TRUNCATED, rest)] if rest else []

    def _step(self, out: list[Telegram | Damaged]) -> bool:
        """Deal with the first thing in the buffer. False: it needs more bytes."""
        if self._buffer[0] == _CIPHERED[0]:
            return self._ciphered(out)
        if self._buffer[0] != ord("/"):
            return self._garbage(0, out)
        header = _HEADER.match(self._buffer)
        assert header is not None
        if not header[0].endswith(b"\r\n"):
            return self._broken(header.end(), out)
        # The header's own end may begin the end of the telegram.
        stop = _STOP.search(self._buffer, max(header.end() - 1, self._scanned - 1), LONGEST)
        if stop is None:
            self._scanned = len(self._buffer)
            if len(self._buffer) >= LONGEST:
                out.append(Damaged(Damage.MALFORMED, self._take(LONGEST)))
                return True
            return False
        self._scanned = stop.start()
        if stop[0] == b"\n/":
            return self._broken(stop.end() - 1, out)
        tail = _TAIL.match(self._buffer, stop.start())
        assert tail is not None
        if not tail[0].endswith(b"\r\n"):
            return self._broken(tail.end(), out)
        self._whole(header.end(), stop.end(), tail.end(), out)
        return True

    def _whole(self, body: int, mark: int, end: int, out: list[Telegram | Damaged]) -> None:
        """A telegram with its end: lines from `body`, `!` before `mark`, its last byte before `end`."""
        given = bytes(self._buffer[mark : end - 2])
        # Cut off in mid-line, with the next one behind it: that one may be whole.
        later = [found.start() for found in _LATER.finditer(self._buffer, 1, mark)][-1:]
        if given and crc.arc(bytes(self._buffer[:mark])) != int(given, 16):
            if later and crc.arc(bytes(self._buffer[later[0] : mark])) == int(given, 16):
                out.append(Damaged(Damage.TRUNCATED, self._take(later[0])))
            else:
                out.append(Damaged(Damage.CHECKSUM, self._take(end)))
            return
        if later and not given:
            out.append(Damaged(Damage.TRUNCATED, self._take(later[0])))
            return
        text = self._buffer[body : mark - 1].decode("latin-1")
        lines, wrong = parse_all(line for line in text.split("\r\n") if line)
        header = self._buffer[1 : body - 2].decode("ascii")
        offset = self._position
        data = self._take(end)
        if not given and (self._checked or wrong or not lines):
            out.append(Damaged(Damage.MALFORMED, data))
            return
        out.append(Telegram(offset, self._position, header, lines))
        out += [Damaged(Damage.MALFORMED, line.encode("latin-1")) for line in wrong]

    def _ciphered(self, out: list[Telegram | Damaged]) -> bool:
        head = _CIPHERED_HEAD.match(self._buffer)
        assert head is not None
        if head.end() < _CIPHERED_LENGTH:
            return head.end() < len(self._buffer) and self._garbage(1, out)
        length = int.from_bytes(self._buffer[11:13], "big") + 13
        if length > LONGEST:
            return self._garbage(1, out)
        if len(self._buffer) < length:
            return False
        out.append(Damaged(Damage.MALFORMED, self._take(length)))
        return True

    def _broken(self, length: int, out: list[Telegram | Damaged]) -> bool:
        """What began ends after `length` bytes, if there are more: the next one does not belong to it."""
        if length == len(self._buffer):
            return False
        begins = self._buffer[length] == ord("/")
        out.append(Damaged(Damage.TRUNCATED if begins else Damage.MALFORMED, self._take(length)))
        return True

    def _garbage(self, known: int, out: list[Telegram | Damaged]) -> bool:
        start = _START.search(self._buffer, known)
        out.append(Damaged(Damage.GARBAGE, self._take(start.start() if start else len(self._buffer))))
        return True

    def _take(self, length: int) -> bytes:
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._position += length
        self._scanned = 0
        return data
