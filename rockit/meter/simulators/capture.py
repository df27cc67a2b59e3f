# SPDX-License-Identifier: GPL-3.0-or-later
"""What was captured at a meter once, sent again at the speed of its line."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, ClassVar

from rockit.common.simulate_device import FaultyDevice, Info

_BITS = 10.0
"""Of a byte on the line."""


class Capture(FaultyDevice):
    """The bytes of the file `path` (raw, or written in hex) at `rate` bits a second, again and again.

    `pause`: s of silence at the end of the file; `repeat` False: once.
    """

    TICK: ClassVar[float] = 0.05

    def __init__(
        self, *, path: str = "", rate: float = 9600.0, pause: float = 1.0, repeat: bool = True, **options: Any
    ) -> None:
        super().__init__(**options)
        if rate <= 0 or pause < 0:
            raise ValueError("rate must be more than 0, and pause 0 or more")
        try:
            self._data = Path(path).read_bytes()
        except OSError as error:
            raise ValueError(f"path: {path!r} cannot be read: {error.strerror or error}") from None
        with contextlib.suppress(ValueError):
            self._data = bytes.fromhex(self._data.decode("ascii"))
        if not self._data:
            raise ValueError(f"path: {path!r} is empty")
        self.rate, self.pause, self.repeat = rate, pause, repeat
        self._at = 0
        self._owed = 0.0
        self._rounds = 0
        self._wait = 0.0

    def take(self, data: bytes, now: float) -> None:
        """The head only listens."""

    def step(self, dt: float) -> None:
        """So many bytes as the line takes in this time."""
        if self._wait > 0:
            self._wait -= dt
            return
        if self._rounds and not self.repeat:
            return
        self._owed += dt * self.rate / _BITS
        count = int(self._owed)
        self._owed -= count
        piece = self._data[self._at : self._at + count]
        self._at += len(piece)
        if piece:
            self.reply(piece, self.line_time)
        if self._at >= len(self._data):
            self._at, self._owed, self._wait = 0, 0.0, self.pause
            self._rounds += 1

    def state(self) -> Info:
        """How far it is."""
        return {"bytes": len(self._data), "at": self._at, "rounds": self._rounds}
