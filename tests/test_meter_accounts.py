"""`energy` as the daemon answers it: from a real store, with prices and with what happened to the meter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from rockit.common.errors import Code, CommandError
from rockit.common.quality import Quality
from rockit.common.record import NoRecord
from rockit.history.database import Database
from rockit.history.model import Series
from rockit.history.query import Reader
from rockit.history.store import Store
from rockit.meter import accounts as module
from rockit.meter.accounts import Accounts, site_zone
from rockit.meter.config import MeterConfig, MeterdConfig, Tariff
from rockit.meter.energy import Jump
from rockit.meter.kept import KeptMeter
from rockit.meter.unit import MeterUnit

BERLIN = ZoneInfo("Europe/Berlin")
MINUTES = 10


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp() * 1000)


class Site:
    """A store with what one meter told, and the accounts of it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = f"sqlite:///{folder / 'history.sqlite'}"
        self.store = Store(self.url)
        self.device = self.store.device_id("site", "meters")
        self.kept = KeptMeter()
        self.now = ms("2026-06-04T00:05")
        monkeypatch.setattr(module, "now_ms", lambda: self.now)

    def record(self, register: str, rows: list[tuple[int, float]]) -> None:
        number = self.store.series_id(Series("site", "meters", f"house.{register}", "Wh", "", True))
        self.kept.last[register] = Decimal(repr(rows[-1][1]))
        self.store.record(self.device, [(number, time, value, int(Quality.GOOD)) for time, value in rows])

    def hourly(self, register: str, start: str, hours: int, first: float, step: float) -> None:
        """A reading every 10 minutes, `step` Wh an hour."""
        count = hours * 60 // MINUTES
        rows = [(ms(start) + n * MINUTES * 60_000, first + n * step * MINUTES / 60) for n in range(count + 1)]
        self.record(register, rows)

    def ask(self, question: Callable[..., Any]) -> Any:
        reader = Reader(Database(self.url, make=False))
        try:
            with reader.view() as view:
                return question(view, "site", "meters")
        finally:
            reader.database.close()

    def energy(self, by: str = "day", start: Any = None, end: Any = None, **config: Any) -> dict[str, Any]:
        meter = MeterConfig(driver="sml", port="sim://sml")
        whole = MeterdConfig(
            daemon="meters", log_name="m", meters={"house": meter}, time_zone="Europe/Berlin", **config
        )

        class Silent:
            def add(self, *_: object) -> None: ...
            def event(self, *_: object) -> None: ...

        unit = MeterUnit("house", meter, self.kept, Silent(), lambda _soon: None, lambda _name, _one: None)
        return Accounts(whole, self).energy(unit, by, start, end)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path, monkeypatch)
    yield made
    made.store.close()


def test_import_export_balance_and_cost_by_days_of_the_site(site: Site) -> None:
    site.hourly("import_energy", "2026-06-01T00:00", 72, 1000.0, 500.0)
    site.hourly("export_energy", "2026-06-01T00:00", 72, 0.0, 100.0)
    tariffs = [
        Tariff(since=date(2026, 1, 1), import_price=0.30, export_price=0.1, per_day=0.5),
        Tariff(since=date(2026, 6, 2), import_price=0.40, export_price=0.1, per_day=0.5),
    ]
    found = site.energy("day", "2026-06-01", tariffs=tariffs)
    assert [row["start"] for row in found["periods"]] == [
        "2026-05-31T22:00:00Z", "2026-06-01T22:00:00Z", "2026-06-02T22:00:00Z", "2026-06-03T22:00:00Z",
    ]  # fmt: skip
    first, second, third, fourth = found["periods"]
    assert (fourth["import_energy"], fourth["complete"]) == (pytest.approx(500 / 6), False)
    # The reading just before midnight stands for midnight: what flowed up to the next belongs to the new day.
    assert first["import_energy"] == pytest.approx(12_000 - 500 / 6)
    assert second["import_energy"] == pytest.approx(12_000)
    assert second["balance"] == second["import_energy"] - second["export_energy"]
    assert second["cost"] == pytest.approx(12 * 0.4 - 2.4 * 0.1 + 0.5)
    assert first["cost"] == pytest.approx((12 - 0.5 / 6) * 0.3 - (2.4 - 0.1 / 6) * 0.1 + 0.5)
    assert all(row["complete"] for row in (first, second, third))
    assert found["gaps"] == []
    total = site.energy("month", "2026-06-01", tariffs=tariffs)["periods"][0]
    assert total["import_energy"] == pytest.approx(sum(row["import_energy"] for row in found["periods"]))
    assert total["cost"] == pytest.approx(sum(row["cost"] for row in found["periods"]))
    assert not total["complete"], "the month has not ended"


