# SPDX-License-Identifier: GPL-3.0-or-later
"""The control of a plant: (facts, request, settings, memory, now) -> decision. Pure; the clock is an argument.

What this wants is not yet done: `safety` stands between it and the relays, and knows nothing of what is in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rockit.boiler import cascade, heating, seasons
from rockit.boiler.curve import SetPoint, set_point
from rockit.boiler.heating import Wish
from rockit.boiler.memory import RISING, DeviceState, Memory, Request, SeasonState, Step
from rockit.boiler.model import BOILER, VALVES, Override, Season
from rockit.boiler.reasons import Reason
from rockit.boiler.settings import Settings
from rockit.boiler.units import Scale
from rockit.boiler.windchill import wind_chill

FROST_CONFIRM = 300.0
"""In summer the water must have been too cold for so long before the plant goes to winter to heat it, s."""
ABOVE_FREEZING = 3.0
"""Against frost the boiler is asked for at least so much more than `freeze_off`, K."""
WARM_UP, STANDING = 180.0, 900.0
"""The boiler's inlet stands for the return from so long after it went on, s, until so long after it went off."""
ABSENT = (0.0, 85.0)
"""What a register may say that nobody writes, or a sensor that is not there, °C."""
LONGEST_READ = 60.0
"""A relay that was read twice within this, s, was meanwhile as it was: that counts as time of operation."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the plant has."""

    boiler: bool = True
    chillers: tuple[str, ...] = ()
    valves: bool = True
    weather: bool = True
    scale: Scale = Scale.CELSIUS

    @property
    def relays(self) -> tuple[str, ...]:
        """Sources and valves."""
        return (*self.sources, *(VALVES if self.valves else ()))

    @property
    def sources(self) -> tuple[str, ...]:
        """The boiler, where there is one, and the chillers."""
        return (BOILER, *self.chillers) if self.boiler else self.chillers


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known now; None, or absent: not known. Temperatures in °C, wind in m/s."""

    relays: Mapping[str, bool] | None = None
    """As read back from the board."""
    return_temp: float | None = None
    water_out: float | None = None
    boiler: Mapping[str, float] = field(default_factory=dict)
    """What the boiler's own sensors say: `inlet_temp`, `outlet_temp`."""
    outside: float | None = None
    wind: float | None = None
    average: float | None = None
    """Mean outside temperature of the last 96 h."""
    broken: frozenset[str] = frozenset()
    """Devices whose relays did not follow."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is wanted, and all that explains it."""

    memory: Memory
    relays: Mapping[str, bool]
    """What sources and valves should be; a valve that is absent stays as it is."""
    demand: float | None
    """The set point to ask of the boiler, °C; None: no heat."""
    wishes: Mapping[str, Wish]
    held: Mapping[str, str]
    """Devices whose wish has to wait, and what holds it."""
    may_change: Mapping[str, float]
    """When a device may next be switched (the clock of `now`)."""
    set_point: SetPoint | None
    """None where nothing outside is known."""
    effective: float
    season_ends: float | None
    wanted_season: Season | None
    """The season that the weather wants, where that is another one."""
    outside_how: str
    """Where the outside temperature comes from: `measured`, `last known`, `average`, or `none`."""
    return_how: str
    """Where the return temperature comes from: `sensor`, `boiler`, or `none`."""
    outside_age: float | None
    season_takes: float
    """What a whole change of season takes, s."""


