# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line `boiler`, at a site that thinks in °F: every verb, exit codes, and Chronos's set point."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from boilersite import BoilerSite, plant_in
from click.testing import CliRunner
from harness import ROOT, wait_for

from rockit.boiler.cli import group
from rockit.common.errors import Code

VERBS = {
    "status", "json", "watch", "alarms", "acknowledge", "shelve", "describe", "counters", "completion", "history",
    "export", "season", "override", "set", "settings", "setpoint", "explain", "rehearse",
}  # fmt: skip
FAHRENHEIT = {
    "setpoint_min": 66, "setpoint_max": 69, "setpoint_offset_winter": -14, "setpoint_offset_summer": -5, "tolerance": 2,
}  # fmt: skip
"""In degF; the offsets are Chronos's."""


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoilerSite]:
    """A plant in winter whose people think in °F."""
    with plant_in(tmp_path_factory.mktemp("plant")) as made:
        made.stands("winter_valve")
        made.write(FAHRENHEIT, temperature_unit="degF")
        made.boilerd()
        wait_for(lambda: {"return_temp", "outside_temp", "inlet_temp"} <= set(made.status()), "what is measured")
        wait_for(lambda: made.command("set_override", "boiler", "on")[0] == 0, "a valve that is proved open")
        assert made.command("set_override", "boiler", "auto")[0] == 0
        yield made
        made.never_wrong()


