# SPDX-License-Identifier: GPL-3.0-or-later
"""Forwarding to the record of a site, a PostgreSQL server: nothing is lost or doubled, whatever happens between."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cutting
from harness import PATIENCE, ROOT, wait_for
from histories import SERVER, postgresql_database
from outboxes import (
    ALL,
    DEVICE,
    ENERGY,
    SITE,
    Local,
    Watched,
    at_once,
    count_at,
    forwarding,
    local,
    plain,
    watched,
)
from served import Lines

from rockit.history import outgoing
from rockit.history.forwarder import Forwarder
from rockit.history.model import BUCKET, DAY, MINUTE, Event, Series
from rockit.history.store import Store, wall_clock
from rockit.history.targets.postgres import PostgresTarget

__all__ = ["local", "watched"]
NOWHERE = "postgresql+psycopg://postgres@127.0.0.1:1/central"


def eventful(local: Local, seed: int, polls: int) -> None:
    """Three days with all that there is: doubted and bad values, steps of the clock, events, polls of one series."""
    chance = random.Random(seed)
    time_ms = wall_clock() - 3 * DAY
    for _ in range(polls):
        time_ms += chance.choice([10_000, 10_001, BUCKET // 3, 0, -5_000, 3 * DAY // polls])
        values = {
            one: (chance.choice([round(chance.uniform(-40, 40), 1), 1 / 3, 1e-280, -1e280, 0.0]), quality)
            for one in chance.sample(ALL, chance.randint(0, 3))
            if (quality := chance.choice([0, 0, 0, 1, 2])) is not None
        }
        events = [
            Event(time_ms, "state", "mode", f"Küche {chance.random()}", "°C", "::1")
            for _ in range(chance.choice([0, 0, 1, 2]))
        ]
        if values or events:
            local.poll(time_ms, values, events)
    local.poll(time_ms + 1, dict.fromkeys(ALL, (float(2**53), 0)))


# Everything arrives


@pytest.mark.parametrize("kept_in", ["SQLite", "PostgreSQL"])
def test_everything_arrives_as_it_is(
    tmp_path: Path, watched: Watched, postgresql: str, kept_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ROWS", 7)
    at_once(monkeypatch)
    with postgresql_database() as other:
        made = Local(f"sqlite:///{tmp_path}/local.sqlite" if kept_in == "SQLite" else other)
        eventful(made, 1, 300)
        with forwarding(made, watched) as running:
            running.caught_up()
            eventful(made, 2, 50)
            running.caught_up()
            assert running.logs[0].lines == []
            assert running.forwarders[0].counters["history_forwarded"] == sum(
                len(batch.samples) for batch in watched.taken
            )
        made.arrived_at(postgresql)
        assert made.cursors() == {watched.name: made.newest()}
        assert watched.given == watched.taken
        again = PostgresTarget(postgresql)
        for batch in random.Random(3).sample(watched.taken, len(watched.taken)):
            again.send(batch)
        again.close()
        made.arrived_at(postgresql)
        made.store.close()


def test_nothing_is_sent_twice_where_nothing_happens(
    local: Local, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    first = wall_clock() - 100_000
    for number in range(3):  # as many lives of the daemon
        local.polls(first + number * 30_000, 3)
        target = Watched(PostgresTarget(postgresql))
        with forwarding(local, target) as running:
            running.caught_up()
        assert sum(len(batch.samples) for batch in target.taken) == 9
    local.arrived_at(postgresql)


def test_several_devices_of_one_file_keep_to_themselves(
    local: Local, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    local.polls(wall_clock() - 100_000, 3)
    other = Series(SITE, "clasp_meter", "power", "W")
    with Store(local.url) as store:
        store.record(store.device_id(SITE, "clasp_meter"), [(store.series_id(other), wall_clock(), 1.0, 0)], post=True)
        target = Watched(PostgresTarget(postgresql))
        with forwarding(local, target) as running:
            running.caught_up()
            assert {series for batch in target.taken for series in batch.series} == set(ALL)
        target = Watched(PostgresTarget(postgresql))
        meter = Forwarder(local.url, SITE, "clasp_meter", target, [target.name], Lines())
        meter.begin()
        wait_for(lambda: target.taken, "the meter's sample")
        meter.end(time.monotonic() + PATIENCE)
        assert [batch.series for batch in target.taken] == [[other]]


# Whatever dies


ZYGOTE = """
import os, sys
import psycopg
from rockit.common.log import Log
from rockit.history import forwarder, outgoing
from rockit.history.forwarder import Forwarder
from rockit.history.targets.postgres import PostgresTarget

url, site, device, central = sys.argv[1:]
forwarder.SAVE, outgoing.ROWS = 0.0, 3
print("ready", flush=True)
for _ in sys.stdin:
    sender = os.fork()
    if not sender:
        target = PostgresTarget(central)
        made = Forwarder(url, site, device, target, [target.name], Log("child"))
        made.begin()
        made._thread.join()
    print(sender, flush=True)
    os.waitpid(sender, 0)
    print("gone", flush=True)
