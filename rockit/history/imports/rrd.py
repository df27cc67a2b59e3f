# SPDX-License-Identifier: GPL-3.0-or-later
"""RRD (PowerPi and others): XML as `rrdtool dump FILE` prints it.

Each data source becomes a series under its name. An RRD keeps the same time several times, finer for a short while and
coarser for long: a value is taken from the finest archive that reaches back so far, and from a coarser one only for
intervals that end before the first known value of the finer ones begins. Values of an RRD are those of an interval, as
a rule averages; the time of a sample is the end of its interval, as `rrdtool fetch` prints it. `NaN` is unknown: no
sample. A dump has 11 digits.

The file is read in pieces, twice (how many rows an archive has, and so its times, shows at its end), with a parser that
loads nothing from elsewhere and refuses a file that declares entities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from rockit.common.quality import Quality
from rockit.history.imports.base import MOST, Found, ImportProblem, Options, Progress, Report, plausible_time, run_of
from rockit.history.model import Series

_PIECE = 65_536
_LONGEST_TEXT = 256
_DEEPEST = 16
_PREFERRED = ("AVERAGE", "LAST", "MAX", "MIN")
"""Values are those of the first of these that the file has archives of."""
_RATES = ("COUNTER", "DERIVE", "DCOUNTER", "DDERIVE", "ABSOLUTE")
_KNOWN_UNITS = {"power": "W"}
"""Of PowerPi's one data source."""
_WANTED = {
    "rrd/step", "rrd/lastupdate", "rrd/ds/name", "rrd/ds/type",
    "rrd/rra", "rrd/rra/cf", "rrd/rra/pdp_per_row", "rrd/rra/database/row", "rrd/rra/database/row/v",
}  # fmt: skip


@dataclass
class _Archive:
    """`res` in s; `first`: for each data source the number of the first row with a known value."""

    function: str = ""
    res: int = 0
    rows: int = 0
    first: dict[int, int] = field(default_factory=dict)
    last_time: int = 0
    """Of the last row, s since 1970."""
    limits: dict[int, int] = field(default_factory=dict)
    """For each data source: the last time that is taken from here, s since 1970; absent: all are."""

    def time(self, row: int) -> int:
        """The end of a row's interval, s since 1970."""
        return self.last_time - (self.rows - 1 - row) * self.res


@dataclass
class _Survey:
    """All of a dump but its values."""

    step: int = 0
    updated: int = 0
    names: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    archives: list[_Archive] = field(default_factory=list)


def read(
    path: str | Path, site: str, device: str, options: Options, report: Report, progress: Progress
) -> Iterator[Found]:
    """All data sources. Raises ImportProblem."""
    survey = _survey(Path(path), lambda part: progress(part / 2))
    function = next((name for name in _PREFERRED if any(one.function == name for one in survey.archives)), None)
    if function is None or not survey.names:
        raise ImportProblem(f"{path} has no archive of values ({', '.join(_PREFERRED)})")
    _share(survey, function)
    series = [
        Series(site, device, name, options.units.get(name, _KNOWN_UNITS.get(name, "")), _label(name, function))
        for name in survey.names
    ]
    report.notes += _notes(survey, function, series)
    columns: list[list[tuple[int, float, int]]] = [[] for _ in series]
    waiting = 0
    for archive, row, values in _rows(Path(path), survey, lambda part: progress(0.5 + part / 2)):
        report.rows += 1
        when = archive.time(row)
        for number, text in enumerate(values):
            sample = _judged(archive, function, number, when, text)
            if isinstance(sample, str):
                report.leave(sample)
            elif number >= len(columns):
                report.leave("the row has more values than there are data sources")
            else:
                columns[number].append((when * 1000, sample, Quality.GOOD))
                waiting += 1
        report.leave("the row ends before it", max(len(columns) - len(values), 0))
        if waiting + len(columns) > MOST:
            waiting = 0
            for one, column in zip(series, columns, strict=True):
                if column:
                    yield run_of(one, column, report)
                    column.clear()
    for one, column in zip(series, columns, strict=True):
        if column:
            yield run_of(one, column, report)


def _judged(archive: _Archive, function: str, number: int, when: int, text: str) -> float | str:
    """A value that is taken, or the reason why not."""
    try:
        value = float(text)
    except ValueError:
        return "it is no number"
    if math.isnan(value):
        return "unknown (NaN)"
    if archive.function != function:
        return f"of an archive of {archive.function or 'no'} values; taken are those of {function}"
    if when > archive.limits.get(number, when):
        return "coarser than what a finer archive has of the same time"
    if math.isinf(value):
        return "it is no number"
    if not plausible_time(when * 1000):
        return "its time cannot be one"
    return value


def _share(survey: _Survey, function: str) -> None:
    """Give each archive its last row's time, and the time up to which it counts."""
    taken = [archive for archive in survey.archives if archive.function == function]
    begin: dict[int, int] = {}
    for archive in survey.archives:
        archive.last_time = survey.updated - survey.updated % archive.res
    for archive in sorted(taken, key=lambda one: one.res):
        archive.limits = dict(begin)
        for number, row in archive.first.items():
            start = archive.time(row) - archive.res
            begin[number] = min(start, begin.get(number, start))


def _label(name: str, function: str) -> str:
    kind = {"AVERAGE": "", "LAST": ", last of each interval", "MAX": ", greatest", "MIN": ", least"}[function]
    return f"{name.replace('_', ' ').capitalize()}{kind}"


