# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rockit.common import alarms
from rockit.common.alarms import AlarmBook, AlarmBookState, AlarmState, Transition
from rockit.common.conditions import Condition, Priority

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LOW_FLOW = Condition("process flow is below 2 L/min", Priority.HIGH)
LEVEL = Condition("coolant level is low", Priority.CRITICAL, latched=True)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def restarted(book: AlarmBook) -> AlarmBook:
    """The book as the next process finds it in the file."""
    return AlarmBook(msgspec.json.decode(msgspec.json.encode(book.to_state()), type=AlarmBookState))


def announced(transitions: list[Transition]) -> list[tuple[str, str]]:
    return [(t.name, str(t.state)) for t in transitions if t.announce]


def entry(book: AlarmBook, name: str, seconds: float) -> dict[str, Any]:
    (found,) = [item for item in book.listing(at(seconds)) if item["name"] == name]
    return found


def test_priorities_compare_by_severity_and_not_by_alphabet() -> None:
    shuffled = [Priority.HIGH, Priority.CRITICAL, Priority.LOW, Priority.MEDIUM]
    assert sorted(shuffled) == [Priority.LOW, Priority.MEDIUM, Priority.HIGH, Priority.CRITICAL]
    assert max(shuffled) is Priority.CRITICAL
    assert Priority.HIGH > Priority.LOW
    assert not Priority.HIGH < Priority.LOW
    assert Priority.MEDIUM >= Priority.MEDIUM
    assert Priority.MEDIUM <= Priority.MEDIUM
    assert not Priority.HIGH <= Priority.LOW


def test_an_alarm_comes_and_goes() -> None:
    book = AlarmBook()
    (raised,) = book.update({"low_flow": LOW_FLOW}, at(0))
    assert (raised.previous, raised.state, raised.announce) == (AlarmState.NORMAL, AlarmState.ACTIVE, True)
    assert raised.message() == "alarm low_flow (high): process flow is below 2 L/min"
    assert book.active(at(1)) == ["low_flow"]
    assert book.update({"low_flow": LOW_FLOW}, at(5)) == []
    (gone,) = book.update({}, at(9))
    assert (gone.previous, gone.state, gone.announce) == (AlarmState.ACTIVE, AlarmState.NORMAL, True)
    assert gone.message() == "alarm low_flow (high) is over; it was: process flow is below 2 L/min"
    assert book.active(at(9)) == []
    assert book.listing(at(9)) == []


def test_an_acknowledged_alarm_stays_in_the_list_and_leaves_by_itself() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    change = book.acknowledge("low_flow", "filter is being\nchanged", "jd", at(3))
    assert change is not None
    assert change.announce
    assert change.message() == "alarm low_flow (high) acknowledged by jd: filter is being changed"
    assert book.active(at(3)) == ["low_flow"]
    assert entry(book, "low_flow", 3) == {
        "name": "low_flow",
        "state": "acknowledged",
        "priority": "high",
        "text": "process flow is below 2 L/min",
        "since": "2026-03-01T12:00:00Z",
        "last": "2026-03-01T12:00:03Z",
        "count": 1,
        "acknowledged_by": "jd",
        "comment": "filter is being changed",
    }
    assert announced(book.update({}, at(9))) == [("low_flow", "normal")]


def test_an_acknowledgement_ends_with_the_alarm_that_it_was_given_for() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.acknowledge("low_flow", "seen", "jd", at(1))
    book.update({}, at(100))
    book.update({"low_flow": LOW_FLOW}, at(200))
    again = entry(book, "low_flow", 200)
    assert again["state"] == "active"
    assert again["count"] == 2
    assert "acknowledged_by" not in again
    assert "comment" not in again


def test_a_latched_alarm_waits_for_somebody() -> None:
    book = AlarmBook()
    book.update({"level": LEVEL}, at(0))
    (gone,) = book.update({}, at(5))
    assert gone.state is AlarmState.RETURNED
    assert "waits to be acknowledged" in gone.message()
    assert book.active(at(86400)) == ["level"]
    assert entry(book, "level", 10)["since"] == "2026-03-01T12:00:00Z"
    change = book.acknowledge("level", "", "jd", at(86400))
    assert change is not None
    assert change.message() == "alarm level (critical), which has gone, acknowledged by jd"
    assert book.active(at(86400)) == []


