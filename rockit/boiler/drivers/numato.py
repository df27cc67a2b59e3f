# SPDX-License-Identifier: GPL-3.0-or-later
"""Numato USB relay boards with 8 or 16 relays, a CDC serial port whose speed means nothing.

The board keeps its relays as they are when the host dies: it has no watchdog. Its read-back tells what it drives, and
not what the contacts do. Sources: see `rockit.boiler.protocols.numato`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from rockit.boiler.protocols import numato
from rockit.common.framing import Exchange, Request
from rockit.common.transport import NoAnswer
from rockit.common.transport.settings import LineSettings

_VERSION = numato.request("ver")
_ID = numato.request("id get")


class Numato:
    """One board."""

    modbus: ClassVar[bool] = False
    line_settings: ClassVar[LineSettings] = LineSettings(baud=19200, timeout=1.0)
    # Nothing else asks for one relay, so what answers it cannot be owed from before.
    synchronise: ClassVar[tuple[Request[numato.Reply], ...]] = (numato.request("relay read 0", flush=True),)

    counts: ClassVar[Sequence[int]] = numato.COUNTS
    usual: ClassVar[int] = 16

    def __init__(self, line: Exchange[Any], count: int = usual) -> None:
        self.count = count
        self._line = line
        self._read_all = numato.read_all(count)

    @staticmethod
    def decoder() -> numato.Decoder:
        """See `OnLine.decoder`."""
        return numato.Decoder()

    def identify(self) -> dict[str, str]:
        """Its version, and its id as it was set with `id set`, where it tells one."""
        found = {"family": "Numato USB relay", "version": self._line.exchange(_VERSION).value}
        with suppress(NoAnswer):  # an id that we do not understand is no reason not to use the board
            found["id"] = self._line.exchange(_ID).value
        return found

    def read(self) -> tuple[bool, ...]:
        """See `RelayBoard.read`. One exchange."""
        return numato.states(self._line.exchange(self._read_all).value, self.count)

    def write(self, number: int, on: bool) -> None:
        """See `RelayBoard.write`. Raises ValueError for a relay that the board does not have."""
        self._line.exchange(numato.write(number, on, self.count))
