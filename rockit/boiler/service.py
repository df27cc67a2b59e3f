# SPDX-License-Identifier: GPL-3.0-or-later
"""The plant's remote object: what scripts, dashboards and other daemons see. It answers from snapshots alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from rockit.boiler import settings as plant_settings
from rockit.boiler.burner import Burner
from rockit.boiler.config import BoilerConfig
from rockit.boiler.curve import set_point
from rockit.boiler.explain import explained
from rockit.boiler.inputs import PlantInputs
from rockit.boiler.model import MEASUREMENTS, RELAY_KEYS, VALVES, Override, Season
from rockit.boiler.plant import Decision, Site
from rockit.boiler.settings import BadSetting
from rockit.boiler.unit import PlantUnit, Snapshot
from rockit.boiler.windchill import wind_chill
from rockit.common.device import SAVING, Alarms, DeviceService, plain_text
from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.poll import NotBegun, Poller
from rockit.common.quality import Measurement, utc_now, utc_text
from rockit.common.record import Record
from rockit.common.remote.service import caller, operate, read

_SETPOINTS = ("outside_temp_average", "baseline_setpoint", "history_adjustment", "tha_setpoint", "effective_setpoint")
_BOILER_TEMPS = ("system_supply_temp", "outlet_temp", "inlet_temp", "flue_temp", "outlet_setpoint", "system_setpoint")
FORGETFUL = "; it will be forgotten at a restart, see the alarm state_not_saved"


def measured(inputs: PlantInputs, burner: Burner | None, site: Site) -> dict[str, Measurement]:
    """What this plant's daemon measures, the set points that it makes of that, and its relays. In °C, K, m/s."""
    boiler = burner.measures if burner is not None else ()
    relays = (RELAY_KEYS[name] for name in site.relays)
    return {key: MEASUREMENTS[key] for key in (*inputs.keys(), *_SETPOINTS, *boiler, *relays)}


