# SPDX-License-Identifier: GPL-3.0-or-later
"""What the encoder writes is what the decoder reads; and the fast path reads what the walk reads."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from smlmeters import CAPTURES, decoded, dzg, edl21, holley, lists, needs_captures, register, truth, whole

from rockit.common.framing import Damaged
from rockit.meter.protocols import sml, sml_encode, sml_layout
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml import (
    Attention,
    Close,
    Decoder,
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
)  # fmt: skip
from rockit.meter.protocols.sml_messages import salvage

# --- values

names = st.binary(min_size=6, max_size=6)
times = st.one_of(
    st.none(),
    st.tuples(st.sampled_from([1, 2]), st.integers(0, 2**32 - 1)).map(lambda made: Time(*made)),
    st.builds(Time, st.just(TimeKind.LOCAL), st.integers(0, 2**32 - 1), st.integers(-900, 900), st.integers(0, 120)),
)
octets = st.one_of(
    st.binary(max_size=20), st.binary(min_size=250, max_size=300), st.integers(1, 20).map(lambda size: b"\x1b" * size)
)


@st.composite
def numbers(draw: st.DrawFn) -> tuple[bytes, int, int]:
    """Encoded, the number, its width."""
    width = draw(st.integers(1, 8))
    if draw(st.booleans()):
        number = draw(st.integers(-(2 ** (8 * width - 1)), 2 ** (8 * width - 1) - 1))
        return enc.signed(number, width), number, width
    number = draw(st.integers(0, 2 ** (8 * width) - 1))
    return enc.unsigned(number, width), number, width


@st.composite
def entries(draw: st.DrawFn) -> tuple[bytes, Entry]:
    """Encoded, and what must be read."""
    kind = draw(st.sampled_from(["number", "number", "octets", "boolean", "time", "absent"]))
    value, width = None, 0
    encoded = enc.ABSENT
    if kind == "number":
        encoded, value, width = draw(numbers())
    elif kind == "octets":
        text = draw(octets)
        encoded, value = enc.octets(text, heads=draw(st.integers(1, 3))), text or None
    elif kind == "boolean":
        value = draw(st.booleans())
        encoded = enc.boolean(value)
    elif kind == "time":
        value = draw(times)
        encoded = enc.time(value)
    status, when = draw(st.none() | st.integers(0, 2**64 - 1)), draw(times)
    unit, scaler = draw(st.none() | st.integers(0, 255)), draw(st.none() | st.integers(-128, 127))
    name = draw(names)
    pieces = enc.entry(
        name, encoded, status=enc.unsigned(status), time=enc.time(when), unit=enc.unsigned(unit),
        scaler=enc.signed(scaler), signature=enc.octets(draw(st.none() | st.binary(min_size=1, max_size=5))),
    )  # fmt: skip
    return pieces, Entry(name, status, when, unit, scaler, value, width)


ids = st.none() | st.binary(min_size=1, max_size=12)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, tuple[List, ...]]:
    """A telegram and the lists in it."""
    kermit = draw(st.booleans())
    messages, found = [], []
    for number in range(draw(st.integers(0, 3))):
        made = draw(st.lists(entries(), max_size=20))
        client, server, name, signature = draw(ids), draw(ids), draw(ids), draw(ids)
        sensor, gateway = draw(times), draw(times)
        body = enc.list_body(
            [piece for piece, _ in made], client_id=client, server_id=server, list_name=name, signature=signature,
            sensor_time=enc.time(sensor), gateway_time=enc.time(gateway), heads=draw(st.integers(1, 3)),
        )  # fmt: skip
        width = draw(st.sampled_from([2, 4]))
        messages.append(enc.message(bytes((number,)), Tag.LIST_RESPONSE, body, tag_width=width, kermit=kermit))
        found.append(List(client, server, name, sensor, tuple(entry for _, entry in made), signature, gateway))
    return enc.telegram(messages, kermit=kermit), tuple(found)


@settings(deadline=None)
@given(files(), st.lists(st.integers(0, 5000), max_size=5))
def test_what_is_written_is_read(file_and_lists, cuts):
    stream, expected = file_and_lists
    (telegram,) = decoded(stream, tuple(cuts))
    assert telegram == Telegram(0, len(stream), True, expected, ())
    for read, meant in zip(telegram.lists, expected, strict=True):
        assert [type(entry.value) for entry in read.entries] == [type(entry.value) for entry in meant.entries]
        assert [type(entry) for entry in read.entries] == [Entry] * len(meant.entries)


@given(
    st.lists(
        st.builds(
            Entry,
            names,
            st.none() | st.integers(0, 2**32),
            times,
            st.none() | st.integers(0, 255),
            st.none() | st.integers(-9, 9),
            st.integers(-(2**31), 2**31 - 1),
            st.just(4),
        ),
        max_size=9,
    ),
    ids,
)
def test_a_simulated_push_is_read(made, server):  # fmt: skip
    pushed = List(None, server, None, Time(TimeKind.SEC_INDEX, 9), tuple(made))
    (telegram,) = decoded(sml_encode.push([pushed], 77))
    assert telegram.lists == (pushed,)
    opening, closing = map(sml.message, telegram.others)
    assert (opening.tag, opening.body.server_id, closing.body) == (Tag.OPEN_RESPONSE, server, Close(None))


# --- exact values


@pytest.mark.parametrize(
    ("value", "scaler", "scaled"),
    [
        (13312484, -1, Decimal("1331248.4")), (2324, 3, 2324000), (5, None, 5), (5, 0, 5), (-5, -4, Decimal("-0.0005")),
        (2**64 - 1, -4, Decimal("1844674407370955.1615")), (-(2**63), 127, -(2**63) * 10**127),
        (2**63, -128, Decimal(2**63) / 10**0 * Decimal(10) ** -128), (5, 128, None), (5, -129, None), (5, 10**15, None),
        (True, 3, True), (b"EMH", -1, b"EMH"), (None, 2, None), (Time(1, 5), 1, Time(1, 5)),
    ],
)  # fmt: skip
def test_scaled_values_are_exact(value, scaler, scaled):
    with localcontext(prec=3):
        result = Entry(b"", scaler=scaler, value=value).scaled
    assert result == scaled
    assert type(result) is type(scaled)


# --- messages besides lists


def read(tag: int, body: bytes) -> Message:
    (telegram,) = whole(decoded(enc.telegram([enc.message(b"\x01\x02", tag, body, group=3, abort=1)])))
    (octets_,) = telegram.others
    message = sml.message(octets_)
    assert (message.transaction, message.group, message.abort, message.tag) == (b"\x01\x02", 3, 1, tag)
    return message.body


SERVER = enc.octets(b"meter")
PATH = enc.listed([enc.octets(b"\x81\x81\xc7\x86\x11\xff"), enc.octets(b"\x01")])
WHEN = enc.time(Time(TimeKind.TIMESTAMP, 99))
PERIOD_ENTRY = enc.listed(
    [enc.octets(b"\1\0\1\x08\0\xff"), enc.unsigned(30, 1), enc.signed(-1, 1), enc.signed(5, 5), enc.ABSENT]
)
PARSED_ENTRY = Entry(b"\1\0\1\x08\0\xff", None, None, 30, -1, 5, 5)


def test_open_and_close():
    local = Time(TimeKind.LOCAL, 99, 60, -60)
    body = enc.listed([enc.octets(b"utf"), enc.ABSENT, enc.octets(b"f"), SERVER, enc.time(local), enc.unsigned(2, 1)])
    assert read(Tag.OPEN_RESPONSE, body) == Open(b"utf", None, b"f", b"meter", local, 2)
    assert read(Tag.CLOSE_RESPONSE, enc.listed([enc.octets(b"s")])) == Close(b"s")


def test_profile_list():
    body = enc.listed([SERVER, WHEN, enc.unsigned(900, 4), PATH, WHEN, enc.unsigned(2, 8), enc.listed([PERIOD_ENTRY]),
                       enc.ABSENT, enc.octets(b"s")])  # fmt: skip
    assert read(Tag.PROFILE_LIST_RESPONSE, body) == ProfileList(
        b"meter", Time(2, 99), 900, (b"\x81\x81\xc7\x86\x11\xff", b"\x01"), Time(2, 99), 2, (PARSED_ENTRY,), None, b"s"
    )


def test_profile_pack_keeps_absent_values_in_their_columns():
    header = enc.listed([enc.octets(b"\1\0\1\x08\0\xff"), enc.unsigned(30, 1), enc.signed(-1, 1)])
    cells = [enc.listed([enc.signed(number), enc.ABSENT]) for number in (1, None, 3)]
    row = enc.listed([WHEN, enc.unsigned(0, 1), enc.listed(cells), enc.ABSENT])
    body = enc.listed([SERVER, WHEN, enc.unsigned(900, 4), PATH, enc.listed([header] * 3), enc.listed([row, row]),
                       enc.ABSENT, enc.ABSENT])  # fmt: skip
    pack = read(Tag.PROFILE_PACK_RESPONSE, body)
    assert isinstance(pack, ProfilePack)
    assert pack.headers == (Header(b"\1\0\1\x08\0\xff", 30, -1),) * 3
    assert pack.periods == (Period(Time(2, 99), 0, (1, None, 3), None),) * 2


def test_parameters_and_attention():
    leaves = [
        enc.listed([enc.octets(b"v"), enc.choice(1, enc.signed(7), width=1), enc.ABSENT]),
        enc.listed([enc.octets(b"e"), enc.choice(2, PERIOD_ENTRY, width=1), enc.ABSENT]),
        enc.listed([enc.octets(b"t"), enc.choice(4, WHEN, width=1), enc.ABSENT]),
        enc.listed([enc.octets(b"x"), enc.choice(3, enc.listed([SERVER, enc.ABSENT]), width=1), enc.ABSENT]),
        enc.listed([enc.octets(b"n"), enc.ABSENT, enc.ABSENT]),
    ]
    tree = enc.listed([enc.octets(b"root"), enc.ABSENT, enc.listed(leaves)])
    node = Node(b"root", None, (
        Node(b"v", 7), Node(b"e", PARSED_ENTRY), Node(b"t", Time(2, 99)), Node(b"x", (b"meter", None)),
        Node(b"n", None),
    ))  # fmt: skip
    path = (b"\x81\x81\xc7\x86\x11\xff", b"\x01")
    assert read(Tag.PARAMETERS_RESPONSE, enc.listed([SERVER, PATH, tree])) == Parameters(b"meter", path, node)
    body = enc.listed([SERVER, enc.octets(b"\x81\x81\xc7\xc7\xfe\x03"), enc.octets(b"no"), tree])
    assert read(Tag.ATTENTION_RESPONSE, body) == Attention(b"meter", b"\x81\x81\xc7\xc7\xfe\x03", b"no", node)


def test_unknown_messages_and_unexpected_bodies_are_kept_as_they_are():
    body = enc.listed([enc.signed(-1), enc.listed([enc.boolean(True), enc.octets(b"x")]), enc.ABSENT])
    assert read(0x4711, body) == (-1, (True, b"x"), None)
    assert read(Tag.CLOSE_RESPONSE, body) == (-1, (True, b"x"), None)
    assert read(Tag.LIST_RESPONSE, enc.ABSENT) is None


def test_odd_fields_do_not_cost_the_list():
    odd = enc.listed([enc.octets(b"\1\0\1\x08\0\xff"), SERVER, PATH, SERVER, SERVER, enc.signed(5, 2), enc.signed(1)])
    short = enc.listed([enc.octets(b"x"), enc.ABSENT])
    body = enc.list_body([odd, short, register("2.8.0", enc.signed(1, 1), 30, 0)], sensor_time=PATH)
    (found,) = lists(decoded(enc.telegram([enc.message(b"a", Tag.LIST_RESPONSE, body)])))
    assert found.entries[0] == Entry(b"\1\0\1\x08\0\xff", value=5, width=2)
    assert len(found.entries) == 2
    assert found.sensor_time is None


def test_no_message():
    assert sml.message(b"") is None
    assert sml.message(b"\x76\x01") is None
    assert salvage(b"\x76" * 1000) is None


def test_depth_is_bounded():
    assert sml.message(b"\x76\x01\x62\x00\x62\x00\x72\x62\x09" + b"\x71" * 5000 + b"\x01") is None


# --- the fast path


def slow(stream: bytes, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    with monkeypatch.context() as patch:
        patch.setattr(sml_layout.Layouts, "read", lambda *_: None)
        return decoded(stream)


class Watched(Decoder):
    """A decoder that tells how many telegrams it walked."""

    def __init__(self) -> None:
        super().__init__()
        self.walked = 0

    def _walk(self, telegram: bytes, *, learn: bool) -> object:
        self.walked += 1
        return super()._walk(telegram, learn=learn)


@pytest.mark.parametrize("make", [edl21, holley, dzg])
def test_a_meter_is_walked_twice(make, monkeypatch):
    stream = b"".join(make(n=n) for n in range(1, 100))
    decoder = Watched()
    items = decoder.feed(stream)
    assert decoder.walked == 2  # the second shows what changes
    assert items == slow(stream, monkeypatch)
    assert len({each.entries[1:3] and (each.sensor_time or each.entries[1].time) for each in lists(items)}) == 99


def test_what_changes_width_or_structure_is_walked_and_learnt(monkeypatch):
    made = [edl21(), edl21(status=0x1B0), edl21(power=-5), edl21(energy=2**38), edl21(energy=-5), holley(), dzg(),
            dzg(b"\x54\x8b\x28\x00"), dzg(b"\x53\x00\x01")]  # fmt: skip
    stream = b"".join(made * 5)
    decoder = Watched()
    items = decoder.feed(stream)
    assert items == slow(stream, monkeypatch)
    assert decoder.walked <= len(made)


@needs_captures
@pytest.mark.parametrize("name", sorted(truth()))
def test_captures_are_read_alike(name, monkeypatch):
    stream = (CAPTURES / name).read_bytes()
    decoder = Watched()
    items = [item for _ in range(3) for item in [*decoder.feed(stream), *decoder.flush()]]
    expected = slow(stream, monkeypatch)
    shift = [Telegram(0, 0, *item[2:]) if isinstance(item, Telegram) else item for item in items]
    assert shift == [Telegram(0, 0, *item[2:]) if isinstance(item, Telegram) else item for item in expected] * 3
    assert decoder.walked <= 8


@settings(deadline=None)
@given(st.data())
def test_any_telegrams_are_read_alike(data):
    stream, expected = data.draw(files())
    assume(expected)
    decoder = Decoder()
    (first,) = decoder.feed(stream)
    (again,) = decoder.feed(stream)
    assert again[2:] == first[2:]
    assert [list(map(type, each)) for each in again.lists] == [list(map(type, each)) for each in first.lists]
    # Other values in the same structure, so far as octets can be replaced without becoming escapes.
    at = data.draw(st.integers(8, len(stream) - 9))
    changed = bytearray(stream)
    changed[at] ^= data.draw(st.integers(1, 255))
    changed = changed[:-2]
    changed += sml_encode.crc.x25(bytes(changed)).to_bytes(2, "little")
    known, fresh = decoder.feed(bytes(changed)), Decoder().feed(bytes(changed))
    strip = [item if isinstance(item, Damaged) else item[2:] for item in known]
    assert strip == [item if isinstance(item, Damaged) else item[2:] for item in fresh]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-(2**39), 2**39 - 1), st.integers(-(2**31), 2**31 - 1), st.sampled_from([0x182, 0x1A2])),
        min_size=2,
        max_size=8,
    )
)
def test_values_of_a_known_meter(values):  # fmt: skip
    decoder = Decoder()
    for energy, power, status in values:
        (telegram,) = decoder.feed(edl21(energy, power, status))
        entries_ = telegram.lists[0].entries
        assert (entries_[2].value, entries_[3].value, entries_[5].value) == (energy, energy, power)
        assert entries_[2].status == status


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_wrong_message_checksum_in_a_known_structure(number):
    made = [edl21(power=1394 + n, n=n) for n in range(1, 9)]
    decoder = Watched()
    decoder.feed(b"".join(made))
    assert decoder.walked == 2
    # The checksums of the messages stand in front of the 00 that ends each; the transport's is made right again.
    good = edl21(power=1500, n=9)
    ends = [good.index(octets) + len(octets) for octets in whole(decoded(good))[0].others]
    end = [ends[0], ends[1] - len(whole(decoded(good))[0].others[1]), ends[1]][number]
    for at in (end - 2, end - 3):
        bad = good[:at] + bytes((good[at] ^ 0x10,)) + good[at + 1 : -2]
        items = decoder.feed(bad + sml_encode.crc.x25(bad).to_bytes(2, "little"))
        assert isinstance(items[0], Damaged)
        assert not whole(items)
        assert len(lists(items)) == (number != 1)
    before = decoder.walked
    assert len(whole(decoder.feed(good))) == 1
    assert decoder.walked == before


def test_the_cache_is_bounded():
    decoder = Decoder()
    for n in range(500):
        texts = [
            register("1.8.0", enc.octets(b"x" * (n % 190)), None, None),
            register(f"{n % 99}.7.0", b"\x62\x01", n % 200, 0),
        ]
        decoder.feed(enc.telegram([enc.message(b"a", Tag.LIST_RESPONSE, enc.list_body(texts))]))
        kept = decoder._layouts._known.values()
        assert sum(map(len, kept)) <= 64
