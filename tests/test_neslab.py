# SPDX-License-Identifier: GPL-3.0-or-later
"""The NC protocol of NESLAB and ThermoFlex units: documented frames, damage, and the drivers on simulated units."""

from __future__ import annotations

import math

import pytest
from bench import Bench, decoded, joined
from hypothesis import given
from hypothesis import strategies as st

from rockit.chiller.drivers import load
from rockit.chiller.drivers.neslab import Rte, ThermoFlex
from rockit.chiller.model import MEASUREMENTS, RunState
from rockit.chiller.protocols import neslab as nc
from rockit.chiller.protocols.neslab import Decoder, Reply, Unit, encode
from rockit.chiller.simulators import neslab as simulated
from rockit.common.framing import Damage, Damaged, ProtocolError, Refused
from rockit.common.transport import NoAnswer

# Frame, command, data. Lead CA and address 1 unless the frame says otherwise.
DOCUMENTED = [
    # RTE-7 manual B-4, EX manual B-4: questions
    ("CA 00 01 00 00 FE", 0x00, ""),
    ("CA 00 01 09 00 F5", 0x09, ""),
    ("CA 00 01 20 00 DE", 0x20, ""),
    ("CA 00 01 21 00 DD", 0x21, ""),
    ("CA 00 01 70 00 8E", 0x70, ""),
    ("CA 00 01 40 00 BE", 0x40, ""),
    ("CA 00 01 60 00 9E", 0x60, ""),
    ("CA 00 01 71 00 8D", 0x71, ""),
    ("CA 00 01 72 00 8C", 0x72, ""),
    ("CA 00 01 73 00 8B", 0x73, ""),
    ("CA 00 01 75 00 89", 0x75, ""),
    ("CA 00 01 76 00 88", 0x76, ""),
    ("CA 00 01 10 00 EE", 0x10, ""),
    ("CA 00 01 28 00 D6", 0x28, ""),
    ("CA 00 01 29 00 D5", 0x29, ""),
    ("CA 00 01 07 00 F7", 0x07, ""),
    # answers
    ("CA 00 01 00 02 00 00 FC", 0x00, "00 00"),
    ("CA 00 01 00 02 00 01 FB", 0x00, "00 01"),
    ("CA 00 01 20 03 11 02 71 57", 0x20, "11 02 71"),
    ("CA 00 01 20 03 11 FF 97 34", 0x20, "11 FF 97"),
    ("CA 00 01 70 03 11 00 C8 B2", 0x70, "11 00 C8"),
    ("CA 00 01 0F 02 03 20 CA", 0x0F, "03 20"),
    # set point, RTE-17 manual B-3 (RS-485, address 3)
    ("CA 00 01 F0 02 00 C8 44", 0xF0, "00 C8"),
    ("CC 00 03 F0 02 01 2C DD", 0xF0, "01 2C"),
    ("CC 00 03 F0 03 11 01 2C CB", 0xF0, "11 01 2C"),
    # on, off, query of a ThermoFlex; on of an RTE
    ("CA 00 01 81 01 01 7B", 0x81, "01"),
    ("CA 00 01 81 01 00 7C", 0x81, "00"),
    ("CA 00 01 81 01 02 7A", 0x81, "02"),
    ("CA 00 01 81 08 01 02 02 02 02 02 02 02 66", 0x81, "01 02 02 02 02 02 02 02"),
    # ThermoFlex manual D-5: software version and checksum
    ("CA 00 01 02 0A 30 38 34 39 39 32 2E 32 4E 20 E4", 0x02, "30 38 34 39 39 32 2E 32 4E 20"),
    ("CA 00 01 02 01 01 FA", 0x02, "01"),
    ("CA 00 01 02 04 32 30 46 41 0F", 0x02, "32 30 46 41"),
]
GOOD = bytes.fromhex("CA 00 01 20 03 11 02 71 57")
OTHER = bytes.fromhex("CA 00 01 70 03 11 00 C8 B2")
GOOD_REPLY = Reply(0xCA, 1, 0x20, b"\x11\x02\x71")
OTHER_REPLY = Reply(0xCA, 1, 0x70, b"\x11\x00\xc8")
TEMPERATURE = nc.request("temperature", 0x20, answer_length=3)


