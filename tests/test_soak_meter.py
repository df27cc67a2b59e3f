# SPDX-License-Identifier: GPL-3.0-or-later
"""A day of telegrams at full speed, an hour of noise, heads pulled again and again. Only by `make soak`."""

from __future__ import annotations

import os
import random
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Process, wait_for
from metersite import MeterSite, site_in
from test_soak import held

from rockit.history.database import Database
from rockit.history.query import Reader
from rockit.meter.protocols import sml_encode
from rockit.meter.protocols.sml_types import Entry, List, Time, TimeKind

pytestmark = pytest.mark.soak
HOURS = float(os.environ.get("SOAK_HOURS", "24"))
SERVER = bytes.fromhex("0a0153494d0000001267")
ENERGY, POWER = bytes.fromhex("0100010800ff"), bytes.fromhex("0100100700ff")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MeterSite]:
    with site_in(tmp_path) as made:
        yield made


def telegram(second: int) -> bytes:
    entries = (
        Entry(ENERGY, 0x1C0104, unit=30, scaler=-1, value=123_456_000 + second, width=5),
        Entry(POWER, unit=27, scaler=-2, value=100_000 + second % 977, width=4),
    )
    return sml_encode.push([List(None, SERVER, None, Time(TimeKind.SEC_INDEX, second + 1), entries)], second)


class Head:
    """The far end of a port that takes only what is read: nothing is thrown away in between."""

    def __init__(self, site: MeterSite) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        site.write_meters({"house": {"driver": "sml", "port": os.ttyname(self._slave)}}, time_zone="UTC")
        self.daemon: Process = site.meterd(wait=False)
        wait_for(lambda: site.of("house"), "the daemon")

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data) :]

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


def counters(site: MeterSite) -> dict[str, int]:
    with site.client() as client:
        return dict(client.counters())


def recorded(site: MeterSite, key: str) -> int:
    """How many samples of a key the store has."""
    database = Database(f"sqlite:///{site.state / 'history.sqlite'}", make=False)
    with Reader(database).view() as view:
        numbers = [number for number, one in view.series().items() if one.key == key]
        count = sum(len(view.samples(number, 0, 2**42)) for number in numbers)
    database.close()
    return count


def test_a_day_at_full_speed_loses_no_reading_and_grows_nothing(site: MeterSite) -> None:
    head = Head(site)
    seconds = round(HOURS * 3600)
    before = (0, 0, 0)
    for second in range(seconds):
        head.write(telegram(second))
        if second % 3600 == 3599:
            # What is on its way to the disk is memory too: it is looked at where that is little.
            wait_for(lambda done=2 * second: counters(site)["history_values"] >= done - 2000, "the disk", 600)
            before = held(head.daemon.pid) if second < seconds // 2 else before
    wait_for(lambda: site.of("house").get("frames") == seconds, "all telegrams", 600)
    wait_for(lambda: counters(site)["history_values"] >= 2 * seconds, "all values on the disk", 600)
    after, found = held(head.daemon.pid), counters(site)
    assert (found["history_lost"], found["lost_bytes"]) == (0, 0)
    assert site.of("house")["import_energy"] == pytest.approx(12_345_600 + (seconds - 1) / 10)
    assert recorded(site, "house.power") == recorded(site, "house.import_energy") == seconds
    assert after[0] <= before[0] + 2, (before, after)
    assert after[1] <= before[1] + 1, (before, after)
    # The history's part comes to rest at some 20 MB more than at the start; without a history nothing grows at all.
    assert after[2] <= before[2] + 16 * 1024, (before, after)
    head.close()


def test_an_hour_of_noise_costs_counters_and_nothing_else(site: MeterSite) -> None:
    head = Head(site)
    rng = random.Random(1)
    head.write(telegram(0))
    wait_for(lambda: site.of("house")["connected"], "the first telegram")
    before = held(head.daemon.pid)
    noise = 0
    for _ in range(round(HOURS / 24 * 3600)):  # 960 bytes a second, what such a line can carry
        piece = rng.randbytes(940) + rng.choice((b"", b"\x1b\x1b\x1b\x1b\x01\x01\x01\x01", telegram(1)[:100]))
        noise += len(piece)
        head.write(piece)
    head.write(telegram(2))
    wait_for(lambda: site.of("house").get("power") == 1000.02, "a telegram after it", 600)
    after, found = held(head.daemon.pid), counters(site)
    assert found["lost_bytes"] == noise
    assert recorded(site, "house.power") == 2
    assert after[2] <= before[2] + 4 * 1024, (before, after)
    assert len(head.daemon.lines()) < 20, "a log line each would fill a disk"
    head.close()
