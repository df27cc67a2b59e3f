# SPDX-License-Identifier: GPL-3.0-or-later
"""One meter of a daemon: takes what its port's loop read, watches its counters, and shows it to everybody else.

The loop's thread calls `take` and `lost`. Other threads read `snapshot`, which is replaced and never changed, and
align or replace the meter under a lock that is never held during I/O.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

from rockit.common.conditions import Condition, Priority
from rockit.common.errors import Code, CommandError
from rockit.common.quality import Quality
from rockit.meter.config import MeterConfig
from rockit.meter.counterbook import CONFIRMED, CounterBook
from rockit.meter.kept import KeptMeter, KeptRegister
from rockit.meter.model import Number, Reading, Register
from rockit.meter.names import ENERGIES, MEASUREMENTS, measurement_of, name_of
from rockit.meter.power import power
from rockit.meter.protocols.obis import PUBLIC_KEY
from rockit.meter.telegrams import Telegrams

MOMENT = 60_000
"""No reading is older than this when it is taken, ms; a clock that was put back by more is another matter."""
KILO = Decimal(1000)
"""What the last digit of a meter counts that waits for its PIN, Wh."""
MOST_REGISTERS = 300
"""A meter with more is not a meter but a fault: each would be a series for ever."""


class Recording(Protocol):
    """Where a meter's values go. For any thread."""

    def add(self, values: Mapping[str, Number], time: int, quality: Quality = Quality.GOOD) -> None:
        """Values by name, read at a moment (ms since 1970)."""
        ...

    def event(self, name: str, value: str, detail: str) -> None:
        """Something happened to the meter."""
        ...


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A meter as of its last good reading, at `at` (monotonic s) and `utc`. `numbers` are by name."""

    registers: Mapping[str, Register] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)
    at: float | None = None
    utc: datetime | None = None
    server_id: str = ""
    pin_locked: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    gone: bool = False
    """Its port was lost, or it has been silent for too long."""
    offline_because: str = "it has not been heard yet; the daemon has just started"


def now_ms() -> int:
    """The wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class MeterUnit:
    """Believes, names, aligns, records."""

    def __init__(
        self, name: str, config: MeterConfig, kept: KeptMeter, recording: Recording, changed: Callable[[bool], None],
        register: Callable[[str, Register], None], wall: Callable[[], int] = now_ms, query_delay: float = 0.0,
    ) -> None:  # fmt: skip
        """`changed` is told that `kept` has changed, with True where that must be on the disk soon; `register` of each
        register that is new, with its name.
        """
        self.name = name
        self.config = config
        self.kept = kept
        self.lock = threading.Lock()
        self.snapshot = Snapshot(server_id=kept.server_id)
        self.telegrams = Telegrams()
        self.maximum_age = config.age(query_delay)
        """How old a reading may be and still count, s."""
        self.counted: Callable[[], Counter[str]] = lambda: self.counters
        """What its port has counted: `answers`, `checksum`, `lost_bytes`."""
        self._recording = recording
        self._changed = changed
        self._register = register
        self._wall = wall
        self._filtered = config.filtered
        rollover = None if config.rollover is None else Decimal(repr(config.rollover))
        self._book = CounterBook(name, kept, rollover, self._event)
        self._told_at = self._taken_at = 0
        self.counters = self._book.counters
        self._another = "", 0
        self._recorded: float | None = None
        self._pulses = kept.pulses
        self._identity: dict[str, str] = {}
        self._warnings: tuple[str, ...] = ()
        self._seen: Counter[str] = Counter()

    @property
    def frames(self) -> int:
        """Telegrams or answers that came whole, whether they were believed or not."""
        return self.counted()["answers"] + self.crc_errors

    @property
    def crc_errors(self) -> int:
        """Those whose checksum was wrong."""
        return self.counted()["checksum"]

    @property
    def bytes_lost(self) -> int:
        """Bytes that were part of nothing that was believed."""
        return self.counted()["lost_bytes"]

    # The port's thread

    def take(self, reading: Reading, at: float) -> None:
        """A reading that was whole at `at` (monotonic s)."""
        utc_ms = self._wall() - round((time.monotonic() - at) * 1000)
        self.telegrams.heard(at, reading.seconds)
        registers = {
            key: one
            for key, one in reading.registers.items()
            if key != PUBLIC_KEY and self._filtered.isdisjoint((key, name_of(key, one)))
        }
        with self.lock:
            # Read a moment before somebody said how the counter stands, and taken after it: it is of after.
            if 0 < self._told_at - utc_ms < MOMENT:
                utc_ms = self._told_at
            self._taken_at = utc_ms
            replaced = self._is_another(reading.server_id)
            if replaced is None:
                self.counters["foreign"] += 1
                return
            digit = KILO if reading.pin_locked else Decimal(0)
            numbers, shown, bad = self._numbers(registers, utc_ms, digit, replaced=replaced)
            self._derive(reading, numbers)
            if replaced:
                self._book.replaced(reading.server_id, numbers)
            notes = {**self._identity, **reading.notes}
            self.snapshot = Snapshot(
                shown, numbers, at, datetime.fromtimestamp(utc_ms / 1000, UTC),
                reading.server_id or self.kept.server_id, reading.pin_locked, notes, offline_because="",
            )  # fmt: skip
        if self._recorded is None or at - self._recorded >= self.config.record_every:
            self._recorded = at
            self._recording.add(numbers, utc_ms, Quality.GOOD if reading.whole else Quality.UNCERTAIN)
            if bad:
                self._recording.add(bad, utc_ms, Quality.BAD)
        # A meter tells again where it stands; of pulses nobody else knows how many there were.
        soon, self._book.soon = self._book.soon, False
        self._changed(soon or self.kept.pulses != self._pulses)
        self._pulses = self.kept.pulses

    def counted_by(self, name: str, raw: Decimal, impulses_per_kwh: float) -> None:
        """So many pulses are a kWh, and by that the count is `raw` Wh: where it was another number before, the counter
        goes on from where it stood, and only what comes is counted by the new one.
        """
        with self.lock:
            before, self.kept.impulses_per_kwh = self.kept.impulses_per_kwh, impulses_per_kwh
            if before not in (0, impulses_per_kwh) and (last := self.kept.last.get(name)) is not None:
                self.kept.offsets[name] = last - raw
                self._event(name, "weighed anew", f"from {before:g} to {impulses_per_kwh:g} impulses a kWh")

    def identified(self, identity: Mapping[str, str], warnings: tuple[str, ...] = ()) -> None:
        """What it says of itself when it is first asked, and what a person should be told of how it is set."""
        self._identity = dict(identity)
        self.snapshot = replace(self.snapshot, notes=self._identity)
        self._warnings = warnings

    def lost(self, reason: str, *, gone: bool = True) -> None:
        """It does not answer; with `gone` for good, until it is read again: its port was lost, or it is silent."""
        if (self.snapshot.offline_because, self.snapshot.gone) != (reason, gone):
            self.snapshot = replace(self.snapshot, offline_because=reason, gone=gone)

    # Any thread

    def age(self, now: float) -> float | None:
        """Of the last good reading, s; None where there was none."""
        return None if self.snapshot.at is None else max(0.0, now - self.snapshot.at)

    def connected(self, now: float) -> bool:
        """Whether the last good reading still counts."""
        age = self.age(now)
        return age is not None and age <= self.maximum_age and not self.snapshot.gone

    def conditions(self, now: float) -> dict[str, Condition]:
        """Alarms about this meter."""
        found = dict(self._book.conditions)
        if not self.connected(now):
            why = self.snapshot.offline_because or f"no good reading for more than {self.maximum_age:g} s"
            text = f"meter {self.name} does not tell: {why}"
            delay = 0.0 if self.snapshot.gone else self.maximum_age
            found[f"{self.name}_offline"] = Condition(text, Priority.MEDIUM, logged=False, delay=delay)
        elif self.snapshot.pin_locked:
            text = f"meter {self.name} shows whole kWh and no power: enter its PIN, and switch the extended data on"
            found[f"{self.name}_pin"] = Condition(text, Priority.LOW)
        if self._warnings:
            found[f"{self.name}_setup"] = Condition(f"meter {self.name}: {'; '.join(self._warnings)}", Priority.LOW)
        if (poor := self.telegrams.poor()) and self.connected(now):  # one that is silent has its alarm
            what = "is its line well" if self.config.driver == "modbus" else "is its head straight, the glass clean"
            text = f"{poor} of meter {self.name} came damaged or not at all; {what}?"
            found[f"{self.name}_signal"] = Condition(text, Priority.LOW)
        return found

    def acknowledged(self, alarm: str) -> None:
        """Somebody has seen that alarm."""
        self._book.conditions.pop(alarm, None)

    def set_reading(self, register: str, value: Decimal) -> str:
        """From now on the counter is shown as `value`, Wh, and as what it grows from there. Raises CommandError."""
        with self.lock:
            now = self._now()
            name = self._counter(register)
            last = self.kept.last.get(name)
            if last is None:
                raise self._not_read(name)
            last = self._book.align(name, value, now)
            numbers = {**self.snapshot.numbers, name: value} if name in self.snapshot.numbers else self.snapshot.numbers
            self.snapshot = replace(self.snapshot, numbers=numbers, registers=self._shown_as(name, value))
        self._recording.add({name: value}, now)
        self._changed(True)
        return f"{name} of {self.name} is {value} Wh from now on; it was {last} Wh"

    def replace(self, final: Mapping[str, Decimal], first: Mapping[str, Decimal]) -> str:
        """The meter was replaced: its counters ended at `final` and begin at `first` (Wh). Raises CommandError.

        Of a counter that is not named, what it was read last and will be read next counts.
        """
        with self.lock:
            ends = {self._counter(register): value for register, value in final.items()}
            begins = {self._counter(register): value for register, value in first.items()}
            for name in (*ends, *begins):
                if name not in self.kept.last:
                    raise self._not_read(name)
            seen = self._book.tell_replaced(ends, begins, self._now(), counts_on=self.config.driver == "s0")
        self._changed(True)
        if seen:
            return f"meter {self.name} was seen to be replaced; its counters go on as you say"
        return f"meter {self.name} was replaced: its counters begin anew with the next reading"

    # Inside; the caller holds the lock

    def _now(self) -> int:
        """The moment in which somebody says how a counter stands: behind the last reading, before the next."""
        self._told_at = max(self._wall(), self._taken_at + 1)
        return self._told_at

    def _numbers(
        self, registers: Mapping[str, Register], utc_ms: int, digit: Decimal, *, replaced: bool
    ) -> tuple[dict[str, Number], dict[str, Register], dict[str, Number]]:
        """What is believed, by name; all registers as they are shown; what is kept as evidence only."""
        numbers: dict[str, Number] = {}
        shown: dict[str, Register] = {}
        bad: dict[str, Number] = {}
        for key, one in registers.items():
            value = one.value
            if isinstance(value, bool) or not isinstance(value, int | Decimal):
                shown[key] = one
                continue
            name = name_of(key, one)
            if not measurement_of(name, one).plausible(value):
                if name in MEASUREMENTS:
                    self.counters["implausible"] += 1
                else:
                    shown[key] = one  # 64 flags in a number are no quantity, and no history could keep them exactly
                continue
            if not self._known(name, one):
                continue
            if one.counter:
                counted = self._book.read(name, one, Decimal(value), utc_ms, digit, new=replaced)
                if counted is None:
                    bad[name] = value
                    continue
                value = value if counted == value else counted
            numbers[name] = value
            shown[key] = one if value is one.value else replace(one, value=value)
        return numbers, shown, bad

    def _derive(self, reading: Reading, numbers: dict[str, Number]) -> None:
        """What follows from its registers: power with its sign, and totals of meters that count by tariff alone."""
        now = power(reading)
        if now is None and {"import_power", "export_power"} <= numbers.keys():
            now = Decimal(numbers["import_power"]) - Decimal(numbers["export_power"])
        if now is not None and "power" not in self._filtered and MEASUREMENTS["power"].plausible(now):
            numbers["power"] = now
        for total, *parts in ENERGIES.values():
            known = [numbers[part] for part in parts if part in numbers]
            its_own = total in numbers or total in self.kept.last  # a sum may differ from it in the last digit
            if not its_own and total not in self._filtered and len(known) == len(parts):
                numbers[total] = sum(known, Decimal(0))
        for name in ("power", "import_energy", "export_energy"):
            if name in numbers:
                told = MEASUREMENTS[name]
                self._known(name, Register(None, told.unit, told.label, told.counter))

    def _known(self, name: str, one: Register) -> bool:
        """Whether a register has its series; a new one gets it, while there are not too many."""
        before = self.kept.registers.get(name)
        if before is not None and (before.unit, before.counter) == (one.unit, one.counter):
            return True
        if before is None and not self.config.checked:
            # Without a checksum, what never was before may be a name that was spoilt on the way.
            self._seen[name] += 1
            if self._seen[name] < CONFIRMED:
                if len(self._seen) > MOST_REGISTERS:
                    self._seen.clear()
                return False
        if before is None and len(self.kept.registers) >= MOST_REGISTERS:
            self.counters["too_many_registers"] += 1
            return False
        self.kept.registers[name] = KeptRegister(one.unit, one.label, one.counter)
        self._register(name, one)
        return True

    def _is_another(self, server_id: str) -> bool | None:
        """Whether another meter tells this; None where that is not sure yet, and nothing of it can be taken."""
        before = self.kept.server_id
        if server_id and not before:
            self.kept.server_id = server_id
        if not server_id or self.kept.server_id == server_id:
            self._another = "", 0
            return False
        seen = self._another[1] + 1 if self._another[0] == server_id else 1
        self._another = server_id, seen
        return None if seen < CONFIRMED else True

    def _event(self, name: str, what: str, detail: str) -> None:
        self._recording.event(f"{self.name}.{name}" if name else self.name, what, detail)

    def _counter(self, register: str) -> str:
        """The name of a counter that a person named. Raises CommandError."""
        from rockit.meter.protocols import obis

        counters = sorted(name for name, one in self.kept.registers.items() if one.counter and one.unit == "Wh")
        name = register
        if name not in counters:
            try:
                code = obis.text(obis.parse(register))
            except ValueError:
                code = register
            one = self.kept.registers.get(code)
            name = name_of(code, Register(None, "Wh" if one is None else one.unit))
        if name not in counters:
            there = ", ".join(counters) or "none were read yet"
            text = f"{register!r} is no counter of {self.name} in Wh; there are: {there}"
            raise CommandError(Code.OUT_OF_RANGE, text)
        return name

    def _not_read(self, name: str) -> CommandError:
        """Why nothing can be said of a counter."""
        if name in self.snapshot.numbers:
            text = f"{name} of {self.name} is a sum: name what it consists of, {name}_t1 and {name}_t2"
            return CommandError(Code.OUT_OF_RANGE, text)
        return CommandError(Code.DEVICE_OFFLINE, f"{name} of {self.name} was not read yet")

    def _shown_as(self, name: str, value: Decimal) -> Mapping[str, Register]:
        return {
            key: replace(one, value=value) if name_of(key, one) == name else one
            for key, one in self.snapshot.registers.items()
        }
