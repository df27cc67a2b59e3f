# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated T257P and T255P against the frames and rules of the makers, byte by byte."""

import itertools
import random

import pytest

from rockit.chiller.simulators.t255p import T255P
from rockit.chiller.simulators.thermal import ThermalLoop
from rockit.chiller.simulators.thermotek import T257P


class Bench:
    """A device with a clock of its own: time passes only when a test says so."""

    def __init__(self, device):
        self.device = device
        self.now = 1000.0
        device.output(self.now)

    def ask(self, command, wait=0.5):
        self.device.receive(command.encode() + b"\r", self.now)
        self.now += wait
        return self.device.output(self.now).decode().removesuffix("\r")

    def ttk(self, body):
        return self.ask(framed(f".01{body}"))

    def data(self, body):
        """What an intact answer carries; fails on any error digit."""
        answer = self.ttk(body)
        assert answer[:6] == f"#01{body[:2]}0", answer
        assert framed(answer[:-2]) == answer
        return answer[14:-2]

    def wait(self, seconds):
        self.now += seconds
        return self.device.output(self.now)

    def info(self, key):
        return self.device.info()[key]


def framed(text):
    return f"{text}{sum(text.encode()) % 256:02X}"


@pytest.fixture
def bench():
    return Bench(T257P())


WATCHDOG, SETPOINT, SUPPLY, LEVEL_1, WARNINGS = "01WatchDog", "03rSetTemp", "04rSupplyT", "18rAlrmLv1", "20rWarnLv1"
RUN, STANDBY = "15sStatus_1", "15sStatus_0"


# --- frames of the manual


def test_watchdog_in_auto_start_is_the_manuals_example():
    bench = Bench(T257P(autostart=True, now=1000.0))
    assert bench.ask(".0101WatchDog01") == "#01010WatchDog0100E7"
    bench.wait(2.0)
    assert bench.ttk(WATCHDOG)[14:16] == "21"
    assert bench.info("state") == "run"


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (".0117sCtrlT__+0200FE", "#01170sCtrlT__+020023"),
        (".0115sStatus_17C", "#01150sStatus_1A1"),
        (".0115sStatus_07B", "#01150sStatus_0A0"),
        (".0159sDUsrEEPU1D", "#01590sDUsrEEPU42"),
        (".0101WatchDog00", "#01011WatchDog27"),  # wrong checksum
        (".0118rAlrmLv1e9", "#01180rAlrmLv10000002E"),  # lower-case checksums are accepted
    ],
)
def test_answers_are_the_manuals_bytes(bench, command, answer):
    assert bench.ask(command) == answer


@pytest.mark.parametrize(
    ("body", "checksum"),
    [
        ("02rCtrlSen", "1E"), ("03rSetTemp", "26"), ("04rSupplyT", "46"), ("07rReturnT", "3C"), ("08rAmbTemp", "0F"),
        ("09rProsFlo", "2F"), ("10rTECB1Cr", "66"), ("11rTECB2Cr", "68"), ("13rTECDrLv", "B9"), ("20rWarnLv1", "EE"),
        ("19rAlrmLv21", "1C"), ("19rAlrmLv22", "1D"), ("34rHiSpTWn", "F5"), ("35rLoSpTWn", "00"), ("36rHiAmTWn", "E2"),
        ("37rLoAmTWn", "ED"), ("38rLoPFlWn", "EE"), ("39rHiSpTAl", "E2"), ("40rLoSpTAl", "E4"), ("41rHiAmTAl", "C6"),
        ("42rLoAmTAl", "D1"), ("43rLoPFlAl", "D2"), ("46rPulWdMo", "13"), ("48rPIDStat", "E6"), ("49rUpTime_", "21"),
        ("50rFanSpd1", "D3"), ("51rFanSpd2", "D5"), ("52rFanSpd3", "D7"), ("53rFanSpd4", "D9"),
    ],
)  # fmt: skip
def test_every_read_command_of_the_table_is_answered(bench, body, checksum):
    assert framed(f".01{body}") == f".01{body}{checksum}"
    bench.ttk(RUN)
    bench.wait(30)
    assert bench.data(body) != ""


