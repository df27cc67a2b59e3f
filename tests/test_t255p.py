# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek T255P: the older dialect, codec and driver."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.chiller import drivers
from rockit.chiller.drivers.t255p import T255P
from rockit.chiller.model import MEASUREMENTS, RunState
from rockit.chiller.protocols import t255p
from rockit.chiller.protocols.t255p import (
    COMMANDS,
    Command,
    CommandDecoder,
    Decoder,
    Error,
    Reply,
    check,
    encode,
    request,
)
from rockit.common.framing import Damage, Damaged, ProtocolError, Refused
from rockit.common.transport import NoAnswer

REQUESTS = [
    ("U", "", ".U83"),
    ("I", "", ".I77"),
    ("H", "0", ".H0A6"),
    ("J", "", ".J78"),
    ("G", "1", ".G1A6"),
    ("G", "0", ".G0A5"),
    ("M", "+150", ".M+1503C"),
    ("O", "0", ".O0AD"),
]
REPLIES = [
    ("#U02010", Reply("U", Error.NONE, "2010")),
    ("#I0+1503", Reply("I", Error.NONE, "+1503")),
    ("#H00+150,100", Reply("H", Error.NONE, "+150,100")),
    ("#H000150,100", Reply("H", Error.NONE, "0150,100")),
    ("#J0100000", Reply("J", Error.NONE, "100000")),
    ("#G01", Reply("G", Error.NONE, "1")),
    ("#G31", Reply("G", Error.BOUNDS, "1")),
    ("#G3", Reply("G", Error.BOUNDS, "")),
    ("#M0+150", Reply("M", Error.NONE, "+150")),
    ("#O30", Reply("O", Error.BOUNDS, "0")),
    ("#U1", Reply("U", Error.CHECKSUM, "")),
]


def sealed(text):
    """The test's own frame builder."""
    return f"{text}{sum(map(ord, text)) % 256:02X}\r".encode()


def everything(decoder, data):
    return decoder.feed(data) + decoder.flush()


@pytest.mark.parametrize(("letter", "qualifier", "frame"), REQUESTS)
def test_documented_requests_in_both_directions(letter, qualifier, frame):
    wire = frame.encode() + b"\r"
    assert encode(letter, qualifier) == wire
    assert everything(CommandDecoder(), wire) == [Command(letter, qualifier)]


@pytest.mark.parametrize(("text", "reply"), REPLIES)
def test_replies_in_both_directions(text, reply):
    assert everything(Decoder(), sealed(text)) == [reply]
    assert t255p.encode_reply(reply.letter, reply.data, reply.error) == sealed(text)


def test_the_error_of_memory_stands_before_or_after_the_echo():
    assert (
        everything(Decoder(), sealed("#H30")) == everything(Decoder(), sealed("#H03")) == [Reply("H", Error.BOUNDS, "")]
    )
    assert everything(Decoder(), sealed("#H33")) == [Damaged(Damage.MALFORMED, sealed("#H33"))]


@pytest.mark.parametrize(
    "text",
    [
        "#U0201", "#U020100", "#U42010", "#U 2010", "#X02010", "#u02010",
        "#", "#U", "#H0+150,100", "#G0", "#G011", "#I0+\x1f503",
    ],
)  # fmt: skip
def test_wrong_forms_with_right_checksums(text):
    assert everything(Decoder(), sealed(text)) == [Damaged(Damage.MALFORMED, sealed(text))]


@pytest.mark.parametrize("text", ["#U02010", "#I0+1503", "#H00+150,100", "#G01", "#M0-005"])
def test_one_wrong_byte_never_makes_a_different_reply(text):
    wire = sealed(text)
    (original,) = everything(Decoder(), wire)
    for at in range(len(wire)):
        for byte in range(256):
            got = everything(Decoder(), wire[:at] + bytes([byte]) + wire[at + 1 :])
            assert [frame for frame in got if isinstance(frame, Reply) and frame != original] == []


def test_the_dialects_do_not_understand_each_other():
    assert all(isinstance(frame, Damaged) for frame in everything(Decoder(), sealed("#01010WatchDog2101")))
    assert all(isinstance(frame, Damaged) for frame in everything(CommandDecoder(), sealed(".0101WatchDog")))


@given(
    st.lists(st.sampled_from(list(b"#.UIHJGMO0123+-,\r\n\x11\x13\xff")) | st.integers(0, 255)).map(bytes),
    st.integers(0, 99),
)
def test_any_bytes_are_survived_and_splits_change_nothing(data, cut):
    for make in (Decoder, CommandDecoder):
        decoder = make()
        assert decoder.feed(data[:cut]) + decoder.feed(data[cut:]) + decoder.flush() == everything(make(), data)
        assert decoder.flush() == []


@pytest.mark.parametrize(
    ("letter", "qualifier"),
    [
        ("X", ""), ("u", ""), ("U", "0"), ("H", ""), ("H", "1"), ("G", "2"),
        ("M", "0150"), ("M", "+15"), ("M", "+1500"), ("M", "+ 15"),
    ],
)  # fmt: skip
def test_what_we_must_not_send_is_our_error(letter, qualifier):
    with pytest.raises(ValueError):
        encode(letter, qualifier)


def test_matching_and_checking():
    asked = request("G", "1")
    assert asked.matches(Reply("G", Error.BOUNDS, ""))
    assert not asked.matches(Reply("U", Error.NONE, "2010"))
    with pytest.raises(Refused, match="bad command on manifold temperature") as refused:
        check(Reply("I", Error.COMMAND, ""))
    assert refused.value.code == "2"


