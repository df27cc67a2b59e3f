# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon's `history()` answers, for whoever asked: page by page, or as columns that can hold a year.

A column takes 16 bytes a sample, so a million samples 16 MB; as they come in the answers they take 120 bytes each.
"""

from __future__ import annotations

from array import array
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, repeat
from math import nan
from operator import ge, itemgetter
from typing import Any

from rockit.common.errors import Code, CommandError
from rockit.history import block, times

Answer = dict[str, Any]
QUALITY = "quality"
FIGURES = {"count": "number of samples", "min": "minimum", "mean": "mean", "max": "maximum", "last": "last value"}
"""What is told of a bucket, with what that is in words."""


@dataclass(frozen=True)
class Question:
    """What to ask for: keys (None: all that is measured), the ends as text or None, and buckets or None for samples."""

    keys: list[str] | None
    start: str | None
    end: str | None = None
    points: int | None = None


@dataclass
class Column:
    """One figure of one quantity. `figure` is empty for the samples themselves, else "quality" or one of FIGURES."""

    key: str
    figure: str
    label: str
    unit: str
    times: array[int]
    """ms since 1970, ascending."""
    values: array[Any]

    @property
    def name(self) -> str:
        """Its name in a table."""
        return f"{self.key}_{self.figure}" if self.figure else self.key

    @property
    def integer(self) -> bool:
        """Whether it counts instead of measuring."""
        return self.values.typecode != "d"


Columns = dict[tuple[str, str], Column]
"""By key and figure."""


@dataclass
class Recorded:
    """What was recorded between two times (ms)."""

    site: str
    device: str
    start: int
    end: int
    bucket: float
    """Length of a bucket, s; 0 where there are samples as they came."""
    columns: list[Column] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What the daemon could not read, in sentences."""

    def __len__(self) -> int:
        """How many values there are, without what is told of them."""
        return sum(len(column.values) for column in self.columns if column.figure in ("", "last"))


def pages(client: Any, question: Question, *, packed: bool = False) -> Iterator[Answer]:
    """All answers to one question, one after the other; `packed` for programs. Raises CommandError."""
    start, end = question.start, question.end
    reached: int | None = None
    while True:
        answer: Answer
        if packed:
            answer = client.history_blocks(question.keys, start, end)
        else:
            answer = client.history(question.keys, start, end, question.points)
        yield answer
        if "next" not in answer:
            return
        start = answer["next"]
        following = times.ms_of(answer["next"])
        if following <= (times.ms_of(answer["start"]) if reached is None else reached):
            raise CommandError(Code.FAILED, f"the daemon's pages go in circles at {start}; what follows was not read")
        reached = following
        if end is None or times.is_age(end):
            end = answer["end"]  # now, as it was when we began


def joined(answers: Iterable[Answer]) -> Answer:
    """Pages as if they were one answer."""
    whole: Answer = {}
    for answer in answers:
        if not whole:
            whole = {key: value for key, value in answer.items() if key != "next"}
            continue
        for key, more in answer["series"].items():
            known = whole["series"].setdefault(key, more)
            if known is not more:
                if QUALITY in known or QUALITY in more:
                    known[QUALITY] = [*_qualities(known), *_qualities(more)]
                known["time"] += more["time"]
                known["value"] += more["value"]
        if "problems" in answer:
            whole["problems"] = list(dict.fromkeys(whole.get("problems", []) + answer["problems"]))
    return whole


def add_page(known: Columns, answer: Answer) -> None:
    """Put what an answer holds at the end of the columns that are known. Raises CommandError."""
    for key, packed in answer["series"].items():
        series, moments = _unpacked(key, packed)
        for figure in ("",) if answer["level"] == "raw" else FIGURES:
            numbers = series.get(figure or "value")
            if numbers is not None:
                _extend(_column(known, key, figure, series), moments, numbers)
        if any(series.get(QUALITY, ())) or (key, QUALITY) in known:
            column = _column(known, key, QUALITY, series)
            column.times = known[key, ""].times
            column.values.extend(bytes(len(column.times) - len(moments) - len(column.values)))
            column.values.extend(_qualities(series))


