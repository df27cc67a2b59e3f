# SPDX-License-Identifier: GPL-3.0-or-later
"""How soon report_status() answers while the port hangs, alone, with silent peers, and with 100 clients."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Site, wait_for

from benchmarks.report import Figure

CALLS = 2000
CLIENTS = 100


def run(folder: Path) -> Iterator[Figure]:
    site = Site(folder)
    site.write_config(serial_timeout=30, query_delay=1)
    try:
        site.simulator()
        site.chillerd()
        site.fault("silence on")
        with site.client() as client:
            asked = client.counters()["requests"]
            wait_for(lambda: client.counters()["requests"] > asked, "a request without an answer")
            yield from _latencies("port hung, one client", _calls(client, CALLS))
            silent = [socket.create_connection(("127.0.0.1", site.ports["localhost_test"])) for _ in range(50)]
            yield from _latencies("port hung, 50 silent connections", _calls(client, CALLS))
            for sock in silent:
                sock.close()
        yield from _crowd(site)
    finally:
        for process in reversed(site.processes):
            process.stop()


def _calls(client: object, count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        client.report_status()  # type: ignore[attr-defined]
        took.append(time.perf_counter() - began)
    return took


def _latencies(what: str, took: list[float]) -> Iterator[Figure]:
    ordered = sorted(took)
    yield Figure(f"{what}: report_status p50", statistics.median(ordered) * 1e3, "ms")
    yield Figure(f"{what}: report_status p99", ordered[int(len(ordered) * 0.99)] * 1e3, "ms", 20.0)


def _crowd(site: Site) -> Iterator[Figure]:
    """100 clients connected at once, each asking once a second, ten times."""
    took: list[float] = []
    lock = threading.Lock()
    ready = threading.Barrier(CLIENTS)

    def one(number: int) -> None:
        with site.client() as client:
            client.report_status()
            ready.wait(60)
            time.sleep(number / CLIENTS)
            for _ in range(10):
                mine = _calls(client, 1)
                with lock:
                    took.extend(mine)
                time.sleep(1.0)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield Figure("100 clients at 1 Hz: calls answered of 1000", float(len(took)), "")
    yield from _latencies("port hung, 100 clients at 1 Hz", took)
