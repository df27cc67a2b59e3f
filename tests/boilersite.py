# SPDX-License-Identifier: GPL-3.0-or-later
"""A boiler plant in a scratch folder: a simulated one in threads of the test, `./boilerd`, `./boiler`.

The plant outlives the daemon. Its heat passes in real time, so that its water stands still while nobody touches it,
and its valves are quick: what a test waits for are relays, not kettles.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness import ROOT, Process, Site, wait_for

from rockit.boiler.model import CHILLERS
from rockit.boiler.simulators.climate import Steady
from rockit.boiler.simulators.relaybank import Move
from rockit.boiler.simulators.site import RELAYS, SENSORS, SimulatedSite
from rockit.boiler.simulators.world import forget
from rockit.common.errors import CommandError, Unreachable
from rockit.common.registry import Daemon, Entry

VALVE_TIME = 1.0
"""What the daemon gives a valve, s; the simulated ones are a little quicker."""
QUICK = {
    "setpoint_min": 19, "setpoint_max": 20.5, "setpoint_offset_winter": 0, "setpoint_offset_summer": 0, "tolerance": 1,
    "valve_time": VALVE_TIME, "flow_through_time": 0, "boiler_minimum_on_time": 0, "boiler_minimum_off_time": 0,
    "chiller_minimum_on_time": 0, "chiller_minimum_off_time": 0,
}  # fmt: skip
"""Settings, in degC, by which nothing is switched with water of 20 °C."""
HURRIED = {
    "inputs.SHORTEST": 0.2, "sensors.SLOWEST": 0.6, "weather.SHORTEST": 0.3, "safety.OUT_FOR": 2.0,
    "safety.FOLLOW": 1.0,
    "safety.AGAIN": 0.5, "alarms.STARTING": 0.5,
}  # fmt: skip
"""Times that are constants of the program and too long for a test, shortened."""
LEAN: dict[str, Any] = {"modbus_port": None, "weather": None}
"""A plant of which only the relays and the sensors are connected."""
_HURRY = """import sys
from functools import partial
from importlib import import_module
from rockit.boiler import probe
probe.Limits = partial(probe.Limits, settle=0.4)
for name, value in {constants!r}.items():
    module, _, constant = name.partition(".")
    module = import_module("rockit.boiler." + module)
    assert hasattr(module, constant), name
    setattr(module, constant, value)
