# SPDX-License-Identifier: GPL-3.0-or-later
"""Chronos: table `history` of its SQLite file, a row a minute while it was winter or summer.

Measured quantities and settings become samples under the keys of the boiler daemon's status, states become events on
change.

Temperatures were recorded in °F, rounded to 0.1. By default they are stored in °C, rounded to 1e-6: the daemon that
goes on recording the same keys does so in °C, and only one unit makes one series, one plot, one mean. Nothing is lost:
the step of what was recorded is 50,000 times that of the rounding, so that the way back gives the very same °F. With
`temperature_unit` degF they are stored as they stand.

Facts of the original that bear on its values: times are those of a local clock; the boiler was asked only in winter
while its relay was on, and each row repeats the last answer, or zeros where there was none; a DS18B20 without contact
reads as 0 °C, one that has just got power as 85 °C; until October 2017 the outside temperature of winter rows is the
wind chill. Such values are kept, marked uncertain.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rockit.common.quality import Quality
from rockit.history.imports.base import (
    Found,
    Happened,
    ImportProblem,
    Options,
    Progress,
    Report,
    WallClock,
    columns,
    run_of,
    sqlite_file,
)
from rockit.history.model import Event, Series

_ROWS = 10_000
"""Read at once: about a week."""
_WINTER = 0
_WIND_CHILL_UNTIL = 1_509_494_400_000
"""2017-11-01, ms."""
_NO_SENSOR = (32.0, 185.0)
"""What a DS18B20 reads without contact and after power-up, °F."""
_OLD = "the boiler was not asked (relay off) or did not answer (zeros)"
_SENSOR = "just what a sensor reads that has no contact (32 °F) or had none until now (185 °F)"
_CHILL = "of winter before November 2017, when Chronos recorded the wind chill as outside temperature"


class _Column(NamedTuple):
    key: str
    label: str
    measure: str


_MEASURED = {
    "outside_temp": _Column("outside_temp", "Outside temperature", "temperature"),
    "effective_setpoint": _Column("effective_setpoint", "Effective set point", "temperature"),
    "water_out_temp": _Column("water_out_temp", "Outlet water temperature", "temperature"),
    "return_temp": _Column("return_temp", "Return water temperature", "temperature"),
    "tha_setpoint": _Column("tha_setpoint", "Set point after history adjustment", "temperature"),
    "avg_outside_temp": _Column("outside_temp_average", "Mean outside temperature of 96 h", "temperature"),
    "setpoint_offset_winter": _Column("setpoint_offset_winter", "Set point offset in winter", "difference"),
    "setpoint_offset_summer": _Column("setpoint_offset_summer", "Set point offset in summer", "difference"),
    "tolerance": _Column("tolerance", "Tolerance", "difference"),
    "cascade_fire_rate": _Column("cascade_power", "Cascade power", "%"),
    "lead_fire_rate": _Column("firing_rate", "Firing rate of the lead boiler", "%"),
    "avg_cascade_fire_rate": _Column("cascade_power_average", "Mean cascade power", "%"),
    "wind_speed": _Column("wind_speed", "Wind speed", "speed"),
    "cascade_time": _Column("cascade_time", "Least time between two chillers", "min"),
    "delta": _Column("return_temp_trend", "Trend of the return temperature (-1, 0, 1)", ""),
}

_SEASON = {0: "WINTER", 1: "SUMMER", 2: "TO_WINTER", 3: "TO_SUMMER"}
_STATUS = {0: "off", 1: "on"}
_OVERRIDE = {0: "auto", 1: "on", 2: "off"}
_DEVICES = ("boiler", "chiller1", "chiller2", "chiller3", "chiller4")
_STATES: dict[str, tuple[str, Mapping[int, str]]] = {
    "mode": ("season", _SEASON),
    **{f"{name}_status": (name, _STATUS) for name in _DEVICES},
    **{f"{name}_manual_override": (f"{name}_override", _OVERRIDE) for name in _DEVICES},
}
"""A state's place among these makes the number of its events: the same in every import of the same row."""


def read(
    path: str | Path, site: str, device: str, options: Options, report: Report, progress: Progress
) -> Iterator[Found]:
    """All rows, in order of id. Raises ImportProblem."""
    clock = WallClock(options.time_zone, "Chronos")
    converters = _converters(options.temperature_unit)
    with sqlite_file(Path(path)) as connection:
        there = columns(connection, "history")
        if "timestamp" not in there:
            raise ImportProblem(f"{path} has no table history of Chronos")
        reading = _Reading(site, device, there, converters, clock, report)
        for rows, part in _chunks(connection, there):
            yield from reading.rows(rows)
            progress(part)
    reading.conclude()


def _chunks(connection: sqlite3.Connection, names: Sequence[str]) -> Iterator[tuple[list[tuple[Any, ...]], float]]:
    """Rows with what part of the table they complete. Chronos deletes old rows, so that ids begin anywhere."""
    listed = ", ".join('"{}"'.format(name.replace('"', '""')) for name in names)
    ends = "SELECT (SELECT min(rowid) FROM history), (SELECT max(rowid) FROM history)"  # together they would be a scan
    first, last = connection.execute(ends).fetchone()
    if first is None:
        return
    # The rowid is the id, and stays in order where somebody copied the table without its key.
    statement = f"SELECT rowid, {listed} FROM history WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"  # noqa: S608
    after = first - 1
    while rows := connection.execute(statement, (after,)).fetchall():
        after = rows[-1][0]
        yield [row[1:] for row in rows], min((after - first + 1) / (last - first + 1), 1.0)


