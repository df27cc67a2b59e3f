# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a daemon: config, lock, state folder, device, remote object, signals, and an end within three seconds."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol, TypeVar

from rockit.common import VERSION, registry
from rockit.common import config as configs
from rockit.common.daemonconfig import DaemonConfig, state_directory
from rockit.common.errors import CONFIG_ERROR, USAGE_ERROR, ConfigError, StartError
from rockit.common.launch import open_streams
from rockit.common.lock import InstanceLock
from rockit.common.log import Log
from rockit.common.remote.server import Server
from rockit.common.sdnotify import Notifier

C = TypeVar("C", bound=DaemonConfig)
GRACE = 2.5
"""How long the device has to reach its safe state when the daemon is told to stop, s."""
_ENDS = {signal.SIGTERM, signal.SIGINT}
_SIGNALS = {*_ENDS, signal.SIGHUP}
OBSERVATORY_LOG = "observatory_log"
"""Name in the registry of the daemon that keeps the observatory's log, where there is one."""


@dataclass(frozen=True)
class Context:
    """What a device gets from its daemon. `stop` is set when the daemon ends; `beat` feeds the watchdog."""

    config_name: str
    state: Path
    stop: threading.Event
    log: Log
    beat: Callable[[], None]


class Device(Protocol):
    """What a daemon runs."""

    @property
    def service(self) -> object:
        """The remote object."""
        ...

    def start(self) -> None:
        """Begin to poll."""
        ...

    def unsaved(self) -> str:
        """What a new start would not know of, as a sentence; empty where all is saved."""
        ...

    def end(self, deadline: float, *, leave: bool) -> bool:
        """`stop` is set: be in the safe state by `deadline` (monotonic). False when the port hangs.

        `leave`: the daemon is back in a moment, and the device stays as it is.
        """
        ...


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE_ERROR, f"{self.prog}: {message}\n")


def main(
    name: str,
    cls: type[C],
    build: Callable[[C, Context, Callable[[], dict[str, int]]], Device],
    arguments: list[str] | None = None,
) -> NoReturn:
    """Entry point of a daemon: parse, check, run, exit."""
    open_streams()
    parser = _Parser(prog=name, description=f"{name}: owns one device's port and serves it as a remote object.")
    parser.add_argument("config_file", nargs="?", metavar="CONFIG", help=f"config file, or its name in /etc/{name}")
    parser.add_argument("-c", "--config", help="the same, as an option")
    parser.add_argument("--check", metavar="FILE", help="only check this config file; exit 0 or 78")
    parser.add_argument("--version", action="version", version=f"{name} {VERSION}")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            _check(options.check, cls)
            _tell(f"{options.check}: valid")
            sys.exit(0)
        positional = options.config_file is not None
        path = configs.find(name, options.config_file or options.config, positional=positional)
        sys.exit(_run(name, path, configs.load(path, cls), build))
    except ConfigError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(CONFIG_ERROR)
    except StartError as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def _check(path: str, cls: type[C]) -> None:
    """Raises ConfigError for what keeps the daemon from starting, and for what it would only miss."""
    if found := [f"{key}: {text}" for key, text in configs.load(path, cls).findings()]:
        raise ConfigError(path, found)


def _tell(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201
    except OSError:
        os._exit(1)  # nobody reads it, and Python would try once more


def _run(name: str, path: Path, config: C, build: Callable[[C, Context, Callable[[], dict[str, int]]], Device]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # in all threads
    log = Log(config.log_name or config.daemon, journal="JOURNAL_STREAM" in os.environ)
    stop = threading.Event()
    notifier = Notifier()
    address = config.address()
    folder = state_directory(config)
    lock = InstanceLock(folder / "lock", config.daemon)
    started = time.monotonic()
    servers: list[Server] = []

    def counters() -> dict[str, int]:
        served = {**servers[0].counters, "clients": servers[0].clients} if servers else {}
        return {"uptime": int(time.monotonic() - started), **served, **log.counters}

    try:
        device = build(config, Context(path.stem, folder, stop, log, notifier.beat), counters)
    except OSError as error:
        raise StartError(f"cannot read the state: {error}; correct its owner and mode, or move it away") from None
    server = Server(device.service, address.object_id, address.host, address.port, log)
    servers.append(server)

    if OBSERVATORY_LOG in registry.registry().daemons:
        log.forward_to(registry.find(OBSERVATORY_LOG))
    log.info(f"{name} {VERSION} serves {address.uri} with {path}")
    device.start()
    broken = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, log, broken), name="serve", daemon=True)
    serving.start()
    notifier.ready(f"serving {address.uri}")
    again = _wait_for_signals(lambda: _why_not_anew(path, config, device), log)
    stop.set()
    server.stop()
    serving.join(1.0)
    if again:
        notifier.reloading()
        device.end(time.monotonic() + GRACE, leave=True)
        _start_anew(log)
    notifier.stopping()
    clean = device.end(time.monotonic() + GRACE, leave=False)
    log.info("stopped" if clean else "stopped; the port hung, and the device was left as it is")
    lock.release()
    sys.stdout.flush()
    # A thread that is stuck in a port must not keep the process: everything of ours is closed and written by now.
    os._exit(1 if broken.is_set() else 0)


def _serve(server: Server, log: Log, broken: threading.Event) -> None:
    """In a thread of its own, so that the main one can wait for signals."""
    try:
        server.run()
    except Exception:
        log.exception("the remote object ended")
        broken.set()
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_signals(why_not: Callable[[], str], log: Log) -> bool:
    """Until the daemon shall end: False; or start anew: True. `why_not` says what forbids that.

    Signals are waited for and not handled: a handler may interrupt anything, itself included, and must not take a lock.
    """
    # A terminal that is closed says the same as an administrator who has changed the config.
    hung_up = sys.stdin is not None and sys.stdin.isatty()
    while signal.sigwait(_SIGNALS) == signal.SIGHUP and not hung_up:
        why = why_not()
        if not why:
            return True
        log.error(f"the old config stays in force: {why}")
    return False


def _why_not_anew(path: Path, config: C, device: Device) -> str:
    try:
        new = configs.load(path, type(config))
        old = (config.daemon, config.address().uri, config.state_directory)
        if (new.daemon, new.address().uri, new.state_directory) != old:
            return "another daemon, address or state_directory needs a restart"
        return device.unsaved()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the daemon goes on
        return str(error) if isinstance(error, ConfigError) else f"it cannot be checked: {error!r}"


def _start_anew(log: Log) -> None:
    """The same process once more from its beginning, with the config as it is now. Ports, locks and sockets close.

    Returns where the daemon was told to end as well: that counts more, whenever it comes. Signals stay blocked across
    the new start, and are heard when it can do what they ask for.
    """
    if signal.sigpending() & _ENDS:
        return
    log.info("the config is read anew")
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (our own arguments)
    except OSError as error:
        log.error(f"cannot start anew: {error}; stopping")