@pytest.mark.parametrize(("text", "command", "data"), DOCUMENTED)
def test_documented_frames_both_ways(text, command, data):
    frame = bytes.fromhex(text)
    assert encode(command, bytes.fromhex(data), frame[0], frame[2]) == frame
    assert Decoder().feed(frame) == [Reply(frame[0], frame[2], command, bytes.fromhex(data))]


def test_a_frame_that_cannot_be_is_not_made():
    for wrong in (
        {"command": 256},
        {"command": 0, "lead": 0xCB},
        {"command": 0, "address": 0},
        {"command": 0, "address": 101},
        {"command": 0, "data": bytes(nc.MAX_DATA + 1)},
    ):
        with pytest.raises(ValueError):
            encode(**wrong)


@pytest.mark.parametrize(
    ("data", "value", "unit"),
    [
        ("11 02 71", 62.5, Unit.CELSIUS),
        ("11 FF 97", -10.5, Unit.CELSIUS),
        ("11 01 C8", 45.6, Unit.CELSIUS),
        ("21 07 D0", 20.0, Unit.CELSIUS),
        ("01 00 14", 20.0, Unit.CELSIUS),
        ("12 02 A8", 68.0, Unit.FAHRENHEIT),
        ("13 00 7B", 12.3, Unit.LITRES_PER_MINUTE),
        ("27 00 F0", 2.4, Unit.BAR),
        ("1B FF FF", -0.1, Unit.KILOPASCAL),
        ("20 80 00", -327.68, Unit.NONE),
    ],
)
def test_values(data, value, unit):
    assert nc.quantity(bytes.fromhex(data)) == (pytest.approx(value), unit)


@pytest.mark.parametrize("data", ["", "11 00", "11 00 00 00", "11 00 00 00 00", "1C 00 00", "1F 00 00"])
def test_values_that_cannot_be(data):
    with pytest.raises(ProtocolError):
        nc.quantity(bytes.fromhex(data))


def test_units_are_converted_and_others_not_taken():
    assert nc.celsius(bytes.fromhex("12 02 A8")) == pytest.approx(20.0)
    assert nc.celsius(bytes.fromhex("12 FE 70")) == pytest.approx(-40.0)
    assert nc.litres_per_minute(bytes.fromhex("14 00 0A")) == pytest.approx(3.785412)
    assert nc.litres_per_minute(bytes.fromhex("13 00 0A")) == pytest.approx(1.0)
    assert nc.kilopascal(bytes.fromhex("16 00 64")) == pytest.approx(68.94757)
    assert nc.kilopascal(bytes.fromhex("27 00 F0")) == pytest.approx(240.0)
    assert nc.kilopascal(bytes.fromhex("1B 00 64")) == pytest.approx(10.0)
    for convert, data in ((nc.celsius, "10 00 64"), (nc.litres_per_minute, "11 00 64"), (nc.kilopascal, "13 00 64")):
        with pytest.raises(ProtocolError):
            convert(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("celsius", "qualifier", "written"),
    [(20.0, 0x11, "00C8"), (-10.5, 0x11, "FF97"), (20.0, 0x12, "02A8"), (-40.0, 0x12, "FE70"), (20.0, 0x21, "07D0"),
     (20.0, 0x01, "0014"), (30.0, 0x11, "012C")],
)  # fmt: skip
def test_values_are_written_in_the_units_own_precision_and_scale(celsius, qualifier, written):
    assert nc.encode_value(celsius, qualifier) == bytes.fromhex(written)


@given(st.floats(-50, 150), st.sampled_from([0x11, 0x21, 0x12, 0x22]))
def test_what_is_written_reads_back(celsius, qualifier):
    back = nc.celsius(bytes([qualifier]) + nc.encode_value(celsius, qualifier))
    assert abs(back - celsius) <= 0.5 / 10 ** (qualifier >> 4) + 1e-9


def test_values_that_cannot_be_written():
    for celsius in (math.nan, math.inf, 4000.0):
        with pytest.raises(ValueError):
            nc.encode_value(celsius, 0x11)
    for qualifier in (0x10, 0x13, 0x1C):
        with pytest.raises(ProtocolError):
            nc.encode_value(20.0, qualifier)


# --- damage


