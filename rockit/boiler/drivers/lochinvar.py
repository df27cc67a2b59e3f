# SPDX-License-Identifier: GPL-3.0-or-later
"""Lochinvar boilers on Modbus RTU. Sources and doubts: see `rockit.boiler.protocols.lochinvar`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol

from rockit.boiler.model import Values
from rockit.boiler.protocols import lochinvar
from rockit.common.framing import ProtocolError, Refused
from rockit.common.transport.settings import LineSettings

_HOLDING, _INPUT = 3, 4


class Bus(Protocol):
    """What this driver sees of its bus. Raises as `rockit.common.transport.modbus.ModbusBus` does."""

    def read(self, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
        """`count` registers by function 3 or 4."""
        ...

    def read_discrete_inputs(self, unit: int, address: int, count: int) -> tuple[bool, ...]:
        """`count` discrete inputs."""
        ...

    def write_register(self, unit: int, address: int, value: int) -> None:
        """One holding register."""
        ...

    def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None:
        """Neighbouring holding registers at once."""
        ...


class Lochinvar:
    """The boiler (leader of its cascade) with the address `unit`.

    `span` is what the boiler takes 2 V (20 %) and 10 V (100 %) for, °C, as it is set there; the default is the maker's.
    The read `system_setpoint` shows whether it is right. With `enable` the demand goes over Modbus too, in place of
    the boiler's enabling contact.
    """

    modbus: ClassVar[bool] = True
    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, parity="E", timeout=1.0)
    measures: ClassVar[tuple[str, ...]] = (
        "system_setpoint", "system_pump", "cascade_power", "outlet_setpoint", "outlet_temp", "inlet_temp", "flue_temp",
        "firing_rate", "boiler_pump", "status_code", "blocking_code", "lockout_code", "flame", "system_supply_temp",
    )  # fmt: skip
    options: ClassVar[frozenset[str]] = frozenset({"span", "enable"})
    refresh: ClassVar[float] = 5.0
    """The maker: sensor values every few seconds, commands at least each 4 min, or the boiler uses its own inputs."""

    def __init__(self, bus: Bus, unit: int, *, span: tuple[float, float] = (21.0, 82.0), enable: bool = False) -> None:
        lochinvar.rate(span[0], span)  # raises ValueError for what is no span
        self._bus = bus
        self._unit = unit
        self._span = span
        self._enable = enable

    def identify(self) -> dict[str, str]:
        """What the boiler is doing. It does not tell its model."""
        status = self._bus.read(self._unit, _INPUT, lochinvar.CODES, lochinvar.CODES_COUNT)[0]
        return {"family": "Lochinvar", "status": lochinvar.status_text(status)}

    def poll(self) -> Iterator[Values]:
        """See `BoilerDriver.poll`. None is a value that the boiler does not know (a sensor that is open or missing)."""
        block = lochinvar.block(self._bus.read(self._unit, _INPUT, lochinvar.BLOCK, lochinvar.BLOCK_COUNT))
        yield {name: value for name, value in block.items() if name in self.measures}
        status, blocking, lockout = self._bus.read(self._unit, _INPUT, lochinvar.CODES, lochinvar.CODES_COUNT)
        yield {
            "status_code": status,
            "blocking_code": blocking,
            "lockout_code": lockout,
            "faults": lochinvar.faults(lockout),
            "warnings": lochinvar.warnings(status, blocking),
        }
        yield {"flame": self._flame()}
        yield {"system_supply_temp": self._system_supply()}

    def _flame(self) -> bool | None:
        """None where this model has no discrete inputs."""
        try:
            return self._bus.read_discrete_inputs(self._unit, 0, lochinvar.DISCRETE_COUNT)[lochinvar.FLAME]
        except Refused:
            return None

    def _system_supply(self) -> float | None:
        """None where this model has no such register."""
        try:
            (word,) = self._bus.read(self._unit, _HOLDING, lochinvar.SYSTEM_SUPPLY, 1)
        except Refused:
            return None
        return lochinvar.value(lochinvar.SYSTEM_SUPPLY_FIELD, word)

    def command(self, setpoint: float | None) -> float | None:
        """See `BoilerDriver.command`. A set point beyond the span becomes the span's end.

        The configuration goes before every command, as the maker wants it. Raises ProtocolError where the boiler does
        not hold what was written.
        """
        value = 0 if setpoint is None else lochinvar.rate(setpoint, self._span)
        if self._enable:
            words = (lochinvar.BY_RATE_AND_ENABLE, int(setpoint is not None), value)
            self._bus.write_registers(self._unit, lochinvar.CONFIGURATION, words)
        else:
            self._bus.write_register(self._unit, lochinvar.CONFIGURATION, lochinvar.BY_RATE)
            self._bus.write_register(self._unit, lochinvar.RATE, value)
        (held,) = self._bus.read(self._unit, _HOLDING, lochinvar.RATE, 1)
        if held != value:
            raise ProtocolError(f"the boiler holds {held} % in 40003, and not the {value} % that were written")
        return lochinvar.setpoint_of(value, self._span)
