# SPDX-License-Identifier: GPL-3.0-or-later
"""The relays of a simulated board: what each one moves in the simulated plant, and a record of every move."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from rockit.boiler.simulators.world import World, shared
from rockit.common.simulate_device import Fault, whole

RELAY_FAULTS: Mapping[str, Fault] = {
    "stuck_on": Fault("relay N is driven, whatever it is told; the board says so", "0", whole, once=False),
    "stuck_off": Fault("relay N is never driven; the board says so", "0", whole, once=False),
    "welded": Fault("the contact of relay N stays closed once it was; the board does not know", "0", whole, once=False),
    "reset": Fault("the board starts again: all relays are off", once=False),
}


@dataclass(frozen=True)
class Move:
    """A contact has moved. `time` is the carrier's, s."""

    time: float
    number: int
    name: str
    on: bool


class RelayBank:
    """`count` relays. `relays` tells which one moves what: `boiler:0,chiller1:2`; `world` names the plant.

    `driven` is what the board says, `closed` what the contacts are. `moves` holds the last changes of the contacts.
    """

    def __init__(self, count: int, world: str, relays: str) -> None:
        self._world_name = world
        self._world: World | None = None
        self.names = _names(relays, count)
        self.driven = [False] * count
        self.closed = [False] * count
        self.moves: deque[Move] = deque(maxlen=100_000)
        self._stuck: dict[str, int] = {}
        self._told = [False] * count

    def world(self, now: float) -> World:
        """The plant, which is there from the first time it is asked for."""
        if self._world is None:
            self._world = shared(self._world_name, now) if self._world_name else World(now=now)
        return self._world

    def advance(self, now: float) -> None:
        """The plant goes on until `now`."""
        world = self.world(now)
        with world.lock:
            world.advance(now)

    def switch(self, number: int, on: bool, now: float) -> None:
        """The host said so."""
        self._told[number] = on
        self._settle(now)

    def fault_changed(self, name: str, argument: str | None, now: float) -> None:
        """One of RELAY_FAULTS was switched. Raises ValueError for a relay that is not there."""
        if name == "reset":
            if argument is not None:
                self._told = [False] * len(self._told)
        elif argument is None:
            self._stuck.pop(name, None)
        elif int(argument) >= len(self._told):
            raise ValueError(f"there are {len(self._told)} relays, and no {argument}")
        else:
            self._stuck[name] = int(argument)
        self._settle(now)

    def _settle(self, now: float) -> None:
        world = self.world(now)
        with world.lock:
            world.advance(now)
            for number, told in enumerate(self._told):
                driven = told
                if self._stuck.get("stuck_on") == number:
                    driven = True
                if self._stuck.get("stuck_off") == number:
                    driven = False
                self.driven[number] = driven
                closed = driven or (self.closed[number] and self._stuck.get("welded") == number)
                if closed != self.closed[number]:
                    self.closed[number] = closed
                    name = self.names.get(number, "")
                    self.moves.append(Move(now, number, name, closed))
                    if name:
                        world.switch(name, closed)

    def state(self) -> dict[str, float | str | bool]:
        """Names of what is energised, and how often a contact has moved."""
        on = (self.names.get(number, str(number)) for number, closed in enumerate(self.closed) if closed)
        return {"on": ",".join(on), "moves": float(len(self.moves))}


def _names(text: str, count: int) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in filter(None, text.split(",")):
        name, _, number = item.partition(":")
        if not name or not number.isdecimal() or int(number) >= count:
            raise ValueError(f"relays are written NAME:NUMBER with numbers up to {count - 1}, not {item!r}")
        if int(number) in names:
            raise ValueError(f"relay {number} has two names")
        names[int(number)] = name
    return names
