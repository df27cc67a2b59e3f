# SPDX-License-Identifier: GPL-3.0-or-later
"""boilerd when something goes wrong: lines, boards, relays, sensors, the weather, the water, and who kills it."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from boilersite import LEAN, BoilerSite, plant_in, said
from harness import wait_for

from rockit.boiler.simulators import onewire
from rockit.boiler.simulators.site import RELAYS
from rockit.common.errors import Code

BAD_REPLIES = (
    "checksum", "truncate", "truncate 3", "garbage before", "garbage instead", "foreign before",
    "foreign instead", "drop 0", "drop", "silence", "late 0.3", "late 1.2", "double",
)  # fmt: skip
COUNTED = ("timeouts", "late", "doubled", "foreign", "checksum", "truncated", "malformed", "garbage")
QUICK_WEATHER = {"period": 0.3, "timeout": 0.5, "maximum_age": 1.0}
SEEN_WRONG = ("missing", "crc", "zeros", "open", "85", "0")
"""Faults of a sensor that are seen at once; `stuck` takes an hour of heating."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[BoilerSite]:
    with plant_in(tmp_path) as made:
        made.stands("winter_valve")
        yield made
        made.never_wrong()


def on_by_hand(site: BoilerSite, name: str) -> None:
    """Switch a source on, once its valve is proved open."""
    wait_for(lambda: site.command("set_override", name, "on")[0] == 0, f"{name} by hand")


def surroundings(site: BoilerSite) -> Path:
    return site.plant.path / "surroundings"


def weather(site: BoilerSite) -> dict[str, Any]:
    return {**site.plant.config()["weather"], **QUICK_WEATHER}


# --- one bad reply


def bad_replies_cost_a_cycle(
    site: BoilerSite, link: Path, faults: tuple[str, ...], look: Callable[[dict[str, Any]], None], goes_on: str
) -> None:
    """Each fault once: `goes_on` counts on, `look` is content with each status meanwhile, and somebody counted."""
    device = site.plant.ports[link.name].device
    with site.client() as client:
        for fault in faults:
            name, _, argument = fault.partition(" ")
            before = client.counters()
            site.fault(f"{name} once {argument}".strip(), link)

            def over(before: dict[str, int] = before) -> bool:
                look(client.report_status())
                return not device.active() and client.counters()[goes_on] > before[goes_on] + 5

            wait_for(over, f"good answers after {fault}")
            after = client.counters()
            assert after["polls_failed"] - before["polls_failed"] <= 1, fault
            assert after["connections_lost"] == 0, fault
            if fault != "late 0.3":  # which is in time
                assert sum(after[key] - before[key] for key in COUNTED) > 0, fault
        assert client.counters()["internal_errors"] == 0


