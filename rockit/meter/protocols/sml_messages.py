# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of an SML file, and those that can be saved from a damaged one.

Source: SML 1.04 (BSI TR-03109-1, Anlage IV), chapter 5; order of the fields of the profile and parameter messages:
sml_get_profile_pack_response.h, sml_get_profile_list_response.h, sml_tree.h, sml_attention_response.h of libsml.

Meters are read as they are: a field of an unexpected type is None, an entry of an unexpected shape is left out, a body
of an unexpected shape is kept as a plain tree. What cannot be walked is `Impossible`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, NamedTuple

from rockit.meter.protocols import crc
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
    Tree,
    Value,
)
from rockit.meter.protocols.sml_walker import LIST, UNSIGNED, Impossible, Values

# Heads of messages in damage: list of 6, transaction id of up to 14 octets, two Unsigned8, choice with a tag.
_HEAD = re.compile(rb"\x76[\x01-\x0f].{0,14}?\x62.\x62.\x72[\x62-\x65]", re.DOTALL)


class Sums(NamedTuple):
    """The checksum of a message: of the bytes `start` to `stop`; the number that was sent, its first octet low."""

    start: int
    stop: int
    sent: int


class Walker(Values):
    """Reads messages."""

    def entry(self) -> Entry | None:
        """SML_ListEntry."""
        if not self.is_list(7):
            return None
        name, status, time = self.fixed_octets(), self.number(), self.time()
        unit, scaler = self.fixed_number(), self.fixed_number()
        value, width = self.value()
        self.octets()
        return Entry(name or b"", status, time, unit, scaler, value, width)

    def _period_entry(self) -> Entry | None:
        if not self.is_list(5):
            return None
        name, unit, scaler = self.fixed_octets(), self.fixed_number(), self.fixed_number()
        value, width = self.value()
        self.octets()
        return Entry(name or b"", None, None, unit, scaler, value, width)

    def _column(self) -> Header | None:
        if not self.is_list(3):
            return None
        return Header(self.fixed_octets() or b"", self.fixed_number(), self.fixed_number())

    def _row(self) -> Period | None:
        if not self.is_list(4):
            return None
        return Period(self.time(), self.number(), self.elements(self._cell), self.octets())

    def _cell(self) -> Value:
        if not self.is_list(2):
            return None
        value, _ = self.value()
        self.octets()
        return value

    def _path(self) -> tuple[bytes | None, ...]:
        return self.sequence(self.fixed_octets)

    def _node(self) -> Node | None:
        if not self.is_list(3):
            return None
        return Node(self.fixed_octets() or b"", self._parameter(), self.sequence(self._node))

    def _parameter(self) -> Value | Entry | tuple[Tree, ...]:
        kind, size = self.head()
        if kind != LIST or size != 2:
            self.skip(kind, size)
            return None
        tag = self.fixed_number()
        if tag == 1:
            return self.value()[0]
        if tag == 2:
            return self._period_entry()
        if tag == 4:
            return self.time()
        return self.tree(*self.head())

    # --- messages

    def _open(self) -> Open:
        return Open(self.octets(), self.fixed_octets(), self.octets(), self.fixed_octets(), self.time(), self.number())

    def _close(self) -> Close:
        return Close(self.octets())

    def _list(self) -> List:
        ids = self.fixed_octets(), self.fixed_octets(), self.fixed_octets()
        return List(*ids, self.time(), self.sequence(self.entry), self.octets(), self.time())

    def _profile_pack(self) -> ProfilePack:
        first = self.fixed_octets(), self.time(), self.number(), self._path()
        columns, rows = self.sequence(self._column), self.sequence(self._row)
        return ProfilePack(*first, columns, rows, self.octets(), self.octets())

    def _profile_list(self) -> ProfileList:
        first = self.fixed_octets(), self.time(), self.number(), self._path()
        rest = self.time(), self.number(), self.sequence(self._period_entry)
        return ProfileList(*first, *rest, self.octets(), self.octets())

    def _parameters(self) -> Parameters:
        return Parameters(self.fixed_octets(), self._path(), self._node())

    def _attention(self) -> Attention:
        return Attention(self.fixed_octets(), self.octets(), self.octets(), self._node())

    _BODIES: ClassVar[dict[int, tuple[int, Callable[[Walker], Body]]]] = {
        Tag.OPEN_RESPONSE: (6, _open),
        Tag.CLOSE_RESPONSE: (1, _close),
        Tag.LIST_RESPONSE: (7, _list),
        Tag.PROFILE_PACK_RESPONSE: (8, _profile_pack),
        Tag.PROFILE_LIST_RESPONSE: (9, _profile_list),
        Tag.PARAMETERS_RESPONSE: (3, _parameters),
        Tag.ATTENTION_RESPONSE: (4, _attention),
    }
    """Elements of the body's list, and who reads them."""

    def _body(self, tag: int) -> Body:
        kind, size = self.head()
        if kind == LIST and tag in self._BODIES and size == self._BODIES[tag][0]:
            return self._BODIES[tag][1](self)
        return self.tree(kind, size)

    def _sent_sum(self) -> int:
        kind, size = self.head()
        if kind != UNSIGNED or not 1 <= size <= 2:
            raise Impossible
        # Low octet first. A meter that drops leading zero octets (ISKRA MT691: `62 xx`) drops the low one.
        return int.from_bytes(self._sum_octets(size).rjust(2, b"\0"), "little")

    def _sum_octets(self, size: int) -> bytes:
        return super()._octets(size)

    def message(self) -> tuple[Message, Sums]:
        """SML_Message, and what its checksum says. It is for the caller to compare."""
        start = self.at
        self.deep = 0
        if self.head() != (LIST, 6):
            raise Impossible
        transaction, group, abort = self.octets(), self.number(), self.number()
        if self.head() != (LIST, 2):
            raise Impossible
        tag = self.fixed_number()
        if tag is None:
            raise Impossible
        body = self._body(tag)
        stop = self.at
        sent = self._sent_sum()
        if self.data[self.at] != 0:
            raise Impossible
        self.at += 1
        return Message(transaction, group, abort, tag, body), Sums(start, stop, sent)


