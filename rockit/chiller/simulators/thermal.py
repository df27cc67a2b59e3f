# SPDX-License-Identifier: GPL-3.0-or-later
"""Heat in a coolant loop: a thermoelectric chiller, its pump, and a camera that warms the coolant.

A lumped model of the loop, explicit Euler with steps of 1 s:
    C dTc/dt = Pcam + UAh (Tamb − Tc) + Ppump − Q,    cooling Q = u · clip(Q0 + k (Tc − Tamb), 0, Q0),
    heating Q = u · 250 W with u < 0. The capacity curve is that of ThermoTek's RC-3U scaled to 300 W.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

WATER = 4180.0 / 60.0
"""W/K that 1 L/min of water carries."""


def clip(value: float, low: float, high: float) -> float:
    """`value`, or the end of the range that it is beyond."""
    return min(max(value, low), high)


@dataclass
class ThermalLoop:
    """The loop's state, and one step of it. Temperatures in °C, powers in W, capacities in J/K, conductances in W/K."""

    random: random.Random
    """Where the sensor's noise comes from."""
    ambient: float = 20.0
    load: float = 100.0
    """What the camera gives off."""
    coolant: float = 22.0
    full_flow: float = 3.0
    """L/min at which the camera's heat exchanger has its nominal conductance."""

    heat_capacity: float = 7000.0
    loss: float = 2.5
    pump_power: float = 15.0
    cooling: float = 300.0
    cooling_slope: float = 8.53
    heating: float = 250.0
    camera_capacity: float = 2000.0
    camera_conductance: float = 20.0
    gain: float = 0.25
    """Of the controller, 1/K."""
    reset_time: float = 300.0
    """Of the controller, s."""
    slew: float = 0.02
    """Most that the drive changes in 1 s."""
    sensor_lag: float = 3.0
    noise: float = 0.02

    camera: float = field(init=False)
    sensor: float = field(init=False)
    """Supply sensor before noise and rounding."""
    supply: float = field(init=False)
    """Supply temperature as the device reads it: lagged, noisy, in steps of 0.1."""
    drive: float = field(init=False, default=0.0)
    """-1 (full heating) to 1 (full cooling)."""
    camera_heat: float = field(init=False, default=0.0)
    """What passes from the camera to the coolant now."""
    _integral: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.camera = self.sensor = self.coolant
        self.supply = round(self.coolant, 1)

    def capacity(self) -> float:
        """Cooling power at full drive, W."""
        return clip(self.cooling + self.cooling_slope * (self.coolant - self.ambient), 0.0, self.cooling)

    def return_temp(self, flow: float) -> float:
        """Temperature of the coolant that comes back at `flow` L/min, °C."""
        return self.coolant + (self.camera_heat / (flow * WATER) if flow > 0.05 else 0.0)

    def step(self, dt: float, setpoint: float | None, flow: float) -> None:
        """`dt` seconds with the controller at `setpoint` (None: standby, no drive) and `flow` L/min (0: pump off)."""
        wanted = 0.0 if setpoint is None else self._controller(self.supply - setpoint, dt)
        if setpoint is None:
            self._integral = self.drive = 0.0
        self.drive += clip(wanted - self.drive, -self.slew * dt, self.slew * dt)
        pumped = 0.0
        if flow > 0.0:
            pumped = self.drive * (self.capacity() if self.drive >= 0 else self.heating)
        exchange = self.camera_conductance * clip(flow / self.full_flow, 0.0, 1.0)
        self.camera_heat = exchange * (self.camera - self.coolant)
        gain = self.camera_heat + self.loss * (self.ambient - self.coolant) - pumped
        if flow > 0.0:
            gain += self.pump_power
        self.camera += (self.load - self.camera_heat) / self.camera_capacity * dt
        self.coolant += gain / self.heat_capacity * dt
        self.sensor += (self.coolant - self.sensor) * min(1.0, dt / self.sensor_lag)
        self.supply = round(self.sensor + self.random.gauss(0.0, self.noise), 1)

    def _controller(self, error: float, dt: float) -> float:
        """PI on the measured supply temperature; it stops integrating while the drive is at its end."""
        step = self.gain * error * dt / self.reset_time
        raw = self.gain * error + self._integral
        saturated = raw > 1.0 if step > 0 else raw < -1.0
        if not saturated:
            self._integral = clip(self._integral + step, -1.0, 1.0)
        return clip(self.gain * error + self._integral, -1.0, 1.0)
