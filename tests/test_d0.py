# SPDX-License-Identifier: GPL-3.0-or-later
"""D0 (IEC 62056-21): identifications and data blocks, damage, the readout, and the driver on a simulated meter."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce
from operator import xor

import pytest
from bench import decoded, joined
from hypothesis import given
from hypothesis import strategies as st

from rockit.common.framing import Damage, Damaged
from rockit.meter.drivers import d0 as driver
from rockit.meter.drivers.d0 import Baud, Expect, Send, Wait, listen, readings, readout
from rockit.meter.protocols import d0
from rockit.meter.protocols.d0 import LONGEST, Decoder, Ident, Telegram
from rockit.meter.simulators.d0 import D0Meter

BODY = b"F.F(00)\r\n0.0.0(12345678)\r\n1-0:1.8.0*255(000123.456*kWh)\r\n1.8.0*01(000100.000*kWh)\r\n!\r\n"
IDENT = b"/LGZ5ZMD12044.b32\r\n"


def block(body: bytes = BODY) -> bytes:
    inner = body + b"\x03"
    return b"\x02" + inner + bytes([reduce(xor, inner)])


def even(data: bytes) -> bytes:
    return bytes(byte | 0x80 if byte.bit_count() % 2 else byte for byte in data)


def telegrams(items: list[object]) -> list[Telegram]:
    return [item for item in items if isinstance(item, Telegram)]


# --- requests and identifications


def test_requests_are_those_of_the_standard():
    assert d0.request() == bytes.fromhex("2f3f210d0a")
    assert d0.request("12345678") == b"/?12345678!\r\n"
    assert d0.acknowledge("5") == bytes.fromhex("063035300d0a")
    assert d0.acknowledge("0") == bytes.fromhex("063030300d0a")
    assert d0.acknowledge("5", 1) == b"\x06051\r\n"


@pytest.mark.parametrize("address", ["1!", "/", "a\r\n", "x" * 33, "\u00fc"])
def test_an_address_that_would_be_another_request_is_refused(address):
    with pytest.raises(ValueError):
        d0.request(address)


@pytest.mark.parametrize(("character", "mode"), [("", 0), ("A", 0), ("55", 0), ("5", 10), ("\u0665", 0)])
def test_an_acknowledgement_that_cannot_be(character, mode):
    with pytest.raises(ValueError):
        d0.acknowledge(character, mode)


@pytest.mark.parametrize(
    ("line", "mode", "baud", "reaction"),
    [
        (b"/LGZ0X\r\n", "C", 300, 0.2), (b"/LGZ5X\r\n", "C", 9600, 0.2), (b"/LGZ6X\r\n", "C", 19200, 0.2),
        (b"/ISk5MT174\r\n", "C", 9600, 0.02), (b"/ABBAX\r\n", "B", 600, 0.2), (b"/ABBFX\r\n", "B", 19200, 0.2),
        (b"/ABB X\r\n", "A", None, 0.2), (b"/ABB7X\r\n", "A", None, 0.2), (b"/ABB\r\n", "A", None, 0.2),
    ],
)  # fmt: skip
def test_speed_and_patience_of_an_identification(line, mode, baud, reaction):
    (ident,) = Decoder().feed(line)
    assert isinstance(ident, Ident)
    assert (d0.mode_of(ident), d0.baud_of(ident), d0.reaction_time(ident)) == (mode, baud, reaction)
    assert (ident.offset, ident.end) == (0, len(line))


# --- blocks


def test_a_meter_that_was_asked():
    items = Decoder().feed(IDENT + block())
    ident, telegram = items
    assert isinstance(ident, Ident)
    assert isinstance(telegram, Telegram)
    assert (ident.maker, ident.baud_character, ident.text) == ("LGZ", "5", "ZMD12044.b32")
    assert telegram.ident == ident
    assert (telegram.offset, telegram.end) == (len(IDENT), len(IDENT) + len(block()))
    (reading,) = readings(telegram)
    assert set(reading.registers) == {"1-0:97.97.0*255", "1-0:0.0.0*255", "1-0:1.8.0*255", "1-0:1.8.0*1"}
    energy = reading.registers["1-0:1.8.0*255"]
    assert (energy.value, energy.unit, energy.counter) == (Decimal(123456), "Wh", True)
    assert energy.label == "Active energy import"
    assert not reading.registers["1-0:1.8.0*1"].counter
    assert reading.registers["1-0:97.97.0*255"].value == "00"
    assert reading.server_id == "12345678"
    assert reading.notes == {"manufacturer": "LGZ", "identification": "ZMD12044.b32"}
    assert telegram.checked


def test_a_block_that_says_nothing_is_no_reading():
    (telegram,) = Decoder().feed(block(b"!\r\n"))
    assert readings(telegram) == []
    (telegram,) = Decoder().feed(block())
    assert readings(telegram)[0].notes == {}


def test_echo_of_an_optical_head_is_no_identification():
    stream = d0.request() + IDENT + d0.acknowledge("5") + block()
    for cuts in ([], range(len(stream))):
        ident, telegram = decoded(Decoder(), stream, cuts)
        assert isinstance(ident, Ident)
        assert telegram.ident == ident
    assert decoded(Decoder(), d0.request("123")) == []


def test_a_wrong_check_byte_gives_no_value_and_spoils_nothing_else():
    bad = bytearray(block())
    bad[40] ^= 0x01
    first, second = Decoder().feed(bytes(bad) + block())
    assert first == Damaged(Damage.CHECKSUM, bytes(bad))
    assert isinstance(second, Telegram)


@given(st.integers(0, len(block()) - 1), st.integers(0, 6), st.sets(st.integers(0, 400)))
def test_any_flipped_bit_of_a_block_is_seen(at, bit, cuts):
    bad = bytearray(block())
    bad[at] ^= 1 << bit
    items = decoded(Decoder(), bytes(bad) + IDENT + block(), cuts)
    assert [reading.registers["1-0:1.8.0*255"].value for item in telegrams(items) for reading in readings(item)] == [
        Decimal(123456)
    ]
    assert any(isinstance(item, Damaged) for item in items)


@given(st.integers(0, len(block()) - 1))
def test_a_lost_byte_costs_one_block(at):
    lost = block()[:at] + block()[at + 1 :]
    items = Decoder().feed(lost + IDENT + block())
    assert isinstance(items[-1], Telegram)
    assert len(telegrams(items)) == 1
    assert items[-1].end == len(lost + IDENT + block())


def test_another_block_inside_one_ends_it():
    half = block()[:30]
    first, second = Decoder().feed(half + block())
    assert first == Damaged(Damage.TRUNCATED, half)
    assert isinstance(second, Telegram)


def test_a_line_that_is_none_in_a_right_block_is_counted():
    telegram, line = Decoder().feed(block(b"1.8.0(1.0*kWh)\r\nnonsense\r\n!\r\n"))
    assert [data.code for data in telegram.lines] == ["1.8.0"]
    assert line == Damaged(Damage.MALFORMED, b"nonsense")


def test_flush_gives_up_what_is_unfinished():
    decoder = Decoder()
    assert decoder.feed(block()[:20]) == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, block()[:20])]
    assert decoder.flush() == []
    (telegram,) = decoder.feed(block())
    assert telegram.offset == 20
    assert telegram.ident is None


def test_memory_is_bounded():
    for start, fill in ((b"\x02", b"x"), (b"\x02", b"!"), (b"/", b"x"), (b"", b"x"), (IDENT, b"x")):
        decoder = Decoder(checked=False)
        decoder.feed(start)
        for _ in range(40):
            decoder.feed(fill * 4096)
            assert len(decoder._buffer) <= LONGEST
    decoder = Decoder()
    assert decoder.feed(b"\x02" + b"1" * (LONGEST - 1)) == [Damaged(Damage.MALFORMED, b"\x02" + b"1" * (LONGEST - 1))]


# --- parity


def test_even_parity_in_bit_7_is_taken_off():
    ident, telegram = Decoder(parity=True).feed(even(IDENT + block()))
    assert ident.text == "ZMD12044.b32"
    assert readings(telegram)[0].registers["1-0:1.8.0*255"].value == Decimal(123456)


@given(st.integers(0, len(block()) - 1))
def test_a_byte_with_wrong_parity_damages_its_block(at):
    bad = bytearray(even(block()))
    bad[at] ^= 0x80
    items = decoded(Decoder(parity=True), bytes(bad) + even(block()))
    assert len(telegrams(items)) == 1
    assert items[0].data[:at] == bytes(bad[:at])


def test_two_bytes_with_wrong_parity_do_not_make_up_for_each_other():
    bad = bytearray(even(block()))
    first = bad.index(ord("0"))
    for at in (first, bad.index(ord("0"), first + 1)):
        bad[at] ^= 0x80
    assert Decoder(parity=True).feed(bytes(bad)) == [Damaged(Damage.CHECKSUM, bytes(bad))]


# --- blocks without a check byte

PUSHED = b"/ESY5Q3DA1004 V3.04\r\n\r\n1-0:0.0.0*255(20745965)\r\n1-0:1.8.0*255(0001234.5678000*kWh)\r\n!\r\n"


def test_a_block_without_check_byte_counts_only_when_it_is_asked_for():
    assert not telegrams(decoded(Decoder(), PUSHED + PUSHED))
    for cuts in ([], range(2 * len(PUSHED))):
        items = decoded(Decoder(checked=False), PUSHED + PUSHED, cuts)
        assert [type(item) for item in items] == [Ident, Telegram] * 2
        (reading,) = readings(items[1])
        assert reading.registers["1-0:1.8.0*255"].value == Decimal("1234567.8")
        assert not items[1].checked
        assert (reading.server_id, reading.notes["manufacturer"]) == ("20745965", "ESY")
        assert items[3].end == 2 * len(PUSHED)


@pytest.mark.parametrize(
    "bad", [b"1-0:1.8.0*255(00\x9012.5*kWh)\r\n", b"1-0:1.8.0*255(0012.5*kWh\r\n", b"1.8\x00(1*kWh)\r\n"]
)
def test_form_is_all_that_shows_damage_there(bad):
    items = decoded(Decoder(checked=False), IDENT + b"0.0.0(1)\r\n" + bad + b"!\r\n" + PUSHED)
    assert len(telegrams(items)) == 1


@pytest.mark.parametrize("length", [30, 50, len(PUSHED) - 3])
def test_a_bare_block_that_was_cut_off_does_not_cost_the_next_one(length):
    items = Decoder(checked=False).feed(PUSHED[:length] + PUSHED)
    assert [item.offset for item in telegrams(items)] == [length + len(b"/ESY5Q3DA1004 V3.04\r\n\r\n")]
    assert any(isinstance(item, Damaged) and item.kind is Damage.TRUNCATED for item in items)


def test_a_check_byte_that_is_there_is_checked():
    bad = block()[:-1] + bytes([block()[-1] ^ 1])
    assert decoded(Decoder(checked=False), IDENT + bad)[1:] == [Damaged(Damage.CHECKSUM, bad)]


def test_a_block_without_identification_is_none():
    assert not telegrams(decoded(Decoder(checked=False), BODY))


# --- any stream

pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([IDENT, block(), block()[:17], block()[:-1], BODY, PUSHED, d0.request(), d0.acknowledge("5"),
                     b"\x02", b"\x03", b"/", b"!\r\n", b"\r\n", b"/?", b"\x06", even(block())]),
)  # fmt: skip
streams = st.lists(pieces, max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 2000), max_size=8), st.booleans(), st.booleans())
def test_the_same_however_it_is_split(data, cuts, checked, parity):
    def raw(item):
        return item.data

    whole = joined(decoded(Decoder(checked, parity), data), raw)
    assert joined(decoded(Decoder(checked, parity), data, cuts), raw) == whole
    assert joined(decoded(Decoder(checked, parity), data, range(len(data))), raw) == whole


@given(streams, st.lists(st.integers(0, 2000), max_size=8), st.booleans())
def test_nothing_disappears_but_echoes_and_empty_lines(data, cuts, checked):
    told, block_before = b"", b""
    for item in decoded(Decoder(checked), data, cuts):
        if isinstance(item, Damaged):
            # A wrong line of a right block comes out on its own as well.
            told += b"" if item.kind is Damage.MALFORMED and item.data in block_before else item.data
        else:
            told += data[item.offset : item.end]
            block_before = data[item.offset : item.end] if isinstance(item, Telegram) else b""
    of_echoes = d0.request() + d0.acknowledge("5")
    assert told.translate(None, of_echoes) == data.translate(None, of_echoes)
    if not any(byte in data for byte in b"?\x06\r\n"):
        assert told == data


# --- the readout on a simulated meter


class Run:
    """A thin transport without a port: carries out what a readout asks for, time passes by counting."""

    def __init__(self, meter: D0Meter, **options: bool) -> None:
        self.meter = meter
        self.decoder = Decoder(**options)
        self.now = 0.0
        self.did: list[object] = []
        self.kept: list[object] = []
        self.damaged: list[Damage] = []

    def __call__(self, steps: driver.Readout) -> Telegram | None:
        answer = None
        while True:
            try:
                action = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            self.did.append(action)
            answer = None
            if isinstance(action, Send):
                self.meter.receive(even(action.data) if self.meter.parity else action.data, self.now)
            elif isinstance(action, Wait):
                self.now += action.seconds
            elif isinstance(action, Expect):
                answer = self._expect(action)

    def _expect(self, expected: Expect) -> object:
        silent, until = 0.0, self.now + expected.seconds
        while True:
            while self.kept:
                item = self.kept.pop(0)
                if isinstance(item, expected.kind):
                    return item
                if isinstance(item, Damaged):
                    self.damaged.append(item.kind)
            if silent >= expected.silence or self.now >= until:
                break
            self.now += 0.05
            silent += 0.05
            if data := self.meter.output(self.now):
                silent = 0.0
                self.kept = self.decoder.feed(data)
        self.damaged += [item.kind for item in self.decoder.flush() if isinstance(item, Damaged)]
        return None


@pytest.mark.parametrize(
    ("mode", "speeds", "sent"),
    [
        ("A", [300], [d0.request()]),
        ("B", [300, 9600, 300], [d0.request()]),
        ("C", [300, 9600, 300], [d0.request(), d0.acknowledge("5")]),
    ],
)
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("parity", [False, True])
def test_modes_of_a_readout(mode, speeds, sent, echo, parity):
    meter = D0Meter(mode=mode, power=1500.0, energy=1234.5, parity=parity)
    if echo:
        meter.set_fault("echo", "on")
    run = Run(meter, parity=parity)
    telegram = run(readout())
    assert telegram is not None
    assert [action.baud for action in run.did if isinstance(action, Baud)] == speeds
    assert [action.data for action in run.did if isinstance(action, Send)] == sent
    (reading,) = readings(telegram)
    assert 1234500 <= reading.registers["1-0:1.8.0*255"].value <= 1234510
    assert reading.registers["1-0:1.7.0*255"].value == 1500
    assert reading.registers["1-0:1.7.0*255"].unit == "W"
    assert reading.server_id == "1SIM0012345678"
    assert reading.notes["manufacturer"] == "SIM"
    assert reading.notes["1-0:1.6.0*255 more"] == "2601151215"
    assert not run.damaged


def test_the_acknowledgement_waits_for_the_meter_and_the_switch_for_the_head():
    run = Run(D0Meter())
    assert run(readout(switch_delay=0.3)) is not None
    waits = [(type(action), getattr(action, "seconds", None)) for action in run.did if not isinstance(action, Expect)]
    assert waits == [(Baud, None), (Send, None), (Wait, 0.2), (Send, None), (Wait, 0.3), (Baud, None), (Baud, None)]


def test_a_meter_answers_only_to_its_address():
    assert Run(D0Meter())(readout("1SIM0012345678")) is not None
    assert Run(D0Meter())(readout("999")) is None


def test_a_readout_that_fails_leaves_the_speed_where_the_meter_listens():
    meter = D0Meter()
    run = Run(meter)
    meter.set_fault("silence", "once")
    assert run(readout()) is None
    steps = readout()
    assert steps.send(None) == Baud(300)
    ident = Ident(0, 0, "SIM", "5", "X")
    did = [next(steps), next(steps), steps.send(ident), next(steps), next(steps), next(steps)]
    assert isinstance(did[-1], Expect)
    assert steps.send(None) == Baud(300)
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value is None
    assert run(readout()) is not None


@pytest.mark.parametrize(
    ("fault", "kind"), [("checksum", Damage.CHECKSUM), ("drop", Damage.CHECKSUM), ("truncate", Damage.TRUNCATED)]
)
def test_faults_of_the_line_give_no_value(fault, kind):
    meter = D0Meter(push=True)
    run = Run(meter)
    meter.set_fault(fault, "once")
    telegram = run(listen(period=2.0))
    assert telegram is not None
    assert telegram.offset > 100
    assert telegram.ident is not None
    assert kind in run.damaged


def test_a_foreign_answer_is_no_telegram():
    meter = D0Meter()
    meter.set_fault("foreign", "on")
    assert Run(meter)(readout()) is None


def test_a_meter_that_sends_by_itself_counts_on():
    run = Run(D0Meter(push=True, power=3_600_000.0, energy=10.0))
    values = []
    for _ in range(3):
        telegram = run(listen(period=2.0))
        assert telegram is not None
        values.append(readings(telegram)[0].registers["1-0:1.8.0*255"].value)
    assert values == [12000, 14000, 16000]


def test_a_meter_that_sends_bare_blocks():
    run = Run(D0Meter(push=True, bare=True), checked=False)
    telegram = run(listen(period=2.0))
    assert telegram is not None
    assert not telegram.checked
    meter = D0Meter(push=True, bare=True)
    meter.set_fault("checksum", "on")
    assert Run(meter, checked=False)(listen(period=2.0)) is None


def test_export_and_error_of_the_simulated_meter():
    meter = D0Meter(power=-700.0, push=True)
    meter.set_fault("error", "on")
    telegram = Run(meter)(listen())
    assert telegram is not None
    registers = readings(telegram)[0].registers
    assert registers["1-0:2.7.0*255"].value == 700
    assert registers["1-0:1.7.0*255"].value == 0
    assert registers["1-0:97.97.0*255"].value == "01"
    meter.set_condition("power", "100")
    assert meter.info()["power"] == 100.0
    for key, value in (("power", "x"), ("energy", "-1")):
        with pytest.raises(ValueError):
            meter.set_condition(key, value)
    for options in ({"mode": "E"}, {"period": 0.1}):
        with pytest.raises(ValueError):
            D0Meter(**options)
