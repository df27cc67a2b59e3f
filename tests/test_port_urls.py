# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that are URLs: a terminal server on TCP, plain and RFC 2217, and a spy on a tty."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import serial
from conftest import Site
from serial.rfc2217 import PortManager

from rockit.chiller import simulators
from rockit.chiller.drivers.thermotek import T257P
from rockit.common.transport import PortLost
from rockit.common.transport.line import Line
from rockit.common.transport.protocol_sim import forget

SETTINGS = T257P.line_settings.overridden(interval=0.0, timeout=2.0)
numbers = count()


class TerminalServer:
    """A simulated chiller behind a TCP port, for one client after the other. `telnet`: as RFC 2217 has it."""

    def __init__(self, *, telnet: bool) -> None:
        simulators.register_all()
        self.url = f"sim://t257p?seed={next(numbers)}"
        self.telnet = telnet
        if "rockit.common.transport" not in serial.protocol_handler_packages:
            serial.protocol_handler_packages.append("rockit.common.transport")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.client: socket.socket | None = None
        self.cut = threading.Event()
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                self.client = self.listener.accept()[0]
                with self.client, serial.serial_for_url(self.url, timeout=0.02) as device, suppress(OSError):
                    self.carry(device, self.client)

    def carry(self, device: Any, client: socket.socket) -> None:
        device.cts = device.dsr = device.ri = device.cd = True  # modem lines, which RFC 2217 reports
        manager = PortManager(device, self) if self.telnet else None
        client.settimeout(0.01)
        while not self.cut.is_set():
            with suppress(TimeoutError):
                data = client.recv(1024)
                if not data:
                    return
                device.write(b"".join(manager.filter(data)) if manager else data)
            data = device.read(device.in_waiting or 1)
            if data:
                self.write(b"".join(manager.escape(data)) if manager else data)

    def write(self, data: bytes) -> None:
        assert self.client is not None
        self.client.sendall(data)

    def hang_up(self) -> None:
        assert self.client is not None
        with suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """As `hang_up`, by a server that lost its power and has come back: without a farewell."""
        assert self.client is not None
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.cut.set()

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        if self.client is not None:
            self.hang_up()
        for thread in self.threads:
            thread.join()
        forget(self.url)


@pytest.fixture(params=["socket", "rfc2217"])
def terminal_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, TerminalServer]]:
    server = TerminalServer(telnet=request.param == "rfc2217")
    yield f"{request.param}://127.0.0.1:{server.port}", server
    server.close()


def line(url: str) -> Line[Any]:
    return Line(url, SETTINGS, T257P.decoder, threading.Event(), pytest.fail)


def whole_poll(driver: T257P) -> dict[str, Any]:
    return {key: value for values in driver.poll() for key, value in values.items()}


def poll_on(driver: T257P) -> None:
    """Until the port is lost: a server takes its time to leave."""
    while True:
        whole_poll(driver)


@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")  # pyserial's, over RFC 2217
def test_a_chiller_behind_a_terminal_server(terminal_server: tuple[str, TerminalServer]) -> None:
    url, server = terminal_server
    port = line(url)
    port.open()
    driver = T257P(port)
    assert driver.identify()["family"] == "ThermoTek TTK"
    assert {"run_state", "water_temp", "setpoint_temp", "ambient_temp"} <= set(whole_poll(driver))
    driver.write_setpoint(12.5)
    assert driver.read_setpoint() == {"setpoint_temp": 12.5}
    for leave in (server.hang_up, server.reset):
        leave()
        with pytest.raises(PortLost, match="broke"):
            poll_on(driver)
        server.cut.clear()
        port.open()
        assert whole_poll(driver)["setpoint_temp"] == 12.5
    port.close()
    assert port.counters["close_failed"] == 0


@pytest.mark.parametrize("scheme", ["socket", "rfc2217"])
def test_a_terminal_server_that_is_not_there(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.getsockname()[1]
    with pytest.raises(PortLost, match=f"cannot open {scheme}://127.0.0.1:{number}: "):
        line(f"{scheme}://127.0.0.1:{number}").open()


@pytest.mark.parametrize(
    "url", ["rfc2217://", "socket://nowhere", "socket://127.0.0.1:99999", "nonsense://x", "spy://"]
)
def test_a_url_that_is_none_is_a_sentence(url: str) -> None:
    with pytest.raises(PortLost, match="cannot open"):
        line(url).open()


def test_a_spied_tty_is_ours_alone(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.simulator()
    first, second = line(f"spy://{site.link}"), line(str(site.link))
    first.open()
    assert whole_poll(T257P(first))["water_temp"] > 0
    with pytest.raises(PortLost, match="in use by"):
        second.open()
    first.close()
    assert "2E" in capsys.readouterr().err, "the start of a TTK frame"
