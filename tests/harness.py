# SPDX-License-Identifier: GPL-3.0-or-later
"""A site in a scratch folder: registry with free ports, configs, simulators and daemons as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rockit.common.registry import Daemon, Entry
from rockit.common.remote.client import Client
from rockit.common.simulate_control import control

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 30.0
"""Deadline of waits, s: generous, since these machines are noisy; no test passes or fails by how long it took."""


def wait_for(condition: Callable[[], Any], what: str = "", timeout: float = PATIENCE) -> Any:
    """The first true result of `condition`; fails the test when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what or condition}")
        time.sleep(0.02)  # the pause between two looks, not a guess at how long something takes


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


class Process:
    """One of our executables, its output in a file, ended at the end of the test."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *command], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        return self.popen.wait(timeout)

    def stop(self) -> int:
        if self.popen.poll() is None:
            self.signal()
        try:
            return self.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.wait()


class Site:
    """A scratch registry and what runs with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = folder / "chiller"
        names = ["localhost_test", "localhost_test2", "localhost_test3", "localhost_test4"]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.registry = folder / "daemons.json"
        daemons = {
            name: {"object_id": f"{name}_daemon", "machine": "LocalHost", "port": port, "timeout": 5}
            for name, port in self.ports.items()
        }
        daemons["localhost_test"]["kind"] = "chiller"
        self.write_registry(
            {"machines": {"LocalHost": ["127.0.0.1", "::1"], "Elsewhere": ["192.0.2.7"]}, "daemons": daemons}
        )
        self.environment = {
            **os.environ,
            "ROCKIT_DAEMONS_PATH": str(self.registry),
            "CHILLERD_CONFIG_ROOT": str(folder / "etc"),
        }
        self.environment.pop("CHILLERD_CONFIG_PATH", None)
        self.environment.pop("NOTIFY_SOCKET", None)
        self.processes: list[Process] = []
        self.config = folder / "chiller.json"

    def write_registry(self, content: dict[str, Any]) -> None:
        self.registry.write_text(json.dumps(content))

    def write_config(self, **keys: Any) -> Path:
        """A quick chiller config; keys that are None are left out."""
        content = {
            "daemon": "localhost_test", "log_name": "chillerd@test", "serial_port": str(self.link), "serial_timeout": 1,
            "query_delay": 0.5, "command_interval": 0.02, "state_directory": str(self.folder / "state"), **keys,
        }  # fmt: skip
        self.config.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        self.environment["CHILLERD_CONFIG_PATH"] = str(self.config)
        return self.config

    def start(self, name: str, *command: str, **environment: str) -> Process:
        process = Process(name, list(command), {**self.environment, **environment}, self.folder)
        self.processes.append(process)
        return process

    def simulator(self, *options: str, link: Path | None = None) -> Process:
        link = link or self.link
        process = self.start(
            "simulator", str(ROOT / "bin/rockit"), "simulate", "chiller", "--link", str(link), *options
        )
        wait_for(link.exists, "the simulator's port")
        return process

    def chillerd(self, *, wait: bool = True, **environment: str) -> Process:
        process = self.start("chillerd", str(ROOT / "chillerd"), str(self.config), **environment)
        if wait:
            wait_for(
                lambda: (s := self.status()).get("connected") and "why" in s, "a whole poll and what follows from it"
            )
        return process

    def fault(self, text: str, link: Path | None = None) -> str:
        answer = control(str(link or self.link), f"fault {text}")
        assert not answer.startswith("error"), answer
        return answer

    def info(self, link: Path | None = None) -> dict[str, Any]:
        return dict(json.loads(control(str(link or self.link), "info")))

    def set(self, key: str, value: object, link: Path | None = None) -> None:
        answer = control(str(link or self.link), f"set {key} {value}")
        assert not answer.startswith("error"), answer

    def daemon(self, name: str = "localhost_test") -> Daemon[Any]:
        entry = Entry(object_id=f"{name}_daemon", machine="LocalHost", port=self.ports[name], kind="chiller")
        return Daemon(name, entry, "127.0.0.1")

    def client(self, name: str = "localhost_test", timeout: float = 5.0) -> Client:
        client: Client = self.daemon(name).connect(timeout)
        return client

    def status(self) -> dict[str, Any]:
        """The status by a remote call; empty while the daemon cannot be reached."""
        try:
            with self.client() as client:
                return dict(client.report_status())
        except Exception:  # noqa: BLE001 - whatever is wrong, there is no status yet
            return {}

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def chiller(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(ROOT / "chiller"), *arguments, **environment)

    def rockit(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(ROOT / "bin/rockit"), *arguments, **environment)
