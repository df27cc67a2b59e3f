# SPDX-License-Identifier: GPL-3.0-or-later
"""The alarm book: which alarms there are, who knows of them, and what is worth a line in the log.

It follows the practice of ISA-18.2 (acknowledge, latch, shelve, delay, no repetition in a storm). Pure logic: no I/O,
no clock, no thread. Time comes in as an argument, and the book is not safe to be used by two threads at once:
the caller holds one lock around every call, reads too, and takes the time inside it.

A step of the clock backwards counts as no time at all: what is left of a delay, a shelf or a quiet period stays left.
Times that people were told (`since`, `last`) are not rewritten by it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from rockit.common.conditions import Condition, Priority

LONGEST_SHELF = 30 * 86400  # s; what must be silent for longer is no alarm but a wrong limit
REMEMBERED_FOR = 7 * 86400  # s that an alarm which is over keeps its count of activations
MOST_REMEMBERED = 200  # alarms that are over; the oldest leave first
MOST_HELD = 500  # alarms that are not over, and delays that run; beyond it the less severe new ones are refused
FULL = "alarm_book_full"  # the book's own alarm, which says so
_MOST_TEXT = 500  # characters, as _MOST_NAME
_MOST_NAME = 100

Event = Literal["raised", "gone", "gone latched", "acknowledged"]
Time = Annotated[datetime, msgspec.Meta(tz=True)]


class AlarmState(StrEnum):
    """Where an alarm stands between the plant and the people."""

    NORMAL = "normal"
    ACTIVE = "active"
    """The condition is there and nobody has acknowledged it."""
    ACKNOWLEDGED = "acknowledged"
    """The condition is there and somebody knows."""
    RETURNED = "returned"
    """Latched, gone, and nobody has acknowledged it."""


TRANSITIONS: dict[tuple[AlarmState, Event], AlarmState] = {  # what is not here changes nothing
    (AlarmState.NORMAL, "raised"): AlarmState.ACTIVE,
    (AlarmState.RETURNED, "raised"): AlarmState.ACTIVE,
    (AlarmState.ACTIVE, "gone"): AlarmState.NORMAL,
    (AlarmState.ACTIVE, "gone latched"): AlarmState.RETURNED,
    (AlarmState.ACKNOWLEDGED, "gone"): AlarmState.NORMAL,
    (AlarmState.ACKNOWLEDGED, "gone latched"): AlarmState.NORMAL,
    (AlarmState.ACTIVE, "acknowledged"): AlarmState.ACKNOWLEDGED,
    (AlarmState.RETURNED, "acknowledged"): AlarmState.NORMAL,
}
_PRESENT = (AlarmState.ACTIVE, AlarmState.ACKNOWLEDGED)


@dataclass(frozen=True)
class Transition:
    """A change of one alarm, or (`previous` equals `state`) the late announcement of a change.

    Log and notify only where `announce` is set; leave out the log where `logged` is not. `suppressed` is how many
    more activations there were since the last announcement at `suppressed_since`. `by` and `comment` are set when a
    person made the change. `since`: when the alarm became active.
    """

    name: str
    state: AlarmState
    previous: AlarmState
    text: str
    priority: Priority
    time: datetime
    since: datetime
    announce: bool = False
    suppressed: int = 0
    suppressed_since: datetime | None = None
    logged: bool = True
    by: str = ""
    comment: str = ""

    def message(self) -> str:
        """The transition in one sentence, on one line."""
        what = f"alarm {self.name} ({self.priority})"
        if self.by:
            gone = ", which has gone," if self.state is AlarmState.NORMAL else ""
            said = f"{what}{gone} acknowledged by {self.by}" + (f": {self.comment}" if self.comment else "")
        elif self.state is AlarmState.RETURNED:
            said = f"{what} has gone and waits to be acknowledged; it was: {self.text}"
        elif self.state is AlarmState.NORMAL:
            said = f"{what} is over; it was: {self.text}"
        else:
            late = f" since {_stamp(self.since)}" if self.previous is self.state else ""
            said = f"{what}{late}: {self.text}"
        if not self.suppressed:
            return said
        times = "1 more time" if self.suppressed == 1 else f"{self.suppressed} more times"
        return f"{said} ({times} since {_stamp(self.suppressed_since or self.since)})"


class AlarmRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All that is remembered of one alarm. `told` is the state that people know of."""

    name: str
    since: Time
    last: Time
    scope: str = ""
    text: str = ""
    priority: Priority = Priority.MEDIUM
    latched: bool = False
    logged: bool = True
    state: AlarmState = AlarmState.NORMAL
    count: int = 0
    acknowledged_by: str = ""
    shelved_by: str = ""
    shelved_until: Time | None = None
    comment: str = ""
    told: AlarmState = AlarmState.NORMAL
    untold: int = 0
    active_told: Time | None = None
    return_told: Time | None = None

    def shelved(self, now: datetime) -> bool:
        """Whether it is shelved at that time."""
        return self.shelved_until is not None and now < self.shelved_until


