# SPDX-License-Identifier: GPL-3.0-or-later
"""A Modbus bus: one port, many units, one question at a time. With `modbus_framing` all that imports pymodbus.

What is taken of pymodbus are its messages and checksums. Its clients are not used: after a lost answer its RTU framer
takes the next frame of the right function for the answer, whatever registers it holds, throws away all that follows a
damaged byte, and its serial client waits without a way to be stopped. `Line` has all this already, so that a bus is a
`Line` with a decoder for each framing. Sources: MODBUS over Serial Line 1.02; MODBUS Messaging on TCP/IP 1.0b.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from rockit.common.framing import Damage, Refused, Request
from rockit.common.transport import LineError, NoAnswer, PortLost
from rockit.common.transport.line import Line
from rockit.common.transport.modbus_framing import (
    ASCII,
    RTU,
    TCP,
    AsciiDecoder,
    Frame,
    Framing,
    RtuDecoder,
    TcpDecoder,
    encode_ascii,
    encode_rtu,
    encode_tcp,
    framing_of,
)
from rockit.common.transport.settings import LineSettings

__all__ = [
    "ASCII", "COILS", "DISCRETE", "EXCEPTIONS", "HOLDING", "INPUT", "LATEST", "MOST_REGISTERS", "MOST_WRITTEN", "RTU",
    "TCP", "AsciiDecoder", "Frame", "Framing", "ModbusBus", "RtuDecoder", "TcpDecoder",
    "encode_ascii", "encode_rtu", "encode_tcp", "framing_of",
]  # fmt: skip

logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)  # what went wrong is told by our own exceptions

MOST_REGISTERS = 125
"""The most registers in one read, by the specification."""
MOST_WRITTEN = 123
"""The most registers in one write, by the specification."""
LATEST = 30.0
"""So late can an answer be, at a terminal server for instance, s."""
MOST_OWED = 64
"""Of so many questions, the latest, is kept account while a unit does not answer; each has waited for its time-out."""
COILS, DISCRETE, HOLDING, INPUT = 1, 2, 3, 4
_READS = {
    COILS: ReadCoilsRequest, DISCRETE: ReadDiscreteInputsRequest,
    HOLDING: ReadHoldingRegistersRequest, INPUT: ReadInputRegistersRequest,
}  # fmt: skip
_BITS = {COILS: "coils", DISCRETE: "discrete inputs"}
_WRITE_SEVERAL = 16
_EXCEPTION = 0x80

EXCEPTIONS = {
    1: "it does not know the function",
    2: "it has no such register",
    3: "it does not take the value or the number of registers",
    4: "it failed",
    5: "it is still working on it",
    6: "it is busy",
    8: "its memory has a parity error",
}
_GATEWAY = {10: "the gateway has no path to the unit", 11: "the gateway heard nothing from the unit"}
"""Exceptions that do not come from the unit: to us they are an answer that never came."""


class ModbusBus:
    """One Modbus port and all units on it. Used by one thread; other threads read `counters` only.

    Errors of all calls: PortLost, NoAnswer (also where the answer is damaged, is of another unit, function or length,
    or where a gateway tells that the unit is silent), Refused (the unit's own exception), Stopped.

    Answers in RTU and ASCII do not tell which registers they hold. So a unit that owes an answer is not asked anything
    whose answer has the same form before it has answered something else: units answer in order, and behind that
    answer nothing old can come. A port that is closed and opened again changes nothing about that: the unit and the
    terminal server answer all the same. Modbus TCP numbers its answers, and no account is kept there.
    """

    def __init__(
        self,
        where: str,
        settings: LineSettings,
        stop: threading.Event,
        note: Callable[[str], None],
        *,
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where = where
        self._framing, self._url = framing_of(where)
        # The specification wants 3.5 characters of 11 bits between two messages.
        silence = 0.0 if self._framing.numbered else 3.5 * 11 / settings.baud
        settings = settings.overridden(interval=max(settings.interval, silence))
        decoder = self._framing.decoder
        self._line: Line[Frame] = Line(self._url, settings, decoder, stop, note, beat=beat, clock=clock)
        self._transaction = 0
        self._clock = clock
        self._owed: dict[int, list[tuple[tuple[int, int], float]]] = {}
        self.counters = self._line.counters

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._line.is_open

    def open(self) -> None:
        """Open the port. Raises PortLost."""
        with self._named():
            self._line.open()

    def close(self) -> None:
        """Close the port; may be called again."""
        self._line.close()

    def finish_by(self, deadline: float) -> None:
        """See `Line.finish_by`."""
        self._line.finish_by(deadline)

    def read(self, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
        """`count` 16-bit registers from `address` (0-based), by function 3 (holding) or 4 (input)."""
        if function not in (HOLDING, INPUT) or not 1 <= count <= MOST_REGISTERS:
            raise ValueError(f"function {function} cannot read {count} registers")
        return tuple(self._read(unit, function, address, count).registers)

    def read_coils(self, unit: int, address: int, count: int) -> tuple[bool, ...]:
        """`count` coils from `address` (0-based)."""
        return tuple(map(bool, self._read(unit, COILS, address, count).bits[:count]))

    def read_discrete_inputs(self, unit: int, address: int, count: int) -> tuple[bool, ...]:
        """`count` discrete inputs from `address` (0-based)."""
        return tuple(map(bool, self._read(unit, DISCRETE, address, count).bits[:count]))

    def write_register(self, unit: int, address: int, value: int) -> None:
        """Write one holding register, 0 to 65535. Its echo has come when this returns."""
        request = WriteSingleRegisterRequest()
        request.address, request.registers = address, [value]
        self._write(unit, request, f"register {address}")

    def write_registers(self, unit: int, address: int, values: Sequence[int]) -> None:
        """Write neighbouring holding registers from `address` on at once, each 0 to 65535; their echo has come then.

        The echo tells where and how many, but not which values. So a unit that owes such an echo is first asked for
        the registers themselves, as in a read.
        """
        if not 1 <= len(values) <= MOST_WRITTEN:
            raise ValueError(f"{len(values)} registers cannot be written at once")
        request = WriteMultipleRegistersRequest()
        request.address, request.count, request.registers = address, len(values), list(values)
        echo = bytes([_WRITE_SEVERAL]) + address.to_bytes(2) + len(values).to_bytes(2)
        form = (_WRITE_SEVERAL, int.from_bytes(echo[1:]))
        self._settle(unit, form, HOLDING, address, len(values))
        self._ask_owing(unit, request, form, f"unit {unit}, {len(values)} registers at {address}", echo.__eq__)

    def write_coil(self, unit: int, address: int, on: bool) -> None:
        """Switch one coil. Its echo has come when this returns."""
        request = WriteSingleCoilRequest()
        request.address, request.bits = address, [on]
        self._write(unit, request, f"coil {address}")

    def _read(self, unit: int, function: int, address: int, count: int) -> Any:
        self._settle(unit, _form(function, count), function, address, count)
        return self._ask_read(unit, function, address, count)

    def _settle(self, unit: int, form: tuple[int, int], function: int, address: int, count: int) -> None:
        """Before a question whose answer has that form: read something else while the unit owes such an answer."""
        while form in (owed := self._owed_by(unit)):
            step = 8 if function in _BITS else 1
            others = (count - step, *range(step, step * (len(owed) + 3), step))
            other = next(n for n in others if n >= step and _form(function, n) not in owed)
            with suppress(Refused):
                self._ask_read(unit, function, address, other)

    def _owed_by(self, unit: int) -> list[tuple[int, int]]:
        """The forms of the answers that may still come from a unit, the oldest first."""
        owed = self._owed.setdefault(unit, [])
        owed[:] = [entry for entry in owed if self._clock() - entry[1] < LATEST]
        return [form for form, _ in owed]

    def _ask_read(self, unit: int, function: int, address: int, count: int) -> Any:
        request = _READS[function]()
        request.address, request.count = address, count
        form = _form(function, count)
        head = bytes(form)
        name = f"unit {unit}, {count} {_BITS.get(function, 'registers')} from {address}"
        return self._ask_owing(
            unit, request, form, name, lambda pdu: pdu[:2] == head and len(pdu) == len(head) + head[1]
        )

    def _ask_owing(
        self, unit: int, request: Any, form: tuple[int, int], name: str, fits: Callable[[bytes], bool]
    ) -> Any:
        """Ask what another answer of the same form could be taken for; keep account of what the unit owes."""
        if self._framing.numbered:
            return self._ask(unit, request, name, fits)
        owed = self._owed.setdefault(unit, [])
        try:
            answer = self._ask(unit, request, name, fits)
        except LineError:
            owed.append((form, self._clock()))
            del owed[:-MOST_OWED]
            raise
        except Refused:
            if owed:
                # It may be the refusal of an older question: then that one is done with, and not this one.
                owed.append((form, self._clock()))
                del owed[0]
            raise
        owed.clear()
        return answer

    def _write(self, unit: int, request: Any, name: str) -> None:
        echo = bytes([request.function_code]) + request.encode()
        self._ask(unit, request, f"unit {unit}, {name}", lambda pdu: pdu == echo)

    def _ask(self, unit: int, request: Any, name: str, fits: Callable[[bytes], bool]) -> Any:
        if not 0 <= unit <= 255 or (unit == 0 and not self._framing.numbered):
            raise ValueError(f"{unit} is not the address of one unit")
        if self._framing.numbered:
            self._transaction = self._transaction % 0xFFFF + 1
        number = self._transaction
        function = request.function_code
        data = self._framing.encode(Frame(unit, bytes([function]) + request.encode(), number))

        def matches(frame: Frame) -> bool:
            refusal = len(frame.pdu) == 2 and frame.pdu[0] == function | _EXCEPTION
            return frame.unit == unit and frame.transaction == number and (refusal or fits(frame.pdu))

        with self._named():
            frame = self._line.exchange(Request(name, data, matches))
        if frame.pdu[0] & _EXCEPTION:
            code = frame.pdu[1]
            if code in _GATEWAY:
                raise NoAnswer(f"{name}: {_GATEWAY[code]}")
            raise Refused(str(code), f"{name}: {EXCEPTIONS.get(code, 'unknown exception')}")
        answer = DecodePDU(False).decode(frame.pdu)
        if answer is None:
            raise NoAnswer(f"{name}: the answer came damaged ({Damage.MALFORMED})")
        return answer

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the port as the config does."""
        try:
            yield
        except PortLost as error:
            raise PortLost(str(error).replace(self._url, self.where)) from None


def _form(function: int, count: int) -> tuple[int, int]:
    """What tells one answer to a read from another: its function and the number of its bytes."""
    return function, (count + 7) // 8 if function in _BITS else 2 * count
