# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated plant itself: one loop of water, a boiler, chillers, two valves, a building and the weather.

The simulated devices (relay board, boiler control, sensors, weather service) share one `World`: what the relay board
switches is what heats the water that the sensors read.

The heat is in `hydronics`, the boiler in `burner`, the weather in `climate`, what a rehearsal counts in `ledger`.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime
from math import ceil
from typing import Any, Protocol

from rockit.boiler.simulators.burner import Burner
from rockit.boiler.simulators.climate import Climate, Steady
from rockit.boiler.simulators.hydronics import Hydronics
from rockit.boiler.simulators.ledger import Comfort, Duty, Ledger

__all__ = ["Burner", "Climate", "Comfort", "Duty", "Steady", "Weather", "World", "forget", "shared"]

VALVES = ("winter_valve", "summer_valve")
PIECE, COARSE = 15.0, 60.0
"""Longest step, s; and the longest after a stall."""
STALL, LONGEST = 7200.0, 7 * 86400.0
"""Simulated s: from here on steps are coarse; and what is simulated at most at once."""


class Weather(Protocol):
    """Where the weather comes from."""

    def at(self, utc: float, /) -> tuple[float, float]:
        """°C and m/s at `utc`, s since 1970."""


class World(Hydronics):
    """One plant. Any thread may use it, with `lock` held. Temperatures in °C, wind in m/s, powers in W, times in s.

    `speed` simulated seconds pass in each second of the carrier's clock (0: all stands still); `start` is the moment of
    the calendar at `now`. `water` and `building` are the temperatures at the start, `travel` is a valve's time from end
    to end, `delay` that of the water on its way back, `own_setpoint` what the boiler fires to when nobody asks.
    Raises ValueError for what cannot be.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        speed: float = 1.0,
        now: float = 0.0,
        start: str = "2026-01-01T00:00:00Z",
        climate: Weather | None = None,
        chillers: int = 4,
        chiller_power: float = 50e3,
        water: float = 15.0,
        building: float = 20.0,
        travel: float = 100.0,
        delay: float = 90.0,
        internal: float = 5000.0,
        load: float = 0.0,
        own_setpoint: float | None = None,
    ) -> None:
        moment = datetime.fromisoformat(start)
        if moment.tzinfo is None:
            raise ValueError(f"start {start!r} has no time zone: write 2026-01-01T00:00:00Z")
        if not 0 <= chillers <= 8 or travel <= 0.0 or delay < 0.0 or speed < 0.0:
            raise ValueError("there are 0 to 8 chillers; travel is above 0; delay and speed are not below 0")
        super().__init__(
            water=water, building=building, delay=delay, internal=internal, load=load,
            burner=Burner(own_setpoint=own_setpoint),
        )  # fmt: skip
        self.lock = threading.RLock()
        self.seed, self.speed = seed, speed
        self.climate: Weather = climate if climate is not None else Climate(seed)
        self.relays: dict[str, bool] = {}
        """What is energised, by name: `boiler`, `chiller1` …, `winter_valve`, `summer_valve`."""
        self.broken: set[str] = set()
        """Chillers that do not cool and valves that do not move, whatever their relay says; see `fail`."""
        self.chillers = tuple(f"chiller{number}" for number in range(1, chillers + 1))
        self.chiller_power, self.travel = chiller_power, travel
        self.time = 0.0
        """Simulated seconds so far."""
        self.started = moment.timestamp()
        self.winter_open = self.summer_open = 0.0
        """How far the valves really are open, 0 to 1."""
        self.outside_temp, self.wind_speed = self.climate.at(self.started)
        self.ledger = Ledger()
        self._now = now
        self._cooling = 0.0
        self._running: list[str] = []
        self._targets = (0.0, 0.0)

    @property
    def utc(self) -> float:
        """The simulated calendar, s since 1970."""
        return self.started + self.time

    @property
    def violations(self) -> list[tuple[float, str]]:
        """See `Ledger`; `ledger.violation_count` counts also what no longer has room here."""
        return self.ledger.violations

    @property
    def moves(self) -> deque[tuple[float, str, bool]]:
        """See `Ledger`."""
        return self.ledger.moves

    @property
    def duties(self) -> dict[str, Duty]:
        """Of each source and valve that has ever moved."""
        return self.ledger.duties

    @property
    def comfort(self) -> Comfort:
        """See there."""
        return self.ledger.comfort

    def note_setpoint(self, celsius: float | None) -> None:
        """From now on `comfort` compares the return water with this. None: with nothing."""
        self.ledger.comfort.setpoint = celsius

    def fail(self, name: str, broken: bool = True) -> None:
        """Break a chiller or a valve, or repair it. The boiler has `burner.lockout`. Raises ValueError for others."""
        if name not in self.chillers and name not in VALVES:
            raise ValueError(f"{name} cannot break; there are {', '.join((*self.chillers, *VALVES))}")
        with self.lock:
            (self.broken.add if broken else self.broken.discard)(name)
            self._count()

    def switch(self, name: str, on: bool) -> None:
        """A relay has moved."""
        with self.lock:
            before = self.relays.get(name, False)
            self.relays[name] = on
            if name == "boiler":
                self.burner.contact = on
            if on == before or not (name in self.chillers or name in VALVES or name == "boiler"):
                return
            self.ledger.move(self.time, name, on)
            self._count()
            self.ledger.judge(self.time, self.relays, self._running, self.winter_open, self.summer_open)

    def advance(self, now: float) -> None:
        """Let the world go on until `now`, s of the carrier's clock; `speed` simulated seconds in each.

        After a long stall the steps are coarse, and what is more than seven days passes on the calendar only.
        """
        with self.lock:
            simulated = (now - self._now) * self.speed
            if now <= self._now or 0.0 < simulated < 0.001:
                return
            self._now = now
            if simulated > LONGEST:
                self.time += simulated - LONGEST
                simulated = LONGEST
            self.step(simulated, COARSE if simulated > STALL else PIECE)

    def step(self, seconds: float, piece: float = PIECE) -> None:
        """Let simulated time pass, in steps of `piece` s at most. For one thread, or with `lock` held."""
        if seconds <= 0.0:
            return
        if seconds <= piece:
            self._go(seconds)
            return
        count = ceil(seconds / piece)
        piece = seconds / count
        for _ in range(count):
            self._go(piece)

    def _go(self, dt: float) -> None:
        """One step: the valves, the sources, all temperatures, the books."""
        self.time = time = self.time + dt
        weather = self.outside_temp, self.wind_speed = self.climate.at(self.started + time)
        self._travel(dt)
        self.exchange(dt, (self.winter_open, self.summer_open), self._cooling, weather)
        ledger = self.ledger
        ledger.comfort.add(dt, self.return_temp)
        if self.loop_temp < 2.0:
            ledger.comfort.frost_seconds += dt
        if ledger.wrong:
            ledger.violation_seconds += dt

    def _travel(self, dt: float) -> None:
        """Energised valves open, others are closed by their spring or motor; broken ones stay where they are."""
        winter, summer = self._targets
        if winter == self.winter_open and summer == self.summer_open:
            return
        most = dt / self.travel
        if winter != self.winter_open:
            self.winter_open += min(max(winter - self.winter_open, -most), most)
        if summer != self.summer_open:
            self.summer_open += min(max(summer - self.summer_open, -most), most)
        self.ledger.judge(self.time, self.relays, self._running, self.winter_open, self.summer_open)

    def _count(self) -> None:
        """What the relays and the breakdowns mean for the next steps."""
        relays, broken = self.relays, self.broken
        self._running = [name for name in self.chillers if relays.get(name)]
        self._cooling = self.chiller_power * sum(name not in broken for name in self._running)
        self._targets = (
            self.winter_open if "winter_valve" in broken else 1.0 if relays.get("winter_valve") else 0.0,
            self.summer_open if "summer_valve" in broken else 1.0 if relays.get("summer_valve") else 0.0,
        )


_worlds: dict[str, World] = {}
_guard = threading.Lock()


def shared(name: str, now: float, **options: Any) -> World:
    """The world of that name, made when first asked for: devices that name the same one stand in one plant.

    `options` are those of `World`, for the one who makes it; a world that is there already stays as it is.
    """
    with _guard:
        if name not in _worlds:
            _worlds[name] = World(now=now, **options)
        return _worlds[name]


def forget(name: str) -> None:
    """The next `shared` of that name makes a new world. Who holds the old one keeps it."""
    with _guard:
        _worlds.pop(name, None)
