# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated ThermoTek T257P: the TTK protocol on top of `thermotek_unit`.

Written from the TTK Serial Communication Protocol Release II (X2.003).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any, ClassVar

from rockit.chiller.simulators.thermal import ThermalLoop
from rockit.chiller.simulators.thermotek_unit import AUTO_START, RUN, SAFETY, STANDBY, THRESHOLDS, Unit
from rockit.common.simulate_device import Fault, FaultyDevice, Info, number

REMOTE_LAPSE = 10.0
"""Seconds without a valid command after which the keypad is unlocked."""
REJECTED = b"#23\r"
"""The short answer to a parameter that is out of bounds, and to 16 on a T257P."""
LONGEST = 64
"""Characters of one command that are kept; the longest valid one has 23."""
STATE_NAMES = {AUTO_START: "auto-start", STANDBY: "standby", RUN: "run", SAFETY: "safety"}
_WRITES = {12, 15, 16, 17, *range(21, 31), 59}


class _Error(Exception):
    """The command is answered with this error digit."""

    def __init__(self, digit: int) -> None:
        super().__init__(digit)
        self.digit = digit


class _Rejected(Exception):
    """The command is answered with `#23`."""


def _hex_digits(count: int) -> Callable[[str], None]:
    def check(text: str) -> None:
        if len(text) != count or any(c not in "0123456789ABCDEFabcdef" for c in text):
            raise ValueError(f"takes {count} hex digits, not {text!r}")

    return check


def _digit(text: str) -> None:
    if text not in ("1", "2", "3", "4", "5"):
        raise ValueError(f"takes an error digit from 1 to 5, not {text!r}")


def _flow(text: str) -> None:
    number(text, 0.0, 100.0)


