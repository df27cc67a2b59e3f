# SPDX-License-Identifier: GPL-3.0-or-later
"""Edges of a digital line: a GPIO line, a modem line of a serial port, or a recording."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import termios
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from rockit.common.transport import PortLost

ModemLine = Literal["cts", "dsr", "ri", "dcd"]
Bias = Literal["pull-up", "pull-down", "disabled"]
FORMS = "gpio://gpiochip0/24, serial-line:///dev/ttyS0?line=cts or edges:///path/to/file"

_BUFFERED = 1024
"""Events that the kernel keeps for us: a minute of the fastest S0 pulses is 2000."""
_KERNEL_DEBOUNCE = timedelta(milliseconds=5)


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of level. `time_ns` is the monotonic clock; `active` is the level from now on.

    `sequence` numbers the changes of the line: a gap proves that some were lost. None: the source has no numbers.
    """

    time_ns: int
    active: bool
    sequence: int | None = None


class EdgeSource(Protocol):
    """Where edges come from. Every method but `close` raises PortLost with a sentence that says what to do."""

    def open(self) -> None:
        """Begin to listen. A source that was lost or closed may be opened again."""
        ...

    def close(self) -> None:
        """Stop listening. Never raises; may come at any time."""
        ...

    def wait(self, seconds: float) -> list[Edge]:
        """The edges since the last call, in order; waits up to `seconds` for the first one."""
        ...


class GpioEdges:
    """A line of a GPIO chip, by the kernel's character device (python gpiod 2): time and number come from the kernel.

    `chip` is `gpiochip0` or a path, `line` its offset. An S0 output switches to ground: idle is high by the pull-up,
    and the pulse is low (`active_low`).
    """

    def __init__(self, chip: str, line: int, *, active_low: bool = True, bias: Bias = "pull-up") -> None:
        self.path = chip if chip.startswith("/") else f"/dev/{chip}"
        self.line = line
        self._active_low = active_low
        self._bias = bias
        self._request: Any = None

    def open(self) -> None:
        """See `EdgeSource.open`."""
        self.close()
        try:
            import gpiod
            from gpiod.line import Bias as GpioBias
            from gpiod.line import Clock, Direction, Edge
        except ImportError:
            raise PortLost("GPIO lines need python's gpiod: install rockit-plant[gpio] or python3-libgpiod") from None
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=Edge.BOTH,
            bias=GpioBias[self._bias.upper().replace("-", "_")],
            active_low=self._active_low,
            debounce_period=_KERNEL_DEBOUNCE,
            event_clock=Clock.MONOTONIC,
        )
        try:
            self._request = gpiod.request_lines(
                self.path, {self.line: settings}, consumer="rockit", event_buffer_size=_BUFFERED
            )
        except (OSError, ValueError) as error:
            raise PortLost(_gpio_problem(self.path, self.line, error)) from None

    def close(self) -> None:
        """See `EdgeSource.close`."""
        request, self._request = self._request, None
        if request is not None:
            with suppress(OSError):
                request.release()

    def wait(self, seconds: float) -> list[Edge]:
        """See `EdgeSource.wait`."""
        if self._request is None:
            raise PortLost(f"{self.path} line {self.line} is not open")
        try:
            return gpio_edges(self._request.read_edge_events()) if self._request.wait_edge_events(seconds) else []
        except (OSError, ValueError) as error:
            self.close()
            raise PortLost(_gpio_problem(self.path, self.line, error)) from None


def gpio_edges(events: Iterable[Any]) -> list[Edge]:
    """Edges of gpiod's events. With active-low lines the kernel turns the direction already: rising is active."""
    return [Edge(event.timestamp_ns, event.event_type.name == "RISING_EDGE", event.line_seqno) for event in events]


def _gpio_problem(path: str, line: int, error: Exception) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOENT:
        return f"there is no {path}; gpiodetect lists the chips of this machine"
    if number in (errno.EACCES, errno.EPERM):
        return f"{path} may not be opened by this user; add it to the group that owns it (often gpio)"
    if number == errno.EBUSY:
        return f"line {line} of {path} is in use by another program; gpioinfo tells which"
    if number == errno.EINVAL or isinstance(error, ValueError):
        return f"{path} has no line {line}, or it cannot watch its edges ({error}); gpioinfo lists the lines"
    return f"{path} line {line}: {error}"


