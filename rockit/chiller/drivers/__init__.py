# SPDX-License-Identifier: GPL-3.0-or-later
"""The chiller families, by the name that goes into the config's `driver` key.

A driver is imported only when a config names it. To add one: a codec in `protocols/`, a class here that satisfies
`ChillerDriver`, a line in `DRIVERS`, a simulator in `simulators/`. CONTRIBUTING.md walks through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from rockit.chiller.model import Values
    from rockit.common.framing import Decoder, Exchange, Request
    from rockit.common.transport.settings import LineSettings


class ChillerDriver(Protocol):
    """One family of chillers: which questions to ask, and what the answers mean.

    Every method that talks may raise `LineError` (no answer, port gone), `ProtocolError` (an answer that cannot be
    right) or `Refused` (the device said no; in `poll` it counts as a failed poll). None of them keeps time or state of
    the plant.

    `run_state` and `setpoint_temp` must be known for control to work, and `device_alarm` where the device has such a
    flag. `ambient_temp` feeds antifreeze where the config names no temperature daemon. All other keys may be missing.
    """

    line_settings: ClassVar[LineSettings]
    """What the port needs where the config does not say otherwise."""
    measures: ClassVar[tuple[str, ...]]
    """Keys of `MEASUREMENTS` that `poll` delivers, each at least every few polls."""
    slow_measures: ClassVar[tuple[str, ...]]
    """Those of `measures` that take turns, one a poll; they may be as many polls old as there are of them."""
    setpoint_resolution: ClassVar[float]
    """Smallest step of the set point in K; two set points closer than half of it are the same."""
    setpoint_range: ClassVar[tuple[float, float]]
    """Set points that the protocol can carry, °C: the config's limits must lie within."""
    setpoint_gap: ClassVar[float]
    """Least time between two set points that nobody ordered (ramp, dew point), s."""
    synchronise: ClassVar[tuple[Request[Any], ...]]
    """Two different harmless questions, or one that nothing else asks: behind their answers none is owed (`Line`)."""

    def __init__(self, line: Exchange[Any]) -> None: ...

    @staticmethod
    def decoder() -> Decoder[Any]:
        """A fresh decoder for this family's replies."""
        ...

    def identify(self) -> dict[str, str]:
        """Ask, harmlessly, what is at the other end; called first after every connect.

        Returns what is known (`{"family": "ThermoTek TTK"}` at least). Raises ProtocolError when another
        kind of device answers.
        """
        ...

    def poll(self) -> Iterator[Values]:
        """Read everything, one exchange a step, yielding what each taught. Between steps commands may run."""
        ...

    def read_state(self) -> Values:
        """`run_state` and whatever comes with it (pump, flags): the read-back of `write_running`."""
        ...

    def read_setpoint(self) -> Values:
        """`setpoint_temp`: the read-back of `write_setpoint`."""
        ...

    def write_running(self, running: bool) -> None:
        """Run, or standby. Returns when the device acknowledged; `read_state` then proves it."""
        ...

    def write_setpoint(self, celsius: float) -> None:
        """Set the temperature to hold, °C, rounded to `setpoint_resolution`."""
        ...

    def read_faults(self) -> tuple[str, ...]:
        """Names of the active alarms, most serious first. May clear latched ones: standby comes first (control)."""
        ...


DRIVERS: dict[str, str] = {
    "thermotek-t257p": "rockit.chiller.drivers.thermotek:T257P",
    "thermotek-t255p": "rockit.chiller.drivers.t255p:T255P",
    "neslab-thermoflex": "rockit.chiller.drivers.neslab:ThermoFlex",
    "neslab-rte": "rockit.chiller.drivers.neslab:Rte",
    "lauda": "rockit.chiller.drivers.lauda:Lauda",
}


def load(name: str) -> type[ChillerDriver]:
    """The driver class of that name. Raises KeyError for a name that is not in DRIVERS."""
    module, _, attribute = DRIVERS[name].partition(":")
    driver: type[ChillerDriver] = getattr(import_module(module), attribute)
    return driver


def setpoints(name: str) -> tuple[float, float]:
    """What that driver can be asked for and believed to hold, °C."""
    from rockit.chiller.model import MEASUREMENTS

    (least, most), known = load(name).setpoint_range, MEASUREMENTS["setpoint_temp"]
    return max(least, known.low), min(most, known.high)
