# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsed year: the plant's own control on a simulated plant, with faults at random, and a judge of its own.

Faults come some thirty times as often as in a real year where a test has only some days.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from rockit.boiler import plant, rehearsal_faults, safety
from rockit.boiler.model import VALVES, Season
from rockit.boiler.plant import Decision, Site
from rockit.boiler.rehearsal import Rehearsal, Report, told
from rockit.boiler.settings import Settings
from rockit.boiler.simulators.climate import Climate
from rockit.boiler.simulators.world import World

WHOLE = Site(True, ("chiller1", "chiller2", "chiller3", "chiller4"))
AUTOMATIC = dataclasses.replace(Settings(), mode_switch_lockout_time=60.0)
SEASONS = ("2026-01-15", "2026-05-05", "2026-07-10", "2026-10-01")
EVERYTHING = {*rehearsal_faults.LASTING, *rehearsal_faults.MOMENTS}


def rehearsed(
    days: float, seed: int = 1, start: str = SEASONS[0], site: Site = WHOLE, settings: Settings = AUTOMATIC, **more: Any
) -> tuple[Rehearsal, Report]:
    climate = more.pop("climate", None)
    world = World(seed=seed, start=f"{start}T00:00:00Z", chillers=len(site.chillers), climate=climate)
    rehearsal = Rehearsal(site, settings, seed=seed, world=world, **more)
    return rehearsal, rehearsal.run(days)


@pytest.fixture
def many_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal_faults, "YEAR", rehearsal_faults.YEAR / 30)


# --- what must be zero


@pytest.mark.usefixtures("many_faults")
@pytest.mark.parametrize(("seed", "start"), list(enumerate(SEASONS)))
def test_some_days_full_of_faults_have_no_forbidden_state(seed: int, start: str) -> None:
    rehearsal, report = rehearsed(3, seed, start)
    assert report.forbidden == report.short_cycles == report.invented == [], told(report)
    assert len(report.faults) > 6, "it was no idle time"
    assert report.seasons > 1
    assert report.steps == 3 * 1440
    assert rehearsal.moves


def test_a_year_with_the_faults_of_a_year() -> None:
    _, report = rehearsed(365, 3)
    assert report.violations == 0, told(report)
    assert report.seasons >= 2, "heating at the beginning, cooling at the end"
    assert report.starts["boiler"] > 10
    assert sum(report.starts[name] for name in WHOLE.chillers) > 10
    assert report.within_5 > 0.8
    assert report.coldest_water > 0


@pytest.mark.soak
@pytest.mark.parametrize("climate", [None, Climate.cold(2)], ids=["usual", "cold"])
def test_a_whole_year(climate: Climate | None) -> None:
    _, report = rehearsed(365, 2, "2026-01-01", climate=climate)
    assert report.violations == 0, told(report)
    assert set(report.faults) == EVERYTHING
    assert report.frost_hours < 24


@pytest.mark.usefixtures("many_faults")
@pytest.mark.parametrize(
    "site", [Site(True, (), valves=False), Site(False, ("chiller1",
      "chiller2"), valves=False), Site(True, ("chiller1",))]
)  # fmt: skip
def test_other_plants_have_no_forbidden_state_either(site: Site) -> None:
    _, report = rehearsed(3, 5, "2026-05-05", site)
    assert report.violations == 0, told(report)
    assert list(report.starts) == list(site.sources)


# --- what a site wants to know


@pytest.mark.usefixtures("many_faults")
def test_the_same_seed_is_the_same_year_and_another_is_another() -> None:
    (first, report), (second, again), (_, other) = rehearsed(2, 7), rehearsed(2, 7), rehearsed(2, 8)
    assert told(report) == told(again)
    assert list(first.moves) == list(second.moves)
    assert dataclasses.replace(first._saved.memory) == second._saved.memory
    assert told(report) != told(other)


def test_without_faults_a_plant_keeps_its_water_where_it_should_be() -> None:
    _, report = rehearsed(3, 1, SEASONS[0], faults=False)
    assert report.violations == 0
    assert report.faults == {}
    assert report.within_5 > 0.95
    assert report.coldest_water > 5
    assert report.emergencies == 0
    text = told(report)
    assert text[0].startswith("3 days, 4320 decisions, ")
    assert any("shortest rest" in line for line in text)
    assert not any("faults" in line for line in text)


def test_by_hand_no_season_changes_by_itself() -> None:
    _, report = rehearsed(3, 1, SEASONS[2], settings=Settings(), faults=False)
    assert report.seasons <= 1, "the first one, which is found"


def test_progress_is_told_once_a_day() -> None:
    parts: list[float] = []
    Rehearsal(WHOLE, AUTOMATIC, faults=False).run(3, parts.append)
    assert parts == pytest.approx([0, 1 / 3, 2 / 3])


# --- that it can fail: a control that wants what must never be, and a safety that lets it


def everything_passes(
    wanted: Mapping[str, bool], seen: safety.Seen, limits: safety.Limits, guard: safety.Guard, now: float
) -> safety.Verdict:  # fmt: skip
    """A safety that forbids nothing."""
    relays = seen.relays or {}
    orders = tuple((name, on) for name, on in wanted.items() if relays.get(name) is not on)
    return safety.Verdict(guard, orders if seen.relays is not None else (), {}, True)


def wanting(monkeypatch: pytest.MonkeyPatch, **relays: bool) -> None:
    """A control that wants these relays so, whatever else it has decided."""
    decide = plant.decide

    def greedy(*arguments: Any) -> Decision:
        decision = decide(*arguments)
        return dataclasses.replace(decision, relays={**decision.relays, **relays})

    monkeypatch.setattr(plant, "decide", greedy)


@pytest.mark.parametrize(
    ("relays", "text"),
    [
        (dict.fromkeys(VALVES, True), "both valves"),
        ({"chiller1": True, "summer_valve": False}, "without the summer valve"),
        ({"boiler": True, "winter_valve": False}, "without the winter valve"),
        ({"boiler": True, "chiller2": True}, "boiler and chiller"),
    ],
)  # fmt: skip
def test_a_control_gone_mad_is_seen_without_the_safety_and_harmless_with_it(
    monkeypatch: pytest.MonkeyPatch, relays: dict[str, bool], text: str
) -> None:
    wanting(monkeypatch, **relays)
    _, held = rehearsed(0.5, faults=False)
    assert held.forbidden == held.invented == [], told(held)
    monkeypatch.setattr(safety, "judge", everything_passes)
    _, report = rehearsed(0.5, faults=False)
    assert any(text in line for line in report.forbidden), told(report)
    assert report.violations > 0


def test_short_cycles_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    decide, calls = plant.decide, iter(range(10**9))

    def restless(*arguments: Any) -> Decision:
        decision = decide(*arguments)
        winter = decision.memory.season.season is Season.WINTER
        return dataclasses.replace(decision, relays={**decision.relays, "boiler": winter and next(calls) // 4 % 2 == 0})

    monkeypatch.setattr(plant, "decide", restless)
    _, report = rehearsed(0.3, faults=False)
    assert any("boiler after" in line for line in report.short_cycles), told(report)


def test_invented_values_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = plant.decide

    def liar(*arguments: Any) -> Decision:
        return dataclasses.replace(decide(*arguments), return_how="sensor", outside_how="measured")

    monkeypatch.setattr(plant, "decide", liar)
    monkeypatch.setattr(rehearsal_faults, "YEAR", rehearsal_faults.YEAR / 100)
    _, report = rehearsed(1.0)
    for name in ("a return temperature", "an outside temperature"):
        assert any(name in line for line in report.invented), told(report)
