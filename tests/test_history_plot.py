# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots of characters: spikes are seen, gaps are gaps, times and values are labelled roundly."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from historybench import NOW, plain

from rockit.history.model import DAY
from rockit.history.plot import Look, plot, time_ticks
from rockit.history.times import iso, iso_ms


def bucket_answer(unit: str = "degC", **series: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """Hours of a day from 2026-11-20T12:00 on: hour -> (minimum, maximum)."""
    return {
        "site": "", "device": "d", "start": iso_ms(NOW - DAY), "end": iso_ms(NOW), "level": "buckets", "bucket": 3600.0,
        "series": {
            key: {
                "label": "", "unit": unit, "kind": "gauge",
                "time": [iso(NOW - DAY + hour * 3_600_000) for hour in hours],
                "min": [low for low, _ in hours.values()], "max": [high for _, high in hours.values()],
            }
            for key, hours in series.items()
        },
    }  # fmt: skip


def marks(lines: list[str], sign: str = "*") -> dict[int, int]:
    """Column of the canvas -> how many marks are in it."""
    body = [line for line in lines if re.match(r" *[-\d.]*[+|]", line)]
    left = min(len(re.split("[+|]", line, maxsplit=1)[0]) + 1 for line in body)
    found: dict[int, int] = {}
    for line in body:
        for place, character in enumerate(line[left:]):
            if character == sign:
                found[place] = found.get(place, 0) + 1
    return found


def test_spikes_are_seen_and_gaps_are_gaps() -> None:
    hours = {hour: (10.0, 10.0) for hour in range(24) if not 8 <= hour < 14} | {4: (10.0, 20.0)}
    found = marks(list(plot(bucket_answer(a=hours), Look(100, 24, colour=False, unicode=False))))
    width = 100 - 4
    assert max(found.values()) > 12, "from the minimum to the maximum"
    assert abs(max(found, key=lambda place: found[place]) - width * 4.5 / 24) < 3
    gap = range(int(width * 8 / 24) + 1, int(width * 14 / 24))
    assert not [place for place in found if place in gap], "no line over a gap"
    assert [place for place in found if place < gap[0]]
    assert [place for place in found if place > gap[-1]]


def test_one_late_bucket_is_no_gap_and_one_alone_is_a_point() -> None:
    hours = dict.fromkeys([0, 1, 2, 4, 5, 6, 20], (1.0, 1.0))
    found = marks(list(plot(bucket_answer(a=hours), Look(100, 24, colour=False, unicode=False))))
    assert [b - a for a, b in pairwise(sorted(found)) if b - a > 1] == [max(found) - sorted(found)[-2]]


def test_quantities_that_share_a_unit_share_a_panel_and_are_told_apart() -> None:
    answer = bucket_answer(a={0: (1.0, 1.0), 1: (2.0, 2.0)}, b={0: (3.0, 3.0)}, c={1: (4.0, 4.0)})
    lines = list(plot(answer, Look(80, 24, colour=False, unicode=True)))
    assert "degC   ⣿ a   * b   o c" in lines
    assert len([line for line in lines if "└" in line]) == 1
    lines = list(plot(answer, Look(80, 24, colour=True, unicode=True)))
    assert any("\x1b[38;5;12m⣿ a" in line and "\x1b[38;5;9m⣿ b" in line for line in lines)


@pytest.mark.parametrize(
    "values",
    [{0: (0.0, 0.0)}, {0: (-1e-9, 1e-9)}, {0: (1e12, 1e12 + 1)}, {0: (-5.0, -5.0), 1: (7.0, 8.0)},
     dict.fromkeys(range(24), (0.0, 1.0)),
     {0: (-0.0, 0.0)}, {0: (1e300, 1e301)}, {0: (5e-324, 5e-324)}],
)  # fmt: skip
@pytest.mark.parametrize("look", [Look(80, 24, True, True), Look(40, 5, False, False), Look(200, 50, False, True)])
def test_any_values_can_be_plotted(values: dict[int, tuple[float, float]], look: Look) -> None:
    lines = [plain(line) for line in plot(bucket_answer(a=values), look)]
    assert max(map(len, lines[1:-1])) <= look.width
    assert re.search(r"[*\u2801-\u28ff]", "".join(lines[2:]))


@pytest.mark.parametrize(
    ("span", "width", "first", "count"),
    [(60_000, 80, "11:59:00", 7), (3_600_000, 80, "11:00", 7), (DAY, 80, "12:00", 9), (2 * DAY, 80, "11-19 12:00", 5),
     (30 * DAY, 80, "10-26", 7), (400 * DAY, 80, "2025-11", 7), (5000 * DAY, 80, "2014", 7), (DAY, 200, "12:00", 25),
     (1000, 40, "11:59:59", 2), (10, 40, "12:00:00", 1)],
)  # fmt: skip
def test_times_are_labelled_roundly(span: int, width: int, first: str, count: int) -> None:
    positions, labels = time_ticks(NOW - span, NOW, width)
    assert all(NOW - span <= position <= NOW for position in positions)
    assert len(positions) == len(labels)
    assert sum(len(label) + 2 for label in labels) <= width + 2
    assert (labels[0], len(labels)) == (first, count)
