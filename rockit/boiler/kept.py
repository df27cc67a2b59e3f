# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plant must know after a restart, on the disk: read at the start, saved by a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rockit.boiler.config import BoilerConfig
from rockit.boiler.figures import Hour, Quarter
from rockit.boiler.memory import Memory, Request, Trend
from rockit.boiler.model import SOURCES, VALVES
from rockit.boiler.safety import Guard
from rockit.boiler.settings import FIELDS, BadSetting, Settings, changed, outward
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
    relays: dict[str, int] = field(default_factory=dict)
    """Which relay was what."""


def for_the_disk(saved: Saved, to_utc: float) -> Saved:
    """A copy with moments in UTC; `to_utc`: what to add to the clock of the daemon, s."""
    latest = float("inf")
    return Saved(
        saved.request, moved(saved.memory, to_utc, latest), moved(saved.guard, to_utc, latest), dict(saved.settings),
        {number: replace(hour) for number, hour in saved.outside.items()},
        {number: replace(quarter) for number, quarter in saved.quarters.items()},
        dict(saved.relays),
    )  # fmt: skip


def from_the_disk(saved: Saved, by: float, now: float) -> Saved:
    """What a start makes of it; `by` is what to add to UTC, `now` the daemon's clock, s."""
    memory = replace(moved(saved.memory, by, now), trend=Trend())
    # Whoever has just started has asked nobody yet: what was known is not lost from then on, but from now on. And
    # nobody has read the relays since: how long they have been on is not known, only that they were.
    devices = {name: replace(one, read_at=None) for name, one in memory.devices.items()}
    saved.memory = replace(memory, return_known_at=None, devices=devices)
    saved.guard = moved(saved.guard, by, now)
    return saved


def rewired(saved: Saved, relays: Mapping[str, int]) -> tuple[Saved, dict[int, str]]:
    """What still is true where the config now says `relays`, and the relays of sources and valves it names no more.

    What was known of a relay that has another number now is of another relay.
    """
    same = {name for name, number in relays.items() if saved.relays.get(name, number) == number}
    guard, memory = saved.guard, saved.memory
    saved.guard = replace(
        guard,
        contacts={name: contact for name, contact in guard.contacts.items() if name in same},
        orders={name: order for name, order in guard.orders.items() if name in same},
        failures={name: failed for name, failed in guard.failures.items() if name in same},
    )
    devices = {
        name: one if name in same or name not in relays else replace(one, on=None)
        for name, one in memory.devices.items()
    }
    saved.memory = replace(memory, devices=devices)
    used = set(relays.values())
    return saved, {
        number: name for name, number in saved.relays.items() if number not in used and name in (*SOURCES, *VALVES)
    }


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
        return from_the_disk(saved, now - time.time(), now), lost

    def save(self, saved: Saved) -> None:
        """Never waits: a disk that fails or hangs stops no plant. Writes what is worth it."""
        now = time.monotonic()
        to_utc = time.time() - now
        worth = _worth(saved)
        # A clock that was stepped makes the moments in the file wrong: after a restart a protection would end early.
        stepped = abs(to_utc - self._to_utc) >= CLOCK_STEP
        if worth == self._worth and not stepped and now - self._saved_at < EVERY and not self._keeper.failing:
            return
        self._keeper.put(for_the_disk(saved, to_utc))
        self._worth, self._to_utc, self._saved_at = worth, to_utc, now

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
        says = outward(name, getattr(start, name), config.scale) if name in FIELDS else None
        if says != change.start:
            log.warning(f"{name} is {says}, as the config says anew, and not {change.value} any more")
            del saved.settings[name]
    while saved.settings:
        given = {name: change.value for name, change in saved.settings.items()}
        try:  # together: each alone may not go with what the config says of the others
            return changed(start, given, config.scale)
        except BadSetting as error:
            name = next((name for name in given if _goes_without(name, given, start, config)), next(reversed(given)))
            log.warning(f"the setting {name} = {given[name]} is forgotten: {error}")
            del saved.settings[name]
    return start


def _goes_without(name: str, given: Mapping[str, Any], start: Settings, config: BoilerConfig) -> bool:
    """Whether the others of the settings go together."""
    try:
        changed(start, {other: value for other, value in given.items() if other != name}, config.scale)
    except BadSetting:
        return False
    return True


def _worth(saved: Saved) -> tuple[object, ...]:
    """What is worth a write at once when it changes."""
    memory, guard = saved.memory, saved.guard
    devices = tuple((name, one.on, one.changed_at, one.starts) for name, one in memory.devices.items())
    return (
        saved.request, memory.season, devices, memory.heating, memory.frost, memory.frost_at,
        memory.blind_at, guard.contacts, guard.emergency, guard.acknowledged, guard.failures,
        tuple((name, one.value) for name, one in saved.settings.items()), tuple(saved.relays.items()),
    )  # fmt: skip
