# SPDX-License-Identifier: GPL-3.0-or-later
"""The typed client of a boiler plant, for scripts: `with daemons.clasp_boiler.connect() as plant: …`."""

from __future__ import annotations

from typing import Any, TypedDict

from rockit.common.remote.client import Client as GeneralClient


class DeviceReport(TypedDict, total=False):
    """One source. `on` and `since` are absent while its relay is not known; `longer`: it was so before.

    Hours in h, times in UTC.
    """

    on: bool
    override: str
    since: str
    longer: bool
    may_change_at: str
    run_hours: float
    starts: int
    why: str


class BoilerReport(TypedDict, total=False):
    """What `report_status()` returns. A key that is not known now is absent; temperatures in `unit`.

    `season`: 0 winter, 1 summer, 2 to winter, 3 to summer.
    """

    date: str
    connected: bool
    reading_age: float
    offline_because: str
    alarms: list[str]
    unit: str
    wind_unit: str
    emergency: bool
    emergency_because: str
    season: int
    season_label: str
    season_automatic: bool
    season_change_ends: str
    season_change_step: str
    season_wanted: str
    return_temp: float
    return_temp_source: str
    water_out_temp: float
    outside_temp: float
    outside_temp_source: str
    wind_speed: float
    wind_chill_temp: float
    outside_temp_average: float
    outside_temp_average_hours: int
    baseline_setpoint: float
    history_adjustment: float
    tha_setpoint: float
    effective_setpoint: float
    system_supply_temp: float
    outlet_temp: float
    inlet_temp: float
    flue_temp: float
    outlet_setpoint: float
    system_setpoint: float
    cascade_power: float
    firing_rate: float
    flame: bool
    devices: dict[str, DeviceReport]
    valves: dict[str, bool]
    efficiency: dict[str, float]
    boiler_connected: bool
    boiler_offline_because: str
    boiler_demand: float
    boiler_faults: list[str]
    boiler_warnings: list[str]


class Client(GeneralClient):
    """A boiler plant. Commands return a code of `rockit.common.errors.Code`; `message` then says more."""

    def report_status(self) -> BoilerReport:
        """The plant now."""
        status: BoilerReport = self.call("report_status")
        return status

    def settings(self) -> dict[str, Any]:
        """Every setting, in the scale of the site."""
        found: dict[str, Any] = self.call("settings")
        return found

    def explain(
        self, outside_temp: float | None = None, average: float | None = None, season: int | str | None = None,
        wind_speed: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Every step from the outside temperature to the set point."""
        found: dict[str, Any] = self.call("explain", outside_temp, average, season, wind_speed)
        return found

    def set_season(self, season: int | str) -> int:
        """0 winter, 1 summer, "auto"."""
        return self.command("set_season", season)

    def set_override(self, device: str, override: str) -> int:
        """Who decides about a device: "auto", "on" or "off"."""
        return self.command("set_override", device, override)

    def set_setting(self, name: str, value: Any) -> int:
        """Change a setting, in the scale of the site."""
        return self.command("set_setting", name, value)