def test_values_have_the_forms_of_the_manual(bench):
    bench.ttk("17sCtrlT__+0100")
    bench.ttk(RUN)
    bench.wait(120)
    assert bench.ttk(SETPOINT) == framed("#01030rSetTemp+0100")
    assert bench.data(WATCHDOG) == "2100"
    assert bench.data("13rTECDrLv")[3:] == ",C"
    assert bench.data("13rTECDrLv")[:3] == f"{round(100 * bench.info('drive')):03d}"
    assert abs(int(bench.data(SUPPLY)) / 10 - bench.info("coolant_temp")) < 0.3
    assert bench.data("08rAmbTemp") == "+0220"  # 20 °C and 2 K of self-heating
    assert bench.data("09rProsFlo") in ("+0029", "+0030", "+0031")
    assert bench.data("49rUpTime_") == "000002"
    assert bench.data("50rFanSpd1") == "0045"
    assert bench.data("10rTECB1Cr")[0] == "+"
    assert bench.data("02rCtrlSen") == "0"


def test_a_warm_set_point_reverses_the_drive(bench):
    bench.ttk("17sCtrlT__+0350")
    bench.ttk(RUN)
    bench.wait(120)
    assert bench.data("13rTECDrLv")[3:] == ",H"
    assert bench.data("10rTECB1Cr")[0] == "-"


def test_the_name_is_not_checked_but_its_length_is(bench):
    assert bench.ask(".01010000000070") == framed("#01010" + "00000000" + "1000")
    assert bench.ttk("25sLoPFlTWn+0005")[5] == "4"
    assert bench.ttk("01WatchDo")[5] == "4"


@pytest.mark.parametrize("number", [0, 14, 31, 33, 44, 45, 47, 54, 58, 60, 99])
def test_unused_numbers_are_bad_commands(bench, number):
    assert bench.ttk(f"{number:02d}Whatever")[:6] == f"#01{number:02d}2"


@pytest.mark.parametrize("value", ["+0049", "+0451", "+0999", "-0050"])
def test_a_set_point_out_of_bounds_gets_the_short_answer(bench, value):
    assert bench.ttk(f"17sCtrlT__{value}") == "#23"
    assert bench.data(SETPOINT) == "+0200"


@pytest.mark.parametrize("value", ["+0050", "+0450"])
def test_the_ends_of_the_range_are_taken(bench, value):
    assert bench.data(f"17sCtrlT__{value}") == value
    assert bench.data(SETPOINT) == value


def test_glycol_allows_five_below_zero():
    bench = Bench(T257P(glycol=True))
    assert bench.ask(".0117sCtrlT__-005003") == framed("#01170sCtrlT__-0050")
    assert bench.ttk("17sCtrlT__-0051") == "#23"


def test_other_bad_parameters_and_missing_sensors(bench):
    assert bench.ttk("16sCtrlSen1") == "#23"
    assert bench.ttk("15sStatus_7")[5] == "3"
    assert bench.ttk("17sCtrlT__12345")[5] == "3"
    assert bench.ttk("19rAlrmLv23")[5] == "3"
    assert bench.ttk("05rExtRTD_") == framed("#01055rExtRTD_")
    assert bench.ttk("12sExtSens1")[5] == "5"
    fitted = Bench(T257P(external=True))
    assert fitted.data("06rExtThrm") == "+0200"


def test_thresholds_are_kept_and_restored(bench):
    for number, read in zip(range(21, 31), range(34, 44), strict=True):
        before = bench.data(f"{read}xxxxxxxx")
        assert bench.data(f"{number}xxxxxxxx+00{number}") == f"+00{number}"
        assert bench.data(f"{read}xxxxxxxx") == f"+00{number}" != before
    bench.ask(".0159sDUsrEEPU1D")
    assert bench.data("34rHiSpTWn") == "+0500"


# --- line


def test_another_address_is_not_answered():
    assert Bench(T257P(unit=2)).ask(".0101WatchDog01") == ""
    assert Bench(T257P(unit=2)).ask(framed(".0201WatchDog"))[:6] == "#02010"


def test_a_pause_inside_a_command_makes_it_disappear(bench):
    bench.device.receive(b".0104rSup", bench.now)
    bench.now += 0.011
    bench.device.receive(b"plyT46\r", bench.now)
    assert bench.wait(5) == b""
    assert bench.info("dropped") == 1
    assert bench.ttk(SUPPLY)[:6] == "#01040"


