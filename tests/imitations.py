# SPDX-License-Identifier: GPL-3.0-or-later
"""Other daemons of an observatory, imitated: served by a thread of the test, with what they say in the test's hands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness import Site

from rockit.common.log import Log
from rockit.common.quality import utc_now, utc_text
from rockit.common.remote.server import Server
from rockit.common.remote.service import read


class _Service:
    def __init__(self) -> None:
        self.log = Log("imitation")
        self.allowed: frozenset[str] = frozenset()


class DomeAlert(_Service):
    """As domealertd: `internal_temp` with its validity and a date that can be made to stand still."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.valid = True
        self.date: str | None = None

    @read
    def last_measurement(self) -> dict[str, Any]:
        """The newest sample."""
        return {
            "date": self.date or utc_text(utc_now()),
            "internal_temp": self.temperature,
            "internal_temp_valid": self.valid,
        }


class Power(_Service):
    """As powerd: channels 0 off, 1 on, 2 unknown; False for a name that it does not have."""

    def __init__(self, **channels: int) -> None:
        super().__init__()
        self.channels = channels

    @read
    def last_measurement(self) -> dict[str, Any]:
        """All channels."""
        return {"date": utc_text(utc_now()), **self.channels}

    @read
    def value(self, name: str) -> int:
        """One channel."""
        return self.channels.get(name, False)


class ObservatoryLog(_Service):
    """As obslogd: it keeps (level, source, message)."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str, str]] = []

    @read
    def log_info(self, source: str, message: str) -> None:
        """An ordinary line."""
        self.lines.append(("info", source, message))

    @read
    def log_warning(self, source: str, message: str) -> None:
        """A warning."""
        self.lines.append(("warning", source, message))

    @read
    def log_error(self, source: str, message: str) -> None:
        """An error."""
        self.lines.append(("error", source, message))


@contextmanager
def serving(site: Site, name: str, service: object) -> Iterator[Callable[[], None]]:
    """`service` answers as daemon `name` of the site's registry; calling what is given kills it earlier."""
    server = Server(service, f"{name}_daemon", "127.0.0.1", site.ports[name], Log("imitation"))
    thread = threading.Thread(target=server.run)
    thread.start()

    def kill() -> None:
        server.stop()
        thread.join()

    try:
        yield kill
    finally:
        kill()
