# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Eastron SDM630 meters on one Modbus RTU line, after Eastron's register list of the SDM630.

Not documented, and assumed: that registers within the list which mean nothing read 0, and that a read which splits a
value is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.common.simulate_device import Fault, FaultyDevice, Info, number, whole

_LAST = 0x0181
_LONGEST = 80
_STEP = 100.0
"""Each further unit carries so much more power than the one before, W, so that one cannot pass for another."""


class _Unit:
    """One meter: the load on its three phases, and its counters in kWh."""

    def __init__(self, extra: float, energy: float) -> None:
        self.extra = extra
        self.imported = energy
        self.exported = 0.0


class Sdm630(FaultyDevice):
    """`units` meters with the addresses `first` and up; the last `dead` of them do not answer.

    `power` in W is the first one's, + import; each further one has 100 W more. `voltage` in V, `energy` in kWh is what
    the first had imported when it was switched on; each further one 1000 kWh more. Power factor 1, all phases alike.
    """

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "power": "power of the first unit, W, + import; each further unit has 100 W more",
        "voltage": "voltage of each phase, V",
        "energy": "energy that the first unit has imported, kWh; each further unit has 1000 kWh more",
        "frequency": "frequency, Hz",
        "dead": "how many units, from the last one on, do not answer",
    }
    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "refuse": Fault("the unit answers with exception N", "4", whole),
    }

    def __init__(
        self,
        *,
        units: int = 1,
        dead: int = 0,
        first: int = 1,
        power: float = 1500.0,
        voltage: float = 230.0,
        energy: float = 1234.5,
        frequency: float = 50.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 1 <= units <= 247 or not 0 <= dead <= units or not 1 <= first <= 248 - units:
            raise ValueError("a line has 1 to 247 units with addresses up to 247, and no more dead ones than units")
        self.first, self.dead = first, dead
        self.power, self.voltage, self.frequency = power, voltage, frequency
        self._units = [_Unit(_STEP * n, energy + 1000.0 * n) for n in range(units)]
        self._heard = bytearray()

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """Questions are eight bytes; what is none is skipped byte by byte."""
        self._heard += data
        while len(self._heard) >= 8:
            question = bytes(self._heard[:8])
            if not 1 <= question[1] <= 6 or crc(question[:6]) != question[6:]:
                del self._heard[0]
                continue
            del self._heard[:8]
            at = question[0] - self.first
            if 0 <= at < len(self._units) - self.dead:
                answer = question[:1] + self._answer(self._units[at], question[1:6])
                self.reply(answer + crc(answer), now)

    def _answer(self, unit: _Unit, question: bytes) -> bytes:
        function, address, count = struct.unpack(">BHH", question)
        if (code := self.spend("refuse")) is not None:
            return bytes([function | 0x80, int(code) & 0xFF])
        if function != 4:
            return bytes([function | 0x80, 1])
        if count == 0 or count > _LONGEST or count % 2:
            return bytes([function | 0x80, 3])
        if address % 2 or address + count > _LAST + 1:
            return bytes([function | 0x80, 2])
        values = self._values(unit)
        data = b"".join(struct.pack(">f", values.get(at, 0.0)) for at in range(address, address + count, 2))
        return bytes([function, len(data)]) + data

    def foreign(self, reply: bytes) -> bytes:
        """The same from the unit with the next address."""
        other = bytes([reply[0] % 247 + 1]) + reply[1:-2]
        return other + crc(other)

    # --- the meter

    def _values(self, unit: _Unit) -> dict[int, float]:
        power = self.power + unit.extra
        current = abs(power) / 3 / self.voltage if self.voltage else 0.0
        values = {
            0x34: power, 0x38: abs(power), 0x3C: 0.0, 0x3E: 1.0, 0x46: self.frequency,
            0x48: unit.imported, 0x4A: unit.exported, 0x156: unit.imported + unit.exported,
        }  # fmt: skip
        for phase in range(3):
            values |= {
                0x00 + 2 * phase: self.voltage, 0x06 + 2 * phase: current, 0x0C + 2 * phase: power / 3,
                0x15A + 2 * phase: unit.imported / 3, 0x160 + 2 * phase: unit.exported / 3,
            }  # fmt: skip
        return values

    def step(self, dt: float) -> None:
        """Energy follows from power."""
        for unit in self._units:
            energy = (self.power + unit.extra) * dt / 3.6e6
            unit.imported += max(energy, 0.0)
            unit.exported += max(-energy, 0.0)

    def change(self, key: str, value: str) -> None:
        """See `SimulatedDevice.set_condition`."""
        if key == "dead":
            whole(value)
            if int(value) > len(self._units):
                raise ValueError(f"there are only {len(self._units)} units")
            self.dead = int(value)
        elif key == "energy":
            start = number(value, 0.0, 1e8)
            for at, unit in enumerate(self._units):
                unit.imported = start + 1000.0 * at
        else:
            low, high = {"power": (-1e7, 1e7), "voltage": (0.0, 1000.0), "frequency": (0.0, 100.0)}[key]
            setattr(self, key, number(value, low, high))

    def state(self) -> Info:
        """Power and counters of the first unit, and who answers."""
        unit = self._units[0]
        return {
            "power": self.power, "voltage": self.voltage, "imported": unit.imported, "exported": unit.exported,
            "units": float(len(self._units)), "dead": float(self.dead),
        }  # fmt: skip


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS as it stands at the end of a message, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")