@pytest.mark.parametrize(("max_gap", "gap"), [(0.01, 0.009), (0.0, 1.0)])
def test_a_short_pause_or_a_patient_chiller_keeps_it(max_gap, gap):
    bench = Bench(T257P(max_gap=max_gap))
    bench.device.receive(b".0104rSup", bench.now)
    bench.now += gap
    assert bench.ask("plyT46")[:6] == "#01040"


def test_flow_control_characters_and_noise_between_commands_are_ignored(bench):
    bench.device.receive(b"\x11\xff\x00garbage\r\r.01\x1301Watch\x11Dog01\r", bench.now)
    assert bench.wait(1)[:6] == b"#01010"


def test_an_endless_command_takes_no_memory(bench):
    for _ in range(50):
        bench.device.receive(b"." * 65536, bench.now)
    assert len(bench.device._buffer) <= 64
    bench.ask("")
    assert bench.ttk(SUPPLY)[:6] == "#01040"


def test_the_answer_comes_after_latency_and_byte_time():
    device = T257P(latency=0.02, baud=9600.0)
    device.receive(b".0115sStatus_17C\r", 0.0)
    took = 0.02 + (17 + 18) * 10 / 9600
    assert device.due(0.0) == pytest.approx(took)
    assert device.output(took - 0.001) == b""
    assert device.output(took + 0.001) == b"#01150sStatus_1A1\r"


def test_remote_mode_lapses_after_ten_seconds_and_the_unit_goes_on(bench):
    assert bench.info("remote") is False
    bench.ask(".0101WatchDog00")  # not valid: the checksum is wrong
    assert bench.info("remote") is False
    bench.ttk(RUN)
    bench.wait(9.0)
    assert bench.info("remote") is True
    bench.wait(0.6)
    assert bench.info("remote") is False
    assert bench.info("running") is True


# --- protections


def running(**options):
    bench = Bench(T257P(running=True, **options))
    bench.wait(30)
    return bench


def test_low_level_stops_after_five_seconds_and_stays_latched():
    bench = running()
    bench.device.set_fault("low_level", "on")
    bench.wait(4)
    assert bench.info("running") is True
    assert bench.data(WARNINGS) == "2000"
    bench.wait(4)
    assert bench.info("state") == "standby"
    assert bench.data(WATCHDOG) == "1011"
    bench.data(STANDBY)
    assert bench.data(LEVEL_1) == "001000"
    assert bench.data(LEVEL_1) == "001000"  # the cause stands: reading does not clear
    bench.device.set_fault("low_level", "off")
    assert bench.data("19rAlrmLv22") == "2" + "00000000"
    assert bench.data(WATCHDOG) == "1010"  # latched, and 19 clears nothing
    bench.data(RUN)
    assert bench.info("running") is False
    assert bench.data(LEVEL_1) == "001000"
    assert bench.data(LEVEL_1) == "000000"
    bench.data(RUN)
    assert bench.data(WATCHDOG) == "2100"


def test_a_short_dip_of_the_level_does_nothing():
    bench = running()
    bench.device.set_condition("level", "0.1")
    bench.wait(4)
    bench.device.set_condition("level", "0.9")
    bench.wait(10)
    assert bench.data(WATCHDOG) == "2100"


def test_no_flow_stops_but_not_while_the_pump_starts():
    bench = Bench(T257P())
    bench.device.set_fault("low_flow", "on")
    bench.wait(30)
    assert bench.data(WATCHDOG) == "1000"  # the pump is off: nobody misses the flow
    bench.data(RUN)
    bench.wait(13)
    assert bench.info("running") is True
    bench.wait(5)
    assert bench.info("running") is False
    assert bench.data(LEVEL_1)[4] == "4"


def test_little_flow_warns_and_alarms_without_stopping():
    bench = running()
    bench.device.set_fault("low_flow", "0.4")
    bench.wait(30)
    assert bench.data(WARNINGS)[0] == "1"
    assert bench.data(LEVEL_1) == "000000"
    bench.device.set_fault("low_flow", "0.2")
    bench.wait(30)
    assert bench.data(LEVEL_1) == "002000"
    assert bench.data(WATCHDOG) == "2111"
    bench.device.set_fault("low_flow", "off")
    bench.wait(2)
    assert bench.data(WATCHDOG) == "2100"


def test_a_dead_fan_stops_the_unit():
    bench = running()
    bench.device.set_fault("fan", "on")
    bench.wait(8)
    assert bench.data(WATCHDOG) == "1010"
    bench.data(STANDBY)
    assert bench.data(LEVEL_1)[4] == "8"


