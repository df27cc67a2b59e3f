# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way: a simulated T257P on a real tty in one process, `./chillerd` in another, `./chiller` in a third."""

from __future__ import annotations

import json
import math

import pytest
from conftest import Site, wait_for

MEASURED = ("water_temp", "setpoint_temp", "ambient_temp", "tec_power", "flow", "pump")


def connection_lines(lines: list[str]) -> list[str]:
    return [line for line in lines if "onnection to" in line or "connect to" in line]


def test_a_person_runs_a_chiller_from_the_shell(site: Site) -> None:
    site.simulator("--set", "ambient=18")
    site.chillerd()
    shown = site.chiller("status")
    assert shown.returncode == 0
    for text in (
        "Data received",
        "Chiller is IDLE",
        "Mode is AUTOMATIC",
        "Temperature is",
        "Set point is",
        "TEC power is",
    ):
        assert text in shown.stdout
    refused = site.chiller("enable")
    assert refused.returncode == 10
    assert "manual" in refused.stderr
    assert site.chiller("mode", "manual").returncode == 0
    enabled = site.chiller("enable")
    assert (enabled.returncode, enabled.stderr) == (0, "")
    assert site.info()["running"] is True, "succeeded means that the device runs"
    assert site.chiller("setpoint", "12.5").returncode == 0
    assert site.info()["setpoint"] == pytest.approx(12.5)
    status = json.loads(site.chiller("json").stdout)
    assert (status["mode"], status["status"], status["status_label"]) == (0, 2, "COOLING")
    assert status["requested_setpoint"] == status["setpoint_temp"] == 12.5
    assert site.chiller("disable").returncode == 0
    assert site.info()["running"] is False


def test_mode_and_request_survive_kill_9(site: Site) -> None:
    site.simulator()
    daemon = site.chillerd()
    assert site.chiller("mode", "manual").returncode == 0
    assert site.chiller("setpoint", "11").returncode == 0
    assert site.chiller("enable").returncode == 0
    daemon.popen.kill()
    daemon.wait()
    site.chillerd()
    status = wait_for(lambda: (s := site.status()).get("connected") and s, "the restarted daemon")
    assert (status["mode"], status["requested_setpoint"]) == (0, 11.0)
    assert site.info()["running"] is True


def test_a_pulled_plug_is_seen_within_a_poll_and_healed_without_a_restart(site: Site) -> None:
    site.simulator()
    daemon = site.chillerd()
    before = len(daemon.lines())
    with site.client() as client:
        site.fault("unplug on")
        polls = client.counters()["polls"]
        status = wait_for(lambda: (s := client.report_status())["connected"] is False and s, "connected false")
        assert client.counters()["polls"] <= polls + 1, "within one poll"
        assert not set(MEASURED) & set(status)
        assert (status["status"], status["status_label"]) == (0, "OFFLINE")
        assert status["alarms"] == ["offline"]
        assert "reading_age" in status
        measured = client.last_measurement()
        for key in client.measurement_sensors():
            assert measured[f"{key}_valid"] is False
            assert math.isnan(measured[key])
        site.fault("unplug off")
        status = wait_for(lambda: (s := client.report_status())["connected"] and s, "values after the replug", 15.0)
        assert set(MEASURED) <= set(status)
        assert client.last_measurement()["water_temp_valid"] is True
    assert daemon.popen.poll() is None
    lines = connection_lines(daemon.lines()[before:])
    assert len(lines) == 2, lines
    assert "Lost connection" in lines[0]
    assert "Restored connection" in lines[1]
    assert len(daemon.lines()) == before + 2, daemon.lines()[before:]


@pytest.mark.parametrize("after", [0, 1, 7, 14, 17, 22])
def test_a_plug_pulled_in_the_middle_of_a_reply_gives_no_value(site: Site, after: int) -> None:
    site.simulator()
    daemon = site.chillerd()
    before = len(daemon.lines())
    with site.client() as client:
        site.fault(f"unplug at {after}")
        status = wait_for(lambda: (s := client.report_status())["connected"] is False and s, "connected false")
        assert not set(MEASURED) & set(status)
        site.fault("unplug off")
        wait_for(lambda: client.report_status()["connected"], "values after the replug", 15.0)
    assert len(connection_lines(daemon.lines()[before:])) == 2


def test_the_daemon_starts_without_its_device(site: Site) -> None:
    daemon = site.chillerd(wait=False)
    status = wait_for(lambda: site.status(), "an answer without a device")
    assert status["connected"] is False
    assert "reading_age" not in status, "there never was a reading, and none is invented"
    assert site.chiller("status").returncode == 0
    assert site.chiller("enable").returncode in (10, 12)
    assert site.chiller("setpoint", "12").returncode == 12
    site.simulator()
    wait_for(lambda: len(connection_lines(daemon.lines())) > 1, "the device that came later", 15.0)
    lines = connection_lines(daemon.lines())
    assert ["Failed to connect" in lines[0], "Established" in lines[1], len(lines)] == [True, True, 2], lines


def test_measurements_are_nan_and_invalid_before_the_first_reading(site: Site) -> None:
    site.chillerd(wait=False)
    wait_for(lambda: site.status(), "an answer without a device")
    with site.client() as client:
        measured = client.last_measurement()
        keys = set(client.measurement_sensors())
    assert keys
    for key in keys:
        assert math.isnan(measured[key])
        assert measured[f"{key}_valid"] is False


@pytest.mark.parametrize("model", ["t255p", "thermoflex", "rte", "lauda"])
def test_every_family_runs_and_obeys(site: Site, model: str) -> None:
    driver = {"t255p": "thermotek-t255p", "thermoflex": "neslab-thermoflex", "rte": "neslab-rte", "lauda": "lauda"}[
        model
    ]
    site.write_config(driver=driver)
    site.simulator("--model", model, "--set", "ambient=20")
    site.chillerd()
    status = site.status()
    assert isinstance(status["water_temp"], float)
    assert site.chiller("mode", "manual").returncode == 0
    started = site.chiller("enable")
    assert started.returncode == 0, started.stderr
    wait_for(lambda: site.info()["running"], "the pump, which some power up for a while")
    changed = site.chiller("setpoint", "15")
    assert changed.returncode == 0, changed.stderr
    assert site.info()["setpoint"] == pytest.approx(15.0, abs=0.06)
    assert site.chiller("disable").returncode == 0
    wait_for(lambda: site.info()["running"] is False, "the end of powering down")
