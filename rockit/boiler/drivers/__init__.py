# SPDX-License-Identifier: GPL-3.0-or-later
"""What a plant can be made of, by the name that goes into the config: boilers and relay boards.

A driver is imported only when a config names it. To add one: a class here that satisfies `BoilerDriver` or
`RelayBoard`, a line in `BOILERS` or `BOARDS`, a simulator in `simulators/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from rockit.boiler.model import Values
    from rockit.common.framing import Request
    from rockit.common.transport.settings import LineSettings


class BoilerDriver(Protocol):
    """One family of boilers. Methods that talk raise `LineError`, `ProtocolError` or `Refused`."""

    modbus: ClassVar[bool]
    """Whether it is given a Modbus bus and the number of the unit; else a line that uses its `decoder`."""
    line_settings: ClassVar[LineSettings]
    """What the port needs where the config does not say otherwise."""
    measures: ClassVar[tuple[str, ...]]
    """Keys of `MEASUREMENTS` that `poll` delivers."""
    options: ClassVar[frozenset[str]]
    """What its constructor takes by name, of `BoilerConfig.boiler_options`."""
    refresh: ClassVar[float]
    """A demand must be repeated so often, s, or the boiler goes back to its own inputs."""

    def identify(self) -> dict[str, str]:
        """Ask, harmlessly, what is at the other end; called first after every connect. `{"family": …}` at least."""
        ...

    def poll(self) -> Iterator[Values]:
        """Read everything, one exchange a step, yielding what each taught."""
        ...

    def command(self, setpoint: float | None) -> float | None:
        """Ask for water of `setpoint` °C, or for none (None). Must be repeated within `refresh`.

        Returns what was asked for, as the protocol could carry it (°C); it has been acknowledged, and read back where
        the device lets it be read.
        """
        ...


class RelayBoard(Protocol):
    """One family of relay boards. Methods that talk raise `LineError`, `ProtocolError` or `Refused`."""

    modbus: ClassVar[bool]
    line_settings: ClassVar[LineSettings]
    counts: ClassVar[Sequence[int]]
    """How many relays there can be, in rising order."""
    usual: ClassVar[int]
    """How many there are where the config does not say."""
    count: int
    """How many relays it has: numbers 0 to count - 1."""

    def identify(self) -> dict[str, str]:
        """See `BoilerDriver.identify`."""
        ...

    def read(self) -> tuple[bool, ...]:
        """What every relay is now, by its number, in as few exchanges as the board allows."""
        ...

    def write(self, number: int, on: bool) -> None:
        """Switch one relay. Returns when the board acknowledged; `read` then proves it."""
        ...


class OnLine(Protocol):
    """What a driver that is no Modbus one has besides."""

    synchronise: ClassVar[tuple[Request[Any], ...]]
    """See `Line`."""

    @staticmethod
    def decoder() -> Any:
        """A fresh decoder for its replies."""
        ...


BOILERS: dict[str, str] = {
    "lochinvar": "rockit.boiler.drivers.lochinvar:Lochinvar",
    "sola": "rockit.boiler.drivers.sola:Sola",
    "otgw": "rockit.boiler.drivers.otgw:OpenThermGateway",
}
BOARDS: dict[str, str] = {
    "numato": "rockit.boiler.drivers.numato:Numato",
    "modbus": "rockit.boiler.drivers.modbusrelays:ModbusRelays",
}


def load(name: str, known: dict[str, str]) -> Any:
    """The class of that name. Raises KeyError for one that is not in `known`."""
    module, _, attribute = known[name].partition(":")
    return getattr(import_module(module), attribute)
