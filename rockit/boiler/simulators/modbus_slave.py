# SPDX-License-Identifier: GPL-3.0-or-later
"""What every simulated Modbus RTU unit shares: it hears questions, checks address and CRC, and answers or refuses.

Sources: MODBUS Application Protocol 1.1b3 (functions 1 to 6, 15, 16 and exceptions); MODBUS over Serial Line 1.02 (CRC,
address 0 for all units, which none answers).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from rockit.common.simulate_device import Fault, FaultyDevice, whole

COILS, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4
"""The functions that read, by what they read."""
NO_FUNCTION, NO_ADDRESS, BAD_VALUE = 1, 2, 3
"""Exceptions."""
_GAP = 0.5
"""A message that is not whole so long after its last byte never will be, s; the specification has 3.5 characters."""


class Rejection(Exception):
    """A refusal, with its exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ModbusSlave(FaultyDevice):
    """One unit with the address `unit` on an RTU line.

    A device defines those of `read_registers`, `read_bits`, `write_registers` and `write_coils` that it has, and as far
    as it needs it `asked`, which comes before each of them. All addresses are those on the wire (0-based).
    """

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "refuse": Fault("the unit answers with exception N", "4", whole),
        "dead": Fault("the unit has no power: it neither does nor answers anything", once=False),
    }

    def __init__(self, *, unit: int = 1, **options: Any) -> None:
        super().__init__(**options)
        if not 1 <= unit <= 247:
            raise ValueError("a unit has an address from 1 to 247")
        self.unit = unit
        self._heard = bytearray()
        self._heard_at = 0.0

    # --- what a device defines; raising Rejection; one that it lacks is refused as a function

    def asked(self, now: float) -> None:
        """A question for this unit came; it is carried out and answered next."""

    def read_registers(self, function: int, address: int, count: int) -> Sequence[int]:
        """`count` registers (1 to 125) of HOLDING or INPUT, each 0 to 65535."""
        raise NotImplementedError

    def read_bits(self, function: int, address: int, count: int) -> Sequence[bool]:
        """`count` bits (1 to 2000) of COILS or DISCRETE."""
        raise NotImplementedError

    def write_registers(self, address: int, values: Sequence[int]) -> None:
        """Functions 6 and 16."""
        raise NotImplementedError

    def write_coils(self, address: int, values: Sequence[bool]) -> None:
        """Functions 5 and 15."""
        raise NotImplementedError

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """See `FaultyDevice.take`. What is no message is skipped byte by byte."""
        if self.fault("dead") is not None:
            self._heard.clear()
            return
        if now - self._heard_at > _GAP:
            self._heard.clear()
        self._heard_at = now
        self._heard += data
        while len(self._heard) >= 4:
            size = self._size()
            if size > len(self._heard):
                break
            message = bytes(self._heard[:size])
            if crc(message[:-2]) != message[-2:]:
                del self._heard[0]
                continue
            del self._heard[:size]
            if message[0] in (0, self.unit):
                self.asked(now)
                answer = message[:1] + self._answer(message[1:-2])
                if message[0]:
                    self.reply(answer + crc(answer), now)

    def _size(self) -> int:
        """How long the message is that begins with what was heard; of an unknown function, all that was heard."""
        if 1 <= self._heard[1] <= 6:
            return 8
        if self._heard[1] in (15, 16):
            return 9 + self._heard[6] if len(self._heard) > 6 else 9
        return len(self._heard)

    def _answer(self, question: bytes) -> bytes:
        if (code := self.spend("refuse")) is not None:
            return bytes([question[0] | 0x80, int(code) & 0xFF])
        try:
            return question[:1] + self._carry_out(question[0], question[1:])
        except Rejection as refusal:
            return bytes([question[0] | 0x80, refusal.code])
        except NotImplementedError:
            return bytes([question[0] | 0x80, NO_FUNCTION])

    def _carry_out(self, function: int, data: bytes) -> bytes:
        if not (1 <= function <= 6 or function in (15, 16)):
            raise Rejection(NO_FUNCTION)
        address, number = struct.unpack(">HH", data[:4])
        if function in (COILS, DISCRETE):
            _check(1 <= number <= 2000, address, number)
            return _length(_packed(self.read_bits(function, address, number)))
        if function in (HOLDING, INPUT):
            _check(1 <= number <= 125, address, number)
            return _length(struct.pack(f">{number}H", *self.read_registers(function, address, number)))
        if function == 5:
            _check(number in (0x0000, 0xFF00), address, 1)
            self.write_coils(address, (number != 0,))
        elif function == 6:
            self.write_registers(address, (number,))
        elif function == 15:
            _check(1 <= number <= 1968 and data[4] == (number + 7) // 8, address, number)
            self.write_coils(address, [bool(data[5 + at // 8] >> at % 8 & 1) for at in range(number)])
        else:
            _check(1 <= number <= 123 and data[4] == 2 * number, address, number)
            self.write_registers(address, struct.unpack(f">{number}H", data[5:]))
        return data[:4]

    def foreign(self, reply: bytes) -> bytes:
        """The same from the unit with the next address."""
        other = bytes([reply[0] % 247 + 1]) + reply[1:-2]
        return other + crc(other)


def _check(well: bool, address: int, count: int) -> None:
    if not well:
        raise Rejection(BAD_VALUE)
    if address + count > 0x10000:
        raise Rejection(NO_ADDRESS)


def _packed(bits: Sequence[bool]) -> bytes:
    return sum(bit << at for at, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


def _length(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS as it stands at the end of a message, low byte first."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return value.to_bytes(2, "little")
