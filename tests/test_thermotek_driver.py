# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek T257P: what the driver asks, in which order, and what it makes of the answers."""

import pytest

from rockit.chiller import drivers
from rockit.chiller.drivers.thermotek import T257P
from rockit.chiller.model import MEASUREMENTS, Drive, RunState
from rockit.chiller.protocols.thermotek import Decoder
from rockit.common.framing import ProtocolError, Refused
from rockit.common.transport import NoAnswer

BASIC = ["01", "04", "03", "08", "13", "09"]


class Unit:
    """A line with a scripted unit at its end. Its frames are built here, not by the codec that is tested.

    `answers` maps the number and data of a command to the error digit and data of the reply, to raw bytes, or to
    None for silence.
    """

    def __init__(self, **answers):
        self.answers = {
            "01": "02100", "04": "0+0206", "03": "0+0190", "08": "0+0264", "13": "0016,C", "09": "0+0019",
            "10": "0+2152", "11": "0-0031", "49": "0165406", "20": "00800",
            "151": "01", "150": "00", "17+0150": "0+0150",
            "191": "0100000000", "192": "0200000000", "18": "0000000",
        }  # fmt: skip
        self.answers |= {key.removeprefix("c"): answer for key, answer in answers.items()}
        self.asked = []

    def exchange(self, request):
        text = request.data.decode("ascii")
        assert text[0] == "."
        assert text[-1] == "\r"
        assert int(text[-3:-1], 16) == sum(map(ord, text[:-3])) % 256
        number, name, data = text[3:5], text[5:13], text[13:-3]
        self.asked.append(number + data)
        answer = self.answers[number + data]
        if answer is None:
            raise NoAnswer(f"silence on {number}")
        if isinstance(answer, str):
            body = f"#{text[1:5]}{answer[0]}{name}{answer[1:]}"
            answer = f"{body}{sum(map(ord, body)) % 256:02X}\r".encode("ascii")
        (frame,) = Decoder().feed(answer)
        assert request.matches(frame)
        return frame


def learned(driver):
    return {key: value for values in driver.poll() for key, value in values.items()}


def test_it_is_in_the_list_of_drivers_and_knows_its_line():
    assert drivers.load("thermotek-t257p") is T257P
    line = T257P.line_settings
    assert (line.baud, line.bytesize, line.parity, line.stopbits, line.xonxoff) == (9600, 8, "N", 1, True)
    assert (line.interval, line.timeout) == (1.0, 3.0)  # the manual's pause after a reply, and its longest wait
    assert T257P.setpoint_resolution == 0.1


def test_identify_asks_one_harmless_question():
    unit = Unit()
    assert T257P(unit).identify() == {"family": "ThermoTek TTK"}
    assert unit.asked == ["01"]


def test_something_else_is_not_identified():
    with pytest.raises(ProtocolError):
        T257P(Unit(c01="09100")).identify()


def test_one_poll_is_one_dict_an_exchange_of_real_values():
    unit = Unit()
    steps = []
    for values in T257P(unit).poll():
        steps.append((unit.asked[-1], dict(values)))
    assert steps == [
        (
            "01",
            {"run_state": RunState.RUN, "pump": True, "device_alarm": False, "device_warning": False, "warnings": ()},
        ),
        ("04", {"water_temp": 20.6}),
        ("03", {"setpoint_temp": 19.0}),
        ("08", {"ambient_temp": 26.4}),
        ("13", {"tec_power": 16, "drive": Drive.COOL}),
        ("09", {"flow": 1.9}),
        ("10", {"tec_current_1": 2.152}),
    ]


def test_slow_ones_take_turns_and_everything_promised_is_delivered():
    unit = Unit()
    driver = T257P(unit)
    polls = [learned(driver) for _ in range(4)]
    assert [asked for asked in unit.asked if asked not in BASIC] == ["10", "11", "49", "10"]
    assert polls[1]["tec_current_2"] == -0.031
    assert polls[2]["uptime"] == 165406
    delivered = set().union(*polls)
    assert delivered <= set(MEASUREMENTS) | {"run_state", "drive", "device_alarm", "device_warning", "warnings"}
    assert delivered & set(MEASUREMENTS) == set(T257P.measures)


def test_nothing_is_asked_ahead_of_its_step():
    unit = Unit()
    poll = T257P(unit).poll()
    assert unit.asked == []
    next(poll)
    assert unit.asked == ["01"]


@pytest.mark.parametrize(
    ("digits", "state", "pump", "alarm"),
    [
        ("0100", RunState.STARTING, True, False),
        ("1000", RunState.STANDBY, False, False),
        ("3010", RunState.SAFETY, False, True),
        ("4000", RunState.TEST, False, False),
    ],
)
def test_states(digits, state, pump, alarm):
    values = T257P(Unit(c01="0" + digits)).read_state()
    assert (values["run_state"], values["pump"], values["device_alarm"]) == (state, pump, alarm)


