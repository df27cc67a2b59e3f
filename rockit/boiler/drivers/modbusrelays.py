# SPDX-License-Identifier: GPL-3.0-or-later
"""Modbus relay modules whose relays are coils from address 0 on, as those of Waveshare and many others.

Function 1 reads all of them, function 5 switches one. Such a module does not say what it is: that all its coils can be
read is all that tells it from something else. Source: MODBUS Application Protocol 1.1b3, 6.1 and 6.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from rockit.common.transport.settings import LineSettings


class Bus(Protocol):
    """What a driver sees of its bus. Raises as `rockit.common.transport.modbus.ModbusBus` does."""

    def read_coils(self, unit: int, address: int, count: int) -> tuple[bool, ...]:
        """`count` coils of one unit."""
        ...

    def write_coil(self, unit: int, address: int, on: bool) -> None:
        """Switch one coil of one unit."""
        ...


class ModbusRelays:
    """The module with the address `unit`."""

    modbus: ClassVar[bool] = True
    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, timeout=1.0)
    counts: ClassVar[Sequence[int]] = range(1, 33)
    usual: ClassVar[int] = 8

    def __init__(self, bus: Bus, unit: int, count: int = usual) -> None:
        if count not in self.counts:
            raise ValueError(f"a module has 1 to {max(self.counts)} relays, not {count}")
        self.count = count
        self._bus = bus
        self._unit = unit

    def identify(self) -> dict[str, str]:
        """That it lets all its coils be read; one that has fewer refuses."""
        self.read()
        return {"family": "Modbus relays", "unit": str(self._unit), "relays": str(self.count)}

    def read(self) -> tuple[bool, ...]:
        """See `RelayBoard.read`. One exchange."""
        return self._bus.read_coils(self._unit, 0, self.count)

    def write(self, number: int, on: bool) -> None:
        """See `RelayBoard.write`. Raises ValueError for a relay that the module does not have."""
        if isinstance(number, bool) or not 0 <= number < self.count:
            raise ValueError(f"the module has the relays 0 to {self.count - 1}, and no {number}")
        self._bus.write_coil(self._unit, number, on)
