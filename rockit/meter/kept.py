# SPDX-License-Identifier: GPL-3.0-or-later
"""What a meter daemon must know after a restart: who its meters are, where they stood, and what happened to them."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from rockit.meter.energy import Jump


class KeptRegister(msgspec.Struct, frozen=True):
    """A register that was read once: its series goes on after a restart, before the meter has spoken."""

    unit: str = ""
    label: str = ""
    counter: bool = False


class KeptMeter(msgspec.Struct):
    """One meter. Readings are as they are shown: with what was added to align them."""

    server_id: str = ""
    registers: dict[str, KeptRegister] = {}
    """By name (`import_energy`)."""
    last: dict[str, Decimal] = {}
    """The last reading of each counter."""
    offsets: dict[str, Decimal] = {}
    """What is added to what the meter says."""
    jumps: dict[str, list[Jump]] = {}
    falls: dict[str, Jump] = {}
    """How a counter fell last, where nobody knows why: before and after."""
    seen_new: bool = False
    """Another meter was seen in its place, and nobody has said yet where the counters stood."""
    pulses: int = 0
    """Counted since the meter was first configured (S0)."""
    impulses_per_kwh: float = 0.0
    """By which they were counted; 0 before the first."""


class Kept(msgspec.Struct):
    """All meters, by name."""

    meters: dict[str, KeptMeter] = {}
