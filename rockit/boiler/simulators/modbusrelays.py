# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Modbus relay module: its relays are coils from address 0 on. All else is as in every Modbus unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rockit.boiler.simulators.modbus_slave import COILS, NO_ADDRESS, NO_FUNCTION, ModbusSlave, Rejection
from rockit.boiler.simulators.relaybank import RELAY_FAULTS, Move, RelayBank
from rockit.common.simulate_device import Fault, Info


class ModbusRelays(ModbusSlave):
    """One module. `relays` (`boiler:0,chiller1:2`) tells which relay moves what in the plant `world`."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {**ModbusSlave.DEVICE_FAULTS, **RELAY_FAULTS}

    def __init__(self, *, world: str = "", relays: str = "", count: int = 8, **options: Any) -> None:
        super().__init__(**options)
        if not 1 <= count <= 32:
            raise ValueError("a module has 1 to 32 relays")
        self.count = count
        self.bank = RelayBank(count, world, relays)

    @property
    def moves(self) -> list[Move]:
        """Every move of a contact so far, the oldest first."""
        return list(self.bank.moves)

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        """The relays, and nothing beyond them."""
        if function != COILS:
            raise Rejection(NO_FUNCTION)
        self._check(address, count)
        return self.bank.driven[address : address + count]

    def write_coils(self, address: int, values: Sequence[bool]) -> None:
        """Switch some."""
        self._check(address, len(values))
        for number, on in enumerate(values, address):
            self.bank.switch(number, on, self.line_now)

    def _check(self, address: int, count: int) -> None:
        if address + count > self.count:
            raise Rejection(NO_ADDRESS)

    def step(self, dt: float) -> None:  # noqa: ARG002
        """The plant goes on with the module."""
        self.bank.advance(self.line_now)

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See `FaultyDevice.fault_changed`."""
        if name in RELAY_FAULTS:
            self.bank.fault_changed(name, argument, self.line_now)
        else:
            super().fault_changed(name, argument)

    def state(self) -> Info:
        """What is energised."""
        return self.bank.state()
