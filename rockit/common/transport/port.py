# SPDX-License-Identifier: GPL-3.0-or-later
"""One open port: bytes out, bytes in, and one kind of error when it is gone. What they mean is told by who uses it."""

from __future__ import annotations

import select
import termios
from collections import Counter
from collections.abc import Callable
from typing import Any

from rockit.common.transport import PortLost
from rockit.common.transport.serialport import TICK, close_port, lost_problem, open_port
from rockit.common.transport.settings import LineSettings

_PORT_ERRORS = (OSError, termios.error, TypeError, AttributeError, ValueError)
"""What pyserial raises for a port that is gone: termios.error, which is no OSError, where it drops output; TypeError
where its descriptor is gone; ValueError over RFC 2217."""
CHUNK = 4096
"""So many bytes are looked at before anything else, at most."""


class Port:
    """A serial port or a URL of one, used by one thread. Whatever breaks it closes it, and raises PortLost."""

    def __init__(self, where: str, settings: LineSettings, note: Callable[[str], None]) -> None:
        """`note` is told, once each, of settings that the port cannot take."""
        self.where = where
        self.settings = settings
        self.counters: Counter[str] = Counter()
        self._note = note
        self._noted: set[str] = set()
        self._port: Any = None
        self._why_closed = ""

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._port is not None

    def open(self) -> None:
        """Open it, anew where it was open. Raises PortLost."""
        self.close()
        self._port = open_port(self.where, self.settings, self._note_once)
        self._why_closed = ""

    def close(self) -> None:
        """Close it; never waits for bytes that a hung port would not take."""
        port, self._port = self._port, None
        if port is None:
            return
        try:
            if "://" not in self.where:
                port.reset_output_buffer()  # closing a tty waits up to 30 s for its output otherwise
        except _PORT_ERRORS:
            self.counters["close_failed"] += 1
        self._give_back(port)

    def require(self) -> None:
        """Raises PortLost, with the reason, where it is not open."""
        if self._port is None:
            raise PortLost(self._why_closed or f"{self.where} is not open")

    def set_baud(self, baud: int) -> None:
        """Change the speed of the open port. Raises PortLost."""
        self.require()
        try:
            self._port.baudrate = baud
        except _PORT_ERRORS as error:
            raise self.lost(error) from None

    def write(self, data: bytes, go_on: Callable[[], None], seconds: float) -> None:
        """Send all of `data`. Raises PortLost, also where the port takes nothing for so long; and what `go_on` raises.

        pyserial's own write asks again without a pause while flow control holds it.
        """
        self.require()
        try:
            self._await_room(go_on, seconds)
            written = self._port.write(data)
        except _PORT_ERRORS as error:
            raise self.lost(error) from None
        if written is not None and written != len(data):
            raise self.lost(OSError("the port took only a part of the request"))

    def _await_room(self, go_on: Callable[[], None], seconds: float) -> None:
        try:
            descriptor = self._port.fileno()
        except (OSError, ValueError, AttributeError):
            return  # a port without one has no flow control either
        for _ in range(max(1, round(seconds / TICK))):
            if select.select([], [descriptor], [], TICK)[1]:
                return
            go_on()
        raise OSError("write timeout")

    def read(self, *, wait: bool) -> bytes:
        """What has come, or, if `wait`, comes within a TICK. Raises PortLost."""
        self.require()
        try:
            return (bytes(self._port.read(1)) if wait else b"") + self._waiting()
        except _PORT_ERRORS as error:
            raise self.lost(error) from None

    def _waiting(self) -> bytes:
        """What has come already. A socket tells only that there is something, and not how much."""
        data = b""
        while len(data) < CHUNK and (waiting := self._port.in_waiting):
            data += self._port.read(waiting)
        return data

    def lost(self, error: Exception) -> PortLost:
        """The port broke: it is closed, and this is to be raised."""
        self.counters["port_lost"] += 1
        port, self._port = self._port, None
        if port is not None:
            self._give_back(port)
        self._why_closed = lost_problem(self.where, error)
        return PortLost(self._why_closed)

    def _give_back(self, port: Any) -> None:
        try:
            close_port(port)
        except _PORT_ERRORS:
            self.counters["close_failed"] += 1

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)
