# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiving end of forwarding over HTTPS: `POST /batch`, answered when the database has committed it.

Starlette and uvicorn are an extra, and imported when a receiver is made. One thread writes; what waits for it is
bounded.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from rockit.common.errors import StartError
from rockit.history import incoming
from rockit.history.targets.address import Address
from rockit.history.tokens import Tokens

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from rockit.history.model import Batch

WAITING = 64 * 2**20
"""Bytes of all bodies that are being read or wait to be written."""
CONNECTIONS = 200
BODY_TIMEOUT = 30.0
"""A body that is not here after this is given up, s."""
IDLE = 300
"""A connection without a request is ended after this, s; senders come every few seconds."""
RETRY_AFTER = "5"


class Receiving(Protocol):
    """What is done with a batch: `rockit.history.store.Store`, that is."""

    def receive(self, batch: Batch) -> int:
        """Commit a batch; how many samples were new."""

    def tend(self) -> None:
        """Do now and then what keeps it small."""

    def close(self) -> None:
        """Give back what is held."""


class Verdict(NamedTuple):
    """A status of HTTP, and what is said with it."""

    status: int
    said: dict[str, Any]


def serve(
    store_url: str,
    host: str,
    port: int,
    *,
    token_file: str,
    certificate: str | None = None,
    key: str | None = None,
    insecure: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Receive until SIGTERM or SIGINT, and tell with `say` what an operator wants to know. Raises StartError.

    `certificate` and `key` are PEM files; without `key` both are in the one. `insecure` allows plain HTTP on an address
    that others can reach, for a proxy that does TLS. `token_file`: see Tokens.
    """
    Receiver(
        store_url, host, port, token_file=token_file, certificate=certificate, key=key, insecure=insecure, say=say
    ).run()


class Receiver:
    """A web server that listens from its making on, and answers while `run` runs."""

    def __init__(
        self,
        store_url: str,
        host: str,
        port: int,
        *,
        token_file: str,
        certificate: str | None = None,
        key: str | None = None,
        insecure: bool = False,
        say: Callable[[str], None] = print,
        open_store: Callable[[str], Receiving] | None = None,
    ) -> None:
        """As `serve`; port 0 takes a free one. Raises StartError."""
        if certificate is None and not insecure and not Address("", host=host).loopback:
            raise StartError(
                f"{host} can be reached from other machines, and tokens would pass in clear: give a certificate, or say"
                " --insecure where a proxy does TLS"
            )
        try:
            import uvicorn

            self._tokens = Tokens(token_file)
            self._open = open_store or _store_opener(store_url)
        except ImportError as error:
            raise StartError(
                f"a receiver needs {error.name}, which is not installed here: pip install 'rockit-plant[receiver]'"
            ) from None
        except ValueError as error:
            raise StartError(str(error)) from None
        self._url = store_url
        self._say = say
        self._store: Receiving | None = None
        self._told = ""
        self._waiting = 0
        self._writer = ThreadPoolExecutor(1, "store")
        config = uvicorn.Config(
            self.application(),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=5,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except OSError as error:  # an SSLError is one
            raise StartError(f"certificate {certificate} or its key is of no use: {error.strerror or error}") from None

        class Server(uvicorn.Server):
            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield  # ours to handle: an end that was asked for is no failure

        self._server = Server(config)
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._socket = socket.create_server((host, port), family=family)
        except OSError as error:
            raise StartError(f"cannot listen at {host} port {port}: {error.strerror or error}") from None
        self.port = int(self._socket.getsockname()[1])
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://{Address('', host=host, port=self.port).place}/batch"

    def run(self) -> None:
        """Answer until `stop`; in the main thread also until SIGTERM or SIGINT."""
        self._say(f"receiving at {self.url}")
        self._writer.submit(self._ready).result()
        try:
            asyncio.run(self._run())
        finally:
            self._writer.submit(self._give_up_store).result()
            self._writer.shutdown()
            self._socket.close()

    def stop(self) -> None:
        """End `run`, from any thread, when what has begun is answered."""
        self._server.should_exit = True

    async def _run(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
        await self._server.serve(sockets=[self._socket])

    def application(self) -> Starlette:
        """What uvicorn runs."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(routes=[Route("/batch", self._batch, methods=["POST"])])

    async def _batch(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        verdict = await self._judged(request)
        headers = {}
        if verdict.status == 503:
            headers["Retry-After"] = RETRY_AFTER
        elif verdict.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        elif verdict.status == 408:
            headers["Connection"] = "close"  # what is still to come is not waited for
        return JSONResponse(verdict.said, verdict.status, headers)

    async def _judged(self, request: Request) -> Verdict:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            sites = self._tokens.sites(token.strip())
        except ValueError as error:
            self._tell(str(error))
            return _no(503, "no token can be checked just now; this receiver's log says why")
        if scheme.lower() != "bearer" or not sites:
            return _no(401, "this token is not known here")
        packing = request.headers.get("Content-Encoding", "identity").lower()
        if packing not in ("gzip", "identity"):
            return _no(415, f"a body is packed with gzip or not at all, not with {packing[:20]}")
        body = bytearray()
        try:
            refused = await self._read(request, body)
            if refused is not None:
                return refused
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._writer, self._take, body, packing == "gzip", sites)
        finally:
            self._waiting -= len(body)

    async def _read(self, request: Request, body: bytearray) -> Verdict | None:
        from starlette.requests import ClientDisconnect

        too_large = _no(413, f"more than {incoming.COMPRESSED} bytes: send fewer at once")
        length = request.headers.get("Content-Length", "0")
        if length.isdecimal() and int(length) > incoming.COMPRESSED:
            return too_large
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > incoming.COMPRESSED:
                        return too_large
                    if self._waiting + len(chunk) > WAITING:
                        return _no(503, "too many batches wait to be written")
                    self._waiting += len(chunk)
                    body += chunk
        except TimeoutError:
            return _no(408, f"the body was not here within {BODY_TIMEOUT:g} s")
        except ClientDisconnect:
            return _no(400, "gone")
        return None

    # In the writer's thread

    def _take(self, body: bytearray, packed: bool, sites: list[str | None]) -> Verdict:
        from rockit.history.database import StoreError, Trouble

        try:
            batch = incoming.checked(incoming.unpacked(body) if packed else body)
        except incoming.TooLarge as error:
            return _no(413, str(error))
        except ValueError as error:
            return _no(400, str(error))
        foreign = sorted(incoming.sites(batch) - set(sites)) if None not in sites else []
        if foreign:
            return _no(403, f"this token is not for the site {foreign[0]!r}")
        if not self._ready() or self._store is None:
            return _no(503, "the store cannot be opened just now; this receiver's log says why")
        try:
            new = self._store.receive(batch)
            self._store.tend()
        except ValueError as error:
            return _no(400, str(error))
        except StoreError as error:
            self._give_up_store()
            self._tell(f"nothing can be stored: {error}")
            if error.trouble is Trouble.WRONG:
                return _no(422, str(error))
            return _no(503, "the store takes nothing just now; this receiver's log says why")
        except BaseException:
            self._give_up_store()
            raise
        if self._told:
            self._told = ""
            self._say("batches are stored again")
        return Verdict(200, {"new": new})

    def _ready(self) -> bool:
        from rockit.history.database import StoreError

        if self._store is None:
            try:
                self._store = self._open(self._url)
            except (StoreError, OSError) as error:
                self._tell(f"nothing can be stored: {error}")
        return self._store is not None

    def _give_up_store(self) -> None:
        """A connection that has failed once is not trusted again."""
        from rockit.history.database import StoreError

        store, self._store = self._store, None
        if store is not None:
            with suppress(StoreError, OSError):
                store.close()

    def _tell(self, text: str) -> None:
        """Once, however often it happens."""
        if text != self._told:
            self._told = text
            self._say(text)


def _store_opener(url: str) -> Callable[[str], Receiving]:
    from rockit.history.database import parsed
    from rockit.history.store import Store

    parsed(url)  # raises ValueError: a wrong URL is no passing trouble
    return Store


def _no(status: int, why: str) -> Verdict:
    return Verdict(status, {"error": why})
