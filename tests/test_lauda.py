# SPDX-License-Identifier: GPL-3.0-or-later
"""The ASCII protocol of LAUDA units: documented lines, damage, and the driver on a simulated unit."""

from __future__ import annotations

import math

import pytest
from bench import Bench, decoded, joined
from hypothesis import given
from hypothesis import strategies as st

from rockit.chiller.drivers import load
from rockit.chiller.drivers.lauda import Lauda
from rockit.chiller.model import MEASUREMENTS, RunState
from rockit.chiller.protocols import lauda as protocol
from rockit.chiller.protocols.lauda import MAX_LINE, Decoder, encode
from rockit.chiller.simulators import lauda as simulated
from rockit.common.framing import Damage, Damaged, ProtocolError, Refused
from rockit.common.transport import NoAnswer

FORMS = {
    "number": protocol.NUMBER, "ok": protocol.OK, "mode": protocol.MODE, "status": protocol.STATUS,
    "stat": protocol.STAT, "text": protocol.TEXT,
}  # fmt: skip

# Line as it comes, and the forms it has. Texts: LOOP 100, Microcool and Integral manuals; numbers: ECO Gold manual.
DOCUMENTED = [
    (b"OK\r\n", {"ok"}),
    (b"030.00\r\n", {"number"}),
    (b"021.23\r\n", {"number"}),
    (b"-010.50\r\n", {"number"}),
    (b"0\r\n", {"mode", "status"}),
    (b"1\r\n", {"mode"}),
    (b"-1\r\n", {"status"}),
    (b"000000\r\n", {"stat"}),
    (b"1000000\r\n", {"stat"}),
    (b"BC_LOOP\r\n", {"text"}),
    (b"MC\r\n", {"text"}),
    (b"XT\r\n", {"text"}),
    (b"ERR_3\r\n", set()),
    (b"ERR_32\r\n", set()),
]


@pytest.mark.parametrize(("line", "forms"), DOCUMENTED)
def test_documented_replies_have_one_meaning(line, forms):
    (reply,) = Decoder().feed(line)
    assert reply == line[:-2].decode()
    assert {name for name, form in FORMS.items() if form.fullmatch(reply)} == forms


@pytest.mark.parametrize(
    "reply",
    ["20.00", "020.0", "0020.00", "020.000", "+20.00", "-20.00", "020,00", " 020.00", "020.00 ", "020", "--20.00",
     "٠٢٠.٠٠", "1e1.00", "nan", "", "2", "-0", "01", "OK ", "ok", "OKOK", "00000", "00000000", "000002", "ERR_",
     "ERR_x", "ERR3", "err_3", "A015_020.00"],
)  # fmt: skip
def test_what_has_no_documented_form_answers_no_question_of_the_driver(reply):
    asked = [form for name, form in FORMS.items() if name != "text"]
    assert not any(protocol.request("X", form).matches(reply) for form in asked)


def test_documented_commands():
    assert encode(protocol.set_setpoint(30.5)) == b"OUT_SP_00_30.50\r\n"
    assert encode(protocol.set_setpoint(-5)) == b"OUT_SP_00_-5.00\r\n"
    assert encode("IN_PV_00") == b"IN_PV_00\r\n"
    assert encode("START") == b"START\r\n"


def test_commands_that_cannot_be():
    for text in ("", "IN_PV_00\r", "IN_PV_00\r\nSTOP", "TEMP°"):
        with pytest.raises(ValueError):
            encode(text)
    for celsius in (math.nan, math.inf, -math.inf, 999.996, -1000):
        with pytest.raises(ValueError):
            protocol.set_setpoint(celsius)


def test_numbers():
    assert protocol.number("021.23") == 21.23
    assert protocol.number("-010.50") == -10.5
    with pytest.raises(ProtocolError):
        protocol.number("21.23")


@pytest.mark.parametrize(
    ("code", "word"),
    [("2", "overflow"), ("3", "wrong command"), ("5", "syntax"), ("6", "not permitted"), ("32", "limit"),
     ("38", "20 times"), ("99", "unknown")],
)  # fmt: skip
def test_errors_answer_every_question_and_have_names(code, word):
    assert all(protocol.request("X", form).matches(f"ERR_{code}") for form in FORMS.values())
    assert not protocol.request("TYPE", protocol.TEXT, errors=False).matches(f"ERR_{code}")
    with pytest.raises(Refused, match=word) as refused:
        protocol.answer(f"ERR_{code}")
    assert refused.value.code == code


