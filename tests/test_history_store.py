# SPDX-License-Identifier: GPL-3.0-or-later
"""The store against a model that keeps everything in a dict: whatever comes in whatever order, nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from histories import Clock, Model, invariants, stored_rollups
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from served import in_threads
from sqlalchemy import text

from rockit.history import statements as sql
from rockit.history.database import Statement
from rockit.history.model import BUCKET, DAY, Batch, Event, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

BEGIN = 20_000 * DAY
WATER = Series("clasp", "chiller", "water_temp", "degC", "Supply temperature")
FLOW = Series("clasp", "chiller", "flow", "L/min", "Process flow")
ENERGY = Series("clasp", "meter", "energy", "W h", "Energy", counter=True)
ALL = (WATER, FLOW, ENERGY)

values = st.one_of(
    st.integers(-400, 400).map(lambda n: n / 10),
    st.sampled_from([0.0, -0.0, 0.1, 1 / 3, 1e-300, 1e280, -1e280, 2.0**53, math.pi]),
)
offsets = st.one_of(
    st.integers(0, 3 * DAY),
    st.integers(0, 12).map(lambda n: n * BUCKET),
    st.integers(0, 12).map(lambda n: n * BUCKET - 1),
    st.integers(0, 20),
)
qualities = st.sampled_from([0, 0, 0, 0, 1, 2])


class Machine(RuleBasedStateMachine):
    """Two daemons' stores on one database, and everything that can happen to them."""

    url = ""

    @initialize()
    def begin(self) -> None:
        self.clock = Clock(BEGIN)
        self.stores = [Store(self.url, self.clock) for _ in range(2)]
        self.model = Model()
        self.wipe()

    def wipe(self) -> None:
        session = self.stores[0].session
        from rockit.history.database import Statement
        from rockit.history.schema import metadata

        with session.writing():
            for table in metadata.tables.values():
                if table.name != "about":
                    session.run(Statement(table.delete()))

    @rule(
        which=st.integers(0, 1),
        step=st.integers(1, 40_000),
        data=st.lists(st.tuples(values, qualities), min_size=3, max_size=3),
    )
    def poll(self, which: int, step: int, data: list[tuple[float, int]]) -> None:
        """An ordinary one: a moment later, all series of one device."""
        self.clock.time += step
        self.record(which, [(one, self.clock.time, *found) for one, found in zip(ALL, data, strict=True)])

    @rule(which=st.integers(0, 1), offset=offsets, one=st.sampled_from(ALL), value=values, quality=qualities)
    def jump(self, which: int, offset: int, one: Series, value: float, quality: int) -> None:
        """The clock is somewhere else."""
        self.record(which, [(one, BEGIN + offset, value, quality)])

    @rule(
        which=st.integers(0, 1),
        offset=offsets,
        count=st.integers(1, 1500),
        one=st.sampled_from(ALL),
        step=st.integers(1, 90_000),
    )
    def bulk(self, which: int, offset: int, count: int, one: Series, step: int) -> None:
        samples = Samples.of((BEGIN + offset + n * step, (n % 70) / 10, 0) for n in range(count))
        assert self.stores[which].merge(one, samples) == self.model.add(one, samples)

    @rule(which=st.integers(0, 1), rows=st.lists(st.tuples(st.integers(0, 2), offsets, values, qualities), max_size=40))
    def forwarded(self, which: int, rows: list[tuple[int, int, float, int]]) -> None:
        batch = Batch(list(ALL), [(one, BEGIN + offset, value, quality) for one, offset, value, quality in rows])
        new = sum(
            self.model.add(series, Samples.of((t, v, q) for i, t, v, q in batch.samples if i == index))
            for index, series in enumerate(ALL)
        )
        assert self.stores[which].receive(batch) == new

    @rule(which=st.integers(0, 1))
    def seal(self, which: int) -> None:
        self.stores[which].seal()

    @rule(days=st.integers(0, 3))
    def later(self, days: int) -> None:
        self.clock.time += days * DAY

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = Store(self.url, self.clock)

    @precondition(lambda self: hasattr(self, "model"))
    @rule()
    def look(self) -> None:
        invariants(self.stores[0], self.model)

    def record(self, which: int, rows: list[tuple[Series, int, float, int]]) -> None:
        store = self.stores[which]
        ids = [(store.series_id(one), time, value, quality) for one, time, value, quality in rows]
        store.record(store.device_id("clasp", "chiller"), ids)
        for one, time, value, quality in rows:
            self.model.record(one, time, value, quality)

    def teardown(self) -> None:
        if hasattr(self, "model"):
            invariants(self.stores[0], self.model)
            for store in self.stores:
                store.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whatever_comes_in_whatever_order_nothing_is_lost_and_roll_ups_are_exact(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgresql") if kind == "postgresql" else f"sqlite:///{tmp_path}/h.sqlite"
    machine = type("OfThisDatabase", (Machine,), {"url": url})
    few = settings(
        max_examples=60 if kind == "sqlite" else 30, stateful_step_count=25, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine, settings=few)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue("postgresql") if request.param == "postgresql" else f"sqlite:///{tmp_path}/h.sqlite"
    with Store(url, Clock(BEGIN + 40 * DAY)) as made:
        yield made


def in_rollups(store: Store, series: Series) -> dict[int, tuple[float, ...]]:
    with Reader(store.database).view() as view:
        numbers = {one: number for number, one in view.series().items()}
        return dict(stored_rollups(view, numbers[series]))


def raw(store: Store, series: Series) -> list[int]:
    with Reader(store.database).view() as view:
        numbers = {one: number for number, one in view.series().items()}
        return view.samples(numbers[series], 0, 2**45).times


def test_what_comes_late_for_a_forgotten_day_does_not_spoil_its_roll_ups(store: Store) -> None:
    samples = Samples([BEGIN + n * 10_000 for n in range(3 * 8640)], [float(n % 7) for n in range(3 * 8640)])
    store.merge(WATER, samples)
    before = in_rollups(store, WATER)
    while store.forget(30):
        continue
    assert raw(store, WATER) == []
    again = samples.between(BEGIN, BEGIN + 100_000)
    assert store.receive(Batch([WATER], [(0, *row) for row in again.rows()])) == 0
    assert store.merge(WATER, samples) == 0
    number = store.series_id(WATER)
    store.record(store.device_id("clasp", "chiller"), [(number, BEGIN + 5, 99.0, 0)])  # the clock is far behind
    assert in_rollups(store, WATER) == before
    assert raw(store, WATER) == []


def test_who_forgets_forgets_only_what_is_its_own(store: Store) -> None:
    for series in (WATER, ENERGY):
        store.merge(series, Samples([BEGIN + n * 60_000 for n in range(1440)], [1.0] * 1440))
        store.merge(series, Samples([BEGIN + DAY + n * 60_000 for n in range(20)], [1.0] * 20))
    while store.forget(30, WATER.name[:2]):
        continue
    assert raw(store, WATER) == []
    assert len(raw(store, ENERGY)) == 1460


def test_a_value_that_falls_on_the_millisecond_of_a_sealed_one_lies_beside_it(store: Store) -> None:
    """The clock has stepped back into a day that is sealed."""
    store.merge(WATER, Samples([BEGIN + n * 60_000 for n in range(1440)], [1.0] * 1440))
    number, device = store.series_id(WATER), store.device_id("clasp", "chiller")
    for _ in range(2):  # the second is the same poll, of which we were not told that it was committed
        store.record(device, [(number, BEGIN + 60_000, 2.0, 0)])
    store.seal()
    with Reader(store.database).view() as view:
        found = view.samples(number, BEGIN + 60_000, BEGIN + 120_000)
    assert list(found.rows()) == [(BEGIN + 60_000, 1.0, 0), (BEGIN + 60_001, 2.0, 0)]


def test_a_day_that_was_sealed_since_the_last_poll_is_known_to_be(store: Store) -> None:
    clock = store.now
    assert isinstance(clock, Clock)
    number, device = store.series_id(WATER), store.device_id("clasp", "chiller")
    store.record(device, [(number, BEGIN, 1.0, 0)])
    clock.time = BEGIN + 2 * DAY
    assert store.seal()
    assert not store.seal()
    clock.time = BEGIN
    store.record(device, [(number, BEGIN, 2.0, 0)])
    with Reader(store.database).view() as view:
        assert list(view.samples(number, BEGIN, BEGIN + DAY).rows()) == [(BEGIN, 1.0, 0), (BEGIN + 1, 2.0, 0)]


def test_a_day_that_is_not_over_is_not_sealed(store: Store) -> None:
    clock = store.now
    assert isinstance(clock, Clock)
    clock.time = BEGIN + DAY - 1
    store.merge(WATER, Samples([BEGIN + n * 10_000 for n in range(8640)], [1.0] * 8640))
    assert not store.seal()
    with Reader(store.database).view() as view:
        assert view.run(sql.BLOCK_DAYS, store.series_id(WATER)) == [(None, None)]


def test_what_is_of_forgotten_days_is_counted(store: Store) -> None:
    store.merge(WATER, Samples([BEGIN + n * 60_000 for n in range(1440)], [1.0] * 1440))
    while store.forget(30):
        continue
    number, other = store.series_id(WATER), store.series_id(FLOW)
    device = store.device_id("clasp", "chiller")
    assert store.record(device, [(number, BEGIN, 1.0, 0), (number, BEGIN + 1, 1.0, 0), (other, BEGIN, 1.0, 0)]) == 2
    assert store.record(device, [(number, BEGIN + 9 * DAY, 1.0, 0)]) == 0
    assert (raw(store, WATER), raw(store, FLOW)) == ([BEGIN + 9 * DAY], [BEGIN])


def test_a_batch_may_name_a_series_twice(store: Store) -> None:
    assert store.receive(Batch([WATER, WATER], [(0, BEGIN, 1.0, 0), (1, BEGIN + BUCKET, 2.0, 0)])) == 2
    assert len(in_rollups(store, WATER)) == 2


def test_numbers_of_a_server_are_not_used_up_by_what_is_known(postgresql: str) -> None:
    with Store(postgresql) as store:
        for number in range(20):
            store.receive(
                Batch(list(ALL), [(0, BEGIN + number, 1.0, 0)], [("clasp", "chiller", Event(number, "a", "b"))])
            )
        with store.session.reading():
            for table in ("series", "devices"):
                [(last,)] = store.session.run(Statement(text(f"SELECT last_value FROM {table}_id_seq")))
                assert last <= 3


def test_those_who_send_new_series_in_any_order_do_not_block_each_other(postgresql: str) -> None:
    with Store(postgresql) as first, Store(postgresql) as second:
        stores = (first, second)
        for turn in range(10):
            series = [Series("clasp", "meter", f"k{turn}_{index}", "W") for index in range(8)]
            rows = [(index, BEGIN, 1.0, 0) for index in range(8)]

            def send(which: int, series: list[Series] = series, rows: list[Any] = rows) -> int:
                return stores[which].receive(Batch(series[:: 1 - 2 * which], rows))

            found = in_threads(2, send)
            assert sorted(found) == [0, 8], found


def test_an_event_that_was_committed_without_our_knowing_is_not_doubled(store: Store) -> None:
    device = store.device_id("clasp", "chiller")
    first, second = Event(BEGIN, "command", "set_mode", "0"), Event(BEGIN, "command", "set_enabled", "0")
    for _ in range(2):
        store.record(device, [], [first, second])
    with Reader(store.database).view() as view:
        found = view.events("clasp", "chiller", 0, 2**45, 10)
    assert [(event.name, event.number) for event in found] == [("set_mode", 0), ("set_enabled", 1)]