class T257P(FaultyDevice):
    """The chiller. Temperatures in °C, `load` in W, `flow` in L/min, `max_gap` in s (0: any gap is accepted).

    `glycol` lowers the least set point from 5 to -5 °C; `external` fits the external sensors; `unit` is the address.
    """

    DEVICE_FAULTS: ClassVar[dict[str, Fault]] = {
        "low_flow": Fault("the flow is at most N L/min", "0", _flow, once=False),
        "low_level": Fault("the tank is nearly empty", once=False),
        "fan": Fault("a fan stands still", once=False),
        "sensor_open": Fault("the wire of the supply sensor is broken", once=False),
        "alarm": Fault("alarm digits A0..A5 that have no visible cause", "000008", _hex_digits(6), once=False),
        "warning": Fault("warning digits W0..W3 that have no visible cause", "0800", _hex_digits(4), once=False),
        "refuse": Fault("every write is answered with #23"),
        "ignore_writes": Fault("run, standby and set point are acknowledged and not carried out"),
        "error": Fault("every command is answered with error digit N and not carried out", "2", _digit),
        "stuck": Fault("temperatures, flow and drive stay what they are", once=False),
    }
    CONDITIONS: ClassVar[dict[str, str]] = {
        "ambient": "air around the chiller, °C",
        "load": "heat from the camera, W",
        "flow": "what the pump moves when nothing blocks it, L/min",
        "level": "coolant in the tank, 0 to 1",
        "coolant": "coolant temperature now, °C",
        "power": "mains: on, off, or cycle (off and on)",
    }

    def __init__(
        self,
        *,
        ambient: float = 20.0,
        load: float = 100.0,
        coolant: float = 22.0,
        setpoint: float = 20.0,
        flow: float = 3.0,
        running: bool = False,
        autostart: bool = False,
        glycol: bool = False,
        external: bool = False,
        unit: int = 1,
        max_gap: float = 0.01,
        **line: Any,
    ) -> None:
        super().__init__(**line)
        self.lowest = -5.0 if glycol else 5.0
        if not self.lowest <= setpoint <= 45.0:
            raise ValueError(f"setpoint must be between {self.lowest:g} and 45, not {setpoint:g}")
        if not 1 <= unit <= 32:
            raise ValueError(f"unit must be between 1 and 32, not {unit}")
        loop = ThermalLoop(random.Random(self.random.random()), ambient=ambient, load=load, coolant=coolant)  # noqa: S311
        self.unit = Unit(loop, self.random, setpoint=setpoint, flow=flow, running=running, autostart=autostart)
        self.external = external
        self.max_gap = max_gap
        self.counts = {"commands": 0, "dropped": 0, "run_writes": 0, "setpoint_writes": 0}
        self._address = f"{unit:02d}"
        self._table = self._commands()
        self._buffer = bytearray()
        self._last_byte = -math.inf
        self._last_valid = -math.inf

    # --- bytes

    def take(self, data: bytes, now: float) -> None:
        """Collect one command up to CR. A pause of more than `max_gap` inside it makes the chiller forget it."""
        self.unit.tick_line(now)
        if self._buffer and self.max_gap and now - self._last_byte > self.max_gap:
            self._buffer.clear()
            self.counts["dropped"] += 1
        self._last_byte = now
        if not self.unit.powered:
            self._buffer.clear()
            return
        for byte in data:
            if byte in (0x11, 0x13) or (not self._buffer and byte != ord(".")):
                continue
            if byte != ord("\r"):
                if len(self._buffer) < LONGEST:
                    self._buffer.append(byte)
                continue
            frame, self._buffer = bytes(self._buffer), bytearray()
            self._received = len(frame) + 1
            answer = self._answer(frame, now)
            if answer:
                self.reply(answer, now)

    def _answer(self, frame: bytes, now: float) -> bytes:
        """The reply to one command without its CR; empty where the chiller stays silent."""
        body, sent_sum = frame[:-2], frame[-2:]
        text = body.decode("ascii", errors="replace")
        if len(frame) < 7 or text[1:3] != self._address:
            return b""
        command, name, data = text[3:5], text[5:13], text[13:]
        if f"{sum(body) % 256:02X}".encode() != sent_sum.upper():
            return self._frame(command, 1, name, data)
        try:
            return self._frame(command, 0, name, self._carry_out(command, name, data, now))
        except _Rejected:
            return REJECTED
        except _Error as error:
            return self._frame(command, error.digit, name, data)

    def _carry_out(self, command: str, name: str, data: str, now: float) -> str:
        """The data of the answer. Raises _Error or _Rejected."""
        which = int(command) if command.isascii() and command.isdigit() else -1
        if which not in self._table:
            raise _Error(2)
        length, action = self._table[which]
        if len(name) + len(data) != 8 + length:
            raise _Error(4)
        self._last_valid = now
        self.counts["commands"] += 1
        if (digit := self.spend("error")) is not None:
            raise _Error(int(digit))
        if which in _WRITES and self.spend("refuse") is not None:
            raise _Rejected
        return action(data)

    def _frame(self, command: str, error: int, name: str, data: str) -> bytes:
        body = f"#{self._address}{command}{error}{name}{data}".encode("ascii", errors="replace")
        return body + f"{sum(body) % 256:02X}\r".encode()

    def foreign(self, reply: bytes) -> bytes:
        """The ambient temperature, or the flow where that was asked."""
        if reply[3:5] == b"08":
            return self._frame("09", 0, "rProsFlo", _signed(self.unit.readings()["flow"], 10))
        return self._frame("08", 0, "rAmbTemp", _signed(self.unit.readings()["ambient"], 10))

    def spoil(self, reply: bytes) -> bytes:
        """Change the last character before the checksum: in an answer with a value, a digit of it."""
        at = max(0, len(reply) - 4)
        return reply[:at] + bytes([reply[at] ^ 0x01]) + reply[at + 1 :]

    # --- commands

    def _commands(self) -> dict[int, tuple[int, Callable[[str], str]]]:
        """Number -> (characters of data, what to do with them)."""
        table: dict[int, tuple[int, Callable[[str], str]]] = {
            1: (0, self._watchdog),
            2: (0, lambda _: "0"),
            3: (0, lambda _: _signed(self.unit.setpoint, 10)),
            4: (0, self._reading("supply", 10)),
            5: (0, self._external_temp),
            6: (0, self._external_temp),
            7: (0, self._reading("return", 10)),
            8: (0, self._reading("ambient", 10)),
            9: (0, self._reading("flow", 10)),
            10: (0, self._reading("current_1", 1000)),
            11: (0, self._reading("current_2", 1000)),
            12: (1, self._enable_external),
            13: (0, lambda _: f"{round(100 * abs(self._drive())):03d},{self._way()}"),
            15: (1, self._set_status),
            16: (1, self._set_sensor),
            17: (5, self._set_setpoint),
            18: (0, self._alarms),
            19: (1, self._alarms_2),
            20: (0, lambda _: _hex(self.unit.warnings())),
            46: (0, lambda _: f"{1 + round(254 * abs(self._drive())):03d},{self._way()}"),
            48: (0, lambda _: f"{_signed(self.unit.readings()['supply'], 10)},{int(self.unit.pumping)}"),
            49: (0, lambda _: f"{int(self.unit.uptime // 60) % 1000000:06d}"),
            50: (0, lambda _: f"{round(self.unit.readings()['failed_fan']):04d}"),
            59: (1, self._restore),  # its name has nine letters, sDUsrEEPU: the last one counts as data here
        }
        for fan in (51, 52, 53):
            table[fan] = (0, lambda _: f"{round(self.unit.readings()['fan']):04d}")
        for first, limits in ((21, self.unit.warn), (26, self.unit.alarm)):
            for offset, name in enumerate(THRESHOLDS):
                table[first + offset] = (5, self._set_threshold(limits, name))
                table[first + 13 + offset] = (0, self._threshold(limits, name))
        return table

    def _reading(self, key: str, scale: int) -> Callable[[str], str]:
        return lambda _: _signed(self.unit.readings()[key], scale)

    def _drive(self) -> float:
        return self.unit.readings()["drive"]

    def _way(self) -> str:
        return "H" if self._drive() < 0 else "C"

    def _watchdog(self, _data: str) -> str:
        unit = self.unit
        return f"{unit.state}{unit.pumping:d}{any(self.unit.alarms()):d}{any(unit.warnings()):d}"

    def _external_temp(self, _data: str) -> str:
        if not self.external:
            raise _Error(5)
        return _signed(round(self.unit.loop.ambient, 1), 10)

    def _enable_external(self, data: str) -> str:
        if not self.external:
            raise _Error(5)
        return _one_of(data, "01")

    def _set_status(self, data: str) -> str:
        _one_of(data, "01")
        self.counts["run_writes"] += 1
        if self.unit.mode_mismatch and data == "1":
            raise _Rejected
        if self.spend("ignore_writes") is None:
            if data == "1":
                self.unit.run()
            else:
                self.unit.standby()
        return data

    def _set_sensor(self, _data: str) -> str:
        raise _Rejected

    def _set_setpoint(self, data: str) -> str:
        value = _parse(data)
        if not self.lowest <= value <= 45.0:
            raise _Rejected
        self.counts["setpoint_writes"] += 1
        if self.spend("ignore_writes") is None:
            self.unit.setpoint = value
        return data

    def _alarms(self, _data: str) -> str:
        digits = _hex(self.unit.alarms())
        self.unit.clear_latched(self.line_now)
        return digits

    def _alarms_2(self, data: str) -> str:
        return data + _hex(self.unit.alarms_2(int(_one_of(data, "12"))))

    def _threshold(self, limits: dict[str, float], name: str) -> Callable[[str], str]:
        return lambda _: _signed(limits[name], 10)

    def _set_threshold(self, limits: dict[str, float], name: str) -> Callable[[str], str]:
        def change(data: str) -> str:
            value = _parse(data)
            if name == "low_flow" and value < 0:
                raise _Error(3)
            limits[name] = value
            return data

        return change

    def _restore(self, data: str) -> str:
        self.unit.restore_thresholds()
        return data

    # --- physics, faults, conditions

    def step(self, dt: float) -> None:
        """One simulated second."""
        self.unit.tick_line(self.line_time)
        self.unit.step(dt, self.line_time)

    def fault_changed(self, name: str, argument: str | None) -> None:
        """Carry a fault into the machine."""
        on = argument is not None
        if name == "low_flow":
            self.unit.blocked_flow = None if argument is None else float(argument)
        elif name == "low_level":
            self.unit.low_level = on
        elif name == "fan":
            self.unit.fan_failed = on
        elif name == "sensor_open":
            self.unit.sensor_open = on
        elif name == "alarm":
            self.unit.forced_alarms = argument or ""
        elif name == "warning":
            self.unit.forced_warnings = argument or ""
        elif name == "stuck":
            self.unit.freeze(on)

    def change(self, key: str, value: str) -> None:
        """Change the world around the chiller."""
        loop, unit = self.unit.loop, self.unit
        if key == "ambient":
            loop.ambient = number(value, -60.0, 80.0)
        elif key == "load":
            loop.load = number(value, 0.0, 5000.0)
        elif key == "flow":
            unit.pump_flow = number(value, 0.0, 100.0)
        elif key == "level":
            unit.level = number(value, 0.0, 1.0)
        elif key == "coolant":
            loop.coolant = number(value, -40.0, 95.0)
        elif value in ("off", "on", "cycle"):
            if value != "on":
                unit.power_down()
                self._last_valid = -math.inf
            if value != "off" and not unit.powered:
                unit.power_up()
        else:
            raise ValueError(f"power is on, off or cycle, not {value!r}")

    def state(self) -> Info:
        """The true state, and how often the host wrote."""
        unit, loop = self.unit, self.unit.loop
        return {
            "coolant_temp": loop.coolant,
            "camera_temp": loop.camera,
            "ambient": loop.ambient,
            "load": loop.load,
            "setpoint": unit.setpoint,
            "running": unit.pumping,
            "state": STATE_NAMES[unit.state],
            "powered": unit.powered,
            "pump": unit.pumping,
            "flow": unit.flow,
            "drive": loop.drive,
            "remote": self.line_now - self._last_valid < REMOTE_LAPSE,
            "alarms": _hex(self.unit.alarms()),
            "latched": bool(unit.latched),
            "warnings": _hex(unit.warnings()),
            "mode_mismatch": unit.mode_mismatch,
            **{name: float(count) for name, count in self.counts.items()},
        }


def _one_of(data: str, allowed: str) -> str:
    if len(data) != 1 or data not in allowed:
        raise _Error(3)
    return data


def _parse(data: str) -> float:
    """Sign and four digits in 0.1."""
    if data[0] not in "+-" or not (data[1:].isascii() and data[1:].isdigit()):
        raise _Error(3)
    return int(data) / 10.0


def _signed(value: float, scale: int) -> str:
    return f"{min(max(round(value * scale), -9999), 9999):+05d}"


def _hex(digits: list[int]) -> str:
    return "".join(f"{digit:X}" for digit in digits)
