# SPDX-License-Identifier: GPL-3.0-or-later
"""Modbus relay modules: the driver and the simulated module over a real pty."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest

from rockit.boiler.drivers import BOARDS, load
from rockit.boiler.drivers.modbusrelays import ModbusRelays
from rockit.boiler.simulators.modbusrelays import ModbusRelays as Module
from rockit.boiler.simulators.world import shared
from rockit.common.framing import Refused
from rockit.common.simulate_pty import PtyServer
from rockit.common.transport import NoAnswer
from rockit.common.transport.modbus import ModbusBus
from rockit.common.transport.settings import LineSettings


@contextmanager
def module(link, **options):
    device = Module(latency=0.0, now=time.monotonic(), **options)
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    bus = ModbusBus(str(link), LineSettings(timeout=0.5), threading.Event(), print)
    try:
        bus.open()
        yield device, bus
    finally:
        bus.close()
        server.stop()
        thread.join()
        server.close()


def test_it_is_found_by_name():
    assert load("modbus", BOARDS) is ModbusRelays
    assert ModbusRelays.modbus is True


def test_relays_of_a_plant(tmp_path):
    with module(tmp_path / "bus", unit=3, world="modbus relays", relays="boiler:0,summer_valve:7") as (device, bus):
        board = ModbusRelays(bus, 3)
        assert board.identify() == {"family": "Modbus relays", "unit": "3", "relays": "8"}
        assert board.read() == (False,) * 8
        board.write(0, True)
        board.write(7, True)
        assert board.read() == (True, *[False] * 6, True)
        world = shared("modbus relays", 0.0)
        assert (world.relays["boiler"], world.relays["summer_valve"]) == (True, True)
        board.write(0, False)
        assert world.relays["boiler"] is False
        assert [(move.name, move.on) for move in device.moves] == [
            ("boiler", True), ("summer_valve", True), ("boiler", False),
        ]  # fmt: skip


def test_a_module_with_fewer_relays_than_configured_is_found_out_at_once(tmp_path):
    with module(tmp_path / "bus", count=4) as (device, bus):
        with pytest.raises(Refused, match=r"no such register"):
            ModbusRelays(bus, 1, count=8).identify()
        with pytest.raises(ValueError, match=r"no 4"):
            ModbusRelays(bus, 1, count=4).write(4, True)
        assert ModbusRelays(bus, 1, count=4).identify()["relays"] == "4"
        assert device.moves == []


@pytest.mark.parametrize("fault", ["silence", "truncate", "foreign", "garbage instead", "drop 3"])
def test_what_is_damaged_is_never_a_state(tmp_path, fault):
    with module(tmp_path / "bus") as (device, bus):
        board = ModbusRelays(bus, 1)
        board.write(2, True)
        name, _, argument = fault.partition(" ")
        device.set_fault(name, f"once {argument}")
        with pytest.raises(NoAnswer):
            board.read()
        board.write(2, False)
        assert board.read() == (False,) * 8, "and the answer to the older question is not taken for the newer one's"


def test_refusals_and_stuck_relays_are_seen(tmp_path):
    with module(tmp_path / "bus") as (device, bus):
        board = ModbusRelays(bus, 1)
        device.set_fault("refuse", "once 4")
        with pytest.raises(Refused):
            board.write(1, True)
        device.set_fault("stuck_off", "1")
        board.write(1, True)
        assert board.read()[1] is False, "acknowledged and not done: the read-back tells"
        assert device.moves == []
