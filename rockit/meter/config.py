# SPDX-License-Identifier: GPL-3.0-or-later
"""The meter daemon's config file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

import msgspec

from rockit.common.daemonconfig import DaemonConfig, Seconds, port_problems
from rockit.history.settings import history_findings, history_problems
from rockit.meter.names import NAMES
from rockit.meter.protocols import obis

KIND = "meterd"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_MODBUS_PORTS = ("tcp", "rtu+tcp", "ascii")
PATIENCE: dict[str, float] = {"sml": 30.0, "p1": 45.0, "d0": 120.0, "s0": 30.0, "modbus": 30.0}
"""How old the last good reading of a meter may be and still count, s: many periods of each kind (SML 1 to 4 s, P1 10 s,
a readout at 300 baud half a minute)."""
_ONLY: dict[str, tuple[str, ...]] = {
    "impulses_per_kwh": ("s0",), "debounce": ("s0",), "direction": ("s0",), "zero_after": ("s0",),
    "map": ("modbus",), "unit": ("modbus",), "inverted": ("modbus",), "index": ("modbus",),
    "request": ("d0",), "address": ("d0",), "baud_delay": ("d0",),
    "checked": ("d0", "p1"),
}  # fmt: skip
"""Keys of some drivers alone."""
_LINE = ("serial_baud", "serial_bytesize", "serial_parity", "serial_stopbits", "serial_timeout")
Price = Annotated[float, msgspec.Meta(ge=-1000, le=1000)]


class MeterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One meter."""

    driver: Literal["sml", "d0", "p1", "s0", "modbus"]
    port: Annotated[str, msgspec.Meta(min_length=1)]
    note: str = ""
    filter: list[str | int] = []
    """OBIS codes, or names, of what is neither shown nor kept (pyHM's key)."""
    serial_baud: Annotated[int, msgspec.Meta(ge=50, le=4_000_000)] | None = None
    serial_bytesize: Literal[5, 6, 7, 8] | None = None
    serial_parity: Literal["N", "E", "O"] | None = None
    serial_stopbits: Annotated[float, msgspec.Meta(ge=1, le=2)] | None = None
    serial_timeout: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    maximum_age: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    record_every: Seconds = 0.0
    """At most one reading in so many s is kept; 0: every one."""
    rollover: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Wh at which its counters begin anew, where it does not say so itself."""
    impulses_per_kwh: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None
    debounce: Annotated[float, msgspec.Meta(gt=0, le=30)] | None = None
    direction: Literal["import", "export"] = "import"
    zero_after: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    map: str | None = None
    inverted: bool = False
    """SunSpec meters: its power is + export."""
    index: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """SunSpec: which of several of its kind at one address, from 0 on."""
    unit: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    request: bool = True
    """D0: ask for each readout; false for a meter that talks by itself."""
    address: Annotated[str, msgspec.Meta(max_length=32)] = ""
    baud_delay: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    checked: bool = True
    """D0 and P1: believe only telegrams with a checksum."""

    @property
    def asked(self) -> bool:
        """Whether it is told of every `query_delay`, and does not set the pace itself."""
        return self.driver in ("modbus", "s0") or (self.driver == "d0" and self.request)

    def age(self, query_delay: float) -> float:
        """How old a reading may be and still count, s: three pauses of what is asked, at least."""
        if self.maximum_age is not None:
            return self.maximum_age
        return max(PATIENCE[self.driver], 3 * query_delay if self.asked else 0.0)

    @property
    def address_on_bus(self) -> int:
        """Of a Modbus meter."""
        return 1 if self.unit is None else self.unit

    @property
    def filtered(self) -> frozenset[str]:
        """Codes and names that are passed over."""
        codes = frozenset(_code(item) for item in self.filter)
        # A code and the name that stands for it are one: who filters 16.7.0 does not want `power` either.
        return codes | {NAMES[code] for code in codes if code in NAMES}


class Tariff(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices from a day on, until those of the next one."""

    since: date = msgspec.field(name="from")
    import_price: Price | dict[Literal["T1", "T2"], Price] = msgspec.field(name="import")
    """Of a kWh, or of one in each tariff."""
    export_price: Price = msgspec.field(name="export", default=0.0)
    """What is paid for a kWh that is given away."""
    per_day: Price = 0.0
    meters: list[str] | None = None
    """Whose prices these are; absent: all meters'."""


