# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated ThermoTek T255P, the older relative of the T257P with one-letter commands.

No document of the maker was at hand: the frames are as two open drivers use them. Assumed: set points from 5 to 45 °C,
alarms that go with their cause, the mode "safety" while one stands.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, ClassVar

from rockit.chiller.simulators.thermal import ThermalLoop
from rockit.chiller.simulators.thermotek_unit import (
    HIGH_CONTROL,
    HIGH_SUPPLY,
    LOW_CONTROL,
    LOW_LEVEL,
    LOW_SUPPLY,
    RUN,
    SAFETY,
    STANDBY,
    SUPPLY_SENSOR,
    Unit,
)
from rockit.common.simulate_device import Fault, FaultyDevice, Info, number

LONGEST = 32
_ALARMS = ({LOW_LEVEL}, {HIGH_SUPPLY, HIGH_CONTROL}, {LOW_SUPPLY, LOW_CONTROL}, {SUPPLY_SENSOR})
"""What stands behind the first four digits of `J`; EEPROM and watchdog come from the fault `alarm` only."""


class _OutOfBoundsError(Exception):
    """Answered with error 3."""


def _six_flags(text: str) -> None:
    if len(text) != 6 or set(text) - {"0", "1"}:
        raise ValueError(f"takes six digits 0 or 1, not {text!r}")


