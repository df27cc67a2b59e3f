# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import INTEGER, REAL, URL, Column, DateTime, MetaData, Table, create_engine

from rockit.common.quality import Quality
from rockit.history.database import Database
from rockit.history.imports import ImportProblem, Options, Report, guess, import_file
from rockit.history.imports.base import MOST
from rockit.history.model import Event, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

MADRID = "Europe/Madrid"
REALS = (
    "outside_temp", "effective_setpoint", "water_out_temp", "return_temp", "cascade_fire_rate", "lead_fire_rate",
    "tha_setpoint", "setpoint_offset_winter", "setpoint_offset_summer", "tolerance", "wind_speed", "avg_outside_temp",
    "avg_cascade_fire_rate",
)  # fmt: skip
INTEGERS = (
    "boiler_status", "chiller1_status", "chiller2_status", "chiller3_status", "chiller4_status",
    "boiler_manual_override", "chiller1_manual_override", "chiller2_manual_override", "chiller3_manual_override",
    "chiller4_manual_override", "mode", "cascade_time", "delta",
)  # fmt: skip
ROW: dict[str, Any] = {
    "outside_temp": 61.0, "effective_setpoint": 60.0, "water_out_temp": 58.3, "return_temp": 59.1, "tha_setpoint": 74.5,
    "cascade_fire_rate": 20.0, "lead_fire_rate": 31.0, "setpoint_offset_winter": -14.0, "setpoint_offset_summer": -5.0,
    "tolerance": 2.0, "wind_speed": 10.0, "avg_outside_temp": 60.0, "avg_cascade_fire_rate": 18.25, "boiler_status": 1,
    "chiller1_status": 0, "chiller2_status": 0, "chiller3_status": 0, "chiller4_status": 0, "boiler_manual_override": 0,
    "chiller1_manual_override": 0, "chiller2_manual_override": 0, "chiller3_manual_override": 0,
    "chiller4_manual_override": 0, "mode": 0, "cascade_time": 7, "delta": 0,
}  # fmt: skip
MEASURED = 15


