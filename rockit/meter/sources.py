# SPDX-License-Identifier: GPL-3.0-or-later
"""What a query loop does at one port: each kind of port is a `Task` of `rockit.common.poll`.

A meter that talks by itself is listened to, one that is asked is asked, pulses are counted; what each of them teaches
is a `Reading` for its meter's unit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from rockit.common.framing import Damage, Damaged, ProtocolError
from rockit.common.log import Log
from rockit.common.transport import NoAnswer, PortLost, Stopped
from rockit.common.transport.edges import EdgeSource
from rockit.common.transport.listener import Listener
from rockit.common.transport.port import Port
from rockit.meter import pulses
from rockit.meter.drivers import d0
from rockit.meter.model import Reading, Register, together
from rockit.meter.protocols.d0 import Telegram
from rockit.meter.turns import Turns
from rockit.meter.unit import MeterUnit

TICK = 0.1
"""The longest pause without a look at what else there is to do, s."""
EACH = 1.0
"""Pulses are told of at most so often, s."""

SPOILT = (Damage.CHECKSUM, Damage.TRUNCATED, Damage.MALFORMED)
"""What was a telegram once; other bytes are noise between them."""


class Source:
    """What all of them have in common: nothing is decided, and nothing has to be left safe."""

    def finish(self) -> None:
        """Nothing to decide."""

    def shutdown(self, deadline: float) -> None:
        """Nothing to leave safe."""


class Listening(Source):
    """The loop's side of a meter that talks by itself."""

    def __init__(
        self, unit: MeterUnit, kind: str, listener: Listener[Any], readings: Callable[[Any], list[Reading]]
    ) -> None:
        self._unit = unit
        self._kind = kind
        self._listener = listener
        self._readings = readings
        self._heard_at = 0.0
        self._spoilt = 0
        unit.counted = lambda: listener.counters

    def connect(self) -> str:
        """Open the port; it speaks in its own time."""
        self._listener.open()
        self._heard_at = time.monotonic()
        return self._kind

    def disconnect(self) -> None:
        """Close the port."""
        self._listener.close()

    def steps(self) -> Iterator[None]:
        """Until the next telegram. Raises NoAnswer where none comes for as long as a reading counts."""
        while True:
            telegrams = self._listener.listen()
            self._judge()
            heard = [(reading, at) for telegram, at in telegrams for reading in together(self._readings(telegram))]
            for reading, at in heard:
                self._unit.take(reading, at)
            now = time.monotonic()
            if heard:
                self._heard_at = now
                return
            if now - self._heard_at > self._unit.maximum_age:
                self._heard_at = now
                raise NoAnswer(self._silence())
            yield

    def _judge(self) -> None:
        spoilt = sum(self._listener.counters[str(kind)] for kind in SPOILT)
        self._unit.telegrams.damaged(spoilt - self._spoilt)
        self._spoilt = spoilt

    def _silence(self) -> str:
        age = self._unit.maximum_age
        if self._listener.noise:
            return f"no whole {self._kind} telegram for {age:g} s, only bytes that are none; are baud and driver right?"
        return f"nothing came for {age:g} s; is the head on the meter, and the meter switched on to speak?"

    def lost(self, reason: str) -> None:
        """No connection."""
        self._unit.lost(reason)


