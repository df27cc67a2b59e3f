# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenTherm gateways: telegrams and replies out of any bytes, and the driver on a simulated gateway."""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager

import pytest
from bench import decoded, joined
from boilers import Heard, serving
from harness import wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.boiler.drivers.otgw import OpenThermGateway
from rockit.boiler.model import MEASUREMENTS
from rockit.boiler.protocols import opentherm as protocol
from rockit.boiler.protocols.opentherm import Decoder, Kind, Telegram
from rockit.boiler.simulators import otgw as simulated
from rockit.common.framing import Damage, Damaged, ProtocolError, Refused
from rockit.common.transport import NoAnswer
from rockit.common.transport.line import Line

ROUND = len(simulated._ASKED) + 1
"""After so many telegrams each datum was told."""


def telegram(sender, kind, number, value):
    bits = kind << 28 | number << 16 | value
    return f"{sender}{bits | (bits.bit_count() % 2) << 31:08X}\r\n".encode()


def told(line):
    (frame,) = Decoder().feed(line)
    return protocol.values_of(frame)


# --- the codec


@pytest.mark.parametrize(
    ("line", "kind", "number", "value"),
    [(b"T80190000\r\n", Kind.READ, 25, 0), (b"BC0193080\r\n", Kind.READ_ACK, 25, 0x3080),
     (b"T90013700\r\n", Kind.WRITE, 1, 0x3700), (b"T80000100\r\n", Kind.READ, 0, 0x0100)],
)  # fmt: skip
def test_known_telegrams(line, kind, number, value):
    assert decoded(Decoder(), line) == [Telegram(line[:1].decode(), kind, number, value)]
    assert telegram(line[:1].decode(), kind, number, value) == line


def test_a_telegram_of_wrong_parity_is_damage_unless_the_gateway_says_so():
    assert decoded(Decoder(), b"B40193080\r\n") == [Damaged(Damage.CHECKSUM, b"B40193080\r\n")]
    assert decoded(Decoder(), b"E40193080\r\n") == [Telegram("E", Kind.READ_ACK, 25, 0x3080)]


def test_only_what_the_boiler_answers_is_believed():
    for sender in "TBRAE":
        for kind in Kind:
            found = told(telegram(sender, kind, 25, 0x3080))
            if sender != "B":
                assert found == {}
            elif kind in (Kind.DATA_INVALID, Kind.UNKNOWN_ID):
                assert found == {"outlet_temp": None}
            else:
                assert found == ({"outlet_temp": 48.5} if kind == Kind.READ_ACK else {})


@pytest.mark.parametrize(
    ("kind", "number", "value", "found"),
    [(4, 28, 0xFB80, {"inlet_temp": -4.5}), (4, 28, 0x8000, {"inlet_temp": None}),
     (4, 17, 0x6500, {"firing_rate": None}), (4, 17, 0x3280, {"firing_rate": 50.5}),
     (5, 1, 0x3700, {"outlet_setpoint": 55.0}), (5, 25, 0x3700, {}), (4, 18, 0x0180, {"water_pressure": 1.5}),
     (4, 27, 0xF600, {"outdoor_temp": -10.0}), (4, 0, 0x0308, {"flame": True, "fault": False}),
     (4, 0, 0x0301, {"flame": False, "fault": True}),
     (4, 5, 0x2407, {"fault_names": ("low water pressure", "water too hot", "fault code 7")}),
     (4, 5, 0x00FF, {"fault_names": ()}), (4, 99, 0x1234, {})],
)  # fmt: skip
def test_what_the_data_mean(kind, number, value, found):
    assert told(telegram("B", kind, number, value)) == found


@pytest.mark.parametrize("code", ["NG", "SE", "BV", "OR", "NS", "NF", "OE"])
def test_errors_answer_every_command_and_no_report(code):
    assert protocol.request("CS", "55.00").matches(code)
    assert not protocol.report("A").matches(code)
    with pytest.raises(Refused) as refused:
        protocol.number(code)
    assert refused.value.code == code


def test_replies_and_commands():
    request = protocol.request("CS", protocol.control_setpoint(55))
    assert request.data == b"CS=55.00\r\n"
    assert request.matches("CS: 55.00")
    for other in ("CH: 1", "CS 55.00", "XCS: 55.00", Telegram("B", Kind.WRITE_ACK, 1, 0x3700)):
        assert not request.matches(other)
    assert protocol.number("CS: 55.00") == 55.0
    for strange in ("CS: ", "CS: 5x", "CS: nan", "CS: 1e3", "CS: ٥"):
        with pytest.raises(ProtocolError):
            protocol.number(strange)
    assert [protocol.control_setpoint(celsius) for celsius in (-5, 8, 120)] == ["8.00", "8.00", "100.00"]
    with pytest.raises(ValueError, match=r"no set point"):
        protocol.control_setpoint(math.nan)


