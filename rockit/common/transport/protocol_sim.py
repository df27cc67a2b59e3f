# SPDX-License-Identifier: GPL-3.0-or-later
"""The `sim://` ports of pyserial: `serial.serial_for_url("sim://t257p?ambient=4")`.

Append `rockit.common.transport` to `serial.protocol_handler_packages` to have them, and register the devices with
`rockit.common.simulate`. The device behind a URL lives as long as the process: a port that is closed and opened again
finds it as it was. `control` reaches its faults, as the control socket does for a simulator on a pty.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from serial.serialutil import PortNotOpenError, SerialBase, SerialException

from rockit.common import simulate
from rockit.common.simulate_control import Console

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

MAX_UNREAD = 4096
"""Bytes that wait for a host that does not read; more are lost, as in a real port."""


class _Wire:
    """A device and the one port that may be open on it. Every access holds `changed`."""

    def __init__(self, url: str) -> None:
        self.device = simulate.create(url, time.monotonic())
        self.changed = threading.Condition()
        self.user: Serial | None = None
        self.plugs = 0
        self.plugged = True
        self.cut_after: int | None = None

    def plug(self) -> None:
        if not self.plugged:
            # A port that was open when the cable went stays broken; a new open gets the new one.
            self.plugs += 1
        self.plugged = True
        self.cut_after = None

    def unplug(self, after: int | None = None) -> None:
        self.cut_after = after
        self.plugged = after is not None

    def deliver(self) -> None:
        """Hand what is due to the open port; without one it is lost."""
        data = self.device.output(time.monotonic())
        if not data or not self.plugged:
            return
        if self.cut_after is not None:
            data, left = data[: self.cut_after], self.cut_after - len(data)
            self.unplug(after=left if left > 0 else None)
        if self.user is not None and self.user.plug == self.plugs:
            self.user.arrive(data)


_wires: dict[str, _Wire] = {}
_wires_lock = threading.Lock()


def _wire(url: str) -> _Wire:
    with _wires_lock:
        if url not in _wires:
            _wires[url] = _Wire(url)
        return _wires[url]


def control(url: str, line: str) -> str:
    """Give one command (`fault silence on`, `info`, ...; see `simulate_control`) to the device behind `url`.

    The device is made where it does not exist yet. Returns `ok`, JSON, or `error: ...`; raises ValueError for a URL
    that names no device.
    """
    wire = _wire(url)
    with wire.changed:
        # What is due by now is on its way already: a fault hits only later answers.
        wire.deliver()
        answer = Console(wire.device, wire).execute(line)
        wire.changed.notify_all()
        return answer


def forget(url: str) -> None:
    """Throw the device behind `url` away; the next open makes a new one. Nothing happens where there is none."""
    with _wires_lock:
        _wires.pop(url, None)


class Serial(SerialBase):
    """A port on a simulated device. Line settings are taken and change nothing."""

    BAUDRATES = SerialBase.BAUDRATES

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._wire: _Wire | None = None
        self.plug = 0
        self._unread = bytearray()
        self._cancelled = False
        self.is_open = False
        super().__init__(*args, **kwargs)

    def open(self) -> None:
        """Open the port. Raises SerialException for a bad URL, a port in use, or a pulled cable."""
        if self.is_open:
            raise SerialException("Port is already open.")
        if self.port is None:
            raise SerialException("Port must be configured before it can be used.")
        try:
            wire = _wire(self.port)
        except ValueError as error:
            raise SerialException(str(error)) from None
        with wire.changed:
            if wire.user is not None:
                raise SerialException(f"{self.port} is open already in this process")
            if not wire.plugged:
                raise SerialException(f"{self.port}: no such device (the simulated cable is out)")
            wire.deliver()
            wire.user = self
            self._wire, self.plug = wire, wire.plugs
            self._unread.clear()
            self._cancelled = False
            self.is_open = True

    def close(self) -> None:
        """Close the port; a read that waits returns. The device lives on."""
        wire = self._wire
        if wire is None:
            return
        with wire.changed:
            self.is_open = False
            self._wire = None
            if wire.user is self:
                wire.user = None
            wire.changed.notify_all()

    def read(self, size: int = 1, /) -> bytes:
        """Up to `size` bytes, fewer when the timeout is over, `cancel_read` is called or the port closes."""
        wire = self._opened()
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        with wire.changed:
            while True:
                wire.deliver()
                now = time.monotonic()
                if len(self._unread) >= size or self._cancelled or not self.is_open or self._broken(wire):
                    break
                left = None if deadline is None else deadline - now
                if left is not None and left <= 0:
                    break
                wire.changed.wait(min((t for t in (left, wire.device.due(now)) if t is not None), default=None))
            self._cancelled = False
            if not self._unread and self.is_open:
                self._check(wire)
            data = bytes(self._unread[:size])
            del self._unread[:size]
            return data

    def write(self, data: ReadableBuffer, /) -> int:
        """Hand bytes to the device, all at once."""
        wire = self._opened()
        sent = bytes(data)
        with wire.changed:
            wire.deliver()
            self._check(wire)
            wire.device.receive(sent, time.monotonic())
            wire.changed.notify_all()
        return len(sent)

    @property
    def in_waiting(self) -> int:
        """Bytes that a read would return now."""
        wire = self._opened()
        with wire.changed:
            wire.deliver()
            if not self._unread:
                self._check(wire)
            return len(self._unread)

    @property
    def out_waiting(self) -> int:
        """Always 0: bytes go out at once."""
        self._opened()
        return 0

    def reset_input_buffer(self) -> None:
        """Throw away what has come in so far."""
        wire = self._opened()
        with wire.changed:
            wire.deliver()
            self._check(wire)
            self._unread.clear()

    def reset_output_buffer(self) -> None:
        """Nothing to do: bytes go out at once."""
        self._opened()

    def cancel_read(self) -> None:
        """Make the read that waits in another thread, or the next one, return."""
        wire = self._opened()
        with wire.changed:
            self._cancelled = True
            wire.changed.notify_all()

    def arrive(self, data: bytes) -> None:
        """Bytes come in from the device (called by the wire, which holds its lock)."""
        self._unread += data[: max(0, MAX_UNREAD - len(self._unread))]

    def _broken(self, wire: _Wire) -> bool:
        return not wire.plugged or self.plug != wire.plugs

    def _check(self, wire: _Wire) -> None:
        if self._broken(wire):
            raise SerialException(f"{self.port}: input/output error (the simulated cable was pulled)")

    def _opened(self) -> _Wire:
        if self._wire is None:
            raise PortNotOpenError
        return self._wire

    def _reconfigure_port(self) -> None:
        """Speed, parity and the like mean nothing here."""

    def _update_rts_state(self) -> None:
        """No modem lines here."""

    def _update_dtr_state(self) -> None:
        """No modem lines here."""

    def _update_break_state(self) -> None:
        """No modem lines here."""
