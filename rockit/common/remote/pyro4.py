# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for daemons that still speak Pyro 4: rockit's own powerd, domealertd and environmentd (decision 0011).

Pyro 4 and Pyro 5 have the same addresses and the same payloads, and refuse each other's message headers.
"""

# ruff: noqa: SLF001 (Pyro's proxy marks what is for users of it with an underscore)
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rockit.common.errors import Code, CommandError, Unreachable, describe_code
from rockit.common.remote.client import UntypedClient

if TYPE_CHECKING:
    from rockit.common.registry import Daemon


class LegacyClient(UntypedClient):
    """As UntypedClient, by Pyro 4. Raises Unreachable when no daemon answers, or the library is not installed."""

    def __init__(self, daemon: Daemon[Any], timeout: float) -> None:
        super().__init__(daemon, timeout)
        try:
            import Pyro4
        except ImportError:
            raise Unreachable(f"cannot reach {daemon.name}: {NEEDED}") from None
        Pyro4.config.SERIALIZER = "serpent"  # PYRO_SERIALIZER in the environment could name one that runs code
        Pyro4.config.SERIALIZERS_ACCEPTED = {"serpent"}
        self._pyro4 = Pyro4
        self._old = Pyro4.Proxy(daemon.uri)

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._old._pyroRelease()

    def call(self, method: str, *args: Any, timeout: float | None = None, retry: bool = True) -> Any:
        """Call any method of the remote object. Raises Unreachable or CommandError."""
        wait = self.timeout if timeout is None else timeout
        errors = self._pyro4.errors
        with self._lock:
            self._old._pyroTimeout = wait or None
            try:
                try:
                    return self._old._pyroInvoke(method, args, {})
                except errors.ConnectionClosedError:
                    if not retry:
                        raise
                return self._old._pyroInvoke(method, args, {})
            except errors.CommunicationError as error:
                raise self._unreachable(error, wait, command=not retry) from None
            except Exception as error:  # noqa: BLE001 - the daemon's word, and of whatever type it likes
                raise CommandError(Code.FAILED, f"{method}: {error}") from None

    def command(self, method: str, *args: Any) -> int:
        """Call a method that changes something: its code. There are no sentences in Pyro 4's daemons."""
        code = self.call(method, *args, retry=False)
        if isinstance(code, bool) or not isinstance(code, int):
            raise CommandError(Code.FAILED, f"{method}: answered {code!r}, which is not a code")
        self.message = describe_code(code)
        return code


NEEDED = "the registry says that it speaks Pyro 4, which needs pip install 'rockit-plant[pyro4]'"