def test_a_wrong_checksum_is_reported_and_costs_no_good_frame():
    bad = GOOD[:-1] + b"\x58"
    assert Decoder().feed(bad + OTHER) == [Damaged(Damage.CHECKSUM, bad), OTHER_REPLY]
    assert Decoder().feed(bad + b"\x11\x22" + OTHER) == [
        Damaged(Damage.CHECKSUM, bad), Damaged(Damage.GARBAGE, b"\x11\x22"), OTHER_REPLY,
    ]  # fmt: skip


def test_a_frame_cut_off_by_another_is_found_behind_it():
    out = Decoder().feed(GOOD[:6] + OTHER)
    assert OTHER_REPLY in out
    assert out[0] == Damaged(Damage.CHECKSUM, GOOD[:6])


def test_noise_around_frames():
    assert Decoder().feed(b"\x00\x11\xff" + GOOD + b"\xca\x33" + OTHER) == [
        Damaged(Damage.GARBAGE, b"\x00\x11\xff"), GOOD_REPLY, Damaged(Damage.GARBAGE, b"\xca\x33"), OTHER_REPLY,
    ]  # fmt: skip


@pytest.mark.parametrize("head", ["CA 01", "CA 00 00", "CA 00 65", "CA 00 01 20 21", "CB 00 01 20 03"])
def test_what_cannot_be_a_beginning_holds_nothing_up(head):
    out = Decoder().feed(bytes.fromhex(head) + GOOD)
    assert out == [Damaged(Damage.GARBAGE, bytes.fromhex(head)), GOOD_REPLY]


def test_flush_gives_up_what_is_unfinished():
    decoder = Decoder()
    assert decoder.feed(GOOD[:-1]) == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, GOOD[:-1])]
    assert decoder.flush() == []
    assert decoder.feed(GOOD) == [GOOD_REPLY]


def test_flush_brings_out_a_frame_hidden_by_a_false_beginning():
    decoder = Decoder()
    false = bytes.fromhex("CA 00 01 20 1F")
    assert decoder.feed(false + GOOD) == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, false), GOOD_REPLY]


def raw(item: Reply | Damaged) -> bytes:
    return item.data if isinstance(item, Damaged) else encode(item.command, item.data, item.lead, item.address)


pieces = st.one_of(
    st.binary(max_size=12),
    st.lists(st.sampled_from([0xCA, 0xCC, 0x00, 0x01, 0x03, 0x20]), max_size=12).map(bytes),
    st.sampled_from([bytes.fromhex(text) for text, _, _ in DOCUMENTED]),
    st.sampled_from([bytes.fromhex(text)[:-2] for text, _, _ in DOCUMENTED]),
    st.sampled_from([bytes.fromhex(text)[:-1] + b"\x42" for text, _, _ in DOCUMENTED]),
)
streams = st.lists(pieces, max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 200), max_size=6))
def test_nothing_is_invented_and_nothing_disappears(data, cuts):
    out = decoded(Decoder(), data, cuts, holds=nc.MAX_DATA + 5)
    assert b"".join(map(raw, out)) == data
    assert joined(out, raw) == joined(decoded(Decoder(), data), raw)


@given(st.binary(max_size=40).map(lambda noise: noise.replace(b"\xca", b"").replace(b"\xcc", b"")), streams)
def test_a_whole_frame_after_noise_without_a_lead_comes_at_once(noise, behind):
    assert Decoder().feed(noise + GOOD + behind)[: 2 if noise else 1][-1] == GOOD_REPLY


@given(st.integers(-0x8000, 0x7FFF), st.sampled_from([0x11, 0x21, 0x12, 0x22]), st.integers(0, 8), st.integers(1, 255))
def test_one_changed_byte_is_never_taken_for_an_answer(value, qualifier, at, change):
    frame = bytearray(encode(0x20, bytes([qualifier]) + value.to_bytes(2, "big", signed=True)))
    frame[at] ^= change
    assert not any(isinstance(item, Reply) and TEMPERATURE.matches(item) for item in decoded(Decoder(), bytes(frame)))


def test_a_changed_length_byte_can_fit_the_checksum_and_is_no_answer():
    frame = bytearray(encode(0x20, b"\x11\x00\xcb"))
    frame[4] = 2
    reply = Decoder().feed(bytes(frame))[0]
    assert reply == Reply(0xCA, 1, 0x20, b"\x11\x00")
    assert not TEMPERATURE.matches(reply)


# --- questions and answers