def _converters(unit: str) -> dict[str, tuple[str, Callable[[float], float]]]:
    """Measure -> its unit, and how to get there from what Chronos recorded."""
    same = {name: (name, float) for name in ("%", "min", "")}
    if unit == "degF":
        return {**same, "temperature": ("degF", float), "difference": ("degF", float), "speed": ("mi / h", float)}
    if unit != "degC":
        raise ImportProblem(f"temperature_unit is degC or degF, not {unit!r}")
    return {
        **same,
        "temperature": ("degC", lambda value: round((value - 32) * 5 / 9, 6)),
        "difference": ("K", lambda value: round(value * 5 / 9, 6)),
        "speed": ("m / s", lambda value: round(value * 0.44704, 6)),
    }


class _Reading:
    """Keeps what one row means for the next."""

    def __init__(
        self,
        site: str,
        device: str,
        names: list[str],
        converters: dict[str, tuple[str, Callable[[float], float]]],
        clock: WallClock,
        report: Report,
    ) -> None:
        self._site, self._device = site, device
        self._names = names
        self._clock = clock
        self._report = report
        self._series: dict[str, tuple[Series, Callable[[float], float]]] = {}
        for name, (key, label, measure) in _MEASURED.items():
            if name in names:
                unit, convert = converters[measure]
                self._series[name] = Series(site, device, key, unit, label), convert
        self._states = [(number, name) for number, name in enumerate(_STATES) if name in names]
        self._known: dict[str, str] = {}
        self._doubted: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()
        self._last = self._same = -1

    def rows(self, rows: list[tuple[Any, ...]]) -> Iterator[Found]:
        """What these rows bring."""
        samples: dict[str, list[tuple[int, float, int]]] = {name: [] for name in self._series}
        events: list[Event] = []
        for values in rows:
            self._report.rows += 1
            row = dict(zip(self._names, values, strict=True))
            moment = self._clock.read(row["timestamp"])
            if moment is None:
                what = "no time that can be" if row["timestamp"] is not None else "no time at all"
                self._report.leave(f"its row has {what}", len(self._series))
                continue
            time, quality = moment
            doubts = self._doubts(row, time)
            for name, (_, convert) in self._series.items():
                value = row[name]
                if value is None:
                    self._report.leave("NULL: nothing was recorded")
                elif not isinstance(value, int | float) or not math.isfinite(number := convert(value)):
                    self._report.leave("it is no number")
                else:
                    doubt = doubts.get(name)
                    if doubt is not None:
                        self._doubted[doubt] += 1
                    samples[name].append((time, number, quality if doubt is None else Quality.UNCERTAIN))
            self._same = self._same + 1 if time == self._last else 0
            self._last = time
            events += self._changes(row, time)
        for name, found in samples.items():
            if found:
                yield run_of(self._series[name][0], found, self._report)
        if events:
            yield Happened(self._site, self._device, events)

    def conclude(self) -> None:
        """The notes, at the end."""
        notes = self._report.notes
        notes += self._clock.notes()
        temperature = self._series.get("return_temp")
        if temperature and temperature[0].unit == "degC":
            notes.append("temperatures were converted from °F to °C, and wind from mi/h to m/s, rounded to 1e-6")
        if "wind_speed" in self._series:
            notes.append("Chronos did not say the unit of wind; as the station's temperatures, it was read as US: mi/h")
        notes += [f"{count} values are marked uncertain: {why}" for why, count in sorted(self._doubted.items())]
        notes += [f"{count} rows have {what}: kept as it is" for what, count in sorted(self._strangers.items())]
        known = {"id", "timestamp", *_MEASURED, *_STATES}
        if missing := sorted(known - set(self._names)):
            notes.append(f"this version of Chronos did not record {', '.join(missing)}")
        if unknown := sorted(set(self._names) - known):
            self._report.leave(f"columns that are not known: {', '.join(unknown)}", self._report.rows * len(unknown))
        notes.append("the other tables hold only the settings and the state of the moment, and were not read")

    def _doubts(self, row: Mapping[str, Any], time: int) -> dict[str, str]:
        """Column -> why its value in this row cannot be relied on."""
        doubts: dict[str, str] = {}
        power, rate = row.get("cascade_fire_rate"), row.get("lead_fire_rate")
        if row.get("boiler_status", 1) != 1 or row.get("mode", _WINTER) != _WINTER or (power == 0 and rate == 0):
            doubts["cascade_fire_rate"] = doubts["lead_fire_rate"] = _OLD
        for name in ("return_temp", "water_out_temp"):
            if row.get(name) in _NO_SENSOR:
                doubts[name] = _SENSOR
        if time < _WIND_CHILL_UNTIL and row.get("mode") == _WINTER:
            doubts["outside_temp"] = doubts["avg_outside_temp"] = _CHILL
        return doubts

    def _changes(self, row: Mapping[str, Any], time: int) -> Iterator[Event]:
        for number, column in self._states:
            name, words = _STATES[column]
            value = row[column]
            if value is None:
                self._report.leave("NULL: no state was recorded")
                continue
            word = words.get(value) if isinstance(value, int) else None
            if word is None:
                word = str(value)
                self._strangers[f"{word!r} as {column}, which has no meaning that we know"] += 1
            if self._known.get(name) != word:
                detail = "" if name in self._known else "at the beginning of the import"
                self._known[name] = word
                yield Event(time, "state", name, word, detail, "Chronos", number + self._same * len(_STATES))
