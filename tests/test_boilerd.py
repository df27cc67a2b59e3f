# SPDX-License-Identifier: GPL-3.0-or-later
"""boilerd as a script sees it: status, measurements, settings, overrides, history, and what of it survives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boilersite import LEAN, BoilerSite, plant_in, said
from harness import wait_for

from rockit.boiler.settings import FIELDS
from rockit.common.errors import Code, CommandError

STATUS = {
    "date", "connected", "reading_age", "alarms", "season", "season_label", "season_automatic", "return_temp",
    "water_out_temp", "outside_temp", "wind_speed", "outside_temp_average", "baseline_setpoint", "history_adjustment",
    "tha_setpoint", "effective_setpoint", "system_supply_temp", "outlet_temp", "inlet_temp", "flue_temp",
    "cascade_power", "firing_rate", "devices", "valves", "emergency", "unit",
}  # fmt: skip
DEVICE = {"on", "override", "since", "may_change_at", "run_hours", "starts", "why"}
SOURCES = ["boiler", "chiller1", "chiller2", "chiller3", "chiller4"]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoilerSite]:
    """A plant in winter; tests leave its settings and overrides as they were."""
    with plant_in(tmp_path_factory.mktemp("plant")) as made:
        made.stands("winter_valve")
        made.write()
        made.boilerd()
        wait_for(lambda: set(made.status()) >= STATUS, "everything that is measured")
        wait_for(lambda: "boiler_demand" in made.status(), "the demand")
        wait_for(lambda: made.command("set_override", "boiler", "on")[0] == 0, "a valve that is proved open")
        assert made.command("set_override", "boiler", "auto")[0] == 0
        yield made
        made.never_wrong()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BoilerSite]:
    with plant_in(tmp_path) as made:
        made.stands("winter_valve")
        yield made
        made.never_wrong()


def events(site: BoilerSite, name: str) -> list[dict[str, str]]:
    return [event for event in site.history("events")["events"] if event["name"] == name]


# --- what can be asked


def test_the_status_has_every_key_of_a_plant(plant: BoilerSite) -> None:
    status = plant.status()
    assert set(status) >= STATUS
    assert list(status["devices"]) == SOURCES
    for name, device in status["devices"].items():
        assert set(device) - {"longer"} == DEVICE, name
        assert type(device["on"]) is bool
    assert status["valves"] == {"winter": True, "summer": False}
    assert (status["season"], status["season_label"], status["unit"]) == (0, "WINTER", "degC")
    assert (status["connected"], status["emergency"], status["alarms"]) == (True, False, [])
    assert "season_change_ends" not in status
    assert "faults" not in status
    assert status["effective_setpoint"] == 20.5, "the curve says more, and setpoint_max is less"
    assert status["baseline_setpoint"] == pytest.approx(21.667, abs=0.001), "71 °F, at 68 °F"
    assert status["boiler_demand"] == 21.0, "the least that it can be told"


def test_measurements_are_all_there_numbers_and_valid(plant: BoilerSite) -> None:
    with plant.client() as client:
        measured, sensors = client.last_measurement(), client.measurement_sensors()
    assert {"return_temp", "outside_temp", "effective_setpoint", "cascade_power", "lockout_code"} <= set(sensors)
    assert set(measured) == {"date"} | set(sensors) | {f"{key}_valid" for key in sensors}
    for key in sensors:
        assert isinstance(measured[key], int | float), key
        # A boiler of which nothing is asked holds no set point.
        assert measured[f"{key}_valid"] is True or key in ("system_setpoint", "outlet_setpoint"), key


def test_before_the_first_reading_nothing_is_invented(site: BoilerSite) -> None:
    for link in (site.relays, site.boiler_link):
        site.fault("unplug on", link)
    for sensor in site.sensors.values():
        sensor.fault = "missing"
    site.plant.station.fault = "500"
    site.plant.folder.refresh()
    site.write()
    site.boilerd(wait=False)
    wait_for(lambda: site.status().get("offline_because"), "an answer")
    with site.client() as client:
        measured, status = client.last_measurement(), client.report_status()
        for key in set(client.measurement_sensors()) - {"effective_setpoint"}:
            assert math.isnan(measured[key]), key
            assert measured[f"{key}_valid"] is False, key
    unknown = STATUS - {"date", "connected", "alarms", "emergency", "unit", "devices", "effective_setpoint"}
    assert not unknown & set(status)
    assert status["connected"] is False
    assert None not in status.values()


def test_it_tells_what_it_is_and_can_do(plant: BoilerSite) -> None:
    with plant.client() as client:
        found = client.describe()
    assert (found["kind"], found["driver"], found["boiler_driver"]) == ("boiler", "numato", "lochinvar")
    assert found["device"]["family"] == "Numato USB relay"
    assert found["boiler"]["family"] == "Lochinvar"
    classes = {name: method["class"] for name, method in found["methods"].items()}
    assert {classes[name] for name in ("set_season", "set_override", "set_setting")} == {"operate"}
    assert {classes[name] for name in ("report_status", "settings", "explain", "counters", "history")} == {"read"}
    assert all(method["doc"] for method in found["methods"].values())
    assert set(found["settings"]) == set(FIELDS)
    assert found["settings"]["tolerance"]["unit"] == "K"
    assert {"label", "unit", "maximum_age"} <= set(found["measurements"]["return_temp"])


def test_the_set_point_is_explained_as_it_is_now(plant: BoilerSite) -> None:
    found = plant.call("explain")
    status = plant.status()
    for key in ("baseline_setpoint", "history_adjustment", "tha_setpoint", "effective_setpoint", "unit"):
        assert found[key] == pytest.approx(status[key], abs=0.001) if key != "unit" else found[key] == status[key]
    assert any("lowered to setpoint_max" in step for step in found["steps"])
    cold = plant.call("explain", -20.0, None, "winter")
    assert cold["baseline_setpoint"] == pytest.approx(37.778, abs=0.001)
    for wrong in (("a", None, 0), (1.0, math.nan, 0), (1.0, None, 7), (1.0, None, "spring"), (1.0, None, 0, True)):
        with pytest.raises(CommandError) as caught:
            plant.call("explain", *wrong)
        assert caught.value.code == Code.OUT_OF_RANGE


# --- overrides


def test_an_override_is_done_when_its_relay_was_read_back(plant: BoilerSite) -> None:
    code, text = plant.command("set_override", "boiler", "on")
    assert (code, text) == (0, "boiler is on, read back")
    assert "boiler" in plant.on()
    device = plant.device("boiler")
    assert (device["on"], device["override"]) == (True, "on")
    assert "override on" in device["why"]
    starts = device["starts"]
    assert plant.command("set_override", "boiler", "on")[0] == 0, "again"
    assert plant.device("boiler")["starts"] == starts
    assert plant.command("set_override", "boiler", "off") == (0, "boiler is off, read back")
    assert "boiler" not in plant.on()
    code, text = plant.command("set_override", "boiler", "auto")
    assert code == 0
    assert "follows the control" in text
    assert plant.device("boiler")["override"] == "auto"


def test_an_override_against_the_season_is_held_and_noted(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    code, text = site.command("set_override", "chiller2", "on")
    assert (code, "the season is WINTER" in text, "noted" in text) == (Code.HELD, True, True), text
    assert site.device("chiller2")["override"] == "on"
    assert "chiller2" not in site.on()
    daemon.popen.kill()
    daemon.wait()
    site.boilerd()
    assert site.device("chiller2")["override"] == "on", "an order survives"
    assert site.command("set_season", "summer")[0] == 0
    wait_for(lambda: "chiller2" in site.on(), "the order, in its season")
    assert site.command("set_override", "boiler", "on")[0] == Code.HELD


def test_what_was_switched_off_rests_whoever_wants_it_on_and_a_restart_forgets_no_rest(site: BoilerSite) -> None:
    site.write({"boiler_minimum_off_time": 600, "boiler_minimum_on_time": 600}, **LEAN)
    daemon = site.boilerd()
    assert site.command("set_setting", "boiler_minimum_off_time", 0)[0] == 0
    wait_for(lambda: site.command("set_override", "boiler", "on")[0] == 0, "the boiler")
    code, text = site.command("set_override", "boiler", "auto")
    assert (code, site.device("boiler")["on"]) == (0, True), "auto waits for its minimum time"
    assert "held by" in site.device("boiler")["why"]
    assert site.command("set_override", "boiler", "off")[0] == 0, "an order to stop waits for nothing"
    assert site.command("set_setting", "boiler_minimum_off_time", 600)[0] == 0
    code, text = site.command("set_override", "boiler", "on")
    assert code == Code.HELD, text
    assert "minimum" in text
    status = site.status()
    free_at = status["devices"]["boiler"]["may_change_at"]
    assert free_at > status["date"]
    wait_for(lambda: site.kept().get("request", {}).get("overrides") == {"boiler": "on"}, "the disk")
    daemon.popen.kill()
    daemon.wait()
    site.boilerd()
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 10, "some polls")
    assert "boiler" not in site.on()
    assert abs(int(site.device("boiler")["may_change_at"][-3:-1]) - int(free_at[-3:-1])) in (0, 1, 59)
    assert site.command("set_setting", "boiler_minimum_off_time", 0)[0] == 0
    wait_for(lambda: "boiler" in site.on(), "the boiler, when it may")


@pytest.mark.parametrize(
    ("method", "arguments", "told"),
    [
        ("set_override", ("chiller5", "on"), "chiller4"), ("set_override", ("winter_valve", "on"), "follow the season"),
        ("set_override", ("boiler", "maybe"), "auto, on or off"), ("set_override", ("boiler", 1), "auto, on or off"),
        ("set_season", (2,), "0 (winter)"), ("set_season", ("spring",), "0 (winter)"),
        ("set_season", (True,), "season"),
        ("set_season", (None,), "season"), ("set_setting", ("no_such", 1), "there is no setting"),
        ("set_setting", ("tolerance", 0), "tolerance"), ("set_setting", ("tolerance", math.nan), "tolerance"),
        ("set_setting", ("tolerance", "1"), "must be a number"), ("set_setting", ("tolerance", True), "number"),
        ("set_setting", ("valve_time", 0.5), "valve_time"), ("set_setting", ("setpoint_min", 20.5), "setpoint_max"),
        ("set_setting", ("return_high", 20.2), "below return_high"),
        ("set_setting", ("curve", [[0, 1]]), "break points"),
        ("set_setting", ("curve", [[5, 30], [0, 40]]), "rise"), ("set_setting", ("curve", 3), "curve"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_changes_nothing(
    plant: BoilerSite, method: str, arguments: tuple[Any, ...], told: str
) -> None:
    before = plant.call("settings"), plant.status()["season"]
    code, text = plant.command(method, *arguments)
    assert code == Code.OUT_OF_RANGE, text
    assert told in text
    assert (plant.call("settings"), plant.status()["season"]) == before
    assert plant.device("boiler")["override"] == "auto"


def test_others_may_look_and_not_touch(site: BoilerSite) -> None:
    site.write(control_machines=["Elsewhere"], **LEAN)
    site.boilerd()
    for method, arguments in (
        ("set_season", (1,)), ("set_override", ("boiler", "on")), ("set_setting", ("tolerance", 2)),
        ("acknowledge", ("emergency", "")),
    ):  # fmt: skip
        assert site.command(method, *arguments)[0] == Code.NOT_ACCEPTED, method
    assert site.status()["season_label"] == "WINTER"
    assert site.call("settings")["tolerance"] == 1


# --- settings


def test_a_setting_counts_at_once_and_everybody_knows_who_changed_it(plant: BoilerSite) -> None:
    code, text = plant.command("set_setting", "setpoint_max", 20.25)
    assert (code, text) == (0, "setpoint_max is 20.25 degC (was 20.5)")
    assert plant.call("settings")["setpoint_max"] == 20.25
    wait_for(lambda: plant.status()["effective_setpoint"] == 20.25, "the set point")
    event = wait_for(lambda: [one for one in events(plant, "setpoint_max") if one["kind"] == "setting"], "the record")[
        -1
    ]
    assert (event["value"], event["detail"], event["who"]) == ("20.25", "was 20.5", "127.0.0.1")
    assert plant.command("set_setting", "setpoint_max", 20.5)[0] == 0
    curve = plant.call("settings")["curve"]
    assert plant.command("set_setting", "curve", [[-10, 20.3], [10, 20.1]])[0] == 0
    wait_for(lambda: plant.status()["effective_setpoint"] == 20.1, "the set point of that curve")
    assert plant.command("set_setting", "curve", curve)[0] == 0
    assert plant.call("settings")["curve"] == curve
    wait_for(lambda: plant.status()["effective_setpoint"] == 20.5, "the set point as it was")


def test_settings_survive_kill_9_until_the_config_says_something_new(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    assert site.command("set_setting", "tolerance", 1.5)[0] == 0
    assert site.command("set_setting", "cascade_time", 3)[0] == 0
    daemon.popen.kill()
    daemon.wait()
    daemon = site.boilerd()
    found = site.call("settings")
    assert (found["tolerance"], found["cascade_time"]) == (1.5, 3)
    daemon.stop()
    site.write({"tolerance": 0.7}, **LEAN)
    daemon = site.boilerd()
    found = site.call("settings")
    assert (found["tolerance"], found["cascade_time"]) == (0.7, 3), "the config has said something new of one of them"
    [line] = said(daemon, "as the config says anew")
    assert "tolerance is 0.7" in line
    assert "1.5" in line
    daemon.stop()
    site.write(**LEAN)
    site.boilerd()
    assert site.call("settings")["tolerance"] == 1, "1.5 was forgotten then"


def test_a_state_that_cannot_be_read_is_an_alarm_until_somebody_has_seen_it(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.state.mkdir()
    (site.state / "boiler.json").write_text('{"request": 5')
    daemon = site.boilerd()
    assert site.status()["season_label"] == "WINTER", "as the valves say"
    assert "state_lost" in site.alarms() or site.alarm("state_lost")
    assert said(daemon, "starts from what its valves and its config say")
    assert site.command("acknowledge", "state_lost", "seen")[0] == 0
    wait_for(lambda: not site.alarm("state_lost"), "its end")


# --- history


def test_the_history_is_in_celsius_whatever_people_see(tmp_path: Path) -> None:
    with plant_in(tmp_path) as site:
        site.stands("winter_valve")
        fahrenheit = {
            "setpoint_min": 66, "setpoint_max": 69, "setpoint_offset_winter": 0, "setpoint_offset_summer": 0,
            "tolerance": 2,
        }  # fmt: skip
        site.write(fahrenheit, temperature_unit="degF", modbus_port=None)
        site.boilerd()
        status = wait_for(lambda: (s := site.status()).get("return_temp") and s.get("outside_temp") and s, "a status")
        assert (status["unit"], status["return_temp"], status["effective_setpoint"]) == ("degF", 68.0, 69.0)
        assert status["wind_unit"] == "mph"
        assert status["wind_speed"] == pytest.approx(2.0 / 0.44704, abs=0.01)
        samples = wait_for(lambda: site.series("return_temp"), "samples")
        assert {value for _, value in samples} == {20.0}
        for _, value in site.series("effective_setpoint"):
            assert value == pytest.approx(20.556, abs=0.001)
        with site.client() as client:
            assert client.last_measurement()["return_temp"] == 20.0
            assert client.describe()["measurements"]["return_temp"]["unit"] == "degC"
        site.never_wrong()


def test_states_and_commands_are_recorded_under_the_names_of_the_past(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd()
    wait_for(lambda: site.command("set_override", "boiler", "on")[0] == 0, "the boiler")
    wait_for(lambda: [one["value"] for one in events(site, "boiler")] == ["off", "on"], "the boiler, in the history")
    assert site.command("set_season", 1)[0] == 0
    site.settled("SUMMER")
    wait_for(lambda: [one["value"] for one in events(site, "season")][-1:] == ["SUMMER"], "the season")
    assert [one["value"] for one in events(site, "season")] == ["WINTER", "TO_SUMMER", "SUMMER"]
    assert [one["value"] for one in events(site, "boiler")] == ["off", "on", "off"]
    assert [one["value"] for one in events(site, "winter_valve")] == ["on", "off"]
    assert [one["value"] for one in events(site, "summer_valve")] == ["off", "on"]
    assert [one["value"] for one in events(site, "boiler_override")][-1:] == ["on"]
    assert [one["value"] for one in events(site, "emergency")] == ["none"]
    [season] = events(site, "set_season")
    assert (season["kind"], season["value"], season["who"]) == ("command", "0", "127.0.0.1")
    site.fault("unplug on", site.relays)
    wait_for(lambda: [one["value"] for one in events(site, "chiller1")] == ["off", "unknown"], "what is not known")
