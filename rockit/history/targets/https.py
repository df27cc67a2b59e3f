# SPDX-License-Identifier: GPL-3.0-or-later
"""A `rockit history receive` on another host: batches over HTTPS, confirmed when its database has them."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import msgspec

from rockit.history.targets import TargetRefused
from rockit.history.targets.credentials import read_token
from rockit.history.targets.link import TIMEOUT, Link, confirmed

if TYPE_CHECKING:
    from rockit.history.model import Batch
    from rockit.history.targets.address import Address

_TAKEN = 200


class Received(msgspec.Struct):
    """What a receiver answers when its database has the batch: how many samples it did not have before."""

    new: int


class ReceiverTarget:
    """Another rockit history. What it has confirmed is on its disk."""

    live = False
    loses = False

    def __init__(
        self, address: Address, token_file: str | None, ca_file: str | None = None, timeout: float = TIMEOUT
    ) -> None:
        self.name = address.name
        self._link = Link(address, tls=address.scheme == "https", ca_file=ca_file, timeout=timeout)
        self._path = address.path if address.path.strip("/") else "/batch"
        self._token_file = token_file

    def send(self, batch: Batch) -> None:
        """Return when the other database has the batch. Raises TargetFailed."""
        if not batch.samples and not batch.events:
            return
        headers = {"Content-Type": "application/msgpack", "Content-Encoding": "gzip"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {read_token(self._token_file)}"
        answer = self._link.post(self._path, gzip.compress(msgspec.msgpack.encode(batch), 5), headers)
        confirmed(self._link, answer, _TAKEN)
        try:
            msgspec.json.decode(answer.text, type=Received)
        except msgspec.MsgspecError:
            # Some other web server: only a receiver's own word moves the cursor.
            raise TargetRefused(f"{self.name} is no rockit history: it answers {answer.shown()}") from None

    def restarted(self) -> bool:
        """Whether the connection was opened anew since this was asked last."""
        return self._link.restarted()

    def close(self) -> None:
        """End the connection, and a `send` that waits."""
        self._link.close()