def raw(item):
    return item.data


lines = st.one_of(
    st.builds(telegram, st.sampled_from("TBRAE"), st.integers(0, 7), st.integers(0, 255), st.integers(0, 0xFFFF)),
    st.sampled_from([b"CS: 55.00\r\n", b"NG\r\n", b"PR: A=OpenTherm Gateway 5.8\r\n"]),
    st.binary(max_size=300),
)


@settings(deadline=None)
@given(st.lists(lines, max_size=8), st.lists(st.integers(0, 2000), max_size=8))
def test_any_bytes_split_anyhow_give_the_same_and_none_is_lost(parts, cuts):
    stream = b"".join(parts)
    whole = decoded(Decoder(), stream)
    assert joined(decoded(Decoder(), stream, cuts), raw) == joined(whole, raw)
    for frame in whole:
        if isinstance(frame, Telegram):
            protocol.values_of(frame)
    if all(isinstance(item, Damaged) for item in whole):
        assert b"".join(item.data for item in whole) == stream


# --- the driver


class Gateway(Heard, simulated.OpenThermGateway):
    def __init__(self, **options):
        super().__init__(period=0.3, **options)
        self.world.speed = 0.0

    @property
    def told(self):
        """How many data it has come to so far."""
        return self._at


@contextmanager
def on_line(device, link, timeout=2.0):
    """A driver on a line of its own, which has identified the gateway."""
    with serving(device, link) as where:
        line_settings = OpenThermGateway.line_settings.overridden(timeout=timeout)
        line = Line(
            where, line_settings, OpenThermGateway.decoder, threading.Event(), print,
            synchronise=OpenThermGateway.synchronise,
        )  # fmt: skip
        gateway = OpenThermGateway(line)
        line.open()
        try:
            assert gateway.identify() == {"family": "OpenTherm gateway", "firmware": "OpenTherm Gateway 5.8"}
            yield gateway, line
        finally:
            line.close()


def after(device, count=ROUND):
    """Wait until it has come to so many data more, which it tells in haste."""
    target = device.told + count
    device.period = 0.01
    wait_for(lambda: device.told >= target, "telegrams")
    device.period = 0.3


def polled(gateway):
    (found,) = gateway.poll()
    return found


def test_a_poll_tells_what_was_overheard(tmp_path):
    device = Gateway()
    burner = device.world.burner
    burner.outlet_temp, burner.inlet_temp, burner.firing_rate, burner.flame = 55.5, -3.25, 42.0, True
    with on_line(device, tmp_path / "gateway") as (gateway, line):
        gateway.command(60.0)
        after(device)
        found = polled(gateway)
        assert line.counters["foreign"] == line.counters["timeouts"] == 0
    assert found == {
        "outlet_temp": 55.5, "inlet_temp": -3.25, "firing_rate": 42.0, "flame": True, "water_pressure": 1.5,
        "outlet_setpoint": 60.0, "faults": (), "warnings": (),
    }  # fmt: skip
    assert set(found) == {*OpenThermGateway.measures, "faults", "warnings"}
    assert set(OpenThermGateway.measures) <= set(MEASUREMENTS)


