# SPDX-License-Identifier: GPL-3.0-or-later
"""SunSpec inverters (models 101-103, 111-113) and meters (201-204, 211-214).

Such a unit describes itself: "SunS", then blocks, each with the number of its model and its length. Source: the model
definitions of the SunSpec Alliance (github.com/sunspec/models, smdx).
An inverter's power is positive when it produces, which is our export: `power` is its W with the sign turned, and its
lifetime energy is `export_energy`. The definitions do not say which direction a meter's W counts positive. Fronius
counts import positive, SolarEdge export (`evcc` turns it): `inverted` turns it. TotWhImp and TotWhExp keep their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from rockit.common.framing import ProtocolError, Refused
from rockit.meter.drivers.modbus import Bus
from rockit.meter.model import Number, Reading, Register
from rockit.meter.registermap import text_of, times, value_of

BASES = (40000, 0, 50000)
"""Where "SunS" may stand, 0-based."""
_MARK = (0x5375, 0x6E53)
_END = 0xFFFF
_HOLDING = 3
_MOST_MODELS = 64
_WORST_EXPONENT = 10
_UNKNOWN = {"int16": [-0x8000], "uint16": [0xFFFF], "acc32": [0, 0xFFFFFFFF]}
"""Not implemented; an accumulator that does not accumulate is 0. A float says NaN."""


@dataclass(frozen=True, slots=True)
class Point:
    """A value of a model: registers after the block's head, type, where its scale factor stands, what it means."""

    name: str
    at: int
    type: str
    unit: str
    label: str
    factor: int | None = None
    turned: bool = False
    """Whether our sign is the other one."""

    @property
    def counter(self) -> bool:
        """An energy that only grows."""
        return self.unit == "Wh"

    @property
    def size(self) -> int:
        """Registers that it takes."""
        return 1 if self.type.endswith("16") else 2


def _phases(name: str, at: int, step: int, kind: str, unit: str, label: str, factor: int | None) -> tuple[Point, ...]:
    return tuple(Point(f"{name}_l{n + 1}", at + n * step, kind, unit, f"{label}, phase {n + 1}", factor)
                 for n in range(3))  # fmt: skip


_OUT, _IN, _POWER = "Energy exported", "Energy imported", "Power, + import"
INVERTER = (
    *_phases("current", 1, 1, "uint16", "A", "Current", 4),
    *_phases("voltage", 8, 1, "uint16", "V", "Voltage", 11),
    Point("power", 12, "int16", "W", _POWER, 13, turned=True),
    Point("frequency", 14, "uint16", "Hz", "Frequency", 15),
    Point("apparent_power", 16, "int16", "VA", "Apparent power", 17),
    Point("export_energy", 22, "acc32", "Wh", _OUT, 24),
    Point("dc_power", 29, "int16", "W", "Power on the DC side", 30),
    Point("cabinet_temperature", 31, "int16", "degC", "Temperature of the cabinet", 35),
)
INVERTER_FLOAT = (
    *_phases("current", 2, 2, "float32", "A", "Current", None),
    *_phases("voltage", 14, 2, "float32", "V", "Voltage", None),
    Point("power", 20, "float32", "W", _POWER, turned=True),
    Point("frequency", 22, "float32", "Hz", "Frequency"),
    Point("apparent_power", 24, "float32", "VA", "Apparent power"),
    Point("export_energy", 30, "float32", "Wh", _OUT),
    Point("dc_power", 36, "float32", "W", "Power on the DC side"),
    Point("cabinet_temperature", 38, "float32", "degC", "Temperature of the cabinet"),
)
METER = (
    *_phases("current", 1, 1, "int16", "A", "Current", 4),
    *_phases("voltage", 6, 1, "int16", "V", "Voltage", 13),
    Point("frequency", 14, "int16", "Hz", "Frequency", 15),
    Point("power", 16, "int16", "W", _POWER, 20),
    *_phases("power", 17, 1, "int16", "W", _POWER, 20),
    Point("apparent_power", 21, "int16", "VA", "Apparent power", 25),
    Point("reactive_power", 26, "int16", "var", "Reactive power", 30),
    Point("export_energy", 36, "acc32", "Wh", _OUT, 52),
    *_phases("export_energy", 38, 2, "acc32", "Wh", _OUT, 52),
    Point("import_energy", 44, "acc32", "Wh", _IN, 52),
    *_phases("import_energy", 46, 2, "acc32", "Wh", _IN, 52),
)
METER_FLOAT = (
    *_phases("current", 2, 2, "float32", "A", "Current", None),
    *_phases("voltage", 10, 2, "float32", "V", "Voltage", None),
    Point("frequency", 24, "float32", "Hz", "Frequency"),
    Point("power", 26, "float32", "W", _POWER),
    *_phases("power", 28, 2, "float32", "W", _POWER, None),
    Point("apparent_power", 34, "float32", "VA", "Apparent power"),
    Point("reactive_power", 42, "float32", "var", "Reactive power"),
    Point("export_energy", 58, "float32", "Wh", _OUT),
    *_phases("export_energy", 60, 2, "float32", "Wh", _OUT, None),
    Point("import_energy", 66, "float32", "Wh", _IN),
    *_phases("import_energy", 68, 2, "float32", "Wh", _IN, None),
)
MODELS: dict[int, tuple[Point, ...]] = {
    **dict.fromkeys((101, 102, 103), INVERTER),
    **dict.fromkeys((111, 112, 113), INVERTER_FLOAT),
    **dict.fromkeys((201, 202, 203, 204), METER),
    **dict.fromkeys((211, 212, 213, 214), METER_FLOAT),
}
_METERS = range(201, 215)