class T255P(FaultyDevice):
    """The chiller. Temperatures in °C, `load` in W."""

    DEVICE_FAULTS: ClassVar[dict[str, Fault]] = {
        "low_level": Fault("the float switch is down", once=False),
        "sensor_open": Fault("the wire of the temperature sensor is broken", once=False),
        "alarm": Fault("alarm digits of J that have no visible cause", "000010", _six_flags, once=False),
        "refuse": Fault("every write is answered with error 3"),
        "ignore_writes": Fault("run, standby and set point are acknowledged and not carried out"),
        "stuck": Fault("the temperature stays what it is", once=False),
    }
    CONDITIONS: ClassVar[dict[str, str]] = {
        "ambient": "air around the chiller, °C",
        "load": "heat from the camera, W",
        "coolant": "coolant temperature now, °C",
    }

    def __init__(
        self,
        *,
        ambient: float = 20.0,
        load: float = 100.0,
        coolant: float = 22.0,
        setpoint: float = 20.0,
        running: bool = False,
        autostart: bool = False,
        **line: Any,
    ) -> None:
        super().__init__(**line)
        if not 5.0 <= setpoint <= 45.0:
            raise ValueError(f"setpoint must be between 5 and 45, not {setpoint:g}")
        loop = ThermalLoop(random.Random(self.random.random()), ambient=ambient, load=load, coolant=coolant)  # noqa: S311
        self.unit = Unit(loop, self.random, setpoint=setpoint, flow=3.0, running=running, autostart=autostart)
        self.external = False
        self._buffer = bytearray()
        self._commands: dict[str, Callable[[str], str]] = {
            "U": self._status,
            "I": lambda q: self._none(q, f"{max(-9999, min(9999, round(self._temp() * 100))):+05d}"),
            "H": self._memory,
            "J": lambda q: self._none(q, "".join(str(int(on)) for on in self._alarms())),
            "G": self._mode,
            "M": self._setpoint,
            "O": self._sensor,
        }

    # --- bytes

    def take(self, data: bytes, now: float) -> None:
        """Collect one command up to CR."""
        self.unit.tick_line(now)
        for byte in data:
            if not self._buffer and byte != ord("."):
                continue
            if byte != ord("\r"):
                if len(self._buffer) < LONGEST:
                    self._buffer.append(byte)
                continue
            frame, self._buffer = bytes(self._buffer), bytearray()
            self._received = len(frame) + 1
            if len(frame) >= 4:
                self.reply(self._answer(frame), now)

    def _answer(self, frame: bytes) -> bytes:
        text = frame[:-2].decode("ascii", errors="replace")
        letter, qualifier = text[1], text[2:]
        head = f"{letter}0" if letter == "H" else letter
        if f"{sum(frame[:-2]) % 256:02X}".encode() != frame[-2:].upper():
            return _frame(f"{head}1")
        if letter not in self._commands:
            return _frame(f"{head}2")
        try:
            refused = letter in "GMO" and self.spend("refuse") is not None
            return _frame(f"{head}3" if refused else f"{head}0{self._commands[letter](qualifier)}")
        except _OutOfBoundsError:
            return _frame(f"{head}3")

    def foreign(self, reply: bytes) -> bytes:
        """The manifold temperature, or the alarms where that was asked."""
        return self._answer(b".J78") if reply[1:2] == b"I" else self._answer(b".I77")

    def spoil(self, reply: bytes) -> bytes:
        """Change the last character before the checksum."""
        at = max(0, len(reply) - 4)
        return reply[:at] + bytes([reply[at] ^ 0x01]) + reply[at + 1 :]

    # --- commands

    def _none(self, qualifier: str, answer: str) -> str:
        """For commands without a qualifier."""
        if qualifier:
            raise _OutOfBoundsError
        return answer

    def _alarms(self) -> list[bool]:
        digits = self.unit.alarms()
        found = [any(digits[index] & bit for index, bit in causes) for causes in _ALARMS] + [False, False]
        forced = self.fault("alarm") or "000000"
        return [on or flag == "1" for on, flag in zip(found, forced, strict=True)]

    def _temp(self) -> float:
        return self.unit.readings()["supply"] if not self.unit.sensor_open else 99.99

    def _status(self, qualifier: str) -> str:
        mode = SAFETY if self.unit.latched else self.unit.state
        return self._none(qualifier, f"{mode}{int(any(self._alarms()))}{int(self.unit.pumping)}0")

    def _memory(self, qualifier: str) -> str:
        if qualifier != "0":
            raise _OutOfBoundsError
        return f"{round(self.unit.setpoint * 10):+04d},100"

    def _mode(self, qualifier: str) -> str:
        wanted = {"0": STANDBY, "1": RUN}.get(qualifier)
        if wanted is None or self.unit.state == wanted:
            raise _OutOfBoundsError
        if self.spend("ignore_writes") is None:
            if wanted == RUN:
                self.unit.run()
            else:
                self.unit.standby()
        return qualifier

    def _setpoint(self, qualifier: str) -> str:
        if len(qualifier) != 4 or qualifier[0] not in "+-" or not (qualifier[1:].isascii() and qualifier[1:].isdigit()):
            raise _OutOfBoundsError
        value = int(qualifier) / 10.0
        if not 5.0 <= value <= 45.0:
            raise _OutOfBoundsError
        if self.spend("ignore_writes") is None:
            self.unit.setpoint = value
        return qualifier

    def _sensor(self, qualifier: str) -> str:
        wanted = {"0": False, "1": True}.get(qualifier)
        if wanted is None or wanted == self.external:
            raise _OutOfBoundsError
        self.external = wanted
        return qualifier

    # --- physics, faults, conditions

    def step(self, dt: float) -> None:
        """One simulated second."""
        self.unit.tick_line(self.line_time)
        self.unit.step(dt, self.line_time)
        self.unit.clear_latched(math.inf)  # nothing is latched for long, and no panel disagrees

    def fault_changed(self, name: str, argument: str | None) -> None:
        """Carry a fault into the machine."""
        on = argument is not None
        if name == "low_level":
            self.unit.low_level = on
        elif name == "sensor_open":
            self.unit.sensor_open = on
        elif name == "stuck":
            self.unit.freeze(on)

    def change(self, key: str, value: str) -> None:
        """Change the world around the chiller."""
        loop = self.unit.loop
        if key == "ambient":
            loop.ambient = number(value, -60.0, 80.0)
        elif key == "load":
            loop.load = number(value, 0.0, 5000.0)
        else:
            loop.coolant = number(value, -40.0, 95.0)

    def state(self) -> Info:
        """The true state."""
        unit = self.unit
        return {
            "coolant_temp": unit.loop.coolant,
            "camera_temp": unit.loop.camera,
            "ambient": unit.loop.ambient,
            "load": unit.loop.load,
            "setpoint": unit.setpoint,
            "running": unit.pumping,
            "drive": unit.loop.drive,
            "alarms": "".join(str(int(on)) for on in self._alarms()),
        }


def _frame(body: str) -> bytes:
    framed = f"#{body}".encode("ascii", errors="replace")
    return framed + f"{sum(framed) % 256:02X}\r".encode()
