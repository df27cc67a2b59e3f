# SPDX-License-Identifier: GPL-3.0-or-later
"""Years in minutes: plugs pulled again and again, clients that come, go and leak. Only by `make soak`."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

import pytest
from conftest import Site, wait_for

pytestmark = pytest.mark.soak
CYCLES = int(os.environ.get("SOAK_CYCLES", "60"))
FAULTS = ("silence", "checksum", "garbage", "double", "late 0.3", "truncate", "foreign", "drop")


def held(pid: int) -> tuple[int, int, int]:
    """Descriptors, threads, resident kB."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return len(os.listdir(f"/proc/{pid}/fd")), int(status["Threads"]), int(status["VmRSS"].split()[0])


def alone(site: Site, pid: int) -> tuple[int, int, int]:
    """What it holds when nobody but us is connected."""
    with site.client() as client:
        wait_for(lambda: client.counters()["clients"] == 1, "the end of the other connections")
        return held(pid)


def test_nothing_grows(site: Site) -> None:
    rng = random.Random(1)
    site.write_config(serial_timeout=0.3)
    site.simulator()
    daemon = site.chillerd()
    before = (0, 0, 0)
    for cycle in range(CYCLES):
        if cycle == CYCLES // 4:
            before = alone(site, daemon.pid)  # what is allocated once has been allocated
        if cycle % 2:
            site.fault("unplug on")
            wait_for(lambda: site.status().get("connected") is False, "the loss")
            site.fault("unplug off")
        else:
            fault = rng.choice(FAULTS).split()
            site.fault(f"{fault[0]} {fault[1] if len(fault) > 1 else 'on'}")
            with site.client() as client:
                asked = client.counters()["requests"]
                wait_for(
                    lambda asked=asked, client=client: client.counters()["requests"] > asked + 4, "questions anyhow"
                )
            site.fault(f"{fault[0]} off")
        silent = [socket.create_connection(("127.0.0.1", site.ports["localhost_test"])) for _ in range(20)]
        wait_for(lambda: site.status().get("connected"), "the return")
        for sock in silent:
            sock.close()
    after = alone(site, daemon.pid)
    assert after[0] <= before[0] + 2, (before, after)
    assert after[1] <= before[1] + 1, (before, after)
    assert after[2] <= before[2] + 1024, (before, after)
    with site.client() as client:
        assert client.counters()["internal_errors"] == 0
    assert not [line for line in daemon.lines() if "Traceback" in line]
