# SPDX-License-Identifier: GPL-3.0-or-later
"""meterd with simulated meters of every kind on real pseudo terminals: what people and scripts see of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import wait_for
from metersite import MeterSite, said, site_in
from smlmeters import dzg, file, register

from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml_types import Time, TimeKind

LIVE = {"house", "roof", "flat", "old", "pushy", "dutch", "pulses", "sub1", "sub2"}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeterSite]:
    """One daemon with meters of all kinds; the last unit of its bus is dead. Tests leave it as it is."""
    with site_in(tmp_path_factory.mktemp("meters")) as made:
        bus = made.head("bus", "sdm630", "units=3", "dead=1")
        meters: dict[str, dict[str, Any]] = {
            "house": {"driver": "sml", "port": made.head("house"), "note": "cellar, left"},
            "roof": {"driver": "sml", "port": made.head("roof", "sml", "form=edl21", "power=-300")},
            "flat": {"driver": "sml", "port": made.head("flat", "sml", "form=two-tariffs", "tariff=2", "power=36000")},
            "old": {"driver": "d0", "port": made.head("old", "d0", "power=-250", "export=7.5")},
            "pushy": {"driver": "d0", "port": made.head("pushy", "d0", "push=1"), "request": False},
            "dutch": {"driver": "p1", "port": made.head("dutch", "p1")},
            "pulses": {"driver": "s0", "port": made.pulses("pulses.edges", 5), "impulses_per_kwh": 800},
        }
        for unit in (1, 2, 3):
            meters[f"sub{unit}"] = {
                "driver": "modbus", "port": bus, "unit": unit, "map": "sdm630", "serial_timeout": 0.5,
            }  # fmt: skip
        made.write_meters(meters)
        made.meterd(wait=False)
        wait_for(lambda: {name for name, one in heard(made).items() if one["connected"]} == LIVE, "all that live")
        yield made


def heard(site: MeterSite) -> dict[str, dict[str, Any]]:
    return dict(site.status().get("meters", {}))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MeterSite]:
    with site_in(tmp_path) as made:
        yield made


# --- what is shown


def nulls(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in nulls(item, f"{path}.{key}")]
    return [path] if value is None else []


def test_the_json_has_the_keys_that_scripts_rely_on(plant: MeterSite) -> None:
    status = plant.json()
    assert {"date", "connected", "reading_age", "alarms", "meters"} <= status.keys()
    assert list(status["meters"]) == [
        "house",
        "roof",
        "flat",
        "old",
        "pushy",
        "dutch",
        "pulses",
        "sub1",
        "sub2",
        "sub3",
    ]
    for name in LIVE:
        meter = status["meters"][name]
        assert meter["connected"] is True, name
        assert meter["pin_locked"] is False
        assert meter["reading_age"] >= 0
        assert meter["frames"] > 0
        assert meter["crc_errors"] == 0
        assert {"power", "import_energy"} <= meter.keys(), name
        for key, one in meter["values"].items():
            assert set(one) == {"value", "unit", "label"}, (name, key)
    assert nulls(status) == [], "what is not known is absent"
    assert status["meters"]["house"]["note"] == "cellar, left"


def test_server_ids_are_as_on_the_plate(plant: MeterSite) -> None:
    ids = {name: one.get("server_id") for name, one in heard(plant).items()}
    assert ids == {
        "house": "1 SIM00 0000 4711", "roof": "1 SIM00 0000 4711", "flat": "1 SIM00 0000 4711",
        "old": "1SIM0012345678", "pushy": "1SIM0012345678", "dutch": "E0012345678901234",
        "pulses": None, "sub1": None, "sub2": None, "sub3": None,
    }  # fmt: skip


def test_energy_is_in_wh_and_power_in_w(plant: MeterSite) -> None:
    meters = heard(plant)
    house, true = meters["house"], plant.info(plant.folder / "house")
    assert 12345678.9 <= house["import_energy"] <= true["import"]
    assert (house["export_energy"], house["power"]) == (1500.0, 420.0)
    assert house["values"]["1-0:16.7.0*255"] == {"value": 420.0, "unit": "W", "label": "Active power"}
    pushed, true = meters["pushy"], plant.info(plant.folder / "pushy")
    assert 1234500 <= pushed["import_energy"] <= 1000 * true["import_energy"] + 0.5
    assert (pushed["export_energy"], pushed["power"]) == (0.0, 500.0)
    dutch, true = meters["dutch"], plant.info(plant.folder / "dutch")
    assert 5555500 <= dutch["import_energy"] <= 1000 * (true["import_1"] + true["import_2"]) + 0.5
    assert dutch["values"]["0-1:24.2.1*255"] == {"value": 987.654, "unit": "m3", "label": "Gas volume"}
    first, second = meters["sub1"], meters["sub2"]
    assert (first["power"], second["power"]) == (1500.0, 1600.0)
    assert 1234500 <= first["import_energy"] < 1240000
    assert 2234500 <= second["import_energy"] < 2240000


def test_export_is_negative_power_though_the_register_has_no_sign(plant: MeterSite) -> None:
    roof = heard(plant)["roof"]
    assert roof["power"] == -300.0
    assert roof["values"]["1-0:15.7.0*255"]["value"] == 300.0
    assert "export_energy" not in roof, "this form of meter does not tell it, and a zero would be a lie"
    old = heard(plant)["old"]
    assert old["power"] == -250.0
    assert 7500 <= old["export_energy"] < 7600


def test_the_total_of_a_meter_with_two_tariffs_is_their_sum(plant: MeterSite) -> None:
    flat = wait_for(lambda: (one := heard(plant)["flat"])["import_energy"] > 12345700 and one, "some energy in T2")
    tariffs = [flat["values"][f"1-0:1.8.{number}*255"]["value"] for number in (1, 2)]
    assert tariffs[0] == 12345678.9
    assert tariffs[1] > 0
    assert flat["import_energy"] == pytest.approx(sum(tariffs), abs=1e-6)


def test_pulses_are_counted(plant: MeterSite) -> None:
    pulses = heard(plant)["pulses"]
    assert pulses["values"]["pulses"]["value"] == 5
    assert pulses["import_energy"] == 6.25


def test_a_meter_that_was_never_heard_has_no_values(plant: MeterSite) -> None:
    dead = wait_for(lambda: "no answer" in (one := heard(plant)["sub3"])["offline_because"] and one, "the cause")
    assert dead["connected"] is False
    assert dead["values"] == {}
    assert not {"power", "import_energy", "export_energy", "reading_age", "date", "server_id"} & dead.keys()
    assert plant.status()["connected"] is True, "others are"


def test_people_see_all_of_it(plant: MeterSite) -> None:
    wait_for(lambda: "unit 3" in heard(plant)["sub3"]["offline_because"], "the cause")
    done = plant.meter("status")
    assert done.returncode == 0
    for text in (
        "house (cellar, left): heard",
        "Power is 420 W",
        "Power is -300 W (export)",
        "Import is 12 345.",
        "sub3: OFFLINE",
        "Cause: unit 3",
        "No reading was ever good",
        "telegrams, 0 with a wrong checksum",
    ):
        assert text in done.stdout, text  # fmt: skip


def test_each_meter_has_its_own_series(plant: MeterSite) -> None:
    with plant.client() as client:
        measured, sensors = client.last_measurement(), client.measurement_sensors()
    assert measured["roof.power"] == -300.0
    assert measured["roof.power_valid"] is True
    assert sensors["dutch.0-1:24.2.1*255"] == {"label": "dutch: Gas volume", "units": "m3"}
    assert sensors["house.power"]["units"] == "W"
    assert {f"{key}_valid" for key in sensors} | set(sensors) == set(measured) - {"date"}


# --- other ways to a meter


def test_simulated_meters_need_no_port(site: MeterSite) -> None:
    site.write_meters({
        "house": {"driver": "sml", "port": "sim://sml?power=-77&speed=5"},
        "old": {"driver": "d0", "port": "sim://d0?power=5"},
        "dutch": {"driver": "p1", "port": "sim://p1?power=9"},
    })  # fmt: skip
    site.meterd()
    assert {name: one["power"] for name, one in heard(site).items()} == {"house": -77, "old": 5, "dutch": 9}


def test_a_head_behind_a_network_port(site: MeterSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"
        site.write_meters({"house": {"driver": "sml", "port": port, "maximum_age": 3}})
        daemon = site.meterd(wait=False)
        for frames in (3, 6):
            connection, _ = server.accept()
            with connection:
                house = wait_for(partial(spoken, site, connection, frames), "three telegrams")
                assert house["import_energy"] == 5430157.7
                assert house["connected"] is True
            wait_for(lambda: said(daemon, "Lost connection"), "the loss of the connection")


def spoken(site: MeterSite, connection: socket.socket, frames: int) -> dict[str, Any]:
    """Send a telegram in pieces; the meter's status when so many were heard (none is before the port is open)."""
    telegram = dzg()
    for at in range(0, len(telegram), 100):
        connection.sendall(telegram[at : at + 100])
    house = site.of("house")
    return house if house.get("frames", 0) >= frames else {}


