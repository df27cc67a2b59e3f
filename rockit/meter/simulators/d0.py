# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated meter with an optical interface (IEC 62056-21), modes A, B and C, or sending by itself.

It does not know at which speed it is spoken to: it answers as if every change of speed were followed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.common.simulate_device import Fault, FaultyDevice, Info, number

_WATT_SECONDS = 3_600_000.0
_HIGHEST_KWH = 1_000_000.0
_PATIENCE = 2.5
"""Seconds after which the meter no longer waits for an acknowledgement."""
_CHARACTERS = {"A": "", "B": "E", "C": "5"}
_BIT_7 = 0x80


class D0Meter(FaultyDevice):
    """One meter. `power` in W (below 0: export), `energy` (import) and `export` in kWh at the start, both counted on.

    `mode` A, B or C; `push` 1: sends without being asked, every `period` simulated seconds; `bare`: it then sends
    neither STX nor check byte; `parity`: bytes carry even parity in bit 7, as 7E1 looks to a port that is set to 8N1.
    """

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "echo": Fault("the optical head gives back what it is sent", once=False),
        "error": Fault("the meter reports an error of its own in F.F", once=False),
    }
    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "power": "W, below 0: export",
        "energy": "import counter, kWh",
    }

    def __init__(
        self,
        *,
        power: float = 500.0,
        energy: float = 1234.5,
        export: float = 0.0,
        mode: str = "C",
        push: bool = False,
        period: float = 2.0,
        bare: bool = False,
        parity: bool = False,
        number_plate: str = "1SIM0012345678",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if mode not in _CHARACTERS:
            raise ValueError("mode must be A, B or C")
        if period < self.TICK:
            raise ValueError(f"period must be {self.TICK:g} s or more")
        self.power = power
        self.energy, self.exported = energy, export
        self.mode, self.push, self.period, self.bare, self.parity = mode, push, period, bare, parity
        self.number_plate = number_plate
        self._next = period
        self._heard = bytearray()
        self._waits_since: float | None = None

    # --- physics

    def step(self, dt: float) -> None:
        """The counters grow with the power; a meter that sends by itself does so when its period is over."""
        kwh = abs(self.power) * dt / _WATT_SECONDS
        if self.power >= 0:
            self.energy = (self.energy + kwh) % _HIGHEST_KWH
        else:
            self.exported = (self.exported + kwh) % _HIGHEST_KWH
        if self.push and self.simulated >= self._next - 1e-6:
            self._next += self.period
            self._received = 0
            self._send(self._identification() + (b"\r\n" + self._body() if self.bare else self._block()),
                       self.line_time)  # fmt: skip

    def change(self, key: str, value: str) -> None:
        """Power or the import counter."""
        if key == "power":
            self.power = number(value, -1e6, 1e6)
        else:
            self.energy = number(value, 0.0, _HIGHEST_KWH - 1)

    def state(self) -> Info:
        """Power in W and both counters in kWh, as no telegram rounds them."""
        return {"power": self.power, "import_energy": self.energy, "export_energy": self.exported}

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """A request, or the acknowledgement of an identification; both end with CR LF."""
        if self.fault("echo") is not None:
            self.reply(data, now)
        for byte in data:
            self._heard.append(byte & ~_BIT_7)
            if byte & ~_BIT_7 == ord("\n"):
                line = bytes(self._heard)
                self._heard.clear()
                self._line(line, now)
        del self._heard[:-64]

    def _line(self, line: bytes, now: float) -> None:
        asked = re.search(rb"/\?([0-9A-Za-z ]*)!\r\n$", line)
        if asked and not self.push:
            if asked[1] in (b"", self.number_plate.encode()):
                self._send(self._identification(), now)
                self._waits_since = now if self.mode == "C" else None
                if self.mode != "C":
                    self._send(self._block(), now)
            return
        waited, self._waits_since = self._waits_since, None
        if re.search(rb"\x060[0-9]0\r\n$", line) and waited is not None and now - waited <= _PATIENCE:
            self._send(self._block(), now)

    def _send(self, data: bytes, now: float) -> None:
        if self.parity:
            data = bytes(byte | _BIT_7 if bin(byte).count("1") % 2 else byte for byte in data)
        self.reply(data, now)

    def _identification(self) -> bytes:
        return f"/SIM{_CHARACTERS[self.mode]}METER\r\n".encode("ascii")

    def _body(self) -> bytes:
        power = self.power
        lines = [
            f"F.F({'00' if self.fault('error') is None else '01'})",
            f"0.0.0({self.number_plate})",
            f"1-0:1.8.0*255({self.energy:010.3f}*kWh)",
            "1-0:1.8.0*01(000987.654*kWh)",
            f"2.8.0({self.exported:010.3f}*kWh)",
            f"1-0:1.7.0*255({max(power, 0.0) / 1000:07.4f}*kW)",
            f"1-0:2.7.0*255({max(-power, 0.0) / 1000:07.4f}*kW)",
            "32.7.0(230.1*V)",
            f"31.7.0({abs(power) / 230.1:06.2f}*A)",
            "14.7.0(50.01*Hz)",
            "1.6.0(04.321*kW)(2601151215)",
        ]
        return "".join(f"{line}\r\n" for line in [*lines, "!"]).encode("ascii")

    def _block(self) -> bytes:
        inner = self._body() + b"\x03"
        check = 0
        for byte in inner:
            check ^= byte
        return b"\x02" + inner + bytes([check])

    def spoil(self, reply: bytes) -> bytes:
        """The last digit of a block is another; what has no check byte gets a character that cannot be."""
        at = reply.rfind(b"(") + 1
        changed = 0x01 if b"\x03" in reply or b"\x83" in reply else 0x80
        at = at or len(reply) // 2
        return reply[:at] + bytes([reply[at] ^ changed]) + reply[at + 1 :]

    def foreign(self, reply: bytes) -> bytes:
        """A block where an identification belongs, and the other way round."""
        return self._identification() if b"(" in reply else self._block()
