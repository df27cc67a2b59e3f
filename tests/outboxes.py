# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of forwarding: a history that is to be forwarded, targets that are watched, and what must have arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from harness import PATIENCE, wait_for
from histories import Model, invariants
from served import Lines

from rockit.history import statements as sql
from rockit.history.database import Database, StoreError
from rockit.history.forwarder import Forwarder
from rockit.history.model import Batch, Event, Samples, Series
from rockit.history.outgoing import Outgoing
from rockit.history.query import Reader
from rockit.history.store import Outbox, Recorded, Store, wall_clock
from rockit.history.targets import Target, TargetFailed
from rockit.history.targets.postgres import PostgresTarget

SITE, DEVICE = "clasp", "clasp_chiller"
WATER = Series(SITE, DEVICE, "water_temp", "degC", "Supply temperature")
FLOW = Series(SITE, DEVICE, "flow", "L/min", "Process flow")
ENERGY = Series(SITE, DEVICE, "energy", "W h", "Energy", counter=True)
ALL = (WATER, FLOW, ENERGY)
Values = Mapping[Series, tuple[float, int]]
"""Series -> value and quality."""


class Local:
    """What one daemon records, and a model of it."""

    def __init__(self, url: str, now: Callable[[], int] = wall_clock) -> None:
        self.url = url
        self.store = Store(url, now)
        if self.store.database.sqlite:  # what is tested here is not the disk
            self.store.session._cursor.execute("PRAGMA synchronous=OFF")
        self.device = self.store.device_id(SITE, DEVICE)
        self.model = Model()
        self.events: list[Event] = []

    def poll(self, time: int, values: Values, events: Sequence[Event] = ()) -> None:
        """One poll, or events of one moment: their numbers are counted as the store does."""
        rows: list[Recorded] = []
        for series, (value, quality) in values.items():
            rows.append((self.store.series_id(series), time, value, quality))
            self.model.record(series, time, value, quality)
        self.store.record(self.device, rows, events, post=True)
        for event in events:
            number = sum(known.time == event.time for known in self.events)
            self.events.append(msgspec.structs.replace(event, number=number))

    def polls(self, first: int, count: int, step: int = 10_000) -> None:
        """Ordinary ones."""
        for number in range(count):
            time = first + number * step
            self.poll(time, {WATER: (11.5 + number % 50 / 10, 0), FLOW: (7.0, 0), ENERGY: (100.0 + number, 0)})

    def outage(self, series: Sequence[Series], first: int, polls: int, step: int) -> None:
        """As if so many polls had been recorded while no target took anything; quicker than to record them."""
        ids = [self.store.series_id(one) for one in series]
        times = range(first, first + polls * step, step)
        columns = [[(n * 7 + k * 13) % 1000 / 10 for n in range(polls)] for k in range(len(ids))]
        posts = []
        for number, time in enumerate(times):
            rows = [(one, time, column[number], 0) for one, column in zip(ids, columns, strict=True)]
            posts.append((self.device, time, msgspec.msgpack.encode(Outbox(rows, []))))
        with self.store.session.writing():
            self.store.session.many(sql.POST, posts)
        for one, column in zip(series, columns, strict=True):
            samples = Samples(list(times), column)
            self.store.merge(one, samples)
            self.model.add(one, samples)

    @contextmanager
    def outgoing(self) -> Iterator[Outgoing]:
        made = Outgoing(self.url, SITE, DEVICE)
        try:
            yield made
        finally:
            made.close()

    def newest(self) -> int:
        """The last row of the outbox."""
        with self.outgoing() as outgoing:
            return outgoing.newest()

    def waiting(self) -> list[tuple[int, int]]:
        """Id and time of all rows of the outbox."""
        with self.store.session.reading():
            return [(row[0], row[1]) for row in self.store.session.run(sql.UNSENT, self.device, 0, 10**9)]

    def cursors(self) -> dict[str, int]:
        """Name of target -> the last row that it confirmed, by what is saved."""
        with self.store.session.reading():
            return {row[0]: row[1] for row in self.store.session.run(sql.CURSORS, self.device)}

    def arrived_at(self, url: str) -> None:
        """All of it is in another history, exactly and once, with roll-ups that equal a recomputation."""
        expected = {series for series, samples in self.model.samples.items() if samples}
        with Store(url) as store:
            invariants(store, self.model)
            assert set(store.series().values()) == expected, "with units, labels and kinds"
            with Reader(store.database).view() as view:
                assert view.events(SITE, DEVICE, 0, 2**45, 10**9) == sorted(
                    self.events, key=lambda event: (event.time, event.number)
                )
            assert count_at(url) == sum(map(len, self.model.samples.values())), "and nothing else"


