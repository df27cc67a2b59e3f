# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rockit.common.quality import Quality
from rockit.history.database import Database
from rockit.history.imports import ImportProblem, Options, Report, guess, import_file
from rockit.history.imports.base import MOST
from rockit.history.imports.pyhm import code_text
from rockit.history.model import Event, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store
from rockit.tool.bringing import Work, bring

BERLIN = "Europe/Berlin"
ENERGY, EXPORT, POWER = 0x0100010800FF, 0x0100020800FF, 0x0100100700FF
MAKER, SERVER, KEY = 0x8181C78203FF, 0x0100000009FF, 0x8181C78205FF
TABLES = """
    CREATE TABLE b_METERS (PK INTEGER PRIMARY KEY AUTOINCREMENT, value, description, UNIQUE(value));
    CREATE TABLE b_UNITS (PK INTEGER PRIMARY KEY AUTOINCREMENT, value, description, UNIQUE(value));
    CREATE TABLE b_OBIS (PK INTEGER PRIMARY KEY AUTOINCREMENT, value, description, UNIQUE(value));
    CREATE TABLE m_TIMESTAMPS (PK INTEGER PRIMARY KEY AUTOINCREMENT, value, UNIQUE(value));
    CREATE TABLE m_POINTS (PK INTEGER PRIMARY KEY AUTOINCREMENT, pk_timestamp, pk_meter, pk_obis, pk_unit, value,
        UNIQUE(pk_meter, pk_obis, pk_unit, value));
"""
UNITS = {0x1B: "W", 0x1E: "Wh", 0xFF: "count", 0x20: "varh", 0x77: "~"}


class PyHM:
    """Writes as pyHM did: descriptions as bytes, numbers unscaled by its own rule, each value once."""

    def __init__(self, path: Path, meter: str = "Meter01") -> None:
        self.path = path
        self.file = sqlite3.connect(path)
        if not self.file.execute("SELECT name FROM sqlite_master").fetchall():
            self.file.executescript(TABLES)
        self.file.execute("INSERT INTO b_METERS (value, description) VALUES (?, ?)", (meter, "heat pump"))
        self.meter = self._key("b_METERS", meter)

    def _key(self, table: str, value: Any) -> int:
        return int(self.file.execute(f"SELECT PK FROM {table} WHERE value = ?", (value,)).fetchone()[0])

    def _known(self, table: str, value: Any, description: str) -> int:
        self.file.execute(
            f"INSERT OR IGNORE INTO {table} (value, description) VALUES (?, ?)", (value, description.encode())
        )
        return self._key(table, value)

    def point(self, when: datetime | None, code: int, unit: int | None, value: Any) -> bool:
        unit = 0xFF if unit is None else unit
        obis = self._known("b_OBIS", code, f"Electricity / {code_text(code)}")
        units = self._known("b_UNITS", unit, UNITS.get(unit, "~"))
        stamp = None
        if when is not None:
            self.file.execute("INSERT OR IGNORE INTO m_TIMESTAMPS (value) VALUES (?)", (when.isoformat(),))
            stamp = self._key("m_TIMESTAMPS", when.isoformat())
        return bool(
            self.file.execute(
                "INSERT OR IGNORE INTO m_POINTS (pk_timestamp, pk_meter, pk_obis, pk_unit, value)"
                " VALUES (?, ?, ?, ?, ?)",
                (stamp, self.meter, obis, units, value),
            ).rowcount
        )

    def number(self, when: datetime, code: int, unit: int, raw: int, scaler: int | None) -> bool:
        value: float = raw
        if scaler is not None:
            value = raw / (10 * -scaler) if scaler < 0 else raw * 10**scaler
        return self.point(when, code, unit, value)

    def restart(self, when: datetime) -> bool:
        return self.point(when, 0xFFFFFFFFFFFF, 0xFF, "RESET")

    def done(self) -> Path:
        self.file.commit()
        self.file.close()
        return self.path


class Recording:
    def __init__(self) -> None:
        self.runs: list[tuple[Series, Samples]] = []
        self.told: list[Event] = []

    def merge(self, series: Series, samples: Samples) -> int:
        self.runs.append((series, samples))
        return len(samples)

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        assert (site, device) == ("site", "meter")
        self.told += events
        return len(events)

    def series(self) -> dict[int, Series]:
        return {}

    def rows(self, key: str) -> list[tuple[int, float, int]]:
        return [row for series, samples in self.runs if series.key == key for row in samples.rows()]

    def values(self, key: str) -> list[float]:
        return [value for _, value, _ in self.rows(key)]


def take(path: Path, **options: Any) -> tuple[Recording, Report]:
    target = Recording()
    options.setdefault("time_zone", BERLIN)
    return target, import_file(path, target, "site", "meter", options=Options(**options))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def utc(text: str) -> int:
    return int(at(text).replace(tzinfo=UTC).timestamp() * 1000)


