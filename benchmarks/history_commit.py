# SPDX-License-Identifier: GPL-3.0-or-later
"""What it costs to have a poll on the disk, beside a bare append of as many bytes: in turn, in short blocks."""

from __future__ import annotations

import os
import sqlite3
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path

from benchmarks import history_load as load
from benchmarks.report import Figure
from rockit.history.model import DAY, Series
from rockit.history.store import Store

BLOCKS, IN_A_BLOCK = 300, 10
"""Short, so that what is compared has met the same disk and the same neighbours on the machine."""


def commits(folder: Path) -> Iterator[Figure]:
    """3,000 polls of ten values: a little more than eight hours of a daemon's life."""
    took: dict[str, list[list[float]]] = {}
    with (
        Store(f"sqlite:///{folder}/polls.sqlite", lambda: load.NOW) as ours,
        Store(f"sqlite:///{folder}/forwarded.sqlite", lambda: load.NOW) as forwarded,
        closing(sqlite3.connect(folder / "narrow.sqlite", isolation_level=None)) as narrow,
        (folder / "appended").open("wb", buffering=0) as file,
    ):
        kinds = {
            "append + fdatasync": _appending(file.fileno()),
            "SQLite alone, 10 narrow rows": _narrow(narrow),
            "record, 10 values": _recording(ours, post=False),
            "record, 10 values, forwarded": _recording(forwarded, post=True),
        }
        for block in range(BLOCKS):
            moments = [load.TODAY * DAY + (block * IN_A_BLOCK + number) * load.POLL for number in range(IN_A_BLOCK)]
            for name, commit in kinds.items():
                took.setdefault(name, []).append([_timed(commit, moment) for moment in moments])
    for name, blocks in took.items():
        times = sorted(chain.from_iterable(blocks))
        yield Figure(f"durable commit: {name}, p50", statistics.median(times) * 1e3, "ms")
        yield Figure(f"durable commit: {name}, p99", times[int(len(times) * 0.99)] * 1e3, "ms")
    medians = {name: [statistics.median(block) for block in blocks] for name, blocks in took.items()}
    bare = medians["append + fdatasync"]
    for name in ("record, 10 values", "record, 10 values, forwarded"):
        ratio = statistics.median(ours / theirs for ours, theirs in zip(medians[name], bare, strict=True))
        yield Figure(f"{name}: p50 to append + fdatasync", ratio, "times", 2.0 if name == "record, 10 values" else None)


def _timed(commit: Callable[[int], None], moment: int) -> float:
    began = time.perf_counter()
    commit(moment)
    return time.perf_counter() - began


def _values(moment: int) -> list[float]:
    return [(moment // load.POLL * 7 + number * 13) % 1000 / 100 for number in range(10)]


def _appending(file: int) -> Callable[[int], None]:
    """Series, time, value and quality of each: 250 bytes."""
    form = struct.Struct("<qqdB")

    def commit(moment: int) -> None:
        os.write(file, b"".join(form.pack(number, moment, value, 0) for number, value in enumerate(_values(moment))))
        os.fdatasync(file)

    return commit


def _narrow(connection: sqlite3.Connection) -> Callable[[int], None]:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE t (series INTEGER, ts INTEGER, value REAL, PRIMARY KEY (series, ts)) WITHOUT ROWID"
    )

    def commit(moment: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        rows = [(number, moment, value) for number, value in enumerate(_values(moment))]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")

    return commit


def _recording(store: Store, *, post: bool) -> Callable[[int], None]:
    device = store.device_id(load.SITE, "one")
    ids = [store.series_id(Series(load.SITE, "one", f"value_{number}", "degC")) for number in range(10)]

    def commit(moment: int) -> None:
        rows = [(number, moment, value, 0) for number, value in zip(ids, _values(moment), strict=True)]
        store.record(device, rows, post=post)

    return commit
