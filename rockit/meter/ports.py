# SPDX-License-Identifier: GPL-3.0-or-later
"""From a config to what the query loops do: one source for each port, with the meters that are at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

from rockit.common.daemon import Context
from rockit.common.poll import Task
from rockit.common.transport.listener import Listener
from rockit.common.transport.settings import LineSettings
from rockit.meter import simulators
from rockit.meter.config import MeterConfig, MeterdConfig
from rockit.meter.drivers import SUNSPEC
from rockit.meter.model import Reading
from rockit.meter.sources import Asking, Counting, Listening, Sharing
from rockit.meter.unit import MeterUnit


@dataclass(frozen=True)
class PortLoop:
    """One port: what its loop does, what to call it, the pause between two polls (s), and what it has counted."""

    task: Task
    first: str
    """The first of its meters; its alarms have its name."""
    name: str
    period: float
    counters: Callable[[], Mapping[str, int]]
    beat: Callable[[], None]
    """To be called at least each second, by its loop."""


def loops(
    config: MeterdConfig, units: Mapping[str, MeterUnit], context: Context, new_beat: Callable[[], Callable[[], None]]
) -> list[PortLoop]:
    """One loop for each port that the config names."""
    if any(meter.port.startswith("sim://") for meter in config.meters.values()):
        simulators.register_all()
    at: dict[str, dict[str, MeterUnit]] = {}
    for name, unit in units.items():
        at.setdefault(unit.config.port, {})[name] = unit
    return [_loop(port, meters, config, replace(context, beat=new_beat())) for port, meters in at.items()]


def _loop(port: str, meters: Mapping[str, MeterUnit], config: MeterdConfig, context: Context) -> PortLoop:
    names = ", ".join(meters)
    unit = next(iter(meters.values()))
    driver = unit.config.driver
    source: Task
    counters: Mapping[str, int]
    if driver == "modbus":
        source, counters = _bus(port, meters, config.query_delay, context)
    elif driver == "s0":
        source, counters = _pulses(unit, config.query_delay, context), {}
    elif driver == "d0" and unit.config.request:
        source, counters = _readout(unit, context)
        return PortLoop(
            source, unit.name, f"{names} (d0 on {port})", config.query_delay, lambda: counters, context.beat
        )
    else:
        source, counters = _listener(unit, context)
    return PortLoop(source, unit.name, f"{names} ({driver} on {port})", 0.0, lambda: counters, context.beat)


def _settings(config: MeterConfig, usual: LineSettings) -> LineSettings:
    return usual.overridden(
        baud=config.serial_baud, bytesize=config.serial_bytesize, parity=config.serial_parity,
        stopbits=config.serial_stopbits, timeout=config.serial_timeout,
    )  # fmt: skip


def _listener(unit: MeterUnit, context: Context) -> tuple[Task, Mapping[str, int]]:
    config = unit.config
    decoder: Callable[[], Any]
    readings: Callable[[Any], list[Reading]]
    if config.driver == "sml":
        from rockit.meter.drivers import sml
        from rockit.meter.protocols.sml import Decoder as SmlDecoder

        usual, decoder, readings = LineSettings(baud=9600), SmlDecoder, sml.readings
    elif config.driver == "p1":
        from rockit.meter.drivers import p1
        from rockit.meter.protocols.p1 import Decoder as P1Decoder

        usual = p1.LINE if config.checked else p1.LINE_DSMR2  # before DSMR 4 there was neither checksum nor speed
        decoder, readings = partial(P1Decoder, checked=config.checked), p1.readings
    else:
        from rockit.meter.drivers import d0
        from rockit.meter.protocols.d0 import Ident

        usual, decoder = d0.UNASKED, _d0_decoder(config)

        def readings(frame: Any) -> list[Reading]:
            return [] if isinstance(frame, Ident) else d0.readings(frame)

    listener: Listener[Any] = Listener(
        config.port, _settings(config, usual), decoder, context.stop, context.log.warning, beat=context.beat
    )
    return Listening(unit, config.driver, listener, readings), listener.counters


def _d0_decoder(config: MeterConfig) -> Callable[[], Any]:
    from rockit.meter.protocols.d0 import Decoder

    # An adaptor that was told to carry 8 bits brings the parity of D0's 7 as the eighth.
    return partial(Decoder, checked=config.checked, parity=config.serial_bytesize == 8)


def _readout(unit: MeterUnit, context: Context) -> tuple[Task, Mapping[str, int]]:
    from rockit.common.transport.port import Port
    from rockit.meter.drivers import d0

    config = unit.config
    settings = _settings(config, d0.ASKED)
    port = Port(config.port, settings, context.log.warning)
    readout = partial(d0.readout, config.address, baud=settings.baud, switch_delay=config.baud_delay or 0.0)
    return Asking(unit, port, _d0_decoder(config), context.stop, readout), port.counters


def _pulses(unit: MeterUnit, every: float, context: Context) -> Task:
    from rockit.common.transport.edges import edge_source
    from rockit.meter import pulses

    config = unit.config
    assert config.impulses_per_kwh is not None
    given = {"debounce_ms": config.debounce, "timeout_s": config.zero_after}
    settings = pulses.Settings(
        Decimal(repr(config.impulses_per_kwh)), **{key: value for key, value in given.items() if value is not None}
    )
    return Counting(unit, edge_source(config.port), settings, every, context.stop)


def _bus(port: str, meters: Mapping[str, MeterUnit], period: float, context: Context) -> tuple[Task, Mapping[str, int]]:
    from rockit.common.transport.modbus import ModbusBus
    from rockit.meter import registermap
    from rockit.meter.drivers.modbus import ModbusMeter
    from rockit.meter.drivers.sunspec import SunSpecMeter

    maps = {
        name: registermap.load(str(unit.config.map))
        for name, unit in meters.items()
        if str(unit.config.map).partition(":")[0] != SUNSPEC
    }
    serial = next((known.serial for known in maps.values()), registermap.Serial())
    usual = LineSettings(
        baud=serial.baud, parity=serial.parity, stopbits=serial.stopbits,
        interval=max((known.serial.interval for known in maps.values()), default=0.0),
        timeout=max((known.serial.timeout for known in maps.values()), default=serial.timeout),
    )  # fmt: skip
    first = next(iter(meters.values())).config
    bus = ModbusBus(port, _settings(first, usual), context.stop, context.log.warning, beat=context.beat)
    asked = {}
    for name, unit in meters.items():
        number = unit.config.address_on_bus
        kind = str(unit.config.map).partition(":")[2]
        asked[name] = (
            unit,
            (
                ModbusMeter(bus, number, maps[name])
                if name in maps
                else SunSpecMeter(bus, number, kind=kind, index=unit.config.index, inverted=unit.config.inverted)
            ),
        )
    return Sharing(bus, asked, period, context.stop, context.log), bus.counters
