# SPDX-License-Identifier: GPL-3.0-or-later
"""The meters' remote object: what scripts, dashboards and other daemons see. It answers from snapshots alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from rockit.common.device import SAVING, Alarms, DeviceService
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.quality import Measurement, utc_now, utc_text
from rockit.common.record import Record
from rockit.common.remote.service import operate, read
from rockit.meter.accounts import Accounts
from rockit.meter.config import MeterdConfig
from rockit.meter.model import Number
from rockit.meter.unit import MeterUnit


def number(value: Number) -> float | int:
    """A number as it goes over the wire."""
    return value if isinstance(value, int) else float(value)


class MeterService(DeviceService):
    """What `daemons.my_meters.connect()` talks to."""

    kind = "meter"

    def __init__(
        self, config: MeterdConfig, config_name: str, units: Mapping[str, MeterUnit], accounts: Accounts,
        alarms: Alarms, counters: Callable[[], dict[str, int]], log: Log, record: Record,
        measured: Mapping[str, Measurement], saved: Callable[[float], bool], seen: Callable[[str], object],
    ) -> None:  # fmt: skip
        super().__init__(alarms, log, config.allowed(), config_name, measured, counters, record)
        self._config = config
        self._units = units
        self._accounts = accounts
        self._saved = saved
        self._seen = seen

    @read
    def report_status(self) -> dict[str, Any]:
        """All meters now: power in W, energy in Wh. What is not known now is absent."""
        now = time.monotonic()
        meters = {name: self._meter(unit, now) for name, unit in self._units.items()}
        ages = [meter["reading_age"] for meter in meters.values() if "reading_age" in meter]
        status: dict[str, Any] = {
            "date": utc_text(utc_now()),
            "connected": any(meter["connected"] for meter in meters.values()),
            "alarms": self._alarms.active(),
            "meters": meters,
        }
        if ages:
            status["reading_age"] = min(ages)
        return status

    def _meter(self, unit: MeterUnit, now: float) -> dict[str, Any]:
        snapshot, connected = unit.snapshot, unit.connected(now)
        age = unit.age(now)
        told: dict[str, Any] = {
            "driver": unit.config.driver,
            "connected": connected,
            "pin_locked": snapshot.pin_locked,
            "frames": unit.frames,
            "crc_errors": unit.crc_errors,
            "bytes_lost": unit.bytes_lost,
            "restarts": unit.telegrams.restarts,
            "missed": unit.telegrams.missed,
            "values": {},
        }
        if unit.config.note:
            told["note"] = unit.config.note
        if snapshot.server_id:
            told["server_id"] = snapshot.server_id
        if age is not None:
            told["reading_age"] = round(age, 1)
        if snapshot.utc is not None:
            told["date"] = utc_text(snapshot.utc)
        if unit.telegrams.period is not None:
            told["period"] = unit.telegrams.period
        if not connected:
            told["offline_because"] = snapshot.offline_because or f"no good reading for {unit.maximum_age:g} s"
            return told
        for name in ("power", "import_energy", "export_energy"):
            if name in snapshot.numbers:
                told[name] = number(snapshot.numbers[name])
        if snapshot.notes:
            told["notes"] = dict(snapshot.notes)
        for key, one in snapshot.registers.items():
            if one.value is not None:
                value = one.value if isinstance(one.value, str | bool) else number(one.value)
                told["values"][key] = {"value": value, "unit": one.unit, "label": one.label}
        return told

    @read
    def energy(
        self, meter: str, by: str = "day", start: str | float | None = None, end: str | float | None = None
    ) -> dict[str, Any]:
        """What flowed through a meter `by` hour, day, week, month or year, from the period of `start` to that of `end`.

        Wh, times in UTC, periods of the site's time zone; cost in the config's currency. A period that is not whole (a
        gap, or it has not ended) has `complete` false; one of which nothing is known has no energy. What flowed over
        the border of periods while nobody read the meter stands in `gaps`, and in no period.
        """
        return self._accounts.energy(self._unit(meter), by, start, end)

    @operate
    def set_reading(self, meter: str, register: str, value: float) -> str:
        """Align a counter with the meter's own display: it is shown as `value` (Wh) from now on."""
        unit = self._unit(meter)
        return self._done(unit.set_reading(str(register), _energy("the reading", value)))

    @operate
    def replace(
        self, meter: str, final: dict[str, float] | None = None, first: dict[str, float] | None = None,
        comment: str = "",
    ) -> str:  # fmt: skip
        """A meter was replaced. `final` and `first`: counter -> where the old one ended and the new one began, Wh."""
        unit = self._unit(meter)
        if not all(given is None or isinstance(given, dict) for given in (final, first)):
            raise CommandError(Code.OUT_OF_RANGE, "final and first map counters to Wh, as {'import_energy': 12345.0}")
        ends, begins = (
            {str(name): _energy(str(name), value) for name, value in (given or {}).items()} for given in (final, first)
        )
        return self._done(unit.replace(ends, begins)) + (f" ({comment})" if comment else "")

    def _done(self, text: str) -> str:
        return text if self._saved(SAVING) else f"{text}; the disk has not taken it, it is forgotten at a restart"

    def _unit(self, meter: str) -> MeterUnit:
        unit = self._units.get(str(meter))
        if unit is None:
            raise CommandError(Code.OUT_OF_RANGE, f"there is no meter {meter!r}; there are: {', '.join(self._units)}")
        return unit

    # For the base

    def readings(self) -> tuple[datetime | None, Mapping[str, Any]]:
        """See the base."""
        now = time.monotonic()
        values: dict[str, Any] = dict.fromkeys(self._measured)
        newest = None
        for name, unit in self._units.items():
            snapshot = unit.snapshot
            if snapshot.utc is not None and (newest is None or snapshot.utc > newest):
                newest = snapshot.utc
            if unit.connected(now):
                values |= {f"{name}.{key}": number(value) for key, value in snapshot.numbers.items()}
        return newest, {key: value for key, value in values.items() if key in self._measured}

    def maximum_age(self, key: str) -> float:
        """See the base."""
        unit = self._units.get(key.partition(".")[0])
        return 0.0 if unit is None else unit.maximum_age

    def states(self) -> Mapping[str, str]:
        """See the base."""
        now = time.monotonic()
        found: dict[str, str] = {}
        for name, unit in self._units.items():
            found[f"{name}.connected"] = "yes" if unit.connected(now) else "no"
            found[f"{name}.server_id"] = unit.snapshot.server_id or "unknown"
        return found

    def acknowledged(self, name: str) -> str:
        """See the base."""
        self._seen(name)
        for unit in self._units.values():
            unit.acknowledged(name)
        return ""

    def description(self) -> dict[str, Any]:
        """The meters, and where they are."""
        return {
            "meters": {
                name: f"{unit.config.driver} on {unit.config.port}" + (f", {unit.config.note}" * bool(unit.config.note))
                for name, unit in self._units.items()
            },
            "time_zone": self._accounts.zone_name,
        }


def _energy(what: str, value: float) -> Decimal:
    """An energy that a person gave, Wh. Raises CommandError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CommandError(Code.OUT_OF_RANGE, f"{what} must be a number of Wh, not {value!r}")
    if not 0 <= value <= 1e15:
        raise CommandError(Code.OUT_OF_RANGE, f"{what} must be 0 to 1e15 Wh, not {value:g}")
    return Decimal(repr(value))
