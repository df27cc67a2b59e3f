# SPDX-License-Identifier: GPL-3.0-or-later
"""How long chillerd takes from SIGTERM to its end, with a safe state to reach, whatever the port does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from harness import Site, wait_for

from benchmarks.report import Figure

PORTS = {"a device that answers": "silence off", "a device that is silent": "silence on", "a pulled plug": "unplug on"}
TIMES = 5


def run(folder: Path) -> Iterator[Figure]:
    for name, fault in PORTS.items():
        took = [_once(folder / f"{name} {number}", fault) for number in range(TIMES)]
        yield Figure(f"SIGTERM to the end, {name}, longest", max(took), "s", 3.0)


def _once(folder: Path, fault: str) -> float:
    folder.mkdir()
    site = Site(folder)
    site.write_config(serial_timeout=30, safe_state="standby")
    try:
        site.simulator("--set", "running=1")
        daemon = site.chillerd()
        site.fault(fault)
        if fault == "silence on":
            with site.client() as client:
                asked = client.counters()["requests"]
                wait_for(lambda: client.counters()["requests"] > asked, "a question without an answer")
        began = time.monotonic()
        daemon.signal()
        daemon.wait()
        return time.monotonic() - began
    finally:
        for process in reversed(site.processes):
            process.stop()
