# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose turn it is on a bus: live units keep theirs, dead ones cost little and are not forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.meter.turns import Turns


def run(turns, dead, until, *, cost=0.1, timeout=1.0, now=0.0):
    """(unit, when its turn began) of all turns; an exchange takes `cost`, with a dead unit `timeout`."""
    log = []
    while now < until:
        if (unit := turns.next(now)) is None:
            now += turns.wait(now)
            continue
        log.append((unit, now))
        if unit in dead:
            now += timeout
            turns.failed(unit, now)
        else:
            now += cost
            turns.answered(unit, now)
    return log


def times_of(log, unit):
    return [when for who, when in log if who == unit]


def test_three_dead_of_eight():
    log = run(Turns(range(8), 5.0, 0.0), {5, 6, 7}, 600.0)
    for unit in range(5):
        assert len(times_of(log, unit)) == 120
    for unit in (5, 6, 7):
        begun = times_of(log, unit)
        waits = [later - earlier - 1.0 for earlier, later in pairwise(begun)]
        for wait, planned in zip(waits, [5, 10, 20, 40] + [60] * 99, strict=False):
            assert planned - 1e-6 <= wait < planned + 4  # the others' turns come in between
        assert len(waits) > 8


def test_a_good_answer_resets_the_back_off():
    turns = Turns(["a"], 2.0, 0.0)
    for now, wait in ((0.0, 5.0), (5.0, 10.0), (15.0, 20.0)):
        assert turns.next(now) == "a"
        turns.failed("a", now)
        assert turns.wait(now) == wait
    turns.answered("a", 35.0)
    assert (turns.failures("a"), turns.wait(35.0)) == (0, 2.0)
    turns.failed("a", 37.0)
    assert turns.wait(37.0) == 5.0


def test_a_live_unit_goes_before_a_second_dead_one():
    turns = Turns(["dead", "gone", "live"], 1.0, 0.0)
    assert turns.next(0.0) == "dead"
    turns.failed("dead", 1.0)
    assert turns.next(1.0) == "gone"  # nobody knows yet that it is
    turns.failed("gone", 2.0)
    assert turns.next(2.0) == "live"
    turns.answered("live", 2.1)
    order = run(turns, {"dead", "gone"}, 100.0, now=2.1)
    assert all("live" in (first, second) for (first, _), (second, _) in pairwise(order))


def test_after_a_lost_answer_one_that_answers_goes_before_one_that_has_waited_longer():
    turns = Turns(["live", "dead", "gone"], 6.0, 0.0)
    turns.answered("live", 0.1)
    turns.failed("dead", 0.1)
    turns.failed("gone", 0.2)  # due at 5.1, 5.2, and live at 6
    assert turns.next(5.5) == "dead"
    turns.failed("dead", 6.5)
    assert turns.next(6.5) == "live"
    turns.answered("live", 6.6)
    assert turns.next(6.6) == "gone"


def test_turns_that_were_missed_are_not_made_up_for():
    turns = Turns(["a"], 1.0, 0.0)
    turns.answered("a", 10.0)
    assert turns.wait(10.0) == 0.0
    turns.answered("a", 10.1)
    assert turns.wait(10.1) == pytest.approx(0.9)


def test_no_units_and_no_sense():
    assert Turns([], 1.0, 0.0).next(0.0) is None
    assert Turns([], 1.0, 0.0).wait(0.0) is None
    with pytest.raises(ValueError):
        Turns(["a"], 1.0, 0.0, first=10.0, longest=5.0)


@settings(deadline=None)
@given(
    st.integers(1, 10).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))),
    st.floats(0.0, 20.0),
    st.floats(0.01, 2.0),
    st.floats(0.1, 3.0),
)
def test_nobody_is_forgotten_and_nobody_is_held_up(units, period, cost, timeout):
    count, dead = units
    live = count - len(dead)
    log = run(Turns(range(count), period, 0.0), dead, 300.0, cost=cost, timeout=timeout)
    for unit in range(count):
        begun = times_of(log, unit)
        assert begun
        for earlier, later in pairwise([*begun, 300.0]):
            if unit in dead:
                assert later == 300.0 or later - earlier >= timeout + 5.0 - 1e-6
                # due after a minute; then each live one at most twice before it, and each dead one at most once
                assert later - earlier <= timeout + 60.0 + 2 * live * (cost + timeout) + len(dead) * timeout + 1e-6
            else:
                assert later - earlier <= period + (live + 1) * (cost + timeout) + 1e-6


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=30))
def test_the_wait_grows_to_a_minute_and_no_further(answers):
    turns, now, failures = Turns(["a"], 1.0, 0.0), 0.0, 0
    for good in answers:
        now += turns.wait(now)
        (turns.answered if good else turns.failed)("a", now)
        failures = 0 if good else failures + 1
        assert turns.wait(now) <= (1.0 if good else min(5.0 * 2 ** (failures - 1), 60.0))
