# SPDX-License-Identifier: GPL-3.0-or-later
"""Another history of rockit's: its SQLite file (a backup, another machine's disk) or the URL of its database.

Everything is taken as it stands: series with unit and label, samples with quality, events. Of what was thinned out
there (`keep_raw_days`) only roll-ups are left, which are no samples, and are not taken. It is read in short looks, so
that the daemon which still records into it does not notice.

Of a damaged file everything is taken that can be read and is what it should be: a series whose pages cannot be read at
once is read a day at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from sqlalchemy import text

from rockit.common.errors import CommandError
from rockit.history import places
from rockit.history import statements as sql
from rockit.history.database import Database, Statement, StoreError, Trouble
from rockit.history.imports.base import MOST, URL, Found, Happened, ImportProblem, Options, Progress, Report, Run
from rockit.history.judging import plain, unpacked
from rockit.history.model import BUCKETS_A_DAY, DAY, LATEST_TIME, Samples, Series, bucket_of
from rockit.history.query import SPARE, Reader, View
from rockit.history.times import iso

EVENTS = "events"
"""Stands among the keys for what happened."""
_EVENTS_AT_ONCE = 5000
_TOLD = 20
"""So many stretches of days are named."""
_INTEGRITY = Statement(text("PRAGMA integrity_check(1)"))
_DAMAGE = (StoreError, ValueError, TypeError, OverflowError)
"""How damage shows: values of a kind that nobody has written, too."""


def read(
    source: str | Path, site: str | None, device: str | None, options: Options, report: Report, progress: Progress
) -> Iterator[Found]:
    """All series and events, or those of the devices and keys in `options`; site and device give them other names.

    What cannot be read is told in `report.unread`. Raises ImportProblem.
    """
    with _opened(str(source)) as database:
        series, devices = _contents(database)
        if harm := _harm(database):
            report.unread.append(f"something, for the file is damaged ({harm}): more may be missing than is told here")
        chosen = {
            number: one
            for number, one in series.items()
            if (not options.devices or one.device in options.devices) and (not options.keys or one.key in options.keys)
        }
        devices = [one for one in devices if not options.devices or one[1] in options.devices]
        wants_events = not options.keys or EVENTS in options.keys
        owners = {(one.site, one.device) for one in chosen.values()} | set(devices if wants_events else ())
        if not owners:
            raise ImportProblem(f"{database.name} has nothing of what was asked for; it has {_listed(series, devices)}")
        if (site is not None or device is not None) and len(owners) > 1:
            raise ImportProblem(
                f"{database.name} has several devices, {_listed(series, devices)}: choose one to give it another name"
            )
        reader = Reader(database)
        steps = len(chosen) + (len(devices) if wants_events else 0)
        for done, (number, one) in enumerate(sorted(chosen.items())):
            renamed = Series(site or one.site, device or one.device, one.key, one.unit, one.label, one.counter)
            first = LATEST_TIME
            for samples in _samples(reader, number, one, report):
                report.rows += len(samples)
                yield Run(renamed, samples)
                first = min(first, samples.times[0])
                now = max(time.time() * 1000, samples.times[-1])
                progress((done + (samples.times[-1] - first) / max(now - first, 1)) / steps)
            if _rolled_up(database, number) < bucket_of(first):
                report.notes.append(
                    f"older samples of {one.key} of {one.device} are gone there; roll-ups are not imported"
                )
        if wants_events:
            for done, (its_site, name) in enumerate(devices, len(chosen)):
                for found in _events(reader, its_site, name, report):
                    report.rows += len(found.events)
                    yield Happened(site or its_site, device or name, found.events)
                progress((done + 1) / steps)


@contextmanager
def _opened(source: str) -> Iterator[Database]:
    """The database, for reading alone. Raises ImportProblem, also for its errors inside."""
    try:
        with places.looking(source if URL.match(source) else f"sqlite:///{Path(source).resolve()}") as database:
            yield database
    except (ValueError, CommandError) as error:
        raise ImportProblem(str(error)) from error
    except StoreError as error:
        raise ImportProblem(places.advice(error)) from error


def _contents(database: Database) -> tuple[dict[int, Series], list[tuple[str, str]]]:
    """Series and devices."""
    session = database.session()
    try:
        with session.reading():
            series = View(session).series()
            devices = [(str(row[1]), str(row[2])) for row in session.run(sql.ALL_DEVICES)]
    finally:
        session.close()
    return series, sorted(devices)


def _harm(database: Database) -> str:
    """What SQLite itself finds wrong with the file, the first of it: keys out of order hide rows without an error."""
    if not database.sqlite:
        return ""
    said = _tried(database, _INTEGRITY)
    text_ = "it cannot be read through" if said is None else " ".join(str(said[0][0]).split())
    return "" if text_ == "ok" else text_


def _samples(reader: Reader, number: int, series: Series, report: Report) -> Iterator[Samples]:
    """The samples of a series in order; a look at the database for every few days."""
    start = 0
    while True:
        try:
            with reader.view() as view:
                days = list(islice(view.days(number, start, LATEST_TIME + 1), SPARE))
                problems = view.problems
        except _DAMAGE as error:
            _require_damage(error)
            problems = ["its pages"]
        if problems:
            yield from _day_by_day(reader.database, number, series, start, report)
            return
        for samples in days:
            yield from _parts(samples)
        if len(days) < SPARE:
            return
        start = days[-1].times[-1] + 1


def _parts(samples: Samples) -> Iterator[Samples]:
    for begin in range(0, len(samples), MOST):
        part = slice(begin, begin + MOST)
        qualities = None if samples.qualities is None else samples.qualities[part]
        yield Samples(samples.times[part], samples.values[part], qualities)


def _day_by_day(database: Database, number: int, series: Series, start: int, report: Report) -> Iterator[Samples]:
    """What is left of a series from `start` on. A day that is not all there is told, and what is good of it taken."""
    days = _days(database, number)
    lost = []
    for day in days:
        sealed = _tried(database, sql.BLOCK, number, day)
        rows = _tried(database, sql.DAY_SAMPLES, number, *range(day * BUCKETS_A_DAY, (day + 1) * BUCKETS_A_DAY))
        good = [] if sealed is None else [unpacked(row[0], day)[0] for row in sealed]
        good.append(None if rows is None else plain(rows, day)[0])
        if sealed is None or None in good:
            lost.append(day)
        found = Samples()
        for part in good:
            found = found.merged(part or Samples())
        yield from _parts(found.between(start, LATEST_TIME + 1))
    if lost or not days:
        what = f"all or a part of {_spans(lost)}" if days else "which days there are"
        report.unread.append(f"{series.key} of {series.device}: {what}")


def _days(database: Database, number: int) -> range:
    """The days from the first to the last that a series may have, as far as they can be told."""
    found = [row[:2] for row in _tried(database, sql.BLOCK_DAYS, number) or []]
    for statement in (sql.FIRST_ROLLUP, sql.LOOK_CURRENT):
        rows = _tried(database, statement, number) or []
        found += [(row[0] // BUCKETS_A_DAY,) for row in rows if isinstance(row[0], int)]
    days = [day for row in found for day in row if isinstance(day, int) and 0 <= day <= LATEST_TIME // DAY]
    return range(min(days), max(days) + 1) if days else range(0)


def _spans(days: list[int]) -> str:
    """Days as stretches, for people."""
    stretches = [(iso(low * DAY)[:10], iso(high * DAY)[:10]) for low, high in _joined(days)]
    told = [low if low == high else f"{low} to {high}" for low, high in stretches]
    return ", ".join(told[:_TOLD]) + (f" and {len(told) - _TOLD} stretches more" if len(told) > _TOLD else "")


def _joined(days: list[int]) -> list[tuple[int, int]]:
    groups = groupby(enumerate(days), key=lambda pair: pair[1] - pair[0])
    listed = [[day for _, day in group] for _, group in groups]
    return [(group[0], group[-1]) for group in listed]


def _tried(database: Database, statement: Statement, *values: object) -> list[tuple[Any, ...]] | None:
    """The rows; None where the pages that they lie on cannot be read. Raises StoreError for other trouble."""
    try:
        session = database.session()
        try:
            with session.reading():
                return session.run(statement, *values)
        finally:
            session.close()
    except _DAMAGE as error:
        _require_damage(error)
        return None


def _require_damage(error: Exception) -> None:
    """Raise the error where the next page will not be better. A bad sector of the disk is an error of I/O."""
    signs = "disk I/O error", "Could not decode"
    if (
        isinstance(error, StoreError)
        and error.trouble is not Trouble.CORRUPT
        and not any(s in str(error) for s in signs)
    ):
        raise error


def _events(reader: Reader, site: str, device: str, report: Report) -> Iterator[Happened]:
    """Events of a device, the newest first, as the database gives them."""
    end = LATEST_TIME + 1
    while True:
        try:
            with reader.view() as view:
                events = view.events(site, device, 0, end, _EVENTS_AT_ONCE)
        except _DAMAGE as error:
            _require_damage(error)
            yield from _events_by_day(reader, site, device, end, report)
            return
        if len(events) == _EVENTS_AT_ONCE and events[0].time != events[-1].time:
            # There may be more of the oldest millisecond: the next look gets all of it.
            events = [event for event in events if event.time > events[0].time]
            end = events[0].time
        else:
            end = 0
        if events:
            yield Happened(site, device, events)
        if not end:
            return


def _events_by_day(reader: Reader, site: str, device: str, end: int, report: Report) -> Iterator[Happened]:
    """The events before `end` of the days that can be read, of those on which anything is known to be measured."""
    series = [number for number, one in _contents(reader.database)[0].items() if one.name[:2] == (site, device)]
    lost = []
    for day in sorted({day for number in series for day in _days(reader.database, number)}):
        try:
            with reader.view() as view:
                events = view.events(site, device, day * DAY, min((day + 1) * DAY, end), LATEST_TIME)
        except _DAMAGE as error:
            _require_damage(error)
            lost.append(day)
        else:
            if events:
                yield Happened(site, device, events)
    report.unread.append(f"events of {device}: {_spans(lost) or 'perhaps some'}")


def _rolled_up(database: Database, series: int) -> int:
    """The number of the first bucket that there is a roll-up of."""
    found = _tried(database, sql.FIRST_ROLLUP, series)
    return LATEST_TIME if not found or found[0][0] is None else int(found[0][0])


def _listed(series: dict[int, Series], devices: list[tuple[str, str]]) -> str:
    owners = {(one.site, one.device) for one in series.values()} | set(devices)
    return ", ".join(f"{device} of {site}" for site, device in sorted(owners)) or "nothing"