class BoilerService(DeviceService):
    """What `daemons.clasp_boiler.connect()` talks to."""

    kind = "boiler"

    def __init__(
        self, config: BoilerConfig, config_name: str, unit: PlantUnit, burner: Burner | None, inputs: PlantInputs,
        poller: Poller, alarms: Alarms, counters: Callable[[], dict[str, int]], log: Log, record: Record,
    ) -> None:  # fmt: skip
        keys = measured(inputs, burner, config.site())
        super().__init__(alarms, log, config.allowed(), config_name, keys, counters, record)
        self._config = config
        self._scale = config.scale
        self._unit = unit
        self._burner = burner
        self._inputs = inputs
        self._poller = poller

    # What everybody may ask.

    @read
    def report_status(self) -> dict[str, Any]:
        """The plant now, in `unit`. What is not known now is absent; powers in %, hours in h, times in UTC."""
        now, snapshot = time.monotonic(), self._unit.snapshot
        age, connected = self._connection(snapshot, now)
        status: dict[str, Any] = {
            "date": utc_text(snapshot.polled if connected and snapshot.polled else utc_now()),
            "connected": connected,
            "alarms": self._alarms.active(),
            "unit": self._scale.value,
            "wind_unit": self._scale.speed_unit,
            "emergency": bool(snapshot.guard.emergency),
        }
        if age is not None:
            status["reading_age"] = round(age, 1)
        if not connected:
            status["offline_because"] = snapshot.offline_because or "its query loop hangs; see the log"
        if snapshot.guard.emergency:
            status["emergency_because"] = ", ".join(snapshot.guard.emergency)
        status.update(self._season(snapshot, now))
        status.update(self._temperatures(now))
        if snapshot.decision is not None:
            status["devices"] = self._devices(snapshot, snapshot.decision, now, connected)
            status["efficiency"] = self._efficiency()
        if connected and snapshot.relays is not None and VALVES[0] in snapshot.relays:
            status["valves"] = {"winter": snapshot.relays[VALVES[0]], "summer": snapshot.relays[VALVES[1]]}
        status.update(self._boiler(now))
        return status

    @read
    def settings(self) -> dict[str, Any]:
        """Every setting that can be changed, in the scale of the site; times in s or min (see `describe`)."""
        current = self._unit.settings
        return {
            name: plant_settings.outward(name, getattr(current, name), self._scale) for name in plant_settings.FIELDS
        }

    @read
    def explain(
        self, outside_temp: float | None = None, average: float | None = None, season: int | str | None = None,
        wind_speed: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Every step from the outside temperature to the set point, as it is now or for what is given.

        `average`: mean outside temperature of 96 h (absent: the present one; where that is not known, the outside
        temperature itself); `season`: winter or summer (absent: the present one).
        """
        settings, decision = self._unit.settings, self._unit.snapshot.decision
        current = None if decision is None else decision.memory.season.season
        wanted = (Season.WINTER if current is None else current.target) if season is None else season_of(season)
        mean = self._unit.mean.mean(time.time())
        if average is not None:
            mean = self._scale.celsius(finite(average, "average"))
        how = "given"
        if outside_temp is not None:
            outside = self._scale.celsius(finite(outside_temp, "outside_temp"))
            if wind_speed is not None and wanted is Season.WINTER:
                outside = wind_chill(outside, self._scale.metres_per_second(finite(wind_speed, "wind_speed")))
        elif decision is not None and decision.set_point is not None:
            outside, how = decision.set_point.outside, decision.outside_how
        else:
            text = "the outside temperature is not known, so that the highest set point holds; give one to see more"
            raise CommandError(Code.FAILED, text)
        found = set_point(settings.rules(), outside, mean, wanted)
        hours = None if average is not None else self._unit.mean.covered(time.time())
        return explained(found, settings, self._scale, wanted, how, hours)

    # Commands.

    @operate
    def set_season(self, season: int | str) -> str:
        """0 (or "winter"), 1 (or "summer"): go there and stay; "auto": as the weather wants."""
        if season == "auto":
            self._unit.note_season(None)
            self._poller.hurry()
            if self._unit.settings.mode_switch_lockout_time <= 0:
                raise CommandError(
                    Code.HELD, "noted, but seasons change by hand only while mode_switch_lockout_time is 0 or less"
                )
            return "the season changes by itself" + self._forgetful()
        wanted = season_of(season)
        wants = None if (decision := self._unit.snapshot.decision) is None else decision.wanted_season
        self._unit.note_season(wanted)
        text = self._submitted(lambda: self._unit.follow_season(wanted))
        if wants is not None and wants is not wanted:
            text += f" (the return asks for {wants.name})"
        return text + self._forgetful()

    @operate
    def set_override(self, device: str, override: str) -> str:
        """Who decides about a device: "auto", "on" or "off". Succeeded means: read back from its relay."""
        if device not in self._unit.site.sources:
            known = ", ".join(self._unit.site.sources)
            more = "; the valves follow the season" if device in VALVES else ""
            raise CommandError(Code.OUT_OF_RANGE, f"there is no device {device!r} to override; there are {known}{more}")
        try:
            wanted = Override(override)
        except ValueError:
            raise CommandError(Code.OUT_OF_RANGE, f"an override is auto, on or off, not {override!r}") from None
        self._unit.note_override(device, wanted)
        return self._submitted(lambda: self._unit.follow(device)) + self._forgetful()

    @operate
    def set_setting(self, name: str, value: Any) -> str:
        """Change a setting, in the scale of the site; it counts at once, and after a restart as well."""
        try:
            before, after = self._unit.set_setting(str(name), value)
        except BadSetting as error:
            raise CommandError(Code.OUT_OF_RANGE, str(error)) from None
        unit = plant_settings.unit_of(name, self._scale)
        old, new = (plant_settings.shown(name, one) for one in (before, after))
        text = f"{name} is {new} {unit} (was {old})" if unit else f"{name} is {new} (was {old})"
        if name == "mode_switch_lockout_time" and before <= 0 < after:
            text += "; unless one was set by hand, the season changes by itself from now on"
        who = caller()
        self._record.event("setting", name, plain_text(new), f"was {old}", who)
        self._poller.hurry()
        return text + self._forgetful()

    def _submitted(self, run: Callable[[], str]) -> str:
        """Have the query loop follow what was noted."""
        try:
            return self._poller.submit(run)
        except NotBegun:
            why = self._unit.snapshot.offline_because or "the relays take too long"
            raise CommandError(Code.DEVICE_OFFLINE, f"noted, and follows when the relays answer: {why}") from None
        except CommandError as error:
            if error.code == Code.BLOCKED:
                raise CommandError(Code.BLOCKED, "noted; it follows after the command that is running") from None
            self._unit.saved(SAVING)
            raise

    def _forgetful(self) -> str:
        return "" if self._unit.saved(SAVING) else FORGETFUL

    # For the base.

    def acknowledged(self, name: str) -> str:
        """Whoever acknowledges an alarm has seen to its cause."""
        self._unit.acknowledged(name)
        self._poller.hurry()
        causes = self._unit.snapshot.guard.emergency
        if name == "emergency" and causes:
            return f"; what is not needed against frost stays off until this is over: {', '.join(causes)}"
        return ""

    def description(self) -> dict[str, Any]:
        """Drivers, identities, ports, and what every setting means."""
        scale = self._scale
        boiler: dict[str, Any] = {}
        if self._burner is not None:
            boiler = {
                "boiler_driver": self._config.boiler_driver, "boiler_port": self._config.modbus_port,
                "boiler": dict(self._burner.snapshot.identity),
            }  # fmt: skip
        return {
            "driver": self._config.relay_driver, "device": dict(self._unit.snapshot.identity),
            "port": self._config.relay_port, **boiler, "relays": dict(self._config.relays),
            "settings": {
                name: {
                    "text": known["text"], "unit": plant_settings.unit_of(name, scale), "kind": str(known["kind"]),
                    **plant_settings.range_of(name, scale),
                }
                for name, known in plant_settings.FIELDS.items()
            },
        }  # fmt: skip

    def maximum_age(self, key: str) -> float:
        """See the base."""
        if key in _SETPOINTS:
            return self._unit.maximum_age
        if self._burner is not None and key in self._burner.measures:
            return self._burner.maximum_age
        return self._inputs.maximum_age(key)

    def readings(self) -> tuple[datetime | None, Mapping[str, Any]]:
        """See the base. In °C, as in the history, whatever the scale of the site."""
        snapshot = self._unit.snapshot
        known = self.values(time.monotonic())
        return snapshot.polled, {key: known.get(key) for key in self._measured}

    def values(self, now: float) -> dict[str, Any]:
        """Every measured value and set point that is known at `now` (monotonic s), in °C, K, m/s, %."""
        found = {key: sample.value for key, sample in self._inputs.samples(now).items()}
        if self._burner is not None:
            known = self._burner.values(now)
            found.update({key: known[key] for key in self._burner.measures if key in known})
        snapshot = self._unit.snapshot
        decision = snapshot.decision
        if decision is not None and now - snapshot.decided_at <= self._unit.maximum_age:
            if decision.set_point is not None:
                found |= {
                    "baseline_setpoint": decision.set_point.baseline, "tha_setpoint": decision.set_point.tha,
                    "history_adjustment": decision.set_point.adjustment,
                }  # fmt: skip
            found["effective_setpoint"] = decision.effective
            if (mean := self._unit.mean.mean(time.time())) is not None:
                found["outside_temp_average"] = mean
        if self._connection(snapshot, now)[1] and snapshot.relays is not None:
            found |= {RELAY_KEYS[name]: int(snapshot.relays[name]) for name in self._unit.site.relays}
        return found

    def states(self) -> dict[str, str]:
        """See the base. Names and words as Chronos's past has them."""
        now, snapshot = time.monotonic(), self._unit.snapshot
        _, connected = self._connection(snapshot, now)
        season = None if snapshot.decision is None else snapshot.decision.memory.season.season
        found = {"season": "unknown" if season is None else season.name}
        relays = snapshot.relays if connected else None
        for name in self._unit.site.relays:
            found[name] = "unknown" if relays is None else "on" if relays[name] else "off"
        for name in self._unit.site.sources:
            found[f"{name}_override"] = str(self._unit.request.override(name))
        found["emergency"] = ", ".join(snapshot.guard.emergency) or "none"
        return found

    # Parts of the status.

    def _connection(self, snapshot: Snapshot, now: float) -> tuple[float | None, bool]:
        """Age of the last good poll of the relays (None: there was none), and whether it is young enough."""
        if snapshot.polled_at is None:
            return None, False
        age = now - snapshot.polled_at
        return age, snapshot.connected and age <= self._unit.maximum_age

    def _season(self, snapshot: Snapshot, now: float) -> dict[str, Any]:
        if snapshot.decision is None or (season := snapshot.decision.memory.season.season) is None:
            return {}
        state = snapshot.decision.memory.season
        found = {
            "season": int(season), "season_label": season.name,
            "season_automatic": state.automatic and self._unit.settings.mode_switch_lockout_time > 0,
        }  # fmt: skip
        if season.changing:
            found["season_change_step"] = str(state.step)
        if snapshot.decision.season_ends is not None and not snapshot.guard.emergency:
            found["season_change_ends"] = _moment(snapshot.decision.season_ends, now)
        if (wanted := snapshot.decision.wanted_season) is not None:
            found["season_wanted"] = wanted.name
        return found

    def _temperatures(self, now: float) -> dict[str, Any]:
        scale, values = self._scale, self.values(now)
        keys = ("return_temp", "water_out_temp", "outside_temp", *_SETPOINTS, *_BOILER_TEMPS)
        found: dict[str, Any] = {
            key: (scale.difference if key == "history_adjustment" else scale.temperature)(values[key])
            for key in keys
            if key in values
        }
        if "wind_speed" in values:
            found["wind_speed"] = scale.speed(values["wind_speed"])
            if "outside_temp" in values:
                found["wind_chill_temp"] = scale.temperature(wind_chill(values["outside_temp"], values["wind_speed"]))
        rest = (key for key in values if key not in found and key not in RELAY_KEYS.values())
        found |= {key: values[key] for key in rest}
        if (decision := self._unit.snapshot.decision) is not None:
            found["outside_temp_source"] = decision.outside_how
            found["outside_temp_average_hours"] = self._unit.mean.covered(time.time())
            found["return_temp_source"] = decision.return_how
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}

    def _devices(self, snapshot: Snapshot, decision: Decision, now: float, connected: bool) -> dict[str, Any]:
        devices: dict[str, Any] = {}
        for name in self._unit.site.sources:
            state, wish = decision.memory.devices.get(name), decision.wishes[name]
            device: dict[str, Any] = {"override": str(self._unit.request.override(name))}
            why = wish.why.told(self._scale)
            if (held := snapshot.denied.get(name) or decision.held.get(name)) is not None:
                why += f"; held by: {held}"
            elif snapshot.guard.emergency:
                why += f"; emergency: {', '.join(snapshot.guard.emergency)}"
            if connected and (order := snapshot.guard.orders.get(name)) is not None:
                why += f"; told to be {'on' if order.on else 'off'}, and its relay does not follow"
            device["why"] = why
            if state is not None:
                device["run_hours"] = round(state.run_seconds / 3600, 3)
                device["starts"] = state.starts
                if connected and state.on is not None and state.changed_at is not None:
                    device["on"] = state.on
                    device["since"] = _moment(state.changed_at, now)
                    if not state.seen:
                        device["longer"] = True  # it was so when it was read first
            if name in decision.may_change:
                device["may_change_at"] = _moment(decision.may_change[name], now)
            devices[name] = device
        return devices

    def _efficiency(self) -> dict[str, Any]:
        told = self._unit.efficiency.told(len(self._unit.site.chillers))
        if "return_minus_setpoint" in told:
            told["return_minus_setpoint"] = self._scale.difference(told["return_minus_setpoint"])
        observed = round(self._unit.efficiency.observed() / 3600, 2)
        rounded = {key: round(value, 4) for key, value in told.items()}
        return {"hours": self._config.efficiency_hours, "observed_hours": observed, **rounded}

    def _boiler(self, now: float) -> dict[str, Any]:
        if self._burner is None:
            return {}
        snapshot, values = self._burner.snapshot, self._burner.values(now)
        found: dict[str, Any] = {"boiler_connected": snapshot.connected}
        if not snapshot.connected:
            found["boiler_offline_because"] = snapshot.offline_because
        for key in ("faults", "warnings"):
            if key in values:
                found[f"boiler_{key}"] = list(values[key])
        if snapshot.asked is not None:
            found["boiler_demand"] = round(self._scale.temperature(snapshot.asked), 3)
        return found


def season_of(season: int | str) -> Season:
    """WINTER or SUMMER of what a person or a script says. Raises CommandError."""
    words: dict[Any, Season] = {0: Season.WINTER, 1: Season.SUMMER, "winter": Season.WINTER, "summer": Season.SUMMER}
    if isinstance(season, bool) or not isinstance(season, int | str) or season not in words:
        raise CommandError(Code.OUT_OF_RANGE, f"a season is 0 (winter), 1 (summer) or auto, not {season!r}")
    return words[season]


def finite(value: Any, name: str) -> float:
    """A number that a person gave. Raises CommandError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CommandError(Code.OUT_OF_RANGE, f"{name} must be a number, not {value!r}")
    return float(value)


def _moment(monotonic: float, now: float) -> str:
    """A moment of the monotonic clock as UTC text."""
    return utc_text(utc_now() + timedelta(seconds=monotonic - now))
