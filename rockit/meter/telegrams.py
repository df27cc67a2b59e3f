# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a meter is heard: how often it speaks, how much of it comes damaged, how often it was off. No clock."""

from __future__ import annotations

from collections import deque
from statistics import median

RECENT = 100
POOR, GOOD = 20, 10
"""Of the recent telegrams so many are damaged where the signal is poor, until there are fewer than the other."""
INTERVALS = 15


class Telegrams:
    """Of one meter. One thread tells, others read."""

    def __init__(self) -> None:
        self.restarts = 0
        """So often its own seconds of operation began anew."""
        self.missed = 0
        """So many telegrams it must have sent, by its own seconds, and nobody heard."""
        self.period: float | None = None
        """From one telegram to the next, s; None while that is not known."""
        self._at: float | None = None
        self._seconds: int | None = None
        self._intervals: deque[float] = deque(maxlen=INTERVALS)
        self._steps: deque[int] = deque(maxlen=INTERVALS)
        self._outcomes: deque[bool] = deque(maxlen=RECENT)
        self._poor = False

    def heard(self, at: float, seconds: int | None) -> None:
        """A good one, at a moment (monotonic s), with the meter's own seconds."""
        self._outcomes.append(True)
        if self._at is not None and at > self._at:
            self._intervals.append(at - self._at)
            self.period = round(median(self._intervals), 2)
        self._at = at
        if seconds is None:
            return
        if self._seconds is not None:
            passed = seconds - self._seconds
            if passed < 0:
                self.restarts += 1
                self._steps.clear()
            elif passed > 0:
                usual = median(self._steps) if len(self._steps) >= 5 else None
                if usual is not None and passed > 1.5 * usual:
                    self.missed += round(passed / usual) - 1
                else:
                    self._steps.append(passed)
        self._seconds = seconds

    def damaged(self, count: int) -> None:
        """So many that were not believed."""
        self._outcomes.extend([False] * min(count, RECENT))

    def poor(self) -> str:
        """How many of the recent telegrams came damaged, where that is too many; else empty."""
        bad = self._outcomes.count(False)
        self._poor = bad >= (GOOD if self._poor else POOR)
        return f"{bad} of the last {len(self._outcomes)} telegrams" if self._poor else ""