def test_a_latched_alarm_that_was_acknowledged_while_there_leaves_by_itself() -> None:
    book = AlarmBook()
    book.update({"level": LEVEL}, at(0))
    book.acknowledge("level", "", "jd", at(1))
    book.update({}, at(5))
    assert book.active(at(5)) == []


def test_a_latched_alarm_that_comes_again_counts_again() -> None:
    book = AlarmBook()
    for seconds in (0, 100, 200):
        book.update({"level": LEVEL}, at(seconds))
        book.update({}, at(seconds + 70))
    assert entry(book, "level", 300)["count"] == 3
    assert entry(book, "level", 300)["state"] == "returned"


def test_acknowledging_twice_changes_the_comment_and_nothing_to_acknowledge_is_no_error() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.acknowledge("low_flow", "seen", "jd", at(1))
    assert book.acknowledge("low_flow", "pump ordered", "mk", at(2)) is None
    assert entry(book, "low_flow", 2)["comment"] == "pump ordered"
    assert entry(book, "low_flow", 2)["acknowledged_by"] == "mk"
    assert entry(book, "low_flow", 2)["last"] == "2026-03-01T12:00:01Z"
    book.update({}, at(3))
    assert book.acknowledge("low_flow", "late", "jd", at(4)) is None


def test_a_name_that_never_was_an_alarm_is_an_error() -> None:
    book = AlarmBook()
    book.update({"low_flow": Condition("too low", delay=30)}, at(0))
    for name in ("low_flow", "lowflow"):
        with pytest.raises(KeyError):
            book.acknowledge(name, "", "jd", at(1))
        with pytest.raises(KeyError):
            book.shelve(name, 60, "", "jd", at(1))


def test_a_delay_must_be_lasted_through_without_a_gap() -> None:
    slow = {"low_flow": Condition("too low", delay=10)}
    book = AlarmBook()
    for seconds in (0, 9):
        assert book.update(slow, at(seconds)) == []
    book.update({}, at(9.5))
    for seconds in (10, 12, 19):
        assert book.update(slow, at(seconds)) == []
        assert book.active(at(seconds)) == []
    assert announced(book.update(slow, at(20))) == [("low_flow", "active")]
    assert entry(book, "low_flow", 20)["since"] == "2026-03-01T12:00:20Z"


@pytest.mark.parametrize("delay", [-1, float("nan")])
def test_a_delay_that_is_no_time_is_refused_before_it_can_swallow_an_alarm(delay: float) -> None:
    with pytest.raises(ValueError, match="delay"):
        Condition("too low", delay=delay)


def test_a_text_that_follows_the_value_is_no_new_alarm_and_a_priority_moves_it_in_the_list() -> None:
    book = AlarmBook()
    book.update({"a": Condition("1.9 L/min"), "b": Condition("b")}, at(0))
    assert book.update({"a": Condition("1.7 L/min", Priority.CRITICAL), "b": Condition("b")}, at(5)) == []
    assert entry(book, "a", 5)["text"] == "1.7 L/min"
    assert entry(book, "a", 5)["count"] == 1
    assert entry(book, "a", 5)["since"] == "2026-03-01T12:00:00Z"
    assert book.active(at(5)) == ["a", "b"]
    book.update({"a": Condition("1.9 L/min", Priority.LOW), "b": Condition("b")}, at(6))
    assert book.active(at(6)) == ["b", "a"]


def test_the_most_severe_stands_first_then_the_oldest() -> None:
    now: dict[str, Condition] = {}
    book = AlarmBook()
    for seconds, (name, priority) in enumerate(
        [("m1", "medium"), ("c2", "critical"), ("l", "low"), ("c1", "critical"), ("h", "high"), ("m0", "medium")]
    ):
        now[name] = Condition(name, Priority(priority))
        book.update(now, at(seconds))
    expected = ["c2", "c1", "h", "m1", "m0", "l"]
    assert book.active(at(9)) == expected
    assert [item["name"] for item in book.listing(at(9))] == expected


