# SPDX-License-Identifier: GPL-3.0-or-later
"""The change of season by the real boilerd on a simulated plant: proofs, deadlines, and kill -9 at every step.

The judges are the simulated plant, whose valves take their time and which notes every mistake, and the record of its
relay board. Neither knows what the daemon believes.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from boilersite import LEAN, VALVE_TIME, BoilerSite, plant_in, said
from harness import Process, wait_for

from rockit.boiler.memory import Step
from rockit.common.errors import Code, CommandError, Unreachable

TO_WINTER, TO_SUMMER = 2, 3


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BoilerSite]:
    with plant_in(tmp_path) as made:
        yield made
        made.never_wrong()


def killed(daemon: Process) -> None:
    daemon.popen.kill()
    daemon.wait()


def order(site: BoilerSite) -> list[tuple[str, bool]]:
    return [(move.name, move.on) for move in site.moves()]


def at_step(site: BoilerSite, step: Step) -> dict[str, Any]:
    """Wait until the disk knows since when a step has been proved."""
    found: dict[str, Any] = wait_for(
        lambda: (kept := site.step()).get("step") == step and kept.get("step_at") is not None and kept, step
    )
    return found


# --- the change itself


def test_an_unknown_board_is_led_to_winter(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    status = site.settled("WINTER")
    assert status["valves"] == {"winter": True, "summer": False}
    assert "season_change_ends" not in status
    assert order(site) == [("winter_valve", True)]
    assert not said(daemon, "Traceback")


@pytest.mark.parametrize(("valve", "season"), [("winter_valve", "WINTER"), ("summer_valve", "SUMMER")])
def test_the_valves_tell_the_season_where_nothing_is_remembered(site: BoilerSite, valve: str, season: str) -> None:
    site.stands(valve)
    site.write(**LEAN)
    site.boilerd()
    assert site.status()["season_label"] == season
    assert order(site) == [(valve, True)], "nothing was moved"


def test_sources_go_off_and_both_valves_close_before_the_other_opens(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write({"flow_through_time": 1}, **LEAN)
    site.boilerd()
    wait_for(lambda: site.command("set_override", "boiler", "on")[0] == 0, "the boiler")
    code, text = site.command("set_season", 1)
    assert (code, "has begun" in text) == (0, True), text
    status = site.status()
    assert (status["season"], status["season_label"]) == (TO_SUMMER, "TO_SUMMER")
    assert status["season_change_step"] in {str(step) for step in Step}
    assert status["season_change_ends"] > status["date"]
    status = site.settled("SUMMER")
    assert status["valves"] == {"winter": False, "summer": True}
    assert order(site) == [
        ("winter_valve", True), ("boiler", True), ("boiler", False), ("winter_valve", False), ("summer_valve", True),
    ]  # fmt: skip
    boiler_off, closed = site.moves()[2:4]
    assert closed.time - boiler_off.time >= 1, "the heat is carried out of the boiler first"
    site.valves_apart(VALVE_TIME)
    assert "SUMMER" in site.device("boiler")["why"]


def test_who_turns_back_in_the_middle_loses_no_time_of_a_valve(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    site.boilerd()
    site.command("set_season", 1)
    wait_for(lambda: ("summer_valve", True) in order(site), "the summer valve")
    assert site.command("set_season", 0)[0] == 0
    site.settled("WINTER")
    assert order(site)[-4:] == [
        ("winter_valve", False), ("summer_valve", True), ("summer_valve", False), ("winter_valve", True),
    ]  # fmt: skip
    assert len(site.valves_apart(VALVE_TIME)) == 2


@pytest.mark.parametrize("step", [Step.CLOSE, Step.OPEN])
def test_a_board_that_forgets_its_relays_in_a_change_starts_the_time_of_the_step_anew(
    site: BoilerSite, step: Step
) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    site.boilerd()
    site.command("set_season", 1)
    at_step(site, step)
    site.fault("reset on", site.relays)
    site.fault("reset off", site.relays)
    site.settled("SUMMER")
    opened = [move for move in site.moves() if move.name == "summer_valve" and move.on]
    assert len(opened) == (2 if step is Step.OPEN else 1)
    site.valves_apart(VALVE_TIME)


def test_a_valve_that_somebody_moves_leads_through_all_steps_again(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    site.boilerd()
    wait_for(lambda: site.command("set_override", "boiler", "on")[0] == 0, "the boiler, whose valve is proved open")
    site.fault("reset on", site.relays)
    wait_for(lambda: site.status().get("season") == TO_WINTER, "a change to where it was")
    assert "boiler" not in site.on()
    site.settled("WINTER")
    wait_for(lambda: "boiler" in site.on(), "the boiler, whose override still holds")


def test_a_season_change_waits_for_a_relay_that_does_not_follow(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    site.boilerd()
    site.fault("stuck_on 5", site.relays)
    assert site.command("set_season", 1)[0] == 0
    wait_for(lambda: site.call("counters")["relay_not_followed"] > 5, "attempts")
    status = site.status()
    assert (status["season_label"], status["season_change_step"]) == ("TO_SUMMER", str(Step.CLOSE))
    assert status["valves"] == {"winter": True, "summer": False}
    assert ("summer_valve", True) not in order(site)
    site.fault("stuck_on off", site.relays)
    site.settled("SUMMER")


# --- by itself


def test_the_weather_changes_the_season_where_that_is_allowed(tmp_path: Path) -> None:
    hurried = {"seasons.CONFIRM": 0.5, "seasons.MARGIN": 0.0, "cascade.PATIENCE": 0.1}
    with plant_in(tmp_path, water=30.0) as site:
        site.stands("winter_valve")
        site.write({"mode_change_delta_temp": 3, "cascade_time": 0.1})
        site.boilerd(hurried=True, **hurried)
        status = wait_for(lambda: (s := site.status()).get("season_wanted") and s, "what the weather wants")
        assert (status["season_wanted"], status["season_label"]) == ("SUMMER", "WINTER")
        assert status["season_automatic"] is False
        assert "The return asks for SUMMER" in site.boiler("status").stdout
        code, text = site.command("set_season", "auto")
        assert (code, "by hand only" in text) == (Code.HELD, True), text
        assert site.command("set_setting", "mode_switch_lockout_time", 0.01)[0] == 0
        status = site.settled("SUMMER")
        assert status["season_automatic"] is True
        wait_for(lambda: len(site.on()) > 1, "a chiller, for it is too warm")
        assert site.command("set_season", "summer")[0] == 0
        assert site.status()["season_automatic"] is False, "by hand, from now on"
        code, text = site.command("set_season", "auto")
        assert (code, text) == (0, "the season changes by itself")
        site.never_wrong()


# --- kill -9


@pytest.mark.parametrize("step", list(Step))
def test_a_change_goes_on_where_kill_9_met_it(site: BoilerSite, step: Step) -> None:
    site.stands("winter_valve")
    site.write({"valve_time": 2, "flow_through_time": 2}, **LEAN)
    daemon = site.boilerd()
    site.command("set_season", 1)
    before = at_step(site, step)
    killed(daemon)
    assert site.step() == before
    count = len(site.moves())
    daemon = site.boilerd()
    after = site.step()
    if after["step"] == step:  # else this machine needed longer than the step to start it
        assert after["step_at"] == pytest.approx(before["step_at"], abs=0.05), "neither restarted nor cut"
    assert after["season"] == TO_SUMMER
    site.settled("SUMMER")
    assert order(site) == [("winter_valve", True), ("winter_valve", False), ("summer_valve", True)]
    assert len(site.moves()[count:]) == {Step.STOP: 2, Step.CLOSE: 1, Step.OPEN: 0}[step], "nothing was moved twice"
    site.valves_apart(2)
    if step is Step.STOP:
        waited = site.moves()[1].time - (before["step_at"] - time.time() + time.monotonic())
        assert waited >= 1.95
    assert not said(daemon, "Traceback")


def test_kill_9_between_an_order_and_its_proof(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    daemon = site.boilerd()

    def order_and_kill(daemon: Process, name: str, *, on: bool) -> Process:
        """Kill it when the contact has moved, long before the board's answer is there, and start it again."""
        site.plant.board.latency = 0.5
        wait_for(lambda: (order(site) or [("", False)])[-1] == (name, on), f"{name} {on}")
        killed(daemon)
        site.plant.board.latency = 0.0
        return site.boilerd()

    site.command("set_season", 1)
    daemon = order_and_kill(daemon, "winter_valve", on=False)
    daemon = order_and_kill(daemon, "summer_valve", on=True)
    site.settled("SUMMER")
    site.plant.board.latency = 0.5

    def ask() -> None:
        with suppress(CommandError, Unreachable), site.client() as client:  # it is killed before it can answer
            client.command("set_override", "chiller3", "on")

    asking = threading.Thread(target=ask)
    asking.start()
    daemon = order_and_kill(daemon, "chiller3", on=True)
    asking.join()
    wait_for(lambda: site.device("chiller3").get("on"), "chiller 3")
    assert site.device("chiller3")["override"] == "on"
    assert order(site) == [
        ("winter_valve", True), ("winter_valve", False), ("summer_valve", True), ("chiller3", True),
    ], "nothing was done twice, nothing was undone"  # fmt: skip
    site.valves_apart(VALVE_TIME)


