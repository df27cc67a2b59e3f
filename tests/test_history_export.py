# SPDX-License-Identifier: GPL-3.0-or-later
"""Export: every format as astropy reads it back."""

from __future__ import annotations

import csv
import io
import json
import struct
import warnings
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from astropy import units
from astropy.io import fits
from astropy.io.votable import parse as parse_votable
from astropy.table import Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from rockit.history.export import format_of
from rockit.history.export_formats import LIBRARIES, TEXT_FORMATS, write
from rockit.history.model import DAY
from rockit.history.pages import Column, Recorded, rows
from rockit.history.times import iso_ms, ms_of

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ("csv", "json", "ecsv", "fits", "votable", "parquet")
TEN = 1_795_255_200_000  # 2026-11-21T10:00:00Z
LABEL = 'Vorlauf °C – Wärme, <TR> & "so"'
META: dict[str, str | float] = {
    "origin": "rockit-plant 0.1.0", "written": "2026-11-22T00:00:00Z", "site": "La Palma ❄", "device": "clasp_chiller",
    "kind": "chiller", "driver": "thermotek-t257p", "software_version": "0.1.0", "identity_model": "T257P",
    "identity_serial number": 7.0, "start": iso_ms(TEN), "end": iso_ms(TEN + DAY), "time_scale": "UTC", "level": "raw",
}  # fmt: skip


def column(
    key: str, samples: dict[int, float], unit: str = "", label: str = "", figure: str = "", kind: str = "d"
) -> Column:
    return Column(key, figure, label, unit, array("q", samples), array(kind, samples.values()))


def recorded(*columns: Column) -> Recorded:
    return Recorded("La Palma ❄", "clasp_chiller", TEN, TEN + DAY, 0.0, list(columns))


# Times of one poll differ by milliseconds; no two of them are made one.
WATER = {TEN + 123: 0.1, TEN + 10_124: -0.0, TEN + 20_999: 1e-300, TEN + 30_000: 11.49}
EVERYTHING = recorded(
    column("water_temp", WATER, "degC", LABEL),
    column("water_temp", dict.fromkeys(WATER, 0) | {TEN + 10_124: 2, TEN + 30_000: 1}, "", "quality", "quality", "b"),
    column("tec_power", {TEN + 124: 1 / 3, TEN + 10_124: 100.0}, "%", "Drive level"),
    column("flow", {TEN + 125: 12.4}, "L/min", "Flow"),
    column("pressure", {TEN + 125: 5e-324}, "kPa"),
    column("energy", {TEN + 125: 2.0**53, TEN + 20_999: 2.0**53 - 1}, "Wh", "Energy"),
    column("uptime", {TEN + 126: 1.7976931348623157e308}, "min"),
    column("reactive", {TEN + 126: 3.0}, "var"),
    column("outside", {TEN + 126: 50.0}, "degF"),
    column("pump", {TEN + 126: 1.0}, ""),
    column("never", {}, "A", "never read"),
)
UNITS = {
    "water_temp": "deg_C", "tec_power": "%", "flow": "L/min", "pressure": "kPa", "energy": "W h", "uptime": "min",
    "pump": "", "never": "A",
}  # fmt: skip


def written(kind: str, what: Recorded = EVERYTHING, meta: dict[str, str | float] = META) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        write(kind, what, meta, stream)
    assert not warned
    return stream.getvalue()


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def in_ms(times: Time) -> list[int]:
    """By the calendar, since differences of `Time` count leap seconds."""
    times.precision = 3
    return [ms_of(f"{text}Z") for text in times.isot]


