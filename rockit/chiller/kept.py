# SPDX-License-Identifier: GPL-3.0-or-later
"""Request and memory on the disk: read at the start, saved as they change by a thread of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from rockit.chiller.memory import Memory, Request
from rockit.chiller.model import MEASUREMENTS
from rockit.common.conditions import Condition, Priority
from rockit.common.device import Alarms
from rockit.common.log import Log
from rockit.common.moments import moved
from rockit.common.state import Keeper, StateFile

LOST = Condition(
    "mode and request could not be read at the start; the mode is automatic, see the log", Priority.HIGH, latched=True
)
NOT_SAVED = Condition(
    "mode, request and timers cannot be saved and will be forgotten at a restart; see the log", Priority.HIGH
)
CLOCK_STEP = 1.0
"""A change of the wall clock against the monotonic one that is worth a new state file, s."""


@dataclass
class Saved:
    """What survives a restart. Times in `memory` are UTC seconds here, monotonic seconds everywhere else."""

    request: Request = field(default_factory=Request)
    memory: Memory = field(default_factory=Memory)
    driver: str = ""


class KeptState:
    """The state file of one chiller."""

    def __init__(self, file: StateFile[Saved], driver: str, log: Log) -> None:
        """`driver` is the family that the state is about: an alarm of another one would never end here."""
        self._file = file
        self._driver = driver
        self._log = log
        self._keeper = Keeper(
            file, lambda problem: log.error(f"mode and request cannot be saved: {problem}; they are kept in memory")
        )
        self._worth: tuple[Request, Memory] | None = None
        self._to_utc = 0.0

    def load(self, limits: tuple[float, float], alarms: Alarms) -> tuple[Request, Memory]:
        """What was saved last, or the defaults; what cannot be or is outside of `limits` (°C) is told."""
        saved = self._file.load()
        if self._file.problem:
            self._log.error(f"{self._file.problem}; mode and request start from their defaults")
            for lost in ({"state_lost": LOST}, {}):  # it was, and is no more: latched until somebody has seen it
                alarms.update("start", lost)
        saved = saved or Saved()
        request, (low, high) = saved.request, limits
        if request.setpoint is not None and not MEASUREMENTS["setpoint_temp"].plausible(request.setpoint):
            self._log.error(f"the saved set point, {request.setpoint:g} °C, cannot be; it is forgotten")
            request = replace(request, setpoint=None)
        if request.setpoint is not None and not low <= request.setpoint <= high:
            self._log.warning(f"the saved set point, {request.setpoint:g} °C, is outside the limits, which hold")
        memory = moved(saved.memory, time.monotonic() - time.time(), time.monotonic()).restarted()
        if saved.driver not in ("", self._driver):
            self._log.warning(f"what was known of the {saved.driver} is forgotten; this is a {self._driver}")
            memory = memory.of_the_site()
        return request, memory

    def save(self, request: Request, memory: Memory) -> None:
        """Never waits: a disk that fails or hangs stops no chiller."""
        to_utc = time.time() - time.monotonic()
        worth = (request, _rounded(memory))
        # A clock that was stepped makes the times in the file wrong: after a restart a protection would end early.
        if worth == self._worth and abs(to_utc - self._to_utc) < CLOCK_STEP and not self._keeper.failing:
            return
        self._worth, self._to_utc = worth, to_utc
        self._keeper.put(Saved(request, moved(memory, to_utc, float("inf")), self._driver))

    def saved(self, within: float) -> bool:
        """Whether all that was given is on the disk; waits `within` s for that."""
        return self._keeper.saved(within)

    def alarms(self) -> dict[str, Condition]:
        """What is wrong with the disk."""
        return {"state_not_saved": NOT_SAVED} if self._keeper.troubled else {}


def _rounded(memory: Memory) -> Memory:
    """What is worth a write: of times that move with every poll the minute, and nothing of what a start forgets.

    So a quiet chiller writes to its disk once a minute.
    """

    def minute(time: float | None) -> float | None:
        return None if time is None else time // 60

    point = memory.setpoint
    return replace(
        memory, demand_on_at=minute(memory.demand_on_at), tripped_at=minute(memory.tripped_at),
        air=None, air_at=minute(memory.air_at), air_missing_at=None,
        setpoint=replace(point, ramp_at=minute(point.ramp_at), floor_at=minute(point.floor_at), missing_at=None),
    )  # fmt: skip
