# SPDX-License-Identifier: GPL-3.0-or-later
"""The plant: its query loop reads the relays, decides, lets the safety judge, switches, and reads back.

The loop is that of the relay board. Boiler, sensors and weather have loops of their own and are inputs here, so that
none of them can hold up a relay. Other threads read `snapshot`, which is replaced and never changed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rockit.boiler import alarms as plant_alarms
from rockit.boiler import plant, safety, seasons
from rockit.boiler.burner import Burner, PortLike
from rockit.boiler.config import BoilerConfig
from rockit.boiler.drivers import RelayBoard
from rockit.boiler.figures import Efficiency, Instant, OutsideMean
from rockit.boiler.inputs import PlantInputs
from rockit.boiler.kept import Changed, KeptState, Saved, rewired, settings_in_force
from rockit.boiler.memory import Request
from rockit.boiler.model import BOILER, LIGHTS, Override, Season
from rockit.boiler.plant import Decision, Facts
from rockit.boiler.relays import Relays
from rockit.boiler.rounds import judged
from rockit.boiler.settings import FIELDS, changed, outward
from rockit.common.conditions import Condition, Priority
from rockit.common.device import Alarms
from rockit.common.errors import Code, CommandError
from rockit.common.framing import ProtocolError
from rockit.common.log import Log
from rockit.common.quality import utc_now
from rockit.common.record import Record
from rockit.common.state import StateFile
from rockit.common.transport import LineError

ROUNDS = 4
"""Decisions in one poll; whatever is left waits for the next."""
MOMENT = 0.5
"""So long the loop waits for the disk before it switches something on, s."""
SLOW = 3.0
"""What reading the relays may take, s."""


@dataclass(frozen=True)
class Snapshot:
    """The plant as of the last poll. `polled_at` is monotonic s, `polled` the same moment in UTC."""

    connected: bool = False
    polled_at: float | None = None
    polled: datetime | None = None
    relays: Mapping[str, bool] | None = None
    decided_at: float = 0.0
    decision: Decision | None = None
    guard: safety.Guard = field(default_factory=safety.Guard)
    denied: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    offline_because: str = "the relays have not been asked yet; the daemon has just started"


class PlantUnit:
    """Reads, decides, judges, switches, publishes."""

    def __init__(
        self, config: BoilerConfig, port: PortLike, board: RelayBoard, burner: Burner | None, inputs: PlantInputs,
        alarms: Alarms, state: StateFile[Saved], log: Log, record: Record,
    ) -> None:  # fmt: skip
        self._config = config
        self.site = config.site()
        self._burner = burner
        self._inputs = inputs
        self._alarms = alarms
        self._log = log
        self._record = record
        self._lock = threading.Lock()  # around request, settings, memory and guard, for moments
        self.counters: Counter[str] = Counter()
        self._kept = KeptState(state, log)
        loaded, lost = self._kept.load()
        self._saved, left = rewired(loaded, config.relays)
        self._board = Relays(port, board, config.relays, left, log, self.counters)
        for condition in (lost, {}):  # it was, and is no more: latched until somebody has seen it
            alarms.update("start", condition)
        if not left:
            self._saved.relays = dict(config.relays)
        self.mean = OutsideMean(self._saved.outside)
        self.efficiency = Efficiency(self._saved.quarters)
        self.settings = settings_in_force(config, self._saved, log)
        self._raised: Mapping[str, Condition] = {}
        self.maximum_age = 3 * config.query_delay + SLOW
        self.snapshot = Snapshot(guard=self._saved.guard)

    @property
    def request(self) -> Request:
        """What people asked for."""
        return self._saved.request

    # What the query loop calls.

    def connect(self) -> str:
        """Open the port and see that it is our family of boards that answers."""
        identity = self._board.open()
        self.snapshot = replace(self.snapshot, identity=identity)
        return identity.get("family", "relays")

    def disconnect(self) -> None:
        """Close the port."""
        self._board.close()

    def steps(self) -> Iterator[None]:
        """One poll of the relays."""
        self._board.read()
        yield
        if self._board.left:
            if self._board.let_go():
                with self._lock:
                    self._saved.relays = dict(self._config.relays)
                    self._save()
            yield

    def finish(self) -> None:
        """The relays are known: decide, publish, switch."""
        self._alarms.update("poll", {})
        self._carry_out(*self._decide())

    def lost(self, reason: str) -> None:
        """The board does not answer: what the relays are is not known any more; what can be decided still is."""
        self._board.states = None
        self.snapshot = replace(self.snapshot, connected=False, relays=None, offline_because=reason)
        text = f"the relays do not answer, and nothing can be switched: {reason}"
        self._alarms.update("poll", {"relays_lost": Condition(text, Priority.CRITICAL, logged=False)})
        self._decide()

    def shutdown(self, deadline: float) -> None:
        """Leave the sources as the config says; the valves stay as they are."""
        if self._config.safe_state == "keep":
            return
        if self._saved.memory.frost:
            self._log.warning("stopping while the water may freeze: nothing heats it until the daemon runs again")
        self._board.end(self.site.sources, deadline)

    # What other threads call.

    def note_override(self, device: str, override: Override) -> Override:
        """Take an order; the query loop follows it. Returns what was in force before."""
        with self._lock:
            before = self.request.override(device)
            overrides = {name: value for name, value in self.request.overrides.items() if name != device}
            if override is not Override.AUTO:
                overrides[device] = override
            self._saved.request = replace(self.request, overrides=overrides)
            self._save()
        return before

    def note_season(self, season: Season | None) -> None:
        """Go to WINTER or SUMMER and stay there; None: as the weather wants."""
        with self._lock:
            state = self._saved.memory.season
            state = replace(state, automatic=season is None)
            if season is not None and (state.season is None or state.season.target is not season):
                state = seasons.begin(state, season)
            self._saved.memory = replace(self._saved.memory, season=state)
            self._save()

    def set_setting(self, name: str, value: Any) -> tuple[Any, Any]:
        """Change a setting, in the scale of the site; returns the old and the new value. Raises BadSetting."""
        scale = self._config.scale
        with self._lock:
            before = outward(name, getattr(self.settings, name), scale) if name in FIELDS else None
            self.settings = changed(self.settings, {name: value}, scale)
            after = outward(name, getattr(self.settings, name), scale)
            start = outward(name, getattr(self._config.start_settings(), name), scale)
            self._saved.settings[name] = Changed(after, start)
            if after == start:
                del self._saved.settings[name]
            self._save()
        return before, after

    def acknowledged(self, alarm: str) -> None:
        """Somebody has seen to that alarm."""
        with self._lock:
            if alarm == "emergency":
                self._saved.guard = safety.acknowledged(self._saved.guard)
            elif alarm.startswith("relay_"):
                self._saved.guard = safety.forgiven(self._saved.guard, alarm.removeprefix("relay_"))
            self._save()

    def saved(self, within: float) -> bool:
        """Whether all that must survive is on the disk; waits `within` s for that."""
        return self._kept.saved(within)

    # Commands: run by the query loop.

    def follow(self, device: str) -> str:
        """Carry out what was noted of a device, and say what came of it. Raises CommandError."""
        decision, denied = self._settle()
        override = self.request.override(device)
        on = None if self._board.states is None else self._board.states[device]
        why = decision.wishes[device].why.told(self.site.scale)
        state = "unknown" if on is None else "on" if on else "off"
        if override is Override.AUTO and on is not None and device in self.snapshot.guard.orders:
            raise CommandError(Code.FAILED, f"noted, but {device} is {state}, and its relay does not follow")
        if override is Override.AUTO:
            held = denied.get(device) or decision.held.get(device)
            return f"{device} follows the control: it is {state} ({why}{f'; held by: {held}' if held else ''})"
        wanted = override is Override.ON
        if on is wanted:
            return f"{device} is {state}, read back"
        holding = denied.get(device) or decision.held.get(device)
        if holding is None and decision.wishes[device].on is not wanted:
            holding = why
        if holding is not None:
            raise CommandError(Code.HELD, f"noted, but {device} is {state}, held by: {holding}")
        raise CommandError(Code.FAILED, f"{device} was told to be {override}, and its relay does not follow")

    def follow_season(self, season: Season) -> str:
        """Carry out a change of season that was noted, as far as can be now. Raises CommandError."""
        decision, _ = self._settle()
        if self.snapshot.guard.emergency:
            raise CommandError(
                Code.HELD,
                "noted, but held by the emergency: no valve opens before it is acknowledged and its cause is gone",
            )
        state = decision.memory.season
        if state.season is season:
            return f"the season is {season.name}, and stays so until somebody changes it"
        seconds = max(0.0, (decision.season_ends or 0.0) - time.monotonic())
        return f"the change to {season.name} has begun; it takes {seconds:.0f} s more, and stays until changed again"

    def _settle(self) -> tuple[Decision, Mapping[str, str]]:
        try:
            self._board.read()
            decision, verdict = self._carry_out(*self._decide())
        except (LineError, ProtocolError) as error:
            why = self.snapshot.offline_because or str(error)  # when it is tried anew, the error says only that
            raise CommandError(
                Code.DEVICE_OFFLINE, f"noted, but whether the relays followed is not known: {why}"
            ) from None
        return decision, verdict.denied

    # Inside.

    def moving(self) -> bool:
        """Whether heat is being moved: any source is on."""
        relays = self.snapshot.relays or {}
        return any(relays.get(name, False) for name in self.site.sources)

    def facts(self, now: float) -> Facts:
        """What is known at `now` (monotonic s)."""
        samples = self._inputs.samples(now)
        known = {key: sample.value for key, sample in samples.items()}
        boiler = {} if self._burner is None else self._burner.values(now)
        outside = known.get("outside_temp")
        utc = time.time()
        if outside is not None:
            self.mean.note(outside, utc)
        return Facts(
            None if self._board.states is None else dict(self._board.states),
            known.get("return_temp"), known.get("water_out_temp"),
            {key: boiler[key] for key in ("inlet_temp", "outlet_temp") if key in boiler},
            outside, known.get("wind_speed"), self.mean.mean(utc), self._saved.guard.broken,
        )  # fmt: skip

    def _decide(self) -> tuple[Decision, safety.Verdict]:
        now = time.monotonic()
        facts = self.facts(now)
        with self._lock:
            settings = self.settings
            decision = plant.decide(facts, self.request, settings, self.site, self._saved.memory, now)
            before = self._saved.guard
            verdict = judged(decision, facts, settings, self.site, before, now, self._lights(decision))
            self._saved.memory, self._saved.guard = decision.memory, verdict.guard
            self._saved.outside, self._saved.quarters = self.mean.hours, self.efficiency.quarters
            self._save()
        if self._burner is not None:
            self._burner.demand(decision.demand if verdict.may_heat else None, now)
        self._raised = plant_alarms.conditions(decision, verdict.guard, self.request, self.site, self._sources(now))
        if before.acknowledged and verdict.guard.emergency and not verdict.guard.acknowledged:
            # A new cause: what somebody has acknowledged was another emergency.
            self._alarms.update("control", {name: one for name, one in self._raised.items() if name != "emergency"})
        self._alarms.update("control", self._raised)
        self._alarms.update("state", self._kept.alarms())
        self._publish(decision, verdict, now)
        return decision, verdict

    def _publish(self, decision: Decision, verdict: safety.Verdict, now: float) -> None:
        if self._board.states is None:
            made = {"decided_at": now, "decision": decision, "guard": verdict.guard, "denied": verdict.denied}
            self.snapshot = replace(self.snapshot, relays=None, **made)  # type: ignore[arg-type]
            return
        polled = utc_now() - timedelta(seconds=time.monotonic() - self._board.asked)
        self.snapshot = Snapshot(
            True, self._board.asked, polled, dict(self._board.states), now, decision, verdict.guard, verdict.denied,
            self.snapshot.identity, "",
        )  # fmt: skip

    def _sources(self, now: float) -> plant_alarms.Sources:
        boiler, snapshot = {}, None
        if self._burner is not None:
            boiler, snapshot = self._burner.values(now), self._burner.snapshot
        return plant_alarms.Sources(
            self._inputs.sensor_problems(), self._inputs.weather_problem(now),
            "" if snapshot is None or snapshot.connected else snapshot.offline_because,
            "" if snapshot is None else snapshot.refused,
            tuple(boiler.get("faults", ())), tuple(boiler.get("warnings", ())),
            None if snapshot is None else snapshot.asked,
            # With its contact open a boiler wants nothing, whatever it was told.
            boiler.get("system_setpoint") if (self._board.states or {}).get(BOILER) else None,
        )  # fmt: skip

    def _lights(self, decision: Decision) -> dict[str, bool]:
        """Red: somebody must act. Green: nothing is wrong. Blue: the valves are on their way. Breather: in control."""
        season = decision.memory.season.season
        states = {
            "led_red": any(condition.priority >= Priority.HIGH for condition in self._raised.values()),
            "led_green": not self._raised,
            "led_blue": season is None or season.changing,
            "led_breather": True,
        }
        return {name: on for name, on in states.items() if name in self._config.relays}

    def _carry_out(self, decision: Decision, verdict: safety.Verdict) -> tuple[Decision, safety.Verdict]:
        for _ in range(ROUNDS):
            if not verdict.orders:
                break
            for name, on in verdict.orders:
                if not self._switch(name, on, decision):
                    break  # what was judged safe was so in another state
            decision, verdict = self._decide()
        return decision, verdict

    def _switch(self, name: str, on: bool, decision: Decision) -> bool:
        """Switch one relay and read back; whether no other relay has moved. One that does not follow stops no other."""
        if on and name not in LIGHTS:
            self._kept.saved(MOMENT)  # a start that is not remembered could be followed by another too soon
        order = self._saved.guard.orders.get(name)
        told = order is not None and order.tries > 1
        if name not in LIGHTS:
            wish = decision.wishes.get(name)
            why = f" ({wish.why.told(self.site.scale)})" if wish is not None and wish.on is on else ""
            if not told:
                self._log.info(f"{name} {'on' if on else 'off'}{why}")
        return self._board.switch(name, on, told=told)

    def polled(self) -> None:
        """After each poll: what passed since the last one counts for the figures."""
        now, snapshot = time.monotonic(), self.snapshot
        decision, relays = snapshot.decision, snapshot.relays
        if decision is None:
            return
        facts = self.facts(now)
        boiler = {} if self._burner is None else self._burner.values(now)
        utc = time.time()
        instant = Instant(
            decision.memory.season.season,
            None if relays is None else sum(relays[name] for name in self.site.chillers),
            None if relays is None else relays.get(BOILER),
            facts.return_temp,
            decision.effective,
            boiler.get("cascade_power"),
        )
        with self._lock:
            self.efficiency.note(instant, utc)
            self.efficiency.forget(utc, self._config.efficiency_hours)

    def _save(self) -> None:
        """Keep what must survive. The caller holds the lock; never waits."""
        self._kept.save(self._saved)
