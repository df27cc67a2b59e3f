# SPDX-License-Identifier: GPL-3.0-or-later
"""pyHM: points of an SML meter in its SQLite file. Numbers become samples under their OBIS code (`1-0:1.8.0*255`),
octet strings (ids, names) and restarts become events.

pyHM stored a value only once: `m_POINTS` is UNIQUE over meter, code, unit and value. For a counter nothing is missing;
a power that came back to an earlier value left no point then. Such a series has holes that look like steps, and the
report says so; what is there was measured, and is marked good.

pyHM scaled a negative exponent -n by dividing by 10·n, which is right for -1 alone. That can be seen: every value of
such a series is a multiple of 1/(10·n), and some are no multiple of 1/10. These series are left out until `scalers`
says the meter's exponent, because what is once in a history is not changed by a later import; then the meter's own
integer is got back, exactly, and divided by 10**n. Exponent 0 takes them as they stand.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rockit.common.quality import Quality
from rockit.history.imports.base import (
    MOST,
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
from rockit.history.model import EXACT, Event, Series

_RESTART = 0xFFFFFFFFFFFF
"""OBIS code under which pyHM noted its own start."""
_PUBLIC_KEY = "129-129:199.130.5*255"
_UNITS = {
    1: "yr", 3: "week", 4: "d", 5: "h", 6: "min", 7: "s", 8: "deg", 9: "degC", 11: "m", 12: "m / s", 13: "m3", 14: "m3",
    15: "m3 / h", 16: "m3 / h", 17: "m3 / d", 18: "m3 / d", 19: "L", 20: "kg", 21: "N", 22: "N m", 23: "Pa", 24: "bar",
    25: "J", 26: "J / h", 27: "W", 28: "VA", 29: "var", 30: "Wh", 31: "VAh", 32: "varh", 33: "A", 34: "C", 35: "V",
    36: "V / m", 37: "F", 38: "Ohm", 40: "Wb", 41: "T", 42: "A / m", 43: "H", 44: "Hz", 50: "kg / s", 51: "S", 56: "%",
    0: "", 255: "",
}  # fmt: skip
"""Codes of IEC 62056-62; 0 is seen in the field where there is no unit."""
_DIVISORS = range(1, 10)
_WRONG_SCALE = "pyHM divided it by something else than the meter meant (see the notes)"
_POINTS = f"""
    SELECT p.PK, t.value, p.pk_timestamp, p.pk_meter, p.pk_obis, p.pk_unit, p.value
    FROM (SELECT * FROM m_POINTS WHERE PK > ? ORDER BY PK LIMIT {MOST}) AS p
    LEFT JOIN m_TIMESTAMPS AS t ON t.PK = p.pk_timestamp ORDER BY p.PK
"""  # noqa: S608 - a number of ours
_VALUES = f"SELECT PK, pk_meter, pk_obis, value FROM m_POINTS WHERE PK > ? ORDER BY PK LIMIT {MOST}"  # noqa: S608


def read(
    path: str | Path, site: str, device: str, options: Options, report: Report, progress: Progress
) -> Iterator[Found]:
    """All points of one meter, in the order in which they were written. Raises ImportProblem."""
    clock = WallClock(options.time_zone, "pyHM")
    with sqlite_file(Path(path)) as connection:
        if not columns(connection, "m_POINTS"):
            raise ImportProblem(f"{path} has no points of pyHM")
        book = _Book(connection, _meter(connection, options.meter, path))
        (last,) = connection.execute("SELECT max(PK) FROM m_POINTS").fetchone()
        reading = _Reading(site, device, book, options, clock, report)
        for points in _chunks(connection, _VALUES):
            reading.look(points)
            progress(0.3 * points[-1][0] / last)
        reading.decide()
        for points in _chunks(connection, _POINTS):
            yield from reading.take(points)
            progress(0.3 + 0.7 * points[-1][0] / last)
    reading.conclude()


def _chunks(connection: sqlite3.Connection, statement: str) -> Iterator[list[tuple[Any, ...]]]:
    after = -1
    while points := connection.execute(statement, (after,)).fetchall():
        after = points[-1][0]
        yield points


def _meter(connection: sqlite3.Connection, wanted: str | None, path: str | Path) -> int | None:
    """The key of the meter that is imported; None where there is only one, or none."""
    meters = {_text(value): key for key, value in connection.execute("SELECT PK, value FROM b_METERS ORDER BY PK")}
    names = ", ".join(meters) or "none"
    if wanted is not None:
        if wanted not in meters:
            raise ImportProblem(f"{path} has no meter {wanted!r}; it has {names}")
        return int(meters[wanted])
    if len(meters) > 1:
        raise ImportProblem(
            f"{path} has several meters, {names}: say which one to import, each for a device of its own"
        )
    return None


def _text(value: Any) -> str:
    """pyHM stored descriptions as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def code_text(code: int) -> str:
    """An OBIS code in pyHM's form, an integer of 6 bytes, as `A-B:C.D.E*F`. Raises ValueError for any other number."""
    if not 0 <= code <= 0xFFFFFFFFFFFF:
        raise ValueError(f"{code} has not the 6 bytes of an OBIS code")
    a, b, c, d, e, f = code.to_bytes(6, "big")
    return f"{a}-{b}:{c}.{d}.{e}*{f}"


