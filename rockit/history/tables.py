# SPDX-License-Identifier: GPL-3.0-or-later
"""What was recorded as text: tables for people, CSV for programs, and the sentences around both."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rockit.common.cli import styled
from rockit.common.errors import Code, CommandError
from rockit.history.pages import QUALITY, Answer, Columns, add_page, in_order, rows
from rockit.history.times import iso, iso_ms, ms_of

GAP = "   "
_MARKS = ("", "?", "!")
_QUALITIES = ("good", "uncertain", "bad")
_EVENT = ("time", "kind", "name", "value", "detail", "who")


def heading(answer: Answer) -> str:
    """Of which device, and from when to when."""
    site = f" at {answer['site']}" if answer["site"] else ""
    return f"{answer['device']}{site}, {moment(answer['start'])} to {moment(answer['end'])} UTC"


def moment(time: str) -> str:
    """A time for people: the second is enough, or the minute."""
    return iso(ms_of(time)).rstrip("Z").replace("T", " ").removesuffix(":00")


def span(seconds: float) -> str:
    """How long something is."""
    for unit, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= unit and (seconds * 4 / unit).is_integer():
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def title(key: str, series: dict[str, Any]) -> str:
    """A quantity and its unit."""
    return f"{key} [{series['unit']}]" if series["unit"] else key


def table_lines(answer: Answer, width: int | None) -> Iterator[str]:
    """A table no wider than `width` characters (None: any width); what does not fit side by side follows below."""
    yield styled(heading(answer), bold=True)
    cells = {key: _cells(series, answer["level"]) for key, series in answer["series"].items()}
    filled = {title(key, answer["series"][key]): column for key, column in cells.items() if column}
    if filled:
        first = "time (UTC)"
        times = [ms_of(time) for time in dict.fromkeys(sorted(time for column in filled.values() for time in column))]
        texts = [iso_ms(time) for time in times]
        shown = dict(zip(texts, _alike(texts), strict=True))
        for part in _side_by_side(filled, width, max(len(first), *map(len, shown.values()))):
            yield ""
            keyed = [[first, *part], *([shown[t], *(c.get(t, "") for c in part.values())] for t in texts)]
            yield from _aligned([row for row in keyed if any(row[1:])])
        yield ""
    yield from wrapped(notes(answer), width)


def wrapped(sentences: Iterable[str], width: int | None) -> Iterator[str]:
    """Sentences on lines of at most `width` characters (None: as long as they are), a longer word on its own line."""
    for text in sentences:
        if width is None:
            yield text
        else:  # a name with a hyphen stays whole, so that it can be copied
            yield from textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def notes(answer: Answer) -> Iterator[str]:
    """What a table or a plot leaves open: what its figures are, what grew, what was not recorded, what is broken."""
    shown = {key: series for key, series in answer["series"].items() if series["time"]}
    if not shown:
        yield f"Nothing was recorded between {moment(answer['start'])} and {moment(answer['end'])} UTC."
    elif answer["level"] == "raw":
        marks = any(any(series.get(QUALITY, ())) for series in shown.values())
        yield f"Samples as they were recorded.{' ?: uncertain, !: bad.' if marks else ''}"
    else:
        kinds = {series["kind"] for series in shown.values()}
        gauge = "mean (minimum to maximum)" if "gauge" in kinds else ""
        counter = "last reading of each counter" if "counter" in kinds else ""
        figures = ", ".join(filter(None, (gauge, counter)))
        yield f"Buckets of {span(answer['bucket'])}: {figures}; those without samples are absent."
        yield from cut_buckets(answer)
    for key, series in shown.items():
        if grown := series.get("difference"):
            resets = f", reset {grown['resets']} times" if grown["resets"] else ""
            unit = f" {series['unit']}" if series["unit"] else ""
            ends = f"between {moment(grown['from'])} and {moment(grown['to'])}"
            yield f"{key} grew by {grown['value']!r}{unit} {ends}{resets}."
    for key, series in answer["series"].items():
        if key not in shown:
            newest = series.get("latest")
            last = f"the newest is {newest['value']!r} of {moment(newest['time'])}" if newest else "never before either"
            yield f"{key}: none in this range; {last}."


def cut_buckets(answer: Answer) -> Iterator[str]:
    """A sentence about the buckets that the ends of the range cut, if there are any."""
    times = [ms_of(time) for series in answer["series"].values() for time in series["time"][:1] + series["time"][-1:]]
    if answer["level"] == "raw" or not times:
        return
    before = min(times) < ms_of(answer["start"])
    after = max(times) + round(answer["bucket"] * 1000) > ms_of(answer["end"])
    if ends := " and the ".join(name for name, cut in (("first", before), ("last", after)) if cut):
        yield f"Of the {ends} bucket only what lies in the range is counted."


def event_lines(events: Sequence[dict[str, str]]) -> Iterator[str]:
    """What happened, one event a line."""
    if not events:
        yield "No events in this range."
        return
    times = _alike([event["time"] for event in events])
    lines = [
        [time, *(_plain(event.get(key, "")) for key in _EVENT[1:])] for time, event in zip(times, events, strict=True)
    ]
    yield from _aligned([["time (UTC)", *_EVENT[1:]], *lines], right=False)


def event_csv(events: Iterable[dict[str, str]]) -> Iterator[str]:
    """Events as lines of CSV."""
    yield _csv(_EVENT)
    for event in events:
        yield _csv([event.get(key, "") for key in _EVENT])


def csv_lines(answers: Iterable[Answer]) -> Iterator[str]:
    """A line for each time, page by page, so of any length in no memory. Raises CommandError.

    The last column, of samples, names those that are not good: `water_temp=bad`.
    """
    head: list[tuple[str, str]] | None = None
    for answer in answers:
        known: Columns = {}
        add_page(known, answer)
        columns = [column for column in in_order(known) if column.figure != QUALITY]
        names = [(column.name, column.unit) for column in columns]
        raw = answer["level"] == "raw"
        if head is None:
            head = names
            units = [f"{name} [{unit}]" if unit else name for name, unit in names]
            yield _csv(["time", *units, *([QUALITY] if raw else [])])
        if names != head:
            text = "what the daemon records has changed while it was read; ask again"
            raise CommandError(Code.FAILED, text)
        doubted = _doubted(answer)
        for time, values in rows(columns):
            text = iso_ms(time)
            quality = [doubted.get(text, "")] if raw else []
            yield _csv([text, *("" if value is None else repr(value) for value in values), *quality])


def _doubted(answer: Answer) -> dict[str, str]:
    """Time -> what is not good then."""
    found: dict[str, list[str]] = {}
    for key, series in answer["series"].items():
        for time, quality in zip(series["time"], series.get(QUALITY, ()), strict=False):
            if quality:
                found.setdefault(time, []).append(f"{key}={_QUALITIES[quality]}")
    return {time: " ".join(names) for time, names in found.items()}


def _cells(series: dict[str, Any], level: str) -> dict[str, str]:
    """Time (with milliseconds) -> text."""
    if level == "raw":
        digits = _decimals(series["value"])
        qualities = series.get(QUALITY) or [0] * len(series["time"])
        texts = [_number(value, digits) + _MARKS[q] for value, q in zip(series["value"], qualities, strict=True)]
    elif series["kind"] == "counter":
        digits = _decimals(series["last"])
        texts = [_number(value, digits) for value in series["last"]]
    else:
        digits = _decimals([*series["min"], *series["max"]])
        texts = []
        for low, mean, high in zip(series["min"], series["mean"], series["max"], strict=True):
            between = f" ({_number(low, digits)} to {_number(high, digits)})" if low != high else ""
            texts.append(_number(mean, digits + 1 if between else digits) + between)
    return {iso_ms(ms_of(time)): text for time, text in zip(series["time"], texts, strict=True)}


def _decimals(values: Sequence[float | None]) -> int:
    """Digits after the point that show a column as it is: three, or six where all are small, at most."""
    given = [value for value in values if value is not None]
    most = 3 if max(map(abs, given), default=0.0) >= 1 else 6
    return min(most, max((len(repr(float(v)).partition(".")[2].rstrip("0")) for v in given), default=0))


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 1e15 else f"{value:g}"


def _alike(texts: Sequence[str]) -> list[str]:
    """Times for people, all to the same digit."""
    times = [text.rstrip("Z").replace("T", " ") for text in texts]
    for ending in (".000", ":00"):
        if all(time.endswith(ending) for time in times):
            times = [time.removesuffix(ending) for time in times]
    return times


def _side_by_side(
    columns: dict[str, dict[str, str]], width: int | None, first: int
) -> Iterator[dict[str, dict[str, str]]]:
    part: dict[str, dict[str, str]] = {}
    used = first
    for name, column in columns.items():
        wide = len(GAP) + max(len(name), *map(len, column.values()))
        if part and width is not None and used + wide > width:
            yield part
            part, used = {}, first
        part[name] = column
        used += wide
    yield part


def _aligned(lines: Sequence[Sequence[str]], *, right: bool = True) -> Iterator[str]:
    """Columns under their names, which are the first line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        first, *rest = zip(line, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(text.rjust(wide) if right else text.ljust(wide) for text, wide in rest)]
        yield styled(GAP.join(cells).rstrip(), bold=True) if number == 0 else GAP.join(cells).rstrip()


def _plain(text: str) -> str:
    """What others wrote, fit for a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _csv(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()
