# SPDX-License-Identifier: GPL-3.0-or-later
"""What chillerd costs when nothing happens: a poll every 10 s on a tty, nobody connected."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Site, wait_for

from benchmarks.report import Figure

SECONDS, WINDOWS = 30.0, 3
"""What else runs on the machine can only add to it, so that the least of the windows is nearest to the truth."""


def run(folder: Path) -> Iterator[Figure]:
    site = Site(folder)
    site.write_config(query_delay=10, command_interval=None)
    try:
        site.simulator()
        daemon = site.chillerd()
        wait_for(lambda: site.status().get("uptime") is not None, "a few polls", 90)
        shares = []
        for _ in range(WINDOWS):
            before, began = _cpu(daemon.pid), time.monotonic()
            time.sleep(SECONDS)
            shares.append((_cpu(daemon.pid) - before) / (time.monotonic() - began))
        status = Path(f"/proc/{daemon.pid}/status").read_text()
    finally:
        for process in reversed(site.processes):
            process.stop()
    field = {line.split(":")[0]: line.split() for line in status.splitlines()}
    yield Figure("chillerd at rest, resident memory", int(field["VmRSS"][1]) / 1024, "MiB", (40e6 + 35e6) / 2**20)
    yield Figure("chillerd at rest, share of a core at a 10 s poll", min(shares) * 100, "%", 0.5)
    yield Figure("chillerd at rest, threads", int(field["Threads"][1]), "")


def _cpu(pid: int) -> float:
    """User and system time of a process, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
