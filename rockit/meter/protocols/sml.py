# SPDX-License-Identifier: GPL-3.0-or-later
"""Smart Message Language, as meters push it through their optical head: bytes in, telegrams out.

What is believed: a telegram whose transport checksum is right and every message of which has its own right (X-25, or
CRC-16/KERMIT as some firmware sends it). From a damaged one only the messages whose own X-25 checksum is right; they
are marked, as a checksum of 16 bits alone is wrong once in 65,536 accidents. See `sml_types` for what a telegram holds.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass

from rockit.common.framing import Damage, Damaged
from rockit.meter.protocols import crc, sml_messages
from rockit.meter.protocols.sml_layout import MIRROR, RESIDUE, Layouts
from rockit.meter.protocols.sml_messages import message
from rockit.meter.protocols.sml_transport import ESCAPE, START, Framer
from rockit.meter.protocols.sml_types import (
    Attention,
    Body,
    Close,
    Content,
    Entry,
    Header,
    List,
    Message,
    Node,
    Open,
    Parameters,
    Period,
    ProfileList,
    ProfilePack,
    Tag,
    Telegram,
    Time,
    TimeKind,
    Tree,
    Value,
)

__all__ = [
    "Attention", "Body", "Close", "Content", "Counters", "Decoder", "Entry", "Header", "List", "Message", "Node",
    "Open", "Parameters", "Period", "ProfileList", "ProfilePack", "Tag", "Telegram", "Time", "TimeKind", "Tree",
    "Value", "message",
]  # fmt: skip

_ENDING = 8


@dataclass(slots=True)
class Counters:
    """What a decoder has seen since it was made."""

    frames: int = 0
    """Telegrams whose end marker came, right or wrong."""
    crc_errors: int = 0
    """Those of them that were not whole: a wrong checksum, of the transport or of a message."""
    bytes_skipped: int = 0
    """Bytes in `Damaged`, also where messages were saved from them."""


class Decoder:
    """A `Decoder` of telegrams, see `rockit.common.framing`.

    Where messages could be saved from a damaged telegram, a `Telegram` that is not whole follows its `Damaged`. At most
    `sml_transport.LONGEST` bytes are held.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self._layouts = Layouts()
        self._framer: Framer[Telegram | Damaged] = Framer(self._read, self._lost)

    def feed(self, data: bytes) -> list[Telegram | Damaged]:
        """Take more bytes; return what became whole, in order. Never raises."""
        return self._framer.feed(data)

    def flush(self) -> list[Telegram | Damaged]:
        """The wait is over: give up an unfinished telegram (as TRUNCATED) and start clean."""
        return self._framer.flush()

    def _lost(self, data: bytes, offset: int, kind: Damage) -> list[Telegram | Damaged]:
        out: list[Telegram | Damaged] = [Damaged(kind, data)]
        counters = self.counters
        counters.bytes_skipped += len(data)
        if kind is Damage.CHECKSUM:
            counters.frames += 1
            counters.crc_errors += 1
        if kind is not Damage.GARBAGE:
            # Where the transport's checksum is right, a second kind of checksum for the messages invites no accidents.
            intact = kind is Damage.CHECKSUM and _intact(data)
            saved = sml_messages.salvage(_plain(data), kermit=intact)
            if saved:
                out.append(Telegram(offset, offset + len(data), False, *saved))
        return out

    def _read(self, telegram: bytes, offset: int) -> Telegram | None:
        found = self._layouts.read(telegram, offset)
        if found is None:
            intact = _intact(telegram)
            if not intact and crc.kermit(telegram[:-2]) != int.from_bytes(telegram[-2:], "big"):
                return None
            content = self._walk(telegram, learn=intact)
            if content is None:
                return None
            found = Telegram(offset, offset + len(telegram), True, *content)
        self.counters.frames += 1
        return found

    def _walk(self, telegram: bytes, *, learn: bool) -> Content | None:
        fill = telegram[-3]
        if fill > 3:
            return None
        payload = telegram[len(START) : len(telegram) - _ENDING - fill]
        if ESCAPE in payload:
            return sml_messages.read(_plain(payload), kermit=True)
        content = sml_messages.read(payload, kermit=False)
        if content is None:
            return sml_messages.read(payload, kermit=True)
        if learn:
            self._layouts.learn(telegram)
        return content


def _intact(telegram: bytes) -> bool:
    """Whether the transport's checksum is the right X-25."""
    return crc_hqx(telegram.translate(MIRROR), 0xFFFF) == RESIDUE


def _plain(escaped: bytes) -> bytes:
    return escaped.replace(ESCAPE * 2, ESCAPE)
