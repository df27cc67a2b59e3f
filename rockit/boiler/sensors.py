# SPDX-License-Identifier: GPL-3.0-or-later
"""The plant's own temperature sensors, each read and judged in a thread of its own.

A sensor is a DS18B20 (its id on the 1-wire bus), an input of a Modbus module, or a simulated one (`sim://ds18b20…`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rockit.boiler.probe import Limits, Probe
from rockit.boiler.protocols import ds18b20
from rockit.common.inputs import MISSED, Input, InputProblem
from rockit.common.log import Log
from rockit.common.transport import PortLost
from rockit.common.transport.onewire import read_w1
from rockit.common.transport.settings import LineSettings

VALUE = "temp"
"""The only key of a sensor's input."""
SLOWEST = 3.0
"""One reading takes no longer, s."""
COARSE = 0.5
"""With steps from this on, K, a good sensor tells exactly the same for hours: none of these is called stuck."""

_ABSENT = (0x7FFF, 0x8000)


class ModbusSensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A temperature input of a Modbus module: °C = register * `scale`. Sensors may share a port, and nobody else.

    `absent`: values of the register, 0 to 65535, by which the module says that there is no sensor.
    """

    port: Annotated[str, msgspec.Meta(min_length=1)]
    register: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1
    function: Literal[3, 4] = 4
    scale: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.1
    signed: bool = True
    absent: list[Annotated[int, msgspec.Meta(ge=0, le=65535)]] = msgspec.field(default_factory=lambda: [*_ABSENT])
    baud: Annotated[int, msgspec.Meta(ge=300, le=921600)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1

    def line_settings(self) -> LineSettings:
        """Of its port."""
        return LineSettings(baud=self.baud, parity=self.parity, stopbits=self.stopbits, timeout=1.0)

    def problems(self) -> Iterator[tuple[str, str]]:
        """A port that cannot be."""
        from rockit.common.transport.modbus import framing_of  # pymodbus is heavy

        try:
            framing_of(self.port)
        except ValueError as error:
            yield "port", str(error)

    def celsius(self, raw: int) -> float:
        """What a register tells, °C. Raises InputProblem where it tells that there is no sensor."""
        if raw in self.absent:
            raise InputProblem(f"register {self.register} holds {raw:#06x}: no sensor, or a broken wire")
        return (raw - 0x10000 if self.signed and raw & 0x8000 else raw) * self.scale


def sensor_input(
    name: str,
    spec: str | ModbusSensor,
    root: str | Path,
    period: float,
    stop: threading.Event,
    log: Log,
    active: Callable[[], bool],
    *,
    describes: str = "",
    limits: Limits | None = None,
) -> Input:
    """The input that reads one sensor every `period` s; its only value is `temp`, °C. Not started.

    `active` tells whether heat is being moved (see `Probe`); `root` is the folder of the 1-wire sensors. A
    value that is not believed is as one that was not read: the one before stays until it is too old. Raises
    ValueError for a `sim://` URL that cannot be.
    """
    limits = limits or Limits()
    if isinstance(spec, ModbusSensor) and spec.scale >= COARSE:
        limits = replace(limits, stuck_after=0.0)
    probe = Probe(limits)
    close: Callable[[], None] = lambda: None  # noqa: E731
    if isinstance(spec, ModbusSensor):
        register = _Register(spec, stop, log)
        read, close = register.read, register.close
    elif spec.startswith("sim://"):
        read = _simulated(spec)
    else:

        def read() -> float:
            return ds18b20.parse(read_w1(root, spec, pause=stop.wait))

    def fetch() -> dict[str, float]:
        value, reason = probe.judge(read(), time.monotonic(), active())
        if value is None:
            raise InputProblem(reason)
        return {VALUE: value}

    return Input(
        name, describes or name, period, fetch, stop, log, MISSED * period + SLOWEST, close=close,
    )  # fmt: skip


def _simulated(url: str) -> Callable[[], float]:
    from rockit.boiler.simulators import onewire  # only where a config names a simulated sensor

    onewire.simulated(url, time.monotonic())

    def read() -> float:
        try:
            return ds18b20.parse(onewire.text(url, time.monotonic()))
        except FileNotFoundError:
            raise PortLost(f"no sensor {url}") from None

    return read


class _Port:
    """A bus that sensors share. One of them is asked at a time."""

    def __init__(self, bus: Any) -> None:
        self.bus = bus
        self.lock = threading.Lock()
        self.users = 0


_ports: dict[str, _Port] = {}
_guard = threading.Lock()


class _Register:
    """One register of a module, on a bus that is opened when it is asked and was not open."""

    def __init__(self, spec: ModbusSensor, stop: threading.Event, log: Log) -> None:
        from rockit.common.transport.modbus import ModbusBus

        self._spec = spec
        with _guard:
            if spec.port not in _ports:
                _ports[spec.port] = _Port(ModbusBus(spec.port, spec.line_settings(), stop, log.warning))
            self._port = _ports[spec.port]
            self._port.users += 1

    def read(self) -> float:
        """°C. Raises LineError, Refused, InputProblem."""
        spec, bus = self._spec, self._port.bus
        with self._port.lock:
            if not bus.is_open:
                bus.open()
            (raw,) = bus.read(spec.unit, spec.function, spec.register, 1)
        return spec.celsius(raw)

    def close(self) -> None:
        """Give the port back, where nobody else reads from it."""
        with _guard:
            self._port.users -= 1
            if self._port.users == 0 and _ports.get(self._spec.port) is self._port:
                del _ports[self._spec.port]
                self._port.bus.close()