class Asking(Source):
    """The loop's side of a D0 meter that is asked for each readout: the driver says what to do, here it is done."""

    def __init__(
        self, unit: MeterUnit, port: Port, decoder: Callable[[], Any], stop: threading.Event,
        readout: Callable[[], d0.Readout],
    ) -> None:  # fmt: skip
        self._unit = unit
        self._port = port
        self._new_decoder = decoder
        self._stop = stop
        self._readout = readout
        self._ended = 0.0
        self._frames: deque[Any] = deque()
        """Came behind the one that was waited for: some meters send all at once."""
        unit.counted = lambda: port.counters

    def connect(self) -> str:
        """Open the port."""
        self._port.open()
        return "d0"

    def disconnect(self) -> None:
        """Close the port."""
        self._port.close()

    def steps(self) -> Iterator[None]:
        """One readout: half a minute at 300 baud. Raises NoAnswer where none came."""
        decoder = self._new_decoder()
        self._frames.clear()
        readout = self._readout()
        answer: Any = None
        baud = self._port.settings.baud
        while True:
            try:
                action = readout.send(answer)
            except StopIteration as end:
                telegram = end.value
                break
            answer = None
            if isinstance(action, d0.Baud):
                baud = action.baud
                self._port.set_baud(baud)
            elif isinstance(action, d0.Send):
                self._port.write(action.data, self._check, 2.0)
                yield from self._pause(10.0 * len(action.data) / baud)  # until its last bit has left
            elif isinstance(action, d0.Wait):
                yield from self._pause(action.seconds)
            else:
                answer = yield from self._expect(action, decoder)
        list(self._sorted(decoder.flush()))
        if telegram is None:
            raise NoAnswer("the meter sent no whole data block; is the head straight, and is it a D0 meter?")
        for reading in together(d0.readings(telegram)):
            self._unit.take(reading, self._ended)

    def _expect(self, wanted: d0.Expect, decoder: Any) -> Generator[None, None, Any]:
        began = heard = time.monotonic()
        while True:
            data = self._port.read(wait=not self._frames)
            now = time.monotonic()
            heard = now if data else heard
            self._frames.extend(self._sorted(decoder.feed(data)))
            while self._frames:
                frame = self._frames.popleft()
                if isinstance(frame, wanted.kind):
                    self._ended = now
                    return frame
            if now - began > wanted.seconds or now - heard > wanted.silence:
                return None
            self._check()
            yield

    def _sorted(self, frames: list[Any]) -> Iterator[Any]:
        counters = self._port.counters
        for frame in frames:
            if isinstance(frame, Damaged):
                counters[str(frame.kind)] += 1
                counters["lost_bytes"] += len(frame.data)
                self._unit.telegrams.damaged(frame.kind in SPOILT)
            else:
                counters["answers"] += isinstance(frame, Telegram)
                yield frame

    def _pause(self, seconds: float) -> Iterator[None]:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._stop.wait(min(left, TICK))
            self._check()
            yield

    def _check(self) -> None:
        if self._stop.is_set():
            raise Stopped("the daemon is stopping")

    def lost(self, reason: str) -> None:
        """No connection."""
        self._unit.lost(reason)


class Counting(Source):
    """The loop's side of an S0 meter: counts pulses, and tells how they stand when some came, or now and then."""

    def __init__(
        self, unit: MeterUnit, source: EdgeSource, settings: pulses.Settings, every: float, stop: threading.Event
    ) -> None:
        self._unit = unit
        self._stop = stop
        self._source = source
        self._settings = settings
        self._every = every
        self._state = pulses.Pulses(count=unit.kept.pulses)
        self._told_at = 0.0
        self._told = -1
        self._name = f"{unit.config.direction}_energy"
        unit.counted_by(self._name, pulses.energy_decimal(self._state, settings), float(settings.impulses_per_kwh))

    def connect(self) -> str:
        """Begin to listen."""
        self._source.open()
        self._state = pulses.restarted(self._state, time.monotonic_ns())
        return "s0"

    def disconnect(self) -> None:
        """Stop listening."""
        self._source.close()

    def steps(self) -> Iterator[None]:
        """Until there is something to tell."""
        while True:
            if self._stop.is_set():
                raise Stopped("the daemon is stopping")
            edges = self._source.wait(TICK)
            now = time.monotonic_ns()
            before = self._state
            self._state = pulses.advance(pulses.feed(before, edges, self._settings), now, self._settings)
            counters = self._unit.counters
            counters["lost_edges"] += self._state.lost - before.lost
            counters["rejected_pulses"] += self._state.rejected - before.rejected
            since = now / 1e9 - self._told_at
            if since >= self._every or (self._state.count != self._told and since >= EACH):
                self._tell(now)
                return
            yield

    def _tell(self, now: int) -> None:
        self._told_at, self._told = now / 1e9, self._state.count
        self._unit.counters["answers"] += 1
        self._unit.kept.pulses = self._state.count
        registers = {
            "pulses": Register(self._state.count, "", "Pulses", counter=True),
            self._name: Register(
                pulses.energy_decimal(self._state, self._settings), "Wh", "Energy from pulses", counter=True
            ),
        }
        power = pulses.power(self._state, self._settings, now)
        if power is not None:
            sign = 1 if self._unit.config.direction == "import" else -1
            registers["power"] = Register(Decimal(repr(round(sign * power, 2))), "W", "Power from pulses")
        self._unit.take(Reading(registers), now / 1e9)

    def lost(self, reason: str) -> None:
        """The line is gone: pulses that come now are not seen."""
        self._unit.lost(reason)


