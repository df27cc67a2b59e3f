# SPDX-License-Identifier: GPL-3.0-or-later
"""Line settings of a serial port: what a driver asks for and a config may override."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Parity = Literal["N", "E", "O"]


@dataclass(frozen=True)
class LineSettings:
    """Speed and frame of a serial line, and the pauses that the device needs.

    `interval` is the least time between a reply and the next request, `timeout` how long a whole reply may take,
    both in seconds. `xonxoff` is software flow control.
    """

    baud: int = 9600
    bytesize: int = 8
    parity: Parity = "N"
    stopbits: float = 1
    xonxoff: bool = False
    interval: float = 0.0
    timeout: float = 3.0

    def overridden(self, **given: Any) -> LineSettings:
        """A copy with those of `given` that are not None in place of the driver's own."""
        return dataclasses.replace(self, **{key: value for key, value in given.items() if value is not None})
