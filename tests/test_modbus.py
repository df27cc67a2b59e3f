# SPDX-License-Identifier: GPL-3.0-or-later
"""The Modbus adapter: its framings on any bytes, and that no answer is taken for another."""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest
from bench import decoded, joined
from boilers import serving
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.boiler.simulators.modbus_slave import ModbusSlave
from rockit.common.framing import Damage, Damaged, Refused
from rockit.common.transport import NoAnswer, PortLost, Stopped
from rockit.common.transport import modbus as adapter
from rockit.common.transport.modbus import ASCII, RTU, TCP, AsciiDecoder, Frame, ModbusBus, RtuDecoder, TcpDecoder
from rockit.common.transport.settings import LineSettings

# MODBUS Application Protocol 1.1b3, 6.3: registers 0x6B to 0x6D hold 0x022B, 0, 0x64; unit 17, CRC by hand.
ANSWER = bytes.fromhex("1103 06 022b 0000 0064")
RTU_ANSWER = ANSWER + bytes.fromhex("c8ba")
DECODERS = {"rtu": RtuDecoder, "ascii": AsciiDecoder, "tcp": TcpDecoder}
SETTINGS = LineSettings(timeout=1.0)


def raw(item):
    return item.data


def encoded(kind, frame):
    return {"rtu": adapter.encode_rtu, "ascii": adapter.encode_ascii, "tcp": adapter.encode_tcp}[kind](frame)


@pytest.mark.parametrize(
    ("kind", "data", "transaction"),
    [("rtu", RTU_ANSWER, 0), ("ascii", b":110306022B0000006455\r\n", 0),
     ("tcp", bytes.fromhex("0007 0000 0009") + ANSWER, 7)],
)  # fmt: skip
def test_the_same_answer_in_each_framing(kind, data, transaction):
    assert decoded(DECODERS[kind](), data) == [Frame(17, ANSWER[1:], transaction)]


def test_questions_as_the_specifications_print_them():
    question = Frame(17, bytes.fromhex("03006B0003"), 1)
    assert adapter.encode_rtu(question).hex() == "1103006b00037687"
    assert adapter.encode_ascii(question) == b":1103006B00037E\r\n"
    assert adapter.encode_tcp(question).hex() == "0001000000061103006b0003"


frames = st.builds(
    Frame,
    st.integers(1, 247),
    st.one_of(
        st.binary(min_size=1, max_size=125).map(lambda d: bytes([3, 2 * len(d)]) + d + d),
        st.binary(min_size=1, max_size=125).map(lambda d: bytes([4, 2 * len(d)]) + d + d),
        st.binary(min_size=1, max_size=250).map(lambda d: bytes([2, len(d)]) + d),
        st.tuples(st.sampled_from([5, 6, 16]), st.binary(min_size=4, max_size=4)).map(lambda w: bytes([w[0]]) + w[1]),
        st.sampled_from([1, 2, 3, 4, 5, 6, 16]).map(lambda f: bytes([f | 0x80, 2])),
    ),
)


@pytest.mark.parametrize("kind", DECODERS)
@settings(deadline=None)
@given(st.lists(frames, max_size=4), st.data())
def test_answers_come_out_however_the_stream_is_split(kind, sent, data):
    stream = b"".join(encoded(kind, frame) for frame in sent)
    cuts = data.draw(st.lists(st.integers(0, 2000), max_size=8))
    assert decoded(DECODERS[kind](), stream, cuts) == sent


@pytest.mark.parametrize("kind", DECODERS)
@settings(deadline=None)
@given(st.binary(max_size=1500), st.lists(st.integers(0, 1500), max_size=6))
def test_any_bytes_are_counted_and_none_is_lost(kind, noise, cuts):
    whole = decoded(DECODERS[kind](), noise)
    assert joined(decoded(DECODERS[kind](), noise, cuts), raw) == joined(whole, raw)
    if all(isinstance(item, Damaged) for item in whole):
        assert b"".join(item.data for item in whole) == noise


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_noise_hides_no_rtu_answer(before, after):
    assert Frame(17, ANSWER[1:]) in decoded(RtuDecoder(), before + RTU_ANSWER + after)


