"""Energies of periods: nothing invented, nothing lost, whatever happens to meters and to those who read them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.common.quality import Quality
from rockit.history.counters import Run, runs
from rockit.history.database import Database
from rockit.history.model import BUCKET, DAY, Series
from rockit.history.query import Reader
from rockit.history.store import Store
from rockit.meter.config import Tariff
from rockit.meter.energy import GAP, Gap, Jump, account, together
from rockit.meter.periods import begin_of_day, edges, spans
from rockit.meter.prices import Prices

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000
NOON = 1_790_000_000_000 // DAY * DAY


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


# --- periods


def test_a_day_in_which_clocks_change_has_23_or_25_hours() -> None:
    spring = edges("day", ms("2026-03-29T12:00"), ms("2026-03-29T13:00"), BERLIN)
    autumn = edges("day", ms("2026-10-25T12:00"), ms("2026-10-25T13:00"), BERLIN)
    assert [(b - a) / HOUR for a, b in (spring, autumn)] == [23, 25]
    assert len(edges("hour", *autumn, BERLIN)) == 26


def test_weeks_begin_on_monday_and_months_on_their_first() -> None:
    assert edges("week", ms("2026-11-22T10:00"), ms("2026-11-22T11:00"), BERLIN) == [
        ms("2026-11-16T00:00"), ms("2026-11-23T00:00"),
    ]  # fmt: skip
    assert edges("month", ms("2024-02-29T10:00"), ms("2024-03-01T00:00"), BERLIN) == [
        ms("2024-02-01T00:00"), ms("2024-03-01T00:00"),
    ]  # fmt: skip
    assert edges("year", ms("2024-12-31T23:59"), ms("2025-01-01T00:00"), BERLIN)[-1] == ms("2025-01-01T00:00")


def test_zones_off_the_hour_have_hours_of_their_own() -> None:
    zone = ZoneInfo("Asia/Kathmandu")  # 5:45
    first, second = edges("hour", NOON, NOON + 1, zone)
    assert second - first == HOUR
    assert first % HOUR == 15 * 60_000


zones = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
)


@given(
    st.sampled_from(["hour", "day", "week", "month", "year"]), st.integers(0, 2**41), st.integers(1, 100 * DAY), zones
)
def test_periods_follow_each_other_without_a_hole_and_hold_what_was_asked_for(by, start, length, name) -> None:
    zone = ZoneInfo(name)
    found = edges(by, start, start + length, zone)
    assert found[0] <= start < found[1]
    assert found[-2] < start + length <= found[-1]
    assert all(a < b for a, b in spans(found))
    assert all(edge % BUCKET == 0 for edge in found), "roll-ups could not tell them apart"
    if by == "day":
        dates = [datetime.fromtimestamp(edge / 1000, UTC).astimezone(zone).date() for edge in found]
        assert all(1 <= (b - a).days <= 2 for a, b in pairwise(dates))  # Apia left one out in 2011


# --- the account of one counter


def bucket_runs(*rows: tuple[int, float, float]) -> list[Run]:
    return [Run(number * BUCKET, (number + 1) * BUCKET, first, last) for number, first, last in rows]


def test_what_flows_between_two_readings_that_follow_each_other_counts_for_the_later_period() -> None:
    found = account(bucket_runs((0, 10, 12), (1, 13, 15)), [], [0, BUCKET, 2 * BUCKET], 2 * BUCKET, None)
    assert [(period.energy, period.complete) for period in found.periods] == [(2, True), (3, True)]
    assert found.gaps == []


def test_a_gap_over_a_border_is_no_tall_bar() -> None:
    """Nobody read the meter from Friday to Monday: what flowed stands beside the days, and in none of them."""
    days = [n * DAY for n in range(5)]
    last, first = 2 * DAY // BUCKET - 10, 3 * DAY // BUCKET + 10
    readings = bucket_runs((DAY // BUCKET, 100, 101), (last, 110, 111), (first, 200, 201))
    found = account(readings, [], days, 4 * DAY, (DAY - 1, 99.0))
    assert found.gaps == [Gap((last + 1) * BUCKET, first * BUCKET, Decimal(89))]
    energies = [period.energy for period in found.periods]
    assert energies == [None, Decimal(12), None, Decimal(1)]
    assert not any(period.complete for period in found.periods), "a day without a reading is not complete either"


def test_a_gap_inside_of_a_day_belongs_to_that_day() -> None:
    readings = bucket_runs((0, 10, 11), (40, 20, 21))
    found = account(readings, [], [0, DAY], DAY, None)
    assert found.periods[0].energy == 11
    assert found.gaps == []


def test_what_has_not_ended_is_not_complete_and_what_has_not_begun_is_unknown() -> None:
    found = account(bucket_runs((0, 0, 1)), [], [0, DAY, 2 * DAY], BUCKET, None)
    assert [(period.energy, period.complete) for period in found.periods] == [(1, False), (None, False)]


def test_a_new_meter_is_no_negative_day_and_no_tall_one() -> None:
    jump = Jump(BUCKET, "replaced", Decimal("1000.5"), Decimal("2.5"))
    found = account(bucket_runs((0, 999, 1000), (1, 3, 4)), [jump], [0, DAY], DAY, None)
    assert found.periods[0].energy == Decimal(1) + Decimal("0.5") + Decimal("0.5") + Decimal(1)
    assert found.falls == 0


def test_of_a_new_meter_whose_readings_nobody_gave_only_what_was_read_counts() -> None:
    found = account(bucket_runs((0, 999, 1000), (1, 3, 4)), [Jump(BUCKET, "replaced")], [0, DAY], DAY, None)
    assert (found.periods[0].energy, found.falls) == (2, 0)


def test_a_roll_over_goes_on_counting() -> None:
    jump = Jump(BUCKET, "rolled over", Decimal(1000), Decimal(0))
    found = account(bucket_runs((0, 990, 998), (1, 3, 4)), [jump], [0, DAY], DAY, None)
    assert found.periods[0].energy == 8 + 2 + 3 + 1


def test_a_fall_that_nobody_explained_is_told_and_counts_nothing() -> None:
    found = account(bucket_runs((0, 990, 998), (1, 3, 4)), [], [0, DAY], DAY, None)
    assert (found.periods[0].energy, found.falls) == (9, 1)


def test_aligning_a_count_with_the_display_is_no_energy() -> None:
    jump = Jump(BUCKET + 5, "aligned", Decimal(12), Decimal(5000))
    found = account(
        [Run(0, BUCKET, 10, 11), Run(BUCKET, BUCKET + 4, 11, 12), Run(BUCKET + 6, BUCKET + 9, 5000, 5001)], [jump],
        [0, DAY], DAY, None,
    )  # fmt: skip
    assert (found.periods[0].energy, found.falls) == (3, 0)


def test_tariffs_add_up_only_where_both_are_known() -> None:
    one = account(bucket_runs((0, 0, 1), (1, 1, 3)), [], [0, BUCKET, 2 * BUCKET], 2 * BUCKET, None)
    two = account(bucket_runs((0, 0, 10)), [], [0, BUCKET, 2 * BUCKET], 2 * BUCKET, None)
    found = together([one, two])
    assert [period.energy for period in found.periods] == [11, None]
    assert [period.complete for period in found.periods] == [True, False]


steps = st.lists(
    st.tuples(
        st.integers(1, 40),  # minutes to the next reading; now and then a gap
        st.sampled_from([0, 0, 0, 0, 0, 300, 3000]),
        st.integers(0, 500),  # tenths of Wh
        st.sampled_from(["", "", "", "", "", "replaced", "told", "rolled", "aligned", "fell"]),
    ),
    min_size=2, max_size=60,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(steps, st.integers(0, 3))
def test_periods_and_gaps_together_are_what_flowed(tmp_path_factory, steps, quarters) -> None:
    """Through the real store: a meter's life, with everything that can happen to it, against a sum by hand."""
    path = tmp_path_factory.mktemp("energy") / "history.sqlite"
    store = Store(f"sqlite:///{path}")
    device = store.device_id("site", "meters")
    number = store.series_id(Series("site", "meters", "house.import_energy", "Wh", "", True))
    time, value = NOON + 7 * 60_000, Decimal(500)
    total, falls = Decimal(0), 0
    jumps: list[Jump] = []
    rows = [(number, time, float(value), int(Quality.GOOD))]
    for minutes, pause, tenths, what in steps:
        before, grown = value, Decimal(tenths) / 10
        when = time + (minutes + pause) * 60_000
        if what == "replaced":
            value = Decimal(3)
            jumps.append(Jump(when, "replaced", before, value))
            grown = Decimal(0)
        elif what == "told":
            value = Decimal(7) + grown
            jumps.append(Jump(when - 30_000, "replaced", before + 2, Decimal(7)))
            grown += 2
        elif what == "rolled":
            jumps.append(Jump(when, "rolled over", before + 1, Decimal(0)))
            value, grown = grown, grown + 1
        elif what == "aligned":
            jumps.append(Jump(when - 1, "aligned", before, Decimal(9000)))
            value = Decimal(9000) + grown
        elif what == "fell":
            value = before - 5
            grown, falls = Decimal(0), falls + 1
        else:
            value = before + grown
        total += grown
        time = when
        rows.append((number, time, float(value), int(Quality.GOOD)))
    for index in range(0, len(rows), 7):
        store.record(device, rows[index : index + 7])
    if quarters:
        store.seal()
    now = time + 60_000
    borders = edges("hour" if quarters % 2 else "day", NOON, now, BERLIN)
    reader = Reader(Database(f"sqlite:///{path}", make=False))
    with reader.view() as view:
        cuts = dict.fromkeys(jump.time for jump in jumps)
        readings = runs(view, number, borders[0], borders[-1], cuts=cuts, borders=borders)
        found = account(readings, jumps, borders, now, view.at(number, borders[0] - 1))
    reader.database.close()
    store.close()
    counted = sum((period.energy or Decimal(0) for period in found.periods), Decimal(0))
    assert counted + sum((gap.energy for gap in found.gaps), Decimal(0)) == total
    assert found.falls == falls
    for gap in found.gaps:
        assert gap.end - gap.start > GAP
        assert any(gap.start <= border <= gap.end for border in borders)
    for period in found.periods:
        assert period.energy is None or period.energy >= 0