def test_two_sources_do_not_clear_what_the_other_sees() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0), "poll")
    book.update({"no_dome": Condition("no dome temperature", delay=5)}, at(0), "control")
    book.update({"low_flow": LOW_FLOW}, at(4), "poll")
    book.update({"no_dome": Condition("no dome temperature", delay=5)}, at(5), "control")
    assert book.active(at(5)) == ["low_flow", "no_dome"]
    assert announced(book.update({}, at(6), "poll")) == [("low_flow", "normal")]
    assert book.active(at(6)) == ["no_dome"]


def test_a_shelved_alarm_is_silent_and_speaks_when_the_shelf_ends() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.shelve("low_flow", 3600, "pump is being changed", "jd", at(10))
    assert book.active(at(10)) == []
    assert entry(book, "low_flow", 10) | {"text": ""} == {
        "name": "low_flow",
        "state": "active",
        "priority": "high",
        "text": "",
        "since": "2026-03-01T12:00:00Z",
        "last": "2026-03-01T12:00:00Z",
        "count": 1,
        "shelved_by": "jd",
        "shelved_until": "2026-03-01T13:00:10Z",
        "comment": "pump is being changed",
    }
    for seconds in range(20, 3600, 100):
        assert announced(book.update({}, at(seconds))) == []
        assert entry(book, "low_flow", seconds)["state"] == "normal"
        (silent,) = book.update({"low_flow": LOW_FLOW}, at(seconds + 50))
        assert (silent.state, silent.announce) == (AlarmState.ACTIVE, False)
    assert book.active(at(3609)) == []
    assert book.active(at(3610)) == ["low_flow"], "the time alone ends a shelf, before the next update"
    (back,) = book.update({"low_flow": LOW_FLOW}, at(3611))
    assert (back.state, back.previous, back.announce, back.suppressed) == ("active", "active", True, 35)
    assert back.message() == (
        "alarm low_flow (high) since 2026-03-01T12:59:30Z: process flow is below 2 L/min "
        "(35 more times since 2026-03-01T12:00:00Z)"
    )
    assert "shelved_until" not in entry(book, "low_flow", 3611)
    assert "comment" not in entry(book, "low_flow", 3611)


def test_an_alarm_that_stayed_through_its_shelf_is_announced_again_unless_acknowledged() -> None:
    for acknowledged in (False, True):
        book = AlarmBook()
        book.update({"low_flow": LOW_FLOW}, at(0))
        book.shelve("low_flow", 300, "", "jd", at(10))
        if acknowledged:
            change = book.acknowledge("low_flow", "", "jd", at(20))
            assert change is not None
            assert not change.announce
        expected = [] if acknowledged else [("low_flow", "active")]
        assert announced(book.update({"low_flow": LOW_FLOW}, at(310))) == expected
        assert book.active(at(310)) == ["low_flow"]
        assert announced(book.update({}, at(400))) == [("low_flow", "normal")]


def test_an_alarm_that_went_during_its_shelf_is_reported_over() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.shelve("low_flow", 300, "", "jd", at(10))
    book.update({}, at(100))
    assert announced(book.update({}, at(310))) == [("low_flow", "normal")]
    assert book.listing(at(310)) == []


def test_a_latched_alarm_that_came_and_went_during_its_shelf_is_not_lost() -> None:
    book = AlarmBook()
    book.update({"level": LEVEL}, at(0))
    book.acknowledge("level", "", "jd", at(1))
    book.update({}, at(2))
    book.shelve("level", 300, "", "jd", at(10))
    book.update({"level": LEVEL}, at(100))
    book.update({}, at(110))
    (told,) = book.update({}, at(310))
    assert (told.state, told.announce) == (AlarmState.RETURNED, True)
    assert book.active(at(310)) == ["level"]


def test_zero_seconds_end_a_shelf() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.shelve("low_flow", 86400, "", "jd", at(10))
    book.shelve("low_flow", 0, "", "jd", at(70))
    assert book.active(at(70)) == ["low_flow"]
    assert announced(book.update({"low_flow": LOW_FLOW}, at(71))) == [("low_flow", "active")]
    version = book.version
    book.shelve("low_flow", 0, "", "jd", at(72))
    assert book.version == version


