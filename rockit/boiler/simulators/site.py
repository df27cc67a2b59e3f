# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole simulated plant for a daemon in another process: two pseudo terminals, a folder of 1-wire sensors, a weather
server, and one world behind them. It outlives the daemon, so that a daemon can be killed in the middle of anything.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from rockit.boiler.simulators import onewire, weather
from rockit.boiler.simulators.climate import Steady
from rockit.boiler.simulators.lochinvar import Lochinvar
from rockit.boiler.simulators.numato import Numato
from rockit.boiler.simulators.world import shared
from rockit.common.simulate_device import Fault, FaultyDevice, Info, number
from rockit.common.simulate_pty import PtyServer

RELAYS = {
    "boiler": 0, "chiller1": 2, "chiller2": 1, "chiller3": 4, "chiller4": 3, "winter_valve": 5, "summer_valve": 6,
    "led_breather": 7, "led_red": 8, "led_green": 9, "led_blue": 10,
}  # fmt: skip
"""As Chronos's board is wired: its chillers are swapped in pairs."""
SENSORS = {"return": "28-000000000001", "outlet": "28-000000000002"}
_SWITCHED = ("boiler", "chiller1", "chiller2", "chiller3", "chiller4", "winter_valve", "summer_valve")


def _one_of(known: Mapping[str, str]) -> Callable[[str], None]:
    def check(text: str) -> None:
        if text not in known:
            raise ValueError(f"takes one of {', '.join(known)}, not {text!r}")

    return check


class Surroundings(FaultyDevice):
    """What has no port of its own: sensors, weather, water. Its pty carries nothing; its control socket does."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "return_sensor": Fault("the return sensor: missing, crc, zeros, 85, 0, stuck, open", "missing",
                               _one_of(onewire.FAULTS), once=False),
        "outlet_sensor": Fault("the outlet sensor, alike", "missing", _one_of(onewire.FAULTS), once=False),
        "weather": Fault("the weather server: 500, hang, garbage, stale, dashes …", "500", _one_of(weather.FAULTS),
                         once=False),
    }  # fmt: skip
    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "outside": "outside temperature from now on, degC",
        "water": "fill the loop with water of this temperature, degC",
        "world_speed": "simulated seconds of the plant in each second",
    }

    def __init__(self, plant: SimulatedSite) -> None:
        super().__init__()
        self._plant = plant

    def take(self, data: bytes, now: float) -> None:
        """Nobody speaks here."""

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See the base."""
        if name == "weather":
            self._plant.station.fault = argument
        else:
            self._plant.folder.sensors[SENSORS[name.removesuffix("_sensor")]].fault = argument

    def change(self, key: str, value: str) -> None:
        """See the base."""
        world = self._plant.world
        with world.lock:
            if key == "outside":
                world.climate = Steady(number(value, -60, 60), 2.0)
                world.outside_temp = float(value)
            elif key == "water":
                world.fill(number(value, -20, 120))
            else:
                world.speed = number(value, 0, 100_000)

    def state(self) -> Info:
        """The truth."""
        world = self._plant.world
        with world.lock:
            world.advance(time.monotonic())
            return {
                "return_temp": world.return_temp, "water_out_temp": world.water_out_temp,
                "outside_temp": world.outside_temp, "building_temp": world.building_temp,
                "winter_open": world.winter_open, "summer_open": world.summer_open,
                "violations": float(world.ledger.violation_count),
                "violation": world.violations[0][1] if world.violations else "none",
                "on": ",".join(name for name, on in world.relays.items() if on) or "none",
            }  # fmt: skip


class SimulatedSite:
    """Everything in `folder`: the ports `boiler`, `relays` and `surroundings`, the sensors below `w1`.

    `rockit fault FOLDER/relays`, `FOLDER/boiler` and `FOLDER/surroundings` switch what can go wrong. A context manager.
    """

    def __init__(self, folder: str | Path, *, speed: float = 1.0, options: Mapping[str, Any] | None = None) -> None:
        """`options` are those of `World`. Raises ValueError for what cannot be."""
        self.path = Path(folder)
        name = f"site at {self.path.resolve()}"
        self.world = shared(name, time.monotonic(), speed=speed, **(options or {}))
        switched = ",".join(f"{relay}:{RELAYS[relay]}" for relay in _SWITCHED)
        self.board = Numato(world=name, relays=switched)
        self.boiler = Lochinvar(world=name, now=time.monotonic())
        places = {"return": lambda: self._now("return_temp"), "outlet": lambda: self._now("water_out_temp")}
        self.folder = onewire.Folder(self.path / "w1", {SENSORS[place]: ask for place, ask in places.items()}, 0.2)
        self.station = weather.Station(self._weather)
        self.server = weather.WeatherServer(self.station)
        devices = {"boiler": self.boiler, "relays": self.board, "surroundings": Surroundings(self)}
        self.ports = {name: PtyServer(device, self.path / name) for name, device in devices.items()}
        self._threads: list[threading.Thread] = []

    def _now(self, key: str) -> float:
        with self.world.lock:
            self.world.advance(time.monotonic())
            return float(getattr(self.world, key))

    def _weather(self) -> tuple[float, float]:
        return self._now("outside_temp"), self._now("wind_speed")

    def config(self) -> dict[str, Any]:
        """The keys of a boilerd config that lead here."""
        return {
            "modbus_port": str(self.path / "boiler"), "relay_port": str(self.path / "relays"), "relays": dict(RELAYS),
            "sensors": dict(SENSORS), "sensor_root": str(self.path / "w1"),
            "weather": {"driver": "open-meteo", "url": self.server.url(weather.JSON)},
        }  # fmt: skip

    def __enter__(self) -> SimulatedSite:
        self.path.mkdir(parents=True, exist_ok=True)
        for server in self.ports.values():
            server.start()
            thread = threading.Thread(target=server.run, name=f"simulated {server.link.name}")
            thread.start()
            self._threads.append(thread)
        self.folder.__enter__()
        self.server.__enter__()
        return self

    def __exit__(self, *reason: object) -> None:
        self.server.__exit__(None, None, None)
        self.folder.__exit__(None, None, None)
        for server in self.ports.values():
            server.stop()
        for thread in self._threads:
            thread.join()
        for server in self.ports.values():
            server.close()


def serve_site(folder: str | Path, speed: float, options: Mapping[str, Any], ready: Callable[[str], None]) -> None:
    """Serve a plant in `folder` until a signal; `ready` is told the config that leads there. Main thread only.

    Raises ValueError for options that cannot be, SimulatorError where it cannot start.
    """
    import signal

    ends = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    with SimulatedSite(folder, speed=speed, options=options) as site:
        (site.path / "boiler.json").write_text(json.dumps(site.config(), indent=2) + "\n")
        ready(str(site.path / "boiler.json"))
        signal.sigwait(ends)
