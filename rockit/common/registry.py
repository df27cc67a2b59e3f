# SPDX-License-Identifier: GPL-3.0-or-later
"""The registry: daemon names -> host, port, object id. A data file, read when first asked and when it has changed.

`ROCKIT_DAEMONS_PATH` names it, else `/etc/rockit/daemons.json`, else the one that comes with the package.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec

from rockit.common import config
from rockit.common.errors import ConfigError

T = TypeVar("T")
PACKAGED = Path(__file__).with_name("daemons.json")
SYSTEM = Path("/etc/rockit/daemons.json")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one daemon listens. `timeout` is what a client waits for an answer, s; `kind` picks the typed client.

    `pyro` is 4 for a daemon of rockit that was not ported: it needs the extra `pyro4`.
    """

    object_id: Annotated[str, msgspec.Meta(min_length=1)]
    machine: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 5.0
    kind: str | None = None
    pyro: Literal[4, 5] = 5


class Registry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All machines (name -> addresses, the first is where daemons listen) and all daemons of a site."""

    machines: dict[str, Annotated[list[str], msgspec.Meta(min_length=1)]]
    daemons: dict[str, Entry]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Daemons on machines that are not there, and two daemons that would share a port."""
        taken: dict[tuple[str, int], str] = {}
        for name, entry in self.daemons.items():
            if entry.machine not in self.machines:
                yield f"daemons.{name}.machine", f"{entry.machine} is not one of the machines"
                continue
            other = taken.setdefault((entry.machine, entry.port), name)
            if other != name:
                yield f"daemons.{name}.port", f"{entry.port} on {entry.machine} is already {other}'s"


class Daemon(Generic[T]):
    """One daemon's address; `connect()` gives a client for it."""

    def __init__(self, name: str, entry: Entry, host: str) -> None:
        self.name = name
        self.object_id = entry.object_id
        self.machine = entry.machine
        self.host = host
        self.port = entry.port
        self.timeout = entry.timeout
        self.kind = entry.kind
        self.pyro = entry.pyro

    @property
    def uri(self) -> str:
        """The Pyro URI, for example `PYRO:clasp_chiller_daemon@127.0.0.1:9042`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"PYRO:{self.object_id}@{host}:{self.port}"

    def connect(self, timeout: float | None = None) -> T:
        """A client for this daemon, to be used in a `with`. Connects when first called.

        `timeout`: seconds to wait for each answer; default: the registry's. Raises nothing by itself; calls of the
        client raise Unreachable or CommandError.
        """
        from rockit.common.remote.client import client_for  # Pyro5 is heavy, and a registry look-up must not be

        client: T = client_for(self, self.timeout if timeout is None else timeout)
        return client

    def __repr__(self) -> str:
        return f"<daemon {self.name} at {self.uri}>"


@functools.lru_cache(maxsize=4)
def _load(path: Path, _stamp: tuple[int, ...]) -> Registry:
    return config.load(path, Registry)


def path() -> Path:
    """The registry file that is in force."""
    given = os.environ.get("ROCKIT_DAEMONS_PATH")
    if given:
        return Path(given)
    return SYSTEM if SYSTEM.exists() else PACKAGED


def registry() -> Registry:
    """The registry in force. Raises ConfigError when its file is missing or wrong."""
    where = path()
    try:
        found = where.stat()
    except OSError:
        return _load(where, ())
    return _load(where, (found.st_mtime_ns, found.st_size, found.st_ino))


def find(name: str) -> Daemon[Any]:
    """The daemon of that name. Raises ConfigError, with the nearest names, when the registry has none."""
    known = registry()
    entry = known.daemons.get(name)
    if entry is None:
        raise ConfigError(str(path()), [unknown("daemon", name, known.daemons)])
    return Daemon(name, entry, known.machines[entry.machine][0])


def unknown(what: str, name: str, known: dict[str, Any]) -> str:
    """The sentence for a name that the registry does not have."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; add it to {path()}"
    return f"unknown {what} name {name!r}{hint}"


def addresses(machines: list[str]) -> set[str]:
    """All addresses of those machines. Raises ConfigError for an unknown name."""
    known = registry().machines
    missing = [name for name in machines if name not in known]
    if missing:
        raise ConfigError(str(path()), [unknown("machine", name, known) for name in missing])
    return {address for name in machines for address in known[name]}
