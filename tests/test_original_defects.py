# SPDX-License-Identifier: GPL-3.0-or-later
"""The weaknesses that were found in rockit's own chillerd and in what it stands on: none of them is here.

How a daemon ends (SIGTERM, hung ports, safe state, watchdog, flow control) is in test_daemon.py; orders that are
tried three times and no more are in test_control.py as well.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import Pyro5.client
import pytest
from harness import ROOT, Site, free_ports, wait_for
from imitations import DomeAlert, ObservatoryLog, Power, serving

from rockit.chiller import control
from rockit.chiller.config import ChillerConfig
from rockit.chiller.model import RunState
from rockit.chiller.simulators.thermotek import T257P
from rockit.common import VERSION
from rockit.common import config as configs
from rockit.common.errors import Code, CommandError, ConfigError
from rockit.common.simulate_pty import PtyServer

MEASURED = {"water_temp", "setpoint_temp", "ambient_temp", "tec_power", "flow", "pump"}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A chiller in manual mode that runs, shared by tests that leave it as they found it."""
    made = Site(tmp_path_factory.mktemp("plant"))
    made.write_config(query_delay=0.3, serial_timeout=0.6)
    made.simulator("--set", "ambient=18", "--set", "coolant=30", "--set", "running=1")
    made.chillerd()
    with made.client() as chiller:
        assert chiller.set_mode(0) == 0
    yield made
    for process in reversed(made.processes):
        process.stop()


def quick_registry(site: Site, **more: dict[str, Any]) -> None:
    """Clients of the site's other daemons wait half a second only, so that a loss is noticed soon."""
    content = json.loads(site.registry.read_text())
    for entry in content["daemons"].values():
        entry["timeout"] = 0.5
    content["daemons"].update(more)
    site.write_registry(content)


def counters(site: Site) -> dict[str, int]:
    with site.client() as client:
        return client.counters()


def after_polls(site: Site, count: int) -> dict[str, Any]:
    """The status after `count` more polls have begun."""
    goal = counters(site)["polls"] + count
    wait_for(lambda: counters(site)["polls"] >= goal, f"{count} polls")
    return site.status()


def log_of(site: Site) -> list[str]:
    return next(process for process in site.processes if process.name == "chillerd").lines()


def with_power(site: Site, *channels: str) -> None:
    site.write_config(query_delay=0.2, power_daemon="localhost_test2", power_channels=list(channels or ("cmos",)))


