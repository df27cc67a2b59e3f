# SPDX-License-Identifier: GPL-3.0-or-later
"""Telegrams for tests of SML: as several makers' meters send them, numbers invented; and the captures, if there."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from rockit.common.framing import Damaged
from rockit.meter.protocols import obis
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml import Decoder, List, Tag, Telegram, Time, TimeKind

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "sml"
needs_captures = pytest.mark.skipif(not CAPTURES.is_dir(), reason="needs the captures of ../shared/data/sml")


def truth() -> dict[str, Any]:
    """What is in each capture, made by other decoders."""
    return json.loads((CAPTURES / "truth.json").read_text()) if CAPTURES.is_dir() else {}


def constructed() -> list[dict[str, Any]]:
    """Streams made by another encoder."""
    return json.loads((CAPTURES / "constructed.json").read_text()) if CAPTURES.is_dir() else []


def file(lists: list[bytes], *, tag_width: int = 2, kermit: bool = False, short: bool = False, n: int = 7) -> bytes:
    """A telegram of Open, lists and Close, as a meter pushes it; `n` counts telegrams."""
    ids = [bytes((n, number)) for number in range(len(lists) + 2)]
    server = enc.octets(b"\x0a\x01TST")
    opening = enc.listed((enc.ABSENT, enc.ABSENT, enc.octets(ids[0]), server, enc.ABSENT, enc.ABSENT))
    bodies = [(Tag.OPEN_RESPONSE, opening), *((Tag.LIST_RESPONSE, each) for each in lists)]
    bodies.append((Tag.CLOSE_RESPONSE, enc.listed((enc.ABSENT,))))
    return enc.telegram(
        [
            enc.message(given, tag, body, tag_width=tag_width, kermit=kermit, short=short)
            for given, (tag, body) in zip(ids, bodies, strict=True)
        ],
        kermit=kermit,
    )


def register(code: str, value: bytes, unit: int | None, scaler: int | None, **more: bytes) -> bytes:
    return enc.entry(obis.parse(code), value, unit=enc.unsigned(unit, 1 if unit is not None else 0),
                     scaler=enc.signed(scaler, 1 if scaler is not None else 0), **more)  # fmt: skip


def edl21(energy: int = 133124849, power: int = 1394, status: int = 0x182, n: int = 7) -> bytes:
    """Like EMH eHZ: 40-bit energies, absolute power, a public key."""
    entries = [
        enc.entry(obis.parse("129-129:199.130.3*255"), enc.octets(b"EMH")),
        enc.entry(obis.parse("0.0.9"), enc.octets(bytes.fromhex("06454d480102030405 06"))),
        register("1.8.0", enc.signed(energy, 5), 30, -1, status=enc.unsigned(status, 2)),
        register("1.8.1", enc.signed(energy, 5), 30, -1),
        register("1.8.2", enc.signed(0, 5), 30, -1),
        register("15.7.0", enc.signed(power, 4), 27, -1),
        enc.entry(obis.parse(obis.PUBLIC_KEY), enc.octets(bytes(range(48)))),
    ]
    server = bytes.fromhex("06454d480102030405 06")
    when = enc.time(Time(TimeKind.SEC_INDEX, 245817516 + n))
    return file([enc.list_body(entries, server_id=server, sensor_time=when)], n=n)


def holley(power: int = -460, n: int = 7, *, kermit: bool = False) -> bytes:
    """Like Holley DTZ541: 32-bit tags, a bare time, the list's length in two bytes."""
    when = enc.unsigned(1347075 + n, 4)
    entries = [
        enc.entry(obis.parse("1-0:96.50.1*1"), enc.octets(b"HLY")),
        register("1.8.0", enc.unsigned(1773601, 4), 30, -1, status=enc.unsigned(0x1C0104, 4), time=when),
        register("2.8.0", enc.unsigned(3149260, 4), 30, -1, status=enc.unsigned(0x1C0104, 4), time=when),
        register("16.7.0", enc.signed(power, 2), 27, 0),
        register("32.7.0", enc.unsigned(2323, 2), 35, -1),
        register("1-0:0.2.0*0", enc.octets(b"1.02.007"), None, None),
    ]
    body = enc.list_body(entries, server_id=bytes.fromhex("0a01484c59020000000a"), heads=2)
    return file([body], tag_width=4, kermit=kermit, n=n)


def dzg(power: bytes = b"\x53\x8b\x28", status: int = 0x1C0104, n: int = 7) -> bytes:
    """Like DZG DVS-7412: unit and scaler on octet strings too; numbers as narrow as they fit; power signed or not."""
    moment = enc.time(Time(TimeKind.SEC_INDEX, 0))
    server = bytes.fromhex("0a01445a470000000001")
    entries = [
        register("1-0:96.50.1*1", enc.octets(b"DZG"), 0, 0, time=moment),
        register("96.1.0", enc.octets(server), 0, 0, time=moment),
        register("1.8.0", enc.signed(54301577), 30, -1, time=moment, status=enc.unsigned(status)),
        register("2.8.0", enc.signed(262445), 30, -1, time=moment),
        register("16.7.0", power, 27, -2, time=moment),
    ]
    when = enc.time(Time(TimeKind.SEC_INDEX, 505432 + n))
    return file([enc.list_body(entries, server_id=server, sensor_time=when)], n=n)


def decoded(stream: bytes, cuts: tuple[int, ...] = ()) -> list[Any]:
    """All that a fresh decoder makes of a stream, split at `cuts`."""
    decoder = Decoder()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    out = [item for a, b in itertools.pairwise(edges) for item in decoder.feed(stream[a:b])]
    return out + decoder.flush()


def account(items: list[Any]) -> list[Any]:
    """What must not depend on how a stream was split: telegrams, and the bytes lost between them."""
    merged: list[Any] = []
    for item in items:
        if not isinstance(item, Damaged):
            merged.append(item)
        elif merged and isinstance(merged[-1], bytes):
            merged[-1] += item.data
        else:
            merged.append(item.data)
    return merged


def whole(items: list[Any]) -> list[Telegram]:
    return [item for item in items if isinstance(item, Telegram) and item.whole]


def lists(items: list[Any]) -> list[List]:
    return [each for item in items if isinstance(item, Telegram) for each in item.lists]
