# SPDX-License-Identifier: GPL-3.0-or-later
"""`rockit history`, as a person runs it."""

from __future__ import annotations

import json
import os
import pty
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import msgspec
import pytest
from harness import PATIENCE, ROOT, Site, wait_for
from test_import_chronos import chronos, minutes

from rockit.history.model import BUCKETS_A_DAY, DAY, Batch, Event, Samples, Series, day_of
from rockit.history.store import Store, wall_clock

VERBS = ("stats", "check", "vacuum", "import", "receive")
WATER = Series("clasp", "clasp_chiller", "water_temp", "degC", "Supply temperature")
FLOW = Series("clasp", "clasp_chiller", "flow", "L/min", "Process flow")

SAMPLES = 3 * 1440 + 3 * 144
TOKEN = "0123456789abcdef0123456789abcdef"


def today() -> int:
    return day_of(wall_clock())


def fill(url: str) -> str:
    """Three days of water, sealed, and of flow, not sealed; the last is that before yesterday."""
    with Store(url) as store:
        for day in range(today() - 4, today() - 1):
            store.merge(WATER, samples(day, 60_000))
            store.merge(FLOW, samples(day, 600_000))
        store.add_events("clasp", "clasp_chiller", [Event((today() - 3) * DAY, "state", "mode", "AUTOMATIC")])
    return url


def samples(day: int, step: int) -> Samples:
    chance = random.Random(day)
    times = range(day * DAY, (day + 1) * DAY, step)
    return Samples(list(times), [chance.randrange(999) / 10 for _ in times])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    fill(f"sqlite:///{path}")
    return path


def succeeded(site: Site, *arguments: str) -> str:
    done = site.rockit("history", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), (done.returncode, done.stdout, done.stderr)
    return done.stdout


def failed(site: Site, code: int, *arguments: str) -> str:
    done = site.rockit("history", *arguments)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert code == 0 or done.stderr or done.stdout
    return done.stdout + done.stderr


