# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek T257P and other units that speak TTK release II (RC-2U, RC-3U)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from rockit.chiller.model import Values
from rockit.chiller.protocols import thermotek_alarms as alarms
from rockit.chiller.protocols import thermotek_values as values
from rockit.chiller.protocols.thermotek import Decoder, Error, Rejection, Reply, check, request
from rockit.common.framing import Decoder as AnyDecoder
from rockit.common.framing import Exchange, ProtocolError, Refused, Request
from rockit.common.transport.settings import LineSettings

STATE, SETPOINT, SUPPLY, AMBIENT, FLOW, CURRENT_1, CURRENT_2, DRIVE = 1, 3, 4, 8, 9, 10, 11, 13
SET_RUNNING, SET_TEMPERATURE, ALARMS_1, ALARMS_2, WARNINGS, UPTIME = 15, 17, 18, 19, 20, 49


def _drive(data: str) -> Values:
    percent, direction = values.drive(data)
    return {"tec_power": percent, "drive": direction}


OPTIONAL: dict[int, Callable[[str], Values]] = {
    AMBIENT: lambda data: {"ambient_temp": values.temperature(data)},
    DRIVE: _drive,
    FLOW: lambda data: {"flow": values.flow(data)},
    CURRENT_1: lambda data: {"tec_current_1": values.current(data)},
    CURRENT_2: lambda data: {"tec_current_2": values.current(data)},
    UPTIME: lambda data: {"uptime": values.uptime(data)},
    WARNINGS: lambda data: {"warnings": alarms.warnings(data)},
}
"""What a unit may lack (it then answers "not configured"), and what the data teach."""
EVERY_POLL = (AMBIENT, DRIVE, FLOW)
IN_TURN = (CURRENT_1, CURRENT_2, UPTIME)
"""Slow ones: one of them a poll."""


class T257P:
    """Driver of the family. Return temperature is not read: on a T257P it is implausibly low (Rubin Observatory)."""

    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, xonxoff=True, interval=1.0, timeout=3.0)
    measures: ClassVar[tuple[str, ...]] = (
        "water_temp", "setpoint_temp", "ambient_temp", "tec_power", "flow", "pump",
        "tec_current_1", "tec_current_2", "uptime",
    )  # fmt: skip
    slow_measures: ClassVar[tuple[str, ...]] = ("tec_current_1", "tec_current_2", "uptime")
    setpoint_resolution: ClassVar[float] = 0.1
    setpoint_range: ClassVar[tuple[float, float]] = (-999.9, 999.9)
    setpoint_gap: ClassVar[float] = 60.0
    synchronise: ClassVar[tuple[Request[Reply | Rejection], ...]] = (request(STATE), request(SETPOINT))

    def __init__(self, line: Exchange[Any]) -> None:
        self._line: Exchange[Reply | Rejection] = line
        self._lacking: set[int] = set()
        self._turn = 0

    @staticmethod
    def decoder() -> AnyDecoder[Reply | Rejection]:
        """A fresh decoder of replies."""
        return Decoder()

    def identify(self) -> dict[str, str]:
        """Ask for the watchdog status; what the unit lacks is found out anew. TTK has no question for the model."""
        self._lacking.clear()
        self.read_state()
        return {"family": "ThermoTek TTK"}

    def poll(self) -> Iterator[Values]:
        """State, supply, set point, what is optional, one of the slow ones, and the warnings where the flag is set."""
        state = self.read_state()
        yield state
        yield {"water_temp": values.temperature(self._ask(SUPPLY))}
        yield self.read_setpoint()
        for command in EVERY_POLL:
            yield from self._optional(command)
        # The turn is taken before asking, so that one that never answers does not keep the others waiting.
        slow = IN_TURN[self._turn % len(IN_TURN)]
        self._turn += 1
        yield from self._optional(slow)
        if state["device_warning"]:
            yield from self._optional(WARNINGS)

    def read_state(self) -> Values:
        """Run state, pump, the two flags; and `warnings` where the flag says that there are none."""
        status = values.watchdog(self._ask(STATE))
        state = {
            "run_state": status.control,
            "pump": status.pump,
            "device_alarm": status.alarm,
            "device_warning": status.warning,
        }
        return state if status.warning else {**state, "warnings": ()}

    def read_setpoint(self) -> Values:
        """The set point in the unit, °C."""
        return {"setpoint_temp": values.temperature(self._ask(SETPOINT))}

    def write_running(self, running: bool) -> None:
        """Run or standby, which a unit does with pump and control together."""
        self._write(SET_RUNNING, "1" if running else "0")

    def write_setpoint(self, celsius: float) -> None:
        """Set the temperature to hold. Raises ValueError beyond ±999.9 °C; a unit refuses less (code 3 or 23)."""
        self._write(SET_TEMPERATURE, values.temperature_data(celsius))

    def read_faults(self) -> tuple[str, ...]:
        """Alarms that stop the unit, other alarms of level 1, then the details of level 2.

        Level 1 comes last on the line: answering it clears the unit's latched level 1 alarms, so nothing may fail
        after it. Command standby before (mode mismatch of the front panel otherwise: Rubin Observatory's guide).
        """
        details: tuple[str, ...] = ()
        for page in (1, 2):
            try:
                details += alarms.level_2(page, self._ask(ALARMS_2, str(page)))
            except Refused as refused:
                _unless_lacking(refused)
        main = alarms.level_1(self._ask(ALARMS_1))
        return (*sorted(main, key=lambda name: name not in alarms.STOPPING), *details)

    def _ask(self, command: int, data: str = "") -> str:
        return check(self._line.exchange(request(command, data)), command).data

    def _write(self, command: int, data: str) -> None:
        echo = self._ask(command, data)
        if echo != data:
            raise ProtocolError(f"the unit echoed {echo!r} where it was sent {data!r} (command {command})")

    def _optional(self, command: int) -> Iterator[Values]:
        if command in self._lacking:
            return
        try:
            data = self._ask(command)
        except Refused as refused:
            _unless_lacking(refused)
            self._lacking.add(command)
            return
        try:
            learnt = OPTIONAL[command](data)
        except ProtocolError:
            return  # whole, intact and not understood: this value is not known, and the others are not lost with it
        yield learnt


def _unless_lacking(refused: Refused) -> None:
    """Raise it again, unless it says that the unit does not have such a thing."""
    if refused.code != str(int(Error.NOT_CONFIGURED)):
        raise refused
