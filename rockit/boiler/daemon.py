# SPDX-License-Identifier: GPL-3.0-or-later
"""boilerd: puts a plant's parts together: a loop for the relays that decides, one for the boiler, inputs beside."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn

from rockit.boiler import simulators
from rockit.boiler.burner import Burner
from rockit.boiler.config import KIND, BoilerConfig
from rockit.boiler.drivers import BOARDS, BOILERS, BoilerDriver, RelayBoard, load
from rockit.boiler.inputs import PlantInputs
from rockit.boiler.kept import Saved
from rockit.boiler.service import BoilerService, measured
from rockit.boiler.unit import PlantUnit
from rockit.common import daemon
from rockit.common.alarms import Transition
from rockit.common.beats import Beats
from rockit.common.device import Alarms
from rockit.common.poll import Poller
from rockit.common.state import StateFile
from rockit.common.transport.line import Line
from rockit.common.transport.modbus import ModbusBus
from rockit.common.transport.settings import LineSettings
from rockit.history.settings import history

ALWAYS_COUNTED = (
    "polls", "polls_failed", "requests", "answers", "timeouts", "late", "doubled", "foreign", "checksum", "truncated",
    "malformed", "garbage", "implausible", "port_lost", "connections_lost", "commands", "refused", "relay_orders",
    "relay_not_followed", "demands", "internal_errors",
)  # fmt: skip
"""Counters that are shown even when nothing was counted yet: a zero is news, too."""


class BoilerDaemon:
    """One plant with its ports, drivers, inputs, query loops and remote object."""

    def __init__(self, config: BoilerConfig, context: daemon.Context, counters: Callable[[], dict[str, int]]) -> None:
        simulators.register_all()
        log = context.log
        beats = Beats(context.beat)
        self._daemon_counters = counters
        self._sources: list[Callable[[], Mapping[str, int]]] = []
        plant_beat = beats.new()
        port, board = _board(config, context, plant_beat, log.warning)
        self._sources.append(lambda: port.counters)
        self._burner: Burner | None = None
        self._pollers: list[Poller] = []
        alarms = self._alarms = Alarms(context.state, log, tell=self._alarm)
        self._inputs = PlantInputs(config, context.stop, log, self._moving)
        if config.modbus_port is not None:
            self._pollers.append(self._boiler(config, context, beats.new()))
        keys = measured(self._inputs, self._burner, config.site())
        record = self._record = history(config, context.state, keys, log)
        state = StateFile(context.state / "boiler.json", Saved)
        self._unit = PlantUnit(config, port, board, self._burner, self._inputs, alarms, state, log, record)
        name = f"{config.relay_driver} relays on {config.relay_port}"
        plant = Poller(
            self._unit, name, config.query_delay, context.stop, log, plant_beat,
            partial(alarms.update, "line"), self._polled,
        )  # fmt: skip
        self._pollers.append(plant)
        self._sources += [lambda: self._unit.counters, self._inputs.counters, lambda: record.counters]
        self._sources += [lambda poller=poller: poller.counters for poller in self._pollers]  # type: ignore[misc]
        self.service = BoilerService(
            config, context.config_name, self._unit, self._burner, self._inputs, plant, alarms, self.counters, log,
            record,
        )  # fmt: skip

    def _boiler(self, config: BoilerConfig, context: daemon.Context, beat: Callable[[], None]) -> Poller:
        counted: Counter[str] = Counter()
        port, driver = _boiler(config, context, beat, context.log.warning)
        period = min(config.query_delay, driver.refresh * 0.8)
        self._burner = Burner(port, driver, period, context.log, counted, leave=config.safe_state == "keep")
        self._sources += [lambda: port.counters, lambda: counted]
        name = f"{config.boiler_driver} on {config.modbus_port}"

        def tell(conditions: Mapping[str, Any]) -> None:
            self._alarms.update("boiler line", {f"boiler_{key}": value for key, value in conditions.items()})

        return Poller(self._burner, name, period, context.stop, context.log, beat, tell)

    def _moving(self) -> bool:
        return self._unit.moving()

    def counters(self) -> dict[str, int]:
        """All counters of this daemon, since its start: of all its ports together."""
        found: Counter[str] = Counter(dict.fromkeys(ALWAYS_COUNTED, 0))
        for source in self._sources:
            found.update(dict(source()))
        return {**found, **self._daemon_counters()}

    def start(self) -> None:
        """Begin to read the inputs and to poll."""
        self._record.start()
        self._inputs.start()
        for poller in self._pollers:
            poller.start()

    def unsaved(self) -> str:
        """Whether the disk has taken season, overrides, settings and timers."""
        return "" if self._unit.saved(1.0) else "the state of the plant is not saved, and would be forgotten"

    def end(self, deadline: float, *, leave: bool) -> bool:
        """Stop polling, and switch the sources off as configured, or `leave` all as it is."""
        # Together: a relay board that hangs must not take the time in which the boiler can be told.
        clean: list[bool] = []
        ends = [
            threading.Thread(target=lambda poller=poller: clean.append(poller.end(deadline, leave=leave)), daemon=True)
            for poller in self._pollers
        ]
        for end in ends:
            end.start()
        for end in ends:
            end.join(max(0.0, deadline + 0.3 - time.monotonic()))
        for keeper in (self._unit, self._alarms):
            keeper.saved(max(0.1, deadline - time.monotonic()))
        self._record.end(max(deadline, time.monotonic() + 0.3))
        return len(clean) == len(ends) and all(clean)

    def _polled(self) -> None:
        """After each poll of the relays, in its loop: what is known goes into the history."""
        self._unit.polled()
        now = time.monotonic()
        samples = dict(self._inputs.samples(now))
        if self._burner is not None:
            known = self._burner.samples(now)
            samples |= {key: known[key] for key in self._burner.measures if key in known}
        for key, sample in samples.items():
            if sample.value is not None:
                self._record.add({key: sample.value}, sample.time)
        made = {key: value for key, value in self.service.values(now).items() if key not in samples}
        self._record.add(made, now)
        self._record.states(self.service.states())
        self._record.commit()
        self._alarms.update("history", self._record.conditions())

    def _alarm(self, change: Transition) -> None:
        self._record.event("alarm", change.name, str(change.state), change.text, change.by)


def _boiler(
    config: BoilerConfig, context: daemon.Context, beat: Callable[[], None], note: Callable[[str], None]
) -> tuple[Any, BoilerDriver]:
    """The boiler's port and driver."""
    family = load(config.boiler_driver, BOILERS)
    where = str(config.modbus_port)
    settings = family.line_settings.overridden(
        baud=config.modbus_baud, bytesize=config.serial_bytesize, parity=config.serial_parity,
        stopbits=config.serial_stopbits, timeout=config.serial_timeout,
    )  # fmt: skip
    options = config.boiler_options()
    if family.modbus:
        bus = ModbusBus(where, settings, context.stop, note, beat=beat)
        return bus, family(bus, config.modbus_unit, **options)
    return _on_line(family, where, settings, context, beat, note, **options)


