# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter against pymodbus's own servers: TCP, RTU and ASCII, a server that goes and comes back."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import threading
import tty
from contextlib import ExitStack, contextmanager

import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from rockit.common.framing import Refused
from rockit.common.transport import NoAnswer, PortLost
from rockit.common.transport.modbus import ModbusBus
from rockit.common.transport.settings import LineSettings
from rockit.meter import registermap
from rockit.meter.drivers.modbus import ModbusMeter
from rockit.meter.turns import Turns

SETTINGS = LineSettings(timeout=5.0)


def unit(number):
    """Floats in registers 0 to 99; the power at 0x34 tells whose they are; nothing at all in 300."""
    floats = [1000.0 + number if at == 0x34 else 0.5 if at == 0x3E else 50.0 for at in range(0, 100, 2)]
    cells = list(struct.unpack(f">{2 * len(floats)}H", struct.pack(f">{len(floats)}f", *floats)))
    energies = [0] * 12
    return SimDevice(
        id=number,
        simdata=[
            SimData(0, values=cells, datatype=DataType.REGISTERS),
            SimData(0x15A, values=energies, datatype=DataType.REGISTERS),
        ],
    )


def silent(living):
    """What makes a server keep silent where it would answer for a unit that it does not have."""
    dead = []

    def pdu(sending, message):
        dead[:] = [message.dev_id] if sending and message.dev_id not in living else []
        return message

    return {"trace_pdu": pdu, "trace_packet": lambda sending, data: b"" if sending and dead else data}


@contextmanager
def serving(make):
    """A server of pymodbus in a thread of its own, made by `make` within its loop; ends with the block."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    made, trouble = [], []

    async def serve():
        try:
            made.append(make())
            await made[0].serve_forever(background=True)
        except Exception as error:  # noqa: BLE001
            trouble.append(error)
        finally:
            ready.set()
        await ended.wait()
        await made[0].shutdown()
        await asyncio.sleep(0)

    ended = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(30)
    assert not trouble
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


@contextmanager
def cable():
    """Two serial ports that are joined: (path of one end, path of the other)."""
    with ExitStack() as stack:
        ends = []
        for _ in range(2):
            master, slave = os.openpty()
            tty.setraw(slave)
            stack.callback(os.close, slave)
            stack.callback(os.close, master)
            ends.append((master, os.ttyname(slave)))
        (one, first), (two, second) = ends
        wake, stop = os.pipe()

        def carry():
            while True:
                ready = select.select([one, two, wake], [], [])[0]
                if wake in ready:
                    return
                for source in ready:
                    os.write(two if source == one else one, os.read(source, 4096))

        thread = threading.Thread(target=carry)
        thread.start()
        try:
            yield first, second
        finally:
            os.write(stop, b"x")
            thread.join()
            os.close(wake)
            os.close(stop)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextmanager
def tcp(units, port=None):
    port = port or free_port()
    with serving(
        lambda: ModbusTcpServer(list(map(unit, units)), address=("127.0.0.1", port), **silent(units))
    ):  # fmt: skip
        yield f"tcp://127.0.0.1:{port}"


@contextmanager
def rtu_over_tcp(units):
    port = free_port()
    with serving(
        lambda: ModbusTcpServer(
            list(map(unit, units)), address=("127.0.0.1", port), framer=FramerType.RTU, **silent(units)
        )
    ):  # fmt: skip
        yield f"rtu+tcp://127.0.0.1:{port}"


@contextmanager
def serial(units, framer=FramerType.RTU, prefix=""):
    with cable() as (ours, theirs), serving(
        lambda: ModbusSerialServer(
            list(map(unit, units)), port=theirs, framer=framer, baudrate=9600, **silent(units)
        )
    ):  # fmt: skip
        yield prefix + ours


@contextmanager
def ascii_(units):
    with serial(units, FramerType.ASCII, "ascii://") as where:
        yield where


@contextmanager
def opened(where, settings=SETTINGS):
    bus = ModbusBus(where, settings, threading.Event(), print)
    bus.open()
    try:
        yield bus
    finally:
        bus.close()


KINDS = pytest.mark.parametrize("server", [tcp, serial, ascii_, rtu_over_tcp])


@KINDS
def test_units_of_a_real_server(server):
    maps = registermap.load("sdm630")
    with server((1, 2, 17)) as where, opened(where) as bus:
        for number in (17, 1, 2):
            meter = ModbusMeter(bus, number, maps)
            *_, reading = meter.poll()
            assert reading.registers["power"].value == 1000 + number
            assert reading.registers["voltage_l3"].value == 50
            assert len(reading.registers) == len(maps.registers)


@KINDS
def test_a_real_server_refuses_registers_that_it_has_not(server):
    with server((1,)) as where, opened(where) as bus:
        with pytest.raises(Refused, match=r"no such register") as refused:
            bus.read(1, 4, 300, 2)
        assert refused.value.code == "2"
        assert len(bus.read(1, 3, 0, 100)) == 100


@KINDS
def test_writes_and_coils_on_a_real_server(server):
    with server((1,)) as where, opened(where) as bus:
        bus.write_register(1, 4, 4711)
        assert bus.read(1, 3, 4, 1) == (4711,)
        assert bus.read_coils(1, 0, 16) == tuple(bus.read_coils(1, 0, 16))


@KINDS
def test_three_dead_units_of_eight(server):
    """Live ones all get their turns; a dead one is asked once in the time that five turns take."""
    maps = registermap.load("sdm630")
    with server(range(1, 6)) as where, opened(where, LineSettings(timeout=1.0)) as bus:
        turns = Turns(range(1, 9), 1.0, 0.0)
        answered, failed = [], []
        for now in range(5):
            while (number := turns.next(float(now))) is not None:
                try:
                    *_, reading = ModbusMeter(bus, number, maps).poll()
                except NoAnswer:
                    failed.append(number)
                    turns.failed(number, float(now))
                else:
                    assert reading.registers["power"].value == 1000 + number
                    answered.append(number)
                    turns.answered(number, float(now))
    assert sorted(answered) == sorted(list(range(1, 6)) * 5)
    assert sorted(failed) == [6, 7, 8]


def test_a_tcp_server_that_goes_and_comes_back():
    port = free_port()
    with tcp((1,), port) as where:
        bus = ModbusBus(where, SETTINGS, threading.Event(), print)
        bus.open()
        assert len(bus.read(1, 4, 0, 2)) == 2
    with pytest.raises(PortLost, match=rf"tcp://127.0.0.1:{port}"):
        bus.read(1, 4, 0, 2)
    assert not bus.is_open
    with pytest.raises(PortLost, match=rf"cannot open tcp://127.0.0.1:{port}.*refused"):
        bus.open()
    with tcp((1,), port):
        bus.open()
        assert len(bus.read(1, 4, 0, 2)) == 2
        bus.close()


def test_a_server_that_accepts_and_says_nothing():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        opened(f"tcp://127.0.0.1:{listener.getsockname()[1]}", LineSettings(timeout=0.2)) as bus,
        listener.accept()[0],
        pytest.raises(NoAnswer, match=r"unit 1, 2 registers from 0"),
    ):
        bus.read(1, 4, 0, 2)
