# SPDX-License-Identifier: GPL-3.0-or-later
"""Words with systemd (sd_notify(3)): ready, stopping, and a watchdog that is fed by the query loop alone."""

from __future__ import annotations

import os
import socket
import time


class Notifier:
    """Does nothing where systemd did not start us."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        pid = os.environ.get("WATCHDOG_PID")
        ours = pid is None or pid == str(os.getpid())
        microseconds = os.environ.get("WATCHDOG_USEC", "0") if ours else "0"
        # Twice as often as systemd asks for, and then some.
        self._interval = int(microseconds) / 3e6 if microseconds.isdigit() else 0.0
        self._last = 0.0

    def ready(self, status: str) -> None:
        """The daemon answers calls and its loop runs."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The daemon starts itself anew; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(time.monotonic() * 1e6)}")

    def stopping(self) -> None:
        """The daemon is going down."""
        self._send("STOPPING=1")

    def beat(self) -> None:
        """The query loop is alive. Cheap enough to be called at every step."""
        if self._interval:
            now = time.monotonic()
            if now - self._last >= self._interval:
                self._last = now
                self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), address)
        except OSError:
            return  # systemd will act on what it does not hear
