# SPDX-License-Identifier: GPL-3.0-or-later
"""S0 pulses: what counts, energy and power, losses."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.common.transport.edges import Edge
from rockit.meter.pulses import (
    Pulses,
    Settings,
    advance,
    energy,
    energy_decimal,
    feed,
    power,
    restarted,
    set_reading,
)

MS = 1_000_000
SECOND = 1000 * MS
LATER = 10**15
AT_1000 = Settings(1000)


def numbered(levels: list[tuple[int, bool]], first: int = 1) -> list[Edge]:
    return [Edge(moment, active, first + at) for at, (moment, active) in enumerate(levels)]


def train(starts: list[int], width: int = 50 * MS, first: int = 1) -> list[Edge]:
    """Clean pulses that start at `starts`, ns."""
    return numbered([edge for start in starts for edge in ((start, True), (start + width, False))], first)


def bounced(start: int, end: int, before: list[int], after: list[int]) -> list[tuple[int, bool]]:
    """A pulse whose two edges bounce at so many ns after the first contact; an even number leaves the level right."""
    out = []
    for moment, active, bounces in ((start, True, before), (end, False, after)):
        out.append((moment, active))
        level = active
        for bounce in sorted(set(bounces))[: len(set(bounces)) // 2 * 2]:
            level = not level
            out.append((moment + bounce, level))
    return out


bounces = st.lists(st.integers(1, 7 * MS), max_size=6)
pulse = st.tuples(st.integers(60, 5000), st.integers(38, 45), bounces, bounces)


@st.composite
def lines(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    """How many pulses there were, and the edges they made."""
    pulses = draw(st.lists(pulse, max_size=12))
    now, levels = SECOND, []
    for gap, width, before, after in pulses:
        now += (gap + width) * MS
        levels += bounced(now, now + width * MS, before, after)
        now += 60 * MS
    return len(pulses), numbered(levels)


# --- what counts


@given(lines(), st.lists(st.integers(0, 200), max_size=5))
def test_bounces_neither_add_nor_lose_a_pulse_however_edges_are_batched(line, cuts):
    count, edges = line
    whole = feed(Pulses(), edges, AT_1000)
    assert advance(whole, LATER, AT_1000).count == count
    assert whole.lost == whole.rejected == 0
    split = Pulses()
    for start, end in pairwise([0, *sorted(cut % (len(edges) + 1) for cut in cuts), len(edges)]):
        split = feed(split, edges[start:end], AT_1000)
    assert split == whole


@given(lines(), st.data())
def test_lost_edges_are_counted_and_never_invent_a_pulse(line, data):
    count, edges = line
    keep = data.draw(st.lists(st.booleans(), min_size=len(edges), max_size=len(edges)))
    # The last edge is always there: the kernel drops the oldest, and without a later one nothing proves a loss.
    left = [edge for edge, kept in zip(edges, keep, strict=True) if kept or edge is edges[-1]]
    state = advance(feed(Pulses(), left, AT_1000), LATER, AT_1000)
    assert state.count <= count
    if left:
        missing = left[-1].sequence - left[0].sequence + 1 - len(left)
        assert state.lost == missing


@given(st.lists(st.builds(Edge, st.integers(0, 10**10), st.booleans(), st.none() | st.integers(0, 50)), max_size=30))
def test_no_edges_are_an_error_and_the_count_never_falls(edges):
    state = Pulses()
    for edge in edges:
        before = state
        state = advance(feed(state, [edge], AT_1000), edge.time_ns + 4 * MS, AT_1000)
        assert state.count >= before.count
        assert state.lost >= before.lost
        assert energy(state, AT_1000) >= energy(before, AT_1000)
        watts = power(state, AT_1000, edge.time_ns + 4 * MS)
        assert watts is None or 0 <= watts <= 3600 / 0.030 + 1


def test_a_pulse_counts_when_its_level_has_stood():
    state = feed(Pulses(), [Edge(SECOND, True, 1)], AT_1000)
    assert state.count == 0
    assert advance(state, SECOND + 8 * MS - 1, AT_1000).count == 0
    assert advance(state, SECOND + 8 * MS, AT_1000).count == 1
    assert feed(state, [Edge(SECOND + 7 * MS, False, 2), Edge(9 * SECOND, True, 3)], AT_1000).count == 0


def test_a_pulse_of_the_least_length_counts():
    edges = train([SECOND, SECOND + 60 * MS, SECOND + 120 * MS], width=30 * MS)
    assert feed(Pulses(), edges, AT_1000).count == 3
    assert feed(Pulses(), edges, Settings(1000, debounce_ms=10)).count == 3


def test_pulses_of_the_highest_rate_that_is_not_rejected():
    state = advance(feed(Pulses(), train([SECOND, SECOND + 30 * MS], width=10 * MS), AT_1000), LATER, AT_1000)
    assert (state.count, state.rejected) == (2, 0)


def test_a_dropout_in_a_pulse_makes_no_second_one():
    edges = numbered([(SECOND, True), (SECOND + 40 * MS, False), (SECOND + 42 * MS, True), (SECOND + 90 * MS, False)])
    assert advance(feed(Pulses(), edges, AT_1000), LATER, AT_1000).count == 1


def test_a_second_pulse_that_comes_too_soon_is_rejected():
    edges = train([SECOND, SECOND + 25 * MS, SECOND + 100 * MS], width=10 * MS)
    state = advance(feed(Pulses(), edges, AT_1000), LATER, AT_1000)
    assert (state.count, state.rejected) == (2, 1)
    # It does not move the reference: the third is far enough from the first.
    assert state.starts == (SECOND, SECOND + 100 * MS)


def test_a_line_without_numbers_counts_as_well():
    edges = [replace(edge, sequence=None) for edge in train([SECOND, 2 * SECOND])]
    state = advance(feed(Pulses(), edges, AT_1000), LATER, AT_1000)
    assert (state.count, state.lost) == (2, 0)
    twice = [Edge(SECOND, True), Edge(2 * SECOND, True)]
    assert advance(feed(Pulses(), twice, AT_1000), LATER, AT_1000).count == 1


def test_after_a_loss_the_next_pulse_counts_but_its_interval_does_not():
    state = feed(Pulses(), train([SECOND, 2 * SECOND]), AT_1000)
    assert power(state, AT_1000, 2 * SECOND) == 3600
    lossy = feed(state, train([9 * SECOND], first=21), AT_1000)
    assert (lossy.count, lossy.lost) == (3, 16)
    assert power(lossy, AT_1000, 9 * SECOND + 100 * MS) is None
    again = feed(lossy, train([10 * SECOND], first=23), AT_1000)
    assert power(again, AT_1000, 10 * SECOND) == 3600


def test_after_the_end_of_a_pulse_was_lost_the_next_one_counts():
    edges = [edge for edge in train([SECOND, 2 * SECOND, 3 * SECOND]) if edge.sequence != 2]
    early = advance(feed(Pulses(), edges[:1], AT_1000), SECOND + 20 * MS, AT_1000)
    state = feed(early, edges[1:], AT_1000)
    assert (state.count, state.lost) == (3, 1)


def test_a_source_that_is_opened_anew_keeps_the_count():
    state = feed(Pulses(), train([SECOND, 2 * SECOND]), AT_1000)
    for again in (
        feed(state, train([10 * SECOND, 11 * SECOND]), AT_1000),  # its numbers begin at 1
        feed(state, train([MS, SECOND + MS], first=90), AT_1000),  # its clock does
        feed(restarted(state, 9 * SECOND), train([10 * SECOND, 11 * SECOND], first=50), AT_1000),
    ):
        assert (again.count, again.lost) == (4, 0)
        assert len(again.starts) == 2


# --- energy


@given(st.integers(1, 20000), st.integers(0, 10**9))
def test_energy_is_exact(impulses, count):
    settings = Settings(impulses)
    assert energy(Pulses(count=count), settings) * impulses == count * 1000
    assert abs(energy_decimal(Pulses(count=count), settings) - Decimal(count) * 1000 / impulses) <= Decimal("0.0006")


def test_energy_converts_late():
    settings = Settings(3)
    assert energy(Pulses(count=3), settings) == 1000
    assert energy_decimal(Pulses(count=1), settings) == Decimal("333.333")
    assert energy(Pulses(count=5), Settings(Decimal("0.5"))) == 10000


def test_a_reading_is_aligned_with_the_meter():
    state = set_reading(Pulses(count=7), AT_1000, Decimal("1234567.8"))
    assert energy(state, AT_1000) == Fraction("1234567.8")
    assert state.count == 7
    assert energy(replace(state, count=9), AT_1000) == Fraction("1234569.8")


# --- power


def test_power_of_an_interval():
    # 1000 impulses a kWh: 3.6 s between two are 1 kW, 36 s are 100 W.
    for interval, watts in ((3600 * MS, 1000), (36000 * MS, 100)):
        state = feed(Pulses(), train([SECOND, SECOND + interval]), AT_1000)
        assert power(state, AT_1000, SECOND + interval) == watts


def test_the_first_pulse_gives_no_power():
    assert power(Pulses(), AT_1000, LATER) is None
    state = feed(restarted(Pulses(), 0), train([SECOND]), AT_1000)
    assert state.count == 1
    assert power(state, AT_1000, 2 * SECOND) is None


def test_time_without_a_pulse_bounds_the_power_and_the_time_out_ends_it():
    state = feed(Pulses(), train([SECOND, 2 * SECOND]), AT_1000)
    told = [power(state, AT_1000, (2 + tau) * SECOND) for tau in (0, 1, 2, 36, 360, 3599)]
    assert told == [3600, 3600, 1800, 100, 10, pytest.approx(3600 / 3599)]
    assert power(state, AT_1000, 3602 * SECOND) == 0.0
    assert power(state, Settings(1000, timeout_s=10), 12 * SECOND) == 0.0


def test_no_pulse_for_the_time_out_is_no_power_from_a_start_on():
    state = restarted(Pulses(count=5), SECOND)
    assert power(state, AT_1000, 3600 * SECOND) is None
    assert power(state, AT_1000, 3601 * SECOND) == 0.0


@given(st.integers(60, 400), st.lists(st.integers(-2, 2), min_size=40, max_size=40))
def test_jitter_at_high_rates_is_averaged(interval, jitter):
    starts = [SECOND + (at * interval + by) * MS for at, by in enumerate(jitter)]
    state = feed(Pulses(), train(starts, width=32 * MS), AT_1000)
    right = 3600 / (interval / 1000)
    assert power(state, AT_1000, starts[-1]) == pytest.approx(right, rel=0.004)


@given(lines(), st.integers(1, 10**12))
def test_power_never_exceeds_what_the_time_without_a_pulse_permits(line, quiet):
    _, edges = line
    state = feed(Pulses(), edges, AT_1000)
    if state.starts:
        watts = power(state, AT_1000, state.starts[-1] + quiet)
        assert watts is None or watts <= 3600 / (quiet / SECOND) * (1 + 1e-12)


def test_power_follows_a_step_within_the_window():
    quick = [SECOND + at * 100 * MS for at in range(30)]
    slow = [quick[-1] + at * SECOND for at in range(1, 5)]
    state = feed(Pulses(), train(quick + slow), AT_1000)
    assert power(state, AT_1000, slow[-1]) == 3600


def test_what_is_kept_of_the_past_is_bounded():
    settings = Settings(1000, debounce_ms=0, spacing_ms=0, window_s=1e9)
    state = feed(Pulses(), train([at * 2 * MS for at in range(1000)], width=MS), settings)
    assert state.count >= 999
    assert len(state.starts) <= 258


@pytest.mark.parametrize(
    "wrong",
    [
        {"impulses_per_kwh": 0}, {"impulses_per_kwh": -1}, {"impulses_per_kwh": 1, "debounce_ms": -1},
        {"impulses_per_kwh": 1, "debounce_ms": 40}, {"impulses_per_kwh": 1, "window_s": 0},
        {"impulses_per_kwh": 1, "timeout_s": 0},
    ],
)  # fmt: skip
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError):
        Settings(**wrong)
