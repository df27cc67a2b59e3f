# SPDX-License-Identifier: GPL-3.0-or-later
"""A year of weather in the computer: the plant's own control and safety on a simulated plant, with faults at random.

What a site wants to know before it trusts a curve or a lockout with its building, and what a test wants to know of the
control: comfort, starts, short cycles, and whether any relay was ever where it must not be. The decisions are those of
the daemon; ports, threads and disks are left out, which is why a year takes about a minute.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from rockit.boiler import plant, safety, seasons
from rockit.boiler.figures import OutsideMean
from rockit.boiler.kept import Saved, for_the_disk, from_the_disk
from rockit.boiler.memory import Request
from rockit.boiler.model import BOILER, VALVES, Override, Season
from rockit.boiler.probe import Probe
from rockit.boiler.rehearsal_faults import Faults
from rockit.boiler.rounds import judged
from rockit.boiler.settings import Settings
from rockit.boiler.simulators.world import World
from rockit.boiler.units import Scale

STEP = 60.0
"""One decision in so much simulated time, s."""
HELD = 3 * STEP
"""A value that could not be read again counts for so long, s."""
ROUNDS = 4
FREEZING = 0.5
"""Water below this is a failure of the control, °C."""
EXCUSED = 6 * 3600.0
"""A plant that could not be switched takes so long to be warm again, s."""
LEAST_DEMAND = 21.0
"""The lowest set point that a Lochinvar can be told, °C."""
FORGOTTEN, OWN = 240.0, 60.0
"""So long a Lochinvar keeps to what it was told, s; then it heats to a set point of its own, °C."""
DAY = 86400.0


@dataclass
class Report:
    """What came of it. Times in s, temperatures in °C and K."""

    days: float = 0.0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seasons: int = 0
    """Changes of season that were finished."""
    emergencies: int = 0
    forbidden: list[str] = field(default_factory=list)
    """Relays that were where they must not be."""
    short_cycles: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    """Values that were claimed to be measured while nobody measured them."""
    frozen: list[str] = field(default_factory=list)
    """Cold water that nothing excuses: no relay was stuck or lost, and nobody had switched the plant by hand."""
    starts: dict[str, int] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    shortest_off: dict[str, float] = field(default_factory=dict)
    within_2: float = 0.0
    within_5: float = 0.0
    """Shares of the time in which the return was so near to its set point, K."""
    coldest_water: float = 100.0
    coldest_when: str = ""
    """And what was wrong then."""
    frost_hours: float = 0.0

    @property
    def violations(self) -> int:
        """All that must be zero."""
        return len(self.forbidden) + len(self.short_cycles) + len(self.invented) + len(self.frozen)


@dataclass
class _Read:
    """The last good value of one input and when it was read."""

    value: float | None = None
    time: float = -1e9

    def known(self, now: float) -> float | None:
        return self.value if now - self.time <= HELD else None


class Rehearsal:
    """One plant, its control, and what goes wrong."""

    def __init__(
        self,
        site: plant.Site,
        settings: Settings,
        *,
        seed: int = 1,
        faults: bool = True,
        world: World | None = None,
        without: tuple[str, ...] = (),
    ) -> None:
        self._site = site
        self._settings = settings
        self._random = random.Random(seed)  # noqa: S311 - it has to repeat itself
        self.world = world or World(seed=seed, chillers=len(site.chillers))
        self._faults = Faults(self._random, site.relays, without) if faults else None
        self._saved = Saved()
        self._mean = OutsideMean()
        self._probes = {"return": Probe(), "outlet": Probe()}
        self._inputs = {name: _Read() for name in ("return", "outlet", "outside", "inlet")}
        self._board = dict.fromkeys((*site.sources, *(VALVES if site.valves else ())), False)
        self._off_at: dict[str, float] = {}
        self._told_at = 0.0
        self._season: Season | None = None
        self._emergency = False
        self._frozen = False
        self._excused_until = -1.0
        self.report = Report()
        self.moves: deque[tuple[float, str, bool]] = deque(maxlen=200_000)
        """Every move of a relay: simulated time, name, on."""

    def run(self, days: float = 365.0, progress: Callable[[float], None] = lambda _part: None) -> Report:
        """Let so many days pass; `progress` is told what part has."""
        steps = round(days * DAY / STEP)
        for number in range(steps):
            if number % 1440 == 0:
                progress(number / steps)
            self.world.step(STEP)
            self.step(self.world.time)
        return self._concluded(days, steps)

    def step(self, now: float) -> None:
        """One poll, `now` in simulated s."""
        faults = self._faults
        if faults is not None:
            faults.pass_to(now)
            self.report.faults.update(faults.begun)
            self._strike(faults, now)
        facts = self._facts(now)
        for _ in range(ROUNDS):
            facts = replace(facts, relays=None if self._lost("relays") else dict(self._board))
            decision = plant.decide(facts, self._saved.request, self._settings, self._site, self._saved.memory, now)
            verdict = judged(decision, facts, self._settings, self._site, self._saved.guard, now)
            self._saved.memory, self._saved.guard = decision.memory, verdict.guard
            facts = replace(facts, broken=verdict.guard.broken)
            if not verdict.orders:
                break
            for name, on in verdict.orders:
                if faults is None or name != faults.stuck:
                    self._switch(name, on, now)
        if not self._lost("modbus"):
            demand = decision.demand if verdict.may_heat else None
            self.world.burner.setpoint = None if demand is None else max(demand, LEAST_DEMAND)
            self._told_at = now
        elif now - self._told_at > FORGOTTEN:
            self.world.burner.setpoint = OWN
        self._look(decision, now)

    # What goes wrong.

    def _lost(self, what: str) -> bool:
        return self._faults is not None and what in self._faults.active

    def _strike(self, faults: Faults, now: float) -> None:
        begun = faults.begun
        if "reset" in begun:
            for name in self._board:
                if name != faults.stuck:
                    self._switch(name, False, now)
        if "crash" in begun:
            self._restart(now)
        if "override" in begun:
            name = self._random.choice(self._site.sources)
            how = self._random.choice(list(Override))
            self._saved.request = Request({**self._saved.request.overrides, name: how})
        if "override" in faults.ended:
            self._saved.request = Request()
        if "season" in begun:
            target = self._random.choice((Season.WINTER, Season.SUMMER))
            state = seasons.begin(replace(self._saved.memory.season, automatic=False), target)
            self._saved.memory = replace(self._saved.memory, season=state)
        if "season" in faults.ended:
            state = replace(self._saved.memory.season, automatic=True)
            self._saved.memory = replace(self._saved.memory, season=state)
        if "operator" in begun:
            self._saved.guard = safety.acknowledged(self._saved.guard)

    def _restart(self, now: float) -> None:
        """The process dies and begins anew: all it knows is what the disk has, with the clocks of another start."""
        to_utc = self.world.utc - now
        self._saved.outside = self._mean.hours
        stored = msgspec.json.encode(for_the_disk(self._saved, to_utc))
        loaded = self._saved = from_the_disk(msgspec.json.decode(stored, type=Saved), -to_utc, now)
        self._mean = OutsideMean(loaded.outside)
        self._inputs = {name: _Read() for name in self._inputs}
        self._probes = {name: Probe() for name in self._probes}

    # What is known.

    def _facts(self, now: float) -> plant.Facts:
        world, inputs = self.world, self._inputs
        moving = any(self._board[name] for name in self._site.sources)
        self._sensor("return", world.return_temp, moving, now)
        self._sensor("outlet", world.water_out_temp, moving, now)
        if not self._lost("weather"):
            inputs["outside"] = _Read(world.outside_temp, now)
            self._mean.note(world.outside_temp, world.utc)
        if not self._lost("modbus"):
            inputs["inlet"] = _Read(world.burner.inlet_temp, now)
        inlet = inputs["inlet"].known(now)
        return plant.Facts(
            None, inputs["return"].known(now), inputs["outlet"].known(now),
            {} if inlet is None else {"inlet_temp": inlet},
            inputs["outside"].known(now), world.wind_speed, self._mean.mean(world.utc), self._saved.guard.broken,
        )  # fmt: skip

    def _sensor(self, name: str, celsius: float, moving: bool, now: float) -> None:
        """One reading of a DS18B20, in its steps of 1/16 °C."""
        if self._lost(name):
            return
        raw = 0.0 if self._lost("zeros") else round(celsius * 16) / 16
        value, _ = self._probes[name].judge(raw, now, moving)
        if value is not None:
            self._inputs[name] = _Read(value, now)

    # What is recorded.

    def _switch(self, name: str, on: bool, now: float) -> None:
        """A contact moves, and is looked at: this is the only judge that knows neither the control nor the safety."""
        if self._board[name] is on:
            return
        self._board[name] = on
        self.world.switch(name, on)
        self.moves.append((now, name, on))
        report, when = self.report, f"day {now / DAY:.3f}"
        board = self._board
        if self._site.valves:
            if board[VALVES[0]] and board[VALVES[1]]:
                report.forbidden.append(f"{when}: both valves")
            if board.get(BOILER) and not board[VALVES[0]]:
                report.forbidden.append(f"{when}: the boiler without the winter valve")
            if any(board[chiller] for chiller in self._site.chillers) and not board[VALVES[1]]:
                report.forbidden.append(f"{when}: a chiller without the summer valve")
        if board.get(BOILER) and any(board[chiller] for chiller in self._site.chillers):
            report.forbidden.append(f"{when}: boiler and chiller")
        if name in VALVES:
            return
        if not on:
            self._off_at[name] = now
            return
        least = self._settings.boiler_minimum_off_time if name == BOILER else self._settings.chiller_minimum_off_time
        rested = now - self._off_at.get(name, -1e9)
        report.shortest_off[name] = min(rested, report.shortest_off.get(name, 1e9))
        if rested < least:
            report.short_cycles.append(f"{when}: {name} after {rested:.0f} s")

    def _look(self, decision: plant.Decision, now: float) -> None:
        report = self.report
        self.world.note_setpoint(decision.effective)
        if self.world.return_temp < report.coldest_water:
            report.coldest_water = self.world.return_temp
            faults = set() if self._faults is None else self._faults.active
            report.coldest_when = f"day {now / DAY:.1f}{f', with {chr(44).join(sorted(faults))}' if faults else ''}"
        season = decision.memory.season.season
        if season is not self._season:
            report.seasons += season in (Season.WINTER, Season.SUMMER) and self._season is not None
            self._season = season
        self._look_for_frost(now)
        emergency = bool(self._saved.guard.emergency)
        report.emergencies += emergency and not self._emergency
        self._emergency = emergency
        if decision.return_how == "sensor" and now - self._inputs["return"].time > HELD:
            report.invented.append(f"day {now / DAY:.3f}: a return temperature")
        if decision.outside_how == "measured" and now - self._inputs["outside"].time > HELD:
            report.invented.append(f"day {now / DAY:.3f}: an outside temperature")

    def _look_for_frost(self, now: float) -> None:
        """Water below FREEZING, once for each time; excused for a while after what no control can help."""
        if self._faults is not None and {"stuck", "relays", "reset"} & {*self._faults.active, *self._faults.begun}:
            self._excused_until = now + EXCUSED
        cold = self.world.loop_temp < FREEZING
        if cold and not self._frozen and now > self._excused_until:
            self.report.frozen.append(f"day {now / DAY:.3f}: {self.world.loop_temp:.1f} °C")
        self._frozen = cold and (self._frozen or now > self._excused_until)

    def _concluded(self, days: float, steps: int) -> Report:
        report, world = self.report, self.world
        report.days, report.steps = report.days + days, report.steps + steps
        for time, text in world.violations:
            report.forbidden.append(f"day {time / DAY:.3f}: {text}")
        for name in self._site.sources:
            duty = world.duties.get(name)
            report.starts[name] = 0 if duty is None else duty.starts
            report.hours[name] = 0.0 if duty is None else duty.ran(world.time) / 3600
        comfort = world.comfort
        if comfort.seconds:
            report.within_2, report.within_5 = comfort.within_2 / comfort.seconds, comfort.within_5 / comfort.seconds
        report.frost_hours = comfort.frost_seconds / 3600
        return report


def told(report: Report, scale: Scale = Scale.CELSIUS) -> list[str]:
    """The report for people."""

    def near(kelvin: float) -> str:
        return f"{scale.difference(kelvin):g} {'K' if scale is Scale.CELSIUS else scale.sign}"

    def degrees(celsius: float) -> str:
        return f"{scale.temperature(celsius):.1f} {scale.sign}"

    lines = [
        f"{report.days:g} days, {report.steps} decisions, {report.seasons} changes of season, "
        f"{report.emergencies} emergencies",
        f"return within {near(2)} of its set point {report.within_2:.1%} of the time, within {near(5)} "
        f"{report.within_5:.1%}; coldest water {degrees(report.coldest_water)} ({report.coldest_when}), "
        f"{report.frost_hours:.1f} h below {degrees(2)}",
    ]
    for name, starts in report.starts.items():
        rest = f", shortest rest {report.shortest_off[name] / 60:.0f} min" if name in report.shortest_off else ""
        lines.append(f"{name}: {report.hours[name]:.1f} h in {starts} starts{rest}")
    if report.faults:
        lines.append("faults: " + ", ".join(f"{count} × {name}" for name, count in sorted(report.faults.items())))
    for title, found in (
        ("forbidden states", report.forbidden), ("short cycles", report.short_cycles),
        ("invented values", report.invented), ("frozen water", report.frozen),
    ):  # fmt: skip
        lines.append(f"{title}: {len(found)}")
        lines += [f"   {text}" for text in found[:5]]
    return lines


__all__: list[Any] = ["Rehearsal", "Report", "told"]