def test_a_broken_supply_sensor_reads_nonsense_and_stops():
    bench = running()
    bench.device.set_fault("sensor_open", "on")
    assert bench.data(SUPPLY) == "+9999"
    bench.wait(8)
    assert bench.data(STANDBY) == "0"
    assert bench.data("19rAlrmLv22") == "205000000"
    assert bench.data(LEVEL_1) == "010000"


@pytest.mark.parametrize(("coolant", "digits"), [("60", "1"), ("-12", "2")])
def test_supply_out_of_bounds_stops(coolant, digits):
    bench = running()
    bench.device.set_condition("coolant", coolant)
    bench.wait(30)
    assert bench.info("running") is False
    bench.data(STANDBY)
    assert bench.data(LEVEL_1)[4] == digits


def test_hot_air_alarms_only():
    bench = running()
    bench.device.set_condition("ambient", "51")
    bench.wait(5)
    assert bench.data(LEVEL_1) == "000200"
    assert bench.data(WARNINGS)[1] == "4"
    assert bench.info("running") is True


def mismatched():
    bench = running()
    bench.device.set_fault("low_level", "on")
    for _ in range(100):
        bench.wait(0.1)
        if not bench.info("running"):
            break
    bench.device.set_fault("low_level", "off")
    return bench


def test_clearing_before_standby_leads_to_a_mode_mismatch_until_power_is_cycled():
    bench = mismatched()
    bench.data(LEVEL_1)
    assert bench.info("mode_mismatch") is True
    assert bench.data(WATCHDOG)[0] == "3"
    assert bench.ttk(RUN) == "#23"
    bench.data(STANDBY)
    assert bench.ttk(RUN) == "#23"
    bench.device.set_condition("power", "cycle")
    bench.data(RUN)
    assert bench.data(WATCHDOG) == "2100"


def test_standby_first_or_patience_avoids_the_mode_mismatch():
    bench = mismatched()
    bench.data(STANDBY)
    bench.data(LEVEL_1)
    assert bench.info("mode_mismatch") is False
    bench = mismatched()
    bench.wait(1.6)
    bench.data(LEVEL_1)
    assert bench.info("mode_mismatch") is False
    assert bench.data(LEVEL_1) == "000000"


def test_the_moment_of_an_alarm_is_right_when_nobody_looked():
    bench = running()
    bench.device.set_fault("low_level", "on")
    bench.wait(20)  # in one piece: the alarm came in the middle of it
    bench.device.set_fault("low_level", "off")
    assert bench.data(LEVEL_1) == "001000"
    assert bench.data(LEVEL_1) == "000000"
    assert bench.info("mode_mismatch") is False


def test_without_power_there_is_silence_and_a_cold_pump():
    bench = running()
    bench.device.set_condition("power", "off")
    assert bench.ttk(WATCHDOG) == ""
    assert bench.info("flow") == 0.0
    bench.device.set_condition("power", "on")
    assert bench.data(WATCHDOG) == "1000"


# --- faults of the device


def test_refused_and_ignored_writes(bench):
    bench.device.set_fault("refuse", "once")
    assert bench.ttk(RUN) == "#23"
    assert bench.data(WATCHDOG) == "1000"
    bench.device.set_fault("ignore_writes", "on")
    assert bench.data(RUN) == "1"
    assert bench.data("17sCtrlT__+0150") == "+0150"
    assert bench.data(WATCHDOG) == "1000"
    assert bench.data(SETPOINT) == "+0200"
    bench.device.set_fault("ignore_writes", "off")
    bench.data(RUN)
    assert bench.info("running") is True


def test_error_digits(bench):
    bench.device.set_fault("error", "once 4")
    assert bench.ttk(SUPPLY) == framed("#01044rSupplyT")
    assert bench.ttk(SUPPLY)[5] == "0"
    bench.device.set_fault("error", "5")
    assert [bench.ttk(SUPPLY)[5] for _ in range(2)] == ["5", "5"]
    with pytest.raises(ValueError, match="1 to 5"):
        bench.device.set_fault("error", "9")


