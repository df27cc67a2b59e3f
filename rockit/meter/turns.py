# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is on a bus of many units. Pure: the time comes in, seconds of any steady clock.

A unit that does not answer is asked less and less often, so that it costs its time-out only now and then; and after a
lost answer a unit that is known to answer goes first, so that no two dead ones stand in a row before a live one.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

U = TypeVar("U", bound=Hashable)


@dataclass
class _Unit:
    due: float
    failures: int = 0
    answers: bool = False
    """Whether its last turn, if it had one, was answered."""


class Turns(Generic[U]):
    """Which of `units` is asked next. Each wants its turn every `period` seconds.

    After a failure a unit waits `first` seconds for its next turn, after each further one twice as long, at most
    `longest`. A good answer gives it its period back.
    """

    def __init__(
        self, units: Iterable[U], period: float, now: float, *, first: float = 5.0, longest: float = 60.0
    ) -> None:
        if not (period >= 0 and 0 < first <= longest):
            raise ValueError(f"not usable: a period of {period} s and waits of {first} to {longest} s")
        self._units = {unit: _Unit(now) for unit in units}
        self._period, self._first, self._longest = period, first, longest
        self._lost = False

    def next(self, now: float) -> U | None:
        """The unit whose turn it is; None: nobody's before `wait` seconds have passed.

        The one that has been due for longest; of equals, the first in the config.
        """
        due = [unit for unit, entry in self._units.items() if entry.due <= now]
        if self._lost:
            due = [unit for unit in due if self._units[unit].answers] or due
        return min(due, key=lambda unit: self._units[unit].due, default=None)

    def wait(self, now: float) -> float | None:
        """Seconds until somebody's turn comes, 0 where it is; None where there are no units."""
        dues = [entry.due for entry in self._units.values()]
        return max(0.0, min(dues) - now) if dues else None

    def answered(self, unit: U, now: float) -> None:
        """`unit` had its turn, which ended at `now`, and answered. Turns that were missed are not made up for."""
        entry = self._units[unit]
        entry.due = max(entry.due + self._period, now) if not entry.failures else now + self._period
        entry.failures, entry.answers = 0, True
        self._lost = False

    def failed(self, unit: U, now: float) -> None:
        """`unit` had its turn, which ended at `now`, and gave no answer."""
        entry = self._units[unit]
        entry.due = now + self._back_off(entry.failures)
        entry.failures, entry.answers = entry.failures + 1, False
        self._lost = True

    def failures(self, unit: U) -> int:
        """Turns of `unit` that failed since it last answered."""
        return self._units[unit].failures

    def _back_off(self, failures: int) -> float:
        return float(min(self._first * 2 ** min(failures, 30), self._longest))