"""


def test_a_sender_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    local: Local, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random()
    first = wall_clock() - DAY
    Store(postgresql).close()
    command = [sys.executable, "-c", ZYGOTE, local.url, SITE, DEVICE, postgresql]
    cursors, counts = [0], [0]
    longest = 0.1
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        assert zygote.stdout.readline() == "ready\n"
        for number in range(30):
            local.polls(first + number * 300_000, 30)
            zygote.stdin.write("\n")
            zygote.stdin.flush()
            sender = int(zygote.stdout.readline())
            time.sleep(chance.uniform(0.0, longest))  # a random moment
            os.kill(sender, signal.SIGKILL)
            assert zygote.stdout.readline() == "gone\n"
            cursors += local.cursors().values() or [0]
            counts.append(count_at(postgresql))
            longest *= 0.7 if counts[-1] > counts[-2] else 1.4  # on a busy machine a sender begins later
        zygote.stdin.close()
    assert cursors == sorted(cursors), "a cursor never goes back"
    assert len(set(cursors)) > 5, "they were killed in the middle"
    for cursor, count in zip(cursors, counts, strict=True):
        assert count >= 3 * cursor, "a cursor is never ahead of what has arrived"
    at_once(monkeypatch)
    with forwarding(local, PostgresTarget(postgresql)) as running:
        running.caught_up()
    local.arrived_at(postgresql)


def test_connections_that_are_ended_at_any_moment(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ROWS", 5)
    at_once(monkeypatch, BACK_OFF=(0.0,))
    local.polls(wall_clock() - DAY, 1000)
    chance = random.Random()
    with plain(postgresql) as somebody, forwarding(local, watched) as running:
        for _ in range(40):
            time.sleep(chance.uniform(0.0, 0.05))  # a random moment
            somebody.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        running.caught_up()
        assert running.forwarders[0].counters["history_forward_failures"] > 3
    local.arrived_at(postgresql)


def test_a_connection_that_is_ended_in_the_middle_of_a_transaction(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its samples are in a table already, and their roll-ups wait for somebody's lock."""
    at_once(monkeypatch)
    with Store(postgresql) as store:
        store.series_id(ENERGY)
    local.polls(wall_clock() - DAY, 50)
    with plain(postgresql) as somebody, plain(postgresql) as another, somebody.transaction():
        somebody.execute("LOCK TABLE current IN ACCESS EXCLUSIVE MODE")
        with forwarding(local, watched) as running:
            [waiting] = wait_for(
                lambda: another.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                ).fetchall(),
                "the forwarder to wait for the lock",
            )
            another.execute("SELECT pg_terminate_backend(%s)", waiting)
            wait_for(lambda: running.logs[0].of("error"), "the failure")
            assert watched.taken == []
            assert set(local.cursors().values()) <= {0}
            somebody.execute("ROLLBACK")
            running.caught_up()
    local.arrived_at(postgresql)


@pytest.mark.parametrize("lost", ["question", "answer"])
def test_a_commit_whose_question_or_answer_is_lost(
    local: Local, postgresql: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second nobody can tell whether it was carried out: it is sent again, and adds nothing."""
    at_once(monkeypatch)
    with Cutting(SERVER) as between:
        target = Watched(PostgresTarget(between.through(postgresql)))
        with forwarding(local, target) as running:
            local.polls(wall_clock() - DAY, 20)
            running.caught_up()
            for number in range(5):
                between.cut(b"COMMIT", lost)
                local.polls(wall_clock() - DAY // 2 + number * BUCKET, 20)
                running.wake()
                assert between.done.acquire(timeout=PATIENCE)
                running.caught_up()
            assert running.forwarders[0].counters["history_forward_failures"] == 5
    assert len(target.given) == len(target.taken) + 5
    local.arrived_at(postgresql)


# A long outage


def test_a_weeks_outage_is_caught_up_in_order_and_in_small_pieces(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,040 polls of ten values, one every two minutes. What is in memory at once does not depend on how many wait."""
    at_once(monkeypatch)
    polls, step = 7 * 24 * 30, 2 * MINUTE
    series = [Series(SITE, DEVICE, f"value_{number}", "degC") for number in range(10)]
    first = (wall_clock() - polls * step) // 1000 * 1000
    local.outage(series, first, polls, step)
    fetched: list[int] = []
    read = outgoing.Outgoing._read

    def counted(self: outgoing.Outgoing, statement: Any, *values: Any) -> Any:
        rows = read(self, statement, *values)
        fetched.append(len(rows))
        return rows

    monkeypatch.setattr(outgoing.Outgoing, "_read", counted)
    with forwarding(local, watched) as running:
        wait_for(lambda: len(watched.taken) > 20, "the first batches", 60)
        local.polls(wall_clock(), 5, 1)  # the daemon measures on
        newest = local.newest()
        wait_for(lambda: running.forwarders[0]._sent >= newest, "the week", 90)
    assert max(fetched) <= outgoing.ROWS
    assert max(len(batch.samples) for batch in watched.given) <= 10 * outgoing.ROWS
    assert watched.given == watched.taken
    times = [sample[1] for batch in watched.taken for sample in batch.samples]
    assert times == sorted(times)
    assert len(times) == polls * 10 + 15
    local.arrived_at(postgresql)


def test_large_polls_make_small_batches(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a disk that was full, one row of the outbox holds thousands of values."""
    many = [Series(SITE, DEVICE, f"value_{number}") for number in range(1000)]
    for number in range(60):
        local.poll(wall_clock(), dict.fromkeys(many, (1 / 3 + number, 0)))
    with local.outgoing() as outbox:
        after, sizes = 0, []
        while (found := outbox.batch(after)) is not None:
            after, _, batch = found
            sizes.append(len(batch.samples))
    assert sum(sizes) == 60_000
    row = 1000 * (1 + 3 + 9 + 9 + 1)  # bytes, at most
    assert max(sizes) <= (outgoing.BYTES + row) / 10


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Iterator[None]:
    """Each test must have ended its threads."""
    yield
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("forward ")]
    assert names == []
