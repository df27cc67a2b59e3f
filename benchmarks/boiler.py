# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a boiler is told its set point, how soon a status comes while the relays hang, how long a year takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from boilersite import gaps, plant_in
from harness import wait_for

from benchmarks.hung_port import _calls, _latencies
from benchmarks.report import Figure
from rockit.boiler.plant import Site as PlantSite
from rockit.boiler.rehearsal import Rehearsal
from rockit.boiler.settings import Settings

WRITES = 25
CALLS = 1000
DAYS = 365.0


class Timed(deque[Any]):
    """A deque that knows when its items came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, item: Any) -> None:
        self.times.append(time.monotonic())
        super().append(item)


def run(folder: Path) -> Iterator[Figure]:
    with plant_in(folder) as site:
        written = site.plant.boiler.written = Timed()  # type: ignore[assignment]
        site.write(query_delay=2)
        site.boilerd()
        site.settled()
        rate = lambda: [at for at, item in zip(written.times, list(written), strict=False) if item[0] == 2]  # noqa: E731
        wait_for(lambda: len(rate()) >= WRITES, "writes of the set point", 180)
        yield Figure("boiler: longest time between two set points", max(gaps(rate())), "s", 5.0)
        site.plant.ports["relays"].device.set_fault("silence", "on")
        with site.client() as client:
            asked = client.counters()["requests"]
            wait_for(lambda: client.counters()["requests"] > asked, "a request without an answer")
            yield from _latencies("relays hung, one client", _calls(client, CALLS))
    settings = Settings(mode_switch_lockout_time=1440.0)
    rehearsal = Rehearsal(PlantSite(chillers=("chiller1", "chiller2", "chiller3", "chiller4")), settings, seed=1)
    began = time.process_time()
    report = rehearsal.run(DAYS)
    yield Figure("a year rehearsed, with faults: processor time", time.process_time() - began, "s", 120.0)
    yield Figure("a year rehearsed: forbidden states and the like", float(report.violations), "", 0.0)