def test_fault_diagnosis():
    assert protocol.stat_flags("0000000") == ()
    assert protocol.stat_flags("1000000") == ("error",)
    assert protocol.stat_flags("1111101") == (
        "error", "alarm", "warning", "overtemperature", "low level", "external value missing",
    )  # fmt: skip
    assert protocol.stat_flags("000001") == ("STAT character 6",)


# --- damage


@pytest.mark.parametrize("line", [b"\r\n", b"\n", b"020.00\n", b"020\r00\r\n", b"020.0\xb0\r\n", b"\x00OK\r\n"])
def test_lines_of_an_impossible_form(line):
    assert Decoder().feed(line + b"OK\r\n") == [Damaged(Damage.MALFORMED, line), "OK"]


def test_flush_gives_up_what_is_unfinished():
    decoder = Decoder()
    assert decoder.feed(b"020.0") == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, b"020.0")]
    assert decoder.flush() == []
    assert decoder.feed(b"OK\r\n") == ["OK"]


def test_the_end_of_an_overlong_line_is_no_reply():
    decoder = Decoder()
    assert decoder.feed(b"x" * 70) == [Damaged(Damage.GARBAGE, b"x" * 70)]
    assert decoder.feed(b"020.00\r\nOK\r\n") == [Damaged(Damage.GARBAGE, b"020.00\r\n"), "OK"]
    assert decoder.feed(b"x" * (MAX_LINE + 1) + b"\r\n") == [Damaged(Damage.GARBAGE, b"x" * (MAX_LINE + 1) + b"\r\n")]
    assert decoder.feed(b"x" * MAX_LINE + b"\r\n") == ["x" * MAX_LINE]


def raw(item: str | Damaged) -> bytes:
    return item.data if isinstance(item, Damaged) else item.encode() + b"\r\n"


streams = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([line for line, _ in DOCUMENTED]),
        st.sampled_from([b"\r", b"\n", b"x" * MAX_LINE, b"y" * 40]),
    ),
    max_size=8,
).map(b"".join)


@given(streams, st.lists(st.integers(0, 500), max_size=6))
def test_nothing_is_invented_and_nothing_disappears(data, cuts):
    out = decoded(Decoder(), data, cuts, holds=MAX_LINE + 1)
    assert b"".join(map(raw, out)) == data
    assert joined(out, raw) == joined(decoded(Decoder(), data), raw)


@given(st.sampled_from(DOCUMENTED), st.integers(0, 9), st.booleans())
def test_a_number_that_lost_or_gained_a_character_is_no_number(line_and_forms, at, gained):
    line, forms = line_and_forms
    at = min(at, len(line) - 1)
    hurt = line[:at] + b"7" + line[at:] if gained else line[:at] + line[at + 1 :]
    if "number" in forms and not (line.startswith(b"-") and at == 0 and not gained):
        replies = [item for item in decoded(Decoder(), hurt) if isinstance(item, str)]
        assert not any(protocol.NUMBER.fullmatch(reply) for reply in replies)


# --- the driver on a simulated unit


@pytest.fixture
def bench():
    return Bench(simulated.Lauda(), Lauda)


def test_driver_is_found_by_name():
    assert load("lauda") is Lauda
    assert set(Lauda.measures) <= set(MEASUREMENTS)
    assert Lauda.line_settings.baud == 9600


def test_identify(bench):
    assert bench.driver.identify() == {"family": "LAUDA", "type": "BC_LOOP"}
    assert bench.sent == [b"TYPE\r\n"]


def test_a_number_left_over_from_before_does_not_identify_a_unit(bench):
    bench.device.reply(b"020.00\r\n", 0.0)
    assert bench.driver.identify()["type"] == "BC_LOOP"
    assert bench.strange == ["020.00"]


def test_poll():
    bench = Bench(simulated.Lauda(running=True, coolant=12.5, setpoint=12.0), Lauda)
    values = bench.values()
    assert values == {
        "run_state": RunState.RUN, "water_temp": 12.5, "setpoint_temp": 12.0,
        "device_alarm": False, "device_warning": False, "warnings": (),
    }  # fmt: skip