class Asked(Protocol):
    """A Modbus meter, as its driver has it."""

    counters: Counter[str]
    warnings: tuple[str, ...]
    """What a person should be told of how it is set."""

    def identify(self) -> dict[str, str]:
        """Ask what it is."""
        ...

    def poll(self) -> Iterator[Reading | None]:
        """One exchange a step; the last gives the reading."""
        ...


class Bus(Protocol):
    """What the loop needs of a bus."""

    counters: Counter[str]

    def open(self) -> None:
        """Open the port."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Sharing(Source):
    """The loop's side of a bus: one unit's turn after the other, and those that are silent less and less often."""

    def __init__(
        self, bus: Bus, meters: Mapping[str, tuple[MeterUnit, Asked]], period: float, stop: threading.Event, log: Log
    ) -> None:
        self._bus = bus
        self._meters = dict(meters)
        self._stop = stop
        self._log = log
        self._known: set[str] = set()
        self._faults: dict[str, float] = {}
        self._turns = Turns(self._meters, period, time.monotonic())
        self._shares = {name: Counter[str]() for name in self._meters}
        """What the bus has counted in each one's turns."""
        for name, (unit, _) in self._meters.items():
            unit.counted = partial(self._shares.__getitem__, name)

    def connect(self) -> str:
        """Open the port. Who is on the bus is found out in its turn."""
        self._bus.open()
        self._known.clear()
        return "modbus"

    def disconnect(self) -> None:
        """Close the port."""
        self._bus.close()

    def steps(self) -> Iterator[None]:
        """The next turn. Only a port that is gone is the bus's fault."""
        while (name := self._turns.next(time.monotonic())) is None:
            if self._stop.wait(min(TICK, self._turns.wait(time.monotonic()) or TICK)):
                raise Stopped("the daemon is stopping")
            yield
        unit, meter = self._meters[name]
        before = Counter(self._bus.counters)
        asked = time.monotonic()
        try:
            if name not in self._known:
                identity = meter.identify()
                unit.identified(identity, meter.warnings)
                self._known.add(name)
                yield
            for reading in meter.poll():
                if reading is not None:
                    unit.take(reading, asked)
                yield
        except Stopped:
            raise
        except PortLost:
            # A gateway may hang up for a unit that is silent: it must not be the first again, and again.
            self._failed(name)
            raise
        except (NoAnswer, ProtocolError) as error:
            self._failed(name)
            self._fault(name, unit, str(error))
        except Exception as error:  # noqa: BLE001 - what one unit makes of us must not stop the others
            self._failed(name)
            unit.counters["internal_errors"] += 1
            self._fault(name, unit, f"error in the daemon: {error!r}")
        else:
            self._turns.answered(name, time.monotonic())
            self._well(name)
        finally:
            share = Counter(self._bus.counters) - before
            self._shares[name].update(share)
            unit.telegrams.damaged(sum(share[str(kind)] for kind in SPOILT))
            unit.counters.update(meter.counters)
            meter.counters.clear()

    def _failed(self, name: str) -> None:
        self._turns.failed(name, time.monotonic())
        self._known.discard(name)

    def _fault(self, name: str, unit: MeterUnit, why: str) -> None:
        unit.lost(why, gone=False)  # one answer that failed to come makes no value old
        if name not in self._faults:
            self._faults[name] = time.monotonic()
            self._log.error(f"meter {name} does not answer: {why}; it is asked less and less often, for ever")

    def _well(self, name: str) -> None:
        if (since := self._faults.pop(name, None)) is not None:
            self._log.info(f"meter {name} answers again after {time.monotonic() - since:.0f} s")

    def lost(self, reason: str) -> None:
        """The port is gone."""
        for unit, _ in self._meters.values():
            unit.lost(reason)
