# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Lochinvar boiler with its Modbus board, after the maker's SYNC-MODB, MODB I-O and FB-MODB instructions.

Not documented, and assumed: that an open sensor reads 0x8000; that closed contacts and well limits read 1; that the
status is 0 while nothing is asked for; which registers beyond those of the instructions are refused (all).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rockit.boiler.simulators.in_plant import InPlant
from rockit.boiler.simulators.modbus_slave import (
    BAD_VALUE,
    COILS,
    INPUT,
    NO_ADDRESS,
    ModbusSlave,
    Rejection,
)
from rockit.common.simulate_device import Fault, Info, number, whole

_OPEN = 0x8000
_SENSORS = ("supply", "outlet", "inlet", "flue")
_LIMITS = {0: 0xFFFF, 1: 0xFFFF, 2: 100, 3: 175, 4: 1300, 5: 0xFFFF, 6: 1300, 7: 0xFFFF}
"""Holding registers 40001 to 40008 by their wire address, and the most that each takes."""


def _sensor(text: str) -> None:
    if text not in _SENSORS:
        raise ValueError(f"takes one of {', '.join(_SENSORS)}, not {text!r}")


class Lochinvar(InPlant, ModbusSlave):
    """One boiler. `tlow` and `thigh`, °C: what it takes 2 V and 10 V for. `own`, °C: its set point without Modbus.

    Commands that are older than `timeout` s are forgotten.

    `written` is what was written last: (wire address of the holding register, value).
    """

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "own": "set point that it uses when Modbus gives none, degC",
        "contact": "the enabling contact, 0 or 1 (the plant's relay moves it as well)",
    }
    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        **ModbusSlave.DEVICE_FAULTS,
        "lockout": Fault("locked out with code N: the burner stays off", "7", whole, once=False),
        "blocking": Fault("blocked with code N: no demand while it lasts", "3", whole, once=False),
        "sensor": Fault("a sensor is open: supply, outlet, inlet or flue", "outlet", _sensor, once=False),
        "deaf": Fault("the rate command is acknowledged and not stored"),
    }

    def __init__(
        self,
        *,
        tlow: float = 21.0,
        thigh: float = 82.0,
        own: float = 60.0,
        timeout: float = 240.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not tlow < thigh:
            raise ValueError("tlow must be below thigh")
        self.tlow, self.thigh, self.own, self.timeout = tlow, thigh, own, timeout
        self.written: deque[tuple[int, int]] = deque(maxlen=1000)
        self._holding = dict.fromkeys(_LIMITS, 0)
        self._written_at = dict.fromkeys(_LIMITS, -math.inf)
        self._enabling = False
        with self.world.lock:
            self.decide()

    # --- what it decides

    def _fresh(self, address: int, bit: int) -> bool:
        """Whether it takes that register from Modbus: the bit of 40001 says so, and both are not too old."""
        oldest = min(self._written_at[0], self._written_at[address])
        return bool(self._holding[0] >> bit & 1) and self.heard_of - oldest <= self.timeout

    def decide(self) -> None:
        """See the base. An enable over Modbus stands for the contact; without it the contact is as its relay is."""
        burner = self.world.burner
        if self._fresh(1, 0):
            burner.contact, self._enabling = bool(self._holding[1] & 1), True
        elif self._enabling:
            burner.contact, self._enabling = self.world.relays.get("boiler", False), False
        setpoint: float | None = self.own
        if self._fresh(2, 2):
            volts = self._holding[2] / 10
            setpoint = self.tlow + (volts - 2) / 8 * (self.thigh - self.tlow) if volts >= 2 else None
        well = self.fault("blocking") is None
        burner.setpoint = setpoint if burner.contact and well else None

    # --- registers

    def read_registers(self, function: int, address: int, count: int) -> Sequence[int]:
        """See the base."""
        with self.world.lock:
            have = self._inputs() if function == INPUT else self._held()
        try:
            return [have[at] for at in range(address, address + count)]
        except KeyError:
            raise Rejection(NO_ADDRESS) from None

    def _held(self) -> dict[int, int]:
        supply = self._temperature("supply", self.world.burner.supply_temp)
        return {**self._holding, 6: supply}

    def _inputs(self) -> dict[int, int]:
        burner = self.world.burner
        setpoint = 0 if burner.setpoint is None else round(burner.setpoint * 2)
        pump = 0 if burner.setpoint is None else 100
        rate = round(burner.firing_rate)
        status = 10 if not burner.contact else 21 if burner.setpoint is not None else 0
        return {
            0: sum(bit << at for at, bit in enumerate(self._discrete())), 1: 0, 2: 0,
            3: setpoint, 4: pump, 5: 100, 6: rate, 7: setpoint,
            8: self._temperature("outlet", burner.outlet_temp),
            9: self._temperature("inlet", burner.inlet_temp),
            10: self._temperature("flue", burner.flue_temp),
            11: rate, 12: pump, 13: status, 14: int(self.fault("blocking") or 0), 15: burner.lockout,
        }  # fmt: skip

    def _temperature(self, sensor: str, celsius: float) -> int:
        return _OPEN if self.fault("sensor") == sensor else round(celsius * 10) & 0xFFFF

    def _discrete(self) -> list[bool]:
        return [True, self.world.burner.setpoint is not None, *[True] * 5, self.world.burner.flame, *[False] * 56]

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        """See the base."""
        with self.world.lock:
            have = [bool(self._holding[1] >> at & 1) for at in range(16)] if function == COILS else self._discrete()
        if address + count > len(have):
            raise Rejection(NO_ADDRESS)
        return have[address : address + count]

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """See the base. All or none."""
        for at, value in enumerate(values, address):
            if at not in _LIMITS:
                raise Rejection(NO_ADDRESS)
            if value > _LIMITS[at]:
                raise Rejection(BAD_VALUE)
        for at, value in enumerate(values, address):
            self.written.append((at, value))
            if at == 2 and self.spend("deaf") is not None:
                continue
            self._holding[at], self._written_at[at] = value, self.heard_of
        with self.world.lock:
            self.decide()

    def write_coils(self, address: int, values: Sequence[bool]) -> None:
        """See the base: the coils are the bits of 40002."""
        if address + len(values) > 16:
            raise Rejection(NO_ADDRESS)
        image = self._holding[1]
        for at, value in enumerate(values, address):
            image = image | 1 << at if value else image & ~(1 << at)
        self.write_registers(1, (image,))

    # --- switches

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See the base."""
        if name == "lockout":
            self.lock_out(argument)
        with self.world.lock:
            self.decide()

    def change(self, key: str, value: str) -> None:
        """See the base."""
        if key == "contact":
            self.close_contact(value)
            return
        self.own = number(value, 0.0, 100.0)
        with self.world.lock:
            self.decide()

    def state(self) -> Info:
        """The burner, and what was written to the registers of the command."""
        with self.world.lock:
            return {
                **super().state(), "configuration": float(self._holding[0]),
                "rate": float(self._holding[2]), "by_modbus": self._fresh(2, 2),
            }  # fmt: skip