@pytest.fixture(scope="module", autouse=True)
def bereft(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A chiller in the cold that cools a camera, whose power daemon was killed and whose dome sensor never answered.

    Its alarms come after some seconds: it is begun first and looked at last.
    """
    made = Site(tmp_path_factory.mktemp("bereft"))
    quick_registry(made)
    made.write_config(
        query_delay=0.2, power_daemon="localhost_test2", power_channels=["cmos"], temperature_daemon="localhost_test3",
        temperature_value_key="internal_temp",
    )  # fmt: skip
    made.simulator("--set", "ambient=1")
    with serving(made, "localhost_test2", Power(cmos=1)) as kill:
        made.chillerd()
        wait_for(lambda: made.info()["running"], "cooling for the camera")
        kill()
    yield made
    for process in reversed(made.processes):
        process.stop()


# --- a temperature that is marked invalid was used all the same.


@pytest.fixture(scope="module")
def domed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, DomeAlert]]:
    """A chiller that is told the dome's temperature, which is 12.5 °C to begin with; 18 °C at the chiller."""
    made, dome = Site(tmp_path_factory.mktemp("domed")), DomeAlert(12.5)
    quick_registry(made)
    made.write_config(
        query_delay=0.2, temperature_daemon="localhost_test2", temperature_value_key="internal_temp",
        temperature_valid_key="internal_temp_valid",
    )  # fmt: skip
    made.simulator("--set", "ambient=18")
    with serving(made, "localhost_test2", dome):
        made.chillerd()
        yield made, dome
    for process in reversed(made.processes):
        process.stop()


@pytest.mark.parametrize("how", ["invalid", "stale", "not a number"])
def test_invalid_dome_temperature_is_not_used(domed: tuple[Site, DomeAlert], how: str) -> None:
    site, dome = domed
    wait_for(lambda: site.status().get("dome_temp") == 12.5, "the dome's temperature")
    lines = len(log_of(site))
    dome.valid = how != "invalid"
    dome.date = "2020-01-01T00:00:00Z" if how == "stale" else None
    dome.temperature = float("nan") if how == "not a number" else -40.0
    wait_for(lambda: (s := site.status()) and "dome_temp" not in s, "dome_temp not known")
    status = after_polls(site, 4)
    assert "dome_temp" not in status
    assert status["antifreeze_enabled"] is False, "-40 °C is not believed, 18 °C at the chiller is"
    assert site.info()["run_writes"] == 0
    with site.client() as client:
        assert client.last_measurement()["dome_temp_valid"] is False
    said = log_of(site)[lines:]
    assert len([line for line in said if "Lost dome temperature" in line]) == 1
    assert not [line for line in said if "Restored" in line], "lost, and still lost"
    dome.valid, dome.date, dome.temperature = True, None, 12.5
    wait_for(lambda: [line for line in log_of(site)[lines:] if "Restored dome temperature" in line], "the log's word")


# --- what the power daemon does not know was "off" (that it is gone: at the end).


def test_unknown_power_state_is_not_off(site: Site) -> None:
    with_power(site)
    power = Power(cmos=1)
    site.simulator()
    with serving(site, "localhost_test2", power):
        site.chillerd()
        wait_for(lambda: site.info()["running"], "cooling for the camera")
        power.channels["cmos"] = 2  # what powerd says when the SNMP device does not answer it
        wait_for(lambda: "channels_enabled" not in site.status(), "unknown")
        after_polls(site, 4)
        assert site.info()["running"] is True
        power.channels["cmos"] = 0
        wait_for(lambda: not site.info()["running"], "standby")


def test_unknown_channel_name_is_noticed(site: Site) -> None:
    with_power(site, "cmos", "swir")
    site.simulator("--set", "running=1")
    with serving(site, "localhost_test2", Power(cmos=0, cam2=1)):
        site.chillerd()
        wait_for(lambda: [line for line in log_of(site) if "no valid value of swir" in line], "the log's word")
        status = after_polls(site, 4)
        assert "power state is not known" in status["why"]
        assert site.info()["running"] is True, "it ran, and nobody said that it is not needed"
        assert counters(site)["power_input_failures"] > 0


# --- switching to manual stopped the chiller; a restart forgot the mode.


def test_manual_keeps_what_runs_and_survives_a_restart(site: Site) -> None:
    with_power(site)
    power = Power(cmos=1)
    site.simulator()
    with serving(site, "localhost_test2", power):
        daemon = site.chillerd()
        wait_for(lambda: site.info()["running"], "cooling for the camera")
        assert site.chiller("mode", "manual").returncode == 0
        power.channels["cmos"] = 0
        wait_for(lambda: site.status()["channels_enabled"] == [], "the camera's power to go")
        after_polls(site, 3)
        assert site.info()["running"] is True
        daemon.signal()
        assert daemon.wait() == 0
        site.chillerd()
        status = after_polls(site, 3)
        assert (status["mode"], status["mode_label"], status["why"]) == (0, "MANUAL", "manual: enabled")
        assert site.info()["running"] is True
        assert site.info()["run_writes"] == 1, "started once, and never touched since"
        assert site.chiller("mode", "auto").returncode == 0
        wait_for(lambda: not site.info()["running"], "standby, by the automatic")


# --- anything was accepted as a mode; succeeded was said before anything was sent; codes were unused.


@pytest.mark.parametrize("mode", [99, -1, 2, True, "manual", None, 0.5])
def test_no_mode_but_the_two(plant: Site, mode: object) -> None:
    with plant.client() as chiller:
        assert chiller.set_mode(mode) == Code.OUT_OF_RANGE
        assert "0 (manual) or 1 (automatic)" in chiller.message
        assert chiller.report_status()["mode"] == 0


@pytest.mark.parametrize("enabled", ["yes", 1, 0, None, "False"])
def test_no_request_but_true_and_false(plant: Site, enabled: object) -> None:
    with plant.client() as chiller:
        assert chiller.set_enabled(enabled) == Code.OUT_OF_RANGE
    assert plant.info()["running"] is True


@pytest.mark.parametrize("celsius", [4.9, 45.1, float("nan"), float("inf"), "12", None, True])
def test_no_set_point_beyond_the_limits(plant: Site, celsius: object) -> None:
    before = plant.info()["setpoint_writes"]
    with plant.client() as chiller:
        assert chiller.set_setpoint(celsius) == Code.OUT_OF_RANGE
    assert plant.info()["setpoint_writes"] == before


def test_succeeded_means_read_back(plant: Site) -> None:
    with plant.client() as chiller:
        plant.fault("ignore_writes on")
        assert chiller.set_setpoint(17.0) == Code.FAILED
        assert "reports a set point of 20" in chiller.message
        plant.fault("ignore_writes off")
        assert chiller.set_setpoint(17.0) == Code.SUCCEEDED, chiller.message
        assert plant.info()["setpoint"] == pytest.approx(17.0)
        plant.fault("refuse on")
        assert chiller.set_setpoint(18.0) == Code.DEVICE_REFUSED
        plant.fault("refuse off")
        assert chiller.set_setpoint(20.0) == Code.SUCCEEDED


# --- a state that it did not know made it repeat its command for ever; no minimum times.


@contextmanager
def odd_device(site: Site, device: T257P) -> Iterator[None]:
    server = PtyServer(device, site.link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield
    finally:
        for process in site.processes:
            process.stop()
        server.stop()
        thread.join()
        server.close()


class OddDrive(T257P):
    """Pump on, and a drive direction that is neither C nor H."""

    def _way(self) -> str:
        return "X"


def test_odd_drive_direction_causes_no_commands_and_no_frozen_date(site: Site) -> None:
    site.write_config(query_delay=0.2)
    with odd_device(site, OddDrive(now=time.monotonic(), running=True)):
        site.chillerd()
        first = site.status()
        later = wait_for(lambda: (s := site.status())["date"] > first["date"] and s, "a later date")
        assert site.info()["run_writes"] == 0
        assert "tec_power" not in later, "a value that cannot be understood is not known"
        assert later["connected"] is True, "and the others are not lost with it"
        assert "water_temp" in later


def test_unconfirmed_start_is_not_repeated_at_each_poll(site: Site) -> None:
    with_power(site)
    site.simulator("--fault", "ignore_writes")
    with serving(site, "localhost_test2", Power(cmos=1)):
        site.chillerd()
        wait_for(lambda: site.info()["run_writes"] >= 1, "the first try")
        after_polls(site, 8)
    assert site.info()["run_writes"] == 1, "tried again after a pause, not at every poll"


def test_unconfirmed_start_is_tried_three_times_and_then_an_alarm() -> None:
    memory, orders = control.Memory(), []
    decision = None
    for minute in range(60):
        reading = control.Reading(RunState.STANDBY, 20.0, 20.0, False)
        inputs = control.Inputs({"cmos": True})
        decision = control.decide(reading, inputs, control.Request(), control.Limits(), memory, minute * 60.0)
        memory = decision.memory
        orders += [decision.switch] * (decision.switch is not None)
    assert orders == [True, True, True]
    assert decision is not None
    assert "start_failed" in decision.alarms


def test_minimum_on_time_holds_a_stop(site: Site) -> None:
    site.write_config(query_delay=0.2, minimum_on_time=3600, minimum_off_time=3600)
    site.simulator("--set", "running=1")
    site.chillerd()
    with site.client() as chiller:
        assert chiller.set_mode(0) == 0
        assert chiller.set_enabled(False) == Code.HELD
        assert "minimum on time" in chiller.message
        assert "minimum on time" in chiller.report_status()["held"]
    assert site.info()["running"] is True


# --- commands waited behind the port, and changed things although they had failed.


def test_commands_are_answered_while_the_port_is_silent_and_say_what_they_did(site: Site) -> None:
    site.write_config(query_delay=3600, serial_timeout=30)
    site.simulator()
    site.chillerd()
    site.fault("silence on")
    before = counters(site)
    with site.client() as chiller:
        assert chiller.set_mode(1) == Code.SUCCEEDED  # after which it polls at once
    wait_for(lambda: counters(site)["requests"] > before["requests"], "a question that nobody will answer")
    answers: list[tuple[int, str]] = []
    together = threading.Barrier(2)

    def ask(celsius: float) -> None:
        with site.client() as chiller:
            together.wait()
            answers.append((chiller.set_setpoint(celsius), chiller.message))

    threads = [threading.Thread(target=ask, args=(celsius,)) for celsius in (12.0, 13.0)]
    for thread in threads:
        thread.start()
    wait_for(lambda: answers, "the command that finds another one running")
    assert [code for code, _ in answers] == [Code.BLOCKED]
    with site.client() as chiller:
        assert chiller.report_status()["mode"] == 1
        assert chiller.set_mode(0) == Code.SUCCEEDED, "the mode needs no port"
        assert chiller.report_status()["mode"] == 0
    for thread in threads:
        thread.join()
    assert [code for code, _ in answers] == [Code.BLOCKED, Code.DEVICE_OFFLINE]
    assert "nothing was sent or changed" in answers[1][1]
    assert "requested_setpoint" not in site.status()
    polls = counters(site)["polls"]
    for fault in ("unplug on", "silence off", "unplug off"):  # pulling the plug ends the wait for an answer
        site.fault(fault)
    wait_for(lambda: counters(site)["polls"] > polls and site.status()["connected"], "a poll that is answered")
    assert site.info()["setpoint_writes"] == 0, "given up is given up"
    assert site.status()["setpoint_temp"] == 20.0


# --- a command had to wait for the poll; the end of the daemon was not defined.


def test_a_command_does_not_wait_for_the_next_poll(site: Site) -> None:
    site.write_config(query_delay=3600)
    site.simulator()
    site.chillerd()
    assert site.chiller("mode", "manual").returncode == 0
    assert site.chiller("enable").returncode == 0
    assert site.info()["running"] is True
    assert site.chiller("setpoint", "12").returncode == 0
    assert site.info()["setpoint"] == pytest.approx(12.0)


# --- replies were not checked; one glitch was an outage; an old date was shown without a warning.

FAULTS = {
    # An answer to another question is "doubled" where that was the question before, which is as near as one can know.
    "foreign once": {"foreign", "doubled"}, "foreign once before": {"foreign", "doubled"},
    "checksum once": {"checksum"}, "double once": {"doubled"}, "truncate once": {"truncated"},
    "garbage once": {"garbage"}, "drop once": {"checksum"}, "silence once": {"timeouts"}, "late once 0.9": {"late"},
}  # fmt: skip


def believable(status: dict[str, Any]) -> bool:
    """True where each value is absent or near the truth; the values of the plant differ, so a swap would show."""
    truth = {
        "water_temp": (26.0, 31.0), "setpoint_temp": (20.0, 20.0), "ambient_temp": (18.0, 22.0), "flow": (2.0, 4.0)
    }  # fmt: skip
    return all(low <= status[key] <= high for key, (low, high) in truth.items() if key in status)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_glitch_is_counted_and_costs_no_outage(plant: Site, fault: str) -> None:
    """Tried again where this machine stalls: a late answer may then be in time, or more go wrong than the glitch."""

    def glitch() -> bool:
        wait_for(lambda: plant.status()["connected"], "the chiller")
        before, lines = counters(plant), len(log_of(plant))

        def more(*kinds: str) -> int:
            now = counters(plant)
            return sum(now[kind] - before[kind] for kind in kinds)

        plant.fault(fault)
        wait_for(lambda: more(*FAULTS[fault]) or more("polls") > 3, f"the counters {FAULTS[fault]}")
        statuses = [after_polls(plant, 1) for _ in range(2)]
        assert all(map(believable, statuses)), statuses
        in_time = all(status["connected"] for status in statuses)
        if not more(*FAULTS[fault]) or more("polls_failed") > 1 or not in_time:
            return False
        assert more("connections_lost") == 0
        assert log_of(plant)[lines:] == []
        return True

    assert any(glitch() for _ in range(10)), counters(plant)


@pytest.mark.parametrize(
    "fault", ["checksum on", "foreign on", "truncate on", "garbage instead", "late 0.9", "slow 0.06"]
)
def test_damaged_replies_never_become_values(plant: Site, fault: str) -> None:
    lines = len(log_of(plant))
    plant.fault(fault)
    try:
        with plant.client() as chiller:

            def offline() -> bool:
                status = chiller.report_status()
                assert believable(status), status
                return not status["connected"]

            wait_for(offline, "no connection to a device that makes no sense")
            status = chiller.report_status()
            assert not MEASURED & set(status)
            assert status["status_label"] == "OFFLINE"
    finally:
        plant.fault(f"{fault.split()[0]} off")
    wait_for(lambda: plant.status()["connected"], "the chiller")
    told = [line for line in log_of(plant)[lines:] if "connection to" in line]
    assert ["Lost" in told[0], "Restored" in told[1], len(told)] == [True, True, 2], told


class OddEcho(T257P):
    """It sets what it was told to, and acknowledges another value."""

    def _set_setpoint(self, data: str) -> str:
        super()._set_setpoint(data)
        return "+0999"


def test_echo_of_another_value_is_no_confirmation(site: Site) -> None:
    site.write_config(query_delay=0.2)
    with odd_device(site, OddEcho(now=time.monotonic(), running=True)):
        site.chillerd()
        with site.client() as chiller:
            assert chiller.set_setpoint(15.0) == Code.DEVICE_OFFLINE
            assert "echoed '+0999'" in chiller.message
            assert "whether the chiller followed is not known" in chiller.message
        wait_for(lambda: site.status().get("setpoint_temp") == 15.0, "what the next poll reads")


def test_old_readings_are_shown_as_old(plant: Site) -> None:
    plant.fault("unplug on")
    wait_for(lambda: not plant.status()["connected"], "offline")
    shown = plant.chiller("status")
    plant.fault("unplug off")
    wait_for(lambda: plant.status()["connected"], "the chiller")
    assert shown.returncode == 0
    assert "Chiller is OFFLINE" in shown.stdout
    assert "the last good reading is" in shown.stdout
    assert "Cause: " in shown.stdout
    assert "Temperature is" not in shown.stdout


def test_date_does_not_freeze_without_an_age(plant: Site) -> None:
    plant.fault("silence on")
    status = wait_for(lambda: not (s := plant.status())["connected"] and s, "offline")
    later = wait_for(
        lambda: (s := plant.status())["date"] > status["date"] and s["reading_age"] > status["reading_age"] and s,
        "a later date and a greater age",
    )
    plant.fault("silence off")
    wait_for(lambda: plant.status()["connected"], "the chiller")
    assert later["connected"] is False
    assert status["reading_age"] > 0


# --- no set point, no alarms, one model; half a second of time-out was cut to none.


def test_half_a_second_stays_half_a_second(site: Site) -> None:
    site.write_config(serial_timeout=0.5)
    site.simulator("--fault", "silence")
    site.chillerd(wait=False)
    wait_for(lambda: "no answer within 0.5 s" in site.status().get("offline_because", ""), "the time-out as configured")


def test_device_alarm_is_told_with_its_cause(site: Site) -> None:
    site.write_config(query_delay=0.2)
    site.simulator("--set", "running=1", "--fault", "low_level", "--speed", "20")
    site.chillerd()
    status = wait_for(lambda: (s := site.status()).get("faults") and s, "the fault by name")
    assert "device_alarm" in status["alarms"]
    assert any("level" in name for name in status["faults"]), status["faults"]
    assert status["status_label"] == "IDLE"
    shown = site.chiller("faults")
    assert "level" in shown.stdout


# --- for seconds after its start it said OFFLINE of a chiller that was there.


def test_the_first_answer_is_told_and_not_only_the_first_whole_poll(site: Site) -> None:
    site.write_config(command_interval=1.0)
    site.simulator("--set", "running=1")
    site.chillerd(wait=False)
    status = wait_for(lambda: (s := site.status()).get("connected") and s, "the first answer")
    assert (status["run_state"], status["status_label"]) == ("run", "COOLING")
    assert "tec_power" not in status, "not asked for yet"
    assert counters(site)["answers"] <= 4, "two would do"


def test_a_dashboard_can_draw_without_asking_anybody_what_a_key_means(plant: Site) -> None:
    with plant.client() as chiller:
        described, sensors = chiller.describe(), chiller.measurement_sensors()
    assert described["software_version"] == VERSION
    assert set(described["measurements"]) == set(sensors)
    for key, entry in described["measurements"].items():
        assert {"label": entry["label"], "units": entry["unit"]} == sensors[key]
        assert entry["limits"][0] < entry["limits"][1]
        assert entry["maximum_age"] > 0
    assert {key: entry["unit"] for key, entry in described["measurements"].items() if entry["unit"]} == {
        "water_temp": "degC", "setpoint_temp": "degC", "ambient_temp": "degC", "tec_power": "%", "flow": "L/min",
        "tec_current_1": "A", "tec_current_2": "A", "uptime": "min",
    }  # fmt: skip


# --- keys vanished from the dict that environmentd reads.


def test_offline_keys_are_as_promised(plant: Site) -> None:
    with plant.client() as chiller:
        online, sensors = chiller.last_measurement(), chiller.measurement_sensors()
        plant.fault("unplug on")
        status = wait_for(lambda: not (s := chiller.report_status())["connected"] and s, "offline")
        measured = chiller.last_measurement()
        plant.fault("unplug off")
        wait_for(lambda: chiller.report_status()["connected"], "the chiller")
    assert set(measured) == set(online), "every key, always"
    assert set(measured) == {"date", *sensors, *(f"{key}_valid" for key in sensors)}
    assert set(online) >= MEASURED
    assert all(isinstance(measured[key], int | float) for key in sensors)
    assert not any(measured[f"{key}_valid"] for key in sensors)
    kept = {"date", "mode", "mode_label", "status", "status_label", "connected", "reading_age", "alarms"}
    assert kept <= set(status)
    assert None not in status.values()
    assert (status["status"], status["status_label"]) == (0, "OFFLINE")


# --- the config was hardly checked.


def config_problems(site: Site, **keys: Any) -> list[str]:
    try:
        configs.load(site.write_config(**keys), ChillerConfig)
    except ConfigError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("keys", "path"),
    [
        ({"query_delay": -7}, "query_delay"),
        ({"serial_baud": -9600}, "serial_baud"),
        ({"serial_timeout": -0.5}, "serial_timeout"),
        ({"control_machines": ["Nowhere"]}, "control_machines[0]"),
        ({"daemon": "datetime"}, "daemon"),
        ({"power_daemon": "os", "power_channels": ["a"]}, "power_daemon"),
        ({"antifreeze_enable_limit": 7, "antifreeze_disable_limit": 5}, "antifreeze_disable_limit"),
        ({"serial_prot": "/dev/chiller"}, "serial_prot"),
    ],
)
def test_config_value_is_refused(site: Site, keys: dict[str, Any], path: str) -> None:
    problems = config_problems(site, **keys)
    assert len(problems) == 1, problems
    assert problems[0].startswith(f"{path}: ")


def test_all_config_errors_come_at_once_with_their_paths(site: Site) -> None:
    problems = config_problems(site, query_delay=-7, serial_baud="fast", serial_port=None, colour="blue")
    assert {problem.partition(":")[0] for problem in problems} == {
        "query_delay",
        "serial_baud",
        "serial_port",
        "colour",
    }


def test_config_of_the_original_is_accepted_whole(site: Site) -> None:
    path = site.folder / "clasp.json"
    path.write_text((ROOT / "config/clasp/chiller.json").read_text())
    checked = site.run(
        str(ROOT / "chillerd"), "--check", str(path), ROCKIT_DAEMONS_PATH=str(ROOT / "config/daemons.json")
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_config_is_read_anew_without_a_stop_of_the_chiller(site: Site) -> None:
    site.write_config(safe_state="standby")
    site.simulator("--set", "running=1")
    daemon = site.chillerd()
    site.write_config(safe_state="standby", query_delay=-1)
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: any("the old config stays in force" in line for line in daemon.lines()), "the refusal")
    assert site.status()["connected"] is True
    site.write_config(safe_state="standby", query_delay=0.3, setpoint_limits=[8, 22])
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: any("the config is read anew" in line for line in daemon.lines()), "the new start")
    wait_for(lambda: site.status().get("why"), "a whole poll")
    with site.client() as chiller:
        described = chiller.describe()
        assert described["measurements"]["setpoint_temp"]["limits"] == [8, 22]
        assert described["process_id"] == daemon.pid, "the same process, as systemd wants it"
    assert site.info()["running"] is True
    assert site.info()["run_writes"] == 0