def ordinary(path: Path) -> Path:
    hm = PyHM(path)
    hm.restart(at("2019-07-01 12:00:00.000001"))
    for number in range(4):
        when = at("2019-07-01 12:00:01.123456") + timedelta(seconds=2 * number)
        hm.point(when, MAKER, None, '"EMH"')
        hm.point(when, SERVER, None, bytes.fromhex("0901484c5902ff0d6be6"))
        hm.point(when, KEY, None, b"\xff" * 48)
        hm.number(when, ENERGY, 0x1E, 54_301_577 + number, -1)
        hm.number(when, POWER, 0x1B, (1367, 1402, 1367, -55)[number], -1)
    return hm.done()


def test_numbers_become_samples_and_texts_events(tmp_path: Path) -> None:
    path = ordinary(tmp_path / "pyHM.sqlite")
    assert guess(path) == "pyhm"
    found, report = take(path)
    start = utc("2019-07-01 10:00:01.123")
    assert [series for series, _ in found.runs] == [
        Series("site", "meter", "1-0:1.8.0*255", "Wh", "Electricity / 1-0:1.8.0*255", counter=True),
        Series("site", "meter", "1-0:16.7.0*255", "W", "Electricity / 1-0:16.7.0*255"),
    ]
    assert found.rows("1-0:1.8.0*255") == [
        (start, 5430157.7, 0), (start + 2000, 5430157.8, 0), (start + 4000, 5430157.9, 0), (start + 6000, 5430158.0, 0),
    ]  # fmt: skip
    assert found.rows("1-0:16.7.0*255") == [(start, 136.7, 0), (start + 2000, 140.2, 0), (start + 6000, -5.5, 0)]
    assert found.told == [
        Event(utc("2019-07-01 10:00:00"), "daemon", "start", "", "pyHM began to read", "pyHM"),
        Event(start, "state", "129-129:199.130.3*255", "EMH", "", "pyHM"),
        Event(start, "state", "1-0:0.0.9*255", "0901484c5902ff0d6be6", "", "pyHM", 1),
    ]
    assert report.left_out == {"the meter's public key: it says nothing of the meter's state": 1}
    assert (report.rows, report.taken, report.events) == (11, 7, 3)
    # 1367 came twice and was stored once: nobody can know when; the report must say so.
    assert any("each value only once" in note and "16.7.0" in note and "1.8.0" not in note for note in report.notes)


def test_a_wrong_scaler_is_seen_and_can_be_undone_exactly(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "easymeter.sqlite")
    raws = [123_456_789_012 + 37 * number for number in range(50)]
    powers = [20_013 + 3 * number for number in range(50)]
    for number, (raw, power) in enumerate(zip(raws, powers, strict=True)):
        when = at("2019-01-01 00:00:00.5") + timedelta(seconds=number)
        hm.number(when, ENERGY, 0x1E, raw, -4)
        hm.number(when, POWER, 0x1B, power, -2)
        hm.number(when, EXPORT, 0x1E, 10 + number, -1)
    path = hm.done()

    found, report = take(path)
    assert {series.key for series, _ in found.runs} == {"1-0:2.8.0*255"}
    assert report.left_out == {"pyHM divided it by something else than the meter meant (see the notes)": 100}
    assert any("multiples of 1/40" in note and "1-0:1.8.0*255=-4" in note and "10,000" in note for note in report.notes)
    assert any("1-0:16.7.0*255=-2" in note for note in report.notes)

    found, report = take(path, scalers={"1-0:1.8.0*255": -4, "1-0:16.7.0*255": 0})
    assert found.values("1-0:1.8.0*255") == [raw / 10_000 for raw in raws]
    assert found.values("1-0:16.7.0*255") == [power / 20 for power in powers]
    assert not report.left_out

    for scalers, complaint in (
        ({"1-0:1.8.0*255": -3}, "exponent -3 for 1-0:1.8.0.255 does not fit"),
        ({"1-0:1.8.0*255": 2}, "exponent 2 for 1-0:1.8.0.255 does not fit"),
        ({"1-0:9.9.9*255": -2}, "a scaler is given for 1-0:9.9.9"),
    ):
        with pytest.raises(ImportProblem, match=complaint):
            take(path, scalers=scalers)


def test_scalers_that_pyhm_got_right_are_taken_as_they_are(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "pyHM.sqlite")
    # Without PIN whole kWh, with it tenths of Wh.
    for number, (raw, scaler) in enumerate([(5430, 3), (5431, 3), (54_310_003, -1), (54_310_017, -1), (5, None)]):
        hm.number(at("2019-01-01 00:00:00") + timedelta(minutes=number), ENERGY, 0x1E, raw, scaler)
    found, report = take(hm.done())
    assert found.values("1-0:1.8.0*255") == [5_430_000, 5_431_000, 5_431_000.3, 5_431_001.7, 5]
    assert all(type(value) is float for value in found.values("1-0:1.8.0*255"))
    assert not report.left_out