@pytest.mark.parametrize("seconds", [-1, 30 * 86400 + 1, float("nan"), float("inf")])
def test_no_alarm_is_shelved_for_ever(seconds: float) -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    with pytest.raises(ValueError, match=r"2592000 s \(30 days\)"):
        book.shelve("low_flow", seconds, "", "jd", at(10))
    assert book.active(at(10)) == ["low_flow"]
    book.shelve("low_flow", 30 * 86400, "", "jd", at(10))
    assert book.active(at(10)) == []


def test_a_flapping_alarm_is_counted_and_not_repeated() -> None:
    book = AlarmBook()
    said: list[Transition] = []
    for seconds in range(0, 600, 4):
        said += book.update({"low_flow": LOW_FLOW}, at(seconds))
        said += book.update({}, at(seconds + 2))
    assert len(said) == 300, "every change is returned, announced or not"
    up = [t for t in said if t.announce and t.state is AlarmState.ACTIVE]
    down = [t for t in said if t.announce and t.state is AlarmState.NORMAL]
    assert [t.time for t in up] == [at(seconds) for seconds in range(0, 600, 60)]
    assert [t.time for t in down] == [at(seconds) for seconds in range(2, 600, 60)]
    assert [t.suppressed for t in up] == [0] + [14] * 9
    assert up[1].message() == (
        "alarm low_flow (high): process flow is below 2 L/min (14 more times since 2026-03-01T12:00:02Z)"
    )
    book.update({"low_flow": LOW_FLOW}, at(600))
    assert entry(book, "low_flow", 600)["count"] == 151


def test_the_last_word_on_an_alarm_is_right_once_the_quiet_period_is_over() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.update({}, at(1))
    (silent,) = book.update({"low_flow": LOW_FLOW}, at(2))
    assert not silent.announce
    assert book.update({"low_flow": LOW_FLOW}, at(59)) == []
    (late,) = book.update({"low_flow": LOW_FLOW}, at(60))
    assert late.message() == "alarm low_flow (high) since 2026-03-01T12:00:02Z: process flow is below 2 L/min"
    assert book.update({"low_flow": LOW_FLOW}, at(61)) == []
    book.update({}, at(62))
    book.update({"low_flow": LOW_FLOW}, at(63))
    book.update({}, at(64))
    assert announced(book.update({}, at(121))) == []
    assert book.update({}, at(122.5)) == [], "the return was announced at 62 and is still true"
    (next_time,) = book.update({"low_flow": LOW_FLOW}, at(500))
    assert next_time.message().endswith("(1 more time since 2026-03-01T12:01:02Z)")


def test_a_new_activation_is_announced_even_where_the_return_before_it_was_not() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.update({}, at(50))
    book.update({"low_flow": LOW_FLOW}, at(61))
    assert announced(book.update({}, at(70))) == [], "the last return was announced 20 s before"
    assert announced(book.update({"low_flow": LOW_FLOW}, at(125))) == [("low_flow", "active")]


def test_the_acknowledgement_of_a_flapping_alarm_carries_the_count_too() -> None:
    book = AlarmBook()
    for seconds in range(0, 10, 2):
        book.update({"low_flow": LOW_FLOW}, at(seconds))
        book.update({}, at(seconds + 1))
    book.update({"low_flow": LOW_FLOW}, at(10))
    change = book.acknowledge("low_flow", "", "jd", at(11))
    assert change is not None
    assert change.message() == "alarm low_flow (high) acknowledged by jd (5 more times since 2026-03-01T12:00:01Z)"
    assert announced(book.update({"low_flow": LOW_FLOW}, at(70))) == [], "who acknowledged it knows"


def test_one_alarm_in_its_quiet_period_does_not_silence_another() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    assert announced(book.update({"low_flow": LOW_FLOW, "level": LEVEL}, at(1))) == [("level", "active")]


def test_what_its_cause_logs_itself_says_so_on_the_way_out_too() -> None:
    book = AlarmBook()
    (raised,) = book.update({"offline": Condition("the chiller does not answer", logged=False)}, at(0))
    (gone,) = book.update({}, at(5))
    assert (raised.logged, raised.announce, gone.logged, gone.announce) == (False, True, False, True)


