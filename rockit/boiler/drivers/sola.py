# SPDX-License-Identifier: GPL-3.0-or-later
"""Boilers with a Honeywell SOLA or Sage2 control, on Modbus RTU. Sources: see `rockit.boiler.protocols.sola`.

Reading is field-proven. Commanding follows the instructions of one boiler maker and is unsure: the control must be set
up to take demand and set point from Modbus; how long it keeps a demand that is not repeated is not known; a set point
may be kept in a memory that wears, so it is written only where the control holds another one. Line speed by a list of
third parties; boiler makers change it.

The word of the demand (0x0235) also carries a firing rate, in its bits 7 to 0, and register 0x0244 tells the control
where its rate comes from. This driver asks for rate 0 and leaves 0x0244 alone: the control must make the rate itself,
from the set point. One that is set up to take the rate from Modbus would perhaps not fire, or at its least rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from rockit.boiler.model import Values
from rockit.boiler.protocols import sola
from rockit.common.framing import ProtocolError, Refused
from rockit.common.transport.settings import LineSettings

_HOLDING = 3


class Bus(Protocol):
    """What this driver sees of its bus. Raises as `rockit.common.transport.modbus.ModbusBus` does."""

    def read(self, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
        """`count` registers by function 3 or 4."""
        ...

    def write_register(self, unit: int, address: int, value: int) -> None:
        """One holding register."""
        ...


class Sola:
    """The boiler with the address `unit`."""

    modbus: ClassVar[bool] = True
    line_settings: ClassVar[LineSettings] = LineSettings(baud=38400, timeout=1.0)
    measures: ClassVar[tuple[str, ...]] = (
        "outlet_temp", "inlet_temp", "system_supply_temp", "flue_temp", "outlet_setpoint", "firing_rate",
        "flame_current", "flame", "status_code", "lockout_code", "blocking_code",
    )  # fmt: skip
    options: ClassVar[frozenset[str]] = frozenset()
    refresh: ClassVar[float] = 5.0
    """Assumed: see the module."""

    def __init__(self, bus: Bus, unit: int) -> None:
        self._bus = bus
        self._unit = unit

    def identify(self) -> dict[str, str]:
        """What the burner is doing. It does not tell its model in a register."""
        state, _ = self._read(sola.BURNER, sola.BURNER_COUNT)
        return {"family": "SOLA", "status": sola.state_text(state)}

    def poll(self) -> Iterator[Values]:
        """See `BoilerDriver.poll`. None is a value that the boiler does not know (a sensor that is open or short)."""
        state, lockout = self._read(sola.BURNER, sola.BURNER_COUNT)
        yield {
            "status_code": state,
            "lockout_code": lockout,
            "flame": sola.flame(state),
            "faults": sola.faults(state, lockout),
        }
        sensors = self._read(sola.SENSORS, sola.SENSORS_COUNT)
        block = self._read(sola.BLOCK, sola.BLOCK_COUNT)
        yield {
            **sola.temperatures(block, sensors),
            "outlet_setpoint": sola.setpoint(block),
            "flame_current": sola.flame_current(block),
        }
        yield {"firing_rate": sola.firing_rate(block, 0 if sola.rate_in_percent(block) else self._full_speed())}
        (hold,) = self._read(sola.HOLD, 1)
        yield {"blocking_code": hold, "warnings": sola.warnings(state, hold, sensors)}

    def command(self, setpoint: float | None) -> float | None:
        """See `BoilerDriver.command`; held to 0 to 130 °C. Unsure: see the module.

        Raises ProtocolError where the control does not hold what was written.
        """
        if setpoint is None:
            self._demand(False)
            return None
        word = sola.setpoint_word(setpoint)
        if self._read(sola.SETPOINT, 1) != (word,):
            self._bus.write_register(self._unit, sola.SETPOINT, word)
            if (held := self._read(sola.SETPOINT, 1)[0]) != word:
                raise ProtocolError(f"the boiler holds the set point {sola.temperature(held)} °C, not {word / 10} °C")
        self._demand(True)
        return word / 10

    def _demand(self, on: bool) -> None:
        self._bus.write_register(self._unit, sola.DEMAND, sola.DEMAND_BIT if on else 0)
        (held,) = self._read(sola.DEMAND, 1)
        if bool(held & sola.DEMAND_BIT) is not on:
            raise ProtocolError(f"the boiler holds the command {held:#06x}: it did not take the demand")

    def _full_speed(self) -> int:
        """The fan's speed at 100 %, rpm; 0 where the control does not tell."""
        try:
            return self._read(sola.FULL_SPEED, 1)[0]
        except Refused:
            return 0

    def _read(self, address: int, count: int) -> tuple[int, ...]:
        return self._bus.read(self._unit, _HOLDING, address, count)
