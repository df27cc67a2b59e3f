# SPDX-License-Identifier: GPL-3.0-or-later
"""What a decision needs of earlier ones, and what people asked for. It survives a restart. No I/O, no clock.

Fields that end in `_at` are moments: monotonic seconds while the daemon runs, UTC seconds on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rockit.boiler.model import Override, Season

TREND_EVERY = 60.0
"""The trend is made of one value a minute, as Chronos logs them, s."""
TREND_GAP = 150.0
"""After so long without a value a trend begins anew, s."""
RISING = 0.2 / 1.8
"""The return rises when it is more than this above the value logged last, K (Chronos: 0.2 °F); it falls when below."""


@dataclass(frozen=True, slots=True)
class Request:
    """What people asked for: overrides by device."""

    overrides: Mapping[str, Override] = field(default_factory=dict)

    def override(self, name: str) -> Override:
        """Who decides about that device."""
        return self.overrides.get(name, Override.AUTO)


class Step(StrEnum):
    """Where a change of season is. Each step has been reached when the relays have been read to be so for its time."""

    STOP = "sources off"
    CLOSE = "both valves close"
    OPEN = "the valve opens"


@dataclass(frozen=True, slots=True)
class SeasonState:
    """The season, and the change of it. `season` None: not known yet, the relays have never been read."""

    season: Season | None = None
    step: Step = Step.STOP
    step_at: float | None = None
    """Since when the relays have been read as this step wants them."""
    since_at: float | None = None
    """When the season in force was entered; a new one begins with its release."""
    automatic: bool = True
    asked_at: float | None = None
    """Since when the weather has wanted another season without a break."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """One source as its relay was read."""

    on: bool | None = None
    changed_at: float | None = None
    read_at: float | None = None
    run_seconds: float = 0.0
    starts: int = 0
    seen: bool = False
    """Whether `changed_at` is when it changed, and not only when it was read first."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The return temperature minute by minute: what was logged last, and the signs of the last three changes."""

    logged: float | None = None
    logged_at: float | None = None
    deltas: tuple[int, ...] = ()

    def sign(self, value: float) -> int:
        """1 where it rises against what was logged last, -1 where it falls, else 0."""
        if self.logged is None:
            return 0
        return 1 if value - self.logged > RISING else -1 if value < self.logged else 0

    def noted(self, value: float | None, now: float) -> Trend:
        """The trend with a value, or without one (None); a long gap ends it: what was not measured has no trend."""
        if self.logged is None or self.logged_at is None or now - self.logged_at > TREND_GAP:
            return Trend() if value is None else Trend(value, now)
        if value is None or now - self.logged_at < TREND_EVERY:
            return self
        return Trend(value, now, (*self.deltas[-2:], self.sign(value)))

    @property
    def mean(self) -> float | None:
        """Mean of the last three signs; None where there are fewer."""
        return sum(self.deltas) / 3 if len(self.deltas) == 3 else None


@dataclass(frozen=True, slots=True)
class Memory:
    """All that one decision leaves for the next."""

    season: SeasonState = field(default_factory=SeasonState)
    devices: Mapping[str, DeviceState] = field(default_factory=dict)
    trend: Trend = field(default_factory=Trend)
    heating: bool = False
    """What the hysteresis of the boiler said last."""
    frost: bool = False
    frost_at: float | None = None
    """Since when the water has been too cold in summer."""
    return_known_at: float | None = None
    outside: float | None = None
    """The last known outside temperature, °C."""
    outside_at: float | None = None
    wind: float | None = None
    far_at: float | None = None
    """Since when the return has been beyond the set point in summer without coming nearer."""
    far_above: bool = False
    far_value: float = 0.0
    """The return then, °C."""
    blind_at: float | None = None
    """When the last heating of water of unknown temperature began."""
