# SPDX-License-Identifier: GPL-3.0-or-later
"""How Modbus messages stand on a port: RTU, ASCII and TCP framing, and which of them a configured port asks for.

Checksums are pymodbus's. Sources: MODBUS over Serial Line 1.02; MODBUS Messaging on TCP/IP 1.0b.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from pymodbus.framer import FramerAscii, FramerRTU

from rockit.common.framing import Damage, Damaged, Decoder, LineDecoder

_BIT_READS, _REGISTER_READS = (1, 2), (3, 4)
_WRITES = (5, 6, 16)
"""Their answers have eight bytes: unit, function, address, value or number of registers, CRC."""
_KNOWN = (*_BIT_READS, *_REGISTER_READS, *_WRITES)
_EXCEPTION = 0x80


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
        if at >= 2 and self._buffer[at - 1] in (*_BIT_READS, *_REGISTER_READS):
            size = self._buffer[at]
            if size and (size % 2 == 0 or self._buffer[at - 1] in _BIT_READS) and size + 5 < self._LONGEST:
                self._ends.setdefault(at - 2 + size + 5, []).append(at - 2)
        if at >= 1 and self._buffer[at] in _WRITES:
            self._ends.setdefault(at - 1 + 8, []).append(at - 1)
        elif at >= 1 and self._buffer[at] & ~_EXCEPTION in _KNOWN and self._buffer[at] & _EXCEPTION:
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
