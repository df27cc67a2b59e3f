# SPDX-License-Identifier: GPL-3.0-or-later
"""What `chiller json` costs, beside an interpreter that only imports its libraries: A, B, A, B in one run."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness import ROOT, Site

from benchmarks.report import Figure

PAIRS = 25


def run(folder: Path) -> Iterator[Figure]:
    site = Site(folder)
    site.write_config()
    try:
        site.simulator()
        site.chillerd()
        ours, bare = [], []
        for number in range(PAIRS + 2):
            a = _timed(site, [sys.executable, str(ROOT / "chiller"), "json"])
            b = _timed(site, [sys.executable, "-c", "import click, Pyro5.client"])
            if number >= 2:  # the first two warm the caches
                ours.append(a)
                bare.append(b)
    finally:
        for process in reversed(site.processes):
            process.stop()
    yield Figure("chiller json, median wall time", statistics.median(ours) * 1e3, "ms")
    yield Figure('python -c "import click, Pyro5.client", median', statistics.median(bare) * 1e3, "ms")
    ratio = statistics.median(a / b for a, b in zip(ours, bare, strict=True))
    yield Figure("ratio, median of pairs", ratio, "times", 2.0)


def _timed(site: Site, command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=site.environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
