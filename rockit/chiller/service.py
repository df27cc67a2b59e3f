# SPDX-License-Identifier: GPL-3.0-or-later
"""The chiller's remote object: what scripts, dashboards and other daemons see. It answers from the snapshot alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rockit.chiller.config import ChillerConfig
from rockit.chiller.drivers import ChillerDriver
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.model import MEASUREMENTS, ChillerMode, ChillerStatus, Drive, RunState
from rockit.chiller.unit import ChillerUnit, Snapshot
from rockit.common.device import SAVING, Alarms, DeviceService
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.poll import NotBegun, Poller
from rockit.common.quality import Measurement, utc_now, utc_text
from rockit.common.record import Record
from rockit.common.remote.service import operate, read


def measured(config: ChillerConfig, driver: ChillerDriver) -> dict[str, Measurement]:
    """What this chiller's daemon measures: what its driver reads, and what it asks of the dome."""
    extra = ["dome_temp"] if config.temperature_daemon else []
    extra += ["humidity", "dew_point"] if config.humidity_value_key else []
    return {key: MEASUREMENTS[key] for key in (*driver.measures, *extra)}


def _word(active: bool | None) -> str:
    return "unknown" if active is None else "active" if active else "not active"


class ChillerService(DeviceService):
    """What `daemons.clasp_chiller.connect()` talks to."""

    kind = "chiller"

    def __init__(
        self, config: ChillerConfig, config_name: str, unit: ChillerUnit, driver: ChillerDriver, inputs: ChillerInputs,
        poller: Poller, alarms: Alarms, counters: Callable[[], dict[str, int]], log: Log, record: Record,
    ) -> None:  # fmt: skip
        super().__init__(alarms, log, config.allowed(), config_name, measured(config, driver), counters, record)
        self._config = config
        self._unit = unit
        self._inputs = inputs
        self._poller = poller
        self._resolution = driver.setpoint_resolution
        self._device_keys = driver.measures

    @read
    def report_status(self) -> dict[str, Any]:
        """The chiller now. What is not known now is absent; temperatures in degC, tec_power in %, flow in L/min."""
        now = time.monotonic()
        snapshot, request = self._unit.snapshot, self._unit.request
        age, connected = self._connection(snapshot, now)
        status: dict[str, Any] = {
            "date": utc_text(snapshot.polled if connected and snapshot.polled else utc_now()),
            "mode": int(request.mode),
            "mode_label": request.mode.name,
            "connected": connected,
            "alarms": self._alarms.active(),
        }
        if age is not None:
            status["reading_age"] = round(age, 1)
        if request.setpoint is not None:
            status["requested_setpoint"] = request.setpoint
        inputs = self._inputs.now(now)
        if inputs.channels is not None and None not in inputs.channels.values():
            status["channels_enabled"] = [name for name, on in inputs.channels.items() if on]
        elif inputs.channels is None:
            status["channels_enabled"] = []
        values = self._values(snapshot, now, connected)
        status.update({key: value for key, value in values.items() if value is not None})
        state = self._state(snapshot, now) if connected else ChillerStatus.OFFLINE
        status["status"], status["status_label"] = int(state), state.name
        if connected:
            status.update(self._details(snapshot, now))
            return status
        if snapshot.decision is not None:
            status["why"] = snapshot.decision.why
        if snapshot.offline_because:
            status["offline_because"] = snapshot.offline_because
        return status

    @operate
    def set_mode(self, mode: int) -> str:
        """0 manual, 1 automatic. What runs goes on running until somebody or something asks for a change."""
        if isinstance(mode, bool) or mode not in (0, 1):
            raise CommandError(Code.OUT_OF_RANGE, f"mode must be 0 (manual) or 1 (automatic), not {mode!r}")
        self._unit.set_mode(ChillerMode(mode))
        self._poller.hurry()
        return f"the mode is {ChillerMode(mode).name.lower()}{self._unit.forgetful}"

    @operate
    def set_enabled(self, enabled: bool) -> str:
        """Start or stop the chiller, in manual mode. Succeeded means: read back from the device."""
        if not isinstance(enabled, bool):
            raise CommandError(Code.OUT_OF_RANGE, f"enabled must be True or False, not {enabled!r}")
        stops = self._unit.stops

        def noted(error: CommandError) -> CommandError:
            """A stop that the loop has no time for is not forgotten."""
            waits = isinstance(error, NotBegun) or error.code == Code.BLOCKED
            if enabled or not waits or self._unit.request.mode is not ChillerMode.MANUAL:
                return error
            text = self._unit.noted_stop()
            if not isinstance(error, NotBegun):
                text = "another command is running; the stop is noted, and follows when that is done"
            return CommandError(error.code, text)

        return self._kept(lambda: self._unit.set_enabled(enabled, stops), noted)

    @operate
    def set_setpoint(self, celsius: float) -> str:
        """Ask for a set point in degC. Succeeded means: read back from the device."""
        low, high = self._config.setpoint_limits
        if isinstance(celsius, bool) or not isinstance(celsius, int | float) or not math.isfinite(celsius):
            raise CommandError(Code.OUT_OF_RANGE, f"the set point must be a number in degC, not {celsius!r}")
        if not low <= celsius <= high:
            raise CommandError(
                Code.OUT_OF_RANGE, f"{celsius:g} °C is outside the limits of this chiller, {low:g} to {high:g} °C"
            )
        wanted = round(round(celsius / self._resolution) * self._resolution, 6)
        return self._kept(lambda: self._unit.set_setpoint(wanted))

    def _kept(
        self, run: Callable[[], str], failed: Callable[[CommandError], CommandError] = lambda error: error
    ) -> str:
        """Have the query loop do it; here, and not there, wait for the disk."""
        try:
            text = self._poller.submit(run)
        except CommandError as error:
            told = failed(error)
            self._unit.saved(SAVING)
            raise told from None
        return text + self._unit.forgetful

    def states(self) -> dict[str, str]:
        """See the base."""
        now = time.monotonic()
        snapshot, request = self._unit.snapshot, self._unit.request
        _, connected = self._connection(snapshot, now)
        details = self._details(snapshot, now) if connected else {}
        channels = self._inputs.now(now).channels or {}
        on = ["unknown" if state is None else name for name, state in channels.items() if state is not False]
        return {
            "mode": request.mode.name,
            "status": (self._state(snapshot, now) if connected else ChillerStatus.OFFLINE).name,
            "run_state": details.get("run_state", "unknown"),
            "antifreeze": _word(details.get("antifreeze_enabled")),
            "faults": ", ".join(details["faults"]) or "none" if "faults" in details else "unknown",
            "requested_enabled": {True: "run", False: "standby", None: "as it is"}[request.enabled],
            "requested_setpoint": "none" if request.setpoint is None else f"{request.setpoint:g} degC",
            **({"channels": ", ".join(on) or "none"} if channels else {}),
        }

    def acknowledged(self, name: str) -> str:
        """Whoever acknowledges an alarm has seen to its cause: what was given up is tried again."""
        self._unit.acknowledged(name)
        self._poller.hurry()
        return ""

    def description(self) -> dict[str, Any]:
        """Driver, identity, port."""
        return {
            "driver": self._config.driver, "device": dict(self._unit.snapshot.identity),
            "port": self._config.serial_port,
        }  # fmt: skip

    def limits(self, key: str) -> tuple[float, float]:
        """Of the set point: what may be asked for."""
        return self._config.setpoint_limits if key == "setpoint_temp" else super().limits(key)

    def maximum_age(self, key: str) -> float:
        """See the base."""
        return self._unit.maximum_age(key) if key in self._device_keys else self._inputs.maximum_age

    def readings(self) -> tuple[datetime | None, Mapping[str, Any]]:
        """See the base."""
        now, snapshot = time.monotonic(), self._unit.snapshot
        _, connected = self._connection(snapshot, now)
        return snapshot.polled, self._values(snapshot, now, connected)

    def _connection(self, snapshot: Snapshot, now: float) -> tuple[float | None, bool]:
        """Age of the last good poll (None: there was none), and whether that is good enough to believe."""
        if snapshot.polled_at is None:
            return None, False
        age = now - snapshot.polled_at
        return age, snapshot.connected and age <= self._unit.maximum_age("run_state")

    def _values(self, snapshot: Snapshot, now: float, connected: bool) -> dict[str, Any]:
        """Key -> value, None where it is not known now."""
        values: dict[str, Any] = {}
        for key in self._device_keys:
            values[key] = snapshot.samples.fresh(key, now, self._unit.maximum_age(key)) if connected else None
        inputs = self._inputs.now(now)
        remote = {"dome_temp": inputs.dome_temp, "humidity": inputs.humidity}
        if "dew_point" in self._measured:
            remote["dew_point"] = self._inputs.dew_point(now)
        values.update({key: remote[key] for key in self._measured if key in remote})
        return values

    def _state(self, snapshot: Snapshot, now: float) -> ChillerStatus:
        age = self._unit.maximum_age("run_state")
        running = snapshot.samples.fresh("run_state", now, age)
        if not isinstance(running, RunState):
            return ChillerStatus.OFFLINE  # not known is not idle
        if not running.running or snapshot.samples.fresh("pump", now, age) is False:
            return ChillerStatus.IDLE
        drive = snapshot.samples.fresh("drive", now, age)
        return ChillerStatus.HEATING if drive is Drive.HEAT else ChillerStatus.COOLING

    def _details(self, snapshot: Snapshot, now: float) -> dict[str, Any]:
        """What there is to say of a chiller that is there."""
        details: dict[str, Any] = {}
        state = snapshot.samples.fresh("run_state", now, self._unit.maximum_age("run_state"))
        if state is not None:
            details["run_state"] = str(state)
        if (decision := snapshot.decision) is not None:
            if decision.memory.antifreeze or "antifreeze_blind" not in decision.alarms:
                details["antifreeze_enabled"] = decision.memory.antifreeze
            warnings = snapshot.samples.fresh("warnings", now, self._unit.maximum_age("run_state")) or ()
            details["faults"] = list(dict.fromkeys((*decision.memory.faults, *warnings)))
            details["why"] = decision.why
            for key, text in (("held", decision.held), ("setpoint_held", decision.set_point_held)):
                if text is not None:
                    details[key] = text
        return details
