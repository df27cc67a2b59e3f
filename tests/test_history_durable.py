# SPDX-License-Identifier: GPL-3.0-or-later
"""`kill -9` at random moments while two daemons record into one history: what was acknowledged is there, whole.

A process that has imported everything forks the daemons; each tells through a pipe what it is about to hand over, and
what has been acknowledged. It is killed while it opens, records, seals a finished day or merges what comes late.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, wait_for
from histories import Clock, Model, bits, invariants
from recording import elsewhere

from rockit.common.log import Log
from rockit.common.quality import Measurement, Quality
from rockit.history import recorder as module
from rockit.history.database import StoreError, Trouble
from rockit.history.days import Days
from rockit.history.model import BUCKETS_A_DAY, DAY, Batch, Samples, Series, day_of
from rockit.history.query import Reader
from rockit.history.recorder import Recorder
from rockit.history.store import Store

BEGIN = 20_000 * DAY
WINDOW = 3 * DAY
SITE, DEVICES = "clasp", ("chiller", "boiler")
KEYS = {f"k{number}": Measurement(f"Quantity {number}", "degC", -1e9, 1e9, counter=number == 9) for number in range(10)}
SERIES = [
    Series(SITE, device, key, one.unit, one.label, one.counter) for device in DEVICES for key, one in KEYS.items()
]
MOMENTS = ("opening", "poll", "poll", "merge", "sealing", "sealing")
"""What a daemon is doing, more or less, when it is killed."""
MOST = 40
"""So many messages of a daemon that does not do that, and it is killed all the same."""
Row = tuple[int, int, float, int]
"""Index into SERIES, time in ms, value, quality."""


# --- the daemons, in processes that were forked


class Life:
    """One daemon until it is killed."""

    def __init__(self, url: str, device: int, number: int, seed: int, pipe: int) -> None:
        self.url, self.device, self.pipe = url, device, pipe
        self.random = random.Random(seed)
        # All times of one life are of one millisecond within 10 s, and those of others of another.
        self.grid = number // 240 * 1000 + number % 240 * 4
        self.clock = Clock(BEGIN + self.random.randrange(0, WINDOW, 10_000) + self.grid)
        self.count = 0
        # Whoever dies may leave a lock behind for as long as the kernel, or the server, needs to see it.
        module.BACK_OFF, module.TIDY = (0.01,), 0.005
        before = Days.seal

        def seal(*arguments: Any) -> int:
            self.tell(what="sealing")
            return before(*arguments)

        Days.seal = seal  # type: ignore[method-assign]

    def tell(self, **message: Any) -> None:
        """In one piece: what a pipe takes at once is never cut by a kill."""
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        assert len(data) <= select.PIPE_BUF
        os.write(self.pipe, data)

    def run(self) -> None:
        log = Log("victim")
        log._write = lambda level, text: print(level, text, file=sys.stderr)  # type: ignore[method-assign]
        opened = threading.Event()
        self.recorder = Recorder(
            self.url, SITE, DEVICES[self.device], KEYS, log, now=self.clock, opened=lambda _store: opened.set()
        )
        self.recorder.start()
        assert opened.wait(PATIENCE)
        store: Store | None = None
        while True:
            kind = self.random.choices(("polls", "direct", "few", "many", "batch"), (70, 7, 7, 10, 6))[0]
            if kind == "polls":
                self.polls()
                continue
            store = store or Store(self.url, self.clock)
            number = store.device_id(SITE, DEVICES[self.device])
            self.count += 1
            rows = self.poll_rows() if kind == "direct" else []
            runs = [] if kind == "direct" else [self.late(many=kind == "many")]
            if kind == "batch":
                runs.append(self.late(many=False))
                runs[1] = ((runs[0][0] + 1) % 20, *runs[1][1:])
            self.tell(what="poll" if rows else "merge", id=self.count, rows=rows, runs=runs)
            try:
                if kind == "direct":
                    store.record(number, [(store.series_id(SERIES[one]), *rest) for one, *rest in rows])
                elif kind == "batch":
                    samples = [(index, *row) for index, run in enumerate(runs) for row in expanded(run)]
                    store.receive(Batch([SERIES[run[0]] for run in runs], samples))
                else:
                    store.merge(SERIES[runs[0][0]], Samples.of(expanded(runs[0])))
            except StoreError as error:
                if error.trouble is Trouble.REFUSES:
                    continue  # a deadlock, of which one gives way
                raise
            self.tell(what="done", ids=[self.count])

    def polls(self) -> None:
        """Some polls, as the query loop hands them over, and the acknowledgement of all."""
        mine = []
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            rows = self.poll_rows()
            quality = Quality(rows[0][3])
            for part in (rows[:4], rows[4:]):
                values = {SERIES[one].key: value for one, _, value, _ in part}
                self.recorder.add(values, time.monotonic(), quality)
            handed = [
                (10 * self.device + int(key[1:]), when, value, grade)
                for key, when, value, grade in self.recorder._poll.values
            ]
            self.count += 1
            mine.append(self.count)
            self.recorder.states({"state": f"{self.grid}-{self.count}"})
            self.tell(what="poll", id=self.count, rows=handed, event=f"{self.grid}-{self.count}")
            self.recorder.commit()
        assert self.recorder.written(PATIENCE), self.recorder.trouble
        self.tell(what="done", ids=mine)

    def poll_rows(self) -> list[Row]:
        self.clock.time += self.random.choice((10_000,) * 6 + (900_000, 7_200_000, 30_000_000))
        quality = self.random.choices((0, 1, 2), (8, 1, 1))[0]
        kind = self.random.choice((lambda: self.random.randrange(4000) / 10, self.random.random, lambda: 2.0**53))
        return [(10 * self.device + key, self.clock.time, kind(), quality) for key in range(10)]

    def late(self, *, many: bool) -> tuple[int, int, int, int]:
        """Samples of a series of either daemon, as (series, start, step, count): many of one day, or a few."""
        series = self.random.randrange(20)
        if not many:
            start = BEGIN + self.random.randrange(0, WINDOW + DAY, 10_000) + self.grid + 2
            return series, start, 10_000 * self.random.randrange(1, 500), self.random.randrange(1, 40)
        day = max(20_000, day_of(self.clock.time) - self.random.randrange(1, 3))
        return series, day * DAY + self.random.randrange(0, DAY // 2, 10_000) + self.grid + 2, 10_000, 1200


def expanded(run: tuple[int, int, int, int] | list[int]) -> list[tuple[int, float, int]]:
    """What comes late has values that follow from its times, so that the same once more is the same."""
    series, start, step, count = run
    times = range(start, start + step * count, step)
    return [(when, (when // 7000 + 13 * series) % 4000 / 10, when // 10_000 % 20 == 7) for when in times]


# --- the process that forks and kills


class Slot:
    """One place for a daemon, which is filled again when it was killed."""

    def __init__(self, url: str, device: int, number: int, moment: str, chance: random.Random) -> None:
        self.url, self.device, self.number, self.moment = url, device, number, moment
        self.messages: list[dict[str, Any]] = []
        self.wanted = chance.randrange(1, 7)
        self.extra = chance.uniform(0, 0.06 if moment == "opening" else 0.004)
        self._rest = b""
        seed = chance.getrandbits(60)
        self.fd, pipe = os.pipe()
        self.born = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.fd)
                Life(url, device, number, seed, pipe).run()
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
            os._exit(1)
        os.close(pipe)

    def read(self) -> bool:
        """False at its end."""
        data = os.read(self.fd, 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.messages += [json.loads(line) for line in lines]
        return bool(data)

    def due(self) -> bool:
        if self.moment == "opening":
            return True
        seen = sum(message["what"] == self.moment for message in self.messages)
        return seen >= self.wanted or len(self.messages) >= MOST

    def kill(self) -> dict[str, Any]:
        """The moment is anywhere in the next some milliseconds."""
        time.sleep(self.extra)
        os.kill(self.pid, signal.SIGKILL)
        while self.read():
            pass
        os.close(self.fd)
        assert os.waitpid(self.pid, 0)[1] == signal.SIGKILL, "it has ended before it was killed"
        return {"device": self.device, "moment": self.moment, "messages": self.messages}


def torture(url: str, kills: str, seed: str) -> None:
    """Run as a process of its own; prints what every life has told."""
    chance = random.Random(seed)
    Store(url).close()  # brings the imports that come late
    slots: list[Slot | None] = [None, None]
    lives: list[dict[str, Any]] = []
    begun = 0
    while len(lives) < int(kills):
        for index, slot in enumerate(slots):
            if slot is None and begun < int(kills):
                slots[index] = Slot(url, index, begun, chance.choice(MOMENTS), chance)
                begun += 1
        there = [slot for slot in slots if slot is not None]
        ready = select.select([slot.fd for slot in there], [], [], 0.001)[0]
        for index, slot in enumerate(slots):
            if slot is not None and slot.fd in ready:
                assert slot.read(), "a daemon has ended by itself"
            if slot is not None and slot.due():
                lives.append(slot.kill())
                slots[index] = None
    print(json.dumps(lives))


# --- what must be true afterwards


def killed(url: str, kills: int) -> list[dict[str, Any]]:
    seed = random.SystemRandom().getrandbits(30)
    found: list[dict[str, Any]] = json.loads(elsewhere("test_history_durable.torture", url, kills, seed))
    assert len(found) == kills
    return found


def check(url: str, lives: list[dict[str, Any]]) -> Counter[str]:
    """Compares what was told with what is there; returns what there was of each kind."""
    seen: Counter[str] = Counter()
    given: list[dict[int, dict[int, tuple[bytes, int]]]] = []
    """For each poll or merge: series -> time -> what."""
    acknowledged: list[bool] = []
    events: dict[str, bool] = {}
    of_event: dict[str, int] = {}
    for life in lives:
        done = {number for message in life["messages"] if message["what"] == "done" for number in message["ids"]}
        seen[f"killed while {life['moment']}"] += 1
        for message in life["messages"]:
            if "id" not in message:
                continue
            rows = [tuple(row) for row in message["rows"]]
            rows += [(run[0], *row) for run in message.get("runs", ()) for row in expanded(run)]
            part: dict[int, dict[int, tuple[bytes, int]]] = defaultdict(dict)
            for series, when, value, quality in rows:
                part[series][when] = bits(value), int(quality)
            given.append(part)
            acknowledged.append(message["id"] in done)
            seen[message["what"] + (" acknowledged" if acknowledged[-1] else " unfinished")] += 1
            if "event" in message:
                of_event[f"{life['device']} {message['event']}"] = len(given) - 1
    everything = {(series, when): what for part in given for series, run in part.items() for when, what in run.items()}
    givers = Counter((series, when) for part in given for series, run in part.items() for when in run)
    model = Model()
    with Store(url, Clock(BEGIN + 2 * WINDOW)) as store:
        with Reader(store.database).view() as view:
            ids = {series.name: number for number, series in view.series().items()}
            there: dict[int, dict[int, tuple[bytes, int]]] = {}
            for index, series in enumerate(SERIES):
                found = view.samples(ids[series.name], 0, 2**45) if series.name in ids else Samples()
                there[index] = {when: (bits(value), quality) for when, value, quality in found.rows()}
                assert len(there[index]) == len(found)
                for when, what in there[index].items():
                    assert what == everything.get((index, when)), ("never given", series, when)
                model.add(series, found)
            assert view.problems == []
            told = [
                (f"{index} {event.value}", event)
                for index, device in enumerate(DEVICES)
                for event in view.events(SITE, device, 0, 2**45, 10**6)
            ]
        for part, sure in zip(given, acknowledged, strict=True):
            alone = [(series, when) for series, run in part.items() for when in run if givers[series, when] == 1]
            assert len({when in there[series] for series, when in alone}) <= 1, ("there in part", part)
            assert not sure or all(when in there[series] for series, run in part.items() for when in run), part
        events = dict.fromkeys((name for name, _ in told), True)
        assert len(events) == len(told), "each event once"
        for name, index in of_event.items():
            [(series, run), *_] = given[index].items()
            assert (name in events) == (next(iter(run)) in there[series]), "the event of a poll comes with its values"
        assert not events.keys() - of_event.keys()
        invariants(store, model)
        whole(store)
        while store.seal():
            pass
        invariants(store, model)
        seen["blocks"] = count(store, "blocks")
    if store.database.path is not None:
        intact(store.database.path)
    return seen


def count(store: Store, table: str, where: str = "") -> int:
    store.session._cursor.execute(f"SELECT count(*) FROM {table} {where}")
    return int(store.session._cursor.fetchone()[0])


def whole(store: Store) -> None:
    """No roll-up is in two tables, nothing was damaged, and only days that could be sealed are."""
    with store.session.reading():
        assert count(store, "current", "JOIN rollups USING (series, bucket)") == 0
        assert count(store, "damaged") == 0
        assert count(store, "samples", f"WHERE bucket <> time / {DAY // BUCKETS_A_DAY}") == 0


def intact(path: Path) -> None:
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    other.close()


def stressed(url: str, kills: int) -> None:
    seen = check(url, killed(url, kills))
    # That anything was tested at all.
    assert seen["poll acknowledged"] > kills, seen
    assert seen["poll unfinished"] + seen["merge unfinished"] > kills // 4, seen
    assert seen["merge acknowledged"] > kills // 4, seen
    assert seen["blocks"] > len(SERIES), seen


def test_200_kills_of_two_daemons_on_one_file_cost_nothing(tmp_path: Path) -> None:
    stressed(f"sqlite:///{tmp_path}/history.sqlite", 200)


def test_20_kills_of_two_daemons_on_one_server_cost_nothing(postgresql: str) -> None:
    import psycopg

    lives = killed(postgresql, 20)
    with psycopg.connect(postgresql.replace("+psycopg", ""), autocommit=True) as other:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        wait_for(lambda: other.execute(others).fetchone() == (0,), "the server to see that the killed ones have gone")
    seen = check(postgresql, lives)
    assert seen["poll acknowledged"] > 20, seen


@pytest.mark.soak
@pytest.mark.parametrize("number", range(10))
def test_2000_kills(tmp_path: Path, number: int) -> None:
    stressed(f"sqlite:///{tmp_path}/{number}.sqlite", 200)


def birth(folder: str, rounds: str) -> None:
    """Run as a process of its own: two daemons at a time that are killed while they make the file."""
    chance = random.Random()
    Store(f"sqlite:///{folder}/first.sqlite").close()
    for number in range(int(rounds)):
        url = f"sqlite:///{folder}/{number}.sqlite"
        slots = [Slot(url, device, device, "opening", chance) for device in (0, 1)]
        print(json.dumps([slot.kill() for slot in slots]))


def test_a_kill_while_the_file_is_made_leaves_one_that_can_be_used(tmp_path: Path) -> None:
    lines = elsewhere("test_history_durable.birth", tmp_path, 40).splitlines()
    assert len(lines) == 40
    for number, line in enumerate(lines):
        url = f"sqlite:///{tmp_path}/{number}.sqlite"
        check(url, json.loads(line))
        with Store(url) as store:
            store.merge(SERIES[0], Samples.of([(BEGIN + 1, 1.5, 0)]))
