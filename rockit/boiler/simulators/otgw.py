# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated OpenTherm gateway with a boiler, and perhaps a thermostat, after the gateway's firmware documentation.

Without a thermostat the gateway asks the boiler by its own list; here a thermostat asks by the same one. Assumed: which
data the boiler knows; that its commands end with CR; that a set point below 8 °C is none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.boiler.simulators.in_plant import InPlant
from rockit.common.simulate_device import Fault, Info, number, whole

_LAPSE = 60.0
"""A set point that is not repeated is forgotten after so long, s."""
_ASKED = (0, 25, 1, 17, 27, 28, 14, 0, 5, 25, 1, 56, 57, 18)
"""Data in the order in which they are asked for."""
_READ, _WRITE, _READ_ACK, _WRITE_ACK, _UNKNOWN = 0, 1, 4, 5, 7


class OpenThermGateway(InPlant):
    """One gateway. `thermostat` is what one asks of the boiler, °C; 0: there is none. `period` s between telegrams."""

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "contact": "the enabling contact of the boiler, 0 or 1 (the plant's relay moves it as well)",
        "thermostat": "what the thermostat asks of the boiler, degC; 0: it asks nothing",
    }
    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "refuse": Fault("commands are answered OR", once=True),
        "deaf": Fault("a command is answered with the value as it was"),
        "parity": Fault("telegrams have the wrong parity", once=False),
        "boiler": Fault("the boiler does not answer the gateway", once=False),
        "mute": Fault("the gateway reports no telegrams", once=False),
        "sensor": Fault("the boiler does not know its return temperature", once=False),
        "lockout": Fault("locked out with code N: the burner stays off", "7", whole, once=False),
    }

    def __init__(self, *, thermostat: float = 0.0, period: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        if period <= 0:
            raise ValueError("period must be above 0")
        self.thermostat, self.period = thermostat, period
        self.setpoint, self.enable = 0.0, True
        self._set_at = 0.0
        self._summary = False
        self._line = bytearray()
        self._at = 0
        self._next: float | None = None

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """A command ends with CR; LF means nothing."""
        self.live(now)
        for byte in data:
            if byte == 0x0D:
                command = self._line.decode("latin-1")
                self._line.clear()
                if command:
                    self.reply(self._answer(command).encode("ascii") + b"\r\n", now)
            elif byte != 0x0A and len(self._line) < 80:
                self._line.append(byte)

    def _answer(self, command: str) -> str:
        form = re.fullmatch(r"([A-Z]{2})=(.+)", command, re.ASCII)
        if form is None:
            return "SE"
        name, value = form.groups()
        if name == "PR":
            return "PR: A=OpenTherm Gateway 5.8" if value == "A" else "BV"
        if name not in ("CS", "CH", "PS"):
            return "NG"
        if self.spend("refuse") is not None:
            return "OR"
        return self._change(name, value)

    def _change(self, name: str, value: str) -> str:
        deaf = self.spend("deaf") is not None
        if name == "CS":
            if not re.fullmatch(r"\d{1,3}(\.\d{0,2})?", value, re.ASCII):
                return "BV"
            if float(value) > 100.0:
                return "OR"
            if not deaf:
                self.setpoint, self._set_at = float(value), self.heard_of
            told = f"{self.setpoint:.2f}"
        elif value not in ("0", "1"):
            return "BV"
        elif name == "CH":
            self.enable = self.enable if deaf else value == "1"
            told = str(int(self.enable))
        else:
            self._summary = value == "1"
            told = value
        with self.world.lock:
            self.decide()
        return f"{name}: {told}"

    def spoil(self, reply: bytes) -> bytes:
        """There is no checksum: the second last character before CR LF comes with its top bit set."""
        at = max(len(reply) - 4, 0)
        return reply[:at] + bytes([reply[at] | 0x80]) + reply[at + 1 :]

    def foreign(self, reply: bytes) -> bytes:
        """The reply to another command."""
        return b"MM: 100\r\n" if not reply.startswith(b"MM") else b"CS: 0.00\r\n"

    # --- telegrams

    def advance(self, now: float) -> None:
        """See the base. A telegram and its answer come each `period`; what was missed is not made up for."""
        super().advance(now)
        self._next = now + self.period if self._next is None else self._next
        if now >= self._next:
            self._next = max(self._next + self.period, now)
            self._talk(now)

    def due(self, now: float) -> float | None:
        """See the base."""
        base = super().due(now)
        mine = self.period if self._next is None else max(0.0, self._next - now)
        return mine if base is None else min(base, mine)

    def _talk(self, now: float) -> None:
        datum = _ASKED[self._at % len(_ASKED)]
        self._at += 1
        if self._summary or self.fault("mute") is not None:
            return
        with self.world.lock:
            kind, value = self._request(datum)
            lines = [self._telegram("T" if self.thermostat else "R", kind, datum, value)]
            if self.fault("boiler") is None:
                lines.append(self._telegram("B", *self._reply_of(datum, kind, value)))
        # The faults of the line are about answers; telegrams have their own.
        self._queue.append((max(now, self._queue[-1][0] if self._queue else now), b"".join(lines)))

    def _telegram(self, sender: str, kind: int, datum: int, value: int) -> bytes:
        bits = kind << 28 | datum << 16 | value & 0xFFFF
        odd = bits.bit_count() % 2 == (self.fault("parity") is None)
        return f"{sender}{bits | odd << 31:08X}\r\n".encode("ascii")

    def _request(self, datum: int) -> tuple[int, int]:
        asked = self._asked()
        if datum == 0:
            return _READ, (asked is not None) << 8
        if datum in (1, 14):
            return _WRITE, _binary(100.0 if datum == 14 else asked or 0.0)
        return _READ, 0

    def _reply_of(self, datum: int, kind: int, value: int) -> tuple[int, int, int]:
        burner = self.world.burner
        if kind == _WRITE:
            return _WRITE_ACK, datum, value
        if datum == 0:
            status = bool(burner.lockout) | (burner.setpoint is not None) << 1 | burner.flame << 3
            return _READ_ACK, datum, value | status
        if datum == 5:
            return _READ_ACK, datum, (0x0200 | burner.lockout & 0xFF) if burner.lockout else 0
        numbers = {17: burner.firing_rate, 18: 1.5, 25: burner.outlet_temp, 28: burner.inlet_temp}
        if datum not in numbers or (datum == 28 and self.fault("sensor") is not None):
            return _UNKNOWN, datum, 0
        return _READ_ACK, datum, _binary(numbers[datum])

    # --- what it asks of the boiler

    def _asked(self) -> float | None:
        """°C, or None."""
        if self.setpoint > 0:
            return self.setpoint if self.enable and self.setpoint >= 8.0 else None
        return self.thermostat or None

    def decide(self) -> None:
        """See the base."""
        if self.setpoint >= 8.0 and self.heard_of - self._set_at > _LAPSE:
            self.setpoint = 0.0
        self.world.burner.setpoint = self._asked()

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See the base."""
        if name == "lockout":
            self.lock_out(argument)

    def change(self, key: str, value: str) -> None:
        """See the base."""
        if key == "contact":
            self.close_contact(value)
            return
        self.thermostat = number(value, 0.0, 100.0)
        with self.world.lock:
            self.decide()

    def state(self) -> Info:
        """The burner, and what the gateway was told."""
        return {**super().state(), "override": self.setpoint, "enable": self.enable, "thermostat": self.thermostat}


def _binary(value: float) -> int:
    """A signed number with 8 binary places."""
    return round(value * 256) & 0xFFFF
