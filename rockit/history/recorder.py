# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon measures, on its way to the store: handed over in microseconds, written by a thread of its own.

Nobody who polls or answers ever waits for the store. While it refuses or hangs, what comes is kept in memory, up to a
bound; then the oldest goes, and that is counted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

from rockit.common.conditions import Condition, Priority
from rockit.common.log import Log
from rockit.common.quality import Measurement, Quality
from rockit.history.database import StoreError, Trouble, file_of
from rockit.history.model import Event, Series, exact, possible
from rockit.history.setaside import alone, set_aside
from rockit.history.store import Recorded, Store, wall_clock
from rockit.history.waiting import Poll, Waiting
from rockit.history.watch import Watch

BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses while the store refuses, s; the last one repeats for ever."""
MOST_TEXT = 2000
"""Characters of each text of an event."""
HANGS = 10.0
"""A commit that takes longer than this is told of, s."""
TOLD = 600.0
"""So long what was lost is an alarm, s."""
TIDY = 60.0
"""How often it is looked whether a day has ended, s."""
FORGET = 3600.0
"""One day of raw samples is forgotten in this time, s, and no more: a clock that leaps must not empty it."""


class Recorder:
    """The recording side of one daemon.

    `add`, `states` and `commit` are for the query loop's thread; all others for any.
    """

    def __init__(
        self, url: str, site: str, device: str, measured: Mapping[str, Measurement], log: Log, *,
        keep_raw_days: int | None = None, post: bool = False, opened: Callable[[Store], None] = lambda _store: None,
        closed: Callable[[], None] = lambda: None, written: Callable[[], None] = lambda: None,
        now: Callable[[], int] = wall_clock,
    ) -> None:  # fmt: skip
        """`post`: what is recorded is to be forwarded. `opened` is told of each store that was opened, `closed` when
        nobody shall hold on to its file any more, `written` after each commit.
        """
        self.url, self.site, self.device = url, site, device
        self._measured = measured
        self._log = log
        self._keep = keep_raw_days
        self._post = post
        self._opened = opened
        self._closed = closed
        self._wrote = written
        self._now = now
        self._poll = Poll()
        self._states: dict[str, str] = {}
        self._times: dict[str, float] = {}
        self._waiting = Waiting()
        self._counting = threading.Lock()  # around the counters, for moments
        self._overflows = False
        self._losing: tuple[float, str] | None = None
        self._new = False
        self._opens = 0
        self._aside = False
        self._busy_since: float | None = None
        self.trouble = ""
        """Why nothing is written now; empty where all is well."""
        self.untidy = ""
        """Why finished days are not sealed; empty where they are."""
        self.counters: Counter[str] = Counter(history_values=0, history_lost=0, history_errors=0)
        self._store: Store | None = None
        self._watch = Watch(file_of(url))
        self._begun: tuple[float, str] | None = None
        self._tidied = -1e9
        self._forgot = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def start(self) -> None:
        """Open the store and begin to write, in a thread."""
        self._thread.start()

    # What the query loop says

    def add(self, values: Mapping[str, Any], asked: float, quality: Quality = Quality.GOOD) -> None:
        """Values that were read; `asked` (monotonic s) is when. What is not known, or no measurement, is passed over.

        The same value once more, with the same time, is passed over as well. One that cannot be recorded exactly is
        lost alone, and counted.
        """
        new = {key: value for key, value in values.items() if self._times.get(key) != asked}
        self._times.update(dict.fromkeys(new, asked))
        self.add_at(new, self._now() - round((time.monotonic() - asked) * 1000), quality)

    def add_at(self, values: Mapping[str, Any], time: int, quality: Quality = Quality.GOOD) -> None:
        """As `add`, of values whose moment is known, ms since 1970."""
        for key, value in values.items():
            if key not in self._measured or not isinstance(value, Real | Decimal):
                continue
            try:
                self._poll.values.append((key, possible(time), exact(value), int(quality)))
            except (ValueError, OverflowError) as error:
                if value == value:  # what does not equal itself is NaN: not known
                    self._lost(1, f"{key}: {error}")

    def states(self, states: Mapping[str, str]) -> None:
        """What the device and its daemon are in now: those that have changed become events."""
        now = self._now()
        if self._new:  # a new history has to know how things stand
            self._new = False
            self._states.clear()
        for name, value in states.items():
            if self._states.get(name) != value:
                self._states[name] = value
                self._poll.events.append(Event(now, "state", name, _plain(value)))

    def commit(self) -> None:
        """A poll is over: have it written. Never waits."""
        poll, self._poll = self._poll, Poll()
        if len(poll):
            self._put(poll)

    def event(self, kind: str, name: str, value: str = "", detail: str = "", who: str = "") -> None:
        """Something happened. From any thread; never waits."""
        happened = Event(self._now(), kind, _plain(name), _plain(value), _plain(detail), _plain(who))
        self._put(Poll(events=[happened]))

    def _put(self, poll: Poll) -> None:
        gone = self._waiting.put(poll)
        if not gone:
            return
        self._new = self._new or any(lost.events for lost in gone)  # how things stand is to be told once more
        with self._counting:
            self.counters["history_lost"] += sum(map(len, gone))
            first, self._overflows = not self._overflows, True
        if first:
            self._log.error("history: memory for what cannot be written is full; the oldest is lost from now on")

    # What others ask

    def written(self, within: float) -> bool:
        """Whether all that was handed over by now is on the disk (or lost); waits `within` s for that."""
        return self._waiting.written(within)

    def conditions(self) -> dict[str, Condition]:
        """Alarms about the recording."""
        found = self._trouble()
        if self._begun is not None and time.monotonic() - self._begun[0] < TOLD:
            # Who does not read logs shall not find out in a year that the years before are somewhere else.
            found["history_begun"] = Condition(self._begun[1], Priority.MEDIUM, latched=True, logged=False)
        if self._watch.bare:
            text = f"{self._watch.bare}, and start them again; until then all goes into the file itself"
            found["history_log"] = Condition(text, Priority.MEDIUM, logged=False)
        return found

    def _trouble(self) -> dict[str, Condition]:
        why = self._why()
        if not why and self._losing is not None and time.monotonic() - self._losing[0] < TOLD:
            lost = f"values cannot be recorded and are lost, see the log: {self._losing[1]}"
            return {"history": Condition(lost, Priority.MEDIUM, logged=False)}
        if not why and self.untidy:
            why = f"finished days are not sealed, and take more room: {self.untidy}"
            return {"history": Condition(why, Priority.LOW, logged=False)}
        if not why:
            return {}
        text = f"nothing is recorded: {why}; {self._waiting.size} values wait in memory"
        return {"history": Condition(text, Priority.MEDIUM, logged=False)}

    def waiting(self) -> str:
        """How much is not in the store although it should be, as a sentence; empty where all is well."""
        why = self._why()
        return f"{self._waiting.size} values wait in memory and are not shown: {why}" if why else ""

    def _why(self) -> str:
        """Why nothing is written now; empty where all is well."""
        since = self._busy_since
        if not self.trouble and since is not None and time.monotonic() - since > HANGS:
            return f"the store has been busy with one commit for {time.monotonic() - since:.0f} s"
        return self.trouble

    def end(self, deadline: float) -> bool:
        """Write what is there, by `deadline` (monotonic), and close; False where that was not done."""
        self._waiting.end()
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        if left := self._waiting.size:
            self._log.error(f"history: {left} values could not be written before the end, and are lost")
        return not self._thread.is_alive() and not left

    # The thread

    def _run(self) -> None:
        failures = 0
        while True:
            pause = BACK_OFF[min(failures, len(BACK_OFF)) - 1] if failures else TIDY
            self._waiting.pause(pause, for_polls=not failures)
            ending = self._waiting.ending
            try:
                self._write()
                if not ending:
                    self._tidy()
            except Exception as error:  # noqa: BLE001 - this thread must not end, whatever went wrong
                failures += 1
                self._met(error)
            else:
                if failures and self.trouble:
                    self._log.info(
                        f"history: recording goes on; {self.counters['history_lost']} of what waited was lost"
                    )
                failures, self.trouble = 0, ""
            finally:
                self._busy_since = None
            if ending:
                self._close()
                return

    def _write(self) -> None:
        """All that waits."""
        self._busy_since = time.monotonic()
        if self._store is None or not self._same_file():
            self._open()
        store = self._store
        assert store is not None
        device = store.device_id(self.site, self.device)
        while self._waiting:
            polls = self._waiting.oldest()
            self._busy_since = time.monotonic()
            try:
                self._commit(store, device, polls)
            except Exception as error:
                if not _hopeless(error):
                    raise
                self._one_by_one(store, device, polls)
            else:
                self._done(polls)
            self._wrote()

    def _commit(self, store: Store, device: int, polls: list[Poll]) -> None:
        rows: list[Recorded] = [
            (self._series(store, key), when, value, quality)
            for poll in polls
            for key, when, value, quality in poll.values
        ]
        lost = store.record(device, rows, [event for poll in polls for event in poll.events], post=self._post)
        if self._watch.bare:
            store.session.fold()
        self.counters["history_values"] += len(rows) - lost
        if lost:
            self._lost(lost, f"they are older than the {self._keep} days that are kept; is the clock right?")

    def _one_by_one(self, store: Store, device: int, polls: list[Poll]) -> None:
        """Something in these polls cannot be written: the poll that it is in shall be lost, and no other."""
        for poll in polls:
            try:
                self._commit(store, device, [poll])
            except Exception as error:
                if not _hopeless(error):
                    raise
                self._lost(len(poll), str(error) or repr(error))
                self._new = self._new or bool(poll.events)
            self._done([poll])

    def _series(self, store: Store, key: str) -> int:
        known = self._measured[key]
        return store.series_id(Series(self.site, self.device, key, known.unit, known.label, known.counter))

    def _done(self, polls: list[Poll]) -> None:
        gone = self._waiting.done(polls)
        with self._counting:
            self.counters["history_lost"] -= gone  # it was not lost after all
            self._overflows = self._overflows and bool(self._waiting)

    def _tidy(self) -> None:
        """Seal what has ended, and forget what may be; a step at a time, and only while nobody waits."""
        store, now = self._store, time.monotonic()
        if store is None or now - self._tidied < TIDY:
            return
        try:
            while not self._waiting and not self._waiting.ending:
                self._busy_since = time.monotonic()
                if not store.seal():
                    self._tidied = now
                    break
            if self._keep is not None and now - self._forgot > FORGET:
                self._forgot = now
                store.forget(self._keep, (self.site, self.device))
        except StoreError as error:
            if error.trouble is Trouble.CORRUPT:
                raise
            if not self.untidy:  # nothing is lost by that, and what comes next is recorded
                self._log.error(f"history: finished days are not sealed: {error}; it is tried again every minute")
            self._tidied, self.untidy = now, str(error)
        else:
            self.untidy = ""

    # Opening, and what may go wrong

    def _open(self) -> None:
        self._close()
        path = file_of(self.url)
        with alone(path):
            self._watch.look()
            self._store = store = Store(self.url, self._now)
            self._watch.look()
        store.device_id(self.site, self.device)  # which forwarders look for
        self._watch.opened()
        if self._opens and not store.database.found_version:
            self._new = True
            if not self._aside:
                text = f"{store.database.name} is empty, and was not before: a new history is begun in it"
                self._log.error(f"history: {text}")
                self._begun = time.monotonic(), text
        self._aside = False
        self._opens += 1
        self._opened(store)

    def _close(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            with suppress(Exception):  # whatever it says, it is not used any more
                store.close()

    def _same_file(self) -> bool:
        """Whether the file that is open is still the one of that name: SQLite goes on writing into what was deleted."""
        watch = self._watch
        if watch.replaced():
            return False
        if why := watch.gone():
            self._log.error(f"history: {file_of(self.url)} {why}; it is opened anew")
            self._close()
            self._closed()
        elif watch.lost_its_log():
            self._log.error(f"history: {watch.bare}, and start them again")
        return not why

    def _met(self, error: Exception) -> None:
        """Something went wrong; it must not happen that telling so goes wrong as well."""
        try:
            if isinstance(error, OSError):  # a disk that is dying
                error = StoreError(Trouble.REFUSES, str(error))
            if isinstance(error, StoreError):
                self._failed(error)
            else:
                self._own_error(error)
        except Exception as another:  # noqa: BLE001
            self._own_error(another)

    def _failed(self, error: StoreError) -> None:
        path = file_of(self.url)
        self._close()
        what = "what is measured is kept in memory until it can be written"
        before, self.trouble = self.trouble, str(error)
        if path is not None and not path.parent.is_dir():
            self.trouble = f"{self.trouble}: there is no folder {path.parent}; make it, or mount what it lies on"
        if error.trouble is Trouble.CORRUPT and path is not None:
            done, text = set_aside(path, self._watch.inode)
            if done:
                before, what, self._aside = "", text, True
                self._begun = time.monotonic(), f"{self.trouble}; {text}"
            else:
                self.trouble = f"{error}; {text}"
        if not before:
            self._log.error(f"history: {self.trouble}; {what}")

    def _lost(self, count: int, why: str) -> None:
        """So much cannot be recorded, now or ever. The first ones are told of."""
        with self._counting:
            self._losing = time.monotonic(), why
            self.counters["history_lost"] += count
            self.counters["history_errors"] += 1
            told = self.counters["history_errors"] <= 3
        if told:
            self._log.error(f"history: {count} values cannot be recorded, and are lost: {why}")

    def _own_error(self, error: Exception) -> None:
        self._close()
        self.counters["history_errors"] += 1
        if self.counters["history_errors"] <= 3:
            self._log.exception("history: an error of its own")
        self.trouble = self.trouble or repr(error)


def _plain(text: str) -> str:
    """What every database and every receiver takes."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:MOST_TEXT])


def _hopeless(error: Exception) -> bool:
    """Whether to try the same once more is of no use."""
    return not isinstance(error, StoreError) or error.trouble is Trouble.WRONG
