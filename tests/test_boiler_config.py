# SPDX-License-Identifier: GPL-3.0-or-later
"""The boiler daemon's config: the few keys that are enough, and whatever is wrong is said, all of it, with its path."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boilersite import BoilerSite, plant_in
from harness import ROOT, wait_for
from served import Lines

from rockit.boiler.config import BoilerConfig, StartSettings
from rockit.boiler.daemon import _board, _boiler
from rockit.boiler.drivers import BOARDS, BOILERS, load
from rockit.boiler.settings import FIELDS
from rockit.common import config, registry
from rockit.common.daemon import Context
from rockit.common.errors import ConfigError
from rockit.tool.check import guess, write_schemas

MINIMAL: dict[str, Any] = {
    "daemon": "localhost_test", "log_name": "boilerd@test", "relay_port": "/dev/relays", "relays": {"boiler": 0},
}  # fmt: skip
WHOLE = {"boiler": 0, "chiller1": 1, "winter_valve": 5, "summer_valve": 6}
W1 = "28-0123456789ab"


@pytest.fixture(autouse=True)
def packaged_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(registry.PACKAGED))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BoilerSite]:
    with plant_in(tmp_path) as made:
        yield made


def parsed(**keys: Any) -> BoilerConfig:
    content = {key: value for key, value in {**MINIMAL, **keys}.items() if value is not None}
    return config.parse(json.dumps(content), BoilerConfig, "test.json")


def problems(**keys: Any) -> list[tuple[str, str]]:
    """Path and sentence of everything wrong; empty where nothing is."""
    try:
        parsed(**keys)
    except ConfigError as error:
        return [(path, said) for path, _, said in (problem.partition(": ") for problem in error.problems)]
    return []


# --- what is right


def test_the_few_keys_that_are_enough() -> None:
    found = parsed()
    assert (found.relay_driver, found.boiler_driver, found.modbus_unit, found.scale) == (
        "numato",
        "lochinvar",
        1,
        "degC",
    )
    assert found.safe_state == "off"
    assert found.start_settings().setpoint_max == pytest.approx((60 - 32) / 1.8), "Chronos's"
    assert found.start_settings().mode_switch_lockout_time == -1
    plant = found.site()
    assert (plant.sources, plant.valves, plant.weather) == (("boiler",), False, False)


@pytest.mark.parametrize(
    "keys",
    [
        {"relays": {"chiller1": 0, "chiller2": 1}}, {"relays": WHOLE, "modbus_port": "/dev/boiler"},
        {"relays": WHOLE, "modbus_port": "tcp://10.0.0.1:502", "modbus_unit": 247, "setpoint_span": [20, 80]},
        {"relay_driver": "modbus", "relay_port": "tcp://10.0.0.2:502", "relay_count": 32, "relays": {"boiler": 31}},
        {"boiler_driver": "otgw", "modbus_port": "socket://otgw:2323"}, {"sensors": {"return": W1,
        "outlet": W1[:-1] + "c"}},
        {"sensors": {"return": {"port": "/dev/bus", "register": 4, "parity": "E"},
                     "outlet": {"port": "/dev/bus", "register": 5, "parity": "E"}}},
        {"sensors": {"return": {"port": "/dev/bus", "register": 4, "parity": "E"},
                     "outlet": {"port": "/dev/bus2", "register": 5}}},
        {"relay_count": 8, "relays": {"boiler": 7}}, {"boiler_driver": "lochinvar", "boiler_enable": True},
        {"sensors": {"return": {"port": "tcp://10.0.0.3", "register": 4}}}, {"settings": {"wind_chill": True}},
        {"weather": {"driver": "weatherlink", "url": "http://host/downld02.txt",
                     "fallback": {"driver": "open-meteo", "url": "https://host/v1"}}},
        {"temperature_unit": "degF", "settings": {"setpoint_min": 52, "setpoint_max": 60, "tolerance": 2,
        "freeze_on": 38,
                                                  "curve": [[10, 100], [70, 70]], "history_curve": [[70, 0],
                                                  [88, 36]]}},
    ],
)  # fmt: skip
def test_what_a_plant_may_be(keys: dict[str, Any]) -> None:
    assert problems(**keys) == []


def test_numbers_are_in_the_scale_of_the_site() -> None:
    settings = parsed(
        temperature_unit="degF",
        settings={"setpoint_min": 50, "tolerance": 1.8, "cascade_time": 5, "history_curve": [[68, 0], [86, 18]]},
    ).start_settings()
    assert settings.setpoint_min == pytest.approx(10)
    assert settings.tolerance == pytest.approx(1), "a difference has no 32"
    assert settings.cascade_time == 5
    assert settings.history_curve == (pytest.approx((20, 0)), pytest.approx((30, 10)))


def test_a_relay_module_may_have_another_frame(tmp_path: Path) -> None:
    found = parsed(relay_driver="modbus", relay_baud=19200, relay_bytesize=8, relay_parity="E", relay_stopbits=2)
    context = Context("test.json", tmp_path, threading.Event(), Lines(), lambda: None)
    bus, board = _board(found, context, lambda: None, print)
    settings = bus._line.settings
    assert (settings.baud, settings.bytesize, settings.parity, settings.stopbits) == (19200, 8, "E", 2)
    assert board.count == 8


@pytest.mark.parametrize("driver", BOILERS)
def test_a_boiler_gets_the_options_that_the_file_gives(tmp_path: Path, driver: str) -> None:
    takes = load(driver, BOILERS).options
    keys = {"temperature_unit": "degF", "setpoint_span": [50, 212], "boiler_enable": True} if takes else {}
    found = parsed(boiler_driver=driver, modbus_port="/dev/boiler", relays=WHOLE, **keys)
    given = found.boiler_options()
    assert set(given) == takes, "and each that some driver takes has its key"
    if takes:
        assert given == {"span": pytest.approx((10, 100)), "enable": True}, "°C"
    _boiler(found, Context("test.json", tmp_path, threading.Event(), Lines(), lambda: None), lambda: None, print)


@pytest.mark.parametrize("driver", BOARDS)
def test_a_board_can_be_had_with_each_count_that_it_names(driver: str) -> None:
    board = load(driver, BOARDS)
    assert board.usual in board.counts
    for count in range(1, 65):
        found = problems(relay_driver=driver, relay_count=count, relays={"boiler": 0})
        assert [path for path, _ in found] == ([] if count in board.counts else ["relay_count"])


def test_every_setting_has_its_key() -> None:
    assert set(StartSettings.__struct_fields__) == set(FIELDS)


# --- what is wrong


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"relays": {"boiler": 0, "pump": 1}}, "relays.pump", "unknown; known are boiler, chiller1"),
        ({"relays": {"boiler": 0, "led_red": 0}}, "relays.led_red", "boiler's relay already"),
        ({"relays": {"boiler": 16}}, "relays.boiler", "0 to 15"),
        ({"relays": {"boiler": 8}, "relay_count": 8}, "relays.boiler", "0 to 7"),
        ({"relays": {}}, "relays", "neither a boiler nor a chiller"),
        ({"relays": {"led_red": 0}}, "relays", "neither a boiler nor a chiller"),
        ({"relays": {"boiler": 0, "winter_valve": 1}}, "relays.summer_valve", "two valves or none"),
        ({"relays": {"boiler": 0, "summer_valve": 1}}, "relays.winter_valve", "two valves or none"),
        ({"relays": {"boiler": 0, "chiller1": 1}}, "relays", "winter_valve and summer_valve are needed"),
        ({"relays": {"boiler": "0"}}, "relays", "int"), ({"relays": {"boiler": -1}}, "relays", "0"),
        ({"relay_driver": "numatto"}, "relay_driver", "known are"),
        ({"boiler_driver": "viessmann"}, "boiler_driver", "known"),
        ({"modbus_port": "/dev/relays"}, "relay_port", "one of their own"),
        ({"modbus_unit": 0}, "modbus_unit", "1"), ({"serial_parity": "X"}, "serial_parity", "X"),
        ({"setpoint_span": [80, 20]}, "setpoint_span", "below"),
        ({"boiler_driver": "sola", "setpoint_span": [20, 80]}, "setpoint_span", "boiler_driver sola does not take it"),
        ({"boiler_driver": "otgw", "boiler_enable": True}, "boiler_enable", "boiler_driver otgw does not take it"),
        ({"relay_driver": "modbus", "relays": {"boiler": 8}}, "relays.boiler", "0 to 7; relay_count says how many"),
        ({"relay_count": 13}, "relay_count", "numato has 8 or 16 relays, not 13"),
        ({"relay_driver": "modbus", "relay_count": 33}, "relay_count", "modbus has 1 to 32 relays, not 33"),
        ({"relay_port": "tcp://10.0.0.1:502"}, "relay_port", ""), ({"relay_parity": "even"}, "relay_parity", "even"),
        ({"boiler_driver": "otgw", "modbus_port": "tcp://10.0.0.1:502"}, "modbus_port", ""),
        ({"sensors": {"return": {"port": "/dev/bus", "register": 1, "baud": 19200, "parity": "E"},
                      "outlet": {"port": "/dev/bus", "register": 2, "stopbits": 2}}},
         "sensors.outlet", "its baud, parity, stopbits must be as those of sensors.return"),
        ({"sensors": {"return": "28-xyz"}}, "sensors.return", "28-0123456789ab"),
        ({"sensors": {"inlet": W1}}, "sensors.inlet", "unknown key"),
        ({"sensors": {"return": {"port": "/dev/relays", "register": 1}}}, "sensors.return.port", "one of its own"),
        ({"weather": {"driver": "open-meteo"}}, "weather.url", "needs it"),
        ({"weather": {"driver": "chronos", "url": "http://h/"}}, "weather", "chronos"),
        ({"weather": {"driver": "weatherlink", "url": "ftp://h/"}}, "weather.url", ""),
        ({"weather": {"driver": "weatherlink", "url": "http://h/", "daemon": "x"}}, "weather.daemon",
         "belongs to rockit"),
        ({"weather": {"driver": "rockit", "daemon": "localhost_test2"}}, "weather.temperature_key", "needs it"),
        ({"weather": {"driver": "weatherlink", "url": "http://h/", "fallback": {"driver": "open-meteo"}}},
         "weather.fallback.url", "needs it"),
        ({"weather": {"driver": "weatherlink", "url": "http://h/", "period": 60, "maximum_age": 30}},
         "weather.maximum_age",
         "shorter"),
        ({"temperature_unit": "K"}, "temperature_unit", "K"), ({"safe_state": "on"}, "safe_state", "on"),
        ({"settings": {"setpoint_minimum": 5}}, "settings.setpoint_minimum", "did you mean setpoint_min"),
        ({"settings": {"setpoint_max": 95}}, "settings.setpoint_max", "90"),
        ({"settings": {"tolerance": 0}}, "settings.tolerance", "0.05"),
        ({"settings": {"tolerance": "1"}}, "settings", ""),
        ({"settings": {"setpoint_min": 30, "setpoint_max": 20}}, "settings", "setpoint_min (30) must be below"),
        ({"settings": {"setpoint_max": 60}}, "settings", "setpoint_max (60) must be below return_high (43.3"),
        ({"settings": {"freeze_on": 9, "freeze_off": 8}}, "settings", "freeze_on (9) must be below freeze_off (8)"),
        ({"settings": {"curve": [[10, 30], [5, 20]]}}, "settings.curve", "rise"),
        ({"settings": {"curve": [[10, 30]]}}, "settings.curve", "2 to 50"),
        ({"temperature_unit": "degF", "settings": {"setpoint_max": 200}}, "settings.setpoint_max", "194"),
        ({"temperature_unit": "degF", "settings": {"setpoint_min": 70, "setpoint_max": 60}}, "settings",
         "setpoint_min (70) must be below setpoint_max (60)"),
        ({"relay_port": None}, "relay_port", ""), ({"relays": None}, "relays", ""), ({"relay": 1}, "relay", ""),
        ({"daemon": "no_such_daemon"}, "daemon", "no_such_daemon"), ({"query_delay": -1}, "query_delay", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_path(keys: dict[str, Any], path: str, said: str) -> None:
    found = problems(**keys)
    assert any(place.startswith(path) and said in text for place, text in found), found


WRONG: dict[str, Any] = {
    "relay_port": "/dev/relays", "relays": {"boiler": 0, "chiller1": 0, "pump": 2, "winter_valve": 3},
    "relay_driver": "numatto", "sensors": {"return": "28-1"}, "temperature_unit": "degF",
    "settings": {"setpoint_max": 300, "tolerance": 100}, "weather": {"driver": "open-meteo", "sensor": "x"},
    "setpoint_span": [5, 5],
}  # fmt: skip
PATHS = (
    "relays.chiller1", "relays.pump", "relays.summer_valve", "relay_driver", "sensors.return", "settings.setpoint_max",
    "settings.tolerance", "weather.sensor", "weather.url", "setpoint_span",
)  # fmt: skip


def test_everything_wrong_is_told_at_once() -> None:
    assert {path for path, _ in problems(**WRONG)} == set(PATHS)


def test_boilerd_check_says_all_at_once_and_exits_78(site: BoilerSite) -> None:
    site.config.write_text(json.dumps({**MINIMAL, **WRONG}))
    for arguments in (("--check", str(site.config)), (str(site.config),)):
        done = site.run(str(ROOT / "boilerd"), *arguments)
        assert done.returncode == 78
        assert "Traceback" not in done.stderr
        for path in PATHS:
            assert f"{path}: " in done.stderr, path
    done = site.rockit("check", str(site.config))
    assert done.returncode == 78
    assert "relays.pump: " in done.stderr + done.stdout
    assert site.boiler("explain", "--outside-temp", "1", "--season", "winter").returncode in (78, 155)


def test_a_good_config_is_known_and_starts(site: BoilerSite) -> None:
    site.write(settings=None, **dict.fromkeys(("modbus_port", "weather", "sensors", "sensor_root", "query_delay")))
    site.config.write_text(json.dumps({**MINIMAL, "relay_port": str(site.relays), "state_directory": str(site.state)}))
    assert guess(str(site.config)) == "boilerd"
    checked = site.rockit("check", str(site.config))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "valid boilerd config" in checked.stdout
    done = site.run(str(ROOT / "boilerd"), "--check", str(site.config))
    assert (done.returncode, done.stderr) == (0, "")
    site.boilerd(wait=False)
    status = wait_for(lambda: (s := site.status()).get("connected") and s, "a poll")
    assert list(status["devices"]) == ["boiler"]
    assert "valves" not in status, "it has none"
    assert {"return_temp", "outside_temp", "boiler_connected"}.isdisjoint(status)


def test_the_schema_of_the_config_is_written_from_the_types(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    flat = (tmp_path / "boilerd.schema.json").read_text()
    json.loads(flat)
    for key in (*BoilerConfig.__struct_fields__, *StartSettings.__struct_fields__):
        assert f'"{"return" if key == "return_" else key}"' in flat, key
