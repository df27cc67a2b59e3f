# SPDX-License-Identifier: GPL-3.0-or-later
"""A unit with its line, codec and driver on a simulated T257P, in one process and with a clock of the test's own."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE, wait_for

from rockit.chiller import drivers, kept, unit
from rockit.chiller import service as services
from rockit.chiller.config import ChillerConfig
from rockit.chiller.control import ATTEMPTS, FAULTS_AGAIN, RETRY_AFTER, TRIP_PAUSE, Inputs
from rockit.chiller.drivers.thermotek import T257P
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.kept import Saved
from rockit.chiller.model import ChillerMode, RunState
from rockit.chiller.service import ChillerService
from rockit.chiller.simulators import register_all
from rockit.chiller.unit import ChillerUnit
from rockit.common import device, state
from rockit.common.device import Alarms, plain_text
from rockit.common.errors import Code, CommandError
from rockit.common.framing import Refused
from rockit.common.log import Log
from rockit.common.poll import Poller
from rockit.common.record import NoRecord
from rockit.common.state import StateFile
from rockit.common.transport import NoAnswer, PortLost, protocol_sim
from rockit.common.transport.line import Line


class Clock:
    """Stands for the `time` module in the unit: two clocks that go when they are told to."""

    def __init__(self) -> None:
        self.steady, self.wall = 6000.0, 1.7e9 - 1.7e9 % 60

    def monotonic(self) -> float:
        return self.steady

    def time(self) -> float:
        return self.wall

    def advance(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds


class Site:
    """A folder, a clock, a simulated chiller; and units, one after the other."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self.clock = folder, clock
        self.log = Log("chillerd@test")
        self.url = "sim://t257p?latency=0"
        self.keys: dict[str, Any] = {}
        self.lines: list[Line[Any]] = []

    def start(self, **keys: Any) -> ChillerUnit:
        """A new unit on the same folder, polled once; the one before is gone as after kill -9."""
        self.close()
        self.keys.update(keys)
        config = ChillerConfig(
            daemon="localhost_test",
            log_name="chillerd@test",
            serial_port=self.url,
            **{"query_delay": 10, **self.keys},
        )
        stop = threading.Event()
        family = drivers.load(config.driver)
        settings = family.line_settings.overridden(timeout=0.3, interval=0.0)
        line: Line[Any] = Line(config.serial_port, settings, family.decoder, stop, self.log.warning)
        self.lines.append(line)
        self.alarms = Alarms(self.folder, self.log)
        inputs = ChillerInputs(config, stop, self.log)
        state = StateFile(self.folder / "chiller.json", Saved)
        self.unit = ChillerUnit(config, line, family(line), inputs, self.alarms, state, self.log, NoRecord())
        self.unit.connect()
        self.poll()
        return self.unit

    def poll(self, after: float = 0.0, times: int = 1) -> None:
        """What the query loop does, `after` s later on the unit's clock."""
        for _ in range(times):
            self.clock.advance(after)
            for _ in self.unit.steps():
                pass
            self.unit.finish()
            self.unit.saved(PATIENCE)

    def tell(self, command: str) -> None:
        assert protocol_sim.control(self.url, command) == "ok"

    def info(self) -> dict[str, Any]:
        return dict(json.loads(protocol_sim.control(self.url, "info")))

    def close(self) -> None:
        if hasattr(self, "unit"):
            self.unit.saved(PATIENCE)
        for line in self.lines:
            line.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (unit, kept):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def site(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    register_all()
    monkeypatch.setattr(protocol_sim, "_wires", {})
    made = Site(tmp_path, clock)
    yield made
    made.close()


def manual(site: Site, **keys: Any) -> ChillerUnit:
    made = site.start(**keys)
    made.set_mode(ChillerMode.MANUAL)
    return made


def test_what_is_written_is_read_back(site: Site) -> None:
    chiller = manual(site)
    assert "read back" in chiller.set_enabled(True)
    assert site.info()["running"] is True
    assert chiller.set_setpoint(12.5) == "the set point is 12.5 °C, read back from the device"
    assert site.info()["setpoint"] == 12.5
    assert chiller.snapshot.samples.fresh("setpoint_temp", site.clock.steady, 1.0) == 12.5
    assert "standby" in chiller.set_enabled(False)
    assert site.info()["running"] is False
    site.poll(10.0, times=10)
    assert (site.info()["run_writes"], site.info()["setpoint_writes"]) == (2, 1)
    assert site.alarms.active() == []


def test_a_command_in_automatic_mode_changes_nothing(site: Site) -> None:
    chiller = site.start()
    with pytest.raises(CommandError, match="mode manual") as refused:
        chiller.set_enabled(True)
    assert refused.value.code == Code.NOT_MANUAL
    assert site.info()["run_writes"] == 0


def test_a_refused_write_is_the_devices_refusal(site: Site) -> None:
    chiller = manual(site)
    site.tell("fault refuse on")
    for command in (lambda: chiller.set_enabled(True), lambda: chiller.set_setpoint(12.0)):
        with pytest.raises(CommandError) as refused:
            command()
        assert refused.value.code == Code.DEVICE_REFUSED
    site.poll(RETRY_AFTER, times=20)
    assert chiller.counters["refused"] == ATTEMPTS + 1, "a set point that was refused is not asked for again"
    assert chiller.request.setpoint is None
    assert set(site.alarms.active()) == {"start_failed"}
    site.tell("fault refuse off")
    chiller.acknowledged("start_failed")
    site.poll()
    assert (site.info()["running"], site.info()["setpoint"]) == (True, 20.0), "only what was acknowledged"
    assert chiller.set_setpoint(12.0)
    assert site.info()["setpoint"] == 12.0


def test_an_ignored_start_is_tried_three_times_and_is_then_an_alarm(site: Site) -> None:
    chiller = manual(site)
    site.tell("fault ignore_writes on")
    with pytest.raises(CommandError, match="does not report run") as failed:
        chiller.set_enabled(True)
    assert failed.value.code == Code.FAILED
    assert site.alarms.active() == []
    site.poll(5.0, times=40)
    assert site.info()["run_writes"] == ATTEMPTS
    assert site.alarms.active() == ["start_failed"]
    site.start()
    site.poll(60.0, times=5)
    assert site.info()["run_writes"] == ATTEMPTS, "a restart is no operator"


def test_an_ignored_set_point_is_tried_three_times_and_is_then_an_alarm(site: Site) -> None:
    chiller = site.start()
    site.tell("fault ignore_writes on")
    with pytest.raises(CommandError) as failed:
        chiller.set_setpoint(12.0)
    assert failed.value.code == Code.FAILED
    site.poll(5.0, times=40)
    assert site.info()["setpoint_writes"] == ATTEMPTS
    assert site.alarms.active() == ["setpoint_failed"]


def test_a_ramp_says_where_it_goes(site: Site) -> None:
    chiller = site.start(setpoint_rate=1.0)
    with pytest.raises(CommandError, match="held by setpoint_rate, 1 K/min; the device is at") as held:
        chiller.set_setpoint(15.0)
    assert held.value.code == Code.HELD, "succeeded is for what was read back"
    site.poll(10.0, times=40)
    assert site.info()["setpoint"] == 15.0
    assert site.info()["setpoint_writes"] <= 7


def test_mode_and_request_are_in_the_state_file(site: Site) -> None:
    chiller = manual(site)
    chiller.set_enabled(True)
    chiller.set_setpoint(11.0)
    again = site.start()
    assert (again.request.mode, again.request.enabled, again.request.setpoint) == (ChillerMode.MANUAL, True, 11.0)
    assert site.info()["running"] is True
    assert site.info()["setpoint_writes"] == 1


@pytest.mark.parametrize("step", [0.0, -86400.0, 86400.0])
def test_minimum_off_time_survives_a_restart_and_a_step_of_the_clock(site: Site, step: float) -> None:
    chiller = manual(site, minimum_off_time=300.0)
    site.poll(300.0)
    chiller.set_enabled(True)
    chiller.set_enabled(False)
    site.poll(20.0)
    site.clock.wall += step  # while the daemon runs, as when a host without a battery clock finds its time server
    site.poll(10.0)
    site.clock.advance(30.0)
    site.clock.steady = 11.0  # the host was booted anew
    chiller = site.start()
    with pytest.raises(CommandError, match=r"minimum off time \((239|240|241) s left\)") as held:
        chiller.set_enabled(True)
    assert held.value.code == Code.HELD
    assert site.info()["running"] is False
    site.poll(245.0)
    assert site.info()["running"] is True, "it was noted, and follows when the time is over"


def test_a_state_file_that_cannot_be_written_stops_no_chiller(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    chiller = manual(site)
    site.folder.rename(site.folder.with_name("gone"))
    assert "read back" in chiller.set_enabled(True)
    site.poll(60.0, times=3)
    assert site.info()["running"] is True
    assert "state_not_saved" in site.alarms.active()
    site.poll(60.0)
    assert "read back" in chiller.set_enabled(True)
    assert "forgotten at a restart" in chiller.forgetful
    assert capfd.readouterr().out.count("mode and request cannot be saved") == 1
    site.folder.with_name("gone").rename(site.folder)
    site.poll(60.0, times=2)
    assert "state_not_saved" not in site.alarms.active()
    assert site.start().request.enabled is True


@pytest.mark.parametrize("celsius", [1e308, -500.0])
def test_a_saved_set_point_that_cannot_be_is_forgotten(site: Site, celsius: float) -> None:
    site.start().set_setpoint(11.0)
    site.close()
    path = site.folder / "chiller.json"
    content = json.loads(path.read_text())
    content["request"]["setpoint"] = celsius
    path.write_text(json.dumps(content))
    assert site.start().request.setpoint is None
    site.poll(10.0)
    assert site.info()["setpoint"] == 11.0


def test_what_an_operator_writes_cannot_stop_the_loop(site: Site) -> None:
    chiller = site.start()
    chiller.lost("the plug was pulled")
    site.alarms.acknowledge("offline", plain_text("Ren\udce9 \x1b[2J" + "x" * 1000), "127.0.0.1")
    (alarm,) = [entry for entry in site.alarms.listing() if entry["name"] == "offline"]
    written = json.dumps(alarm)
    assert "udce9" not in written
    assert "u001b" not in written
    assert len(written) < 1200
    site.poll()
    assert "offline" not in site.alarms.active()


def test_a_quiet_chiller_hardly_writes_to_its_disk(site: Site) -> None:
    site.start()
    site.poll(10.0)
    file = site.folder / "chiller.json"
    before, changes = file.stat().st_ino, 0
    for _ in range(30):
        site.poll(10.0)
        changes += file.stat().st_ino != before
        before = file.stat().st_ino
    assert changes <= 6, "five minutes"


def test_a_value_is_as_old_as_its_question(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that waited in the port of a machine that stalled says nothing of now."""
    chiller = site.start()
    line = site.lines[-1]
    prompt = line.exchange

    def stalled(request: Any) -> Any:
        answer = prompt(request)
        site.clock.advance(600.0)
        return answer

    with monkeypatch.context() as stall:
        stall.setattr(line, "exchange", stalled)
        site.poll()
    now, keys = site.clock.steady, ("run_state", "water_temp", "setpoint_temp")
    assert [chiller.snapshot.samples.fresh(key, now, chiller.maximum_age(key)) for key in keys] == [None] * 3
    assert chiller.snapshot.polled_at == now - 600.0
    assert chiller.maximum_age("water_temp") < 60.0, "one stall is not the pace of the device"


def test_stale_samples_are_not_decided_upon_but_read_again(site: Site) -> None:
    chiller = manual(site)
    site.clock.advance(chiller.maximum_age("run_state") + 1.0)
    site.tell("fault silence on")
    for command in (lambda: chiller.set_enabled(True), lambda: chiller.set_setpoint(12.0)):
        with pytest.raises(CommandError, match="nothing was changed") as refused:
            command()
        assert refused.value.code == Code.DEVICE_OFFLINE
    assert chiller.request.setpoint is None
    assert (site.info()["run_writes"], site.info()["setpoint_writes"]) == (0, 0)
    site.tell("fault silence off")
    assert "read back" in chiller.set_enabled(True)


def test_a_chiller_that_is_away_gets_no_orders_and_keeps_its_mode(site: Site) -> None:
    chiller = manual(site)
    chiller.set_enabled(True)
    site.tell("fault unplug on")
    chiller.lost("the plug was pulled")
    assert "offline" in site.alarms.active()
    assert chiller.snapshot.samples.fresh("water_temp", site.clock.steady, math.inf) is None
    with pytest.raises(CommandError, match="nothing was changed: the plug was pulled") as refused:
        chiller.set_setpoint(12.0)
    assert refused.value.code == Code.DEVICE_OFFLINE
    with pytest.raises(CommandError, match=r"nothing was changed \(when the chiller is back it shall run\): the plug"):
        chiller.set_enabled(True)
    site.tell("fault unplug off")
    chiller.connect()
    site.poll()
    assert site.alarms.active() == []
    assert site.info()["running"] is True


@pytest.mark.parametrize("trouble", ["refuse on", "ignore_writes on"])
def test_an_alarm_does_not_end_because_the_chiller_went_away(site: Site, trouble: str) -> None:
    chiller = manual(site)
    site.tell(f"fault {trouble}")
    with pytest.raises(CommandError):
        chiller.set_enabled(True)
    site.poll(21.0, times=4)
    assert "start_failed" in site.alarms.active()
    chiller.lost("the plug was pulled")
    states = {alarm["name"]: alarm["state"] for alarm in site.alarms.listing()}
    assert states == {"start_failed": "active", "offline": "active"}
    chiller.lost("the plug was pulled")
    assert {alarm["name"]: alarm["state"] for alarm in site.alarms.listing()} == states
    site.tell("fault refuse off")
    site.tell("fault ignore_writes off")
    site.alarms.acknowledge("start_failed", "", "local")
    chiller.acknowledged("start_failed")
    site.poll(21.0, times=2)
    assert site.info()["running"] is True
    assert site.alarms.active() == []


def test_warnings_of_the_device_are_alarms_by_their_name(site: Site) -> None:
    site.start()
    site.tell("fault warning 0800")
    site.poll(10.0)
    (alarm,) = site.alarms.listing()
    assert (alarm["name"], alarm["priority"]) == ("low_ambient_temperature", "medium")
    site.tell("fault warning off")
    site.poll(10.0)
    assert site.alarms.active() == []


def test_no_command_waits_for_long_for_a_disk_that_hangs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)
    gate = threading.Event()
    monkeypatch.setattr(StateFile, "save", lambda *_: gate.wait(PATIENCE))
    monkeypatch.setattr(unit, "SAVING", 0.01)
    monkeypatch.setattr(device, "SAVING", 0.01)
    monkeypatch.setattr(state, "TOO_LONG", 0.02)
    assert "read back" in chiller.set_enabled(True)
    assert "forgotten at a restart" in chiller.forgetful
    for _ in chiller.steps():
        pass
    chiller.finish()
    assert site.info()["running"] is True
    wait_for(lambda: chiller._kept.alarms(), "too long")
    chiller.finish()
    assert "state_not_saved" in site.alarms.active()
    gate.set()
    site.poll(10.0, times=2)
    assert "state_not_saved" not in site.alarms.active()


def test_alarms_of_the_device_outlive_a_restart_while_it_is_away(site: Site) -> None:
    site.start()
    site.tell("fault warning 0800")
    site.poll(10.0)
    assert site.alarms.active() == ["low_ambient_temperature"]
    site.alarms.saved(PATIENCE)
    site.tell("fault unplug on")
    with pytest.raises(PortLost):
        site.start()
    site.unit.lost("the plug was pulled")
    assert set(site.alarms.active()) == {"low_ambient_temperature", "offline"}


def test_a_start_that_was_asked_for_before_a_stop_is_not_made_after_it(site: Site) -> None:
    chiller = manual(site)
    stops = chiller.stops
    chiller.noted_stop()
    with pytest.raises(CommandError, match="a stop meanwhile") as refused:
        chiller.set_enabled(True, stops)
    assert refused.value.code == Code.BLOCKED
    assert site.info()["running"] is False


@pytest.mark.parametrize("moment", ["read_state", "write_running"])
def test_a_stop_in_the_middle_of_a_start_counts_more(site: Site, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    chiller = manual(site)
    exchange, stopped = getattr(chiller._driver, moment), []

    def then_stop(*arguments: Any) -> Any:
        answer = exchange(*arguments)
        if not stopped:
            stopped.append(chiller.noted_stop())
        return answer

    monkeypatch.setattr(chiller._driver, moment, then_stop)
    with pytest.raises(CommandError, match="a stop meanwhile") as refused:
        chiller.set_enabled(True, chiller.stops)
    assert refused.value.code == Code.BLOCKED
    site.poll(10.0)
    assert (chiller.request.enabled, site.info()["running"]) == (False, False)
    assert site.info()["run_writes"] == (0 if moment == "read_state" else 2)


def test_a_stop_that_comes_between_the_decision_and_the_act_is_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    chiller = manual(site)
    decide, stopped = chiller._decide, []

    def then_stop() -> Any:
        decision = decide()
        if decision.switch and not stopped:
            stopped.append(chiller.noted_stop())
        return decision

    monkeypatch.setattr(chiller, "_decide", then_stop)
    with pytest.raises(CommandError, match="a stop meanwhile"):
        chiller.set_enabled(True)
    assert site.info()["run_writes"] == 0


def test_a_stop_in_the_middle_of_a_start_that_is_lost_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)

    def lost(_run: bool) -> None:
        chiller.noted_stop()
        raise NoAnswer("no answer within 1 s")

    monkeypatch.setattr(chiller._driver, "write_running", lost)
    with pytest.raises(CommandError, match="a stop meanwhile"):
        chiller.set_enabled(True)
    polled = chiller._asked
    chiller._publish()
    assert chiller.snapshot.polled_at == polled <= site.clock.steady


def test_alarm_words_that_are_refused_are_no_refused_set_point(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site, setpoint_rate=0.5)
    site.tell("fault alarm 000100")
    site.poll(1.0)
    site.clock.advance(10.0)

    def refuse() -> Any:
        raise Refused("3", "not now")

    monkeypatch.setattr(chiller._driver, "read_faults", refuse)
    with pytest.raises(CommandError, match="noted, and held by setpoint_rate") as held:
        chiller.set_setpoint(10.0)
    assert held.value.code == Code.HELD
    assert chiller.request.setpoint == 10.0


def test_a_read_back_that_is_waited_for_counts_as_fresh(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some devices show a second later what they do; the pause before the look is not the age of what is seen."""
    chiller = manual(site, query_delay=0.1)
    read, looks = chiller._driver.read_state, []

    due = [0.0]

    def pause() -> None:
        site.clock.advance(due[0])
        due[0] = 0.0

    def later() -> Any:
        looks.append(1)
        values = read()
        return {**values, "run_state": RunState.STANDBY} if len(looks) == 2 else values

    monkeypatch.setattr(site.lines[-1], "pause", pause)
    monkeypatch.setattr(site.lines[-1], "rest", lambda seconds: due.__setitem__(0, seconds))
    monkeypatch.setattr(chiller._driver, "read_state", later)
    assert "read back" in chiller.set_enabled(True)
    assert len(looks) == 3


def test_a_sensor_that_comes_and_goes_hardly_writes_to_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = site.start()
    dome: dict[str, float | None] = {"value": 15.0}
    monkeypatch.setattr(chiller._inputs, "now", lambda _now: Inputs(dome_temp=dome["value"], dome_expected=True))
    monkeypatch.setattr(chiller._driver, "poll", lambda: iter([{"run_state": RunState.STANDBY, "device_alarm": False}]))
    writes: list[object] = []
    monkeypatch.setattr(chiller._kept._keeper, "put", writes.append)
    for _ in range(30):
        dome["value"] = None if dome["value"] else 15.0
        site.poll(10.0)
    assert len(writes) <= 7


def test_a_change_of_the_mode_in_the_middle_of_a_start_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)
    look = chiller._driver.read_state

    def then_automatic() -> Any:
        chiller.set_mode(ChillerMode.AUTOMATIC)
        return look()

    monkeypatch.setattr(chiller._driver, "read_state", then_automatic)
    with pytest.raises(CommandError) as refused:
        chiller.set_enabled(True)
    assert refused.value.code == Code.NOT_MANUAL
    assert site.info()["run_writes"] == 0


@pytest.fixture
def service(site: Site, monkeypatch: pytest.MonkeyPatch) -> ChillerService:
    """What other threads talk to, on a unit in manual mode; its query loop has not begun."""
    monkeypatch.setattr(services, "time", site.clock)
    chiller = manual(site)
    log, driver = site.log, chiller._driver
    poller = Poller(chiller, "chiller", 10.0, threading.Event(), log, lambda: None)
    inputs, alarms = chiller._inputs, site.alarms
    return ChillerService(chiller._config, "test", chiller, driver, inputs, poller, alarms, dict, log, NoRecord())


def test_a_loop_that_hangs_makes_old_values_unknown(site: Site, service: ChillerService) -> None:
    assert service.report_status()["connected"] is True
    site.clock.advance(site.unit.maximum_age("run_state") + 0.1)
    status = service.report_status()
    assert (status["connected"], status["status_label"]) == (False, "OFFLINE")
    assert "water_temp" not in status
    assert service.last_measurement()["water_temp_valid"] is False


def test_a_stop_while_another_command_runs_is_noted(site: Site, service: ChillerService) -> None:
    with service._poller._command:
        assert service.set_enabled(True) == Code.BLOCKED
        assert site.unit.request.enabled is not True
        assert service.set_enabled(False) == Code.BLOCKED
    assert site.unit.request.enabled is False
    assert site.unit.stops == 1


def test_a_start_waits_a_moment_for_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that is not remembered could be followed by another too soon, after a crash."""
    chiller = manual(site)
    order: list[str] = []
    saved, write = chiller.saved, chiller._driver.write_running
    monkeypatch.setattr(chiller, "saved", lambda within: order.append("saved") or saved(within))
    monkeypatch.setattr(chiller._driver, "write_running", lambda run: order.append("start") or write(run))
    chiller.set_enabled(True)
    assert order[:2] == ["saved", "start"]


@pytest.mark.parametrize("order", ["set_enabled", "set_setpoint"])
def test_a_refused_read_back_is_no_refused_order(site: Site, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    chiller = manual(site)
    name = "read_state" if order == "set_enabled" else "read_setpoint"
    read, asked = getattr(chiller._driver, name), []

    def second_is_refused() -> Any:
        asked.append(name)
        if len(asked) == 2:
            raise Refused("23", "abnormal")
        return read()

    monkeypatch.setattr(chiller._driver, name, second_is_refused)
    with pytest.raises(CommandError, match="whether the chiller followed is not known") as told:
        getattr(chiller, order)({"set_enabled": True, "set_setpoint": 12.0}[order])
    assert told.value.code == Code.DEVICE_OFFLINE
    key = "run_state" if order == "set_enabled" else "setpoint_temp"
    assert chiller.snapshot.samples.fresh(key, site.clock.steady, 1.0) is None, "and not the value before"
    site.poll(10.0)
    assert (site.info()["running"], site.info()["setpoint"]) in ((True, 20.0), (False, 12.0))


def test_a_restart_does_not_freeze_the_air_before_anybody_was_asked(site: Site) -> None:
    """The chiller has no sensor of its own, the dome's daemon has not answered yet, and yesterday was warm."""
    site.url = "sim://lauda?latency=0"
    keys = {"driver": "lauda", "temperature_daemon": "localhost_test2", "temperature_value_key": "t"}
    chiller = site.start(**keys)
    chiller._memory = replace(chiller._memory, air=25.0, air_at=site.clock.steady)
    site.poll(1.0)
    site.clock.advance(6 * 3600.0)
    chiller = site.start()
    assert site.info()["running"] is False
    site.poll(5.0)
    assert site.info()["running"] is False, chiller.snapshot.decision
    site.poll(30.0)
    assert site.info()["running"] is True, "nobody tells it: it has fallen to -5 °C, as far as one can know"


def test_the_alarm_of_another_chiller_does_not_bind_this_one(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    chiller = manual(site, antifreeze_enable_limit=None, antifreeze_disable_limit=None)
    chiller.set_enabled(True)
    site.tell("fault alarm 000100")
    site.poll(10.0, times=3)
    assert chiller._memory.tripped
    site.url = "sim://rte?latency=0"
    chiller = site.start(driver="neslab-rte")
    assert "what was known of the thermotek-t257p is forgotten; this is a neslab-rte" in capfd.readouterr().out
    assert "read back" in chiller.set_enabled(True)


def test_values_that_take_turns_may_be_as_many_polls_old(site: Site) -> None:
    chiller = site.start()
    slow = chiller._driver.slow_measures
    site.poll(10.0, times=len(slow))

    def known(*keys: str) -> list[bool]:
        now = site.clock.steady
        return [chiller.snapshot.samples.fresh(key, now, chiller.maximum_age(key)) is not None for key in keys]

    site.clock.advance(35.0)
    assert known("water_temp", *slow) == [False] + [True] * len(slow)
    site.clock.advance(90.0)
    assert known(*slow) == [False] * len(slow)


@pytest.mark.parametrize("trouble", [None, "alarm", "gone alarm", "disabled"])
def test_run_as_safe_state_does_not_override_an_alarm_or_a_person(site: Site, trouble: str | None) -> None:
    chiller = manual(site, safe_state="run")
    chiller.set_enabled(True)
    if trouble == "disabled":
        chiller.set_enabled(False)
    elif trouble is not None:
        site.tell("fault alarm 000100")
        site.poll(1.0)
        site.poll(3.0)
        if trouble == "gone alarm":
            site.tell("fault alarm off")
            site.poll(1.0)
    else:
        assert site.info()["running"] is True
        site.tell("set power cycle")
        site.poll(1.0)
    writes = site.info()["run_writes"]
    chiller.shutdown(time.monotonic() + 3.0)
    assert site.info()["run_writes"] == (writes if trouble else site.info()["run_writes"])
    assert site.info()["running"] is (trouble is None)


def test_run_as_safe_state_does_not_start_what_was_stopped_at_its_panel(site: Site) -> None:
    site.url += "&running=1"
    chiller = site.start(safe_state="run")
    other = T257P(site.lines[-1])
    other.write_running(False)
    site.poll(10.0)
    assert site.info()["run_writes"] == 1
    chiller.shutdown(time.monotonic() + 3.0)
    assert site.info()["running"] is False


def test_the_safe_state_is_not_taken_for_the_panel_s_doing_after_a_restart(site: Site) -> None:
    site.url += "&running=1"
    chiller = site.start(safe_state="standby")
    chiller.shutdown(time.monotonic() + 3.0)
    assert site.info()["running"] is False
    chiller.saved(PATIENCE)
    site.start()
    assert site.info()["running"] is True, "no power channels: what ran before runs again"


def test_in_its_test_mode_nothing_is_sent_and_nothing_is_called_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    chiller = manual(site)
    monkeypatch.setattr(
        T257P,
        "read_state",
        lambda _driver: {"run_state": RunState.TEST, "pump": True, "device_alarm": False, "device_warning": False},
    )
    for command in (lambda: chiller.set_enabled(True), lambda: chiller.set_setpoint(12.0)):
        site.poll(1.0)
        with pytest.raises(CommandError, match="test mode") as held:
            command()
        assert held.value.code == Code.HELD
    assert (site.info()["run_writes"], site.info()["setpoint_writes"]) == (0, 0)


def test_standby_for_now_is_no_success_when_antifreeze_will_end_it(site: Site) -> None:
    chiller = manual(site, minimum_off_time=300.0)
    site.tell("set ambient 1")
    for _ in chiller.steps():
        pass
    with pytest.raises(CommandError, match="it is in standby, and to be run by antifreeze") as held:
        chiller.set_enabled(False)
    assert held.value.code == Code.HELD


def test_a_stop_of_a_chiller_that_is_away_is_noted(site: Site) -> None:
    chiller = manual(site)
    chiller.set_enabled(True)
    site.tell("set power off")
    chiller.lost("no answer")
    with pytest.raises(CommandError, match="nothing was sent, but noted: when the chiller is back it shall stand by"):
        chiller.set_enabled(False)
    site.tell("set power on")
    chiller.connect()
    site.poll(10.0, times=10)
    assert site.info()["running"] is False
    assert site.info()["run_writes"] == 1


def test_a_lost_state_is_an_alarm_until_somebody_has_seen_it(site: Site) -> None:
    (site.folder / "chiller.json").write_text("{}")
    site.start()
    site.poll(10.0)
    assert site.alarms.active() == ["state_lost"]
    site.alarms.acknowledge("state_lost", "", "local")
    assert site.alarms.active() == []


def test_antifreeze_keeps_a_disabled_chiller_running_and_says_so(site: Site) -> None:
    site.url += "&ambient=1"
    chiller = manual(site)
    assert site.info()["running"] is True
    with pytest.raises(CommandError, match="antifreeze: chiller ambient temperature") as held:
        chiller.set_enabled(False)
    assert held.value.code == Code.HELD
    assert site.info()["running"] is True


def test_a_device_alarm_from_the_first_flag_to_running_again(site: Site) -> None:
    site.url += "&running=1&speed=100"
    chiller = site.start()
    site.tell("fault low_level on")
    wait_for(lambda: site.info()["latched"], "the device's protection")
    site.poll()
    assert chiller.counters["switch_orders"] == 1
    assert site.alarms.active() == ["device_alarm", "low_coolant_level"]
    site.poll(1.0)
    assert site.info()["latched"], "the words are not read yet: that would clear what the panel has not seen"
    site.poll(1.5)
    decision = chiller.snapshot.decision
    assert decision is not None
    assert any("coolant level" in fault for fault in decision.memory.faults), decision.memory.faults
    site.tell("fault low_level off")
    wait_for(lambda: site.info()["alarms"] == "002000" or site.info()["latched"], "only the latch is left")
    site.poll(FAULTS_AGAIN)
    assert site.info()["latched"] is False, "reading again lets the device forget what is over"
    site.poll(1.0)
    assert site.info()["running"] is False
    site.poll(TRIP_PAUSE)
    assert site.info()["running"] is True
    assert site.info()["mode_mismatch"] is False
    states = {alarm["name"]: alarm["state"] for alarm in site.alarms.listing()}
    assert states["device_alarm"] == states["low_coolant_level"] == "returned", "latched until somebody has seen it"


def test_words_that_are_gone_when_read_again_are_not_forgotten(site: Site) -> None:
    site.url += "&running=1"
    chiller = site.start()
    site.tell("fault alarm 000008")
    site.poll()
    site.poll(3.0)
    site.clock.advance(FAULTS_AGAIN)
    for _ in chiller.steps():
        pass
    site.tell("fault alarm off")
    chiller.finish()
    decision = chiller.snapshot.decision
    assert decision is not None
    assert decision.memory.faults == ("system error",)


def unconfirmed(site: Site, monkeypatch: pytest.MonkeyPatch, write: str, command: Callable[[], str]) -> None:
    """Give a command whose write arrives and whose answer does not."""
    driver = site.unit._driver
    real = getattr(driver, write)

    def interrupted(value: Any) -> None:
        site.tell("fault silence on")
        real(value)

    with monkeypatch.context() as patch:
        patch.setattr(driver, write, interrupted)
        with pytest.raises(CommandError, match="whether the chiller followed is not known") as failed:
            command()
    assert failed.value.code == Code.DEVICE_OFFLINE
    site.tell("fault silence off")


def test_a_line_that_fails_in_the_middle_of_an_order_costs_one_try(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)
    unconfirmed(site, monkeypatch, "write_running", lambda: chiller.set_enabled(True))
    assert chiller._reading().run_state is None, "what it does now nobody knows"
    chiller.connect()
    site.poll(10.0)
    assert site.info()["running"] is True
    assert site.info()["run_writes"] == 1, "it had arrived, as the poll shows; nothing is sent twice"


@pytest.mark.parametrize(("safe_state", "runs"), [("keep", True), ("standby", False), ("run", True)])
def test_the_safe_state_at_the_end(site: Site, safe_state: str, runs: bool) -> None:
    chiller = manual(site, safe_state=safe_state)
    chiller.set_enabled(True)
    chiller.shutdown(time.monotonic() + 2.0)
    assert site.info()["running"] is runs


@pytest.mark.parametrize(("fault", "runs"), [
    ("refuse once", False), ("silence once", False), ("checksum once", False), ("ignore_writes on", True),
])  # fmt: skip
def test_the_safe_state_is_read_back_and_tried_again(
    site: Site, capfd: pytest.CaptureFixture[str], fault: str, runs: bool
) -> None:
    chiller = manual(site, safe_state="standby")
    chiller.set_enabled(True)
    site.tell(f"fault {fault}")
    chiller.shutdown(time.monotonic() + 2.0)
    assert site.info()["running"] is runs
    said = capfd.readouterr().out
    assert ("left the chiller in standby" in said) is not runs
    assert ("could not be left in standby: it acknowledges, and reports run" in said) is runs


# What was read at the last poll may be true no more


def test_a_stop_after_a_start_that_was_not_confirmed_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)
    chiller.set_enabled(False)
    unconfirmed(site, monkeypatch, "write_running", lambda: chiller.set_enabled(True))
    assert site.info()["running"] is True
    assert "standby, read back" in chiller.set_enabled(False)
    assert site.info()["running"] is False


def test_a_start_after_a_power_cut_that_no_poll_saw_is_sent(site: Site) -> None:
    chiller = manual(site)
    chiller.set_enabled(True)
    site.poll()
    site.tell("set power cycle")
    assert "run, read back" in chiller.set_enabled(True)
    assert site.info()["running"] is True


def test_a_set_point_after_one_that_was_not_confirmed_is_sent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    chiller = manual(site)
    chiller.set_setpoint(20.0)
    unconfirmed(site, monkeypatch, "write_setpoint", lambda: chiller.set_setpoint(10.0))
    assert site.info()["setpoint"] == pytest.approx(10.0)
    assert "20.0 °C, read back" in chiller.set_setpoint(20.0)
    assert site.info()["setpoint"] == pytest.approx(20.0)


def test_a_refused_start_is_not_a_refused_set_point(site: Site) -> None:
    chiller = manual(site)
    site.poll()
    site.tell("fault refuse once")
    with pytest.raises(CommandError) as refused:
        chiller.set_enabled(True)
    assert refused.value.code == Code.DEVICE_REFUSED
    site.clock.advance(25.0)
    site.tell("fault refuse once")
    assert "12.0 °C, read back" in chiller.set_setpoint(12.0)
    assert chiller.request.setpoint == 12.0
    assert site.info()["setpoint"] == pytest.approx(12.0)


def test_test_mode_is_left_alone(site: Site) -> None:
    chiller = site.start()
    chiller._take({"run_state": RunState.TEST}, site.clock.steady)
    with pytest.raises(CommandError) as failed:
        chiller.set_setpoint(12.0)
    assert failed.value.code != Code.SUCCEEDED
    assert site.info()["setpoint_writes"] == 0