def decide(facts: Facts, request: Request, settings: Settings, site: Site, memory: Memory, now: float) -> Decision:
    """One decision. `now` in s of a steady clock; moments in `memory` are of the same."""
    value, return_how = _return(facts, memory, now)
    memory = _observed(facts, site, memory, value is not None, now)
    outside, outside_how, age = _outside(facts, settings, memory, now)
    wind = None if outside_how == "average" else memory.wind
    times = seasons.Times(settings.flow_through_time, settings.valve_time, site.valves, site.boiler)
    waters = waters_of(facts, memory.season.season)
    known_sky = None if outside_how == "average" else outside  # of four days a mean says nothing of this night
    memory = heating.frost(waters, known_sky, settings, memory, now)
    state = seasons.advance(memory.season, facts.relays, times, now)
    wanted = _other_season(facts, settings, state, known_sky, wind)
    if state.season in (Season.WINTER, Season.SUMMER):
        state = seasons.automatic(state, wanted, settings.mode_switch_lockout_time * 60, now)
    memory, state = _frost_in_summer(memory, state, site, known_sky, settings, now)
    trend = memory.trend.noted(facts.return_temp, now)
    if state is not memory.season or trend is not memory.trend:
        memory = replace(memory, season=state, trend=trend)
    season = Season.WINTER if state.season is None else state.season
    found = None
    if outside is not None:
        found = set_point(settings.rules(), _felt(outside, wind, settings, season), facts.average, season)
    effective = settings.setpoint_max if found is None else found.effective
    wishes, memory = _wishes(facts, request, settings, site, memory, value, effective, waters, now)
    relays, held, may_change = _timed(request, settings, site, memory, wishes, now)
    valves = seasons.wanted_valves(state) if site.valves else {}
    demand = None
    if (
        state.season is Season.WINTER
        and site.boiler
        and (wishes[BOILER].on or request.override(BOILER) is not Override.OFF)
    ):
        demand = max(effective, settings.freeze_off + ABOVE_FREEZING) if memory.frost else effective
    return Decision(
        memory, {**relays, **valves}, demand, wishes, held, may_change, found, effective,
        seasons.ends_at(state, times, now), wanted, outside_how, return_how, age,
        times.of(Step.STOP) + times.after(Step.STOP),
    )  # fmt: skip


def _observed(facts: Facts, site: Site, memory: Memory, known: bool, now: float) -> Memory:
    """Memory with what was seen now. `known`: the return temperature is."""
    changes: dict[str, Any] = {}
    if facts.relays is not None:
        changes["devices"] = _devices(facts.relays, site, memory, now)
    if facts.outside is not None:
        changes |= {"outside": facts.outside, "outside_at": now, "wind": facts.wind}
    if known or memory.return_known_at is None:
        changes["return_known_at"] = now  # what was never asked for is not lost yet
    return replace(memory, **changes) if changes else memory


def _devices(relays: Mapping[str, bool], site: Site, memory: Memory, now: float) -> dict[str, DeviceState]:
    """What the relays have done since the last time: moments, hours, starts."""
    devices = dict(memory.devices)
    for name in site.sources:
        old = devices.get(name) or DeviceState()
        on = relays[name]
        since = 0.0 if old.read_at is None else now - old.read_at
        hours = old.run_seconds + (since if on and old.on and 0 < since <= LONGEST_READ else 0.0)
        if on is old.on:
            devices[name] = DeviceState(on, old.changed_at, now, hours, old.starts, old.seen)
        else:
            devices[name] = DeviceState(on, now, now, hours, old.starts + (on and old.on is False), old.on is not None)
    return devices


def _outside(facts: Facts, settings: Settings, memory: Memory, now: float) -> tuple[float | None, str, float | None]:
    """The outside temperature, where it comes from, and its age: measured, last known, mean of the days, or none."""
    if facts.outside is not None:
        return facts.outside, "measured", 0.0
    if memory.outside is not None and memory.outside_at is not None:
        age = now - memory.outside_at
        if age <= settings.outside_hold * 60:
            return memory.outside, "last known", age
    if facts.average is not None:
        return facts.average, "average", None
    return None, "none", None


def _felt(outside: float, wind: float | None, settings: Settings, season: Season) -> float:
    if settings.wind_chill and wind is not None and season.target is Season.WINTER:
        return wind_chill(outside, wind)
    return outside


def _return(facts: Facts, memory: Memory, now: float) -> tuple[float | None, str]:
    """The return temperature and where it comes from: in winter the boiler's inlet has the same water while it runs.

    Whether water moves through a boiler that is off depends on the site; so what it says then counts for a while only.
    """
    if facts.return_temp is not None:
        return facts.return_temp, "sensor"
    inlet, boiler = facts.boiler.get("inlet_temp"), memory.devices.get(BOILER)
    if inlet is None or boiler is None or boiler.changed_at is None or memory.season.season is not Season.WINTER:
        return None, "none"
    since = now - boiler.changed_at
    if since >= WARM_UP if boiler.on else boiler.seen and since <= STANDING:
        return inlet, "boiler"
    return None, "none"


