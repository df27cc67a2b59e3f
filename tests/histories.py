# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of the history: a model of what must be in it, and a look at what is."""

from __future__ import annotations

import os
import struct
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from math import fsum

import pytest

from rockit.common.quality import Quality
from rockit.history import statements as sql
from rockit.history.model import BUCKET, Samples, Series
from rockit.history.query import Reader, View
from rockit.history.store import Store

SERVER = os.environ.get("ROCKIT_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


class Clock:
    """A wall clock that a test sets, ms."""

    def __init__(self, time: int) -> None:
        self.time = time

    def __call__(self) -> int:
        return self.time


class Model:
    """Every sample that was ever committed."""

    def __init__(self) -> None:
        self.samples: dict[Series, dict[int, tuple[float, int]]] = defaultdict(dict)

    def record(self, series: Series, time: int, value: float, quality: int) -> None:
        """A live one: it finds room beside another value of the same millisecond."""
        value += 0.0
        known = self.samples[series]
        while time in known and known[time] != (value, quality):
            time += 1
        known[time] = value, quality

    def add(self, series: Series, samples: Samples) -> int:
        """Late ones: what is there stays; how many were new."""
        known = self.samples[series]
        before = len(known)
        for time, value, quality in samples.rows():
            known.setdefault(time, (value, quality))
        return len(known) - before


def bits(value: float) -> bytes:
    """A number bit by bit: 0.0 is not -0.0."""
    return struct.pack("<d", value)


def stored_rollups(view: View, series: int) -> list[tuple[int, tuple[float, ...]]]:
    """(bucket number, its roll-up with falls) of all that are stored of a series."""
    rows = [(row[0], tuple(row[1:])) for row in view.run(sql.ROLLUPS, series, 0, 2**40)]
    return rows + [(row[0], tuple(row[1:-1])) for row in view.run(sql.LOOK_CURRENT, series)]


def invariants(store: Store, model: Model) -> None:
    """Every sample is there, exactly, once; every roll-up equals a recomputation, bit by bit."""
    with Reader(store.database).view() as view:
        known = {series: number for number, series in view.series().items()}
        for series, expected in model.samples.items():
            if not expected:
                continue
            number = known[series]
            found = view.samples(number, 0, 2**45)
            assert found.times == sorted(expected)
            wanted = [expected[time] for time in found.times]
            assert list(map(bits, found.values)) == [bits(value) for value, _ in wanted]
            assert list(found.qualities or bytes(len(found))) == [quality for _, quality in wanted]
            buckets: dict[int, list[tuple[int, float]]] = defaultdict(list)
            for time, (value, quality) in sorted(expected.items()):
                if quality != Quality.BAD:
                    buckets[time // BUCKET].append((time, value))
            listed = stored_rollups(view, number)
            rollups = dict(listed)
            assert len(listed) == len(rollups), "each in one place"
            assert sorted(rollups) == sorted(buckets)
            for bucket, rows in buckets.items():
                only = [value for _, value in rows]
                falls = sum(later < earlier for earlier, later in pairwise(only))
                assert rollups[bucket] == (len(only), min(only), max(only), fsum(only), only[-1], falls)


@contextmanager
def postgresql_database() -> Iterator[str]:
    """A database of its own on a real server; skips where none answers."""
    psycopg = pytest.importorskip("psycopg", reason="needs psycopg")
    plain = SERVER.replace("+psycopg", "")
    name = f"rockit_test_{uuid.uuid4().hex[:12]}"
    try:
        connection = psycopg.connect(plain, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL server answers at {plain}: {error}")
    with connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield SERVER.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(plain, autocommit=True) as again:
            again.execute(f"DROP DATABASE {name} WITH (FORCE)")