# --- a bus with a dead unit


def test_a_dead_unit_keeps_nobody_waiting_and_is_told_once(site: MeterSite) -> None:
    bus = site.head("bus", "sdm630", "units=3", "dead=1")
    common = {"driver": "modbus", "port": bus, "map": "sdm630", "serial_timeout": 0.5, "maximum_age": 5}
    site.write_meters({f"sub{unit}": {**common, "unit": unit} for unit in (1, 2, 3)})
    daemon = site.meterd(wait=False)
    wait_for(lambda: site.of("sub2").get("connected"), "the second unit")
    wait_for(lambda: site.of("sub3").get("offline_because", "").startswith("unit 3"), "the cause")
    frames = [site.of(f"sub{unit}")["frames"] for unit in (1, 2)]
    wait_for(lambda: "sub3_offline" in site.status()["alarms"], "the alarm")
    alarm = site.alarm("sub3_offline")
    assert "meter sub3 does not tell" in alarm["text"]
    wait_for(lambda: all(site.of(f"sub{n}")["frames"] > old + 6 for n, old in ((1, frames[0]), (2, frames[1]))),
             "further answers of the others")  # fmt: skip
    for unit in (1, 2):
        assert site.of(f"sub{unit}")["connected"] is True
    assert site.status()["alarms"] == ["sub3_offline"]
    assert len(said(daemon, "sub3 does not answer")) == 1
    site.set("dead", 0, site.folder / "bus")
    wait_for(lambda: site.of("sub3").get("connected"), "the unit that lives again")
    assert site.of("sub3")["power"] == 1700.0
    wait_for(lambda: site.status()["alarms"] == [], "the end of the alarm")
    assert [len(said(daemon, text)) for text in ("sub3 does not answer", "sub3 answers again")] == [1, 1]
    assert said(daemon, "Lost connection") == [], "the bus was never lost"