def test_an_echo_of_the_question_does_not_hide_the_answer():
    question = adapter.encode_rtu(Frame(17, bytes.fromhex("03006B0003")))
    assert decoded(RtuDecoder(), question + RTU_ANSWER) == [
        Damaged(Damage.GARBAGE, question), Frame(17, ANSWER[1:])
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "data", "damage"),
    [("rtu", RTU_ANSWER[:-1] + b"\0", Damage.CHECKSUM), ("rtu", RTU_ANSWER[:5], Damage.TRUNCATED),
     ("rtu", b"\x11\x63" * 4, Damage.GARBAGE), ("ascii", b":110306022B0000006450\r\n", Damage.CHECKSUM),
     ("ascii", b":11030\r\n", Damage.MALFORMED), ("ascii", b":1103 06022B0000006455\r\n", Damage.MALFORMED),
     ("ascii", b":1103", Damage.TRUNCATED), ("tcp", bytes.fromhex("0007000000091103"), Damage.TRUNCATED)],
)  # fmt: skip
def test_damage_is_told_apart(kind, data, damage):
    assert decoded(DECODERS[kind](), data) == [Damaged(damage, data)]


def test_a_tcp_header_that_cannot_be_is_skipped():
    good = bytes.fromhex("0007 0000 0009") + ANSWER
    out = decoded(TcpDecoder(), b"\xff\xff\xff\xff" + good)
    assert out[-1] == Frame(17, ANSWER[1:], 7)
    assert {item.kind for item in out[:-1]} == {Damage.MALFORMED}


@pytest.mark.parametrize(
    ("where", "framing", "url"),
    [("/dev/ttyUSB0", RTU, "/dev/ttyUSB0"), ("ascii:///dev/ttyUSB0", ASCII, "/dev/ttyUSB0"),
     ("tcp://meter.lan", TCP, "socket://meter.lan:502"), ("tcp://10.2.6.9:1502", TCP, "socket://10.2.6.9:1502"),
     ("tcp://[fe80::1]:502", TCP, "socket://[fe80::1]:502"),
     ("rtu+tcp://moxa:4001", RTU, "socket://moxa:4001"), ("rfc2217://moxa:4001", RTU, "rfc2217://moxa:4001")],
)  # fmt: skip
def test_the_port_says_the_framing(where, framing, url):
    assert adapter.framing_of(where) == (framing, url)


@pytest.mark.parametrize(
    "where", ["tcp://", "tcp://host:x", "tcp://host:99999", "tcp://host:502/unit", "rtu+tcp://host", "ascii://ttyUSB0"]
)
def test_a_port_that_cannot_be_is_told(where):
    with pytest.raises(ValueError, match=r"must be|stands a device"):
        adapter.framing_of(where)


# --- no answer is taken for another


class Slow:
    """In place of a line: units answer in order, and `arrivals` says how many of their answers come in each wait.

    What came too late for its question comes during a later one: a line would throw most of it away before asking.
    """

    def __init__(self, arrivals):
        self.arrivals = iter(arrivals)
        self.counters = Counter()
        self.pending = []
        self.asked = []

    def exchange(self, request):
        unit, function, address, count = struct.unpack(">BBHH", request.data[:6])
        self.asked.append((unit, address, count))
        if address % 7 == 0:
            self.pending.append(Frame(unit, bytes([function | 0x80, 2])))
        else:
            self.pending.append(Frame(unit, bytes([function, 2 * count]) + registers(unit, address, count)))
        for _ in range(next(self.arrivals, 99)):
            if not self.pending:
                break
            if request.matches(frame := self.pending.pop(0)):
                return frame
        raise NoAnswer("too late")


def registers(unit, address, count):
    """Each register tells whose it is."""
    return b"".join(struct.pack(">H", (unit << 12 | address + n) & 0xFFFF) for n in range(count))


reads = st.tuples(st.integers(1, 2), st.integers(0, 30), st.integers(1, 3))


@settings(deadline=None)
@given(st.lists(reads, max_size=12), st.lists(st.integers(0, 3), max_size=40))
def test_a_late_answer_is_never_taken_for_another_units_or_anothers_registers(asked, arrivals):
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print, clock=lambda: 0.0)
    bus._line = Slow(arrivals)
    for unit, address, count in asked:
        try:
            words = bus.read(unit, 3, address, count)
        except (NoAnswer, Refused):
            continue
        assert struct.pack(f">{count}H", *words) == registers(unit, address, count)


def test_a_unit_that_owes_an_answer_is_first_asked_something_of_another_form():
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print, clock=lambda: 0.0)
    bus._line = Slow([0])
    with pytest.raises(NoAnswer):
        bus.read(1, 3, 1, 2)
    assert bus.read(2, 3, 8, 2)  # another unit is not held up
    assert bus.read(1, 3, 8, 2) == (0x1008, 0x1009)
    assert bus._line.asked == [(1, 1, 2), (2, 8, 2), (1, 8, 1), (1, 8, 2)]