# --- the shared layer.


def test_callers_are_not_sent_tracebacks(plant: Site) -> None:
    """The original sent the local variables of its frames to whoever asked."""
    with Pyro5.client.Proxy(plant.daemon().uri) as proxy:
        for method, args in (("report_status", (1, 2, 3)), ("counters", ("x",)), ("__class__", ()), ("nothing", ())):
            with pytest.raises(Exception, match=r".") as caught:
                proxy._pyroInvoke(method, args, {})
            told = str(caught.value) + "".join(getattr(caught.value, "_pyroTraceback", []))
            assert "/rockit/" not in told, told
            assert "self" not in told.replace("itself", ""), told
    with Pyro5.client.Proxy(plant.daemon().uri) as proxy:
        code = proxy.set_mode(99)
    assert (type(code), code) == (int, 11), "commands answer with plain integers"


def awkward(site: Site) -> dict[str, Any]:
    """A site whose status holds brackets and blanks, printed through a pipe."""
    folder = site.folder / "[b]port[/b] [red] of the chiller" / ("x y " * 12).strip()
    site.write_config(serial_port=str(folder))
    site.chillerd(wait=False)
    wait_for(lambda: "offline_because" in site.status(), "the cause")
    printed = site.chiller("json", COLUMNS="40")
    assert printed.returncode == 0
    assert printed.stdout.count("\n") == 1
    assert "\x1b" not in printed.stdout
    return {"printed": json.loads(printed.stdout), "folder": str(folder)}


