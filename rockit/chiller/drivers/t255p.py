# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek T255P, the older units with one-letter commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

from rockit.chiller.model import Values
from rockit.chiller.protocols import t255p
from rockit.chiller.protocols.t255p import Decoder, Error, Reply, check, request
from rockit.common.framing import Decoder as AnyDecoder
from rockit.common.framing import Exchange, ProtocolError, Request
from rockit.common.transport import LineError
from rockit.common.transport.settings import LineSettings


class T255P:
    """Driver of the family.

    A unit that was asked nothing for some seconds wants to be asked for its status before anything else (QCoDeS
    driver: 5 s), so commands begin with that. It answers nothing sensible in its first 10 s after switch-on.
    """

    # Drivers leave flow control off; the decoder skips XON and XOFF, which related units put around their frames.
    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, interval=1.0, timeout=3.0)
    measures: ClassVar[tuple[str, ...]] = ("water_temp", "setpoint_temp")
    slow_measures: ClassVar[tuple[str, ...]] = ()
    setpoint_resolution: ClassVar[float] = 0.1
    setpoint_range: ClassVar[tuple[float, float]] = (-99.9, 99.9)
    setpoint_gap: ClassVar[float] = 60.0
    synchronise: ClassVar[tuple[Request[Reply], ...]] = (request("U"), request("H", "0"))

    def __init__(self, line: Exchange[Any]) -> None:
        self._line: Exchange[Reply] = line

    @staticmethod
    def decoder() -> AnyDecoder[Reply]:
        """A fresh decoder of replies."""
        return Decoder()

    def identify(self) -> dict[str, str]:
        """Ask for the status; the protocol has no question for model or version."""
        self.read_state()
        return {"family": "ThermoTek T255P"}

    def poll(self) -> Iterator[Values]:
        """State, manifold temperature, set point."""
        yield self.read_state()
        yield {"water_temp": t255p.manifold_temperature(self._ask("I"))}
        yield self.read_setpoint()

    def read_state(self) -> Values:
        """Run state and alarm flag. ("Chiller on" is not delivered as pump: no source says that it is.)"""
        status = t255p.status(self._ask("U"))
        return {"run_state": status.mode, "device_alarm": status.alarm}

    def read_setpoint(self) -> Values:
        """The set point in the unit, °C."""
        celsius, _ = t255p.memory(self._ask("H", "0"))
        return {"setpoint_temp": celsius}

    def write_running(self, running: bool) -> None:
        """Run or standby. A unit refuses the mode that it is in already; that is success."""
        with suppress(LineError):  # the order is sent all the same: it may be heard where nothing is heard of it
            self.read_state()
        wanted = "1" if running else "0"
        reply = self._line.exchange(request("G", wanted))
        if reply.error is Error.BOUNDS:
            return
        if check(reply).data != wanted:
            raise ProtocolError(f"the unit echoed mode {reply.data!r} where it was sent {wanted!r}")

    def write_setpoint(self, celsius: float) -> None:
        """Set the temperature to hold. Raises ValueError beyond ±99.9 °C."""
        wanted = t255p.setpoint_data(celsius)
        self.read_state()
        echo = self._ask("M", wanted)
        if t255p.setpoint(echo) != t255p.setpoint(wanted):
            raise ProtocolError(f"the unit echoed the set point {echo!r} where it was sent {wanted!r}")

    def read_faults(self) -> tuple[str, ...]:
        """Names of the active alarms. Nothing says that reading clears them."""
        self.read_state()
        return t255p.alarms(self._ask("J"))

    def _ask(self, letter: str, qualifier: str = "") -> str:
        return check(self._line.exchange(request(letter, qualifier))).data
