# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a history, against what a plain look at all samples says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from histories import Clock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rockit.history import answer as answers
from rockit.history.answer import QuestionError, answer
from rockit.history.database import Statement
from rockit.history.model import BUCKET, DAY, Event, Samples, Series
from rockit.history.query import WIDTHS, Reader
from rockit.history.schema import metadata
from rockit.history.store import Store
from rockit.history.times import ms_of

BEGIN = 20_000 * DAY
WATER = Series("clasp", "chiller", "water_temp", "degC", "Supply temperature")
FLOW = Series("clasp", "chiller", "flow", "L/min", "Process flow")
ENERGY = Series("clasp", "chiller", "energy", "Wh", "Energy", counter=True)
HOUR = 3_600_000


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = request.getfixturevalue("postgresql") if request.param == "postgresql" else f"sqlite:///{tmp_path}/h.sqlite"
    with Store(url, Clock(BEGIN + 10 * DAY)) as made:
        yield made


def emptied(store: Store) -> Store:
    with store.session.writing():
        for table in metadata.tables.values():
            if table.name != "about":
                store.session.run(Statement(table.delete()))
    return Store(store.database.url.render_as_string(hide_password=False), store.now)


def ask(store: Store, keys: list[str] | None, start: Any, end: Any, points: int | None = None) -> dict[str, Any]:
    with Reader(store.database).view() as view:
        return answer(view, "clasp", "chiller", keys, start, end, points, store.now())


def seconds(ms: int) -> float:
    return ms / 1000