def test_a_meter_that_counts_by_tariff_alone_has_a_total_and_its_cost(site: Site) -> None:
    site.hourly("import_energy_t1", "2026-06-01T00:00", 72, 0.0, 300.0)
    site.hourly("import_energy_t2", "2026-06-01T00:00", 72, 0.0, 700.0)
    tariff = Tariff(since=date(2026, 1, 1), import_price={"T1": 0.3, "T2": 0.2})
    row = site.energy("day", "2026-06-02", tariffs=[tariff])["periods"][0]
    assert row["import_energy"] == pytest.approx(24_000)
    assert row["cost"] == pytest.approx(7.2 * 0.3 + 16.8 * 0.2)
    plain = site.energy("day", "2026-06-02", tariffs=[Tariff(since=date(2026, 1, 1), import_price=0.25)])
    assert plain["periods"][0]["cost"] == pytest.approx(6.0)


def test_our_own_sum_of_tariffs_knows_of_a_new_meter_too(site: Site) -> None:
    """Jumps are those of the registers that the meter has, and not of the sum that is recorded beside them."""
    change = ms("2026-06-02T12:00")
    for register in ("import_energy_t1", "import_energy_t2"):
        before = [(ms("2026-06-02T00:00") + n * 600_000, 5000.0 + n) for n in range(72)]
        after = [(change + n * 600_000, 3.0 + n) for n in range(72)]
        site.record(register, before + after)
        site.kept.jumps[register] = [Jump(change, "replaced", Decimal(5071), Decimal(3))]
    both = [(time, 2 * value) for time, value in before + after]
    site.record("import_energy", both)
    del site.kept.last["import_energy"]
    row = site.energy("day", "2026-06-02")["periods"][0]
    assert row["import_energy"] == pytest.approx(2 * (71 + 71))
    assert site.energy("day", "2026-06-02")["falls"] == 0


def test_energies_outlive_a_lost_state(site: Site) -> None:
    site.hourly("import_energy", "2026-06-01T00:00", 72, 1000.0, 500.0)
    site.kept = KeptMeter()
    assert site.energy("day", "2026-06-02")["periods"][0]["import_energy"] == pytest.approx(12_000)


def test_a_gap_stands_beside_the_days(site: Site) -> None:
    site.hourly("import_energy", "2026-06-01T00:00", 12, 0.0, 100.0)
    site.hourly("import_energy", "2026-06-03T06:00", 6, 9000.0, 100.0)
    found = site.energy("day", "2026-06-01")
    energies = [row.get("import_energy") for row in found["periods"]]
    assert energies == [1200.0, None, 600.0, None]
    assert not any(row["complete"] for row in found["periods"])
    [gap] = found["gaps"]
    assert gap["energy"] == 7800.0
    assert gap["register"] == "import_energy"


@pytest.mark.parametrize(
    ("by", "start", "end", "why"),
    [
        ("decade", None, None, "by is one of hour, day"),
        ("day", "yesterday", None, "is no time"),
        ("day", "2026-13", None, "is no date"),
        ("day", "2026-06-03", "2026-06-02", "the end must be after the start"),
        ("day", "2027-01-01", None, "before now"),
        ("hour", "1971", None, "more than 10000 periods"),
    ],
)
def test_what_cannot_be_told_is_refused_in_a_sentence(site: Site, by: str, start: Any, end: Any, why: str) -> None:
    with pytest.raises(CommandError, match=why) as caught:
        site.energy(by, start, end)
    assert caught.value.code == Code.OUT_OF_RANGE


def test_nothing_known_is_nothing_told(site: Site) -> None:
    found = site.energy("day", "2026-06-01")
    assert all(row.keys() == {"start", "end", "complete"} and not row["complete"] for row in found["periods"])


def test_a_daemon_without_history_says_so() -> None:
    with pytest.raises(CommandError, match="keeps no history"):
        NoRecord().ask(lambda *_: None)


def test_the_zone_is_the_configured_one_else_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert site_zone("Asia/Tokyo")[0] == "Asia/Tokyo"
    monkeypatch.setenv("TZ", ":Europe/Paris")
    assert site_zone(None)[0] == "Europe/Paris"
    monkeypatch.setenv("TZ", "not/a/zone")
    assert site_zone(None)[0]
