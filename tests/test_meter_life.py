"""The life of a meter, whatever happens to it: what its periods add up to is what flowed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.common.quality import Quality
from rockit.history.counters import runs
from rockit.history.database import Database
from rockit.history.model import DAY, Series
from rockit.history.query import Reader
from rockit.history.store import Store
from rockit.meter.config import MeterConfig
from rockit.meter.energy import Account, account
from rockit.meter.kept import KeptMeter
from rockit.meter.model import Number, Reading, Register
from rockit.meter.periods import edges
from rockit.meter.unit import MeterUnit

BEGIN = 1_790_000_000_000 // DAY * DAY
END = Decimal(100_000)
"""Where the display of the meter begins anew, Wh."""
UTC = ZoneInfo("UTC")


class Life:
    """A meter, its unit, and the store that it is recorded into. Readings come every five minutes."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'history.sqlite'}"
        self.now = BEGIN + 3 * 3_600_000
        self.store = Store(self.url, lambda: self.now)
        self.device = self.store.device_id("site", "meters")
        self.series = self.store.series_id(Series("site", "meters", "house.import_energy", "Wh", "", True))
        self.register = Decimal(5000)
        self.flowed = Decimal(0)
        self.number = 1
        self.kept = KeptMeter()
        self.first_reading()

    def first_reading(self) -> None:
        config = MeterConfig(driver="sml", port="/dev/null")
        self.unit = MeterUnit(
            "house", config, self.kept, self, lambda _soon: None, lambda _name, _one: None, lambda: self.now
        )
        self.tell(self.register)

    def add(self, values: Mapping[str, Number], time: int, quality: Quality = Quality.GOOD) -> None:
        if "import_energy" in values:
            row = (self.series, time, float(values["import_energy"]), int(quality))
            self.store.record(self.device, [row])

    def event(self, name: str, value: str, detail: str) -> None: ...

    def tell(self, value: Decimal, minutes: int = 5) -> None:
        self.now += minutes * 60_000
        one = Register(value, "Wh", "", counter=True, modulus=END)
        self.unit.take(Reading({"1-0:1.8.0*255": one}, f"meter {self.number}"), time.monotonic())

    # What may happen

    def flow(self, amount: int) -> None:
        self.register += amount
        self.flowed += amount
        self.register %= END
        self.tell(self.register)

    def pause(self, amount: int) -> None:
        self.now += 40 * 60_000 * (1 + amount)
        self.flow(amount)

    def dip(self, amount: int) -> None:
        self.tell(self.register - 1 - amount)
        self.flow(amount)

    def zeros(self, amount: int) -> None:
        """A meter that boots tells 0 for a while, often enough to be believed."""
        for _ in range(amount + 1):
            self.tell(Decimal(0))
        self.flow(amount)

    def leap(self, amount: int) -> None:
        self.tell(self.register + 90_000_000 + amount)
        self.flow(amount)

    def another(self, amount: int) -> None:
        self.number += 1
        self.register = Decimal(3 + amount)
        for _ in range(3):
            self.tell(self.register)

    def another_that_is_told(self, amount: int) -> None:
        last = self.register
        self.another(amount)
        shown = self.unit.kept.jumps["import_energy"][-1].before or last
        self.unit.replace({"import_energy": shown + 7}, {"import_energy": Decimal(1)})
        self.flowed += 7 + self.register - 1

    def align(self, amount: int) -> None:
        if "import_energy" in self.unit.kept.last:
            self.unit.set_reading("import_energy", Decimal(20_000 + 1000 * amount))
        self.flow(amount)

    def restart(self, amount: int) -> None:
        self.kept = msgspec.json.decode(msgspec.json.encode(self.kept), type=KeptMeter)
        self.first_reading()
        self.flow(amount)

    def account(self, by: str) -> Account:
        borders = edges(by, BEGIN, self.now + 1, UTC)  # type: ignore[arg-type]
        jumps = self.unit.kept.jumps.get("import_energy", [])
        reader = Reader(Database(self.url, make=False))
        with reader.view() as view:
            cuts = {jump.time: None if jump.after is None else float(jump.after) for jump in jumps}
            pieces = runs(view, self.series, borders[0], borders[-1], cuts=cuts, borders=borders)
            found = account(pieces, jumps, borders, self.now + 1, view.at(self.series, borders[0] - 1))
        reader.database.close()
        return found


ACTS = (
    "flow", "flow", "flow", "flow", "pause", "dip", "zeros", "leap", "another", "another_that_is_told", "align",
    "restart",
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 4)), max_size=40), st.sampled_from(["hour", "day"]))
def test_periods_and_gaps_are_what_flowed(tmp_path_factory: pytest.TempPathFactory, acts, by) -> None:
    life = Life(tmp_path_factory.mktemp("life"))
    for act, amount in acts:
        getattr(life, act)(amount)
    life.flow(1)
    found = life.account(by)
    total = sum((period.energy or Decimal(0) for period in found.periods), Decimal(0))
    assert total + sum((gap.energy for gap in found.gaps), Decimal(0)) == life.flowed
    life.store.close()


@pytest.mark.parametrize("act", ["another", "another_that_is_told", "align"])
def test_what_happened_is_no_energy_when_its_samples_are_forgotten(tmp_path: Path, act: str) -> None:
    """`keep_raw_days` leaves roll-ups alone: what a register went through in 15 minutes is told by its ends."""
    life = Life(tmp_path)
    for _ in range(12):
        life.flow(3)
    getattr(life, act)(2)
    for _ in range(12):
        life.flow(3)
    exact = life.flowed
    assert sum(period.energy or Decimal(0) for period in life.account("day").periods) == exact
    life.now += 40 * DAY
    while life.store.seal():
        pass
    for _ in range(60):
        life.store.forget(5, ("site", "meters"))
    known = sum(period.energy or Decimal(0) for period in life.account("day").periods)
    assert exact - 12 <= known <= exact, "a little less is known, and nothing is invented"
    life.store.close()
