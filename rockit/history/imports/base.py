# SPDX-License-Identifier: GPL-3.0-or-later
"""What every importer shares: what it gives, what it reports, how it opens a file and reads a clock on the wall."""

from __future__ import annotations

import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import lt
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rockit.common.quality import Quality
from rockit.history.model import DAY, Event, Samples, Series
from rockit.history.places import for_reading, mending

MOST = 50_000
"""No more values than this are in memory, nor in one transaction."""
Progress = Callable[[float], None]
"""Told how much is done, 0 to 1."""
_EARLIEST = 946_684_800_000
"""2000-01-01, ms. None of the systems that we read is older: a time before it is that of a clock that was not set."""
URL = re.compile(r"\w+(\+\w+)?://")
"""How the URL of a database begins."""
_TEXT_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
"""On the wall."""
_MILLISECOND = timedelta(milliseconds=1)
_WENT_BACK = -60_000
"""A clock may be put right by this while rows are written; by more it is another pass of the repeated hour, ms."""
_PAUSE = 10 * 60_000
"""After such a silence the order of rows does not tell any more which pass of the repeated hour they are of, ms."""


class ImportProblem(ValueError):
    """A file cannot be imported (any further). The message says what to do."""


@dataclass(frozen=True, slots=True)
class Run:
    """Samples of one series, at most `MOST`."""

    series: Series
    samples: Samples


@dataclass(frozen=True, slots=True)
class Happened:
    """Events of one device, at most `MOST`."""

    site: str
    device: str
    events: list[Event]


Found = Run | Happened


@dataclass(frozen=True)
class Options:
    """What a file does not say itself. Each importer uses those that concern it."""

    time_zone: str | None = None
    """IANA name of the zone that the original's clock was set to (Chronos, pyHM)."""
    temperature_unit: str = "degC"
    """`degC` or `degF`: what the boiler daemon of the same device uses (Chronos)."""
    meter: str | None = None
    """Which one, where a file has several (pyHM)."""
    scalers: Mapping[str, int] = field(default_factory=dict)
    """Key -> the meter's exponent, to undo pyHM's division; 0: the values are right as they are."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Key -> unit, where the file has none (RRD)."""
    devices: frozenset[str] = frozenset()
    """Only these (another history); empty: all."""
    keys: frozenset[str] = frozenset()
    """Only these (another history); empty: all."""


@dataclass
class Report:
    """What became of a file. Every value that was read is in `taken` or, with its reason, in `left_out`."""

    kind: str
    rows: int = 0
    """Rows of the file's main table."""
    taken: int = 0
    """Values that were given to the store."""
    new: int = 0
    """Of these, those that were not there yet."""
    events: int = 0
    new_events: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Reason -> number of values (or states) that are not in the store."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of the values that are, a sentence each."""
    unread: list[str] = field(default_factory=list)
    """What was there and could not be read, for the file is damaged, a sentence each. Empty: all of it was read."""
    dry_run: bool = False

    def leave(self, reason: str, count: int = 1) -> None:
        """Count what is not imported; 0 says nothing."""
        if count:
            self.left_out[reason] += count

    def lines(self) -> Iterator[str]:
        """All of it, for a person."""
        yield f"{self.kind}: {_counted(self.rows, 'row')}"
        for count, new, what in ((self.taken, self.new, "value"), (self.events, self.new_events, "event")):
            fate = "nothing was written (dry run)" if self.dry_run else f"{new} new, {count - new} were there already"
            yield f"{_counted(count, what)} taken; {fate}"
        for reason, count in sorted(self.left_out.items(), key=lambda item: (-item[1], item[0])):
            yield f"{_counted(count, 'value')} left out: {reason}"
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"not read: {what}" for what in self.unread)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def run_of(series: Series, rows: Sequence[tuple[int, float, int]], report: Report) -> Run:
    """(time, value, quality) in any order as a run. Of two with one time the first counts, the others are reported."""
    times = [row[0] for row in rows]
    if all(map(lt, times, times[1:])):  # as a rule, and much faster
        qualities = bytes(row[2] for row in rows)
        return Run(series, Samples(times, [float(row[1]) for row in rows], qualities if any(qualities) else None))
    samples = Samples.of(rows)
    report.leave("another value of the same series and time came before it", len(rows) - len(samples))
    return Run(series, samples)


