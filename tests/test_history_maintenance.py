# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history holds, whether that is right, and how it is made smaller: on SQLite and on PostgreSQL."""

from __future__ import annotations

import math
import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from histories import Clock, Model, invariants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from rockit.common.errors import CommandError, ConfigError
from rockit.history import block, maintenance, places
from rockit.history.checking import SAME, Checked, Checker
from rockit.history.database import Database, Statement, StoreError, Trouble
from rockit.history.judging import Problem, What
from rockit.history.maintenance import compact, forget, forgettable, seal, stats
from rockit.history.model import BUCKET, BUCKETS_A_DAY, DAY, Batch, Event, Samples, Series
from rockit.history.places import advice, looking, url_of
from rockit.history.query import Reader
from rockit.history.store import Store

BEGIN = 20_000
"""The first day that has samples: 2024-10-04."""
NOW = (BEGIN + 3) * DAY + 8 * BUCKET
WATER = Series("clasp", "chiller", "water_temp", "degC", "Supply temperature")
FLOW = Series("clasp", "chiller", "flow", "L/min", "Process flow")
ENERGY = Series("clasp", "meter", "energy", "W h", "Energy", counter=True)


everywhere = pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite's, unless a test says `everywhere`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/history.sqlite"
    found: str = request.getfixturevalue("postgresql")
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


class Filled:
    """Three sealed days of water and energy (a sample a minute), loose ones of flow, and today's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.clock = Clock(NOW)
        self.model = Model()
        with self.store() as store:
            for series in (WATER, ENERGY):
                for day in range(BEGIN, BEGIN + 3):
                    self.merge(store, series, day, 60_000)
            for day in range(BEGIN, BEGIN + 3):
                self.merge(store, FLOW, day, 600_000)
            device = store.device_id("clasp", "chiller")
            water, flow = store.series_id(WATER), store.series_id(FLOW)
            for step in range(0, NOW - (BEGIN + 3) * DAY, 300_000):
                time = (BEGIN + 3) * DAY + step
                bad = 2 * (step == 0)
                rows = [(water, time, 20.1, 0), (flow, time, 7.3, bad)]
                store.record(device, rows, [Event(time, "state", "mode", "AUTOMATIC")] if not step else [], post=True)
                self.model.record(WATER, time, 20.1, 0)
                self.model.record(FLOW, time, 7.3, bad)
            self.device, self.water, self.flow, self.energy = device, water, flow, store.series_id(ENERGY)

    def merge(self, store: Store, series: Series, day: int, step: int) -> None:
        times = range(day * DAY, (day + 1) * DAY, step)
        chance = random.Random(day)
        samples = Samples.of((time, chance.randrange(999) / 10, chance.random() < 0.1) for time in times)
        store.merge(series, samples)
        self.model.add(series, samples)

    def store(self) -> Store:
        return Store(self.url, self.clock)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Harm."""
        database = Database(self.url)
        session = database.session()
        with session.writing():
            rows = session.run(Statement(text(statement)))
        session.close()
        database.close()
        return rows

    def block(self, series: int, day: int) -> bytes:
        [(data,)] = self.sql(f"SELECT data FROM blocks WHERE series = {series} AND day = {day}")
        return bytes(data)

    def put(self, series: int, day: int, data: bytes) -> None:
        self.sql(f"UPDATE blocks SET data = {self.literal(data)} WHERE series = {series} AND day = {day}")

    def literal(self, data: bytes) -> str:
        return f"x'{data.hex()}'" if self.url.startswith("sqlite") else f"'\\x{data.hex()}'"

    def check(self, *, repair: bool = False) -> tuple[Checked, list[Problem], list[str]]:
        problems: list[Problem] = []
        notes: list[str] = []
        with looking(self.url) as database, self.store() as store:
            mending = store if repair else None
            checker = Checker(database, problems.append, notes.append, lambda *_: None, store=mending, now=self.clock)
            return checker.run(), problems, notes

    def only(self, *, repair: bool = False) -> Problem:
        checked, [problem], _ = self.check(repair=repair)
        assert (checked.problems, checked.repaired) == (1, int(problem.repaired))
        return problem

    def mended(self) -> Problem:
        """The only problem, which is repaired, after which all is as it was."""
        before = self.only()
        assert before.mendable
        assert not before.repaired
        assert self.only() == before, "to look changes nothing"
        problem = self.only(repair=True)
        assert problem.repaired
        self.whole()
        return before

    def whole(self) -> Checked:
        checked, problems, notes = self.check()
        assert (problems, notes) == ([], [])
        with self.store() as store:
            invariants(store, self.model)
        return checked


