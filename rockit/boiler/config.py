# SPDX-License-Identifier: GPL-3.0-or-later
"""The boiler daemon's config file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rockit.boiler import settings as plant_settings
from rockit.boiler.drivers import BOARDS, BOILERS, load
from rockit.boiler.model import BOILER, CHILLERS, RELAYS, VALVES
from rockit.boiler.plant import Site
from rockit.boiler.sensors import ModbusSensor
from rockit.boiler.settings import Settings
from rockit.boiler.units import Scale
from rockit.boiler.weather import WeatherConfig
from rockit.common.daemonconfig import DaemonConfig, Seconds, port_problems, unknown_daemon
from rockit.common.transport.modbus_framing import framing_of
from rockit.common.transport.onewire import ROOT
from rockit.history.settings import history_findings, history_problems

KIND = "boilerd"
_OPTIONS = {"span": "setpoint_span", "enable": "boiler_enable"}
"""Option of a boiler's driver -> its key."""
SLOWEST = 30.0
"""The longest pause between two polls of the relays, s: shorter than what counts as lost, or as out of its window."""
Number = Annotated[float, msgspec.Meta(ge=-1000, le=100_000)]
Point = tuple[Annotated[float, msgspec.Meta(ge=-150, le=300)], Annotated[float, msgspec.Meta(ge=-150, le=300)]]
Text = Annotated[str, msgspec.Meta(min_length=1)]
_W1_ID = re.compile(r"[0-9a-f]{2}-[0-9a-f]{12}")


class StartSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Start values of the settings, in `temperature_unit`; what is absent begins with its default."""

    setpoint_min: Number | None = None
    setpoint_max: Number | None = None
    setpoint_offset_summer: Number | None = None
    setpoint_offset_winter: Number | None = None
    tolerance: Number | None = None
    mode_change_delta_temp: Number | None = None
    cascade_time: Number | None = None
    mode_switch_lockout_time: Number | None = None
    valve_time: Number | None = None
    flow_through_time: Number | None = None
    boiler_minimum_on_time: Number | None = None
    boiler_minimum_off_time: Number | None = None
    chiller_minimum_on_time: Number | None = None
    chiller_minimum_off_time: Number | None = None
    return_low: Number | None = None
    return_high: Number | None = None
    freeze_on: Number | None = None
    freeze_off: Number | None = None
    freeze_outside: Number | None = None
    outside_hold: Number | None = None
    wind_chill: bool | Number | None = None
    curve: list[Point] | None = None
    history_curve: list[Point] | None = None

    def given(self) -> dict[str, Any]:
        """Those that the file names."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


class Sensors(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"return_": "return"}):
    """Where the temperatures of the water come from: a 1-wire id, or a register of a Modbus device."""

    return_: Text | ModbusSensor | None = None
    outlet: Text | ModbusSensor | None = None


