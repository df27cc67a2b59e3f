# SPDX-License-Identifier: GPL-3.0-or-later
"""What survives a restart: what people asked for, and what a decision needs of earlier ones. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rockit.chiller import setpoint
from rockit.chiller.model import ChillerMode


@dataclass(frozen=True)
class Request:
    """What people asked for. It survives a restart. `enabled` and `setpoint` None: nobody asked, leave as found."""

    mode: ChillerMode = ChillerMode.AUTOMATIC
    enabled: bool | None = None
    setpoint: float | None = None


@dataclass(frozen=True)
class Memory:
    """What a decision needs of earlier ones. It survives a restart; fields that end in `_at` are times."""

    demand: bool | None = None
    """What the power channels asked for last."""
    demand_on_at: float | None = None
    antifreeze: bool = False
    air: float | None = None
    air_at: float | None = None
    air_missing_at: float | None = None
    """Since when nobody tells the temperature of the air."""
    found: bool | None = None
    """Whether it shall run where nobody asks: as it was first seen, or asked for last, or changed at its own panel."""
    pressed: bool = False
    """Whether that was somebody at its panel."""
    found_at: float | None = None
    running: bool | None = None
    switched_at: float | None = None
    goal: bool | None = None
    attempts: int = 0
    tried_at: float | None = None
    tripped: bool = False
    standby_sent: bool = False
    standby_at: float | None = None
    faults_asked_at: float | None = None
    faults_read: bool = False
    faults: tuple[str, ...] = ()
    trips: int = 0
    tripped_at: float | None = None
    setpoint: setpoint.Memory = field(default_factory=setpoint.Memory)

    def restarted(self) -> Memory:
        """Whoever has just started has asked no other daemon yet: what was missing is missing from now on."""
        return replace(self, air_missing_at=None, setpoint=replace(self.setpoint, missing_at=None))

    def of_the_site(self) -> Memory:
        """What stays true when another chiller takes this one's place."""
        return Memory(
            demand=self.demand, demand_on_at=self.demand_on_at,
            antifreeze=self.antifreeze, air=self.air, air_at=self.air_at,
        )  # fmt: skip

    def forgiven(self) -> Memory:
        """After an operator ordered a start, a stop or a mode: tries and trips count from zero again."""
        return replace(self, attempts=0, tried_at=None, trips=0, tripped_at=None)

    def set_point_forgiven(self) -> Memory:
        """After an operator ordered a set point. A script that does so every minute must not end a lockout."""
        return replace(self, setpoint=self.setpoint.forgiven())

    def acknowledged(self, alarm: str) -> Memory:
        """After an operator acknowledged that alarm: what was given up with it is tried again, and nothing else."""
        if alarm in ("start_failed", "stop_failed"):
            return replace(self, attempts=0, tried_at=None)
        if alarm == "too_many_device_alarms":
            return self.forgiven()
        if alarm == "setpoint_failed":
            return self.set_point_forgiven()
        if alarm == "device_alarm" and not self.tripped:
            return replace(self, faults=())
        return self
