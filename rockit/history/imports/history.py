# SPDX-License-Identifier: GPL-3.0-or-later
"""Another history of rockit's: its SQLite file (a backup, another machine's disk) or the URL of its database.

Everything is taken as it stands: series with unit and label, samples with quality, events. Of what was thinned out
there (`keep_raw_days`) only roll-ups are left, which are no samples, and are not taken. It is read in short looks, so
that the daemon which still records into it does not notice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import bindparam, func, select

from rockit.history import schema
from rockit.history import statements as sql
from rockit.history.database import Database, Statement, StoreError
from rockit.history.imports.base import MOST, URL, Found, Happened, ImportProblem, Options, Progress, Report, Run
from rockit.history.model import LATEST_TIME, Samples, Series, bucket_of
from rockit.history.query import SPARE, Reader, View

EVENTS = "events"
"""Stands among the keys for what happened."""
_EVENTS_AT_ONCE = 5000
_VERSION = Statement(select(schema.about.c.value).where(schema.about.c.name == "version"))
_FIRST_ROLLUP = Statement(
    select(func.min(schema.rollups.c.bucket)).where(schema.rollups.c.series == bindparam("series")), ("series",)
)


def read(
    source: str | Path, site: str | None, device: str | None, options: Options, report: Report, progress: Progress
) -> Iterator[Found]:
    """All series and events, or those of the devices and keys in `options`; site and device give them other names.

    Raises ImportProblem.
    """
    with _opened(str(source)) as database:
        series, devices = _contents(database)
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
            for samples in _samples(reader, number, report):
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
                for found in _events(reader, its_site, name):
                    report.rows += len(found.events)
                    yield Happened(site or its_site, device or name, found.events)
                progress((done + 1) / steps)


@contextmanager
def _opened(source: str) -> Iterator[Database]:
    """The database, not changed by looking at it. Raises ImportProblem, also for its errors inside."""
    url = source if URL.match(source) else f"sqlite:///{Path(source).resolve()}"
    try:
        database = Database(url)
    except ValueError as error:
        raise ImportProblem(str(error)) from error
    try:
        if database.path is not None and not database.path.is_file():
            raise ImportProblem(f"there is no file {database.path}")
        yield database
    except StoreError as error:
        raise ImportProblem(
            f"{error}; a file on a disk that is read only must be copied to where it can be written first"
        ) from error
    finally:
        database.close()


def _contents(database: Database) -> tuple[dict[int, Series], list[tuple[str, str]]]:
    """Series and devices."""
    session = database.session()
    try:
        with session.reading():
            found = [row[0] for row in session.run(_VERSION)]
            if found != [str(schema.VERSION)]:
                raise ImportProblem(
                    f"{database.name} has tables of version {', '.join(found) or 'none'}, and this software reads"
                    f" {schema.VERSION}; update both to the same version, and start the daemon there once"
                )
            series = View(session).series()
            devices = [(str(row[1]), str(row[2])) for row in session.run(sql.ALL_DEVICES)]
    finally:
        session.close()
    return series, sorted(devices)


def _samples(reader: Reader, series: int, report: Report) -> Iterator[Samples]:
    """The samples of a series in order; a look at the database for every few days."""
    start = 0
    while True:
        with reader.view() as view:
            days = list(islice(view.days(series, start, LATEST_TIME + 1), SPARE))
            report.notes += [f"damaged there, and not imported: {problem}" for problem in view.problems]
        for samples in days:
            for begin in range(0, len(samples), MOST):
                part = slice(begin, begin + MOST)
                qualities = None if samples.qualities is None else samples.qualities[part]
                yield Samples(samples.times[part], samples.values[part], qualities)
        if len(days) < SPARE:
            return
        start = days[-1].times[-1] + 1


def _events(reader: Reader, site: str, device: str) -> Iterator[Happened]:
    """Events of a device, the newest first, as the database gives them."""
    end = LATEST_TIME + 1
    while True:
        with reader.view() as view:
            events = view.events(site, device, 0, end, _EVENTS_AT_ONCE)
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


def _rolled_up(database: Database, series: int) -> int:
    """The number of the first bucket that there is a roll-up of."""
    session = database.session()
    try:
        with session.reading():
            [(bucket,)] = session.run(_FIRST_ROLLUP, series)
    finally:
        session.close()
    return LATEST_TIME if bucket is None else int(bucket)


def _listed(series: dict[int, Series], devices: list[tuple[str, str]]) -> str:
    owners = {(one.site, one.device) for one in series.values()} | set(devices)
    return ", ".join(f"{device} of {site}" for site, device in sorted(owners)) or "nothing"