def _counts(code: int) -> bool:
    """Whether it is a register that only grows: electricity, time integral, present billing period, not a balance."""
    a, _, c, d, _, f = code.to_bytes(6, "big")
    return a == 1 and d == 8 and c != 16 and f == 255


class _Book:
    """The small tables: what the numbers in a point mean."""

    def __init__(self, connection: sqlite3.Connection, meter: int | None) -> None:
        self.meter = meter
        self.codes: dict[Any, tuple[int, str]] = {}
        for key, value, description in connection.execute("SELECT PK, value, description FROM b_OBIS"):
            if isinstance(value, int) and 0 <= value <= _RESTART:
                self.codes[key] = value, "" if description is None else _text(description)
        self.units: dict[Any, Any] = dict(connection.execute("SELECT PK, value FROM b_UNITS").fetchall())


class _Reading:
    """Looks at all points first, for their scaling, and takes them then."""

    def __init__(self, site: str, device: str, book: _Book, options: Options, clock: WallClock, report: Report) -> None:
        self._site, self._device = site, device
        self._book = book
        self._scalers = options.scalers
        self._clock = clock
        self._report = report
        self._divisors: dict[Any, set[int]] = {}
        """Those n for which all values so far can be quotients by 10·n; by key of the code."""
        self._exponents: dict[Any, int] = {}
        """Code -> the meter's exponent, where pyHM's division is to be undone."""
        self._refused: set[Any] = set()
        self._series: dict[tuple[Any, Any], Series] = {}
        self._last_event = (-1, -1)
        self._strange_units: set[str] = set()

    def look(self, points: list[tuple[Any, ...]]) -> None:
        """First pass."""
        for _, meter, code, value in points:
            if isinstance(value, float) and abs(value) < EXACT and self._ours(meter):
                divisors = self._divisors.setdefault(code, set(_DIVISORS))
                # What is a quotient by 10 is one by all of them.
                if divisors and round(value * 10) / 10 != value:
                    divisors.intersection_update([n for n in divisors if round(value * 10 * n) / (10 * n) == value])

    def decide(self) -> None:
        """Between the passes: which series are taken, and how."""
        for key, divisors in self._divisors.items():
            name = code_text(self._book.codes[key][0]) if key in self._book.codes else ""
            wanted = self._scalers.get(name)
            if wanted:
                if -wanted not in divisors:
                    raise ImportProblem(
                        f"exponent {wanted} for {name} does not fit: some of its values are no quotients by"
                        f" {-10 * wanted}; 0 takes them as they stand"
                    )
                self._exponents[key] = wanted
                self._report.notes.append(
                    f"{name}: pyHM's division by {-10 * wanted} was undone, and the integers divided by 10^{-wanted}"
                )
            elif wanted is None and divisors and 1 not in divisors:
                self._refused.add(key)
                exponent = -min(divisors)
                self._report.notes.append(
                    f"{name} was left out: its values are multiples of 1/{-10 * exponent}, so pyHM divided by"
                    f" {-10 * exponent} what the meter's exponent, probably {exponent}, divides by {10**-exponent:,}"
                    f" (EasyMeter is known for that); compare one with the meter's display, and import again with"
                    f" scaler {name}={exponent}, or {name}=0 if the values are right"
                )
        codes = {code_text(code) for code, _ in self._book.codes.values()}
        if unknown := sorted(set(self._scalers) - codes):
            raise ImportProblem(
                f"a scaler is given for {', '.join(unknown)}, and the file has only {', '.join(sorted(codes))}"
            )

    def take(self, points: list[tuple[Any, ...]]) -> Iterator[Found]:
        """Second pass."""
        samples: dict[tuple[Any, Any], list[tuple[int, float, int]]] = {}
        events: list[Event] = []
        for _, text, time_key, meter, code_key, unit_key, value in points:
            self._report.rows += 1
            # The time is read for all meters: their rows together show best how the clock went.
            moment = self._clock.read(text)
            if not self._ours(meter):
                self._report.leave("of another meter")
            elif code_key not in self._book.codes:
                self._report.leave("its OBIS code is missing or none")
            elif moment is None:
                self._report.leave("it has no time" if time_key is None or text is None else "its time cannot be one")
            elif isinstance(value, int | float):
                reason = self._number(samples, (code_key, unit_key), moment, value)
                if reason:
                    self._report.leave(reason)
            else:
                event = self._event(self._book.codes[code_key][0], moment[0], value)
                if isinstance(event, Event):
                    events.append(event)
                else:
                    self._report.leave(event)
        for (code_key, unit_key), found in samples.items():
            yield run_of(self._series_of(code_key, unit_key), found, self._report)
        if events:
            yield Happened(self._site, self._device, events)

    def conclude(self) -> None:
        """The notes, at the end."""
        notes = self._report.notes
        notes += self._clock.notes()
        gauges = sorted({series.key for series in self._series.values() if not series.counter})
        if gauges:
            notes.append(
                "pyHM stored each value only once; where one came again there is no point, so that means and plots of"
                f" {', '.join(gauges)} mislead (counters lose nothing)"
            )
        if self._strange_units:
            notes.append(f"recorded without unit, for its code is not known: {', '.join(sorted(self._strange_units))}")

    def _ours(self, meter: Any) -> bool:
        return self._book.meter is None or meter == self._book.meter

    def _number(
        self,
        samples: dict[tuple[Any, Any], list[tuple[int, float, int]]],
        name: tuple[Any, Any],
        moment: tuple[int, Quality],
        value: float,
    ) -> str:
        """Take a number; the reason where it is not taken."""
        if name[0] in self._refused and isinstance(value, float):
            return _WRONG_SCALE
        if not math.isfinite(value):
            return "it is no number"
        exponent = self._exponents.get(name[0])
        if exponent and isinstance(value, float):
            raw = round(value * 10 * -exponent)
            value = raw / 10**-exponent  # Python divides integers to the nearest double
        if abs(value) > EXACT:
            return "it is too large to be recorded exactly"
        samples.setdefault(name, []).append((moment[0], value, moment[1]))
        return ""

    def _event(self, code: int, time: int, value: Any) -> Event | str:
        """An octet string or a restart as an event, else the reason why it is none."""
        if value is None:
            return "NULL: nothing was recorded"
        name = code_text(code)
        if name == _PUBLIC_KEY:
            return "the meter's public key: it says nothing of the meter's state"
        # Points of one telegram have one time; their order is the same in every import.
        number = self._last_event[1] + 1 if self._last_event[0] == time else 0
        if code == _RESTART and value == "RESET":
            event = Event(time, "daemon", "start", "", "pyHM began to read", "pyHM", number)
        elif isinstance(value, bytes):
            event = Event(time, "state", name, value.hex(), "", "pyHM", number)
        elif len(value) >= 2 and value[0] == value[-1] == '"':
            inner = value[1:-1]
            shown = inner if inner.isascii() and inner.isprintable() else inner.encode().hex()
            event = Event(time, "state", name, shown, "", "pyHM", number)
        else:
            return "text, and not in the quotes that pyHM puts around it"
        self._last_event = (time, number)
        return event

    def _series_of(self, code_key: Any, unit_key: Any) -> Series:
        name = code_key, unit_key
        if name not in self._series:
            code, label = self._book.codes[code_key]
            number = self._book.units.get(unit_key)
            unit = _UNITS.get(number) if isinstance(number, int) else None
            if unit is None:
                self._strange_units.add(f"{number!r} of {code_text(code)}")
            self._series[name] = Series(self._site, self._device, code_text(code), unit or "", label, _counts(code))
        return self._series[name]