from rockit.boiler.daemon import main
main()
"""


class BoilerSite(Site):
    """A scratch registry whose `localhost_test` is a boiler daemon, and what runs with it."""

    def __init__(self, folder: Path, *, water: float = 20.0, outside: float = 20.0) -> None:
        super().__init__(folder)
        content = json.loads(self.registry.read_text())
        content["daemons"]["localhost_test"]["kind"] = "boiler"
        self.write_registry(content)
        self.config = folder / "boiler.json"
        self.state = folder / "state"
        self.environment["BOILERD_CONFIG_ROOT"] = str(folder / "etc")
        self.environment["BOILERD_CONFIG_PATH"] = str(self.config)
        options = {
            "water": water, "building": 20.0, "travel": 0.8 * VALVE_TIME, "delay": 1.0, "climate": Steady(outside, 2.0),
        }  # fmt: skip
        self.plant = SimulatedSite(folder / "plant", options=options)
        self.relays = folder / "plant" / "relays"
        self.boiler_link = folder / "plant" / "boiler"
        self.asking = self.client()
        self.sensors = {place: self.plant.folder.sensors[name] for place, name in SENSORS.items()}

    def write(self, settings: dict[str, Any] | None = None, **keys: Any) -> Path:
        """A quick config of this plant; keys that are None are left out."""
        content = {
            "daemon": "localhost_test", "log_name": "boilerd@test", "query_delay": 0.15,
            "state_directory": str(self.state), **self.plant.config(), "settings": {**QUICK, **(settings or {})},
            **keys,
        }  # fmt: skip
        self.config.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return self.config

    def stands(self, *names: str) -> None:
        """The board has these relays on already, before any daemon has begun."""
        now = time.monotonic()
        for name in names:
            self.plant.board.bank.switch(RELAYS[name], True, now)

    def step(self) -> dict[str, Any]:
        """Where the change of season is by what is on the disk: `season`, `step`, `step_at` (UTC s) and more."""
        return dict(self.kept().get("memory", {}).get("season", {}))

    def boilerd(self, *, wait: bool = True, hurried: bool = False, **constants: float) -> Process:
        """Start the daemon; with `wait`, until its first decision. `hurried`: with HURRIED instead of its own times."""
        script = str(ROOT / "boilerd")
        if hurried:
            file = self.folder / "hurried.py"
            file.write_text(_HURRY.format(constants={**HURRIED, **constants}))
            script = str(file)
        process = self.start("boilerd", script, str(self.config), PYTHONPATH=str(ROOT))
        if wait:

            def decided() -> bool:
                assert process.popen.poll() is None, process.lines()
                status = self.status()
                return status.get("connected", False) and "season_label" in status

            wait_for(decided, "a first decision")
        return process

    def settled(self, season: str = "WINTER") -> dict[str, Any]:
        """Wait for the end of a change of season; gives the status."""
        found: dict[str, Any] = wait_for(lambda: (s := self.status()).get("season_label") == season and s, season)
        return found

    def boiler(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `boiler …`."""
        return self.run(str(ROOT / "boiler"), *arguments, **environment)

    def status(self) -> dict[str, Any]:
        """The status by a remote call over one lasting connection; empty while the daemon cannot be reached."""
        try:
            return dict(self.asking.report_status())
        except (CommandError, Unreachable):
            return {}

    def command(self, method: str, *arguments: Any) -> tuple[int, str]:
        """A command by a remote call: its code and its sentence."""
        return self.asking.command(method, *arguments), self.asking.message

    def call(self, method: str, *arguments: Any) -> Any:
        """A question by a remote call."""
        return self.asking.call(method, *arguments)

    def device(self, name: str) -> dict[str, Any]:
        """One device of the status; empty while the daemon cannot be reached."""
        return dict(self.status().get("devices", {}).get(name, {}))

    def alarm(self, name: str) -> dict[str, Any]:
        """An alarm that is not normal; empty where it is."""
        return next((dict(one) for one in self.asking.alarms() if one["name"] == name), {})

    def alarms(self) -> list[str]:
        """Names of the active ones."""
        return list(self.status().get("alarms", []))

    def on(self) -> set[str]:
        """What is really switched on, lights apart."""
        return {name for name, on in dict(self.plant.world.relays).items() if on and not name.startswith("led")}

    def moves(self) -> list[Move]:
        """Every move of a contact of source or valve so far."""
        return [move for move in self.plant.board.moves if move.name and not move.name.startswith("led")]

    def water(self, celsius: float) -> None:
        """Fill the loop with other water."""
        world = self.plant.world
        with world.lock:
            world.fill(celsius)

    def daemon(self, name: str = "localhost_test") -> Daemon[Any]:
        """See `Site.daemon`."""
        entry = Entry(object_id=f"{name}_daemon", machine="LocalHost", port=self.ports[name], kind="boiler")
        return Daemon(name, entry, "127.0.0.1")

    def history(self, *keys: str) -> dict[str, Any]:
        """The history of the last hour: `series` and `events`."""
        return dict(self.asking.history(list(keys) or None, "1h"))

    def series(self, key: str) -> list[tuple[float, float]]:
        """Samples of a key in the last hour: UTC s and value."""
        try:
            found = self.history(key)["series"].get(key)
        except CommandError as error:
            if "is not recorded here" not in error.message:
                raise
            return []
        times = [] if found is None else [datetime.fromisoformat(time).timestamp() for time in found["time"]]
        return list(zip(times, found["value"], strict=True)) if found else []

    def kept(self) -> dict[str, Any]:
        """What is on the disk."""
        path = self.state / "boiler.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def never_wrong(self) -> None:
        """No relay and no valve was ever where it must not be, by the plant and by the board."""
        with self.plant.world.lock:
            assert self.plant.world.violations == []
        on: set[str] = set()
        for move in self.moves():
            (on.add if move.on else on.discard)(move.name)
            chillers = on & set(CHILLERS)
            assert not {"winter_valve", "summer_valve"} <= on, move
            assert "boiler" not in on or "winter_valve" in on, move
            assert not chillers or "summer_valve" in on, move
            assert not (chillers and "boiler" in on), move

    def valves_apart(self, valve_time: float) -> list[tuple[Move, float]]:
        """Each opening of a valve with the time since the other one was closed, s; none is shorter than it must be."""
        closed: dict[str, float] = {}
        found = []
        other = {"winter_valve": "summer_valve", "summer_valve": "winter_valve"}
        for move in self.moves():
            if move.name not in other:
                continue
            if not move.on:
                closed[move.name] = move.time
            elif other[move.name] in closed:
                found.append((move, move.time - closed[other[move.name]]))
        assert all(gap >= valve_time - 0.05 for _, gap in found), found
        return found


def said(process: Process, text: str) -> list[str]:
    """Lines of its log with `text`."""
    return [line for line in process.lines() if text in line]


def gaps(times: list[float]) -> list[float]:
    """Differences of neighbours."""
    return [second - first for first, second in pairwise(times)]


@contextmanager
def plant_in(folder: Path, **options: float) -> Iterator[BoilerSite]:
    """A plant whose processes end with it."""
    made = BoilerSite(folder, **options)
    try:
        with made.plant:
            made.write()
            try:
                yield made
            finally:
                made.asking.close()
                for process in reversed(made.processes):
                    process.stop()
    finally:
        forget(f"site at {made.plant.path.resolve()}")
