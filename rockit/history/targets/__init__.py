# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history is forwarded to, by the scheme of a URL. A kind is imported when one of that kind is made."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl

from rockit.history.targets.address import Address

if TYPE_CHECKING:
    from rockit.history.model import Batch

KINDS = {
    "postgresql+psycopg": "postgresql+psycopg://rockit@HOST/rockit?sslmode=verify-full&sslrootcert=/etc/rockit/ca.pem",
    "https": "https://HOST:8443/batch",
    "http": "http://127.0.0.1:8080/batch",
    "influx+http": "influx+http://127.0.0.1:8428/write?db=rockit",
    "influx+https": "influx+https://HOST:8086/api/v2/write?org=ORG&bucket=rockit",
    "mqtt": "mqtt://127.0.0.1:1883",
    "mqtts": "mqtts://USER@HOST:8883",
}
"""Scheme -> an example."""
_NEEDS = {"postgresql+psycopg": ("psycopg", "postgresql"), "mqtt": ("paho", "mqtt"), "mqtts": ("paho", "mqtt")}
"""Scheme -> the package that it needs, and the extra that brings it."""


class TargetFailed(Exception):
    """The batch is not there, as far as we know: try again later. The sentence says where and why."""


class TargetRefused(TargetFailed):
    """The other side says that it will never take this batch, or not from us. Somebody must look at it."""


class Options(Protocol):
    """What a target is told beside its URL."""

    @property
    def token_file(self) -> str | None:
        """A file with a token or a password."""

    @property
    def ca_file(self) -> str | None:
        """The authority that signed the other side's certificate; None: those that this machine trusts."""


class Target(Protocol):
    """Where batches are sent to, by one thread.

    `name` is the URL without secrets: it stands in logs, and the cursor is kept under it. `loses`: a copy that may lose
    what it confirmed, when it is killed. `live`: for values of now only; nothing waits for it.
    """

    @property
    def name(self) -> str:
        """The URL without secrets."""

    @property
    def loses(self) -> bool:
        """Whether it may lose what it confirmed."""

    @property
    def live(self) -> bool:
        """Whether it takes values of now only."""

    def send(self, batch: Batch) -> None:
        """Return when the other side has confirmed `batch`. Raises TargetFailed, within some ten seconds."""

    def restarted(self) -> bool:
        """Whether, since this was asked last, the connection was opened anew: what it confirmed may be lost."""

    def close(self) -> None:
        """End, soon, whatever `send` waits for. From any thread, and more than once."""


def problems(url: str, token_file: str | None = None) -> Iterator[str]:
    """What is wrong with a target's URL. Looks at nothing but the words, and at what is installed."""
    try:
        address = Address.of(url)
    except ValueError as error:
        yield str(error)
        return
    scheme = address.scheme
    if scheme not in KINDS:
        yield _unknown(scheme)
        return
    package, extra = _NEEDS.get(scheme, ("", ""))
    if package and find_spec(package) is None:
        yield f"{scheme} needs {package}, which is not installed here: pip install 'rockit-plant[{extra}]'"
    if scheme == "postgresql+psycopg":
        yield from _postgres_problems(address, token_file)
        return
    if not address.host:
        yield f"{address.name} names no host; write {KINDS[scheme]}"
    if scheme in ("http", "https"):
        yield from _receiver_problems(address, token_file)
    elif scheme in ("influx+http", "influx+https"):
        yield from _influx_problems(address, token_file)
    else:
        yield from _mqtt_problems(address, token_file)


def create(url: str, options: Options) -> Target:
    """The target of a URL that has no problems; connects to nothing yet. Raises ValueError for one that has."""
    address = Address.of(url)
    if address.scheme == "postgresql+psycopg":
        from rockit.history.targets.postgres import PostgresTarget

        return PostgresTarget(url)
    if address.scheme in ("http", "https"):
        from rockit.history.targets.https import ReceiverTarget

        return ReceiverTarget(address, options.token_file, options.ca_file)
    if address.scheme in ("influx+http", "influx+https"):
        from rockit.history.targets.influx import InfluxTarget

        return InfluxTarget(address, options.token_file, options.ca_file)
    if address.scheme in ("mqtt", "mqtts"):
        from rockit.history.targets.mqtt import MqttTarget

        return MqttTarget(address, options.token_file, options.ca_file)
    raise ValueError(_unknown(address.scheme))


def _unknown(scheme: str) -> str:
    near = get_close_matches(scheme, KINDS, n=1)
    example = f"; such as {KINDS[near[0]]}" if near else ""
    return f"unknown kind of target {scheme}://; there is {', '.join(KINDS)}{example}"


def _postgres_problems(address: Address, token_file: str | None) -> Iterator[str]:
    if not address.path.strip("/"):
        yield f"{address.name} names no database; write {KINDS[address.scheme]}"
    if token_file is not None:
        yield "token_file means nothing to PostgreSQL; its password belongs in ~/.pgpass"
    yield from unprotected(address)


def unprotected(address: Address) -> Iterator[str]:
    """Why somebody on the way to a PostgreSQL server could read along, or be that server."""
    said = parse_qsl(address.query)
    hosts = [value for key, value in said if key in ("host", "hostaddr")] or [address.host]
    if all(not host or host.startswith("/") or Address("", host=host.partition(":")[0]).loopback for host in hosts):
        return
    mode = dict(said).get("sslmode")
    if mode not in ("verify-full", "disable"):
        which = "says no sslmode" if mode is None else f"says sslmode={mode}, which does not check whom it talks to"
        yield (
            f"{address.name} {which}; write ?sslmode=verify-full&sslrootcert=/etc/rockit/ca.pem,"
            " or sslmode=disable in a network that you trust"
        )
    elif mode == "verify-full" and "sslrootcert" not in dict(said):
        yield f"{address.name} does not say who signed the server's certificate; add &sslrootcert=/etc/rockit/ca.pem"


def _receiver_problems(address: Address, token_file: str | None) -> Iterator[str]:
    if address.user or address.password:
        yield f"{address.name}: a receiver takes a token and no password; name the file with it as token_file"
    if token_file is None:
        yield f"{address.name} needs a token_file, with the token that the receiver knows this site by"
    if address.scheme == "http" and not address.loopback:
        yield f"{address.name} would send the token in clear; write https://"


def _influx_problems(address: Address, token_file: str | None) -> Iterator[str]:
    secret = address.password is not None or token_file is not None or address.secret_query
    if address.scheme == "influx+http" and secret and not address.loopback:
        yield f"{address.name} would send its password or token in clear; write influx+https://"
    precision = dict(parse_qsl(address.query)).get("precision", "ms")
    if precision != "ms":
        yield f"{address.name} says precision={precision}; times are sent in ms: leave it out"


def _mqtt_problems(address: Address, token_file: str | None) -> Iterator[str]:
    if address.path.strip("/"):
        yield f"{address.name} has a path; the topics are rockit/SITE/DEVICE/KEY: write {KINDS[address.scheme]}"
    if address.query not in ("", "insecure=1"):
        yield f"{address.name} says ?{address.shown_query}; the only word that is known there is insecure=1"
    secret = address.password is not None or token_file is not None
    if address.scheme == "mqtt" and secret and not address.loopback and address.query != "insecure=1":
        yield (
            f"{address.name} would send its password in clear; write mqtts://, or add ?insecure=1 in a network that you"
            " trust"
        )
