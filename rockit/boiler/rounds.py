# SPDX-License-Identifier: GPL-3.0-or-later
"""Control and safety in turn, as the daemon and the rehearsal both run them. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from rockit.boiler import plant, safety
from rockit.boiler.plant import Decision, Facts, Site
from rockit.boiler.settings import Settings


def judged(
    decision: Decision, facts: Facts, settings: Settings, site: Site, guard: safety.Guard, now: float,
    lights: Mapping[str, bool] | None = None,
) -> safety.Verdict:  # fmt: skip
    """What the safety lets pass of a decision, and of `lights`."""
    season = decision.memory.season.season
    limits = safety.Limits(
        site.sources, site.valves, settings.valve_time, settings.return_low, settings.return_high, settings.freeze_off
    )
    waters, inside = plant.waters_of(facts, season), tuple(facts.boiler.values())
    seen = safety.Seen(facts.relays, facts.return_temp, waters, season, inside)
    return safety.judge({**decision.relays, **(lights or {})}, seen, limits, guard, now)
