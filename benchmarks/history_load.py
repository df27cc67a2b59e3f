# SPDX-License-Identifier: GPL-3.0-or-later
"""A history with 26 million samples: 100 series, one sample every 10 s, 30 days; two of them for a year.

Ten devices of ten quantities, as plants have them: temperatures that wander and are noisy, a set point, flow, pressure,
humidity, a compressor's power, a meter's energy and its pulses, with 0 to 3 decimals. Polls jitter by some ms, as real
ones do. The noise is such that zlib of plain columns (steps in ms as 4 bytes, doubles) takes about 2.8 bytes a sample,
which is what was measured when the format was chosen. All is written by the code that a daemon uses: finished days by
`merge`, today by `record`, poll by poll.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate, islice
from operator import add, sub

from rockit.history.model import BUCKET, DAY, Event, Samples, Series
from rockit.history.store import Recorded, Store

POLL = 10_000
POLLS = DAY // POLL
DEVICES = 10
SITE = "site"
TODAY = 20_818
"""2026-12-31, in days since 1970."""
YEAR = TODAY - 364
MONTH = TODAY - 29
NOW = (TODAY + 1) * DAY - 1
EVENTS = 5_000
JITTER = 12.0
"""Of the moment of a poll, ms."""

_LONG = 32_768
_random = random.Random(TODAY)  # the same numbers on every run


@cache
def _noise(width: float) -> list[int]:
    return [round(_random.gauss(0, width)) for _ in range(_LONG)]


@cache
def _steps(kinds: tuple[int, ...]) -> list[int]:
    return _random.choices(kinds, k=_LONG)


def _some(table: list[int]) -> list[int]:
    """A day's worth of it, from somewhere: quicker than to draw anew, and as hard to compress."""
    begin = _random.randrange(_LONG - POLLS)
    return table[begin : begin + POLLS]


class _Source:
    """The integers that one sensor gives, without end: values times 10**decimals. It wanders by `steps`."""

    def __init__(self, start: int, steps: tuple[int, ...] = (-1, 0, 0, 1), noise: float = 0) -> None:
        self._level = start
        self._steps = steps
        self._noise = noise

    def day(self) -> list[int]:
        levels = list(accumulate(_some(_steps(self._steps)), initial=self._level))
        self._level = levels.pop()
        return list(map(add, levels, _some(_noise(self._noise)))) if self._noise else levels


class _SetPoint(_Source):
    """Someone changes it four times a day."""

    def day(self) -> list[int]:
        return [value for value in _random.choices((110, 115, 120, 180), k=4) for _ in range(POLLS // 4)]


class _Compressor(_Source):
    """Runs for a quarter of an hour, and rests for as long."""

    def day(self) -> list[int]:
        noise = _some(_noise(self._noise))
        return [self._level + x if number // 90 % 2 else 40 + x // 10 for number, x in enumerate(noise)]


_KINDS: dict[str, tuple[str, int, Callable[[], _Source]]] = {
    "water_temp": ("degC", 2, lambda: _Source(1150, noise=20)),
    "return_temp": ("degC", 2, lambda: _Source(1500, noise=60)),
    "ambient_temp": ("degC", 1, lambda: _Source(215, noise=6)),
    "setpoint_temp": ("degC", 1, lambda: _SetPoint(115)),
    "flow": ("L/min", 1, lambda: _Source(120, (0,), noise=25)),
    "pressure": ("bar", 2, lambda: _Source(250, (0,), noise=15)),
    "humidity": ("%", 1, lambda: _Source(450, noise=25)),
    "power": ("W", 0, lambda: _Compressor(1500, noise=150)),
    "energy": ("kWh", 3, lambda: _Source(123_456, (0, 0, 1, 3, 4, 4, 5, 8))),
    "pulses": ("", 0, lambda: _Source(9_999, (0, 0, 1, 1, 2))),
}


class Sensor:
    """One series and what it measures, a day after the other."""

    def __init__(self, device: int, key: str) -> None:
        unit, decimals, source = _KINDS[key]
        self.series = Series(SITE, f"device_{device}", key, unit, key, key in ("energy", "pulses"))
        self._divisor = 10**decimals
        self._source = source()

    def day(self, day: int) -> Samples:
        times = list(map(add, range(day * DAY + POLL // 2, (day + 1) * DAY, POLL), _some(_noise(JITTER))))
        divisor = self._divisor
        return Samples(times, [number / divisor for number in self._source.day()])


def sensors() -> list[Sensor]:
    """A hundred; the first is a temperature."""
    return [Sensor(device, key) for device in range(DEVICES) for key in _KINDS]


def build(store: Store) -> tuple[int, int]:
    """Fill an empty store whose clock says NOW; how many samples are in blocks, and how many are rows."""
    everyone = sensors()
    sealed = 0
    for day in range(YEAR, TODAY):
        for sensor in everyone if day >= MONTH else long_ones(everyone):
            sealed += store.merge(sensor.series, sensor.day(day))
    rows = 0
    for polls in _today(store, everyone):
        store.record(1, polls)
        rows += len(polls)
    store.add_events(SITE, "device_0", _events())
    return sealed, rows


def long_ones(everyone: list[Sensor]) -> list[Sensor]:
    """Those with a year behind them: a temperature and a counter."""
    return [sensor for sensor in everyone[:10] if sensor.series.key in ("water_temp", "energy")]


def plain(days: list[Samples]) -> float:
    """Bytes a sample of the simplest block that there is: zlib of steps of time (4 bytes) and doubles."""
    packed = sum(
        len(zlib.compress(array("i", map(sub, run.times[1:], run.times)).tobytes() + array("d", run.values).tobytes()))
        for run in days
    )
    return packed / sum(map(len, days))


def _today(store: Store, everyone: list[Sensor]) -> Iterator[list[Recorded]]:
    """Poll by poll, 15 minutes of polls together, as after a time in which the store could not be written."""
    columns = [
        [(store.series_id(sensor.series), time, value, 0) for time, value, _ in sensor.day(TODAY).rows()]
        for sensor in everyone
    ]
    polls = zip(*columns, strict=True)
    while together := [row for poll in islice(polls, BUCKET // POLL) for row in poll]:
        yield together


def _events() -> list[Event]:
    modes = ("AUTOMATIC", "MANUAL", "STANDBY")
    step = 365 * DAY // EVENTS
    return [Event(YEAR * DAY + number * step, "state", "mode", modes[number % 3]) for number in range(EVENTS)]
