# SPDX-License-Identifier: GPL-3.0-or-later
"""Clocks that jump, calendars and zones: no bucket is doubled or lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from harness import wait_for
from histories import Clock
from recording import KEYS, Bench, hurried

from rockit.history.answer import answer
from rockit.history.database import Database
from rockit.history.model import BUCKET, DAY
from rockit.history.query import Reader
from rockit.history.store import Store

HOUR = 4 * BUCKET
DAYS = {
    "an ordinary day": datetime(2026, 11, 21, 23, tzinfo=UTC),
    "summer begins": datetime(2026, 3, 29, tzinfo=UTC),
    "summer ends": datetime(2026, 10, 25, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 28, 23, tzinfo=UTC),
    "no leap day": datetime(2100, 2, 28, 23, tzinfo=UTC),
    "a year ends": datetime(2027, 12, 31, 23, tzinfo=UTC),
}
JUMPS: dict[str, dict[int, int]] = {
    "none": {},
    "forward": {150: HOUR},
    "back": {150: -HOUR},
    "to and fro": {120: HOUR, 240: -HOUR},
    "back twice": {150: -HOUR, 300: -HOUR},
    "forward twice": {150: HOUR, 300: HOUR},
    "by days": {150: 2 * DAY, 300: -2 * DAY, 400: -DAY},
    "back into what is sealed": {150: 2 * DAY, 300: -2 * DAY - 2 * HOUR},
    "onto the same": {150: -50 * 31_000, 300: -100 * 31_000, 301: -31_000},
}


def recorded(folder: Path, begin: int, jumps: dict[int, int]) -> Bench:
    """Four hours and more, a poll each 31 s; where the clock jumps, days that have ended are sealed."""
    bench = Bench(folder, clock=Clock(begin), measured={"k0": KEYS["k0"], "k1": KEYS["k1"]})
    bench.recorder.start()
    for number in range(500):
        bench.poll(step=31_000 + jumps.get(number, 0))
        if number in jumps:
            bench.settled()
            begun = time.monotonic()
            wait_for(lambda begun=begun: bench.recorder._tidied > begun, "days that end to be sealed")
    bench.end()
    return bench


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(monkeypatch)


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("day", DAYS)
def test_no_clock_doubles_or_loses_a_bucket(tmp_path: Path, day: str, jump: str) -> None:
    bench = recorded(tmp_path, int(DAYS[day].timestamp()) * 1000, JUMPS[jump])
    bench.check()
    with Store(bench.url) as store, Reader(store.database).view() as view:
        [number, _] = view.series()
        for width in (60_000, BUCKET, HOUR, DAY, 7 * DAY):
            found = view.buckets(number, 0, 2**45, width)
            starts = [start for start, _ in found]
            assert starts == sorted(set(starts))
            assert sum(rollup.samples for _, rollup in found) == len(bench.polls)


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Moves this machine."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("day", ["summer begins", "summer ends"])
def test_the_zone_of_the_machine_means_nothing(tmp_path: Path, day: str, zone: Callable[[str], None]) -> None:
    begin = int(DAYS[day].timestamp())
    answers = []
    for name in ("Europe/Madrid", "America/St_Johns", "UTC"):
        zone(name)
        folder = tmp_path / name
        folder.mkdir(parents=True)
        bench = recorded(folder, begin * 1000, {})
        bench.check()
        with Reader(Database(bench.url)).view() as view:
            until = DAYS[day].strftime("%Y-%m-%dT06:00")
            answers.append(answer(view, "clasp", "chiller", ["k0"], begin, until, 24, 0))
    assert answers[0] == answers[1] == answers[2]
    column = answers[0]["series"]["k0"]
    assert [text[11:16] for text in column["time"]] == [f"{n // 4:02}:{n % 4 * 15:02}" for n in range(18)]
    assert sum(column["count"]) == 500
