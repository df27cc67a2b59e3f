# SPDX-License-Identifier: GPL-3.0-or-later
"""A port whose device talks by itself: nothing is asked, and every telegram has the time at which it was whole.

Used by one thread. Other threads read `counters` only.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from rockit.common.framing import Damaged, Decoder
from rockit.common.transport import Stopped
from rockit.common.transport.port import Port
from rockit.common.transport.settings import LineSettings


class Telegram(Protocol):
    """What a decoder of such a device gives."""

    @property
    def end(self) -> int:
        """The position behind its last byte, counted from the decoder's beginning."""
        ...


T = TypeVar("T", bound=Telegram)
BITS = 10.0
"""Of a byte on the line: start, eight of data or seven and parity, stop."""


class Listener(Generic[T]):
    """Reads one port. What was not believed is counted by its kind of `Damage`, and in bytes as `lost_bytes`.

    A daemon that was kept from reading finds several telegrams in the port: each is as much older as the bytes behind
    it took on the line.
    """

    def __init__(
        self, where: str, settings: LineSettings, decoder: Callable[[], Decoder[T]], stop: threading.Event,
        note: Callable[[str], None], *, beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.settings = settings
        self._port = Port(where, settings, note)
        self.counters: Counter[str] = self._port.counters
        self._new_decoder = decoder
        self._decoder = decoder()
        self._fed = self._good = 0
        self._newest = 0.0
        self._stop = stop
        self._beat = beat
        self._clock = clock

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port.is_open

    @property
    def noise(self) -> bool:
        """Whether something has come since the last telegram, or since the port was opened."""
        return self._fed > self._good

    def open(self) -> None:
        """Open the port. Raises PortLost."""
        self._port.open()
        self._decoder = self._new_decoder()
        self._fed = self._good = 0

    def close(self) -> None:
        """Close the port; what had begun to come is lost, and counted."""
        self._port.close()
        self._sorted(self._decoder.flush(), self._clock())

    def listen(self) -> list[tuple[T, float]]:
        """What becomes whole within a tenth of a second, each with its time (monotonic s). Raises PortLost, Stopped."""
        self._beat()
        if self._stop.is_set():
            raise Stopped("the daemon is stopping")
        data = self._port.read(wait=True)
        self._fed += len(data)
        return self._sorted(self._decoder.feed(data), self._clock()) if data else []

    def _sorted(self, frames: list[T | Damaged], now: float) -> list[tuple[T, float]]:
        found: list[tuple[T, float]] = []
        for frame in frames:
            if isinstance(frame, Damaged):
                self.counters[str(frame.kind)] += 1
                self.counters["lost_bytes"] += len(frame.data)
                continue
            if getattr(frame, "whole", True):  # what was saved of a damaged one is counted as damage
                self.counters["answers"] += 1
            self._good = frame.end
            behind = (self._fed - frame.end) * BITS / self.settings.baud
            # A replay is quicker than its line: no two telegrams have the same time, and none an earlier one.
            self._newest = max(now - behind, self._newest + 1e-3)
            found.append((frame, self._newest))
        return found
