# SPDX-License-Identifier: GPL-3.0-or-later
"""For tests of what is recorded: a recorder with a clock of its own, and the trouble that it may get into."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, ROOT, wait_for
from histories import Clock, Model, invariants
from served import Lines

from rockit.common.quality import Measurement, Quality
from rockit.history import recorder as module
from rockit.history.model import BUCKET, DAY, Event, Series
from rockit.history.query import Reader
from rockit.history.recorder import Recorder
from rockit.history.store import Store

BEGIN = 20_000 * DAY + 10 * BUCKET
KEYS = {f"k{number}": Measurement(f"Quantity {number}", "degC", -1e9, 1e9) for number in range(10)}
Row = tuple[str, int, float, int]


class Bench:
    """A recorder, the clock that it goes by, what it said and what it was given."""

    def __init__(self, folder: Path, device: str = "chiller", clock: Clock | None = None, **options: Any) -> None:
        self.path = folder / "history.sqlite"
        self.url = options.pop("url", f"sqlite:///{self.path}")
        self.device = device
        self.clock = clock or Clock(BEGIN)
        self.log = Lines()
        self.polls: list[list[Row]] = []
        self.number = 0
        self.commits = 0
        self.measured = options.pop("measured", KEYS)
        self.recorder = Recorder(
            self.url, "clasp", device, self.measured, self.log, now=self.clock, written=self._written, **options
        )

    def _written(self) -> None:
        self.commits += 1

    def poll(self, count: int = 1, step: int = 10_000, quality: Quality = Quality.GOOD) -> None:
        """Polls of all keys, every value another one."""
        for _ in range(count):
            self.clock.time += step
            self.number += 1
            values = {key: self.number + index / 16 for index, key in enumerate(self.measured)}
            self.recorder.add(values, time.monotonic(), quality)
            self.polls.append(list(self.recorder._poll.values))
            self.recorder.commit()

    def settled(self) -> None:
        assert self.recorder.written(PATIENCE), (self.recorder.trouble, self.log.lines)

    def end(self) -> None:
        assert self.recorder.end(time.monotonic() + PATIENCE), self.log.lines

    def errors(self, text: str = "") -> list[str]:
        return [line for line in self.log.of("error") if text in line]

    def check(self, polls: list[list[Row]] | None = None) -> None:
        """What was given is in the file, that alone, and the roll-ups are those of it."""
        model = Model()
        for poll in self.polls if polls is None else polls:
            for key, when, value, quality in poll:
                known = self.measured[key]
                series = Series("clasp", self.device, key, known.unit, known.label, known.counter)
                model.record(series, when, value, quality)
        with Store(self.url, self.clock) as store:
            invariants(store, model)

    def events(self) -> list[Event]:
        with Store(self.url) as store, Reader(store.database).view() as view:
            return view.events("clasp", self.device, 0, 2**45, 10_000)


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else writes, and does not come to an end."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        yield other
        assert other.in_transaction, "all of it has happened while the file was locked"
    finally:
        other.close()


class Disk:
    """A folder on a disk of 1 MB of its own where we may mount one; where not, a limit to the files of a process."""

    def __init__(self, folder: Path, *, mounted: bool) -> None:
        self.folder = folder
        self.mounted = mounted
        self._limited: dict[int, tuple[int, int]] = {}

    def fill(self, process: int = 0) -> None:
        """No room for anything more; `process` is whose files have a limit, this one's by default."""
        if not self.mounted:
            was = resource.prlimit(process, resource.RLIMIT_FSIZE)
            self._limited.setdefault(process, was)
            resource.prlimit(process, resource.RLIMIT_FSIZE, (4096, was[1]))
            return
        with open(self.folder / "ballast", "ab", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                continue

    def free(self) -> None:
        while self._limited:
            process, was = self._limited.popitem()
            with suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, was)
        (self.folder / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, *, mount: bool = True) -> Iterator[Disk]:
    """A disk that can be filled; without the right to mount one, a limit does as well."""
    folder.mkdir()
    mounted = (
        mount and os.geteuid() == 0
        and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]).returncode == 0
    )  # fmt: skip
    made = Disk(folder, mounted=mounted)
    try:
        yield made
    finally:
        made.free()
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def hurried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whoever waits between two attempts waits for a moment only; what is returned grows with each attempt to open."""
    made: list[str] = []

    class Counted(Store):
        def __init__(self, url: str, *arguments: Any) -> None:
            made.append(url)
            super().__init__(url, *arguments)

    monkeypatch.setattr(module, "Store", Counted)
    monkeypatch.setattr(module, "BACK_OFF", (0.02,))
    monkeypatch.setattr(module, "TIDY", 0.01)
    return made


def many(attempts: list[str]) -> None:
    """Waits until it was tried a few times more."""
    before = len(attempts)
    wait_for(lambda: len(attempts) > before + 4, "more attempts")


def elsewhere(call: str, *arguments: object, **environment: str) -> str:
    """What `module.function` of the tests prints, in a process of its own."""
    name = call.partition(".")[0]
    program = f"import sys, {name}; {call}(*sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=20 * PATIENCE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **environment},
    )  # fmt: skip
    assert done.returncode == 0, (arguments, done.stderr[-5000:])
    return done.stdout
