# SPDX-License-Identifier: GPL-3.0-or-later
"""What energy costs: prices from a day on, by tariff where the meter counts so. Exact, no clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from itertools import pairwise

from rockit.meter.config import Tariff
from rockit.meter.periods import begin_of_day, edges

PER_KWH = Decimal(1000)


class Prices:
    """The prices of one meter, by the time zone in which their days begin."""

    def __init__(self, tariffs: Sequence[Tariff], meter: str, zone: tzinfo) -> None:
        self._zone = zone
        chosen: dict[int, Tariff] = {}
        own = [one for one in tariffs if one.meters is not None and meter in one.meters]
        first = min((one.since for one in own), default=None)
        # From the first price of its own on, those of all others are none of the meter's.
        general = [one for one in tariffs if one.meters is None and (first is None or one.since < first)]
        for tariff in (*general, *own):
            chosen[begin_of_day(tariff.since, zone)] = tariff
        self.begins = sorted(chosen)
        """When prices change, ms."""
        self._tariffs = [chosen[begin] for begin in self.begins]

    def __bool__(self) -> bool:
        return bool(self._tariffs)

    def cost(self, start: int, end: int, energies: Mapping[str, Decimal | None]) -> Decimal | None:
        """What these energies (Wh, by name) cost that flowed from `start` to `end` (ms), when no price changed.

        None where there was no price, or where an energy that has one is not known.
        """
        index = bisect_right(self.begins, start) - 1
        if index < 0:
            return None
        tariff = self._tariffs[index]
        price = tariff.import_price
        wanted = (
            {"import_energy": price}
            if not isinstance(price, dict)
            else {f"import_energy_{name.lower()}": one for name, one in price.items()}
        )
        total = Decimal(0)
        for name, one in wanted.items():
            energy = energies.get(name)
            if energy is None:
                return None
            total += energy * _exact(one)
        if tariff.export_price and "export_energy" in energies:
            exported = energies["export_energy"]
            if exported is None:
                return None  # what was paid for it is not known, and not nothing
            total -= exported * _exact(tariff.export_price)
        return total / PER_KWH + self._days(start, end) * _exact(tariff.per_day)

    def _days(self, start: int, end: int) -> Decimal:
        """How many days a stretch is; an hour of a day of 25 hours is a 25th."""
        borders = edges("day", start, end, self._zone)
        total = Decimal(0)
        for begin, until in pairwise(borders):
            total += Decimal(min(end, until) - max(start, begin)) / (until - begin)
        return total


def _exact(price: float) -> Decimal:
    return Decimal(repr(price))