def test_json_is_one_valid_line_whatever_stands_in_it(site: Site) -> None:
    found = awkward(site)
    assert found["folder"] in found["printed"]["offline_because"]


def test_a_device_is_added_by_the_registry_file_alone(site: Site) -> None:
    (port,) = free_ports(1)
    quick_registry(site, new_chiller={"object_id": "cold", "machine": "LocalHost", "port": port, "kind": "chiller"})
    site.write_config(daemon="new_chiller")
    site.simulator()
    site.chillerd(wait=False)
    script = (
        "from rockit.common import daemons\n"
        "with daemons.new_chiller.connect() as chiller:\n"
        "    print(type(chiller).__module__, chiller.report_status()['mode'])\n"
    )

    def answer() -> str:
        run = [sys.executable, "-c", script]
        return subprocess.run(run, cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=60).stdout

    assert wait_for(answer, "the new daemon") == "rockit.chiller.client 1\n"


def test_two_daemons_cannot_share_a_port_in_the_registry(site: Site) -> None:
    twin = {"object_id": "twin", "machine": "LocalHost", "port": site.ports["localhost_test"]}
    quick_registry(site, twin=twin)
    checked = site.rockit("check", str(site.registry))
    assert checked.returncode == 78
    assert "twin" in checked.stderr
    assert "localhost_test" in checked.stderr


