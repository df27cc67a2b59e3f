# SPDX-License-Identifier: GPL-3.0-or-later
"""The plant's control and its guard against everything: relays that stick, a board that forgets, a line that is silent,
people, weather, sensors that are lost, crashes, clocks, and a control that has gone mad.

The machine plays the query loop (`unit`) and keeps books of its own in true time. What it asserts is what may never be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from boilerloop import CHILLERS, RELAYS, SOURCES, Loop, forbidden
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rockit.boiler import plant, safety
from rockit.boiler.memory import Step
from rockit.boiler.model import BOILER, SUMMER_VALVE, VALVES, WINTER_VALVE, Override, Season
from rockit.boiler.plant import Decision, Facts
from rockit.boiler.safety import RETURN_HIGH, RETURN_LOW, Guard, Verdict
from rockit.boiler.settings import BadSetting, changed
from rockit.boiler.units import Scale

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


class PlantMachine(Loop, RuleBasedStateMachine):
    """A plant, its board, its people, and its daemon."""

    @initialize(valve=st.sampled_from([None, *VALVES]), halting=st.booleans())
    def begin(self, valve: str | None, halting: bool) -> None:
        self.start(valve, None, halting)

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
    def somebody_overrides(self, name: str, override: Override) -> None:
        self.override(name, override)
        self.poll()

    @rule(season=st.sampled_from([None, Season.WINTER, Season.SUMMER]))
    def season(self, season: Season | None) -> None:
        self.go(season)
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

    @rule(
        down=st.sampled_from([0.0, 5.0, 100.0, 4000.0]), reboot=st.booleans(),
        back=st.sampled_from([0.0, 0.0, 50.0, 9e4]), kept=st.sampled_from([True, True, True, False]),
    )  # fmt: skip
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

    # What must hold.

    def judged(self, relays: dict[str, bool] | None, before: Guard, decision: Decision, verdict: Verdict) -> None:
        self.check_emergency(relays, before, verdict)
        self.check_orders(relays, verdict, decision.memory.season.season)
        if self.mad is None:
            self.check_control(relays, decision, verdict)
        self.check_frost(relays, decision, verdict)

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
            assert not emergency or (heats and self.may_heat(verdict.guard))
        for name in opening:
            other = SUMMER_VALVE if name == WINTER_VALVE else WINTER_VALVE
            assert not running
            assert self.so_for(other, False) >= self.settings.valve_time, "not known to be closed"
            assert not emergency or (name == WINTER_VALVE and self.may_heat(verdict.guard))
        if moving and running:
            assert all(relays[valve] for valve in VALVES), "a valve closes on what runs"
            if running == [BOILER]:
                assert moving == [SUMMER_VALVE], "the boiler loses its water"
            if BOILER not in running:
                assert moving == [WINTER_VALVE], "the chillers lose their water"

    def may_heat(self, guard: Guard) -> bool:
        """In an emergency: nothing is wrong now but cold water, and it is cold, or unknown, or never was more wrong."""
        water = [value for value in (self.facts.return_temp, self.facts.water_out) if value is not None]
        water = water or list(self.facts.boiler.values())
        cold = not water or min(water) < self.settings.freeze_off
        return set(guard.emergency) <= {RETURN_LOW} or (cold and set(guard.present) <= {RETURN_LOW})

    def switched(self, before: dict[str, bool], name: str, on: bool) -> None:
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
            if value is not None and {RETURN_LOW, RETURN_HIGH} & set(before.emergency):
                assert self.settings.return_low <= value <= self.settings.return_high
        if set(guard.emergency) - set(before.emergency):
            assert not guard.acknowledged
        if relays is not None and guard.emergency:
            spared = {BOILER} if self.may_heat(guard) else set()
            assert all((name, False) in verdict.orders for name in SOURCES if relays[name] and name not in spared)

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
            own = Season.WINTER if name == BOILER else Season.SUMMER
            state = decision.memory.season
            if decision.relays[name] and state.season is not own:
                assert state.season is not None
                assert state.season.changing
                assert state.step is Step.STOP
                assert relays[name]
                assert decision.held[name] == "the minimum time on"
            override = self.saved.request.override(name)
            if override is Override.OFF and not (name == BOILER and decision.memory.frost):
                assert not decision.relays[name]
        state = decision.memory.season
        if state.season is not None and state.season.changing and state.step is not Step.STOP:
            assert not any(relays[name] for name in SOURCES), "a valve moves while something runs"

    def check_frost(self, relays: Mapping[str, bool] | None, decision: Decision, verdict: Verdict) -> None:
        """In winter cold water is heated, whoever said off, and also where that cold is an emergency."""
        known = self.facts.return_temp
        cold = known is not None and known < self.settings.freeze_on
        if relays is None or decision.memory.season.season is not Season.WINTER or not cold:
            return
        assert decision.relays[BOILER] or decision.held.get(BOILER) == "the minimum time off"
        assert decision.demand is not None
        ready = self.so_for(WINTER_VALVE, True) >= self.settings.valve_time + 2 * SLACK and not relays[SUMMER_VALVE]
        hot = any(water > safety.HOTTEST for water in (*plant.waters_of(self.facts, None), *self.facts.boiler.values()))
        ready = ready and not hot and self.may_heat(verdict.guard)
        told = self.mad is None and decision.relays[BOILER]
        guarded = self.saved.guard.contacts[WINTER_VALVE]
        proven = self.monotonic - guarded.since_at >= self.settings.valve_time
        if ready and told and proven and not any(relays[name] for name in CHILLERS):
            assert BOILER not in verdict.denied, verdict.denied


PlantMachine.TestCase.settings = hypothesis_settings(max_examples=80, stateful_step_count=40, deadline=None)
TestPlantMachine = PlantMachine.TestCase