def _notes(survey: _Survey, function: str, series: list[Series]) -> Iterator[str]:
    lengths = sorted({archive.res for archive in survey.archives if archive.function == function})
    what = {"AVERAGE": "averages over", "LAST": "the last of each", "MAX": "the greatest of", "MIN": "the least of"}
    yield (
        f"values are {what[function]} {', '.join(f'{length} s' for length in lengths)}, the finest that there is of"
        " each time; a sample stands at the end of its interval"
    )
    for one, kind in zip(series, survey.types, strict=True):
        if kind in _RATES:
            yield f"{one.key} is of type {kind}: an RRD keeps its growth per second, not the counter itself"
        if not one.unit:
            yield f"an RRD does not say units: {one.key} is recorded without one, unless it is given"


def _survey(path: Path, progress: Progress) -> _Survey:
    """First pass."""
    survey = _Survey()
    archive = _Archive()
    values: list[str] = []
    for name, text in _elements(path, progress):
        if name == "rrd/step":
            survey.step = _whole(text, "step", path)
        elif name == "rrd/lastupdate":
            survey.updated = _whole(text, "lastupdate", path)
        elif name == "rrd/ds/name":
            survey.names.append(text)
        elif name == "rrd/ds/type":
            survey.types.append(text)
        elif name == "rrd/rra/cf":
            archive.function = text
        elif name == "rrd/rra/pdp_per_row":
            archive.res = _whole(text, "pdp_per_row", path) * survey.step
        elif name == "rrd/rra/database/row/v":
            values.append(text)
        elif name == "rrd/rra/database/row":
            for number, value in enumerate(values):
                if number not in archive.first and _known(value):
                    archive.first[number] = archive.rows
            archive.rows += 1
            values.clear()
        else:
            survey.archives.append(archive)
            archive = _Archive()
        if len(survey.archives) > MOST or len(survey.names) > MOST or len(values) > MOST:
            raise ImportProblem(f"{path} is no dump of an RRD: it has thousands of what an RRD has a few")
    if not survey.step or not survey.updated or not all(one.res for one in survey.archives):
        raise ImportProblem(f"{path} is no whole dump of an RRD: step, lastupdate or pdp_per_row are missing")
    if len(survey.types) != len(survey.names) or len(set(survey.names)) != len(survey.names):
        raise ImportProblem(f"{path} is no dump of an RRD: names and types of its data sources do not go together")
    return survey


def _rows(path: Path, survey: _Survey, progress: Progress) -> Iterator[tuple[_Archive, int, list[str]]]:
    """Second pass: archive, number of the row, its values. Raises ImportProblem where the file is another by now."""
    archive = row = 0
    values: list[str] = []
    for name, text in _elements(path, progress):
        if name == "rrd/rra/database/row/v":
            values.append(text)
        elif name == "rrd/rra/database/row":
            if archive >= len(survey.archives) or row >= survey.archives[archive].rows:
                raise _changed(path)
            yield survey.archives[archive], row, values
            row += 1
            values = []
        elif name == "rrd/rra":
            archive, row = archive + 1, 0
        elif name == "rrd/lastupdate" and _whole(text, "lastupdate", path) != survey.updated:
            raise _changed(path)  # a newer dump in its place would give its values older times


def _changed(path: Path) -> ImportProblem:
    return ImportProblem(f"{path} was changed while it was read; import it again")


def _known(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _whole(text: str, what: str, path: Path) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) > 0:
        return int(text)
    raise ImportProblem(f"{path}: {what} is {text!r}, and must be a number above 0")


def _elements(path: Path, progress: Progress) -> Iterator[tuple[str, str]]:
    """(place, text) of each element of `_WANTED`, at its end. Raises ImportProblem."""
    parser = expat.ParserCreate()
    parser.buffer_text = True
    ended: list[tuple[str, str]] = []
    places: list[str] = [""]
    parts: list[str] = []

    def begin(name: str, _attributes: object) -> None:
        places.append(f"{places[-1]}/{name}" if places[-1] else name)
        parts.clear()
        if len(places) > _DEEPEST:
            raise ImportProblem(f"{path} is no dump of an RRD: its elements are nested too deeply")

    def text(data: str) -> None:
        if places[-1] in _WANTED:
            parts.append(data)
            if sum(map(len, parts)) > _LONGEST_TEXT:
                # Spaces between elements too: no dump has so many.
                raise ImportProblem(f"{path} is no dump of an RRD: {places[-1]} is too long")

    def end(_name: str) -> None:
        place = places.pop()
        if place in _WANTED:
            ended.append((place, "".join(parts).strip()))
        parts.clear()

    def refuse(*_what: object) -> None:
        raise ImportProblem(f"{path} declares or uses entities, which no dump of rrdtool does; it was not read")

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = begin, text, end
    # `<!DOCTYPE rrd SYSTEM …>` stands in every dump: expat loads nothing by itself, and gets no handler that would.
    parser.EntityDeclHandler = parser.UnparsedEntityDeclHandler = parser.SkippedEntityHandler = refuse
    size = max(path.stat().st_size, 1)
    done = 0
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                parser.Parse(piece)
                yield from ended
                ended.clear()
                done += len(piece)
                progress(min(done / size, 1.0))
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ImportProblem(f"{path} is damaged XML ({error}); dump the RRD again") from error
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read: {error.strerror}") from error
    yield from ended
