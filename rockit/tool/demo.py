# SPDX-License-Identifier: GPL-3.0-or-later
"""The demonstration: a simulated plant with its daemons in a scratch folder, until Ctrl-C or for DEMO_SECONDS."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rockit.common.errors import USAGE_ERROR

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "config" / "demo"
READY_WITHIN = 30.0
KINDS = ("chiller", "boiler", "meter")
"""The command lines of what the demo starts."""


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there on this machine, else one that is free."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free TCP port")


def _say(text: str) -> None:
    """Print at once, into a pipe too."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Demo:
    """Scratch folder, processes, and how they end."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.environment = dict(os.environ)
        self.stop = threading.Event()
        self._processes: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, *command: str) -> None:
        """Start one of our executables with its output in the scratch folder."""
        with open(self.scratch / f"{name}.log", "wb") as log:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, *command], env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self._processes.append((name, process))

    def prepare(self) -> dict[str, Path]:
        """A registry with free ports, and the demo's configs with folders of their own: kind -> config file."""
        registry = json.loads((ROOT / "rockit" / "common" / "daemons.json").read_text())
        entries: dict[str, Any] = {}
        targets: dict[str, Path] = {}
        for kind in KINDS:
            config: dict[str, Any] = json.loads((CONFIGS / f"{kind}.json").read_text())
            entry = registry["daemons"][config["daemon"]]
            port = free_port(entry["port"])
            if port != entry["port"]:
                _say(f"port {entry['port']} is taken; {kind}d listens on {port} instead")
            entries[config["daemon"]] = {**entry, "port": port, "kind": kind}
            config["state_directory"] = str(self.scratch / kind)
            if kind == "chiller":
                config["serial_port"] = str(self.scratch / "chiller-port")
            targets[kind] = self.scratch / f"{kind}.json"
            targets[kind].write_text(json.dumps(config, indent=2))
            self.environment[f"{kind.upper()}D_CONFIG_PATH"] = str(targets[kind])
        registry["daemons"] = entries
        path = self.scratch / "daemons.json"
        path.write_text(json.dumps(registry))
        self.environment["ROCKIT_DAEMONS_PATH"] = str(path)
        return targets

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `chiller …`, `boiler …` or `meter …`."""
        program, *rest = arguments
        return subprocess.run(  # noqa: S603
            [sys.executable, str(ROOT / program), *rest], env=self.environment, text=True, capture_output=True,
            check=False,
        )  # fmt: skip

    def wait_for(self, ready: Any, what: str) -> bool:
        """Until `ready()`; False when a process died, time ran out, or we were stopped."""
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and not self.stop.wait(0.2):
            for name, process in self._processes:
                if process.poll() is not None:
                    _say(f"{name} ended with {process.returncode}:\n{(self.scratch / f'{name}.log').read_text()}")
                    return False
            if ready():
                return True
        if not self.stop.is_set():
            _say(f"{what} did not come up within {READY_WITHIN:g} s; see {self.scratch}")
        return False

    def end(self) -> None:
        """Stop everything, the daemons first, and wait until it is gone."""
        for _, process in reversed(self._processes):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connected(demo: Demo, kind: str) -> bool:
    answer = demo.command(kind, "json")
    if answer.returncode != 0:
        return False
    status = json.loads(answer.stdout)
    # Of a chiller and a boiler: a whole poll, and a decision.
    return status["connected"] is True and (kind == "meter" or "why" in status or "devices" in status)


def main() -> int:
    """Run the demonstration; exit code 0 when everything came up."""
    text = os.environ.get("DEMO_SECONDS")
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        _say(f"DEMO_SECONDS must be a number of seconds, not {text!r}")
        return USAGE_ERROR
    with tempfile.TemporaryDirectory(prefix="rockit-demo-") as folder:
        demo = Demo(Path(folder))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _signal, _frame: demo.stop.set())
        try:
            configs = demo.prepare()
            began = time.monotonic()
            link = demo.scratch / "chiller-port"
            simulate = ("simulate", "chiller", "--link", str(link), "--set", "ambient=18")
            demo.start("simulator", str(ROOT / "bin" / "rockit"), *simulate)
            if not demo.wait_for(link.exists, "the simulated chiller"):
                return 0 if demo.stop.is_set() else 1
            for kind, config in configs.items():
                demo.start(f"{kind}d", str(ROOT / f"{kind}d"), str(config))
            for kind in configs:
                if not demo.wait_for(lambda kind=kind: _connected(demo, kind), f"{kind}d"):
                    return 0 if demo.stop.is_set() else 1
                _say(f"$ {kind} status")
                _say(demo.command(kind, "status").stdout)
            _explain(demo, configs)
            left = None if seconds is None else max(0.0, seconds - (time.monotonic() - began))
            until = None if left is None else time.monotonic() + left
            while not demo.stop.wait(0.5) and (until is None or time.monotonic() < until):
                pass
        finally:
            demo.end()
    _say("demo: stopped, nothing left behind")
    return 0


def _explain(demo: Demo, configs: dict[str, Path]) -> None:
    registry = shlex.quote(demo.environment["ROCKIT_DAEMONS_PATH"])
    _say("Try it from another terminal, in this folder:")
    _say(f"  export ROCKIT_DAEMONS_PATH={registry}")
    for kind, config in configs.items():
        _say(f"  export {kind.upper()}D_CONFIG_PATH={shlex.quote(str(config))}")
    _say("  ./chiller mode manual; ./chiller enable; ./chiller setpoint 12; ./chiller watch")
    _say("  ./chiller history --since 10m --format plot; ./chiller history --events; ./chiller export -o day.csv")
    _say("  ./boiler watch; ./boiler explain; ./boiler season summer; ./boiler settings; ./boiler override boiler off")
    _say("  ./meter watch; ./meter energy house --by hour --since 3h; ./meter history --key house.power --format plot")
    _say(f"  bin/rockit fault {shlex.quote(str(demo.scratch / 'chiller-port'))} unplug        # and `unplug off`")
    _say("Ctrl-C ends the demo.")


if __name__ == "__main__":
    sys.exit(main())
