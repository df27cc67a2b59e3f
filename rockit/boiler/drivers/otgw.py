# SPDX-License-Identifier: GPL-3.0-or-later
"""Boilers with OpenTherm, by an OpenTherm gateway. Sources: see `rockit.boiler.protocols.opentherm`.

The gateway overhears what boiler and thermostat tell each other, about a telegram a second, and reports it unasked; a
boiler cannot be asked. Which data it hears of depends on the thermostat, or on the gateway's own list without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

from rockit.boiler.model import Values
from rockit.boiler.protocols import opentherm
from rockit.boiler.protocols.opentherm import Telegram
from rockit.common.framing import ProtocolError, Request
from rockit.common.transport.settings import LineSettings

_ABOUT = opentherm.report("A")
_REPORT_ALL = opentherm.request("PS", "0")


class TalkingLine(Protocol):
    """What this driver sees of its line: see `rockit.common.transport.line.Line`."""

    unasked: Callable[[Any], bool]

    def exchange(self, request: Request[Any]) -> Any:
        """Send it and return its answer. Raises LineError."""
        ...


class OpenThermGateway:
    """One gateway and the boiler behind it. It takes what its line hears unasked.

    Many data are told only each half minute, so a value counts for `HELD` polls: it may be a minute old where the
    boiler is polled every 2 s as usual, and 12 min with the longest `query_delay` (a poll in 24 s).
    """

    modbus: ClassVar[bool] = False
    line_settings: ClassVar[LineSettings] = LineSettings(baud=9600, timeout=2.0)
    measures: ClassVar[tuple[str, ...]] = (
        "outlet_temp", "inlet_temp", "outlet_setpoint", "firing_rate", "flame", "water_pressure",
    )  # fmt: skip
    options: ClassVar[frozenset[str]] = frozenset()
    refresh: ClassVar[float] = 30.0
    """The maker: each minute, or the thermostat decides again."""
    synchronise: ClassVar[tuple[Request[Any], ...]] = (_ABOUT,)
    HELD: ClassVar[int] = 30
    """Polls for which a value counts, and after which a boiler that tells nothing is a warning."""

    def __init__(self, line: TalkingLine) -> None:
        self._line = line
        self._polls = 0
        self._heard: dict[str, tuple[object, int]] = {}
        line.unasked = self._take

    @staticmethod
    def decoder() -> opentherm.Decoder:
        """See `OnLine.decoder`."""
        return opentherm.Decoder()

    def identify(self) -> dict[str, str]:
        """The firmware of the gateway. From then on it reports telegrams one by one; older values are forgotten."""
        self._heard.clear()
        self._polls = 0
        version = opentherm.text(self._line.exchange(_ABOUT)).removeprefix("A=")
        opentherm.text(self._line.exchange(_REPORT_ALL))
        return {"family": "OpenTherm gateway", "firmware": version}

    def poll(self) -> Iterator[Values]:
        """See `BoilerDriver.poll`. None is a value that the boiler says it does not know.

        `faults` are known only while the boiler tells its status. A boiler that tells nothing is a warning.
        """
        self._polls += 1
        self._line.exchange(_ABOUT)
        heard = {name: value for name, (value, at) in self._heard.items() if self._polls - at < self.HELD}
        found: dict[str, Any] = {name: value for name, value in heard.items() if name in self.measures}
        if "fault" in heard:
            found["faults"] = (heard.get("fault_names") or ("fault",)) if heard["fault"] else ()
        found["warnings"] = () if heard or self._polls < self.HELD else ("the boiler tells nothing",)
        yield found

    def command(self, setpoint: float | None) -> float | None:
        """See `BoilerDriver.command`; held to 8 to 100 °C.

        None keeps the boiler's heating off, against a thermostat too, as long as it is repeated. Raises ProtocolError
        where the gateway tells another value than it was given.
        """
        if setpoint is None:
            self._set("CH", "0")
            self._set("CS", opentherm.control_setpoint(opentherm.LEAST))
            return None
        given = self._set("CS", opentherm.control_setpoint(setpoint))
        self._set("CH", "1")
        return given

    def _set(self, name: str, value: str) -> float:
        told = opentherm.number(self._line.exchange(opentherm.request(name, value)))
        if told != float(value):
            raise ProtocolError(f"the gateway was given {name}={value} and tells {told:g}")
        return told

    def _take(self, frame: Telegram | str) -> bool:
        """A frame that answers nothing: telegrams are ours."""
        if not isinstance(frame, Telegram):
            return False
        self._heard.update({name: (value, self._polls) for name, value in opentherm.values_of(frame).items()})
        return True
