# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of one daemon, put together from its config: recorder, reader, forwarders."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rockit.common import VERSION
from rockit.common.conditions import Condition, Priority
from rockit.common.daemonconfig import HistoryConfig
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.quality import Measurement, Quality
from rockit.history.answer import QuestionError, answer
from rockit.history.database import Database, StoreError, Trouble
from rockit.history.forwarder import Forwarder
from rockit.history.query import Reader, View
from rockit.history.recorder import Recorder
from rockit.history.store import Store
from rockit.history.targets import create

R = TypeVar("R")
AT_ONCE, WAITING = 2, 4
"""So many questions are answered at the same time, and so many are there at all: who asks for the status must find a
thread of the daemon free."""
PATIENCE = 3.0
"""So long a question waits for its turn, and for the store to be opened, s."""


class History:
    """What a daemon holds of its history."""

    def __init__(
        self, config: HistoryConfig, folder: Path, device: str, measured: Mapping[str, Measurement], log: Log
    ) -> None:
        url = config.url or f"sqlite:///{folder / 'history.sqlite'}"
        self._log = log
        self._place = (config.site, device)
        targets = [create(target.url, target) for target in config.forward]
        names = [target.name for target in targets if not target.live]
        self._forwarders = [Forwarder(url, config.site, device, target, names, log) for target in targets]
        self._recorder = Recorder(
            url, config.site, device, measured, log,
            keep_raw_days=config.keep_raw_days, post=bool(targets), opened=self._opened,
            closed=self._let_go, written=self._wake,
        )  # fmt: skip
        self._url = url
        self._lock = threading.Lock()
        self._reader: Reader | None = None
        self._damaged = ""
        """What could not be read when somebody asked."""
        self._open = threading.Event()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        self._places = threading.BoundedSemaphore(WAITING)

    @property
    def counters(self) -> Mapping[str, int]:
        """What was recorded, lost, forwarded."""
        total = Counter(self._recorder.counters)
        for forwarder in self._forwarders:
            total.update(forwarder.counters)
        return total

    def start(self) -> None:
        """Begin to write, in a thread."""
        self._recorder.event("daemon", "started", VERSION)
        self._recorder.start()

    def add(self, values: Mapping[str, Any], asked: float, quality: Quality = Quality.GOOD) -> None:
        """See Record."""
        self._recorder.add(values, asked, quality)

    def add_at(self, values: Mapping[str, Any], time: int, quality: Quality = Quality.GOOD) -> None:
        """See Record."""
        self._recorder.add_at(values, time, quality)

    def states(self, states: Mapping[str, str]) -> None:
        """See Record."""
        self._recorder.states(states)

    def commit(self) -> None:
        """See Record."""
        self._recorder.commit()

    def event(self, kind: str, name: str, value: str = "", detail: str = "", who: str = "") -> None:
        """See Record."""
        self._recorder.event(kind, name, value, detail, who)

    def conditions(self) -> dict[str, Condition]:
        """See Record."""
        found = self._recorder.conditions()
        if self._damaged:
            text = f"parts of the history cannot be read: {self._damaged}; `rockit history check` tells which"
            found["history_damaged"] = Condition(text, Priority.MEDIUM)
        for index, forwarder in enumerate(self._forwarders, 1):
            if (condition := forwarder.condition()) is not None:
                found[f"forwarding_{index}"] = condition
        return found

    def answer(
        self, keys: Sequence[str] | None, start: Any, end: Any, points: int | None, *, packed: bool = False
    ) -> dict[str, Any]:
        """What was recorded, see `answer`. Raises CommandError."""
        if keys is not None and (isinstance(keys, str) or not all(isinstance(key, str) for key in keys)):
            raise CommandError(Code.OUT_OF_RANGE, "keys must be a list of names, or None for all")

        def question(view: View, site: str, device: str) -> dict[str, Any]:
            now = time.time_ns() // 1_000_000
            return answer(view, site, device, keys, start, end, points, now, packed=packed)

        found = self.ask(question)
        if waiting := self._recorder.waiting():
            found["waiting"] = waiting
        return found

    def ask(self, question: Callable[[View, str, str], R]) -> R:
        """See Record. Raises CommandError."""
        if not self._places.acquire(blocking=False):
            raise CommandError(Code.BLOCKED, "others ask for the history just now; try again in a moment")
        try:
            return self._ask(question)
        finally:
            self._places.release()

    def _ask(self, question: Callable[[View, str, str], R]) -> R:
        if not self._open.wait(PATIENCE):
            why = self._recorder.trouble or "it is being opened"
            raise CommandError(Code.FAILED, f"the history cannot be read now: {why}")
        if not self._turns.acquire(timeout=PATIENCE):
            raise CommandError(Code.BLOCKED, "others ask for the history just now; try again in a moment")
        try:
            with self._readable().view() as view:
                found = question(view, *self._place)
                self._damaged = next(iter(view.problems), self._damaged)
                return found
        except QuestionError as error:
            raise CommandError(Code.OUT_OF_RANGE, str(error)) from None
        except StoreError as error:
            if error.trouble is Trouble.CORRUPT:
                self._damaged = str(error)
            told = "; ".join(filter(None, (str(error), self._recorder.waiting())))
            raise CommandError(Code.FAILED, f"the history cannot be read: {told}") from None
        finally:
            self._turns.release()

    def end(self, deadline: float) -> bool:
        """Write what is there by `deadline` (monotonic); False where that was not done."""
        self._recorder.event("daemon", "stopped")
        ends = [threading.Thread(target=one.end, args=(deadline,), daemon=True) for one in self._forwarders]
        for thread in ends:
            thread.start()
        clean = self._recorder.end(deadline)
        for thread in ends:  # together: each may wait for a server that is silent
            thread.join(max(0.0, deadline - time.monotonic()))
        return clean

    def _readable(self) -> Reader:
        with self._lock:
            if self._reader is None:
                self._reader = Reader(Database(self._url, make=False))
            return self._reader

    def _opened(self, _store: Store) -> None:
        """In the recorder's thread: a file was opened, the first or one in the place of another."""
        self._let_go()
        self._open.set()

    def _let_go(self) -> None:
        """In the recorder's thread: who has the file open opens it anew."""
        with self._lock:
            before, self._reader = self._reader, None
        if before is not None:
            before.database.close()
        for forwarder in self._forwarders:
            forwarder.begin()

    def _wake(self) -> None:
        for forwarder in self._forwarders:
            forwarder.wake()
