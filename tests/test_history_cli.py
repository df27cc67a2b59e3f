# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb `history`, run as a command against a real server with a real history."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from historybench import GAP, NOW, STEP, Bench, Recording, asking, plain, water

from rockit.history.cli import history_verbs
from rockit.history.model import DAY
from rockit.history.tables import wrapped
from rockit.history.times import iso, ms_of


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    service = Recording(tmp_path_factory.mktemp("history"))
    yield service
    service.store.close()


@pytest.fixture
def bench(recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("rockit.history.answer.PACKED", 1000)  # so that two days are several pages
    with asking(recording, tmp_path, monkeypatch) as made:
        yield made


# --- usage


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["history", "--since", "yesterday"], "give an age before now (90s, 15m, 1h, 2d, 3w, 1y)"),
        (["history", "--until", "2026-02-30"], "--until: '2026-02-30' is no time"),
        (["export", "-o", "x.csv", "--since", "-1h"], "is no time"),
        (["history", "--since", "1h", "--until", "2h"], "--until 2h is not after --since 1h"),
        (["history", "--since", "2126-11-21"], "--since 2126-11-21 is in the future: it is 20"),
        (["export", "-o", "x.csv", "--since", "2126-11-21", "--until", "2126-11-22"], "2126-11-21 is in the future"),
        (["history", "--points", "0"], "--points"),
        (["history", "--format", "xml"], "--format"),
        (["history", "--format", "plot", "--events"], "events are no plot"),
        (["history", "--format", "csv", "--events", "--key", "flow"], "two tables"),
        (["export"], "--output"),
        (["export", "-o", "x.txt"], "--format is missing"),
        (["export", "-o", "-"], "--format is missing"),
        (["export", "-o", "-", "--format", "fits"], "fits is no text"),
        (["export", "-o", "-", "--format", "parquet"], "parquet is no text"),
    ],
)
def test_code_64_before_any_daemon_is_asked(bench: Bench, words: list[str], told: str) -> None:
    text = bench.refused(64, *words)
    assert told in " ".join(text.split())
    assert bench.service.asked == []


def test_what_the_daemon_says_is_passed_on(bench: Bench) -> None:
    told = bench.refused(1, "history", "--key", "watertemp")
    assert "'watertemp' is not recorded here" in told
    assert "water_temp" in told
    bench.served.stop()
    assert "nothing listens there" in bench.refused(155, "history")
    assert "nothing listens there" in bench.refused(155, "export", "-o", str(bench.site.folder / "x.csv"))
    assert not (bench.site.folder / "x.csv").exists()


@pytest.mark.parametrize("words", [["--help"], ["history", "--help"], ["export", "--help"]])
def test_help_imports_nothing_heavy(bench: Bench, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(bench.program), *words], env=bench.site.environment, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in modules
    assert not modules & {"astropy", "numpy", "pyarrow", "plotext", "rich", "Pyro5", "sqlalchemy", "erfa"}


