# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes SML, piece by piece: for simulated meters and for tests. The pieces are bytes, put together from
the inside out.

    telegram([message(b"\\x01", Tag.LIST_RESPONSE, list_body(entries=[entry(name, signed(1234, 5))]))])

Where a meter chooses a width, so can the caller. See `sml_messages` for the format and its sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rockit.meter.protocols import crc
from rockit.meter.protocols.sml_transport import END, ESCAPE, START
from rockit.meter.protocols.sml_types import Entry, List, Tag, Time, TimeKind, Value
from rockit.meter.protocols.sml_walker import BOOLEAN, LIST, MORE, OCTETS, SIGNED, UNSIGNED

ABSENT = b"\x01"
_END_OF_MESSAGE = b"\x00"


def _head(kind: int, size: int, *, heads: int = 1) -> bytes:
    """Type-length bytes of `size` octets of content, or elements of a list; at least `heads` of them."""
    while True:
        length = size + (0 if kind == LIST else heads)
        if length < 16**heads:
            break
        heads += 1
    nibbles = [length >> 4 * place & 0x0F for place in range(heads - 1, -1, -1)]
    return bytes(
        nibble | (MORE if place < heads - 1 else 0) | (kind if place == 0 else 0)
        for place, nibble in enumerate(nibbles)
    )


def octets(content: bytes | None, *, heads: int = 1) -> bytes:
    """An octet string, or an absent one. `heads`: type-length bytes, more than needed where a meter does so."""
    return ABSENT if content is None else _head(OCTETS, len(content), heads=heads) + content


def boolean(value: bool) -> bytes:
    """One octet of 1 or 0."""
    return _head(BOOLEAN, 1) + bytes((value,))


def signed(value: int | None, width: int = 0) -> bytes:
    """An Integer of `width` octets (1 to 8), or as few as it needs. Raises OverflowError."""
    if value is None:
        return ABSENT
    needed = (value.bit_length() if value >= 0 else (value + 1).bit_length()) // 8 + 1
    return _head(SIGNED, width or needed) + value.to_bytes(width or needed, "big", signed=True)


def unsigned(value: int | None, width: int = 0) -> bytes:
    """An Unsigned of `width` octets (1 to 8), or as few as it needs. Raises OverflowError."""
    if value is None:
        return ABSENT
    needed = max(1, (value.bit_length() + 7) // 8)
    return _head(UNSIGNED, width or needed) + value.to_bytes(width or needed, "big")


def listed(elements: Iterable[bytes], *, heads: int = 1) -> bytes:
    """A list of pieces."""
    pieces = list(elements)
    return _head(LIST, len(pieces), heads=heads) + b"".join(pieces)


def choice(tag: int, content: bytes, *, width: int = 0) -> bytes:
    """A tag of `width` octets and what it stands for."""
    return listed((unsigned(tag, width), content))


def time(value: Time | None) -> bytes:
    """SML_Time, as most meters send it."""
    if value is None:
        return ABSENT
    seconds = unsigned(value.seconds, 4)
    if value.kind == TimeKind.LOCAL:
        return choice(value.kind, listed((seconds, signed(value.offset, 2), signed(value.summer, 2))))
    return choice(value.kind, seconds)


def value(of: Value, width: int = 0) -> bytes:
    """The value of a register; integers are signed."""
    if of is None or isinstance(of, bytes):
        return octets(of)
    if isinstance(of, bool):
        return boolean(of)
    return time(of) if isinstance(of, Time) else signed(of, width)


def entry(
    name: bytes,
    value: bytes,
    *,
    status: bytes = ABSENT,
    time: bytes = ABSENT,
    unit: bytes = ABSENT,
    scaler: bytes = ABSENT,
    signature: bytes = ABSENT,
) -> bytes:
    """SML_ListEntry of pieces."""
    return listed((octets(name), status, time, unit, scaler, value, signature))


def list_body(
    entries: Iterable[bytes],
    *,
    client_id: bytes | None = None,
    server_id: bytes | None = None,
    list_name: bytes | None = None,
    sensor_time: bytes = ABSENT,
    signature: bytes | None = None,
    gateway_time: bytes = ABSENT,
    heads: int = 1,
) -> bytes:
    """The body of a GetList.Res, of pieces; `heads`: type-length bytes of the list of entries."""
    ids = octets(client_id), octets(server_id), octets(list_name)
    return listed((*ids, sensor_time, listed(entries, heads=heads), octets(signature), gateway_time))


def message(
    transaction: bytes,
    tag: int,
    body: bytes,
    *,
    group: int = 0,
    abort: int = 0,
    tag_width: int = 2,
    kermit: bool = False,
    short: bool = False,
) -> bytes:
    """SML_Message with its checksum: X-25, or `kermit`; `short` drops a leading zero octet of it (ISKRA MT691)."""
    numbers = unsigned(group, 1) + unsigned(abort, 1)
    covered = _head(LIST, 6) + octets(transaction) + numbers + choice(tag, body, width=tag_width)
    sent = crc.kermit(covered).to_bytes(2, "big") if kermit else crc.x25(covered).to_bytes(2, "little")
    if short and sent[0] == 0:
        sent = sent[1:]
    return covered + unsigned(int.from_bytes(sent, "big"), len(sent)) + _END_OF_MESSAGE


def telegram(messages: Sequence[bytes], *, kermit: bool = False) -> bytes:
    """The messages between start and end marker, escaped, filled up to a multiple of four, with the checksum."""
    payload = b"".join(messages).replace(ESCAPE, ESCAPE * 2)
    fill = -len(payload) % 4
    covered = START + payload + bytes(fill) + ESCAPE + bytes((END, fill))
    return covered + (crc.kermit(covered).to_bytes(2, "big") if kermit else crc.x25(covered).to_bytes(2, "little"))


def of_entry(register: Entry) -> bytes:
    """An entry with its numbers as wide as `width` says."""
    return entry(
        register.name,
        value(register.value, register.width),
        status=unsigned(register.status),
        time=time(register.time),
        unit=unsigned(register.unit),
        scaler=signed(register.scaler),
    )


def push(lists: Sequence[List], transaction: int, *, kermit: bool = False) -> bytes:
    """What a meter pushes: PublicOpen.Res, the lists, PublicClose.Res. `transaction` counts (up to 32 bits)."""
    ids = [bytes((0x0A,)) + (transaction & 0xFFFFFFFF).to_bytes(4, "big") + bytes((n,)) for n in range(len(lists) + 2)]
    server = lists[0].server_id if lists else None
    opening = listed((ABSENT, ABSENT, octets(ids[0]), octets(server), ABSENT, ABSENT))
    messages = [message(ids[0], Tag.OPEN_RESPONSE, opening, kermit=kermit)]
    for number, each in enumerate(lists, 1):
        body = list_body(
            map(of_entry, each.entries),
            client_id=each.client_id,
            server_id=each.server_id,
            list_name=each.list_name,
            sensor_time=time(each.sensor_time),
            signature=each.signature,
            gateway_time=time(each.gateway_time),
        )
        messages.append(message(ids[number], Tag.LIST_RESPONSE, body, kermit=kermit))
    messages.append(message(ids[-1], Tag.CLOSE_RESPONSE, listed((ABSENT,)), kermit=kermit))
    return telegram(messages, kermit=kermit)
