# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder and a file that is not as it was: deleted, damaged, replaced, of a later version."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from harness import PATIENCE, wait_for
from recording import Bench, elsewhere, hurried, many

from rockit.history import recorder as module
from rockit.history.database import Database
from rockit.history.query import Reader
from rockit.history.store import Store


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return hurried(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.recorder._thread.is_alive():
        made.recorder.end(time.monotonic() + PATIENCE)


def test_a_file_that_was_deleted_is_begun_anew(bench: Bench) -> None:
    bench.recorder.start()
    bench.poll(10)
    bench.settled()
    for path in bench.path.parent.glob("history.sqlite*"):
        path.unlink()
    bench.poll(10)
    bench.settled()
    bench.end()
    assert bench.errors() == [
        f"history: {bench.path} has gone; it is opened anew",
        f"history: sqlite:///{bench.path} is empty, and was not before: a new history is begun in it",
    ]
    bench.check(bench.polls[10:])
    alarm = bench.recorder.conditions()["history_begun"]
    assert alarm.latched, "who does not read the log shall not find out in a year"
    assert "a new history is begun" in alarm.text


def test_a_log_that_was_removed_is_told_and_a_kill_costs_nothing(tmp_path: Path) -> None:
    """SQLite goes on writing into the deleted one, and to begin another would mix the two."""
    benches = [Bench(tmp_path, device) for device in ("chiller", "boiler")]
    for bench in benches:
        bench.recorder.start()
        bench.poll(10)
        bench.settled()
    reader = Reader(Database(benches[0].url, make=False))  # as when somebody asks the daemon
    with reader.view() as view:
        assert len(view.series()) == 20
    path = benches[0].path
    path.with_name("history.sqlite-wal").unlink()
    for turn in range(3):
        for bench in benches:
            bench.poll(5)
            bench.settled()
        copy = tmp_path / f"copy{turn}.sqlite"
        shutil.copy(path, copy)  # what a kill would leave
        with Store(f"sqlite:///{copy}") as store, Reader(store.database).view() as view:
            assert {len(view.samples(number, 0, 2**45)) for number in view.series()} == {15 + 5 * turn}
    for bench in benches:
        assert len(bench.errors("history.sqlite-wal was removed while it was in use; end all daemons")) == 1
        assert "until then all goes into the file itself" in bench.recorder.conditions()["history_log"].text
    reader.database.close()
    for bench in benches:
        bench.end()
        bench.check()
    with sqlite3.connect(path) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    whole.close()


def test_a_file_that_was_emptied_is_noticed(bench: Bench) -> None:
    bench.recorder.start()
    bench.poll(10)
    bench.settled()
    os.truncate(bench.path, 0)
    bench.poll(10)
    bench.settled()
    bench.end()
    assert len(bench.errors("was emptied by somebody; it is opened anew")) == 1
    with Store(bench.url) as store, Reader(store.database).view() as view:
        ids = {one.key: number for number, one in view.series().items()}
        assert set(view.samples(ids["k0"], 0, 2**45).times) >= {poll[0][1] for poll in bench.polls[10:]}


def test_a_database_that_was_made_anew_on_its_server_is_told(tmp_path: Path, postgresql: str) -> None:
    bench = Bench(tmp_path, url=postgresql)
    bench.recorder.start()
    bench.poll(3)
    bench.settled()
    with psycopg.connect(postgresql.replace("+psycopg", ""), autocommit=True) as other:
        other.execute("DROP SCHEMA public CASCADE")
        other.execute("CREATE SCHEMA public")
    bench.poll(3)
    bench.settled()
    bench.end()
    assert len(bench.errors("is empty, and was not before: a new history is begun in it")) == 1
    bench.check(bench.polls[3:])


def aside(bench: Bench, count: int = 1) -> list[Path]:
    """Files that were set aside, without those that belong to them."""
    found = sorted(path for path in bench.path.parent.glob("*.corrupt-*") if not path.name.endswith(("-wal", "-shm")))
    assert len(found) == count, sorted(path.name for path in bench.path.parent.iterdir())
    return found


def test_a_file_that_is_damaged_from_the_start_is_set_aside(bench: Bench) -> None:
    rubbish = os.urandom(50_000)
    bench.path.write_bytes(rubbish)
    bench.poll(3)
    bench.recorder.start()
    bench.settled()
    bench.end()
    bench.check()
    [old] = aside(bench)
    assert old.read_bytes() == rubbish
    [told] = bench.errors()
    assert f"it was set aside as {old.name}, and a new one is begun" in told


def spoil(path: Path) -> None:
    """All pages but the first become rubbish, and no log holds them any more."""
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    other.close()
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def test_a_file_that_is_damaged_meanwhile_is_set_aside_by_one_of_two(tmp_path: Path) -> None:
    benches = [Bench(tmp_path, device) for device in ("chiller", "boiler")]
    for bench in benches:
        bench.recorder.start()
        bench.poll(10)
        bench.settled()
    spoil(benches[0].path)
    rounds = 0
    while not list(tmp_path.glob("*.corrupt-*")):  # each has pages in memory until the other has written
        rounds += 1
        assert rounds < 100
        before = [len(bench.polls) for bench in benches]
        for bench in benches:
            bench.poll()
            bench.settled()
    for bench in benches:
        bench.poll(50)
        bench.settled()
        bench.end()
    [old] = aside(benches[0])
    told = [line for bench in benches for line in bench.errors()]
    assert len([line for line in told if f"it was set aside as {old.name}" in line]) == 1, told
    for bench, count in zip(benches, before, strict=True):
        with Store(bench.url) as store, Reader(store.database).view() as view:
            ids = {one.key: number for number, one in view.series().items() if one.device == bench.device}
            new = view.samples(ids["k0"], 0, 2**45).times
        # The poll that met the damage is in the new file; what went into the old one before is with the old one.
        assert new in ([poll[0][1] for poll in bench.polls[start:]] for start in (count, count + 1))
        bench.check(bench.polls[-len(new) :])
    assert sum(len(bench.errors("disk image is malformed")) for bench in benches) >= 1


def test_many_who_start_on_a_damaged_file_agree_on_a_new_one(tmp_path: Path) -> None:
    """As processes: within one, closing a file gives up the locks that others hold on it."""
    folders = [tmp_path / str(number) for number in range(10)]
    for folder in folders:
        folder.mkdir()
        (folder / "history.sqlite").write_bytes(os.urandom(50_000))
    elsewhere("test_history_files.meet", *folders)
    for folder in folders:
        told = list(folder.glob("*.json"))
        assert len(told) == 4
        for one in told:
            bench = Bench(folder, one.stem)
            bench.check([[tuple(row) for row in poll] for poll in json.loads(one.read_text())])
        aside(bench)


def meet(*folders: str) -> None:
    """In a process of its own: others meet at each damaged file, record, and tell what."""
    Store(f"sqlite:///{folders[0]}/other.sqlite").close()  # brings the imports that come late
    module.BACK_OFF = (0.02,)
    for folder in folders:
        children = []
        for number in range(4):
            children.append(os.fork())
            if not children[-1]:
                with suppress(BaseException):
                    one_of_many(Path(folder), f"device{number}")
                os._exit(0)
        for child in children:
            os.waitpid(child, 0)


def one_of_many(folder: Path, device: str) -> None:
    bench = Bench(folder, device)
    bench.recorder.start()
    for _ in range(5):
        bench.poll()
        bench.settled()
    bench.end()
    (folder / f"{device}.json").write_text(json.dumps(bench.polls))


def test_a_damaged_file_in_the_place_of_a_good_one_is_set_aside_as_well(bench: Bench) -> None:
    bench.recorder.start()
    bench.poll(5)
    bench.settled()
    other = bench.path.with_name("other")
    other.write_bytes(os.urandom(50_000))
    os.rename(other, bench.path)
    for part in ("-wal", "-shm"):
        bench.path.with_name(bench.path.name + part).unlink(missing_ok=True)
    bench.poll(5)
    bench.settled()
    bench.end()
    aside(bench)
    bench.check(bench.polls[5:])


def test_a_file_of_a_later_version_is_left_alone(bench: Bench, attempts: list[str]) -> None:
    Store(bench.url).close()
    with sqlite3.connect(bench.path) as other:
        other.execute("UPDATE about SET value = '999' WHERE name = 'version'")
    other.close()
    before = bench.path.read_bytes()
    bench.recorder.start()
    bench.poll(5)
    wait_for(lambda: bench.recorder.trouble, "the refusal")
    many(attempts)
    assert len(bench.errors()) == len(bench.errors("its tables have version 999; this software knows")) == 1
    assert "version 999" in bench.recorder.conditions()["history"].text
    assert not bench.recorder.end(time.monotonic() + PATIENCE)
    assert bench.errors("50 values could not be written before the end, and are lost")
    assert bench.path.read_bytes() == before
    aside(bench, 0)