def test_values():
    assert t255p.status("2110") == (RunState.RUN, True, True, False)
    assert [t255p.status(f"{mode}001").mode for mode in range(4)] == ["starting", "standby", "run", "safety"]
    assert t255p.manifold_temperature("+1503") == 15.03  # hundredths
    assert t255p.manifold_temperature("-0007") == -0.07
    assert t255p.memory("+150,100") == (15.0, 100)  # tenths
    assert t255p.memory("0223,075") == (22.3, 75)
    assert t255p.setpoint("-005") == -0.5
    assert t255p.alarms("000000") == ()
    assert t255p.alarms("110001") == ("low coolant level", "high temperature", "watchdog error")
    assert t255p.alarms("111111") == t255p.ALARMS


@pytest.mark.parametrize(
    ("parse", "bad"),
    [
        (t255p.status, ["4000", "2200", "201", "20100", "+010"]),
        (t255p.manifold_temperature, ["15.03", "01503", "+150", "+1_03", "+ 503"]),
        (t255p.memory, ["+150;100", "150,100", "+150,1_0", "+1 0,100", "+150,10"]),
        (t255p.alarms, ["200000", "00000", "0000000"]),
        (t255p.setpoint, ["+15", "+1500", " 150", "+1_0"]),
    ],
)
def test_values_that_are_not_exactly_as_documented(parse, bad):
    for data in bad:
        with pytest.raises(ProtocolError):
            parse(data)


def test_setpoint_data():
    assert [t255p.setpoint_data(value) for value in (15.0, -0.5, 0.0, -0.04, 99.9, -99.9, 15.06)] == [
        "+150", "-005", "+000", "+000", "+999", "-999", "+151",
    ]  # fmt: skip
    for value in (100.0, -100.0, 99.96, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            t255p.setpoint_data(value)


# The driver


class Unit:
    """A line with a scripted unit at its end: request text to reply text, None for silence. Keeps what was asked."""

    def __init__(self, **answers):
        self.answers = {
            "U": "#U02010",
            "I": "#I0+1503",
            "H0": "#H00+150,100",
            "J": "#J0000000",
            "G1": "#G01",
            "G0": "#G00",
        }
        self.answers |= answers
        self.asked = []

    def exchange(self, request):
        text = request.data[1:-3].decode()
        self.asked.append(text)
        answer = self.answers.get(text)
        if answer is None:
            raise NoAnswer(f"silence on {text}")
        (frame,) = Decoder().feed(sealed(answer))
        assert request.matches(frame)
        return frame


def test_it_is_in_the_list_of_drivers():
    assert drivers.load("thermotek-t255p") is T255P


def test_identify_asks_one_harmless_question():
    unit = Unit()
    assert T255P(unit).identify() == {"family": "ThermoTek T255P"}
    assert unit.asked == ["U"]


def test_poll():
    unit = Unit()
    learned = list(T255P(unit).poll())
    assert learned == [
        {"run_state": RunState.RUN, "device_alarm": False},
        {"water_temp": 15.03},
        {"setpoint_temp": 15.0},
    ]
    assert unit.asked == ["U", "I", "H0"]
    assert set(T255P.measures) == {key for values in learned for key in values} & set(MEASUREMENTS)


@pytest.mark.parametrize(("running", "command"), [(True, "G1"), (False, "G0")])
@pytest.mark.parametrize("answer", ["#G0{}", "#G3{}", "#G3"], ids=["done", "already", "already, no echo"])
def test_run_and_standby_also_where_it_is_in_that_mode_already(running, command, answer):
    unit = Unit(**{command: answer.format(command[1])})
    T255P(unit).write_running(running)
    assert unit.asked == ["U", command]  # it wants a status question first after a pause


def test_another_refusal_is_no_success():
    with pytest.raises(Refused):
        T255P(Unit(G1="#G2")).write_running(True)


def test_a_question_that_arrived_damaged_is_the_line_s_fault():
    with pytest.raises(ProtocolError, match="checksum") as fault:
        T255P(Unit(G1="#G1")).write_running(True)
    assert not isinstance(fault.value, Refused)


def test_a_wrong_echo_is_no_success():
    with pytest.raises(ProtocolError):
        T255P(Unit(G1="#G00")).write_running(True)
    with pytest.raises(ProtocolError):
        T255P(Unit(**{"M+150": "#M0+151"})).write_setpoint(15.0)


@pytest.mark.parametrize("answer", ["#M0+150", "#M00150"])
def test_set_point(answer):
    unit = Unit(**{"M+150": answer})
    T255P(unit).write_setpoint(15.0)
    assert unit.asked == ["U", "M+150"]


def test_a_set_point_out_of_bounds_is_refused_or_never_sent():
    with pytest.raises(Refused) as refused:
        T255P(Unit(**{"M+900": "#M3"})).write_setpoint(90.0)
    assert refused.value.code == "3"
    unit = Unit()
    with pytest.raises(ValueError):
        T255P(unit).write_setpoint(100.0)
    assert unit.asked == []


def test_faults():
    assert T255P(Unit(J="#J0100100")).read_faults() == ("low coolant level", "sensor fault")


def test_silence_comes_through():
    with pytest.raises(NoAnswer):
        list(T255P(Unit(I=None)).poll())


def test_every_letter_is_covered_above():
    assert {letter for letter, *_ in REQUESTS} == set(COMMANDS)