def test_stuck_values_stay_while_the_water_cools():
    bench = running(setpoint=10.0)
    bench.device.set_fault("stuck", "on")
    before = bench.data(SUPPLY)
    bench.wait(600)
    assert bench.data(SUPPLY) == before
    bench.device.set_fault("stuck", "off")
    assert int(bench.data(SUPPLY)) < int(before) - 50


def test_alarms_and_warnings_without_a_cause(bench):
    bench.device.set_fault("alarm", "01A000")
    bench.device.set_fault("warning", "on")
    assert bench.ask(".0118rAlrmLv1E9") == framed("#01180rAlrmLv101A000")
    assert bench.ask(framed(".0120rWarnLv1")) == "#01200rWarnLv10800DB"
    assert bench.data(WATCHDOG) == "1011"
    with pytest.raises(ValueError, match="6 hex digits"):
        bench.device.set_fault("alarm", "12345G")


def test_a_condition_of_the_machine_cannot_be_once(bench):
    with pytest.raises(ValueError, match="once"):
        bench.device.set_fault("low_level", "once")
    with pytest.raises(KeyError):
        bench.device.set_fault("earthquake", "on")
    with pytest.raises(KeyError):
        bench.device.set_condition("gravity", "1")
    with pytest.raises(ValueError, match="not a number"):
        bench.device.set_condition("ambient", "warm")


# --- faults of the line


