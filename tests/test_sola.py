# SPDX-License-Identifier: GPL-3.0-or-later
"""Boilers with a SOLA control: what the registers mean, and the driver on a simulated one."""

from __future__ import annotations

import math

import pytest
from boilers import Heard, answer, on_bus, values

from rockit.boiler.drivers.sola import Sola
from rockit.boiler.model import MEASUREMENTS
from rockit.boiler.protocols import sola as protocol
from rockit.boiler.simulators import sola as simulated
from rockit.common.framing import ProtocolError
from rockit.common.transport import NoAnswer

WELL = (1, 1, 1, 1, 1, 1)


class Boiler(Heard, simulated.Sola):
    pass


def slow(**options):
    """A boiler whose world all but stands still."""
    return Boiler(speed=0.001, **options)


def block(**words):
    """Registers 7 to 16 of a boiler at rest, with some of them changed."""
    names = ("supply", "asked", "rate", "flame", "back", "hot", "header", "stack", "free", "setpoint")
    return [{"supply": 515, "rate": 0x8000, **words}.get(name, 0) for name in names]


# --- registers


def test_temperatures_are_signed_tenths_and_known_only_with_a_sensor_that_is_well():
    words = block(supply=515, back=0xFFCE, header=1301, stack=0x7FFF)
    assert protocol.temperatures(words, WELL) == {
        "outlet_temp": 51.5, "inlet_temp": -5.0, "system_supply_temp": None, "flue_temp": None
    }  # fmt: skip
    for state in (0, 2, 3, 4, 99):
        found = protocol.temperatures(words, (1, state, 1, 1, 1, 1))
        assert found["inlet_temp"] is None
        assert found["outlet_temp"] == 51.5


@pytest.mark.parametrize(
    ("word", "full_speed", "percent"),
    [(0x8000 | 425, 0, 42.5), (0x8000 | 1000, 6000, 100.0), (0x8000 | 1101, 0, None), (3000, 6000, 50.0),
     (6100, 6000, 100.0), (6601, 6000, None), (3000, 0, None), (0, 6000, 0.0)],
)  # fmt: skip
def test_a_firing_rate_is_a_percentage_or_a_speed(word, full_speed, percent):
    assert protocol.firing_rate(block(rate=word), full_speed) == percent


def test_states_codes_and_sensors_have_names():
    assert protocol.state_text(12) == "run"
    assert protocol.state_text(11) == "state 11"
    assert [state for state in range(256) if protocol.flame(state)] == [10, 12]
    assert protocol.faults(14, 67) == ("lockout code 67",)
    assert protocol.faults(14, 0) == ("lockout code 0",)
    assert protocol.faults(12, 0) == ()
    assert protocol.warnings(255, 5, (2, 1, 0, 3, 7, 1)) == (
        "the burner control is offline", "hold code 5", "supply sensor: open", "stack sensor: short",
        "header sensor: state 7",
    )  # fmt: skip


@pytest.mark.parametrize("celsius", [math.nan, math.inf, -math.inf])
def test_what_is_no_set_point_is_an_error_of_ours(celsius):
    with pytest.raises(ValueError, match=r"no set point"):
        protocol.setpoint_word(celsius)


# --- the driver


@pytest.mark.parametrize("rpm", [0, 6000])
def test_a_poll_tells_what_the_boiler_measures(tmp_path, rpm):
    device = slow(rpm=rpm)
    burner = device.world.burner
    burner.outlet_temp, burner.inlet_temp, burner.supply_temp, burner.flue_temp = 55.5, -3.2, 51.5, 88.8
    burner.firing_rate, burner.flame = 42.0, True
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        assert boiler.identify() == {"family": "SOLA", "status": "run"}
        found = values(boiler)
    assert found["outlet_temp"] == pytest.approx(burner.outlet_temp, abs=0.06)
    assert found["inlet_temp"] == pytest.approx(burner.inlet_temp, abs=0.06)
    assert found["system_supply_temp"] == pytest.approx(burner.supply_temp, abs=0.06)
    assert found["flue_temp"] == pytest.approx(burner.flue_temp, abs=0.06)
    assert found["firing_rate"] == pytest.approx(burner.firing_rate, abs=0.06)
    assert (found["flame"], found["flame_current"]) == (True, 5.0)
    assert (found["status_code"], found["faults"], found["warnings"]) == (12, (), ())
    assert set(found) == {*Sola.measures, "faults", "warnings"}
    assert set(Sola.measures) <= set(MEASUREMENTS)


