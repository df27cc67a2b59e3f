# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder in real trouble: a full disk, a folder that may not be written, a store that hangs, odd values."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, wait_for
from recording import BEGIN, KEYS, Bench, Disk, hurried, locked, many, small_disk

from rockit.common.conditions import Priority
from rockit.common.quality import Measurement, Quality
from rockit.history import recorder as module
from rockit.history import waiting
from rockit.history.database import StoreError, Trouble
from rockit.history.model import DAY, Samples, Series
from rockit.history.recorder import Recorder
from rockit.history.setaside import set_aside
from rockit.history.store import Recorded, Store

NOBODY = 65534


@pytest.fixture(autouse=True)
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return hurried(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.recorder._thread.is_alive():
        made.recorder.end(time.monotonic() + PATIENCE)


# --- no room, no folder, no right


def filled(disk: Disk, bench: Bench, attempts: list[str]) -> int:
    """Nothing more can be written; how many polls were before. A store that is closed for a moment gives some room."""
    refused = 0
    while refused < 3:
        disk.fill()
        bench.poll()
        before = len(attempts)
        wait_for(lambda before=before: bench.recorder.written(0.0) or len(attempts) > before + 4, "the poll")
        refused = 0 if bench.recorder.written(0.0) else refused + 1
    return len(bench.polls) - len(bench.recorder._waiting)


@pytest.fixture(params=["disk", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "disk", mount=request.param == "disk") as made:
        yield made


def test_a_full_disk_is_said_once_and_costs_nothing_that_fits_in_memory(disk: Disk, attempts: list[str]) -> None:
    bench = Bench(disk.folder)
    bench.recorder.start()
    bench.poll(20)
    bench.settled()
    filled(disk, bench, attempts)
    said = len(bench.errors())
    bench.poll(100)
    bench.recorder.event("command", "set_mode", "0", "meanwhile", "127.0.0.1")
    told = bench.recorder.conditions()["history"]
    assert told.text.startswith("nothing is recorded: ")
    assert bench.path.name in told.text
    assert f"{bench.recorder._waiting.size} values wait in memory" in told.text
    many(attempts)
    assert len(bench.errors()) == said == 1 + len(bench.log.of("info")), "once, and again after each recovery"
    assert "what is measured is kept in memory until it can be written" in bench.errors()[0]
    disk.free()
    bench.settled()
    wait_for(lambda: not bench.recorder.conditions(), "the end of the alarm")
    assert [line for line in bench.log.of("info") if "recording goes on; 0 of what waited was lost" in line]
    bench.end()
    bench.check()
    assert [event.detail for event in bench.events()] == ["meanwhile"]
    assert bench.recorder.counters["history_lost"] == 0
    assert bench.recorder.counters["history_values"] == 10 * len(bench.polls)


def test_of_too_much_the_oldest_goes_and_is_counted(
    disk: Disk, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 1000)
    bench = Bench(disk.folder)
    bench.recorder.start()
    gone = 0
    for outage in (1, 2):
        bench.poll(10)
        bench.settled()
        kept = filled(disk, bench, attempts)
        bench.poll(700)
        many(attempts)  # the newest ones are in hand by now
        assert bench.recorder._waiting.size == 1000
        lost = len(bench.polls) - 100
        assert bench.recorder.counters["history_lost"] == gone + 10 * (lost - kept)
        assert len(bench.errors("the oldest is lost from now on")) == outage, "once each time"
        disk.free()
        bench.settled()
        wait_for(lambda: not bench.recorder.trouble, "the end of the trouble")
        del bench.polls[kept:lost]
        gone += 10 * (lost - kept)
    bench.end()
    bench.check()


def test_what_waits_is_written_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TOGETHER", 45)
    bench.poll(50)
    bench.recorder.start()
    bench.settled()
    assert bench.commits == 13, "four polls each"
    assert bench.recorder._waiting.size == 0
    bench.end()
    bench.check()


def test_a_folder_that_is_missing_is_waited_for(tmp_path: Path, attempts: list[str]) -> None:
    bench = Bench(tmp_path / "later")
    bench.recorder.start()
    bench.poll(5)
    wait_for(lambda: bench.recorder.trouble, "the refusal")
    bench.poll(5)
    many(attempts)
    assert len(bench.errors()) == 1
    assert len(bench.errors(f"unable to open database file: there is no folder {tmp_path}/later; make it, or ")) == 1
    (tmp_path / "later").mkdir()
    bench.settled()
    bench.end()
    bench.check()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_folder_that_may_not_be_written_is_said_once(attempts: list[str], *, damaged: bool) -> None:
    folder = Path(tempfile.mkdtemp())
    bench = Bench(folder)
    if damaged:
        bench.path.write_bytes(os.urandom(20_000))
    folder.chmod(0o555)
    was = os.geteuid()
    try:
        if was == 0:  # to whom no mode means anything
            os.seteuid(NOBODY)
        bench.recorder.start()
        bench.poll(5)
        wait_for(lambda: bench.recorder.trouble, "the refusal")
        many(attempts)
        assert len(bench.errors()) == 1, bench.log.lines
        assert f"correct the owner or mode of {folder}" in bench.errors()[0] or not damaged
        os.seteuid(was)
        folder.chmod(0o755)
        bench.settled()
        bench.end()
        bench.check()
    finally:
        os.seteuid(was)
        shutil.rmtree(folder)


# --- a store that hangs


@pytest.fixture
def in_hand(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the recorder is about to commit."""
    begun = threading.Event()
    before = Recorder._commit

    def commit(self: Recorder, *arguments: Any) -> None:
        begun.set()
        before(self, *arguments)

    monkeypatch.setattr(Recorder, "_commit", commit)
    return begun


def test_a_store_that_hangs_keeps_nobody_waiting(
    bench: Bench, in_hand: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.recorder.start()
    bench.poll(3)
    bench.settled()
    in_hand.clear()
    with locked(bench.path):
        bench.poll()
        assert in_hand.wait(PATIENCE)
        bench.poll(50)
        bench.recorder.states({"mode": "MANUAL"})
        bench.recorder.commit()
        bench.recorder.event("command", "set_mode", "0")
        assert bench.recorder.conditions() == {}, "not yet worth a word"
        monkeypatch.setattr(module, "HANGS", 0.0)
        told = bench.recorder.conditions()["history"].text
        assert told.startswith("nothing is recorded: the store has been busy with one commit for ")
        assert told.endswith("; 512 values wait in memory")
        assert not bench.recorder.written(0.0)
        assert bench.recorder.counters["history_values"] == 30
    bench.settled()
    wait_for(lambda: not bench.recorder.conditions(), "the end of the alarm")
    bench.end()
    bench.check()
    assert [(event.kind, event.name, event.value) for event in bench.events()] == [
        ("state", "mode", "MANUAL"), ("command", "set_mode", "0"),
    ]  # fmt: skip
    assert bench.errors() == []


def test_what_goes_while_the_store_hangs_and_was_in_its_hands_is_not_lost(
    bench: Bench, in_hand: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 100)
    bench.recorder.start()
    bench.poll()
    bench.settled()
    in_hand.clear()
    with locked(bench.path):
        bench.poll()
        assert in_hand.wait(PATIENCE)
        bench.poll(30)
        assert bench.recorder._waiting.size == 100
    bench.settled()
    bench.end()
    # One poll was in the hands of the store, and the newest ten waited.
    bench.check(bench.polls[:2] + bench.polls[-10:])
    assert bench.recorder.counters["history_lost"] == 10 * 20


def test_an_end_waits_no_longer_than_it_may(bench: Bench) -> None:
    bench.recorder.start()
    bench.poll()
    bench.settled()
    with locked(bench.path):
        bench.poll(7)
        assert not bench.recorder.end(time.monotonic() + 0.2)
        assert bench.errors() == ["history: 70 values could not be written before the end, and are lost"]
        assert bench.recorder._thread.is_alive()
    bench.recorder._thread.join(PATIENCE)
    bench.check()


def test_a_file_that_stays_locked_is_said_once(
    bench: Bench, attempts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rockit.history.database.BUSY", 0.0)
    monkeypatch.setattr("rockit.history.database._PRAGMAS", ("PRAGMA journal_mode=WAL", "PRAGMA busy_timeout=0"))
    bench.recorder.start()
    bench.poll()
    bench.settled()
    with locked(bench.path):
        bench.poll(3)
        wait_for(lambda: bench.recorder.trouble, "the refusal")
        many(attempts)
        assert len(bench.errors()) == len(bench.errors("database is locked; what is measured is kept in memory")) == 1
    bench.settled()
    bench.end()
    bench.check()


# --- what cannot be recorded


@pytest.mark.parametrize("value", [2**60, 10**400, float("inf"), float("-inf")])
def test_a_value_that_is_no_number_loses_only_itself(bench: Bench, value: float) -> None:
    bench.recorder.start()
    for odd in (value, 1.5, value, value, value, value):
        bench.recorder.add({"k1": odd}, time.monotonic())
        bench.poll()
    bench.settled()
    bench.end()
    for poll in bench.polls:
        poll[:] = [row for row in poll if row[2] != value]
    bench.check()
    assert bench.recorder.counters["history_lost"] == 5
    assert bench.recorder.counters["history_values"] == 61
    assert len(bench.errors()) == 3, "said, but not for ever"
    assert "k1" in bench.errors()[0]


def test_what_is_not_known_is_passed_over(bench: Bench) -> None:
    bench.recorder.start()
    for odd in (float("nan"), None, "off", [1.0]):
        bench.recorder.add({"k1": odd, "nobody": 1.0}, time.monotonic())
    bench.recorder.commit()
    asked = time.monotonic()
    for _ in range(2):
        bench.recorder.add({"k2": 5}, asked)
        bench.polls.append(list(bench.recorder._poll.values))
        bench.recorder.commit()
    bench.poll(quality=Quality.BAD)
    bench.settled()
    bench.end()
    bench.check()
    assert [len(poll) for poll in bench.polls] == [1, 0, 10], "a value that is asked for twice is one"
    assert bench.recorder.counters["history_lost"] == 0
    assert bench.log.lines == []


def test_numbers_of_every_kind_are_recorded_and_what_has_too_many_digits_is_told(bench: Bench) -> None:
    bench.recorder.start()
    bench.recorder.add({"k1": Decimal("5430157.70"), "k2": Fraction(1, 4), "k3": True}, time.monotonic())
    bench.polls.append(list(bench.recorder._poll.values))
    bench.recorder.add({"k4": Decimal("0.12345678901234567890")}, time.monotonic())
    bench.recorder.commit()
    bench.settled()
    bench.end()
    bench.check()
    assert [value for _, _, value, _ in bench.polls[0]] == [5430157.7, 0.25, 1.0]
    assert bench.recorder.counters["history_lost"] == 1
    assert len(bench.errors("k4: Decimal('0.12345678901234567890') has more digits than can be recorded")) == 1


def test_how_things_stand_is_told_again_where_it_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_WAITING", 100)
    bench = Bench(tmp_path)
    bench.recorder.states({"mode": "auto"})
    bench.poll()
    bench.recorder.start()
    bench.settled()
    with locked(bench.path):
        bench.recorder.states({"mode": "manual"})
        bench.poll(30)
    for _ in range(2):
        bench.recorder.states({"mode": "manual"})
        bench.poll()
        bench.settled()
    bench.end()
    assert [event.value for event in bench.events() if event.name == "mode"][-1] == "manual"


def test_values_older_than_what_is_kept_are_told_to_be_lost(tmp_path: Path) -> None:
    bench = Bench(tmp_path, keep_raw_days=5)
    with Store(bench.url, bench.clock) as store:
        for key, known in KEYS.items():
            series = Series("clasp", "chiller", key, known.unit, known.label)
            store.merge(series, Samples([BEGIN - 20 * DAY], [1.0]))
        while store.forget(5):
            continue
    bench.clock.time = BEGIN - 20 * DAY  # a board without a clock of its own
    bench.recorder.start()
    bench.poll()
    bench.settled()
    bench.end()
    assert bench.recorder.counters["history_values"] == 0
    assert bench.recorder.counters["history_lost"] == 10
    assert len(bench.errors("they are older than the 5 days that are kept; is the clock right?")) == 1


def test_a_dying_disk_ends_no_recording(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even what tells of trouble, and moves files, may meet an error."""
    bench.path.write_bytes(os.urandom(50_000))
    left = [OSError(5, "Input/output error")] * 3

    def dying(path: Path, found: int = 0) -> tuple[bool, str]:
        if left:
            raise left.pop()
        return set_aside(path, found)

    monkeypatch.setattr(module, "set_aside", dying)
    bench.recorder.start()
    bench.poll(3)
    bench.settled()
    bench.end()
    assert not left
    bench.check()


def test_a_day_that_cannot_be_sealed_hinders_no_recording(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def seal(_store: Store) -> bool:
        tries.append(1)
        raise StoreError(Trouble.REFUSES, "it cannot be sealed")

    monkeypatch.setattr(Store, "seal", seal)
    monkeypatch.setattr(module, "TIDY", 0.0)
    bench.recorder.start()
    for _ in range(5):
        before = len(tries)
        bench.poll()
        bench.settled()
        wait_for(lambda before=before: len(tries) > before, "a try")
    alarm = bench.recorder.conditions()["history"]
    assert alarm.text == "finished days are not sealed, and take more room: it cannot be sealed"
    assert alarm.priority is Priority.LOW
    assert len(bench.errors()) == 1
    bench.end()
    bench.check()


def test_an_impossible_time_loses_only_what_is_of_it(bench: Bench) -> None:
    for when in (BEGIN, -5_000_000, BEGIN + 1, 2**60, BEGIN + 2):
        bench.clock.time = when
        bench.poll()
    bench.recorder.start()
    bench.poll(3)
    bench.settled()
    bench.end()
    assert [len(poll) for poll in bench.polls] == [10, 0, 10, 0, 10, 10, 10, 10]
    bench.check()
    assert bench.recorder.counters["history_lost"] == 20
    assert len(bench.errors("is no time in ms since 1970")) == 3, "said, but not for ever"


def test_a_poll_that_the_database_will_never_take_loses_only_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(Store):
        """Nothing of what it refuses is in it."""

        def record(self, device: int, rows: Sequence[Recorded], *arguments: Any, **options: Any) -> int:
            if not {int(value) for _, _, value, _ in rows} & {2, 4, 7}:
                return Store.record(self, device, rows, *arguments, **options)
            raise StoreError(Trouble.WRONG, "there is something wrong with it")

    monkeypatch.setattr(module, "Store", Picky)
    bench.poll(5)
    bench.recorder.start()
    bench.settled()
    bench.poll(5)
    bench.settled()
    bench.end()
    bench.check([poll for poll in bench.polls if int(poll[0][2]) not in (2, 4, 7)])
    assert bench.recorder.counters["history_lost"] == 30
    assert len(bench.errors("10 values cannot be recorded, and are lost: there is something wrong with it")) == 3
    assert "are lost, see the log: there is something" in bench.recorder.conditions()["history"].text


def test_another_unit_begins_another_series(tmp_path: Path) -> None:
    benches = [Bench(tmp_path, measured={"k0": Measurement("Water", unit, -1e9, 1e9)}) for unit in ("degC", "K")]
    for bench in benches:
        bench.recorder.start()
        bench.poll(5)
        bench.settled()
        bench.end()
    for bench in benches:
        bench.check()