def test_one_bad_reply_of_the_relays_costs_a_cycle_and_is_believed_nothing(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    moves = len(site.moves())

    def look(status: dict[str, Any]) -> None:
        assert status["connected"] is True
        assert set(status["alarms"]) <= {"unsteady_line"}, "of losses, so many of them one after the other"
        assert status["valves"] == {"winter": True, "summer": False}
        assert {name for name, one in status["devices"].items() if one["on"]} == {"boiler"}

    bad_replies_cost_a_cycle(site, site.relays, BAD_REPLIES, look, "answers")
    assert len(site.moves()) == moves, "nothing was switched because of it"
    assert not said(daemon, "Lost connection")


def test_one_bad_reply_of_the_boiler_costs_a_cycle_and_is_believed_nothing(site: BoilerSite) -> None:
    site.write(weather=None)
    daemon = site.boilerd()
    wait_for(lambda: "boiler_demand" in site.status(), "the boiler")

    def look(status: dict[str, Any]) -> None:
        assert status["boiler_connected"] is True
        assert set(status["alarms"]) <= {"boiler_unsteady_line"}
        assert status["boiler_demand"] == 21.0
        for key in ("inlet_temp", "outlet_temp", "system_supply_temp"):
            assert status.get(key, 20.0) == pytest.approx(20.0, abs=0.2)

    faults = ("checksum", "truncate", "garbage instead", "foreign instead", "drop", "silence", "late 1.2")
    device = site.plant.boiler
    bad_replies_cost_a_cycle(site, site.boiler_link, faults, look, "demands")
    for fault in ("deaf once", "refuse once 4"):
        site.fault(fault, site.boiler_link)
        wait_for(lambda: not device.active(), fault)
    wait_for(lambda: site.status().get("boiler_connected") and site.status().get("boiler_demand") == 21.0, "it goes on")
    assert set(site.alarms()) <= {"boiler_unsteady_line"}
    assert not said(daemon, "Lost connection")


def test_an_order_whose_answer_is_bad_is_carried_out_once(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd()
    on_by_hand(site, "boiler")
    expected, on = [True], True
    for fault in ("silence", "garbage instead", "foreign instead", "truncate", "drop 2", "late 1.2", "silence"):
        on = not on
        expected.append(on)
        name, _, argument = fault.partition(" ")
        site.fault(f"{name} once {argument}".strip(), site.relays)
        code, text = site.command("set_override", "boiler", "on" if on else "off")
        assert code in (0, Code.DEVICE_OFFLINE), text
        assert code == 0 or "noted" in text
        wait_for(lambda on=on: ("boiler" in site.on()) is on, f"the boiler after {fault}")
        wait_for(lambda on=on: site.device("boiler").get("on") is on, f"its proof after {fault}")
    assert [move.on for move in site.moves() if move.name == "boiler"] == expected
    assert site.alarms() == []


# --- cables


def test_relays_that_are_unplugged_are_told_and_come_back_by_themselves(site: BoilerSite) -> None:
    site.write(weather=None)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    site.fault("unplug on", site.relays)
    status = wait_for(lambda: (s := site.status()).get("connected") is False and s, "connected false")
    assert "valves" not in status
    assert all("on" not in device and "since" not in device for device in status["devices"].values())
    assert status["return_temp"] == 20.0, "the other loops go on"
    assert "reading_age" in status
    assert str(site.relays) in status["offline_because"] or "relays" in status["offline_because"]
    wait_for(lambda: "relays_lost" in site.alarms(), "the alarm")
    assert site.alarm("relays_lost")["priority"] == "critical"
    code, text = site.command("set_override", "boiler", "off")
    assert (code, "noted" in text) == (Code.DEVICE_OFFLINE, True), text
    assert site.device("boiler")["override"] == "off"
    shown = site.boiler("status").stdout
    assert "Relays do not answer" in shown
    assert "boiler is unknown" in shown
    assert "boiler" in site.on(), "the board keeps it on"
    site.fault("unplug off", site.relays)
    wait_for(lambda: "boiler" not in site.on(), "the order that was noted")
    wait_for(lambda: site.alarms() == [], "the end of the alarm")
    wait_for(lambda: len(said(daemon, "Restored connection")) == 1, "the line that tells so")
    assert len(said(daemon, "Lost connection")) == 1
    assert daemon.popen.poll() is None


def test_a_boiler_that_is_unplugged_stops_nothing_else(site: BoilerSite) -> None:
    site.write(weather=None)
    site.boilerd(hurried=True)
    wait_for(lambda: "boiler_demand" in site.status(), "the boiler")
    site.fault("unplug on", site.boiler_link)
    status = wait_for(lambda: (s := site.status()).get("boiler_connected") is False and s, "the loss")
    assert status["connected"] is True
    gone = {"inlet_temp", "outlet_temp", "cascade_power", "boiler_demand", "flame", "boiler_faults"}
    assert not gone & status.keys()
    wait_for(lambda: "boiler_offline" in site.alarms(), "the alarm")
    on_by_hand(site, "boiler")
    site.fault("unplug off", site.boiler_link)
    wait_for(lambda: site.status().get("boiler_demand") == 21.0, "the boiler")
    wait_for(lambda: site.alarms() == [], "the end of the alarm")


def test_a_boiler_that_is_idle_or_told_right_is_no_alarm_and_one_of_another_span_is(site: BoilerSite) -> None:
    site.write(weather=None)
    site.boilerd(**{"hurried": True, "alarms.SETTLED": 1.0})  # type: ignore[arg-type]
    wait_for(lambda: site.status().get("boiler_demand") == 21.0, "the demand, with the contact open")
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 15, "time in which it would be told")
    assert site.alarms() == []
    on_by_hand(site, "boiler")
    wait_for(lambda: site.status().get("system_setpoint") == 21.0, "the boiler's own word")
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 15, "time in which it would be told")
    assert site.alarms() == []
    site.plant.boiler.tlow = 30.0
    wait_for(lambda: "boiler_setpoint" in site.alarms(), "the alarm")
    assert "setpoint_span" in site.alarm("boiler_setpoint")["text"]