def log_entry(port: int) -> dict[str, Any]:
    return {"object_id": "observatory_log_daemon", "machine": "LocalHost", "port": port, "timeout": 30}


def test_a_dead_log_daemon_never_blocks_the_loop(site: Site) -> None:
    with socket.socket() as hole:  # takes connections, and says nothing for ever
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        quick_registry(site, observatory_log=log_entry(hole.getsockname()[1]))
        site.simulator()
        site.chillerd()
        hole.settimeout(30)
        peer, _ = hole.accept()  # the daemon is trying to log now
        with peer:
            assert after_polls(site, 4)["connected"] is True
            assert site.chiller("mode", "manual").returncode == 0


def test_log_lines_reach_the_observatory_log(site: Site) -> None:
    (site.ports["observatory_log"],) = free_ports(1)
    quick_registry(site, observatory_log=log_entry(site.ports["observatory_log"]))
    kept = ObservatoryLog()
    with serving(site, "observatory_log", kept):
        site.simulator()
        site.chillerd()
        wait_for(lambda: [line for line in kept.lines if "Established connection" in line[2]], "the line")
        site.fault("unplug on")
        wait_for(
            lambda: [line for line in kept.lines if line[0] == "error" and "Lost connection" in line[2]], "the error"
        )
    assert {source for _, source, _ in kept.lines} == {"chillerd@test"}