def decode(model: int, words: Sequence[int], *, inverted: bool = False) -> dict[str, Register]:
    """Values of a block, from the register behind its head on. Points beyond its end are absent. Raises KeyError."""
    found = {}
    for point in MODELS[model]:
        needed = max(point.at + point.size, 0 if point.factor is None else point.factor + 1)
        if needed > len(words):
            continue
        value = _value(point, words)
        turned = point.turned or (inverted and model in _METERS and point.unit in ("W", "var"))
        if value is not None and turned:
            value = -value
        found[point.name] = Register(value, point.unit, point.label, point.counter)
    return found


def _value(point: Point, words: Sequence[int]) -> Number | None:
    kind = "uint32" if point.type == "acc32" else point.type
    value = value_of(words[point.at :][: point.size], kind, _UNKNOWN.get(point.type, ()))
    if value is None or (point.counter and value < 0):
        return None
    if point.factor is None:
        return value
    exponent = value_of(words[point.factor :][:1], "int16", _UNKNOWN["int16"])
    if exponent is None or not -_WORST_EXPONENT <= exponent <= _WORST_EXPONENT:
        return None  # what it counts in is not known
    return times(value, Decimal(10) ** int(exponent))


@dataclass(frozen=True, slots=True)
class _Block:
    model: int
    at: int
    length: int


class SunSpecMeter:
    """The inverter or meter with the address `unit`.

    A unit may hold an inverter and the meters behind it: `index` counts those of `kind` (`inverter`, `meter`, or any
    where it is empty) from 0. NoAnswer and PortLost pass through; ProtocolError: this is no such SunSpec device.
    """

    def __init__(self, bus: Bus, unit: int, *, kind: str = "", index: int = 0, inverted: bool = False) -> None:
        if kind not in ("", "inverter", "meter"):
            raise ValueError(f"kind is inverter or meter, not {kind!r}")
        self.unit = unit
        self.counters: Counter[str] = Counter()
        self.warnings: tuple[str, ...] = ()
        self._bus = bus
        self._kind, self._index, self._inverted = kind, index, inverted
        self._block: _Block | None = None
        self._identity: dict[str, str] = {}

    def identify(self) -> dict[str, str]:
        """Manufacturer, model, version, serial and the number of the SunSpec model. Finds the block to poll.

        What answered identify before may be another device now: the chain of blocks is walked anew each time.
        """
        self._block = None
        common: _Block | None = None
        seen: list[int] = []
        matching = 0
        for block in self._chain():
            seen.append(block.model)
            if block.model == 1:
                common = block  # of what follows, up to the next one
            elif block.model in MODELS and self._wanted(block.model):
                matching += 1
                if matching > self._index:
                    self._block = block
                    break
        if self._block is None:
            raise ProtocolError(f"unit {self.unit} has no {self._kind or 'inverter or meter'} among its models {seen}")
        self._identity = {"sunspec_model": str(self._block.model)}
        if common is not None:
            words = self._bus.read(self.unit, _HOLDING, common.at, min(common.length, 65))
            for name, at, size in (("manufacturer", 0, 16), ("model", 16, 16), ("version", 40, 8), ("serial", 48, 16)):
                if len(words) >= at + size and (text := text_of(words[at : at + size])):
                    self._identity[name] = text
        return dict(self._identity)

    def poll(self) -> Iterator[Reading | None]:
        """One read a step; the last step gives the Reading. Identifies first where that has not been done."""
        if self._block is None:
            self.identify()
            yield None
        assert self._block is not None
        points = MODELS[self._block.model]
        needed = max(max(point.at + point.size, (point.factor or 0) + 1) for point in points)
        # The head is read as well: a device that was changed would otherwise be read as what it was.
        words = self._bus.read(self.unit, _HOLDING, self._block.at - 2, 2 + min(needed, self._block.length))
        yield None
        if words[0] != self._block.model:
            self._block = None
            raise ProtocolError(f"unit {self.unit} has another model than before; it is identified anew")
        registers = decode(self._block.model, words[2:], inverted=self._inverted)
        yield Reading(registers, server_id=self._identity.get("serial", ""))

    def _wanted(self, model: int) -> bool:
        return not self._kind or (self._kind == "meter") == (model in _METERS)

    def _chain(self) -> Iterator[_Block]:
        at = self._base() + 2
        for _ in range(_MOST_MODELS):
            if at + 2 > 65536:
                return
            model, length = self._bus.read(self.unit, _HOLDING, at, 2)
            if model == _END:
                return
            yield _Block(model, at + 2, length)
            at += 2 + length

    def _base(self) -> int:
        for base in BASES:
            try:
                if self._bus.read(self.unit, _HOLDING, base, 2) == _MARK:
                    return base
            except Refused:
                continue
        raise ProtocolError(f"unit {self.unit} is no SunSpec device: no SunS at {', '.join(map(str, BASES))}")
