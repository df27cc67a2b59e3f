# SPDX-License-Identifier: GPL-3.0-or-later
"""Lochinvar boilers: the maker's frames and formula, the driver on a simulated boiler behind a pseudo terminal."""

from __future__ import annotations

import math
import threading

import pytest
from boilers import Heard, answer, on_bus, serving, values

from rockit.boiler.drivers.lochinvar import Lochinvar
from rockit.boiler.model import MEASUREMENTS
from rockit.boiler.protocols import lochinvar as protocol
from rockit.boiler.simulators import lochinvar as simulated
from rockit.boiler.simulators import register_all, world
from rockit.boiler.simulators.modbus_slave import ModbusSlave, Rejection
from rockit.common.framing import ProtocolError, Refused
from rockit.common.transport import NoAnswer, protocol_sim
from rockit.common.transport.modbus import ModbusBus

CHRONOS = (21.1, 46.7)
"""The span of the boiler that Chronos drives: 70 to 116 °F."""


class Boiler(Heard, simulated.Lochinvar):
    pass


def slow(**options):
    """A boiler whose world all but stands still."""
    return Boiler(speed=0.001, **options)


# --- the maker's frames


def test_the_maker_s_frames_of_a_command(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        assert boiler.command(43.4) == pytest.approx(43.1, abs=0.1)
        assert bytes(device.heard).hex(" ") == (
            "01 06 00 00 00 04 88 09 01 06 00 02 00 31 e9 de 01 03 00 02 00 01 25 ca"
        )


def test_the_maker_s_frame_of_a_command_with_enable(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar, enable=True) as boiler:
        boiler.command(43.4)
        assert bytes(device.heard[:15]).hex(" ") == "01 10 00 00 00 03 06 00 05 00 01 00 31 ba 94"
        assert device.world.burner.contact
        device.heard.clear()
        assert boiler.command(None) is None
        assert bytes(device.heard[:13]).hex(" ") == "01 10 00 00 00 03 06 00 05 00 00 00 00"
        assert not device.world.burner.contact


def test_the_maker_s_frames_of_reads(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        values(boiler)
    heard = bytes(device.heard).hex(" ")
    for frame in ("01 04 00 0d 00 03 21 c8", "01 02 00 00 00 10 79 c6", "01 03 00 06 00 01 64 0b"):
        assert frame in heard


def test_the_maker_s_answers():
    device = simulated.Lochinvar(latency=0.0, now=0.0)
    device.world.burner.supply_temp = 51.5
    assert answer(device, "01 03 00 06 00 01") == "01 03 02 02 03 f9 25"
    assert answer(device, "01 03 00 60 00 01") == "01 83 02 c0 f1"


# --- numbers


@pytest.mark.parametrize(
    ("fahrenheit", "value"), [(69.8, 20), (110, 49), (179.6, 100), (20, 20), (300, 100)]
)  # fmt: skip
def test_the_maker_s_formula(fahrenheit, value):
    assert protocol.rate((fahrenheit - 32) / 1.8, (21.0, 82.0)) == value


def test_chronos_asked_the_same_of_its_boiler_within_its_truncations():
    for fahrenheit in range(60, 117):
        ours, theirs = protocol.rate((fahrenheit - 32) / 1.8, CHRONOS), int(-101.4856 + 1.7363171 * fahrenheit)
        assert abs(ours - max(theirs, 20)) <= 1  # below 20 theirs was no demand at all


def test_a_set_point_that_was_rounded_is_asked_for_unchanged():
    for span in ((21.0, 82.0), CHRONOS, (-10.3, 110.7)):
        for value in range(20, 101):
            assert protocol.rate(protocol.setpoint_of(value, span), span) == value
    assert protocol.setpoint_of(19, CHRONOS) is None


@pytest.mark.parametrize(
    ("setpoint", "span"), [(math.nan, (21, 82)), (math.inf, (21, 82)), (40, (82, 21)), (40, (21, math.inf))]
)
def test_what_is_no_set_point_or_no_span_is_an_error_of_ours(setpoint, span):
    with pytest.raises(ValueError, match=r"no set point"):
        protocol.rate(setpoint, span)


def test_a_span_that_cannot_be_is_told_before_the_boiler_is_asked():
    with pytest.raises(ValueError, match=r"span of 82"):
        Lochinvar(None, 1, span=(82.0, 21.0))


def fields():
    return {field.name: field for field in (*protocol.FIELDS, protocol.SYSTEM_SUPPLY_FIELD)}


@pytest.mark.parametrize(
    ("name", "word", "value"),
    [("outlet_temp", 515, 51.5), ("inlet_temp", 0xFF38, -20.0), ("inlet_temp", 0xFF37, None),
     ("inlet_temp", 1300, 130.0), ("inlet_temp", 1301, None), ("outlet_temp", 0x8000, None),
     ("flue_temp", 0x7FFF, None), ("system_supply_temp", 0x8000, None), ("system_setpoint", 87, 43.5),
     ("outlet_setpoint", 0xFFFF, None), ("cascade_power", 800, 800), ("cascade_power", 801, None),
     ("firing_rate", 101, None), ("boiler_pump", 0, 0)],
)  # fmt: skip
def test_what_a_register_tells_and_what_it_does_not(name, word, value):
    assert protocol.value(fields()[name], word) == value


# --- the driver


def test_a_poll_tells_what_the_boiler_measures(tmp_path):
    device = slow()
    burner = device.world.burner
    burner.outlet_temp, burner.inlet_temp, burner.supply_temp, burner.flue_temp = 55.5, -3.2, 51.5, 88.8
    burner.firing_rate, burner.flame, burner.contact = 42.0, True, True
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        assert boiler.identify() == {"family": "Lochinvar", "status": "space heat demand"}
        found = values(boiler)
    assert found["outlet_temp"] == pytest.approx(burner.outlet_temp, abs=0.06)
    assert found["inlet_temp"] == pytest.approx(burner.inlet_temp, abs=0.06)
    assert found["system_supply_temp"] == pytest.approx(burner.supply_temp, abs=0.06)
    assert found["flue_temp"] == pytest.approx(burner.flue_temp, abs=0.06)
    assert found["firing_rate"] == found["cascade_power"] == pytest.approx(burner.firing_rate, abs=0.6)
    assert found["flame"] is burner.flame
    assert found["system_setpoint"] == device.own
    assert (found["status_code"], found["faults"], found["warnings"]) == (21, (), ())
    assert set(found) == {*Lochinvar.measures, "faults", "warnings"}
    assert set(Lochinvar.measures) <= set(MEASUREMENTS)


@pytest.mark.parametrize("enable", [False, True])
def test_what_is_asked_for_is_what_the_boiler_makes(tmp_path, enable):
    device = slow(tlow=21.1, thigh=46.7)
    with on_bus(device, tmp_path / "bus", Lochinvar, span=CHRONOS, enable=enable) as boiler:
        device.set_condition("contact", "0" if enable else "1")
        for asked in (21.1, 30.0, 43.3, 46.7, 90.0):
            given = boiler.command(asked)
            assert given == pytest.approx(min(asked, 46.7), abs=0.33)
            assert device.world.burner.setpoint == pytest.approx(given)
            assert values(boiler)["system_setpoint"] == pytest.approx(given, abs=0.26)
        assert boiler.command(None) is None
        assert device.world.burner.setpoint is None


def test_a_wrong_span_shows_in_the_set_point_that_the_boiler_reports(tmp_path):
    device = slow()
    device.set_condition("contact", "1")
    with on_bus(device, tmp_path / "bus", Lochinvar, span=CHRONOS) as boiler:
        given = boiler.command(40.0)
        assert abs(values(boiler)["system_setpoint"] - given) > 20


def test_the_hot_water_tank_is_never_touched(tmp_path):
    for enable in (False, True):
        device = slow()
        with on_bus(device, tmp_path / "bus", Lochinvar, enable=enable) as boiler:
            boiler.identify()
            for setpoint in (None, 21.0, 60.0, 99.0, None):
                boiler.command(setpoint)
                values(boiler)
        assert {address for address, _ in device.written} == ({0, 1, 2} if enable else {0, 2})


def test_a_command_that_the_boiler_does_not_hold_is_told(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        boiler.command(50.0)
        device.set_fault("deaf", "once")
        with pytest.raises(ProtocolError, match=r"holds 58 % in 40003, and not the 44 %"):
            boiler.command(40.0)
        boiler.command(40.0)


@pytest.mark.parametrize("fault", ["checksum once", "silence once", "foreign once", "truncate once", "garbage instead"])
def test_a_bad_answer_costs_one_exchange_and_becomes_no_value(tmp_path, fault):
    device = slow()
    device.set_condition("contact", "1")
    settings = Lochinvar.line_settings
    with serving(device, tmp_path / "bus") as where:
        bus = ModbusBus(where, settings, threading.Event(), print)
        bus.open()
        boiler = Lochinvar(bus, 1)
        good = values(boiler)
        name, _, value = fault.partition(" ")
        device.set_fault(name, value)
        with pytest.raises(NoAnswer):
            values(boiler)
        device.set_fault(name, "off")
        assert values(boiler) == good
        bus.close()


@pytest.mark.parametrize(("sensor", "key"), [("outlet", "outlet_temp"), ("supply", "system_supply_temp")])
def test_an_open_sensor_is_unknown_and_not_a_number(tmp_path, sensor, key):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        device.set_fault("sensor", sensor)
        found = values(boiler)
        assert found[key] is None
        assert found["inlet_temp"] is not None
        device.set_fault("sensor", "off")
        assert values(boiler)[key] is not None


def test_a_lockout_is_a_fault_and_a_blocking_a_warning(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        device.set_fault("lockout", "7")
        device.set_fault("blocking", "3")
        found = values(boiler)
        assert (found["faults"], found["warnings"]) == (("lockout code 7",), ("blocking code 3",))
        assert (found["lockout_code"], found["blocking_code"]) == (7, 3)
        device.set_fault("lockout", "off")
        assert values(boiler)["faults"] == ()


def test_status_codes_have_names_where_they_are_known():
    assert protocol.status_text(21) == "space heat demand"
    assert protocol.status_text(77) == "status 77"
    assert protocol.warnings(3, 0) == ("status 3: blocked: flue gas too hot",)
    assert protocol.warnings(9, 0) == protocol.warnings(77, 0) == ()


def test_a_model_without_discrete_inputs_and_supply_register_is_read_all_the_same(tmp_path):
    class Old(Boiler):
        def read_bits(self, function, address, count):
            raise Rejection(1)

        def _held(self):
            return {at: word for at, word in super()._held().items() if at != 6}

    with on_bus(Old(speed=0.001), tmp_path / "bus", Lochinvar) as boiler:
        found = values(boiler)
    assert found["flame"] is found["system_supply_temp"] is None
    assert found["outlet_temp"] is not None


def test_a_refusal_is_told(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Lochinvar) as boiler:
        device.set_fault("refuse", "once 4")
        with pytest.raises(Refused, match=r"it failed"):
            boiler.command(40.0)


def test_a_boiler_named_by_a_url_stands_in_the_plant_that_it_names():
    register_all()
    where = "sim://lochinvar?world=two-ends&tlow=21.1&thigh=46.7&latency=0"
    bus = ModbusBus(where, Lochinvar.line_settings, threading.Event(), print)
    bus.open()
    boiler = Lochinvar(bus, 1, span=CHRONOS)
    plant = world.shared("two-ends", 0.0)
    with plant.lock:
        plant.speed = 0.0
        plant.switch("boiler", True)
        plant.burner.outlet_temp = 33.3
    assert boiler.command(30.0) == pytest.approx(plant.burner.setpoint)
    assert values(boiler)["outlet_temp"] == 33.3
    bus.close()
    protocol_sim.forget(where)
    world.forget("two-ends")


# --- the simulated boiler keeps the maker's rules


def test_a_command_that_is_not_repeated_is_forgotten():
    device = simulated.Lochinvar(latency=0.0, now=0.0, own=60.0)
    burner = device.world.burner
    device.set_condition("contact", "1")
    assert burner.setpoint == 60.0
    answer(device, "01 06 00 02 00 31", 1.0)
    assert burner.setpoint == 60.0  # 40001 does not say yet that it counts
    answer(device, "01 06 00 00 00 04", 2.0)
    assert burner.setpoint == pytest.approx(43.11, abs=0.01)
    answer(device, "01 06 00 00 00 04", 200.0)
    device.output(241.0)
    assert burner.setpoint == pytest.approx(43.11, abs=0.01)
    device.output(242.5)
    assert burner.setpoint == 60.0


def test_without_the_contact_there_is_no_demand_unless_modbus_enables():
    device = simulated.Lochinvar(latency=0.0, now=0.0, timeout=10.0)
    burner = device.world.burner
    answer(device, "01 10 00 00 00 03 06 00 04 00 01 00 31", 1.0)
    assert burner.setpoint is None
    answer(device, "01 10 00 00 00 03 06 00 05 00 01 00 31", 2.0)
    assert burner.setpoint is not None
    answer(device, "01 05 00 00 00 00", 3.0)
    assert burner.setpoint is None
    answer(device, "01 05 00 00 ff 00", 4.0)
    assert burner.setpoint is not None
    device.output(15.0)
    assert burner.setpoint is None


@pytest.mark.parametrize(
    ("question", "code"),
    [("01 07 00 00", 1), ("01 04 00 20 00 01", 2), ("01 06 00 20 00 01", 2), ("01 06 00 02 00 65", 3),
     ("01 05 00 00 12 34", 3), ("01 03 00 00 00 00", 3), ("01 04 ff ff 00 02", 2),
     ("01 10 00 00 00 02 02 00 04", 3), ("01 02 00 00 07 d1", 3), ("01 01 00 10 00 01", 2)],
)  # fmt: skip
def test_what_the_boiler_does_not_have_or_take_it_refuses(question, code):
    device = simulated.Lochinvar(latency=0.0, now=0.0)
    assert answer(device, question)[:8] == f"01 {int(question[3:5], 16) | 0x80:02x} {code:02x}"
    assert not device.written


def test_a_unit_answers_only_what_is_for_it_and_whole():
    device = simulated.Lochinvar(latency=0.0, now=0.0)
    good = bytes.fromhex("010600020031e9de")
    device.receive(b"\x99\x01" + good[:3], 1.0)
    device.receive(good[3:], 1.1)
    assert device.output(1.1) == good
    device.receive(good[:5], 2.0)
    device.receive(good, 9.0)  # the old beginning never became whole
    assert device.output(9.0) == good
    device.receive(good[:-1] + b"\0", 20.0)
    assert answer(device, "02 06 00 02 00 31", 30.0) == ""
    assert answer(device, "00 06 00 02 00 40", 40.0) == ""
    assert device.written[-1] == (2, 0x40)
    device.set_fault("dead", "on")
    assert answer(device, "01 06 00 02 00 20", 50.0) == ""
    assert device.written[-1] == (2, 0x40)


def test_coils_are_packed_as_the_specification_has_it():
    class Coils(ModbusSlave):
        def __init__(self):
            super().__init__(latency=0.0, now=0.0)
            self.coils = [False] * 20

        def read_bits(self, function, address, count):
            return self.coils[address : address + count]

        def write_coils(self, address, values):
            self.coils[address : address + len(values)] = values

    # MODBUS Application Protocol 1.1b3, 6.11: ten coils from 19 on, CD 01.
    device = Coils()
    assert answer(device, "01 0f 00 05 00 0a 02 cd 01")[:17] == "01 0f 00 05 00 0a"
    assert device.coils[5:15] == [True, False, True, True, False, False, True, True, True, False]
    assert answer(device, "01 01 00 05 00 0a")[:14] == "01 01 02 cd 01"
    assert answer(device, "01 03 00 00 00 01")[:8] == "01 83 01"
