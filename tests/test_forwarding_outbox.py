# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox: what is kept in it, for whom, and for how long."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from harness import PATIENCE, wait_for
from histories import Clock, postgresql_database
from outboxes import DEVICE, SITE, WATER, Gate, Local, Watched, at_once, count_at, forwarding, local, watched
from served import Lines

from rockit.common.daemonconfig import Forward, HistoryConfig
from rockit.common.quality import Measurement
from rockit.history import forwarder
from rockit.history import statements as sql
from rockit.history.forwarder import Forwarder
from rockit.history.keeping import History
from rockit.history.model import DAY, MINUTE, Series
from rockit.history.outgoing import Outgoing
from rockit.history.store import Outbox, Store, wall_clock
from rockit.history.targets.postgres import PostgresTarget

__all__ = ["local", "watched"]


class Outboxed:
    """An outbox with one row a minute, and a clock that stands behind its last one."""

    def __init__(self, local: Local) -> None:
        self.local = local
        self.first = wall_clock() - DAY
        local.polls(self.first, 60, MINUTE)
        self.clock = Clock(self.first + 60 * MINUTE)

    @property
    def oldest(self) -> int:
        """How many minutes are gone."""
        return (self.local.waiting()[0][1] - self.first) // MINUTE


@pytest.fixture
def hour(local: Local) -> Outboxed:
    return Outboxed(local)


def test_a_row_that_cannot_be_read_holds_up_nothing(local: Local, watched: Watched) -> None:
    local.polls(wall_clock() - MINUTE, 3)
    with local.store.session.writing():
        local.store.session.run(sql.POST, local.device, wall_clock(), b"\xc1 no message")
        strange = msgspec.msgpack.encode(Outbox([(999, wall_clock(), 1.0, 0)], []))
        local.store.session.run(sql.POST, local.device, wall_clock(), strange)
    local.polls(wall_clock(), 3)
    with forwarding(local, watched) as running:
        running.caught_up()
        [log] = running.logs
        assert len(log.of("error")) == 1
        assert "2 polls of the outbox cannot be read, and are not sent" in log.of("error")[0]
        assert running.forwarders[0].counters["history_unreadable"] == 2
    local.arrived_at(watched.name)


def test_what_waits_under_a_former_site_is_told(local: Local, watched: Watched) -> None:
    old = local.store.device_id("before", DEVICE)
    number = local.store.series_id(WATER)
    for value in range(3):
        local.store.record(old, [(number, wall_clock() - DAY + value, float(value), 0)], post=True)
    local.polls(wall_clock() - MINUTE, 3)
    with forwarding(local, watched) as running:
        running.caught_up()
        told = running.logs[0].of("warning")
    assert told == [
        f"history: 3 polls of before/{DEVICE}, as this was called before, were not sent to all targets, and are sent by"
        " nobody now; `rockit history import` this history where they are missing"
    ]


def test_the_outbox_keeps_what_one_target_lacks_and_the_last_minutes(hour: Outboxed) -> None:
    ids = [number for number, _ in hour.local.waiting()]
    with hour.local.outgoing() as outbox:
        assert outbox.prune(["a", "b"], hour.clock.time) == 0
        outbox.confirm("a", ids[-1])
        assert outbox.prune(["a", "b"], hour.clock.time) == 0, "b has nothing yet"
        outbox.confirm("b", ids[19])
        assert outbox.prune(["a", "b"], hour.clock.time) == 20
        assert hour.oldest == 20
        outbox.confirm("b", ids[-1])
        assert outbox.prune(["a", "b"], hour.first + 45 * MINUTE) == 25, "a target that restarts wants the rest again"
        assert hour.oldest == 45
        assert outbox.prune(["a", "b"], 2**45) == 14
        assert [number for number, _ in hour.local.waiting()] == ids[-1:], "numbers go on from it"


def test_a_target_that_is_no_more_in_the_config_holds_nothing(hour: Outboxed) -> None:
    with hour.local.outgoing() as outbox:
        for name, row in (("kept", 50), ("gone", 10)):
            outbox.confirm(name, row)
        assert outbox.prune(["kept"], 2**45) == 50
        assert hour.local.cursors() == {"kept": 50}
        assert outbox.prune([], 2**45) == 9, "with live values only nobody waits"
        assert hour.local.cursors() == {}