times = st.lists(
    st.one_of(st.integers(0, 4 * DAY), st.integers(0, 4 * 96).map(lambda n: n * BUCKET), st.integers(0, 3 * HOUR)),
    min_size=1, max_size=60, unique=True,
)  # fmt: skip
edge = st.one_of(st.integers(0, 4 * DAY), st.integers(0, 4 * 96).map(lambda n: n * BUCKET))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    times=times, data=st.data(), one=edge, other=edge, points=st.sampled_from([1, 2, 7, 24, 100, 1000, 20_000]),
    sealed=st.integers(0, 3),
)  # fmt: skip
def test_buckets_keep_every_spike_and_count_every_sample_of_the_range_once(
    store: Store, times: list[int], data: st.DataObject, one: int, other: int, points: int, sealed: int
) -> None:
    values = data.draw(st.lists(st.integers(-999, 999), min_size=len(times), max_size=len(times)))
    samples = Samples.of((BEGIN + t, v / 10, 0) for t, v in zip(times, values, strict=True))
    start, end = BEGIN + min(one, other), BEGIN + max(one, other) + 1
    with emptied(store) as fresh:
        fresh.merge(WATER, samples)
        for _ in range(sealed):
            fresh.seal()
        with Reader(fresh.database).view() as view:
            [number] = view.series()
            width = view.width(number, start, end, points)
            found = view.buckets(number, start, end, width)
    assert width in WIDTHS or width % BUCKET == 0
    assert len(range(start // width, (end - 1) // width + 1)) <= points + 1
    inside = samples.between(start, end)
    expected: dict[int, list[float]] = {}
    for time, value, _ in inside.rows():
        expected.setdefault(time // width * width, []).append(value)
    assert [time for time, _ in found] == sorted(expected)
    for time, rollup in found:
        wanted = expected[time]
        assert (rollup.samples, rollup.least, rollup.greatest) == (len(wanted), min(wanted), max(wanted))
        assert rollup.last == wanted[-1]
        assert rollup.total == pytest.approx(fsum(wanted), abs=1e-9)


step = st.one_of(st.integers(0, 99), st.integers(-60, 99))
"""Of a counter, tenths: it falls where it is reset, and stays above where it was minutes ago."""


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(times=times, data=st.data(), one=edge, other=edge, sealed=st.integers(0, 3))
def test_a_counter_grows_by_exactly_what_its_readings_say(
    store: Store, times: list[int], data: st.DataObject, one: int, other: int, sealed: int
) -> None:
    steps = data.draw(st.lists(step, min_size=len(times), max_size=len(times)))
    reading, readings = data.draw(st.sampled_from([0, 54_301_577])), {}
    for time, rise in zip(sorted(times), steps, strict=True):
        reading = max(0, reading + rise)
        readings[BEGIN + time] = reading
    start, end = BEGIN + min(one, other), BEGIN + max(one, other) + 1
    with emptied(store) as fresh:
        fresh.merge(ENERGY, Samples.of((time, value / 10, 0) for time, value in readings.items()))
        for _ in range(sealed):
            fresh.seal()
        with Reader(fresh.database).view() as view:
            [number] = view.series()
            growth = view.growth(number, start, end)
    known = [time for time in readings if time < end]
    before = [time for time in known if time <= start]
    walked = [*before[-1:], *(time for time in known if time > start)]
    if len(walked) < 2:
        assert growth is None
        return
    rises = [readings[later] - readings[earlier] for earlier, later in pairwise(walked)]
    assert growth is not None
    assert (growth.start, growth.end) == (walked[0], walked[-1])
    assert growth.resets == sum(rise < 0 for rise in rises)
    assert growth.value == sum(rise for rise in rises if rise > 0) / 10


def test_a_reset_adds_nothing_and_is_counted(store: Store) -> None:
    readings = [(0, 100.5), (HOUR, 110.5), (2 * HOUR, 3.0), (3 * HOUR, 7.25)]
    store.merge(ENERGY, Samples.of((BEGIN + time, value, 0) for time, value in readings))
    found = ask(store, ["energy"], seconds(BEGIN), seconds(BEGIN + 4 * HOUR), 10)["series"]["energy"]
    assert found["kind"] == "counter"
    assert found["difference"]["value"] == 14.25
    assert found["difference"]["resets"] == 1
    assert "mean" not in found, "the mean of a counter says nothing"
    assert found["last"] == [100.5, 110.5, 3.0, 7.25]


def test_a_reset_that_its_quarter_of_an_hour_hides_is_seen_all_the_same(store: Store) -> None:
    """It falls, and by the end of the roll-up it is above all that it was before."""
    readings = [(0, 100.5), (BUCKET, 110.5), (BUCKET + 60_000, 104.0), (BUCKET + 120_000, 130.0), (HOUR, 131.0)]
    store.merge(ENERGY, Samples.of((BEGIN + time, value, 0) for time, value in readings))
    for points in (None, 4):
        found = ask(store, ["energy"], seconds(BEGIN), seconds(BEGIN + 2 * HOUR), points)["series"]["energy"]
        assert (found["difference"]["value"], found["difference"]["resets"]) == (37.0, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(times=times, data=st.data(), end=edge)
def test_where_samples_were_forgotten_a_counter_grew_by_no_more_than_it_did(
    store: Store, times: list[int], data: st.DataObject, end: int
) -> None:
    steps = data.draw(st.lists(step, min_size=len(times), max_size=len(times)))
    samples = Samples.of((BEGIN + time, max(0, 50 + rise), 0) for time, rise in zip(sorted(times), steps, strict=True))
    with emptied(store) as fresh:
        fresh.merge(ENERGY, samples)
        with Reader(fresh.database).view() as view:
            [number] = view.series()
            whole = view.growth(number, BEGIN, BEGIN + end + 1)
        while fresh.forget(1):
            continue
        with Reader(fresh.database).view() as view:
            left = view.growth(number, BEGIN, BEGIN + end - end % BUCKET)
    if whole is not None and left is not None:
        assert left.value <= whole.value + 1e-9
        assert left.resets <= whole.resets


def test_where_samples_were_forgotten_a_reset_is_still_seen(store: Store) -> None:
    readings = [(0, 100), (BUCKET, 100), (BUCKET + 1000, 0), (BUCKET + 2000, 150), (2 * BUCKET, 160)]
    store.merge(ENERGY, Samples.of((BEGIN + time, value, 0) for time, value in readings))
    for _ in range(2):
        found = ask(store, ["energy"], seconds(BEGIN), seconds(BEGIN + HOUR), 4)["series"]["energy"]["difference"]
        assert (found["value"], found["resets"]) == (160.0, 1)
        while store.forget(1):
            continue


def test_years_without_anything_cost_no_questions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock was a hundred years ahead for a moment."""
    times_ = [BEGIN, BEGIN + DAY, BEGIN + 36_525 * DAY]
    store.merge(WATER, Samples.of((time, 11.5, 0) for time in times_))
    asked = []
    with Reader(store.database).view() as view:
        plain = view.run
        monkeypatch.setattr(view, "run", lambda *question: asked.append(question) or plain(*question))
        assert view.samples(1, 0, 2**45).times == times_
    assert len(asked) < 50


def test_a_thousand_tenths_are_a_hundred(store: Store) -> None:
    store.merge(ENERGY, Samples.of((BEGIN + n * 1000, n / 10, 0) for n in range(1001)))
    found = ask(store, ["energy"], seconds(BEGIN), seconds(BEGIN + DAY), 10)
    assert found["series"]["energy"]["difference"]["value"] == 100.0


def test_pages_hold_every_sample_once_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PAGE", 50)
    given_ = {
        WATER: Samples.of((BEGIN + n * 977_000, n / 10, 2 if n % 7 == 0 else 0) for n in range(400)),
        FLOW: Samples.of((BEGIN + n * 31_000_000, float(n), 0) for n in range(9)),
    }
    for series, samples in given_.items():
        store.merge(series, samples)
    store.seal()
    found: dict[str, list[tuple[int, float, int]]] = {"water_temp": [], "flow": []}
    start: Any = seconds(BEGIN)
    pages = 0
    while start is not None:
        page = ask(store, None, start, seconds(BEGIN + 9 * DAY))
        pages += 1
        assert page["level"] == "raw"
        assert sum(len(series["time"]) for series in page["series"].values()) <= 51
        for key, series in page["series"].items():
            qualities = series.get("quality", [0] * len(series["time"]))
            found[key] += zip(map(ms_of, series["time"]), series["value"], qualities, strict=True)
        start = page.get("next")
    assert pages > 8
    for series, samples in given_.items():
        assert found[series.key] == list(samples.rows())


@pytest.mark.parametrize("end", range(1, 4))
def test_a_range_that_ends_in_the_newest_roll_up_counts_it_once(store: Store, end: int) -> None:
    store.merge(WATER, Samples.of((BEGIN + n * 300_000, 1.0, 0) for n in range(4 * 3)))
    found = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + 3 * BUCKET + end * 300_000), 4)
    assert (found["bucket"], found["series"]["water_temp"]["count"]) == (900, [3, 3, 3, end])


def test_a_gap_is_a_gap(store: Store) -> None:
    store.merge(WATER, Samples.of((BEGIN + t, 11.5, 0) for t in (0, 1000, 5 * HOUR)))
    found = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + 6 * HOUR), 24)["series"]["water_temp"]
    assert found["time"] == ["2024-10-04T00:00:00Z", "2024-10-04T05:00:00Z"]
    assert found["count"] == [2, 1]


def test_bad_samples_are_shown_and_do_not_count(store: Store) -> None:
    store.merge(WATER, Samples.of([(BEGIN, 11.5, 0), (BEGIN + 1000, 999.9, 2), (BEGIN + 2000, 11.7, 1)]))
    raw = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + HOUR))["series"]["water_temp"]
    assert (raw["value"], raw["quality"]) == ([11.5, 999.9, 11.7], [0, 2, 1])
    wide = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + HOUR), 1)["series"]["water_temp"]
    assert (wide["count"], wide["max"]) == ([2], [11.7])
    assert raw["latest"] == {"time": "2024-10-04T00:00:02.000Z", "value": 11.7}


def test_what_is_only_rolled_up_is_still_shown(store: Store) -> None:
    """Retention: raw goes, the long view stays; a question finer than that gets what there is."""
    store.merge(WATER, Samples.of((BEGIN + n * 60_000, float(n % 50), 0) for n in range(3 * 1440)))
    while store.seal():
        continue
    before = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + DAY), 96)["series"]["water_temp"]
    while store.forget(8):
        continue
    assert ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + DAY))["series"]["water_temp"]["time"] == []
    after = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + DAY), 5000)
    assert after["bucket"] == 900
    assert after["series"]["water_temp"] == before
    kept = ask(store, ["water_temp"], seconds(BEGIN + 2 * DAY), seconds(BEGIN + 3 * DAY))
    assert len(kept["series"]["water_temp"]["time"]) == 1440, "and what is young enough is there whole"


def test_a_key_whose_unit_changed_is_two_series(store: Store) -> None:
    store.merge(Series("clasp", "chiller", "water_temp", "degF"), Samples.of([(BEGIN, 53.0, 0)]))
    store.merge(WATER, Samples.of([(BEGIN + HOUR, 11.5, 0)]))
    found = ask(store, None, seconds(BEGIN), seconds(BEGIN + DAY))["series"]
    assert {key: (series["unit"], series["value"]) for key, series in found.items()} == {
        "water_temp [degF]": ("degF", [53.0]), "water_temp": ("degC", [11.5]),
    }  # fmt: skip


def test_a_key_whose_unit_changed_there_and_back_is_the_one_that_is_recorded_now(store: Store) -> None:
    store.merge(WATER, Samples.of([(BEGIN, 11.5, 0)]))
    store.merge(Series("clasp", "chiller", "water_temp", "degF"), Samples.of([(BEGIN + HOUR, 53.0, 0)]))
    store.merge(WATER, Samples.of([(BEGIN + 2 * HOUR, 11.7, 0)]))
    found = ask(store, None, seconds(BEGIN), seconds(BEGIN + DAY))["series"]
    assert {key: series["value"] for key, series in found.items()} == {
        "water_temp": [11.5, 11.7], "water_temp [degF]": [53.0],
    }  # fmt: skip


def test_rows_of_others_do_not_make_what_was_forgotten_look_empty(store: Store) -> None:
    """Late values of another device are older than all that this one has kept, and say nothing of it."""
    store.merge(WATER, Samples.of((BEGIN + n * 60_000, float(n % 50), 0) for n in range(3 * 1440)))
    while store.seal():
        continue
    while store.forget(8, ("clasp", "chiller")):
        continue
    store.merge(Series("clasp", "other", "flow", "L/min"), Samples.of([(BEGIN - 50 * DAY, 1.0, 0)]))
    found = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + DAY), 5000)
    assert found["bucket"] == 900
    assert sum(found["series"]["water_temp"]["count"]) == 1440


def test_events_come_in_order_and_a_cut_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = [Event(BEGIN + n // 2, "state", "mode", str(n), number=n % 2) for n in range(8)]
    assert store.add_events("clasp", "chiller", happened) == 8
    assert store.add_events("clasp", "chiller", happened) == 0, "once is enough"
    found = ask(store, ["events"], seconds(BEGIN), seconds(BEGIN + DAY))
    assert [event["value"] for event in found["events"]] == list("01234567")
    assert found["series"] == {}
    monkeypatch.setattr(answers, "MOST_EVENTS", 3)
    cut = ask(store, ["events"], seconds(BEGIN), seconds(BEGIN + DAY))
    assert [event["value"] for event in cut["events"]] == list("567")
    assert cut["events_left_out"] is True


def test_a_day_in_24_points_is_24_hours(store: Store) -> None:
    """Also without an end, which is now: the millisecond of now is in the range."""
    store.merge(WATER, Samples.of([(BEGIN + 10 * DAY - HOUR, 11.5, 0)]))
    assert ask(store, ["water_temp"], None, None, 24)["bucket"] == 3600


@pytest.mark.parametrize(
    ("span", "points", "width"),
    [
        (3650 * DAY, 100, 37 * DAY), (365 * DAY, 1000, 9 * HOUR), (365 * DAY, 300, 30 * HOUR),
        (30 * DAY, 1000, 3 * BUCKET), (7 * DAY, 1000, 900_000), (DAY, 1000, 120_000), (HOUR, 1000, 5000),
        (60_000, 1000, 1000),
    ],
)  # fmt: skip
def test_widths_are_round(store: Store, span: int, points: int, width: int) -> None:
    store.merge(WATER, Samples.of([(BEGIN, 11.5, 0)]))
    with Reader(store.database).view() as view:
        assert view.width(1, BEGIN, BEGIN + span, points) == width


@pytest.mark.parametrize(
    ("keys", "start", "end", "points", "text"),
    [
        (["water_tmep"], None, None, None, "'water_tmep' is not recorded here; recorded is water_temp, events"),
        (None, "yesterday", None, None, "'yesterday' is no time: give an age before now"),
        (None, "1h", "2h", None, "the range ends"),
        (
            None,
            "2030-01-01",
            None,
            None,
            "the range begins in the future .2030-01-01T00:00:00Z.; here it is",
        ),
        (None, None, None, 0, "points must be a number of buckets, 1 or more, not 0"),
        (None, None, None, True, "points must be"),
        (None, None, None, 2.5, "points must be"),
        (None, None, None, 10**9, "ask for fewer"),
        (None, float("nan"), None, None, "is no time"),
    ],
)
def test_a_question_that_has_no_answer_says_why(
    store: Store, keys: Any, start: Any, end: Any, points: Any, text: str
) -> None:
    store.merge(WATER, Samples.of([(BEGIN, 11.5, 0)]))
    with pytest.raises(QuestionError, match=text):
        ask(store, keys, start, end, points)


def test_a_damaged_block_is_told_and_hides_nothing_else(store: Store) -> None:
    store.merge(WATER, Samples.of((BEGIN + n * 60_000, 1.0, 0) for n in range(2 * 1440)))
    while store.seal():
        continue
    from rockit.history.schema import blocks

    with store.database.engine.begin() as connection:
        connection.execute(blocks.update().where(blocks.c.day == BEGIN // DAY).values(data=b"RH damaged"))
    found = ask(store, ["water_temp"], seconds(BEGIN), seconds(BEGIN + 3 * DAY))
    assert len(found["series"]["water_temp"]["time"]) == 1440
    assert "cannot be read" in found["problems"][0]