def chronos(path: Path, rows: Sequence[dict[str, Any]], without: Sequence[str] = (), *, strict: bool = True) -> Path:
    """A file as SQLAlchemy made it for Chronos; `strict`: with its NOT NULL."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    columns = [Column(name, REAL, default=0, nullable=not strict) for name in REALS if name not in without]
    columns += [Column(name, INTEGER, default=0, nullable=not strict) for name in INTEGERS if name not in without]
    table = Table(
        "history",
        MetaData(),
        Column("id", INTEGER, primary_key=True),
        Column("timestamp", DateTime, nullable=not strict),
        *columns,
    )
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        if rows:
            connection.execute(table.insert(), [{k: v for k, v in row.items() if k not in without} for row in rows])
    engine.dispose()
    return path


def minutes(start: str, count: int, **values: Any) -> Iterator[dict[str, Any]]:
    first = datetime.fromisoformat(start)
    for number in range(count):
        yield {**ROW, "timestamp": first + timedelta(minutes=number), **values}


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Recording:
    """Takes what an import gives, and how much of it at once."""

    def __init__(self) -> None:
        self.runs: list[tuple[Series, Samples]] = []
        self.told: list[tuple[str, str, Sequence[Event]]] = []

    def merge(self, series: Series, samples: Samples) -> int:
        self.runs.append((series, samples))
        return len(samples)

    def add_events(self, site: str, device: str, events: Sequence[Event]) -> int:
        self.told.append((site, device, events))
        return len(events)

    def series(self) -> dict[int, Series]:
        return {}

    def values(self, key: str) -> list[tuple[int, float, int]]:
        return [row for series, samples in self.runs if series.key == key for row in samples.rows()]

    def events(self) -> list[Event]:
        return [event for *_, events in self.told for event in events]


def take(path: Path, **options: Any) -> tuple[Recording, Report]:
    target = Recording()
    options.setdefault("time_zone", MADRID)
    return target, import_file(path, target, "site", "boiler", options=Options(**options))


def test_a_row_becomes_samples_in_celsius_and_states(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-27 10:00:30.123456", 1)))
    assert guess(path) == "chronos"
    found, report = take(path)
    when = utc("2018-11-27 09:00:30.123")
    assert {series.key: (series.unit, samples.values) for series, samples in found.runs} == {
        "outside_temp": ("degC", [16.111111]),
        "effective_setpoint": ("degC", [15.555556]),
        "water_out_temp": ("degC", [14.611111]),
        "return_temp": ("degC", [15.055556]),
        "tha_setpoint": ("degC", [23.611111]),
        "outside_temp_average": ("degC", [15.555556]),
        "setpoint_offset_winter": ("K", [-7.777778]),
        "setpoint_offset_summer": ("K", [-2.777778]),
        "tolerance": ("K", [1.111111]),
        "cascade_power": ("%", [20.0]),
        "firing_rate": ("%", [31.0]),
        "cascade_power_average": ("%", [18.25]),
        "wind_speed": ("m / s", [4.4704]),
        "cascade_time": ("min", [7.0]),
        "return_temp_trend": ("", [0.0]),
    }
    assert all(samples.times == [when] and samples.qualities is None for _, samples in found.runs)
    assert {(event.name, event.value) for event in found.events()} == {
        ("season", "WINTER"), ("boiler", "on"), *((f"chiller{n}", "off") for n in (1, 2, 3, 4)),
        ("boiler_override", "auto"), *((f"chiller{n}_override", "auto") for n in (1, 2, 3, 4)),
    }  # fmt: skip
    assert {(event.time, event.kind) for event in found.events()} == {(when, "state")}
    assert len({event.number for event in found.events()}) == 11
    assert (report.rows, report.taken, report.events, report.left_out) == (1, MEASURED, 11, {})


def test_fahrenheit_can_be_had_back_from_what_is_stored(tmp_path: Path) -> None:
    recorded = [number / 10 for number in range(-400, 2200)]
    rows = [
        {**row, "outside_temp": value}
        for row, value in zip(minutes("2018-01-01 00:00:00", len(recorded)), recorded, strict=True)
    ]
    path = chronos(tmp_path / "chronos.sql", rows)
    found, _ = take(path)
    assert [round(value * 9 / 5 + 32, 1) for _, value, _ in found.values("outside_temp")] == recorded
    assert all(len(repr(value).partition(".")[2]) <= 6 for _, value, _ in found.values("outside_temp"))
    plain, _ = take(path, temperature_unit="degF")
    assert [value for _, value, _ in plain.values("outside_temp")] == recorded
    units = {series.key: series.unit for series, _ in plain.runs}
    assert (units["outside_temp"], units["tolerance"], units["wind_speed"]) == ("degF", "degF", "mi / h")


def test_states_are_events_when_they_change_and_unknown_numbers_stay_numbers(tmp_path: Path) -> None:
    rows = list(minutes("2018-06-01 10:00:00", 6, mode=1, boiler_status=0))
    rows[2]["chiller3_status"] = rows[3]["chiller3_status"] = 1
    rows[3]["chiller2_manual_override"] = 2
    rows[4]["mode"] = 3
    rows[5]["mode"] = 9
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    changes = [(event.time, event.name, event.value) for event in found.events() if not event.detail]
    start, minute = utc("2018-06-01 08:00:00"), 60_000
    assert changes == [
        (start + 2 * minute, "chiller3", "on"),
        (start + 3 * minute, "chiller2_override", "off"),
        (start + 4 * minute, "season", "TO_SUMMER"),
        (start + 4 * minute, "chiller3", "off"),
        (start + 4 * minute, "chiller2_override", "auto"),
        (start + 5 * minute, "season", "9"),
    ]
    assert any("'9' as mode" in note for note in report.notes)


def test_null_is_never_zero(tmp_path: Path) -> None:
    rows = list(minutes("2018-11-01 10:00:00", 3))
    rows[1].update(outside_temp=None, boiler_status=None, wind_speed=None, mode=None)
    found, report = take(chronos(tmp_path / "chronos.sql", rows, strict=False))
    assert len(found.values("outside_temp")) == len(found.values("wind_speed")) == 2
    assert len(found.values("return_temp")) == 3
    assert report.left_out == {"NULL: nothing was recorded": 2, "NULL: no state was recorded": 2}
    assert all(event.time == utc("2018-11-01 09:00:00") for event in found.events())


def test_rows_that_are_broken_are_counted_with_the_reason(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-01 10:00:00", 9)), strict=False)
    broken = [
        "yesterday",
        "2018-02-30 10:00:00.000000",
        "1970-01-01 00:03:00.000000",
        "2998-01-01 00:00:00",
        None,
        12,
        b"\x00",
    ]
    with closing(sqlite3.connect(path)) as file, file:
        for number, text in enumerate(broken, 2):
            file.execute("UPDATE history SET timestamp = ? WHERE id = ?", (text, number))
        file.execute("UPDATE history SET outside_temp = 'warm', return_temp = x'00', tolerance = 9e999 WHERE id = 1")
        file.execute("UPDATE history SET water_out_temp = -9e999, wind_speed = 1.7e308 WHERE id = 1")
    found, report = take(path)
    assert len(found.values("effective_setpoint")) == 2
    assert report.rows == 9
    assert report.left_out == {
        "its row has no time that can be": 6 * MEASURED,
        "its row has no time at all": MEASURED,
        "it is no number": 4,
    }
    assert report.taken + report.left_out.total() == 9 * MEASURED


def test_two_rows_of_one_time_count_once(tmp_path: Path) -> None:
    rows = [*minutes("2018-11-01 10:00:00", 2), *minutes("2018-11-01 10:01:00", 1, return_temp=99.0, mode=1)]
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    assert [value for _, value, _ in found.values("return_temp")] == [15.055556] * 2
    assert report.left_out == {"another value of the same series and time came before it": MEASURED}
    seasons = [(event.time, event.value) for event in found.events() if event.name == "season"]
    assert seasons == [(utc("2018-11-01 09:00:00"), "WINTER"), (utc("2018-11-01 09:01:00"), "SUMMER")]
    assert len({(event.time, event.number) for event in found.events()}) == len(found.events())


def test_the_repeated_hour_is_told_apart_by_the_order_of_rows(tmp_path: Path) -> None:
    walls = [datetime(2018, 10, 28, 1, 30) + timedelta(minutes=number) for number in range(90)]
    walls += [datetime(2018, 10, 28, 2, 0) + timedelta(minutes=number) for number in range(90)]
    rows = [{**ROW, "timestamp": wall} for wall in walls]
    # Two minutes before the end of the second pass the clock was put right by some seconds.
    for row in rows[148:]:
        row["timestamp"] -= timedelta(seconds=75)
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    times = [time for time, _, _ in found.values("return_temp")]
    expected = [utc("2018-10-27 23:30:00") + 60_000 * number for number in range(180)]
    expected[148:] = [time - 75_000 for time in expected[148:]]
    assert times == sorted(expected)
    assert all(quality == Quality.GOOD for _, _, quality in found.values("return_temp"))
    assert any(note.startswith("122 times lie in the hour") for note in report.notes)
    assert not any("silence" in note for note in report.notes)


def test_a_repeated_hour_after_a_silence_is_the_first_pass_and_uncertain(tmp_path: Path) -> None:
    rows = [*minutes("2018-10-28 00:00:00", 2), *minutes("2018-10-28 02:20:00", 3), *minutes("2018-10-28 02:00:00", 3)]
    found, report = take(chronos(tmp_path / "chronos.sql", [*rows, *minutes("2018-10-28 03:00:00", 1)]))
    times = found.values("return_temp")
    assert [time for time, _, _ in times] == [
        *(utc("2018-10-27 22:00:00") + 60_000 * number for number in (0, 1)),
        *(utc("2018-10-28 00:20:00") + 60_000 * number for number in (0, 1, 2)),
        *(utc("2018-10-28 01:00:00") + 60_000 * number for number in (0, 1, 2)),
        utc("2018-10-28 02:00:00"),
    ]
    assert [quality for _, _, quality in times] == [0, 0, 1, 1, 1, 1, 1, 1, 0]
    assert any("6 of them come after a silence" in note for note in report.notes)


def test_the_hour_that_does_not_exist_is_kept_uncertain_and_reported(tmp_path: Path) -> None:
    rows = [*minutes("2018-03-25 01:59:00", 3), *minutes("2018-03-25 03:01:00", 1)]
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    assert [row[0] for row in found.values("tolerance")] == [
        utc("2018-03-25 00:59:00"), utc("2018-03-25 01:00:00"), utc("2018-03-25 01:01:00"),
    ]  # fmt: skip
    assert [row[2] for row in found.values("tolerance")] == [0, 1, 1]
    assert report.left_out == {"another value of the same series and time came before it": MEASURED}
    assert any("2 times do not exist in Europe/Madrid" in note for note in report.notes)


def test_a_clock_that_was_ahead_for_a_while_does_not_spoil_the_repeated_hour(tmp_path: Path) -> None:
    rows = [*minutes("2018-12-24 00:00:00", 1), *minutes("2018-10-28 01:55:00", 10)]
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    start = utc("2018-10-27 23:55:00")
    assert [row[0] for row in found.values("tolerance")][:-1] == [start + 60_000 * number for number in range(10)]
    assert any("the clock was put back" in note for note in report.notes)


def test_what_the_boiler_did_not_say_and_sensors_without_contact_are_uncertain(tmp_path: Path) -> None:
    rows = list(minutes("2018-09-27 10:00:00", 7))
    rows[1]["boiler_status"] = 0
    rows[2]["mode"] = 1
    rows[3].update(cascade_fire_rate=0, lead_fire_rate=0)
    rows[4].update(return_temp=32.0, water_out_temp=32.0)
    rows[5].update(return_temp=185.0)
    rows[6].update(lead_fire_rate=0)
    found, report = take(chronos(tmp_path / "chronos.sql", rows))
    assert [quality for *_, quality in found.values("cascade_power")] == [0, 1, 1, 1, 0, 0, 0]
    assert [quality for *_, quality in found.values("firing_rate")] == [0, 1, 1, 1, 0, 0, 0]
    assert [quality for *_, quality in found.values("return_temp")] == [0, 0, 0, 0, 1, 1, 0]
    assert [quality for *_, quality in found.values("water_out_temp")] == [0, 0, 0, 0, 1, 0, 0]
    assert found.values("cascade_power")[3][1] == 0.0
    assert any(note.startswith("6 values are marked uncertain: the boiler") for note in report.notes)


def test_wind_chill_of_early_winters_is_no_temperature(tmp_path: Path) -> None:
    rows = [*minutes("2016-12-01 00:00:00", 1), *minutes("2016-06-01 00:00:00", 1, mode=1)]
    found, _ = take(chronos(tmp_path / "chronos.sql", [*rows, *minutes("2017-12-01 00:00:00", 1)]))
    assert [quality for *_, quality in found.values("outside_temp")] == [0, 1, 0]  # in order of time


def test_older_and_stranger_tables_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    without = ("avg_cascade_fire_rate", "delta", "chiller4_status")
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-01 10:00:00", 2)), without)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute('ALTER TABLE history ADD COLUMN "odd ""name" INTEGER DEFAULT 5')
    found, report = take(path)
    assert len(found.runs) == MEASURED - 2
    assert report.left_out == {'columns that are not known: odd "name': 2}
    assert any("did not record avg_cascade_fire_rate, chiller4_status, delta" in note for note in report.notes)


def test_a_file_without_rows_is_no_error(tmp_path: Path) -> None:
    found, report = take(chronos(tmp_path / "chronos.sql", []))
    assert (report.rows, report.taken, found.runs, found.told) == (0, 0, [], [])


def test_six_weeks_of_rows_come_in_runs_of_bounded_size(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-01-01 00:00:00", 1)))
    listed = ", ".join(f'"{name}"' for name in ROW)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(
            f"""WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
            INSERT INTO history (id, timestamp, {listed})
            SELECT i, strftime('%Y-%m-%d %H:%M:%f000', '2018-01-01', (i - 1) || ' minutes'), {listed} FROM n, history
            WHERE history.id = 1"""
        )
    parts: list[float] = []
    sizes: list[int] = []

    class Counting(Recording):
        def merge(self, series: Series, samples: Samples) -> int:
            sizes.append(len(samples))
            return 0

    report = import_file(path, Counting(), "site", "boiler", time_zone="UTC", progress=parts.append)
    assert report.rows == 60_000
    assert report.taken == sum(sizes) == 60_000 * MEASURED
    assert max(sizes) <= MOST
    assert len(sizes) == 6 * MEASURED
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert len(parts) == 7


def test_an_import_is_idempotent_and_can_be_interrupted(tmp_path: Path) -> None:
    rows = list(minutes("2018-10-28 00:00:00", 3000, mode=1))
    rows[1500]["chiller1_status"] = 1
    path = chronos(tmp_path / "chronos.sql", rows)

    class Stopped(Exception):
        pass

    with Store(f"sqlite:///{tmp_path}/history.sqlite") as store:

        class Breaking:
            merged = 0
            series = store.series
            add_events = store.add_events

            def merge(self, series: Series, samples: Samples) -> int:
                self.merged += 1
                if self.merged == 4:
                    raise Stopped
                return store.merge(series, samples)

        with pytest.raises(Stopped):
            import_file(path, Breaking(), "site", "boiler", time_zone=MADRID)
        tried = import_file(path, store, "site", "boiler", time_zone=MADRID, dry_run=True)
        again = import_file(path, store, "site", "boiler", time_zone=MADRID)
        third = import_file(path, store, "site", "boiler", time_zone=MADRID)
        names = {one.key: number for number, one in store.series().items()}
    assert (tried.taken, tried.new, tried.new_events) == (again.taken, 0, 0)
    assert again.new == again.taken - 3 * 3000
    assert (third.new, third.new_events) == (0, 0)
    assert again.new_events == again.events == third.events == 13
    database = Database(f"sqlite:///{tmp_path}/history.sqlite")
    with Reader(database).view() as view:
        assert len(view.samples(names["return_temp"], 0, utc("2019-01-01"))) == 3000
        assert len(view.events("site", "boiler", 0, utc("2019-01-01"), 100)) == 13
    database.close()
    assert any("nothing was written" in line for line in tried.lines())
    assert any(f"{third.taken} values taken; 0 new" in line for line in third.lines())


def test_what_is_in_the_store_keeps_its_name_and_another_unit_is_told(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-01 10:00:00", 2)))
    with Store(f"sqlite:///{tmp_path}/history.sqlite") as store:
        store.merge(Series("site", "boiler", "return_temp", "degC", "Return"), Samples([utc("2026-01-01")], [20.0]))
        store.merge(Series("site", "boiler", "wind_speed", "km / h", "Wind"), Samples([utc("2026-01-01")], [20.0]))
        report = import_file(path, store, "site", "boiler", time_zone=MADRID)
        known = {(one.key, one.unit): one.label for one in store.series().values()}
    assert known["return_temp", "degC"] == "Return"
    assert {"km / h", "m / s"} == {unit for key, unit in known if key == "wind_speed"}
    assert [note for note in report.notes if "series of its own" in note] == [
        "wind_speed of boiler is there in 'km / h' too; what was imported in 'm / s' stands beside it"
        " as a series of its own"
    ]


def test_what_cannot_be_imported_is_said_in_a_sentence(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-01 10:00:00", 2)))
    target = Recording()
    with pytest.raises(ImportProblem, match="say the time zone"):
        import_file(path, target, "site", "boiler")
    for zone in ("Mars/Olympus", "../etc/passwd", "Europe", ""):
        with pytest.raises(ImportProblem, match="no time zone"):
            import_file(path, target, "site", "boiler", time_zone=zone)
    with pytest.raises(ImportProblem, match="degC or degF"):
        take(path, temperature_unit="kelvin")
    with pytest.raises(ImportProblem, match="say the site and the device"):
        import_file(path, target, "site", None, time_zone="UTC")
    with pytest.raises(ImportProblem, match="'csv' cannot be imported; there is chronos, pyhm, rrd, history"):
        import_file(path, target, "site", "boiler", kind="csv")
    with pytest.raises(ImportProblem, match="has no points of pyHM"):
        import_file(path, target, "site", "boiler", kind="pyhm", time_zone="UTC")
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as file, file:
        file.execute("CREATE TABLE songs (title)")
    with pytest.raises(ImportProblem, match="its tables: songs"):
        guess(other)
    with pytest.raises(ImportProblem, match="has no table history of Chronos"):
        import_file(other, target, "site", "boiler", kind="chronos", time_zone="UTC")
    with pytest.raises(ImportProblem, match="cannot be read: No such file"):
        guess(tmp_path / "none")
    (tmp_path / "table.csv").write_text("LID,logdatetime\n")
    with pytest.raises(ImportProblem, match="is none of these"):
        guess(tmp_path / "table.csv")
    assert not target.runs
    assert not target.told


def test_a_damaged_file_is_said_and_what_came_before_stays(tmp_path: Path) -> None:
    path = chronos(tmp_path / "chronos.sql", list(minutes("2018-11-01 10:00:00", 40_000)))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4096 // 2 * 4096)
        file.write(b"\xff" * 409_600)
    found = Recording()
    with pytest.raises(ImportProblem, match="cannot be read as SQLite"):
        import_file(path, found, "site", "boiler", time_zone="UTC")
    assert len(found.values("return_temp")) >= 10_000


def test_the_original_file_is_not_touched(tmp_path: Path) -> None:
    path = chronos(tmp_path / "a file, with ? and #.sql", list(minutes("2018-11-01 10:00:00", 100)))
    path.chmod(0o444)
    before = path.read_bytes()
    found, _ = take(path)
    assert len(found.values("return_temp")) == 100
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
