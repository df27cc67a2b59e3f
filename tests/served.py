# SPDX-License-Identifier: GPL-3.0-or-later
"""The real server of remote objects in a thread, on a free port, and sockets that speak its protocol by hand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import serpent

from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.registry import Daemon, Entry
from rockit.common.remote.client import UntypedClient
from rockit.common.remote.server import Server
from rockit.common.remote.service import caller, operate, read

OBJECT = "plant_daemon"
CONNECT, CONNECT_OK, CONNECT_FAIL, INVOKE, RESULT, PING = 1, 2, 3, 4, 5, 6
EXCEPTION, COMPRESSED, ONEWAY, BATCH, KEEP_SERIALIZED, CORRELATION = 1, 2, 4, 8, 32, 64
SERPENT, MARSHAL, JSON = 1, 2, 3


class Lines(Log):
    """A log that a test can read."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[tuple[str, str]] = []

    def _write(self, level: str, text: str) -> None:
        self.lines.append((level, text))

    def of(self, level: str) -> list[str]:
        return [text for kind, text in self.lines if kind == level]


class Plant:
    """A remote object with one method of each sort."""

    secret = "not for strangers"

    def __init__(self, allowed: frozenset[str] = frozenset({"127.0.0.1"})) -> None:
        self.log = Lines()
        self.allowed = allowed
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.switched: list[Any] = []
        self.calls: list[str] = []
        self.commands: list[tuple[str, str, str, int]] = []

    @read
    def report_status(self) -> dict[str, Any]:
        self.calls.append("report_status")
        return {"water_temp": 11.5, "alarms": []}

    @read
    def echo(self, value: Any) -> Any:
        return value

    @read
    def hold(self) -> str:
        """Keeps a worker until the gate opens."""
        self.entered.release()
        assert self.gate.wait(60)
        return "held"

    @read
    def large(self, size: int) -> str:
        return "x" * size

    @read
    def stream(self) -> Iterator[int]:
        return iter([1, 2, 3])

    @read
    def refuse(self) -> None:
        raise CommandError(Code.DEVICE_OFFLINE, "the chiller does not answer")

    @read
    def break_down(self) -> None:
        raise RuntimeError("a mistake of ours")

    @read
    def mistype(self) -> Any:
        return len(3)  # type: ignore[arg-type]

    @read
    def leave(self) -> None:
        raise SystemExit

    @read
    def hang_up(self) -> None:
        """Ends the caller's connection in the middle of the call."""
        self.calls.append("hang_up")
        self._hang_up()

    @operate
    def set_hang_up(self) -> str:
        self.calls.append("set_hang_up")
        self._hang_up()
        return "done"

    @operate
    def set_switch(self, on: bool) -> str:
        self.switched.append((on, caller()))
        if on == "burn":
            raise CommandError(Code.DEVICE_REFUSED, "the relay says no")
        if on == "break":
            raise ValueError("a mistake of ours")
        return f"the switch is {'on' if on else 'off'}"

    def commanded(self, name: str, what: str, who: str, code: int, message: str) -> None:
        self.commands.append((name, what, who, int(code)))

    def unmarked(self) -> str:
        self.calls.append("unmarked")
        return self.secret

    @staticmethod
    def _hang_up() -> None:
        from Pyro5.callcontext import current_context

        current_context.client.sock.shutdown(socket.SHUT_RDWR)


class Served:
    """A server that runs."""

    def __init__(
        self, service: Any, host: str = "127.0.0.1", port: int = 0, object_id: str = OBJECT, **options: int
    ) -> None:
        self.service = service
        self.object_id = object_id
        self.host = host
        self.server = Server(service, object_id, host, port, service.log, **options)
        self.port = self.server.port
        self.thread = threading.Thread(target=self.server.run, name="server under test")
        self._peers: list[Raw] = []
        self.thread.start()

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(30)
        for peer in self._peers:
            peer.sock.close()
        assert not self.thread.is_alive(), "stop() ends run()"

    def daemon(self, host: str | None = None) -> Daemon[Any]:
        return daemon_at(self.port, self.object_id, host or self.host)

    def client(self, timeout: float = 20.0, host: str | None = None) -> UntypedClient:
        return UntypedClient(self.daemon(host), timeout)

    def raw(self, source: str = "127.0.0.1", *, shaken: bool = True) -> Raw:
        peer = Raw(self.port, source)
        self._peers.append(peer)
        if shaken:
            peer.shake()
        return peer


def daemon_at(port: int, object_id: str = OBJECT, host: str = "127.0.0.1") -> Daemon[Any]:
    return Daemon("plant", Entry(object_id=object_id, machine="LocalHost", port=port), host)


@contextmanager
def serving(service: Any, **options: Any) -> Iterator[Served]:
    served = Served(service, **options)
    try:
        yield served
    finally:
        gate = getattr(service, "gate", None)
        if gate is not None:
            gate.set()
        served.stop()


def message(
    kind: int, payload: bytes, *, flags: int = 0, serializer: int = SERPENT, sequence: int = 7, version: int = 502,
    annotations: bytes = b"", size: int | None = None,
) -> bytes:  # fmt: skip
    """A message of Pyro's protocol, right or, where a test wants it so, wrong."""
    size = len(payload) if size is None else size
    header = struct.pack(
        "!4sHBBHHII16sHH",
        b"PYRO",
        version,
        kind,
        serializer,
        flags,
        sequence,
        size,
        len(annotations),
        bytes(16),
        0,
        0x4DC5,
    )
    return header + annotations + payload


def handshake(object_id: str = OBJECT, **options: Any) -> bytes:
    return message(CONNECT, serpent.dumps({"handshake": "hello", "object": object_id}), **options)


def invoke(method: Any, *arguments: Any, object_id: str = OBJECT, **options: Any) -> bytes:
    return message(INVOKE, serpent.dumps((object_id, method, arguments, {})), **options)


class Raw:
    """A socket that says what it is told to."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))

    def shake(self) -> None:
        self.send(handshake())
        assert self.reply()[0] == CONNECT_OK

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reply(self) -> tuple[int, int, Any]:
        """Kind, flags and content of the next message."""
        header = self._exactly(40)
        fields = struct.unpack("!4sHBBHHII16sHH", header)
        body = self._exactly(fields[6] + fields[7])[fields[7] :]
        if fields[2] == PING:
            return PING, 0, body
        assert fields[3] == SERPENT, "answered in the language of the question"
        return fields[2], fields[4] & ~CORRELATION, serpent.loads(body)

    def call(self, method: Any, *arguments: Any, **options: Any) -> tuple[int, int, Any]:
        self.send(invoke(method, *arguments, **options))
        return self.reply()

    def ended(self) -> bool:
        """Waits for the server to end the connection, whatever it says before."""
        try:
            while self.sock.recv(65536):
                continue
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        """Leave without a farewell: the server's socket gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, f"the connection ended after {data!r}"
            data += more
        return data


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results of `work(0)` … `work(count - 1)`, begun all together, or the exceptions that they raised."""
    results: list[Any] = [None] * count
    start = threading.Barrier(count)

    def one(index: int) -> None:
        start.wait(30)
        try:
            results[index] = work(index)
        except Exception as error:  # noqa: BLE001 (handed to the test)
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results