def test_a_repaired_pyhm_is_not_taken_for_a_broken_one(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "pyHM.sqlite")
    for number in range(20):
        hm.point(at("2019-01-01 00:00:00") + timedelta(minutes=number), POWER, 0x1B, (20_013 + 7 * number) / 100)
    found, report = take(hm.done())
    assert len(found.values("1-0:16.7.0*255")) == 20
    assert not report.left_out


def test_nasty_points_are_counted_with_the_reason(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "pyHM.sqlite")
    when = at("2019-01-01 00:00:00")
    hm.number(when, ENERGY, 0x1E, 1, None)
    hm.point(when, POWER, 0x1B, None)
    hm.point(when, POWER, 0x1B, "12.5")
    hm.point(when, POWER, 0x1B, float("inf"))
    hm.point(when, POWER, 0x1B, 1.7e308)
    hm.point(when, POWER, 0x1B, 2**60)
    hm.point(None, POWER, 0x1B, 3)
    hm.point(when, POWER, 0x1B, '"')
    hm.point(when, 0x0100020801FF, 0x77, 5)
    hm.point(when, SERVER, None, '"\x0a\x01HLY"')
    hm.point(when, SERVER, None, '""')
    path = hm.done()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("INSERT INTO m_TIMESTAMPS (PK, value) VALUES (90, 'noon'), (91, x'00ff')")
        file.execute("INSERT INTO b_OBIS (PK, value) VALUES (90, 'x'), (91, -1), (92, 1e300)")
        point = "INSERT INTO m_POINTS (pk_timestamp, pk_meter, pk_obis, pk_unit, value) VALUES (?, 1, ?, ?, ?)"
        for row in ((90, 1, 1, 31), (91, 1, 1, 32), (77, 1, 1, 33), (1, 90, 1, 34), (1, 92, 1, 35), (1, 78, 1, 36)):
            file.execute(point, row)
        file.execute(point, (1, 1, 79, 7))
    found, report = take(path)
    assert report.left_out == {
        "NULL: nothing was recorded": 1,
        "text, and not in the quotes that pyHM puts around it": 2,
        "it is no number": 1,
        "it is too large to be recorded exactly": 2,
        "it has no time": 2,
        "its time cannot be one": 2,
        "its OBIS code is missing or none": 3,
    }
    assert report.taken + report.events + report.left_out.total() == report.rows == 18
    assert {(series.key, series.unit): samples.values for series, samples in found.runs} == {
        ("1-0:1.8.0*255", "Wh"): [1.0],
        ("1-0:1.8.0*255", ""): [7.0],
        ("1-0:2.8.1*255", ""): [5.0],
    }
    assert [event.value for event in found.told] == ["0a01484c59", ""]
    [note] = [note for note in report.notes if "without unit" in note]
    assert "None of 1-0:1.8.0*255" in note
    assert "119 of 1-0:2.8.1*255" in note


def test_several_meters_are_imported_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "pyHM.sqlite"
    first = PyHM(path, "House")
    first.number(at("2019-01-01 00:00:00"), ENERGY, 0x1E, 1, None)
    first.done()
    second = PyHM(path, "Garage")
    second.number(at("2019-01-01 00:00:00.25"), ENERGY, 0x1E, 2, None)
    second.done()
    with pytest.raises(ImportProblem, match="several meters, House, Garage: say which"):
        take(path)
    with pytest.raises(ImportProblem, match="no meter 'Barn'; it has House, Garage"):
        take(path, meter="Barn")
    found, report = take(path, meter="Garage")
    assert found.rows("1-0:1.8.0*255") == [(utc("2018-12-31 23:00:00.250"), 2.0, 0)]
    assert report.left_out == {"of another meter": 1}


def test_the_repeated_hour_goes_by_the_order_of_points(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "pyHM.sqlite")
    walls = [at("2019-10-27 02:00:00") + timedelta(seconds=90 * number, microseconds=5) for number in range(40)]
    for number, wall in enumerate([*walls, *(wall + timedelta(microseconds=1000) for wall in walls)]):
        hm.number(wall, ENERGY, 0x1E, number, None)
    found, report = take(hm.done())
    times = [time for time, _, _ in found.rows("1-0:1.8.0*255")]
    assert times == sorted(times)
    assert times[0] == utc("2019-10-27 00:00:00")
    assert times[40] == utc("2019-10-27 01:00:00.001")
    # Nothing comes before the first: which pass the file begins in is not known.
    assert {quality for *_, quality in found.rows("1-0:1.8.0*255")} == {Quality.UNCERTAIN}
    assert any("80 of them come after a silence" in note for note in report.notes)