class SerialEdges:
    """A modem line of a serial port: the S0 output lies between RTS or DTR (both are on) and the line.

    It looks every `LOOK` seconds. TIOCMIWAIT would tell at once, but it cannot be given up: closing the port does not
    end it, and a daemon that stops or reopens a lost port would leave a stuck thread each time. S0 pulses last 30 ms;
    to see them a look every 2 ms is enough, and the driver's counters (TIOCGICOUNT) prove what was missed.
    """

    LOOK = 0.002
    _NEAR_NS = 5_000_000  # changes between two looks that are no further apart happened now, as far as it matters

    def __init__(self, port: str, line: ModemLine = "cts") -> None:
        self.port = port
        self.line = line
        self._mask = _MODEM_LINES[line]
        self._fd: int | None = None
        self._numbered = True
        self._before: _Look | None = None

    def open(self) -> None:
        """See `EdgeSource.open`."""
        self.close()
        try:
            self._fd = os.open(self.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(self._fd, termios.TIOCEXCL)
            self._numbered = self.line in _COUNTERS
            self._before = self._look()
            modes = termios.tcgetattr(self._fd)
            # A line that falls must neither hang up the port (dcd) nor stop it (cts).
            modes[2] = (modes[2] | termios.CLOCAL) & ~termios.CRTSCTS
            termios.tcsetattr(self._fd, termios.TCSANOW, modes)
        except (OSError, termios.error) as error:
            self.close()
            raise PortLost(_serial_problem(self.port, OSError(*error.args))) from None

    def close(self) -> None:
        """See `EdgeSource.close`."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    def wait(self, seconds: float) -> list[Edge]:
        """See `EdgeSource.wait`."""
        until = time.monotonic() + seconds
        while True:
            if self._fd is None or self._before is None:
                raise PortLost(f"{self.port} is not open")
            try:
                look = self._look()
            except OSError as error:
                self.close()
                raise PortLost(_serial_problem(self.port, error)) from None
            edges = edges_between(self._before, look, self._NEAR_NS)
            self._before = look
            if edges or time.monotonic() >= until:
                return edges
            time.sleep(self.LOOK)

    def _look(self) -> _Look:
        """Level and counter that belong together."""
        assert self._fd is not None
        counter = self._counter()
        while True:
            (bits,) = struct.unpack("i", fcntl.ioctl(self._fd, termios.TIOCMGET, struct.pack("i", 0)))
            again = self._counter()
            if again == counter:
                return _Look(time.monotonic_ns(), bool(bits & self._mask), counter)
            counter = again

    def _counter(self) -> int | None:
        if not self._numbered or self._fd is None:
            return None
        try:
            counters: tuple[int, ...] = struct.unpack("20i", fcntl.ioctl(self._fd, _TIOCGICOUNT, bytes(80)))
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._numbered = False  # this driver has none
            return None
        return counters[_COUNTERS[self.line]] & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Look:
    """What a modem line was at one time; `counter` counts its changes, where the driver does."""

    time_ns: int
    active: bool
    counter: int | None


def edges_between(before: _Look, now: _Look, near_ns: int) -> list[Edge]:
    """What happened between two looks.

    Changes that only the counter shows are edges as well if the looks are at most `near_ns` apart (a bounce); else
    their times are not known, and a gap in the numbers tells of them.
    """
    if before.counter is None or now.counter is None:
        return [Edge(now.time_ns, now.active)] if before.active != now.active else []
    changes = (now.counter - before.counter) & 0xFFFFFFFF
    if now.time_ns - before.time_ns > near_ns or changes > 16:
        return [Edge(now.time_ns, now.active, now.counter)] if before.active != now.active else []
    if changes % 2 != (before.active != now.active):  # the counter of this driver is none of changes
        return [Edge(now.time_ns, now.active)] if before.active != now.active else []
    return [
        Edge(now.time_ns, now.active if left % 2 == 0 else not now.active, now.counter - left)
        for left in reversed(range(changes))
    ]


# linux/serial.h: struct serial_icounter_struct begins with cts, dsr, rng, dcd; rng counts only one of the two edges.
_COUNTERS: dict[str, int] = {"cts": 0, "dsr": 1, "dcd": 3}
_TIOCGICOUNT: int = getattr(termios, "TIOCGICOUNT", 0x545D)
_MODEM_LINES: dict[str, int] = {
    "cts": termios.TIOCM_CTS, "dsr": termios.TIOCM_DSR, "ri": termios.TIOCM_RI, "dcd": termios.TIOCM_CD,
}  # fmt: skip


def _serial_problem(port: str, error: OSError) -> str:
    if error.errno in (errno.ENOTTY, errno.EINVAL):
        return f"{port} has no modem lines: a pseudo terminal or a file has none, take a real serial port"
    if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return f"there is no {port}; is the adapter plugged in?"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{port} may not be opened by this user; add it to the group that owns it (often dialout)"
    if error.errno == errno.EBUSY:
        return f"{port} is in use by another program"
    return f"{port} was lost: {error.strerror or error}"


class RecordedEdges:
    """Edges from a list, or from a file with a line `ns active seq` for each (`active` 0 or 1, `seq` - for none).

    `batch` edges come at a time; when there are no more, `wait` lets its time pass and gives none.
    """

    def __init__(self, edges: Sequence[Edge] | Path, batch: int = 64) -> None:
        self._source = edges
        self._batch = batch
        self._left: list[Edge] | None = None

    def open(self) -> None:
        """See `EdgeSource.open`. It begins anew."""
        self._left = read_edges(self._source) if isinstance(self._source, Path) else list(self._source)

    def close(self) -> None:
        """See `EdgeSource.close`."""
        self._left = None

    def wait(self, seconds: float) -> list[Edge]:
        """See `EdgeSource.wait`."""
        if self._left is None:
            raise PortLost("the recording is not open")
        out, self._left = self._left[: self._batch], self._left[self._batch :]
        if not out:
            time.sleep(max(seconds, 0.0))
        return out


def read_edges(path: Path) -> list[Edge]:
    """The edges of a recording; empty lines and those with # are skipped. Raises PortLost, naming the line."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, ValueError) as error:
        raise PortLost(f"{path} cannot be read as a recording of edges: {error}") from None
    out: list[Edge] = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            moment, active, sequence = words
            out.append(Edge(int(moment), {"0": False, "1": True}[active], None if sequence == "-" else int(sequence)))
        except (ValueError, KeyError):
            raise PortLost(f"{path}, line {number}: {line!r} is not of the form ns active seq") from None
    return out


def edge_source(url: str, *, batch: int = 64) -> EdgeSource:
    """The source that a config's `port` names; opens nothing. Raises ValueError with a sentence.

    `gpio://gpiochip0/24` (`?active=low|high`, `&bias=pull-up|pull-down|disabled`),
    `serial-line:///dev/ttyS0?line=cts|dsr|ri|dcd`, `edges:///path/to/file`.
    """
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise ValueError(f"{url!r} is no address of an edge source ({error}); write {FORMS}") from None
    path = unquote(parts.path)
    if parts.scheme == "gpio":
        active = _option(url, options, "active", ("low", "high"), "low")
        bias = _option(url, options, "bias", get_args(Bias), "pull-up")
        _no_more(url, options)
        line = path.removeprefix("/")
        if not parts.netloc or not re.fullmatch(r"[0-9]{1,4}", line):
            raise ValueError(f"{url!r} names no chip and line; write gpio://gpiochip0/24")
        return GpioEdges(parts.netloc, int(line), active_low=active == "low", bias=bias)
    if parts.scheme == "serial-line":
        modem = _option(url, options, "line", get_args(ModemLine), "cts")
        _no_more(url, options)
        if parts.netloc or len(path) < 2:
            raise ValueError(f"{url!r} names no port; write serial-line:///dev/ttyS0?line=cts")
        return SerialEdges(path, modem)
    if parts.scheme == "edges":
        _no_more(url, options)
        if parts.netloc or len(path) < 2:
            raise ValueError(f"{url!r} names no file; write edges:///path/to/file")
        return RecordedEdges(Path(path), batch)
    raise ValueError(f"{url!r} is no address of an edge source; write {FORMS}")


def _option(url: str, options: dict[str, str], name: str, known: tuple[str, ...], default: str) -> Any:
    value = options.pop(name, default)
    if value not in known:
        raise ValueError(f"{url!r}: {name} must be one of {', '.join(known)}, not {value!r}")
    return value


def _no_more(url: str, options: dict[str, str]) -> None:
    if options:
        raise ValueError(f"{url!r}: there is no option {', '.join(sorted(options))}")
