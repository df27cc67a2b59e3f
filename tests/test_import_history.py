# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from rockit.common.quality import Quality
from rockit.history.database import Database
from rockit.history.imports import ImportProblem, Options, guess, import_file
from rockit.history.model import DAY, LATEST_TIME, MINUTE, Event, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

FIRST = 20_000 * DAY
ENERGY = Series("roof", "meter", "energy", "Wh", "Energy", counter=True)
WATER = Series("roof", "chiller", "water_temp", "degC", "Water")
AIR = Series("roof", "chiller", "ambient_temp", "degC", "Air")
EVENTS = [
    Event(FIRST + 5, "state", "mode", "AUTOMATIC"),
    Event(FIRST + 5, "alarm", "no_flow", "active", "flow 0.0 L/min", "", 1),
    Event(FIRST + DAY, "command", "set_mode", "0", "", "127.0.0.1"),
]
Content = dict[Series, list[tuple[int, float, int]]]


def samples(days: int, seed: int) -> Samples:
    chance = random.Random(seed)
    times = sorted(chance.sample(range(FIRST, FIRST + days * DAY, 7), days * 1500))
    qualities = bytes(chance.choices((0, 1, 2), (9, 1, 1), k=len(times)))
    return Samples(times, [chance.choice((chance.uniform(-9, 9), 11.5)) for _ in times], qualities)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sealed days, a day that is being recorded, events; two devices."""
    path = tmp_path / "source.sqlite"
    with Store(f"sqlite:///{path}", now=lambda: FIRST + 20 * DAY + 3 * MINUTE) as store:
        store.merge(WATER, samples(20, 1))
        store.merge(AIR, samples(3, 2))
        store.merge(ENERGY, Samples([FIRST, FIRST + 19 * DAY], [0.0, 2.0**50]))
        number = store.series_id(WATER)
        device = store.device_id("roof", "chiller")
        store.record(device, [(number, FIRST + 20 * DAY + second, 1 / 3, Quality.GOOD) for second in (0, 1000, 2000)])
        store.add_events("roof", "chiller", EVENTS)
        store.add_events("roof", "meter", EVENTS[:1])
    return path


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path}/target.sqlite") as store:
        yield store


def contents(url: str) -> tuple[Content, dict[str, list[Event]]]:
    database = Database(url)
    with closing(database), Reader(database).view() as view:
        series = {one: list(view.samples(number, 0, LATEST_TIME).rows()) for number, one in view.series().items()}
        owners = {(one.site, one.device) for one in series}
        events = {device: view.events(site, device, 0, LATEST_TIME, 10**6) for site, device in sorted(owners)}
    return series, events


def url_of(store: Store) -> str:
    return store.database.url.render_as_string(hide_password=False)


def take(source: Path | str, target: Store, site: str | None = None, device: str | None = None, **options: Any) -> Any:
    chosen = {name: frozenset(names) for name, names in options.items()}
    return import_file(source, target, site, device, options=Options(**chosen))


def test_everything_is_taken_as_it_stands(source: Path, target: Store) -> None:
    assert guess(source) == guess(f"sqlite:///{source}") == "history"
    report = take(source, target)
    assert contents(url_of(target)) == contents(f"sqlite:///{source}")
    assert report.taken == report.new == 20 * 1500 + 3 * 1500 + 2 + 3
    assert report.events == report.new_events == 4
    assert report.rows == report.taken + report.events
    assert not report.left_out
    assert not report.notes
    again = take(f"sqlite:///{source}", target)
    assert (again.taken, again.new, again.new_events) == (report.taken, 0, 0)


def test_devices_and_keys_can_be_chosen(source: Path, target: Store) -> None:
    take(source, target, devices=["meter"])
    series, events = contents(url_of(target))
    assert set(series) == {ENERGY}
    assert events == {"meter": EVENTS[:1]}
    report = take(source, target, devices=["chiller"], keys=["ambient_temp"])
    series, events = contents(url_of(target))
    assert set(series) == {ENERGY, AIR}
    assert events == {"meter": EVENTS[:1], "chiller": []}
    assert report.events == 0
    report = take(source, target, devices=["chiller"], keys=["events"])
    assert (report.taken, report.new_events) == (0, 3)
    with pytest.raises(ImportProblem, match=r"nothing of what was asked for; it has chiller of roof, meter of roof"):
        take(source, target, devices=["boiler"])


def test_one_device_may_get_another_name(source: Path, target: Store) -> None:
    with pytest.raises(ImportProblem, match="several devices, chiller of roof, meter of roof: choose one"):
        take(source, target, "dome", "cooler")
    take(source, target, "dome", "cooler", devices=["chiller"])
    series, events = contents(url_of(target))
    before, _ = contents(f"sqlite:///{source}")
    renamed = Series("dome", "cooler", "water_temp", "degC", "Water")
    assert series[renamed] == before[WATER]
    assert events == {"cooler": EVENTS}


def test_many_events_come_in_parts_and_each_once(tmp_path: Path, target: Store) -> None:
    source = tmp_path / "source.sqlite"
    # Several a millisecond, so that parts end inside one.
    events = [Event(FIRST + number // 7, "state", "lid", str(number), number=number % 7) for number in range(12_001)]
    with Store(f"sqlite:///{source}") as store:
        store.add_events("roof", "dome", events)
        store.merge(Series("roof", "dome", "wind", "m / s"), Samples([FIRST], [1.0]))
    report = take(source, target)
    assert report.events == report.new_events == 12_001
    assert contents(url_of(target))[1] == {"dome": events}


def test_what_a_running_daemon_adds_meanwhile_does_not_hurt(source: Path, target: Store) -> None:
    with Store(f"sqlite:///{source}", now=lambda: FIRST + 20 * DAY + 3 * MINUTE) as recording:
        number, device = recording.series_id(WATER), recording.device_id("roof", "chiller")
        second = iter(range(3, 10_000))

        class Slow:
            series = target.series
            add_events = target.add_events

            def merge(self, series: Series, samples: Samples) -> int:
                time = FIRST + 20 * DAY + next(second) * 1000
                recording.record(device, [(number, time, 1.0, Quality.GOOD)])
                return target.merge(series, samples)

        report = import_file(source, Slow(), None, None)
    assert report.taken == report.new
    take(source, target)
    assert contents(url_of(target)) == contents(f"sqlite:///{source}")


def test_what_was_thinned_out_is_said(source: Path, target: Store) -> None:
    with Store(f"sqlite:///{source}", now=lambda: FIRST + 20 * DAY + 3 * MINUTE) as store:
        while store.forget(10):
            pass
    report = take(source, target)
    assert sorted(note.partition(" are gone")[0] for note in report.notes) == [
        "older samples of ambient_temp of chiller",
        "older samples of energy of meter",
        "older samples of water_temp of chiller",
    ]
    series, _ = contents(url_of(target))
    assert series[WATER] == contents(f"sqlite:///{source}")[0][WATER]
    assert AIR not in series


def test_a_damaged_day_is_said_and_the_others_are_taken(source: Path, target: Store) -> None:
    whole, _ = contents(f"sqlite:///{source}")
    database = Database(f"sqlite:///{source}")
    with closing(database), database.engine.begin() as connection:
        connection.execute(text("UPDATE blocks SET data = x'00' WHERE day = :day AND count > 5"), {"day": 20_001})
    report = take(source, target)
    assert sorted(report.unread) == [
        f"{key} of chiller: all or a part of 2024-10-05" for key in ("ambient_temp", "water_temp")
    ]
    series, _ = contents(url_of(target))
    assert series[WATER] == [row for row in whole[WATER] if row[0] // DAY != 20_001]


def spoilt(source: Path, page: int, rubbish: bytes) -> None:
    with source.open("r+b") as file:
        file.seek(4096 * page)
        file.write(rubbish)


@pytest.mark.parametrize("rubbish", [b"\xa5" * 4096, bytes(4096), random.Random(3).randbytes(4096)], ids="abc")
def test_of_a_damaged_file_is_taken_what_can_be_read_and_the_rest_is_told(
    source: Path, tmp_path: Path, rubbish: bytes
) -> None:
    whole, happened = contents(f"sqlite:///{source}")
    pages = source.stat().st_size // 4096
    taken, told = 0, list[str]()
    chosen = [*range(1, 30, 2), *range(30, pages, pages // 12)]
    for page in chosen:
        damaged = tmp_path / f"damaged{page}.sqlite"
        shutil.copy(source, damaged)
        spoilt(damaged, page, rubbish)
        before = hashlib.sha256(damaged.read_bytes()).digest()
        with Store(f"sqlite:///{tmp_path}/{page}.sqlite") as target:
            try:
                report = take(damaged, target)
            except ImportProblem as problem:
                told.append(str(problem))
                continue
            assert report.unread, page
            series, events = contents(url_of(target))
        for one, rows in series.items():
            assert set(rows) <= set(whole[one]), "nothing is invented"
            taken += len(rows)
        for device, those in events.items():
            assert {(event.time, event.name, event.value) for event in those} <= {
                (event.time, event.name, event.value) for event in happened[device]
            }
        assert hashlib.sha256(damaged.read_bytes()).digest() == before
    assert all("`sqlite3 " in text_ for text_ in told), told
    assert taken > 0.8 * len(chosen) * sum(map(len, whole.values()))


def test_a_file_that_may_not_be_written_is_read_where_it_lies(source: Path, target: Store) -> None:
    before = source.read_bytes()
    report = take(source, target)
    assert source.read_bytes() == before
    folder = Path(tempfile.mkdtemp())
    there = Path(shutil.copy(source, folder))
    there.chmod(0o444)
    folder.chmod(0o555)
    was = os.geteuid()
    try:
        if was == 0:  # to whom no mode means anything
            os.seteuid(65534)
        assert import_file(there, _Nowhere(), None, None, dry_run=True).taken == report.taken
    finally:
        os.seteuid(was)
        folder.chmod(0o755)
        assert there.read_bytes() == before
        shutil.rmtree(folder)


class _Nowhere:
    """A store for a dry run."""

    def series(self) -> dict[int, Series]:
        return {}

    def merge(self, series: Series, samples: Samples) -> int:
        raise AssertionError(series, len(samples))

    def add_events(self, site: str, device: str, events: object) -> int:
        raise AssertionError(site, device, events)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: Is a directory; name the file in it"), (b"", "is empty .0 bytes.: there is nothing"),
        (b"not a database at all" * 300, "is none of these: the SQLite file of Chronos"),
    ],
)  # fmt: skip
def test_what_is_no_history_is_told(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "odd"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ImportProblem, match=told):
        guess(path)


def test_what_cannot_be_read_is_said_in_a_sentence(source: Path, target: Store, tmp_path: Path) -> None:
    with pytest.raises(ImportProblem, match="there is no file"):
        take(f"sqlite:///{tmp_path}/none.sqlite", target)
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(ImportProblem, match="mysql is not known"):
        take("mysql://host/db", target)
    with pytest.raises(ImportProblem, match=r"could not|connection|refused|psycopg"):
        take("postgresql+psycopg://127.0.0.1:1/none", target)
    database = Database(f"sqlite:///{source}")
    with closing(database), database.engine.begin() as connection:
        connection.execute(text("UPDATE about SET value = '99' WHERE name = 'version'"))
    with pytest.raises(ImportProblem, match="tables have version 99"):
        take(source, target)
    assert contents(url_of(target)) == ({}, {})