def _board(
    config: BoilerConfig, context: daemon.Context, beat: Callable[[], None], note: Callable[[str], None]
) -> tuple[Any, RelayBoard]:
    """The relay board's port and driver."""
    family = load(config.relay_driver, BOARDS)
    settings = family.line_settings.overridden(
        baud=config.relay_baud, bytesize=config.relay_bytesize, parity=config.relay_parity,
        stopbits=config.relay_stopbits,
    )  # fmt: skip
    extra = {} if config.relay_count is None else {"count": config.relay_count}
    if family.modbus:
        bus = ModbusBus(config.relay_port, settings, context.stop, note, beat=beat)
        return bus, family(bus, config.relay_unit, **extra)
    return _on_line(family, config.relay_port, settings, context, beat, note, **extra)


def _on_line(
    family: Any, where: str, settings: LineSettings, context: daemon.Context, beat: Callable[[], None],
    note: Callable[[str], None], **extra: Any,
) -> tuple[Any, Any]:  # fmt: skip
    line: Line[Any] = Line(
        where, settings, family.decoder, context.stop, note, synchronise=family.synchronise, beat=beat
    )
    return line, family(line, **extra)


def main() -> NoReturn:
    """Entry point of `boilerd`."""
    daemon.main(KIND, BoilerConfig, BoilerDaemon)
