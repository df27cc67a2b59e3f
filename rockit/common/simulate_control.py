# SPDX-License-Identifier: GPL-3.0-or-later
"""The control socket of a simulator: one line in, one line out, on a unix stream socket at `<link>.control`.

fault NAME VALUE    on, off, once, or an argument          ok | error: ...
faults              every fault, its state                 {"silence": {"description": ..., "value": "off"}, ...}
set KEY VALUE       a physical condition (ambient ...)     ok | error: ...
conditions          what `set` takes                       {"ambient": "...", ...}
info                the device's true state                {"coolant_temp": 12.03, ...}
stop                end the simulator; answered when link and socket are gone
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rockit.common.simulate_device import SimulatedDevice, whole

MAX_LINE = 4096
UNPLUG = "the cable: on pulls it (port and link go), off plugs it in again, `at N` pulls it after N more bytes"


class SimulatorError(Exception):
    """A simulator cannot start or be reached. The message says why and what to do."""


def control_path(link: str | os.PathLike[str]) -> Path:
    """Where the control socket of the simulator at `link` stands."""
    return Path(f"{os.fspath(link)}.control")


def control(link: str | os.PathLike[str], line: str, timeout: float = 5.0) -> str:
    """Send one command line to the simulator at `link`, return its answer without the newline.

    `timeout` is in seconds. Raises SimulatorError when none runs there or it does not answer in time; a command that
    it refuses returns `error: ...`.
    """
    if "\n" in line or not line.strip():
        raise ValueError("a command is one line")
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(str(control_path(link)))
            sock.sendall(line.encode() + b"\n")
            while not answer.endswith(b"\n"):
                data = sock.recv(65536)
                if not data:
                    raise SimulatorError(f"the simulator at {link} hung up instead of answering {line!r}")
                answer += data
        except TimeoutError:
            raise SimulatorError(f"the simulator at {link} did not answer {line!r} within {timeout:g} s") from None
        except OSError as error:
            raise SimulatorError(f"no simulator answers at {link}: {error.strerror or error}") from None
    return answer.decode().rstrip("\n")


class Client:
    """One connection to the control socket, inside the simulator."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._buffer = b""

    def fileno(self) -> int:
        """For select."""
        return self.sock.fileno()

    def lines(self) -> list[str] | None:
        """Whole lines that came in; None when the client is gone or talks nonsense."""
        try:
            data = self.sock.recv(MAX_LINE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        self._buffer += data
        *whole, self._buffer = self._buffer.split(b"\n")
        if not data or len(self._buffer) > MAX_LINE:
            return None
        return [line.decode(errors="replace").strip() for line in whole]

    def answer(self, text: str) -> None:
        """Send one line. A client that does not read loses it; the simulator waits for nobody."""
        with contextlib.suppress(OSError):
            self.sock.sendall(text.encode() + b"\n")

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`, in place of one left there by a simulator that died. Raises SimulatorError."""
    if os.path.lexists(path):
        if not path.is_socket():
            raise SimulatorError(f"{path} exists and is not a socket: move it away or choose another link")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise SimulatorError(f"cannot make the control socket {path}: {error}") from None
    sock.listen()
    sock.setblocking(False)
    return sock


class Cable(Protocol):
    """What carries the device's bytes, and can be pulled out."""

    @property
    def plugged(self) -> bool:
        """Whether the cable is in."""
        ...

    @property
    def cut_after(self) -> int | None:
        """Bytes to the host after which the cable comes out, where that is arranged."""
        ...

    def plug(self) -> None:
        """Plug it in, and forget an arranged cut."""
        ...

    def unplug(self, after: int | None = None) -> None:
        """Pull it now, or after that many more bytes to the host."""
        ...


class Console:
    """Carries out the commands above on a device and its cable."""

    def __init__(self, device: SimulatedDevice, cable: Cable) -> None:
        self._device = device
        self._cable = cable
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "fault": self._fault,
            "faults": lambda _: _json(self.faults()),
            "set": self._set,
            "conditions": lambda _: _json(device.conditions()),
            "info": lambda _: _json({**device.info(), "plugged": cable.plugged}),
        }

    def execute(self, line: str) -> str:
        """Carry out one line; the answer."""
        name, *words = line.split() or [""]
        if name not in self._commands:
            return f"error: no command {name!r}; there is {', '.join(self._commands)}, stop"
        try:
            return self._commands[name](words)
        except (ValueError, SimulatorError) as error:
            return f"error: {error}"

    def faults(self) -> dict[str, dict[str, str]]:
        """Every fault with its description and its value now (`off` where it is not on)."""
        cable = self._cable
        unplug = "on" if not cable.plugged else "off" if cable.cut_after is None else f"at {cable.cut_after}"
        values = {**self._device.active(), "unplug": unplug}
        kinds = {**self._device.faults(), "unplug": UNPLUG}
        return {name: {"description": text, "value": values.get(name, "off")} for name, text in kinds.items()}

    def _fault(self, words: list[str]) -> str:
        if not words:
            raise ValueError("fault NAME VALUE")
        name, rest = words[0], words[1:] or ["on"]
        if name == "unplug":
            self._unplug(rest)
        elif name in self._device.faults():
            self._device.set_fault(name, " ".join(rest))
        else:
            raise ValueError(f"no fault {name!r}; there is {', '.join([*self._device.faults(), 'unplug'])}")
        return "ok"

    def _unplug(self, words: list[str]) -> None:
        if words == ["on"]:
            self._cable.unplug()
        elif words == ["off"]:
            self._cable.plug()
        elif len(words) == 2 and words[0] == "at":
            whole(words[1])
            if not self._cable.plugged:
                raise ValueError("the cable is out already")
            self._cable.unplug(after=int(words[1]))
        else:
            raise ValueError("unplug takes on, off or at N")

    def _set(self, words: list[str]) -> str:
        if len(words) != 2:
            raise ValueError("set KEY VALUE")
        if words[0] not in self._device.conditions():
            raise ValueError(f"no condition {words[0]!r}; there is {', '.join(self._device.conditions())}")
        self._device.set_condition(words[0], words[1])
        return "ok"


def _json(value: object) -> str:
    return json.dumps(value)
