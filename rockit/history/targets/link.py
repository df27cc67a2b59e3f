# SPDX-License-Identifier: GPL-3.0-or-later
"""A persistent HTTP connection on which nothing takes longer than it may, and that knows when it was broken."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from rockit.history.targets import TargetFailed, TargetRefused
from rockit.history.targets.address import Address
from rockit.history.targets.credentials import trusting

TIMEOUT = 10.0
"""Of a post, everything included, s."""
_LONGEST_ANSWER = 65536
_TOLD = 300
"""Characters of an answer that are shown."""
_PASSING = {408, 425, 429}
"""Statuses of 4xx that say "later"."""


class Answer(NamedTuple):
    """What the other side said."""

    status: int
    text: str

    def shown(self) -> str:
        """For a sentence."""
        words = "".join(c if c.isprintable() else " " for c in self.text[: 4 * _TOLD]).split()
        text = " ".join(words)
        return f"HTTP {self.status}" + (f": {text[:_TOLD]}" if text else "")


class Link:
    """A connection to one address, for one thread; `close` may come from another."""

    def __init__(self, address: Address, *, tls: bool, ca_file: str | None = None, timeout: float = TIMEOUT) -> None:
        self.name = address.name
        self._host = address.host
        self._port = address.port or (443 if tls else 80)
        self._tls = tls
        self._ca_file = ca_file
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        self._lookup: _Lookup | None = None
        self._cut_because = ""
        self._closed = False
        self._used = threading.Lock()
        self._number = 0
        self._restarted = False

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to a POST. Raises TargetFailed when there is none, TargetRefused for a ca_file of no use."""
        with self._used:
            return self._post(path, body, headers)

    def restarted(self) -> bool:
        """Whether a connection was opened since this was asked last that the other side had not asked for."""
        was, self._restarted = self._restarted, False
        return was

    def close(self) -> None:
        """End the connection, and a post that waits."""
        self._closed = True
        self._cut("closed")
        if self._used.acquire(timeout=2.0):  # what `post` still holds, it drops itself
            self._drop()
            self._used.release()

    def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        self._number += 1
        self._cut_because = "closed" if self._closed else ""
        watch = threading.Timer(self._timeout, self._too_long, (self._number,))
        watch.daemon = True
        watch.start()
        try:
            self._check()
            connection = self._ready()
            connection.request("POST", path, body, {**headers, "User-Agent": "rockit-plant"})
            response = connection.getresponse()
            answer = Answer(response.status, response.read(_LONGEST_ANSWER).decode("utf-8", "replace"))
            if not response.isclosed():
                self._drop()
            elif response.will_close:
                self._drop()
                self._open_again()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._drop()
            raise TargetFailed(f"{self.name}: {self._cut_because or _why(error)}") from None
        except BaseException:
            self._drop()
            raise
        finally:
            watch.cancel()
        return answer

    def _cut(self, because: str) -> None:
        """From another thread: whatever waits for the network ends, and says why."""
        self._cut_because = self._cut_because or because
        lookup, sock = self._lookup, self._socket
        if lookup is not None:
            lookup.done.set()
        if sock is not None:
            with suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # also of TLS: its own shutdown would use its state

    def _too_long(self, number: int) -> None:
        if number == self._number:
            self._cut(f"no answer within {self._timeout:g} s")

    def _ready(self) -> http.client.HTTPConnection:
        if self._connection is not None and self._alive():
            return self._connection
        self._drop()
        self._restarted = True
        return self._open()

    def _alive(self) -> bool:
        """Whether the other side has neither ended the connection nor said something unasked."""
        assert self._socket is not None
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
            return False  # the end, or words that nobody asked for
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            with suppress(OSError):
                self._socket.settimeout(self._timeout)

    def _open_again(self) -> None:
        """After an end that the other side announced: it lives, so what is opened at once is no sign of a restart."""
        try:
            self._open()
        except (OSError, TargetFailed, ValueError):
            self._drop()

    def _open(self) -> http.client.HTTPConnection:
        context = trusting(self._ca_file) if self._tls else None
        found = self._addresses()
        deadline = time.monotonic() + self._timeout
        failure: OSError | None = None
        for number, (family, kind, protocol, _, where) in enumerate(found):
            sock = socket.socket(family, kind, protocol)
            self._socket = sock
            self._check()
            # A host with several addresses of which one does not answer is still reached.
            sock.settimeout(max(0.1, (deadline - time.monotonic()) / (len(found) - number)))
            try:
                sock.connect(where)
                break
            except OSError as error:
                self._drop()
                self._check()
                failure = error
        else:
            raise failure or OSError(f"{self._host} has no address")
        sock.settimeout(self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            wrapped = context.wrap_socket(sock, server_hostname=self._host, do_handshake_on_connect=False)
            self._socket = sock = wrapped
            self._check()
            wrapped.do_handshake()
        connection = http.client.HTTPConnection(self._host, self._port, self._timeout)
        connection.auto_open = 0
        connection.sock = sock
        self._connection = connection
        return connection

    def _addresses(self) -> Sequence[_Found]:
        lookup = self._lookup
        if lookup is None or not lookup.is_alive():
            lookup = self._lookup = _Lookup(self._host, self._port)
            lookup.start()
        lookup.done.wait(self._timeout)
        self._check()
        if lookup.error is not None:
            raise lookup.error
        return lookup.found

    def _check(self) -> None:
        if self._cut_because:
            raise OSError(self._cut_because)

    def _drop(self) -> None:
        connection, sock = self._connection, self._socket
        self._connection = self._socket = None
        if connection is not None:
            connection.close()
        if sock is not None:
            with suppress(OSError):
                sock.close()


_Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]


class _Lookup(threading.Thread):
    """Asks for a host's addresses: the system does so in its own time, and cannot be told to stop."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name=f"look up {host}", daemon=True)
        self.done = threading.Event()
        self.found: Sequence[_Found] = ()
        self.error: OSError | None = None
        self._asked = host, port

    def run(self) -> None:
        """Look it up."""
        try:
            self.found = socket.getaddrinfo(*self._asked, type=socket.SOCK_STREAM)
        except OSError as error:
            self.error = error
        except UnicodeError:
            self.error = OSError(f"{self._asked[0]!r} is no name of a host")
        finally:
            self.done.set()


def confirmed(link: Link, answer: Answer, wanted: int) -> None:
    """Return where the answer is the one that says "it is here". Raises TargetFailed or TargetRefused."""
    status = answer.status
    if status == wanted:
        return
    said = f"{link.name}: {answer.shown()}"
    if status in (401, 403):
        raise TargetRefused(f"{link.name} does not take our token or password, {answer.shown()}")
    if status >= 500 or status in _PASSING:
        raise TargetFailed(said)
    raise TargetRefused(said)


def _why(error: BaseException) -> str:
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection ended without an answer"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        verification = getattr(error, "verify_message", "")
        if verification:
            return f"its certificate is not to be trusted: {verification}"
        return error.strerror or str(error) or repr(error)
    return str(error) or repr(error)
