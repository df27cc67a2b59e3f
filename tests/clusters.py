# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that speaks TLS, and a line to a server that is cut at the worst moment."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from harness import PATIENCE, free_ports
from servers import Server, binary
from sqlalchemy.engine import make_url


class PostgreSQL(Server):
    """It speaks TLS and nothing else, and lets everybody in. Its folder is one that user postgres may enter."""

    def __init__(self, certificate: Path, key: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            pytest.skip("initdb is not installed here (Debian: postgresql)")
        folder = Path(tempfile.mkdtemp(prefix="rockit-postgresql-"))
        self._as: list[str] = []
        if os.geteuid() == 0:  # as which PostgreSQL does not run
            self._as = [binary("setpriv", "util-linux"), "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = folder / "data"
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            shutil.copy(source, folder / name)
            (folder / name).chmod(0o600)
        if self._as:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        initdb = [*self._as, str(programs[-1]), "-D", str(data), "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, cwd="/", check=True, capture_output=True)
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        if self._as:
            shutil.chown(data / "pg_hba.conf", "postgres", "postgres")
        port = free_ports(1)[0]
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": folder / "server.crt",
            "ssl_key_file": folder / "server.key",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        super().__init__([*self._as, str(programs[-1].with_name("postgres")), "-D", str(data), *options], port, folder)

    def url(self, host: str, query: str) -> str:
        return f"postgresql+psycopg://postgres@{host}:{self.port}/postgres?{query}"

    def stop(self) -> None:
        """At once, and in order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """A crash: sessions end in the middle of what they do, and what was committed is found in the log again."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """It, and its folder."""
        self.stop()
        shutil.rmtree(self.folder)


class Cutting:
    """Passes connections on to a server; told to, it cuts one when a word goes by.

    `question`: the word does not arrive. `answer`: it does, and is obeyed; what is said to it is lost.
    """

    def __init__(self, server: str) -> None:
        url = make_url(server)
        self._server = url.host or "127.0.0.1", url.port or 5432
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.done = threading.Semaphore(0)
        """Released when a connection was cut."""
        self._word, self._lost = b"", ""
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="cutting", daemon=True)]
        self._threads[0].start()

    def through(self, url: str) -> str:
        """The URL of the same database by way of us."""
        return make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

    def cut(self, word: bytes, lost: str) -> None:
        self._lost = lost
        self._word = word

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listener, *self._open):
            _end(sock)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for sock in (self._listener, *self._open):
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for one in ((client, server, True), (server, client, False)):
                    self._threads.append(threading.Thread(target=self._pass, args=one, name="cutting", daemon=True))
                    self._threads[-1].start()

    def _pass(self, source: socket.socket, sink: socket.socket, questions: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if questions and self._word and self._word in data:
                    self._word = b""
                    if self._lost == "answer":
                        _end(source)  # nobody hears what is said now
                        sink.sendall(data)
                        sink.shutdown(socket.SHUT_WR)  # which the server reads after our words
                    else:
                        _end(source)
                        _end(sink)
                    self.done.release()
                    return
                sink.sendall(data)
        _end(sink)


def _end(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
