# SPDX-License-Identifier: GPL-3.0-or-later
"""The query loop of a plant without threads, ports and disks: a board that may fail, clocks, crashes, the pure core.

It does what `rockit.boiler.unit` does (read, decide, judge, switch, read back, again) and what `kept` does at a start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from rockit.boiler import plant, seasons
from rockit.boiler.kept import Saved
from rockit.boiler.memory import Request, Trend
from rockit.boiler.model import BOILER, SUMMER_VALVE, VALVES, WINTER_VALVE, Override, Season
from rockit.boiler.plant import Decision, Facts, Site
from rockit.boiler.safety import Guard, Limits, Seen, Verdict, judge
from rockit.boiler.settings import Settings
from rockit.common.moments import moved

CHILLERS = ("chiller1", "chiller2")
SOURCES = (BOILER, *CHILLERS)
RELAYS = (*SOURCES, *VALVES)
ROUNDS = 4


class CrashedError(Exception):
    """The process is gone."""


def forbidden(relays: Mapping[str, bool]) -> bool:
    """Whether valves and sources may never be so."""
    boiler, chiller = relays[BOILER], any(relays[name] for name in CHILLERS)
    winter, summer = relays[WINTER_VALVE], relays[SUMMER_VALVE]
    return (winter and summer) or (boiler and chiller) or (boiler and not winter) or (chiller and not summer)


def restarted(saved: Saved, monotonic: float, wall: float, monotonic_then: float, wall_then: float) -> Saved:
    """What a restart finds of what was kept: over the disk, with the clocks before and after it."""
    to_utc = wall - monotonic
    written = replace(
        saved, memory=moved(saved.memory, to_utc, float("inf")), guard=moved(saved.guard, to_utc, float("inf"))
    )
    read = msgspec.json.decode(msgspec.json.encode(written), type=Saved)
    by = monotonic_then - wall_then
    memory = replace(moved(read.memory, by, monotonic_then), trend=Trend())
    memory = replace(memory, devices={name: replace(one, read_at=None) for name, one in memory.devices.items()})
    return replace(read, memory=memory, guard=moved(read.guard, by, monotonic_then))


class Loop:
    """A plant of a boiler and two chillers, and its daemon."""

    def start(self, valve: str | None = None, settings: Settings | None = None, halting: bool = False) -> None:
        """A new daemon on a board with that valve open."""
        self.board = dict.fromkeys(RELAYS, False)
        if valve is not None:
            self.board[valve] = True
        self.halting = halting
        """Whether the loop stops at the first relay that does not follow; what must hold, holds in both ways."""
        self.stuck: set[str] = set()
        self.silent = False
        self.true, self.monotonic, self.wall = 0.0, 50.0, 1.7e9
        self.settings = settings or Settings()
        self.saved = Saved()
        self.facts = Facts(return_temp=11.0, water_out=11.0, outside=10.0, average=10.0)
        self.mad: Mapping[str, bool] | None = None
        """What a control that has gone mad wants, in place of ours."""
        self.fuse: int | None = None
        """So many operations until the process dies."""
        self.read_as: dict[str, tuple[bool, float]] = {}
        """What each relay was read as last, and since when, in true time."""
        self.decision: Decision | None = None
        self.verdict: Verdict | None = None

    # What a test may look at.

    def judged(self, relays: dict[str, bool] | None, before: Guard, decision: Decision, verdict: Verdict) -> None:
        """After each verdict."""

    def switched(self, before: dict[str, bool], name: str, on: bool) -> None:
        """After each order."""

    # People.

    def override(self, name: str, override: Override) -> None:
        """As the daemon notes it."""
        self.saved = replace(self.saved, request=Request({**self.saved.request.overrides, name: override}))

    def go(self, season: Season | None) -> None:
        """As the daemon notes it."""
        state = replace(self.saved.memory.season, automatic=season is None)
        if season is not None and (state.season is None or state.season.target is not season):
            state = seasons.begin(state, season)
        self.saved = replace(self.saved, memory=replace(self.saved.memory, season=state))

    @property
    def in_season(self) -> Season | None:
        """The season in force."""
        return self.saved.memory.season.season

    # The loop.

    def advance(self, seconds: float) -> None:
        self.true += seconds
        self.monotonic += seconds
        self.wall += seconds

    def crash(self, down: float, reboot: bool, back: float, kept: bool) -> None:
        before = self.monotonic, self.wall
        self.advance(down)
        self.wall -= back
        if reboot:
            self.monotonic = 20.0
        found = restarted(self.saved, *before, self.monotonic, self.wall) if kept else Saved()
        self.saved = found
        self.fuse = None

    def operation(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise CrashedError

    def read(self) -> dict[str, bool] | None:
        if self.silent:
            return None
        for name, on in self.board.items():
            if name not in self.read_as or self.read_as[name][0] is not on:
                self.read_as[name] = on, self.true
        return dict(self.board)

    def poll(self) -> None:
        try:
            self.one_poll()
        except CrashedError:
            self.crash(3.0, False, 0.0, True)

    def one_poll(self) -> None:
        self.operation()
        relays = self.read()
        for turn in range(ROUNDS + 1):
            _, verdict = self.decide(relays)
            if turn == ROUNDS or not verdict.orders:
                break
            for name, on in verdict.orders:
                assert relays is not None
                self.operation()
                before = dict(self.board)
                if name not in self.stuck:
                    self.board[name] = on
                self.switched(before, name, on)
                self.operation()
                relays = self.read()
                if self.board[name] is not on and self.halting:
                    break

    def decide(self, relays: dict[str, bool] | None) -> tuple[Decision, Verdict]:
        facts = replace(self.facts, relays=relays, broken=self.saved.guard.broken)
        now, before = self.monotonic, self.saved
        site = Site(True, CHILLERS, True, True)
        decision = plant.decide(facts, self.saved.request, self.settings, site, self.saved.memory, now)
        set_ = self.settings
        limits = Limits(SOURCES, True, set_.valve_time, set_.return_low, set_.return_high, set_.freeze_off)
        season = decision.memory.season.season
        inside = tuple(facts.boiler.values())
        seen = Seen(facts.relays, facts.return_temp, plant.waters_of(facts, season), season, inside)
        wanted = decision.relays if self.mad is None else self.mad
        verdict = judge(wanted, seen, limits, self.saved.guard, now)
        self.saved = replace(self.saved, memory=decision.memory, guard=verdict.guard)
        self.decision, self.verdict = decision, verdict
        self.judged(relays, before.guard, decision, verdict)
        return decision, verdict
