# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits to be written: handed over in microseconds, taken by the thread that writes, bounded."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from rockit.history.model import Event

MOST_WAITING = 100_000
"""So many values and events wait at most; that takes about 20 MB."""
TOGETHER = 5_000
"""So many of those that waited are committed at once."""


@dataclass(slots=True)
class Poll:
    """What one poll brought."""

    values: list[tuple[str, int, float, int]] = field(default_factory=list)
    """Key, time in ms, value, quality."""
    events: list[Event] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.values) + len(self.events)


class Waiting:
    """Polls in their order. Any thread puts, one takes. The lock is held for moments."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._polls: deque[Poll] = deque()
        self._given = self._taken = 0
        self.size = 0
        """Values and events that wait."""
        self.ending = False

    def __len__(self) -> int:
        return len(self._polls)

    def put(self, poll: Poll) -> list[Poll]:
        """Hand a poll over; returns those that had to go for it, the oldest."""
        gone: list[Poll] = []
        with self._changed:
            self._polls.append(poll)
            self._given += 1
            self.size += len(poll)
            while self.size > MOST_WAITING and len(self._polls) > 1:
                gone.append(self._polls.popleft())
                self.size -= len(gone[-1])
                self._taken += 1
            self._changed.notify_all()
        return gone

    def oldest(self) -> list[Poll]:
        """The first ones, as many as are committed at once. They wait until they are `done`."""
        polls: list[Poll] = []
        size = 0
        with self._changed:
            for poll in self._polls:
                if polls and size + len(poll) > TOGETHER:
                    break
                polls.append(poll)
                size += len(poll)
        return polls

    def done(self, polls: list[Poll]) -> int:
        """These are written; returns how many values of them had gone meanwhile, as the oldest of too many."""
        gone = 0
        with self._changed:
            for poll in polls:
                if self._polls and self._polls[0] is poll:
                    self._polls.popleft()
                    self.size -= len(poll)
                    self._taken += 1
                else:
                    gone += len(poll)
            self._changed.notify_all()
        return gone

    def end(self) -> None:
        """No pause lasts any longer."""
        with self._changed:
            self.ending = True
            self._changed.notify_all()

    def pause(self, seconds: float, *, for_polls: bool) -> None:
        """Until the end, or until something waits if `for_polls`; for so long at most."""
        with self._changed:
            self._changed.wait_for(lambda: self.ending or (for_polls and bool(self._polls)), seconds)

    def written(self, within: float) -> bool:
        """Whether all that was put by now is written (or lost); waits `within` s for that."""
        with self._changed:
            wanted = self._given
            return self._changed.wait_for(lambda: self._taken >= wanted, within)
