# SPDX-License-Identifier: GPL-3.0-or-later
"""One small document over HTTP or HTTPS: bounded in size and in time, whatever the server does."""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from rockit.common import VERSION
from rockit.common.transport import NoAnswer

LIMIT = 200_000
"""Bytes of a document, at most."""
_ERRORS = (OSError, http.client.HTTPException, ValueError, AttributeError)
"""What comes out of Python's HTTP, the last two from sockets that another thread has shut down."""


def get(url: str, timeout: float, limit: int = LIMIT) -> bytes:
    """The document at `url`, within `timeout` s altogether. Proxies are those of the environment.

    Raises NoAnswer, whose message names host and reason: a status that is not 200, too slow, larger than `limit` bytes,
    cut short, a redirect to another scheme than https. Raises ValueError for what is no URL of a document.
    """
    host = host_of(url)
    watch = _Watch(timeout)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(), _Redirects(), _Http(watch), _Https(watch),
    ):  # fmt: skip
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": f"rockit-plant/{VERSION}"})  # noqa: S310 - see host_of
    try:
        with watch, opener.open(request, timeout=timeout) as answer:
            data: bytes = answer.read(limit + 1)
            if answer.status != 200:
                raise NoAnswer(f"{host} answers with status {answer.status}")
            length = answer.headers.get("Content-Length", "")
            if length.isdecimal() and len(data) < min(int(length), limit + 1):
                raise NoAnswer(f"{host}: the answer was cut short")
    except urllib.error.HTTPError as error:
        error.close()
        raise NoAnswer(f"{host} answers with status {error.code} ({str(error.reason)[:80]})") from None
    except _ERRORS as error:
        reason = getattr(error, "reason", error)
        if watch.over or isinstance(reason, TimeoutError):
            raise NoAnswer(f"{host}: no whole answer within {timeout:g} s") from None
        raise NoAnswer(f"{host}: {_sentence(reason)}") from None
    if watch.over:
        raise NoAnswer(f"{host}: no whole answer within {timeout:g} s")
    if len(data) > limit:
        raise NoAnswer(f"{host}: the document has more than {limit} bytes")
    return data


def host_of(url: str) -> str:
    """The host, with the port where one stands. Raises ValueError for what is no http or https URL with a host."""
    try:
        parts = urlsplit(url)
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 80) > 0
    except ValueError:
        well = False
    if not well or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"{url}: must be http://HOST/… or https://HOST/…")
    return parts.netloc.rpartition("@")[2]


class _Watch:
    """Shuts the connections of one request down when the time is over; timeouts of sockets count anew at each byte."""

    def __init__(self, timeout: float) -> None:
        self.over = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(timeout, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)
            over = self.over
        if over:
            _shut(connection)

    def _end(self) -> None:
        with self._lock:
            self.over = True
            sockets = list(self._sockets)
        for connection in sockets:
            _shut(connection)


def _shut(connection: socket.socket) -> None:
    """End the bytes below TLS: what waits for some sees the end."""
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    def __init__(self, *args: Any, watch: _Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.add(self.sock)


class _SecureConnection(http.client.HTTPSConnection):
    def __init__(self, *args: Any, watch: _Watch, **options: Any) -> None:
        super().__init__(*args, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch.add(self.sock)


class _Http(urllib.request.HTTPHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._made: Any = partial(_Connection, watch=watch)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self._made: Any = partial(_SecureConnection, watch=watch)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to the same scheme, and from http to https."""

    max_redirections = 3

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in (urlsplit(req.full_url).scheme, "https"):
            raise urllib.error.URLError(f"it redirects to {newurl[:80]}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _sentence(reason: object) -> str:
    if isinstance(reason, socket.gaierror):
        return f"the name is not known ({reason.strerror})"
    if isinstance(reason, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(reason, OSError) and reason.strerror:
        return str(reason.strerror).lower()
    return str(reason) or repr(reason)
