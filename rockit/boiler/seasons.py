# SPDX-License-Identifier: GPL-3.0-or-later
"""The change of season: sources off, both valves closed, target valve open, release. Pure, with the clock as argument.

A step is over when the relays have been *read* as it wants them for as long as it takes: a relay that does not follow
holds the change where it is safe, and a board that forgot its relays starts the time anew. Since the moment from which
they were read so is kept, a crash costs nothing and shortens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rockit.boiler.memory import SeasonState, Step
from rockit.boiler.model import SOURCES, VALVE_OF, VALVES, Season

CONFIRM = 300.0
"""The return must have wanted another season for so long, s: one wrong reading moves no valve."""
MARGIN = 120.0
"""Chronos adds this to its lockout, s."""
_TO = {Season.WINTER: Season.TO_WINTER, Season.SUMMER: Season.TO_SUMMER}


@dataclass(frozen=True, slots=True)
class Times:
    """How long the steps take, s."""

    flow_through: float
    valve: float
    valves: bool = True
    """Whether the plant has valves; without, a change is only the sources going off."""
    boiler: bool = True

    def of(self, step: Step) -> float:
        """The time of one step."""
        return self.flow_through if step is Step.STOP else self.valve

    def after(self, step: Step) -> float:
        """The time of all steps behind that one."""
        return 0.0 if not self.valves or step is Step.OPEN else self.valve * (2 if step is Step.STOP else 1)


def begin(state: SeasonState, target: Season) -> SeasonState:
    """Go to `target` (WINTER or SUMMER), from whatever is."""
    return replace(state, season=_TO[target], step=Step.STOP, step_at=None, asked_at=None)


def found(relays: Mapping[str, bool], now: float, *, boiler: bool = True) -> SeasonState:
    """Where nothing is remembered: the season in which the valves stand; else a change to winter: no frost."""
    if VALVES[0] in relays:
        standing = [season for season, valve in VALVE_OF.items() if relays[valve]]
        if len(standing) == 1:
            return SeasonState(standing[0], since_at=now)
    return begin(SeasonState(), Season.WINTER if boiler else Season.SUMMER)


def wanted_valves(state: SeasonState) -> dict[str, bool]:
    """What the valves should be now; empty where they are to be left as they are."""
    season = state.season
    if season is None or (season.changing and state.step is Step.STOP):
        return {}
    if season.changing and state.step is Step.CLOSE:
        return dict.fromkeys(VALVES, False)
    return {valve: which is season.target for which, valve in VALVE_OF.items()}


def _reached(state: SeasonState, relays: Mapping[str, bool]) -> bool:
    if state.step is Step.STOP:
        return not any(on for name, on in relays.items() if name in SOURCES)
    return all(relays.get(valve) is on for valve, on in wanted_valves(state).items())


def advance(state: SeasonState, relays: Mapping[str, bool] | None, times: Times, now: float) -> SeasonState:
    """The state after the relays were read as `relays`; None: not known now, which proves and disproves nothing."""
    if relays is None:
        return state
    if state.season is None:
        return found(relays, now, boiler=times.boiler)
    if not state.season.changing:
        if times.valves and any(relays.get(valve) is not on for valve, on in wanted_valves(state).items()):
            return begin(state, state.season.target)  # whoever moved them: the way back leads through all steps
        return state
    running = any(on for name, on in relays.items() if name in SOURCES)
    if state.step is not Step.STOP and (running or not times.valves):
        return replace(state, step=Step.STOP, step_at=None)  # a source came on: not past it with the valves
    if not _reached(state, relays):
        return state if state.step_at is None else replace(state, step_at=None)
    if state.step_at is None:
        return replace(state, step_at=now)
    if now - state.step_at < times.of(state.step):
        return state
    if state.step is Step.OPEN or not times.valves:
        return replace(state, season=state.season.target, step=Step.STOP, step_at=None, since_at=now, asked_at=None)
    # Where the target valve is the open one already, it need not close to be opened.
    there = all(relays[valve] is (which is state.season.target) for which, valve in VALVE_OF.items())
    return replace(state, step=Step.CLOSE if state.step is Step.STOP and not there else Step.OPEN, step_at=None)


def ends_at(state: SeasonState, times: Times, now: float) -> float | None:
    """When the change will be over at the soonest; None where there is none."""
    if state.season is None or not state.season.changing:
        return None
    begun = now if state.step_at is None else state.step_at
    return max(now, begun + times.of(state.step)) + times.after(state.step)


def wanted_season(season: Season, value: float, winter: float, summer: float, delta: float) -> Season | None:
    """The other season, where a return of `value` is too far beyond its set point (`winter`, `summer`; °C, K)."""
    if season is Season.WINTER and value > winter + delta:
        return Season.SUMMER
    if season is Season.SUMMER and value < summer - delta:
        return Season.WINTER
    return None


def automatic(state: SeasonState, wanted: Season | None, lockout: float, now: float) -> SeasonState:
    """Change to the `wanted` season where that is due. `lockout` in s; 0 and less: by hand only."""
    if wanted is None or lockout <= 0 or not state.automatic:
        return state if state.asked_at is None else replace(state, asked_at=None)
    asked = now if state.asked_at is None else state.asked_at
    locked = state.since_at is not None and now - state.since_at <= lockout + MARGIN
    if now - asked < CONFIRM or locked:
        return state if state.asked_at is not None else replace(state, asked_at=now)
    return begin(state, wanted)
