# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Numato USB relay board, after the vendor's documents and recorded transcripts.

Not documented, and assumed: that an unknown command is echoed and answered with a prompt only, that a bare CR gives a
prompt, that letters of commands must be lower case and digits A-F upper case, and that 64 characters fit in its buffer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.boiler.simulators.relaybank import RELAY_FAULTS, Move, RelayBank
from rockit.common.simulate_device import Fault, FaultyDevice, Info

_DIGITS = "0123456789ABCDEF"


class Numato(FaultyDevice):
    """One board. `relays` (`boiler:0,chiller1:2`) tells which relay moves what in the plant `world`."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = RELAY_FAULTS

    def __init__(
        self, *, world: str = "", relays: str = "", count: int = 16, serial: str = "00000000", **options: Any
    ) -> None:
        super().__init__(**options)
        if count not in (8, 16):
            raise ValueError("boards have 8 or 16 relays")
        self.count = count
        self.serial = serial
        self.bank = RelayBank(count, world, relays)
        self._heard = bytearray()

    @property
    def moves(self) -> list[Move]:
        """Every move of a contact so far, the oldest first."""
        return list(self.bank.moves)

    def take(self, data: bytes, now: float) -> None:
        """CR ends a command; the LF that some hosts send is a character like any other and spoils the next one."""
        for byte in data:
            if byte != 0x0D:
                self._heard.append(byte)
                del self._heard[64:]
                continue
            heard = bytes(self._heard)
            self._heard.clear()
            value = self._carry_out(heard.decode("latin-1").strip(), now)
            self.reply(heard + b"\n\r" + (value.encode("ascii") + b"\n\r" if value else b"") + b">", now)

    def _carry_out(self, command: str, now: float) -> str:
        match command.split(" "):
            case ["ver"]:
                return "00000008"
            case ["id", "get"]:
                return self.serial
            case ["id", "set", text] if len(text) == 8:
                self.serial = text
            case ["reset"]:
                self._write_all(0, now)
            case ["relay", "readall"]:
                bits = sum(1 << number for number, on in enumerate(self.bank.driven) if on)
                return f"{bits:0{self.count // 4}x}"
            case ["relay", "writeall", text] if len(text) == self.count // 4:
                try:
                    bits = int(text, 16)
                except ValueError:
                    return ""
                self._write_all(bits, now)
            case ["relay", "read", digit] if (number := self._number(digit)) is not None:
                return "on" if self.bank.driven[number] else "off"
            case ["relay", ("on" | "off") as verb, digit] if (number := self._number(digit)) is not None:
                self.bank.switch(number, verb == "on", now)
        return ""

    def _write_all(self, bits: int, now: float) -> None:
        for number in range(self.count):
            self.bank.switch(number, bool(bits >> number & 1), now)

    def _number(self, digit: str) -> int | None:
        number = _DIGITS.find(digit) if len(digit) == 1 else -1
        return number if 0 <= number < self.count else None

    def step(self, dt: float) -> None:  # noqa: ARG002
        """The plant goes on with the board."""
        self.bank.advance(self.line_now)

    def fault_changed(self, name: str, argument: str | None) -> None:
        """See `FaultyDevice.fault_changed`."""
        self.bank.fault_changed(name, argument, self.line_now)

    def foreign(self, reply: bytes) -> bytes:
        """The states of all relays, all on, where something else was asked, else that of one."""
        if reply.startswith(b"relay readall"):
            return b"relay read 0\n\ron\n\r>"
        return b"relay readall\n\r" + b"f" * (self.count // 4) + b"\n\r>"

    def spoil(self, reply: bytes) -> bytes:
        """There is no checksum: the first character of the echo comes with its top bit set."""
        return bytes([reply[0] | 0x80]) + reply[1:]

    def state(self) -> Info:
        """What is energised."""
        return self.bank.state()
