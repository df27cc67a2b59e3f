# SPDX-License-Identifier: GPL-3.0-or-later
"""Import of what other systems recorded: Chronos, pyHM, RRD (PowerPi), and other histories of ours.

An import adds what is missing and changes nothing that is there: a second one adds nothing, and one that was
interrupted is simply begun again. Memory does not grow with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

from rockit.history.imports.base import (
    URL,
    Found,
    Happened,
    ImportProblem,
    Options,
    Progress,
    Report,
    Run,
    columns,
    sqlite_file,
)
from rockit.history.model import Event, Samples, Series

__all__ = ["Found", "Happened", "ImportProblem", "KINDS", "Options", "Report", "Run", "guess", "import_file"]

KINDS = {
    "chronos": "the SQLite file of Chronos (boiler and chillers)",
    "pyhm": "the SQLite file of pyHM (SML meters)",
    "rrd": "an RRD as `rrdtool dump` prints it (PowerPi)",
    "history": "a history of rockit's: its SQLite file or a database URL",
}
"""What can be imported."""
_DATABASE, _RRD = b"SQLite format 3\0", b"RRD\0"


class Target(Protocol):
    """What an import writes to: a `Store`."""

    def merge(self, series: Series, samples: Samples) -> int:
        """Add those samples that are not there yet; how many."""

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        """Add those events that are not there yet; how many."""

    def series(self) -> dict[int, Series]:
        """All that it has."""


def guess(path: str | Path) -> str:
    """Which of `KINDS` a file is, by its contents. Raises ImportProblem where it is none of them."""
    if URL.match(str(path)):
        return "history"
    try:
        with Path(path).open("rb") as file:
            head = file.read(4096)
    except IsADirectoryError as error:
        raise ImportProblem(f"{path} cannot be read: {error.strerror}; name the file in it") from error
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise ImportProblem(f"{path} is empty (0 bytes): there is nothing to import; look for another copy")
    if head.startswith(_DATABASE):
        return _guess_database(Path(path))
    if head.startswith(_RRD):
        raise ImportProblem(
            f"{path} is an RRD in the format of the machine that wrote it; turn it into XML there:"
            f" rrdtool dump {path} {path}.xml"
        )
    if b"<rrd" in head or (b"Round Robin Database" in head):
        return "rrd"
    raise ImportProblem(f"{path} is none of these: {'; '.join(KINDS.values())}")


def _guess_database(path: Path) -> str:
    with sqlite_file(path) as connection:
        if {"timestamp", "return_temp", "boiler_status"} <= set(columns(connection, "history")):
            return "chronos"
        if columns(connection, "m_POINTS") and columns(connection, "b_OBIS"):
            return "pyhm"
        if columns(connection, "blocks") and columns(connection, "rollups") and columns(connection, "series"):
            return "history"
        tables = [str(row[0]) for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    raise ImportProblem(
        f"{path} is a SQLite file, and of none of the systems that can be imported; its tables:"
        f" {', '.join(sorted(tables)) or 'none'}"
    )


def import_file(
    path: str | Path,
    store: Target,
    site: str | None,
    device: str | None,
    *,
    kind: str | None = None,
    time_zone: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Report:
    """Put what a file has into a store, as `device` of `site`; what `kind` it is, is seen from its contents.

    Only for kind `history` site and device may be None: then they are those that the file has. `time_zone` is short
    for that in `options`. Interrupted at any point, what is in the store is whole. Raises ImportProblem, and what the
    store raises; what came before stays.
    """
    kind = kind or guess(path)
    if kind not in KINDS:
        raise ImportProblem(f"{kind!r} cannot be imported; there is {', '.join(KINDS)}")
    if kind != "history" and not (site and device):
        raise ImportProblem(f"say the site and the device that the values of {path} shall belong to")
    options = options or Options()
    if time_zone is not None:
        options = replace(options, time_zone=time_zone)
    report = Report(kind, dry_run=dry_run)
    # Each brings libraries that the others do not need.
    read: Callable[..., Iterator[Found]] = import_module(f"{__name__}.{kind}").read
    tell: Progress = progress or (lambda _part: None)
    names = _Names(store)
    for found in read(path, site, device, options, report, tell):
        if isinstance(found, Run):
            series = names.settled(found.series, report)
            report.taken += len(found.samples)
            if not dry_run:
                report.new += store.merge(series, found.samples)
        else:
            report.events += len(found.events)
            if not dry_run:
                report.new_events += store.add_events(found.site, found.device, found.events)
    tell(1.0)
    return report


class _Names:
    """What the store has already stays as it is called there; says where it is there in another unit."""

    def __init__(self, store: Target) -> None:
        self._known: dict[tuple[str, str, str], dict[str, Series]] = {}
        for series in store.series().values():
            self._known.setdefault(series.name, {})[series.unit] = series

    def settled(self, series: Series, report: Report) -> Series:
        """The series with the store's label and kind. Two units of one key will be two series."""
        there = self._known.setdefault(series.name, {})
        if there and series.unit not in there:
            report.notes.append(
                f"{series.key} of {series.device} is there in {' and '.join(sorted(map(repr, there)))} too; what was"
                f" imported in {series.unit!r} stands beside it as a series of its own"
            )
        return there.setdefault(series.unit, series)