@pytest.mark.parametrize(
    "module", ["rockit.common.log", "rockit.common.daemons", "rockit.chiller.client", "rockit.chiller.cli"]
)
def test_importing_changes_nothing_of_the_interpreter(module: str) -> None:
    script = (
        "import sys, builtins, signal\n"
        "before = (sys.excepthook, builtins.print, sys.stdout, signal.getsignal(signal.SIGINT))\n"
        f"import {module}\n"
        "assert before == (sys.excepthook, builtins.print, sys.stdout, signal.getsignal(signal.SIGINT))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_not_a_control_machine_is_always_3_and_not_manual_always_10(site: Site) -> None:
    site.write_config(control_machines=["Elsewhere"])
    site.simulator()
    site.chillerd()
    commands: list[Callable[[Any], int]] = [
        lambda c: c.set_mode(0), lambda c: c.set_enabled(True), lambda c: c.set_setpoint(12.0),
        lambda c: c.acknowledge("offline"), lambda c: c.shelve("offline", 10.0),
    ]  # fmt: skip
    with site.client() as chiller:
        for command in commands:
            assert command(chiller) == Code.NOT_ACCEPTED
            assert "control machines" in chiller.message
        assert chiller.report_status()["mode"] == 1, "reading is open to all"
    assert site.chiller("mode", "manual").returncode == 3


def test_enable_in_automatic_mode_is_10(site: Site) -> None:
    site.simulator()
    site.chillerd()
    with site.client() as chiller:
        assert chiller.set_enabled(True) == Code.NOT_MANUAL
    assert site.chiller("enable").returncode == 10


def test_device_fault_is_not_an_unreachable_daemon(site: Site) -> None:
    site.chillerd(wait=False)
    wait_for(site.status, "the daemon without a device")
    with site.client() as chiller:
        assert chiller.set_setpoint(12.0) == Code.DEVICE_OFFLINE
    with pytest.raises(CommandError) as nobody, site.client("localhost_test4") as other:
        other.report_status()
    assert nobody.value.code == Code.UNREACHABLE


@pytest.mark.parametrize("program", ["chiller", "bin/rockit"])
@pytest.mark.parametrize("words", [[], ["polish"], ["--no-such-option"]])
def test_usage_error_is_64_everywhere(site: Site, program: str, words: list[str]) -> None:
    done = site.run(str(ROOT / program), *words)
    assert done.returncode == 64
    assert "Usage:" in done.stderr
    assert done.stdout == ""


def test_clients_need_no_serial_port_of_the_config_that_they_share(site: Site) -> None:
    site.write_config(serial_port="/dev/only-on-the-server")
    asked = site.chiller("json")
    assert asked.returncode == 155
    assert Path("/dev/only-on-the-server").name not in asked.stderr


# --- the chiller's own sensor stood in for the dome's, without a word; it reads warm.


def test_standing_in_for_the_dome_temperature_is_an_alarm(bereft: Site) -> None:
    status = wait_for(lambda: "dome_temperature" in (s := bereft.status())["alarms"] and s, "the alarm")
    assert status["antifreeze_enabled"] is True
    assert "dome_temp" not in status
    with bereft.client() as client:
        text = next(alarm["text"] for alarm in client.alarms() if alarm["name"] == "dome_temperature")
    assert "ambient sensor" in text
    assert len([line for line in log_of(bereft) if "Lost dome temperature" in line]) == 1


# --- losing the power daemon, or not being told by it, was "off".


def test_killed_power_daemon_does_not_stop_the_chiller(bereft: Site) -> None:
    status = wait_for(lambda: "power_daemon" in (s := bereft.status())["alarms"] and s, "the alarm")
    assert bereft.info()["running"] is True
    assert bereft.info()["run_writes"] == 1
    assert "the last demand (cool) is held" in status["why"]
    assert "channels_enabled" not in status, "not known is not an empty list"
    assert len([line for line in log_of(bereft) if "Lost power state" in line]) == 1
    with serving(bereft, "localhost_test2", Power(cmos=1)):
        status = wait_for(lambda: "channels_enabled" in (s := bereft.status()) and s, "the daemon, back")
        assert status["channels_enabled"] == ["cmos"]
        wait_for(lambda: "power_daemon" not in bereft.status()["alarms"], "the end of the alarm")
        assert len([line for line in log_of(bereft) if "Restored power state" in line]) == 1
