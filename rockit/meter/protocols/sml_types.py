# SPDX-License-Identifier: GPL-3.0-or-later
"""What an SML telegram holds. All tuples: immutable, compared by value, and made at the speed of C (see sml_layout).

Names and order of the fields: SML 1.04 (BSI TR-03109-1, Anlage IV), checked against the headers of libsml. A field that
is optional and absent is None, and so is one whose type is not the one that SML names.
"""

from __future__ import annotations

from decimal import Context, Decimal
from enum import IntEnum
from typing import NamedTuple, TypeAlias

_EXACT = Context(prec=200)
"""Enough for every integer of 64 bits with every scaler of 8 bits, whatever the caller's own context is."""


class Tag(IntEnum):
    """Which message it is."""

    OPEN_RESPONSE = 0x0101
    CLOSE_RESPONSE = 0x0201
    PROFILE_PACK_RESPONSE = 0x0301
    PROFILE_LIST_RESPONSE = 0x0401
    PARAMETERS_RESPONSE = 0x0501
    LIST_RESPONSE = 0x0701
    ATTENTION_RESPONSE = 0xFF01


class TimeKind(IntEnum):
    """What the seconds of a `Time` are."""

    SEC_INDEX = 1
    """Seconds of operation: no date."""
    TIMESTAMP = 2
    """Seconds since 1970 in UTC."""
    LOCAL = 3
    """Seconds since 1970 in UTC, with the offsets of the local time beside them."""


class Time(NamedTuple):
    """SML_Time. A bare number in place of the choice (Holley) is a SEC_INDEX."""

    kind: int
    seconds: int
    offset: int = 0
    """Minutes that local time is ahead of UTC, without summer time."""
    summer: int = 0
    """Minutes that summer time adds."""


Value: TypeAlias = int | bool | bytes | Time | None
Tree: TypeAlias = "Value | tuple[Tree, ...]"
"""What a body of an unknown tag holds: lists as tuples."""


class Entry(NamedTuple):
    """SML_ListEntry (or SML_PeriodEntry, which has neither status nor time)."""

    name: bytes
    """The six octets of an OBIS code; empty where it is missing."""
    status: int | None = None
    time: Time | None = None
    unit: int | None = None
    """DLMS code, see `obis.unit`."""
    scaler: int | None = None
    value: Value = None
    """As sent, not scaled."""
    width: int = 0
    """Octets of `value` on the wire where it is a number, else 0: a meter's wrong signs are told by it."""

    @property
    def scaled(self) -> Value | Decimal:
        """The exact value in `unit`: integer or Decimal; what is no number as it is.

        An absent scaler is 0. None where the scaler is outside of 8 bits, which no meter can mean.
        """
        value, scaler = self.value, self.scaler
        if not scaler or isinstance(value, bool) or not isinstance(value, int):
            return value
        if not -128 <= scaler <= 127:
            return None
        if scaler > 0:
            return int(value * 10**scaler)
        return Decimal(value).scaleb(scaler, _EXACT)


class Open(NamedTuple):
    """PublicOpen.Res."""

    codepage: bytes | None
    client_id: bytes | None
    file_id: bytes | None
    server_id: bytes | None
    time: Time | None
    version: int | None


class Close(NamedTuple):
    """PublicClose.Res."""

    signature: bytes | None


class List(NamedTuple):
    """GetList.Res: what a meter pushes every second or so."""

    client_id: bytes | None
    server_id: bytes | None
    list_name: bytes | None
    sensor_time: Time | None
    entries: tuple[Entry, ...]
    signature: bytes | None = None
    gateway_time: Time | None = None


class Header(NamedTuple):
    """SML_ProfObjHeaderEntry: a column of a `ProfilePack`."""

    name: bytes
    unit: int | None
    scaler: int | None


class Period(NamedTuple):
    """SML_ProfObjPeriodEntry: a row of a `ProfilePack`, values not scaled."""

    time: Time | None
    status: int | None
    values: tuple[Value, ...]
    signature: bytes | None


class ProfilePack(NamedTuple):
    """GetProfilePack.Res: `period` is the interval of registration in s."""

    server_id: bytes | None
    time: Time | None
    period: int | None
    path: tuple[bytes | None, ...]
    headers: tuple[Header, ...]
    periods: tuple[Period, ...]
    raw: bytes | None
    signature: bytes | None


class ProfileList(NamedTuple):
    """GetProfileList.Res: the registers of one moment (`value_time`) of a load profile."""

    server_id: bytes | None
    time: Time | None
    period: int | None
    path: tuple[bytes | None, ...]
    value_time: Time | None
    status: int | None
    entries: tuple[Entry, ...]
    raw: bytes | None
    signature: bytes | None


class Node(NamedTuple):
    """SML_Tree: one parameter and those below it."""

    name: bytes
    value: Value | Entry | tuple[Tree, ...]
    """A tuple is an SML_TupelEntry as it was sent."""
    children: tuple[Node, ...] = ()


class Parameters(NamedTuple):
    """GetProcParameter.Res."""

    server_id: bytes | None
    path: tuple[bytes | None, ...]
    tree: Node | None


class Attention(NamedTuple):
    """Attention.Res: the meter refuses, or acknowledges (`number` is a code of the OBIS form 81 81 C7 C7 ...)."""

    server_id: bytes | None
    number: bytes | None
    text: bytes | None
    details: Node | None


Body: TypeAlias = "Open | Close | List | ProfilePack | ProfileList | Parameters | Attention | Tree"


class Message(NamedTuple):
    """SML_Message. `tag` is one of `Tag`, or a number that is not known: then `body` is a plain `Tree`."""

    transaction: bytes | None
    group: int | None
    abort: int | None
    tag: int
    body: Body


Content: TypeAlias = tuple[tuple[List, ...], tuple[bytes, ...]]
"""What a telegram says: its `lists` and its `others`."""


class Telegram(NamedTuple):
    """An SML file as it stood in the stream: bytes `offset` to `end`, counted from the decoder's first byte."""

    offset: int
    """Of the first byte of the start marker."""
    end: int
    """One past the last byte."""
    whole: bool
    """The checksum of the transport was right and so were those of all messages. Else a `Damaged` came right before,
    and these are the messages in it whose own checksum was right."""
    lists: tuple[List, ...]
    """The bodies of its GetList.Res: what a meter is read for."""
    others: tuple[bytes, ...] = ()
    """Its other messages as they were sent, checksum right. `sml.message` reads one; nobody wants each second's."""