def harm(store: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(statement, values)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(site: Site, verb: str) -> None:
    printed = succeeded(site, verb, "--help")
    assert printed.startswith(f"Usage: rockit history {verb}")
    assert f"\n  rockit history {verb} " in printed


def test_the_group_costs_the_tool_nothing_at_its_start(site: Site) -> None:
    heavy = ("sqlalchemy", "rich", "rockit.history.store")
    code = f"import sys, rockit.tool.cli; print([name for name in {heavy} if name in sys.modules])"
    done = site.run("-c", code, PYTHONPATH=str(ROOT))
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- stats


def test_stats_for_people_and_for_programs(site: Site, store: Path) -> None:
    printed = succeeded(site, "stats", str(store))
    lines = printed.splitlines()
    assert lines[0] == f"history   sqlite:///{store}"
    assert f"samples   {SAMPLES:,}: 4,320 sealed in 3 blocks (" in printed
    assert "outbox    nothing is forwarded" in lines
    assert "clasp/clasp_chiller" in lines
    [water] = [line.split() for line in lines if line.strip().startswith("water_temp")]
    assert water[1] == "degC"
    assert water[6:8] == ["4,320", "4,320"]
    printed = succeeded(site, "stats", f"sqlite:///{store}", "--json")
    assert printed.count("\n") == 1
    found = json.loads(printed)
    assert (found["samples"], found["sealed"], found["events"], found["schema"]) == (SAMPLES, 4320, 1, 1)
    assert [one["key"] for one in found["series"]] == ["water_temp", "flow"]


def test_stats_of_an_outbox(site: Site, store: Path) -> None:
    with Store(f"sqlite:///{store}") as opened:
        device, water = opened.device_id("clasp", "clasp_chiller"), opened.series_id(WATER)
        for time in (wall_clock() - 7_200_000, wall_clock()):
            opened.record(device, [(water, time, 4.0, 0)], post=True)
    assert "2 rows, the oldest 2.0 h old" in succeeded(site, "stats", str(store))
    assert "no target has confirmed any of it" in succeeded(site, "stats", str(store))
    harm(store, "INSERT INTO cursors VALUES ('https://a', 1, 1), ('https://b', 1, 2), ('https://c', 1, 0)")
    printed = succeeded(site, "stats", str(store))
    assert "https://a: 1 row behind, the oldest 0 s old" in printed or "https://a: 1 row behind, the oldest " in printed
    assert "https://b: has all" in printed
    assert "https://c: 2 rows behind, the oldest 2.0 h old" in printed


def test_what_waits_under_a_former_name_can_be_dropped(site: Site, store: Path) -> None:
    with Store(f"sqlite:///{store}") as opened:
        water = opened.series_id(WATER)
        for value, name in enumerate(("old", "old", "clasp_chiller", "old")):
            opened.record(opened.device_id("clasp", name), [(water, wall_clock(), float(value), 0)], post=True)
    place = ["--drop-outbox", "clasp/old"]
    assert "3 rows of the outbox of clasp/old, of which 3 were not sent to every target; say --yes" in failed(
        site, 64, "vacuum", str(store), *place
    )
    told = failed(site, 1, "vacuum", str(store), "--drop-outbox", "clasp/new")
    assert "there is no device clasp/new here; there is clasp/clasp_chiller, clasp/old" in told
    assert "'old' is not SITE/DEVICE" in failed(site, 64, "vacuum", str(store), "--drop-outbox", "old")
    printed = succeeded(site, "vacuum", str(store), *place, "--yes")
    assert "2 rows of the outbox of clasp/old dropped" in printed, "the newest stays, so that numbers only grow"
    printed = succeeded(site, "stats", str(store))
    assert "clasp/old: 1 row," in printed
    assert "clasp/clasp_chiller: 1 row," in printed
    assert f"samples   {SAMPLES + 4:,}:" in printed


def test_what_a_daemon_forwards_is_not_dropped(site: Site, store: Path) -> None:
    forward = [{"url": "mqtt://127.0.0.1"}]
    site.write_config(history={"url": f"sqlite:///{store}", "site": "clasp", "forward": forward})
    with Store(f"sqlite:///{store}") as opened:
        opened.device_id("clasp", "localhost_test")
    told = failed(site, 64, "vacuum", str(site.config), "--drop-outbox", "clasp/localhost_test", "--yes")
    assert "forwards clasp/localhost_test: what waits is sent; take its targets out first" in told


@pytest.mark.parametrize("verb", [("stats",), ("check",), ("vacuum",)])
def test_who_looks_at_an_emptied_file_leaves_the_log_beside_it(site: Site, store: Path, verb: tuple[str, ...]) -> None:
    with Store(f"sqlite:///{store}") as opened:
        opened.record(opened.device_id("clasp", "x"), [(opened.series_id(WATER), wall_clock(), 4.0, 0)])
        log = store.with_name(f"{store.name}-wal")
        before = log.read_bytes()
        os.truncate(store, 0)
        assert f"{store} is empty (0 bytes)" in failed(site, 1, *verb, str(store))
        assert log.read_bytes() == before


# --- which store


def test_the_config_of_a_daemon_names_its_store(site: Site, store: Path) -> None:
    (site.folder / "state").mkdir()
    shutil.move(store, site.folder / "state/history.sqlite")
    # CHILLERD_CONFIG_PATH is set here: it is the only config.
    for given in ([str(site.config)], []):
        assert f"sqlite:///{site.folder}/state/history.sqlite" in succeeded(site, "stats", *given)
    site.write_config(history={"url": f"sqlite:///{site.folder}/other.sqlite"})
    assert "there is no file" in failed(site, 1, "stats", str(site.config))
    site.write_config(history={"url": "mysql://x"})
    assert "history.url: mysql is not known" in failed(site, 78, "stats", str(site.config))
    site.config.write_text('{"daemon": "localhost_test", "history": null}')
    assert "keeps none" in failed(site, 78, "check", str(site.config))
    assert "there is no such file" in failed(site, 78, "check", str(site.folder / "no.json"))


def test_without_a_store_and_a_config(site: Site) -> None:
    site.environment.pop("CHILLERD_CONFIG_PATH")
    told = failed(site, 64, "stats")
    assert "which STORE? Name a database URL, a file of SQLite or a daemon's config" in told
    assert f"({site.folder}/etc: no config there" in told


@pytest.mark.parametrize("verb", [("stats",), ("check",), ("check", "--repair"), ("vacuum",)])
def test_what_is_no_store(site: Site, tmp_path: Path, verb: tuple[str, ...]) -> None:
    nothing = tmp_path / "no/history.sqlite"
    assert f"there is no file {nothing}, nor the folder {tmp_path}/no" in failed(site, 1, *verb, str(nothing))
    assert not nothing.parent.exists()
    missing = tmp_path / "missing.sqlite"
    assert f"there is no file {missing};" in failed(site, 1, *verb, str(missing))
    assert not missing.exists()
    assert f"{tmp_path} is a folder" in failed(site, 1, *verb, str(tmp_path))
    assert "is no file" in failed(site, 1, *verb, "/dev/null")
    text = tmp_path / "notes.txt"
    text.write_text("not a database at all\n" * 400)
    assert "file is not a database: it is of another kind" in failed(site, 1, *verb, str(text))
    empty = tmp_path / "empty.sqlite"
    empty.touch()
    assert "not that of a history of rockit's" in failed(site, 1, *verb, str(empty))
    assert empty.stat().st_size == 0
    assert "mysql is not known" in failed(site, 64, *verb, "mysql://localhost/x")
    told = failed(site, 1, *verb, "postgresql+psycopg://u:secret@127.0.0.1:1/x")
    assert "127.0.0.1:1" in told
    assert "secret" not in told


@pytest.mark.parametrize("verb", [("stats",), ("check",), ("check", "--repair"), ("vacuum",)])
def test_a_newer_store_is_left_alone(site: Site, store: Path, verb: tuple[str, ...]) -> None:
    harm(store, "UPDATE about SET value = '2'")
    before = store.read_bytes()
    assert "its tables have version 2; this software knows versions up to 1: update it" in failed(
        site, 1, *verb, str(store)
    )
    assert store.read_bytes() == before


@pytest.mark.parametrize("verb", [("stats",), ("check",), ("check", "--repair"), ("vacuum",)])
def test_a_truncated_store(site: Site, store: Path, verb: tuple[str, ...]) -> None:
    os.truncate(store, store.stat().st_size // 2)
    before = store.read_bytes()
    told = failed(site, 1, *verb, str(store))
    assert "malformed" in told
    assert f"`sqlite3 {store} .dump | sed " in told
    assert store.read_bytes() == before


def test_a_store_that_may_not_be_read(site: Site, store: Path) -> None:
    store.chmod(0)
    command = [sys.executable, str(ROOT / "bin/rockit"), "history", "stats", str(store)]
    if os.geteuid() == 0:  # who may read everything, unless told otherwise
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv is not installed here (Debian: util-linux)")
        command = [setpriv, "--bounding-set", "-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"{store} cannot be read by user id" in done.stderr


def test_a_copy_on_a_disk_that_is_read_only(site: Site, small_disk: Path, store: Path) -> None:
    store = Path(shutil.copy(store, small_disk))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert f"samples   {SAMPLES:,}" in succeeded(site, "stats", str(store))
    assert "no problems" in succeeded(site, "check", str(store))
    told = failed(site, 1, "vacuum", str(store))
    assert "SQLite must be able to write to the file and its folder" in told


# --- check


def test_check_of_a_whole_store(site: Site, store: Path) -> None:
    before = store.read_bytes()
    assert succeeded(site, "check", str(store)).splitlines() == [
        f"checked {SAMPLES:,} samples and 576 roll-ups of 6 days of series",
        "no problems",
    ]
    assert store.read_bytes() == before


def test_check_of_a_damaged_store(site: Site, store: Path) -> None:
    day = today() - 3
    date = iso(day)
    with closing(sqlite3.connect(store)) as connection:
        [(data,)] = connection.execute("SELECT data FROM blocks WHERE series = 1 AND day = ?", (day,))
    harm(store, "UPDATE blocks SET data = ? WHERE series = 1 AND day = ?", data[:50] + b"!" + data[51:], day)
    harm(store, "DELETE FROM rollups WHERE series = 2 AND bucket = ?", day * BUCKETS_A_DAY + 1)
    harm(store, "UPDATE rollups SET total = total + 1 WHERE series = 2 AND bucket = ?", day * BUCKETS_A_DAY + 2)
    lines = failed(site, 1, "check", str(store)).splitlines()
    broken = (
        f"clasp/clasp_chiller/water_temp {date}: its block cannot be used: its checksum is wrong;"
        " import this day from a copy, if there is one"
    )
    assert lines[:3] == [
        broken,
        f"clasp/clasp_chiller/flow {date}: 1 roll-up is missing, the first that of 00:15",
        f"clasp/clasp_chiller/flow {date}: 1 roll-up is wrong, the first that of 00:30",
    ]
    assert lines[4:] == ["3 problems", f"2 can be repaired: rockit history check --repair {store}"]
    lines = failed(site, 1, "check", "--repair", str(store)).splitlines()
    assert lines[0] == broken
    assert lines[1].endswith("of 00:15 (repaired)")
    assert lines[2].endswith("of 00:30 (repaired)")
    assert lines[4:] == ["3 problems, 2 of them repaired"]
    # And the day comes back from a copy.
    copy = store.with_name("copy.sqlite")
    fill(f"sqlite:///{copy}")
    assert "1440 new" in succeeded(site, "import", str(copy), "--into", str(store))
    done = site.rockit("history", "check", str(store))
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "no problems"
    assert done.stderr.startswith(f"note: clasp/clasp_chiller/water_temp {date}: a block of it was set aside on ")


def iso(day: int) -> str:
    from rockit.history.times import iso as text

    return text(day * DAY)[:10]


def test_check_beside_a_daemon_and_its_store_afterwards(site: Site) -> None:
    site.simulator()
    site.chillerd()
    path = site.folder / "state/history.sqlite"
    wait_for(path.exists, "the daemon's store")

    def recorded() -> bool:
        done = site.rockit("history", "stats", "--json", str(site.config))
        return done.returncode == 0 and json.loads(done.stdout)["samples"] > 10

    wait_for(recorded, "some polls")
    assert "no problems" in succeeded(site, "check", str(site.config))
    assert "no problems" in succeeded(site, "check", "--repair", str(site.config))
    assert "before, " in succeeded(site, "vacuum", str(site.config))
    with site.client() as client:
        assert "history" not in client.report_status()["alarms"]
    [daemon] = [process for process in site.processes if process.name == "chillerd"]
    assert daemon.stop() == 0
    assert "no problems" in succeeded(site, "check", str(site.config))


@pytest.mark.parametrize("harmed", ["rollups", "sqlite_autoindex_blocks_1", "the end"])
def test_what_can_be_read_of_a_damaged_file_is_saved_as_the_message_says(
    site: Site, store: Path, tmp_path: Path, harmed: str
) -> None:
    if shutil.which("sqlite3") is None:
        pytest.skip("sqlite3 is not installed here (Debian: sqlite3)")
    if harmed == "the end":
        os.truncate(store, store.stat().st_size - 4096)
    else:
        with closing(sqlite3.connect(store)) as connection:
            [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (harmed,))
        with open(store, "r+b") as stream:
            stream.seek((page - 1) * 4096)
            stream.write(b"\xa5" * 4096)
    told = failed(site, 1, "check", str(store))
    assert "malformed" in told
    assert f"read of it: `rockit history import {store} --into STORE`; where that cannot read it, " in told
    printed = failed(site, 1, "import", str(store), "--into", str(tmp_path / "direct.sqlite"), "--create")
    if harmed != "the end":  # which SQLite does not even open
        assert "not read: something, for the file is damaged (" in printed
        saved = json.loads(succeeded(site, "stats", "--json", str(tmp_path / "direct.sqlite")))
        assert saved["samples"] == SAMPLES or "not read: water_temp of clasp_chiller" in printed
        assert "no problems" in succeeded(site, "check", str(tmp_path / "direct.sqlite"))
    command = printed.partition("`")[2].partition("`")[0]
    assert command.startswith("sqlite3 ")
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, timeout=60, stderr=subprocess.DEVNULL)
    printed = succeeded(
        site, "import", str(tmp_path / "saved.sqlite"), "--into", str(tmp_path / "new.sqlite"), "--create"
    )
    saved = json.loads(succeeded(site, "stats", "--json", str(tmp_path / "new.sqlite")))
    assert f"{saved['samples']} values taken" in printed
    if harmed == "the end":
        assert SAMPLES - 1440 < saved["samples"] <= SAMPLES
    else:
        assert saved["samples"] == SAMPLES
    assert "no problems" in succeeded(site, "check", str(tmp_path / "new.sqlite"))


# --- vacuum


def test_vacuum_seals_and_says_what_it_came_to(site: Site, store: Path) -> None:
    lines = succeeded(site, "vacuum", str(store)).splitlines()
    assert lines[0] == "3 days of series sealed"
    assert lines[1].endswith(" now")
    assert " before, " in lines[1]
    found = json.loads(succeeded(site, "stats", "--json", str(store)))
    assert (found["rows"], found["samples"], found["free_bytes"]) == (0, SAMPLES, 0)
    assert "0 days of series sealed" in succeeded(site, "vacuum", str(store))
    assert "no problems" in succeeded(site, "check", str(store))


def test_vacuum_deletes_only_what_was_agreed_to(site: Site, store: Path) -> None:
    what = f"3,168 samples, from {iso(today() - 4)} to before {iso(today() - 2)}"
    assert f"this would delete {what}; say --yes" in failed(site, 64, "vacuum", "--keep-raw-days", "2", str(store))
    assert json.loads(succeeded(site, "stats", "--json", str(store)))["samples"] == SAMPLES
    assert f"Delete {what}?" in asked(site, store, b"n\n", 1)
    assert json.loads(succeeded(site, "stats", "--json", str(store)))["samples"] == SAMPLES
    assert "3,168 samples of 2 days forgotten" in asked(site, store, b"y\n", 0)
    found = json.loads(succeeded(site, "stats", "--json", str(store)))
    assert (found["samples"], found["rollups"], found["events"]) == (1440 + 144, 576, 1)
    lines = succeeded(site, "vacuum", "--keep-raw-days", "1", "--yes", str(store)).splitlines()
    assert lines[0] == "1,584 samples of 1 days forgotten"
    lines = succeeded(site, "vacuum", "--keep-raw-days", "1", str(store)).splitlines()
    assert lines[0] == "0 samples of 0 days forgotten", "nothing to ask about"
    assert "no problems" in succeeded(site, "check", str(store))
    failed(site, 64, "vacuum", "--keep-raw-days", "0", str(store))


def asked(site: Site, store: Path, answer: bytes, code: int) -> str:
    """On a terminal."""
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    command = [sys.executable, str(ROOT / "bin/rockit"), "history", "vacuum", "--keep-raw-days", "2", str(store)]
    done = subprocess.run(command, env=site.environment, stdin=theirs, capture_output=True, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert done.returncode == code, done.stderr
    return (done.stdout + done.stderr).decode()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill_up(filler: Path) -> None:
    with open(filler, "wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            continue


def test_a_full_disk_is_told_of_and_harms_nothing(site: Site, small_disk: Path, store: Path) -> None:
    with Store(f"sqlite:///{store}") as opened:
        for key in range(20):
            for day in range(today() - 4, today() - 1):
                opened.merge(Series("clasp", "clasp_chiller", f"key{key}"), samples(day, 60_000))
    store = Path(shutil.copy(store, small_disk))
    filler = small_disk / "filler"
    fill_up(filler)
    told = failed(site, 1, "vacuum", str(store))
    assert "disk is full" in told
    filler.unlink()
    fill_up(filler)
    os.truncate(
        filler, filler.stat().st_size - store.stat().st_size * 3 // 4
    )  # room to seal, and none to write all of it anew
    told = failed(site, 1, "vacuum", str(store))
    assert f"of free space in {small_disk} for a while" in told
    assert "The history is as usable as before" in told
    filler.unlink()
    assert "no problems" in succeeded(site, "check", str(store))
    assert json.loads(succeeded(site, "stats", "--json", str(store)))["samples"] == SAMPLES + 60 * 1440
    assert " before, " in succeeded(site, "vacuum", str(store))


# --- import


def test_import_of_another_system(site: Site, store: Path, tmp_path: Path) -> None:
    source = str(chronos(tmp_path / "chronos.db", list(minutes("2020-01-15 10:00:00", 30))))
    into = ("--into", str(store))
    assert "--site and --device" in failed(site, 64, "import", source, *into)
    named = (*into, "--site", "clasp", "--device", "clasp_boiler")
    assert "--time-zone" in failed(site, 64, "import", source, *named)
    assert "is no time zone" in failed(site, 1, "import", source, *named, "--time-zone", "Mars/Olympus")
    complete = (source, *named, "--time-zone", "Europe/Madrid")
    printed = succeeded(site, "import", *complete, "--dry-run")
    assert printed.startswith("chronos: 30 rows\n450 values taken; nothing was written (dry run)\n")
    assert json.loads(succeeded(site, "stats", "--json", str(store)))["samples"] == SAMPLES
    assert "450 values taken; 450 new, 0 were there already" in succeeded(site, "import", *complete)
    assert "450 values taken; 0 new, 450 were there already" in succeeded(site, "import", *complete)
    found = json.loads(succeeded(site, "stats", "--json", str(store)))
    assert found["samples"] == SAMPLES + 450
    assert {one["first"] for one in found["series"] if one["device"] == "clasp_boiler"} == {"2020-01-15T09:00:00.000Z"}
    assert "no problems" in succeeded(site, "check", str(store))


def test_import_of_another_history(site: Site, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    told = failed(site, 1, "import", str(store), "--into", str(other))
    assert f"there is no history in {other} yet; --create begins one" in told
    assert not other.exists()
    assert "4752 values taken; nothing" in succeeded(
        site, "import", str(store), "--into", str(other), "--create", "--dry-run"
    )
    assert not other.exists()
    printed = succeeded(
        site, "import", str(store), "--into", str(other), "--create", "--key", "flow", "--from-device",
        "clasp_chiller", "--site", "here", "--device", "renamed",
    )  # fmt: skip
    assert "432 values taken; 432 new" in printed
    [one] = json.loads(succeeded(site, "stats", "--json", str(other)))["series"]
    assert (one["site"], one["device"], one["key"]) == ("here", "renamed", "flow")
    for given in (str(store), f"sqlite:///{store}", str(store.parent / "." / store.name)):
        assert "is the history itself" in failed(site, 64, "import", given, "--into", str(store))


def test_import_says_what_is_wrong(site: Site, store: Path, tmp_path: Path) -> None:
    into = ("--into", str(store), "--site", "a", "--device", "b")
    assert "cannot be read: No such file" in failed(site, 1, "import", str(tmp_path / "no.db"), *into)
    assert "cannot be read: Is a directory" in failed(site, 1, "import", str(tmp_path), *into)
    other = tmp_path / "x.txt"
    other.write_text("hello")
    assert "is none of these" in failed(site, 1, "import", str(other), *into)
    assert "'x' is not KEY=VALUE" in failed(site, 64, "import", str(other), *into, "--scaler", "x")
    assert "'y' for x is no whole number" in failed(site, 64, "import", str(other), *into, "--scaler", "x=y")
    foreign = chronos(tmp_path / "chronos.db", [])
    before = foreign.read_bytes()
    told = failed(site, 1, "import", str(store), "--into", str(foreign), "--create")
    assert "not that of a history of rockit's" in told
    assert foreign.read_bytes() == before


def test_import_that_is_interrupted_says_so_and_can_be_repeated(site: Site, store: Path, tmp_path: Path) -> None:
    source, into = tmp_path / "large.sqlite", tmp_path / "into.sqlite"
    days, keys = 3, 6
    with Store(f"sqlite:///{source}") as large:
        for day in range(today() - 1 - days, today() - 1):
            run = samples(day, 10_000)
            for key in range(keys):
                large.merge(Series("clasp", "large", f"key{key}"), run)
    Store(f"sqlite:///{into}").close()
    command = (str(ROOT / "bin/rockit"), "history", "import", str(source), "--into", str(into))
    process = site.start("import", *command)
    with closing(sqlite3.connect(into, timeout=0, isolation_level=None)) as other:
        wait_for(lambda: other.execute("SELECT count(*) FROM blocks").fetchone()[0], "the first values")
        while not locked(other):  # in the moment between two transactions of the import
            continue
        process.signal(signal.SIGINT)
        other.execute("ROLLBACK")
    assert process.wait() == 130
    assert "values are in, " in "\n".join(process.lines())
    assert "do it again for the rest, what is there is passed over" in "\n".join(process.lines())
    assert "no problems" in succeeded(site, "check", str(into))
    there = json.loads(succeeded(site, "stats", "--json", str(into)))["samples"]
    whole = days * keys * 8640
    assert 0 < there < whole
    printed = succeeded(site, "import", str(source), "--into", str(into))
    assert f"{whole} values taken; {whole - there} new, {there} were there already" in printed
    assert "no problems" in succeeded(site, "check", str(into))


def locked(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def test_what_root_begins_belongs_to_whom_the_folder_belongs(site: Site, store: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    folder = tmp_path / "daemon"
    folder.mkdir()
    os.chown(folder, 1234, 2345)
    succeeded(site, "import", str(store), "--into", str(folder / "history.sqlite"), "--create")
    assert {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()} == {(1234, 2345)}


# --- receive


def test_receive_takes_batches_until_it_is_ended(site: Site, tmp_path: Path) -> None:
    tokens, store = tmp_path / "tokens", tmp_path / "central.sqlite"
    tokens.write_text(f"{TOKEN} clasp\n")
    tokens.chmod(0o640)
    command = (str(ROOT / "bin/rockit"), "history", "receive", str(store), "--listen", "127.0.0.1:0")
    process = site.start("receive", *command, "--token-file", str(tokens))
    [line] = wait_for(process.lines, "its address")
    url = line.removeprefix("receiving at ")
    batch = msgspec.msgpack.encode(Batch([WATER], [(0, today() * DAY, 11.5, 0)], []))
    request = urllib.request.Request(url, batch, {"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert json.loads(answer.read()) == {"new": 1}
    assert json.loads(succeeded(site, "stats", "--json", str(store)))["samples"] == 1
    process.signal()
    assert process.wait() == 0
    assert process.lines() == [line]


def test_receive_says_what_is_wrong(site: Site, tmp_path: Path) -> None:
    tokens, store = tmp_path / "tokens", str(tmp_path / "central.sqlite")
    tokens.write_text(f"{TOKEN}\n")
    tokens.chmod(0o640)
    named = ("--token-file", str(tokens))
    for wrong in ("8443", ":1", "host:70000"):
        assert "is not HOST:PORT" in failed(site, 64, "receive", store, *named, "--listen", wrong)
    local = ("--listen", "127.0.0.1:0")
    assert "give a certificate" in failed(site, 1, "receive", store, *named, "--listen", "0.0.0.0:0")
    assert "is of no use" in failed(site, 1, "receive", store, *named, *local, "--certificate", "/no/such.pem")
    assert "--certificate" in failed(site, 64, "receive", store, *named, *local, "--key", "/no/such.pem")
    assert "cannot be read" in failed(site, 1, "receive", store, *local, "--token-file", str(tmp_path / "none"))
    assert "mysql is not known" in failed(site, 64, "receive", "mysql://x", *named, *local)
    assert "there is no folder" in failed(site, 1, "receive", str(tmp_path / "no/x.sqlite"), *named, *local)
    foreign = str(chronos(tmp_path / "chronos.db", []))
    assert "not that of a history" in failed(site, 1, "receive", foreign, *named, *local)
    failed(site, 64, "receive", store, *local)


# --- PostgreSQL


def test_all_of_it_on_postgresql(site: Site, postgresql: str, store: Path) -> None:
    assert "not that of a history of rockit's" in failed(site, 1, "stats", postgresql)
    assert "--create" in failed(site, 1, "import", str(store), "--into", postgresql)
    assert f"{SAMPLES} values taken; {SAMPLES} new" in succeeded(
        site, "import", str(store), "--into", postgresql, "--create"
    )
    printed = succeeded(site, "stats", postgresql)
    assert "database  PostgreSQL " in printed
    assert "no problems" in succeeded(site, "check", postgresql)
    with Store(postgresql) as opened, opened.session.writing():
        from sqlalchemy import text

        from rockit.history.database import Statement

        opened.session.run(Statement(text("UPDATE rollups SET last = last + 1 WHERE bucket % 96 = 7")))
    assert "is wrong, the first that of 01:45" in failed(site, 1, "check", postgresql)
    assert "(repaired)" in succeeded(site, "check", "--repair", postgresql)
    assert "no problems" in succeeded(site, "check", postgresql)
    lines = succeeded(site, "vacuum", "--keep-raw-days", "2", "--yes", postgresql).splitlines()
    assert lines[0] == "3,168 samples of 2 days forgotten"
    assert "no problems" in succeeded(site, "check", postgresql)


# --- on a terminal


@pytest.mark.parametrize("verb", ["check", "vacuum"])
def test_a_bar_is_for_terminals_and_not_in_what_is_printed(site: Site, store: Path, verb: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, str(ROOT / "bin/rockit"), "history", verb, str(store)]
    environment = {**site.environment, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux says so at the end of a pty
            pass
        assert process.stdout is not None
        printed = process.stdout.read().decode()
    os.close(ours)
    assert process.returncode == 0
    assert "\x1b" not in printed
    assert ("no problems" if verb == "check" else " now") in printed
    assert "━" in shown.decode()