def read_back(
    kind: str, data: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[list[int], Table, dict[str, Any]]:
    """Times in ms, the columns, and the metadata, as astropy (and what it builds on) reads them."""
    if kind == "csv":
        table = Table.read(io.BytesIO(data), format="ascii.csv", comment="#")
        comments = [line[2:] for line in data.decode().splitlines() if line.startswith("# ")]
        meta = dict(line.split(": ", 1) for line in comments if not line.startswith("column "))
        times = Time(list(table["time"]), format="isot", scale="utc") if len(table) else []
    elif kind == "json":
        content = json.loads(data, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        names = list(content["columns"])
        cells = list(zip(*content["rows"], strict=True)) or [()] * len(names)
        table = Table(masked=True)
        for name, values in zip(names, cells, strict=True):
            filled = [0 if value is None else value for value in values]
            table[name] = np.ma.array(filled, mask=[value is None for value in values])
        meta = content["meta"]
        times = Time(list(table["time"]), format="isot", scale="utc") if len(table) else []
    elif kind == "ecsv":
        table = Table.read(io.BytesIO(data), format="ascii.ecsv")
        meta = dict(table.meta)
        times = table["time"]
    elif kind == "fits":
        table = Table.read(io.BytesIO(data), format="fits", astropy_native=True, unit_parse_strict="silent")
        meta = dict(table.meta)
        times = table["time"]
    elif kind == "votable":
        file = parse_votable(io.BytesIO(data))
        meta = {info.name: info.value for info in file.resources[0].infos}
        table = file.get_first_table().to_table()
        assert table["time"].unit == units.d
        times = Time(table["time"].data, format="mjd", scale="utc")
    else:
        path = tmp_path / "history.parquet"
        path.write_bytes(data)
        found = parquet.read_table(path)
        assert str(found.schema.field("time").type) == "timestamp[ms, tz=UTC]"
        meta = json.loads(found.schema.metadata[b"rockit"])
        # astropy demands pandas here; it needs it for time zones only.
        monkeypatch.setattr("astropy.io.misc.parquet.HAS_PANDAS", True)
        table = Table(masked=True)
        if len(found.column_names) > 1:
            table = Table(Table.read(path, format="parquet", exclude_names=["time"]), masked=True)
        for name in table.colnames:
            table[name].mask = found[name].is_null().to_numpy()
        return found["time"].cast(pyarrow.int64()).to_pylist(), table, meta
    if not len(times):
        return [], table, meta
    return in_ms(times), table, meta


@pytest.mark.parametrize("kind", FORMATS)
def test_astropy_reads_back_what_was_recorded(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = written(kind)
    times, table, meta = read_back(kind, data, monkeypatch, tmp_path)
    assert times == [time for time, _ in rows(EVERYTHING.columns)]
    for one in EVERYTHING.columns:
        expected = dict(zip(one.times, one.values, strict=True))
        found = table[one.name]
        mask = np.ma.getmaskarray(found)
        assert [time for time, masked in zip(times, mask, strict=True) if not masked] == list(expected), one.name
        values = {time: found[row] for row, time in enumerate(times) if time in expected}
        assert {time: bits(value) for time, value in values.items()} == {t: bits(v) for t, v in expected.items()}
        if one.integer and kind != "parquet":  # whose reader in astropy has floats where there are nulls
            assert found.dtype.kind == "i"
    if kind not in ("csv", "json"):
        for name, text in UNITS.items():
            unit = table[name].unit
            assert (unit or units.dimensionless_unscaled) == units.Unit(text) or str(unit) == text, name
        assert str(table["reactive"].unit) == "var"
        assert table["water_temp"].info.description == LABEL
    assert str(table["outside"].unit) == {"csv": "None", "json": "None", "fits": "degF"}.get(kind, "deg_F")
    if kind == "fits":
        said = {key: meta[f"ROCKIT {key.upper().replace(' ', '_')}"] for key in META}
        assert said.pop("site") == "La Palma \\u2744", "FITS has ASCII only"
    else:
        said = {key: meta[key] for key in META}
        assert said.pop("site") == META["site"]
    assert said == {
        key: value if kind in ("json", "ecsv", "fits", "parquet") else str(value)
        for key, value in META.items()
        if key != "site"
    }


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("what", [recorded(), recorded(column("flow", {}, "L/min", "Flow"))])
def test_a_file_without_rows_is_a_file(
    kind: str, what: Recorded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times, table, meta = read_back(kind, written(kind, what), monkeypatch, tmp_path)
    assert times == []
    assert [name for name in table.colnames if name != "time"] == [one.name for one in what.columns]
    assert len(meta) >= len(META)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25, deadline=None)
@given(
    samples=st.lists(
        st.dictionaries(
            st.integers(0, 4_102_444_800_000), st.floats(allow_nan=False, allow_infinity=False), max_size=8
        ),
        min_size=1, max_size=3,
    )
)  # fmt: skip
def test_any_samples_of_the_years_1970_to_2099(
    kind: str, samples: list[dict[int, float]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    what = recorded(*(column(f"key_{n}", dict(sorted(one.items())), "degC", "x") for n, one in enumerate(samples)))
    with pytest.MonkeyPatch.context() as monkeypatch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dubious year")  # astropy of its own reading, in years to come
        times, table, _ = read_back(kind, written(kind, what), monkeypatch, tmp_path_factory.mktemp("any"))
    assert times == sorted(set().union(*samples))
    for n, one in enumerate(samples):
        mask = np.ma.getmaskarray(table[f"key_{n}"])
        assert [time for time, masked in zip(times, mask, strict=True) if not masked] == sorted(one)
        assert [bits(table[f"key_{n}"][times.index(time)]) for time in one] == list(map(bits, one.values()))


@pytest.mark.parametrize("kind", ["ecsv", "fits", "votable"])
@pytest.mark.parametrize("day", ["1972-06-30", "2016-12-31", "2017-01-01", "2024-02-29"])
def test_days_with_a_leap_second(kind: str, day: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start = round(Time(day, scale="utc").unix) * 1000
    moments = [start, start + DAY // 2 + 1, start + DAY - 1, start + DAY]
    data = written(kind, recorded(column("flow", dict.fromkeys(moments, 1.0))))
    _, table, _ = read_back(kind, data, monkeypatch, tmp_path)
    times = Time(table["time"], format="mjd", scale="utc") if kind == "votable" else table["time"]
    assert in_ms(times) == moments


def test_the_head_of_a_fits_file() -> None:
    header = fits.getheader(io.BytesIO(written("fits")), 1)
    assert (header["TIMESYS"], header["MJDREF"], header["TCTYP1"], header["TCUNI1"]) == ("UTC", 0.0, "UTC", "d")
    assert (header["DATE-BEG"], header["DATE-END"]) == ("2026-11-21T10:00:00.000", "2026-11-22T10:00:00.000")
    assert (header["ORIGIN"], header["EXTNAME"], header["TUNIT1"]) == ("rockit-plant 0.1.0", "HISTORY", "d")
    assert header["TCOMM2"].startswith("Vorlauf \\xb0C")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fits.open(io.BytesIO(written("fits"))).verify("warn")
    assert not warned


def test_long_and_odd_metadata_fits_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    odd: dict[str, str | float] = {
        **META,
        "identity_" + "very " * 20 + "long": "x" * 500,
        "identity_ß": "a\nb\x00c: # d",
    }
    for kind in FORMATS:
        times, _, _ = read_back(kind, written(kind, EVERYTHING, odd), monkeypatch, tmp_path)
        assert len(times) == 7


def test_the_time_of_a_votable_is_in_a_time_system() -> None:
    file = parse_votable(io.BytesIO(written("votable")))
    system = file.resources[0].time_systems[0]
    assert (system.ID, system.timescale, system.timeorigin) == ("utc", "UTC", "MJD-origin")
    field = file.get_first_table().get_field_by_id("time")
    assert (field.ref, field.ucd) == ("utc", "time.epoch")


def test_csv_is_plain() -> None:
    lines = written("csv").decode().splitlines()
    plain = [line for line in lines if not line.startswith("# ")]
    head, *body = csv.reader(plain)
    assert head == ["time", *(one.name for one in EVERYTHING.columns)]
    assert body[0] == ["2026-11-21T10:00:00.123Z", "0.1", "0", *[""] * 9]
    assert f"# column water_temp [degC]: {LABEL}" in lines
    assert "# column pump: " in lines


def test_parquet_tells_unit_and_label_of_each_field(tmp_path: Path) -> None:
    schema = parquet.read_schema(io.BytesIO(written("parquet")))
    assert schema.field("water_temp").metadata == {b"unit": b"degC", b"label": LABEL.encode()}


def test_formats_by_the_ending() -> None:
    names = {
        "a.csv": "csv", "a.b.ECSV": "ecsv", "x/a.json": "json", "a.parquet": "parquet", "a.fits": "fits",
        "a.vot": "votable", "a.xml": "votable", "a": None, "-": None, "a.txt": None, ".csv": None,
    }  # fmt: skip
    for name, kind in names.items():
        assert format_of(name) == kind
    assert set(TEXT_FORMATS) | set(LIBRARIES) == set(FORMATS)
