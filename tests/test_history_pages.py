# SPDX-License-Identifier: GPL-3.0-or-later
"""What a daemon's history answers, page by page, as columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy import units
from test_history_export import TEN, read_back, written

from rockit.common.errors import Code, CommandError
from rockit.history.pages import FIGURES, Question, collect, joined, pages, rows
from rockit.history.times import iso_ms


class Pages:
    """A daemon that answers what it is given, and knows what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    def history(self, *question: Any) -> dict[str, Any]:
        self.asked.append(question)
        return self.answers[len(self.asked) - 1]

    def history_blocks(self, *question: Any) -> dict[str, Any]:
        return self.history(*question, None)


def page(start: int, samples: dict[str, dict[int, float]], following: int | None = None, **more: Any) -> dict[str, Any]:
    series = {
        key: {"label": key, "unit": "degC", "kind": "gauge", "time": [*map(iso_ms, one)], "value": [*one.values()]}
        for key, one in samples.items()
    }
    answer = {
        "site": "s", "device": "d", "start": iso_ms(start), "end": iso_ms(TEN + 900), "level": "raw", "bucket": 0.0,
        "series": series, **more,
    }  # fmt: skip
    return answer if following is None else answer | {"next": iso_ms(following)}


def test_pages_are_followed_to_one_fixed_end() -> None:
    first = page(TEN, {"a": {TEN: 1.0, TEN + 1: 2.0}, "b": {}}, TEN + 2)
    second = page(TEN + 2, {"a": {TEN + 3: 4.0}, "b": {TEN + 2: 3.0}}, TEN + 4, problems=["a block is broken"])
    second["series"]["a"]["quality"] = [2]
    third = page(TEN + 4, {"a": {TEN + 5: 5.0}, "b": {TEN + 4: 6.0}})
    reached: list[tuple[int, int]] = []
    client = Pages(first, second, third)
    found = collect(client, Question(["a", "b"], "1d"), lambda so_far, time: reached.append((len(so_far), time)))
    end = iso_ms(TEN + 900)
    assert client.asked == [
        (["a", "b"], "1d", None, None),
        (["a", "b"], iso_ms(TEN + 2), end, None),
        (["a", "b"], iso_ms(TEN + 4), end, None),
    ]
    assert reached == [(2, TEN + 2), (4, TEN + 4), (6, TEN + 900)]
    assert found.problems == ["a block is broken"]
    assert [one.name for one in found.columns] == ["a", "a_quality", "b"]
    assert list(rows(found.columns)) == [
        (TEN, [1.0, 0, None]), (TEN + 1, [2.0, 0, None]), (TEN + 2, [None, None, 3.0]), (TEN + 3, [4.0, 2, None]),
        (TEN + 4, [None, None, 6.0]), (TEN + 5, [5.0, 0, None]),
    ]  # fmt: skip
    whole = joined(pages(Pages(first, second, third), Question(None, "1d", "2026-11-22")))
    assert "next" not in whole
    assert whole["problems"] == ["a block is broken"]
    assert whole["series"]["a"]["value"] == [1.0, 2.0, 4.0, 5.0]
    assert whole["series"]["a"]["quality"] == [0, 0, 2, 0]
    assert "quality" not in whole["series"]["b"]


def test_an_end_that_was_given_stays_as_it_was_given() -> None:
    client = Pages(page(TEN, {"a": {}}, TEN + 1), page(TEN + 1, {"a": {}}))
    list(pages(client, Question(None, iso_ms(TEN), "2026-11-21T11:00:00.5+01:00")))
    assert client.asked[1][2] == "2026-11-21T11:00:00.5+01:00"


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([page(TEN, {}, TEN)], "go in circles"),
        ([page(TEN, {}, TEN + 5), page(TEN + 5, {}, TEN + 5)], "go in circles"),
        ([page(TEN, {"a": {TEN + 1: 1.0}}, TEN + 2), page(TEN, {"a": {TEN + 1: 1.0}})], "not in order of time"),
    ],
)
def test_pages_that_make_no_sense_are_no_endless_work(answers: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(CommandError, match=told) as caught:
        collect(Pages(*answers), Question(None, "1d"), lambda *_: None)
    assert caught.value.code == Code.FAILED


def test_buckets_are_columns_of_their_figures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answer = page(TEN, {}) | {"level": "buckets", "bucket": 900.0}
    figures: dict[str, Any] = {
        "time": ["2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"], "count": [3, 1], "min": [1.0, 4.0], "max": [2.0, 4.0],
        "last": [1.5, 4.0],
    }  # fmt: skip
    answer["series"] = {
        "flow": {"label": "Flow", "unit": "L/min", "kind": "gauge", **figures, "mean": [1.25, None]},
        "energy": {"label": "", "unit": "Wh", "kind": "counter", **figures},
    }
    found = collect(Pages(answer), Question(None, "1d", None, 2), lambda *_: None)
    assert found.bucket == 900.0
    assert [one.name for one in found.columns] == [
        *(f"flow_{figure}" for figure in FIGURES), *(f"energy_{figure}" for figure in FIGURES if figure != "mean"),
    ]  # fmt: skip
    assert (found.columns[0].unit, found.columns[0].label) == ("", "Flow, number of samples")
    times, table, _ = read_back("fits", written("fits", found), monkeypatch, tmp_path)
    assert times == [TEN, TEN + 3_600_000]
    assert list(table["flow_count"]) == [3, 1]
    assert table["energy_last"].unit == units.W * units.h
    assert table["flow_mean"][0] == 1.25
    assert table["flow_mean"].mask[1]