@pytest.fixture
def filled(url: str) -> Filled:
    return Filled(url)


# --- check


@everywhere
def test_a_whole_history_has_no_problems(filled: Filled) -> None:
    checked = filled.whole()
    assert checked.problems == checked.remaining == checked.forgotten == 0
    assert checked.samples == sum(map(len, filled.model.samples.values()))
    assert checked.days == 3 * 3 + 2
    # One of flow's today is bad, and two others are in its roll-up.
    assert checked.rollups == 3 * 3 * BUCKETS_A_DAY + 2 * 8


@everywhere
def test_an_empty_history_has_no_problems(url: str) -> None:
    Store(url).close()
    with looking(url) as database:
        checked = Checker(database, print, print, lambda *_: None).run()
    assert checked == Checked()


def test_progress_goes_to_its_end(filled: Filled) -> None:
    told: list[tuple[str, int, int]] = []
    with looking(filled.url) as database:
        Checker(database, print, print, lambda *now: told.append(now), now=filled.clock).run()
    days = [done for what, done, whole in told if what == "days" and whole == 11]
    assert days == list(range(11))


@pytest.mark.parametrize("place", [0, 2, 5, 9, 200, -1])
def test_a_flipped_bit_in_a_block_is_found_and_nothing_is_made_worse(filled: Filled, place: int) -> None:
    data = bytearray(filled.block(filled.water, BEGIN + 1))
    data[place] ^= 4
    filled.put(filled.water, BEGIN + 1, bytes(data))
    for repair in (False, True):
        problem = filled.only(repair=repair)
        assert problem.what is What.BLOCK
        assert problem.where == "clasp/chiller/water_temp 2024-10-05"
        assert "its block cannot be used: it" in problem.text
        assert not problem.mendable
    assert filled.block(filled.water, BEGIN + 1) == bytes(data)
    assert filled.sql(f"SELECT count(*) FROM rollups WHERE series = {filled.water}") == [(3 * 96 + 7,)]


@everywhere
def test_a_block_that_was_harmed_is_brought_back_from_a_copy(filled: Filled) -> None:
    """As the message says: the day is imported once more; what was harmed stays, and is no problem any more."""
    with Reader(Database(filled.url)).view() as view:
        copy = view.samples(filled.water, (BEGIN + 1) * DAY, (BEGIN + 2) * DAY)
    filled.put(filled.water, BEGIN + 1, filled.block(filled.water, BEGIN + 1)[:-3])
    assert filled.only().what is What.BLOCK
    with filled.store() as store:
        assert store.merge(WATER, copy) == len(copy)
        invariants(store, filled.model)
    checked, problems, [note] = filled.check()
    assert problems == []
    assert checked.problems == 0
    assert "clasp/chiller/water_temp 2024-10-05: a block of it was set aside on 2024-10-07T02:00:00Z" in note
    assert "by its roll-ups nothing is missing" in note


@everywhere
def test_a_block_that_was_set_aside_tells_what_is_missing(filled: Filled) -> None:
    good = filled.block(filled.water, BEGIN + 1)
    filled.put(filled.water, BEGIN + 1, good[:-3])
    with filled.store() as store:  # something late: the block is in its way
        store.merge(WATER, Samples([(BEGIN + 1) * DAY + 5], [3.0]))
    for repair in (False, True):
        problem = filled.only(repair=repair)
        assert problem.what is What.ASIDE
        assert "samples of 95 roll-ups are not there, the first that of 00:15" in problem.text
        assert "its checksum is wrong" in problem.text
    # It was the memory of the machine and not the disk: now it can be read.
    filled.sql(f"UPDATE damaged SET data = {filled.literal(good)}")
    assert "can be read" in filled.only().text
    problem = filled.only(repair=True)
    assert (problem.what, problem.repaired) == (What.ASIDE, True)
    filled.model.add(WATER, Samples([(BEGIN + 1) * DAY + 5], [3.0]))
    filled.whole()
    assert filled.sql("SELECT count(*) FROM damaged") == [(0,)]


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        (Samples([5, 6], [1.0, 2.0]), "times from 1970-01-01T00:00:00Z"),
        (Samples([BEGIN * DAY, BEGIN * DAY + DAY], [1.0, 2.0]), "to 2024-10-05T00:00:00Z"),
        (Samples([BEGIN * DAY + 2, BEGIN * DAY + 1], [1.0, 2.0]), "not in order"),
        (Samples([BEGIN * DAY + 2, BEGIN * DAY + 2], [1.0, 2.0]), "not in order"),
        (Samples([BEGIN * DAY + 2], [1.0], b"\x07"), "qualities"),
        (Samples([BEGIN * DAY + 2, BEGIN * DAY + 3], [1.0, math.inf]), "not finite"),
    ],
)
def test_a_block_that_holds_what_it_must_not(filled: Filled, samples: Samples, why: str) -> None:
    filled.put(filled.water, BEGIN, block.encode(samples))
    filled.sql(f"UPDATE blocks SET count = {len(samples)} WHERE series = {filled.water} AND day = {BEGIN}")
    problem = filled.only(repair=True)
    assert problem.what is What.BLOCK
    assert why in problem.text