def test_line_faults_do_what_they_say(bench):
    good = "#01030rSetTemp+0200" + framed("#01030rSetTemp+0200")[-2:]
    assert bench.ttk(SETPOINT) == good
    expected = {
        "double once": f"{good}\r{good}",
        "truncate once 5": good[:5],
        "truncate once": f"{good}\r"[: (len(good) + 1) // 2],
        "drop once 0": good[1:],
        "silence once": "",
        "foreign once before": framed("#01080rAmbTemp+0200") + "\r" + good,
        "foreign once": framed("#01080rAmbTemp+0200"),
    }
    for fault, answer in expected.items():
        name, value = fault.split(" ", 1)
        bench.device.set_fault(name, value)
        assert bench.ttk(SETPOINT) == answer, fault
        assert bench.device.active() == {}
        assert bench.ttk(SETPOINT) == good


def test_a_bad_checksum_is_a_plausible_value_with_a_wrong_sum(bench):
    bench.device.set_fault("checksum", "once")
    answer = bench.ttk(SETPOINT)
    assert answer == "#01030rSetTemp+0201" + framed("#01030rSetTemp+0200")[-2:]
    assert framed(answer[:-2]) != answer


def test_garbage_repeats_with_the_seed():
    first, second = Bench(T257P(seed=7)), Bench(T257P(seed=7))
    for bench in (first, second):
        bench.device.set_fault("garbage", "on")
    request = framed(".0103rSetTemp").encode() + b"\r"
    noise = []
    for bench in (first, second):
        bench.device.receive(request, bench.now)
        noise.append(bench.wait(1))
    assert noise[0] == noise[1]
    assert noise[0].endswith(framed("#01030rSetTemp+0200").encode() + b"\r")
    assert len(noise[0]) > 22


def test_late_and_slow_answers_keep_their_order(bench):
    bench.device.set_fault("late", "once 4")
    assert bench.ask(framed(".0103rSetTemp"), wait=3.0) == ""
    answers = bench.ask(framed(".0102rCtrlSen"), wait=3.0).split("\r")
    assert [answer[3:5] for answer in answers] == ["03", "02"]
    bench.device.set_fault("slow", "0.1")
    bench.device.receive(framed(".0103rSetTemp").encode() + b"\r", bench.now)
    bench.now += 0.02 + 0.05
    assert [bench.device.output(bench.now + 0.1 * i) for i in range(22)] == [
        bytes([byte]) for byte in framed("#01030rSetTemp+0200").encode() + b"\r"
    ]


# --- heat


def minutes_until(bench, coolant, limit=40):
    for second in range(limit * 60):
        if bench.info("coolant_temp") <= coolant:
            return second / 60
        bench.wait(1)
    raise AssertionError(f"not {coolant} °C within {limit} min, but {bench.info('coolant_temp'):.2f}")


@pytest.mark.parametrize(("load", "drive"), [(100.0, 0.58), (150.0, 0.80)])
def test_the_chiller_settles_at_the_drive_of_its_heat_balance(load, drive):
    bench = Bench(T257P(load=load, setpoint=12.0, coolant=22.0, running=True))
    if load == 100.0:
        assert 12 < minutes_until(bench, 12.1) < 18
    bench.wait(7200)
    assert bench.info("coolant_temp") == pytest.approx(12.0, abs=0.1)
    assert bench.info("drive") == pytest.approx(drive, abs=0.025)
    # At rest the camera is warmer by what it takes to push its heat through 20 W/K.
    assert bench.info("camera_temp") == pytest.approx(12.0 + load / 20.0, abs=0.2)
    assert int(bench.data("07rReturnT")) > int(bench.data(SUPPLY))


def test_heating_has_its_own_power():
    bench = Bench(T257P(load=0.0, setpoint=45.0, coolant=20.0, running=True))
    bench.wait(60)
    assert bench.info("drive") == pytest.approx(-1.0)
    before = bench.info("coolant_temp")
    bench.wait(60)
    # 250 W of the element and 15 W of the pump into 7 kJ/K; a few watts go to air and camera.
    assert bench.info("coolant_temp") - before == pytest.approx((250.0 + 15.0) * 60 / 7000.0, abs=0.45)


def test_without_the_pump_the_camera_heats_up():
    bench = Bench(T257P(load=100.0, coolant=15.0))
    bench.wait(600)
    assert bench.info("camera_temp") == pytest.approx(15.0 + 100.0 * 600 / 2000.0, abs=0.1)
    assert bench.info("drive") == 0.0


def test_the_drive_moves_two_percent_a_second_at_most():
    bench = Bench(T257P(setpoint=5.0, coolant=30.0))
    bench.data(RUN)
    drives = []
    for _ in range(80):
        bench.wait(1)
        drives.append(bench.info("drive"))
    steps = [b - a for a, b in itertools.pairwise(drives)]
    assert max(steps) <= 0.02 + 1e-9
    assert drives[-1] == pytest.approx(1.0)


def test_speed_hurries_the_heat_and_not_the_line():
    slow, fast = Bench(T257P(setpoint=12.0, running=True)), Bench(T257P(setpoint=12.0, running=True, speed=60.0))
    slow.wait(600)
    fast.wait(10)
    assert fast.info("coolant_temp") == slow.info("coolant_temp")
    fast.device.receive(b".0101WatchDog01\r", fast.now)
    assert fast.wait(0.019) == b""
    assert fast.wait(0.002) != b""


def test_noise_is_repeatable_and_small():
    loops = [ThermalLoop(random.Random(3), ambient=20.0, load=0.0, coolant=20.0) for _ in range(2)]
    seen = []
    for loop in loops:
        values = []
        for _ in range(200):
            loop.step(1.0, None, 0.0)
            values.append(loop.supply)
        seen.append(values)
    assert seen[0] == seen[1]
    assert set(seen[0]) <= {19.9, 20.0, 20.1}


# --- T255P


def test_the_older_protocol():
    bench = Bench(T255P())
    assert bench.ask(".U83") == framed("#U01000")
    assert bench.ask(".I77") == framed("#I0+2200")
    assert bench.ask(".H0A6") == framed("#H00+200,100")
    assert bench.ask(".J78") == framed("#J0000000")
    assert bench.ask(".M+1503C") == framed("#M0+150")
    assert bench.ask(".G1A6") == framed("#G01")
    assert bench.ask(".G1A6") == framed("#G3")  # already there
    assert bench.ask(".U83") == framed("#U02010")
    assert bench.ask(".O0AD") == framed("#O3")
    assert bench.ask(framed(".O1")) == framed("#O01")
    assert bench.ask(".G0A5") == framed("#G00")
    assert bench.ask(".U84") == framed("#U1")
    assert bench.ask(framed(".X")) == framed("#X2")
    assert bench.ask(framed(".M+451")) == framed("#M3")
    assert bench.info("setpoint") == 15.0


def test_the_older_units_float_switch():
    bench = Bench(T255P(running=True))
    bench.device.set_fault("low_level", "on")
    bench.wait(8)
    assert bench.ask(".J78") == framed("#J0100000")
    assert bench.ask(".U83") == framed("#U03100")
    bench.device.set_fault("low_level", "off")
    bench.wait(2)
    assert bench.ask(".J78") == framed("#J0000000")
    assert bench.info("running") is False
    bench.device.set_fault("alarm", "000011")
    assert bench.ask(".J78") == framed("#J0000011")