def waters_of(facts: Facts, season: Season | None) -> tuple[float, ...]:
    """What is known of the water in the loop; in winter what the boiler says of it, where nothing else does."""
    known = tuple(value for value in (facts.return_temp, facts.water_out) if value is not None)
    if known or season is not Season.WINTER:
        return known
    return tuple(value for value in facts.boiler.values() if value not in ABSENT)


def hottest_of(facts: Facts) -> float | None:
    """The hottest water that is known, also inside the boiler."""
    known = (facts.return_temp, facts.water_out, *facts.boiler.values())
    return max((value for value in known if value is not None), default=None)


def _other_season(
    facts: Facts, settings: Settings, state: SeasonState, outside: float | None, wind: float | None
) -> Season | None:
    """What the weather wants. Only a measured return says so, and a sky that is known: a guess moves no valve."""
    season = state.season
    if facts.return_temp is None or outside is None or season not in (Season.WINTER, Season.SUMMER):
        return None
    rules = settings.rules()
    winter, summer = (
        set_point(rules, _felt(outside, wind, settings, which), facts.average, which).effective
        for which in (Season.WINTER, Season.SUMMER)
    )
    return seasons.wanted_season(season, facts.return_temp, winter, summer, settings.mode_change_delta_temp)


def _frost_in_summer(
    memory: Memory, state: SeasonState, site: Site, outside: float | None, settings: Settings, now: float
) -> tuple[Memory, SeasonState]:
    """Water that freezes in summer needs the boiler: the plant goes to winter, whoever said summer.

    Either the water was measured to be too cold, or the air outside was: a guess moves no valve.
    """
    in_summer = state.season in (Season.SUMMER, Season.TO_SUMMER)
    measured = memory.blind_at is None
    freezing = memory.frost and (measured if outside is None else outside < settings.freeze_outside)
    if not (in_summer and freezing and site.boiler):
        return (memory if memory.frost_at is None else replace(memory, frost_at=None)), state
    if memory.frost_at is None:
        return replace(memory, frost_at=now), state
    if now - memory.frost_at < FROST_CONFIRM:
        return memory, state
    return replace(memory, frost_at=None), seasons.begin(state, Season.WINTER)


def _wishes(
    facts: Facts, request: Request, settings: Settings, site: Site, memory: Memory,
    value: float | None, effective: float, waters: tuple[float, ...], now: float,
) -> tuple[dict[str, Wish], Memory]:  # fmt: skip
    """What each source should do, but for the times that protect it."""
    season = memory.season.season
    wishes: dict[str, Wish] = {}
    if site.boiler:
        inlet = "inlet_temp" in facts.boiler
        heat, why = heating.hysteresis(value, effective, settings, memory, now, inlet=inlet)
        if season is not Season.WINTER:
            heat = False
            wishes[BOILER] = _out_of_season(season, request.override(BOILER))
        elif memory.frost:
            wishes[BOILER] = Wish(True, heating.frost_reason(memory, waters), firm=True)
        else:
            wishes[BOILER] = _overridden(request.override(BOILER), Wish(heat, why))
        if heat is not memory.heating:
            memory = replace(memory, heating=heat)
    if season is not Season.SUMMER:
        wishes |= {name: _out_of_season(season, request.override(name)) for name in site.chillers}
        return wishes, memory if memory.far_at is None else replace(memory, far_at=None)
    memory = _far(memory, value, effective, settings, now)
    chillers = _cooling(facts, request, settings, site, memory, value, effective, now)
    for name in site.chillers:
        wishes[name] = (
            Wish(False, heating.frost_reason(memory, waters), firm=True) if memory.frost and memory.blind_at is None
            else _overridden(request.override(name), chillers[name])
        )  # fmt: skip
    return wishes, memory


def _out_of_season(season: Season | None, override: Override) -> Wish:
    """Only what a change of season found running runs out its minimum time."""
    if season is None or not season.changing:
        why = "the season is not known yet" if season is None else f"the season is {season.name}"
        return Wish(False, Reason(why), firm=True)
    return Wish(False, Reason(f"the season changes ({season.name})"), firm=override is Override.OFF)


def _overridden(override: Override, wish: Wish) -> Wish:
    """An order to stop is firm: minimum times protect from starting too often, and not from stopping."""
    if override is Override.AUTO:
        return wish
    return Wish(override is Override.ON, Reason(f"override {override}"), firm=override is Override.OFF)