@everywhere
def test_a_block_with_another_count(filled: Filled) -> None:
    filled.sql(f"UPDATE blocks SET count = 1441 WHERE series = {filled.energy} AND day = {BEGIN}")
    problem = filled.mended()
    assert problem.what is What.COUNT
    assert problem.where == "clasp/meter/energy 2024-10-04"
    assert "has 1440 samples and says 1441" in problem.text


@everywhere
def test_roll_ups_that_are_missing(filled: Filled) -> None:
    first = BEGIN * BUCKETS_A_DAY
    filled.sql(f"DELETE FROM rollups WHERE series = {filled.energy} AND bucket IN ({first + 5}, {first + 40})")
    problem = filled.mended()
    assert problem.what is What.MISSING
    assert problem.text == "2 roll-ups are missing, the first that of 01:15"


@pytest.mark.parametrize("column", ["count", "least", "greatest", "total", "last", "falls"])
@pytest.mark.parametrize("day", [BEGIN, BEGIN + 3])
def test_roll_ups_that_are_wrong_in_the_last_bit(filled: Filled, column: str, day: int) -> None:
    bucket = day * BUCKETS_A_DAY + 3
    where = f"WHERE series = {filled.water} AND bucket = {bucket}"
    [(value,)] = filled.sql(f"SELECT {column} FROM rollups {where}")
    wrong = value - 1 if column in ("count", "falls") else math.nextafter(value, math.inf)
    filled.sql(f"UPDATE rollups SET {column} = {wrong!r} {where}")
    problem = filled.mended()
    assert problem.what is What.WRONG
    assert problem.text == "1 roll-up is wrong, the first that of 00:45"


@pytest.mark.parametrize("column", ["count", "least", "greatest", "total", "last", "falls", "last_time"])
def test_the_current_roll_up_is_checked_as_well(filled: Filled, column: str) -> None:
    filled.sql(f"UPDATE current SET {column} = {column} - 1 WHERE series = {filled.flow}")
    problem = filled.mended()
    assert problem.what is What.WRONG
    assert problem.where == "clasp/chiller/flow 2024-10-07"


@everywhere
def test_a_roll_up_that_counts_more_than_there_is(filled: Filled) -> None:
    """A block vouches for its day; of rows, some may be lost, and then the roll-up is all that is left of them."""
    for day in (BEGIN, BEGIN + 3):
        bucket = day * BUCKETS_A_DAY + 3
        filled.sql(f"UPDATE rollups SET count = count + 1 WHERE series = {filled.water} AND bucket = {bucket}")
    checked, problems, _ = filled.check(repair=True)
    assert [(problem.what, problem.repaired) for problem in problems] == [(What.WRONG, True), (What.GONE, False)]
    assert (checked.problems, checked.repaired, checked.remaining, checked.mendable) == (2, 1, 1, 0)


@everywhere
def test_a_roll_up_that_is_there_twice(filled: Filled) -> None:
    columns = "bucket, count, least, greatest, total, last, falls"
    [row] = filled.sql(f"SELECT {columns} FROM current WHERE series = {filled.water}")
    filled.sql(f"INSERT INTO rollups VALUES ({filled.water}, {', '.join(map(repr, row))})")
    problem = filled.mended()
    assert problem.what is What.TWICE
    assert problem.text == "the roll-up of 01:45 is there twice"


