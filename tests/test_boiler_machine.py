# SPDX-License-Identifier: GPL-3.0-or-later
"""The plant's control and its guard against everything: relays that stick, a board that forgets, a line that is silent,
people, weather, sensors that are lost, crashes, clocks, and a control that has gone mad.

The machine plays the query loop (`unit`) and keeps books of its own in true time. What it asserts is what may never be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rockit.boiler import plant, safety, seasons
from rockit.boiler.kept import Saved
from rockit.boiler.memory import Memory, Request, Trend
from rockit.boiler.model import BOILER, SUMMER_VALVE, VALVES, WINTER_VALVE, Override, Season
from rockit.boiler.plant import Decision, Facts, Site
from rockit.boiler.safety import RETURN_LOW, Guard, Limits, Seen, Verdict, judge
from rockit.boiler.settings import BadSetting, Settings, changed
from rockit.boiler.units import Scale
from rockit.common.moments import moved

CHILLERS = ("chiller1", "chiller2")
SOURCES = (BOILER, *CHILLERS)
RELAYS = (*SOURCES, *VALVES)
ROUNDS = 4
SLACK = 1e-3
"""What a moment loses on its way over the disk, s."""
waters = st.sampled_from([None, -5.0, 1.0, 2.5, 3.0, 5.0, 8.0, 11.0, 12.0, 15.0, 30.0, 44.0, 60.0, 95.0])
airs = st.sampled_from([None, -20.0, 0.0, 1.9, 5.0, 20.0, 35.0])
CHANGES: tuple[dict[str, float], ...] = (
    {"valve_time": 60}, {"valve_time": 300}, {"flow_through_time": 0}, {"flow_through_time": 200},
    {"boiler_minimum_off_time": 20}, {"boiler_minimum_off_time": 900}, {"boiler_minimum_on_time": 600},
    {"chiller_minimum_on_time": 0}, {"chiller_minimum_off_time": 700}, {"cascade_time": 1}, {"tolerance": 0.1},
    {"mode_switch_lockout_time": 1}, {"mode_switch_lockout_time": -1}, {"setpoint_max": 40}, {"return_low": -10},
    {"freeze_on": 6}, {"outside_hold": 0}, {"wind_chill": 1},
)  # fmt: skip


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


class PlantMachine(RuleBasedStateMachine):
    """A plant, its board, its people, and its daemon."""

    @initialize(valve=st.sampled_from([None, *VALVES]), halting=st.booleans())
    def begin(self, valve: str | None, halting: bool) -> None:
        self.board = dict.fromkeys(RELAYS, False)
        if valve is not None:
            self.board[valve] = True
        self.halting = halting
        """Whether the loop stops at the first relay that does not follow; what must hold, holds in both ways."""
        self.stuck: set[str] = set()
        self.silent = False
        self.true, self.monotonic, self.wall = 0.0, 50.0, 1.7e9
        self.settings = Settings()
        self.saved = Saved()
        self.facts = Facts(return_temp=11.0, water_out=11.0, outside=10.0, average=10.0)
        self.mad: dict[str, bool] | None = None
        self.fuse: int | None = None
        # The books.
        self.read_as: dict[str, tuple[bool, float]] = {}
        self.seen_emergency = False

    # What happens.

    @rule(seconds=st.sampled_from([0.5, 2.0, 30.0, 70.0, 130.0, 310.0, 700.0]), polls=st.integers(1, 10))
    def time_passes(self, seconds: float, polls: int) -> None:
        for _ in range(polls):
            self.advance(seconds)
            self.poll()

    @rule(return_temp=waters, water_out=waters, inlet=waters)
    def water(self, return_temp: float | None, water_out: float | None, inlet: float | None) -> None:
        boiler = {} if inlet is None else {"inlet_temp": inlet}
        self.facts = replace(self.facts, return_temp=return_temp, water_out=water_out, boiler=boiler)
        self.poll()

    @rule(outside=airs, average=airs, wind=st.sampled_from([None, 0.0, 10.0]))
    def weather(self, outside: float | None, average: float | None, wind: float | None) -> None:
        self.facts = replace(self.facts, outside=outside, average=average, wind=wind)
        self.poll()

    @rule(name=st.sampled_from(SOURCES), override=st.sampled_from(Override))
    def override(self, name: str, override: Override) -> None:
        overrides = {**self.saved.request.overrides, name: override}
        self.saved = replace(self.saved, request=Request(overrides))
        self.poll()

    @rule(season=st.sampled_from([None, Season.WINTER, Season.SUMMER]))
    def season(self, season: Season | None) -> None:
        state = replace(self.saved.memory.season, automatic=season is None)
        if season is not None and (state.season is None or state.season.target is not season):
            state = seasons.begin(state, season)
        self.saved = replace(self.saved, memory=replace(self.saved.memory, season=state))
        self.poll()

    @rule(change=st.sampled_from(CHANGES))
    def setting(self, change: dict[str, float]) -> None:
        try:
            self.settings = changed(self.settings, change, Scale.CELSIUS)
        except BadSetting:
            return
        self.poll()

    @rule(name=st.sampled_from(RELAYS))
    def sticks(self, name: str) -> None:
        self.stuck.add(name)

    @rule()
    def comes_loose(self) -> None:
        self.stuck.clear()

    @rule(name=st.sampled_from(RELAYS), on=st.booleans())
    def somebody_switches(self, name: str, on: bool) -> None:
        self.board[name] = on

    @rule()
    def board_forgets(self) -> None:
        self.board = {name: on and name in self.stuck for name, on in self.board.items()}

    @rule()
    def line(self) -> None:
        self.silent = not self.silent
        self.poll()

    @rule(wanted=st.one_of(st.none(), st.dictionaries(st.sampled_from(RELAYS), st.booleans(), min_size=3)))
    def goes_mad(self, wanted: dict[str, bool] | None) -> None:
        self.mad = wanted
        self.poll()

    @precondition(lambda self: self.saved.guard.emergency)
    @rule()
    def acknowledge_emergency(self) -> None:
        self.saved = replace(self.saved, guard=safety.acknowledged(self.saved.guard))
        self.poll()

    @precondition(lambda self: self.saved.guard.failures)
    @rule(data=st.data())
    def acknowledge_relay(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.saved.guard.failures)))
        self.saved = replace(self.saved, guard=safety.forgiven(self.saved.guard, name))
        self.poll()

    @rule(by=st.sampled_from([-86400.0, -100.0, 100.0, 86400.0]))
    def clock_is_set(self, by: float) -> None:
        self.wall += by  # noticed by the daemon, which keeps its state anew

    @rule(operations=st.integers(1, 8))
    def will_crash(self, operations: int) -> None:
        self.fuse = operations
        self.poll()

    @rule(down=st.sampled_from([0.0, 5.0, 100.0, 4000.0]), reboot=st.booleans(), back=st.sampled_from([0.0, 0.0, 50.0, 9e4]),
          kept=st.sampled_from([True, True, True, False]))  # fmt: skip
    def restart(self, down: float, reboot: bool, back: float, kept: bool) -> None:
        self.crash(down, reboot, back, kept)
        self.poll()

    @rule()
    def all_is_well(self) -> None:
        """Whatever was: with a plant that works and an operator who has seen it, it runs again."""
        self.stuck.clear()
        self.silent, self.mad, self.fuse = False, None, None
        self.facts = Facts(return_temp=12.0, water_out=12.0, outside=15.0, average=15.0)
        limit = self.settings.flow_through_time + 2 * self.settings.valve_time + 1300.0
        passed = 0.0
        while passed < limit:
            self.advance(45.0)
            passed += 45.0
            if self.saved.guard.emergency and not self.saved.guard.acknowledged:
                self.saved = replace(self.saved, guard=safety.acknowledged(self.saved.guard))
            self.poll()
        season, guard = self.saved.memory.season.season, self.saved.guard
        assert season in (Season.WINTER, Season.SUMMER), season
        assert not guard.emergency, guard.emergency
        valves = {valve: self.board[valve] for valve in VALVES}
        assert valves == {WINTER_VALVE: season is Season.WINTER, SUMMER_VALVE: season is Season.SUMMER}

    # The query loop.

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
            decision, verdict = self.decide(relays)
            if turn == ROUNDS or not verdict.orders:
                break
            for name, on in verdict.orders:
                assert relays is not None
                self.operation()
                before = dict(self.board)
                if name not in self.stuck:
                    self.board[name] = on
                self.check_move(before, name, on)
                self.operation()
                relays = self.read()
                if self.board[name] is not on and self.halting:
                    break

    def decide(self, relays: dict[str, bool] | None) -> tuple[Decision, Verdict]:
        facts = replace(self.facts, relays=relays, broken=self.saved.guard.broken)
        now, before = self.monotonic, self.saved
        site = Site(True, CHILLERS, True, True)
        decision = plant.decide(facts, self.saved.request, self.settings, site, self.saved.memory, now)
        limits = Limits(SOURCES, True, self.settings.valve_time, self.settings.return_low, self.settings.return_high)
        season = decision.memory.season.season
        seen = Seen(facts.relays, facts.return_temp, plant.waters_of(facts), season)
        wanted = decision.relays if self.mad is None else self.mad
        verdict = judge(wanted, seen, limits, self.saved.guard, now)
        self.saved = replace(self.saved, memory=decision.memory, guard=verdict.guard)
        self.check_emergency(relays, before.guard, verdict)
        self.check_orders(relays, verdict, season)
        if self.mad is None:
            self.check_control(relays, decision, verdict)
        self.check_frost(relays, facts, decision, verdict)
        return decision, verdict

    # What must hold.

    def so_for(self, name: str, on: bool) -> float:
        """How long, in true time, that relay has been read so; -1: it is not so."""
        found, since = self.read_as[name]
        return self.true - since + SLACK if found is on else -1.0

    def check_orders(self, relays: Mapping[str, bool] | None, verdict: Verdict, season: Season | None) -> None:
        """Every part of the orders, also a single one, must be safe in the state that was read."""
        orders = verdict.orders
        if relays is None:
            assert not orders, "nothing is known of the relays"
            return
        assert len({name for name, _ in orders}) == len(orders)
        opening = [name for name, on in orders if on and name in VALVES]
        moving = [name for name, _ in orders if name in VALVES]
        starting = [name for name, on in orders if on and name in SOURCES]
        running = [name for name in SOURCES if relays[name]]
        emergency = verdict.guard.emergency
        assert len(opening) <= 1
        assert not (moving and starting), "a source starts while a valve moves"
        assert not (BOILER in starting and len(starting) > 1)
        for name in starting:
            heats = name == BOILER
            valve, other = (WINTER_VALVE, SUMMER_VALVE) if heats else (SUMMER_VALVE, WINTER_VALVE)
            assert season is (Season.WINTER if heats else Season.SUMMER)
            assert self.so_for(valve, True) >= self.settings.valve_time, "not known to be open"
            assert not relays[other]
            assert not any(relays[one] for one in (CHILLERS if heats else (BOILER,)))
            assert not emergency or (heats and emergency == (RETURN_LOW,))
        for name in opening:
            other = SUMMER_VALVE if name == WINTER_VALVE else WINTER_VALVE
            assert not running
            assert self.so_for(other, False) >= self.settings.valve_time, "not known to be closed"
            assert not emergency or (name == WINTER_VALVE and emergency == (RETURN_LOW,))
        if moving and running:
            assert relays[WINTER_VALVE] and relays[SUMMER_VALVE], "a valve closes on what runs"
            if running == [BOILER]:
                assert moving == [SUMMER_VALVE], "the boiler loses its water"
            if BOILER not in running:
                assert moving == [WINTER_VALVE], "the chillers lose their water"

    def check_move(self, before: Mapping[str, bool], name: str, on: bool) -> None:
        """No order of ours makes what is forbidden of what was not."""
        assert forbidden(before) or not forbidden(self.board), (name, on)

    def check_emergency(self, relays: Mapping[str, bool] | None, before: Guard, verdict: Verdict) -> None:
        guard = verdict.guard
        if relays is not None and forbidden(relays):
            assert guard.emergency
            assert all((name, False) in verdict.orders for name in SOURCES if relays[name])
        assert before.acknowledged or set(before.emergency) <= set(guard.emergency), "nobody has seen it"
        if before.emergency and not guard.emergency:
            assert relays is not None
            assert not forbidden(relays)
            value = self.facts.return_temp
            if value is not None:
                assert self.settings.return_low <= value <= self.settings.return_high
        if set(guard.emergency) - set(before.emergency):
            assert not guard.acknowledged
        if relays is not None and guard.emergency and guard.emergency != (RETURN_LOW,):
            assert all((name, False) in verdict.orders for name in SOURCES if relays[name])

    def check_control(self, relays: Mapping[str, bool] | None, decision: Decision, verdict: Verdict) -> None:
        """Neither starts too soon, nor stops too soon without need."""
        if relays is None:
            return
        for name in SOURCES:
            kind = "boiler" if name == BOILER else "chiller"
            off_for, on_for = self.so_for(name, False), self.so_for(name, True)
            if (name, True) in verdict.orders:
                assert off_for >= getattr(self.settings, f"{kind}_minimum_off_time"), f"{name}: a short cycle"
            if relays[name] and not decision.relays[name]:
                least = getattr(self.settings, f"{kind}_minimum_on_time")
                assert on_for >= least or decision.wishes[name].firm, f"{name} stops too soon"
            override = self.saved.request.override(name)
            if override is Override.OFF and not (name == BOILER and decision.memory.frost):
                assert not decision.relays[name]
        state = decision.memory.season
        if state.season is not None and state.season.changing and state.step is not seasons.Step.STOP:
            assert not any(relays[name] for name in SOURCES), "a valve moves while something runs"

    def check_frost(
        self, relays: Mapping[str, bool] | None, facts: Facts, decision: Decision, verdict: Verdict
    ) -> None:
        """In winter cold water is heated, whoever said off, and also where that cold is an emergency."""
        known = facts.return_temp
        cold = known is not None and known < self.settings.freeze_on
        if relays is None or decision.memory.season.season is not Season.WINTER or not cold:
            return
        assert decision.relays[BOILER] or decision.held.get(BOILER) == "the minimum time off"
        assert decision.demand is not None
        ready = self.so_for(WINTER_VALVE, True) >= self.settings.valve_time + 2 * SLACK and not relays[SUMMER_VALVE]
        hot = any(water > safety.HOTTEST for water in plant.waters_of(facts))
        ready = ready and not hot and verdict.guard.emergency in ((), (RETURN_LOW,))
        told = self.mad is None and decision.relays[BOILER]
        guarded = self.saved.guard.contacts[WINTER_VALVE]
        proven = self.monotonic - guarded.since_at >= self.settings.valve_time
        if ready and told and proven and not any(relays[name] for name in CHILLERS):
            assert BOILER not in verdict.denied, verdict.denied


PlantMachine.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPlantMachine = PlantMachine.TestCase
