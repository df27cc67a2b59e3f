# SPDX-License-Identifier: GPL-3.0-or-later
"""The log: lines for the journal, and for the observatory's log daemon when the registry has one.

Writing never blocks and never raises: the control loop logs, and it must not wait for a network.
"""

from __future__ import annotations

import queue
import select
import sys
import threading
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rockit.common.registry import Daemon

SELDOM = 60.0
"""What strangers do is told at most so often, s."""
LONGEST = 1000
"""Characters of a line; a pipe that is ready takes so many without blocking (pipe(7): 4096 bytes)."""
_JOURNAL_LEVEL = {"info": "<6>", "warning": "<4>", "error": "<3>"}


class Log:
    """Writes `LEVEL name: text` to standard output; with `journal`, prefixed with the level that systemd reads."""

    def __init__(self, name: str, *, journal: bool = False) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        self._journal = journal
        self._lock = threading.Lock()
        self._told_at: float | None = None
        self._remote: queue.Queue[tuple[str, str]] | None = None

    def info(self, text: str) -> None:
        """Something ordinary that an operator wants to see."""
        self._write("info", text)

    def warning(self, text: str) -> None:
        """Something that is not as it should be and is coped with."""
        self._write("warning", text)

    def error(self, text: str) -> None:
        """Something lost or failed."""
        self._write("error", text)

    def exception(self, text: str) -> None:
        """An error of our own, with the traceback of the exception in hand."""
        self._write("error", f"{text}\n{traceback.format_exc().rstrip()}")

    def command(self, what: str, who: str, code: int, message: str, *, seldom: bool = False) -> None:
        """A command that somebody gave, and what became of it; `seldom`: at most one a minute, the others counted."""
        if seldom:
            with self._lock:
                now = time.monotonic()
                if self._told_at is not None and now - self._told_at < SELDOM:
                    self.counters["log_left_out"] += 1
                    return
                self._told_at = now
        outcome = "done" if code == 0 else f"code {code}"
        self._write("info", f"{what} from {who}: {outcome}" + (f", {message}" if message else ""))

    def _write(self, level: str, text: str) -> None:
        self.counters[f"log_{level}"] += 1
        start = _JOURNAL_LEVEL[level] if self._journal else ""
        try:
            for line in text.splitlines() or [""]:
                # A reader that stands still (pager, journal) must not stop a chiller nor a full disk.
                if not select.select([], [sys.stdout], [], 0)[1]:
                    raise BlockingIOError
                sys.stdout.write(f"{start}{level.upper()} {self.name}: {line[:LONGEST]}\n")
                sys.stdout.flush()
        except (OSError, ValueError):
            self.counters["log_lost"] += 1
        if self._remote is not None:
            try:
                self._remote.put_nowait((level, text))
            except queue.Full:
                self.counters["log_remote_lost"] += 1

    def forward_to(self, daemon: Daemon[Any]) -> None:
        """Send every line to the observatory's log daemon as well, from a thread of its own, bounded and lossy."""
        self._remote = queue.Queue(maxsize=200)
        threading.Thread(target=self._forward, args=(daemon, self._remote), name="log", daemon=True).start()

    def _forward(self, daemon: Daemon[Any], lines: queue.Queue[tuple[str, str]]) -> None:
        from rockit.common.errors import CommandError

        while True:
            level, text = lines.get()
            try:
                with daemon.connect() as remote:
                    remote.call(f"log_{level}", self.name, text)
            except CommandError:
                self.counters["log_remote_lost"] += 1
