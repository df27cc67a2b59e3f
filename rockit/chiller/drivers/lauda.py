# SPDX-License-Identifier: GPL-3.0-or-later
"""LAUDA circulators on RS-232, among them the thermoelectric LOOP 100 and LOOP 250.

Sources: see `rockit.chiller.protocols.lauda`. Units of the WK and WKL series take some seconds until a new set point
is effective, and refuse the 21st change within an hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rockit.chiller.model import RunState, Values
from rockit.chiller.protocols import lauda
from rockit.common.framing import Exchange, Request
from rockit.common.transport.settings import LineSettings

_MODE = lauda.request("IN_MODE_02", lauda.MODE)
_TEMPERATURE = lauda.request("IN_PV_00", lauda.NUMBER)
_SETPOINT = lauda.request("IN_SP_00", lauda.NUMBER)
_STATUS = lauda.request("STATUS", lauda.STATUS)
_STAT = lauda.request("STAT", lauda.STAT)
_TYPE = lauda.request("TYPE", lauda.TEXT)
_SYNCHRONISE = lauda.request("TYPE", lauda.TEXT, errors=False)

_WARNINGS = frozenset({"warning", "external value missing"})


class Lauda:
    """One LAUDA unit."""

    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600)
    measures: ClassVar[tuple[str, ...]] = ("water_temp", "setpoint_temp")
    slow_measures: ClassVar[tuple[str, ...]] = ()
    setpoint_resolution: ClassVar[float] = 0.1
    setpoint_range: ClassVar[tuple[float, float]] = (-999.9, 999.9)
    setpoint_gap: ClassVar[float] = 180.0  # see the module
    synchronise: ClassVar[tuple[Request[str], ...]] = (_SYNCHRONISE,)

    def __init__(self, line: Exchange[Any]) -> None:
        self._line = line

    @staticmethod
    def decoder() -> lauda.Decoder:
        """See `ChillerDriver.decoder`."""
        return lauda.Decoder()

    def _ask(self, request: Request[str]) -> str:
        return lauda.answer(self._line.exchange(request))

    def identify(self) -> dict[str, str]:
        """The type, for instance `BC_LOOP` or `MC`."""
        return {"family": "LAUDA", "type": self._ask(_TYPE)}

    def poll(self) -> Iterator[Values]:
        """See `ChillerDriver.poll`. No two replies in a row have the same form, the last and the first included."""
        yield self.read_state()
        yield {"water_temp": lauda.number(self._ask(_TEMPERATURE))}
        fault = self._fault()
        yield {"device_alarm": True} if fault else {}
        yield self.read_setpoint()
        flags = self._flags()
        warnings = tuple(flag for flag in flags if flag in _WARNINGS)
        yield {
            "device_alarm": fault or len(warnings) < len(flags),
            "device_warning": bool(warnings),
            "warnings": warnings,
        }

    def read_state(self) -> Values:
        """See `ChillerDriver.read_state`."""
        return {"run_state": RunState.RUN if self._ask(_MODE) == "0" else RunState.STANDBY}

    def read_setpoint(self) -> Values:
        """See `ChillerDriver.read_setpoint`."""
        return {"setpoint_temp": lauda.number(self._ask(_SETPOINT))}

    def write_running(self, running: bool) -> None:
        """See `ChillerDriver.write_running`."""
        self._ask(lauda.request("START" if running else "STOP", lauda.OK))

    def write_setpoint(self, celsius: float) -> None:
        """See `ChillerDriver.write_setpoint`."""
        self._ask(lauda.request(lauda.set_setpoint(round(celsius, 1)), lauda.OK))

    def read_faults(self) -> tuple[str, ...]:
        """See `ChillerDriver.read_faults`. Clears nothing; `fault` stands for one that the unit does not name."""
        alarms = tuple(flag for flag in self._flags() if flag not in _WARNINGS)
        return alarms or (("fault",) if self._fault() else ())

    def _flags(self) -> tuple[str, ...]:
        return lauda.stat_flags(self._ask(_STAT))

    def _fault(self) -> bool:
        return self._ask(_STATUS) == "-1"
