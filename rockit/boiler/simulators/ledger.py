# SPDX-License-Identifier: GPL-3.0-or-later
"""What a rehearsal wants to know of a simulated plant afterwards: moves, starts, short cycles, mistakes and comfort."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

MOVES, VIOLATIONS = 20_000, 1_000
"""How many are kept; all are counted."""
_ENERGISED, _OPEN, _BOILER, _CHILLER = 1, 2, 4, 8


class Duty:
    """What one relay did. Times in s of simulated time; the shortest are None until there is one from end to end."""

    def __init__(self) -> None:
        self.on = False
        self.since: float | None = None
        """When it moved last; None: it has not."""
        self.starts = 0
        self.on_seconds = 0.0
        """Of the runs that have ended."""
        self.shortest_on: float | None = None
        self.shortest_off: float | None = None

    def move(self, time: float, on: bool) -> None:
        """It goes on or off, and was the other before."""
        lasted = None if self.since is None else time - self.since
        self.on, self.since = on, time
        if on:
            self.starts += 1
            if lasted is not None:
                self.shortest_off = lasted if self.shortest_off is None else min(lasted, self.shortest_off)
        elif lasted is not None:
            self.on_seconds += lasted
            self.shortest_on = lasted if self.shortest_on is None else min(lasted, self.shortest_on)

    def ran(self, time: float) -> float:
        """How long it has been on until `time`, s."""
        return self.on_seconds + (time - self.since if self.on and self.since is not None else 0.0)


class Comfort:
    """How well the return water kept to the set point that was noted. K, s and °C."""

    def __init__(self) -> None:
        self.setpoint: float | None = None
        self.seconds = self.within_2 = self.within_5 = 0.0
        """While there was a set point; and of these, how long the water was within 2 K and 5 K of it."""
        self.worst_low = self.worst_high = 0.0
        """The farthest that the water was below (0 or less) and above (0 or more) the set point."""
        self.frost_seconds = 0.0
        """With the water of the loop below 2 °C, set point or not."""

    def add(self, dt: float, celsius: float) -> None:
        """The return water was at `celsius` for `dt` s."""
        if self.setpoint is None:
            return
        off = celsius - self.setpoint
        self.seconds += dt
        if -5.0 <= off <= 5.0:
            self.within_5 += dt
            if -2.0 <= off <= 2.0:
                self.within_2 += dt
        if off < self.worst_low:
            self.worst_low = off
        elif off > self.worst_high:
            self.worst_high = off


class Ledger:
    """The book of one plant."""

    def __init__(self) -> None:
        self.moves: deque[tuple[float, str, bool]] = deque(maxlen=MOVES)
        """The last moves of sources and valves: simulated time, name, on."""
        self.duties: dict[str, Duty] = {}
        self.violations: list[tuple[float, str]] = []
        """The first mistakes: simulated time and what. One that goes on stands here once, from its beginning."""
        self.violation_count = 0
        self.violation_seconds = 0.0
        """How long there was some mistake."""
        self.wrong = 0
        """What is wrong now, as bits; 0: nothing."""
        self.comfort = Comfort()

    def move(self, time: float, name: str, on: bool) -> None:
        """A relay that was in the other position has moved."""
        self.moves.append((time, name, on))
        self.duties.setdefault(name, Duty()).move(time, on)

    def judge(
        self, time: float, relays: Mapping[str, bool], chillers: Sequence[str], winter: float, summer: float
    ) -> None:
        """Look for what must never be. `chillers`: which are on; `winter`, `summer`: how far the valves are open."""
        wrong = 0
        if relays.get("winter_valve") and relays.get("summer_valve"):
            wrong |= _ENERGISED
        if winter > 0.0 and summer > 0.0:
            wrong |= _OPEN
        if relays.get("boiler") and summer > 0.0:
            wrong |= _BOILER
        if chillers and winter > 0.0:
            wrong |= _CHILLER
        begun, self.wrong = wrong & ~self.wrong, wrong
        if not begun:
            return
        for bit, text in (
            (_ENERGISED, "both valves are energised"),
            (_OPEN, f"both valves are open: winter {winter:.0%}, summer {summer:.0%}"),
            (_BOILER, f"the boiler is on while the summer valve is {summer:.0%} open"),
            (_CHILLER, f"{', '.join(chillers)} on while the winter valve is {winter:.0%} open"),
        ):
            if begun & bit:
                self.violation_count += 1
                if len(self.violations) < VIOLATIONS:
                    self.violations.append((time, text))
