# SPDX-License-Identifier: GPL-3.0-or-later
"""What simulated circulators have in common, whatever they speak: a loop of coolant, a set point, run or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.chiller.simulators.thermal import ThermalLoop
from rockit.common.simulate_device import FaultyDevice, Info, number


class LoopDevice(FaultyDevice):
    """`ambient`, `setpoint` and `coolant` (at the start) in °C, `load` in W. `THERMAL` are figures of ThermalLoop."""

    CONDITIONS: ClassVar[Mapping[str, str]] = {"ambient": "air temperature, degC", "load": "heat of the camera, W"}
    THERMAL: ClassVar[Mapping[str, float]] = {}

    def __init__(
        self,
        *,
        ambient: float = 20.0,
        load: float = 100.0,
        coolant: float = 20.0,
        setpoint: float = 20.0,
        running: bool = False,
        **line: Any,
    ) -> None:
        super().__init__(**line)
        self.loop = ThermalLoop(self.random, ambient, load, coolant, **self.THERMAL)
        self.setpoint = setpoint
        self.running = running

    def flow(self) -> float:
        """L/min."""
        return self.loop.full_flow if self.running else 0.0

    def step(self, dt: float) -> None:
        """See the base."""
        self.loop.step(dt, self.setpoint if self.running else None, self.flow())

    def change(self, key: str, value: str) -> None:
        """See the base."""
        if key == "ambient":
            self.loop.ambient = number(value, -60.0, 80.0)
        else:
            self.loop.load = number(value, 0.0, 10_000.0)

    def state(self) -> Info:
        """See the base."""
        return {
            "running": self.running, "setpoint": self.setpoint, "coolant_temp": self.loop.coolant,
            "camera_temp": self.loop.camera, "ambient": self.loop.ambient, "load": self.loop.load,
            "drive": self.loop.drive, "flow": self.flow(),
        }  # fmt: skip