def right(data: bytes, sums: Sums, *, kermit: bool) -> bool:
    """Whether a message's checksum is the one that was sent: X-25, or where `kermit` allows it, that one.

    Some meters send CRC-16/KERMIT with the high octet first (libsml issue 75).
    """
    covered = data[sums.start : sums.stop]
    if crc.x25(covered) == sums.sent:
        return True
    return kermit and crc.kermit(covered) == (sums.sent & 0xFF) << 8 | sums.sent >> 8


def message(octets: bytes) -> Message | None:
    """One message, from its first type-length byte through its `00`; its checksum is not looked at. None for others."""
    try:
        return Walker(octets).message()[0]
    except (Impossible, IndexError):
        return None


def read(payload: bytes, *, kermit: bool) -> Content | None:
    """All messages of a whole telegram; None where one of them is damaged. Zeros at the end are fill bytes."""
    walker = Walker(payload)
    size = len(payload.rstrip(b"\0"))
    found: list[tuple[Message, bytes]] = []
    try:
        while walker.at < size:
            start = walker.at
            message, sums = walker.message()
            if not right(payload, sums, kermit=kermit):
                return None
            found.append((message, payload[start : walker.at]))
    except (Impossible, IndexError):
        return None
    return _content(found)


def _content(found: list[tuple[Message, bytes]]) -> Content:
    lists = tuple(message.body for message, _ in found if isinstance(message.body, List))
    return lists, tuple(octets for message, octets in found if not isinstance(message.body, List))


def salvage(damaged: bytes, *, kermit: bool = False) -> Content | None:
    """The messages in damage whose own checksum is right, behind the damage as well; None where there are none.

    Kermit must not be allowed where the transport's checksum is wrong: with a second chance for every message, twice as
    many accidents would be believed. The work is bounded: no more than four times the bytes are walked.
    """
    found: list[tuple[Message, bytes]] = []
    left = 4 * len(damaged)
    at = 0
    while left > 0 and (head := _HEAD.search(damaged, at)) is not None:
        start = head.start()
        walker = Walker(damaged, start)
        at = start + 1
        try:
            message, sums = walker.message()
            if right(damaged, sums, kermit=kermit):
                found.append((message, damaged[start : walker.at]))
                at = walker.at
        except (Impossible, IndexError):
            pass
        left -= walker.at - start
    return _content(found) if found else None