def plausible_time(milliseconds: int) -> bool:
    """Whether something may have been recorded then: not before 2000, not after tomorrow."""
    return _EARLIEST <= milliseconds <= time.time() * 1000 + DAY


@contextmanager
def sqlite_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file, only for reading. Raises ImportProblem, also for errors of SQLite inside.

    Read it in short statements: as long as one runs, the original can write nothing.
    """
    try:
        # Read only: a file that was not closed in order is not repaired by us behind its owner's back.
        with closing(sqlite3.connect(for_reading(path), uri=True, timeout=15, isolation_level=None)) as connection:
            connection.text_factory = lambda data: data.decode(errors="replace")
            yield connection
    except sqlite3.Error as error:
        raise ImportProblem(f"{path} cannot be read as SQLite ({error}); {mending(str(path))}") from error


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """Names of a table's columns; none where there is no such table."""
    return [str(row[0]) for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]


class WallClock:
    """Turns the local times of rows into UTC, one after the other in the order in which they were written.

    In the hour that the end of daylight saving repeats, the order tells the passes apart: a row is of that pass
    in which time went on from the row before.
    """

    def __init__(self, zone: str | None, who: str) -> None:
        """`who` wrote the times. Raises ImportProblem where the zone is missing or unknown."""
        if zone is None:
            raise ImportProblem(
                f"{who} recorded local time and not of which zone: say the time zone that its machine was set to,"
                " such as Europe/Madrid, America/Chicago or UTC"
            )
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ImportProblem(f"{zone!r} is no time zone; say an IANA name such as Europe/Madrid") from None
        self._name = zone
        self._text: object = None
        self._answer: tuple[int, Quality] | None = None
        self._minute = ""
        self._offsets: list[timedelta] = []
        self._last: int | None = None
        self._unsure = False
        self.repeated = 0
        self.unsure = 0
        self.missing = 0
        self.backward = 0

    def read(self, text: object) -> tuple[int, Quality] | None:
        """`YYYY-mm-dd HH:MM:SS[.ffffff]` as (ms since 1970 UTC, how far it can be believed); None: no such time."""
        if text != self._text:
            self._text, self._answer = text, self._read(text)
        return self._answer

    def notes(self) -> Iterator[str]:
        """What there is to say about the times, a sentence each."""
        yield f"local times were read as those of {self._name}"
        if self.repeated:
            yield (
                f"{self.repeated} times lie in the hour that the end of daylight saving repeats; the order of the rows"
                " told the passes apart"
            )
        if self.unsure:
            yield f"{self.unsure} of them come after a silence, so either pass is possible; marked uncertain"
        if self.missing:
            yield (
                f"{self.missing} times do not exist in {self._name} (daylight saving skips them): read as if the clock"
                " had not been moved, and marked uncertain; many of them mean that the zone is wrong"
            )
        if self.backward:
            yield f"{self.backward} times are earlier than that of the row before: the clock was put back"

    def _read(self, text: object) -> tuple[int, Quality] | None:
        if not isinstance(text, str) or not _TEXT_TIME.fullmatch(text):
            return None
        try:
            local = datetime.fromisoformat(text)
            if text[:16] != self._minute:  # clocks are moved at whole minutes
                offsets = [local.replace(tzinfo=self._zone, fold=fold).utcoffset() for fold in (0, 1)]
                self._minute, self._offsets = text[:16], [offset or timedelta() for offset in offsets]
        except (ValueError, OverflowError):
            return None
        first, second = self._offsets
        when = (local - first - _EPOCH) // _MILLISECOND
        if not plausible_time(when):
            return None
        quality = Quality.GOOD
        if first > second:
            when, quality = self._passed(when, when + (first - second) // _MILLISECOND)
        else:
            self._unsure = False
            if first < second:
                self.missing += 1
                quality = Quality.UNCERTAIN
        if self._last is not None and when < self._last + _WENT_BACK:
            self.backward += 1
        self._last = when
        return when, quality

    def _passed(self, first: int, second: int) -> tuple[int, Quality]:
        """Which of the two times of the repeated hour it is."""
        self.repeated += 1
        last = self._last
        going_on = [when for when in (first, second) if last is not None and when - last >= _WENT_BACK]
        if not going_on or last is None or going_on[0] - last > _PAUSE:
            self._unsure = True
        if self._unsure:
            self.unsure += 1
        return (going_on[0] if going_on else first), Quality.UNCERTAIN if self._unsure else Quality.GOOD
