# SPDX-License-Identifier: GPL-3.0-or-later
"""The SML decoder on captures of real meters and on telegrams made like theirs."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smlmeters import (
    CAPTURES,
    account,
    constructed,
    decoded,
    dzg,
    edl21,
    file,
    holley,
    lists,
    needs_captures,
    register,
    truth,
    whole,
)  # fmt: skip

from rockit.common.framing import Damage, Damaged
from rockit.meter.protocols import obis, sml, sml_encode
from rockit.meter.protocols.sml import Decoder, Entry, List, Telegram, Time, TimeKind
from rockit.meter.protocols.sml_quirks import corrected

TRUTH = truth()
FILES = sorted(TRUTH) or [pytest.param("", marks=needs_captures)]
CONSTRUCTED = constructed() or [pytest.param({"name": "none"}, marks=needs_captures)]


def told(given_list: List) -> dict[str, dict[str, object]]:
    """A list in the form of truth.json."""
    return {
        obis.text(entry.name): {
            "value": plain(entry.scaled), "unit": entry.unit, "scaler": entry.scaler, "raw": plain(entry.value),
            "status": entry.status, "val_time": entry.time and [entry.time.kind, entry.time.seconds],
        }
        for entry in corrected(given_list).entries
    }  # fmt: skip


def plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return float(value) if isinstance(value, Decimal) else value


def expected(of: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    return {code: {key: entry[key] for key in sorted(entry)} for code, entry in of.items()}


# --- captures


@needs_captures
@pytest.mark.parametrize("name", FILES)
def test_captures_say_what_they_should(name):
    stream = (CAPTURES / name).read_bytes()
    decoder = Decoder()
    items = decoder.feed(stream) + decoder.flush()
    found = [each for telegram in whole(items) for each in telegram.lists]
    assert [expected(told(each)) for each in found] == [expected(each) for each in TRUTH[name]["lists"]]
    assert len(stream) == TRUTH[name]["bytes"]
    assert decoder.counters.frames == TRUTH[name]["frames"]
    assert decoder.counters.frames - decoder.counters.crc_errors == TRUTH[name]["crc_ok"]
    assert decoder.counters.bytes_skipped == sum(len(item.data) for item in items if isinstance(item, Damaged))
    for telegram in whole(items):
        assert stream[telegram.offset : telegram.end].startswith(b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01")
        assert stream[telegram.end - 8 : telegram.end - 3] == b"\x1b\x1b\x1b\x1b\x1a"
        assert [sml.message(octets).tag for octets in telegram.others] == [0x0101, 0x0201]


@needs_captures
@pytest.mark.parametrize("name", FILES)
def test_captures_byte_by_byte(name):
    stream = (CAPTURES / name).read_bytes()
    assert account(decoded(stream, tuple(range(len(stream))))) == account(decoded(stream))


@needs_captures
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_captures_in_any_pieces(data):
    stream = (CAPTURES / data.draw(st.sampled_from(sorted(TRUTH)))).read_bytes()
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    assert account(decoded(stream, tuple(cuts))) == account(decoded(stream))


@needs_captures
@pytest.mark.parametrize("size", [1, 64, 512, 4096, 10**6])
def test_captures_one_after_another(size):
    stream = b"".join((CAPTURES / name).read_bytes() for name in TRUTH)
    decoder = Decoder()
    items = [item for at in range(0, len(stream), size) for item in decoder.feed(stream[at : at + size])]
    found = [told(each) for telegram in whole(items) for each in telegram.lists]
    assert found == [told(each) for name in TRUTH for each in lists(whole(decoded((CAPTURES / name).read_bytes())))]
    assert len(found) == sum(entry["crc_ok"] for entry in TRUTH.values())


@needs_captures
def test_what_can_be_saved_from_damaged_telegrams():
    items = decoded((CAPTURES / "EasyMeter_Q3A_A1064V1009.bin").read_bytes())
    saved = [item for item in items if isinstance(item, Telegram) and not item.whole]
    (one,) = lists(saved)
    assert one.server_id == bytes.fromhex("09014553591103b599a5")
    # Energy lies between those of the whole telegrams before and after.
    values = [
        entry.value for each in lists(items) for entry in each.entries if obis.text(entry.name)[:9] == "1-0:1.8.0"
    ]
    assert values == sorted(values)
    assert len(values) == 5
    for before, item in itertools.pairwise(items):
        if isinstance(item, Telegram) and not item.whole:
            assert isinstance(before, Damaged)


@needs_captures
def test_a_line_that_loses_bytes_everywhere_gives_nothing_and_goes_on():
    stream = (CAPTURES / "DZG_DVS-7420.2V.G2_mtr1_error.bin").read_bytes()
    good = (CAPTURES / "DZG_DVS-7420.2V.G2_mtr2.bin").read_bytes()
    assert lists(decoded(stream)) == []
    assert lists(decoded(stream + good)) == lists(decoded(good))


@needs_captures
@pytest.mark.parametrize("case", CONSTRUCTED, ids=lambda case: case["name"])
def test_constructed_streams(case):
    stream = bytes.fromhex(case["hex"])
    good = [telegram for telegram in whole(decoded(stream)) if telegram.lists]
    assert len(good) == case["lists"]
    assert account(decoded(stream, tuple(range(len(stream))))) == account(decoded(stream))


@needs_captures
def test_the_encoder_writes_a_capture_byte_by_byte():
    (original,) = [bytes.fromhex(case["hex"]) for case in constructed() if case["name"] == "plain"]
    (telegram,) = whole(decoded(original))
    (found,) = telegram.lists
    enc = sml_encode
    entries = [
        enc.entry(
            entry.name, enc.value(entry.value, entry.width), status=enc.unsigned(entry.status),
            time=enc.time(entry.time), unit=enc.unsigned(entry.unit), scaler=enc.signed(entry.scaler),
        )
        for entry in found.entries
    ]  # fmt: skip
    body = enc.list_body(entries, server_id=found.server_id, sensor_time=enc.time(found.sensor_time))
    opening, closing = telegram.others
    transaction = original[original.index(body) - 14 :][:6]
    written = enc.telegram([opening, enc.message(transaction, 0x0701, body), closing])
    assert written == original


# --- telegrams like those of meters


def test_a_telegram_like_emh():
    (telegram,) = decoded(b"\x00" + edl21() + edl21(n=8))[1:2]
    assert (telegram.offset, telegram.end, telegram.whole) == (1, 1 + len(edl21()), True)
    (found,) = telegram.lists
    assert found.server_id == bytes.fromhex("06454d48010203040506")
    assert found.sensor_time == Time(TimeKind.SEC_INDEX, 245817523)
    assert [entry.scaled for entry in found.entries] == [
        b"EMH", found.server_id, Decimal("13312484.9"), Decimal("13312484.9"), Decimal("0.0"), Decimal("139.4"),
        bytes(range(48)),
    ]  # fmt: skip
    assert found.entries[2] == Entry(obis.parse("1.8.0"), 0x182, None, 30, -1, 133124849, 5)


def test_a_telegram_like_holley():
    (found,) = lists(decoded(holley()))
    assert found.entries[1].time == Time(TimeKind.SEC_INDEX, 1347082)
    assert [entry.scaled for entry in found.entries][1:5] == [
        Decimal("177360.1"), Decimal("314926.0"), -460, Decimal("232.3"),
    ]  # fmt: skip
    assert found.sensor_time is None


@pytest.mark.parametrize(
    ("power", "status", "watts"),
    [
        (b"\x53\x8b\x28", 0x1C0104, "356.24"),  # unsigned under a signed type, as the capture has it
        (b"\x53\x86\xa8", 0x1C7904, "-310.64"),  # exporting: right as it is
        (b"\x54\xfe\xcb\xfd", 0x1C7904, "-788.51"),
        (b"\x54\x8b\x28\x00", 0x1C0104, "91197.44"),
        (b"\x52\x9c", 0x1C0104, "1.56"),
        (b"\x53\x54\x5f", 0x1C0104, "215.99"),
        (b"\x55\xff\xff\x8b\x28", 0x1C0104, "-299.12"),  # four octets have room for the sign
        (b"\x53\x8b\x28", 0x1C0004, "-299.12"),  # below the start-up threshold nothing is known
        (b"\x53\x8b\x28", 0x182, "-299.12"),
    ],
)
def test_dzg_sign(power, status, watts):
    (found,) = lists(decoded(dzg(power, status)))
    entries = {obis.text(entry.name): entry for entry in corrected(found).entries}
    assert entries["1-0:16.7.0*255"].scaled == Decimal(watts)
    assert entries["1-0:1.8.0*255"].scaled == Decimal("5430157.7")


def test_the_sign_of_other_makers_is_left_alone():
    entries = [
        register("1.8.0", sml_encode.signed(1), 30, -1, status=sml_encode.unsigned(0x1C0104)),
        register("16.7.0", b"\x53\x8b\x28", 27, -2),
    ]
    (found,) = lists(decoded(file([sml_encode.list_body(entries, server_id=bytes.fromhex("0a0149534b0000000001"))])))
    assert corrected(found) is found


def test_kermit_is_believed_for_a_whole_telegram_only():
    good = holley(kermit=True)
    assert len(whole(decoded(good))) == 1
    for at in (20, len(good) // 2, len(good) - 12):
        hurt = bytearray(good)
        hurt[at] ^= 0x40
        assert lists(decoded(bytes(hurt))) == []


def test_kermit_of_messages_under_an_x25_transport():
    enc = sml_encode
    body = enc.list_body([register("1.8.0", enc.signed(5, 4), 30, 0)])
    telegram = enc.telegram([enc.message(b"a", 0x0701, body, kermit=True)])
    assert lists(whole(decoded(telegram)))[0].entries[0].value == 5


def test_a_wrong_message_checksum_under_a_right_transport():
    enc = sml_encode
    body = enc.list_body([register("1.8.0", enc.signed(5, 4), 30, 0)])
    good = enc.message(b"a", 0x0701, body)
    bad = good[:-3] + bytes((good[-3] ^ 1,)) + good[-2:]
    decoder = Decoder()
    items = decoder.feed(enc.telegram([bad, good]))
    assert isinstance(items[0], Damaged)
    assert (items[1].whole, len(items[1].lists)) == (False, 1)
    assert (decoder.counters.frames, decoder.counters.crc_errors) == (1, 1)


def test_a_short_message_checksum():
    # One in 256 has a leading zero octet: look for such a telegram.
    for n in range(600):
        body = sml_encode.list_body([register("1.8.0", sml_encode.signed(n, 4), 30, 0)])
        telegram, usual = (file([body], short=short) for short in (True, False))
        if telegram != usual:
            assert lists(whole(decoded(telegram))) == lists(whole(decoded(usual))) != []
            return
    pytest.fail("no checksum with a leading zero among 600")


def test_stray_escapes_before_the_start():
    for stray in (b"\x1b", b"\x1b\x1b", b"\x1b\x1b\x1b", b"\x1b" * 4, b"\x1b" * 9, b"\x1b\x1b\x1b\x1b\x01\x01\x01"):
        assert len(whole(decoded(stray + edl21()))) == 1
        assert len(whole(decoded(edl21() + stray + edl21(n=8)))) == 2


@pytest.mark.parametrize("run", range(1, 25))
@pytest.mark.parametrize(
    "follows", [b"", b"\x1a\x00\x00\x00", b"\x01\x01\x01\x01", b"\x01\x01\x01", b"\x02\x02\x02\x02"]
)
def test_escapes_in_the_payload_at_any_alignment(run, follows):
    for before in range(4):
        text = b"x" * before + b"\x1b" * run + follows
        entries = [register("1.8.0", sml_encode.octets(text), None, None)]
        stream = file([sml_encode.list_body(entries)]) + edl21()
        items = decoded(stream)
        assert not any(isinstance(item, Damaged) for item in items)
        assert lists(items)[0].entries[0].value == text
        assert account(decoded(stream, tuple(range(len(stream))))) == items


def test_a_telegram_that_breaks_off_in_its_end_marker():
    # Eight escapes and a start: also what an escaped payload looks like.
    for left in range(1, 9):
        stream = edl21()[:-left] + edl21(n=8)
        assert [each.sensor_time.seconds for each in lists(whole(decoded(stream)))] == [245817524], left


def test_an_unfinished_telegram_is_given_up():
    decoder = Decoder()
    assert decoder.feed(edl21()[:-9]) == []
    lost, saved = decoder.flush()
    assert lost == Damaged(Damage.TRUNCATED, edl21()[:-9])
    assert (saved.whole, list(saved.lists)) == (False, lists(decoded(edl21())))
    assert decoder.flush() == []
    assert decoder.feed(edl21())[0].offset == len(edl21()) - 9