def test_a_roll_up_that_is_there_twice_and_wrong_in_both_places(filled: Filled) -> None:
    sevens = "7, 7, 7, 7, 7, 7"
    filled.sql(f"INSERT INTO rollups SELECT series, bucket, {sevens} FROM current WHERE series = {filled.water}")
    filled.sql(f"UPDATE current SET total = 8 WHERE series = {filled.water}")
    checked, problems, _ = filled.check(repair=True)
    assert [(problem.what, problem.repaired) for problem in problems] == [(What.TWICE, True), (What.WRONG, True)]
    assert checked.remaining == 0
    filled.whole()


@everywhere
def test_a_series_without_a_current_roll_up(filled: Filled) -> None:
    filled.sql(f"DELETE FROM current WHERE series = {filled.energy}")
    checked, problems, _ = filled.check(repair=True)
    assert [problem.what for problem in problems] == [What.CURRENT, What.MISSING]
    assert checked.remaining == 0
    filled.whole()
    with Reader(Database(filled.url)).view() as view:
        assert view.latest(filled.energy) == ((BEGIN + 3) * DAY - 60_000, filled_value(filled, ENERGY))


def filled_value(filled: Filled, series: Series) -> float:
    known = filled.model.samples[series]
    return known[max(known)][0]


@everywhere
def test_samples_that_are_gone_are_told_of_and_their_roll_ups_stay(filled: Filled) -> None:
    filled.sql(f"DELETE FROM blocks WHERE series = {filled.water} AND day = {BEGIN + 1}")
    first = (BEGIN + 3) * BUCKETS_A_DAY
    filled.sql(f"DELETE FROM samples WHERE series = {filled.water} AND bucket = {first + 2}")
    for repair in (False, True):
        _, problems, _ = filled.check(repair=repair)
        assert [problem.what for problem in problems] == [What.GONE, What.GONE]
        assert "samples of 96 roll-ups are not there, the first that of 00:00" in problems[0].text
        assert "samples of 1 roll-up are not there, the first that of 00:30" in problems[1].text
    assert filled.sql(f"SELECT count(*) FROM rollups WHERE series = {filled.water}") == [(3 * 96 + 7,)]


@everywhere
def test_what_was_forgotten_is_no_problem(filled: Filled) -> None:
    with filled.store() as store:
        assert forget(store, 1, lambda *_: None) == 2
    checked, problems, _ = filled.check()
    assert problems == []
    assert checked.forgotten == 3 * 2 * BUCKETS_A_DAY
    with filled.store() as store:  # all of it
        filled.clock.time += 10 * DAY
        forget(store, 1, lambda *_: None)
    checked, problems, _ = filled.check()
    assert problems == []
    assert (checked.days, checked.samples) == (0, 0)


@everywhere
def test_what_belongs_to_nothing(filled: Filled) -> None:
    filled.sql(f"DELETE FROM series WHERE id = {filled.energy}")
    filled.sql("DELETE FROM devices")
    filled.sql(f"DELETE FROM rollups WHERE series = {filled.energy} AND bucket = {BEGIN * BUCKETS_A_DAY}")
    _, problems, _ = filled.check(repair=True)
    assert [problem.what for problem in problems] == [*[What.NAMES] * 3, What.MISSING]
    assert not problems[3].repaired
    assert problems.pop().where == f"?/?/series {filled.energy} 2024-10-04"
    assert filled.sql("SELECT count(*) FROM series") == [(2,)], "nothing was made of it"
    assert {problem.where for problem in problems} == {"series", "events", "outbox"}
    assert f"id {filled.energy} has samples or roll-ups, and no name" in str(problems[0])
    assert f"1 rows belong to no device (id {filled.device})" in str(problems[1])


def test_samples_of_the_future(filled: Filled) -> None:
    with filled.store() as store:
        store.merge(WATER, Samples([NOW + 10 * DAY, NOW + 10 * DAY + 1], [1.0, 2.0]))
    problem = filled.only()
    assert problem.what is What.FUTURE
    assert problem.where == "clasp/chiller/water_temp 2024-10-17"
    assert "2 samples are of the future, up to 2024-10-17T02:00:00Z" in problem.text


