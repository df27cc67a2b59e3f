# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated DS18B20 sensors as the Linux driver shows them, after its documents and the sensor's data sheet."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from rockit.boiler.simulators.world import World, shared

FAULTS: Mapping[str, str] = {
    "missing": "the sensor is not on the bus: no such file",
    "crc": "the checksum was wrong on the wire",
    "zeros": "the data line is held low: all bytes are 0",
    "85": "the sensor was switched on and has not measured yet",
    "0": "the sensor says 0 °C, with everything else right",
    "stuck": "the sensor goes on saying what it said last",
    "open": "nothing drives the data line: all bytes are FF",
}


class Sensor:
    """One sensor; `celsius` is asked for each reading. `fault` is one of FAULTS, or None."""

    def __init__(self, celsius: Callable[[], float]) -> None:
        self._celsius = celsius
        self._last = 85.0
        self.fault: str | None = None

    def text(self) -> str | None:
        """What `w1_slave` holds now; None where there is no such file."""
        if self.fault not in (None, *FAULTS):
            raise ValueError(f"no fault {self.fault!r}; there is {', '.join(FAULTS)}")
        if self.fault == "missing":
            return None
        if self.fault == "zeros":
            return _lines(bytes(9), 0, "YES", 0)
        if self.fault == "open":
            return _lines(b"\xff" * 9, 0xC9, "NO", -62)
        if self.fault == "85":
            return scratchpad(85.0, rest=0x0C)
        if self.fault == "0":
            return scratchpad(0.0)
        if self.fault != "stuck":
            self._last = self._celsius()
        text = scratchpad(self._last)
        return text.replace("YES", "NO") if self.fault == "crc" else text


class Folder:
    """A folder like `/sys/bus/w1/devices` with some sensors: `sensors[id]`. Files change when `refresh` is called.

    In a `with`, a thread calls it every `period` s.
    """

    def __init__(self, path: str | Path, sensors: Mapping[str, Callable[[], float]], period: float = 0.05) -> None:
        self.path = Path(path)
        self.sensors = {name: Sensor(celsius) for name, celsius in sensors.items()}
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated 1-wire bus")

    def refresh(self) -> None:
        """Write what the sensors say now; each file is replaced as a whole."""
        for name, sensor in self.sensors.items():
            place, text = self.path / name, sensor.text()
            if text is None:
                shutil.rmtree(place, ignore_errors=True)
                continue
            place.mkdir(parents=True, exist_ok=True)
            fresh = place / ".w1_slave"
            fresh.write_text(text)
            os.replace(fresh, place / "w1_slave")

    def __enter__(self) -> Self:
        self.refresh()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period):
            self.refresh()


def scratchpad(celsius: float, rest: int = 0x10) -> str:
    """The two lines for a temperature, rounded to 1/16 °C; `rest` is byte 6, which is 0C after a power-on."""
    sixteenths = max(-880, min(2000, round(celsius * 16)))
    head = (sixteenths & 0xFFFF).to_bytes(2, "little") + bytes([0x4B, 0x46, 0x7F, 0xFF, rest, 0x10])
    check = _check(head)
    return _lines(head + bytes([check]), check, "YES", int(sixteenths * 1000 / 16))


def _lines(content: bytes, check: int, verdict: str, thousandths: int) -> str:
    dump = content.hex(" ")
    return f"{dump} : crc={check:02x} {verdict}\n{dump} t={thousandths}\n"


def _check(data: bytes) -> int:
    """The CRC as the data sheet draws it: a shift register with taps, one bit after the other, lowest bit first."""
    register = [0] * 8
    for byte in data:
        for at in range(8):
            into = (byte >> at & 1) ^ register[7]
            register = [into, *register[:7]]
            register[4] ^= into
            register[5] ^= into
    return sum(bit << (7 - at) for at, bit in enumerate(register))


_sensors: dict[str, Sensor] = {}
_guard = threading.Lock()


def simulated(url: str, now: float) -> Sensor:
    """The sensor behind `sim://ds18b20?world=NAME&at=return|outlet`, always the same one. Raises ValueError."""
    with _guard:
        if url not in _sensors:
            parts = urlsplit(url)
            query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
            place = query.pop("at", "return")
            name = query.pop("world", "")
            if (parts.scheme, parts.netloc) != ("sim", "ds18b20") or not name or query:
                raise ValueError(f"{url}: must be sim://ds18b20?world=NAME&at=return, or at=outlet")
            if place not in ("return", "outlet"):
                raise ValueError(f"{url}: a sensor stands at return or at outlet, not at {place}")
            world = shared(name, now)
            _sensors[url] = Sensor(lambda: _temperature(world, place))
        return _sensors[url]


def text(url: str, now: float) -> str:
    """What the sensor behind `url` says at `now` (monotonic s). Raises ValueError; FileNotFoundError: it is gone."""
    sensor = simulated(url, now)
    world = shared(parse_qs(urlsplit(url).query)["world"][-1], now)
    with world.lock:
        world.advance(now)
        found = sensor.text()
    if found is None:
        raise FileNotFoundError(url)
    return found


def _temperature(world: World, place: str) -> float:
    with world.lock:
        return world.return_temp if place == "return" else world.water_out_temp
