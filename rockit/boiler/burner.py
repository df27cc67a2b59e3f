# SPDX-License-Identifier: GPL-3.0-or-later
"""The boiler's own line: read what it says, and repeat the demand before the boiler forgets it.

In a loop of its own, so that a boiler that does not answer delays no valve and no relay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rockit.boiler.drivers import BoilerDriver
from rockit.boiler.model import MEASUREMENTS, Values
from rockit.common.framing import ProtocolError, Refused
from rockit.common.log import Log
from rockit.common.quality import Sample, Samples
from rockit.common.transport import LineError

DEMAND_AGE = 30.0
"""A demand that the control has not renewed for so long is not repeated, s: the boiler goes back to its own inputs."""
SLOW = 5.0
"""What one poll of a boiler may take, s."""


class PortLike(Protocol):
    """A `Line` or a `ModbusBus`."""

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        ...

    def open(self) -> None:
        """Open the port. Raises PortLost."""
        ...

    def close(self) -> None:
        """Close it."""
        ...

    def finish_by(self, deadline: float) -> None:
        """See `Line.finish_by`."""
        ...


@dataclass(frozen=True)
class BurnerSnapshot:
    """The boiler as of its last poll; `asked` is the set point that it acknowledged, °C, None for no heat."""

    connected: bool = False
    samples: Samples = field(default_factory=Samples)
    identity: dict[str, str] = field(default_factory=dict)
    offline_because: str = "it has not been asked yet; the daemon has just started"
    asked: float | None = None
    asked_at: float | None = None
    refused: str = ""
    """Why it does not take what it is asked for."""


class Burner:
    """What the boiler's query loop does. Other threads read `snapshot` and give a `demand`."""

    def __init__(
        self, port: PortLike, driver: BoilerDriver, period: float, log: Log, counters: Any, *, leave: bool = False
    ) -> None:
        """`leave`: what was asked of the boiler stands when the daemon ends, for as long as the boiler remembers it."""
        self._port = port
        self._driver = driver
        self._log = log
        self._leave = leave
        self.measures = driver.measures
        self.counters = counters
        self.maximum_age = 3 * period + SLOW
        self._demand: tuple[float | None, float] | None = None
        self._told_stale = False
        self.snapshot = BurnerSnapshot()

    # What the control calls.

    def demand(self, setpoint: float | None, now: float) -> None:
        """Ask for water of `setpoint` °C, or none; to be renewed at least every DEMAND_AGE."""
        self._demand = (setpoint, now)

    def values(self, now: float) -> dict[str, Any]:
        """What is known of the boiler at `now`: keys of MEASUREMENTS, `faults`, `warnings`."""
        return {key: sample.value for key, sample in self.samples(now).items() if sample.value is not None}

    def samples(self, now: float) -> Mapping[str, Sample]:
        """The same with their times."""
        snapshot = self.snapshot
        return snapshot.samples.all_fresh(now, self.maximum_age) if snapshot.connected else {}

    # What the query loop calls.

    def connect(self) -> str:
        """Open the port and see that it is our family that answers."""
        self._port.open()
        identity = self._driver.identify()
        self._set(identity=identity)
        return identity.get("family", "boiler")

    def disconnect(self) -> None:
        """Close the port."""
        self._port.close()

    def steps(self) -> Iterator[None]:
        """One poll."""
        asked = time.monotonic()
        for values in self._driver.poll():
            self._take(values, asked)
            yield
            asked = time.monotonic()

    def finish(self) -> None:
        """The boiler has told all: tell it what to do, before it forgets."""
        self._set(connected=True, offline_because="")
        demand, now = self._demand, time.monotonic()
        if demand is None:
            return
        setpoint, at = demand
        if now - at > DEMAND_AGE:
            if not self._told_stale:
                self._log.error("the control has not renewed its demand; the boiler is left to itself")
            self._told_stale = True
            return
        self._told_stale = False
        try:
            asked = self._driver.command(setpoint)
        except Refused as error:  # it is there, and tells what it measures
            self.counters["refused"] += 1
            self._set(refused=str(error), asked=None, asked_at=None)
            return
        self.counters["demands"] += 1
        self._set(asked=asked, asked_at=time.monotonic(), refused="")

    def lost(self, reason: str) -> None:
        """No connection: what was measured is not known any more."""
        self._set(connected=False, samples=Samples(), offline_because=reason, asked=None, asked_at=None)

    def shutdown(self, deadline: float) -> None:
        """Take the demand back: the boiler need not wait for its own timeout."""
        if self._leave:
            return
        self._port.finish_by(deadline)
        try:
            if not self._port.is_open:
                self._port.open()
            self._driver.command(None)
            self._log.info("no heat is asked of the boiler any more")
        except (LineError, ProtocolError) as error:
            self._log.warning(
                f"the boiler could not be told that no heat is asked of it, and heats by its own settings: {error}"
            )

    # Inside.

    def _take(self, values: Values, asked: float) -> None:
        """Believe what was read, but for numbers that no boiler can mean: those make their key unknown."""
        believed: dict[str, Any] = {}
        for key, value in values.items():
            known = MEASUREMENTS.get(key)
            if known is None or value is None or known.plausible(value):
                believed[key] = value
            else:
                believed[key] = None
                self.counters["implausible"] += 1
        self._set(samples=self.snapshot.samples.merged(believed, asked))

    def _set(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, **changes)
