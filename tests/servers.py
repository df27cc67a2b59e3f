# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers, each on a free port and in a folder of its own, ended by their process number."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
import pytest
from harness import PATIENCE, free_ports


def binary(name: str, package: str) -> str:
    """Where a program is; the test is skipped where it is not installed."""
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/bin")
    if found is None:
        pytest.skip(f"{name} is not installed here (Debian: {package})")
    return found


class Server:
    """A program that listens at `port` of this machine. `start` waits until it does."""

    def __init__(self, command: Sequence[str], port: int, folder: Path) -> None:
        self.command = list(command)
        self.port = port
        self.folder = folder
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, f"{self.command[0]} ended:\n{self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"{self.command[0]} does not answer:\n{self.log.read_text()[-2000:]}"
            time.sleep(0.02)  # the pause between two looks

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As when the power goes, as far as a process can tell."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None


class VictoriaMetrics(Server):
    """Stored under `folder`, each series and millisecond once, for ever."""

    def __init__(self, folder: Path, *options: str) -> None:
        program = binary("victoria-metrics", "victoria-metrics")
        port = free_ports(1)[0]
        super().__init__(
            [
                program,
                f"-storageDataPath={folder / 'data'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                "-retentionPeriod=100y",
                "-dedup.minScrapeInterval=1ms",
                "-memory.allowedBytes=64MB",
                *options,
            ],
            port,
            folder,
        )

    def url(self, path: str = "/write?db=rockit") -> str:
        return f"influx+http://127.0.0.1:{self.port}{path}"

    def answers(self) -> bool:
        try:
            return self.get("/health") == b"OK"
        except OSError:
            return False

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def flush(self) -> None:
        """Make readable what was written just now."""
        self.get("/internal/force_flush")

    def exported(self, selector: str) -> dict[tuple[str, ...], dict[int, float]]:
        """(name, device, site) -> time in ms -> value."""
        self.flush()
        found: dict[tuple[str, ...], dict[int, float]] = {}
        for line in self.get(f"/api/v1/export?match[]={urllib.parse.quote(selector)}").splitlines():
            row = msgspec.json.decode(line)
            labels = row["metric"]
            name = labels["__name__"], labels.get("device", ""), labels.get("site", "")
            pairs = list(zip(row["timestamps"], row["values"], strict=True))
            known = found.setdefault(name, {})
            assert len(dict(pairs)) == len(pairs), "each time once"
            assert not known.keys() & dict(pairs).keys(), "each time once"
            known.update(pairs)
        return found


class Mosquitto(Server):
    """A broker. `settings` are lines of its config beside the listener; without any, everybody may come in."""

    def __init__(self, folder: Path, *settings: str) -> None:
        program = binary("mosquitto", "mosquitto")
        port = free_ports(1)[0]
        config = folder / "mosquitto.conf"
        lines = [
            f"listener {port} 127.0.0.1",
            "persistence false",
            "user root",
            *(settings or ["allow_anonymous true"]),
        ]
        config.write_text("\n".join(lines) + "\n")
        super().__init__([program, "-c", str(config)], port, folder)


class Scripted:
    """A web server by hand, for answers that no real one gives when it is asked to.

    Each request of each connection is answered by the next of `answers`; a callable gets the socket and does what it
    likes with it. When they are used up, connections end.
    """

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self.requests: list[tuple[bytes, bytes]] = []
        """(head, body)"""
        self.connections = 0
        self.ended = threading.Semaphore(0)
        """Released when a connection has ended."""
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="scripted", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._open.append(sock)
                with sock, suppress(OSError), sock.makefile("rb") as stream:
                    while self._one(sock, stream):
                        continue
                self.ended.release()

    def _one(self, sock: socket.socket, stream: BinaryIO) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return False
            head += line
        length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b"0")
        self.requests.append((head, stream.read(int(length))))
        if not self._answers:
            return False
        answer = self._answers.pop(0)
        if callable(answer):
            answer(sock)
            return False
        sock.sendall(answer)
        return b"connection: close" not in answer.lower()


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
