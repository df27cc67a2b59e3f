# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history costs and how fast it answers: see `history_load` for what is in it.

Times are promised for a machine that reads a day from a plain table of SQLite in 2.9 ms. That is measured here as well,
beside each question: `converted` is the processor's time for the question (all it needs is in memory) by that for the
plain day, times 2.9 ms. A slower machine, or one with other work, breaks no promise, and a quicker one keeps none for
us. What it really took is told.

The temporary folder must be on a disk: where it is memory, a bare fdatasync costs nothing, and no ratio says anything.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from harness import ROOT

from benchmarks import history_load as load
from benchmarks.history_commit import commits
from benchmarks.report import Figure
from rockit.history.answer import answer
from rockit.history.database import Database
from rockit.history.model import DAY, Samples
from rockit.history.query import Reader, View
from rockit.history.store import Store

WINDOWS, TIMES = 7, 9
PLAIN = 2.9
"""What 8,640 rows of a plain table took where the promises were made (storage.md), ms: times are promised for there."""
HEAVY = ("sqlalchemy", "astropy", "plotext", "numpy", "pyarrow", "psycopg", "sqlite3")
"""What no command line may load at its start."""


def run(folder: Path) -> Iterator[Figure]:
    yield from commits(folder)
    url = f"sqlite:///{folder}/history.sqlite"
    yield from _build(url, folder / "history.sqlite")
    yield from _questions(url, folder / "history.sqlite")
    yield from _memory(url)
    yield from _cli_start()
    yield from _sealing(url)


def _build(url: str, path: Path) -> Iterator[Figure]:
    began = time.perf_counter()
    with Store(url, lambda: load.NOW) as store:
        sealed, rows = load.build(store)
    took = time.perf_counter() - began
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(count, size)] = connection.execute("SELECT sum(count), sum(length(data)) FROM blocks")
    assert count == sealed
    simplest = load.plain([sensor.day(load.TODAY) for sensor in load.sensors()[: load.DEVICES]])
    yield Figure("samples in the file", (sealed + rows) / 1e6, "M")
    yield Figure("time to put them there", took, "s")
    yield Figure("bytes a sample: zlib of plain columns of such data", simplest, "B")
    yield Figure("bytes a sample: sealed blocks", size / count, "B", 4.0)
    yield Figure("bytes a sample: whole file, roll-ups and today's rows", path.stat().st_size / (count + rows), "B")


def _questions(url: str, path: Path) -> Iterator[Figure]:
    with closing(Database(url)) as database:
        reader = Reader(database)
        with reader.view() as view:
            ids = {series.name[1:]: number for number, series in view.series().items()}
        every = list(ids.values())
        gauge, counter = ids["device_0", "water_temp"], ids["device_0", "energy"]

        def sealed(view: View, turn: int) -> object:
            day = load.MONTH + turn % (load.TODAY - load.MONTH)
            return _full(view.samples(every[turn % len(every)], day * DAY, (day + 1) * DAY))

        def loose(view: View, turn: int) -> object:
            return _full(view.samples(every[turn % len(every)], load.TODAY * DAY, load.NOW + 1))

        def year(series: int) -> Callable[[View, int], object]:
            def ask(view: View, _turn: int) -> object:
                start, end = load.YEAR * DAY, load.NOW + 1
                return view.buckets(series, start, end, view.width(series, start, end, 1000))

            return ask

        def told(key: str, points: int | None, since: str) -> Callable[[View, int], object]:
            return lambda view, _turn: answer(view, load.SITE, "device_0", [key], since, None, points, load.NOW)

        def month(view: View, _turn: int) -> object:
            return view.samples(gauge, load.MONTH * DAY, load.NOW + 1)

        def events(view: View, _turn: int) -> object:
            return view.events(load.SITE, "device_0", load.YEAR * DAY, load.NOW, 1000)

        questions: tuple[tuple[str, Callable[[View, int], object], float | None], ...] = (
            ("a sealed day of a series (8,640)", sealed, 10.0),
            ("an unsealed day of a series (8,640)", loose, 10.0),
            ("a day, for a client", told("water_temp", None, "1d"), None),
            ("a year at 1,000 points, gauge", year(gauge), 50.0),
            ("a year at 1,000 points, counter", year(counter), 50.0),
            ("a year of a gauge, for a client", told("water_temp", 1000, "365d"), 50.0),
            ("a year of a counter, for a client", told("energy", 1000, "365d"), 50.0),
            ("a month at 1,000 points, for a client", told("water_temp", 1000, "30d"), None),
            ("two days at 1,000 points, for a client", told("water_temp", 1000, "2d"), None),
            ("30 days of a series, all 259,200 samples", month, None),
            ("latest of 100 series", lambda view, _turn: [view.latest(number) for number in every], None),
            ("1,000 events of 5,000", events, None),
        )
        cold = [_cold(url, path, ask) for _, ask, _ in questions]
        plain = _plain_day(path.with_name("plain.sqlite"))
        windows = [[_beside(plain, reader, ask) for _, ask, _ in questions] for _ in range(WINDOWS)]
    bare = statistics.median(bare for window in windows for bare, _, _ in window)
    yield Figure("a plain table of SQLite, a day of a series: p50, processor", bare * 1e3, "ms")
    for (what, _, promised), first, asked in zip(questions, cold, zip(*windows, strict=True), strict=True):
        yield Figure(f"{what}: first, from disk", first * 1e3, "ms")
        yield Figure(f"{what}: p50", statistics.median(took for _, _, took in asked) * 1e3, "ms")
        if promised is not None:
            converted = statistics.median(busy / bare for bare, busy, _ in asked) * PLAIN
            yield Figure(f"{what}: p50, converted", converted, "ms", promised)


