# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a decision somebody should know. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rockit.boiler.memory import Request
from rockit.boiler.model import BOILER, SOURCES, VALVES, Override, Season
from rockit.boiler.plant import Decision, Site
from rockit.boiler.safety import Guard
from rockit.common.conditions import Condition, Priority

CHANGE_SLACK = 900.0
"""A change of season that takes so much longer than its times is stuck, s."""
DIFFERS = 2.0
"""A boiler that holds another set point than it was asked for, by more than this, K, has another span."""
STARTING = 10.0
"""An input that nobody has told yet, when the daemon has just started, is not lost yet, s."""
SETTLED = 60.0
"""It has so long to take over a set point, s."""


@dataclass(frozen=True)
class Sources:
    """What is wrong with what the control goes by; each text is empty where nothing is."""

    sensors: Mapping[str, str] = field(default_factory=dict)
    """`return` and `outlet`, as far as the plant has them."""
    weather: str = ""
    boiler: str = ""
    refused: str = ""
    """Why the boiler does not take its set point."""
    faults: tuple[str, ...] = ()
    """What the boiler itself reports."""
    warnings: tuple[str, ...] = ()
    asked: float | None = None
    """The set point that the boiler acknowledged, °C."""
    holds: float | None = None
    """The one that it says it holds."""


def conditions(
    decision: Decision, guard: Guard, request: Request, site: Site, sources: Sources
) -> dict[str, Condition]:
    """Every alarm that is present, by name."""
    found: dict[str, Condition] = {}
    if guard.emergency:
        causes = ", ".join(guard.emergency)
        text = f"all sources are off, but against frost, until this is acknowledged: {causes}"
        found["emergency"] = Condition(text, Priority.CRITICAL)
    for name, failed in guard.failures.items():
        urgent = name in SOURCES + VALVES
        text = f"the relay of {name} was told to be {'on' if failed.on else 'off'} and is not"
        found[f"relay_{name}"] = Condition(text, Priority.HIGH if urgent else Priority.LOW)
    _of_sensors(found, decision, sources)
    _of_weather(found, decision, site, sources)
    _of_frost(found, decision, request)
    _of_the_boiler(found, decision, sources)
    if decision.season_ends is not None:
        text = "the change of season does not come to its end; see why each device is as it is"
        found["season_stuck"] = Condition(text, Priority.HIGH, delay=CHANGE_SLACK + decision.season_takes)
    return found


def _of_sensors(found: dict[str, Condition], decision: Decision, sources: Sources) -> None:
    why = sources.sensors.get("return", "")
    if why and decision.return_how == "boiler":
        text = f"the return sensor is lost, and the boiler's inlet stands for it: {why}"
        found["return_sensor"] = Condition(text, Priority.HIGH, delay=STARTING)
    elif decision.return_how == "none":
        season = decision.memory.season.season
        then = "heats against frost only" if season in (Season.WINTER, Season.TO_WINTER) else "does not cool"
        text = f"the return temperature is not known, and the plant {then}: {why or 'no sensor is configured'}"
        found["return_sensor"] = Condition(text, Priority.CRITICAL, delay=STARTING)
    if why := sources.sensors.get("outlet", ""):
        found["outlet_sensor"] = Condition(f"the outlet sensor is lost: {why}", Priority.LOW, delay=STARTING)


def _of_weather(found: dict[str, Condition], decision: Decision, site: Site, sources: Sources) -> None:
    if not site.weather or decision.outside_how == "measured":
        return
    instead = {
        "last known": f"the last known one counts, {(decision.outside_age or 0) / 60:.0f} min old",
        "average": "the mean of the last days counts",
        "none": "the highest set point holds",
    }[decision.outside_how]
    text = f"the outside temperature is not known, {instead}: {sources.weather}"
    priority = Priority.MEDIUM if decision.outside_how == "last known" else Priority.HIGH
    found["weather"] = Condition(text, priority, delay=STARTING)


def _of_frost(found: dict[str, Condition], decision: Decision, request: Request) -> None:
    if not decision.memory.frost:
        return
    season = decision.memory.season.season
    if season is not Season.WINTER:
        text = "the water may freeze, and the plant is not in winter; it goes there where it freezes outside as well"
    elif request.override(BOILER) is Override.OFF:
        text = "the water may freeze: the boiler heats although it was switched off by override"
    else:
        text = "the water may freeze: the boiler heats against it"
    found["frost"] = Condition(text, Priority.CRITICAL)


def _of_the_boiler(found: dict[str, Condition], decision: Decision, sources: Sources) -> None:
    if decision.memory.season.season not in (Season.WINTER, Season.TO_WINTER):
        return
    if sources.boiler:
        text = f"the boiler does not answer, and heats by its own settings when its relay is on: {sources.boiler}"
        found["boiler_offline"] = Condition(text, Priority.HIGH, delay=STARTING, logged=False)
    if sources.refused:
        text = f"the boiler does not take its set point, and heats by its own settings: {sources.refused}"
        found["boiler_refuses"] = Condition(text, Priority.HIGH, delay=STARTING)
    if sources.faults:
        found["boiler_fault"] = Condition(f"the boiler reports: {', '.join(sources.faults)}", Priority.HIGH)
    if sources.warnings:
        found["boiler_warning"] = Condition(f"the boiler reports: {', '.join(sources.warnings)}", Priority.LOW)
    if sources.asked is not None and sources.holds is not None and abs(sources.asked - sources.holds) > DIFFERS:
        text = f"the boiler was asked for {sources.asked:.1f} °C and holds {sources.holds:.1f} °C; see setpoint_span"
        found["boiler_setpoint"] = Condition(text, Priority.MEDIUM, delay=SETTLED)
