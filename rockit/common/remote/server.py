# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of remote objects: Pyro's protocol on a socket loop that no single peer can stop.

Pyro's own thread server gives each *connection* a thread for as long as it lasts, and reads in blocking calls: some
silent connections use up its pool, and one stops its accept thread. Here one loop owns all sockets; a small pool of
workers is given whole requests and nothing else, and never waits for a socket. A peer that is silent, slow, half open,
sends half a message or does not read its replies costs a buffer until its time is over.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import Pyro5
import Pyro5.errors
import Pyro5.server
from Pyro5.callcontext import current_context

from rockit.common.errors import StartError
from rockit.common.log import Log
from rockit.common.remote import wire
from rockit.common.remote.connection import Connection
from rockit.common.who import listener_of, plain_address

MESSAGE_TIMEOUT = 10.0
"""A message that was begun (the handshake counts as begun on connecting) must be whole after this, s. A reply that the
client does not take is given up after the same time."""
IDLE_EVICTION = 300.0
"""When all places are taken, a connection that was idle for so long makes room for a new one, s."""
SILENT_EVICTION = 1.0
"""Then, too, one that has not even begun to talk after so long, s: a client begins at once."""
MAX_DENIED = 32
"""So many connections beyond the limit are let in to be told that there is no room; more are closed at once."""
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class _Directory:
    """Stands in for Pyro's own object, which lets strangers ask for more: only what a proxy needs on connecting."""

    def __init__(self, pyro: Pyro5.server.Daemon) -> None:
        self._full = Pyro5.server.DaemonObject(pyro)

    @Pyro5.server.expose  # type: ignore[untyped-decorator]
    def get_metadata(self, object_id: str) -> Any:
        """Names of the exposed methods."""
        return self._full.get_metadata(object_id)


class _Pyro(Pyro5.server.Daemon):  # type: ignore[misc]
    """Pyro's handling of one message; its loop is never run."""

    def __init__(self, host: str, port: int) -> None:
        Pyro5.config.SERVERTYPE = "multiplex"  # the type that starts no threads
        super().__init__(host=host, port=port, interface=_Directory)

    def validateHandshake(self, conn: Connection, data: object) -> str:  # noqa: N802, ARG002 (Pyro's name)
        """Refused here and not by Pyro's `denied_reason`: that one answers in marshal, whatever the client speaks."""
        if conn.denied is not None:
            raise Pyro5.errors.DaemonError(conn.denied)
        return "hello"


