# SPDX-License-Identifier: GPL-3.0-or-later
"""A site of meters in a scratch folder: simulated heads on pseudo terminals, `./meterd`, `./meter`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import ROOT, Process, Site, wait_for

from rockit.common.errors import CommandError
from rockit.common.registry import Daemon, Entry


class MeterSite(Site):
    """A scratch registry whose `localhost_test` is a meter daemon, and what runs with it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        content = json.loads(self.registry.read_text())
        content["daemons"]["localhost_test"]["kind"] = "meter"
        self.write_registry(content)
        self.config = folder / "meters.json"
        self.state = folder / "state"
        self.environment["METERD_CONFIG_ROOT"] = str(folder / "etc")
        self.environment["METERD_CONFIG_PATH"] = str(self.config)

    def head(self, name: str, kind: str = "sml", *options: str) -> str:
        """Simulate a meter at a pseudo terminal; gives its path. Options of the model are written `key=value`."""
        link = self.folder / name
        words = [word for option in options for word in (("--set", option) if "=" in option else (option,))]
        if kind != "capture":
            words += ["--kind", kind]
        self.start(f"sim-{name}", str(ROOT / "bin/rockit"), "simulate", "meter", "--link", str(link), *split(words))
        wait_for(link.exists, f"the port of {name}")
        return str(link)

    def replay(self, name: str, data: bytes, *options: str) -> str:
        """A head that says `data` again and again; gives its path."""
        path = self.folder / f"{name}.bin"
        path.write_bytes(data)
        return self.head(name, "capture", "--replay", str(path), *options)

    def pulses(self, name: str, count: int, *, every: float = 1.0) -> str:
        """A recording of so many S0 pulses, the last one just now; gives its URL."""
        now, lines = time.monotonic_ns(), []
        for number in range(count):
            begin = now - round((count - number) * every * 1e9)
            lines += [f"{begin} 1 {2 * number + 1}", f"{begin + 50_000_000} 0 {2 * number + 2}"]
        path = self.folder / name
        path.write_text("\n".join(lines) + "\n")
        return f"edges://{path}"

    def write_meters(self, meters: Mapping[str, Mapping[str, Any]], **keys: Any) -> Path:
        """A quick config of these meters; keys that are None are left out."""
        content = {
            "daemon": "localhost_test", "log_name": "meterd@test", "query_delay": 0.3, "meters": meters,
            "state_directory": str(self.state), "time_zone": "Europe/Berlin", **keys,
        }  # fmt: skip
        self.config.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return self.config

    def meterd(self, *, wait: bool = True) -> Process:
        """Start the daemon; with `wait`, until every meter was heard."""
        process = self.start("meterd", str(ROOT / "meterd"), str(self.config))
        if wait:
            wait_for(
                lambda: (all_ := self.status().get("meters")) and all(one["connected"] for one in all_.values()),
                "a reading of every meter",
            )
            ports = {meter["port"] for meter in json.loads(self.config.read_text())["meters"].values()}
            wait_for(lambda: len(said(process, "Established connection")) == len(ports), "the lines that tell so")
        return process

    def meter(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `meter …`."""
        return self.run(str(ROOT / "meter"), *arguments, **environment)

    def json(self) -> dict[str, Any]:
        """What `meter json` prints."""
        done = self.meter("json")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("\n") == 1
        return dict(json.loads(done.stdout))

    def of(self, name: str) -> dict[str, Any]:
        """The status of one meter; empty while the daemon cannot be reached."""
        return dict(self.status().get("meters", {}).get(name, {}))

    def alarm(self, name: str) -> dict[str, Any]:
        """An alarm that is not normal; empty where it is."""
        with self.client() as client:
            return next((dict(one) for one in client.alarms() if one["name"] == name), {})

    def daemon(self, name: str = "localhost_test") -> Daemon[Any]:
        """See `Site.daemon`."""
        entry = Entry(object_id=f"{name}_daemon", machine="LocalHost", port=self.ports[name], kind="meter")
        return Daemon(name, entry, "127.0.0.1")

    def samples(self, key: str) -> list[float]:
        """The values of a key that the history has of the last hour."""
        with self.client() as client:
            try:
                found = client.history([key], "1h")["series"]
            except CommandError as error:
                if "is not recorded here" not in error.message:
                    raise
                return []  # nothing yet
        return list(found[key]["value"]) if key in found else []

    def kept(self) -> dict[str, Any]:
        """What of the meters is on the disk, by name."""
        path = self.state / "meters.json"
        return dict(json.loads(path.read_text()).get("meters", {})) if path.exists() else {}


def split(words: list[str]) -> list[str]:
    """`--speed 5` may be written as one option."""
    return [part for word in words for part in (word.split(" ", 1) if word.startswith("--") else [word])]


def said(process: Process, text: str) -> list[str]:
    """Lines of its log with `text`."""
    return [line for line in process.lines() if text in line]


@contextmanager
def site_in(folder: Path) -> Iterator[MeterSite]:
    """A site whose processes end with it."""
    made = MeterSite(folder)
    try:
        yield made
    finally:
        for process in reversed(made.processes):
            process.stop()


def meter(*arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `meter …` where there is neither config nor daemon."""
    environment = {**os.environ, "METERD_CONFIG_PATH": "/nonexistent", "ROCKIT_DAEMONS_PATH": "/nonexistent"}
    command = [sys.executable, str(ROOT / "meter"), *arguments]
    return subprocess.run(command, env=environment, input=given, capture_output=True, timeout=60)
