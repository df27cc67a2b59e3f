# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in a rehearsed year, at random and repeatable: how often, and for how long."""

from __future__ import annotations

from random import Random

HOUR = 3600.0
LASTING: dict[str, tuple[float, float]] = {
    "return": (12, 2 * HOUR),
    "outlet": (6, 2 * HOUR),
    "zeros": (6, 5 * HOUR),
    "weather": (12, 6 * HOUR),
    "modbus": (12, 3 * HOUR),
    "relays": (24, 0.2 * HOUR),
    "stuck": (12, 1.5 * HOUR),
    "override": (24, 6 * HOUR),
    "season": (6, 12 * HOUR),
}
"""Fault -> how often a year, and its mean duration, s. `zeros`: both sensors say exactly 0 °C, as they once did;
`stuck`: a relay stays where it is; `override`, `season`: somebody sets what they please, and gives it back."""
MOMENTS: dict[str, float] = {
    "crash": 60,
    "reset": 12,
    "operator": 60,
}
"""What happens in a moment -> how often a year. `crash`: the process; `reset`: the relay board, all its relays off;
`operator` acknowledges what there is."""
YEAR = 365 * 86400.0


class Faults:
    """The faults of one plant. `active` are those that last, `begun` and `ended` what did so in this step."""

    def __init__(self, random: Random, relays: tuple[str, ...], without: tuple[str, ...] = ()) -> None:
        """`without`: what never happens."""
        self._random = random
        self._relays = relays
        self._next = {name: self._wait(rate) for name, (rate, _) in LASTING.items()}
        self._next |= {name: self._wait(rate) for name, rate in MOMENTS.items()}
        self._next = {name: at for name, at in self._next.items() if name not in without}
        self._ends: dict[str, float] = {}
        self._due = min(self._next.values())
        self.active: set[str] = set()
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.stuck: str | None = None
        """The relay that does not move."""

    def pass_to(self, now: float) -> None:
        """`now` in s since the beginning."""
        self.begun, self.ended = [], []
        if now < self._due:
            return
        for name in [name for name, end in self._ends.items() if now >= end]:
            del self._ends[name]
            self.active.discard(name)
            self.ended.append(name)
            if name == "stuck":
                self.stuck = None
        for name, at in list(self._next.items()):
            if now < at:
                continue
            self.begun.append(name)
            rate = LASTING[name][0] if name in LASTING else MOMENTS[name]
            self._next[name] = now + self._wait(rate)
            if name in LASTING:
                self.active.add(name)
                self._ends[name] = now + self._random.expovariate(1 / LASTING[name][1])
                if name == "stuck":
                    self.stuck = self._random.choice(self._relays)
        self._due = min((*self._next.values(), *self._ends.values()))

    def _wait(self, rate: float) -> float:
        return self._random.expovariate(rate / YEAR)