def collect(client: Any, question: Question, progress: Callable[[Recorded, int], None]) -> Recorded:
    """All that the question asks for. `progress` gets what there is and the time (ms) that it reaches to.

    Raises CommandError.
    """
    known: Columns = {}
    recorded: Recorded | None = None
    for answer in pages(client, question, packed=question.points is None):
        add_page(known, answer)
        if recorded is None:
            ends = times.ms_of(answer["start"]), times.ms_of(answer["end"])
            recorded = Recorded(answer["site"], answer["device"], *ends, answer["bucket"])
        recorded.columns = in_order(known)
        recorded.problems = list(dict.fromkeys(recorded.problems + answer.get("problems", [])))
        progress(recorded, times.ms_of(answer["next"]) if "next" in answer else recorded.end)
    assert recorded is not None, "there is a first page"
    return recorded


def in_order(known: Columns) -> list[Column]:
    """Key after key as they came; each followed by what is told of it."""
    keys = list(dict.fromkeys(key for key, _ in known))
    return [known[key, figure] for key in keys for figure in ("", *FIGURES, QUALITY) if (key, figure) in known]


def rows(columns: Sequence[Column]) -> Iterator[tuple[int, list[float | None]]]:
    """A row for each time that any column has: the time (ms), and for each column a value, or None for none."""

    def cells(index: int, column: Column) -> Iterator[tuple[int, int, float]]:
        return zip(column.times, repeat(index, len(column.times)), column.values, strict=True)

    merged = merge(*(cells(index, column) for index, column in enumerate(columns)))
    for time, group in groupby(merged, key=itemgetter(0)):
        row: list[float | None] = [None] * len(columns)
        for _, index, value in group:
            row[index] = value
        yield time, row


def _unpacked(key: str, series: dict[str, Any]) -> tuple[dict[str, Any], array[int]]:
    """A series with its samples, and their times."""
    if "blocks" not in series:
        return series, array("q", map(times.ms_of, series.get("time", ())))
    moments, values, qualities = array("q"), array("d"), bytearray()
    for text in series["blocks"]:
        try:
            samples = block.decode(b64decode(text))
        except (block.BlockError, ValueError) as error:
            raise CommandError(Code.FAILED, f"the daemon's answer about {key} is damaged: {error}") from None
        moments.extend(samples.times)
        values.extend(samples.values)
        qualities += samples.qualities or bytes(len(samples))
    return {**series, "value": values, QUALITY: qualities}, moments


def _qualities(series: dict[str, Any]) -> Sequence[int]:
    given: Sequence[int] = series[QUALITY] if QUALITY in series else bytes(len(series["time"]))
    return given


def _column(known: Columns, key: str, figure: str, series: dict[str, Any]) -> Column:
    """The column as it is known, or a new one."""
    if (key, figure) not in known:
        label, unit = series.get("label", ""), series.get("unit", "")
        what = "quality (0 good, 1 uncertain, 2 bad)" if figure == QUALITY else FIGURES.get(figure, "")
        label = ", ".join(filter(None, (label, what)))
        values: array[Any] = array("d")
        if figure in ("count", QUALITY):
            values, unit = array("q" if figure == "count" else "b"), ""
        known[key, figure] = Column(key, figure, label, unit, array("q"), values)
    return known[key, figure]


def _extend(column: Column, moments: array[int], numbers: Sequence[float | None]) -> None:
    before = column.times[-1:] + moments
    if any(map(ge, before, before[1:])):
        raise CommandError(Code.FAILED, f"the daemon's answer about {column.key} is not in order of time")
    column.times.extend(moments)
    column.values.extend([nan if number is None else number for number in numbers])
    if len(column.times) != len(column.values):
        raise CommandError(Code.FAILED, f"the daemon's answer about {column.key} has times without values")