class AlarmBookState(msgspec.Struct, kw_only=True):
    """What survives a restart: the alarms, and the latest time the book has seen."""

    alarms: list[AlarmRecord] = []
    seen: Time | None = None


class AlarmBook:
    """The alarms of one daemon. The caller serialises all calls; every `now` carries a time zone.

    `state` is what an earlier book's `to_state` returned. At most one activation and one return of an alarm are
    announced in `quiet` seconds; what was left out is counted, and if the last word was wrong, it is put right by
    the first `update` after the quiet period. Running delays are not kept over a restart: nobody watched meanwhile.
    """

    def __init__(self, state: AlarmBookState | None = None, quiet: float = 60.0) -> None:
        self._quiet = quiet
        state = state or AlarmBookState()
        self._alarms = {alarm.name: copy.copy(alarm) for alarm in state.alarms}
        self._seen = state.seen
        self._delays: dict[str, tuple[str, datetime]] = {}  # name -> scope, since when the condition lasts
        self.version = 0
        """Grows when there is something new to save. A text that merely follows a measured value is not."""

    def to_state(self) -> AlarmBookState:
        """A copy of everything that must survive a restart."""
        return AlarmBookState(alarms=[copy.copy(alarm) for alarm in self._alarms.values()], seen=self._seen)

    def update(self, conditions: Mapping[str, Condition], now: datetime, scope: str = "") -> list[Transition]:
        """Take all that is the case now, as one source sees it; return what that changed, in any scope.

        A name of this scope that is not in `conditions` has gone: a source that cannot know at the moment must not
        call. Names are unique over all scopes; the source that gave a name last owns it. Text and priority of an
        alarm follow its condition without being a new activation.
        """
        now = self._advance(now)
        given = self._admit({name[:_MOST_NAME]: condition for name, condition in conditions.items()})
        changes: dict[str, Transition] = {}
        self._delays = {n: delay for n, delay in self._delays.items() if delay[0] != scope or n in given}
        for name, alarm in self._alarms.items():
            if alarm.scope == scope and name not in given and alarm.state in _PRESENT:
                changes[name] = self._move(alarm, "gone latched" if alarm.latched else "gone", now)
        for name, condition in given.items():
            known = self._alarms.get(name)
            if known is not None and known.state in _PRESENT:
                self._describe(known, condition, scope)
            elif (now - self._delays.setdefault(name, (scope, now))[1]).total_seconds() >= condition.delay:
                del self._delays[name]
                alarm = known or self._alarms.setdefault(name, AlarmRecord(name=name, since=now, last=now))
                self._describe(alarm, condition, scope)
                changes[name] = self._move(alarm, "raised", now)
        said = [self._say(alarm, changes.get(name), now) for name, alarm in self._alarms.items()]
        self._forget(now)
        return [change for change in said if change is not None]

    def standing(self, names: Collection[str]) -> dict[str, Condition]:
        """Those of `names` that are present, as they were given last."""
        return {
            name: Condition(alarm.text, alarm.priority, latched=alarm.latched, logged=alarm.logged)
            for name, alarm in self._alarms.items()
            if name in names and alarm.state in _PRESENT
        }

    def acknowledge(self, name: str, comment: str, who: str, now: datetime) -> Transition | None:
        """Somebody knows. None where there was nothing to acknowledge; again on an acknowledged one: a new comment.

        Raises KeyError for a name that the book does not know.
        """
        alarm = self._alarms[name[:_MOST_NAME]]
        now = self._advance(now)
        if alarm.state is AlarmState.NORMAL:
            return None
        alarm.acknowledged_by, alarm.comment = _line(who) or "somebody", _line(comment)
        self.version += 1
        if (alarm.state, "acknowledged") not in TRANSITIONS:
            return None
        change = replace(self._move(alarm, "acknowledged", now), by=alarm.acknowledged_by, comment=alarm.comment)
        alarm.told = alarm.state
        return change if alarm.shelved_until else _announced(alarm, change)

    def shelve(self, name: str, seconds: float, comment: str, who: str, now: datetime) -> None:
        """Out of the list, and silent, for so long; 0 ends it. The state goes on underneath.

        When the time is over, an alarm that nobody acknowledged is announced by the next `update`. Raises KeyError
        for a name that the book does not know, ValueError for a time out of range.
        """
        alarm = self._alarms[name[:_MOST_NAME]]
        if not 0 <= seconds <= LONGEST_SHELF:
            raise ValueError(f"shelving takes from 0 s, which ends it, to {LONGEST_SHELF} s (30 days), not {seconds} s")
        now = self._advance(now)
        if seconds == 0:
            self._unshelve(alarm)
        else:
            alarm.shelved_until = now + timedelta(seconds=seconds)
            alarm.shelved_by, alarm.comment = _line(who) or "somebody", _line(comment) or alarm.comment
            self.version += 1

    def active(self, now: datetime) -> list[str]:
        """Names of the alarms that want attention: not normal and not shelved; most severe first, then oldest."""
        wanted = [a for a in self._alarms.values() if a.state is not AlarmState.NORMAL and not a.shelved(now)]
        return [alarm.name for alarm in sorted(wanted, key=_urgency)]

    def listing(self, now: datetime) -> list[dict[str, Any]]:
        """All that are not normal, then all that are shelved, each in the order of `active`; plain values for the wire.

        Keys: name, state, priority, text, since (it became active), last (its state changed), count (of activations
        while remembered); where they apply acknowledged_by, shelved_by, shelved_until, comment (the latest).
        Times are UTC, `YYYY-MM-DDTHH:MM:SSZ`.
        """
        shelved = [alarm for alarm in self._alarms.values() if alarm.shelved(now)]
        names = self.active(now) + [alarm.name for alarm in sorted(shelved, key=_urgency)]
        return [_as_dict(self._alarms[name], now) for name in names]

    def _advance(self, now: datetime) -> datetime:
        """Take note of the time, and end the shelves whose time is over."""
        now = now.astimezone(UTC)
        back = max(timedelta(), (self._seen or now) - now)
        self._seen = now
        if back:  # move all that intervals are measured from, so that what is left of each stays left
            self._delays = {name: (scope, since - back) for name, (scope, since) in self._delays.items()}
        for alarm in self._alarms.values():
            for field in ("shelved_until", "active_told", "return_told") if back else ():
                if (time := getattr(alarm, field)) is not None:
                    setattr(alarm, field, time - back)
            if not alarm.shelved(now):
                self._unshelve(alarm)
        return now

    def _admit(self, given: dict[str, Condition]) -> dict[str, Condition]:
        """`given` as far as there is room, the most severe first, and FULL if there was not enough."""
        held = {a.name for a in self._alarms.values() if a.state is not AlarmState.NORMAL or a.shelved_until}
        held |= self._delays.keys()
        new = [name for name in given if name not in held]
        room = max(0, MOST_HELD - len(held))
        if len(new) <= room:
            return given
        refused = set(sorted(new, key=lambda name: -given[name].priority.rank)[room:])
        text = f"{len(refused)} conditions were not taken: this daemon keeps {MOST_HELD} alarms and delays, not more"
        admitted = {name: condition for name, condition in given.items() if name not in refused}
        return admitted | {FULL: Condition(text, Priority.HIGH)}

    def _describe(self, alarm: AlarmRecord, condition: Condition, scope: str) -> None:
        lasting = (scope, condition.priority, condition.latched, condition.logged)
        if lasting != (alarm.scope, alarm.priority, alarm.latched, alarm.logged):
            alarm.scope, alarm.priority, alarm.latched, alarm.logged = lasting
            self.version += 1
        alarm.text = _line(condition.text)

    def _move(self, alarm: AlarmRecord, event: Event, now: datetime) -> Transition:
        previous = alarm.state
        alarm.state = TRANSITIONS[previous, event]
        alarm.last = now
        if event == "raised":
            alarm.since = now
            alarm.count += 1
            alarm.untold += 1
        self.version += 1
        return _transition(alarm, previous, now)

    def _say(self, alarm: AlarmRecord, change: Transition | None, now: datetime) -> Transition | None:
        """`change` with its announcement, or an announcement that is owed, if either may be made now."""
        raised = alarm.state is AlarmState.ACTIVE
        again = raised and change is not None  # a new activation is news even where its return was left out
        if alarm.shelved_until or (alarm.state is alarm.told and not again):
            return change
        before = alarm.active_told if raised else alarm.return_told
        if before is not None and (now - before).total_seconds() < self._quiet:
            return change
        said = _announced(alarm, change or _transition(alarm, alarm.state, now))
        setattr(alarm, "active_told" if raised else "return_told", now)
        self.version += 1
        return said

    def _unshelve(self, alarm: AlarmRecord) -> None:
        if alarm.shelved_until is None:
            return
        alarm.shelved_until, alarm.shelved_by = None, ""
        if alarm.state in (AlarmState.ACTIVE, AlarmState.RETURNED):
            alarm.told = AlarmState.NORMAL  # it comes back to the list, and that is worth saying
        self.version += 1

    def _forget(self, now: datetime) -> None:
        over = [a for a in self._alarms.values() if a.state is AlarmState.NORMAL and not a.shelved_until]
        over.sort(key=lambda alarm: alarm.last, reverse=True)
        for number, alarm in enumerate(over):
            if number >= MOST_REMEMBERED or (now - alarm.last).total_seconds() > REMEMBERED_FOR:
                del self._alarms[alarm.name]
                self.version += 1