# --- what a meter tells is shown, known or not


def unheard_of(n: int) -> bytes:
    """A telegram with a register that nobody has heard of, in a unit that nobody has heard of, and odd octets."""
    entries = [
        register("1.8.0", enc.unsigned(1000 + n, 4), 30, 0),
        register("1-0:77.66.5*44", enc.signed(-1234, 2), 210, -2),
        register("1-0:96.99.1*1", enc.octets(b"\xff\x00\xc3\x28"), None, None),
    ]
    when = enc.time(Time(TimeKind.SEC_INDEX, 100 + n))
    return file([enc.list_body(entries, server_id=bytes.fromhex("0a01544553000000002a"), sensor_time=when)], n=n)


def test_a_register_that_nobody_knows_is_an_ordinary_channel(site: MeterSite) -> None:
    head = site.replay("head", b"".join(unheard_of(n) for n in range(4)))
    site.write_meters({"house": {"driver": "sml", "port": head}})
    site.meterd()
    values = site.of("house")["values"]
    assert values["1-0:77.66.5*44"] == {"value": -12.34, "unit": "unit 210", "label": "1-0:77.66.5*44"}
    assert values["1-0:96.99.1*1"]["value"] == "ff00c328"
    with site.client() as client:
        measured = client.last_measurement()
        assert measured["house.1-0:77.66.5*44"] == -12.34
        assert client.measurement_sensors()["house.1-0:77.66.5*44"]["units"] == "unit 210"
    wait_for(lambda: set(site.samples("house.1-0:77.66.5*44")) == {-12.34}, "its history")
    assert "-12.34 unit 210" in site.meter("status").stdout


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ("1-0:2.8.0*255", {"export_energy", "1-0:2.8.0*255"}),
        ("2.8.0", {"export_energy", "1-0:2.8.0*255"}),
        (0x0100020800FF, {"export_energy", "1-0:2.8.0*255"}),
        ("0x0100020800FF", {"export_energy", "1-0:2.8.0*255"}),
        ("export_energy", {"export_energy", "1-0:2.8.0*255"}),
        ("16.7.0", {"power", "1-0:16.7.0*255"}),
        ("power", {"power", "1-0:16.7.0*255"}),
        (0x8181C78205FF, set()),
    ],
)
def test_what_is_filtered_is_neither_shown_nor_kept(site: MeterSite, given: str | int, gone: set[str]) -> None:
    site.write_meters({"house": {"driver": "sml", "port": site.replay("head", dzg()), "filter": [given]}})
    site.meterd()
    house = site.of("house")
    everything = {"power", "import_energy", "export_energy", "1-0:1.8.0*255", "1-0:2.8.0*255", "1-0:16.7.0*255"}
    assert everything & (house.keys() | house["values"].keys()) == everything - gone
    with site.client() as client:
        sensors = {key.partition(".")[2] for key in client.measurement_sensors()}
    assert sensors == {"power", "import_energy", "export_energy"} - gone


def test_a_meter_may_be_recorded_less_often_than_it_speaks(site: MeterSite) -> None:
    head = site.head("head", "sml", "--speed 5", "power=36000")
    site.write_meters({"house": {"driver": "sml", "port": head, "record_every": 3600}})
    site.meterd()
    first = site.of("house")["import_energy"]
    wait_for(lambda: site.of("house")["import_energy"] > first + 50, "further telegrams")
    assert len(site.samples("house.import_energy")) == 1