def test_a_clock_that_steps_back_leaves_what_was_left() -> None:
    slow = {"low_flow": LOW_FLOW, "slow": Condition("slow", delay=30)}
    hour = 3600.0
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW, "shelved": LEVEL}, at(hour))
    book.update(slow | {"shelved": LEVEL}, at(hour + 10))
    book.shelve("shelved", 100, "", "jd", at(hour + 10))
    book.update(slow | {"shelved": LEVEL}, at(hour + 20))  # 20 s of the delay and 90 s of the shelf are left
    slow["shelved"] = LEVEL
    assert book.update(slow, at(0)) == []
    assert book.active(at(0)) == ["low_flow"]
    assert entry(book, "shelved", 0)["shelved_until"] == "2026-03-01T12:01:30Z"
    assert book.update(slow, at(19)) == []
    assert announced(book.update(slow, at(20))) == [("slow", "active")]
    assert announced(book.update({**slow, "low_flow": LOW_FLOW}, at(21))) == []
    del slow["low_flow"]
    assert announced(book.update(slow, at(22))) == [("low_flow", "normal")]
    slow["low_flow"] = LOW_FLOW
    assert announced(book.update(slow, at(39))) == [], "59 s of 60 after the announcement at the old time"
    assert announced(book.update(slow, at(40))) == [("low_flow", "active")]
    assert announced(book.update(slow, at(89))) == []
    assert announced(book.update(slow, at(90))) == [("shelved", "active")]


def test_a_read_with_an_old_time_changes_nothing() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.shelve("low_flow", 10, "", "jd", at(5))
    before = book.to_state()
    assert book.active(at(-3600)) == []
    assert book.listing(at(-3600))[0]["shelved_until"] == "2026-03-01T12:00:15Z"
    assert book.active(at(20)) == ["low_flow"]
    assert book.to_state() == before


def test_times_in_another_zone_come_out_in_utc() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, START.astimezone(timezone(timedelta(hours=-10))))
    assert entry(book, "low_flow", 1)["since"] == "2026-03-01T12:00:00Z"


def test_a_restart_announces_nothing_that_was_announced() -> None:
    book = AlarmBook()
    now = {"low_flow": LOW_FLOW, "level": LEVEL, "known": Condition("known"), "shelved": Condition("shelved")}
    book.update(now, at(0), "poll")
    book.acknowledge("known", "spare part ordered", "jd", at(1))
    book.shelve("shelved", 7200, "noisy sensor", "mk", at(2))
    del now["level"]
    book.update(now, at(3), "poll")
    after = restarted(book)
    assert after.listing(at(10)) == book.listing(at(10))
    assert after.update(now, at(600), "poll") == []
    assert after.active(at(600)) == ["level", "low_flow", "known"]
    assert entry(after, "known", 600)["comment"] == "spare part ordered"
    assert entry(after, "level", 600)["state"] == "returned"
    assert entry(after, "shelved", 600)["shelved_until"] == "2026-03-01T14:00:02Z"
    assert announced(after.update({"shelved": now["shelved"]}, at(700), "poll")) == [
        ("low_flow", "normal"),
        ("known", "normal"),
    ]
    assert announced(after.update({"shelved": now["shelved"]}, at(7300), "poll")) == [("shelved", "active")]


def test_a_delay_begins_anew_after_a_restart() -> None:
    slow = {"slow": Condition("slow", delay=30)}
    book = AlarmBook()
    book.update(slow, at(0))
    book = restarted(book)
    assert book.update(slow, at(3600)) == []
    assert announced(book.update(slow, at(3630))) == [("slow", "active")]


def test_a_state_is_a_copy() -> None:
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    state = book.to_state()
    second = AlarmBook(state)
    book.update({}, at(1))
    second.acknowledge("low_flow", "", "jd", at(1))
    assert state.alarms[0].state is AlarmState.ACTIVE