def test_a_value_that_is_told_each_half_minute_is_known_all_the_time(tmp_path):
    device = Gateway()
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        after(device)
        device.set_fault("mute", "on")
        after(device, 2)
        for _ in range(30 // 2):  # a poll each 2 s
            assert polled(gateway)["inlet_temp"] == 15.0


def test_a_value_that_is_not_told_any_more_is_gone_after_so_many_polls(tmp_path):
    device = Gateway()
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        after(device)
        device.set_fault("mute", "on")
        after(device, 2)
        for _ in range(OpenThermGateway.HELD):
            assert polled(gateway)["outlet_temp"] == 15.0
        assert polled(gateway) == {"warnings": ("the boiler tells nothing",)}
        device.set_fault("mute", "off")
        after(device)
        assert polled(gateway)["outlet_temp"] == 15.0


@pytest.mark.parametrize(("fault", "damage"), [("parity", True), ("boiler", False)])
def test_what_is_damaged_or_not_answered_becomes_no_value(tmp_path, fault, damage):
    device = Gateway()
    device.set_fault(fault, "on")
    with on_line(device, tmp_path / "gateway") as (gateway, line):
        after(device)
        for _ in range(OpenThermGateway.HELD):
            assert set(polled(gateway)) == {"warnings"}
        assert polled(gateway)["warnings"] == ("the boiler tells nothing",)
        assert bool(line.counters["checksum"]) is damage


def test_what_the_boiler_does_not_know_is_unknown(tmp_path):
    device = Gateway()
    device.set_fault("sensor", "on")
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        after(device)
        found = polled(gateway)
    assert found["inlet_temp"] is None
    assert found["outlet_temp"] == 15.0


def test_a_fault_of_the_boiler_has_names(tmp_path):
    device = Gateway()
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        device.set_fault("lockout", "7")
        after(device)
        assert polled(gateway)["faults"] == ("lockout reset", "fault code 7")
        device.set_fault("lockout", "off")
        after(device)
        assert polled(gateway)["faults"] == ()


def test_a_set_point_and_none(tmp_path):
    device = Gateway(thermostat=45.0)
    burner = device.world.burner
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        assert burner.setpoint == 45.0
        assert gateway.command(55.456) == pytest.approx(55.46)
        assert burner.setpoint == pytest.approx(55.46)
        assert gateway.command(3.0) == 8.0
        assert gateway.command(None) is None
        assert burner.setpoint is None  # whatever the thermostat wants
        assert gateway.command(30.0) == burner.setpoint == 30.0


def test_a_command_that_the_gateway_refuses_or_does_not_take_is_told(tmp_path):
    device = Gateway()
    with on_line(device, tmp_path / "gateway") as (gateway, _):
        device.set_fault("refuse", "once")
        with pytest.raises(Refused, match=r"out of range \(code OR\)"):
            gateway.command(50.0)
        device.set_fault("deaf", "once")
        with pytest.raises(ProtocolError, match=r"given CS=50.00 and tells 0"):
            gateway.command(50.0)
        assert gateway.command(50.0) == 50.0


@pytest.mark.parametrize(
    ("fault", "value"), [("silence", "once"), ("foreign", "once"), ("checksum", "once"), ("late", "once 0.8")]
)
def test_a_bad_reply_costs_one_exchange_and_none_is_taken_for_another(tmp_path, fault, value):
    device = Gateway()
    with on_line(device, tmp_path / "gateway", timeout=0.6) as (gateway, line):
        device.set_fault(fault, value)
        with pytest.raises(NoAnswer):
            gateway.command(55.0)
        assert line.counters["foreign"] == (fault == "foreign")  # telegrams are not, other replies are
        assert gateway.command(40.0) == device.world.burner.setpoint == 40.0


# --- the simulated gateway keeps its maker's rules


def said(device, command, now):
    device.receive(command + b"\r\n", now)
    return [frame for frame in decoded(Decoder(), device.output(now)) if not isinstance(frame, Telegram)]


def test_a_set_point_that_is_not_repeated_each_minute_lapses_and_zero_releases():
    device = simulated.OpenThermGateway(latency=0.0, now=0.0, thermostat=45.0)
    burner = device.world.burner
    assert said(device, b"CS=55.0", 1.0) == ["CS: 55.00"]
    device.output(60.0)
    assert burner.setpoint == 55.0
    assert said(device, b"CS=56", 60.5) == ["CS: 56.00"]
    device.output(120.0)
    assert burner.setpoint == 56.0
    device.output(122.5)
    assert burner.setpoint == 45.0
    said(device, b"CS=55.0", 130.0)
    assert said(device, b"CS=0", 131.0) == ["CS: 0.00"]
    assert burner.setpoint == 45.0


@pytest.mark.parametrize(
    ("command", "error"),
    [(b"CS=x", "BV"), (b"CS=101", "OR"), (b"CH=2", "BV"), (b"XX=1", "NG"), (b"hello", "SE"), (b"PR=Q", "BV")],
)
def test_what_the_gateway_does_not_take_it_names(command, error):
    device = simulated.OpenThermGateway(latency=0.0, now=0.0, period=1000.0)
    assert said(device, command, 1.0) == [error]


def test_telegrams_come_once_a_second_and_carry_the_demand():
    device = simulated.OpenThermGateway(latency=0.0, now=0.0)
    said(device, b"CS=55.0", 0.1)
    heard = b"".join(device.output(second + 0.1) for second in range(1, 7))
    frames = [frame for frame in decoded(Decoder(), heard) if isinstance(frame, Telegram)]
    assert len(frames) == 12
    assert Telegram("R", Kind.READ, 0, 0x0100) in frames
    assert Telegram("R", Kind.WRITE, 1, 0x3700) in frames
    assert Telegram("B", Kind.WRITE_ACK, 1, 0x3700) in frames