def test_a_dead_unit_costs_one_time_out_a_try_and_what_it_owes_is_forgotten():
    now = 0.0
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print, clock=lambda: now)
    bus._line = Slow([0] * 100)
    for tries in range(1, 20):
        with pytest.raises(NoAnswer):
            bus.read(1, 3, 1, 2)
        assert len(bus._line.asked) == tries
        now += 20.0
        assert len(bus._owed_by(1)) <= 2


def test_modbus_tcp_numbers_its_questions_and_needs_no_other():
    class Numbered(Slow):
        def exchange(self, request):
            number = int.from_bytes(request.data[:2])
            unit, function, address, count = struct.unpack(">BBHH", request.data[6:12])
            self.asked.append((unit, address, count))
            body = bytes([function, 2 * count]) + registers(unit, address, count)
            self.pending.append(Frame(unit, body, number))
            for _ in range(next(self.arrivals, 99)):
                if self.pending and request.matches(frame := self.pending.pop(0)):
                    return frame
            raise NoAnswer("too late")

    bus = ModbusBus("tcp://meter", SETTINGS, threading.Event(), print)
    bus._line = Numbered([0] * 50)
    for _ in range(50):
        with pytest.raises(NoAnswer):
            bus.read(1, 3, 1, 2)
    assert not any(bus._owed.values()), "no account is kept, so that none grows"
    assert bus.read(1, 3, 8, 2) == (0x1008, 0x1009)
    assert len(bus._line.asked) == 51


def test_the_account_of_a_unit_is_bounded_however_fast_it_fails():
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print, clock=lambda: 0.0)
    bus._line = Slow([0] * 1000)
    for _ in range(300):  # each of them asks for another number of registers: no more than a read can have
        with pytest.raises(NoAnswer):
            bus.read(1, 3, 1, 2)
    assert max(map(len, bus._owed.values())) == adapter.MOST_OWED


def test_a_port_that_was_opened_again_may_still_bring_an_old_answer(tmp_path):
    class Late(ModbusSlave):
        """Its first answer comes when it is asked again."""

        def __init__(self):
            super().__init__(latency=0.0, now=time.monotonic())
            self.first = None

        def read_registers(self, function, address, count):
            return range(address, address + count)

        def reply(self, data, now):
            if self.first is None:
                self.first = data
                return
            super().reply(self.first, now)
            self.first = b""
            super().reply(data, now)

    with serving(Late(), tmp_path / "bus") as where:
        bus = ModbusBus(where, SETTINGS.overridden(timeout=0.5), threading.Event(), print)
        bus.open()
        with pytest.raises(NoAnswer):
            bus.read(1, 3, 10, 2)
        bus.close()
        bus.open()
        assert bus.read(1, 3, 20, 2) == (20, 21)
        bus.close()


class SlowWriter:
    """In place of a line: as `Slow`, and it knows which question each answer belongs to."""

    def __init__(self, arrivals):
        self.arrivals = iter(arrivals)
        self.counters = Counter()
        self.pending = []
        self.asked = 0

    def exchange(self, request):
        unit, function, address, count = struct.unpack(">BBHH", request.data[:6])
        self.asked += 1
        body = bytes([2 * count]) + registers(unit, address, count) if function == 3 else request.data[2:6]
        if address % 7 == 0:
            function, body = function | 0x80, b"\2"
        self.pending.append((self.asked, Frame(unit, bytes([function]) + body)))
        for _ in range(next(self.arrivals, 99)):
            if not self.pending:
                break
            whose, frame = self.pending.pop(0)
            if request.matches(frame):
                # A refusal may be an older one's: it does not pass for success, and the account is kept.
                assert whose == self.asked or frame.pdu[0] & 0x80
                return frame
        raise NoAnswer("too late")


written = st.tuples(st.integers(5, 8), st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=3))


@settings(deadline=None)
@given(st.lists(written, max_size=12), st.lists(st.integers(0, 3), max_size=40))
def test_a_late_echo_is_never_taken_for_that_of_another_write_of_several_registers(asked, arrivals):
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print, clock=lambda: 0.0)
    bus._line = SlowWriter(arrivals)
    for address, values in asked:
        with suppress(NoAnswer, Refused):
            bus.write_registers(1, address, values)