def test_no_two_questions_in_a_row_can_have_the_same_answer(bench):
    bench.values()
    bench.values()
    asked = [next(name for name in ("IN_PV", "IN_SP", "IN_MODE", "STATUS", "STAT") if name in line.decode())
             for line in bench.sent]  # fmt: skip
    form = {"IN_PV": protocol.NUMBER, "IN_SP": protocol.NUMBER, "IN_MODE": protocol.MODE, "STATUS": protocol.STATUS,
            "STAT": protocol.STAT}  # fmt: skip
    assert len(bench.replies) == 10
    for reply, following in zip(bench.replies, asked[1:], strict=False):
        assert not form[following].fullmatch(reply)


def test_start_and_stop(bench):
    assert bench.driver.read_state() == {"run_state": RunState.STANDBY}
    bench.driver.write_running(True)
    assert bench.sent[-1] == b"START\r\n"
    assert bench.driver.read_state() == {"run_state": RunState.RUN}
    assert bench.device.info()["running"] is True
    bench.driver.write_running(False)
    assert bench.sent[-1] == b"STOP\r\n"
    assert bench.driver.read_state() == {"run_state": RunState.STANDBY}
    assert bench.device.info()["running"] is False


@pytest.mark.parametrize("celsius", [20.0, 12.3, 0.0, -0.04, -10.5])
def test_set_point_is_written_and_read_back(bench, celsius):
    bench.driver.write_setpoint(celsius)
    assert bench.device.info()["setpoint"] == pytest.approx(celsius, abs=0.05)
    assert bench.driver.read_setpoint()["setpoint_temp"] == pytest.approx(celsius, abs=0.05)


def test_negative_temperature():
    assert Bench(simulated.Lauda(coolant=-10.5, ambient=-10.5), Lauda).values()["water_temp"] == -10.5


def test_a_set_point_out_of_range_is_refused(bench):
    with pytest.raises(Refused, match="not permitted"):
        bench.driver.write_setpoint(95.0)
    assert bench.driver.read_setpoint() == {"setpoint_temp": 20.0}
    assert b"TYPE\r\n" not in bench.sent  # a refusal is an answer: nothing is owed


@pytest.mark.parametrize("code", ["3", "6", "38"])
def test_refusals_reach_the_caller(bench, code):
    bench.device.set_fault("refuse", f"once {code}")
    with pytest.raises(Refused) as refused:
        bench.driver.write_running(True)
    assert (refused.value.code, refused.value.reason) == (code, protocol.ERRORS[code])
    assert bench.driver.read_state() == {"run_state": RunState.STANDBY}


@pytest.mark.parametrize("fault", ["error", "alarm", "overtemperature", "low_level"])
def test_faults(fault):
    bench = Bench(simulated.Lauda(running=True, model="XT"), Lauda)
    assert bench.driver.read_faults() == ()
    bench.device.set_fault(fault, "on")
    values = bench.values()
    assert (values["device_alarm"], values["device_warning"]) == (True, False)
    assert values["run_state"] is RunState.STANDBY
    assert bench.driver.read_faults() == (fault.replace("_", " "),)
    with pytest.raises(Refused):
        bench.driver.write_running(True)
    bench.device.set_fault(fault, "off")
    assert bench.values()["device_alarm"] is False


@pytest.mark.parametrize(
    ("fault", "name"), [("warning", "warning"), ("no_external_value", "external value missing")]
)  # fmt: skip
def test_warnings_are_no_alarms(fault, name):
    bench = Bench(simulated.Lauda(running=True, model="XT"), Lauda)
    bench.device.set_fault(fault, "on")
    values = bench.values()
    assert (values["device_alarm"], values["device_warning"], values["warnings"]) == (False, True, (name,))
    assert values["run_state"] is RunState.RUN
    assert bench.driver.read_faults() == ()


def test_a_fault_that_stat_does_not_name_is_still_an_alarm():
    class Scripted:
        """A unit that reports a fault in STATUS and none in STAT."""

        def exchange(self, request):
            replies = {"IN_MODE_02": "1", "IN_PV_00": "020.00", "STATUS": "-1", "IN_SP_00": "020.00", "STAT": "000000"}
            assert request.matches(replies[request.name])
            return replies[request.name]

    driver = Lauda(Scripted())
    steps = list(driver.poll())
    assert [step.get("device_alarm") for step in steps] == [None, None, True, None, True]
    assert driver.read_faults() == ("fault",)


# --- a bad line


