# SPDX-License-Identifier: GPL-3.0-or-later
"""What the remote objects of all device daemons have in common: alarms, counters, a description of themselves."""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rockit.common import VERSION
from rockit.common.alarms import AlarmBook, AlarmBookState, Transition
from rockit.common.conditions import Condition
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.quality import Measurement, utc_now, utc_text
from rockit.common.record import Record
from rockit.common.remote.service import caller, describe_methods, operate, read
from rockit.common.state import Keeper, StateFile

MAX_COMMENT = 500
SAVING = 1.0
"""So long a command waits for the disk before it answers, s: with COMMAND_WAIT less than a client's patience."""


def plain_text(text: object) -> str:
    """What a person wrote, fit for logs, files and terminals: valid, printable, of bounded length."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text)[:MAX_COMMENT])


class Alarms:
    """An alarm book that threads may share, that survives a restart, and that writes what is new to the log."""

    def __init__(self, folder: Path, log: Log, tell: Callable[[Transition], None] = lambda _change: None) -> None:
        """`tell` is told of every change of an alarm."""
        self._log = log
        self._tell = tell
        self._lock = threading.Lock()  # around the book, for moments
        file = StateFile(folder / "alarms.json", AlarmBookState)
        self._book = AlarmBook(file.load())
        if file.problem:
            log.error(file.problem)
        self._keeper = Keeper(
            file, lambda problem: log.error(f"alarms cannot be saved: {problem}; they are kept in memory")
        )
        self._kept = self._book.version

    def update(self, scope: str, conditions: Mapping[str, Condition]) -> None:
        """All conditions that are true now, by one source of them."""
        with self._lock:
            transitions = self._book.update(conditions, utc_now(), scope)
            self._save()
        for transition in transitions:
            if transition.state is not transition.previous:
                self._tell(transition)
            if transition.announce and transition.logged:
                self._log.warning(transition.message())

    def active(self) -> list[str]:
        """Names of the alarms that somebody should know of, the most severe first."""
        with self._lock:
            return self._book.active(utc_now())

    def standing(self, names: Collection[str]) -> dict[str, Condition]:
        """Those of `names` that are present, as conditions: for a source that cannot know now whether they are over."""
        with self._lock:
            return self._book.standing(names)

    def listing(self) -> list[dict[str, Any]]:
        """All alarms that are not normal."""
        with self._lock:
            return self._book.listing(utc_now())

    def acknowledge(self, name: str, comment: str, who: str) -> None:
        """Raises KeyError for a name that is not in the book."""
        with self._lock:
            change = self._book.acknowledge(name, comment, who, utc_now())
            self._save()
        if change is not None:
            self._tell(change)
        self.saved(SAVING)

    def shelve(self, name: str, seconds: float, comment: str, who: str) -> None:
        """Raises KeyError for a name that is not in the book, ValueError for a time that is not allowed."""
        with self._lock:
            self._book.shelve(name, seconds, comment, who, utc_now())
            self._save()
        self.saved(SAVING)

    def saved(self, within: float) -> bool:
        """Whether all is on the disk; waits `within` s for that."""
        return self._keeper.saved(within)

    def _save(self) -> None:
        """The caller holds the lock. A text with a number in it changes at every poll; that is not worth a write."""
        if self._book.version != self._kept or self._keeper.failing:
            self._kept = self._book.version
            self._keeper.put(self._book.to_state())


class DeviceService(ABC):
    """Base of a device daemon's remote object. Reads never touch the port and never wait for who does."""

    kind = ""

    def __init__(
        self, alarms: Alarms, log: Log, allowed: frozenset[str], config_name: str, measured: Mapping[str, Measurement],
        counters: Callable[[], dict[str, int]], record: Record,
    ) -> None:  # fmt: skip
        """`measured` are the keys of `last_measurement`, with what they mean."""
        self.log = log
        self._record = record
        self.allowed = allowed
        self._alarms = alarms
        self._config_name = config_name
        self._measured = measured
        self._counters = counters

    # What a device adds.

    @abstractmethod
    def readings(self) -> tuple[datetime | None, Mapping[str, Any]]:
        """When the device was read last, and the value of each measured key, None where it is not known now."""

    @abstractmethod
    def maximum_age(self, key: str) -> float:
        """How old a value of that key may be and still count, s."""

    @abstractmethod
    def states(self) -> Mapping[str, str]:
        """What the device and its daemon are in, in words; `unknown` where that is not known now. For the history."""

    def limits(self, key: str) -> tuple[float, float]:
        """What that key can be."""
        return self._measured[key].low, self._measured[key].high

    def description(self) -> dict[str, Any]:
        """What the device adds to `describe()`: driver, identity, port."""
        return {}

    @abstractmethod
    def acknowledged(self, name: str) -> str:
        """Called after an operator acknowledged an alarm, for what follows from it; returns what the answer adds."""

    # What everybody may ask.

    @read
    def last_measurement(self) -> dict[str, Any]:
        """Every measured key, always, with `<key>_valid`; NaN where the value is not known now."""
        date, values = self.readings()
        measured: dict[str, Any] = {"date": utc_text(date or utc_now())}
        for key, value in values.items():
            measured[key] = math.nan if value is None else int(value) if isinstance(value, bool) else value
            measured[f"{key}_valid"] = value is not None
        return measured

    @read
    def measurement_sensors(self) -> dict[str, dict[str, str]]:
        """Key -> label and units of every key of `last_measurement`."""
        return {key: {"label": known.label, "units": known.unit} for key, known in self._measured.items()}

    @read
    def counters(self) -> dict[str, int]:
        """Counters since the daemon's start: requests, answers, each kind of damage, connections, commands."""
        return self._counters()

    @read
    def alarms(self) -> list[dict[str, Any]]:
        """All alarms that are not normal: name, state, priority, text, since, count, and who did what about them."""
        return self._alarms.listing()

    @read
    def history(
        self, keys: list[str] | None = None, start: str | float | None = None, end: str | float | None = None,
        points: int | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What was recorded of `keys` (None: all measured ones; `events`: what happened) from `start` to before `end`.

        Times are UTC text, ages as `2d`, or s since 1970; by default the last day. With `points`, about so many
        buckets with count, min, max, mean (counters: none), last; without, the samples, in pages: go on at `next`.
        """
        return self._record.answer(keys, start, end, points)

    @read
    def history_blocks(
        self, keys: list[str] | None = None, start: str | float | None = None, end: str | float | None = None
    ) -> dict[str, Any]:
        """As `history` without points, in pages of days, the samples packed as `chiller export` unpacks them."""
        return self._record.answer(keys, start, end, None, packed=True)

    def commanded(self, name: str, what: str, who: str, code: int, message: str) -> None:
        """A command was carried out or refused: keep it."""
        self._record.event("command", name, str(int(code)), plain_text(f"{what}: {message}"), who)

    @operate
    def acknowledge(self, name: str, comment: str = "") -> str:
        """Say that an alarm was seen. A latched one that has gone ends with it."""
        try:
            self._alarms.acknowledge(str(name), plain_text(comment), caller())
        except KeyError:
            raise CommandError(Code.FAILED, self._no_alarm(str(name))) from None
        return f"{name} acknowledged{self.acknowledged(str(name))}"

    @operate
    def shelve(self, name: str, seconds: float, comment: str = "") -> str:
        """Silence an alarm for so many seconds; 0 ends it."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise CommandError(Code.OUT_OF_RANGE, "seconds must be a number")
        try:
            self._alarms.shelve(str(name), seconds, plain_text(comment), caller())
        except KeyError:
            raise CommandError(Code.FAILED, self._no_alarm(str(name))) from None
        except ValueError as error:
            raise CommandError(Code.OUT_OF_RANGE, str(error)) from None
        self._record.event(
            "alarm", str(name), "shelved" if seconds else "no longer shelved", f"{seconds:g} s", caller()
        )
        return f"{name} shelved for {seconds:g} s" if seconds else f"{name} is no longer shelved"

    def _no_alarm(self, name: str) -> str:
        names = ", ".join(alarm["name"] for alarm in self._alarms.listing())
        return f"there is no alarm {name!r}; there are: {names or 'none'}"

    @read
    def describe(self) -> dict[str, Any]:
        """Kind, driver, identity, version, config, methods with signatures, measurements with limits and ages."""
        return {
            "kind": self.kind,
            "software_version": VERSION,
            "config_name": self._config_name,
            "process_id": os.getpid(),
            "methods": describe_methods(self),
            **self.description(),
            "measurements": {
                key: {
                    "label": known.label, "unit": known.unit, "limits": list(self.limits(key)),
                    "maximum_age": round(self.maximum_age(key), 1),
                }
                for key, known in self._measured.items()
            },
        }  # fmt: skip
