# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated boiler: its burner, and the control in it that fires to a set point.

150 kW that modulate from 20 to 100 % at 2 %/s, 45 s from demand to flame, 30 s of post-purge; the outlet derates from
85 °C and stops at 90 °C (Lochinvar FTXL and SYNC manuals). Assumed: it starts 3 K below its set point and stops 5 K
above, stays off 300 s after every flame, restarts after its limit 10 K below it, and its efficiency falls straight from
0.97 at 30 °C of inlet to 0.88 at 80 °C.
"""

from __future__ import annotations

IGNITION, POSTPURGE = 45.0, 30.0
"""s."""
LEAST, SLEW = 0.2, 0.02
"""Lowest firing rate, and its change in a second; parts of 1."""
DERATE, LIMIT = 85.0, 90.0
BELOW, ABOVE = 3.0, 5.0
CAPACITY = 250e3
"""Of the water and the metal in the boiler, J/K."""


class Burner:
    """The boiler as its control sees it. Temperatures in °C, powers in %."""

    def __init__(self, *, power: float = 150e3, rest: float = 300.0, own_setpoint: float | None = None) -> None:
        self.contact = False
        """The enabling contact, as the plant's relay closes it."""
        self.setpoint: float | None = None
        """What its control asks of the water now; None: no demand, or `own_setpoint` if it has one."""
        self.own_setpoint = own_setpoint
        """What it fires to by itself with the contact closed, when nobody gives a set point. None: it stays off."""
        self.supply_temp = self.outlet_temp = self.inlet_temp = self.flue_temp = 15.0
        self.firing_rate = 0.0
        self.flame = False
        self.lockout = 0
        """A code of its control other than 0 keeps the burner off."""
        self.phase = "standby"
        """`standby`, `ignition`, `run` or `postpurge`."""
        self.pump = False
        self.power, self.rest = power, rest
        """W of fuel at 100 %; s that it stays off after a flame."""
        self.starts = 0
        """Flames so far."""
        self.fuel = 0.0
        """J burnt so far."""
        self.limited = False
        """The outlet was at its limit and is not yet 10 K below."""
        self._left = 0.0
        self._resting = 0.0

    def fire(self, dt: float, carried: float) -> float:
        """Let `dt` s pass; returns the heat that goes into its water, W.

        `carried` is what the flow takes away for each K between outlet and inlet, W/K.
        """
        target = self.setpoint if self.setpoint is not None else self.own_setpoint
        outlet = self.outlet_temp
        if outlet >= LIMIT:
            self.limited = True
        elif self.limited and outlet < LIMIT - 10.0:
            self.limited = False
        wanted = self.contact and target is not None and not self.lockout and not self.limited
        phase = self.phase
        if phase == "run":
            if wanted and target is not None and outlet <= target + ABOVE:
                return self._modulate(dt, carried, target)
            self._extinguish("postpurge")
        elif phase == "standby":
            self._resting -= dt
            if wanted and target is not None and outlet < target - BELOW and self._resting <= 0.0:
                self.phase, self._left = "ignition", IGNITION
        elif phase == "ignition":
            self._left -= dt
            if not wanted:
                self._extinguish("standby")
            elif self._left <= 0.0:
                self.phase, self.flame = "run", True
                self.firing_rate = 100.0 * LEAST
                self.starts += 1
        else:
            self._left -= dt
            self._resting -= dt
            if self._left <= 0.0:
                self.phase = "standby"
        self.pump = self.contact or self.phase != "standby"
        # Flue gas cools to the water of the boiler.
        self.flue_temp += (outlet - self.flue_temp) * dt / (120.0 + dt)
        return 0.0

    def _extinguish(self, phase: str) -> None:
        if self.flame:
            self._resting = self.rest
        self.phase, self._left = phase, POSTPURGE
        self.flame, self.firing_rate = False, 0.0

    def _modulate(self, dt: float, carried: float, target: float) -> float:
        """What the flow takes away and a part of what is missing: no integral is needed, and any step is stable."""
        outlet, inlet = self.outlet_temp, self.inlet_temp
        slope = 0.25 * (CAPACITY / (dt if dt > 60.0 else 60.0) + carried)
        efficiency = 0.97 - 0.0018 * (inlet - 30.0)
        efficiency = 0.97 if efficiency > 0.97 else 0.88 if efficiency < 0.88 else efficiency
        wanted = (carried * (outlet - inlet) + slope * (target - outlet)) / (efficiency * self.power)
        now = 0.01 * self.firing_rate
        step = SLEW * dt
        most = 1.0 if outlet <= DERATE else 1.0 - (1.0 - LEAST) * (outlet - DERATE) / (LIMIT - DERATE)
        wanted = now + step if wanted > now + step else now - step if wanted < now - step else wanted
        wanted = most if wanted > most else wanted
        wanted = LEAST if wanted < LEAST else wanted
        self.firing_rate = 100.0 * wanted
        self.pump = True
        self.flue_temp += (inlet + 10.0 + 25.0 * wanted - self.flue_temp) * dt / (60.0 + dt)
        burnt = wanted * self.power
        self.fuel += burnt * dt
        return efficiency * burnt