def _far(memory: Memory, value: float | None, effective: float, settings: Settings, now: float) -> Memory:
    """Since when the return has been beyond its tolerance and came no nearer by more than a sensor's last digit."""
    if value is None:
        known_at = memory.return_known_at
        lost = known_at is None or now - known_at > heating.HOLD
        return replace(memory, far_at=None) if lost and memory.far_at is not None else memory
    above = value >= effective + settings.tolerance
    if not above and value >= effective - settings.tolerance:
        return memory if memory.far_at is None else replace(memory, far_at=None)
    nearer = memory.far_value - value if above else value - memory.far_value
    if memory.far_at is None or memory.far_above is not above or nearer > RISING:
        return replace(memory, far_at=now, far_above=above, far_value=value)
    return memory


def _cooling(
    facts: Facts, request: Request, settings: Settings, site: Site, memory: Memory,
    value: float | None, effective: float, now: float,
) -> dict[str, Wish]:  # fmt: skip
    """What the cascade wants of each chiller."""
    states = {name: memory.devices.get(name) or DeviceState() for name in site.chillers}
    if value is None:
        known_at = memory.return_known_at
        lost = known_at is None or now - known_at > heating.HOLD
        text = "the return temperature is not known" if lost else "the return temperature is lost; as it was, for now"
        return {name: Wish(bool(state.on) and not lost, Reason(text)) for name, state in states.items()}
    gap = now - max((state.changed_at or 0.0 for state in states.values()), default=0.0)
    loop = cascade.Loop(
        value, effective, settings.tolerance, memory.trend, gap, settings.cascade_time * 60,
        0.0 if memory.far_at is None else now - memory.far_at,
    )  # fmt: skip
    free = [
        cascade.Unit(name, state)
        for name, state in states.items()
        if request.override(name) is Override.AUTO and name not in facts.broken
        and state.changed_at is not None and now >= _free_at(state, settings.chiller_minimum_on_time,
                                                             settings.chiller_minimum_off_time)
    ]  # fmt: skip
    more, less, why = cascade.step(
        loop, (unit for unit in free if not unit.state.on), (unit for unit in free if unit.state.on)
    )
    low = effective - settings.tolerance
    enough = Reason("the return, {}, is below {}", (value, low)) if value < low else why
    return {
        name: Wish(
            (bool(state.on) or name == more) and name != less and (name not in facts.broken or bool(state.on)),
            why if state.on or name == more else enough,  # why none goes off is no reason to be off
        )
        for name, state in states.items()
    }


def _free_at(state: DeviceState, minimum_on: float, minimum_off: float) -> float:
    """From when a device may be switched."""
    return (state.changed_at or 0.0) + (minimum_on if state.on else minimum_off)


def _timed(
    request: Request,
    settings: Settings,
    site: Site,
    memory: Memory,
    wishes: Mapping[str, Wish],
    now: float,
) -> tuple[dict[str, bool], dict[str, str], dict[str, float]]:
    """The wishes as far as the minimum times let them be done, what is held, and when each device may change."""
    relays: dict[str, bool] = {}
    held: dict[str, str] = {}
    may_change: dict[str, float] = {}
    last = max(
        (memory.devices[name].changed_at or 0.0 for name in site.chillers if name in memory.devices), default=0.0
    )
    for name in site.sources:
        wish, state = wishes[name], memory.devices.get(name)
        if state is None or state.on is None or state.changed_at is None:
            relays[name] = False
            continue
        least = (
            (settings.boiler_minimum_on_time, settings.boiler_minimum_off_time) if name == BOILER
            else (settings.chiller_minimum_on_time, settings.chiller_minimum_off_time)
        )  # fmt: skip
        free_at = _free_at(state, *least)
        may_change[name] = free_at
        if name != BOILER and request.override(name) is Override.AUTO:
            pause = settings.cascade_time * 60
            may_change[name] = max(free_at, last + (pause / cascade.LESS if state.on else pause))
        relays[name] = wish.on
        if wish.on is not state.on and now < free_at and not (wish.firm and not wish.on):
            relays[name] = state.on
            held[name] = "the minimum time on" if state.on else "the minimum time off"
    return relays, held, may_change
