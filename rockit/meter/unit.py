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
from rockit.meter.counting import step
from rockit.meter.energy import Cause, Jump
from rockit.meter.kept import KeptMeter, KeptRegister
from rockit.meter.model import Number, Reading, Register
from rockit.meter.names import ENERGIES, MEASUREMENTS, NAMES, measurement_of, name_of
from rockit.meter.power import power
from rockit.meter.protocols.obis import PUBLIC_KEY
from rockit.meter.telegrams import Telegrams

CONFIRMED = 3
"""A counter that falls for no reason is believed when so many readings in a row say so: one alone is no fall."""
LATELY = 7 * 86_400_000
"""So long after another meter was seen, ms, somebody may say where the old one ended and the new one began."""
KILO = Decimal(1000)
"""A meter that waits for its PIN tells its counters in whole kWh."""
MOST_REGISTERS = 300
"""A meter with more is not a meter but a fault: each would be a series for ever."""


class Recording(Protocol):
    """Where a meter's values go. For any thread."""

    def add(self, values: Mapping[str, Number], at: float, quality: Quality = Quality.GOOD) -> None:
        """Values by name, read at a moment (monotonic s)."""
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
    offline_because: str = "it has not been heard yet; the daemon has just started"


def now_ms() -> int:
    """The wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class MeterUnit:
    """Believes, names, aligns, records."""

    def __init__(
        self, name: str, config: MeterConfig, kept: KeptMeter, recording: Recording, changed: Callable[[bool], None],
        register: Callable[[str, Register], None], wall: Callable[[], int] = now_ms,
    ) -> None:  # fmt: skip
        """`changed` is told that `kept` has changed, with True where that must be on the disk soon; `register` of each
        register that is new, with its name.
        """
        self.name = name
        self.config = config
        self.kept = kept
        self.lock = threading.Lock()
        self.snapshot = Snapshot(server_id=kept.server_id)
        self.counters: Counter[str] = Counter()
        self.telegrams = Telegrams()
        self.counted: Callable[[], Counter[str]] = lambda: self.counters
        """What its port has counted: `answers`, `checksum`, `lost_bytes`."""
        self._recording = recording
        self._changed = changed
        self._register = register
        self._wall = wall
        # A code and the name that stands for it are one: who filters 16.7.0 does not want `power` either.
        self._filtered = config.filtered | {NAMES[code] for code in config.filtered if code in NAMES}
        self._rollover = None if config.rollover is None else Decimal(repr(config.rollover))
        self._falling: dict[str, list[Decimal]] = {}
        self._recorded: float | None = None
        self._pulses = kept.pulses
        self._conditions: dict[str, Condition] = {}
        self._warnings: tuple[str, ...] = ()

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
            replaced = self._is_another(reading.server_id)
            digit = KILO if reading.pin_locked else Decimal(0)
            numbers, shown, bad = self._numbers(registers, utc_ms - self._lead(at), digit, replaced=replaced)
            self._derive(reading, numbers)
            if replaced:
                self._was_replaced(reading.server_id)
            notes = reading.notes if replaced else {**self.snapshot.notes, **reading.notes}
            self.snapshot = Snapshot(
                shown, numbers, at, datetime.fromtimestamp(utc_ms / 1000, UTC),
                reading.server_id or self.kept.server_id, reading.pin_locked, notes, "",
            )  # fmt: skip
        if self._recorded is None or at - self._recorded >= self.config.record_every:
            self._recorded = at
            self._recording.add(numbers, at, Quality.GOOD if reading.whole else Quality.UNCERTAIN)
            if bad:
                self._recording.add(bad, at, Quality.BAD)
        # A meter tells again where it stands; of pulses nobody else knows how many there were.
        self._changed(replaced or self.kept.pulses != self._pulses)
        self._pulses = self.kept.pulses

    def identified(self, identity: Mapping[str, str], warnings: tuple[str, ...] = ()) -> None:
        """What it says of itself when it is first asked, and what a person should be told of how it is set."""
        self.snapshot = replace(self.snapshot, notes=dict(identity))
        self._warnings = warnings

    def lost(self, reason: str) -> None:
        """It does not answer, or its port is gone."""
        if self.snapshot.offline_because != reason:
            self.snapshot = replace(self.snapshot, offline_because=reason)

    # Any thread

    def age(self, now: float) -> float | None:
        """Of the last good reading, s; None where there was none."""
        return None if self.snapshot.at is None else max(0.0, now - self.snapshot.at)

    def connected(self, now: float) -> bool:
        """Whether the last good reading still counts."""
        age = self.age(now)
        return age is not None and age <= self.config.age

    def conditions(self, now: float) -> dict[str, Condition]:
        """Alarms about this meter."""
        found = dict(self._conditions)
        if not self.connected(now):
            why = self.snapshot.offline_because or f"no good reading for more than {self.config.age:g} s"
            text = f"meter {self.name} does not tell: {why}"
            found[f"{self.name}_offline"] = Condition(text, Priority.MEDIUM, logged=False, delay=self.config.age)
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
        self._conditions.pop(alarm, None)

    def set_reading(self, register: str, value: Decimal) -> str:
        """From now on the counter is shown as `value`, Wh, and as what it grows from there. Raises CommandError."""
        name = self._counter(register)
        now = self._wall()
        with self.lock:
            last = self.kept.last.get(name)
            if last is None:
                raise self._not_read(name)
            self.kept.offsets[name] = self.kept.offsets.get(name, Decimal(0)) + value - last
            self._jump(name, Jump(now - self._lead(time.monotonic()), "aligned", last, value))
            self.kept.last[name] = value
            numbers = {**self.snapshot.numbers, name: value} if name in self.snapshot.numbers else self.snapshot.numbers
            self.snapshot = replace(self.snapshot, numbers=numbers, registers=self._shown_as(name, value))
        self._recording.add({name: value}, time.monotonic())
        self._changed(True)
        return f"{name} of {self.name} is {value} Wh from now on; it was {last} Wh"

    def replace(self, final: Mapping[str, Decimal], first: Mapping[str, Decimal]) -> str:
        """The meter was replaced: its counters ended at `final` and begin at `first` (Wh). Raises CommandError.

        Of a counter that is not named, what it was read last and will be read next counts.
        """
        ends = {self._counter(register): value for register, value in final.items()}
        begins = {self._counter(register): value for register, value in first.items()}
        now = self._wall()
        with self.lock:
            known = self._replaced_lately(now)
            if not known and self.kept.server_id:
                text = f"the meter at {self.config.port} is still {self.kept.server_id}; a new one is noticed by its id"
                raise CommandError(Code.FAILED, f"{text}, and then this says where the counters stood")
            for name in (*ends, *begins):
                if name not in (known or self.kept.last):
                    raise self._not_read(name)
            for name, value in ends.items():
                least = known[name].before if name in known else self.kept.last.get(name)
                if least is not None and value < least:
                    text = f"{name} was read as {least} Wh, and cannot have ended at {value} Wh"
                    raise CommandError(Code.OUT_OF_RANGE, text)
            if known:
                for name, jump in known.items():
                    told = Jump(jump.time, "replaced", ends.get(name, jump.before), begins.get(name, jump.after))
                    self.kept.jumps[name][-1] = told
                    self._event(name, "replaced", f"from {_told(told.before)} to {_told(told.after)}")
            else:
                self._begin_anew(now, ends, begins)
        self._changed(True)
        if known:
            return f"meter {self.name} was seen to be replaced; its counters go on as you say"
        return f"meter {self.name} was replaced: its counters begin anew with the next reading"

    # Inside; the caller holds the lock

    def _replaced_lately(self, now: int) -> dict[str, Jump]:
        """Counter -> how it went on when another meter was seen, where that was not long ago."""
        newest = {name: jumps[-1] for name, jumps in self.kept.jumps.items() if jumps}
        return {name: jump for name, jump in newest.items() if jump.cause == "replaced" and now - jump.time < LATELY}

    def _begin_anew(self, now: int, ends: Mapping[str, Decimal], begins: Mapping[str, Decimal]) -> None:
        for name, last in self.kept.last.items():
            self._jump(name, Jump(now, "replaced", ends.get(name, last), begins.get(name)))
        # Whoever sends the pulses, their count goes on: it is aligned with the display of the new meter.
        counted = self.kept.last if self.config.driver == "s0" else {}
        offsets = {
            name: begins[name] - last + self.kept.offsets.get(name, Decimal(0))
            for name, last in counted.items()
            if name in begins
        }
        self.kept.last.clear()
        self.kept.offsets = offsets
        self.kept.server_id = ""
        self._falling.clear()

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
                counted = self._count(name, Decimal(value), one.modulus, utc_ms, digit, replaced=replaced)
                if counted is None:
                    bad[name] = value
                    continue
                value = value if counted == value else counted
            numbers[name] = value
            shown[key] = one if value is one.value else replace(one, value=value)
        return numbers, shown, bad

    def _count(
        self, name: str, value: Decimal, modulus: Decimal | None, utc_ms: int, digit: Decimal, *, replaced: bool
    ) -> Decimal | None:
        """A counter's reading as it is shown; None where it is not believed yet. `digit`: what its last one counts."""
        offset = self.kept.offsets.get(name, Decimal(0))
        value += offset
        end = self._rollover or modulus
        rollover = None if end is None else end + offset
        last = self.kept.last.get(name)
        if last is not None and not replaced and value < last < value + digit:
            value = last  # the same, in fewer digits: its PIN is asked for again
        result = step(last, value, utc_ms, rollover, offset, replaced=replaced)
        if result.change == "fell":
            said = self._falling.setdefault(name, [])
            if said and value < said[-1]:
                said.clear()
            said.append(value)
            if len(said) < CONFIRMED:
                self.counters["counter_dips"] += 1
                return None
            self._event(name, "fell", f"from {self.kept.last[name]} to {value}")
            text = f"{name} of meter {self.name} fell from {self.kept.last[name]} to {value}; was it replaced?"
            self._conditions[f"{self.name}_fell"] = Condition(text, Priority.MEDIUM, latched=True)
        self._falling.pop(name, None)
        if result.jump is not None:
            self._jump(name, result.jump)
        self.kept.last[name] = value
        return value

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
        if before is None and len(self.kept.registers) >= MOST_REGISTERS:
            self.counters["too_many_registers"] += 1
            return False
        self.kept.registers[name] = KeptRegister(one.unit, one.label, one.counter)
        self._register(name, one)
        return True

    def _is_another(self, server_id: str) -> bool:
        before = self.kept.server_id
        if server_id and not before:
            self.kept.server_id = server_id
        return bool(server_id and before and server_id != before)

    def _was_replaced(self, server_id: str) -> None:
        text = f"meter {self.name} was {self.kept.server_id} and is {server_id} now; its counters go on from there"
        self._conditions[f"{self.name}_replaced"] = Condition(text, Priority.MEDIUM, latched=True)
        self._recording.event(self.name, "replaced", f"from {self.kept.server_id} to {server_id}")
        self.kept.server_id = server_id

    def _lead(self, at: float) -> int:
        """So long before the reading `at` is the jump to it, ms: the history dates readings by itself, never later but
        a little sooner, and one that stood before its jump would be a fall, and then energy.
        """
        before = self.snapshot.at
        return round(500 * min(2.0, max(0.0, 2.0 if before is None else at - before)))

    def _jump(self, name: str, jump: Jump) -> None:
        self.kept.jumps.setdefault(name, []).append(jump)
        self._event(name, jump.cause, f"from {_told(jump.before)} to {_told(jump.after)}")

    def _event(self, name: str, cause: Cause | str, detail: str) -> None:
        self._recording.event(f"{self.name}.{name}", cause, detail)

    def _counter(self, register: str) -> str:
        """The name of a counter that a person named. Raises CommandError."""
        from rockit.meter.protocols import obis

        counters = sorted(name for name, one in self.kept.registers.items() if one.counter)
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
            raise CommandError(Code.OUT_OF_RANGE, f"{register!r} is no counter of {self.name}; there are: {there}")
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


def _told(value: Decimal | None) -> str:
    return "what was read" if value is None else f"{value}"
