# SPDX-License-Identifier: GPL-3.0-or-later
"""A meter is replaced, or aligned with its display: energies go on, and no bar is tall because of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import wait_for
from metersite import MeterSite, site_in


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MeterSite]:
    with site_in(tmp_path) as made:
        yield made


def energy(site: MeterSite, name: str = "house") -> dict[str, Any]:
    done = site.meter("energy", name, "--by", "hour", "--since", "3h", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def total(site: MeterSite, name: str = "house", register: str = "import_energy") -> float:
    """All that flowed, Wh; what flowed over the border of an hour may stand beside it."""
    told = energy(site, name)
    assert told["falls"] == 0
    return float(sum(row.get(register, 0.0) for row in told["periods"]))


def events(site: MeterSite, name: str) -> list[tuple[str, str]]:
    with site.client() as client:
        found = client.history(["events"], "1h")["events"]
    return [(one["value"], one["detail"]) for one in found if one["kind"] == "meter" and one["name"] == name]


def test_another_meter_in_its_place_is_noticed_and_then_told(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5", "power=3600")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    site.meterd()
    slip = ("--final", "import_energy=12400kWh", "--first", "1.8.0=1.2kWh")
    early = site.meter("replace", "house", *slip)
    assert early.returncode == 1
    assert "is still 1 SIM00 0000 4711" in early.stderr
    wait_for(lambda: total(site) > 2, "some energy")
    site.fault("replaced on", Path(link))
    house = wait_for(lambda: (one := site.of("house"))["server_id"].endswith("4712") and one, "the new one")
    assert 1500 <= house["import_energy"] < 2500
    wait_for(lambda: "house_replaced" in site.status()["alarms"], "the alarm")
    assert "4711" in site.alarm("house_replaced")["text"]
    ((cause, _),) = wait_for(lambda: events(site, "house"), "the event")
    assert cause == "replaced"
    ((cause, detail),) = events(site, "house.import_energy")
    assert cause == "replaced"
    assert re.fullmatch(r"from 1234\d{4}\.\d to 1\d{3}\.\d", detail), detail
    assert 0 < total(site) < 1000, "12 MWh less are no energy, and no fall"
    done = site.meter("replace", "house", *slip, "--comment", "by the utility")
    assert (done.returncode, done.stderr) == (0, "")
    (jump,) = site.kept()["house"]["jumps"]["import_energy"]
    assert (jump["cause"], float(jump["before"]), float(jump["after"])) == ("replaced", 12_400_000, 1200)
    assert 54_000 < total(site) < 56_000, "what the old one counted unseen, and the new one before it was heard"
    assert "house_replaced" in site.status()["alarms"], "it is latched"
    assert site.meter("acknowledge", "house_replaced").returncode == 0
    wait_for(lambda: site.status()["alarms"] == [], "its end")


def test_where_an_old_meter_ended_cannot_be_less_than_it_was_read(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    site.meterd()
    site.fault("replaced on", Path(link))
    wait_for(lambda: site.of("house")["server_id"].endswith("4712"), "the new one")
    done = site.meter("replace", "house", "--final", "import_energy=12345.0kWh")
    assert done.returncode == 11
    assert "cannot have ended at" in done.stderr
    assert site.meter("replace", "house", "--final", "power=1kWh").returncode == 11


def test_a_count_of_pulses_is_aligned_with_the_display(site: MeterSite) -> None:
    site.write_meters({"heat": {"driver": "s0", "port": site.pulses("edges", 30), "impulses_per_kwh": 100}})
    site.meterd()
    wait_for(lambda: site.of("heat").get("import_energy") == 300, "its pulses")
    done = site.meter("set-reading", "heat", "import_energy", "98765.4kWh")
    assert (done.returncode, done.stderr) == (0, "")
    assert site.of("heat")["import_energy"] == 98_765_400
    assert site.of("heat")["values"]["pulses"]["value"] == 30, "what was counted is what was counted"
    ((cause, _),) = wait_for(lambda: events(site, "heat.import_energy"), "the event")
    assert cause == "aligned"
    assert total(site, "heat") == 0, "nothing flowed since it was read first, and an alignment is no energy"
    again = site.meter("set-reading", "heat", "1.8.0", "98765.5 kWh")
    assert again.returncode == 0
    assert site.of("heat")["import_energy"] == 98_765_500
    assert total(site, "heat") == 0


def test_a_pulse_counter_that_was_changed_begins_anew_when_somebody_says_so(site: MeterSite) -> None:
    site.write_meters({"heat": {"driver": "s0", "port": site.pulses("edges", 30), "impulses_per_kwh": 100}})
    site.meterd()
    wait_for(lambda: site.of("heat").get("import_energy") == 300, "its pulses")
    done = site.meter("replace", "heat", "--final", "import_energy=0.35kWh", "--first", "import_energy=3kWh")
    assert (done.returncode, done.stderr) == (0, "")
    wait_for(lambda: site.of("heat")["import_energy"] == 3000, "the reading of the new one, though the count goes on")
    wait_for(lambda: total(site, "heat") == 50, "what nobody saw, when the next reading is on the disk")


@pytest.mark.parametrize("harm", ["removed", "damaged"])
def test_what_happened_to_counters_outlives_its_file(site: MeterSite, harm: str) -> None:
    site.write_meters({"house": {"driver": "sml", "port": site.head("head")}})
    daemon = site.meterd()
    assert site.meter("set-reading", "house", "import_energy", "100kWh").returncode == 0
    wait_for(lambda: 100_000 <= site.of("house").get("import_energy", 0) < 101_000, "the aligned reading")
    assert daemon.stop() == 0
    file = site.state / "meters.json"
    file.unlink() if harm == "removed" else file.write_text("{bad")
    site.meterd(wait=False)
    wait_for(lambda: site.of("house").get("connected"), "its first telegram")
    wait_for(lambda: site.alarm("state_lost"), "the alarm")
    assert site.alarm("state_lost")["priority"] == "high"
    assert 100_000 <= site.of("house")["import_energy"] < 101_000
    assert total(site, "house") < 1000, "an alignment is no energy"
    with site.client() as client:
        assert client.acknowledge("state_lost") == 0
    wait_for(lambda: not site.alarm("state_lost"), "its end")