class BoilerConfig(DaemonConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of boilerd beside those of every daemon."""

    modbus_port: Text | None = None
    modbus_baud: Annotated[int, msgspec.Meta(ge=50, le=4_000_000)] | None = None
    modbus_unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1
    boiler_driver: str = "lochinvar"
    setpoint_span: tuple[Number, Number] | None = None
    """Of a boiler that is told a percentage: the set points at 20 % (2 V) and at 100 % (10 V)."""
    boiler_enable: bool = False
    """Whether the boiler is also enabled over Modbus, and not by its contact alone."""
    serial_bytesize: Literal[7, 8] | None = None
    serial_parity: Literal["N", "E", "O"] | None = None
    serial_stopbits: Literal[1, 2] | None = None
    serial_timeout: Annotated[float, msgspec.Meta(gt=0, le=30)] | None = None
    relay_port: Text
    relay_driver: str = "numato"
    relay_baud: Annotated[int, msgspec.Meta(ge=50, le=4_000_000)] | None = None
    relay_bytesize: Literal[7, 8] | None = None
    relay_parity: Literal["N", "E", "O"] | None = None
    relay_stopbits: Literal[1, 2] | None = None
    relay_unit: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1
    relay_count: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    relays: dict[str, Annotated[int, msgspec.Meta(ge=0, le=63)]]
    sensors: Sensors = Sensors()
    sensor_root: Text = str(ROOT)
    weather: WeatherConfig | None = None
    temperature_unit: Literal["degC", "degF"] = "degC"
    settings: StartSettings = StartSettings()
    safe_state: Literal["off", "keep"] = "off"
    """What becomes of the sources when the daemon is told to stop."""
    efficiency_hours: Annotated[float, msgspec.Meta(ge=1, le=96)] = 12.0
    query_delay: Seconds = 2.0

    @property
    def scale(self) -> Scale:
        """The scale of this config, and of what people see."""
        return Scale(self.temperature_unit)

    def start_settings(self) -> Settings:
        """The settings that the file asks for. Raises BadSetting."""
        return plant_settings.changed(Settings(), self.settings.given(), self.scale)

    def boiler_options(self) -> dict[str, Any]:
        """What the file gives of what some boilers' drivers take: `span` (°C at 20 and at 100 %), `enable`."""
        given: dict[str, Any] = {}
        if self.setpoint_span is not None:
            given["span"] = tuple(self.scale.celsius(value) for value in self.setpoint_span)
        if self.boiler_enable:
            given["enable"] = True
        return given

    def site(self) -> Site:
        """What the control must know of the plant."""
        return Site(
            BOILER in self.relays, tuple(name for name in CHILLERS if name in self.relays), VALVES[0] in self.relays,
            self.weather is not None, self.scale,
        )  # fmt: skip

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys, and names that nobody knows."""
        yield from super().problems()
        yield from history_problems(self.history)
        yield from _ports(self)
        yield from _options(self)
        yield from _count(self)
        yield from _relays(self)
        yield from _sensors(self)
        if self.weather is not None:
            for path, text in self.weather.problems():
                yield f"weather.{path}", text
            at = "weather"
            source: WeatherConfig | None = self.weather
            while source is not None:
                yield from unknown_daemon(f"{at}.daemon", source.daemon)
                at, source = f"{at}.fallback", source.fallback
        good = self.settings.given()
        for name, value in self.settings.given().items():
            try:
                plant_settings.inward(name, value, self.scale)
            except plant_settings.BadSetting as error:
                yield f"settings.{name}", str(error)
                del good[name]
        try:
            plant_settings.changed(Settings(), good, self.scale)
        except plant_settings.BadSetting as error:
            yield "settings", str(error)
        if self.query_delay > SLOWEST:
            yield "query_delay", f"at most {SLOWEST:g} s: relays and return are watched with every poll"
        if self.setpoint_span is not None and self.setpoint_span[0] >= self.setpoint_span[1]:
            yield "setpoint_span", "the first (at 20 %) must be below the second (at 100 %)"

    def findings(self) -> Iterator[tuple[str, str]]:
        """Files and folders that are not there, or not as they must be."""
        yield from super().findings()
        yield from history_findings(self.history)
        root = Path(self.sensor_root)
        for key, sensor in (("return", self.sensors.return_), ("outlet", self.sensors.outlet)):
            if isinstance(sensor, str) and _W1_ID.fullmatch(sensor) and not (root / sensor).exists():
                there = ", ".join(sorted(path.name for path in root.glob("[0-9a-f][0-9a-f]-*"))) or "none"
                yield f"sensors.{key}", f"no sensor {sensor} in {root}; there are: {there}"


def _ports(config: BoilerConfig) -> Iterator[tuple[str, str]]:
    kinds = (("modbus_port", "boiler_driver", BOILERS), ("relay_port", "relay_driver", BOARDS))
    for key, driver_key, known in kinds:
        driver, port = getattr(config, driver_key), getattr(config, key)
        if driver not in known:
            yield driver_key, f"unknown driver {driver!r}; known are {', '.join(sorted(known))}"
        if port is None:
            continue
        if driver in known and not load(driver, known).modbus:
            yield from port_problems(key, port)
            continue
        try:
            framing_of(port)
        except ValueError as error:
            yield key, str(error)
        else:
            if port.partition("://")[0] not in ("tcp", "rtu+tcp", "ascii"):
                yield from port_problems(key, port)
    if config.modbus_port is not None and config.modbus_port == config.relay_port:
        yield (
            "relay_port",
            "the boiler is at that port; the relays need one of their own, which nothing else can hold up",
        )


def _options(config: BoilerConfig) -> Iterator[tuple[str, str]]:
    if config.boiler_driver not in BOILERS:
        return
    takes = load(config.boiler_driver, BOILERS).options
    for option in config.boiler_options():
        if option not in takes:
            yield _OPTIONS[option], f"boiler_driver {config.boiler_driver} does not take it"


def _count(config: BoilerConfig) -> Iterator[tuple[str, str]]:
    if config.relay_driver not in BOARDS:
        return
    counts = load(config.relay_driver, BOARDS).counts
    if config.relay_count is not None and config.relay_count not in counts:
        few = len(counts) < 4
        can = " or ".join(map(str, counts)) if few else f"{counts[0]} to {counts[-1]}"
        yield "relay_count", f"a board of relay_driver {config.relay_driver} has {can} relays, not {config.relay_count}"


def _most(config: BoilerConfig) -> int | None:
    """How many relays the board has; None where that cannot be told."""
    if config.relay_count is not None or config.relay_driver not in BOARDS:
        return config.relay_count
    return int(load(config.relay_driver, BOARDS).usual)


def _relays(config: BoilerConfig) -> Iterator[tuple[str, str]]:
    relays = config.relays
    for name in relays:
        if name not in RELAYS:
            yield f"relays.{name}", f"unknown; known are {', '.join(RELAYS)}"
    numbers: dict[int, str] = {}
    most = _most(config)
    for name, number in relays.items():
        if number in numbers:
            yield f"relays.{name}", f"{number} is {numbers[number]}'s relay already"
        elif most is not None and number >= most:
            yield f"relays.{name}", f"the board has relays 0 to {most - 1}; relay_count says how many"
        numbers[number] = name
    if config.modbus_port is not None and BOILER not in relays:
        yield "relays.boiler", "modbus_port names a boiler, which needs a relay that enables it"
    if not any(name in relays for name in (BOILER, *CHILLERS)):
        yield "relays", "names neither a boiler nor a chiller"
    missing = [valve for valve in VALVES if valve not in relays]
    if len(missing) == 1:
        yield f"relays.{missing[0]}", "there are two valves or none"
    if len(missing) == 2 and BOILER in relays and any(name in relays for name in CHILLERS):
        yield "relays", "boiler and chillers share their water: winter_valve and summer_valve are needed"


def _sensors(config: BoilerConfig) -> Iterator[tuple[str, str]]:
    if config.sensors.return_ is not None and config.sensors.return_ == config.sensors.outlet:
        yield "sensors.outlet", "is the return sensor as well; one sensor cannot stand in two places"
    one, other = config.sensors.return_, config.sensors.outlet
    if isinstance(one, ModbusSensor) and isinstance(other, ModbusSensor) and one.port == other.port:
        keys = [key for key in ("baud", "parity", "stopbits") if getattr(one, key) != getattr(other, key)]
        if keys:
            yield "sensors.outlet", f"its {', '.join(keys)} must be as those of sensors.return, on the same port"
    for key, sensor in (("return", config.sensors.return_), ("outlet", config.sensors.outlet)):
        if isinstance(sensor, ModbusSensor):
            for path, text in sensor.problems():
                yield f"sensors.{key}.{path}", text
            if sensor.port in (config.modbus_port, config.relay_port):
                yield f"sensors.{key}.port", "is the boiler's or the relays' port; it needs one of its own"
            continue
        if sensor is not None and not sensor.startswith("sim://") and not _W1_ID.fullmatch(sensor):
            yield f"sensors.{key}", f"a 1-wire id looks like 28-0123456789ab, not {sensor!r}"
