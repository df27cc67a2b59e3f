# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plant must know after a restart, on the disk: read at the start, saved by a thread of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

from rockit.boiler.config import BoilerConfig
from rockit.boiler.figures import Hour, Quarter
from rockit.boiler.memory import Memory, Request, Trend
from rockit.boiler.safety import Guard
from rockit.boiler.settings import BadSetting, Settings, changed, outward
from rockit.common.conditions import Condition, Priority
from rockit.common.log import Log
from rockit.common.moments import moved
from rockit.common.state import Keeper, StateFile

LOST = Condition(
    "season, overrides and settings could not be read at the start, which took what the valves and the config say; "
    "see the log", Priority.HIGH, latched=True,
)  # fmt: skip
NOT_SAVED = Condition(
    "season, overrides, settings and timers cannot be saved and will be forgotten at a restart; see the log",
    Priority.HIGH,
)  # fmt: skip
CLOCK_STEP = 1.0
"""A change of the wall clock against the monotonic one that is worth a new state file, s."""
EVERY = 60.0
"""What moves all the time, as hours of operation do, is saved so often, s."""


@dataclass
class Changed:
    """A setting that was changed at run time, and what the config said then; both as people see them."""

    value: Any
    start: Any


@dataclass
class Saved:
    """What survives a restart. Moments are UTC seconds here, monotonic seconds everywhere else."""

    request: Request = field(default_factory=Request)
    memory: Memory = field(default_factory=Memory)
    guard: Guard = field(default_factory=Guard)
    settings: dict[str, Changed] = field(default_factory=dict)
    outside: dict[int, Hour] = field(default_factory=dict)
    quarters: dict[int, Quarter] = field(default_factory=dict)


class KeptState:
    """The state file of one plant."""

    def __init__(self, file: StateFile[Saved], log: Log) -> None:
        self._file = file
        self._log = log
        self._keeper = Keeper(
            file, lambda problem: log.error(f"the state of the plant cannot be saved: {problem}; it is kept in memory")
        )
        self._worth: tuple[object, ...] | None = None
        self._to_utc = 0.0
        self._saved_at = -EVERY

    def load(self) -> tuple[Saved, dict[str, Condition]]:
        """What was saved last, or the defaults, with the alarms that come of it."""
        saved = self._file.load()
        lost: dict[str, Condition] = {}
        if self._file.problem:
            self._log.error(f"{self._file.problem}; the plant starts from what its valves and its config say")
            lost = {"state_lost": LOST}
        saved = saved or Saved()
        now = time.monotonic()
        by = now - time.time()
        saved.memory = replace(moved(saved.memory, by, now), trend=Trend())
        saved.guard = moved(saved.guard, by, now)
        # Whoever has just started has asked nobody yet: what was known is not lost from then on, but from now on.
        saved.memory = replace(saved.memory, return_known_at=None)
        # Nobody has read the relays since: how long they have been on is not known, only that they were.
        devices = {name: replace(one, read_at=None) for name, one in saved.memory.devices.items()}
        saved.memory = replace(saved.memory, devices=devices)
        return saved, lost

    def save(self, saved: Saved) -> None:
        """Never waits: a disk that fails or hangs stops no plant. Writes what is worth it."""
        now = time.monotonic()
        to_utc = time.time() - now
        worth = _worth(saved)
        # A clock that was stepped makes the moments in the file wrong: after a restart a protection would end early.
        stepped = abs(to_utc - self._to_utc) >= CLOCK_STEP
        if worth == self._worth and not stepped and now - self._saved_at < EVERY and not self._keeper.failing:
            return
        self._worth, self._to_utc, self._saved_at = worth, to_utc, now
        latest = float("inf")
        self._keeper.put(
            Saved(
                saved.request, moved(saved.memory, to_utc, latest), moved(saved.guard, to_utc, latest),
                dict(saved.settings),
                {number: replace(hour) for number, hour in saved.outside.items()},
                {number: replace(quarter) for number, quarter in saved.quarters.items()},
            )
        )  # fmt: skip

    def saved(self, within: float) -> bool:
        """Whether all that was given is on the disk; waits `within` s for that."""
        return self._keeper.saved(within)

    def alarms(self) -> dict[str, Condition]:
        """What is wrong with the disk."""
        return {"state_not_saved": NOT_SAVED} if self._keeper.troubled else {}


def settings_in_force(config: BoilerConfig, saved: Saved, log: Log) -> Settings:
    """The config's settings, with what was changed since where the config still says what it said then.

    What cannot be any more is told, and forgotten.
    """
    start = config.start_settings()
    for name, change in list(saved.settings.items()):
        says = outward(name, getattr(start, name), config.scale) if hasattr(start, name) else None
        if says != change.start:
            log.warning(f"{name} is {says}, as the config says anew, and not {change.value} any more")
            del saved.settings[name]
    while saved.settings:
        try:  # together: each alone may not go with what the config says of the others
            return changed(start, {name: change.value for name, change in saved.settings.items()}, config.scale)
        except BadSetting as error:
            name, change = saved.settings.popitem()
            log.warning(f"the setting {name} = {change.value} is forgotten: {error}")
    return start


def _worth(saved: Saved) -> tuple[object, ...]:
    """What is worth a write at once when it changes."""
    memory, guard = saved.memory, saved.guard
    devices = tuple((name, one.on, one.changed_at, one.starts) for name, one in memory.devices.items())
    return (
        saved.request, memory.season, devices, memory.heating, memory.frost, memory.frost_at,
        memory.blind_at, guard.contacts, guard.emergency, guard.acknowledged, guard.failures,
        tuple((name, one.value) for name, one in saved.settings.items()),
    )  # fmt: skip
