# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line `meter`: energies, alignment, help, exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from harness import wait_for
from metersite import MeterSite, meter, site_in

from rockit.meter.cli import group
from rockit.meter.energytable import energy_lines

VERBS = {
    "status", "json", "watch", "alarms", "acknowledge", "shelve", "describe", "counters", "completion", "history",
    "export", "energy", "decode", "set-reading", "replace",
}  # fmt: skip


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeterSite]:
    """A house with 36 kW and prices; tests leave it so, but for the reading of its pulses."""
    with site_in(tmp_path_factory.mktemp("plant")) as made:
        made.write_meters(
            {
                "house": {"driver": "sml", "port": made.head("house", "sml", "--speed 5", "power=360000")},
                "heat": {"driver": "s0", "port": made.pulses("edges", 20), "impulses_per_kwh": 1000},
            },
            tariffs=[{"from": "2026-01-01", "import": 0.5}, {"from": "2100-01-01", "import": 9}],
            currency="CHF",
        )
        made.meterd()
        wait_for(lambda: made.of("heat").get("import_energy") == 20, "the pulses")
        wait_for(lambda: imported(made) > 1000, "some energy")
        yield made


def imported(site: MeterSite) -> float:
    with site.client() as client:
        found = client.call("energy", "house", "hour", "2h", None)
    return float(sum(row.get("import_energy", 0) for row in found["periods"]))


# --- verbs, help, exit codes


def test_all_promised_verbs_are_there() -> None:
    assert set(group.list_commands(click.Context(group))) == VERBS


