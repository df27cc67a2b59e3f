# SPDX-License-Identifier: GPL-3.0-or-later
"""A bus of simulated SDM630 meters on a pseudo terminal: the driver, dead units, a bad line."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from decimal import Decimal

import pytest

from rockit.common.framing import Refused
from rockit.common.simulate_pty import PtyServer
from rockit.common.transport import NoAnswer, PortLost
from rockit.common.transport.modbus import ModbusBus
from rockit.common.transport.settings import LineSettings
from rockit.meter import registermap
from rockit.meter.drivers.modbus import ModbusMeter
from rockit.meter.simulators.modbus import Sdm630, crc
from rockit.meter.turns import Turns

SETTINGS = LineSettings(timeout=2.0)


@contextmanager
def serving(link, **options):
    device = Sdm630(latency=0.0, now=time.monotonic(), **options)
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield device, server
    finally:
        server.stop()
        thread.join()
        server.close()


@contextmanager
def on_pty(link, **options):
    with serving(link, **options):
        yield str(link)


@contextmanager
def opened(where, settings=SETTINGS):
    bus = ModbusBus(where, settings, threading.Event(), print)
    bus.open()
    try:
        yield bus
    finally:
        bus.close()


def reading(meter):
    *steps, last = meter.poll()
    assert steps == [None] * len(steps)
    return last


def values(meter):
    return {name: register.value for name, register in reading(meter).registers.items()}


def test_a_poll_of_one_meter(tmp_path):
    with on_pty(tmp_path / "bus", power=1500.0, voltage=230.1) as where, opened(where) as bus:
        meter = ModbusMeter(bus, 1, registermap.load("sdm630"))
        assert meter.identify() == {"meter": "Eastron SDM630 (three phases)"}
        found = values(meter)
    assert found["power"] == 1500
    assert found["voltage_l1"] == Decimal("230.1")
    assert found["frequency"] == 50
    assert found["import_energy"] == 1234500
    assert found["export_energy"] == 0
    assert not meter.counters


def test_each_unit_tells_its_own(tmp_path):
    with on_pty(tmp_path / "bus", units=4) as where, opened(where) as bus:
        maps = registermap.load("sdm630")
        assert [values(ModbusMeter(bus, unit, maps))["power"] for unit in (3, 1, 4, 2)] == [1700, 1500, 1800, 1600]


def test_a_bus_with_dead_units(tmp_path):
    """The clock of the turns is counted: a live unit's exchange takes nothing, a dead one's its time-out."""
    units, dead = 8, (6, 7, 8)
    maps = registermap.load("sdm630")
    with on_pty(tmp_path / "bus", units=8, dead=3) as where, opened(where, LineSettings(timeout=0.8)) as bus:
        meters = {unit: ModbusMeter(bus, unit, maps) for unit in range(1, units + 1)}
        now, polls = 0.0, dict.fromkeys(meters, 0)
        turns = Turns(meters, 2.0, now)
        while now < 12.0:
            if (unit := turns.next(now)) is None:
                now += turns.wait(now)
                continue
            polls[unit] += 1
            try:
                values(meters[unit])
            except NoAnswer:
                assert unit in dead
                now += 0.3
                turns.failed(unit, now)
            else:
                turns.answered(unit, now)
    assert {polls[unit] for unit in meters if unit not in dead} == {6}
    assert {polls[unit] for unit in dead} == {2}  # at the start and 5 s later
    assert bus.counters["timeouts"] == 6


def test_a_late_answer_is_not_taken_for_the_next_registers(tmp_path):
    with (
        serving(tmp_path / "bus", units=2) as (device, _),
        opened(str(tmp_path / "bus"), LineSettings(timeout=0.4)) as bus,
    ):
        device.set_fault("late", "once 2.5")
        with pytest.raises(NoAnswer):
            bus.read(1, 4, 0x00, 2)
        deadline = time.monotonic() + 30
        while True:
            try:
                power = bus.read(1, 4, 0x34, 2)
                break
            except NoAnswer:
                assert time.monotonic() < deadline
    assert registermap.value_of(power, "float32") == 1500


@pytest.mark.parametrize("fault", ["checksum", "truncate", "truncate 3", "drop", "drop 0", "garbage instead", "foreign",
                                   "garbage", "double", "foreign before", "slow 0.001"])  # fmt: skip
def test_a_bad_line_gives_no_answer_or_the_right_one(tmp_path, fault):
    name, _, argument = fault.partition(" ")
    with (
        serving(tmp_path / "bus", units=2) as (device, _),
        opened(str(tmp_path / "bus"), LineSettings(timeout=1.0)) as bus,
    ):
        device.set_fault(name, f"once {argument}")
        try:
            first = bus.read(1, 4, 0x34, 2)
        except NoAnswer:
            first = None
        assert registermap.value_of(bus.read(1, 4, 0x0C, 2), "float32") == 500
        assert registermap.value_of(bus.read(1, 4, 0x46, 2), "float32") == 50
    if fault in ("garbage", "double", "foreign before", "slow 0.001"):
        assert first is not None
    assert first is None or registermap.value_of(first, "float32") == 1500


def test_what_the_meter_refuses_is_left_out_and_told(tmp_path):
    with serving(tmp_path / "bus") as (device, _), opened(str(tmp_path / "bus")) as bus:
        meter = ModbusMeter(bus, 1, registermap.load("sdm630"))
        device.set_fault("refuse", "once 2")
        found = reading(meter)
        assert "voltage_l1" not in found.registers
        assert found.registers["power"].value == 1500
        assert found.notes == {"refused": "0-17"}
        device.set_fault("refuse", "on 2")
        with pytest.raises(Refused, match=r"no such register"):
            reading(meter)
        device.set_fault("refuse", "off")
        assert "voltage_l1" in reading(meter).registers


def test_what_cannot_be_is_no_value_and_counted(tmp_path):
    with on_pty(tmp_path / "bus", voltage=990.0, frequency=0.0) as where, opened(where) as bus:
        meter = ModbusMeter(bus, 1, registermap.load("sdm630"))
        found = values(meter)
    assert found["frequency"] is None
    assert found["voltage_l1"] == 990
    assert meter.counters == {"implausible frequency": 1}


def test_unplugged_and_plugged_in_again(tmp_path):
    with serving(tmp_path / "bus") as (_, server), opened(str(tmp_path / "bus")) as bus:
        meter = ModbusMeter(bus, 1, registermap.load("sdm630"))
        assert values(meter)["power"] == 1500
        server.unplug()
        with pytest.raises(PortLost):
            values(meter)
        assert not bus.is_open
        with pytest.raises(PortLost):
            bus.open()
        server.plug()
        bus.open()
        assert values(meter)["power"] == 1500


def test_two_owners_of_a_port(tmp_path):
    with on_pty(tmp_path / "bus") as where, opened(where), pytest.raises(PortLost, match=r"in use"), opened(where):
        pass


# --- the simulated meter itself


def asked(device, question, now=0.0):
    device.receive(question + crc(question), now)
    return device.output(now + 1.0)


@pytest.mark.parametrize(
    ("question", "answer"),
    [("010400000002", "010404 43660000"), ("010400340002", "010404 44bb8000"), ("010300000002", "018301"),
     ("010400010002", "018402"), ("010400000003", "018403"), ("010400000052", "018403"), ("010401820002", "018402"),
     ("020400000002", ""), ("000400000002", "")],
)  # fmt: skip
def test_the_simulated_meter_answers_as_documented(question, answer):
    expected = bytes.fromhex(answer)
    assert asked(Sdm630(now=0.0), bytes.fromhex(question)) == (expected + crc(expected) if expected else b"")


def test_its_checksum_is_the_documented_one():
    assert crc(b"123456789").hex() == "374b"


def test_energy_grows_with_simulated_time():
    device = Sdm630(now=0.0, power=-3600.0, energy=10.0, speed=3600.0, units=2)
    device.output(1.0)
    assert device.info()["exported"] == pytest.approx(3.6)
    assert device.info()["imported"] == 10.0
    device.set_condition("power", "1000")
    device.output(2.0)
    assert device.info()["imported"] == pytest.approx(11.0)


def test_conditions_that_cannot_be():
    device = Sdm630(now=0.0, units=2)
    device.set_condition("dead", "2")
    for key, text in (("dead", "3"), ("voltage", "-1"), ("power", "much"), ("energy", "-1")):
        with pytest.raises(ValueError):
            device.set_condition(key, text)
    with pytest.raises(ValueError, match=r"dead"):
        Sdm630(units=2, dead=3)
