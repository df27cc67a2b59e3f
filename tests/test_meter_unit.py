# SPDX-License-Identifier: GPL-3.0-or-later
"""What one meter's unit believes, shows, records and keeps, without a port."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from rockit.common.errors import Code, CommandError
from rockit.common.quality import Quality
from rockit.common.transport.edges import Edge, RecordedEdges
from rockit.meter.config import MeterConfig
from rockit.meter.counterbook import CONFIRMED
from rockit.meter.kept import KeptMeter
from rockit.meter.model import Number, Reading, Register
from rockit.meter.protocols.obis import PUBLIC_KEY
from rockit.meter.pulses import Settings
from rockit.meter.sources import Counting
from rockit.meter.unit import MOST_REGISTERS, MeterUnit

IMPORT, EXPORT = "1-0:1.8.0*255", "1-0:2.8.0*255"
T1, T2 = "1-0:1.8.1*255", "1-0:1.8.2*255"
POWER = "1-0:16.7.0*255"


class Recorder:
    """Keeps what is recorded."""

    def __init__(self) -> None:
        self.added: list[tuple[dict[str, Number], Quality]] = []
        self.times: list[int] = []
        self.events: list[tuple[str, str, str]] = []

    def add(self, values: Mapping[str, Number], time: int, quality: Quality = Quality.GOOD) -> None:
        self.added.append((dict(values), quality))
        self.times.append(time)

    def event(self, name: str, value: str, detail: str) -> None:
        self.events.append((name, value, detail))

    def of(self, quality: Quality) -> list[dict[str, Number]]:
        return [values for values, known in self.added if known is quality]


class Bench:
    """A unit with all that it talks to."""

    def __init__(self, kept: KeptMeter | None = None, **keys: Any) -> None:
        self.record = Recorder()
        self.changes: list[bool] = []
        self.series: dict[str, Register] = {}
        self.kept = kept or KeptMeter()
        self.at = time.monotonic()
        config = MeterConfig(**{"driver": "sml", "port": "/dev/null", **keys})
        self.unit = MeterUnit(
            "house", config, self.kept, self.record, self.changes.append, self.series.__setitem__,
            lambda: 1_790_000_000_000,
        )  # fmt: skip

    def take(
        self, *, server_id: str = "1 TST00 0000 0001", whole: bool = True, modulus: Decimal | None = None,
        pin_locked: bool = False, **given: Any,
    ) -> None:  # fmt: skip
        """A reading; energies in Wh by short names."""
        codes = {"imported": IMPORT, "exported": EXPORT, "t1": T1, "t2": T2}
        registers = {
            codes[name]: Register(Decimal(str(value)), "Wh", name, counter=True, modulus=modulus)
            for name, value in given.items() if name in codes
        }  # fmt: skip
        if "power" in given:
            registers[POWER] = Register(Decimal(str(given["power"])), "W", "Active power")
        registers |= given.get("more", {})
        self.at += 1
        self.unit.take(Reading(registers, server_id, whole=whole, pin_locked=pin_locked), self.at)

    def replaced(self, **given: Any) -> None:
        """Another meter, heard so often that it is believed."""
        for _ in range(CONFIRMED):
            self.take(**{"server_id": "1 TST00 0000 0002", **given})

    @property
    def shown(self) -> Number | None:
        return self.unit.snapshot.numbers.get("import_energy")

    def said(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value, _ in self.record.events]

    def alarms(self) -> set[str]:
        return set(self.unit.conditions(self.at))


# --- counters


def test_a_counter_that_dips_once_or_twice_is_not_believed() -> None:
    bench = Bench()
    for value in (100, 50, 50, 101):
        bench.take(imported=value, power=5)
    assert [values.get("import_energy") for values in bench.record.of(Quality.GOOD)] == [100, None, None, 101]
    assert bench.record.of(Quality.BAD) == [{"import_energy": 50}] * 2, "kept as evidence"
    assert bench.said() == []
    assert bench.alarms() == set()
    assert bench.unit.counters["counter_dips"] == 2
    assert all("power" in values for values in bench.record.of(Quality.GOOD)), "the rest of the telegram counts"


def test_the_third_reading_in_a_row_is_believed_and_told() -> None:
    bench = Bench()
    for value in (100, 50, 50):
        bench.take(imported=value)
    assert bench.shown is None, "what is doubted is not shown"
    assert IMPORT not in bench.unit.snapshot.registers
    bench.take(imported=51)
    assert bench.shown == 51
    assert bench.record.events == [("house.import_energy", "fell", "from 100 to 51")]
    assert bench.alarms() == {"house_fell"}
    bench.take(imported=52)
    assert bench.alarms() == {"house_fell"}, "it is latched"
    bench.unit.acknowledged("house_fell")
    assert bench.alarms() == set()
    bench.take(imported=40)
    assert bench.shown is None, "each fall needs its own three"


def test_readings_that_fall_further_each_time_are_believed_when_they_stop() -> None:
    bench = Bench()
    for value in (100, 90, 80, 70, 60):
        bench.take(imported=value)
        assert bench.shown in (100, None)
    bench.take(imported=61)
    assert bench.shown is None
    bench.take(imported=62)
    assert bench.shown == 62


@pytest.mark.parametrize("by", ["modulus", "config"])
def test_a_display_that_rolls_over_is_no_fall(by: str) -> None:
    bench = Bench(**({"rollover": 1e6} if by == "config" else {}))
    modulus = Decimal(1_000_000) if by == "modulus" else None
    bench.take(imported="999999.5", modulus=modulus)
    bench.take(imported="0.25", modulus=modulus)
    assert bench.shown == Decimal("0.25")
    assert bench.said() == [("house.import_energy", "rolled over")]
    assert bench.alarms() == set()
    (jump,) = bench.kept.jumps["import_energy"]
    assert (jump.cause, jump.before, jump.after) == ("rolled over", 1_000_000, 0)


def test_half_way_back_is_no_rollover() -> None:
    bench = Bench(rollover=1e6)
    bench.take(imported=999_999)
    bench.take(imported=500_000)
    assert bench.shown is None
    bench = Bench(rollover=1e6)
    bench.take(imported=500_000)
    bench.take(imported=1)
    assert bench.shown is None
    assert bench.said() == []


def test_an_aligned_counter_rolls_over_where_its_display_does() -> None:
    bench = Bench(rollover=1e6)
    bench.take(imported=999_000)
    bench.unit.set_reading("import_energy", Decimal(1_999_000))
    bench.take(imported=999_990)
    assert bench.shown == 1_999_990
    bench.take(imported=10)
    assert bench.shown == 1_000_010
    assert [value for _, value in bench.said()] == ["aligned", "rolled over"]


def test_an_aligned_counter_is_shown_and_recorded_as_its_display() -> None:
    bench = Bench()
    bench.take(imported="10.5")
    text = bench.unit.set_reading("1.8.0", Decimal(5000))
    assert "5000 Wh" in text
    assert "10.5 Wh" in text
    assert bench.shown == 5000
    assert bench.unit.snapshot.registers[IMPORT].value == 5000
    bench.take(imported="11.5")
    assert bench.shown == 5001
    assert bench.unit.snapshot.registers[IMPORT].value == 5001, "both are the same number"
    assert [values["import_energy"] for values in bench.record.of(Quality.GOOD)] == [Decimal("10.5"), 5000, 5001]
    assert bench.changes[-2] is True, "on the disk soon"
    again = Bench(msgspec.json.decode(msgspec.json.encode(bench.kept), type=KeptMeter))
    again.take(imported="12.5")
    assert again.shown == 5002, "it is kept"
    assert again.said() == []


@pytest.mark.parametrize(("register", "text"), [("power", "no counter"), ("nonsense", "no counter"), ("9.9.9", "no")])
def test_only_counters_can_be_aligned(register: str, text: str) -> None:
    bench = Bench()
    bench.take(imported=10, power=1)
    with pytest.raises(CommandError, match=text) as caught:
        bench.unit.set_reading(register, Decimal(1))
    assert caught.value.code == Code.OUT_OF_RANGE
    assert "import_energy" in str(caught.value), "it says which there are"


def test_a_sum_is_aligned_by_its_parts() -> None:
    bench = Bench()
    bench.take(t1=10, t2=20)
    with pytest.raises(CommandError, match=r"import_energy_t1 and import_energy_t2") as caught:
        bench.unit.set_reading("import_energy", Decimal(1))
    assert caught.value.code == Code.OUT_OF_RANGE
    bench.unit.set_reading("1.8.1", Decimal(110))
    bench.take(t1=10, t2=20)
    assert bench.shown == 130


def test_what_is_said_of_a_replaced_meter_is_taken_or_refused_and_never_ignored() -> None:
    bench = Bench()
    bench.take(t1=10, t2=20)
    bench.replaced(t1=1, t2=2)
    with pytest.raises(CommandError, match=r"is a sum"):
        bench.unit.replace({"import_energy": Decimal(40)}, {})
    bench.unit.replace({"import_energy_t1": Decimal(15)}, {"1.8.2": Decimal("0.5")})
    jumps = {name: (jumps[-1].before, jumps[-1].after) for name, jumps in bench.kept.jumps.items()}
    assert jumps == {"import_energy_t1": (15, 1), "import_energy_t2": (20, Decimal("0.5"))}


def test_another_id_is_another_meter_and_its_counters_go_on_from_there() -> None:
    bench = Bench()
    bench.take(imported=5000, exported=70)
    bench.replaced(imported=3, exported=90)
    assert bench.shown == 3
    assert set(bench.said()) == {
        ("house.import_energy", "replaced"), ("house.export_energy", "replaced"), ("house", "replaced"),
    }  # fmt: skip
    assert bench.alarms() == {"house_replaced"}
    (jump,) = bench.kept.jumps["import_energy"]
    assert (jump.before, jump.after) == (5000, 3)
    assert bench.kept.server_id == "1 TST00 0000 0002"
    assert bench.changes[-1] is True
    again = Bench(msgspec.json.decode(msgspec.json.encode(bench.kept), type=KeptMeter))
    again.take(imported=4, exported=91, server_id="1 TST00 0000 0002")
    assert again.said() == [], "it is told once"


def test_a_jump_has_the_moment_of_the_reading_that_it_leads_to() -> None:
    """Recorded a millisecond before its jump, the first reading of a new meter would be a fall, and then energy."""
    bench = Bench()
    bench.take(imported=5000)
    bench.replaced(imported=3)
    (jump,) = bench.kept.jumps["import_energy"]
    assert jump.time == bench.record.times[-1]


def test_a_telegram_of_a_neighbour_now_and_then_is_not_a_new_meter() -> None:
    bench = Bench()
    for _ in range(10):
        bench.take(imported=5000)
        bench.take(imported=7, server_id="1 TST00 0000 0002")
        bench.take(imported=8, server_id="1 TST00 0000 0002")
    assert bench.shown == 5000
    assert (bench.said(), bench.alarms(), bench.kept.jumps) == ([], set(), {})
    assert bench.unit.counters["foreign"] == 20
    assert len(bench.record.added) == 10


def test_a_telegram_without_an_id_is_the_same_meter_s() -> None:
    bench = Bench()
    bench.take(imported=5)
    bench.take(imported=6, server_id="")
    bench.take(imported=7)
    assert bench.said() == []
    assert bench.unit.snapshot.server_id == "1 TST00 0000 0001"


def test_a_meter_that_wants_its_pin_again_tells_the_same_in_fewer_digits() -> None:
    bench = Bench()
    bench.take(imported="12345678.9")
    for _ in range(5):
        bench.take(imported=12_345_000, pin_locked=True)
        assert bench.shown == Decimal("12345678.9"), "it has not fallen"
    bench.take(imported=12_346_000, pin_locked=True)
    assert bench.shown == 12_346_000
    bench.take(imported="12346100.5")
    assert bench.shown == Decimal("12346100.5")
    assert bench.said() == []
    assert bench.alarms() == set()
    bench.take(imported=12_345_000, pin_locked=True)
    assert bench.shown is None, "a whole kWh less is less"


# --- what follows from registers


def test_a_total_of_tariffs_is_their_sum_where_the_meter_tells_none() -> None:
    bench = Bench()
    bench.take(t1="10.1", t2="20.2")
    assert bench.shown == Decimal("30.3")
    bench.take(t1="10.1")
    assert bench.shown is None, "half of a sum is no sum"
    own = Bench()
    own.take(imported="30.4", t1="10.1", t2="20.2")
    assert own.shown == Decimal("30.4")
    own.take(imported="5", t1="10.1", t2="20.2")
    assert own.shown is None, "a total that is doubted is not made of its parts, which differ in the last digit"


def test_a_sum_is_not_shown_while_one_of_its_parts_is_doubted() -> None:
    bench = Bench()
    bench.take(t1=100, t2=200)
    bench.take(t1=5, t2=201)
    assert bench.shown is None
    bench.take(t1=100, t2=201)
    assert bench.shown == 301


# --- alarms


def test_many_damaged_telegrams_are_an_alarm_until_they_are_few() -> None:
    bench = Bench()
    bench.take(imported=1)
    bench.unit.telegrams.damaged(19)
    assert bench.alarms() == set()
    bench.unit.telegrams.damaged(1)
    assert bench.alarms() == {"house_signal"}
    for value in range(85):
        bench.take(imported=value + 2)
    assert bench.alarms() == {"house_signal"}, "it does not flicker"
    for value in range(10):
        bench.take(imported=value + 100)
    assert bench.alarms() == set()


def test_a_dead_unit_of_a_bus_has_one_alarm_and_no_glass_to_clean() -> None:
    bench = Bench(driver="modbus", map="sdm630")
    bench.unit.telegrams.damaged(50)
    assert bench.alarms() == {"house_offline"}
    bench.take(imported=1)
    assert "glass" not in bench.unit.conditions(bench.at)["house_signal"].text


# --- recording


def test_a_salvaged_reading_is_recorded_as_uncertain() -> None:
    bench = Bench()
    bench.take(imported=1, whole=False)
    bench.take(imported=2)
    assert bench.record.of(Quality.UNCERTAIN) == [{"import_energy": 1}]
    assert bench.record.of(Quality.GOOD) == [{"import_energy": 2}]


def test_record_every_thins_the_record_and_not_what_is_shown() -> None:
    bench = Bench(record_every=10)
    for value in range(25):
        bench.take(imported=value)
        assert bench.shown == value
    assert [values["import_energy"] for values in bench.record.of(Quality.GOOD)] == [0, 10, 20]


def test_values_that_cannot_be_are_neither_shown_nor_recorded() -> None:
    bench = Bench()
    bench.take(imported="1e16", power="1e10", more={"1-0:32.7.0*255": Register(-1, "V")})
    assert bench.unit.snapshot.numbers == {}
    assert bench.unit.counters["implausible"] == 3


def test_a_number_that_is_no_quantity_is_shown_and_not_recorded() -> None:
    """Status words of 64 bits: no history keeps them exactly, and none must complain about them for ever."""
    bench = Bench()
    flags = {"1-0:96.5.5*255": Register(2**63 + 1, ""), "1-0:77.7.7*7": Register(Decimal("1e130"), "Wh", counter=True)}
    bench.take(imported=1, more=flags)
    assert bench.unit.snapshot.registers["1-0:96.5.5*255"].value == 2**63 + 1
    assert bench.record.added == [({"import_energy": 1}, Quality.GOOD)]
    assert set(bench.series) == {"import_energy"}
    assert bench.unit.counters["implausible"] == 0


def test_the_public_key_is_never_kept_nor_is_text_recorded() -> None:
    bench = Bench()
    bench.take(imported=1, more={
        PUBLIC_KEY: Register("00" * 48), "1-0:96.1.0*255": Register("0a01"), "1-0:96.5.0*255": Register(True),
        "1-0:3.8.0*255": Register(None, "varh", counter=True),
    })  # fmt: skip
    assert set(bench.unit.snapshot.registers) == {IMPORT, "1-0:96.1.0*255", "1-0:96.5.0*255", "1-0:3.8.0*255"}
    assert set(bench.kept.registers) == set(bench.series) == {"import_energy"}
    assert bench.record.added == [({"import_energy": 1}, Quality.GOOD)]


def test_a_meter_that_invents_registers_does_not_fill_the_disk() -> None:
    bench = Bench()
    bench.take(imported=1)
    for start in range(0, 4000, 200):
        more = {f"1-{n // 250}:{n % 250}.7.3*255": Register(n, "W") for n in range(start, start + 200)}
        bench.take(imported=2 + start, more=more)
    assert len(bench.kept.registers) == len(bench.series) == MOST_REGISTERS
    recorded = {name for values, _ in bench.record.added for name in values}
    assert recorded <= set(bench.series)
    assert bench.unit.counters["too_many_registers"] > 3000
    assert bench.shown == 3802, "those that were there first are read on"


def test_a_register_in_another_unit_is_another_channel() -> None:
    bench = Bench()
    bench.take(more={IMPORT: Register(Decimal(7), "varh", counter=True)})
    assert bench.shown is None
    assert bench.unit.snapshot.numbers == {IMPORT: 7}


def test_a_count_of_pulses_is_on_the_disk_soon_when_it_has_grown() -> None:
    """A meter tells again where it stands; pulses that were forgotten never come back."""
    bench = Bench(driver="s0", impulses_per_kwh=1000)
    edges = [Edge(n * 10**8 + (0 if n % 2 else 5 * 10**7), n % 2 == 1, n) for n in range(1, 7)]
    source = Counting(bench.unit, RecordedEdges(edges), Settings(1000), 0.0, threading.Event())
    source.connect()
    list(source.steps())
    assert bench.kept.pulses == 3
    assert bench.changes == [True]
    list(source.steps())
    assert bench.changes == [True, False], "and not written again and again where nothing came"


# --- what a person says


def test_a_new_meter_that_does_not_begin_where_somebody_said_is_doubted_and_no_energy() -> None:
    """Of a meter without an id all that is known of a change is what was typed."""
    bench = Bench()
    for _ in range(2):
        bench.take(imported=1_234_960, server_id="")
    bench.unit.replace({"import_energy": Decimal(1_240_000)}, {"import_energy": Decimal(0)})
    for value in range(4):
        bench.take(imported=1_234_961 + value, server_id="")
    assert bench.alarms() == {"house_fell"}
    causes = [jump.cause for jump in bench.kept.jumps["import_energy"]]
    assert causes == ["replaced", "leapt"]
    assert bench.shown == 1_234_964


def test_only_energies_are_aligned_in_watt_hours() -> None:
    bench = Bench()
    bench.take(imported=5, more={"0-1:24.2.1*255": Register(Decimal("987.654"), "m3", "Gas volume", counter=True)})
    with pytest.raises(CommandError, match=r"there are: import_energy$"):
        bench.unit.set_reading("0-1:24.2.1*255", Decimal(10_000))


def test_a_new_meter_does_not_inherit_what_was_added_to_the_old_one() -> None:
    bench = Bench()
    bench.take(imported=12_345_000)
    bench.unit.set_reading("import_energy", Decimal(0))
    bench.replaced(imported=1500)
    assert bench.shown == 1500
    assert bench.kept.offsets == {}