@pytest.mark.parametrize(
    ("which", "fault"), [("relays", "silence"), ("boiler", "silence"), ("relays", "garbage instead")]
)
def test_status_answers_whatever_a_port_does(site: BoilerSite, which: str, fault: str) -> None:
    site.write(weather=None)
    site.boilerd()
    link = site.plant.path / which
    site.fault(f"{fault.split()[0]} on {' '.join(fault.split()[1:])}".strip(), link)
    with site.client() as client:
        lost = "connected" if which == "relays" else "boiler_connected"
        answered = 0
        # Each answer comes while the port hangs: the fault is lifted only behind the loop.
        while client.report_status()[lost] or answered < 50:
            answered += 1
            assert client.last_measurement()["return_temp"] == 20.0
            assert client.settings()["tolerance"] == 1.0
        assert client.explain(10.0, None, 0)["effective_setpoint"] == 20.5
        site.fault(f"{fault.split()[0]} off", link)
        wait_for(lambda: client.report_status()[lost], "the port")


# --- boards and relays


def test_a_board_that_was_reset_is_led_back(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd()
    on_by_hand(site, "boiler")
    site.fault("reset on", site.relays)
    wait_for(lambda: site.status().get("season_label") == "TO_WINTER", "it is seen")
    wait_for(lambda: "boiler" in site.on(), "the boiler, after its valve")
    names = [(move.name, move.on) for move in site.moves()]
    assert names[-2:] == [("winter_valve", True), ("boiler", True)]


def test_a_source_that_does_not_go_off_is_an_emergency_until_it_is_acknowledged(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd(hurried=True)
    on_by_hand(site, "boiler")
    site.fault("stuck_on 0", site.relays)
    code, text = site.command("set_override", "boiler", "off")
    assert code != 0, text
    wait_for(lambda: site.status()["emergency"], "the emergency")
    assert {"emergency", "relay_boiler"} <= set(site.alarms())
    assert "boiler" in site.status()["emergency_because"]
    assert "winter_valve" in site.on(), "what cannot be switched off keeps its water"
    assert "EMERGENCY" in site.boiler("status").stdout
    assert site.boiler("acknowledge", "emergency", "seen").returncode == 0
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 5, "some polls")
    assert site.status()["emergency"] is True, "it goes on while its cause does"
    site.fault("stuck_on off", site.relays)
    wait_for(lambda: "boiler" not in site.on() and not site.status()["emergency"], "the end, for it was acknowledged")
    wait_for(lambda: site.alarms() == [], "the end of the alarms")
    assert site.command("set_override", "boiler", "on")[0] == 0


def test_a_source_that_does_not_go_off_stops_no_other_from_going_off(tmp_path: Path) -> None:
    with plant_in(tmp_path) as site:
        site.stands("summer_valve")
        site.write(**LEAN)
        site.boilerd(hurried=True)
        for name in ("chiller1", "chiller2"):
            on_by_hand(site, name)
        site.fault("stuck_on 2", site.relays)  # chiller 1, which comes first
        assert site.command("set_override", "chiller1", "off")[0] == Code.FAILED
        code, text = site.command("set_override", "chiller2", "off")
        assert (code, text) == (0, "chiller2 is off, read back")
        assert site.on() == {"summer_valve", "chiller1"}
        wait_for(lambda: site.status()["emergency"], "the emergency")
        assert set(site.alarms()) == {"emergency", "relay_chiller1"}, "and no light is blamed"
        site.fault("stuck_on off", site.relays)
        wait_for(lambda: site.on() == {"summer_valve"}, "chiller 1")
        site.never_wrong()


def test_a_source_that_does_not_go_on_is_an_alarm_and_is_tried_again_when_seen(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd(hurried=True)
    site.fault("stuck_off 0", site.relays)
    wait_for(lambda: (found := site.command("set_override", "boiler", "on"))[0] == Code.FAILED and found, "its failure")
    wait_for(lambda: "relay_boiler" in site.alarms(), "the alarm")
    assert site.status()["emergency"] is False
    site.fault("stuck_off off", site.relays)
    assert site.command("acknowledge", "relay_boiler", "repaired")[0] == 0
    wait_for(lambda: "boiler" in site.on(), "the boiler")
    wait_for(lambda: site.alarms() == [], "the end of the alarm")


def test_a_light_that_does_not_follow_disturbs_nobody(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd(hurried=True)
    site.fault("stuck_off 7", site.relays)
    wait_for(lambda: "relay_led_breather" in site.alarms(), "the alarm")
    assert site.alarm("relay_led_breather")["priority"] == "low"
    assert site.status()["emergency"] is False
    on_by_hand(site, "boiler")


# --- sensors


def test_a_return_sensor_that_fails_is_replaced_by_the_boiler_and_comes_back(site: BoilerSite) -> None:
    site.write(weather=None)
    daemon = site.boilerd(hurried=True, **{"plant.WARM_UP": 0.2})
    wait_for(lambda: "inlet_temp" in site.status() and "return_temp" in site.status(), "both")
    on_by_hand(site, "boiler")
    for fault in SEEN_WRONG:
        site.fault(f"return_sensor {fault}", surroundings(site))
        status = wait_for(lambda: (s := site.status()).get("return_temp_source") == "boiler" and s, fault)
        assert "return_temp" not in status, "what is not measured is not told"
        with site.client() as client:
            measured = client.last_measurement()
        assert math.isnan(measured["return_temp"])
        assert measured["return_temp_valid"] is False
        wait_for(lambda: "return_sensor" in site.alarms(), f"the alarm of {fault}")
        alarm = site.alarm("return_sensor")
        assert alarm["priority"] == "high"
        assert "inlet" in alarm["text"]
        assert "not known, replaced by the boiler's inlet" in site.boiler("status").stdout
        site.fault("return_sensor off", surroundings(site))
        wait_for(lambda: site.status().get("return_temp") == 20.0 and site.alarms() == [], f"the sensor after {fault}")
    assert len(said(daemon, "return sensor")) < 6 * len(SEEN_WRONG)
    assert not said(daemon, "Traceback")


def test_both_sensors_that_say_0_degrees_as_they_once_did(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd(hurried=True, **{"heating.HOLD": 0.5})
    on_by_hand(site, "boiler")
    assert site.command("set_override", "boiler", "auto")[0] == 0
    for name in ("return", "outlet"):
        site.fault(f"{name}_sensor 0", surroundings(site))
    status = wait_for(lambda: (s := site.status()).get("return_temp_source") == "none" and s, "it is not believed")
    assert not {"return_temp", "water_out_temp"} & status.keys()
    wait_for(lambda: {"return_sensor", "outlet_sensor"} <= set(site.alarms()), "the alarms")
    alarm = site.alarm("return_sensor")
    assert alarm["priority"] == "critical"
    assert "heats against frost only" in alarm["text"]
    assert "exactly 0 °C" in alarm["text"]
    assert status["emergency"] is False, "0 °C would be one, if it were believed"
    # Nothing outside is known either: it may freeze, and the water is heated now and then.
    wait_for(lambda: "boiler" in site.on() and "frost" in site.device("boiler")["why"], "heat against frost")
    for name in ("return", "outlet"):
        site.fault(f"{name}_sensor off", surroundings(site))
    wait_for(lambda: site.status().get("return_temp") == pytest.approx(20.0, abs=0.5), "the sensors")
    wait_for(lambda: site.alarms() == [] and "boiler" not in site.on(), "all is as before")
    assert daemon.popen.poll() is None
    with site.client() as client:
        recorded = client.history(["return_temp"], "1h")["series"]["return_temp"]["value"]
    assert min(recorded) > 19, "nobody recorded 0 °C"


def test_in_summer_without_a_return_temperature_nothing_cools_for_long(tmp_path: Path) -> None:
    with plant_in(tmp_path) as site:
        site.stands("summer_valve")
        site.write(**LEAN)
        site.boilerd(hurried=True, **{"heating.HOLD": 0.3, "safety.UNKNOWN_FOR": 1.5})
        on_by_hand(site, "chiller2")
        site.fault("return_sensor missing", surroundings(site))
        wait_for(lambda: "chiller2" not in site.on(), "the chiller, in spite of its override")
        assert "return temperature is not known" in site.device("chiller2")["why"]
        site.fault("return_sensor off", surroundings(site))
        wait_for(lambda: "chiller2" in site.on(), "the chiller")
        site.never_wrong()


def test_a_lost_sensor_leaves_a_gap_in_the_history(site: BoilerSite) -> None:
    assert set(SEEN_WRONG) | {"stuck"} == set(onewire.FAULTS)
    site.write(**LEAN)
    site.boilerd(hurried=True)
    wait_for(lambda: len(site.series("return_temp")) > 3, "some samples")
    began = time.time()
    site.fault("return_sensor missing", surroundings(site))
    wait_for(lambda: "return_temp" not in site.status(), "the loss")
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 20, "time without it")
    ended = time.time()
    site.fault("return_sensor off", surroundings(site))
    wait_for(lambda: "return_temp" in site.status(), "the sensor")
    count = len(site.series("water_out_temp"))
    wait_for(lambda: len(site.series("water_out_temp")) > count + 3, "some more samples")
    times = [stamp for stamp, _ in site.series("return_temp")]
    # The simulated folder follows a fault within 0.2 s, and the sensor was read at most 0.2 s before.
    assert not [stamp for stamp in times if began + 0.5 < stamp < ended - 0.1]
    assert [stamp for stamp in times if stamp < began + 0.5]
    assert [stamp for stamp in times if stamp > ended - 0.1]
    others = [stamp for stamp, _ in site.series("water_out_temp")]
    assert [stamp for stamp in others if began + 0.5 < stamp < ended - 0.1], "the other sensor went on"
    assert all(first < second for first, second in pairwise(times))


# --- the weather


def test_weather_that_fails_is_replaced_by_what_is_known(site: BoilerSite) -> None:
    site.write(modbus_port=None, weather=weather(site))
    site.boilerd(hurried=True)
    wait_for(lambda: site.status().get("outside_temp") == 20.0, "the weather")
    for fault in ("500", "hang", "garbage", "stale", "dashes"):
        site.fault(f"weather {fault}", surroundings(site))
        status = wait_for(lambda: (s := site.status()).get("outside_temp_source") == "last known" and s, fault)
        assert "outside_temp" not in status, "what is not measured is not told"
        assert status["effective_setpoint"] == 20.5
        wait_for(lambda: "weather" in site.alarms(), f"the alarm of {fault}")
        alarm = site.alarm("weather")
        assert "0 min old" in alarm["text"]
        assert alarm["priority"] == "medium"
        site.fault("weather off", surroundings(site))
        wait_for(lambda: site.status().get("outside_temp_source") == "measured", f"the weather after {fault}")
        wait_for(lambda: site.alarms() == [], "the end of the alarm")
    site.fault("weather 500", surroundings(site))
    wait_for(lambda: "weather" in site.alarms(), "the alarm")
    assert site.command("set_setting", "outside_hold", 0)[0] == 0
    wait_for(lambda: site.status()["outside_temp_source"] == "average", "the mean of the last days")
    wait_for(lambda: "mean of the last days" in site.alarm("weather")["text"], "its sentence")
    assert site.alarm("weather")["priority"] == "high"


def test_without_any_weather_the_highest_set_point_holds(site: BoilerSite) -> None:
    site.plant.station.fault = "500"
    site.write(modbus_port=None, weather=weather(site))
    site.boilerd(hurried=True)
    status = wait_for(lambda: (s := site.status()).get("outside_temp_source") == "none" and s, "no weather")
    assert status["effective_setpoint"] == 20.5
    assert not {"outside_temp", "tha_setpoint", "outside_temp_average", "baseline_setpoint"} & status.keys()
    wait_for(lambda: "highest set point" in site.alarm("weather").get("text", ""), "the alarm")
    assert site.boiler("setpoint").stdout == "20.50 °C\n"
    assert site.boiler("explain").returncode == 1, "there is nothing to explain"
    site.plant.station.fault = None
    wait_for(lambda: site.status().get("outside_temp") == 20.0, "the weather")


def test_another_source_of_weather_stands_in(site: BoilerSite) -> None:
    gone = {"driver": "weatherlink", "url": "http://127.0.0.1:9/downld02.txt", **QUICK_WEATHER}
    site.write(modbus_port=None, weather={**gone, "fallback": weather(site)})
    site.boilerd(hurried=True)
    wait_for(lambda: site.status().get("outside_temp") == 20.0, "the weather")
    assert site.status()["outside_temp_source"] == "measured"
    assert site.alarms() == []
    assert site.call("counters")["weather1_input_failures"] > 0


# --- the water


def test_a_return_that_is_too_hot_is_an_emergency_until_it_is_acknowledged(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd(hurried=True)
    on_by_hand(site, "boiler")
    site.water(45)
    wait_for(lambda: "boiler" not in site.on(), "the boiler, in spite of its override")
    wait_for(lambda: site.status()["emergency"], "the emergency")
    assert site.status()["emergency_because"] == "the return is too hot"
    wait_for(lambda: "emergency" in site.alarms(), "the alarm")
    code, text = site.command("set_override", "boiler", "on")
    assert (code, "emergency" in text) == (Code.HELD, True), text
    code, text = site.command("set_season", 1)
    assert (code, "emergency" in text) == (Code.HELD, True), text
    assert site.command("set_season", 0)[0] in (0, Code.HELD)
    site.water(20)
    wait_for(lambda: site.status().get("return_temp") == pytest.approx(20, abs=0.5), "cooler water")
    assert site.status()["emergency"] is True, "latched"
    daemon.popen.kill()
    daemon.wait()
    site.boilerd(hurried=True)
    assert site.status()["emergency"] is True, "a restart acknowledges nothing"
    wait_for(lambda: "emergency" in site.alarms(), "the alarm")
    wait_for(lambda: site.status().get("return_temp") == pytest.approx(20, abs=0.5), "a measured return")
    done = site.boiler("acknowledge", "emergency", "the pump was off")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not site.status()["emergency"] and site.alarms() == [], "the end")
    wait_for(lambda: "boiler" in site.on(), "the boiler, whose override still holds")


def test_frost_heats_although_the_boiler_is_off_by_hand(tmp_path: Path) -> None:
    with plant_in(tmp_path, water=3.0) as site:
        site.stands("winter_valve")
        site.write(weather=None)
        site.boilerd(hurried=True)
        code, text = site.command("set_override", "boiler", "off")
        wait_for(lambda: "boiler" in site.on(), "heat against frost")
        code, text = site.command("set_override", "boiler", "off")
        assert code == Code.HELD, text
        assert "frost" in text
        assert "frost" in site.device("boiler")["why"]
        assert site.device("boiler")["override"] == "off"
        wait_for(lambda: "frost" in site.alarms(), "the alarm")
        assert "override" in site.alarm("frost")["text"]
        wait_for(lambda: site.status().get("boiler_demand", 0) > 10, "what is asked of the boiler")
        site.water(20)
        wait_for(lambda: "boiler" not in site.on(), "the override, when the water is warm")
        wait_for(lambda: site.alarms() == [], "the end of the alarm")
        site.never_wrong()


# --- its own end


def test_sigterm_switches_all_sources_off_and_leaves_the_valves(site: BoilerSite) -> None:
    site.write(weather=None)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    wait_for(lambda: site.info(site.boiler_link)["rate"] == 20, "the demand")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert site.on() == {"winter_valve"}
    assert said(daemon, "all sources are off, read back")
    assert daemon.lines()[-1] == "INFO boilerd@test: stopped"
    assert site.info(site.boiler_link)["rate"] == 0


def test_sigterm_keeps_what_is_on_where_the_config_says_so(site: BoilerSite) -> None:
    site.write(safe_state="keep", **LEAN)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert site.on() == {"winter_valve", "boiler"}


def test_the_boiler_is_told_although_the_relays_are_away(site: BoilerSite) -> None:
    site.write(weather=None)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    wait_for(lambda: site.info(site.boiler_link)["rate"] == 20, "the demand")
    site.fault("unplug on", site.relays)
    wait_for(lambda: site.status().get("connected") is False, "the loss")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(25) == 0
    assert site.info(site.boiler_link)["rate"] == 0
    assert said(daemon, "could not be switched off, and what was on may still be")


def test_a_relay_that_the_config_names_no_more_is_switched_off(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    names = {name: number for name, number in RELAYS.items() if name != "boiler"}
    site.write(**LEAN, relays=names)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: said(daemon, "relay 0 was boiler, which the config names no more"), "the farewell")
    wait_for(lambda: "boiler" not in site.on(), "the relay")
    wait_for(lambda: site.kept().get("relays") == names, "the state")
    site.never_wrong()


def test_a_new_cause_of_an_emergency_is_an_alarm_anew(site: BoilerSite) -> None:
    site.write(**LEAN)
    site.boilerd(hurried=True)
    on_by_hand(site, "boiler")
    site.fault("stuck_on 0", site.relays)
    site.command("set_override", "boiler", "off")
    first = wait_for(lambda: site.alarm("emergency"), "the emergency")
    assert "boiler does not go off" in first["text"]
    assert site.command("acknowledge", "emergency", "")[0] == 0
    wait_for(lambda: "acknowledged_by" in site.alarm("emergency"), "the acknowledgement")
    site.water(60.0)
    wait_for(lambda: "the return is too hot" in site.alarm("emergency")["text"], "another cause", 60)
    assert "acknowledged_by" not in site.alarm("emergency")


def test_sighup_reads_the_config_anew_and_moves_nothing(site: BoilerSite) -> None:
    site.write(**LEAN)
    daemon = site.boilerd()
    on_by_hand(site, "boiler")
    moves = site.moves()
    site.write({"tolerance": 2}, **LEAN)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: said(daemon, "read anew") and site.status().get("connected"), "the daemon")
    wait_for(lambda: site.status().get("return_temp") == 20.0, "a return")
    assert site.call("settings")["tolerance"] == 2
    polls = site.call("counters")["polls"]
    wait_for(lambda: site.call("counters")["polls"] > polls + 10, "some polls")
    assert site.moves() == moves
    assert site.device("boiler")["on"] is True
    site.config.write_text("{}")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: said(daemon, "the old config stays in force"), "its refusal")
    assert site.device("boiler")["on"] is True


@pytest.mark.parametrize("fault", ["silence on", "unplug on"])
def test_it_ends_whatever_its_ports_do(site: BoilerSite, fault: str) -> None:
    site.write()
    daemon = site.boilerd()
    for link in (site.relays, site.boiler_link):
        site.fault(fault, link)
    wait_for(lambda: site.status().get("connected") is False, "the loss")
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(25) == 0
    assert said(daemon, "could not be switched off")
    assert not said(daemon, "Traceback")


def test_it_starts_without_any_of_its_devices(tmp_path: Path) -> None:
    with plant_in(tmp_path) as site:
        site.stands("winter_valve")
        site.write()
        for link in (site.relays, site.boiler_link):
            site.fault("unplug on", link)
        daemon = site.boilerd(wait=False)
        status = wait_for(lambda: site.status(), "an answer")
        assert status["connected"] is False
        assert "reading_age" not in status
        assert "season" not in status
        assert site.boiler("status").returncode == 0
        wait_for(lambda: said(daemon, "Failed to connect to numato"), "the line that tells so")
        assert site.command("set_override", "boiler", "on")[0] == Code.DEVICE_OFFLINE
        for link in (site.relays, site.boiler_link):
            site.fault("unplug off", link)
        wait_for(lambda: "boiler" in site.on(), "what was noted")
        site.never_wrong()
