# SPDX-License-Identifier: GPL-3.0-or-later
"""Why something is as it is, in words whose temperatures are filled in later, in the scale of whoever reads it."""

from __future__ import annotations

from dataclasses import dataclass

from rockit.boiler.units import Scale


@dataclass(frozen=True, slots=True)
class Reason:
    """A sentence with a `{}` for each of `temperatures` (°C)."""

    text: str
    temperatures: tuple[float, ...] = ()

    def told(self, scale: Scale) -> str:
        """The sentence for people."""
        return self.text.format(*(f"{scale.temperature(value):.1f} {scale.sign}" for value in self.temperatures))