def samples_of(url: str) -> dict[Series, dict[int, float]]:
    """All that is at an address: series -> time -> value; nothing where there is no history yet."""
    database = Database(url)
    try:
        with Reader(database).view() as view:
            known = view.series()
            found = {number: view.samples(number, 0, 2**45) for number in known}
    except StoreError:
        return {}
    finally:
        database.close()
    return {known[number]: dict(zip(one.times, one.values, strict=True)) for number, one in found.items()}


def count_at(url: str) -> int:
    """How many samples are at an address."""
    return sum(map(len, samples_of(url).values()))


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(f"sqlite:///{tmp_path}/local.sqlite")
    yield made
    made.store.close()


class Watched:
    """A real target, and what it was given. `before` is called with each batch, and may fail in its place."""

    def __init__(self, target: Target, before: Callable[[Batch], None] = lambda _batch: None) -> None:
        self.target = target
        self.name = target.name
        self.loses = target.loses
        self.live = target.live
        self.before = before
        self.given: list[Batch] = []
        """What was tried."""
        self.taken: list[Batch] = []
        """What was confirmed."""

    def send(self, batch: Batch) -> None:
        self.given.append(batch)
        self.before(batch)
        self.target.send(batch)
        self.taken.append(batch)

    def restarted(self) -> bool:
        return self.target.restarted()

    def close(self) -> None:
        self.target.close()


class Gate:
    """Something between us and a target that fails while it is shut."""

    def __init__(self, *, shut: bool = True) -> None:
        self.shut = shut
        self.failures = 0

    def __call__(self, _batch: Batch) -> None:
        if self.shut:
            self.failures += 1
            raise TargetFailed("the gate is shut")

    def wait(self, times: int = 1) -> None:
        """Until so many more have failed."""
        wanted = self.failures + times
        wait_for(lambda: self.failures >= wanted, "a failure")


class Running:
    """Forwarders of one history, each with a log of its own."""

    def __init__(self, local: Local, targets: Sequence[Target], now: Callable[[], int]) -> None:
        self.local = local
        self.names = [target.name for target in targets if not target.live]
        self.logs = [Lines() for _ in targets]
        self.forwarders = [
            Forwarder(local.url, SITE, DEVICE, target, self.names, log, now)
            for target, log in zip(targets, self.logs, strict=True)
        ]

    def wake(self) -> None:
        for forwarder in self.forwarders:
            forwarder.wake()

    def caught_up(self, index: int = 0) -> None:
        """Wait until the target has all that is in the outbox now."""
        newest = self.local.newest()
        self.wake()
        wait_for(lambda: self.forwarders[index]._sent >= newest, f"row {newest} of the outbox at the target")


@contextmanager
def forwarding(local: Local, *targets: Target, now: Callable[[], int] = wall_clock) -> Iterator[Running]:
    """Forwarders that run, and that must end when they are told to."""
    from time import monotonic

    made = Running(local, targets, now)
    for forwarder in made.forwarders:
        forwarder.begin()
    try:
        yield made
    finally:
        for forwarder in made.forwarders:
            forwarder.end(monotonic() + PATIENCE)
            assert not forwarder._thread.is_alive()


@pytest.fixture
def watched(postgresql: str) -> Watched:
    return Watched(PostgresTarget(postgresql))


def plain(url: str) -> psycopg.Connection[Any]:
    """A connection of somebody else, who may do with the server what he likes."""
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def at_once(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Without the pauses that are meant for nights: after a failure, between two saves of a cursor."""
    from rockit.history import forwarder

    for name, value in {"BACK_OFF": (0.05,), "SAVE": 0.0, "LOOK": 0.2, **settings}.items():
        monkeypatch.setattr(forwarder, name, value)
