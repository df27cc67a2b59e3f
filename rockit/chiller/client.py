# SPDX-License-Identifier: GPL-3.0-or-later
"""The typed client of a chiller, for scripts: `with daemons.clasp_chiller.connect() as chiller: …`."""

from __future__ import annotations

from typing import TypedDict

from rockit.common.remote.client import Client as GeneralClient


class ChillerReport(TypedDict, total=False):
    """What `report_status()` returns. A key that is not known now is absent; temperatures in degC, times in s.

    `status`: 0 offline, 1 idle, 2 cooling, 3 heating; `mode`: 0 manual, 1 automatic.
    """

    date: str
    mode: int
    mode_label: str
    status: int
    status_label: str
    connected: bool
    reading_age: float
    alarms: list[str]
    faults: list[str]
    water_temp: float
    setpoint_temp: float
    requested_setpoint: float
    ambient_temp: float
    dome_temp: float
    humidity: float
    dew_point: float
    return_temp: float
    external_temp: float
    channels_enabled: list[str]
    antifreeze_enabled: bool
    tec_power: int
    flow: float
    pressure: float
    pump: bool
    tec_current_1: float
    tec_current_2: float
    uptime: int
    run_state: str
    why: str
    held: str
    setpoint_held: str
    offline_because: str


class Client(GeneralClient):
    """A chiller. Commands return a code of `rockit.common.errors.Code`; `message` then says more."""

    def report_status(self) -> ChillerReport:
        """The chiller now."""
        status: ChillerReport = self.call("report_status")
        return status

    def set_mode(self, mode: int) -> int:
        """0 manual, 1 automatic."""
        return self.command("set_mode", mode)

    def set_enabled(self, enabled: bool) -> int:
        """Start or stop, in manual mode."""
        return self.command("set_enabled", enabled)

    def set_setpoint(self, celsius: float) -> int:
        """Ask for a set point, degC."""
        return self.command("set_setpoint", celsius)
