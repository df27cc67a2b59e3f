# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated boiler with a Honeywell SOLA control, after Camus' instructions and what a Burnham Alpine was seen to hold.

Not documented, and assumed: what an open or short sensor reads (the end of the scale); that a demand over Modbus has no
end (`timeout` gives it one); which registers there are beyond the known ones (none).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rockit.boiler.simulators.in_plant import InPlant
from rockit.boiler.simulators.modbus_slave import BAD_VALUE, HOLDING, NO_ADDRESS, NO_FUNCTION, ModbusSlave, Rejection
from rockit.common.simulate_device import Fault, whole

_STATES = ("supply", "return", "hot_water", "stack", "header", "input")
"""Sensors in the order of registers 48 to 53."""
_DEMAND, _SETPOINT, _RATE_SOURCE, _RATE = 0x0235, 0x0243, 0x0244, 0x0245


def _sensor(text: str) -> None:
    if text not in _STATES:
        raise ValueError(f"takes one of {', '.join(_STATES)}, not {text!r}")


class Sola(InPlant, ModbusSlave):
    """One boiler. `rpm` is its fan's speed at 100 %: it tells firing rates as speeds then; 0: in percent.

    A demand that is older than `timeout` s is forgotten; 0: never. `written` are the last writes: (address, value).
    """

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "contact": "the enabling contact, 0 or 1 (the plant's relay moves it as well)",
    }
    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        **ModbusSlave.DEVICE_FAULTS,
        "lockout": Fault("locked out with code N: the burner stays off", "67", whole, once=False),
        "hold": Fault("held with code N: no demand while it lasts", "5", whole, once=False),
        "open": Fault("a sensor is open: supply, return, hot_water, stack, header or input", "supply", _sensor,
                      once=False),
        "short": Fault("a sensor is short", "supply", _sensor, once=False),
        "deaf": Fault("a write is acknowledged and not stored"),
    }  # fmt: skip

    def __init__(self, *, rpm: int = 0, timeout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 <= rpm <= 0x7FFF:
            raise ValueError("a speed is 0 to 32767 rpm")
        self.rpm, self.timeout = rpm, timeout or math.inf
        self.written: deque[tuple[int, int]] = deque(maxlen=1000)
        self._commands = {_DEMAND: 0, _SETPOINT: 600, _RATE_SOURCE: 0, _RATE: 0}
        self._demanded_at = 0.0

    def decide(self) -> None:
        """See the base."""
        demand = bool(self._commands[_DEMAND] & 0x8000) and self.heard_of - self._demanded_at <= self.timeout
        wanted = demand and self.fault("hold") is None
        self.world.burner.setpoint = self._commands[_SETPOINT] / 10 if wanted else None

    def read_registers(self, function: int, address: int, count: int) -> Sequence[int]:
        """See the base: function 3 only."""
        if function != HOLDING:
            raise Rejection(NO_FUNCTION)
        with self.world.lock:
            have = {**self._measured(), **self._states(), **self._commands}
        try:
            return [have[at] for at in range(address, address + count)]
        except KeyError:
            raise Rejection(NO_ADDRESS) from None

    def _measured(self) -> dict[int, int]:
        burner = self.world.burner
        asked, fires = (100.0 if burner.setpoint is not None else 0.0), burner.firing_rate
        return {
            7: self._temperature("supply", burner.outlet_temp), 8: self._rate(asked), 9: self._rate(fires),
            10: 500 if burner.flame else 0, 11: self._temperature("return", burner.inlet_temp),
            12: self._temperature("hot_water", 20.0), 13: self._temperature("header", burner.supply_temp),
            14: self._temperature("stack", burner.flue_temp), 15: 0, 16: self._commands[_SETPOINT], 193: self.rpm,
        }  # fmt: skip

    def _states(self) -> dict[int, int]:
        burner = self.world.burner
        state = 14 if burner.lockout else 12 if burner.flame else 4 if burner.setpoint is not None else 2
        sensors = {48 + at: 2 if self.fault("open") == name else 3 if self.fault("short") == name else 1
                   for at, name in enumerate(_STATES)}  # fmt: skip
        return {33: state, 34: burner.lockout, 40: int(self.fault("hold") or 0), **sensors}

    def _temperature(self, sensor: str, celsius: float) -> int:
        if self.fault("open") == sensor:
            return -400 & 0xFFFF
        return 1300 if self.fault("short") == sensor else round(celsius * 10) & 0xFFFF

    def _rate(self, percent: float) -> int:
        return round(percent * self.rpm / 100) if self.rpm else round(percent * 10) | 0x8000

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """See the base. All or none."""
        if any(at not in self._commands for at in range(address, address + len(values))):
            raise Rejection(NO_ADDRESS)
        if any(at == _SETPOINT and value > 1300 for at, value in enumerate(values, address)):
            raise Rejection(BAD_VALUE)
        self.written.extend(enumerate(values, address))
        if self.spend("deaf") is None:
            self._commands.update(enumerate(values, address))
            if address <= _DEMAND < address + len(values):
                self._demanded_at = self.heard_of
        with self.world.lock:
            self.decide()

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See the base."""
        if name == "lockout":
            self.lock_out(argument)
        with self.world.lock:
            self.decide()

    def change(self, key: str, value: str) -> None:  # noqa: ARG002  there is but one
        """See the base."""
        self.close_contact(value)
