# SPDX-License-Identifier: GPL-3.0-or-later
"""DS18B20 sensors: the driver's file, and which values of a sensor are believed."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.boiler.probe import Limits, Probe
from rockit.boiler.protocols.ds18b20 import crc8, parse
from rockit.boiler.simulators import onewire
from rockit.boiler.simulators.onewire import Folder, Sensor, scratchpad
from rockit.boiler.simulators.world import shared
from rockit.common.framing import ProtocolError
from rockit.common.transport import PortLost
from rockit.common.transport.onewire import read_w1

ID = "28-0123456789ab"
DOCUMENTED = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
POWER_ON = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"


# --- the file


def test_documented_readings():
    assert parse(DOCUMENTED) == 23.125
    assert parse(POWER_ON) == 85.0
    assert crc8(bytes.fromhex("72014b467fff0e10")) == 0x57


@pytest.mark.parametrize("celsius", [-55.0, -10.0625, -0.5, 0.0, 0.0625, 25.0625, 85.0, 125.0])
def test_the_simulated_sensor_is_understood(celsius):
    assert parse(scratchpad(celsius)) == celsius


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DOCUMENTED.replace("YES", "NO"), r"wrong on the wire"),
        ("00 " * 9 + ": crc=00 YES\n" + "00 " * 9 + "t=0\n", r"held low"),
        ("ff " * 9 + ": crc=ff YES\n" + "ff " * 9 + "t=-62\n", r"broken wire"),
        (DOCUMENTED.replace("72 01", "73 01"), r"checksum of the bytes"),
        (DOCUMENTED.replace("crc=57", "crc=56"), r"checksum of the bytes"),
        (DOCUMENTED.replace("72 01", "73 01", 1), r"checksum of the bytes"),
        (DOCUMENTED.replace("t=23125", "t=85000"), r"the driver 85"),
        (DOCUMENTED.replace("t=23125", "t=٢٣١٢٥"), r"not the two lines"),
        (DOCUMENTED.splitlines()[0], r"not the two lines"),
        (DOCUMENTED[:-8], r"not the two lines"),
        ("", r"not the two lines"),
    ],
)
def test_what_is_not_beyond_doubt_is_no_temperature(text, reason):
    with pytest.raises(ProtocolError, match=reason):
        parse(text)


@pytest.mark.parametrize("raw", [0x07D1, 0xFC8F])
def test_beyond_what_the_sensor_measures(raw):
    head = raw.to_bytes(2, "little") + bytes.fromhex("4b467fff1010")
    dump = (head + bytes([crc8(head)])).hex(" ")
    celsius = int.from_bytes(head[:2], "little", signed=True) / 16
    with pytest.raises(ProtocolError, match=r"beyond what"):
        parse(f"{dump} : crc={crc8(head):02x} YES\n{dump} t={round(celsius * 1000)}\n")


@given(st.one_of(st.text(max_size=100), st.binary(min_size=9, max_size=9)))
def test_any_text_is_a_temperature_in_range_or_refused(given_text):
    text = given_text
    if isinstance(given_text, bytes):
        dump = given_text.hex(" ")
        text = f"{dump} : crc={dump[-2:]} YES\n{dump} t=0\n"
    with suppress(ProtocolError):
        assert -55.0 <= parse(text) <= 125.0


@given(st.integers(0, len(DOCUMENTED) - 1), st.characters(max_codepoint=127))
def test_one_changed_character_never_gives_another_temperature(at, character):
    with suppress(ProtocolError):
        assert parse(DOCUMENTED[:at] + character + DOCUMENTED[at + 1 :]) == 23.125


# --- reading it


def test_a_folder_of_sensors(tmp_path):
    folder = Folder(tmp_path, {ID: lambda: 40.0, "28-00000000ffff": lambda: -3.5})
    folder.refresh()
    assert parse(read_w1(tmp_path, ID)) == 40.0
    assert parse(read_w1(tmp_path, "28-00000000ffff")) == -3.5


def test_a_missing_sensor_is_told_with_those_that_are_there(tmp_path):
    folder = Folder(tmp_path, {ID: lambda: 40.0})
    folder.refresh()
    with pytest.raises(PortLost, match=rf"no sensor 28-feed under {tmp_path}; there are: {ID}"):
        read_w1(tmp_path, "28-feed")
    folder.sensors[ID].fault = "missing"
    folder.refresh()
    with pytest.raises(PortLost, match=r"there is none"):
        read_w1(tmp_path, ID)
    with pytest.raises(PortLost, match=r"modules w1-gpio and w1-therm"):
        read_w1(tmp_path / "nowhere", ID)


def test_a_sensor_that_cannot_be_read_is_told_with_its_path(tmp_path):
    (tmp_path / ID / "w1_slave").mkdir(parents=True)
    with pytest.raises(PortLost, match=rf"{ID}/w1_slave: is a directory"):
        read_w1(tmp_path, ID)


@pytest.mark.parametrize(("repaired", "expected"), [(True, 40.0), (False, None)])
def test_a_damaged_reading_is_repeated_once_and_no_more(tmp_path, repaired, expected):
    folder = Folder(tmp_path, {ID: lambda: 40.0})
    folder.sensors[ID].fault = "crc"
    folder.refresh()
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        folder.sensors[ID].fault = None if repaired else "crc"
        folder.refresh()

    text = read_w1(tmp_path, ID, pause=pause)
    assert pauses == [0.2]
    if repaired:
        assert parse(text) == expected
    else:
        with pytest.raises(ProtocolError, match=r"\(NO\)"):
            parse(text)


@pytest.mark.parametrize("fault", ["crc", "zeros", "open"])
def test_faults_of_the_simulated_sensor_are_no_temperature(fault):
    sensor = Sensor(lambda: 21.0)
    sensor.fault = fault
    with pytest.raises(ProtocolError):
        parse(sensor.text() or "")


def test_faults_that_look_like_temperatures():
    now = [21.0]
    sensor = Sensor(lambda: now[0])
    assert parse(sensor.text() or "") == 21.0
    sensor.fault, now[0] = "stuck", 30.0
    assert parse(sensor.text() or "") == 21.0
    sensor.fault = "85"
    assert sensor.text() == POWER_ON
    sensor.fault = "0"
    assert parse(sensor.text() or "") == 0.0


def test_a_simulated_sensor_stands_in_its_world():
    world = shared("one wire", 0.0)
    with world.lock:
        world.return_temp, world.water_out_temp = 31.25, 44.5
        now = world._now
    assert parse(onewire.text("sim://ds18b20?world=one wire&at=return", now)) == 31.25
    assert parse(onewire.text("sim://ds18b20?world=one wire&at=outlet", now)) == 44.5
    for url in ("sim://ds18b20", "sim://ds18b20?world=x&at=roof", "sim://ds18b20?world=x&colour=red", "sim://numato"):
        with pytest.raises(ValueError, match=r"must be sim://ds18b20|stands at return"):
            onewire.simulated(url, 0.0)


# --- what is believed


def judged(probe, readings, *, period=5.0, start=0.0, active=False):
    return [probe.judge(value, start + at * period, active)[0] for at, value in enumerate(readings)]


def test_water_as_it_is():
    warming = [15.0 + 0.25 * at for at in range(200)]
    assert judged(Probe(), warming) == warming


def test_both_sensors_fall_to_freezing_for_hours_and_come_back():
    """As it was recorded: from 15 °C to exactly 0 °C at once, for hours."""
    probe = Probe()
    assert judged(probe, [15.0, 15.0625, 15.0]) == [15.0, 15.0625, 15.0]
    hours = judged(probe, [0.0] * 3600, start=15.0)
    assert set(hours) == {None}
    value, reason = probe.judge(0.0, 18020.0)
    assert (value, reason) == (None, "exactly 0 °C, as a broken or restarted sensor says, and it was 15 °C")
    assert probe.judge(15.5, 18025.0) == (15.5, ""), "and at once when it is over"


def test_after_hours_of_failure_the_water_may_be_elsewhere():
    probe = Probe()
    judged(probe, [15.0, 15.0])
    judged(probe, [0.0] * 1000, start=10.0)
    back = judged(probe, [48.0] * 20, start=5010.0)
    assert back[0] is None, "not at once"
    assert back[-1] == 48.0, "but when it lasts"


def test_a_restarted_sensor_says_85_and_is_not_believed_however_long():
    probe = Probe()
    assert judged(probe, [85.0] * 200) == [None] * 200, "nothing came before"
    assert judged(probe, [40.0, 40.0625], start=1000.0) == [40.0, 40.0625]
    assert judged(probe, [85.0] * 200, start=1010.0) == [None] * 200


def test_water_may_pass_through_freezing_and_85():
    cooling = [2.0 - 0.0625 * at for at in range(64)]
    assert judged(Probe(), cooling) == cooling
    heating = [84.0 + 0.0625 * at for at in range(32)]
    assert judged(Probe(), heating) == heating


def test_one_wild_reading_is_left_out():
    assert judged(Probe(), [40.0, 40.0, 90.0, 40.0625, -20.0, 40.0]) == [40.0, 40.0, None, 40.0625, None, 40.0]


def test_wild_readings_do_not_become_believed_by_their_number():
    wild = [90.0, -20.0, 60.0, 5.0] * 200
    assert set(judged(Probe(), [40.0, *wild])) == {40.0, None}


def test_a_new_level_is_believed_when_it_lasts():
    probe = Probe(Limits(settle=60.0))
    found = judged(probe, [40.0, *[70.0] * 20])
    assert found[:13] == [40.0] + [None] * 12
    assert found[14:] == [70.0] * 7


def test_a_long_gap_explains_much_but_not_all():
    probe = Probe()
    probe.judge(20.0, 0.0)
    assert probe.judge(48.0, 600.0) == (48.0, "")
    assert probe.judge(-40.0, 1200.0)[0] is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -55.5, 126.0])
def test_what_cannot_be(value):
    probe = Probe()
    assert probe.judge(value, 0.0)[0] is None
    assert "cannot be" in probe.judge(value, 1.0)[1]
    assert probe.judge(30.0, 2.0) == (30.0, "")


def test_a_value_that_never_changes_while_heat_is_moved_is_stuck():
    probe = Probe(Limits(stuck_after=480.0))
    assert set(judged(probe, [40.0] * 96, active=True)) == {40.0}
    value, reason = probe.judge(40.0, 480.0, True)
    assert (value, reason) == (None, "exactly 40 °C for 8 min of heating or cooling: it is stuck")
    assert set(judged(probe, [40.0] * 2000, start=485.0, active=True)) == {None}, "nor by lasting"
    assert probe.judge(40.0625, 20000.0, True) == (40.0625, ""), "it measures again"


def test_still_water_in_an_idle_plant_is_not_stuck():
    assert set(judged(Probe(Limits(stuck_after=480.0)), [18.0] * 2000)) == {18.0}


def test_times_of_heating_add_up_and_few_readings_do_not_count():
    probe = Probe(Limits(stuck_after=480.0))
    for start in range(0, 6000, 600):
        judged(probe, [18.0] * 60, start=float(start))
        last = judged(probe, [18.0] * 60, start=start + 300.0, active=True)
    assert last[-1] is None
    slow = Probe(Limits(stuck_after=480.0, stuck_readings=30))
    assert judged(slow, [40.0] * 20, period=60.0, active=True)[-1] == 40.0


def test_a_clock_that_stands_still_or_goes_back_breaks_nothing():
    probe = Probe()
    assert probe.judge(40.0, 100.0, True)[0] == 40.0
    assert probe.judge(40.5, 100.0, True)[0] == 40.5
    assert probe.judge(41.0, 50.0, True)[0] == 41.0


@given(st.lists(st.tuples(st.floats(-60, 130), st.floats(0.1, 100)), max_size=30))
def test_what_is_believed_is_what_was_read(readings):
    probe, now = Probe(), 0.0
    for value, step in readings:
        now += step
        found, reason = probe.judge(value, now, True)
        assert found in (None, value)
        assert bool(reason) == (found is None)


def test_the_files_are_replaced_as_a_whole(tmp_path):
    folder = Folder(tmp_path, {ID: lambda: 40.0})
    folder.refresh()
    before = os.stat(tmp_path / ID / "w1_slave").st_ino
    with open(tmp_path / ID / "w1_slave") as reader:
        folder.refresh()
        assert reader.read() == scratchpad(40.0)
    assert os.stat(tmp_path / ID / "w1_slave").st_ino != before
