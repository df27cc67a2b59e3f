# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated device is, and what can go wrong on any serial line.

A device has no thread and no clock: whoever carries its bytes (`simulate_pty`, the `sim://` port, a test) passes the
time in, in seconds of any steady clock. Two kinds of time are kept apart. Line time (delays of replies, gaps between
characters) is the carrier's. Simulated time (heat, protection delays) runs `speed` times as fast.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

Info = dict[str, float | str | bool]


class SimulatedDevice(Protocol):
    """A device at the far end of a serial line. All times in seconds."""

    def receive(self, data: bytes, now: float) -> None:
        """Bytes that the host sent arrive at `now`."""
        ...

    def output(self, now: float) -> bytes:
        """Bytes for the host that are due by `now`, in order, each handed out once."""
        ...

    def due(self, now: float) -> float | None:
        """Seconds from `now` until more output or the next step of the physics is due; None: nothing will come."""
        ...

    def faults(self) -> dict[str, str]:
        """Every fault that can be switched on: name -> description."""
        ...

    def set_fault(self, name: str, value: str) -> None:
        """Switch a fault: `on`, `off`, `once`, or an argument such as `0.5` or `once 0.5`.

        Raises KeyError for a name that is not in `faults()`, ValueError for a value that the fault does not take.
        """
        ...

    def active(self) -> dict[str, str]:
        """The faults that are on now, with the value that switched them on."""
        ...

    def conditions(self) -> dict[str, str]:
        """Physical conditions that `set_condition` takes: name -> description with unit."""
        ...

    def set_condition(self, key: str, value: str) -> None:
        """Change a physical condition. Raises KeyError for an unknown one, ValueError for a bad value."""
        ...

    def info(self) -> Info:
        """The true inner state, as no protocol tells it."""
        ...


def no_argument(text: str) -> None:
    """A fault that is only on or off."""
    raise ValueError(f"takes on, off or once, not {text!r}")


def seconds(text: str) -> None:
    """A fault whose argument is a time in seconds, 0 or more."""
    number(text, 0.0, math.inf)


def whole(text: str) -> None:
    """A fault whose argument is a count, 0 or more."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"takes a whole number, not {text!r}")


def half_or_whole(text: str) -> None:
    """A fault whose argument is `half` or a count."""
    if text != "half":
        whole(text)


def place(text: str) -> None:
    """A fault whose bytes come `before` the answer, or `instead` of it."""
    if text not in ("before", "instead"):
        raise ValueError(f"takes before or instead, not {text!r}")


def number(text: str, low: float, high: float) -> float:
    """`text` as a finite number within `low` and `high`. Raises ValueError."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"not a number: {text!r}") from None
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"must be between {low:g} and {high:g}, not {text}")
    return value


@dataclass(frozen=True)
class Fault:
    """What a fault does, which argument plain `on` stands for, and how to check one (raising ValueError)."""

    description: str
    default: str = ""
    check: Callable[[str], None] = no_argument
    once: bool = True
    """Whether `once` makes sense: True for faults of answers, False for lasting conditions such as a blocked pump."""


LINE_FAULTS: dict[str, Fault] = {
    "silence": Fault("commands are carried out, answers are lost"),
    "late": Fault("answers come N seconds late", "1", seconds),
    "double": Fault("every answer comes twice"),
    "truncate": Fault("answers end after N bytes, or half-way (half)", "half", half_or_whole),
    "checksum": Fault("one byte of the answer is changed so that its checksum is wrong"),
    "garbage": Fault("random bytes before the answer (before) or in its place (instead)", "before", place),
    "slow": Fault("N seconds pass between two bytes of an answer", "0.05", seconds),
    "foreign": Fault("an answer that belongs to another question, instead of the right one or before it",
                     "instead", place),
    "drop": Fault("byte number N of the answer (0 = first) is lost, or one in the middle (half)", "half",
                  half_or_whole),
}  # fmt: skip