# --- prices


def tariff(since: str, price: float | dict[str, float], **more: float) -> Tariff:
    return Tariff(since=date.fromisoformat(since), import_price=price, **more)  # type: ignore[arg-type]


def test_prices_change_at_the_sites_midnight() -> None:
    prices = Prices([tariff("2026-07-01", 0.4), tariff("2026-01-01", 0.3)], "house", BERLIN)
    change = begin_of_day(date(2026, 7, 1), BERLIN)
    assert prices.begins[1] == change
    energy = {"import_energy": Decimal(10_000)}
    assert prices.cost(change - HOUR, change, energy) == Decimal("3")
    assert prices.cost(change, change + HOUR, energy) == Decimal("4")
    assert prices.cost(prices.begins[0] - HOUR, prices.begins[0], energy) is None


def test_tariffs_export_and_the_fixed_part() -> None:
    prices = Prices([tariff("2026-01-01", {"T1": 0.35, "T2": 0.25}, export_price=0.08, per_day=0.5)], "house", BERLIN)
    day = (begin_of_day(date(2026, 10, 25), BERLIN), begin_of_day(date(2026, 10, 26), BERLIN))  # 25 hours
    known = {
        "import_energy_t1": Decimal(2000), "import_energy_t2": Decimal(4000), "export_energy": Decimal(1000),
    }  # fmt: skip
    assert prices.cost(*day, known) == Decimal("0.7") + Decimal("1.0") - Decimal("0.08") + Decimal("0.5")
    assert prices.cost(*day, {"import_energy": Decimal(6000)}) is None, "its tariffs are not known: no cost is invented"


def test_prices_of_one_meter_count_more_than_those_of_all() -> None:
    both = [tariff("2026-01-01", 0.3), Tariff(since=date(2026, 1, 1), import_price=0.2, meters=["pump"])]
    noon = ms("2026-06-01T12:00")
    assert Prices(both, "pump", BERLIN).cost(noon, noon + 1, {"import_energy": Decimal(1000)}) == Decimal("0.2")
    assert Prices(both, "house", BERLIN).cost(noon, noon + 1, {"import_energy": Decimal(1000)}) == Decimal("0.3")


def test_no_prices_no_cost() -> None:
    assert not Prices([], "house", BERLIN)
