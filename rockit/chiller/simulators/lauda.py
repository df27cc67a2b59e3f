# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated LAUDA circulator (ASCII on RS-232), as the makers' manuals describe it.

Not documented, and assumed: how long a command may be (80 characters), and that letters must be upper case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rockit.chiller.simulators.loop import LoopDevice
from rockit.common.simulate_device import Fault, whole

LONGEST = 80

# Fault -> place in the STAT reply, and whether it stops the unit and shows in STATUS.
_STAT = {
    "error": (0, True), "alarm": (1, True), "warning": (2, False),
    "overtemperature": (3, True), "low_level": (4, True), "no_external_value": (6, False),
}  # fmt: skip


class Lauda(LoopDevice):
    """One unit. `model` is its answer to TYPE; one with LOOP in it answers STAT with six characters, others with 7."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "refuse": Fault("the unit answers ERR_N", "6", whole),
        "error": Fault("internal error: the unit stops", once=False),
        "alarm": Fault("alarm: the unit stops", once=False),
        "warning": Fault("warning", once=False),
        "overtemperature": Fault("overtemperature: the unit stops", once=False),
        "low_level": Fault("low level: the unit stops", once=False),
        "no_external_value": Fault("the external control value is missing", once=False),
    }

    def __init__(self, *, model: str = "BC_LOOP", **options: Any) -> None:
        super().__init__(**options)
        self.model = model
        self.keys_locked = False
        self.high, self.low = 80.0, -25.0
        self._heard = bytearray()
        self._queries: dict[str, Callable[[], str]] = {
            "IN_PV_00": lambda: fixed(self.loop.supply),
            "IN_SP_00": lambda: fixed(self.setpoint),
            "IN_SP_04": lambda: fixed(self.high),
            "IN_SP_05": lambda: fixed(self.low),
            "IN_MODE_00": lambda: "1" if self.keys_locked else "0",
            "IN_MODE_02": lambda: "0" if self.running else "1",
            "TYPE": lambda: self.model,
            "VERSION_R": lambda: "1.24",
            "STATUS": lambda: "-1" if self._stopped() else "0",
            "STAT": self._stat,
            "START": self._start,
            "STOP": self._stop,
        }

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """A command ends with CR, CR LF or LF CR; an empty one is none."""
        for byte in data:
            if byte not in b"\r\n":
                self._heard.append(byte)
            elif self._heard:
                command = self._heard.decode("latin-1")
                self._heard.clear()
                self.reply(self._answer(command).encode("ascii") + b"\r\n", now)

    def _answer(self, command: str) -> str:
        if (code := self.spend("refuse")) is not None:
            return f"ERR_{code}"
        if len(command) > LONGEST:
            return "ERR_2"
        command = command.replace(" ", "_")
        if command in self._queries:
            return self._queries[command]()
        for name, write in (
            ("OUT_SP_00_", self._write_setpoint), ("OUT_SP_04_", self._write_high), ("OUT_SP_05_", self._write_low),
        ):  # fmt: skip
            if command.startswith(name):
                text = command.removeprefix(name)
                if not re.fullmatch(r"-?(\d{1,3}\.?\d{0,2}|\.\d{1,2})", text, re.ASCII):
                    return "ERR_5"
                return write(float(text))
        return "ERR_3"

    def foreign(self, reply: bytes) -> bytes:
        """A temperature where something else was asked for, else OK."""
        return b"OK\r\n" if re.match(rb"-?\d+\.", reply) else b"020.00\r\n"

    def spoil(self, reply: bytes) -> bytes:
        """There is no checksum: the second last character before CR LF comes with its top bit set."""
        at = max(len(reply) - 4, 0)
        return reply[:at] + bytes([reply[at] | 0x80]) + reply[at + 1 :]

    # --- commands

    def _start(self) -> str:
        if self._stopped():
            return "ERR_6"
        self.running = True
        return "OK"

    def _stop(self) -> str:
        self.running = False
        return "OK"

    def _stat(self) -> str:
        characters = ["0"] * 7
        for name, (at, _) in _STAT.items():
            if self.fault(name) is not None:
                characters[at] = "1"
        return "".join(characters[:6] if "LOOP" in self.model else characters)

    def _write_setpoint(self, value: float) -> str:
        if not self.low <= value <= self.high:
            return "ERR_6"
        self.setpoint = value
        return "OK"

    def _write_high(self, value: float) -> str:
        if value <= self.low:
            return "ERR_32"
        self.high = value
        return "OK"

    def _write_low(self, value: float) -> str:
        if value >= self.high:
            return "ERR_32"
        self.low = value
        return "OK"

    def _stopped(self) -> bool:
        return any(stops and self.fault(name) is not None for name, (_, stops) in _STAT.items())

    def fault_changed(self, name: str, argument: str | None) -> None:
        """Faults that stop the unit do so at once; it stays off when they are gone."""
        if argument is not None and name in _STAT and _STAT[name][1]:
            self.running = False


def fixed(value: float) -> str:
    """`XXX.XX`, or `-XXX.XX`."""
    text = f"{abs(value):06.2f}"
    return f"-{text}" if value < 0 and text != "000.00" else text
