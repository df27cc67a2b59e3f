# SPDX-License-Identifier: GPL-3.0-or-later
"""What a driver or the control can say is wrong, and how soon somebody must act. `alarms` makes alarms of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Priority(StrEnum):
    """How soon somebody must act. Compares by severity: `Priority.LOW < Priority.CRITICAL`."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low to 3 for critical."""
        return list(Priority).index(self)

    # str brings all four, in alphabetical order, so that each has to be replaced.
    def __lt__(self, other: str) -> bool:
        return self.rank < Priority(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= Priority(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > Priority(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= Priority(other).rank


@dataclass(frozen=True)
class Condition:
    """What a driver or the control says is the case now.

    `latched`: the alarm stays until it is acknowledged, also after it has gone. `delay`: s that the condition must
    last before it is an alarm. `logged` is False where the cause writes its own log line already.
    """

    text: str
    priority: Priority = Priority.MEDIUM
    latched: bool = False
    delay: float = 0
    logged: bool = True

    def __post_init__(self) -> None:
        if not self.delay >= 0:
            raise ValueError(f"the delay of an alarm must be 0 s or more, not {self.delay}")
