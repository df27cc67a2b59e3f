# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a site: another history, on a PostgreSQL server. What it confirmed is on its disk."""

from __future__ import annotations

import threading

from rockit.history.database import StoreError, Trouble, parsed
from rockit.history.model import Batch
from rockit.history.store import Store
from rockit.history.targets import TargetFailed, TargetRefused

PATIENCE = 2.0
"""So long the end waits for a batch in hand, s; a few of them take a tenth of a second."""
_PLACE = ("host", "hostaddr", "port", "dbname", "service", "options")
"""Words of a query that say which database is meant; the others say how it is reached."""


class PostgresTarget:
    """A history on a server, written directly; TLS is what its URL says (`sslmode`, `sslrootcert`)."""

    loses = False
    live = False

    def __init__(self, url: str) -> None:
        self._url = url
        shown = parsed(url)
        place = {key: value for key, value in shown.query.items() if key in _PLACE}
        self.name = shown.set(query=place)._replace(password=None).render_as_string()
        self._store: Store | None = None
        self._closed = False
        self._used = threading.Lock()

    def send(self, batch: Batch) -> None:
        """Return when the server has committed `batch`. Raises TargetFailed."""
        with self._used:
            try:
                store = self._store = self._store or Store(self._url)
                if self._closed:  # perhaps before there was anything to close
                    self._drop()
                    raise TargetFailed(f"{self.name}: closed")
                store.receive(batch)
                store.tend()  # nobody else does, where all only forward
            except StoreError as error:
                self._drop()
                kind = TargetRefused if error.trouble is Trouble.WRONG else TargetFailed
                raise kind(str(error)) from None

    def restarted(self) -> bool:
        """Nothing that it confirmed is lost by a restart."""
        return False

    def close(self) -> None:
        """Give the connection back: after the batch in hand, or without waiting for it where that takes long."""
        self._closed = True
        waited = self._used.acquire(timeout=PATIENCE)
        self._drop()
        if waited:
            self._used.release()

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()
