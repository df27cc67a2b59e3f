# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays of a plant by their names: read, switched with read-back, and off when the daemon ends.

Used by the query loop alone. Methods that talk raise LineError or ProtocolError; what the relays are is then not known.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping

from rockit.boiler.burner import PortLike
from rockit.boiler.drivers import RelayBoard
from rockit.common.framing import ProtocolError, Refused
from rockit.common.log import Log
from rockit.common.transport import LineError, Stopped


class Relays:
    """One board. `states`: name -> what was read last, None where that is not known; `asked`: when (monotonic s)."""

    def __init__(
        self, port: PortLike, board: RelayBoard, numbers: Mapping[str, int], left: Mapping[int, str], log: Log,
        counters: Counter[str],
    ) -> None:  # fmt: skip
        """`numbers`: name -> relay; `left`: relays that a former config named, by number, and this one does not."""
        self._port = port
        self._board = board
        self._numbers = dict(numbers)
        self.left = dict(left)
        self._told: set[int] = set()
        self._log = log
        self._counters = counters
        self.states: dict[str, bool] | None = None
        self.asked = 0.0

    def open(self) -> dict[str, str]:
        """Open the port and see that it is our family of boards that answers; returns what it says of itself."""
        self._port.open()
        return self._board.identify()

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def read(self) -> None:
        """Read all of them."""
        asked = time.monotonic()
        self.states, before = None, self.states
        try:
            found = self._board.read()
        except Refused as error:
            raise ProtocolError(f"the board does not tell what its relays are: {error}") from None
        missing = [name for name, number in self._numbers.items() if number >= len(found)]
        if missing:
            raise ProtocolError(f"the board has {len(found)} relays, and {', '.join(missing)} is beyond them")
        states = {name: found[number] for name, number in self._numbers.items()}
        self.states = before if states == before else states
        self.asked = asked

    def switch(self, name: str, on: bool, *, told: bool) -> bool:
        """Switch one relay and read back; whether no other relay has moved. One that does not follow stops no other.

        `told`: a refusal stands in the log already.
        """
        self._counters["relay_orders"] += 1
        before = dict(self.states or {})
        try:
            self._board.write(self._numbers[name], on)
        except Refused as error:
            self._counters["refused"] += 1
            if not told:
                self._log.warning(f"{name}: {error}")
        except (LineError, ProtocolError):
            self.states = None  # whether it switched is not known before it is read
            raise
        self.read()
        found = self.states or {}
        self._counters["relay_not_followed"] += found.get(name) is not on
        return all(found.get(other) is state for other, state in before.items() if other != name)

    def let_go(self) -> bool:
        """Switch off what is `left`: nobody else would ever look at it. True when all of it has been read off."""
        states = self._board.read()
        for number, name in list(self.left.items()):
            if number >= len(states) or not states[number]:
                del self.left[number]
                continue
            if number not in self._told:
                self._told.add(number)
                self._log.warning(f"relay {number} was {name}, which the config names no more: it is switched off")
            self._write_off(number)
        return not self.left

    def end(self, names: Collection[str], deadline: float) -> None:
        """Switch `names` off by `deadline` (monotonic), and say what came of it. Raises nothing."""
        self._port.finish_by(deadline)
        problem = "there was no time to ask"
        while time.monotonic() < deadline:
            try:
                if not self._port.is_open:
                    self.open()
                self.read()
                on = [name for name in names if (self.states or {}).get(name)]
                if not on:
                    self._log.info("all sources are off, read back")
                    return
                for name in on:
                    problem = self._write_off(self._numbers[name]) or f"{name} does not follow"
            except Stopped:
                break
            except (LineError, ProtocolError) as error:
                problem = str(error)
                self._port.close()
                time.sleep(0.05)  # bounded by the deadline
        self._log.error(f"the sources could not be switched off, and what was on may still be: {problem}")

    def _write_off(self, number: int) -> str:
        """Switch one off; the reason where the board refuses, which keeps no other from being told."""
        try:
            self._board.write(number, False)
        except Refused as error:
            return f"relay {number}: {error}"
        return ""
