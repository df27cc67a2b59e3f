# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets that fail, refuse, hang or cannot be believed, and a history of our own that is damaged."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
from clusters import PostgreSQL
from harness import PATIENCE, wait_for
from outboxes import (
    DEVICE,
    SITE,
    WATER,
    Gate,
    Local,
    Watched,
    at_once,
    count_at,
    forwarding,
    local,
    plain,
    samples_of,
    watched,
)
from served import Lines

from rockit.common.conditions import Priority
from rockit.common.daemonconfig import Forward, HistoryConfig
from rockit.common.quality import Measurement
from rockit.history import forwarder, outgoing
from rockit.history.forwarder import Forwarder
from rockit.history.keeping import History
from rockit.history.model import BUCKET, DAY, Batch
from rockit.history.store import Store, wall_clock
from rockit.history.targets import TargetFailed
from rockit.history.targets.postgres import PostgresTarget

__all__ = ["local", "watched"]
NOWHERE = "postgresql+psycopg://postgres@127.0.0.1:1/central"


# A target that fails


def test_one_that_is_down_holds_up_no_other(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    local.polls(wall_clock() - DAY, 10)
    with forwarding(local, PostgresTarget(NOWHERE), watched) as running:
        for number in range(3):
            running.caught_up(1)
            local.polls(wall_clock() - DAY // 2 + number * BUCKET, 10)
        running.caught_up(1)
        down, up = running.forwarders
        wait_for(lambda: down.counters["history_forward_failures"] >= 3, "attempts")
        assert up.counters["history_forward_failures"] == 0
        assert running.logs[1].lines == []
        [said] = running.logs[0].of("error")
        assert said.startswith(f"history: cannot forward: {NOWHERE}: ")
        assert "refused" in said
    local.arrived_at(postgresql)


class Unhurried(threading.Event):
    """Notes how long somebody would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(0)


def test_the_pauses_grow_and_begin_anew_after_a_success(local: Local, watched: Watched) -> None:
    watched.before = gate = Gate()
    local.polls(wall_clock() - DAY, 1)
    sender = Forwarder(local.url, SITE, DEVICE, watched, [watched.name], Lines())
    sender._stop = pauses = Unhurried()
    sender.begin()
    wait_for(lambda: len(pauses.waits) >= 9, "as many failures")
    gate.shut = False
    wait_for(lambda: sender._sent, "the poll")
    waited = list(pauses.waits)
    assert waited[:8] == [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 60.0, 60.0]
    assert set(waited[8:]) == {60.0}
    gate.shut = True
    local.polls(wall_clock() - DAY // 2, 1)
    sender.wake()
    wait_for(lambda: len(pauses.waits) >= len(waited) + 2, "failures once more")
    sender.end(time.monotonic() + PATIENCE)
    assert pauses.waits[len(waited) : len(waited) + 2] == [1.0, 2.0]


def test_the_end_does_not_wait_for_a_pause(local: Local, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "BACK_OFF", (3600.0,))
    watched.before = Gate()
    local.polls(wall_clock() - DAY, 1)
    with forwarding(local, watched) as running:
        wait_for(lambda: running.logs[0].lines, "the pause")
    assert len(watched.given) == 1


def test_the_end_does_not_wait_for_a_batch_that_takes_long(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rockit.history.targets.postgres.PATIENCE", 0.05)
    Store(postgresql).close()
    local.polls(wall_clock() - DAY, 1)
    with plain(postgresql) as somebody, plain(postgresql) as another, somebody.transaction():
        somebody.execute("LOCK TABLE series IN ACCESS EXCLUSIVE MODE")
        with forwarding(local, watched) as running:
            wait_for(
                lambda: another.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchall(),
                "the forwarder to wait for the lock",
            )
        assert running.logs[0].lines == [], "an end is no failure"
        assert set(local.cursors().values()) <= {0}
        with pytest.raises(TargetFailed, match="closed"):
            watched.target.send(Batch())


def test_what_never_began_can_end(local: Local, watched: Watched) -> None:
    """The store could not be opened."""
    Forwarder(local.url, SITE, DEVICE, watched, [watched.name], Lines()).end(time.monotonic())


def test_a_failure_is_told_once_and_its_end_too(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    watched.before = gate = Gate(shut=False)
    with forwarding(local, watched) as running:
        sender, [log] = running.forwarders[0], running.logs
        for number in range(2):
            gate.shut = True
            local.polls(wall_clock() - DAY + number * BUCKET, 1)
            running.wake()
            gate.wait(4)
            gate.shut = False
            running.caught_up()
            told = log.lines[2 * number :]
            assert [level for level, _ in told] == ["error", "info"]
            assert told[0][1] == "history: cannot forward: the gate is shut; it waits here until it can be sent"
            assert told[1][1].startswith(f"history: forwarding to {watched.name} goes on after ")
        assert sender.counters["history_forward_failures"] >= 8
    local.arrived_at(postgresql)


def test_an_alarm_after_ten_minutes(local: Local, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    watched.before = gate = Gate()
    local.polls(wall_clock() - DAY, 1)
    with forwarding(local, watched) as running:
        [sender] = running.forwarders
        gate.wait(2)
        assert sender.condition() is None
        monkeypatch.setattr(forwarder, "LATE", 0.0)
        found = sender.condition()
        assert found is not None
        assert found.text.startswith("nothing could be forwarded for ")
        assert found.text.endswith(": the gate is shut")
        assert found.priority is Priority.LOW
        gate.shut = False
        running.caught_up()
        assert sender.condition() is None


def test_one_that_never_answers_is_an_alarm_too(
    local: Local, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may take a batch and say nothing for hours: somebody has locked a table."""
    entered, leave = threading.Event(), threading.Event()

    def hold(_batch: Batch) -> None:
        entered.set()
        assert leave.wait(PATIENCE)

    watched.before = hold
    local.polls(wall_clock() - DAY, 1)
    with forwarding(local, watched) as running:
        [sender] = running.forwarders
        assert entered.wait(PATIENCE)
        assert sender.condition() is None
        monkeypatch.setattr(forwarder, "LATE", 0.0)
        found = sender.condition()
        assert found is not None
        assert found.text.endswith(f": {watched.name} does not answer")
        leave.set()
        running.caught_up()
        assert sender.condition() is None


def test_an_error_of_our_own_is_an_alarm_and_ends_nothing(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr(forwarder, "LATE", 0.0)
    tried = threading.Semaphore(0)
    broken = True

    def fail(_batch: Batch) -> None:
        tried.release()
        if broken:
            raise KeyError("a mistake of ours")

    watched.before = fail
    local.polls(wall_clock() - DAY, 1)
    with forwarding(local, watched) as running:
        for _ in range(5):
            assert tried.acquire(timeout=PATIENCE)
        [sender], [log] = running.forwarders, running.logs
        found = sender.condition()
        assert found is not None
        assert "a mistake of ours" in found.text
        assert len(log.of("error")) == 3, "with its traceback, and not for ever"
        broken = False
        running.caught_up()
        assert sender.condition() is None
    local.arrived_at(postgresql)


def test_a_cursor_that_cannot_be_saved_stops_nothing(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full, or a file that another process has locked."""
    from rockit.history.database import StoreError, Trouble

    at_once(monkeypatch, PRUNE=0.0)
    confirm = outgoing.Outgoing.confirm
    refusals = threading.Semaphore(0)

    def refuse(*_: Any) -> int:
        refusals.release()
        raise StoreError(Trouble.REFUSES, "database or disk is full")

    for name in ("confirm", "prune"):
        monkeypatch.setattr(outgoing.Outgoing, name, refuse)
    local.polls(wall_clock() - DAY, 20)
    with forwarding(local, watched) as running:
        running.caught_up()
        for _ in range(4):
            assert refusals.acquire(timeout=PATIENCE)
        assert running.logs[0].lines == [], "the recorder tells of it"
        monkeypatch.setattr(outgoing.Outgoing, "confirm", confirm)
        wait_for(lambda: local.cursors() == {watched.name: local.newest()}, "the cursor")
    assert len(watched.given) == 1
    local.arrived_at(postgresql)


def test_two_databases_of_one_name_have_two_cursors() -> None:
    """Where the server is named in the query."""
    names = {
        PostgresTarget(f"postgresql+psycopg://{rest}").name
        for rest in ("me@/rockit?host=one", "me@/rockit?host=two", "me@/rockit?host=two&port=5433", "me@one/rockit")
    }
    assert len(names) == 4
    secret = PostgresTarget("postgresql+psycopg://me:s3cret@/rockit?host=one&sslmode=disable&password=s3cret")
    assert secret.name == "postgresql+psycopg://me@/rockit?host=one"


# Whom we believe


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with who is believed, who is not, and the server's own certificate."""
    folder = tmp_path_factory.mktemp("authority")
    ours = trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    mine = ours.issue_cert("localhost")
    mine.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    mine.private_key_pem.write_to_path(folder / "key.pem")
    return folder


@pytest.fixture(scope="module")
def server(authority: Path) -> Iterator[PostgreSQL]:
    with PostgreSQL(authority / "cert.pem", authority / "key.pem") as made:
        yield made
        made.remove()


def test_only_a_server_whose_certificate_is_right_gets_anything(
    local: Local, server: PostgreSQL, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    local.polls(wall_clock() - DAY, 20)
    right = f"sslmode=verify-full&sslrootcert={authority}/ca.pem"
    for host, query, said in (
        ("localhost", f"sslmode=verify-full&sslrootcert={authority}/stranger.pem", "certificate verify failed"),
        ("localhost", f"sslmode=verify-full&sslrootcert={authority}/none.pem", "does not exist"),
        ("127.0.0.1", right, 'does not match host name "127.0.0.1"'),
        ("localhost", "sslmode=disable", "no encryption"),
    ):
        target = Watched(PostgresTarget(server.url(host, query)))
        with forwarding(local, target) as running:
            [told] = wait_for(lambda running=running: running.logs[0].of("error"), "the refusal")
            assert said in told
        assert target.taken == []
    url = server.url("localhost", right)
    assert count_at(url) == 0
    with forwarding(local, PostgresTarget(url)) as running:
        running.caught_up()
        with plain(url) as somebody:
            found = somebody.execute(
                "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE datname = current_database()"
            ).fetchall()
        assert len(found) > 1
        assert all(ssl and version.startswith("TLSv1.") for ssl, version in found)
    local.arrived_at(url)


def test_a_server_that_crashes_in_the_middle(
    local: Local, server: PostgreSQL, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ROWS", 5)
    at_once(monkeypatch)
    chance = random.Random()
    url = server.url("localhost", f"sslmode=verify-full&sslrootcert={authority}/ca.pem")
    with plain(url) as somebody:
        somebody.execute("DROP SCHEMA public CASCADE")
        somebody.execute("CREATE SCHEMA public")
    first = wall_clock() - 2 * DAY
    with forwarding(local, PostgresTarget(url)) as running:
        for number in range(3):
            local.polls(first + number * 2 * BUCKET, 150)
            running.wake()
            time.sleep(chance.uniform(0.0, 0.3))  # a random moment
            server.restart()
        running.caught_up()
    local.arrived_at(url)


# A history of our own that is damaged


def test_after_a_damaged_file_the_new_one_is_forwarded(
    tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr("rockit.history.recorder.BACK_OFF", (0.05,))
    log = Lines()
    config = HistoryConfig(site=SITE, forward=[Forward(url=postgresql)])
    measured = {"water_temp": Measurement("Supply temperature", "degC", -60.0, 120.0)}
    kept = History(config, tmp_path, DEVICE, measured, log)
    path = tmp_path / "history.sqlite"
    value = 0.0

    def poll() -> None:
        nonlocal value
        value += 1.0
        kept.add({"water_temp": value}, time.monotonic())
        kept.commit()
        assert kept._recorder.written(PATIENCE)

    def arrived() -> set[float]:
        return {found for samples in samples_of(postgresql).values() for found in samples.values()}

    kept.start()
    for _ in range(20):
        poll()
    before = {float(number) for number in range(1, 21)}
    wait_for(lambda: arrived() == before, "what came before")
    for part in (path, path.with_name("history.sqlite-wal")):
        with open(part, "r+b") as file:
            file.write(b"\xa5" * part.stat().st_size)

    def damaged() -> list[Path]:
        poll()
        return list(tmp_path.glob("*.corrupt-*"))

    wait_for(damaged, "the file to be set aside")
    last = value
    for _ in range(20):
        poll()
    after = {last + number for number in range(1, 21)}
    wait_for(lambda: arrived() >= before | after, "what came after it")
    end = time.monotonic() + PATIENCE
    kept.end(end)
    assert set(kept.conditions()) == {"history_begun"}
    assert sum("set aside" in line for line in log.of("error")) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    found = samples_of(f"sqlite:///{path}")
    assert set(found) == {WATER}
    assert after <= set(found[WATER].values())
    there = samples_of(postgresql)[WATER]
    assert found[WATER].items() <= there.items()
    assert sorted(there.values()) == sorted(set(there.values())), "each once"
