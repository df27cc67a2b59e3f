# SPDX-License-Identifier: GPL-3.0-or-later
"""Three hosts: a dome and a plant with a chiller each, and a central one that keeps what both record.

    .venv/bin/python examples/three_hosts.py

The central host is cut off for a while. Both others go on, and once it is back everything is there: exit code 0 when
not one sample is missing. EXAMPLE_SECONDS (24) is how long it runs before and while the host is cut off. As root each
host is a network namespace with an address of its own; otherwise, or with --processes, all are processes on this
machine, and the central one is cut off by ending it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rockit.common.errors import USAGE_ERROR
from rockit.history.database import Database, StoreError
from rockit.history.model import Series
from rockit.history.query import Reader
from rockit.history.store import wall_clock
from rockit.tool.demo import ROOT, Demo, free_port

SITE = "example"
SENDERS = ("dome", "plant")
CENTRAL = "central"
POLL = 0.5
"""s; a chiller of the real world is asked every 7 to 10 s."""
PATIENCE = 90.0
"""Until all is there again: a sender tries again after 1, 2, 5, 10, 30 s, s."""
Rows = dict[Series, list[tuple[int, float, int]]]


def say(text: str) -> None:
    """Print at once, into a pipe too."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@dataclass
class Host:
    """A name, an address, and how a command is run there."""

    name: str
    address: str = "127.0.0.1"
    run: list[str] = field(default_factory=list)


