# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs `history` and `export` as commands, and a real server with a real history for them to ask."""

from __future__ import annotations

import fcntl
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, ROOT, Site
from served import Lines, Served, serving

from rockit.common.errors import Code, CommandError
from rockit.common.remote.service import read
from rockit.history import answer as answering
from rockit.history.model import DAY, Event, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

NOW = 1_795_262_400_000  # 2026-11-21T12:00:00Z
STEP = 10_000
SAMPLES = 2 * DAY // STEP
SPIKE = NOW - 5 * 3_600_000
GAP = range(NOW - 10 * 3_600_000, NOW - 7 * 3_600_000)

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
import click
from rockit.common import cli
from rockit.history.cli import history_verbs

@click.group(cls=cli.Verbs)
@click.option("-c", "--config")
@click.pass_context
def group(context, config):
    context.obj = cli.Target("chillerd", config)

history_verbs(group)
cli.run(group, "chiller")
"""


def water(time: int) -> float:
    return round(11.5 + math.sin(time / 5_000_000), 2) + (5.0 if time == SPIKE else 0.0)


def fill(store: Store) -> None:
    """Two days before NOW, every 10 s, with three hours without; the newest poll a few ms before NOW."""
    site, device = "clasp", "clasp_chiller"
    times = [t for t in range(NOW - 2 * DAY, NOW, STEP) if t not in GAP]
    store.merge(Series(site, device, "water_temp", "degC", "Supply temperature"), Samples(times, [*map(water, times)]))
    minutes = [t + 7 for t in times[::6]]
    bad = bytes(2 if n == 5 else 1 if n == 6 else 0 for n in range(len(minutes)))
    store.merge(Series(site, device, "tec_power", "%", "Drive level"), Samples(minutes, [50.0] * len(minutes), bad))
    energy = [float(n) / 10 for n in range(len(minutes))]
    store.merge(Series(site, device, "energy", "Wh", "Energy", counter=True), Samples(minutes, energy))
    old = [NOW - 30 * DAY]
    store.merge(Series(site, device, "dome_temp", "degC", "Dome temperature"), Samples(old, [3.5]))
    events = [
        Event(NOW - 3_600_000, "command", "set_mode", "AUTOMATIC", "", "127.0.0.1"),
        Event(NOW - 3_599_900, "state", "mode", "AUTOMATIC"),
        Event(NOW - 1_800_000, "alarm", "offline", "active", "the chiller does not answer\x1b[2J"),
    ]
    store.add_events(site, device, events)


class Recording:
    """A daemon that has recorded, and whose clock stands."""

    allowed = frozenset({"127.0.0.1"})

    def __init__(self, folder: Path) -> None:
        self.log = Lines()
        self.asked: list[tuple[Any, ...]] = []
        self.problems: list[str] = []
        self.gate: threading.Event | None = None
        self.waiting = threading.Event()
        self.store = Store(f"sqlite:///{folder / 'history.sqlite'}", now=lambda: NOW)
        fill(self.store)
        self.reader = Reader(self.store.database)

    @read
    def describe(self) -> dict[str, Any]:
        return {
            "kind": "chiller",
            "software_version": "9.9",
            "driver": "thermotek-t257p",
            "device": {"model": "T257P °"},
        }

    @read
    def history(self, keys: Any = None, start: Any = None, end: Any = None, points: Any = None) -> dict[str, Any]:
        return self._answer(keys, start, end, points, packed=False)

    @read
    def history_blocks(self, keys: Any = None, start: Any = None, end: Any = None) -> dict[str, Any]:
        return self._answer(keys, start, end, None, packed=True)

    def _answer(self, keys: Any, start: Any, end: Any, points: Any, *, packed: bool) -> dict[str, Any]:
        self.asked.append((keys, start, end, points))
        if self.gate is not None and len(self.asked) > 1:
            self.waiting.set()
            assert self.gate.wait(PATIENCE)
        with self.reader.view() as view:
            view.problems += self.problems
            try:
                return answering.answer(view, "clasp", "clasp_chiller", keys, start, end, points, NOW, packed=packed)
            except answering.QuestionError as error:
                raise CommandError(Code.FAILED, str(error)) from None


class Bench:
    """The command line, and the daemon that it asks."""

    def __init__(self, folder: Path, service: Recording, served: Served) -> None:
        self.service = service
        self.served = served
        self.site = Site(folder)
        entry = {"object_id": served.object_id, "machine": "LocalHost", "port": served.port, "timeout": 20}
        self.site.write_registry({"machines": {"LocalHost": ["127.0.0.1"]}, "daemons": {"localhost_test": entry}})
        self.site.write_config()
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM.format(root=str(ROOT)))

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.site.run(str(self.program), *arguments, **environment)

    def shown(self, *arguments: str, **environment: str) -> str:
        done = self.run(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refused(self, code: int, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert "Traceback" not in done.stderr
        return done.stderr

    def on_a_terminal(
        self, *arguments: str, columns: int = 80, lines: int = 24, output: Any = None, **environment: str
    ) -> tuple[int, str]:
        """Exit code and what the terminal got; standard output goes elsewhere where `output` says so."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        given = {**self.site.environment, "TERM": "xterm-256color", **environment}
        given.pop("COLUMNS", None)
        given.pop("LINES", None)
        run = [sys.executable, str(self.program), *arguments]
        with subprocess.Popen(run, env=given, stdin=slave, stdout=output or slave, stderr=slave) as process:
            os.close(slave)
            printed = b""
            try:
                while data := os.read(master, 65536):
                    printed += data
            except OSError:
                pass  # how Linux tells that the last process at the other end has gone
            os.close(master)
            return process.wait(PATIENCE), printed.decode()


@contextmanager
def asking(recording: Recording, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """The recording served, with short pages."""
    monkeypatch.setattr(answering, "PAGE", 3000)
    recording.asked, recording.problems, recording.gate = [], [], None
    recording.waiting.clear()
    with serving(recording) as served:
        yield Bench(folder, recording, served)


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