class FaultyDevice:
    """Base of the simulated devices: the line and its faults, the clock of the physics, the switches.

    A device defines `take` (bytes came in; call `reply` for each answer), and as far as it has them `step`
    (physics), `foreign`, `spoil`, `state`, `DEVICE_FAULTS` with `fault_changed`, `CONDITIONS` with `change`.

    `latency` is the delay of every answer in seconds; `baud`, where it is not 0, adds the time that question and
    answer take on a line of that speed (10 bits a byte); `seed` fixes whatever is random; `speed` is simulated
    seconds per second; `now` is the time at which the device is switched on, by default when it is first spoken to.
    """

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {}
    CONDITIONS: ClassVar[Mapping[str, str]] = {}
    TICK: ClassVar[float] = 1.0
    """Step of the physics in simulated seconds."""

    def __init__(
        self,
        *,
        latency: float = 0.02,
        baud: float = 0.0,
        seed: int = 1,
        speed: float = 1.0,
        now: float | None = None,
    ) -> None:
        if latency < 0 or baud < 0:
            raise ValueError("latency and baud cannot be negative")
        self.latency = latency
        self.baud = baud
        self.random = random.Random(seed)  # noqa: S311  a simulation has to repeat itself
        self.speed = _speed(str(speed))
        self._noise = random.Random(seed + 1)  # noqa: S311  faults must not shift the measurement noise
        self._clock = now
        self._unspent = 0.0
        self._simulated = 0.0
        self._queue: deque[tuple[float, bytes]] = deque()
        self._active: dict[str, tuple[str, str]] = {}
        self._received = 0

    # --- what a device defines

    def take(self, data: bytes, now: float) -> None:
        """Bytes from the host. Call `reply` for each answer."""
        raise NotImplementedError

    def step(self, dt: float) -> None:
        """Let `dt` simulated seconds pass (always TICK)."""

    def foreign(self, reply: bytes) -> bytes:
        """An intact answer that belongs to another question than `reply` does."""
        return reply[::-1]

    def spoil(self, reply: bytes) -> bytes:
        """`reply` with one byte changed so that its checksum no longer fits."""
        at = len(reply) * 2 // 3
        return reply[:at] + bytes([reply[at] ^ 0x01]) + reply[at + 1 :] if reply else reply

    def state(self) -> Info:
        """What `info` tells beyond time and faults."""
        return {}

    def fault_changed(self, name: str, argument: str | None) -> None:
        """A fault of DEVICE_FAULTS was switched on (its argument, perhaps "") or off (None)."""

    def change(self, key: str, value: str) -> None:
        """A condition of CONDITIONS changes. Raise ValueError for a value that cannot be."""

    # --- what a device uses

    def reply(self, data: bytes, now: float) -> None:
        """Send one whole answer, as the line's faults leave it."""
        if self.spend("silence") is not None:
            return
        delay = self.latency + (10.0 * (self._received + len(data)) / self.baud if self.baud else 0.0)
        data = self._damaged(data)
        if self.spend("double") is not None:
            data += data
        delay += float(self.spend("late") or 0.0)
        slow = self.spend("slow")
        # A line keeps order: what is sent later arrives later, however late the earlier answer is.
        at = max(now + delay, self._queue[-1][0] if self._queue else now)
        if slow is None:
            self._queue.append((at, data))
        else:
            self._queue.extend((at + i * float(slow), data[i : i + 1]) for i in range(len(data)))

    def fault(self, name: str) -> str | None:
        """The argument of a fault that is on ("" where it has none), else None."""
        entry = self._active.get(name)
        return None if entry is None else entry[1]

    def spend(self, name: str) -> str | None:
        """Like `fault`, for the one answer that is being made: a fault set to `once` is over then."""
        entry = self._active.get(name)
        if entry is None:
            return None
        if entry[0].startswith("once"):
            del self._active[name]
            if name in self.DEVICE_FAULTS:
                self.fault_changed(name, None)
        return entry[1]

    @property
    def simulated(self) -> float:
        """Simulated seconds since the device was switched on."""
        return self._simulated

    @property
    def line_time(self) -> float:
        """The carrier's time at which the step that is being made falls, or the last time heard of, seconds."""
        return (self._clock or 0.0) - self._unspent / self.speed

    @property
    def line_now(self) -> float:
        """The last time the carrier told, seconds."""
        return self._clock or 0.0

    def advance(self, now: float) -> None:
        """Let the physics catch up with `now`. A clock that goes backwards is ignored."""
        if self._clock is None:
            self._clock = now
        elapsed = now - self._clock
        if elapsed <= 0:
            return
        self._clock = now
        self._unspent += elapsed * self.speed
        while self._unspent >= self.TICK - 1e-9:
            self._unspent -= self.TICK
            self._simulated += self.TICK
            self.step(self.TICK)

    # --- SimulatedDevice

    def receive(self, data: bytes, now: float) -> None:
        """See `SimulatedDevice.receive`."""
        self.advance(now)
        self._received = len(data)
        self.take(data, now)

    def output(self, now: float) -> bytes:
        """See `SimulatedDevice.output`."""
        self.advance(now)
        out = bytearray()
        while self._queue and self._queue[0][0] <= now:
            out += self._queue.popleft()[1]
        return bytes(out)

    def due(self, now: float) -> float | None:
        """See `SimulatedDevice.due`. The physics asks for at most 20 wake-ups a second, however fast it runs."""
        physics = max((self.TICK - self._unspent) / self.speed, 0.05)
        return max(0.0, min(physics, self._queue[0][0] - now)) if self._queue else physics

    def faults(self) -> dict[str, str]:
        """See `SimulatedDevice.faults`."""
        return {name: fault.description for name, fault in self._kinds().items()}

    def set_fault(self, name: str, value: str) -> None:
        """See `SimulatedDevice.set_fault`."""
        kind = self._kinds()[name]
        words = value.split()
        if words == ["off"]:
            if self._active.pop(name, None) is not None and name in self.DEVICE_FAULTS:
                self.fault_changed(name, None)
            return
        if words[:1] == ["once"] and not kind.once:
            raise ValueError(f"{name} lasts until it is switched off: it cannot be once")
        rest = words[1:] if words[:1] in (["on"], ["once"]) else words
        if not words or len(rest) > 1:
            raise ValueError(f"{name}: give on, off, once or an argument, not {value!r}")
        argument = kind.default
        if rest:
            try:
                kind.check(rest[0])
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
            argument = rest[0]
        self._active[name] = (" ".join(words), argument)
        if name in self.DEVICE_FAULTS:
            self.fault_changed(name, argument)

    def active(self) -> dict[str, str]:
        """See `SimulatedDevice.active`."""
        return {name: entry[0] for name, entry in self._active.items()}

    def conditions(self) -> dict[str, str]:
        """See `SimulatedDevice.conditions`."""
        return {"speed": "simulated seconds per second", **self.CONDITIONS}

    def set_condition(self, key: str, value: str) -> None:
        """See `SimulatedDevice.set_condition`."""
        if key == "speed":
            self.speed = _speed(value)
        elif key in self.CONDITIONS:
            self.change(key, value)
        else:
            raise KeyError(key)

    def info(self) -> Info:
        """See `SimulatedDevice.info`."""
        return {"simulated_seconds": self._simulated, "speed": self.speed, **self.state()}

    # --- inside

    def _kinds(self) -> dict[str, Fault]:
        return {**LINE_FAULTS, **self.DEVICE_FAULTS}

    def _damaged(self, data: bytes) -> bytes:
        before = b""
        if (how := self.spend("foreign")) is not None:
            other = self.foreign(data)
            before, data = (other, data) if how == "before" else (b"", other)
        if self.spend("checksum") is not None:
            data = self.spoil(data)
        if (where := self.spend("drop")) is not None:
            at = len(data) // 2 if where == "half" else int(where)
            data = data[:at] + data[at + 1 :]
        if (length := self.spend("truncate")) is not None:
            data = data[: len(data) // 2 if length == "half" else int(length)]
        if (how := self.spend("garbage")) is not None:
            noise = self._noise.randbytes(self._noise.randint(4, 24))
            data = noise + data if how == "before" else noise
        return before + data


def _speed(text: str) -> float:
    return number(text, 1e-3, 1e6)
