# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chiller's control wants to know from other daemons: who needs cooling, and how cold and damp the dome is."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rockit.chiller import control
from rockit.chiller.config import ChillerConfig
from rockit.chiller.dewpoint import dew_point
from rockit.chiller.model import AIR, HUMIDITY
from rockit.common import registry
from rockit.common.errors import CommandError, Unreachable
from rockit.common.inputs import NotCurrent, RemoteInput, measurement_is_current, number
from rockit.common.log import Log
from rockit.common.quality import Sample
from rockit.common.remote.client import Client

SHORTEST = 1.0
"""Other daemons are asked no more often than this, s."""


class ChillerInputs:
    """The remote inputs that a config names, and what they say now."""

    def __init__(self, config: ChillerConfig, stop: threading.Event, log: Log) -> None:
        self._config = config
        period = max(config.query_delay, SHORTEST)
        if config.power_daemon is not None and not config.power_channels:
            log.warning(f"{config.power_daemon} is never asked: power_channels names none of its channels")
        self._power: RemoteInput | None = None
        self._air: RemoteInput | None = None
        if config.power_daemon is not None and config.power_channels:
            self._power = RemoteInput(
                registry.find(config.power_daemon), "power state of the cameras", period,
                self._fetch_power, stop, log,
            )  # fmt: skip
        if config.temperature_daemon is not None:
            self._air = RemoteInput(
                registry.find(config.temperature_daemon), "dome temperature", period,
                self._fetch_air, stop, log,
            )  # fmt: skip
        self.maximum_age = self._air.maximum_age if self._air is not None else 0.0
        self._all = [source for source in (self._power, self._air) if source is not None]

    def start(self) -> None:
        """Begin to fetch."""
        for source in self._all:
            source.start()

    def counters(self) -> dict[str, int]:
        """Fetches and failures, by source."""
        named = {"power": self._power, "temperature": self._air}
        found = {name: source.counters for name, source in named.items() if source is not None}
        return {f"{name}_{key}": count for name, counters in found.items() for key, count in counters.items()}

    def now(self, now: float) -> control.Inputs:
        """What is known at `now` (monotonic s)."""
        channels: dict[str, bool | None] | None = None
        if self._power is not None:
            channels = {name: self._power.value(name, now) for name in self._config.power_channels}
        dome = humidity = None
        if self._air is not None:
            dome, humidity = self._air.value("temperature", now), self._air.value("humidity", now)
        return control.Inputs(channels, dome, self._air is not None, humidity)

    def dew_point(self, now: float) -> float | None:
        """Dew point of the dome's air at `now`, °C; None when temperature or humidity is not known."""
        inputs = self.now(now)
        if inputs.dome_temp is None or inputs.humidity is None:
            return None
        return round(dew_point(inputs.dome_temp, inputs.humidity), 2)

    def samples(self, now: float) -> dict[str, Sample]:
        """What the dome's air is known to be at `now`, by the keys of the measurements, with its times."""
        air = self._air.samples(now) if self._air is not None else {}
        named = {"dome_temp": air.get("temperature"), "humidity": air.get("humidity")}
        found = {key: sample for key, sample in named.items() if sample is not None}
        point = self.dew_point(now)
        if point is not None and len(found) == 2:
            found["dew_point"] = Sample(point, min(sample.time for sample in found.values()))
        return found

    def _fetch_air(self, client: Client) -> Mapping[str, float | None]:
        measured = client.last_measurement()
        wanted: dict[str, float | None] = {"temperature": None}
        if self._config.humidity_value_key is not None:
            wanted["humidity"] = None
        if not measured:
            return wanted
        if not measurement_is_current(measured, datetime.now(UTC)):
            raise NotCurrent(measured)
        wanted["temperature"] = number(
            measured, self._config.temperature_value_key or "", self._config.temperature_valid_key, *AIR
        )
        if self._config.humidity_value_key is not None:
            wanted["humidity"] = number(
                measured, self._config.humidity_value_key, self._config.humidity_valid_key, *HUMIDITY
            )
        return wanted

    def _fetch_power(self, client: Client) -> Mapping[str, bool | None]:
        names = self._config.power_channels
        measured: Mapping[str, Any] = {}
        try:
            measured = client.last_measurement() or {}
        except Unreachable:
            raise
        except CommandError:
            measured = {}  # a daemon without that method: asked channel by channel, as rockit's chillerd does
        if not isinstance(measured, Mapping) or "date" not in measured:
            measured = {}  # without a time it may be of last week
        elif not measurement_is_current(measured, datetime.now(UTC)):
            raise NotCurrent(measured)
        return {
            name: _measured_channel(measured, name) if name in measured else self._fetch_channel(client, name)
            for name in names
        }

    @staticmethod
    def _fetch_channel(client: Client, name: str) -> bool | None:
        """`value(name)` of a power daemon: 0 off, 1 on, 2 unknown, and False for a name that it does not have."""
        try:
            state = client.call("value", name)
        except Unreachable:
            raise
        except CommandError:
            return None
        return _switch_state(state)


def _measured_channel(measured: Mapping[str, Any], name: str) -> bool | None:
    return _switch_state(measured[name]) if measured.get(f"{name}_valid", True) is True else None


def _switch_state(value: Any) -> bool | None:
    """rockit's switch states: 0 off, 1 on; some daemons say True for on. All else is not known: 2, and False, which is
    also the answer for "no such channel".
    """
    if value is True:
        return True
    return {0: False, 1: True}.get(value) if isinstance(value, int) and value is not False else None
