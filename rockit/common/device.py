# SPDX-License-Identifier: GPL-3.0-or-later
"""What the remote objects of all device daemons have in common: alarms, counters, a description of themselves."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rockit.common import VERSION
from rockit.common.alarms import AlarmBook, AlarmBookState, Condition
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.quality import utc_now
from rockit.common.remote.service import caller, describe_methods, operate, read
from rockit.common.state import StateFile

MAX_COMMENT = 500


def plain_text(text: object) -> str:
    """What a person wrote, fit for logs, files and terminals: valid, printable, of bounded length."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(text)[:MAX_COMMENT])


class Alarms:
    """An alarm book that threads may share, that survives a restart, and that writes what is new to the log."""

    def __init__(self, folder: Path, log: Log) -> None:
        self._log = log
        self._lock = threading.Lock()  # around the book, for moments
        self._saving = threading.Lock()  # around the file: a slow disk keeps no reader of the book waiting
        self._file = StateFile(folder / "alarms.json", AlarmBookState)
        self._book = AlarmBook(self._file.load())
        if self._file.problem:
            log.error(self._file.problem)
        self._saved = self._book.version
        self._unsaved = False

    def update(self, scope: str, conditions: Mapping[str, Condition]) -> None:
        """All conditions that are true now, by one source of them."""
        with self._lock:
            transitions = self._book.update(conditions, utc_now(), scope)
        self._save()
        for transition in transitions:
            if transition.announce and transition.logged:
                self._log.warning(transition.message())

    def active(self) -> list[str]:
        """Names of the alarms that somebody should know of, the most severe first."""
        with self._lock:
            return self._book.active(utc_now())

    def listing(self) -> list[dict[str, Any]]:
        """All alarms that are not normal."""
        with self._lock:
            return self._book.listing(utc_now())

    def acknowledge(self, name: str, comment: str, who: str) -> None:
        """Raises KeyError for a name that is not in the book."""
        with self._lock:
            self._book.acknowledge(name, comment, who, utc_now())
        self._save()

    def shelve(self, name: str, seconds: float, comment: str, who: str) -> None:
        """Raises KeyError for a name that is not in the book, ValueError for a time that is not allowed."""
        with self._lock:
            self._book.shelve(name, seconds, comment, who, utc_now())
        self._save()

    def _save(self) -> None:
        with self._saving:
            with self._lock:
                state, number = self._book.to_state(), self._book.version
            if number == self._saved:  # a text with a number in it changes at every poll; it is not worth a write
                return
            try:
                self._file.save(state)
                self._saved = number
                self._unsaved = False
            except (OSError, ValueError) as error:
                if not self._unsaved:
                    self._unsaved = True
                    self._log.error(f"alarms cannot be saved: {error}; they are kept in memory")


class DeviceService:
    """Base of a device daemon's remote object. Reads never touch the port and never wait for who does."""

    kind = ""

    def __init__(self, alarms: Alarms, log: Log, allowed: frozenset[str], config_name: str) -> None:
        self.log = log
        self.allowed = allowed
        self._alarms = alarms
        self._config_name = config_name

    @read
    def alarms(self) -> list[dict[str, Any]]:
        """All alarms that are not normal: name, state, priority, text, since, count, and who did what about them."""
        return self._alarms.listing()

    @operate
    def acknowledge(self, name: str, comment: str = "") -> str:
        """Say that an alarm was seen. A latched one that has gone ends with it."""
        try:
            self._alarms.acknowledge(str(name), plain_text(comment), caller())
        except KeyError:
            raise CommandError(Code.FAILED, self._no_alarm(str(name))) from None
        self.acknowledged(str(name))
        return f"{name} acknowledged"

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
        return f"{name} shelved for {seconds:g} s" if seconds else f"{name} is no longer shelved"

    def acknowledged(self, name: str) -> None:
        """Called after an operator acknowledged an alarm, for what follows from it."""

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
        }

    def description(self) -> dict[str, Any]:
        """What the device adds to `describe()`: driver, identity, measurements."""
        return {}
