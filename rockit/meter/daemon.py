# SPDX-License-Identifier: GPL-3.0-or-later
"""meterd: puts the meters of a site together: a loop for each port, one history, one remote object."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import NoReturn

from rockit.common import daemon
from rockit.common.alarms import Transition
from rockit.common.beats import Beats
from rockit.common.conditions import Condition, Priority
from rockit.common.device import Alarms
from rockit.common.log import Log
from rockit.common.poll import SHORTEST, Poller
from rockit.common.quality import Measurement, Quality
from rockit.common.record import Record
from rockit.common.state import Keeper, StateFile
from rockit.history.settings import history
from rockit.meter.accounts import Accounts
from rockit.meter.config import KIND, MeterdConfig
from rockit.meter.kept import Kept, KeptMeter
from rockit.meter.model import Number, Register
from rockit.meter.names import UNIT_OF_NAME, measurement_of
from rockit.meter.ports import PortLoop, loops
from rockit.meter.service import MeterService
from rockit.meter.unit import MeterUnit

SAVE_EVERY = 10.0
"""What may be a little old is saved so often, s: counters go on from the meter's own reading anyway."""
ALWAYS_COUNTED = (
    "polls", "polls_failed", "requests", "answers", "timeouts", "checksum", "truncated", "malformed", "garbage",
    "lost_bytes", "implausible", "port_lost", "connections_lost", "commands", "internal_errors",
)  # fmt: skip
"""Counters that are shown even when nothing was counted yet: a zero is news, too."""


class Measured(Mapping[str, Measurement]):
    """What is measured: it grows when a meter tells something for the first time. Readers need no lock."""

    def __init__(self) -> None:
        self._known: dict[str, Measurement] = {}

    def put(self, key: str, measurement: Measurement) -> None:
        """Replace, so that nobody who is walking along it stumbles."""
        self._known = {**self._known, key: measurement}

    def __getitem__(self, key: str) -> Measurement:
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


class MeterRecord:
    """The history as a meter sees it. A history is one thread's, and each port has its own: so there is a lock, which
    is held for as long as it takes to note a few numbers.
    """

    def __init__(self, meter: str, record: Record, lock: threading.Lock) -> None:
        self._meter = meter
        self._record = record
        self._lock = lock

    def add(self, values: Mapping[str, Number], time: int, quality: Quality = Quality.GOOD) -> None:
        """See `Recording`."""
        with self._lock:
            self._record.add_at({f"{self._meter}.{name}": value for name, value in values.items()}, time, quality)
            self._record.commit()

    def event(self, name: str, value: str, detail: str) -> None:
        """See `Recording`."""
        self._record.event("meter", name, value, detail)