def test_warnings_are_read_where_the_flag_is_set_and_end_with_it():
    unit = Unit(c01="02101")
    driver = T257P(unit)
    first = next(iter(driver.poll()))
    assert "warnings" not in first  # there are some, not known yet which
    assert learned(driver)["warnings"] == ("low ambient temperature",)
    assert unit.asked[-1] == "20"
    unit.answers["01"] = "02100"
    assert learned(driver)["warnings"] == ()
    assert unit.asked[-1] != "20"


def test_what_is_not_configured_is_not_delivered_and_not_asked_again_until_reconnect():
    unit = Unit(c09="5", c11="5")
    driver = T257P(unit)
    polls = [learned(driver) for _ in range(6)]
    assert all("flow" not in poll and "tec_current_2" not in poll for poll in polls)
    assert all("water_temp" in poll for poll in polls)
    assert unit.asked.count("09") == 1
    assert unit.asked.count("11") == 1
    assert unit.asked.count("49") == 2  # the others go on taking turns
    unit.answers["09"] = "0+0019"
    driver.identify()
    assert learned(driver)["flow"] == 1.9


def test_what_every_unit_has_may_not_be_missing():
    for number in ("01", "04", "03"):
        with pytest.raises(Refused):
            learned(T257P(Unit(**{f"c{number}": "5"})))


@pytest.mark.parametrize(("answer", "code"), [("2", "2"), ("3", "3"), (b"#23\r", "23")])
def test_other_refusals_of_optional_reads_are_told_and_asked_again(answer, code):
    unit = Unit(c08=answer)
    driver = T257P(unit)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            learned(driver)
        assert refused.value.code == code
    assert unit.asked.count("08") == 2


def test_a_value_that_cannot_be_right_is_not_delivered():
    optional = learned(T257P(Unit(c13="0101,C")))
    assert "tec_power" not in optional
    assert "water_temp" in optional, "what a chiller may lack is not worth the connection"
    with pytest.raises(ProtocolError):
        learned(T257P(Unit(c04="0+02O6")))


def test_a_slow_one_that_never_answers_does_not_keep_the_others_waiting():
    unit = Unit(c10=None)
    driver = T257P(unit)
    with pytest.raises(NoAnswer):
        learned(driver)
    assert "tec_current_2" in learned(driver)


@pytest.mark.parametrize(("running", "asked"), [(True, "151"), (False, "150")])
def test_run_and_standby(running, asked):
    unit = Unit()
    T257P(unit).write_running(running)
    assert unit.asked == [asked]


def test_set_point_is_rounded_and_its_echo_compared():
    unit = Unit()
    T257P(unit).write_setpoint(15.04)
    assert unit.asked == ["17+0150"]
    with pytest.raises(ProtocolError):
        T257P(Unit(**{"17+0150": "0+0151"})).write_setpoint(15.0)
    with pytest.raises(ProtocolError):
        T257P(Unit(c151="00")).write_running(True)


@pytest.mark.parametrize(("answer", "code"), [("3+0999", "3"), ("3", "3"), (b"#23\r", "23")])
def test_a_set_point_out_of_bounds_is_refused(answer, code):
    with pytest.raises(Refused) as refused:
        T257P(Unit(**{"17+0999": answer})).write_setpoint(99.9)
    assert refused.value.code == code


def test_a_set_point_that_has_no_frame_is_never_sent():
    unit = Unit()
    for celsius in (1000.0, float("nan")):
        with pytest.raises(ValueError):
            T257P(unit).write_setpoint(celsius)
    assert unit.asked == []


def test_faults_most_serious_first_and_details_last():
    unit = Unit(c18="0003008", c192="0209000100")  # A2: level, flow; A5: system error
    assert T257P(unit).read_faults() == (
        "low coolant level",
        "system error",
        "low process flow",
        "supply sensor global fault",
        "supply sensor short",
        "current sensor 1 open",
    )
    assert T257P(Unit()).read_faults() == ()


def test_level_1_which_clears_latched_alarms_is_the_last_question():
    unit = Unit()
    T257P(unit).read_faults()
    assert unit.asked == ["191", "192", "18"]
    failing = Unit(c192=None)
    with pytest.raises(NoAnswer):
        T257P(failing).read_faults()
    assert "18" not in failing.asked


def test_a_unit_without_details_still_tells_its_alarms():
    assert T257P(Unit(c191="5", c192="5", c18="0001000")).read_faults() == ("low coolant level",)
    with pytest.raises(Refused):
        T257P(Unit(c191="2")).read_faults()


def test_the_wrong_page_is_not_believed():
    with pytest.raises(ProtocolError):
        T257P(Unit(c191="0200000000")).read_faults()
