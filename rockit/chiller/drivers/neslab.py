# SPDX-License-Identifier: GPL-3.0-or-later
"""Thermo NESLAB RTE baths and ThermoFlex chillers on RS-232, by the binary NC protocol.

The computer mode of an RTE has to be switched on at its panel. Sources: see `rockit.chiller.protocols.neslab`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rockit.chiller.model import RunState, Values
from rockit.chiller.protocols import neslab
from rockit.common.framing import Exchange, ProtocolError, Refused, Request
from rockit.common.transport.settings import LineSettings

_VERSION = neslab.request("protocol version", neslab.ACKNOWLEDGE, answer_length=2)
_NOT_FAULTS = frozenset({"running", "powering up", "powering down"})
_WARNINGS = frozenset({"low flow, fixed limit"})
# The manual calls these "fault or warn": which of the two is a setting of the unit. A fault stops it, a warning
# does not.
_EITHER = frozenset({"high temperature", "low temperature", "high pressure", "low pressure"})


class _Neslab:
    """What the two families have in common."""

    family: ClassVar[str]
    slow_measures: ClassVar[tuple[str, ...]] = ()
    setpoint_resolution: ClassVar[float] = 0.1
    setpoint_range: ClassVar[tuple[float, float]] = (-160.0, 160.0)  # in °F with two decimals
    setpoint_gap: ClassVar[float] = 60.0
    synchronise: ClassVar[tuple[Request[neslab.Reply], ...]] = (_VERSION,)

    def __init__(self, line: Exchange[Any]) -> None:
        self._line = line

    @staticmethod
    def decoder() -> neslab.Decoder:
        """See `ChillerDriver.decoder`."""
        return neslab.Decoder()

    def _ask(self, name: str, command: int, answer_length: int, data: bytes = b"") -> bytes:
        request = neslab.request(name, command, data, answer_length=answer_length)
        return neslab.answer(self._line.exchange(request))

    def identify(self) -> dict[str, str]:
        """The version of the protocol, which is all that a unit of unknown make can be asked."""
        major, minor = neslab.answer(self._line.exchange(_VERSION))
        return {"family": self.family, "protocol": f"{major}.{minor}"}

    def read_temperature(self) -> Values:
        """`water_temp`: the temperature at the unit's internal sensor, °C."""
        return {"water_temp": neslab.celsius(self._ask("temperature", neslab.TEMPERATURE, 3))}

    def read_setpoint(self) -> Values:
        """See `ChillerDriver.read_setpoint`."""
        return {"setpoint_temp": neslab.celsius(self._ask("set point", neslab.SETPOINT, 3))}

    def write_setpoint(self, celsius: float) -> None:
        """See `ChillerDriver.write_setpoint`. Asks for the set point first: its qualifier tells how to write one."""
        qualifier = self._ask("set point", neslab.SETPOINT, 3)[0]
        written = neslab.encode_value(round(celsius, 1), qualifier)
        echo = self._ask("write set point", neslab.SET_SETPOINT, 3, written)
        if echo != bytes([qualifier]) + written:
            raise ProtocolError(f"the set point {celsius:.1f} °C was acknowledged as {neslab.celsius(echo):.2f} °C")


class ThermoFlex(_Neslab):
    """ThermoFlex recirculating chillers. Flow and pressure are left out where the unit has no such sensor."""

    family = "Thermo ThermoFlex"
    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, timeout=1.0)
    measures: ClassVar[tuple[str, ...]] = ("water_temp", "setpoint_temp", "flow", "pressure")

    def poll(self) -> Iterator[Values]:
        """See `ChillerDriver.poll`."""
        yield self.read_state()
        yield self.read_temperature()
        yield self.read_setpoint()
        if (data := self._ask_optional("flow", neslab.FLOW)) is not None:
            yield {"flow": neslab.litres_per_minute(data)}
        if (data := self._ask_optional("supply pressure", neslab.SUPPLY_PRESSURE)) is not None:
            yield {"pressure": neslab.kilopascal(data)}

    def _ask_optional(self, name: str, command: int) -> bytes | None:
        try:
            return self._ask(name, command, 3)
        except Refused:
            return None

    def read_state(self) -> Values:
        """See `ChillerDriver.read_state`. A unit that powers down counts as standby though its pump may still run."""
        flags = self._flags()
        if "powering down" in flags:
            state = RunState.STANDBY
        elif "running" in flags:
            state = RunState.RUN
        else:
            state = RunState.STARTING if "powering up" in flags else RunState.STANDBY
        warnings = _warnings(flags)
        return {
            "run_state": state,
            "device_alarm": bool(_alarms(flags)),
            "device_warning": bool(warnings),
            "warnings": warnings,
        }

    def write_running(self, running: bool) -> None:
        """See `ChillerDriver.write_running`."""
        self._ask("run" if running else "stop", neslab.ON_OFF, 1, bytes([neslab.ON if running else neslab.OFF]))

    def read_faults(self) -> tuple[str, ...]:
        """See `ChillerDriver.read_faults`. Clears nothing."""
        return _alarms(self._flags())

    def _flags(self) -> tuple[str, ...]:
        return neslab.status_flags(self._ask("status", neslab.STATUS, 4))


class Rte(_Neslab):
    """RTE baths.

    What the bits of their status mean is not known to us, so that no alarms are read: watch temperature and set point.
    """

    family = "Thermo NESLAB RTE"
    line_settings: ClassVar[LineSettings] = LineSettings(baud=19200, timeout=1.0)
    measures: ClassVar[tuple[str, ...]] = ("water_temp", "setpoint_temp")

    def poll(self) -> Iterator[Values]:
        """See `ChillerDriver.poll`."""
        yield self.read_state()
        yield self.read_temperature()
        yield self.read_setpoint()

    def read_state(self) -> Values:
        """See `ChillerDriver.read_state`: the answer to an on/off command that changes nothing."""
        state = self._on_off("state", neslab.NO_CHANGE)
        if state not in (neslab.OFF, neslab.ON):
            raise ProtocolError(f"the on/off array came back with {state} in place of on or off")
        return {"run_state": RunState.RUN if state == neslab.ON else RunState.STANDBY}

    def write_running(self, running: bool) -> None:
        """See `ChillerDriver.write_running`."""
        self._on_off("run" if running else "stop", neslab.ON if running else neslab.OFF)

    def read_faults(self) -> tuple[str, ...]:
        """Always empty: see the class."""
        return ()

    def _on_off(self, name: str, state: int) -> int:
        return self._ask(name, neslab.ON_OFF, 8, neslab.on_off_array(state))[0]


def _warnings(flags: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(flag for flag in flags if flag in _WARNINGS or (flag in _EITHER and "running" in flags))


def _alarms(flags: tuple[str, ...]) -> tuple[str, ...]:
    """Those that always stop the unit first."""
    alarms = set(flags) - _NOT_FAULTS - set(_warnings(flags))
    return tuple(sorted((flag for flag in flags if flag in alarms), key=_EITHER.__contains__))
