# SPDX-License-Identifier: GPL-3.0-or-later
"""The client side: typed objects for scripts and command lines, with errors that say which of three things failed."""

# ruff: noqa: SLF001 (Pyro's proxy marks what is for users of it with an underscore)
from __future__ import annotations

import select
import threading
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import Pyro5.client
import Pyro5.errors
from Pyro5.callcontext import current_context

from rockit.common.errors import Code, CommandError, Unreachable, describe_code
from rockit.common.remote import wire

if TYPE_CHECKING:
    from rockit.common.registry import Daemon

COMMAND_MARGIN = 5.0
"""A command may wait for the device; the client gives the daemon this much longer than for a question, s."""
LEAST_FOR_COMMANDS = 10.0
"""Daemons answer commands within eight, s."""
PATIENCE = 30.0
"""What looks into years of history may take so long on a slow machine, s."""
UNSURE = "; whether it was done is not known, look at the status"


class Client:
    """A connection to one daemon, for use in a `with` and from any thread (one call at a time).

    A question whose connection ends before the answer is asked once more; a command never is. Raises Unreachable when
    no daemon answers, CommandError for everything that the daemon itself says. `timeout` is in s; 0: wait for ever.
    """

    def __init__(self, daemon: Daemon[Any], timeout: float) -> None:
        wire.prepare()
        self.daemon = daemon
        self.timeout = timeout
        self.message = ""
        """The sentence that came with the last command's code."""
        self._lock = threading.Lock()
        self._proxy = Pyro5.client.Proxy(daemon.uri)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._proxy._pyroClaimOwnership()
            self._proxy._pyroRelease()

    def call(self, method: str, *args: Any, timeout: float | None = None, retry: bool = True) -> Any:
        """Call any method of the remote object. Raises Unreachable or CommandError."""
        wait = self.timeout if timeout is None else timeout
        with self._lock:
            self._proxy._pyroClaimOwnership()
            self._proxy._pyroTimeout = wait or None
            self._leave_closed_connection()
            try:
                try:
                    return self._invoke(method, args)
                except Pyro5.errors.ConnectionClosedError:
                    if not retry:
                        raise
                return self._invoke(method, args)
            except Pyro5.errors.CommunicationError as error:
                raise self._unreachable(error, wait, command=not retry) from None

    def _leave_closed_connection(self) -> None:
        """When the daemon was restarted meanwhile, the next call opens a new connection, even if it is a command."""
        if self._proxy._pyroConnection is None:
            return
        # Pyro closes connections whose calls failed, so between calls there is nothing to read but the end.
        poll = select.poll()
        poll.register(self._proxy._pyroConnection.sock, select.POLLIN)
        if poll.poll(0):
            self._proxy._pyroRelease()

    def _invoke(self, method: str, args: tuple[Any, ...]) -> Any:
        try:
            self._proxy._pyroBind()
        except Pyro5.errors.CommunicationError:
            raise
        except Exception as error:  # noqa: BLE001
            raise Pyro5.errors.ProtocolError(f"invalid data: {error!r}") from None
        try:
            return self._proxy._pyroInvoke(method, args, {})
        except CommandError as error:
            raise CommandError(error.code, error.message) from None
        except (Pyro5.errors.ConnectionClosedError, Pyro5.errors.TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001
            # Pyro sends what the remote method raised as that type; here it is the daemon's word, not our bug. So is an
            # answer that cannot be read, which Pyro counts among the errors of communication: somebody did answer.
            raise CommandError(Code.FAILED, f"{method}: {error}") from None

    def command(self, method: str, *args: Any) -> int:
        """Call a method that changes something: its code; `message` then holds its sentence."""
        wait = self.timeout and max(self.timeout + COMMAND_MARGIN, LEAST_FOR_COMMANDS)
        code = self.call(method, *args, timeout=wait, retry=False)
        if not isinstance(code, int):
            raise CommandError(Code.FAILED, f"{method}: answered {code!r}, which is not a code")
        code = int(code)
        sentence = bytes(current_context.response_annotations.get(wire.MESSAGE_ANNOTATION, b""))
        self.message = sentence.decode(errors="replace") or describe_code(code)
        return code

    def _unreachable(self, error: Exception, wait: float, *, command: bool) -> Unreachable:
        name, where = self.daemon.name, f"{self.daemon.host}:{self.daemon.port}"
        text, cause = str(error), error.__cause__
        if isinstance(error, Pyro5.errors.TimeoutError) or isinstance(cause, TimeoutError):
            why = f"no answer within {wait:g} s; the daemon hangs, or the network drops packets"
            why += UNSURE if command else ""
        elif isinstance(error, Pyro5.errors.ConnectionClosedError):
            why = "the connection ended before the answer"
            why += UNSURE if command else ""
        elif "unknown object" in text:
            why = "another daemon answers there; check the port and object id in the registry"
        elif "connections of this daemon are in use" in text:
            why = text.partition("rejected: ")[2] or text
        elif "protocol version" in text or "invalid data" in text:
            why = f"what answers there does not speak Pyro {self.daemon.pyro}"
            why += f'; Pyro {9 - self.daemon.pyro}? Then put "pyro": {9 - self.daemon.pyro} into its registry entry'
        elif isinstance(cause, ConnectionRefusedError):
            why = "nothing listens there; is the daemon running?"
        elif isinstance(cause, OSError) and cause.strerror:
            why = cause.strerror.lower()
        else:
            why = text
        return Unreachable(f"cannot reach {name} at {where}: {why}")

    def report_status(self) -> Any:
        """The device's state now, as a dict; what is not known now is absent."""
        return self.call("report_status")

    def last_measurement(self) -> dict[str, Any]:
        """Every measured key, numeric, each with `<key>_valid`."""
        return self._dict("last_measurement")

    def measurement_sensors(self) -> dict[str, dict[str, str]]:
        """Key -> label and units of every measured key."""
        return self._dict("measurement_sensors")

    def describe(self) -> dict[str, Any]:
        """Kind, driver, identity, version, methods with signatures, measurements with limits and ages."""
        return self._dict("describe")

    def counters(self) -> dict[str, int]:
        """Counters since the daemon's start."""
        return self._dict("counters")

    def history(
        self,
        keys: list[str] | None = None,
        start: str | float | None = None,
        end: str | float | None = None,
        points: int | None = None,
    ) -> dict[str, Any]:
        """What was recorded, see the remote method; without `points` a page of samples, which goes on at `next`."""
        return self._dict("history", keys, start, end, points, timeout=self.timeout and max(self.timeout, PATIENCE))

    def history_blocks(
        self, keys: list[str] | None = None, start: str | float | None = None, end: str | float | None = None
    ) -> dict[str, Any]:
        """A page of packed samples, for `rockit.history.pages`."""
        return self._dict("history_blocks", keys, start, end, timeout=self.timeout and max(self.timeout, PATIENCE))

    def alarms(self) -> list[dict[str, Any]]:
        """All alarms that are not normal, with state, priority, text and times."""
        alarms: list[dict[str, Any]] = self.call("alarms")
        return alarms

    def acknowledge(self, name: str, comment: str = "") -> int:
        """Acknowledge an alarm; returns a code."""
        return self.command("acknowledge", name, comment)

    def shelve(self, name: str, seconds: float, comment: str = "") -> int:
        """Silence an alarm for a time (0: no longer); returns a code."""
        return self.command("shelve", name, seconds, comment)

    def _dict(self, method: str, *args: Any, timeout: float | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = self.call(method, *args, timeout=timeout)
        return answer


class UntypedClient(Client):
    """For a daemon whose methods are not known here: every name is a method, `set_…` are commands with a code."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def method(*args: Any) -> Any:
            # Not asked twice: that a method of a daemon that is not ours changes nothing, nobody told us.
            return self.command(name, *args) if name.startswith("set_") else self.call(name, *args, retry=False)

        return method


def client_for(daemon: Daemon[Any], timeout: float) -> Any:
    """The client for the daemon's kind, class `Client` in `rockit.<kind>.client`; without a kind, an untyped one.

    Raises Unreachable for a daemon that speaks Pyro 4 where that is not installed.
    """
    if daemon.pyro == 4:
        from rockit.common.remote.pyro4 import LegacyClient  # only where somebody has such a daemon

        return LegacyClient(daemon, timeout)
    if daemon.kind is None:
        return UntypedClient(daemon, timeout)
    try:
        typed = import_module(f"rockit.{daemon.kind}.client").Client
    except ModuleNotFoundError:
        return UntypedClient(daemon, timeout)
    return typed(daemon, timeout)
