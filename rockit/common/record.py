# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon tells its history, and what it asks it. `rockit.history` has the real one; here is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from rockit.common.conditions import Condition
from rockit.common.errors import Code, CommandError
from rockit.common.quality import Quality

R = TypeVar("R")


class Record(Protocol):
    """The history of one daemon. Nothing here waits for a disk, but for `answer` and `end`."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What was recorded and what was lost since the start."""
        ...

    def start(self) -> None:
        """Begin to write."""
        ...

    def add(self, values: Mapping[str, Any], asked: float, quality: Quality = Quality.GOOD) -> None:
        """Values that were read by the query loop; `asked` (monotonic s) is when."""
        ...

    def add_at(self, values: Mapping[str, Any], time: int, quality: Quality = Quality.GOOD) -> None:
        """As `add`, of values whose moment is known, ms since 1970."""
        ...

    def states(self, states: Mapping[str, str]) -> None:
        """What the device and its daemon are in now, by the query loop; changes are kept."""
        ...

    def commit(self) -> None:
        """A poll is over: have it written."""
        ...

    def event(self, kind: str, name: str, value: str = "", detail: str = "", who: str = "") -> None:
        """Something happened: an `alarm`, a `command`, or with the `daemon`."""
        ...

    def conditions(self) -> dict[str, Condition]:
        """Alarms about the recording."""
        ...

    def answer(
        self, keys: Sequence[str] | None, start: Any, end: Any, points: int | None, *, packed: bool = False
    ) -> dict[str, Any]:
        """What was recorded; `packed`: samples as blocks. Raises CommandError."""
        ...

    def ask(self, question: Callable[[Any, str, str], R], /) -> R:
        """What `question` finds in a view of the store, of this site and device. Raises CommandError."""
        ...

    def end(self, deadline: float, /) -> bool:
        """Write what is there by `deadline` (monotonic); False where that was not done."""
        ...


class NoRecord:
    """Of a daemon whose config says `"history": null`."""

    counters: Mapping[str, int] = {}

    def start(self) -> None:
        """Nothing to begin."""

    def add(self, values: Mapping[str, Any], asked: float, quality: Quality = Quality.GOOD) -> None:
        """Nothing is kept."""

    def add_at(self, values: Mapping[str, Any], time: int, quality: Quality = Quality.GOOD) -> None:
        """Nothing is kept."""

    def states(self, states: Mapping[str, str]) -> None:
        """Nothing is kept."""

    def commit(self) -> None:
        """Nothing is kept."""

    def event(self, kind: str, name: str, value: str = "", detail: str = "", who: str = "") -> None:
        """Nothing is kept."""

    def conditions(self) -> dict[str, Condition]:
        """Nothing can be wrong."""
        return {}

    def answer(self, *_question: object, **_how: object) -> dict[str, Any]:
        """Raises CommandError."""
        raise CommandError(Code.FAILED, 'this daemon keeps no history: its config says "history": null')

    def ask(self, _question: Callable[[Any, str, str], R], /) -> R:
        """Raises CommandError."""
        raise CommandError(Code.FAILED, 'this daemon keeps no history: its config says "history": null')

    def end(self, _deadline: float, /) -> bool:
        """Nothing to write."""
        return True