def test_only_the_answer_to_the_question_matches():
    assert TEMPERATURE.data == bytes.fromhex("CA 00 01 20 00 DE")
    assert TEMPERATURE.matches(GOOD_REPLY)
    assert TEMPERATURE.matches(Reply(0xCA, 1, 0x0F, b"\x03\x20"))
    for foreign in (
        OTHER_REPLY,
        Reply(0xCC, 1, 0x20, GOOD_REPLY.data),
        Reply(0xCA, 2, 0x20, GOOD_REPLY.data),
        Reply(0xCA, 1, 0x20, b""),  # our own question, come back
        Reply(0xCA, 1, 0x0F, b"\x03\x70"),
        Reply(0xCA, 1, 0x0F, b"\x03"),
    ):
        assert not TEMPERATURE.matches(foreign), foreign


@pytest.mark.parametrize(("code", "word"), [(1, "bad command"), (2, "bad data"), (9, "unknown")])
def test_error_replies_have_names(code, word):
    with pytest.raises(Refused, match=word) as refused:
        nc.answer(Reply(0xCA, 1, 0x0F, bytes([code, 0x20])))
    assert refused.value.code == str(code)


def test_a_question_that_arrived_damaged_is_the_line_s_fault():
    with pytest.raises(ProtocolError, match="bad checksum") as fault:
        nc.answer(Reply(0xCA, 1, 0x0F, b"\x03\x20"))
    assert not isinstance(fault.value, Refused)


def test_status_bits():
    assert nc.status_flags(bytes(4)) == ()
    assert nc.status_flags(bytes.fromhex("01 00 08 02")) == ("running", "low level", "powering up")
    assert nc.status_flags(bytes.fromhex("80 80 80 04")) == (
        "low temperature", "high pressure cut-out", "high pressure, factory limit", "powering down",
    )  # fmt: skip
    assert [len(names) for names in nc.THERMOFLEX_STATUS] == [8, 8, 8, 3]
    assert nc.status_flags(bytes.fromhex("00 00 00 F8")) == ()  # not documented


# --- drivers on simulated units


@pytest.fixture
def flex():
    return Bench(simulated.ThermoFlex(), ThermoFlex)


@pytest.fixture
def rte():
    return Bench(simulated.Rte(), Rte)


def test_drivers_are_found_by_name():
    assert load("neslab-thermoflex") is ThermoFlex
    assert load("neslab-rte") is Rte
    assert (ThermoFlex.line_settings.baud, Rte.line_settings.baud) == (9600, 19200)
    for driver in (ThermoFlex, Rte):
        assert set(driver.measures) <= set(MEASUREMENTS)


def test_identify(flex, rte):
    assert flex.driver.identify() == {"family": "Thermo ThermoFlex", "protocol": "0.1"}
    assert rte.driver.identify() == {"family": "Thermo NESLAB RTE", "protocol": "0.1"}
    assert flex.sent == [bytes.fromhex("CA 00 01 00 00 FE")]


def test_poll_of_a_thermoflex():
    bench = Bench(simulated.ThermoFlex(running=True, coolant=12.5, setpoint=12.0), ThermoFlex)
    values = bench.values()
    assert set(bench.driver.measures) <= set(values)
    assert values["run_state"] is RunState.RUN
    assert values["water_temp"] == pytest.approx(12.5)
    assert values["setpoint_temp"] == pytest.approx(12.0)
    assert values["flow"] == pytest.approx(12.0)
    assert values["pressure"] == pytest.approx(240.0)
    assert (values["device_alarm"], values["device_warning"], values["warnings"]) == (False, False, ())


def test_poll_of_a_thermoflex_in_us_units():
    bench = Bench(simulated.ThermoFlex(running=True, coolant=12.5, setpoint=12.0, us_units=True), ThermoFlex)
    values = bench.values()
    assert values["water_temp"] == pytest.approx(12.5, abs=0.03)
    assert values["setpoint_temp"] == pytest.approx(12.0, abs=0.03)
    assert values["flow"] == pytest.approx(12.0, abs=0.2)
    assert values["pressure"] == pytest.approx(240.0, abs=0.4)


def test_a_thermoflex_without_flow_meter_is_polled_all_the_same(flex):
    flex.device.set_fault("no_options", "on")
    values = flex.values()
    assert "water_temp" in values
    assert not {"flow", "pressure"} & set(values)