class Server:
    """Serves one object at one address until `stop()`.

    `connections` is how many clients may be connected, `workers` how many requests run at once. Raises StartError
    when the address cannot be bound, saying why and, where it can be known, who has it.
    """

    def __init__(
        self, service: Any, object_id: str, host: str, port: int, log: Log, *, connections: int = 256, workers: int = 12
    ) -> None:
        wire.prepare_server()
        self._log = log
        self._limit = connections
        try:
            self._pyro = _Pyro(host, port)
        except OSError as error:
            raise StartError(_bind_problem(error, host, port)) from None
        self._pyro.register(service, objectId=object_id)
        self._listener: socket.socket = self._pyro.sock
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        """The port it listens on."""
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="request")
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._done: deque[tuple[Connection, bool]] = deque()
        self._all: set[Connection] = set()
        self._denied = 0
        self._listening = False
        self._stop = threading.Event()
        self.counters: Counter[str] = Counter()

    @property
    def clients(self) -> int:
        """How many clients are connected now."""
        return len(self._all)

    def run(self) -> None:
        """Serve until `stop()`. Never raises for anything that a peer does."""
        self._selector.register(self._wake_in, _READ)
        self._listen(True)
        swept = time.monotonic()
        while not self._stop.is_set():
            for key, events in self._selector.select(1.0 if self._busy() else 30.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._wake_in:
                    self._drain_wake()
                else:
                    self._guard(self._ready, key.data, events)
            while self._done:
                self._guard(self._returned, *self._done.popleft())
            now = time.monotonic()
            if now - swept >= 1.0:
                swept = now
                self._sweep(now)
        self._close_all()

    def stop(self) -> None:
        """End `run()`; may be called from any thread."""
        self._stop.set()
        self._wake()

    def _guard(self, step: Callable[..., None], connection: Connection, *details: object) -> None:
        """Take a step for a connection; what goes wrong costs the connection and not the loop."""
        if connection.closed:  # dropped in this very round, to make room
            return
        try:
            step(connection, *details)
        except Pyro5.errors.ConnectionClosedError:
            self._drop(connection)
        except Exception:  # noqa: BLE001
            self._own_error("the server's loop")
            self._drop(connection)

    def _own_error(self, where: str) -> None:
        """Not foreseen: the first ones are logged, all are counted. Peers may be able to cause them at will."""
        self.counters["server_errors"] += 1
        if self.counters["server_errors"] <= 3:
            self._log.exception(f"{where} met an error of its own and goes on")

    def _busy(self) -> bool:
        return not self._listening or any(c.owes for c in self._all)

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"x")
        except OSError:
            return  # full or closed: the loop is awake or gone

    def _drain_wake(self) -> None:
        try:
            while self._wake_in.recv(4096):
                continue
        except BlockingIOError:
            return

    def _listen(self, on: bool) -> None:
        if on and not self._listening:
            self._selector.register(self._listener, _READ)
        elif not on and self._listening:
            self._selector.unregister(self._listener)
        self._listening = on

    def _watch(self, connection: Connection, events: int) -> None:
        """Wait for these events of a connection; 0: for none."""
        if connection.watched and not events:
            self._selector.unregister(connection.sock)
        elif events and not connection.watched:
            self._selector.register(connection.sock, events, connection)
        elif events != connection.watched:
            self._selector.modify(connection.sock, events, connection)
        connection.watched = events

    def _accept(self) -> None:
        for _ in range(50):
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError:
                # No descriptor or memory left, or the system refuses: the sweep listens again; spinning helps nobody.
                self.counters["connections_not_accepted"] += 1
                self._listen(False)
                return
            self.counters["connections"] += 1
            denied = self._no_place()
            if denied is not None:
                self.counters["connections_denied"] += 1
                if self._denied >= MAX_DENIED:
                    sock.close()
                    continue
            try:
                sock.setblocking(False)
                _keep_alive(sock)
            except OSError:
                sock.close()
                continue
            connection = Connection(sock, plain_address(address[0]), time.monotonic(), denied)
            self._all.add(connection)
            self._denied += denied is not None
            self._guard(self._watch, connection, _READ)

    def _no_place(self) -> str | None:
        """None when there is room for one more, made by force if need be; else the sentence for the client."""
        if len(self._all) - self._denied < self._limit:
            return None
        now = time.monotonic()
        silent = [c for c in self._all if c.watched and not c.shaken and c.denied is None]
        idle = [c for c in self._all if c.watched and not c.owes]
        for group, patience in ((silent, SILENT_EVICTION), (idle, IDLE_EVICTION)):
            oldest = min(group, key=lambda c: c.since, default=None)
            if oldest is not None and now - oldest.since > patience:
                self.counters["connections_evicted"] += 1
                self._drop(oldest)
                return None
        return f"all {self._limit} connections of this daemon are in use; close some clients and try again"

    def _ready(self, connection: Connection, events: int) -> None:
        """The network has something from a client, or room for something to it."""
        if events & _WRITE:
            if connection.flush():
                connection.since = time.monotonic()
            if not connection.outgoing:
                self._proceed(connection)
            return
        try:
            data = connection.sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        if connection.refused:
            return
        if not connection.owes:
            connection.since = time.monotonic()
        connection.buffer += data
        self._dispatch(connection)

    def _dispatch(self, connection: Connection) -> None:
        """Give a whole message to a worker."""
        try:
            if not connection.whole():
                return
        except Pyro5.errors.ProtocolError as error:
            self.counters["connections_foreign"] += 1
            connection.refuse(str(error))
            return
        self._watch(connection, 0)
        try:
            self._pool.submit(self._handle, connection)
        except RuntimeError:  # the system has no thread to give; a request that is in the queue all the same is not run
            self.counters["requests_without_thread"] += 1
            self._drop(connection)

    def _handle(self, connection: Connection) -> None:
        """In a worker: one whole message, its answer, and back to the loop."""
        alive = False
        try:
            if not connection.closed:
                alive = self._serve(connection)
        except Pyro5.errors.ConnectionClosedError:
            alive = False
        except Exception as error:  # noqa: BLE001 (whatever a peer sent: it costs this connection, never the server)
            if not connection.answered:
                connection.refuse(str(error))
        finally:
            self._done.append((connection, alive))
            self._wake()

    def _serve(self, connection: Connection) -> bool:
        """Whether the connection lives on."""
        # A worker serves one client after another: nothing of the last call may reach the next.
        current_context.response_annotations = {}
        connection.begin()
        if connection.shaken:
            self._pyro.handleRequest(connection)
            return True
        connection.shaken = bool(self._pyro._handshake(connection))  # noqa: SLF001 (as Pyro's servers do)
        return connection.shaken

    def _returned(self, connection: Connection, alive: bool) -> None:
        """A worker is through with a connection."""
        self.counters["calls"] += 1
        self.counters["calls_failed"] += not alive
        connection.since = time.monotonic()
        if not alive and not connection.outgoing and not connection.refused:
            self._drop(connection)
            return
        connection.refused |= not alive  # it may still read why
        self._proceed(connection)

    def _proceed(self, connection: Connection) -> None:
        """Send what is left of a reply; then read on."""
        if connection.outgoing:
            self._watch(connection, _WRITE)
            return
        self._watch(connection, _READ)
        if connection.buffer:
            self._dispatch(connection)

    def _sweep(self, now: float) -> None:
        """End connections that keep us waiting."""
        self._listen(True)
        for connection in list(self._all):
            if connection.watched and connection.owes and now - connection.since > MESSAGE_TIMEOUT:
                self.counters["connections_timed_out"] += 1
                self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        if connection not in self._all:
            return
        self._all.discard(connection)
        self._denied -= connection.denied is not None
        try:
            self._watch(connection, 0)
        except (KeyError, ValueError, OSError):
            self._own_error("giving up a connection")
        connection.close()

    def _close_all(self) -> None:
        self._listen(False)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._all):
            self._drop(connection)
        self._pyro.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


def _keep_alive(sock: socket.socket) -> None:
    """Notice within two minutes that the other machine is gone without a word."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _bind_problem(error: OSError, host: str, port: int) -> str:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        holder = listener_of(port)
        by = f" by {holder}" if holder else " by another process"
        return (
            f"cannot listen on {where}: the port is taken{by}; stop that process, "
            "or give this daemon another port in the registry"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return (
            f"cannot listen on {where}: this machine does not have that address; "
            "check the daemon's machine in the registry"
        )
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: no permission for ports below 1024; choose another port in the registry"
    return f"cannot listen on {where}: {error}"