def test_tables_need_neither_rich_nor_numpy(bench: Bench) -> None:
    for words in (["history", "--since", "1h"], ["export", "-o", str(bench.site.folder / "x.csv"), "--since", "1h"]):
        run = [sys.executable, "-X", "importtime", str(bench.program), *words]
        done = subprocess.run(run, env=bench.site.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert not modules & {"astropy", "numpy", "pyarrow", "plotext", "rich", "sqlalchemy", "erfa"}


def test_verbs_are_added_to_any_group() -> None:
    group = click.Group("meter")
    history_verbs(group)
    assert set(group.commands) == {"history", "export"}


# --- history for people


def test_the_key_events_asks_for_the_events(bench: Bench) -> None:
    for form in ("table", "csv"):
        by_key = bench.shown("history", "--since", iso(NOW - DAY), "--key", "events", "--format", form)
        assert by_key == bench.shown("history", "--since", iso(NOW - DAY), "--events", "--format", form)
        assert "set_mode" in by_key


def test_a_table(bench: Bench) -> None:
    lines = bench.shown("history", "--since", iso(NOW - DAY), "--until", iso(NOW)).splitlines()
    assert bench.service.asked == [(None, iso(NOW - DAY), iso(NOW), 20)]
    assert lines[0] == "clasp_chiller at clasp, 2026-11-20 12:00 to 2026-11-21 12:00 UTC"
    assert lines[2].split("   ")[0] == "time (UTC)"
    assert sorted(re.findall(r"\S+ \[\S+\]", lines[2])) == ["energy [Wh]", "tec_power [%]", "water_temp [degC]"]
    rows = [line for line in lines if line.startswith("2026-")]
    assert 15 < len(rows) <= 21
    assert any(re.search(r"\d\d\.\d+ \(\d+\.\d+ to 1[5-8]\.\d+\)", row) for row in rows), "the spike is seen"
    assert any("Buckets of 1.25 h: mean (minimum to maximum), last reading of each counter" in line for line in lines)
    assert any(line.startswith("energy grew by ") for line in lines)
    assert any(
        line.startswith("dome_temp: none in this range; the newest is 3.5 of 2026-10-22 12:00") for line in lines
    )
    assert all(len(line) == len(rows[0]) or not line.startswith("2026-") for line in lines), "aligned"


def test_a_table_on_a_terminal_is_no_wider(bench: Bench) -> None:
    code, printed = bench.on_a_terminal("history", "--since", "2d", columns=60)
    assert code == 0
    lines = plain(printed).splitlines()
    head = [line for line in lines if line.startswith("time (UTC)")]
    assert len(head) == 2, "what does not fit side by side follows below"
    assert max(len(line) for line in lines if line.startswith(("2026", "time"))) <= 60
    assert "\x1b[1m" in printed
    assert "\x1b" not in bench.on_a_terminal("history", NO_COLOR="1")[1]


@pytest.mark.parametrize("form", ["table", "plot"])
def test_notes_fit_the_terminal_and_words_stay_whole(bench: Bench, form: str) -> None:
    words = ["history", "--since", "26h", "--format", form]
    code, printed = bench.on_a_terminal(*words, columns=60)
    assert code == 0
    notes = printed[printed.index("Buckets of") :].splitlines()
    assert max(map(len, notes)) <= 60
    text = " ".join(notes)
    assert "; those without samples are absent. " in text
    assert text.endswith("dome_temp: none in this range; the newest is 3.5 of 2026-10-22 12:00.")
    if form == "table":
        assert max(map(len, bench.shown(*words).splitlines())) > 100, "a file has no width"


def test_names_stay_whole_in_sentences() -> None:
    assert list(wrapped(["the dew-point-of-the-dome is", "no"], 12)) == ["the", "dew-point-of-the-dome", "is", "no"]
    assert list(wrapped(["a b c"], None)) == ["a b c"]


def test_buckets_that_the_range_cuts_are_told(bench: Bench) -> None:
    def told(*words: str) -> list[str]:
        shown = bench.shown("history", "--key", "water_temp", *words)
        return re.findall(r"^Of the (.*) bucket only what lies in the range is counted\.$", shown, re.MULTILINE)

    half = NOW - DAY + 30 * 60_000
    hours = ["--points", "24"]
    assert told("--since", iso(NOW - DAY), "--until", iso(NOW), *hours) == []
    assert told("--since", iso(half), "--until", iso(NOW), *hours) == ["first"]
    assert told("--since", iso(NOW - DAY), "--until", iso(NOW - 30 * 60_000), *hours) == ["last"]
    assert told("--since", iso(half), "--until", iso(NOW - 30 * 60_000), *hours) == ["first and the last"]
    assert told("--since", iso(half), "--until", iso(NOW), "--points", "24", "--format", "plot") == ["first"]
    assert told("--since", "2020-01-01", "--until", "2020-01-02") == [], "there is none"
    words = ["history", "--key", "water_temp", "--since", iso(half), "--until", iso(NOW), *hours, "--format", "csv"]
    first = next(row for row in csv.reader(bench.shown(*words).splitlines()) if row[0].startswith(iso(NOW - DAY)[:16]))
    assert first[1] == "180", "half an hour of it"
    with open(bench.site.folder / "stdout", "wb") as output:
        code, printed = bench.on_a_terminal(*words, output=output)
    assert (code, printed.strip()) == (0, "note: Of the first bucket only what lies in the range is counted.")
    assert "note" not in (bench.site.folder / "stdout").read_text()


def test_points_gaps_and_ranges_without_anything(bench: Bench) -> None:
    shown = bench.shown(
        "history", "--since", iso(NOW - DAY), "--key", "water_temp", "--points", "96", "--until", iso(NOW)
    )
    times = re.findall(r"^2026-11-\d\d \d\d:\d\d", shown, re.MULTILINE)
    assert "2026-11-21 01:45" in times
    assert "2026-11-21 05:00" in times
    assert not [time for time in times if "2026-11-21 02:00" <= time < "2026-11-21 05:00"], "a gap is a gap"
    shown = bench.shown("history", "--since", "2020-01-01", "--until", "2020-01-02")
    assert "Nothing was recorded between 2020-01-01 00:00 and 2020-01-02 00:00 UTC." in shown
    assert "water_temp: none in this range; the newest is " in shown


def test_events_are_listed(bench: Bench) -> None:
    lines = bench.shown("history", "--since", "2h", "--events").splitlines()
    assert bench.service.asked == [(["events"], "2h", None, None)]
    assert lines[0].split() == ["time", "(UTC)", "kind", "name", "value", "detail", "who"]
    assert lines[1].split() == ["2026-11-21", "11:00:00.000", "command", "set_mode", "AUTOMATIC", "127.0.0.1"]
    assert lines[2].split() == ["2026-11-21", "11:00:00.100", "state", "mode", "AUTOMATIC"]
    assert "\x1b" not in lines[3]
    both = bench.shown("history", "--since", "2h", "--events", "--key", "water_temp")
    assert "water_temp [degC]" in both
    assert "set_mode" in both
    assert bench.shown("history", "--since", "5m", "--events") == "No events in this range.\n"
    head, *rows = csv.reader(bench.shown("history", "--since", "2h", "--events", "--format", "csv").splitlines())
    assert head == ["time", "kind", "name", "value", "detail", "who"]
    assert rows[0] == ["2026-11-21T11:00:00.000Z", "command", "set_mode", "AUTOMATIC", "", "127.0.0.1"]
    assert len(rows) == 3
    content = json.loads(bench.shown("history", "--since", "2h", "--events", "--key", "energy", "--format", "json"))
    assert [event["name"] for event in content["events"]] == ["set_mode", "mode", "offline"]
    assert list(content["series"]) == ["energy"]


def test_what_cannot_be_read_is_told(bench: Bench) -> None:
    bench.service.problems = ["the block of series 1, day 3 cannot be read"]
    path = bench.site.folder / "x.json"
    for words in (
        ["history"],
        ["history", "--format", "csv"],
        ["history", "--format", "plot"],
        ["export", "-o", str(path)],
    ):
        done = bench.run(*words)
        assert done.returncode == 1, "who does not look at warnings must not take it for all"
        assert done.stderr.startswith("warning: the block of series 1, day 3 cannot be read\n")
        assert "`rockit history check` on the daemon's machine tells more" in done.stderr
    assert json.loads(path.read_text())["meta"]["problems"] == "the block of series 1, day 3 cannot be read"


# --- history for programs


def test_csv_follows_the_pages(bench: Bench) -> None:
    head, *rows = csv.reader(bench.shown("history", "--since", "2d", "--format", "csv").splitlines())
    assert len(bench.service.asked) > 5
    assert len({end for _, _, end, _ in bench.service.asked[1:]}) == 1
    assert head[0] == "time"
    assert set(head[1:]) == {"water_temp [degC]", "tec_power [%]", "energy [Wh]", "dome_temp [degC]", "quality"}
    place = head.index("water_temp [degC]")
    found = {ms_of(row[0]): float(row[place]) for row in rows if row[place]}
    assert found == {t: water(t) for t in range(NOW - 2 * DAY, NOW, STEP) if t not in GAP}
    assert all(ms_of(a[0]) < ms_of(b[0]) for a, b in pairwise(rows))
    assert {row[-1] for row in rows} == {"", "tec_power=bad", "tec_power=uncertain"}


def test_csv_of_buckets(bench: Bench) -> None:
    words = [
        "history",
        "--since",
        "1d",
        "--format",
        "csv",
        "--until",
        iso(NOW),
        "--points",
        "24",
        "--key",
        "water_temp",
        "--key",
        "energy",
    ]
    head, *rows = csv.reader(bench.shown(*words).splitlines())
    figures = ["water_temp_count", *(f"water_temp_{name} [degC]" for name in ("min", "mean", "max", "last"))]
    assert head == ["time", *figures, "energy_count", *(f"energy_{name} [Wh]" for name in ("min", "max", "last"))]
    assert rows[0][1] == "360"


@pytest.mark.parametrize("environment", [{}, {"COLUMNS": "40", "FORCE_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_json_is_one_valid_line(bench: Bench, environment: dict[str, str]) -> None:
    done = bench.run("history", "--since", "2d", "--format", "json", **environment)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    content = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert "next" not in content
    assert content["level"] == "raw"
    series = content["series"]["water_temp"]
    assert dict(zip(map(ms_of, series["time"]), series["value"], strict=True)) == {
        t: water(t) for t in range(NOW - 2 * DAY, NOW, STEP) if t not in GAP
    }
    power = content["series"]["tec_power"]
    assert len(power["quality"]) == len(power["value"])
    assert sorted(set(power["quality"])) == [0, 1, 2]


# --- plots


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 50), (20, 5)])
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "linux"}, {"TERM": "dumb"}])
def test_plots_fit_the_terminal(bench: Bench, columns: int, lines: int, environment: dict[str, str]) -> None:
    code, printed = bench.on_a_terminal(
        "history", "--since", "1d", "--format", "plot", columns=columns, lines=lines, **environment
    )
    assert code == 0
    assert ("\x1b" in printed) == (not {"NO_COLOR", "TERM"} & set(environment) or environment.get("TERM") == "linux")
    shown = plain(printed).splitlines()
    assert shown[0] == "clasp_chiller at clasp, 2026-11-20 12:00 to 2026-11-21 12:00 UTC"
    drawn = [line for line in shown if re.match(r" *[-\d.]*[┤│└|+]|   ", line)]
    assert max(map(len, drawn)) <= max(columns, 40)
    for unit, key in (("degC", "water_temp"), ("%", "tec_power"), ("Wh", "energy")):
        assert any(line.startswith(unit) and key in line for line in shown)
    assert bool(re.search("[\u2801-\u28ff]", printed)) == (environment.get("TERM") != "linux")


def test_a_plot_in_a_pipe_has_no_colour_and_a_size(bench: Bench) -> None:
    for environment in ({}, {"FORCE_COLOR": "1"}, {"COLUMNS": "120", "LINES": "40"}):
        shown = bench.shown("history", "--format", "plot", "--key", "water_temp", **environment)
        assert "\x1b" not in shown
        assert max(map(len, shown.splitlines()[1:])) <= int(environment.get("COLUMNS", "80"))
    shown = bench.shown("history", "--format", "plot", PYTHONIOENCODING="ascii")
    assert shown.isascii()
    assert "Nothing was recorded" in bench.shown(
        "history", "--format", "plot", "--since", "2020-01-01", "--until", "2021-01-01"
    )
