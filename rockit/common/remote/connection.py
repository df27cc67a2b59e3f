# SPDX-License-Identifier: GPL-3.0-or-later
"""One client's connection, as bytes: collects a whole request, says what is wrong with it, keeps what is to send."""

from __future__ import annotations

import socket
import struct
import zlib

import Pyro5.errors
import Pyro5.protocol
import Pyro5.serializers
from Pyro5.socketutil import SocketConnection

from rockit.common.remote import wire

_HEADER = struct.Struct("!4sHBBHHII16sHH")  # Pyro5's message header, protocol version 502
_FLAGS = slice(8, 10)  # where its flags and its data length stand
_DATA_SIZE = slice(12, 16)
_SERIALIZERS = (1, 3)
"""serpent and json. Not marshal: a stranger's bytes can crash the interpreter in it."""


class Connection(SocketConnection):  # type: ignore[misc]
    """A connection whose socket never blocks: `recv` reads what the loop collected, `send` leaves the rest to it."""

    def __init__(self, sock: socket.socket, peer: str, now: float, denied: str | None) -> None:
        super().__init__(sock)
        self.peer = peer
        """Address of the other end. Asked for once: a socket that was reset meanwhile could not tell any more."""
        self.denied = denied
        self.buffer = bytearray()
        self.outgoing = b""
        self.shaken = False
        self.refused = False
        """It was told why it is not served; what it still sends is read and forgotten, so that it gets to read that."""
        self.answered = False
        self.watched = 0
        """Selector events that the loop waits for; 0 while a worker has it."""
        self.closed = False
        self.since = now  # when the message in hand began, or the connection fell idle, or a reply last made way
        self._mute = False
        self._sequence = 0
        self._serializer = _SERIALIZERS[0]

    def recv(self, size: int) -> bytes:
        """Bytes of the whole message that the loop has put into the buffer."""
        if len(self.buffer) < size:
            raise Pyro5.errors.ConnectionClosedError("message shorter than its header says")
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def send(self, data: bytes) -> None:
        """Send what the network takes at once and keep the rest: no worker waits for a client that does not read."""
        self.answered = True
        if not self._mute:
            self.outgoing += data
            self.flush()

    def flush(self) -> bool:
        """Send on; whether there was any progress. Raises ConnectionClosedError."""
        if not self.outgoing:
            return False
        try:
            sent = self.sock.send(self.outgoing)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            raise Pyro5.errors.ConnectionClosedError(str(error)) from None
        self.outgoing = self.outgoing[sent:]
        return bool(sent)

    def abandoned(self) -> bool:
        """Whether the client has left while it was owed an answer. One that wanted none may leave when it likes."""
        if self._mute:
            return False
        try:
            return not self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Give the socket back."""
        self.closed = True
        super().close()

    @property
    def owes(self) -> bool:
        """Whether the client keeps us waiting: for its handshake, the rest of a message, or to take its reply."""
        return bool(self.buffer or self.outgoing) or not self.shaken or self.refused

    def whole(self) -> bool:
        """Whether the buffer begins with a whole message. Raises ProtocolError when it can never become one of ours."""
        if not b"PYRO".startswith(bytes(self.buffer[:4])):
            raise Pyro5.errors.ProtocolError("this is a Pyro 5 server; what was sent is not Pyro")
        if len(self.buffer) < _HEADER.size:
            if len(self.buffer) >= 6:
                Pyro5.protocol.ReceivingMessage.validate(bytes(self.buffer[:6]))
            return False
        Pyro5.protocol.ReceivingMessage.validate(bytes(self.buffer[: _HEADER.size]))
        _, _, kind, serializer, flags, _, size, annotations, _, _, _ = _HEADER.unpack_from(self.buffer)
        if size + annotations > wire.MAX_REQUEST:
            raise Pyro5.errors.ProtocolError(f"a request of {size + annotations} bytes; {wire.MAX_REQUEST} are allowed")
        if kind != Pyro5.protocol.MSG_PING and serializer not in _SERIALIZERS:
            raise Pyro5.errors.ProtocolError("only the serializers serpent and json are served")
        if flags & Pyro5.protocol.FLAGS_KEEPSERIALIZED:  # its argument is marshal, whatever the serializer
            raise Pyro5.errors.ProtocolError("serialized blobs are not served")
        return len(self.buffer) >= int(_HEADER.size + size + annotations)

    def begin(self) -> None:
        """Make the whole message in the buffer one that a worker can handle in bounded memory, time and threads.

        Compressed data is inflated here, up to the size that a request may have; Pyro would inflate without end. A
        one-way call is run like any other, its reply dropped: Pyro would start a thread for each. Raises ProtocolError.
        """
        fields = _HEADER.unpack_from(self.buffer)
        flags, size, annotations = fields[4], fields[6], fields[7]
        self.answered = False
        self._mute = bool(flags & Pyro5.protocol.FLAGS_ONEWAY)
        start = _HEADER.size + annotations
        if flags & Pyro5.protocol.FLAGS_COMPRESSED:
            inflater = zlib.decompressobj()
            try:
                data = inflater.decompress(bytes(self.buffer[start : start + size]), wire.MAX_REQUEST)
            except zlib.error as error:
                raise Pyro5.errors.ProtocolError(f"compressed data cannot be read: {error}") from None
            if not inflater.eof:
                raise Pyro5.errors.ProtocolError(f"more than {wire.MAX_REQUEST} bytes, inflated")
            self.buffer[start : start + size] = data
            self.buffer[_DATA_SIZE] = len(data).to_bytes(4, "big")
        flags &= ~(Pyro5.protocol.FLAGS_COMPRESSED | Pyro5.protocol.FLAGS_ONEWAY)
        self.buffer[_FLAGS] = flags.to_bytes(2, "big")
        self._sequence, self._serializer = fields[5], fields[3]

    def refuse(self, why: str) -> None:
        """Tell the client why it is not served, as far as one of another kind can read it. Never raises."""
        sequence, serializer_id = self._sequence, self._serializer
        if len(self.buffer) >= _HEADER.size and self.buffer.startswith(b"PYRO"):
            fields = _HEADER.unpack_from(self.buffer)
            sequence, serializer_id = fields[5], fields[3]
        known = Pyro5.serializers.serializers_by_id
        serializer = known.get(serializer_id) or known[_SERIALIZERS[0]]
        kind, flags, content = Pyro5.protocol.MSG_CONNECTFAIL, 0, why
        if self.shaken:
            kind, flags = Pyro5.protocol.MSG_RESULT, Pyro5.protocol.FLAGS_EXCEPTION
            content = Pyro5.errors.SerializeError(why)
        self.refused = True
        self.buffer.clear()
        try:
            data = serializer.dumps(content)
            self.send(Pyro5.protocol.SendingMessage(kind, flags, sequence, serializer.serializer_id, data).data)
            self.sock.shutdown(socket.SHUT_WR)
        except (OSError, Pyro5.errors.PyroError):
            return
