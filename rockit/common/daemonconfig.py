# SPDX-License-Identifier: GPL-3.0-or-later
"""The config keys that every daemon has."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from socket import gethostname
from typing import Annotated

import msgspec

from rockit.common import registry
from rockit.common.errors import ConfigError
from rockit.common.who import plain_address


def host_name() -> str:
    """The name of this machine without its domain."""
    return gethostname().partition(".")[0] or "localhost"


Seconds = Annotated[float, msgspec.Meta(ge=0, le=86400)]


class Forward(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One place that a history is forwarded to."""

    url: Annotated[str, msgspec.Meta(min_length=1)]
    token_file: str | None = None
    """A file with the token, or password, that the other side knows us by."""
    ca_file: str | None = None
    """Who signed the other side's certificate; without it, whom this machine trusts."""


class HistoryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where what is measured is kept, for how long, and where it is sent."""

    url: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    site: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = msgspec.field(default_factory=host_name)
    keep_raw_days: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    forward: list[Forward] = []


class DaemonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who a daemon is, who may command it, where it keeps its state."""

    daemon: str
    log_name: str
    control_machines: list[str] | None = None
    query_delay: Seconds = 10.0
    state_directory: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    history: HistoryConfig | msgspec.UnsetType | None = msgspec.UNSET
    """Absent: a file in the state directory; null: none."""
    # Reserved keys: they come with later versions. Only null is taken, so that nobody relies on what is not there.
    alarms: None = None
    notify: None = None
    metrics: None = None
    tls: None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Names that the registry does not know."""
        yield from unknown_daemon("daemon", self.daemon)
        if self.state_directory is not None and not self.state_directory.startswith("/"):
            yield "state_directory", f"must begin with /, not be {self.state_directory!r}"
        for index, name in enumerate(self.control_machines or []):
            known = registry.registry().machines
            if name not in known:
                yield f"control_machines[{index}]", registry.unknown("machine", name, known)

    def findings(self) -> Iterator[tuple[str, str]]:
        """What this machine lacks just now of what the config names: (path, sentence). For `--check` alone.

        A daemon starts all the same: what it controls does not wait for a disk that is not mounted yet.
        """
        yield from ()

    def address(self) -> registry.Daemon[object]:
        """Where this daemon listens, by the registry."""
        return registry.find(self.daemon)

    def allowed(self) -> frozenset[str]:
        """Addresses that may give commands: those of `control_machines`; without that key, this machine alone.

        Who calls a daemon of the same machine at an outer address of it comes from that address and not from 127.0.0.1.
        """
        if self.control_machines is None:
            addresses = {"127.0.0.1", "::1", *registry.addresses([self.address().machine])}
        else:
            addresses = registry.addresses(self.control_machines)
        return frozenset(plain_address(address) for address in addresses)


def unknown_daemon(key: str, name: str | None) -> Iterator[tuple[str, str]]:
    """The problem with a daemon's name, if there is one."""
    if name is None:
        return
    known = registry.registry().daemons
    if name not in known:
        yield key, registry.unknown("daemon", name, known)
    elif known[name].pyro == 4 and find_spec("Pyro4") is None:
        yield key, f"{name} speaks Pyro 4, which is not installed here: pip install 'rockit-plant[pyro4]'"


def port_problems(key: str, port: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with the name of a port: a device file, or a URL of a kind that can be opened."""
    scheme, found, rest = (port or "").partition("://")
    if not found:
        return
    if scheme not in ("sim", "socket", "rfc2217", "spy"):
        yield key, f"unknown kind of port {scheme}://; there is /dev/…, socket://, rfc2217://, spy:// and sim://"
    elif scheme in ("socket", "rfc2217"):
        host, _, number = rest.partition("?")[0].rstrip("/").rpartition(":")
        if not host or not number.isdecimal() or not 0 < int(number) < 65536:
            yield key, f"must be {scheme}://HOST:PORT, not {port!r}"


def state_directory(config: DaemonConfig) -> Path:
    """Where this daemon keeps what must survive: as configured, else `/var/lib/rockit/<daemon>`.

    A user who may not write there (a run from a clone) gets a folder of their own. Raises ConfigError when the
    configured folder cannot be made.
    """
    import os

    if config.state_directory is not None:
        wanted = [Path(config.state_directory)]
    else:
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        wanted = [Path("/var/lib/rockit") / config.daemon, Path(home) / "rockit" / config.daemon]
    why = ""
    for folder in wanted:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = f"{folder} cannot be made: {error.strerror}"
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        why = f"{folder} is not writable by user id {os.geteuid()}"
    raise ConfigError("state_directory", [f"{why}; name a folder that is, or correct its owner"])
