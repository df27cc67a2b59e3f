# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that know when they were true. Ages are monotonic; wall time is for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Any


class Quality(IntEnum):
    """How far a sample can be believed. The numbers are stored."""

    GOOD = 0
    UNCERTAIN = 1
    """Measured, and doubted by the device or by us; counts in roll-ups."""
    BAD = 2
    """Kept as it came, as evidence; not part of roll-ups."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value and when it was read (monotonic s)."""

    value: Any
    time: float


class Samples:
    """The newest sample of each key. Immutable: `merged` gives a new one, so that readers need no lock."""

    __slots__ = ("_samples",)

    def __init__(self, samples: Mapping[str, Sample] | None = None) -> None:
        self._samples = dict(samples or {})

    def merged(self, values: Mapping[str, Any], now: float) -> Samples:
        """These samples with `values`, read at `now`, in place of the older ones."""
        return Samples({**self._samples, **{key: Sample(value, now) for key, value in values.items()}})

    def fresh(self, key: str, now: float, maximum_age: float) -> Any | None:
        """The value, or None when it was never read or is older than `maximum_age` s."""
        sample = self._samples.get(key)
        return None if sample is None or now - sample.time > maximum_age else sample.value

    def all_fresh(self, now: float, maximum_age: float) -> Mapping[str, Sample]:
        """All samples that are no older than `maximum_age` s at `now`."""
        return {key: sample for key, sample in self._samples.items() if now - sample.time <= maximum_age}


@dataclass(frozen=True)
class Measurement:
    """A quantity that a device may report, with the unit as astropy spells it."""

    label: str
    unit: str
    low: float
    high: float
    """Beyond these a device is not measuring but broken (an open sensor reads as the end of its scale)."""
    counter: bool = False
    """It only grows (energy, pulses, time of operation): its difference over a period counts, never its mean."""

    def plausible(self, value: Any) -> bool:
        """Whether a value can be true."""
        return isinstance(value, int | float | Decimal) and self.low <= value <= self.high


def utc_text(when: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, as rockit writes times."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_now() -> datetime:
    """Now, in UTC, for people and for state that must survive a restart."""
    return datetime.now(UTC)
