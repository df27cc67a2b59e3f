# SPDX-License-Identifier: GPL-3.0-or-later
"""The history of a real chillerd with a simulated T257P, asked over the network as everybody asks it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, ROOT, Process, Site, wait_for
from recording import Disk, locked, small_disk

from rockit.chiller.model import MEASUREMENTS
from rockit.common.errors import Code, CommandError, Unreachable
from rockit.common.remote.client import Client
from rockit.history.database import Database, Statement
from rockit.history.model import DAY, Samples, Series
from rockit.history.query import Reader
from rockit.history.schema import blocks
from rockit.history.store import Store
from rockit.history.times import iso, ms_of

KEY = "water_temp"
QUICK = {"query_delay": 0.1, "command_interval": 0}


def begun(site: Site, **history: Any) -> Process:
    """A daemon that polls as quickly as it may and records."""
    site.write_config(**QUICK, **({"history": {"site": "clasp", **history}} if history else {}))
    site.simulator()
    daemon = site.chillerd()
    with site.client() as client:
        wait_for(lambda: client.counters()["history_values"], "the first poll, by which every series is known")
    return daemon


def polls(site: Site) -> int:
    """How many were begun."""
    with site.client() as client:
        return client.counters()["polls"]


def more(site: Site, count: int) -> None:
    """Waits for so many polls."""
    before = polls(site)
    wait_for(lambda: polls(site) >= before + count, f"{count} polls")


def times(client: Client, start: Any = "1h") -> list[int]:
    """When the recorded samples were taken, ms, over all pages."""
    found: list[int] = []
    while start is not None:
        page = client.history([KEY], start)
        found += map(ms_of, page["series"][KEY]["time"])
        start = page.get("next")
    return found


def settled(site: Site) -> list[int]:
    """The times of samples, when there is one of each poll that was begun up to now, but for the poll in hand."""
    with site.client() as client:
        wanted = client.counters()["polls"] - 1
        wait_for(lambda: len(times(client)) >= wanted, f"{wanted} samples")
        found = times(client)
        counters = client.counters()
    assert counters["polls_failed"] == 0
    assert counters["history_lost"] == 0
    assert len(found) <= counters["polls"]
    assert found == sorted(set(found))
    return found


def events(site: Site, name: str) -> list[dict[str, str]]:
    with site.client() as client:
        return [event for event in client.history(["events"], "1h")["events"] if event["name"] == name]


def said(process: Process, text: str) -> list[str]:
    return [line for line in process.lines() if text in line]


# --- what can be asked


def test_everything_is_recorded_without_a_word_in_the_config(site: Site) -> None:
    begun(site)
    more(site, 10)
    found = settled(site)
    with site.client() as client:
        raw = client.history()
        assert (site.folder / "state" / "history.sqlite").exists()
        assert (raw["device"], raw["level"], raw["bucket"]) == ("localhost_test", "raw", 0.0)
        assert set(raw["series"]) == set(client.measurement_sensors()) - {"dome_temp", "humidity", "dew_point"}
        assert "events" not in raw
        water = raw["series"][KEY]
        assert (water["label"], water["unit"], water["kind"]) == ("Supply temperature", "degC", "gauge")
        assert len(water["time"]) == len(water["value"]) >= len(found)
        assert water["latest"] == {"time": water["time"][-1], "value": water["value"][-1]}
        assert raw["series"]["uptime"]["kind"] == "counter"
        few = client.history([KEY], raw["start"], raw["end"], 10)
        assert few["level"] == "buckets"
        column = few["series"][KEY]
        assert sum(column["count"]) == len(water["time"])
        assert (min(column["min"]), max(column["max"])) == (min(water["value"]), max(water["value"]))
        assert list(few["series"]) == [KEY]


def test_long_answers_come_in_pages_of_which_each_sample_is_in_one(site: Site) -> None:
    url = f"sqlite:///{site.folder}/long.sqlite"
    known = MEASUREMENTS[KEY]
    begin = int(time.time()) // 86_400 * DAY - 2 * DAY
    old = Samples.of((begin + 3_000 * number, number % 700 / 10, 0) for number in range(50_000))
    with Store(url) as store:
        store.merge(Series("clasp", "localhost_test", KEY, known.unit, known.label), old)
    begun(site, url=url)
    with site.client() as client:
        pages = []
        start: str | None = iso(begin)
        while start is not None:
            pages.append(client.history([KEY], start, iso(begin + 50_000 * 3_000)))
            start = pages[-1].get("next")
        assert len(pages) == 3
        column = [page["series"][KEY] for page in pages]
        assert [ms_of(when) for one in column for when in one["time"]] == old.times
        assert [value for one in column for value in one["value"]] == old.values
        assert len(times(client, iso(begin))) > len(old), "with what was recorded since"


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ((["watertemp"],), "'watertemp' is not recorded here; recorded is "),
        (([KEY], "yesterday"), "'yesterday' is no time"),
        (([KEY], "1h", "2h"), "before it begins"),
        (([KEY], "1h", None, 0), "points must be a number of buckets, 1 or more, not 0"),
        (([KEY], "1h", None, "many"), "points must be a number of buckets"),
        (([KEY], "1h", None, 10**9), "ask for fewer"),
        ((KEY,), "keys must be a list of names, or None for all"),
        (([1, 2],), "keys must be a list of names, or None for all"),
        (([KEY], [1]), "is no time"),
    ],
)
def test_what_has_no_answer_is_told_why(recording: Site, question: tuple[Any, ...], told: str) -> None:
    with recording.client() as client:
        with pytest.raises(CommandError) as raised:
            client.history(*question)
        assert raised.value.code == Code.OUT_OF_RANGE
        assert told in raised.value.message
        assert client.report_status()["connected"] is True


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One daemon for all questions that change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        made = Site(tmp_path_factory.mktemp("recording"))
        patch.setenv("ROCKIT_DAEMONS_PATH", str(made.registry))
        begun(made)
        settled(made)
        yield made
        for process in reversed(made.processes):
            process.stop()


def test_a_config_may_say_that_nothing_is_recorded(site: Site) -> None:
    site.config.write_text(json.dumps({**json.loads(site.config.read_text()), "history": None}))
    site.simulator()
    daemon = site.chillerd()
    with site.client() as client:
        with pytest.raises(CommandError, match='keeps no history: its config says "history": null') as raised:
            client.history()
        assert raised.value.code == Code.FAILED
        assert not [key for key in client.counters() if key.startswith("history")]
    assert not list((site.folder / "state").glob("history*"))
    assert "sqlite" not in Path(f"/proc/{daemon.pid}/maps").read_text(), "nor does it cost anything"


def test_who_did_what_is_recorded(site: Site) -> None:
    daemon = begun(site)
    with site.client() as client:
        assert client.command("set_mode", 0) == 0
        assert client.command("set_setpoint", 99.0) == Code.OUT_OF_RANGE
        assert site.chiller("enable").returncode == 0
        wait_for(lambda: [one for one in events(site, "status") if one["value"] == "COOLING"], "the consequence")
    [mode] = events(site, "set_mode")
    assert (mode["kind"], mode["value"], mode["who"]) == ("command", "0", "127.0.0.1")
    assert "set_mode(0)" in mode["detail"] or "manual" in mode["detail"]
    [refused] = events(site, "set_setpoint")
    assert refused["value"] == str(int(Code.OUT_OF_RANGE))
    [enabled] = wait_for(lambda: events(site, "set_enabled"), "the command")
    assert enabled["value"] == "0"
    assert [one["value"] for one in events(site, "mode")] == ["AUTOMATIC", "MANUAL"]
    assert [one["kind"] for one in events(site, "mode")] == ["state", "state"]
    assert events(site, "started")[0]["kind"] == "daemon"
    ordered = [one["time"] for one in (mode, refused, enabled)]
    assert ordered == sorted(ordered)
    daemon.stop()
    site.chillerd()
    wait_for(lambda: len(events(site, "mode")) == 3, "the mode, which is told anew")
    assert [one["value"] for one in events(site, "mode")] == ["AUTOMATIC", "MANUAL", "MANUAL"]
    assert len(events(site, "stopped")) == 1
    assert len(events(site, "started")) == 2


def test_alarms_and_gaps_are_recorded(site: Site) -> None:
    begun(site)
    site.fault("unplug on")
    wait_for(lambda: [one["value"] for one in events(site, "offline")] == ["active"], "the alarm")
    wait_for(lambda: events(site, "status")[-1]["value"] == "OFFLINE", "what it comes to")
    with site.client() as client:
        before = len(times(client))
        site.fault("unplug off")
        wait_for(lambda: len(times(client)) > before + 2, "samples after the replug")
    offline = wait_for(lambda: (found := events(site, "offline"))[1:] and found, "the end of the alarm")
    assert [(one["kind"], one["value"] == "active") for one in offline] == [("alarm", True), ("alarm", False)]
    assert "does not answer" in offline[0]["detail"]


# --- what goes wrong


def test_what_was_told_survives_kill_9(site: Site) -> None:
    daemon = begun(site)
    told: dict[str, Any] = {}
    for _ in range(3):
        more(site, 5)
        with site.client() as client:
            told = client.history([KEY, "events"])
        daemon.popen.kill()
        daemon.wait()
        daemon = site.chillerd()
        with site.client() as client:
            again = client.history([KEY, "events"], told["start"], told["end"])
        for column in ("time", "value"):
            before = told["series"][KEY][column]
            assert again["series"][KEY][column][: len(before)] == before
        assert again["events"][: len(told["events"])] == told["events"]
    assert len(told["series"][KEY]["time"]) > 10
    assert not said(daemon, "history:")


@contextmanager
def hung(site: Site) -> Iterator[sqlite3.Connection]:
    with locked(site.folder / "state" / "history.sqlite") as other:
        yield other


def test_a_store_that_hangs_changes_no_poll(site: Site) -> None:
    begun(site)
    more(site, 5)
    with hung(site):
        with site.client() as client:
            before = client.counters()
            more(site, 40)
            assert client.report_status()["connected"] is True
            assert client.command("set_mode", 0) == 0
            assert client.history([KEY])["level"] == "raw", "who asks does not wait either"
            after = client.counters()
        assert after["history_values"] == before["history_values"]
    found = settled(site)
    assert len(found) >= after["polls"] - 1
    begin, end = found[before["polls"]], found[after["polls"] - 2]
    during = [when for when in found if begin <= when <= end]
    assert len(during) >= 39
    longest = max(later - earlier for earlier, later in pairwise(found))
    assert longest < (end - begin) / 2, "nobody has waited for the lock"
    assert [one["value"] for one in events(site, "set_mode")] == ["0"]


def test_it_ends_while_the_store_hangs(site: Site) -> None:
    daemon = begun(site)
    more(site, 5)
    with hung(site):
        more(site, 3)
        daemon.signal()
        assert daemon.wait() == 0
    assert said(daemon, "values could not be written before the end, and are lost")
    assert daemon.lines()[-1] == "INFO chillerd@test: stopped"


@pytest.mark.parametrize("kind", ["disk", "limit"])
def test_a_full_disk_stops_no_chiller(site: Site, tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path / "disk", mount=kind == "disk") as disk:
        daemon = begun(site, url=f"sqlite:///{disk.folder}/h.sqlite")
        more(site, 5)
        wait_for(lambda: full(site, disk, daemon), "the alarm")
        more(site, 10)
        status = site.chiller("status")
        assert status.returncode == 0
        assert "Chiller is " in status.stdout
        assert "values wait in memory and are not shown: " in site.chiller("history", "--since", "1h").stderr
        with site.client() as client:
            [alarm] = [one for one in client.alarms() if one["name"] == "history"]
            assert "nothing is recorded: " in alarm["text"]
            assert client.command("set_mode", 0) == 0
        disk.free()
        wait_for(lambda: "history" not in site.status()["alarms"], "the end of the alarm")
        settled(site)
        changes = wait_for(lambda: (found := events(site, "history"))[1:] and found, "both changes of the alarm")
        assert [one["value"] for one in changes[:2]] == ["active", "normal"]
        assert len(said(daemon, "kept in memory until it can be written")) == len(said(daemon, "recording goes on; 0 "))
        daemon.stop()


def full(site: Site, disk: Disk, daemon: Process) -> bool:
    """Fills what a store that was closed for a moment has left; whether that is an alarm by now."""
    disk.fill(daemon.pid)
    return "history" in site.status()["alarms"]


def test_damage_that_somebody_meets_is_an_alarm_and_no_empty_answer(site: Site) -> None:
    url = f"sqlite:///{site.folder}/old.sqlite"
    known = MEASUREMENTS[KEY]
    begin = int(time.time()) // 86_400 * DAY - 2 * DAY
    with Store(url) as store:
        old = Samples.of((begin + 60_000 * number, 11.5, 0) for number in range(1440))
        store.merge(Series("clasp", "localhost_test", KEY, known.unit, known.label), old)
        with store.session.writing():
            store.session.run(Statement(blocks.update().values(data=b"RH damaged")))
    begun(site, url=url)
    day = ["--since", iso(begin), "--until", iso(begin + DAY), "--key", KEY]
    for words in (["history", "--format", "csv"], ["export", "-o", str(site.folder / "day.csv")]):
        done = site.chiller(*words, *day)
        assert done.returncode == 1, done.stdout
        assert f"{KEY} of localhost_test of {iso(begin)[:10]} cannot be read" in done.stderr
        assert "was recorded between" not in done.stdout
    alarm = wait_for(lambda: [one for one in site.status()["alarms"] if one == "history_damaged"], "the alarm")
    assert alarm
    more(site, 3)
    with site.client() as client:
        assert client.counters()["history_lost"] == 0


def test_a_new_start_with_another_config_goes_on_in_the_same_file(site: Site) -> None:
    daemon = begun(site)
    more(site, 5)
    before = len(settled(site))
    site.write_config(**QUICK, safe_state="keep")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: started_again(site), "the new start")
    with site.client() as client:
        wait_for(lambda: len(times(client)) > before + 3, "more samples")
    assert len(events(site, "stopped")) == 1
    assert not said(daemon, "lost"), daemon.lines()


def started_again(site: Site) -> bool:
    """Whether a daemon that ends and starts just now has said both; meanwhile nobody answers."""
    try:
        return len(events(site, "started")) == 2
    except Unreachable:
        return False


def test_two_daemons_record_into_one_file(site: Site) -> None:
    url = f"sqlite:///{site.folder}/both.sqlite"
    other = site.folder / "other"
    site.write_config(
        daemon="localhost_test2", serial_port=str(other), state_directory=str(site.folder / "state2"),
        history={"url": url, "site": "clasp"}, **QUICK,
    )  # fmt: skip
    config = site.config.rename(site.folder / "second.json")
    site.simulator(link=other)
    site.start("second", str(ROOT / "chillerd"), str(config))
    first = begun(site, url=url)
    names = ("localhost_test", "localhost_test2")
    for name in names:
        with site.client(name) as client:
            wait_for(lambda client=client: client.counters()["history_values"], f"the first poll of {name}")
            wait_for(lambda client=client: len(times(client)) > 20, f"samples of {name}")
    with Reader(Database(url)).view() as view:
        devices = {series.device for series in view.series().values() if series.key == KEY}
    assert devices == set(names)
    first.popen.kill()
    first.wait()
    with site.client(names[1]) as client:
        before = len(times(client))
        wait_for(lambda: len(times(client)) > before + 5, "what the other goes on to record")
        assert client.counters()["history_lost"] == 0
    for process in site.processes:
        assert not said(process, "history:")


def test_command_lines_know_no_database(recording: Site) -> None:
    for words in (["status"], ["json"], ["--help"], ["mode", "manual"]):
        run = [sys.executable, "-X", "importtime", str(ROOT / "chiller"), *words]
        done = subprocess.run(run, env=recording.environment, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "rockit.common.cli" in modules
        assert not {name.partition(".")[0] for name in modules} & {"sqlalchemy", "sqlite3", "psycopg"}
        assert not modules & {"rockit.history.store", "rockit.history.database", "rockit.history.keeping"}
