# SPDX-License-Identifier: GPL-3.0-or-later
"""What simulated boilers share: each stands in a `World`, whose burner it commands and whose water it measures."""

from __future__ import annotations

from typing import Any

from rockit.boiler.simulators.world import World, shared
from rockit.common.simulate_device import FaultyDevice, Info, number


class InPlant(FaultyDevice):
    """`world` names the plant that the boiler stands in; without a name it has one of its own.

    A boiler defines `decide`, which is called with the world's lock held: when it is asked, each second, and when a
    switch is moved. It tells the world's burner what is asked of the water.
    """

    def __init__(self, *, world: str = "", now: float | None = None, **options: Any) -> None:
        super().__init__(now=now, **options)
        self.world = shared(world, now or 0.0) if world else World(now=now or 0.0, speed=self.speed)
        # The control of the boiler is here: it tells the burner everything that is asked of it.
        self.world.burner.own_setpoint = None
        self.heard_of = now or 0.0
        """The newest time that it heard of, s."""

    def decide(self) -> None:
        """What follows from the commands, their age and the contact."""
        raise NotImplementedError

    def live(self, now: float) -> None:
        """The world and the boiler go on until `now`."""
        self.heard_of = max(self.heard_of, now)
        with self.world.lock:
            self.world.advance(now)
            self.decide()

    def asked(self, now: float) -> None:
        """See `ModbusSlave.asked`."""
        self.live(now)

    def step(self, dt: float) -> None:  # noqa: ARG002  it asks for the time
        """It decides on its own too: a command lapses although nobody asks."""
        self.live(self.line_time)

    def close_contact(self, text: str) -> None:
        """The enabling contact as a condition: 0 or 1. Raises ValueError."""
        on = bool(number(text, 0, 1))
        with self.world.lock:
            self.world.switch("boiler", on)
            self.decide()

    def lock_out(self, code: str | None) -> None:
        """The burner is locked out with a code, or (None) reset."""
        with self.world.lock:
            self.world.burner.lockout = int(code or 0)

    def state(self) -> Info:
        """The burner."""
        with self.world.lock:
            burner = self.world.burner
            return {
                "setpoint": "none" if burner.setpoint is None else burner.setpoint, "contact": burner.contact,
                "flame": burner.flame, "lockout": float(burner.lockout), "firing_rate": burner.firing_rate,
                "outlet_temp": burner.outlet_temp, "inlet_temp": burner.inlet_temp, "supply_temp": burner.supply_temp,
            }  # fmt: skip