class MeterDaemon:
    """The meters with their ports, history and remote object."""

    def __init__(self, config: MeterdConfig, context: daemon.Context, counters: Callable[[], dict[str, int]]) -> None:
        log = context.log
        self._daemon_counters = counters
        self._measured = Measured()
        record = self._record = history(config, context.state, self._measured, log)
        alarms = self._alarms = Alarms(context.state, log, tell=self._alarm)
        self._recording = threading.Lock()
        file, copy = (StateFile(context.state / name, Kept) for name in ("meters.json", "meters-copy.json"))
        self._lost_state: dict[str, Condition] = {}
        self._kept = self._load(file, copy, log)
        self._keeper = Keeper(file, lambda problem: log.error(f"the meters' state cannot be saved: {problem}"))
        self._copier = Keeper(copy, lambda problem: log.error(f"the copy of the meters' state: {problem}"))
        self._saving = threading.Lock()
        self._saved_at = 0.0
        self._units = {name: self._unit(name, config, record) for name in config.meters}
        beats = Beats(context.beat)
        self._loops = loops(config, self._units, context, beats.new)
        self._pollers = [self._poller(loop, context) for loop in self._loops]
        self.service = MeterService(
            config, context.config_name, self._units, Accounts(config, record), alarms, self.counters, log, record,
            self._measured, self._keeper.saved, lambda name: self._lost_state.pop(name, None),
        )  # fmt: skip

    def _load(self, file: StateFile[Kept], copy: StateFile[Kept], log: Log) -> Kept:
        """Where the meters stood. The copy has all that ever happened to them, and may be a little older."""
        kept, other = file.load(), copy.load()
        problem = file.problem or ("" if kept or not other else f"{file.path} is not there any more")
        if problem:
            log.error(problem)
            text = f"{COPIED if other else LOST}: {problem}"
            self._lost_state["state_lost"] = Condition(text, Priority.HIGH, latched=True)
        return kept or other or Kept()

    def _unit(self, name: str, config: MeterdConfig, record: Record) -> MeterUnit:
        kept = self._kept.meters.setdefault(name, KeptMeter())

        def register(key: str, one: Register) -> None:
            known = measurement_of(key, one)
            self._measured.put(f"{name}.{key}", replace(known, label=f"{name}: {known.label}"))

        for key in ("power", f"{config.meters[name].direction}_energy"):  # as every meter has them
            if key not in config.meters[name].filtered:
                register(key, Register(None, UNIT_OF_NAME[key]))
        for key, known in kept.registers.items():
            register(key, Register(None, known.unit, known.label, known.counter))
        recording = MeterRecord(name, record, self._recording)
        return MeterUnit(
            name, config.meters[name], kept, recording, self._changed, register, query_delay=config.query_delay
        )

    def _poller(self, loop: PortLoop, context: daemon.Context) -> Poller:

        def tell(conditions: Mapping[str, Condition]) -> None:
            named = {f"{loop.first}_{name}": condition for name, condition in conditions.items()}
            self._alarms.update(f"line {loop.first}", named)

        return Poller(
            loop.task, loop.name, loop.period, context.stop, context.log, loop.beat, tell, self._polled,
            shortest=SHORTEST if loop.period else 0.0,
        )  # fmt: skip

    def _changed(self, soon: bool) -> None:
        """What must survive has changed."""
        now = time.monotonic()
        with self._saving:
            if not soon and now - self._saved_at < SAVE_EVERY:
                return
            self._saved_at = now
            self._save(soon=soon)

    def _save(self, *, soon: bool = True) -> None:
        """The caller holds `_saving`: no older copy may follow a newer one."""
        copy = Kept()
        for name, unit in self._units.items():
            with unit.lock:
                copy.meters[name] = deepcopy(unit.kept)
        # A meter that is left out of the config for a while is not forgotten.
        gone = {name: kept for name, kept in self._kept.meters.items() if name not in copy.meters}
        copy.meters |= gone
        self._keeper.put(copy)
        if soon:
            self._copier.put(copy)

    def _polled(self) -> None:
        """After each poll of a port, in its loop's thread."""
        now = time.monotonic()
        with self._recording:
            self._record.states(self.service.states())
            self._record.commit()
        conditions = {name: one for unit in self._units.values() for name, one in unit.conditions(now).items()}
        self._alarms.update("meters", conditions)
        self._alarms.update("history", self._record.conditions())
        trouble = {"state_not_saved": NOT_SAVED} if self._keeper.troubled else {}
        self._alarms.update("state", self._lost_state | trouble)

    def _alarm(self, change: Transition) -> None:
        self._record.event("alarm", change.name, str(change.state), change.text, change.by)

    def counters(self) -> dict[str, int]:
        """All counters of this daemon, since its start: of all its ports together."""
        found = dict.fromkeys(ALWAYS_COUNTED, 0)
        sources = [*(loop.counters() for loop in self._loops), *(poller.counters for poller in self._pollers)]
        for source in (*sources, *(unit.counters for unit in self._units.values())):
            for name, count in dict(source).items():
                found[name] = found.get(name, 0) + count
        return {**found, **self._record.counters, **self._daemon_counters()}

    def start(self) -> None:
        """Begin to listen and to ask."""
        self._record.start()
        for poller in self._pollers:
            poller.start()

    def unsaved(self) -> str:
        """Whether the disk has taken where the meters stand."""
        with self._saving:
            self._save()
        return "" if self._keeper.saved(1.0) else "where the meters stand is not saved, and would be forgotten"

    def end(self, deadline: float, *, leave: bool) -> bool:
        """Stop listening."""
        ended = [poller.end(deadline, leave=leave) for poller in self._pollers]
        with self._saving:
            self._save()
        for keeper in (self._keeper, self._alarms):
            keeper.saved(max(0.1, deadline - time.monotonic()))
        self._record.end(max(deadline, time.monotonic() + 0.3))
        return all(ended)


LOST = "where counters were aligned, replaced or rolled over is not known any more, nor how many pulses were counted"
COPIED = "where the meters stand was read from the copy: pulses of the last moments may be missing"
NOT_SAVED = Condition("where the meters stand cannot be saved, see the log", Priority.MEDIUM)


def main() -> NoReturn:
    """Entry point of `meterd`."""
    daemon.main(KIND, MeterdConfig, MeterDaemon)