def test_a_large_outbox_is_dropped_in_pieces(local: Local) -> None:
    """A transaction that drops a week at once would keep the polls waiting."""
    local.outage([WATER], wall_clock() - DAY, 3500, 10_000)
    with local.outgoing() as outbox:
        outbox.confirm("a", local.newest())
        dropped = []
        while number := outbox.prune(["a"], 2**45):
            dropped.append(number)
    assert dropped == [1000, 1000, 1000, 499]


def test_forwarders_prune_once_all_have_all(hour: Outboxed, postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch, PRUNE=0.0)
    gate = Gate()
    with postgresql_database() as second:
        one, other = Watched(PostgresTarget(postgresql)), Watched(PostgresTarget(second), gate)
        with hour.local.outgoing() as outbox:
            outbox.confirm("of a target that was removed", 3)
        with forwarding(hour.local, one, other, now=hour.clock) as running:
            running.caught_up(0)
            wait_for(lambda: hour.local.cursors().get(one.name) == hour.local.newest(), "its cursor")
            gate.wait(3)
            wait_for(lambda: "of a target that was removed" not in hour.local.cursors(), "a look at the outbox")
            hour.local.arrived_at(postgresql)
            assert hour.oldest == 0, "the other one lacks it"
            gate.shut = False
            running.caught_up(1)
            wait_for(lambda: hour.oldest == 45, "the outbox to be pruned, but for 15 minutes")
            hour.clock.time += 5 * MINUTE
            running.wake()
            wait_for(lambda: hour.oldest == 50, "five minutes more")
        hour.local.arrived_at(second)


def test_before_anything_was_recorded_nothing_waits(
    local: Local, watched: Watched, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon's forwarders begin with its recorder, and may be the quicker ones."""
    at_once(monkeypatch, PRUNE=0.0)
    other = Outgoing(local.url, "site", "that is new")
    assert (other.cursor("a"), other.newest(), other.before(10, 2**45), other.batch(0)) == (0, 0, 0, None)
    assert other.prune(["a"], 2**45) == 0
    target = Watched(PostgresTarget(postgresql))
    early = Forwarder(local.url, "site", "that is new", target, [target.name], log := Lines())
    early.begin()
    with Store(local.url) as store:
        series = Series("site", "that is new", "power", "W")
        store.record(store.device_id("site", "that is new"), [(store.series_id(series), 1, 1.0, 0)], post=True)
    early.wake()
    wait_for(lambda: target.taken, "the first sample")
    early.end(time.monotonic() + PATIENCE)
    assert log.lines == []
    assert other.newest() == other.cursor(target.name)
    other.close()


def test_a_broker_that_is_away_does_not_hold_the_outbox_of_a_daemon(
    tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch, PRUNE=0.0, AGAIN=0)
    log = Lines()
    config = HistoryConfig(site=SITE, forward=[Forward(url="mqtt://127.0.0.1:1"), Forward(url=postgresql)])
    kept = History(config, tmp_path, DEVICE, {"water_temp": Measurement("Water", "degC", -60.0, 120.0)}, log)
    kept.start()
    for number in range(20):
        kept.add({"water_temp": float(number)}, time.monotonic())
        kept.commit()
        assert kept._recorder.written(PATIENCE)
    assert kept.counters["history_values"] == 20
    wait_for(lambda: count_at(postgresql) == 20, "all samples")
    outbox = Outgoing(f"sqlite:///{tmp_path}/history.sqlite", SITE, DEVICE)
    wait_for(lambda: outbox.before(outbox.newest() - 1, 2**45) == 0, "all rows but the newest to be dropped")
    outbox.close()
    wait_for(lambda: log.of("error"), "word of the broker")
    monkeypatch.setattr(forwarder, "LATE", 0.0)
    wait_for(lambda: set(kept.conditions()) == {"forwarding_1"}, "an alarm about the broker alone")
    kept.end(time.monotonic() + PATIENCE)
    assert all("mqtt://127.0.0.1:1" in line for line in log.of("error"))