@pytest.mark.parametrize(
    "fault",
    ["silence", "late 3.5", "late 0.5", "double", "truncate", "checksum", "garbage", "garbage instead", "slow 0.05",
     "slow 0.5", "foreign", "foreign before", *(f"drop {at}" for at in range(8)),
     *(f"truncate {at}" for at in range(8))],
)  # fmt: skip
def test_a_bad_line_gives_no_answer_or_the_right_one(fault):
    bench = Bench(simulated.Lauda(coolant=12.5, ambient=12.5, load=0.0, setpoint=20.0), Lauda)
    name, _, argument = fault.partition(" ")
    bench.device.set_fault(name, f"once {argument}")
    try:
        first = bench.driver._ask(protocol.request("IN_PV_00", protocol.NUMBER))
    except NoAnswer:
        first = None
    assert first in (None, "012.50")
    if name == "double" or fault in ("late 0.5", "slow 0.05", "foreign before"):
        assert first == "012.50"
    if name in ("silence", "checksum", "drop", "truncate") or fault in ("garbage instead", "foreign", "late 3.5"):
        assert first is None
    if fault == "slow 0.5":
        bench.now += 4.0  # the answer that was given up is still trickling in
    assert bench.driver.read_setpoint() == {"setpoint_temp": 20.0}


def test_a_late_temperature_is_not_taken_for_the_set_point():
    bench = Bench(simulated.Lauda(coolant=12.5, ambient=12.5, load=0.0, setpoint=20.0), Lauda)
    polling = bench.driver.poll()
    next(polling)
    bench.device.set_fault("late", "once 3.5")
    with pytest.raises(NoAnswer):
        next(polling)
    assert bench.driver.read_setpoint() == {"setpoint_temp": 20.0}
    assert bench.strange == ["012.50"]
    assert bench.sent[-2:] == [b"TYPE\r\n", b"IN_SP_00\r\n"]
    bench.driver.read_setpoint()
    assert bench.sent[-2:] == [b"IN_SP_00\r\n", b"IN_SP_00\r\n"]  # no more questions than needed


def test_a_late_error_is_not_taken_for_the_type():
    bench = Bench(simulated.Lauda(), Lauda)
    bench.device.set_fault("refuse", "once 6")
    bench.device.set_fault("late", "once 3.5")
    with pytest.raises(NoAnswer):
        bench.driver.write_running(True)
    assert bench.driver.read_state() == {"run_state": RunState.STANDBY}
    assert bench.strange == ["ERR_6"]


@pytest.mark.parametrize(
    ("fault", "damaged", "strange"),
    [("checksum", [Damage.MALFORMED], []), ("truncate", [Damage.TRUNCATED], []), ("foreign", [], ["OK"])],
)
def test_damage_is_told_apart(bench, fault, damaged, strange):
    bench.device.set_fault(fault, "once")
    with pytest.raises(NoAnswer):
        bench.driver._line.exchange(protocol.request("IN_PV_00", protocol.NUMBER))
    assert (bench.damaged, bench.strange) == (damaged, strange)


# --- the simulated unit itself


@pytest.mark.parametrize(
    ("command", "reply"),
    [(b"OUT_SP_00_30.5\r\n", b"OK\r\n"), (b"OUT SP 00 30.5\r", b"OK\r\n"), (b"OUT_SP_00_-.5\n\r", b"OK\r\n"),
     (b"OUT_SP_00_3o.5\r", b"ERR_5\r\n"), (b"OUT_SP_00_300\r", b"ERR_6\r\n"), (b"OUT_SP_04_-30\r", b"ERR_32\r\n"),
     (b"NONSENSE\r\n", b"ERR_3\r\n"), (b"X" * 200 + b"\r", b"ERR_2\r\n"), (b"\r\n\r\n", b""),
     (b"STAT\r\n", b"000000\r\n"), (b"IN_SP_00\r\n", b"020.00\r\n"), (b"IN_MODE_02\r\n", b"1\r\n")],
)  # fmt: skip
def test_the_simulated_unit_answers_as_documented(command, reply):
    device = simulated.Lauda()
    device.receive(command, 0.0)
    assert device.output(1.0) == reply


def test_it_cools_to_its_set_point():
    bench = Bench(simulated.Lauda(running=True, coolant=22.0, setpoint=15.0, speed=3600.0), Lauda)
    bench.driver.identify()
    bench.wait(2.0)
    assert bench.values()["water_temp"] == pytest.approx(15.0, abs=0.5)