def alone(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `boiler …` where there is neither config nor daemon."""
    nowhere = {"BOILERD_CONFIG_PATH": "/nonexistent", "ROCKIT_DAEMONS_PATH": "/nonexistent"}
    return subprocess.run(
        [sys.executable, str(ROOT / "boiler"), *arguments], env={**os.environ, **nowhere, **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def chronos(outside: int, average: int, offset: int, least: float, most: float) -> dict[str, float]:
    """Chronos's set point, °F, for whole degrees, as its documents have it."""
    baseline = 100.0 if outside <= 10 else 105 - 0.5 * outside if outside <= 70 else max(36.0, 280.0 - 3 * outside)
    adjustment = 0.0 if average < 71 else min(36.0, 2.0 * (average - 70))
    tha = baseline - adjustment
    return {
        "baseline_setpoint": baseline, "history_adjustment": adjustment, "tha_setpoint": tha, "season_offset": offset,
        "effective_setpoint": min(max(tha + offset, least), most),
    }  # fmt: skip


# --- verbs and help


def test_all_promised_verbs_are_there_with_help() -> None:
    assert set(group.list_commands(click.Context(group))) == VERBS
    for verb in sorted(VERBS):
        shown = CliRunner().invoke(group, [verb, "--help"], prog_name="boiler")
        assert shown.exit_code == 0, shown.output
        assert shown.output.startswith(f"Usage: boiler {verb}")
    shown_by_shell = alone("--help")
    assert (shown_by_shell.returncode, shown_by_shell.stderr) == (0, "")
    assert "Exit codes" in shown_by_shell.stdout


def test_usage_and_config_errors_have_their_codes() -> None:
    assert alone("season", "spring").returncode == 64
    assert alone("no-such-verb").returncode == 64
    assert alone().returncode == 64
    done = alone("status")
    assert done.returncode == 78
    assert "/nonexistent" in done.stderr
    assert "Traceback" not in done.stderr


# --- looking


def test_status_is_for_people_and_json_for_programs(plant: BoilerSite) -> None:
    shown = plant.boiler("status")
    assert (shown.returncode, shown.stderr) == (0, "")
    for text in (
        "Data received", "Season is WINTER (changes by hand)", "Return is 68.0°F", "Outlet is 68.0°F",
        "Outside is 68.0°F",
        "Set point is 66.0°F", "Boiler: inlet is 68.0°F", "Wind is 4.5 mph", "Valves: winter open, summer closed",
        "boiler is off since", "chiller4 is off since", "the season is WINTER", "may next switch at",
        "Relays were read",
    ):  # fmt: skip
        assert text in shown.stdout, text
    assert "\x1b" not in shown.stdout, "no colour but on a terminal"
    done = plant.boiler("json")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    status = json.loads(done.stdout)
    assert (status["season_label"], status["unit"], status["return_temp"]) == ("WINTER", "degF", 68.0)
    watched = plant.boiler("watch", "--count", "2", "--interval", "0.1")
    assert watched.returncode == 0
    assert watched.stdout.count("Season is WINTER") == 2


def test_the_common_verbs_know_a_plant(plant: BoilerSite) -> None:
    for verb, text in (
        (("alarms",), ""), (("counters",), "relay_orders"), (("describe",), "numato"), (("describe",), "set_override"),
        (("history", "--since", "1h", "--key", "return_temp", "--format", "csv"), "20"),
    ):  # fmt: skip
        done = plant.boiler(*verb)
        assert (done.returncode, done.stderr) == (0, ""), verb
        assert text in done.stdout, verb
    assert plant.boiler("acknowledge", "no_such_alarm").returncode != 0


def test_settings_are_listed_and_changed_in_the_scale_of_the_site(plant: BoilerSite) -> None:
    shown = plant.boiler("settings")
    assert re.search(r"^setpoint_max +69 degF  \[14 … 194\]  highest set point$", shown.stdout, re.M), shown.stdout
    assert re.search(r"^tolerance +2 degF", shown.stdout, re.M)
    assert re.search(r"^curve +10:100,70:70,81:37,82:36 degF", shown.stdout, re.M)
    done = plant.boiler("set", "tolerance", "3")
    assert (done.returncode, done.stdout) == (0, "tolerance is 3 degF (was 2)\n")
    assert json.loads(plant.boiler("settings", "--json").stdout)["tolerance"] == 3.0
    assert plant.boiler("set", "tolerance", "2").returncode == 0
    assert plant.boiler("set", "setpoint_offset_winter", "-13.5").returncode == 0, "a number below 0 is no option"
    assert plant.boiler("set", "setpoint_offset_winter", "-14").returncode == 0
    assert plant.boiler("set", "curve", "10:100,70:70,81:37,82:36").returncode == 0
    assert plant.boiler("set", "wind_chill", "on").returncode == 0
    assert plant.boiler("set", "wind_chill", "off").returncode == 0
    assert plant.boiler("set", "tolerance", "often").returncode == 64
    refused = plant.boiler("set", "setpoint_max", "50")
    assert refused.returncode == Code.OUT_OF_RANGE
    assert "setpoint_min (66) must be below setpoint_max (50)" in refused.stderr
    assert plant.boiler("set", "no_such", "1").returncode == Code.OUT_OF_RANGE


def test_overrides_and_seasons_have_their_codes(plant: BoilerSite) -> None:
    done = plant.boiler("override", "boiler", "on")
    assert (done.returncode, done.stdout) == (0, "boiler is on, read back\n")
    assert "boiler is ON" in plant.boiler("status").stdout
    assert plant.boiler("override", "boiler", "auto").returncode == 0
    held = plant.boiler("override", "chiller1", "on")
    assert held.returncode == Code.HELD
    assert "the season is WINTER" in held.stderr
    assert plant.boiler("override", "chiller1", "auto").returncode == 0
    assert plant.boiler("override", "pump", "on").returncode == Code.OUT_OF_RANGE
    assert plant.boiler("season", "auto").returncode == Code.HELD, "by hand only, as the config has it"
    done = plant.boiler("season", "winter")
    assert done.returncode == 0
    assert "the season is WINTER" in done.stdout
    assert plant.boiler("setpoint").stdout == "66.00 °F\n"


def test_relays_that_are_gone_are_code_12(plant: BoilerSite) -> None:
    plant.fault("unplug on", plant.relays)
    wait_for(lambda: plant.status()["connected"] is False, "the loss")
    done = plant.boiler("override", "boiler", "off")
    assert done.returncode == Code.DEVICE_OFFLINE
    assert "noted" in done.stderr
    plant.fault("unplug off", plant.relays)
    wait_for(lambda: plant.status()["connected"], "the relays")
    assert plant.boiler("override", "boiler", "auto").returncode == 0


# --- the set point


@pytest.mark.parametrize(("season", "offset"), [("winter", -14), ("summer", -5)])
def test_the_daemon_explains_the_set_point_as_chronos_has_it(plant: BoilerSite, season: str, offset: int) -> None:
    with plant.client() as client:
        for outside in range(-30, 117):
            for average in {outside, 40, 75, 100}:
                found = client.call("explain", outside, average, season)
                expected = chronos(outside, average, offset, 66, 69)
                assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-5), (outside, average)
                assert found["unit"] == "degF"
                assert all(found["steps"])


