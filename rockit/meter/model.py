# SPDX-License-Identifier: GPL-3.0-or-later
"""What a meter tells: registers with exact values, and what one telegram or one poll taught. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

Number = int | Decimal


@dataclass(frozen=True, slots=True)
class Register:
    """One register of a meter as it was read.

    `value`: a number is exact, in `unit`; text is what a person reads (octet strings as lower-case hex); None: the
    meter has the register and gave no value. Energy is in Wh, power in W, volume in m3, whatever the meter has.
    """

    value: Number | bool | str | None
    unit: str = ""
    label: str = ""
    counter: bool = False
    """It only grows: what counts is its difference."""
    status: int | None = None
    """The status word that came with it, as the meter sent it."""
    modulus: Decimal | None = None
    """Where a counter begins anew, in `unit`; None where the meter does not tell."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one telegram, or one poll, taught. Keys are OBIS codes (`1-0:1.8.0*255`) or a register map's names."""

    registers: Mapping[str, Register]
    server_id: str = ""
    """Which meter it is, as its plate says; empty where it does not tell."""
    seconds: int | None = None
    """Its own seconds of operation: no time of day, but a smaller one than before is a restart."""
    whole: bool = True
    """False where it was saved from a damaged telegram: its own checksum was right, and still it is doubted."""
    pin_locked: bool = False
    """It shows whole kWh and no power, as such meters do until somebody enters their PIN."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What else it says of itself (manufacturer, firmware)."""


def together(readings: Sequence[Reading]) -> list[Reading]:
    """The lists of one telegram as one reading for each meter that they are of: what one of them tells counts."""
    found: dict[str, Reading] = {}
    for one in readings:
        before = found.get(one.server_id)
        if before is not None:
            one = replace(  # noqa: PLW2901
                one,
                registers={**before.registers, **one.registers},
                notes={**before.notes, **one.notes},
                whole=before.whole and one.whole,
                pin_locked=before.pin_locked and one.pin_locked,
                seconds=before.seconds if one.seconds is None else one.seconds,
            )
        found[one.server_id] = one
    return list(found.values())
