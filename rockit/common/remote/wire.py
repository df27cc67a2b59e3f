# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of a remote call share: Pyro's settings and the one exception that crosses the wire."""

from __future__ import annotations

from typing import Any, NoReturn

import Pyro5
import Pyro5.errors
from Pyro5.serializers import SerializerBase

from rockit.common.errors import CommandError

MESSAGE_ANNOTATION = "CMSG"
"""Key of the annotation that carries a command's sentence beside its integer code."""
MAX_MESSAGE = 4 * 1024 * 1024
"""The largest reply, bytes."""
MAX_REQUEST = 32 * 1024
"""The largest request, bytes. Reading one takes up to five hundred times its size, so a stranger's must be small."""
_NO_VALUES = ("Pyro5.client.Proxy", "Pyro5.core.URI", "Pyro5.server.Daemon")
_CLASS = "rockit.CommandError"


def _to_dict(error: CommandError) -> dict[str, Any]:
    # Pyro hangs the server's traceback on exceptions; it goes to the server's log and not to whoever asked.
    return {"__class__": _CLASS, "code": int(error.code), "message": error.message}


def _from_dict(_name: str, fields: dict[str, Any]) -> CommandError:
    return CommandError(int(fields.get("code", 1)), str(fields.get("message", "")))


def _refuse(name: str, _fields: dict[str, Any]) -> NoReturn:
    raise Pyro5.errors.SecurityError(f"{name} is not a value that is passed here")


def prepare() -> None:
    """Set Pyro up for this process, for a server as for a client. Idempotent."""
    Pyro5.config.SERIALIZER = "serpent"
    Pyro5.config.MAX_MESSAGE_SIZE = MAX_MESSAGE
    Pyro5.config.SOCK_NODELAY = True  # without it the handshake waits 44 ms for Nagle and delayed acknowledgements
    Pyro5.config.DETAILED_TRACEBACK = False
    SerializerBase.register_class_to_dict(CommandError, _to_dict)
    SerializerBase.register_dict_to_class(_CLASS, _from_dict)
    for name in _NO_VALUES:  # a proxy for an argument would have us call whomever its sender names
        SerializerBase.register_dict_to_class(name, _refuse)


def prepare_server() -> None:
    """As `prepare`, without streams: an answer is whole, and nothing of a client's stays behind."""
    prepare()
    Pyro5.config.ITER_STREAMING = False