def _transition(a: AlarmRecord, previous: AlarmState, now: datetime) -> Transition:
    return Transition(a.name, a.state, previous, a.text, a.priority, now, a.since, logged=a.logged)


def _announced(alarm: AlarmRecord, change: Transition) -> Transition:
    """`change` to be announced now, with the number of activations that nobody was told of, itself not counted."""
    more = max(0, alarm.untold - (alarm.state is AlarmState.ACTIVE))
    since = max((time for time in (alarm.active_told, alarm.return_told) if time), default=None)
    alarm.told, alarm.untold = alarm.state, 0
    return replace(change, announce=True, suppressed=more, suppressed_since=since if more else None)


def _as_dict(alarm: AlarmRecord, now: datetime) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": alarm.name,
        "state": str(alarm.state),
        "priority": str(alarm.priority),
        "text": alarm.text,
        "since": _stamp(alarm.since),
        "last": _stamp(alarm.last),
        "count": alarm.count,
    }
    if alarm.state is AlarmState.ACKNOWLEDGED:
        entry["acknowledged_by"] = alarm.acknowledged_by
    if alarm.shelved_until is not None and alarm.shelved(now):
        entry |= {"shelved_by": alarm.shelved_by, "shelved_until": _stamp(alarm.shelved_until)}
    if alarm.comment and ("acknowledged_by" in entry or "shelved_by" in entry):
        entry["comment"] = alarm.comment
    return entry


def _urgency(alarm: AlarmRecord) -> tuple[int, datetime, str]:
    return -alarm.priority.rank, alarm.since, alarm.name


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(text: str) -> str:
    """Text of a device or of a person, fit for one line of a log."""
    return " ".join(text.split())[:_MOST_TEXT]