def test_a_question_that_arrived_damaged_is_not_taken_for_a_missing_sensor(flex):
    polling = flex.driver.poll()
    for _ in range(3):
        next(polling)
    flex.device.set_fault("refuse", "3")
    with pytest.raises(ProtocolError, match="bad checksum"):
        next(polling)


def test_start_and_stop_of_a_thermoflex(flex):
    assert flex.driver.read_state()["run_state"] is RunState.STANDBY
    flex.driver.write_running(True)
    assert flex.sent[-1] == bytes.fromhex("CA 00 01 81 01 01 7B")
    assert flex.driver.read_state()["run_state"] is RunState.STARTING
    flex.wait(10)
    assert flex.driver.read_state()["run_state"] is RunState.RUN
    assert flex.device.info()["running"] is True
    flex.driver.write_running(False)
    assert flex.driver.read_state()["run_state"] is RunState.STANDBY
    flex.wait(10)
    assert flex.driver.read_state()["run_state"] is RunState.STANDBY
    assert flex.device.info()["running"] is False


def test_start_and_stop_of_an_rte_change_nothing_else(rte):
    assert rte.driver.read_state() == {"run_state": RunState.STANDBY}
    rte.driver.write_running(True)
    assert rte.sent[-1] == bytes.fromhex("CA 00 01 81 08 01 02 02 02 02 02 02 02 66")
    assert rte.driver.read_state() == {"run_state": RunState.RUN}
    assert rte.device.switches == [1, 0, 1, 0, 0, 0, 0, 1]
    rte.driver.write_running(False)
    assert rte.driver.read_state() == {"run_state": RunState.STANDBY}
    assert rte.device.info()["running"] is False


def test_an_rte_that_does_not_tell_its_state_is_not_guessed_at():
    class Mirror:
        """Sends every on/off command back as it came."""

        def exchange(self, request):
            reply = Decoder().feed(request.data)[0]
            assert request.matches(reply)
            return reply

    with pytest.raises(ProtocolError, match="on/off array"):
        Rte(Mirror()).read_state()


@pytest.mark.parametrize("us_units", [False, True])
@pytest.mark.parametrize("celsius", [20.0, 12.3, -10.5])
def test_set_point_is_written_and_read_back(us_units, celsius):
    bench = Bench(simulated.Rte(us_units=us_units), Rte)
    bench.driver.write_setpoint(celsius)
    assert bench.device.info()["setpoint"] == pytest.approx(celsius, abs=0.03)
    assert bench.driver.read_setpoint()["setpoint_temp"] == pytest.approx(celsius, abs=0.03)


def test_set_point_follows_the_precision_of_the_unit(rte):
    rte.device.on_off(bytes([2, 2, 2, 2, 2, 1, 2, 2]))  # 0.01 °C on
    rte.driver.write_setpoint(-10.5)
    assert rte.sent[-1] == encode(0xF0, (-1050).to_bytes(2, "big", signed=True))
    assert rte.driver.read_setpoint() == {"setpoint_temp": pytest.approx(-10.5)}


def test_negative_temperature(rte):
    cold = Bench(simulated.Rte(coolant=-10.5, ambient=-10.5), Rte)
    assert cold.values()["water_temp"] == pytest.approx(-10.5)


def test_a_set_point_out_of_range(flex, rte):
    with pytest.raises(Refused, match="bad data"):
        flex.driver.write_setpoint(60.0)
    assert flex.driver.read_setpoint()["setpoint_temp"] == pytest.approx(20.0)
    with pytest.raises(ProtocolError, match=r"acknowledged as 150\.00"):
        rte.driver.write_setpoint(160.0)


@pytest.mark.parametrize(
    ("fault", "name"),
    [("sensor", "RTD 1 open or shorted"), ("too_hot", "high temperature, fixed limit"), ("phase", "phase monitor"),
     ("low_flow", "low flow"), ("low_level", "low level")],
)  # fmt: skip
def test_faults_of_a_thermoflex(fault, name):
    bench = Bench(simulated.ThermoFlex(running=True), ThermoFlex)
    assert bench.driver.read_faults() == ()
    bench.device.set_fault(fault, "on")
    state = bench.driver.read_state()
    assert (state["device_alarm"], state["run_state"]) == (True, RunState.STANDBY)
    assert bench.driver.read_faults() == (name,)
    bench.device.set_fault(fault, "off")
    assert bench.driver.read_faults() == ()