def test_half_a_million_points_come_in_runs_of_bounded_size(tmp_path: Path) -> None:
    hm = PyHM(tmp_path / "pyHM.sqlite")
    hm.number(at("2019-01-01 00:00:00"), ENERGY, 0x1E, 0, -1)
    path = hm.done()
    with closing(sqlite3.connect(path)) as file, file:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 500000)"
        file.execute(
            f"{numbers} INSERT INTO m_TIMESTAMPS"
            " SELECT i, strftime('%Y-%m-%dT%H:%M:%S', '2019-01-01', i || ' seconds') FROM n"
        )
        file.execute(f"{numbers} INSERT INTO m_POINTS SELECT i, i, 1, 1, 1, i / 10.0 FROM n")
    sizes: list[int] = []
    parts: list[float] = []

    class Counting(Recording):
        def merge(self, series: Series, samples: Samples) -> int:
            sizes.append(len(samples))
            return 0

    report = import_file(path, Counting(), "site", "meter", time_zone="UTC", progress=parts.append)
    assert (report.rows, report.taken, sum(sizes)) == (500_000, 500_000, 500_000)
    assert max(sizes) <= MOST
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


def test_a_second_import_adds_nothing_and_a_longer_file_its_rest(tmp_path: Path) -> None:
    path = ordinary(tmp_path / "pyHM.sqlite")
    url = f"sqlite:///{tmp_path}/history.sqlite"
    with Store(url) as store:
        first = import_file(path, store, "site", "meter", time_zone=BERLIN)
        second = import_file(path, store, "site", "meter", time_zone=BERLIN)
        with closing(sqlite3.connect(path)) as file, file:
            file.execute("INSERT INTO m_TIMESTAMPS (value) VALUES ('2019-07-01T12:00:20')")
            file.execute(
                "INSERT INTO m_POINTS (pk_timestamp, pk_meter, pk_obis, pk_unit, value)"
                " SELECT max(PK), 1, (SELECT PK FROM b_OBIS WHERE value = ?), 1, 777.5 FROM m_TIMESTAMPS",
                (ENERGY,),
            )
        third = import_file(path, store, "site", "meter", time_zone=BERLIN)
        [number] = [number for number, one in store.series().items() if one.counter and one.unit == "Wh"]
    assert (first.new, first.new_events) == (7, 3)
    assert (second.taken, second.new, second.events, second.new_events) == (7, 0, 3, 0)
    assert (third.new, third.new_events) == (1, 0)
    database = Database(url)
    with Reader(database).view() as view:
        assert view.samples(number, 0, utc("2020-01-01")).values == [5430157.7, 5430157.8, 5430157.9, 5430158.0]
    database.close()


def test_an_empty_file_and_none_at_all(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "empty.sqlite")) as file, file:
        file.executescript(TABLES)
    found, report = take(tmp_path / "empty.sqlite")
    assert (report.rows, found.runs, found.told) == (0, [], [])
    with pytest.raises(ImportProblem, match="say the time zone"):
        import_file(tmp_path / "empty.sqlite", Recording(), "site", "meter")


def test_obis_codes_as_text() -> None:
    assert code_text(0x0100010800FF) == "1-0:1.8.0*255"
    assert code_text(0x8181C78203FF) == "129-129:199.130.3*255"
    assert code_text(0) == "0-0:0.0.0*0"
    for code in (-1, 1 << 48):
        with pytest.raises(ValueError, match="6 bytes"):
            code_text(code)


def test_the_past_of_a_meter_of_meterd_goes_on_where_pyhm_ended(tmp_path: Path) -> None:
    """As `rockit history import FILE --as-meter house` does it: the names are those that meterd records under."""
    url = f"sqlite:///{tmp_path / 'history.sqlite'}"
    options = Options(time_zone=BERLIN)
    work = Work(
        str(ordinary(tmp_path / "pyHM.sqlite")), url, "site", "my_meters", "pyhm", options, True, False, "house"
    )
    report = bring(work, lambda _text, _done, _whole: None, lambda _text: None)
    assert report.taken == 7  # pyHM kept no value twice
    reader = Reader(Database(url, make=False))
    with reader.view() as view:
        found = {one.key: (one, view.samples(number, 0, 2**42).values) for number, one in view.series().items()}
        events = view.events("site", "my_meters", 0, 2**42, 100)
    reader.database.close()
    energy, values = found["house.import_energy"]
    assert (energy.unit, energy.counter, values[0]) == ("Wh", True, 5_430_157.7)
    assert found["house.power"][1] == [136.7, 140.2, -5.5]
    assert {event.name for event in events} >= {"house.start"}