def test_kill_9_just_after_the_release(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    daemon = site.boilerd()
    site.command("set_season", 1)
    wait_for(lambda: site.step().get("season") == 1, "the release, on the disk")
    killed(daemon)
    site.boilerd()
    assert site.status()["season_label"] == "SUMMER"
    assert site.command("set_override", "chiller1", "on")[0] == 0
    assert order(site)[-2:] == [("summer_valve", True), ("chiller1", True)]


def test_a_change_that_began_while_nobody_lived_is_seen(site: BoilerSite) -> None:
    site.stands("winter_valve")
    site.write(**LEAN)
    daemon = site.boilerd()
    wait_for(lambda: site.command("set_override", "boiler", "on")[0] == 0, "the boiler, whose valve is proved open")
    killed(daemon)
    assert "boiler" in site.on(), "a board keeps its relays when the host dies"
    site.fault("reset on", site.relays)
    site.boilerd()
    assert site.status()["season_label"] in ("TO_WINTER", "WINTER")
    site.settled("WINTER")
    wait_for(lambda: "boiler" in site.on(), "the boiler")


def test_a_daemon_that_dies_again_and_again_ends_where_it_was_told(site: BoilerSite) -> None:
    rng = random.Random(5)
    site.stands("winter_valve")
    site.write(**LEAN)
    daemon = site.boilerd()
    for name in ("boiler", "chiller1", "chiller2"):
        site.command("set_override", name, "on")
    for target in ("summer", "winter", "summer"):
        site.command("set_season", target)
        for _ in range(2):
            until = time.monotonic() + rng.uniform(0.0, 1.2)
            wait_for(lambda until=until: time.monotonic() >= until, "a moment of chance")
            killed(daemon)
            daemon = site.boilerd()
    site.settled("SUMMER")
    wait_for(lambda: site.on() == {"summer_valve", "chiller1", "chiller2"}, "what was asked for")
    site.valves_apart(VALVE_TIME)
    assert not said(daemon, "Traceback")
    assert site.alarms() == []