@pytest.mark.parametrize("count", [0, 124])
def test_so_many_registers_cannot_be_written_at_once(count):
    with pytest.raises(ValueError, match=r"cannot be written at once"):
        scripted("10 0000 0003").write_registers(1, 0, [0] * count)


class Scripted:
    """In place of a line: one answer, whatever is asked, if it matches."""

    def __init__(self, pdu, unit=1):
        self.frame = Frame(unit, pdu)
        self.counters = Counter()

    def exchange(self, request):
        if not request.matches(self.frame):
            raise NoAnswer("it is not the answer")
        return self.frame


def scripted(pdu, unit=1):
    bus = ModbusBus("/dev/null", SETTINGS, threading.Event(), print)
    bus._line = Scripted(bytes.fromhex(pdu), unit)
    return bus


@pytest.mark.parametrize(
    ("pdu", "unit"),
    [("0302 0001", 1), ("0306 0001 0002 0003", 1), ("0404 0001 0002", 1), ("0304 0001 0002", 2), ("0303 0001 00", 1),
        ("0304 0001 0002 0003", 1),
     ("0304 0001 00", 1), ("8402", 1), ("83", 1), ("83 02 00", 1)],
)  # fmt: skip
def test_answers_of_another_unit_function_or_length_are_none(pdu, unit):
    with pytest.raises(NoAnswer):
        scripted(pdu, unit).read(1, 3, 0, 2)


def test_an_exception_is_a_refusal_in_words():
    with pytest.raises(Refused, match=r"no such register") as refused:
        scripted("8302").read(1, 3, 0, 2)
    assert refused.value.code == "2"
    with pytest.raises(Refused, match=r"unknown exception"):
        scripted("8363").read(1, 3, 0, 2)


@pytest.mark.parametrize("code", ["0a", "0b"])
def test_a_gateway_that_hears_nothing_of_a_unit_is_no_answer(code):
    with pytest.raises(NoAnswer, match=r"gateway"):
        scripted(f"83{code}").read(1, 3, 0, 2)


def test_writes_and_coils():
    scripted("06 0010 01f4").write_register(1, 16, 500)
    scripted("05 0003 ff00").write_coil(1, 3, True)
    with pytest.raises(NoAnswer):
        scripted("06 0010 01f5").write_register(1, 16, 500)
    scripted("10 0000 0003").write_registers(1, 0, (5, 1, 49))
    for other in ("10 0000 0002", "10 0001 0003", "06 0000 0003", "10 0000 0003 00"):
        with pytest.raises(NoAnswer):
            scripted(other).write_registers(1, 0, (5, 1, 49))
    assert scripted("02 02 81 01").read_discrete_inputs(1, 0, 9) == (True, *[False] * 6, True, True)
    with pytest.raises(NoAnswer):
        scripted("01 02 81 01").read_discrete_inputs(1, 0, 9)
    assert scripted("01 02 05 02").read_coils(1, 0, 10) == (
        True, False, True, False, False, False, False, False, False, True
    )  # fmt: skip


@pytest.mark.parametrize(("unit", "function", "count"), [(0, 3, 1), (256, 3, 1), (1, 2, 1), (1, 3, 0), (1, 3, 126)])
def test_what_cannot_be_asked_is_an_error_of_ours(unit, function, count):
    with pytest.raises(ValueError, match=r"cannot read|not the address"):
        scripted("0302 0001").read(unit, function, 0, count)


def test_a_port_that_is_not_there():
    bus = ModbusBus("/dev/nothing-here", SETTINGS, threading.Event(), print)
    with pytest.raises(PortLost, match=r"/dev/nothing-here does not exist"):
        bus.open()
    with pytest.raises(PortLost, match=r"not open"):
        bus.read(1, 3, 0, 1)
    bus.close()


def test_errors_name_the_port_as_the_config_does():
    bus = ModbusBus("tcp://127.0.0.1:1", SETTINGS, threading.Event(), print)
    with pytest.raises(PortLost, match=r"cannot open tcp://127.0.0.1:1"):
        bus.open()


def test_a_stop_ends_a_wait(tmp_path):
    """The time-out is an hour: only the stop can end it."""
    from test_modbus_meter import on_pty

    stop = threading.Event()
    beats = []
    with on_pty(tmp_path / "bus", units=1, dead=1) as where:
        bus = ModbusBus(where, SETTINGS.overridden(timeout=3600.0), stop, print, beat=lambda: beats.append(1))
        bus.open()
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Stopped):
            bus.read(1, 4, 0, 2)
        bus.close()
    assert beats