class Namespaces:
    """Each host a network namespace; a fourth one is the cable between them. Nothing outside of them is touched."""

    def __init__(self, ip: str) -> None:
        self._ip = ip
        self._made: list[str] = []
        self._prefix = f"rockit-{os.getpid()}-"
        self.hosts: dict[str, Host] = {}

    def make(self) -> None:
        """Raises OSError or CalledProcessError where this machine does not let us; then nothing is left."""
        lan = self._add("lan")
        self._do("-n", lan, "link", "add", "lan", "type", "bridge")
        self._do("-n", lan, "link", "set", "lan", "up")
        for number, name in enumerate((*SENDERS, CENTRAL), 1):
            space, address = self._add(name), f"10.77.0.{number}"
            self._do("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", name, "netns", lan)
            self._do("-n", lan, "link", "set", name, "master", "lan", "up")
            self._do("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                self._do("-n", space, "link", "set", link, "up")
            self.hosts[name] = Host(name, address, [self._ip, "netns", "exec", space])

    def cut(self) -> None:
        """Pull the central host's plug."""
        self._do("-n", f"{self._prefix}lan", "link", "set", CENTRAL, "down")

    def mend(self) -> None:
        """Put it back."""
        self._do("-n", f"{self._prefix}lan", "link", "set", CENTRAL, "up")

    def remove(self) -> None:
        """What was made here, and nothing else."""
        while self._made:
            subprocess.run([self._ip, "netns", "delete", self._made.pop()], check=False)  # noqa: S603

    def _add(self, name: str) -> str:
        space = self._prefix + name
        self._do("netns", "add", space)
        self._made.append(space)
        return space

    def _do(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True, capture_output=True)  # noqa: S603


class Example(Demo):
    """The three hosts, each with a folder of its own."""

    def __init__(self, scratch: Path, network: Namespaces | None) -> None:
        super().__init__(scratch)
        self._network = network
        self.hosts = network.hosts if network else {name: Host(name) for name in (*SENDERS, CENTRAL)}
        self.daemons = {name: f"{name}_chiller" for name in SENDERS}
        self._port = 8443 if network else free_port(8443)
        self.central = f"sqlite:///{scratch}/{CENTRAL}/history.sqlite"

    def local(self, name: str) -> str:
        """Where a sender records."""
        return f"sqlite:///{self.scratch}/{name}/history.sqlite"

    def write(self) -> None:
        """Certificate, tokens, registry, and a config for each chiller."""
        for name in self.hosts:
            (self.scratch / name).mkdir()
        folder, central = self.scratch / CENTRAL, self.hosts[CENTRAL]
        openssl = shutil.which("openssl") or "openssl"
        subprocess.run(  # noqa: S603 - a real site asks its own authority
            [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={CENTRAL}", "-addext", f"subjectAltName=IP:{central.address}",
             "-addext", "keyUsage=critical,digitalSignature,keyCertSign",
             "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        tokens = {name: secrets.token_hex(32) for name in SENDERS}
        _secret(folder / "tokens", "".join(f"{token} {SITE}\n" for token in tokens.values()))
        entries = {}
        for number, (name, daemon) in enumerate(self.daemons.items()):
            port = 9001 if self._network else free_port(9001 + number)
            entries[daemon] = {"object_id": daemon, "machine": name, "port": port, "kind": "chiller"}
            _secret(self.scratch / name / "token", tokens[name] + "\n")
            config = self._config(name, daemon, f"https://{central.address}:{self._port}/batch")
            (self.scratch / name / "chiller.json").write_text(json.dumps(config, indent=2))
        machines = {name: [self.hosts[name].address] for name in SENDERS}
        registry = self.scratch / "daemons.json"
        registry.write_text(json.dumps({"machines": machines, "daemons": entries}))
        self.environment["ROCKIT_DAEMONS_PATH"] = str(registry)

    def _config(self, name: str, daemon: str, url: str) -> dict[str, Any]:
        folder, certificate = self.scratch / name, self.scratch / CENTRAL / "cert.pem"
        return {
            "daemon": daemon, "log_name": f"chillerd@{name}", "serial_port": "sim://t257p?ambient=18",
            "query_delay": POLL, "command_interval": 0.02, "state_directory": str(folder),
            "history": {
                "url": self.local(name), "site": SITE,
                "forward": [{"url": url, "token_file": str(folder / "token"), "ca_file": str(certificate)}],
            },
        }  # fmt: skip

    def start_at(self, host: str, *command: str) -> None:
        """Start one of our executables on a host."""
        with open(self.scratch / f"{host}.log", "ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [*self.hosts[host].run, sys.executable, *command], env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._processes.append((host, process))

    def start_central(self) -> None:
        """`rockit history receive`."""
        folder, central = self.scratch / CENTRAL, self.hosts[CENTRAL]
        self.start_at(
            CENTRAL, str(ROOT / "bin" / "rockit"), "history", "receive", self.central,
            "--listen", f"{central.address}:{self._port}", "--token-file", str(folder / "tokens"),
            "--certificate", str(folder / "cert.pem"), "--key", str(folder / "key.pem"),
        )  # fmt: skip

    def start_sender(self, name: str) -> None:
        """`chillerd`."""
        self.start_at(name, str(ROOT / "chillerd"), str(self.scratch / name / "chiller.json"))

    def cut(self) -> None:
        """Nobody reaches the central host any more."""
        if self._network:
            self._network.cut()
            return
        [index] = [index for index, (name, _) in enumerate(self._processes) if name == CENTRAL]
        _, process = self._processes.pop(index)
        process.terminate()
        process.wait(10)

    def mend(self) -> None:
        """It is there again."""
        if self._network:
            self._network.mend()
        else:
            self.start_central()

    def until(self, ready: Callable[[], bool], within: float) -> bool:
        """Wait for it; False when time ran out or we were stopped."""
        deadline = time.monotonic() + within
        while not ready():
            if time.monotonic() > deadline or self.stop.wait(0.2):
                return False
        return True

    def recorded(self, name: str, end: int) -> Rows:
        """What a sender has on its own disk of the time before `end`."""
        return _rows(self.local(name), self.daemons[name], end)

    def arrived(self, name: str, end: int) -> Rows:
        """What the central host has of it."""
        return _rows(self.central, self.daemons[name], end)


def _secret(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def _rows(url: str, device: str, end: int) -> Rows:
    if not Path(url.removeprefix("sqlite:///")).exists():
        return {}
    database = Database(url)
    try:
        with Reader(database).view() as view:
            return {
                series: list(view.samples(number, 0, end).rows())
                for number, series in view.series().items()
                if series.device == device
            }
    except StoreError:  # its tables are not made yet
        return {}
    finally:
        database.close()


def _count(rows: Rows) -> int:
    return sum(map(len, rows.values()))


def run(example: Example, seconds: float) -> int:
    """All of it; the exit code."""
    example.write()
    example.start_central()
    for name in SENDERS:
        example.start_sender(name)
    now = wall_clock
    if not example.wait_for(lambda: all(_count(example.arrived(name, now())) for name in SENDERS), "the three hosts"):
        return 1
    say("both forward to the central host")
    if example.stop.wait(seconds / 2):
        return 1

    example.cut()
    gone = now()
    say("the central host is cut off")

    def went_on() -> bool:
        return all(_newest(example.recorded(name, now())) > gone + 3000 * POLL for name in SENDERS)

    if example.stop.wait(seconds / 2) or not example.until(went_on, PATIENCE):
        return 1
    example.mend()
    back = now()
    meanwhile = {name: _count(example.recorded(name, back)) - _count(example.recorded(name, gone)) for name in SENDERS}
    say("it is back")

    def complete() -> bool:
        # A poll is written when it is over: what was asked before `back` is there once a later poll is.
        return all(
            _newest(example.recorded(name, now())) > back + 3000 * POLL
            and example.arrived(name, back) == example.recorded(name, back)
            for name in SENDERS
        )

    if not example.until(complete, PATIENCE) and example.stop.is_set():
        return 1
    say("")
    say(f"{'DEVICE':<16}{'RECORDED':>10}{'WHILE CUT OFF':>16}{'CENTRAL':>10}")
    equal = True
    for name in SENDERS:
        here, there = example.recorded(name, back), example.arrived(name, back)
        equal = equal and here == there
        say(f"{example.daemons[name]:<16}{_count(here):>10}{meanwhile[name]:>16}{_count(there):>10}")
    say("")
    say("every sample is there, with its time, value and quality" if equal else "they are NOT the same")
    return 0 if equal else 1


def _newest(rows: Rows) -> int:
    return max((times[-1][0] for times in rows.values() if times), default=0)


def _network() -> Namespaces | None:
    ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if os.geteuid() or ip is None:
        return None
    network = Namespaces(ip)
    try:
        network.make()
    except (OSError, subprocess.CalledProcessError) as error:
        network.remove()
        say(f"no network namespaces: {getattr(error, 'stderr', b'').decode().strip() or error}")
        return None
    return network


def main() -> int:
    """Run the example; exit code 0 when everything arrived."""
    text = os.environ.get("EXAMPLE_SECONDS", "24")
    if sys.argv[1:] not in ([], ["--processes"]) or not text.replace(".", "", 1).isdecimal():
        say(f"{__doc__}\nEXAMPLE_SECONDS is a number of seconds; the only option is --processes")
        return USAGE_ERROR
    stopped = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True
        if example is not None:
            example.stop.set()

    example: Example | None = None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    network = None if sys.argv[1:] else _network()
    with tempfile.TemporaryDirectory(prefix="rockit-three-hosts-") as folder:
        example = Example(Path(folder), network)
        try:
            if network is None:
                say("three hosts, as processes on this machine")
            else:
                say("three hosts, as network namespaces: " + ", ".join(
                    f"{host.name} {host.address}" for host in network.hosts.values()
                ))  # fmt: skip
            return 1 if stopped else run(example, float(text))
        finally:
            example.end()
            if network is not None:
                network.remove()
            say("example: stopped, nothing left behind")


if __name__ == "__main__":
    sys.exit(main())
