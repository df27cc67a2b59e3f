# SPDX-License-Identifier: GPL-3.0-or-later
"""The chiller's remote object: what scripts, dashboards and other daemons see. It answers from the snapshot alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rockit.chiller.config import ChillerConfig
from rockit.chiller.drivers import ChillerDriver
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.model import MEASUREMENTS, ChillerMode, ChillerStatus, Drive, RunState
from rockit.chiller.unit import ChillerUnit, Snapshot
from rockit.common.device import Alarms, DeviceService
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.poll import Poller
from rockit.common.quality import utc_now, utc_text
from rockit.common.remote.service import operate, read

COMMAND_WAIT = 8.0
"""A command is answered within this, s: a T257P that is asked once a second needs six to write and read back; clients
wait ten."""


class ChillerService(DeviceService):
    """What `daemons.clasp_chiller.connect()` talks to."""

    kind = "chiller"

    def __init__(
        self, config: ChillerConfig, config_name: str, unit: ChillerUnit, driver: ChillerDriver, inputs: ChillerInputs,
        poller: Poller, alarms: Alarms, counters: Callable[[], dict[str, int]], log: Log,
    ) -> None:  # fmt: skip
        super().__init__(alarms, log, config.allowed(), config_name)
        self._config = config
        self._unit = unit
        self._inputs = inputs
        self._poller = poller
        self._counters = counters
        self._resolution = driver.setpoint_resolution
        extra = ["dome_temp"] if config.temperature_daemon else []
        extra += ["humidity", "dew_point"] if config.humidity_value_key else []
        self._device_keys = driver.measures
        self._keys = (*driver.measures, *extra)

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

    @read
    def last_measurement(self) -> dict[str, Any]:
        """Every measured key, always, with `<key>_valid`; NaN where the value is not known now."""
        now = time.monotonic()
        snapshot = self._unit.snapshot
        _, connected = self._connection(snapshot, now)
        measured: dict[str, Any] = {"date": utc_text(snapshot.polled or utc_now())}
        for key, value in self._values(snapshot, now, connected).items():
            measured[key] = math.nan if value is None else int(value) if isinstance(value, bool) else value
            measured[f"{key}_valid"] = value is not None
        return measured

    @read
    def measurement_sensors(self) -> dict[str, dict[str, str]]:
        """Key -> label and units of every key of `last_measurement`."""
        return {key: {"label": MEASUREMENTS[key].label, "units": MEASUREMENTS[key].unit} for key in self._keys}

    @read
    def counters(self) -> dict[str, int]:
        """Counters since the daemon's start: requests, answers, each kind of damage, connections, commands."""
        return self._counters()

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
        return self._submit(lambda: self._unit.set_enabled(enabled))

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
        return self._submit(lambda: self._unit.set_setpoint(wanted))

    def _submit(self, run: Callable[[], str]) -> str:
        """Have the query loop do it, and poll at once, so that the status shows all that follows from it."""
        try:
            return self._poller.submit(run, COMMAND_WAIT)
        finally:
            self._poller.hurry()

    def acknowledged(self, name: str) -> None:
        """Whoever acknowledges an alarm has seen to its cause: what was given up is tried again."""
        self._unit.acknowledged(name)
        self._poller.hurry()

    def description(self) -> dict[str, Any]:
        """Driver, identity, measurements with limits and maximum age."""
        low, high = self._config.setpoint_limits
        measurements: dict[str, dict[str, Any]] = {}
        for key in self._keys:
            known = MEASUREMENTS[key]
            entry: dict[str, Any] = {"label": known.label, "unit": known.unit}
            if key == "setpoint_temp":
                entry["limits"] = [low, high]
            elif math.isfinite(known.low):
                entry["limits"] = [known.low, known.high]
            entry["maximum_age"] = round(self._maximum_age(key), 1)
            measurements[key] = entry
        return {
            "driver": self._config.driver,
            "device": dict(self._unit.snapshot.identity),
            "port": self._config.serial_port,
            "measurements": measurements,
        }

    def _maximum_age(self, key: str) -> float:
        return self._unit.maximum_age(key) if key in self._device_keys else self._inputs.maximum_age

    def _connection(self, snapshot: Snapshot, now: float) -> tuple[float | None, bool]:
        """Age of the last good poll (None: there was none), and whether that is good enough to believe."""
        if snapshot.polled_at is None:
            return None, False
        age = now - snapshot.polled_at
        return age, snapshot.connected and age <= self._unit.maximum_age()

    def _values(self, snapshot: Snapshot, now: float, connected: bool) -> dict[str, Any]:
        """Key -> value, None where it is not known now."""
        values: dict[str, Any] = {}
        for key in self._device_keys:
            values[key] = snapshot.samples.fresh(key, now, self._unit.maximum_age(key)) if connected else None
        inputs = self._inputs.now(now)
        remote = {"dome_temp": inputs.dome_temp, "humidity": inputs.humidity}
        if "dew_point" in self._keys:
            remote["dew_point"] = self._inputs.dew_point(now)
        values.update({key: remote[key] for key in self._keys if key in remote})
        return values

    def _state(self, snapshot: Snapshot, now: float) -> ChillerStatus:
        age = self._unit.maximum_age()
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
        state = snapshot.samples.fresh("run_state", now, self._unit.maximum_age())
        if state is not None:
            details["run_state"] = str(state)
        if (decision := snapshot.decision) is not None:
            if decision.memory.antifreeze or "antifreeze_blind" not in decision.alarms:
                details["antifreeze_enabled"] = decision.memory.antifreeze
            warnings = snapshot.samples.fresh("warnings", now, self._unit.maximum_age()) or ()
            details["faults"] = list(dict.fromkeys((*decision.memory.faults, *warnings)))
            details["why"] = decision.why
            for key, text in (("held", decision.held), ("setpoint_held", decision.set_point_held)):
                if text is not None:
                    details[key] = text
        return details
