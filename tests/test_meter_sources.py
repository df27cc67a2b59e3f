"""What the loops do at their ports: one unit that misbehaves costs the others nothing, and a stop is heard at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from test_meter_unit import Bench

from rockit.common.log import Log
from rockit.common.transport import NoAnswer, PortLost, Stopped
from rockit.common.transport.edges import RecordedEdges
from rockit.meter.model import Reading, Register, together
from rockit.meter.pulses import Settings
from rockit.meter.sources import Counting, Sharing


class Asked:
    """A unit on a bus: answers, or does what a bad one does."""

    def __init__(self, bus: Counter[str], trouble: Exception | None = None) -> None:
        self.counters: Counter[str] = Counter()
        self.warnings: tuple[str, ...] = ()
        self.asked = 0
        self._bus, self._trouble = bus, trouble

    def identify(self) -> dict[str, str]:
        self.asked += 1
        self._bus["requests"] += 1
        if self._trouble is not None:
            raise self._trouble
        return {"meter": "test"}

    def poll(self) -> Iterator[Reading | None]:
        self._bus["answers"] += 1
        yield Reading({"power": Register(Decimal(5), "W", "Power")})


class Bus:
    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()

    def open(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("trouble", [PortLost("the gateway hung up"), ValueError("ours"), NoAnswer("silent")])
def test_a_unit_that_misbehaves_is_asked_less_and_less_and_the_others_each_time(trouble: Exception) -> None:
    bus = Bus()
    units = {name: Bench(driver="modbus", map="sdm630").unit for name in ("bad", "one", "two")}
    asked = {name: Asked(bus.counters, trouble if name == "bad" else None) for name in units}
    meters: Any = {name: (unit, asked[name]) for name, unit in units.items()}
    source = Sharing(bus, meters, 0.0, threading.Event(), Log("test"))
    for _ in range(12):
        source.connect()
        try:
            for _ in source.steps():
                pass
        except PortLost:
            source.lost("the gateway hung up")
    assert asked["bad"].asked == 1, "its back-off has not passed"
    assert units["one"].frames >= 5
    assert units["two"].frames >= 5
    assert units["bad"].frames == 0, "answers of others are not its own"
    assert units["bad"].snapshot.offline_because


def test_a_stop_is_heard_where_no_pulse_comes() -> None:
    stop = threading.Event()
    source = Counting(Bench(driver="s0", impulses_per_kwh=1000).unit, RecordedEdges([]), Settings(1000), 3600.0, stop)
    source.connect()
    for _ in source.steps():
        pass  # what it tells at first
    steps = source.steps()
    next(steps)
    stop.set()
    with pytest.raises(Stopped):
        next(steps)


def test_another_number_of_impulses_a_kwh_changes_nothing_that_was_counted() -> None:
    bench = Bench(driver="s0", impulses_per_kwh=2000)
    bench.kept.pulses, bench.kept.impulses_per_kwh = 24_000, 2000.0
    bench.kept.last["import_energy"] = Decimal(12_000)
    Counting(bench.unit, RecordedEdges([]), Settings(1000), 1.0, threading.Event())
    assert bench.kept.offsets["import_energy"] == 12_000 - 24_000
    assert bench.said() == [("house.import_energy", "weighed anew")]
    again = Bench(bench.kept, driver="s0", impulses_per_kwh=1000)
    Counting(again.unit, RecordedEdges([]), Settings(1000), 1.0, threading.Event())
    assert again.said() == []


def test_the_lists_of_one_telegram_are_one_reading_for_each_meter() -> None:
    def one(key: str, server: str, *, whole: bool = True) -> Reading:
        return Reading({key: Register(1)}, server, whole=whole)

    found = together([one("a", "x"), one("b", "y"), one("c", "x", whole=False)])
    assert [(set(reading.registers), reading.server_id, reading.whole) for reading in found] == [
        ({"a", "c"}, "x", False), ({"b"}, "y", True),
    ]  # fmt: skip