def test_a_speed_without_its_full_scale_is_unknown(tmp_path):
    class Old(Boiler):
        def _measured(self):
            return {at: word for at, word in super()._measured().items() if at != 193}

    with on_bus(Old(speed=0.001, rpm=6000), tmp_path / "bus", Sola) as boiler:
        found = values(boiler)
    assert found["firing_rate"] is None
    assert found["outlet_temp"] is not None


@pytest.mark.parametrize(("fault", "word"), [("open", "open"), ("short", "short")])
def test_a_sensor_that_is_not_well_is_unknown_and_told(tmp_path, fault, word):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        device.set_fault(fault, "header")
        found = values(boiler)
        assert found["system_supply_temp"] is None
        assert found["outlet_temp"] is not None
        assert found["warnings"] == (f"header sensor: {word}",)


def test_what_is_asked_for_is_what_the_boiler_makes(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        assert boiler.command(43.33) == 43.3
        assert device.world.burner.setpoint == 43.3
        assert values(boiler)["outlet_setpoint"] == 43.3
        assert boiler.command(None) is None
        assert device.world.burner.setpoint is None
        assert {address for address, _ in device.written} == {0x0235, 0x0243}


@pytest.mark.parametrize(("asked", "given"), [(-5.0, 0.0), (-0.01, 0.0), (131.0, 130.0)])
def test_a_set_point_that_cannot_be_written_becomes_the_nearest_that_can(tmp_path, asked, given):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        assert boiler.command(asked) == given == device.world.burner.setpoint


def test_a_demand_is_repeated_and_a_set_point_is_not(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        for _ in range(3):
            boiler.command(43.3)
    assert list(device.written) == [(0x0243, 433), *[(0x0235, 0x8000)] * 3]


@pytest.mark.parametrize("setpoint", [50.0, None])
def test_a_command_that_the_control_does_not_take_is_told(tmp_path, setpoint):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        boiler.command(43.3)
        device.set_fault("deaf", "once")
        with pytest.raises(ProtocolError, match=r"holds the (set point 43.3 °C, not 50.0|command 0x8000)"):
            boiler.command(setpoint)
        assert boiler.command(setpoint) == setpoint


def test_a_lockout_is_a_fault_and_a_hold_a_warning(tmp_path):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        device.set_fault("lockout", "67")
        device.set_fault("hold", "5")
        found = values(boiler)
        assert (found["faults"], found["warnings"]) == (("lockout code 67",), ("hold code 5",))
        assert (found["status_code"], found["lockout_code"], found["blocking_code"]) == (14, 67, 5)


@pytest.mark.parametrize("fault", ["checksum once", "silence once", "foreign once"])
def test_a_bad_answer_costs_one_exchange(tmp_path, fault):
    device = slow()
    with on_bus(device, tmp_path / "bus", Sola) as boiler:
        good = values(boiler)
        device.set_fault(*fault.split())
        with pytest.raises(NoAnswer):
            values(boiler)
        assert values(boiler) == good


def test_a_demand_can_have_an_end():
    device = simulated.Sola(latency=0.0, now=0.0, timeout=30.0)
    answer(device, "01 06 02 43 01 b1", 1.0)
    answer(device, "01 06 02 35 80 00", 2.0)
    assert device.world.burner.setpoint == 43.3
    device.output(33.5)
    assert device.world.burner.setpoint is None


@pytest.mark.parametrize(
    ("question", "code"), [("01 04 00 07 00 01", 1), ("01 03 01 00 00 01", 2), ("01 06 00 07 00 01", 2),
                           ("01 06 02 43 05 15", 3), ("01 05 00 00 ff 00", 1)],
)  # fmt: skip
def test_what_the_control_does_not_have_or_take_it_refuses(question, code):
    device = simulated.Sola(latency=0.0, now=0.0)
    assert answer(device, question)[:8] == f"01 {int(question[3:5], 16) | 0x80:02x} {code:02x}"
