# SPDX-License-Identifier: GPL-3.0-or-later
"""Energy by periods: import, export, balance and cost, from the history, from what happened to meters, from prices."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rockit.common.errors import Code, CommandError
from rockit.common.record import Record
from rockit.history.counters import runs
from rockit.history.times import FORMS, iso, parse
from rockit.meter import periods
from rockit.meter.config import MeterdConfig
from rockit.meter.energy import GAP, Account, Period, account, together
from rockit.meter.names import ENERGIES
from rockit.meter.periods import By, begin_of_day, edges
from rockit.meter.prices import Prices
from rockit.meter.unit import MeterUnit, now_ms

if TYPE_CHECKING:
    from rockit.history.query import View

MOST = 10_000
"""So many periods are told at once, at most."""
_USUAL = {"hour": "24h", "day": "30d", "week": "12w", "month": "1y", "year": "5y"}
"""How far back it is looked where nobody says from when."""
_CLOCK = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", re.ASCII)


def site_zone(configured: str | None) -> tuple[str, tzinfo]:
    """Name and zone in which days begin: as configured, else the machine's, else UTC."""
    names = [configured] if configured else [os.environ.get("TZ", "").lstrip(":"), _machine_zone(), "UTC"]
    for name in filter(None, names):
        try:
            return name, ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    raise CommandError(Code.FAILED, f"this machine does not know the time zone {configured}")


def _machine_zone() -> str:
    place = os.path.realpath("/etc/localtime")
    return place.partition("/zoneinfo/")[2] if Path(place).exists() else ""


