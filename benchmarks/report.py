# SPDX-License-Identifier: GPL-3.0-or-later
"""One measured figure beside what was promised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    what: str
    measured: float
    unit: str
    promised: float | None = None
    """At most this; None for a figure that is only told."""

    @property
    def kept(self) -> bool:
        return self.promised is None or self.measured <= self.promised

    def __str__(self) -> str:
        text = f"{self.what:<58} {self.measured:10.3f} {self.unit:<6}"
        if self.promised is None:
            return text
        return f"{text} promised <= {self.promised:g}: {'kept' if self.kept else 'MISSED'}"
