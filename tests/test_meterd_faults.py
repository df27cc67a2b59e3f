# SPDX-License-Identifier: GPL-3.0-or-later
"""meterd when something goes wrong: cables, checksums, noise, PINs, and its own end."""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from harness import wait_for
from metersite import MeterSite, said, site_in

KILO = 360_000.0
"""A power at which each second counts 100 Wh: every reading differs from every other."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MeterSite]:
    with site_in(tmp_path) as made:
        yield made


# --- the cable


def test_a_head_that_is_pulled_off_is_told_and_comes_back_by_itself(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5", f"power={KILO}")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    daemon = site.meterd()
    before = len(daemon.lines())
    wait_for(lambda: len(site.samples("house.import_energy")) > 5, "some readings")
    site.fault("unplug on", Path(link))
    house = wait_for(lambda: (one := site.of("house")).get("connected") is False and one, "connected false")
    assert link in house["offline_because"]
    assert "reading_age" in house, "at once, and not when its values are too old"
    assert house["values"] == {}
    assert not {"power", "import_energy", "export_energy"} & house.keys()
    with site.client() as client:
        measured = client.last_measurement()
    assert math.isnan(measured["house.import_energy"])
    assert measured["house.import_energy_valid"] is False
    wait_for(lambda: "house_offline" in site.status()["alarms"], "the alarm")
    site.fault("unplug off", Path(link))
    after = wait_for(lambda: (one := site.of("house")).get("connected") and one, "values after the replug")
    assert after["frames"] > house["frames"], "its counters go on"
    assert "offline_because" not in after
    assert after["crc_errors"] == 0
    wait_for(lambda: site.status()["alarms"] == [], "the end of the alarm")
    count = len(site.samples("house.import_energy"))
    wait_for(lambda: len(site.samples("house.import_energy")) > count + 5, "some more readings")
    steps = [round(b - a, 3) for a, b in pairwise(site.samples("house.import_energy"))]
    assert len([step for step in steps if step != 100]) == 1, "no reading was lost but while the cable was out"
    lines = daemon.lines()[before:]
    assert [len(said(daemon, f"{what} connection")) for what in ("Lost", "Restored")] == [1, 1], lines
    assert len(lines) <= 4, lines  # those two, and the alarm's coming


def test_one_head_that_is_off_keeps_no_other_waiting(site: MeterSite) -> None:
    links = {name: site.head(name, "sml", "--speed 5", f"power={KILO}") for name in ("house", "roof")}
    site.write_meters({name: {"driver": "sml", "port": link} for name, link in links.items()})
    site.meterd()
    site.fault("unplug on", Path(links["house"]))
    wait_for(lambda: "offline_because" in site.of("house") or site.of("house").get("reading_age", 0) > 2, "the loss")
    count = len(site.samples("roof.import_energy"))
    wait_for(lambda: len(site.samples("roof.import_energy")) > count + 10, "readings of the other")
    assert {round(b - a, 3) for a, b in pairwise(site.samples("roof.import_energy"))} == {100.0}


def test_the_daemon_starts_without_its_heads(site: MeterSite) -> None:
    link = site.folder / "house"
    site.write_meters({"house": {"driver": "sml", "port": str(link)}})
    daemon = site.meterd(wait=False)
    house = wait_for(lambda: (one := site.of("house")) and said(daemon, "Failed to connect") and one, "an answer")
    assert house["connected"] is False
    assert house["values"] == {}
    assert "reading_age" not in house
    assert site.meter("status").returncode == 0
    site.head("house")
    wait_for(lambda: site.of("house").get("connected"), "the head that came later")
    wait_for(lambda: len(said(daemon, "Established connection")) == 1, "the line that tells so")
    assert len(said(daemon, "Failed to connect")) == 1


# --- what comes damaged


@pytest.mark.parametrize(
    ("kind", "options", "more", "power"),
    [
        ("sml", (), {}, 420.0),
        ("p1", (), {}, 500.0),
        ("d0", ("push=1", "period=1"), {"request": False}, 500.0),
    ],
)
def test_wrong_checksums_are_counted_and_believed_nothing(
    site: MeterSite, kind: str, options: tuple[str, ...], more: dict[str, bool], power: float
) -> None:
    link = site.head("house", kind, "--speed 5", *options)
    site.write_meters({"house": {"driver": kind, "port": link, "maximum_age": 600, **more}})
    daemon = site.meterd()
    before = daemon.lines()
    site.fault("checksum on", Path(link))
    site.set("power", 7000, Path(link))
    house = wait_for(lambda: (one := site.of("house"))["crc_errors"] >= 25 and one, "damaged telegrams")
    assert house["frames"] > house["crc_errors"]
    if kind == "sml":
        assert house["frames"] <= site.info(Path(link))["sent"], "none is counted twice"
    # A telegram that had left already when the fault was switched on may tell either power, and no other.
    assert house["power"] in (power, 7000.0)
    assert set(site.samples("house.power")) <= {power, 7000.0}
    energies = site.samples("house.import_energy")
    assert all(0 <= b - a < 100 for a, b in pairwise(energies)), "no value of a damaged telegram"
    assert daemon.lines() == before, "not a line for each"
    site.fault("checksum off", Path(link))
    wait_for(lambda: site.of("house")["power"] == 7000, "good telegrams")
    wait_for(lambda: "house_signal" in site.status()["alarms"], "the alarm: many of the last ones were damaged")
    assert "damaged" in site.alarm("house_signal")["text"]


def test_noise_is_told_as_such(site: MeterSite) -> None:
    noise = random.Random(3).randbytes(700).replace(b"\x1b", b"\x1a")
    site.write_meters({"house": {"driver": "sml", "port": site.replay("house", noise), "maximum_age": 2}})
    daemon = site.meterd(wait=False)
    house = wait_for(lambda: (one := site.of("house")).get("offline_because", "").startswith("no whole") and one,
                     "the sentence")  # fmt: skip
    assert "baud and driver" in house["offline_because"]
    wait_for(lambda: site.of("house")["bytes_lost"] > 500, "lost bytes")
    assert site.of("house")["frames"] == 0
    assert len(said(daemon, "baud and driver")) == 1


def test_silence_is_told_as_such(site: MeterSite) -> None:
    link = site.head("house", "sml", "--fault", "silence")
    site.write_meters({"house": {"driver": "sml", "port": link, "maximum_age": 2}})
    site.meterd(wait=False)
    house = wait_for(lambda: "is the head on the meter" in (one := site.of("house")).get("offline_because", "") and one,
                     "the sentence")  # fmt: skip
    assert (house["frames"], house["bytes_lost"]) == (0, 0)


def test_a_restarted_meter_is_seen(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    site.meterd()
    wait_for(lambda: site.of("house")["frames"] > 4, "some telegrams")
    site.fault("restart on", Path(link))
    wait_for(lambda: site.of("house")["restarts"] == 1, "the restart")
    assert site.status()["alarms"] == []


# --- PIN


def test_a_meter_that_waits_for_its_pin_says_so(site: MeterSite) -> None:
    link = site.head("house", "sml", "pin=0")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    site.meterd()
    house = site.of("house")
    assert house["pin_locked"] is True
    assert "power" not in house
    assert house["import_energy"] == 12_345_000
    wait_for(lambda: site.status()["alarms"] == ["house_pin"], "the alarm")
    alarm = site.alarm("house_pin")
    assert alarm["priority"] in ("low", "LOW", 1), alarm
    assert "enter its PIN" in alarm["text"]
    assert "PIN" in site.meter("status").stdout
    site.set("pin", 1, Path(link))
    wait_for(lambda: site.of("house").get("power") == 420, "its power")
    assert site.of("house")["pin_locked"] is False
    assert site.of("house")["import_energy"] >= 12_345_678.9
    wait_for(lambda: site.status()["alarms"] == [], "the end of the alarm")


def test_a_meter_that_wants_its_pin_again_has_not_fallen(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5")
    site.write_meters({"house": {"driver": "sml", "port": link}})
    site.meterd()
    site.set("pin", 0, Path(link))
    frames = wait_for(lambda: (one := site.of("house"))["pin_locked"] and one["frames"], "the lock")
    wait_for(lambda: site.of("house")["frames"] > frames + 5, "some more telegrams")
    assert site.of("house")["import_energy"] >= 12_345_678.9
    site.set("pin", 1, Path(link))
    wait_for(lambda: site.of("house")["pin_locked"] is False, "its PIN")
    wait_for(lambda: site.status()["alarms"] == [], "the end of the alarm")
    energies = [site.samples(f"house.{name}") for name in ("import_energy", "export_energy")]
    assert all(0 <= b - a < 100 for samples in energies for a, b in pairwise(samples)), "nothing flowed because of it"


# --- its own end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_whatever_its_ports_do(site: MeterSite, number: int) -> None:
    gone = site.folder / "gone"
    bus = site.head("bus", "sdm630", "dead=1")
    site.write_meters({
        "house": {"driver": "sml", "port": site.head("house")},
        "old": {"driver": "d0", "port": site.head("old", "d0", "--fault", "silence")},
        "gone": {"driver": "p1", "port": str(gone)},
        "pulses": {"driver": "s0", "port": site.pulses("edges", 3), "impulses_per_kwh": 1000},
        "sub": {"driver": "modbus", "port": bus, "map": "sdm630", "serial_timeout": 30},
    })  # fmt: skip
    daemon = site.meterd(wait=False)
    wait_for(lambda: site.of("house").get("connected") and said(daemon, "Failed to connect to gone"), "the start")
    daemon.signal(number)
    assert daemon.wait(25) == 0, "long before the bus's time-out"
    assert daemon.lines()[-1] == "INFO meterd@test: stopped"
    assert not said(daemon, "Traceback")


# --- kill -9


def test_what_must_survive_survives_kill_9(site: MeterSite) -> None:
    link = site.head("house", "sml", "--speed 5", "power=36000")
    site.write_meters({
        "house": {"driver": "sml", "port": link},
        "pulses": {"driver": "s0", "port": site.pulses("edges", 5), "impulses_per_kwh": 1000},
    })  # fmt: skip
    daemon = site.meterd()
    wait_for(lambda: site.of("pulses").get("import_energy") == 5, "its pulses")
    done = site.meter("set-reading", "pulses", "import_energy", "1000.5kWh")
    assert (done.returncode, done.stderr) == (0, "")
    assert site.of("pulses")["import_energy"] == 1_000_500
    server_id, sensors = site.of("house")["server_id"], set(client_sensors(site))
    daemon.popen.kill()
    daemon.wait()
    site.fault("unplug on", Path(link))
    site.pulses("edges", 7)
    site.meterd(wait=False)
    wait_for(lambda: site.of("pulses").get("connected"), "the restarted daemon")
    pulses = wait_for(lambda: (one := site.of("pulses"))["values"]["pulses"]["value"] >= 12 and one, "further pulses")
    assert pulses["values"]["pulses"]["value"] == 12, "the count goes on"
    assert pulses["import_energy"] == 1_000_507, "so does what it was aligned to"
    assert site.of("house")["server_id"] == server_id
    assert set(client_sensors(site)) == sensors, "series are known before the first telegram"
    with site.client() as client:
        measured = client.last_measurement()
    assert math.isnan(measured["house.power"])
    assert measured["house.power_valid"] is False
    assert site.kept()["pulses"]["jumps"]["import_energy"][0]["cause"] == "aligned"
    site.fault("unplug off", Path(link))
    wait_for(lambda: site.of("house").get("connected"), "the house")
    assert "house_fell" not in site.status()["alarms"]


def client_sensors(site: MeterSite) -> dict[str, dict[str, str]]:
    with site.client() as client:
        return dict(client.measurement_sensors())