@pytest.mark.parametrize(("outside", "average", "season", "offset"), [(-20, 30, "winter", -14), (81, 79, "summer", -5)])
def test_explain_prints_the_steps_or_one_object(
    plant: BoilerSite, outside: int, average: int, season: str, offset: int
) -> None:
    asked = ("explain", "--outside-temp", str(outside), "--average", str(average), "--season", season)
    done = plant.boiler(*asked, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    expected = chronos(outside, average, offset, 66, 69)
    assert list(found) == [*expected, "unit"]
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    told = plant.boiler(*asked)
    assert f"the curve says {expected['baseline_setpoint']:g} °F" in told.stdout
    assert f"setpoint_offset_{season} of {offset}" in told.stdout


def test_explain_needs_no_daemon_where_all_is_given(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "daemon": "localhost_test", "log_name": "boilerd@test", "relay_port": "/dev/relays", "relays": {"boiler": 0},
        "temperature_unit": "degF", "settings": {**FAHRENHEIT, "setpoint_min": 40, "setpoint_max": 100},
    }  # fmt: skip
    (tmp_path / "boiler.json").write_text(json.dumps(config))
    environment = {
        "BOILERD_CONFIG_PATH": str(tmp_path / "boiler.json"), "ROCKIT_DAEMONS_PATH": str(tmp_path / "daemons.json"),
    }  # fmt: skip
    entry = {"object_id": "x", "machine": "LocalHost", "port": 1, "timeout": 5, "kind": "boiler"}
    registry = {"machines": {"LocalHost": ["127.0.0.1"]}, "daemons": {"localhost_test": entry}}
    (tmp_path / "daemons.json").write_text(json.dumps(registry))
    asked = ("explain", "--outside-temp", "-5", "--average", "72", "--season", "summer")
    done = alone(*asked, "--json", **environment)
    assert (done.returncode, done.stderr.startswith("note: the daemon is not running")) == (0, True), done.stderr
    assert json.loads(done.stdout) == pytest.approx({**chronos(-5, 72, -5, 40, 100), "unit": "degF"})
    without = alone("explain", "--average", "72", "--season", "summer", **environment)
    assert without.returncode == 155, "there is nobody to ask for what was not given"
    assert "Traceback" not in without.stderr
    assert alone("status", **environment).returncode == 155
    assert alone("override", "boiler", "on", **environment).returncode == 155


def test_a_config_can_be_rehearsed_from_the_shell(tmp_path: Path) -> None:
    config = {
        "daemon": "localhost_test", "log_name": "boilerd@test", "relay_port": "/dev/relays",
        "relays": {"boiler": 0, "chiller1": 1, "winter_valve": 5, "summer_valve": 6},
        "sensors": {"return": "28-000000000001"},
        "weather": {"driver": "open-meteo", "url": "http://127.0.0.1:9/"},
    }  # fmt: skip
    (tmp_path / "boiler.json").write_text(json.dumps(config))
    from rockit.common.registry import PACKAGED

    environment = {"BOILERD_CONFIG_PATH": str(tmp_path / "boiler.json"), "ROCKIT_DAEMONS_PATH": str(PACKAGED)}
    done = alone("rehearse", "--days", "2", "--seed", "3", **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout.startswith("2 days, 2880 decisions, ")
    for text in ("forbidden states: 0", "short cycles: 0", "invented values: 0", "return within 2 K", "chiller1: "):
        assert text in done.stdout, text
    assert alone("rehearse", "--days", "0", **environment).returncode == 64
