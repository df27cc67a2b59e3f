# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control of a plant goes by: its sensors and the weather, each read by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rockit.boiler.config import BoilerConfig
from rockit.boiler.probe import Limits
from rockit.boiler.sensors import VALUE, sensor_input
from rockit.boiler.weather import Weather
from rockit.common.inputs import Input
from rockit.common.log import Log
from rockit.common.quality import Sample

SENSORS = {"return": "return_temp", "outlet": "water_out_temp"}
"""Name of a sensor -> key of what it measures."""
LIMITS = {"return": Limits(), "outlet": Limits(rate=2.0)}
"""Behind the sources a slug of hot water may pass when a pump or a valve begins to move."""
SHORTEST = 2.0
"""A sensor is read no more often than this, s: a DS18B20 measures for 0.75 s, and two share a wire."""


class PlantInputs:
    """The sensors and the weather that a config names, and what they say now."""

    def __init__(self, config: BoilerConfig, stop: threading.Event, log: Log, active: Callable[[], bool]) -> None:
        """`active` tells whether heat is being moved, so that a sensor should not stand still."""
        given = {"return": config.sensors.return_, "outlet": config.sensors.outlet}
        period = max(config.query_delay, SHORTEST)
        self._sensors: dict[str, Input] = {
            name: sensor_input(
                name,
                spec,
                config.sensor_root,
                period,
                stop,
                log,
                active,
                describes=f"{name} sensor",
                limits=LIMITS[name],
            )
            for name, spec in given.items()
            if spec is not None
        }
        self._weather = None if config.weather is None else Weather(config.weather, stop, log)

    def start(self) -> None:
        """Begin to read."""
        for sensor in self._sensors.values():
            sensor.start()
        if self._weather is not None:
            self._weather.start()

    def keys(self) -> tuple[str, ...]:
        """The keys that are measured."""
        weather = ("outside_temp", "wind_speed") if self._weather is not None else ()
        return (*(SENSORS[name] for name in self._sensors), *weather)

    def samples(self, now: float) -> dict[str, Sample]:
        """What is known at `now` (monotonic s), by key, with its time. °C, m/s."""
        found: dict[str, Sample] = {}
        for name, sensor in self._sensors.items():
            if (sample := sensor.samples(now).get(VALUE)) is not None:
                found[SENSORS[name]] = sample
        if self._weather is not None:
            found.update(self._weather.samples(now))
        return found

    def maximum_age(self, key: str) -> float:
        """How old a value of that key may be and still count, s."""
        for name, sensor in self._sensors.items():
            if SENSORS[name] == key:
                return sensor.maximum_age
        return max((source.maximum_age for source in self._weather.inputs), default=0.0) if self._weather else 0.0

    def sensor_problems(self) -> dict[str, str]:
        """Why a sensor's value is not known now; empty where it is."""
        return {name: sensor.problem for name, sensor in self._sensors.items()}

    def weather_problem(self, now: float) -> str:
        """Why the outside temperature is not known at `now`."""
        return "" if self._weather is None else self._weather.problem(now)

    def counters(self) -> dict[str, int]:
        """Reads and failures, by source."""
        named = {f"{name}_sensor": sensor.counters for name, sensor in self._sensors.items()}
        weather = {} if self._weather is None else self._weather.counters()
        return {
            **{f"{name}_{key}": count for name, counters in named.items() for key, count in counters.items()},
            **weather,
        }
