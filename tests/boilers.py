# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of boilers: a simulated one behind a pseudo terminal, and its driver on a bus of its own."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

from rockit.boiler.simulators.modbus_slave import crc
from rockit.common.simulate_pty import PtyServer
from rockit.common.transport.modbus import ModbusBus


@contextmanager
def serving(device, link):
    """`device` behind a pseudo terminal at `link`."""
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield str(link)
    finally:
        server.stop()
        thread.join()
        server.close()


class Heard:
    """A simulator that also keeps all bytes it heard and said."""

    def __init__(self, **options):
        super().__init__(now=time.monotonic(), latency=0.0, **options)
        self.heard = bytearray()

    def take(self, data, now):
        self.heard += data
        super().take(data, now)


@contextmanager
def on_bus(device, link, family, **options):
    """The driver of `device` with a bus of its own."""
    with serving(device, link) as where:
        bus = ModbusBus(where, family.line_settings, threading.Event(), print)
        bus.open()
        try:
            yield family(bus, 1, **options)
        finally:
            bus.close()


def values(driver):
    found = {}
    for step in driver.poll():
        found |= step
    return found


def answer(device, question, now=0.0):
    """What a simulator answers to a question given without its CRC."""
    data = bytes.fromhex(question)
    device.receive(data + crc(data), now)
    return device.output(now).hex(" ")