@everywhere
def test_rows_in_the_wrong_place(filled: Filled) -> None:
    first = (BEGIN + 3) * BUCKETS_A_DAY
    filled.sql(f"UPDATE samples SET bucket = {first + 95} WHERE series = {filled.flow} AND bucket = {first + 2}")
    _, problems, _ = filled.check(repair=True)
    assert problems[0].what is What.ROWS
    assert problems[0].where == "clasp/chiller/flow"
    assert "3 rows stand in a bucket that they are not of, the first of 2024-10-07T00:30:00Z" in problems[0].text
    assert problems[1].where == "clasp/chiller/flow 2024-10-07"


def test_rows_that_are_no_samples(filled: Filled) -> None:
    filled.sql(f"UPDATE samples SET quality = 9 WHERE series = {filled.flow} AND bucket >= {(BEGIN + 3) * 96}")
    problem = filled.only(repair=True)
    assert problem.what is What.ROWS
    assert "qualities that there are none of" in problem.text
    filled.sql(f"UPDATE samples SET quality = -1 WHERE series = {filled.flow} AND bucket >= {(BEGIN + 3) * 96}")
    assert filled.only().what is What.ROWS


def test_a_sample_that_is_sealed_and_a_row(filled: Filled) -> None:
    time = BEGIN * DAY
    filled.sql(f"INSERT INTO samples VALUES ({time // BUCKET}, {filled.water}, {time}, 77, 0)")
    problem = filled.only(repair=True)
    assert problem.what is What.DOUBLE
    assert "1 sample is in its block and as a row, too" in problem.text


def test_two_units_of_one_key_are_told_apart(filled: Filled) -> None:
    with filled.store() as store:
        store.merge(Series("clasp", "chiller", "water_temp", "K"), Samples([NOW + DAY], [1.0]))
    assert filled.only().where == "clasp/chiller/water_temp [K] 2024-10-08"


