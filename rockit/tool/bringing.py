# SPDX-License-Identifier: GPL-3.0-or-later
"""An import from the command line: into which store, and what is said of one that ended early."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rockit.common.errors import Code, CommandError
from rockit.history import places
from rockit.history.database import file_of, parsed
from rockit.history.imports import Options, Report, Target, import_file
from rockit.history.imports.base import URL
from rockit.history.maintenance import Progress
from rockit.history.model import Event, Samples, Series
from rockit.history.query import Reader
from rockit.meter.model import Register
from rockit.meter.names import measurement_of, name_of


@dataclass(frozen=True)
class Work:
    """What is to be imported, and where to."""

    file: str
    url: str
    site: str | None
    device: str | None
    kind: str
    options: Options
    create: bool
    dry_run: bool
    as_meter: str | None = None
    """The series are those of a meter of meterd: which one."""


def bring(work: Work, progress: Progress, note: Callable[[str], None]) -> Report:
    """Import. Where it ends early, `note` is told what is in. Raises ImportProblem, CommandError, StoreError."""
    with _target(work) as target:
        counted = _Counted(target if work.as_meter is None else _Meter(target, work.as_meter))
        try:
            return import_file(
                work.file, counted, work.site, work.device, kind=work.kind, options=work.options,
                progress=lambda part: progress(f"{counted.taken:,} values", round(part * 1000), 1000),
                dry_run=work.dry_run,
            )  # fmt: skip
        except BaseException:
            if counted.taken:
                note(
                    f"not all of it: {counted.taken:,} values are in, {counted.new:,} of them new; do it again for the"
                    " rest, what is there is passed over"
                )
            raise


@contextmanager
def _target(work: Work) -> Iterator[Target]:
    """The store, or for a dry run something that only knows what series there are."""
    there = places.exists(work.url)
    if not there and not work.create:
        name = file_of(work.url) or parsed(work.url).render_as_string(hide_password=True)
        raise CommandError(Code.FAILED, f"there is no history in {name} yet; --create begins one")
    if work.dry_run:
        if not there:
            yield _Dry({})
            return
        with places.looking(work.url) as database:
            with Reader(database).view() as view:
                known = view.series()
            yield _Dry(known)
        return
    if not there:
        places.begun(work.url)
    with places.writing(work.url) as store:
        yield store


class _Counted:
    """A store that remembers what came into it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.taken = 0
        self.new = 0

    def merge(self, series: Series, samples: Samples) -> int:
        new = self._target.merge(series, samples)
        self.taken += len(samples)
        self.new += new
        return new

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        return self._target.add_events(site, device, events)

    def series(self) -> dict[int, Series]:
        return self._target.series()


class _Meter:
    """A store in which series and events get the names that meterd gives those of one of its meters."""

    def __init__(self, target: Target, meter: str) -> None:
        self._target = target
        self._meter = meter

    def merge(self, series: Series, samples: Samples) -> int:
        register = Register(None, series.unit, series.label, series.counter)
        name = name_of(series.key, register)
        known = measurement_of(name, register)
        key = f"{self._meter}.{name}"
        named = msgspec.structs.replace(series, key=key, label=known.label, counter=known.counter)
        return self._target.merge(named, samples)

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        named = [msgspec.structs.replace(event, name=f"{self._meter}.{event.name}") for event in events]
        return self._target.add_events(site, device, named)

    def series(self) -> dict[int, Series]:
        return self._target.series()


class _Dry:
    """A store that nothing comes into."""

    def __init__(self, known: dict[int, Series]) -> None:
        self._known = known

    def merge(self, series: Series, samples: Samples) -> int:
        raise AssertionError(series, len(samples))

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        raise AssertionError(site, device, len(events))

    def series(self) -> dict[int, Series]:
        return self._known


def same(file: str, url: str) -> bool:
    """Whether a file is that of the history at a URL."""
    try:
        theirs, ours = file_of(file) if URL.match(file) else Path(file), file_of(url)
    except ValueError:  # a URL that is none of ours; the import says so
        return False
    if theirs is None or ours is None:
        return file == url
    return theirs.exists() and ours.exists() and os.path.samefile(theirs, ours)