def _beside(plain: Callable[[], float], reader: Reader, ask: Callable[[View, int], object]) -> tuple[float, ...]:
    """Medians, s: the processor's time for the plain question, that for ours, and how long ours took."""
    bare = [plain() for _ in range(TIMES)]
    times = [_asked(reader, ask, turn) for turn in range(TIMES)]
    return statistics.median(bare), *map(statistics.median, zip(*times, strict=True))


def _asked(reader: Reader, ask: Callable[[View, int], object], turn: int) -> tuple[float, float]:
    """The processor's time, and how long it took, s."""
    began, busy = time.perf_counter(), time.thread_time()
    with reader.view() as view:
        assert ask(view, turn)
        assert not view.problems, view.problems
    return time.thread_time() - busy, time.perf_counter() - began


def _plain_day(path: Path) -> Callable[[], float]:
    """The day of a series in the simplest table that SQLite has: it tells how quick this machine is just now."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE t (series INTEGER, ts INTEGER, value REAL, PRIMARY KEY (series, ts)) WITHOUT ROWID"
    )
    rows = [(series, moment, moment % 977 / 10) for series in range(10) for moment in range(0, DAY, load.POLL)]
    connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    connection.commit()

    def ask() -> float:
        busy = time.thread_time()
        found = connection.execute("SELECT ts, value FROM t WHERE series = ? AND ts BETWEEN ? AND ?", (5, 0, DAY))
        assert len(found.fetchall()) == load.POLLS
        return time.thread_time() - busy

    return ask


def _cold(url: str, path: Path, ask: Callable[[View, int], object]) -> float:
    """With statements that are not compiled, and a file of which nothing is in memory."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with closing(Database(url)) as database:
        return _asked(Reader(database), ask, 0)[1]


def _memory(url: str) -> Iterator[Figure]:
    script = [sys.executable, "-m", "benchmarks.history_memory", url]
    said = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    before, recorded, asked = map(float, said.split())
    yield Figure("memory of chillerd's modules, without a history", before, "MB")
    yield Figure("the same with a store and 1,000 polls: more", recorded, "MB")
    yield Figure("the same after a question for a year: more", asked, "MB", 35.0)


def _cli_start() -> Iterator[Figure]:
    script = [sys.executable, "-X", "importtime", str(ROOT / "chiller"), "--help"]
    said = subprocess.run(script, cwd=ROOT, check=True, capture_output=True, text=True).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in said.splitlines()}
    assert "click" in loaded
    yield Figure("modules of the store that chiller --help loads", float(len(loaded.intersection(HEAVY))), "", 0.0)


def _sealing(url: str) -> Iterator[Figure]:
    """The day after: a poll waits for one of these steps at most."""
    times = []
    with Store(url, lambda: load.NOW + DAY) as store:
        while True:
            began = time.perf_counter()
            if not store.seal():
                break
            times.append(time.perf_counter() - began)
    yield Figure("days of a series sealed", float(len(times)), "")
    yield Figure("to seal one day of one series: p50", statistics.median(times) * 1e3, "ms")
    yield Figure("to seal one day of one series: longest", max(times) * 1e3, "ms")


def _full(samples: Samples) -> Samples:
    assert len(samples) == load.POLLS
    return samples
