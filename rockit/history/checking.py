# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a history is what it should be: every block read, every roll-up computed anew; and what can be, mended.

A day of a series at a time, each seen in one moment: a daemon that records, seals or forgets meanwhile waits for
nothing, and what it moves is not missed. No sample is ever deleted, and no roll-up that tells of samples which are
gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, literal_column, select, text

from rockit.history import statements as sql
from rockit.history import times
from rockit.history.database import Database, Statement, StoreError, Trouble
from rockit.history.judging import Day, Problem, Verdict, What, judged, unpacked
from rockit.history.maintenance import Progress
from rockit.history.model import BUCKET, BUCKETS_A_DAY, DAY, Series
from rockit.history.query import View
from rockit.history.schema import blocks, current, damaged, events, metadata, outbox, rollups, samples, series
from rockit.history.store import Store, wall_clock

SAME = 5
"""An error of the database itself is told so often, and then only counted."""
_96 = literal_column(str(BUCKETS_A_DAY), BigInteger)


def _days_of(table: Any) -> Statement:
    day = table.c.bucket // _96
    return Statement(select(table.c.series, day, func.count()).group_by(table.c.series, day))


_BLOCK_DAYS = Statement(select(blocks.c.series, blocks.c.day))
_LOOSE_DAYS = _days_of(samples)
_ROLLED_DAYS = _days_of(rollups)
_CURRENTS = Statement(select(current.c.series, current.c.bucket))
_ASIDE = Statement(
    select(damaged.c.series, damaged.c.day, damaged.c.found, damaged.c.why).order_by(
        damaged.c.series, damaged.c.day, damaged.c.found
    )
)
_THAT = (damaged.c.series == bindparam("series")) & (damaged.c.day == bindparam("day"))
_THAT &= damaged.c.found == bindparam("found")
_ASIDE_DATA = Statement(select(damaged.c.data).where(_THAT), ("series", "day", "found"))
_DROP_ASIDE = Statement(delete(damaged).where(_THAT), ("series", "day", "found"))
_BLOCK = Statement(
    select(blocks.c.count, blocks.c.data).where(
        (blocks.c.series == bindparam("series")) & (blocks.c.day == bindparam("day"))
    ),
    ("series", "day"),
)
_KEPT = Statement(select(series.c.id, series.c.kept_from))
_MISPLACED = Statement(
    select(samples.c.series, func.count(), func.min(samples.c.time))
    .where(samples.c.time // literal_column(str(BUCKET), BigInteger) != samples.c.bucket)
    .group_by(samples.c.series)
)
_TABLES = Statement(
    text("SELECT tablename FROM pg_tables"), (), text("SELECT name FROM sqlite_schema WHERE type = 'table'")
)


@dataclass
class Checked:
    """What was looked at, and what came of it."""

    days: int = 0
    samples: int = 0
    rollups: int = 0
    problems: int = 0
    repaired: int = 0
    mendable: int = 0
    """Of those that are not repaired, what `--repair` would put right."""
    forgotten: int = 0
    """Roll-ups whose samples were forgotten."""

    @property
    def remaining(self) -> int:
        """Problems that are not repaired."""
        return self.problems - self.repaired


@dataclass
class _Plan:
    """Series, and what days there are of them."""

    series: dict[int, Series] = field(default_factory=dict)
    ambiguous: set[tuple[str, str, str]] = field(default_factory=set)
    """Names that several series have, in different units."""
    kept: dict[int, int] = field(default_factory=dict)
    """Series -> the first day whose samples were not forgotten."""
    raw: set[tuple[int, int]] = field(default_factory=set)
    """(series, day) with samples."""
    rolled: dict[tuple[int, int], int] = field(default_factory=dict)
    """(series, day) -> number of roll-ups."""
    aside: dict[tuple[int, int], list[tuple[int, str]]] = field(default_factory=dict)
    """(series, day) -> (when, why) of the blocks that were set aside and cannot be read."""
    pending: set[tuple[int, int]] = field(default_factory=set)
    """(series, day) with a block that was set aside and can be put back."""

    def name(self, number: int, day: int | None = None) -> str:
        """A series, and a day of it, for people."""
        one = self.series.get(number, Series("?", "?", f"series {number}"))
        name = "/".join(one.name) + (f" [{one.unit}]" if one.name in self.ambiguous else "")
        return name if day is None else f"{name} {times.iso(day * DAY)[:10]}"


class Checker:
    """Checks one history. Problems are told of as they are found."""

    def __init__(
        self, database: Database, tell: Callable[[Problem], None], note: Callable[[str], None], progress: Progress, *,
        store: Store | None = None, now: Callable[[], int] = wall_clock,
    ) -> None:  # fmt: skip
        """With `store`, what can be mended is mended through it."""
        self._database = database
        self._tell_caller = tell
        self._note = note
        self._progress = progress
        self._store = store
        self._now = now
        self._session = database.session()
        self._checked = Checked()
        self._same: Counter[str] = Counter()

    def run(self) -> Checked:
        """Look at everything. Raises StoreError where it cannot be looked at at all."""
        try:
            if self._tables():
                if self._database.sqlite:
                    self._integrity()
                plan = self._planned()
                self._put_back(plan)
                self._walk(plan)
        finally:
            self._session.close()
        for why, count in self._same.items():
            if count > SAME:
                self._note(f"{why}: {count} times in all")
        return self._checked

    def _tell(self, problem: Problem) -> None:
        self._checked.problems += 1
        self._checked.repaired += problem.repaired
        self._checked.mendable += problem.mendable and not problem.repaired
        self._tell_caller(problem)

    @contextmanager
    def _damage(self, where: str) -> Iterator[None]:
        """What the database cannot read is a problem; where it does not answer at all, we end."""
        try:
            yield
        except StoreError as error:
            if error.trouble is Trouble.REFUSES:
                raise
            why = str(error)
            self._same[why] += 1
            if self._same[why] <= SAME:
                self._tell(Problem(What.FILE, where, f"cannot be read: {why}"))
            else:
                self._checked.problems += 1

    def _integrity(self) -> None:
        """The file as SQLite sees it: roughly, and where that finds nothing, table by table with indexes."""
        questions = ["PRAGMA quick_check(20)", *(f"PRAGMA integrity_check('{name}')" for name in metadata.tables)]
        for done, question in enumerate(questions):
            self._progress("file", done, len(questions))
            with self._damage(self._database.name), self._session.reading():
                found = [str(row[0]) for row in self._session.run(Statement(text(question)))]
                for line in [line for said in found if said != "ok" for line in said.splitlines()]:
                    self._tell(Problem(What.FILE, self._database.name, line))
            if self._checked.problems:
                return

    def _tables(self) -> bool:
        """Whether all tables are there."""
        missing = set(metadata.tables)
        with self._damage(self._database.name), self._session.reading():
            missing -= {row[0] for row in self._session.run(_TABLES)}
            for name in sorted(missing):
                self._tell(Problem(What.FILE, self._database.name, f"the table {name} is missing"))
        return not missing

    def _planned(self) -> _Plan:
        """Each part by itself, so that what is damaged hides nothing else."""
        plan = _Plan()
        # Names last: what is recorded has one before.
        for look in (self._raw_days, self._rolled_days, self._aside_days, self._names, self._devices, self._misplaced):
            with self._damage(self._database.name), self._session.reading():
                look(plan)
        return plan

    def _raw_days(self, plan: _Plan) -> None:
        rows = [*self._session.run(_BLOCK_DAYS), *self._session.run(_LOOSE_DAYS)]
        plan.raw = {(row[0], row[1]) for row in rows}

    def _rolled_days(self, plan: _Plan) -> None:
        plan.rolled = Counter({(row[0], row[1]): row[2] for row in self._session.run(_ROLLED_DAYS)})
        for number, bucket in self._session.run(_CURRENTS):
            plan.rolled[number, bucket // BUCKETS_A_DAY] += 1

    def _aside_days(self, plan: _Plan) -> None:
        for number, day, when, why in self._session.run(_ASIDE):
            plan.aside.setdefault((number, day), []).append((when, why))

    def _names(self, plan: _Plan) -> None:
        plan.series = View(self._session).series()
        plan.kept = {row[0]: row[1] for row in self._session.run(_KEPT)}
        names = Counter(one.name for one in plan.series.values())
        plan.ambiguous = {name for name, count in names.items() if count > 1}
        found = {number for number, _ in (*plan.raw, *plan.rolled, *plan.aside)}
        for number in sorted(found - plan.series.keys()):
            self._tell(Problem(What.NAMES, "series", f"id {number} has samples or roll-ups, and no name"))

    def _devices(self, _plan: _Plan) -> None:
        counted = [
            (table.name, row)
            for table in (events, outbox)
            for row in self._session.run(Statement(select(table.c.device, func.count()).group_by(table.c.device)))
        ]
        owned = {row[0] for row in self._session.run(sql.ALL_DEVICES)}
        for name, (device, count) in counted:
            if device not in owned:
                self._tell(Problem(What.NAMES, name, f"{count} rows belong to no device (id {device})"))

    def _misplaced(self, plan: _Plan) -> None:
        """Rows that no question finds."""
        for number, count, first in self._session.run(_MISPLACED):
            text_ = f"{count} rows stand in a bucket that they are not of, the first of {times.iso(first)}"
            self._tell(Problem(What.ROWS, plan.name(number), text_))

    def _put_back(self, plan: _Plan) -> None:
        """Blocks that were set aside and can be read after all."""
        for (number, day), those in plan.aside.items():
            for when, why in tuple(those):
                with self._damage(plan.name(number, day)):
                    with self._session.reading():
                        found = [unpacked(row[0], day)[0] for row in self._session.run(_ASIDE_DATA, number, day, when)]
                    if not found or found[0] is None:
                        continue
                    those.remove((when, why))
                    mending = self._store is not None and number in plan.series
                    if self._store is None or not mending:
                        plan.pending.add((number, day))
                    else:
                        # What is there keeps its place; once more, and nothing happens.
                        self._store.merge(plan.series[number], found[0])
                        with self._store.session.writing():
                            self._store.session.run(_DROP_ASIDE, number, day, when)
                        plan.raw.add((number, day))
                    text_ = f"a block was set aside on {times.iso(when)} ({why}), and can be read"
                    self._tell(
                        Problem(
                            What.ASIDE, plan.name(number, day), text_, mendable=True,
                            repaired=mending,
                        )
                    )  # fmt: skip

    def _walk(self, plan: _Plan) -> None:
        """All days that have samples, or should have."""
        gone = {key for key in plan.rolled.keys() - plan.raw - plan.aside.keys() if key[1] < plan.kept.get(key[0], 0)}
        self._checked.forgotten = sum(plan.rolled[key] for key in gone)
        whole = sorted((plan.rolled.keys() | plan.raw | plan.aside.keys()) - gone)
        newest: dict[int, int] = {}
        for number, day in whole:
            newest[number] = max(day, newest.get(number, day))
        for done, (number, day) in enumerate(whole):
            self._progress("days", done, len(whole))
            with self._damage(plan.name(number, day)):
                self._day(plan, number, day, newest=newest[number] == day)

    def _day(self, plan: _Plan, number: int, day: int, *, newest: bool) -> None:
        verdict = self._judged(plan, number, day, newest=newest)
        problems = verdict.problems
        wanted = verdict.count or verdict.twice or verdict.anew.times
        if self._store is not None and wanted and number in plan.series:
            self._mend(self._store, plan.series[number], number, day, verdict)
            verdict = self._judged(plan, number, day, newest=newest)
            left = {problem.what for problem in verdict.problems}
            problems = [
                replace(problem, repaired=problem.mendable and problem.what not in left) for problem in problems
            ]
        self._checked.days += 1
        self._checked.samples += verdict.samples
        self._checked.rollups += verdict.rollups
        for problem in problems:
            self._tell(problem)
        for note in verdict.notes:
            self._note(note)

    def _judged(self, plan: _Plan, number: int, day: int, *, newest: bool) -> Verdict:
        run = self._session.run
        first = day * BUCKETS_A_DAY
        with self._session.reading():
            sealed = run(_BLOCK, number, day)
            [(loose,)] = run(sql.OLDEST_BUCKET)
            rows: list[tuple[Any, ...]] = []
            if loose is not None and loose < first + BUCKETS_A_DAY:
                rows = run(sql.DAY_SAMPLES, number, *range(first, first + BUCKETS_A_DAY))
            rolled = run(sql.ROLLUPS, number, first, first + BUCKETS_A_DAY)
            growing = run(sql.LOOK_CURRENT, number)
            kept = run(sql.KEPT_FROM, number)
        return judged(
            Day(
                where=plan.name(number, day), day=day, now=self._now(), blocks=sealed, rows=rows, rollups=rolled,
                current=growing[0] if growing else None, aside=plan.aside.get((number, day), []),
                pending=(number, day) in plan.pending, forgotten=bool(kept) and day < kept[0][0], newest=newest,
            )
        )  # fmt: skip

    def _mend(self, store: Store, one: Series, number: int, day: int, verdict: Verdict) -> None:
        """Merging what is there already makes the store compute the roll-ups of its buckets anew."""
        if verdict.anew.times:
            store.merge(one, verdict.anew)
        session = store.session
        with session.writing():
            session.run(sql.LOCK_SERIES, number)
            if verdict.twice:
                for row in session.run(sql.CURRENT, number):
                    session.run(sql.DROP_ROLLUP, number, row[0])
            if verdict.count:
                for _, data in session.run(_BLOCK, number, day):
                    found, _ = unpacked(data, day)
                    if found is not None:
                        session.run(sql.PUT_BLOCK, number, day, len(found), data)
