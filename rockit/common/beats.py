# SPDX-License-Identifier: GPL-3.0-or-later
"""One watchdog for a daemon with several query loops."""

from __future__ import annotations

import time
from collections.abc import Callable

LATE = 60.0
"""A loop that has not been alive for so long hangs, s: longer than the name of a host may be looked for."""


class Beats:
    """The watchdog of a daemon with several loops: it is fed while all of them live."""

    def __init__(self, feed: Callable[[], None]) -> None:
        self._feed = feed
        self._last: list[float] = []

    def new(self) -> Callable[[], None]:
        """For one more loop: what it calls to show that it lives."""
        number = len(self._last)
        self._last.append(time.monotonic())

        def beat() -> None:
            now = self._last[number] = time.monotonic()
            if now - min(self._last) < LATE:
                self._feed()

        return beat
