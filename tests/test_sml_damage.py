# SPDX-License-Identifier: GPL-3.0-or-later
"""One wrong, lost or additional byte anywhere in a telegram: never a wrong value, and the next one is never lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smlmeters import (
    CAPTURES,
    account,
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
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml import Decoder, Telegram
from rockit.meter.protocols.sml_transport import LONGEST

START = b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01"


def escaped() -> bytes:
    """A telegram with escapes, fake markers, and a checksum that may look like one."""
    texts = (b"\x1b" * 4, START, b"\x1b" * 5 + b"\x1a\x00", b"\x1b" * 11)
    entries = [register("1.8.0", enc.octets(text), None, None) for text in texts]
    return file([enc.list_body([*entries, register("2.8.0", enc.signed(5, 5), 30, 0)])])


MADE = {"edl21": edl21(), "holley": holley(), "kermit": holley(kermit=True), "dzg": dzg(), "escaped": escaped()}


def hurt(telegram: bytes) -> Iterator[bytes]:
    for at in range(len(telegram)):
        for change in (0x01, 0x80, 0xFF, telegram[at] ^ 0x1B, telegram[at] ^ 0x1A, telegram[at]):
            if change:
                yield telegram[:at] + bytes((telegram[at] ^ change,)) + telegram[at + 1 :]
        yield telegram[:at] + telegram[at + 1 :]
        for more in (0x00, 0x1B, telegram[at]):
            yield telegram[:at] + bytes((more,)) + telegram[at:]


def check_all(first: bytes, good: bytes) -> None:
    """`good` comes after what was `first` once: it is there, and nothing else but `first` may be."""
    (last,) = decoded(good)
    right = [*lists(decoded(first)), *last.lists]
    for hurt_one in hurt(first):
        stream = hurt_one + good
        decoder = Decoder()
        items = decoder.feed(stream)
        assert decoder.flush() == [], stream.hex()
        assert isinstance(items[-1], Telegram), stream.hex()
        assert items[-1].whole, stream.hex()
        assert items[-1].lists == last.lists, stream.hex()
        assert all(each in right for each in lists(items)), stream.hex()
        lost = sum(len(item.data) for item in items if isinstance(item, Damaged))
        assert lost + sum(item.end - item.offset for item in whole(items)) == len(stream)


@pytest.mark.parametrize("name", MADE)
def test_one_byte(name):
    telegram = MADE[name]
    good = edl21(n=9) if name != "edl21" else holley(n=9)
    check_all(telegram, good)


@needs_captures
@pytest.mark.parametrize(
    "name", ["DZG_DVS-7412.2_jmberg.bin", "HOLLEY_DTZ541-BDBA_without_PIN.bin", "EMH_eHZ361L5R.bin"]
)
def test_one_byte_of_a_capture(name):
    stream = (CAPTURES / name).read_bytes()
    (telegram,) = (stream[item.offset : item.end] for item in whole(decoded(stream)))
    check_all(telegram, telegram)


def test_the_same_meter_after_damage_in_any_pieces():
    for stream in list(hurt(edl21()))[::97]:
        both = stream + edl21(n=9)
        assert account(decoded(both, tuple(range(len(both))))) == account(decoded(both))


def test_messages_before_and_behind_the_damage_are_saved():
    bodies = [enc.list_body([register("1.8.0", enc.signed(n, 5), 30, -1)]) for n in range(4)]
    telegram = file(bodies)
    at = telegram.index(enc.signed(2, 5))
    for stream in (telegram[:at] + b"\x57" + telegram[at + 1 :], telegram[:at] + telegram[at + 3 :]):
        lost, saved = decoded(stream)
        assert lost == Damaged(Damage.CHECKSUM, stream)
        assert not saved.whole
        assert [each.entries[0].value for each in saved.lists] == [0, 1, 3]
        assert len(saved.others) == 2


def test_counters():
    decoder = Decoder()
    decoder.feed(b"noise" + edl21() + edl21()[:100] + edl21()[:-1] + b"\x00" + edl21())
    counters = decoder.counters
    assert (counters.frames, counters.crc_errors) == (3, 1)
    assert counters.bytes_skipped == 5 + 100 + len(edl21())


# --- any bytes at all

pieces = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([*MADE.values(), edl21(n=1)[:-3], START, b"\x1b" * 4, b"\x1b" * 8, b"\x1b", b"\x01" * 4,
                     b"\x1b\x1b\x1b\x1b\x1a\x00", b"\x76\x02\x00\x62\x00\x62\x00\x72\x63", b"\xf1\x05", b"\x7f" * 40]),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=10).map(b"".join), st.lists(st.integers(0, 9999), max_size=8))
def test_nothing_disappears_and_splits_do_not_matter(stream, cuts):
    items = decoded(stream)
    assert account(decoded(stream, tuple(cuts))) == account(items)
    assert sum(len(i.data) if isinstance(i, Damaged) else (i.end - i.offset) * i.whole for i in items) == len(stream)


@given(st.binary(max_size=300))
def test_any_payload_under_right_checksums(payload):
    items = decoded(enc.telegram([payload]) + edl21())
    assert lists(items)[-1:] == lists(decoded(edl21()))


@given(st.binary(max_size=120), st.sampled_from([0x0701, 0x0101, 0x0301, 0x0401, 0x0501, 0xFF01, 0x0201, 77]))
def test_any_body_under_right_checksums(body, tag):
    decoded(enc.telegram([enc.message(b"a", tag, body), enc.message(b"b", 0x0701, b"\x77" + body)]))


ENDLESS = {
    "starts": START,
    "escapes": b"\x1b",
    "pairs of escapes and a start": b"\x1b" * 4 + START,
    "never ends": b"\x07",
    "heads of messages": b"\x76\x02\x00\x62\x00\x62\x00\x72\x63\x07\x01",
    "lists in lists": b"\x72",
    "long heads": b"\xff",
    "wrong ends": b"\x1b\x1b\x1b\x1b\x1a\x03\x00\x00\x00\x00\x00\x00",
    "ends for hidden starts": (b"\x1b" * 4 + START) * 300 + b"\x1b\x1b\x1b\x1b\x1a\x00\x12\x34",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_memory_and_work_are_bounded(name):
    unit = ENDLESS[name]
    decoder = Decoder()
    lost = fed = 0
    began = time.process_time()
    stream = START + unit * (400_000 // len(unit))
    for at in range(0, len(stream), 997):
        fed += len(stream[at : at + 997])
        lost += sum(len(item.data) for item in decoder.feed(stream[at : at + 997]))
        assert fed - lost <= LONGEST
    spent = time.process_time() - began
    assert lists(decoder.feed(b"\x00" + edl21()))[-1:] == lists(decoded(edl21())) or unit[:1] == b"\x1b"
    print(name, spent)  # how long it takes is for the eye: pytest -s


@needs_captures
def test_every_capture_after_every_other_loses_nothing():
    streams = {name: (CAPTURES / name).read_bytes() for name in sorted(truth())[::4]}
    for first in streams.values():
        for then in streams.values():
            found = [each for telegram in whole(decoded(first[:-5] + then)) for each in telegram.lists]
            assert found[-len(lists(whole(decoded(then)))) :] == lists(whole(decoded(then)))
