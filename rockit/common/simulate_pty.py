# SPDX-License-Identifier: GPL-3.0-or-later
"""Carries a simulated device on a Linux pty that looks like a serial port at a path of your choice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from rockit.common.simulate_control import Client, Console, SimulatorError, control_path, listen
from rockit.common.simulate_device import SimulatedDevice

_SETTLE = 0.05
"""Seconds that the kernel gets to carry bytes across a pty before we ask whether they have been read."""
_PATIENCE = 1.0
"""Seconds that a host gets to read what came before the cable is pulled."""


class PtyServer:
    """A simulated device behind a symlink `link` to a pty, with a control socket at `<link>.control`.

    Use it as a context manager around `run`, or call `start`, `run`, `close`. `start` raises SimulatorError when
    another simulator serves that link, when something that is not ours stands there, or when the place is not writable.
    Only `stop` may be called from other threads and from signal handlers.
    """

    def __init__(
        self,
        device: SimulatedDevice,
        link: str | os.PathLike[str],
        *,
        speed: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device = device
        self.link = Path(os.path.abspath(link))
        if speed is not None:
            device.set_condition("speed", str(speed))
        self._clock = clock
        self._master = self._slave = -1
        self._claim: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._clients: list[Client] = []
        self._console = Console(device, self)
        self._stopper: Client | None = None
        self._wake_read = self._wake_write = -1
        self._stopping = False
        self._cut_after: int | None = None
        self._cut_since: float | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def plugged(self) -> bool:
        """Whether the cable is in."""
        return self._master >= 0

    @property
    def cut_after(self) -> int | None:
        """Bytes to the host after which the cable comes out, where that is arranged."""
        return self._cut_after

    def start(self) -> None:
        """Claim the link, make the pty and the control socket. Raises SimulatorError."""
        self._claim = _claim(self.link)
        try:
            self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            _check_free(self.link)
            self._listener = listen(control_path(self.link))
            self.plug()
        except BaseException:
            self.close()
            raise

    def plug(self) -> None:
        """Make a new pty and put the link on it; nothing happens where the cable is in."""
        self._cut_after = self._cut_since = None
        if self.plugged:
            return
        _check_free(self.link)
        master, slave = os.openpty()
        # Our own end of the host's side stays open: without it the master would break each time the host closes.
        tty.setraw(slave, termios.TCSANOW)
        os.set_blocking(master, False)
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        try:
            with contextlib.suppress(FileNotFoundError):
                fresh.unlink()
            fresh.symlink_to(os.ttyname(slave))
            fresh.replace(self.link)
        except OSError as error:
            with contextlib.suppress(OSError):
                fresh.unlink()
            os.close(slave)
            os.close(master)
            raise SimulatorError(f"cannot make the link {self.link}: {error.strerror or error}") from None
        self._master, self._slave = master, slave

    def unplug(self, after: int | None = None) -> None:
        """Break the port for good, now or after so many more bytes to the host.

        Whoever has it open gets an input/output error. The link is removed.
        """
        if not self.plugged:
            return
        if after is not None:
            self._cut_after = after
            return
        name = os.ttyname(self._slave)
        master, slave = self._master, self._slave
        self._master = self._slave = -1
        self._cut_after = self._cut_since = None
        with contextlib.suppress(OSError):
            if os.readlink(self.link) == name:
                self.link.unlink()
        os.close(slave)
        os.close(master)

    def stop(self) -> None:
        """End `run` soon. For any thread, and for signal handlers."""
        self._stopping = True
        if self._wake_write >= 0:
            with contextlib.suppress(OSError):  # the pipe is full, or `close` was quicker: it ends in any case
                os.write(self._wake_write, b"x")

    def run(self) -> None:
        """Serve until `stop`, or the command of that name on the control socket."""
        while not self._stopping:
            now = self._clock()
            self._deliver(now)
            self._cut(now)
            timeout = self.device.due(now)
            if self._cut_since is not None:
                timeout = 0.01
            # The host's bytes come first: what was sent before a command was given is answered as things were then.
            readers: list[int | socket.socket | Client] = [self._master] if self.plugged else []
            readers += [self._wake_read, *self._clients]
            if self._listener is not None:
                readers.append(self._listener)
            ready = select.select(readers, [], [], timeout)[0]
            # What is due by now goes out before anything changes, so that a fault hits only later answers.
            self._deliver(self._clock())
            for source in ready:
                self._serve(source)

    def close(self) -> None:
        """Remove link and socket, break the port. May be called twice."""
        self.unplug()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                control_path(self.link).unlink()
        if self._stopper is not None:
            self._stopper.answer("ok")
        for client in self._clients:
            client.close()
        self._clients = []
        wake, self._wake_read, self._wake_write = (self._wake_read, self._wake_write), -1, -1
        for fd in wake:
            if fd >= 0:
                os.close(fd)
        if self._claim is not None:
            self._claim.close()
            self._claim = None

    # --- inside

    def _serve(self, source: int | socket.socket | Client) -> None:
        if isinstance(source, Client):
            self._converse(source)
        elif isinstance(source, socket.socket):
            with contextlib.suppress(BlockingIOError):
                self._clients.append(Client(source.accept()[0]))
        elif source == self._master and self.plugged:
            with contextlib.suppress(BlockingIOError):
                self.device.receive(os.read(source, 65536), self._clock())

    def _deliver(self, now: float) -> None:
        data = self.device.output(now)
        if not data or not self.plugged or self._cut_since is not None:
            return
        if self._cut_after is not None:
            data, self._cut_after = data[: self._cut_after], max(0, self._cut_after - len(data))
            if self._cut_after == 0:
                self._cut_since = now
        # Where nobody reads, the kernel's buffer fills up and the rest is lost, as on a real line.
        if data:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)

    def _cut(self, now: float) -> None:
        """Pull the cable once the host has read what came before: a hang-up throws away unread bytes."""
        if self._cut_since is None or not self.plugged or now < self._cut_since + _SETTLE:
            return
        unread = struct.unpack("i", fcntl.ioctl(self._slave, termios.FIONREAD, b"\0" * 4))[0]
        if unread == 0 or now > self._cut_since + _PATIENCE:
            self.unplug()

    def _converse(self, client: Client) -> None:
        lines = client.lines()
        if lines is None:
            self._clients.remove(client)
            client.close()
            return
        for line in lines:
            if line == "stop":
                self._stopper, self._stopping = client, True
                return
            client.answer(self._console.execute(line))


def serve(
    device: SimulatedDevice,
    link: str | os.PathLike[str],
    *,
    speed: float = 1.0,
    ready: Callable[[], None] | None = None,
) -> int:
    """Serve `device` at `link` until SIGTERM, SIGINT, SIGHUP or `stop`; `ready` is called once the port can be opened.

    `speed` other than 1 sets the device's simulated seconds per second. Main thread only. Returns 0; raises
    SimulatorError where it cannot start.
    """
    server = PtyServer(device, link, speed=None if speed == 1.0 else speed)

    def end(_signal: int, _frame: FrameType | None) -> None:
        server.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        with server:
            if ready is not None:
                ready()
            server.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _claim(link: Path) -> socket.socket:
    """Own the link for as long as this process lives. The kernel frees an abstract socket name at any death."""
    place = os.path.join(os.path.realpath(link.parent), link.name)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(b"\0rockit-simulate-" + hashlib.sha256(os.fsencode(place)).hexdigest()[:32].encode())
    except OSError:
        sock.close()
        raise SimulatorError(f"another simulator serves {link}: stop it or choose another link") from None
    return sock


def _check_free(link: Path) -> None:
    """Raise SimulatorError unless `link` is absent, or a link that a dead simulator left (to a pty, or to nothing)."""
    if not os.path.lexists(link):
        return
    if not link.is_symlink():
        raise SimulatorError(f"{link} exists and is not a link: move it away or choose another link")
    target = os.path.realpath(link)
    if os.path.exists(target) and not target.startswith("/dev/pts/"):
        raise SimulatorError(f"{link} leads to {target}, which is no simulated port: choose another link")
