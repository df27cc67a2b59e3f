# SPDX-License-Identifier: GPL-3.0-or-later
"""The weather outside, from the first of several sources that knows it, each asked by a thread of its own.

Drivers: `weatherlink` (a text that Davis WeatherLink puts on a web site), `open-meteo` (a model, for any place), and
`rockit` (another daemon: its last measurement, or with `sensor` what an environmentd says of it). The first two also
take `sim://weather?world=NAME`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from rockit.boiler.model import MEASUREMENTS
from rockit.boiler.protocols import openmeteo, weatherlink
from rockit.boiler.protocols.units import celsius, metres_per_second
from rockit.common import registry
from rockit.common.inputs import Aged, Input, InputProblem, NotCurrent, RemoteInput, measurement_is_current, number
from rockit.common.log import Log
from rockit.common.quality import Sample, utc_now
from rockit.common.remote.client import Client
from rockit.common.transport import NoAnswer, http

TEMPERATURE, WIND = "outside_temp", "wind_speed"
SHORTEST = 10.0
"""No source is asked more often than this, s."""
_ANY = (-1e9, 1e9)


class WeatherConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One source of weather, and the next one to ask where it does not know.

    `url` belongs to weatherlink and open-meteo; `daemon`, `sensor` and the keys to rockit. `temperature_unit` and
    `wind_unit` are what the source uses (weatherlink: degF and mph where they are not given; open-meteo says its own).
    Times in s; what is older than `maximum_age` is not known.
    """

    driver: Literal["weatherlink", "open-meteo", "rockit"]
    url: str | None = None
    daemon: str | None = None
    sensor: str | None = None
    temperature_key: str | None = None
    temperature_valid_key: str | None = None
    wind_key: str | None = None
    wind_valid_key: str | None = None
    temperature_unit: Literal["degC", "degF"] | None = None
    wind_unit: Literal["m/s", "km/h", "mph", "knots"] | None = None
    period: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10.0
    maximum_age: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 900.0
    fallback: WeatherConfig | None = None

    def problems(self) -> Iterator[tuple[str, str]]:
        """Keys that the driver needs or does not have, here and in the fallbacks."""
        yield from self._remote_problems() if self.driver == "rockit" else self._web_problems()
        if self.driver == "open-meteo" and (self.temperature_unit or self.wind_unit):
            yield "temperature_unit" if self.temperature_unit else "wind_unit", "open-meteo says its units itself"
        if self.maximum_age < max(self.period, SHORTEST):
            yield (
                "maximum_age",
                f"is shorter than the period ({max(self.period, SHORTEST):g} s): the weather would not stay known",
            )
        if self.fallback is not None:
            for path, text in self.fallback.problems():
                yield f"fallback.{path}", text

    def _web_problems(self) -> Iterator[tuple[str, str]]:
        for key in ("daemon", "sensor", "temperature_key", "temperature_valid_key", "wind_key", "wind_valid_key"):
            if getattr(self, key) is not None:
                yield key, f"belongs to rockit, and not to {self.driver}"
        if self.url is None:
            yield "url", f"{self.driver} needs it"
        elif not self.url.startswith("sim://"):
            try:
                http.host_of(self.url)
            except ValueError as error:
                yield "url", str(error)

    def _remote_problems(self) -> Iterator[tuple[str, str]]:
        if self.url is not None:
            yield "url", "rockit has a daemon, and no URL"
        for key in ("daemon", "temperature_key"):
            if getattr(self, key) is None:
                yield key, "rockit needs it"
        if self.wind_key is not None and self.wind_unit is None:
            yield "wind_unit", "needed with wind_key: daemons measure wind in different units"
        if self.sensor is not None and (self.temperature_valid_key or self.wind_valid_key):
            yield "sensor", "an environmentd has no valid keys: it says itself what is current"


@dataclass(frozen=True)
class Outside:
    """The weather as far as it is known: °C, m/s, who says so, and when it was so (monotonic s)."""

    outside_temp: float | None = None
    wind_speed: float | None = None
    source: str = ""
    time: float | None = None


class Weather:
    """All sources of a config, in their order."""

    def __init__(self, config: WeatherConfig, stop: threading.Event, log: Log) -> None:
        self.inputs: list[Input] = []
        following: WeatherConfig | None = config
        while following is not None:
            self.inputs.append(weather_input(following, max(following.period, SHORTEST), stop, log))
            following = following.fallback

    def start(self) -> None:
        """Begin to ask."""
        for source in self.inputs:
            source.start()

    def value(self, now: float) -> Outside:
        """What is known at `now` (monotonic s). Temperature and wind are each of the first source that knows it.

        `source` and `time` are those of the temperature.
        """
        found = {key: self._first(key, now) for key in (TEMPERATURE, WIND)}
        source, temperature = found[TEMPERATURE]
        wind = found[WIND][1]
        return Outside(
            None if temperature is None else temperature.value, None if wind is None else wind.value,
            source, None if temperature is None else temperature.time,
        )  # fmt: skip

    def samples(self, now: float) -> dict[str, Sample]:
        """What is known at `now`, by the keys of the measurements, with its times."""
        found = {key: self._first(key, now)[1] for key in (TEMPERATURE, WIND)}
        return {key: sample for key, sample in found.items() if sample is not None}

    def problem(self, now: float) -> str:
        """Why the temperature is not known, source by source; "" when it is."""
        if self._first(TEMPERATURE, now)[1] is not None:
            return ""
        return "; ".join(source.problem_at(now) for source in self.inputs)

    def counters(self) -> dict[str, int]:
        """Questions and failures, by the number of the source."""
        return {f"weather{at}_{k}": n for at, s in enumerate(self.inputs, 1) for k, n in s.counters.items()}

    def _first(self, key: str, now: float) -> tuple[str, Sample | None]:
        for source in self.inputs:
            if (sample := source.samples(now).get(key)) is not None:
                return source.name, sample
        return "", None