def test_the_version_grows_only_where_there_is_something_to_save() -> None:
    book = AlarmBook()
    version = book.version
    book.update({"slow": Condition("slow", delay=60)}, at(0))
    book.update({}, at(1))
    assert book.version == version
    book.update({"flow": Condition("1.9 L/min")}, at(2))
    assert book.version > version
    version = book.version
    for seconds in range(3, 50):
        book.update({"flow": Condition(f"{seconds / 10} L/min")}, at(seconds))
        book.active(at(seconds))
        book.listing(at(seconds))
    assert book.version == version, "a measured value in the text must not wear out the disk"
    for change in (
        lambda: book.update({}, at(50)),
        lambda: book.update({"flow": Condition("")}, at(51)),
        lambda: book.update({"flow": Condition("")}, at(62)),  # announced late
        lambda: book.acknowledge("flow", "", "jd", at(63)),
        lambda: book.shelve("flow", 5, "", "jd", at(64)),
        lambda: book.update({"flow": Condition("", Priority.LOW)}, at(65)),
        lambda: book.update({"flow": Condition("", Priority.LOW)}, at(70)),  # the shelf ends
        lambda: book.update({}, at(71)),
    ):
        change()
        assert book.version > version
        version = book.version


def test_alarms_that_are_over_keep_their_count_for_a_week() -> None:
    week = 7 * 86400
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.update({}, at(10))
    book.update({}, at(week))
    book.update({"low_flow": LOW_FLOW}, at(week))
    assert entry(book, "low_flow", week)["count"] == 2
    book.update({}, at(week))
    book.update({}, at(2 * week + 1))
    assert book.to_state().alarms == []


def test_a_shelf_outlasts_the_memory_of_an_alarm_that_is_over() -> None:
    day = 86400
    book = AlarmBook()
    book.update({"low_flow": LOW_FLOW}, at(0))
    book.update({}, at(10))
    book.shelve("low_flow", 20 * day, "pump is out for repair", "jd", at(20))
    book.update({}, at(19 * day))
    assert announced(book.update({"low_flow": LOW_FLOW}, at(19 * day + 1))) == []
    assert entry(book, "low_flow", 19 * day + 1)["count"] == 2


def test_of_too_many_alarms_that_are_over_the_oldest_are_forgotten() -> None:
    book = AlarmBook()
    names = [f"n{number}" for number in range(alarms.MOST_REMEMBERED + 50)]
    for seconds, name in enumerate(names):
        book.update({name: LOW_FLOW}, at(seconds))
    book.update({}, at(1000))
    kept = {record.name for record in book.to_state().alarms}
    assert kept == set(names[50:])


def test_memory_is_bounded_whatever_names_and_texts_come_in() -> None:
    book = AlarmBook()
    for number in range(40):
        now = {f"{number}-{n}-{'x' * 2000}": Condition("y" * 5000, latched=n % 2 == 0) for n in range(100)}
        book.update(now, at(10 * number))
        book.update({f"slow {number}": Condition("slow", delay=1e9)}, at(10 * number + 1), f"scope {number}")
        for record in book.to_state().alarms:
            if record.state is AlarmState.NORMAL:
                book.shelve(record.name, 86400, "z" * 10000, "w" * 10000, at(10 * number + 2))
    for n in range(20):
        book.acknowledge(f"0-{2 * n}-{'x' * 2000}", "z" * 10000, "w" * 10000, at(1000))
    records = book.to_state().alarms
    assert len(records) <= alarms.MOST_HELD + alarms.MOST_REMEMBERED + 1
    assert len(msgspec.json.encode(records)) < 2_000_000


def test_a_full_book_takes_the_most_severe_and_says_that_it_is_full() -> None:
    book = AlarmBook()
    flood = {f"f{n}": Condition("flood", Priority.LOW) for n in range(alarms.MOST_HELD + 7)}
    flood["fire"] = Condition("fire", Priority.CRITICAL)
    book.update(flood, at(0))
    active = book.active(at(0))
    assert active[:2] == ["fire", alarms.FULL]
    assert len(active) == alarms.MOST_HELD + 1
    assert entry(book, alarms.FULL, 0)["text"].startswith("8 conditions were not taken")
    assert book.update(flood, at(1)) == []
    assert len(book.active(at(1))) == alarms.MOST_HELD + 1
    book.update({"fire": flood["fire"]}, at(2))
    assert book.active(at(2)) == ["fire"]


