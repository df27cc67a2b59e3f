# SPDX-License-Identifier: GPL-3.0-or-later
"""What was recorded as a plot of characters: a panel for each unit, each bucket from its minimum to its maximum.

Imports plotext; not for start-up. What cannot be seen on the terminal in hand (colour, braille) is told by characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any

import click
import plotext

from rockit.history.model import DAY, MINUTE
from rockit.history.pages import Answer
from rockit.history.tables import heading, notes, wrapped
from rockit.history.times import ms_of

LEAST_HEIGHT = 9
"""Of a panel with its name and its axis; more panels than fit scroll."""
LEAST_WIDTH = 40
_COLOURS = (12, 9, 10, 13, 14, 11, 4, 1, 2, 5, 6, 3)
_BRAILLE = "braille"
_CHARACTERS = "*ox+#@%&"
_ASCII = str.maketrans({**dict.fromkeys("┌┐└┘├┤┬┴┼", "+"), "─": "-", "│": "|"})
_HOUR = 60 * MINUTE
_STEPS = [n * 1000 for n in (1, 2, 5, 10, 15, 30)] + [n * MINUTE for n in (1, 2, 5, 10, 15, 30)]
_STEPS += [n * _HOUR for n in (1, 2, 3, 6, 12)] + [n * DAY for n in (1, 2, 4, 7, 14)]
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 240)
_GAP = 2.5
"""So many times the usual distance between two points is a gap: one that is late is none."""


@dataclass(frozen=True)
class Look:
    """What the plot is shown on: characters and lines, and what it knows to show."""

    width: int
    height: int
    colour: bool
    unicode: bool

    @property
    def points(self) -> int:
        """Buckets that can be told apart: two to a character, in braille."""
        return (2 if self.unicode else 1) * max(1, self.width - 9)


Marker = tuple[str, int | None]
Scale = tuple[tuple[float, float], dict[float, str]]
"""Lowest and highest value, and labels at values between them."""


@dataclass(frozen=True)
class Run:
    """Points without a gap: times (ms), and what lies between them at each."""

    times: list[int]
    lows: list[float]
    highs: list[float]


def plot(answer: Answer, look: Look) -> Iterator[str]:
    """The lines of the plot."""
    yield click.style(heading(answer), bold=True) if look.colour else heading(answer)
    start, end = ms_of(answer["start"]), ms_of(answer["end"])
    panels: dict[str, dict[str, list[Run]]] = {}
    for key, series in answer["series"].items():
        if series["time"]:
            panels.setdefault(series["unit"], {})[key] = _runs(series, answer, start, end)
    height = max(LEAST_HEIGHT, (look.height - 4) // max(1, len(panels)))
    scales = {unit: _scale(panel, height - 3) for unit, panel in panels.items()}
    margin = max((len(label) for _, labels in scales.values() for label in labels.values()), default=0)
    for unit, panel in panels.items():
        markers = _markers(panel, look)
        names = _names(unit, markers, look)
        yield from names
        yield from _panel(panel, markers, scales[unit], (start, end), margin, height - len(names), look)
    said = (note.replace("mean (minimum to maximum)", "from minimum to maximum") for note in notes(answer))
    yield from wrapped(said, look.width)


def _runs(series: dict[str, Any], answer: Answer, start: int, end: int) -> list[Run]:
    """The points of one quantity, apart where nothing was recorded between them."""
    half = round(answer["bucket"] * 500)
    times = [min(max(ms_of(time) + half, start), end) for time in series["time"]]
    raw = answer["level"] == "raw"
    lows, highs = (series["value"], series["value"]) if raw else (series["min"], series["max"])
    usual = max(2 * half, median([b - a for a, b in pairwise(times)])) if len(times) > 1 else 0
    breaks = [index for index in range(1, len(times)) if times[index] - times[index - 1] > _GAP * usual]
    return [Run(times[a:b], lows[a:b], highs[a:b]) for a, b in pairwise([0, *breaks, len(times)])]


def _markers(panel: dict[str, list[Run]], look: Look) -> dict[str, Marker]:
    """Key -> marker and colour: by colour where there is any, else by characters."""
    signs = [_BRAILLE] if look.unicode else [_CHARACTERS[0]]
    if not look.colour or not look.unicode:
        signs += [sign for sign in _CHARACTERS if sign not in signs]
    colours = _COLOURS if look.colour else (None,)
    return {key: (signs[n % len(signs)], colours[n % len(colours)]) for n, key in enumerate(panel)}


def _names(unit: str, markers: dict[str, Marker], look: Look) -> list[str]:
    """What a panel shows, with the marker of each; more than one line where it must be."""
    lines, used = [unit or "no unit"], len(unit or "no unit")
    for key, (sign, colour) in markers.items():
        text = f"{'⣿' if sign == _BRAILLE else sign} {key}"
        if used + 3 + len(text) > look.width:
            lines.append("")
            used = 0
        lines[-1] += "   " + (text if colour is None else click.style(text, fg=colour))
        used += 3 + len(text)
    return lines


def _panel(
    panel: dict[str, list[Run]], markers: dict[str, Marker], scale: Scale,
    ends: tuple[int, int], margin: int, height: int, look: Look,
) -> Iterator[str]:  # fmt: skip
    plotext.terminal.limit(False, False)  # in a pipe there is no terminal that could limit it
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if look.colour else "colorless")
    figure.plot_size(look.width, height)
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    for key, runs in panel.items():
        sign, colour = markers[key]
        figure.draw(_signal(figure, runs, plotext.marker(sign, pixel=colour)))
    limits, labels = scale
    figure.ruler("y", "left").lim(*limits).ticks(list(labels), [label.rjust(margin) for label in labels.values()])
    positions, texts = time_ticks(*ends, look.width - margin - 1)
    figure.ruler("x", "lower").lim(*ends).ticks(positions, texts)
    text = str(figure.build())
    if not look.colour:
        text = plotext.uncolorize(text)
    if not look.unicode:
        text = text.translate(_ASCII)
    for line in text.splitlines():
        yield line.rstrip()


def _signal(figure: Any, runs: list[Run], marker: Any) -> Any:
    """A line up and down through all buckets of a run, which makes a band of them; none across gaps."""
    x: list[int] = []
    y: list[float] = []
    begins: list[int] = []
    for run in runs:
        begins.append(len(x))
        for number, (time, low, high) in enumerate(zip(run.times, run.lows, run.highs, strict=True)):
            x += [time] if low == high else [time, time]
            y += [low] if low == high else [low, high] if number % 2 == 0 else [high, low]
    signal = figure.signal(x, y, marker=marker).lines(True)
    for index in begins:
        signal.line(index, False)
    return signal


def _scale(panel: dict[str, list[Run]], rows: int) -> Scale:
    """Limits of the values, and round values between them with their labels."""
    low = min(min(run.lows) for runs in panel.values() for run in runs)
    high = max(max(run.highs) for runs in panel.values() for run in runs)
    if high == low:
        room = abs(high) * 0.01 or 0.5
        low, high = low - room, high + room
    ticks: list[float] = []
    step = high - low
    for wanted in (max(2, rows // 3), max(4, rows // 2), 8):
        if len(ticks) < 2:
            step = _round_step((high - low) / wanted)
            ticks = [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
    digits = max(0, -math.floor(math.log10(step)))
    return (low, high), {tick: f"{tick:.{digits}f}" for tick in ticks}


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= least * 0.999), 10 * power)


def time_ticks(start: int, end: int, width: int) -> tuple[list[int], list[str]]:
    """Round times (UTC) in a range of ms, as close as their labels allow on `width` characters."""
    for step in _STEPS:
        form = "%H:%M:%S" if step < MINUTE else "%m-%d" if step >= DAY else "%H:%M"
        if end - start > DAY + MINUTE and step < DAY:
            form = f"%m-%d {form}"
        times = range(-(-start // step) * step, end + 1, step) if (end - start) // step < width else ()
        labels = [datetime.fromtimestamp(time / 1000, UTC).strftime(form) for time in times]
        if times and len(labels) * (len(labels[0]) + 3) <= width:
            return list(times), labels
    begin, until = datetime.fromtimestamp(start / 1000, UTC), datetime.fromtimestamp(end / 1000, UTC)
    for months in _MONTHS:
        form = "%Y" if months % 12 == 0 else "%Y-%m"
        numbers = range(-(-(begin.year * 12 + begin.month) // months) * months, until.year * 12 + until.month, months)
        dates = [datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in numbers]
        if len(dates) * 10 <= width:
            break
    return [round(date.timestamp() * 1000) for date in dates], [date.strftime(form) for date in dates]