@pytest.mark.parametrize("verb", ["", *sorted(VERBS)])
def test_help_needs_no_config_and_no_daemon(verb: str) -> None:
    shown = meter(*([verb] if verb else []), "--help")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode().startswith(f"Usage: meter {verb}".rstrip())


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("json",), ("energy", "house"), ("set-reading", "house", "1.8.0", "5kWh"), ("replace", "house")],
)
def test_without_a_daemon_the_exit_code_is_155(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with site_in(tmp_path) as site:
        site.write_meters({"house": {"driver": "sml", "port": "/dev/null"}})
        done = site.meter(*arguments)
    assert done.returncode == 155
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "localhost_test" in done.stderr


def test_without_a_config_the_exit_code_is_78() -> None:
    assert meter("status").returncode == 78


# --- energy


def test_energy_is_a_table_for_people(plant: MeterSite) -> None:
    done = plant.meter("energy", "house", "--by", "hour", "--since", "2h")
    assert (done.returncode, done.stderr) == (0, "")
    head, titles, *rows = done.stdout.splitlines()
    assert head == "house, kWh by hour (Europe/Berlin)"
    assert titles.split() == ["import", "export", "balance", "CHF"]
    assert any("█" in row for row in rows)
    assert "not all of it" in rows[-1] or "no data" in rows[-1], "this hour has not ended"


def energy(plant: MeterSite, *arguments: str) -> dict[str, Any]:
    done = plant.meter("energy", "house", "--json", *(arguments or ("--by", "hour", "--since", "2h")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("by", ["hour", "day", "week", "month", "year"])
def test_energy_by_each_period_tells_the_same_for_programs(plant: MeterSite, by: str) -> None:
    found = energy(plant, "--by", by)
    assert (found["meter"], found["by"], found["unit"], found["currency"]) == ("house", by, "Wh", "CHF")
    assert found["time_zone"] == "Europe/Berlin"
    for row in found["periods"]:
        assert row["start"].endswith("Z")
        assert row["start"] < row["end"]
    assert found["periods"][-1]["complete"] is False, "it has not ended"
    most = max(found["periods"], key=lambda row: row.get("import_energy", 0.0))  # another one may have begun just now
    assert most["import_energy"] > 0
    assert most["balance"] == pytest.approx(most["import_energy"] - most["export_energy"])
    assert most["cost"] == pytest.approx(most["import_energy"] / 1000 * 0.5, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("energy", "attic"), 11, "there is no meter 'attic'; there are: house, heat"),
        (("energy", "house", "--by", "minute"), 64, "minute"),
        (("energy", "house", "--since", "yesterday"), 11, "yesterday"),
        (("energy", "house", "--since", "2026-13"), 11, "2026-13"),
        (("energy", "house", "--since", "2099"), 11, "start before now"),
        (("set-reading", "heat", "import_energy", "12345.6"), 64, "12345.6kWh or 12345.6Wh"),
        (("set-reading", "heat", "import_energy", "much"), 64, "no reading"),
        (("set-reading", "heat", "import_energy", "12,5kWh"), 64, "no reading"),
        (("set-reading", "heat", "import_energy", "5m3"), 64, "no reading"),
        (("set-reading", "heat", "import_energy"), 64, "VALUE"),
        (("set-reading", "heat", "9.9.9", "5kWh"), 11, "import_energy"),
        (("set-reading", "heat", "power", "5kWh"), 11, "is no counter of heat"),
        (("set-reading", "attic", "import_energy", "5kWh"), 11, "attic"),
        (("set-reading", "heat", "import_energy", "9999999999999kWh"), 11, "1e15 Wh"),
        (("replace", "house", "--final", "import_energy"), 64, "REGISTER=VALUE"),
        (("replace", "house", "--final", "import_energy=5"), 64, "5kWh or 5Wh"),
        (("replace", "house", "--first", "nothing=5kWh"), 11, "is no counter of house"),
        (("replace", "attic"), 11, "attic"),
        (("acknowledge", "nothing"), 1, "nothing"),
        (("decode", "/nonexistent/file"), 64, "/nonexistent/file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(plant: MeterSite, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = plant.meter(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("value", "shown"), [("1.5kWh", 1500), ("1500.25Wh", 1500.25), ("2 MWh", 2_000_000), ("12345.6789kWh", 12345678.9)]
)
def test_a_reading_is_set_exactly_as_it_was_given(plant: MeterSite, value: str, shown: float) -> None:
    done = plant.meter("set-reading", "heat", "import_energy", value)
    assert (done.returncode, done.stderr) == (0, "")
    assert plant.of("heat")["import_energy"] == shown


HOUR = "2026-11-21T{:02}:00:00Z"


def told(rows: list[dict[str, Any]], **more: Any) -> list[str]:
    periods = [
        {"start": HOUR.format(n), "end": HOUR.format(n + 1), "complete": True, **row} for n, row in enumerate(rows)
    ]
    found = {
        "meter": "house", "by": "hour", "time_zone": "UTC", "currency": "EUR", "periods": periods, "gaps": [],
        "falls": 0, **more,
    }  # fmt: skip
    return [click.unstyle(line) for line in energy_lines(found)]


def test_bars_are_as_long_as_what_flowed() -> None:
    lines = told([{"import_energy": 1000.0}, {"import_energy": 500.0}, {"import_energy": 0.0}])
    assert [line.count("█") for line in lines[2:]] == [24, 12, 0]
    assert lines[2].startswith("2026-11-21 00:00       1.000  █")
    assert lines[4] == "2026-11-21 02:00       0.000"


def test_a_long_silence_is_one_line_and_a_short_one_is_shown() -> None:
    lines = told([{"import_energy": 1.0}, *[{"complete": False}] * 9, {"import_energy": 2.0}])
    assert len(lines) == 5
    assert lines[3].strip() == "no data for 9 hours"
    lines = told([{"import_energy": 1.0}, *[{"complete": False}] * 3, {"import_energy": 2.0}])
    assert len(lines) == 7
    assert [line.split()[-2:] for line in lines[3:6]] == [["no", "data"]] * 3


def test_a_gap_is_told_and_not_drawn() -> None:
    gap = {"start": HOUR.format(1), "end": HOUR.format(5), "register": "import_energy", "energy": 25_000.0}
    lines = told([{"import_energy": 1000.0}, {"import_energy": 10.0, "complete": False}], gaps=[gap])
    assert lines[3].endswith("not all of it")
    assert lines[-1] == (
        "gap: 25.000 kWh (import energy) flowed between 2026-11-21 01:00 and 2026-11-21 05:00, and in no line above"
    )


def test_falls_that_nobody_explained_are_told() -> None:
    assert "`meter replace`" in told([{"import_energy": 1.0}], falls=2)[-1]


def test_a_meter_of_which_nothing_is_known() -> None:
    assert told([{"complete": False}]) == ["Nothing is known of the energy of house in this time."]


def test_what_has_no_cost_has_a_dash() -> None:
    lines = told([{"import_energy": 1000.0, "cost": 0.5}, {"import_energy": 1000.0}])
    assert lines[1].split() == ["import", "EUR"]
    assert lines[2].split()[2:4] == ["1.000", "0.50"]
    assert lines[3].split()[2:4] == ["1.000", "-"]
