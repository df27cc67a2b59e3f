# SPDX-License-Identifier: GPL-3.0-or-later
"""Marks for the methods of a remote object, and what follows from a mark: exposure, access, error mapping.

`@read` methods are open to all and raise CommandError; `@operate` methods are for control machines only and
return an integer code, with its sentence in an annotation of the reply, so that a plain Pyro proxy gets the code
and our client both.
"""

# ruff: noqa: SLF001 (Pyro's mark)
from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from Pyro5.callcontext import current_context

from rockit.common.errors import Code, CommandError
from rockit.common.log import Log
from rockit.common.remote.wire import MESSAGE_ANNOTATION

P = ParamSpec("P")
R = TypeVar("R")
_QUOTED = re.compile(r"(: |-> )'([^']*)'")  # annotations are kept as strings and shown in quotes


class Service(Protocol):
    """What the marks need of the object that they stand on."""

    log: Log
    allowed: frozenset[str]
    """Addresses that may operate."""

    def commanded(self, name: str, what: str, who: str, code: int, message: str) -> None:
        """A command of a machine that may give it was carried out, or was not: `what` has its arguments."""
        ...


S = TypeVar("S", bound=Service)


def caller() -> str:
    """The address of the machine that is calling; `local` outside a remote call."""
    # Not Pyro's client_sock_addr: that is None, which would mean local, when the peer resets in the right moment.
    connection = current_context.client
    return "local" if connection is None else str(getattr(connection, "peer", "unknown"))


def _abandoned() -> bool:
    """Whether the caller has gone: this process stood still for too long, or had too much to do."""
    connection = current_context.client
    return connection is not None and getattr(connection, "abandoned", bool)()


def _wrong_arguments(error: Exception) -> bool:
    """Whether the method was never entered: the caller's mistake then, and not ours."""
    inside = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return isinstance(error, TypeError) and inside is None


def _short(value: object) -> str:
    return repr(value)[:60]


def read(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Expose a method that changes nothing."""

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except CommandError:
            raise
        except Exception as error:
            if _wrong_arguments(error):
                raise CommandError(
                    Code.FAILED, f"wrong arguments; it is called as {_signature(method, 'read')}"
                ) from None
            self.log.exception(f"{method.__name__} failed")
            raise CommandError(Code.FAILED, f"{method.__name__} failed in the daemon: {error!r}") from None

    call._pyroExposed = True  # type: ignore[attr-defined]
    call.access = "read"  # type: ignore[attr-defined]
    return cast("Callable[Concatenate[S, P], R]", call)


def operate(method: Callable[Concatenate[S, P], str]) -> Callable[Concatenate[S, P], int]:
    """Expose a method that changes something: returns its sentence or raises CommandError; the caller gets a code."""

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> int:
        who = caller()
        code, message = int(Code.SUCCEEDED), ""
        given = [*map(_short, args), *(f"{key}={_short(value)}" for key, value in kwargs.items())]
        what = f"{method.__name__}({', '.join(given)})"
        if who != "local" and who not in self.allowed:
            code, message = Code.NOT_ACCEPTED, f"{who} is not one of the control machines of this daemon"
        elif _abandoned():
            code, message = Code.FAILED, "the caller has gone meanwhile; nothing was done"
        else:
            try:
                message = method(self, *args, **kwargs)
            except CommandError as error:
                code, message = error.code, error.message
            except Exception as error:
                code, message = Code.FAILED, f"wrong arguments; it is called as {_signature(method, 'operate')}"
                if not _wrong_arguments(error):
                    self.log.exception(f"{what} failed")
                    message = f"{method.__name__} failed in the daemon: {error!r}"
        # A stranger's are told once a minute: else anybody could fill the log.
        self.log.command(what, who, code, message, seldom=code == Code.NOT_ACCEPTED)
        if code != Code.NOT_ACCEPTED:
            self.commanded(method.__name__, what, who, code, message)
        current_context.response_annotations = {MESSAGE_ANNOTATION: message.encode()[:1000]}
        return int(code)

    call._pyroExposed = True  # type: ignore[attr-defined]
    call.access = "operate"  # type: ignore[attr-defined]
    call.__annotations__ = {**method.__annotations__, "return": "int"}
    return cast("Callable[Concatenate[S, P], int]", call)


def describe_methods(service: object) -> dict[str, dict[str, str]]:
    """Name -> signature, docstring and class (`read` or `operate`) of every exposed method."""
    found = {}
    for name, method in inspect.getmembers(type(service), inspect.isfunction):
        access = getattr(method, "access", None)
        if access is None:
            continue
        found[name] = {"signature": _signature(method, access), "doc": inspect.getdoc(method) or "", "class": access}
    return found


def _signature(method: Callable[..., object], access: str) -> str:
    """`set_setpoint(celsius: float) -> int`, as a caller sees it."""
    signature = inspect.signature(method)
    shown = signature.replace(parameters=list(signature.parameters.values())[1:])
    if access == "operate":
        shown = shown.replace(return_annotation="int")
    return _QUOTED.sub(r"\1\2", f"{method.__name__}{shown}")