def weather_input(config: WeatherConfig, period: float, stop: threading.Event, log: Log) -> Input:
    """The input that asks one source (no fallback) every `period` s; its values are `outside_temp` and `wind_speed`.

    Not started. Raises ConfigError for a daemon that the registry does not have, ValueError for a `sim://` URL that
    cannot be.
    """
    describes = f"weather ({config.driver})"
    if config.driver == "rockit":
        remote = RemoteInput(
            registry.find(config.daemon or ""), describes, period, lambda client: _ask(config, client), stop, log
        )
        remote.maximum_age = config.maximum_age
        return remote
    url = config.url or ""
    read, name = _reader(config, url)
    fetch = _WeatherLink(config, read).fetch if config.driver == "weatherlink" else lambda: _open_meteo(read())
    return Input(name, describes, period, lambda: _checked(fetch(), config), stop, log, config.maximum_age)


def _reader(config: WeatherConfig, url: str) -> tuple[Callable[[], str], str]:
    """What gets the document, and its server's name."""
    if not url.startswith("sim://"):
        return lambda: http.get(url, config.timeout).decode("utf-8", "replace"), http.host_of(url)
    from rockit.boiler.simulators import weather  # only where a config names a simulated station

    station = weather.simulated(url, time.monotonic())

    def read() -> str:
        try:
            return station.body(config.driver, utc_now())
        except OSError as error:
            raise NoAnswer(f"{url}: {error}") from None

    return read, url


def _checked(found: Mapping[str, float | None], config: WeatherConfig) -> Aged:
    """The values that can be true, with their age. Raises InputProblem where they are too old."""
    age = found["age"] or 0.0
    if age > config.maximum_age:
        raise InputProblem(f"its newest record is at least {age / 60:.0f} min old", forget=True)
    return Aged({key: _plausible(key, found[key]) for key in (TEMPERATURE, WIND)}, age)


def _plausible(key: str, value: float | None) -> float | None:
    return value if value is not None and MEASUREMENTS[key].plausible(value) else None


def _open_meteo(text: str) -> Mapping[str, float | None]:
    return openmeteo.parse(text, utc_now())


class _WeatherLink:
    """Its text has no time zone. So a record is as old as the time for which we have seen it."""

    def __init__(self, config: WeatherConfig, read: Callable[[], str]) -> None:
        self._units = (config.temperature_unit or "degF", config.wind_unit or "mph")
        self._read = read
        self._newest: list[str] = []
        self._since = 0.0

    def fetch(self) -> Mapping[str, float | None]:
        text = self._read()
        found = weatherlink.parse(text, utc_now(), *self._units)
        newest, now = weatherlink.last_record(text)[:2], time.monotonic()
        if newest != self._newest:
            self._newest, self._since = newest, now
        return {**found, "age": now - self._since}


def _ask(config: WeatherConfig, client: Client) -> Mapping[str, float | None]:
    """What a daemon says. A value that it does not vouch for is None."""
    measured: Mapping[str, Any]
    keys = {TEMPERATURE: config.temperature_key or ""} | ({WIND: config.wind_key} if config.wind_key else {})
    valid = {TEMPERATURE: config.temperature_valid_key, WIND: config.wind_valid_key}
    if config.sensor is not None:
        measured = _environment(client.call("status"), config.sensor, tuple(keys.values()))
    else:
        measured = client.last_measurement() or {}
        if measured and not measurement_is_current(measured, utc_now()):
            raise NotCurrent(measured)
    found = {key: number(measured, name, valid[key], *_ANY) for key, name in keys.items()}
    if (temperature := found[TEMPERATURE]) is not None:
        found[TEMPERATURE] = celsius(temperature, config.temperature_unit or "degC")
    if (wind := found.get(WIND)) is not None:
        found[WIND] = metres_per_second(wind, config.wind_unit or "m/s")
    return {key: _plausible(key, value) for key, value in found.items()}


def _environment(status: Any, sensor: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The latest values of those parameters of one sensor that an environmentd calls current."""
    entry = status.get(sensor) if isinstance(status, Mapping) else None
    parameters = entry.get("parameters") if isinstance(entry, Mapping) else None
    if not isinstance(parameters, Mapping):
        raise InputProblem(f"it has no sensor {sensor!r}")
    found = {}
    for name in names:
        parameter = parameters.get(name)
        if isinstance(parameter, Mapping) and parameter.get("current") is True:
            found[name] = parameter.get("latest")
    return found
