# SPDX-License-Identifier: GPL-3.0-or-later
"""The typed client of a meter daemon, for scripts: `with daemons.my_meters.connect() as meters: …`."""

from __future__ import annotations

from typing import Any, TypedDict

from rockit.common.remote.client import Client as GeneralClient


class Value(TypedDict):
    """One register; energies in Wh, power in W."""

    value: float | int | str | bool
    unit: str
    label: str


class MeterState(TypedDict, total=False):
    """One meter. A key that is not known now is absent. power: W, + import, - export; energies: Wh; ages: s."""

    driver: str
    note: str
    connected: bool
    offline_because: str
    reading_age: float
    date: str
    period: float
    server_id: str
    pin_locked: bool
    power: float
    import_energy: float
    export_energy: float
    values: dict[str, Value]
    notes: dict[str, str]
    frames: int
    crc_errors: int
    bytes_lost: int
    restarts: int
    missed: int


class MeterReport(TypedDict, total=False):
    """What `report_status()` returns. `connected`: at least one meter is; `reading_age`: of the youngest reading, s."""

    date: str
    connected: bool
    reading_age: float
    alarms: list[str]
    meters: dict[str, MeterState]


class Client(GeneralClient):
    """The meters of a daemon. Commands return a code of `rockit.common.errors.Code`; `message` then says more."""

    def report_status(self) -> MeterReport:
        """The meters now."""
        status: MeterReport = self.call("report_status")
        return status

    def energy(
        self, meter: str, by: str = "day", start: str | float | None = None, end: str | float | None = None
    ) -> dict[str, Any]:
        """Energy by hour, day, week, month or year, Wh."""
        found: dict[str, Any] = self.call("energy", meter, by, start, end)
        return found

    def set_reading(self, meter: str, register: str, value: float) -> int:
        """Align a counter with the meter's display, Wh."""
        return self.command("set_reading", meter, register, value)

    def replace(
        self, meter: str, final: dict[str, float] | None = None, first: dict[str, float] | None = None,
        comment: str = "",
    ) -> int:  # fmt: skip
        """A meter was replaced; `final` and `first`: counter -> Wh."""
        return self.command("replace", meter, final, first, comment)