class MeterdConfig(DaemonConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of meterd beside those of every daemon."""

    meters: dict[str, MeterConfig]
    tariffs: list[Tariff] = []  # noqa: RUF012 - msgspec copies it
    currency: Annotated[str, msgspec.Meta(min_length=1, max_length=8)] = "EUR"
    time_zone: str | None = None
    """In which days begin (`Europe/Berlin`); absent: the machine's."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys, and names that nobody knows."""
        yield from super().problems()
        if not self.meters:
            yield "meters", "names no meter"
        for name, meter in self.meters.items():
            if meter.maximum_age is not None and meter.asked and meter.maximum_age <= self.query_delay:
                yield f"meters.{name}.maximum_age", f"must be more than query_delay, {self.query_delay:g} s"
            yield from ((f"meters.{name}{key and '.'}{key}", text) for key, text in _meter_problems(name, meter))
        yield from self._port_problems()
        yield from history_problems(self.history)
        yield from self._tariff_problems()
        if not self.currency.isprintable():
            yield "currency", "must be printable"
        if self.time_zone is not None and not _known_zone(self.time_zone):
            yield "time_zone", f"unknown zone {self.time_zone!r}; write a name as Europe/Berlin"

    def _port_problems(self) -> Iterator[tuple[str, str]]:
        owners: dict[str, str] = {}
        units: dict[tuple[str, object], str] = {}
        for name, meter in self.meters.items():
            first = owners.setdefault(meter.port, name)
            if meter.driver == "modbus":
                number = meter.address_on_bus
                # One address may have several devices of SunSpec behind it.
                which = (number, meter.map, meter.index) if (meter.map or "").startswith("sunspec") else (number, "", 0)
                if (twin := units.setdefault((meter.port, which), name)) != name:
                    yield f"meters.{name}.unit", f"unit {number} on {meter.port} is {twin} already"
            if first == name:
                continue
            other = self.meters[first]
            if {meter.driver, other.driver} != {"modbus"}:
                yield (
                    f"meters.{name}.port",
                    f"{meter.port} is the port of {first} as well; only Modbus meters share one",
                )
            elif [getattr(meter, key) for key in _LINE] != [getattr(other, key) for key in _LINE]:
                yield f"meters.{name}.port", f"its line settings differ from those of {first}, on the same port"

    def _tariff_problems(self) -> Iterator[tuple[str, str]]:
        seen: dict[tuple[str | None, date], int] = {}
        for index, tariff in enumerate(self.tariffs):
            if isinstance(tariff.import_price, dict) and tariff.import_price.keys() != {"T1", "T2"}:
                yield f"tariffs[{index}].import", "needs the prices of both T1 and T2, or one price for all"
            if tariff.meters == []:
                yield f"tariffs[{index}].meters", "names no meter; leave it out where the prices are those of all"
            for name in tariff.meters or []:
                if self.meters and name not in self.meters:
                    yield f"tariffs[{index}].meters", f"there is no meter {name!r}"
            for meter in tariff.meters or (None,):
                if (other := seen.setdefault((meter, tariff.since), index)) != index:
                    yield f"tariffs[{index}].from", f"{tariff.since} is the first day of tariffs[{other}] as well"

    def findings(self) -> Iterator[tuple[str, str]]:
        """Files and folders that are not there, or not as they must be."""
        yield from super().findings()
        yield from history_findings(self.history)


def _code(item: str | int) -> str:
    if isinstance(item, int):
        return obis.text(item.to_bytes(6, "big"))
    try:
        return obis.text(obis.parse(item))
    except ValueError:
        return item


def name_problem(name: str) -> str:
    """What is wrong with the name of a meter; empty where it can be one."""
    if name == "events":
        return "is what the history calls what happened; name the meter else"
    return "" if _NAME.fullmatch(name) else "a meter's name has letters, digits, _ and -, 40 at most"


def _meter_problems(name: str, meter: MeterConfig) -> Iterator[tuple[str, str]]:
    if problem := name_problem(name):
        yield "", problem
    for item in meter.filter:
        if isinstance(item, int) and not 0 <= item < 2**48:
            yield "filter", f"{item:#x} is no OBIS code, which has six bytes"
    plain = MeterConfig(driver=meter.driver, port=meter.port)
    for key, drivers in _ONLY.items():
        if meter.driver not in drivers and getattr(meter, key) != getattr(plain, key):
            yield key, f"is a key of {' and '.join(drivers)} meters, and this one is {meter.driver}"
    if meter.serial_stopbits not in (None, 1, 1.5, 2):
        yield "serial_stopbits", f"must be 1, 1.5 or 2, not {meter.serial_stopbits:g}"
    if meter.driver == "s0" and meter.impulses_per_kwh is None:
        yield "impulses_per_kwh", "required for s0; it stands on the meter's plate (imp/kWh)"
    if meter.driver == "modbus":
        yield from _map_problems(meter)
        if not meter.port.startswith("tcp://") and not 1 <= meter.address_on_bus <= 247:
            yield "unit", f"must be 1 to 247 on a serial line, not {meter.address_on_bus}"
    if meter.driver == "d0":
        from rockit.meter.protocols.d0 import request

        try:
            request(meter.address)
        except ValueError as error:
            yield "address", str(error)
    yield from _port_kind(meter)


def _map_problems(meter: MeterConfig) -> Iterator[tuple[str, str]]:
    if meter.map is None:
        yield "map", "required for modbus: which registers it has (sdm630, sunspec, ... or a file)"
        return
    from rockit.meter.drivers import map_problem

    if problem := map_problem(meter.map):
        yield "map", problem


def _port_kind(meter: MeterConfig) -> Iterator[tuple[str, str]]:
    scheme, found, _ = meter.port.partition("://")
    if not found:
        if meter.driver == "s0":
            kinds = "gpio://gpiochip0/24, serial-line:///dev/ttyS0?line=cts"
            yield "port", f"where the pulses come in: {kinds}; not {meter.port!r}"
    elif meter.driver == "s0":
        from rockit.common.transport.edges import edge_source

        try:
            edge_source(meter.port)
        except ValueError as error:
            yield "port", str(error)
    elif meter.driver == "modbus" and scheme in _MODBUS_PORTS:
        from rockit.common.transport.modbus import framing_of

        try:
            framing_of(meter.port)
        except ValueError as error:
            yield "port", str(error)
    else:
        yield from port_problems("port", meter.port)
        if scheme == "sim":
            yield from _simulated(meter.port)


def _simulated(port: str) -> Iterator[tuple[str, str]]:
    from rockit.common import simulate
    from rockit.meter import simulators

    simulators.register_all()
    try:
        simulate.create(port, 0.0)
    except ValueError as error:
        yield "port", str(error)


def _known_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