class Accounts:
    """Answers `energy`."""

    def __init__(self, config: MeterdConfig, record: Record) -> None:
        self._config = config
        self._record = record
        self.zone_name, self._zone = site_zone(config.time_zone)

    def energy(self, unit: MeterUnit, by: str, start: Any, end: Any) -> dict[str, Any]:
        """See the remote method of that name. Raises CommandError."""
        if by not in periods.KINDS:
            raise CommandError(Code.OUT_OF_RANGE, f"by is one of {', '.join(periods.KINDS)}, not {by!r}")
        kind, now = cast("By", by), now_ms()
        since = self._time(_USUAL[by] if start is None else start, now)
        until = min(now, self._time(end, now)) if end is not None else now
        if since >= until:
            raise CommandError(Code.OUT_OF_RANGE, "the end must be after the start, and the start before now")
        borders = edges(kind, since, until, self._zone) if until - since < _longest(kind) else []
        if not 2 <= len(borders) <= MOST + 1:
            raise CommandError(Code.OUT_OF_RANGE, f"that are more than {MOST} periods; ask for fewer, or longer ones")
        prices = Prices(self._config.tariffs, unit.name, self._zone)
        # Prices begin with a day, and hours, days, months do too: what is between two borders has one price.
        fine = sorted({*borders, *(begin for begin in prices.begins if borders[0] < begin < borders[-1])})
        with unit.lock:
            jumps = {name: list(found) for name, found in unit.kept.jumps.items()}
            counted = unit.kept.last.keys() | jumps.keys()

        def ask(view: View, site: str, device: str) -> dict[str, Account]:
            known = {
                one.key: number
                for number, one in view.series().items()
                if (one.site, one.device) == (site, device) and one.counter and one.unit == "Wh"
            }
            found: dict[str, Account] = {}
            for total, *parts in ENERGIES.values():
                for name in (total, *parts):
                    series = known.get(f"{unit.name}.{name}")
                    if series is None:
                        continue
                    steps = jumps.get(name, [])
                    cuts = {jump.time: None if jump.after is None else float(jump.after) for jump in steps}
                    readings = runs(view, series, fine[0], fine[-1], cuts=cuts, borders=fine)
                    found[name] = account(readings, steps, fine, now, view.at(series, fine[0] - 1), gap=self._gap(unit))
                # A total that is our own sum knows nothing of what happened to its parts.
                if all(part in found for part in parts) and (total not in found or total not in counted):
                    found[total] = together([found[part] for part in parts])
            return found

        return self._told(unit, kind, borders, fine, self._record.ask(ask), prices, now)

    def _gap(self, unit: MeterUnit) -> int:
        """Readings that are further apart than this, ms, are not what is usual for this meter."""
        usual = max(unit.config.record_every, self._config.query_delay if unit.config.asked else 0.0)
        return max(GAP, round(1500 * usual))

    def _told(
        self, unit: MeterUnit, by: By, borders: Sequence[int], fine: Sequence[int], found: Mapping[str, Account],
        prices: Prices, now: int,
    ) -> dict[str, Any]:  # fmt: skip
        told: dict[str, Any] = {
            "meter": unit.name, "by": by, "time_zone": self.zone_name, "unit": "Wh", "currency": self._config.currency,
            "periods": [], "gaps": [], "falls": max((one.falls for one in found.values()), default=0),
        }  # fmt: skip
        pieces: dict[int, list[int]] = {}
        number = -1
        for index, begin in enumerate(fine[:-1]):
            number += begin in borders
            pieces.setdefault(number, []).append(index)
        for number, (begin, end) in enumerate(periods.spans(list(borders))):
            if begin >= now:
                break
            row: dict[str, Any] = {"start": iso(begin), "end": iso(end)}
            energies = {name: _sum([one.periods[index] for index in pieces[number]]) for name, one in found.items()}
            row |= {name: float(energy) for name, (energy, _) in energies.items() if energy is not None}
            whole = [complete for energy, complete in energies.values() if energy is not None]
            row["complete"] = bool(whole) and all(whole)
            if "import_energy" in row and "export_energy" in row:
                (imported, _), (exported, _) = energies["import_energy"], energies["export_energy"]
                assert imported is not None
                assert exported is not None
                row["balance"] = float(imported - exported)
            if prices and (cost := self._cost(prices, fine, pieces[number], found, now)) is not None:
                row["cost"] = float(round(cost, 6))
            told["periods"].append(row)
        if prices and not any("cost" in row for row in told["periods"]) and "import_energy" in found:
            told["why_no_cost"] = "no price is of this time, or prices are of T1 and T2 and the meter counts no tariffs"
        told["gaps"] = [
            {"start": iso(gap.start), "end": iso(gap.end), "register": name, "energy": float(gap.energy)}
            for name, one in found.items()
            for gap in one.gaps
        ]
        return told

    def _cost(
        self, prices: Prices, fine: Sequence[int], pieces: Sequence[int], found: Mapping[str, Account], now: int
    ) -> Decimal | None:
        total = Decimal(0)
        first = min((one.known_from for one in found.values() if one.known_from is not None), default=now)
        for index in pieces:
            begin, end = max(fine[index], first), min(fine[index + 1], now)
            if begin >= end:
                continue
            energies = {name: one.periods[index].energy for name, one in found.items()}
            cost = prices.cost(begin, end, energies)
            if cost is None:
                return None
            total += cost
        return total

    def _time(self, value: Any, now: int) -> int:
        """As `rockit.history.times` reads it, but that dates and times without a zone are those of the site."""
        try:
            if isinstance(value, str) and (plain := _DATE.fullmatch(value.strip())):
                value = self._midnight(*(int(part or 1) for part in plain.groups())) / 1000
            elif isinstance(value, str) and _CLOCK.fullmatch(value.strip()):
                value = datetime.fromisoformat(value.strip()).replace(tzinfo=self._zone).timestamp()
            return parse(value, now)
        except ValueError as error:
            raise CommandError(Code.OUT_OF_RANGE, str(error)) from None

    def _midnight(self, year: int, month: int, day: int) -> int:
        """When a date begins at the site. Raises ValueError."""
        try:
            return begin_of_day(date(max(year, 2), month, day), self._zone)
        except ValueError:
            raise ValueError(f"{year}-{month:02}-{day:02} is no date: {FORMS}") from None


def _longest(by: By) -> int:
    """How long a range can be, ms, so that not too many periods are even counted."""
    hours = {"hour": 1, "day": 24, "week": 168, "month": 744, "year": 8784}[by]
    return (MOST + 2) * hours * 3_600_000


def _sum(parts: Sequence[Period]) -> tuple[Decimal | None, bool]:
    """Energy of all pieces of a period, and whether that is all of it."""
    known = [part.energy for part in parts if part.energy is not None]
    return (sum(known, Decimal(0)) if known else None), all(part.complete and part.energy is not None for part in parts)