def test_warnings_of_a_thermoflex_are_no_alarms_while_it_runs():
    bench = Bench(simulated.ThermoFlex(running=True), ThermoFlex)
    bench.device.set_fault("flow_warning", "on")
    bench.device.set_fault("temp_warning", "on")
    state = bench.driver.read_state()
    assert (state["device_alarm"], state["device_warning"]) == (False, True)
    assert state["warnings"] == ("high temperature", "low flow, fixed limit")
    # Stopped, the same bit is what stopped it; the fixed limits come first.
    bench.device.set_fault("phase", "on")
    assert bench.driver.read_state()["warnings"] == ("low flow, fixed limit",)
    assert bench.driver.read_faults() == ("phase monitor", "high temperature")


@pytest.mark.parametrize("code", ["1", "2"])
def test_refusals_reach_the_caller(flex, rte, code):
    for bench in (flex, rte):
        bench.device.set_fault("refuse", f"once {code}")
        with pytest.raises(Refused, match=nc.ERRORS[int(code)]):
            bench.driver.write_running(True)
        assert bench.driver.read_state()["run_state"] is RunState.STANDBY


def test_an_rte_with_the_computer_mode_off_does_not_answer(rte):
    rte.device.set_fault("local", "on")
    with pytest.raises(NoAnswer):
        rte.driver.identify()
    rte.device.set_fault("local", "off")
    rte.driver.identify()


@pytest.mark.parametrize(
    "fault",
    ["silence", "late 1.5", "late 0.5", "double", "truncate", "checksum", "garbage", "garbage instead", "slow 0.05",
     "slow 0.3", "foreign", "foreign before", *(f"drop {at}" for at in range(9)),
     *(f"truncate {at}" for at in range(9))],
)  # fmt: skip
def test_a_bad_line_gives_no_answer_or_the_right_one(fault):
    bench = Bench(simulated.ThermoFlex(coolant=12.5, setpoint=20.0), ThermoFlex)
    name, _, argument = fault.partition(" ")
    bench.device.set_fault(name, f"once {argument}")
    try:
        first = bench.driver.read_temperature()["water_temp"]
    except NoAnswer:
        first = None
    assert first in (None, 12.5)
    if name in ("double",) or fault in ("late 0.5", "slow 0.05", "foreign before"):
        assert first == 12.5
    if name in ("silence", "checksum", "drop", "truncate") or fault in ("garbage instead", "foreign"):
        assert first is None
    if fault == "slow 0.3":
        bench.now += 3.0  # the answer that was given up is still trickling in
    assert bench.driver.read_setpoint() == {"setpoint_temp": pytest.approx(20.0)}
    assert bench.driver.read_temperature()["water_temp"] == pytest.approx(12.5, abs=0.3)


def test_damage_is_told_apart(flex):
    flex.device.set_fault("checksum", "once")
    with pytest.raises(NoAnswer):
        flex.driver.read_temperature()
    flex.device.set_fault("truncate", "once")
    with pytest.raises(NoAnswer):
        flex.driver.read_temperature()
    flex.device.set_fault("foreign", "once")
    with pytest.raises(NoAnswer):
        flex.driver.read_temperature()
    assert flex.damaged == [Damage.CHECKSUM, Damage.TRUNCATED]
    assert [reply.command for reply in flex.strange] == [0x70]


def test_the_simulated_unit_complains_of_a_damaged_question_as_documented(flex):
    flex.device.receive(bytes.fromhex("CA 00 01 20 00 DF"), 0.0)
    assert flex.device.output(1.0) == bytes.fromhex("CA 00 01 0F 02 03 20 CA")
    flex.device.receive(bytes.fromhex("CA 00 01 55 00 A9"), 2.0)
    assert flex.device.output(3.0) == encode(0x0F, b"\x01\x55")


def test_a_thermoflex_cools_to_its_set_point():
    bench = Bench(simulated.ThermoFlex(running=True, coolant=22.0, setpoint=15.0, speed=3600.0), ThermoFlex)
    bench.driver.identify()
    bench.wait(1.0)
    assert bench.driver.read_temperature()["water_temp"] == pytest.approx(15.0, abs=0.5)