@everywhere
def test_a_table_that_is_missing(filled: Filled) -> None:
    filled.sql("DROP TABLE rollups")
    _, problems, _ = filled.check()
    assert problems[-1].what is What.FILE
    assert problems[-1].text == "the table rollups is missing"


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_happens_to_roll_ups_repair_brings_back_what_was(data: st.DataObject, tmp_path_factory: Any) -> None:
    filled = Filled(f"sqlite:///{tmp_path_factory.mktemp('any')}/h.sqlite")
    numbers = st.sampled_from(["0", "-1", "1e300", "total + 1", "least - 1", "greatest", "'x'", "last", "1.5"])
    for _ in range(data.draw(st.integers(1, 6))):
        table = data.draw(st.sampled_from(["rollups", "current"]))
        series = data.draw(st.integers(1, 3))
        buckets = [row[0] for row in filled.sql(f"SELECT bucket FROM {table} WHERE series = {series}")]
        if not buckets:
            continue
        where = f"WHERE series = {series} AND bucket = {data.draw(st.sampled_from(buckets))}"
        if data.draw(st.booleans()):
            filled.sql(f"DELETE FROM {table} {where}")
        else:
            column = data.draw(st.sampled_from(["least", "greatest", "total", "last"]))
            filled.sql(f"UPDATE {table} SET {column} = {data.draw(numbers)} {where}")
    checked, problems, _ = filled.check(repair=True)
    assert checked.remaining == 0, problems
    filled.whole()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_beside_a_daemon_that_records_and_seals_nothing_is_missed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Rows become blocks and roll-ups move while we look: each day is seen in one moment."""
    url = request.getfixturevalue("postgresql") if kind == "postgresql" else f"sqlite:///{tmp_path}/h.sqlite"
    clock = Clock(BEGIN * DAY)
    ended = threading.Event()
    polls = 0

    def daemon() -> None:
        nonlocal polls
        with Store(url, clock) as store:
            ids = [store.series_id(series) for series in (WATER, FLOW)]
            device = store.device_id("clasp", "chiller")
            while not ended.is_set():
                clock.time += 1_200_000
                store.record(device, [(number, clock.time, clock.time % 977 / 10, 0) for number in ids])
                store.seal()
                if clock.time > (BEGIN + 5) * DAY and polls % 20 == 0:
                    store.forget(4)
                polls += 1

    Store(url, clock).close()
    problems: list[Problem] = []
    thread = threading.Thread(target=daemon)
    thread.start()
    try:
        repairs = 0
        while clock.time < (BEGIN + 8) * DAY and thread.is_alive():
            with looking(url) as database, Store(url, clock) as store:
                repairs += 1
                mending = store if repairs % 2 else None
                Checker(database, problems.append, print, lambda *_: None, store=mending, now=clock).run()
    finally:
        ended.set()
        thread.join()
    assert clock.time >= (BEGIN + 8) * DAY, "the daemon was not disturbed"
    assert problems == []


# --- check: a file of SQLite


def checkpoint(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_truncated_file(file: Path) -> None:
    filled = Filled(f"sqlite:///{file}")
    checkpoint(file)
    os.truncate(file, file.stat().st_size * 2 // 3)
    with pytest.raises(StoreError) as caught, looking(filled.url):
        pass
    assert caught.value.trouble is Trouble.CORRUPT
    assert f"`sqlite3 {file} .dump | sed " in advice(caught.value)


def test_pages_that_are_overwritten(file: Path) -> None:
    """The file's structure is told of first; what can still be read is checked all the same."""
    filled = Filled(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'rollups'")
    with open(file, "r+b") as stream:
        stream.seek((page - 1) * 4096)
        stream.write(b"\xa5" * 4096)
    _, problems, notes = filled.check()
    assert problems[0].what is What.FILE
    assert sum("malformed" in problem.text for problem in problems) <= SAME + 1
    assert notes == [] or "times in all" in notes[0]


def test_an_index_that_does_not_match_its_table(file: Path) -> None:
    """quick_check sees nothing of that."""
    filled = Filled(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(root,)] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_series_1'")
    data = file.read_bytes()
    page = data[(root - 1) * 4096 : root * 4096]
    file.write_bytes(data.replace(page, page.replace(b"flow", b"fl0w")))
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    problem = filled.only()
    assert problem.what is What.FILE
    assert "missing from index" in problem.text


# --- stats


@everywhere
def test_stats_count_what_is_there(filled: Filled) -> None:
    with looking(filled.url) as database:
        found = stats(database, filled.clock.time + 60_000)
    assert found["schema"] == 1
    assert found["store"] == Database(filled.url).name
    assert found["database"].split()[0] in ("SQLite", "PostgreSQL")
    assert found["bytes"] > 50_000
    assert ("wal_bytes" in found) == filled.url.startswith("sqlite")
    assert (found["sealed"], found["blocks"]) == (2 * 3 * 1440, 6)
    assert found["rows"] == 3 * 144 + 2 * 24
    assert found["samples"] == found["rows"] + found["sealed"]
    assert 0 < found["bytes_per_sealed_sample"] < 4
    assert found["rollups"] == 3 * 3 * 96 + 2 * 8
    assert (found["events"], found["damaged"]) == (1, 0)
    series = {one["key"]: one for one in found["series"]}
    assert list(series) == ["water_temp", "flow", "energy"]
    water = series["water_temp"]
    assert water["first"] == "2024-10-04T00:00:00.000Z"
    assert water["last"] == "2024-10-07T01:55:00.000Z"
    assert (water["samples"], water["rows"], water["sealed"], water["blocks"]) == (4344, 24, 4320, 3)
    assert (water["rollups"], water["missing_hours"], water["unit"], water["kind"]) == (296, 0.0, "degC", "gauge")
    assert series["energy"]["kind"] == "counter"
    assert series["energy"]["last"] == "2024-10-06T23:59:00.000Z"
    assert "bytes_per_sealed_sample" not in series["flow"]
    [box] = found["outbox"]
    assert (box["site"], box["device"], box["rows"], box["targets"]) == ("clasp", "chiller", 24, [])
    assert box["oldest"] == "2024-10-07T00:00:00Z"
    assert box["age"] == 8 * 900 + 60


@everywhere
def test_stats_tell_how_far_behind_each_target_is(filled: Filled) -> None:
    filled.sql(f"INSERT INTO cursors VALUES ('a', {filled.device}, 24), ('b', {filled.device}, 4)")
    with looking(filled.url) as database:
        [box] = stats(database, filled.clock.time)["outbox"]
    here, there = box["targets"]
    assert here == {"target": "a", "rows": 0}
    assert (there["target"], there["rows"], there["oldest"]) == ("b", 20, "2024-10-07T00:20:00Z")


@everywhere
def test_stats_tell_of_gaps_and_of_what_was_forgotten(filled: Filled) -> None:
    with filled.store() as store:
        store.merge(ENERGY, Samples([NOW + 2 * DAY], [9.0]))
        forget(store, 1, lambda *_: None)
    with looking(filled.url) as database:
        series = {one["key"]: one for one in stats(database)["series"]}
    energy = series["energy"]
    assert energy["missing_hours"] == (2 * 96 + 8) / 4
    assert energy["first"] == "2024-10-06T00:00:00.000Z"
    assert energy["rolled_up_since"] == "2024-10-04T00:00:00Z"
    assert energy["last"] == "2024-10-09T02:00:00.000Z"


def test_stats_of_what_is_damaged_do_not_fail(filled: Filled) -> None:
    filled.put(filled.water, BEGIN, b"nothing")
    filled.sql(f"DELETE FROM series WHERE id = {filled.energy}")
    filled.sql("DELETE FROM devices")
    filled.sql(f"INSERT INTO damaged VALUES ({filled.flow}, {BEGIN}, 5, 'its checksum is wrong', '')")
    with looking(filled.url) as database:
        found = stats(database)
    series = {one["key"]: one for one in found["series"]}
    assert series["water_temp"]["first"] == "2024-10-04T00:00:00.000Z"
    assert series[f"series {filled.energy}"]["samples"] == 4320
    assert series["flow"]["damaged"] == found["damaged"] == 1


@everywhere
def test_stats_of_an_empty_history(url: str) -> None:
    Store(url).close()
    with looking(url) as database:
        found = stats(database)
    assert (found["samples"], found["series"], found["outbox"]) == (0, [], [])
    assert "bytes_per_sealed_sample" not in found


# --- vacuum


@everywhere
def test_seal_and_compact(filled: Filled) -> None:
    told: list[tuple[str, int, int]] = []
    with filled.store() as store:
        assert seal(store, lambda *now: told.append(now)) == 3, "flow's"
        assert told == [("sealing", 1, 3), ("sealing", 2, 3), ("sealing", 3, 3)]
        assert seal(store, lambda *_: None) == 0
        compact(store.database)
    filled.whole()
    with looking(filled.url) as database:
        found = stats(database)
    assert found["blocks"] == 9
    assert found.get("free_bytes", 0) == 0


def test_a_file_becomes_smaller(file: Path) -> None:
    filled = Filled(f"sqlite:///{file}")
    with filled.store() as store:
        before = stats(store.database)["bytes"]
        assert forget(store, 1, lambda *_: None) == 2
        seal(store, lambda *_: None)
        compact(store.database)
        after = stats(store.database)
        assert after["bytes"] < before
        assert after["wal_bytes"] == 0
        assert file.stat().st_size == after["bytes"]
    checked, problems, _ = filled.check()
    assert problems == []
    assert checked.samples == 2 * 1440 + 144 + 48


@everywhere
def test_what_would_be_forgotten_is_known_before(filled: Filled) -> None:
    with filled.store() as store:
        assert forgettable(store.database, 1, NOW) == (2 * (2 * 1440 + 144), BEGIN, BEGIN + 2)
        assert forgettable(store.database, 30, NOW) == (0, BEGIN + 3 - 30, BEGIN + 3 - 30)
        told: list[tuple[str, int, int]] = []
        assert forget(store, 1, lambda *now: told.append(now)) == 2
        assert told == [("forgetting", 1, 2), ("forgetting", 2, 2)]
        assert forgettable(store.database, 1, NOW)[0] == 0


def test_a_busy_file_is_told_of(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Filled(f"sqlite:///{file}")
    monkeypatch.setattr(maintenance, "BUSY", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught, looking(filled.url) as database:
            compact(database)
    assert caught.value.trouble is Trouble.REFUSES
    assert "database is locked: another program has been writing to it" in advice(caught.value)
    filled.whole()


def test_no_room_to_compact_is_known_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Filled(f"sqlite:///{file}")
    before = file.read_bytes()
    full = os.statvfs_result((4096, 4096, 100, 10, 10, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    with pytest.raises(CommandError) as caught, looking(filled.url) as database:
        compact(database)
    assert "of free space in " in caught.value.message
    assert "there are 41.0 kB" in caught.value.message
    assert file.read_bytes() == before


# --- places


def test_a_look_changes_nothing_and_makes_nothing(file: Path) -> None:
    """Neither the mode of another program's file, nor a file that is not there."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE history (x)")
        connection.commit()
    before = file.read_bytes()
    with (
        pytest.raises(CommandError, match="is a database, and not that of a history of rockit's"),
        looking(f"sqlite:///{file}"),
    ):
        pass
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    other = file.with_name("other.sqlite")
    with pytest.raises(CommandError, match=r"there is no file .*other.sqlite"), looking(f"sqlite:///{other}"):
        pass
    assert not other.exists()


def test_a_copy_that_is_not_in_wal_mode_can_be_looked_at(filled: Filled, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    with closing(sqlite3.connect(tmp_path / "history.sqlite")) as connection:
        connection.execute(f"VACUUM INTO '{copy}'")
    before = copy.read_bytes()
    with looking(f"sqlite:///{copy}") as database:
        assert Checker(database, print, print, lambda *_: None, now=filled.clock).run().problems == 0
        assert stats(database)["blocks"] == 6
    assert copy.read_bytes() == before


def test_what_was_written_last_before_a_crash_is_seen(file: Path) -> None:
    """The log of a daemon that was killed is read, and stays as it is."""
    filled = Filled(f"sqlite:///{file}")
    pid = os.fork()
    if not pid:
        store = filled.store()
        store.merge(WATER, Samples([NOW], [5.0]))
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    log = file.with_name(f"{file.name}-wal").read_bytes()
    assert log
    with looking(filled.url) as database:
        assert stats(database)["series"][0]["last"] == "2024-10-07T02:00:00.000Z"
    assert file.with_name(f"{file.name}-wal").read_bytes() == log


@pytest.mark.parametrize("version", ["2", "99"])
def test_a_newer_history_is_left_alone(filled: Filled, version: str) -> None:
    filled.sql(f"UPDATE about SET value = '{version}'")
    for opening in (looking(filled.url), places.writing(filled.url)):
        with (
            pytest.raises(CommandError, match=f"tables have version {version}; this software knows.* 1: update it"),
            opening,
        ):
            pass
    filled.sql("UPDATE about SET value = 'x'")
    with pytest.raises(CommandError, match="not that of a history"), looking(filled.url):
        pass


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        ("", "sqlite:////st/history.sqlite"),
        ('"history": {}', "sqlite:////st/history.sqlite"),
        ('"history": {"site": "x", "url": null}', "sqlite:////st/history.sqlite"),
        ('"history": {"url": "sqlite:////a/b.sqlite"}', "sqlite:////a/b.sqlite"),
        ('"history": {"url": "postgresql+psycopg://db/x", "keep_raw_days": 5}', "postgresql+psycopg://db/x"),
    ],
)
def test_a_config_names_its_history(tmp_path: Path, history: str, wanted: str) -> None:
    config = tmp_path / "chiller.json"
    more = f", {history}" if history else ""
    config.write_text(f'{{"daemon": "a", "state_directory": "/st", "colour": "blue"{more}}}')
    assert url_of(str(config)) == wanted


def test_a_config_without_a_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    config = tmp_path / "chiller.json"
    config.write_text('{"daemon": "no_such_daemon"}')
    assert url_of(str(config)) == "sqlite:////var/lib/rockit/no_such_daemon/history.sqlite"
    mine = tmp_path / "state/rockit/no_such_daemon/history.sqlite"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert url_of(str(config)) == f"sqlite:///{mine}"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"daemon": "a", "history": null}', "keeps none"),
        ('{"daemon": "a", "history": {"url": "mysql://x"}}', "history.url: mysql is not known"),
        ('{"daemon": "a", "history": {"url": 5}}', "history.url"),
        ('{"history": {}}', "daemon: required"),
        ("{", "not valid JSON"),
    ],
)
def test_a_config_that_names_none(tmp_path: Path, content: str, why: str) -> None:
    config = tmp_path / "chiller.json"
    config.write_text(content)
    with pytest.raises(ConfigError, match=why):
        url_of(str(config))


@everywhere
def test_begun_and_exists(url: str) -> None:
    assert not places.exists(url)
    places.begun(url)
    assert places.exists(url)
    places.begun(url)
    with places.writing(url) as store:
        store.receive(Batch([WATER], [(0, 5, 1.0, 0)]))
    with looking(url) as database:
        assert stats(database)["samples"] == 1
