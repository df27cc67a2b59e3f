# SPDX-License-Identifier: GPL-3.0-or-later
"""A Modbus bus: one port, many units, one question at a time. The only module that imports pymodbus.

What is taken of pymodbus are its messages and checksums. Its clients are not used: after a lost answer its RTU framer
takes the next frame of the right function for the answer, whatever registers it holds, throws away all that follows a
damaged byte, and its serial client waits without a way to be stopped. `Line` has all this already, so that a bus is a
`Line` with a decoder for each framing. Sources: MODBUS over Serial Line 1.02; MODBUS Messaging on TCP/IP 1.0b.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pymodbus.framer import FramerAscii, FramerRTU
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteSingleRegisterRequest,
)

from rockit.common.framing import Damage, Damaged, Decoder, LineDecoder, Refused, Request
from rockit.common.transport import LineError, NoAnswer, PortLost
from rockit.common.transport.line import Line
from rockit.common.transport.settings import LineSettings

logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)  # what went wrong is told by our own exceptions

MOST_REGISTERS = 125
"""The most registers in one read, by the specification."""
LATEST = 30.0
"""So late can an answer be, at a terminal server for instance, s."""
HOLDING, INPUT, COILS = 3, 4, 1
_READS = {COILS: ReadCoilsRequest, HOLDING: ReadHoldingRegistersRequest, INPUT: ReadInputRegistersRequest}
_WRITES = {5: WriteSingleCoilRequest, 6: WriteSingleRegisterRequest}
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


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of a unit: function and data (`pdu`), and the transaction where the framing has one, else 0."""

    unit: int
    pdu: bytes
    transaction: int = 0


class RtuDecoder:
    """Answers in RTU framing out of a byte stream.

    RTU marks no begin and no end. So each byte may begin an answer, and the first one that is whole and has the right
    checksum is believed: noise, an echo of our own question and a damaged answer hide none that follows.
    """

    _LONGEST = 256

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ends: dict[int, list[int]] = {}
        self._spoiled = False

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """See `Decoder.feed`."""
        out: list[Frame | Damaged] = []
        for byte in data:
            self._buffer.append(byte)
            self._expect(len(self._buffer) - 1)
            for start in self._ends.pop(len(self._buffer), ()):
                frame = bytes(self._buffer[start:])
                if FramerRTU.compute_CRC(frame[:-2]) == int.from_bytes(frame[-2:]):
                    if start:
                        out.append(Damaged(Damage.GARBAGE, bytes(self._buffer[:start])))
                    out.append(Frame(frame[0], frame[1:-2]))
                    self._clear()
                    break
                self._spoiled |= start == 0
            if len(self._buffer) == 2 * self._LONGEST:
                out.append(self._forget(self._LONGEST))
        return out

    def flush(self) -> list[Frame | Damaged]:
        """See `Decoder.flush`."""
        rest = bytes(self._buffer)
        begun = len(rest) < 3 or any(0 in starts for starts in self._ends.values())
        kind = Damage.CHECKSUM if self._spoiled else Damage.TRUNCATED if begun else Damage.GARBAGE
        self._clear()
        return [Damaged(kind, rest)] if rest else []

    def _expect(self, at: int) -> None:
        """Note where the answers would end whose length the byte at `at` tells."""
        if at >= 2 and self._buffer[at - 1] in _READS:
            size = self._buffer[at]
            if size and (size % 2 == 0 or self._buffer[at - 1] == COILS) and size + 5 < self._LONGEST:
                self._ends.setdefault(at - 2 + size + 5, []).append(at - 2)
        if at >= 1 and self._buffer[at] in _WRITES:
            self._ends.setdefault(at - 1 + 8, []).append(at - 1)
        elif at >= 1 and self._buffer[at] & ~_EXCEPTION in _READS | _WRITES and self._buffer[at] & _EXCEPTION:
            self._ends.setdefault(at - 1 + 5, []).append(at - 1)

    def _forget(self, count: int) -> Damaged:
        gone = bytes(self._buffer[:count])
        del self._buffer[:count]
        moved = {end - count: [at - count for at in starts if at >= count] for end, starts in self._ends.items()}
        self._ends = {end: starts for end, starts in moved.items() if starts}
        self._spoiled = False
        return Damaged(Damage.GARBAGE, gone)

    def _clear(self) -> None:
        self._buffer.clear()
        self._ends.clear()
        self._spoiled = False


class AsciiDecoder:
    """Answers in ASCII framing: a colon, hexadecimal digits with their checksum, CR LF."""

    def __init__(self) -> None:
        self._lines = LineDecoder(b"\r\n", 513)

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """See `Decoder.feed`."""
        return [self._frame(line) for line in self._lines.feed(data)]

    def flush(self) -> list[Frame | Damaged]:
        """See `Decoder.flush`."""
        return [self._frame(line) for line in self._lines.flush()]

    def _frame(self, line: str | Damaged) -> Frame | Damaged:
        if isinstance(line, Damaged):
            return line
        digits = line.rpartition(":")[2]
        try:
            message = bytes.fromhex(digits) if ":" in line and " " not in digits else b""
        except ValueError:
            message = b""
        if len(message) < 4:
            return Damaged(Damage.MALFORMED, line.encode() + b"\r\n")
        if FramerAscii.compute_LRC(message[:-1]) != message[-1]:
            return Damaged(Damage.CHECKSUM, line.encode() + b"\r\n")
        return Frame(message[0], message[1:-1])


