# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb `export`, run as a command against a real server with a real history."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.table import Table
from harness import PATIENCE
from historybench import GAP, NOW, STEP, Bench, Recording, asking, plain, water

from rockit.history.model import DAY
from rockit.history.times import iso, ms_of


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    service = Recording(tmp_path_factory.mktemp("history"))
    yield service
    service.store.close()


@pytest.fixture
def bench(recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("rockit.history.answer.PACKED", 1000)  # so that two days are several pages
    with asking(recording, tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("kind", ["csv", "ecsv", "json", "fits", "votable", "parquet"])
def test_export_writes_every_sample(bench: Bench, kind: str) -> None:
    path = bench.site.folder / f"out.{kind}"
    said = bench.shown("export", "--since", "2d", "-o", str(path))
    expected = {t: water(t) for t in range(NOW - 2 * DAY, NOW, STEP) if t not in GAP}
    minutes = [t + 7 for t in range(NOW - 2 * DAY, NOW, 6 * STEP)]
    assert said.startswith(f"{path}: ")
    period = "between 2026-11-19T12:00:00Z and 2026-11-21T12:00:00Z"
    assert f"samples of 3 quantities {period}; nothing of dome_temp\n" in said
    if kind == "json":
        content = json.loads(path.read_text())
        place = list(content["columns"]).index("water_temp")
        assert {ms_of(row[0]): row[place] for row in content["rows"] if row[place] is not None} == expected
        assert content["columns"]["water_temp"] == {"unit": "degC", "label": "Supply temperature"}
        meta = content["meta"]
        assert (meta["site"], meta["device"], meta["driver"]) == ("clasp", "clasp_chiller", "thermotek-t257p")
        assert (meta["software_version"], meta["identity_model"], meta["level"]) == ("9.9", "T257P °", "raw")
        return
    if kind == "parquet":
        from pyarrow import parquet

        table = parquet.read_table(path)
        values = table["water_temp"].to_pylist()
        times = [round(when.timestamp() * 1000) for when in table["time"].to_pylist()]
        assert {t: v for t, v in zip(times, values, strict=True) if v is not None} == expected
        return
    form = {"csv": "ascii.csv", "ecsv": "ascii.ecsv"}.get(kind, kind)
    table = Table.read(path, format=form, **({"comment": "#"} if kind == "csv" else {}))
    assert {"time", "water_temp", "tec_power", "tec_power_quality", "energy", "dome_temp"} == set(table.colnames)
    values = table["water_temp"]
    assert [float(value) for value, masked in zip(values, values.mask, strict=True) if not masked] == [
        *expected.values()
    ]
    assert table["dome_temp"].mask.all()
    assert len(table) >= len(expected) + len(minutes) * 20 // 24


def test_export_of_buckets(bench: Bench) -> None:
    path = bench.site.folder / "out.ecsv"
    said = bench.shown(
        "export", "-o", str(path), "--until", iso(NOW), "--points", "24", "--key", "water_temp", "--key", "energy"
    )
    assert said.startswith(
        f"{path}: 2 quantities in 21 buckets of 1 h between 2026-11-20T12:00:00Z and 2026-11-21T12:0"
    )
    table = Table.read(path, format="ascii.ecsv")
    assert len(table) == 21
    assert table.meta["bucket"] == 3600.0
    assert table.meta["bucket_range"] == "only what lies from start to end counts"
    assert max(table["water_temp_max"]) > 16
    assert "energy_mean" not in table.colnames


def test_one_is_told_as_one(bench: Bench) -> None:
    words = ["export", "--format", "csv", "-o", str(bench.site.folder / "x.csv"), "--overwrite", "--key", "energy"]
    words += ["--until", iso(NOW)]
    said = bench.shown(*words, "--since", iso(NOW - 60_000))
    assert ": 1 sample of 1 quantity between" in said
    said = bench.shown(*words, "--since", iso(NOW - 60_000), "--points", "1")
    assert ": 1 quantity in 1 bucket of 1 min between" in said


def test_export_to_standard_output(bench: Bench) -> None:
    for kind in ("csv", "ecsv", "json", "votable"):
        done = bench.run("export", "--since", "1h", "--format", kind, "-o", "-")
        assert done.returncode == 0
        assert done.stderr.startswith("-: ")
        assert "water_temp" in done.stdout
    assert not list(bench.site.folder.glob("*.part"))


def test_an_existing_file_is_refused_before_anything_is_asked(bench: Bench) -> None:
    path = bench.site.folder / "out.csv"
    path.write_text("old")
    assert "exists; --overwrite replaces it" in bench.refused(1, "export", "-o", str(path))
    assert path.read_text() == "old"
    assert bench.service.asked == []
    bench.shown("export", "--overwrite", "-o", str(path), "--since", "1h")
    assert path.read_text().startswith("# origin: rockit-plant ")
    assert "cannot be written: there is no folder" in bench.refused(
        1, "export", "-o", str(bench.site.folder / "no" / "x.csv")
    )


def test_a_missing_library_is_a_sentence(bench: Bench) -> None:
    (bench.site.folder / "sitecustomize.py").write_text(
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('astropy', 'pyarrow') else find(name, *more)\n"
        "sys.modules['plotext'] = None\n"
    )
    environment = {"PYTHONPATH": str(bench.site.folder)}
    path = bench.site.folder / "x.parquet"
    done = bench.run("export", "-o", str(path), **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: the format parquet needs astropy and pyarrow: pip install 'rockit-plant[export]'" in done.stderr
    assert bench.run("export", "-o", str(path.with_suffix(".csv")), **environment).returncode == 0
    done = bench.run("history", "--format", "plot", **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: a plot needs plotext" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_the_old_file(bench: Bench, number: signal.Signals) -> None:
    bench.service.gate = threading.Event()
    path = bench.site.folder / "sub" / "out.csv"
    path.parent.mkdir()
    path.write_text("old")
    words = ["export", "--since", "2d", "--overwrite", "-o", str(path)]
    process = bench.site.start("export", str(bench.program), *words)
    assert bench.service.waiting.wait(PATIENCE)
    assert len(list(path.parent.iterdir())) == 2
    process.signal(number)
    assert process.wait() == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    bench.service.gate.set()
    assert [item.name for item in path.parent.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"
    assert not [line for line in process.lines() if "Traceback" in line]


def test_progress_is_shown_on_terminals_only(bench: Bench) -> None:
    path = str(bench.site.folder / "out.csv")
    done = bench.run("export", "-o", path, FORCE_COLOR="1", TERM="xterm")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    words = ["export", "--since", "2d", "--overwrite", "-o", path]
    code, printed = bench.on_a_terminal(*words)
    assert code == 0
    assert "fetching" in plain(printed)
    assert "━" in printed, "a bar"
    assert plain(printed).rstrip().endswith("2026-11-21T12:00:00Z; nothing of dome_temp")
    assert "fetching" not in bench.on_a_terminal(*words, TERM="dumb")[1]
    with open(bench.site.folder / "stdout", "wb") as output:
        words = ["export", "--since", "2d", "--format", "csv", "-o", "-"]
        code, printed = bench.on_a_terminal(*words, output=output)
    assert code == 0
    assert "fetching" in plain(printed)
    assert (bench.site.folder / "stdout").read_text().startswith("# origin")
    code, printed = bench.on_a_terminal(*words)
    assert "fetching" not in printed