def test_delays_that_run_fill_the_book_too() -> None:
    book = AlarmBook()
    for scope in "abcdefgh":
        book.update({f"{scope}{n}": Condition("flood", delay=3600) for n in range(100)}, at(0), scope)
    assert book.active(at(0)) == [alarms.FULL]
    for scope in "abcdefgh":
        book.update({f"{scope}{n}": Condition("flood", delay=3600) for n in range(100)}, at(3600), scope)
    assert len(book.active(at(3600))) == alarms.MOST_HELD + 1


def test_only_plain_values_go_on_the_wire() -> None:
    book = AlarmBook()
    book.update({"a": LEVEL, "b": LOW_FLOW}, at(0))
    book.acknowledge("a", "known", "jd", at(1))
    book.shelve("b", 60, "", "jd", at(1))
    assert [item["name"] for item in book.listing(at(2))] == ["a", "b"]
    for item in book.listing(at(2)):
        assert {type(value) for value in item.values()} == {str, int}
    assert "comment" not in entry(book, "b", 2)


# One behaviour, two tellings: the book, and the model below, which counts time as the sum of all steps forward.

SCOPES = {"poll": ("flow", "level", "sensor"), "control": ("dome", "dew")}
NAMES = [name for names in SCOPES.values() for name in names]
QUIET = 60.0
CONDITIONS = st.builds(
    Condition,
    text=st.sampled_from(["one text", "another text"]),
    priority=st.sampled_from(list(Priority)),
    latched=st.booleans(),
    delay=st.sampled_from([0, 0, 0, 30]),
)


class Told:
    """What the model knows of one alarm; times are on its own scale."""

    def __init__(self) -> None:
        self.state = "normal"
        self.condition = Condition("")
        self.count = 0
        self.raised_at = START
        self.began: float | None = None
        self.shelf_end: float | None = None
        self.owed = "normal"
        self.untold = 0
        self.said = {True: -1e12, False: -1e12}


class BookAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = AlarmBook(quiet=QUIET)
        self.saved = self.book.to_state()
        self.version = self.book.version
        self.now = self.seen = START
        self.scale = 0.0
        self.saved_clock = (START, 0.0)
        self.model = {name: Told() for name in NAMES}

    def passed(self) -> float:
        return self.scale + max(0.0, (self.now - self.seen).total_seconds())

    def look_at_the_clock(self) -> None:
        self.scale, self.seen = self.passed(), self.now
        for told in self.model.values():
            if told.shelf_end is not None and told.shelf_end <= self.scale:
                self.end_shelf(told)

    def end_shelf(self, told: Told) -> None:
        told.shelf_end = None
        if told.state in ("active", "returned"):
            told.owed = "normal"

    def keep(self) -> None:
        """As a daemon does: save when the version says so."""
        if self.book.version != self.version:
            self.version = self.book.version
            self.saved = self.book.to_state()
            self.saved_clock = (self.seen, self.scale)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 29.0, 30.0, 59.0, 60.0, 61.0, 3600.0, -1.0, -45.0, -7200.0]))
    def step(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(scope=st.sampled_from(sorted(SCOPES)), data=st.data())
    def update(self, scope: str, data: st.DataObject) -> None:
        given = data.draw(st.dictionaries(st.sampled_from(SCOPES[scope]), CONDITIONS))
        transitions = self.book.update(given, self.now, scope)
        self.look_at_the_clock()
        changes = {}
        for name in SCOPES[scope]:
            told, before = self.model[name], self.model[name].state
            if name not in given:
                told.began = None
                if before == "active":
                    told.state = "returned" if told.condition.latched else "normal"
                elif before == "acknowledged":
                    told.state = "normal"
            elif before in ("active", "acknowledged"):
                told.condition = given[name]
            else:
                told.began = self.scale if told.began is None else told.began
                if self.scale - told.began >= given[name].delay:
                    told.state, told.began, told.raised_at = "active", None, self.now
                    told.condition = given[name]
                    told.count += 1
                    told.untold += 1
            if told.state != before:
                changes[name] = (before, told.state)
        assert {t.name: (t.previous, t.state) for t in transitions if t.previous is not t.state} == changes
        assert len({t.name for t in transitions}) == len(transitions)
        for transition in transitions:
            if transition.announce:
                self.heard(transition)
            else:
                told = self.model[transition.name]
                assert transition.previous is not transition.state, "an announcement that is none"
                raised = told.state == "active"
                silent = told.shelf_end is not None or self.scale - told.said[raised] < QUIET
                assert silent or not raised, "a new activation that nobody hears of"
        for name, told in self.model.items():
            quiet = self.scale - told.said[told.state == "active"] < QUIET
            assert told.owed == told.state or told.shelf_end is not None or quiet, f"{name}: the last word is wrong"
        self.keep()

    def heard(self, transition: Transition) -> None:
        told = self.model[transition.name]
        raised = transition.state is AlarmState.ACTIVE
        assert told.shelf_end is None, "a shelved alarm spoke"
        assert told.owed != told.state or (raised and transition.previous is not transition.state), "no news"
        assert self.scale - told.said[raised] >= QUIET, "more than one announcement in a quiet period"
        assert transition.suppressed == (max(0, told.untold - 1) if raised else told.untold)
        assert str(transition.state) == told.state
        assert "\n" not in transition.message()
        told.said[raised] = self.scale
        told.owed, told.untold = told.state, 0

    @rule(name=st.sampled_from(NAMES))
    def acknowledge(self, name: str) -> None:
        told = self.model[name]
        if not told.count:
            with pytest.raises(KeyError):
                self.book.acknowledge(name, "", "jd", self.now)
            return
        change = self.book.acknowledge(name, "why", "jd", self.now)
        self.look_at_the_clock()
        if told.state in ("active", "returned"):
            told.state = told.owed = "acknowledged" if told.state == "active" else "normal"
            assert change is not None
            assert (str(change.state), change.announce) == (told.state, told.shelf_end is None)
            if change.announce:
                assert change.suppressed == told.untold
                told.untold = 0
        else:
            assert change is None
        self.keep()

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from([0, 1, 45, 3600, 30 * 86400]))
    def shelve(self, name: str, seconds: float) -> None:
        told = self.model[name]
        if not told.count:
            with pytest.raises(KeyError):
                self.book.shelve(name, seconds, "", "jd", self.now)
            return
        self.book.shelve(name, seconds, "", "jd", self.now)
        self.look_at_the_clock()
        if seconds:
            told.shelf_end = self.scale + seconds
        elif told.shelf_end is not None:
            self.end_shelf(told)
        self.keep()

    @rule()
    def restart(self) -> None:
        before = self.book.active(self.now), self.book.listing(self.now), self.book.to_state()
        self.book = AlarmBook(
            msgspec.json.decode(msgspec.json.encode(self.book.to_state()), type=AlarmBookState), QUIET
        )
        assert (self.book.active(self.now), self.book.listing(self.now), self.book.to_state()) == before
        self.restarted()

    @rule()
    def crash(self) -> None:
        """The file is as old as the last change of the version."""
        self.book = AlarmBook(msgspec.json.decode(msgspec.json.encode(self.saved), type=AlarmBookState), QUIET)
        self.seen, self.scale = self.saved_clock
        for told in self.model.values():
            told.condition = Condition("", told.condition.priority, told.condition.latched)
        self.restarted()

    def restarted(self) -> None:
        self.version = self.book.version
        for told in self.model.values():
            told.began = None

    @invariant()
    def the_list_is_right(self) -> None:
        passed = self.passed()
        shelved = {n for n, t in self.model.items() if t.shelf_end is not None and t.shelf_end > passed}
        wanted = [n for n, t in self.model.items() if t.state != "normal" and n not in shelved]
        wanted.sort(key=lambda n: (-self.model[n].condition.priority.rank, self.model[n].raised_at, n))
        assert self.book.active(self.now) == wanted
        listed = {item["name"]: item for item in self.book.listing(self.now)}
        assert listed.keys() == {*wanted, *shelved}
        for name, item in listed.items():
            told = self.model[name]
            assert (item["state"], item["count"]) == (told.state, told.count)
            assert ("shelved_until" in item) == (name in shelved)
            assert ("acknowledged_by" in item) == (told.state == "acknowledged")
            assert item["text"] == told.condition.text or not told.condition.text


BookAgainstModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBookAgainstModel = BookAgainstModel.TestCase