class TcpDecoder:
    """Answers with the header of Modbus TCP: transaction, protocol 0, length, unit."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame | Damaged]:
        """See `Decoder.feed`."""
        out: list[Frame | Damaged] = []
        self._buffer += data
        while len(self._buffer) >= 6:
            protocol, length = int.from_bytes(self._buffer[2:4]), int.from_bytes(self._buffer[4:6])
            if protocol != 0 or not 3 <= length <= 254:
                out.append(Damaged(Damage.MALFORMED, bytes(self._buffer[:1])))
                del self._buffer[:1]
                continue
            if len(self._buffer) < 6 + length:
                break
            transaction = int.from_bytes(self._buffer[:2])
            out.append(Frame(self._buffer[6], bytes(self._buffer[7 : 6 + length]), transaction))
            del self._buffer[: 6 + length]
        return out

    def flush(self) -> list[Frame | Damaged]:
        """See `Decoder.flush`."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [Damaged(Damage.TRUNCATED, rest)] if rest else []


def encode_rtu(frame: Frame) -> bytes:
    """A question in RTU framing."""
    message = bytes([frame.unit]) + frame.pdu
    return message + FramerRTU.compute_CRC(message).to_bytes(2)


def encode_ascii(frame: Frame) -> bytes:
    """A question in ASCII framing."""
    message = bytes([frame.unit]) + frame.pdu
    return b":" + (message + bytes([FramerAscii.compute_LRC(message)])).hex().upper().encode() + b"\r\n"


def encode_tcp(frame: Frame) -> bytes:
    """A question with the header of Modbus TCP."""
    head = frame.transaction.to_bytes(2) + bytes(2) + (len(frame.pdu) + 1).to_bytes(2)
    return head + bytes([frame.unit]) + frame.pdu


@dataclass(frozen=True)
class Framing:
    """How messages are put on a port. `numbered`: an answer tells which question it belongs to."""

    decoder: Callable[[], Decoder[Frame]]
    encode: Callable[[Frame], bytes]
    numbered: bool = False


RTU, ASCII, TCP = (
    Framing(RtuDecoder, encode_rtu),
    Framing(AsciiDecoder, encode_ascii),
    Framing(TcpDecoder, encode_tcp, numbered=True),
)


def framing_of(where: str) -> tuple[Framing, str]:
    """The framing that a configured port asks for, and the port or URL to open.

    `/dev/ttyUSB0` is RTU, `ascii:///dev/ttyUSB0` ASCII, `tcp://host:502` Modbus TCP, `rtu+tcp://host:4001` RTU on a
    terminal server; pyserial's own URLs and `sim://` carry RTU. Raises ValueError with a sentence.
    """
    if where.startswith("ascii://"):
        port = where.removeprefix("ascii://")
        if not port.startswith("/") and "://" not in port:
            raise ValueError(f"{where}: after ascii:// stands a device with its whole path, as ascii:///dev/ttyUSB0")
        return ASCII, port
    for scheme, framing, default in (("tcp", TCP, 502), ("rtu+tcp", RTU, None)):
        if where.startswith(f"{scheme}://"):
            try:
                parts = urlsplit(where)
                host, number = parts.hostname, parts.port or default
            except ValueError:
                host = number = None
            if not host or number is None or parts.path.strip("/") or parts.query:
                raise ValueError(f"{where}: must be {scheme}://HOST:PORT")
            return framing, f"socket://{f'[{host}]' if ':' in host else host}:{number}"
    return RTU, where


class ModbusBus:
    """One Modbus port and all units on it. Used by one thread; other threads read `counters` only.

    Errors of all calls: PortLost, NoAnswer (also where the answer is damaged, is of another unit, function or length,
    or where a gateway tells that the unit is silent), Refused (the unit's own exception), Stopped.

    Answers in RTU and ASCII do not tell which registers they hold. So a unit that owes an answer is not asked anything
    whose answer has the same form before it has answered something else: units answer in order, and behind that
    answer nothing old can come. Modbus TCP numbers its answers.
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

    def write_register(self, unit: int, address: int, value: int) -> None:
        """Write one holding register, 0 to 65535. Its echo has come when this returns."""
        request = WriteSingleRegisterRequest()
        request.address, request.registers = address, [value]
        self._write(unit, request, f"register {address}")

    def write_coil(self, unit: int, address: int, on: bool) -> None:
        """Switch one coil. Its echo has come when this returns."""
        request = WriteSingleCoilRequest()
        request.address, request.bits = address, [on]
        self._write(unit, request, f"coil {address}")

    def _read(self, unit: int, function: int, address: int, count: int) -> Any:
        while not self._framing.numbered and _form(function, count) in (owed := self._owed_by(unit)):
            step = 8 if function == COILS else 1
            others = (count - step, *range(step, step * (len(owed) + 3), step))
            other = next(n for n in others if n >= step and _form(function, n) not in owed)
            with suppress(Refused):
                self._ask_read(unit, function, address, other)
        return self._ask_read(unit, function, address, count)

    def _owed_by(self, unit: int) -> list[tuple[int, int]]:
        """The forms of the answers that may still come from a unit, the oldest first."""
        owed = self._owed.setdefault(unit, [])
        owed[:] = [entry for entry in owed if self._clock() - entry[1] < LATEST]
        return [form for form, _ in owed]

    def _ask_read(self, unit: int, function: int, address: int, count: int) -> Any:
        request = _READS[function]()
        request.address, request.count = address, count
        form = _form(function, count)
        owed = self._owed.setdefault(unit, [])
        name = f"unit {unit}, {count} {'coils' if function == COILS else 'registers'} from {address}"
        head = bytes(form)
        try:
            answer = self._ask(unit, request, name, lambda pdu: pdu[:2] == head and len(pdu) == 2 + form[1])
        except LineError:
            owed.append((form, self._clock()))
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
    """What tells one answer from another: its function and the number of its bytes."""
    return function, (count + 7) // 8 if function == COILS else 2 * count
