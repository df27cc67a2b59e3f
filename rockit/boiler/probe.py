# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a temperature that was read without error can be true, judged by those before it. No I/O, no clock.

Sensors fail with values that look right. The DS18B20 says 85 °C after a power-on, and in a plant of this kind both
sensors once said 0 °C for hours, all of a sudden, from 15 °C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

SENTINELS = (0.0, 85.0)
"""What a broken sensor says, °C: believed only where the last good value was next to it."""


@dataclass(frozen=True)
class Limits:
    """What is plausible of one place. Temperatures in °C, times in s."""

    low: float = -55.0
    high: float = 125.0
    jump: float = 1.0
    """So far can a value always be from the one before, K."""
    rate: float = 0.5
    """So much faster than `jump` can it change, K/s."""
    settle: float = 60.0
    """A new level is believed when it has persisted so long. Rate counts for no longer than this either."""
    stuck_after: float = 3600.0
    """Exactly the same value for so long, while heat is moved, is a sensor that no longer measures. 0: never."""
    stuck_readings: int = 30
    """And in at least so many readings."""


@dataclass(frozen=True)
class Memory:
    """What a `Probe` keeps from one reading to the next. Times are of the caller's steady clock, s."""

    good: float | None = None
    """The last value that was believed."""
    time: float = 0.0
    """Of the last reading."""
    level: float | None = None
    """The last reading, where it may become a new level."""
    level_since: float = 0.0
    same: float | None = None
    same_for: float = 0.0
    """How long heat was moved and the reading was always `same`."""
    same_count: int = 0


class Probe:
    """The judge of one sensor."""

    def __init__(self, limits: Limits | None = None, memory: Memory | None = None) -> None:
        self.limits = limits or Limits()
        self.memory = memory or Memory()

    def judge(self, celsius: float, now: float, active: bool = False) -> tuple[float | None, str]:
        """The value and "", or None and the reason. `active`: heat is being moved, so that the value ought to change.

        The first reading is believed unless it is a sentinel. A sentinel is never believed for persisting.
        """
        if not math.isfinite(celsius) or not self.limits.low <= celsius <= self.limits.high:
            self.memory = replace(self.memory, time=now, level=None)
            return None, f"{celsius:g} °C cannot be ({self.limits.low:g} to {self.limits.high:g})"
        memory = self._counted(celsius, now, active)
        reason = self._doubt(celsius, now, memory)
        if self._is_stuck(memory):
            reason = reason or (
                f"exactly {celsius:g} °C for {memory.same_for / 60:.0f} min of heating or cooling: it is stuck"
            )
        if not reason:
            self.memory = Memory(celsius, now, None, now, memory.same, memory.same_for, memory.same_count)
            return celsius, ""
        level, since = (None, now) if celsius in SENTINELS else (celsius, now)
        if level is not None and memory.level is not None and self._near(celsius, memory.level, now - memory.time):
            since = memory.level_since
        self.memory = replace(memory, time=now, level=level, level_since=since)
        return None, reason

    def _doubt(self, celsius: float, now: float, memory: Memory) -> str:
        """Why a possible value is not believed after those before; "" when it is."""
        good = memory.good
        if celsius in SENTINELS:
            if good is not None and abs(celsius - good) <= self.limits.jump:
                return ""
            before = "no other value came before" if good is None else f"it was {good:g} °C"
            return f"exactly {celsius:g} °C, as a broken or restarted sensor says, and {before}"
        if good is None or self._near(celsius, good, now - memory.time):
            return ""
        lasts = memory.level is not None and self._near(celsius, memory.level, now - memory.time)
        if lasts and now - memory.level_since >= self.limits.settle:
            return ""
        return f"from {good:g} to {celsius:g} °C too fast; believed if it lasts {self.limits.settle:g} s"

    def _near(self, celsius: float, other: float, elapsed: float) -> bool:
        """Whether water can get from one to the other in that time."""
        elapsed = min(max(elapsed, 0.0), self.limits.settle)
        return abs(celsius - other) <= self.limits.jump + self.limits.rate * elapsed

    def _counted(self, celsius: float, now: float, active: bool) -> Memory:
        """The memory with this reading in the count of equal ones."""
        memory = self.memory
        if celsius != memory.same:
            return replace(memory, same=celsius, same_for=0.0, same_count=1)
        if not active:
            return memory
        elapsed = min(max(now - memory.time, 0.0), self.limits.settle)
        return replace(memory, same_for=memory.same_for + elapsed, same_count=memory.same_count + 1)

    def _is_stuck(self, memory: Memory) -> bool:
        limits = self.limits
        return 0 < limits.stuck_after <= memory.same_for and memory.same_count >= limits.stuck_readings
