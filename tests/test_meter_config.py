# SPDX-License-Identifier: GPL-3.0-or-later
"""The meter daemon's config: whatever is wrong is said, all of it, each with its path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT
from metersite import MeterSite, site_in

from rockit.common import config, registry
from rockit.common.errors import ConfigError
from rockit.meter.config import MeterConfig, MeterdConfig
from rockit.meter.names import NAMES
from rockit.tool.check import guess, write_schemas

SML = {"driver": "sml", "port": "/dev/hm_1"}
S0 = {"driver": "s0", "port": "gpio://gpiochip0/24", "impulses_per_kwh": 1000}
BUS = {"driver": "modbus", "port": "/dev/bus", "map": "sdm630"}


@pytest.fixture(autouse=True)
def packaged_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(registry.PACKAGED))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[MeterSite]:
    with site_in(tmp_path) as made:
        yield made


def text(meters: dict[str, Any], **keys: Any) -> str:
    return json.dumps({"daemon": "localhost_test", "log_name": "meterd@test", "meters": meters, **keys})


def parsed(meters: dict[str, Any], **keys: Any) -> MeterdConfig:
    return config.parse(text(meters, **keys), MeterdConfig, "test.json")


def problems(meters: dict[str, Any], **keys: Any) -> list[tuple[str, str]]:
    """Path and sentence of everything wrong; empty where nothing is."""
    try:
        parsed(meters, **keys)
    except ConfigError as error:
        return [(path, said) for path, _, said in (problem.partition(": ") for problem in error.problems)]
    return []


# --- what is right


def test_the_few_keys_that_are_enough() -> None:
    house = parsed({"house": SML}).meters["house"]
    assert (house.driver, house.note, house.filter, house.record_every) == ("sml", "", [], 0)
    assert house.age(10) == 30


def test_what_each_driver_takes_is_taken() -> None:
    meters = {
        "sml": {**SML, "note": "cellar", "serial_baud": 9600, "serial_parity": "N", "filter": ["1.8.0", 2**40]},
        "d0": {"driver": "d0", "port": "/dev/d0", "request": False, "address": "0012", "baud_delay": 0.5,
               "checked": False, "serial_bytesize": 7, "rollover": 1e8},
        "p1": {"driver": "p1", "port": "socket://host:2001", "checked": False, "maximum_age": 100},
        "s0": {**S0, "debounce": 8, "direction": "export", "zero_after": 600},
        "wire": {**S0, "port": "serial-line:///dev/ttyS0?line=ri"},
        "bus1": {**BUS, "serial_stopbits": 1.5}, "bus2": {**BUS, "unit": 2, "serial_stopbits": 1.5},
        "far": {**BUS, "port": "tcp://10.0.0.1:502"}, "roof": {**BUS, "port": "tcp://10.0.0.2:502", "map": "sunspec"},
    }  # fmt: skip
    tariffs = [
        {"from": "2026-01-01", "import": 0.35, "export": 0.08, "per_day": 0.4},
        {"from": "2026-01-01", "import": {"T1": 0.3, "T2": 0.2}, "meters": ["bus1", "bus2"]},
        {"from": "2026-07-01", "import": 0.36},
    ]
    assert problems(meters, tariffs=tariffs, time_zone="Europe/Berlin", currency="CHF") == []


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("1.8.0", "1-0:1.8.0*255"), ("1-0:1.8.0", "1-0:1.8.0*255"), ("1-0:1.8.0*255", "1-0:1.8.0*255"),
        ("0x0100010800FF", "1-0:1.8.0*255"), (0x0100010800FF, "1-0:1.8.0*255"),
        (0x8181C78205FF, "129-129:199.130.5*255"), (0, "0-0:0.0.0*0"), ("power", "power"),
    ],
)  # fmt: skip
def test_what_is_filtered_may_be_written_in_many_ways(item: str | int, code: str) -> None:
    assert parsed({"house": {**SML, "filter": [item]}}).meters["house"].filtered - {NAMES.get(code)} == {code}


# --- what is wrong


@pytest.mark.parametrize(
    ("meters", "path", "said"),
    [
        ({}, "meters", "names no meter"),
        ({"a.b": SML}, "meters.a.b", "letters, digits"),
        ({"": SML}, "meters.", "letters, digits"),
        ({"x" * 41: SML}, f"meters.{'x' * 41}", "40 at most"),
        ({"a": {**SML, "driver": "smll"}}, "meters.a.driver", "smll"),
        ({"a": {"driver": "sml"}}, "meters.a.port", "required"),
        ({"a": {**SML, "port": ""}}, "meters.a.port", "length"),
        ({"a": {**SML, "poort": 1}}, "meters.a.poort", "unknown"),
        (
            {"a": {**SML, "impulses_per_kwh": 5}},
            "meters.a.impulses_per_kwh",
            "is a key of s0 meters, and this one is sml",
        ),
        ({"a": {**SML, "debounce": 5}}, "meters.a.debounce", "is a key of s0 meters"),
        ({"a": {**SML, "direction": "export"}}, "meters.a.direction", "is a key of s0 meters"),
        ({"a": {**SML, "zero_after": 5}}, "meters.a.zero_after", "is a key of s0 meters"),
        ({"a": {**SML, "map": "sdm630"}}, "meters.a.map", "is a key of modbus meters"),
        ({"a": {**SML, "unit": 2}}, "meters.a.unit", "is a key of modbus meters"),
        ({"a": {**SML, "request": False}}, "meters.a.request", "is a key of d0 meters"),
        ({"a": {**SML, "address": "1"}}, "meters.a.address", "is a key of d0 meters"),
        ({"a": {**SML, "baud_delay": 1}}, "meters.a.baud_delay", "is a key of d0 meters"),
        ({"a": {**SML, "checked": False}}, "meters.a.checked", "is a key of d0 and p1 meters"),
        ({"a": {**SML, "serial_stopbits": 1.2}}, "meters.a.serial_stopbits", "1, 1.5 or 2"),
        ({"a": {**SML, "serial_parity": "M"}}, "meters.a.serial_parity", "M"),
        ({"a": {**SML, "serial_bytesize": 9}}, "meters.a.serial_bytesize", "9"),
        ({"a": {**SML, "maximum_age": 0}}, "meters.a.maximum_age", "> 0"),
        ({"a": {**SML, "rollover": -5}}, "meters.a.rollover", "> 0"),
        ({"a": {**SML, "record_every": -5}}, "meters.a.record_every", ">= 0"),
        ({"a": {**SML, "filter": [2**48]}}, "meters.a.filter", "six bytes"),
        ({"a": {**SML, "filter": [-1]}}, "meters.a.filter", "six bytes"),
        ({"a": {**SML, "port": "ftp://x"}}, "meters.a.port", "unknown kind of port ftp://"),
        ({"a": {**SML, "port": "tcp://x:5"}}, "meters.a.port", "unknown kind of port tcp://"),
        ({"a": {**SML, "port": "socket://x"}}, "meters.a.port", "socket://HOST:PORT"),
        ({"a": {**SML, "port": "sim://nothing"}}, "meters.a.port", "nothing"),
        ({"a": {**SML, "port": "sim://sml?form=odd"}}, "meters.a.port", "form is modern"),
        ({"a": {"driver": "s0", "port": S0["port"]}}, "meters.a.impulses_per_kwh", "required for s0"),
        ({"a": {**S0, "impulses_per_kwh": 0}}, "meters.a.impulses_per_kwh", "> 0"),
        ({"a": {**S0, "port": "/dev/ttyS0"}}, "meters.a.port", "where the pulses come in"),
        ({"a": {**S0, "port": "socket://h:1"}}, "meters.a.port", "gpio://gpiochip0/24"),
        ({"a": {"driver": "modbus", "port": "/dev/a"}}, "meters.a.map", "required for modbus"),
        ({"a": {**BUS, "map": "sdm63"}}, "meters.a.map", "no register map of that name"),
        ({"a": {**BUS, "map": "sunspec:x"}}, "meters.a.map", "sunspec:inverter"),
        ({"a": {**BUS, "unit": 256}}, "meters.a.unit", "255"),
        ({"a": SML, "b": SML}, "meters.b.port", "is the port of a as well; only Modbus meters share one"),
        ({"a": {**SML, "port": "/dev/bus"}, "b": BUS}, "meters.b.port", "is the port of a as well"),
        ({"a": {**BUS, "unit": 7}, "b": {**BUS, "unit": 7}}, "meters.b.unit", "unit 7 on /dev/bus is a already"),
        ({"a": BUS, "b": {**BUS, "unit": 1}}, "meters.b.unit", "unit 1 on /dev/bus is a already"),
        (
            {"a": BUS, "b": {**BUS, "unit": 2, "serial_baud": 300}},
            "meters.b.port",
            "line settings differ from those of a",
        ),
    ],
)
def test_what_is_wrong_with_a_meter_is_said_with_its_path(meters: dict[str, Any], path: str, said: str) -> None:
    ((where, sentence),) = problems(meters)
    assert where == path
    assert said in sentence


def test_units_of_the_same_number_on_two_buses_are_two() -> None:
    assert problems({"a": BUS, "b": {**BUS, "port": "/dev/other"}}) == []


DAY = {"from": "2026-01-01", "import": 0.3}


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"tariffs": [DAY, DAY]}, "tariffs[1].from", "2026-01-01 is the first day of tariffs[0] as well"),
        ({"tariffs": [{**DAY, "meters": ["a"]}, {**DAY, "meters": ["b", "a"]}]}, "tariffs[1].from", "of tariffs[0]"),
        ({"tariffs": [{**DAY, "meters": ["attic"]}]}, "tariffs[0].meters", "there is no meter 'attic'"),
        ({"tariffs": [{**DAY, "from": "2026-02-30"}]}, "tariffs[0].from", "date"),
        ({"tariffs": [{"import": 1}]}, "tariffs[0].from", "required"),
        ({"tariffs": [{**DAY, "import": {"T3": 1}}]}, "tariffs[0].import", "T3"),
        ({"tariffs": [{**DAY, "import": "cheap"}]}, "tariffs[0].import", "expected"),
        ({"time_zone": "Mars/North"}, "time_zone", "unknown zone 'Mars/North'"),
        ({"time_zone": "../../etc/passwd"}, "time_zone", "unknown zone"),
        ({"currency": ""}, "currency", "length"),
        ({"daemon": "nobody"}, "daemon", "nobody"),
        ({"serial_port": "/dev/x"}, "serial_port", "unknown"),
    ],
)
def test_what_is_wrong_beside_the_meters_is_said_with_its_path(keys: dict[str, Any], path: str, said: str) -> None:
    ((where, sentence),) = problems({"a": SML, "b": S0}, **keys)
    assert where == path
    assert said in sentence


def test_a_meter_may_have_prices_of_its_own_from_the_day_of_the_others() -> None:
    assert problems({"a": SML, "b": S0}, tariffs=[DAY, {**DAY, "meters": ["a"]}]) == []


# --- by the programs

WRONG: dict[str, dict[str, Any]] = {
    "a.b": SML, "c": {**SML, "port": "/dev/c", "unit": 3}, "d": {"driver": "modbus", "port": "/dev/d"},
    "e": {"driver": "s0", "port": "/dev/e"}, "f": SML,
}  # fmt: skip


def test_meterd_check_says_all_at_once_and_exits_78(site: MeterSite) -> None:
    site.write_meters(WRONG, tariffs=[DAY, DAY], time_zone="Mars/North")
    done = site.run(str(ROOT / "meterd"), "--check", str(site.config))
    assert done.returncode == 78
    assert "Traceback" not in done.stderr
    for path in (
        "meters.a.b: ",
        "meters.c.unit: ",
        "meters.d.map: ",
        "meters.e.impulses_per_kwh: ",
        "meters.e.port: ",
        "meters.f.port: ",
        "tariffs[1].from: ",
        "time_zone: ",
    ):
        assert path in done.stderr, path  # fmt: skip
    started = site.run(str(ROOT / "meterd"), str(site.config))
    assert started.returncode == 78, "it does not start with it either"


def test_meterd_check_and_rockit_check_know_a_good_one(site: MeterSite) -> None:
    site.write_meters({"house": SML, "heat": S0, "bus": BUS})
    done = site.run(str(ROOT / "meterd"), "--check", str(site.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert guess(str(site.config)) == "meterd"
    done = site.rockit("check", str(site.config))
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid meterd config" in done.stdout


def test_the_schema_of_the_config_is_written_from_the_types(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    schema = json.loads((tmp_path / "meterd.schema.json").read_text())
    flat = json.dumps(schema)
    for key in MeterConfig.__struct_fields__:
        assert f'"{key}"' in flat, key
    assert {"daemon", "log_name", "meters", "tariffs", "time_zone", "currency"} <= set(
        schema.get("properties") or schema["$defs"]["MeterdConfig"]["properties"]
    )
    for name in ("from", "import", "export", "per_day"):
        assert f'"{name}"' in flat


def test_one_address_may_have_several_devices_of_sunspec() -> None:
    tcp = {"driver": "modbus", "port": "tcp://10.0.0.1:502", "unit": 1}
    found = parsed(
        {
            "one": {**tcp, "map": "sunspec:meter"}, "two": {**tcp, "map": "sunspec:meter", "index": 1},
            "sun": {**tcp, "map": "sunspec:inverter"}, "other": {**tcp, "map": "sdm630", "unit": 0},
        }
    )  # fmt: skip
    assert set(found.meters) == {"one", "two", "sun", "other"}
