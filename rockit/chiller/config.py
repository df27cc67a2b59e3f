# SPDX-License-Identifier: GPL-3.0-or-later
"""The chiller daemon's config file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from rockit.chiller import drivers
from rockit.chiller.drivers import DRIVERS
from rockit.common.daemonconfig import DaemonConfig, Seconds, port_problems, unknown_daemon
from rockit.history.settings import history_findings, history_problems

if TYPE_CHECKING:
    from rockit.chiller import control

KIND = "chillerd"
Celsius = Annotated[float, msgspec.Meta(ge=-100, le=200)]
DEFAULT_SETPOINTS = (5.0, 45.0)
Duration = Annotated[float, msgspec.Meta(ge=0, le=7 * 86400)]


class ChillerConfig(DaemonConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of chillerd beside those of every daemon. Every file that rockit's chillerd accepts is accepted."""

    serial_port: Annotated[str, msgspec.Meta(min_length=1)]
    serial_baud: Annotated[int, msgspec.Meta(ge=50, le=4_000_000)] | None = None
    serial_timeout: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    serial_bytesize: Literal[5, 6, 7, 8] | None = None
    serial_parity: Literal["N", "E", "O"] | None = None
    serial_stopbits: Annotated[float, msgspec.Meta(ge=1, le=2)] | None = None
    driver: str = "thermotek-t257p"
    command_interval: Annotated[float, msgspec.Meta(ge=0, le=60)] | None = None
    power_daemon: str | None = None
    power_channels: list[str] = []  # noqa: RUF012 - msgspec copies it
    temperature_daemon: str | None = None
    temperature_value_key: str | None = None
    temperature_valid_key: str | None = None
    humidity_value_key: str | None = None
    humidity_valid_key: str | None = None
    antifreeze_enable_limit: Celsius | None = 5.0
    antifreeze_disable_limit: Celsius | None = 7.0
    setpoint_limits: tuple[Celsius, Celsius] = DEFAULT_SETPOINTS
    setpoint_rate: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    dew_point_margin: Annotated[float, msgspec.Meta(ge=0, le=30)] | None = None
    minimum_on_time: Duration = 0.0
    minimum_off_time: Duration = 0.0
    demand_hold: Duration = 0.0
    safe_state: Literal["keep", "run", "standby"] = "keep"
    query_delay: Seconds = 10.0

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys, and names that nobody knows."""
        yield from super().problems()
        yield from unknown_daemon("power_daemon", self.power_daemon)
        yield from unknown_daemon("temperature_daemon", self.temperature_daemon)
        for key in ("power_daemon", "temperature_daemon"):
            if self.daemon is not None and getattr(self, key) == self.daemon:
                yield key, f"{self.daemon} is this daemon itself"
        if self.driver not in DRIVERS:
            yield "driver", f"unknown driver {self.driver!r}; known are {', '.join(sorted(DRIVERS))}"
        if self.power_channels and self.power_daemon is None:
            yield "power_channels", "needs power_daemon, the daemon that knows them"
        if self.temperature_value_key is not None and self.temperature_daemon is None:
            yield "temperature_value_key", "needs temperature_daemon, the daemon that has it"
        if self.temperature_daemon is not None and self.temperature_value_key is None:
            yield "temperature_value_key", "required beside temperature_daemon: which of its values to use"
        if self.humidity_value_key is not None and self.temperature_daemon is None:
            yield "humidity_value_key", "needs temperature_daemon, the daemon that has it"
        if self.humidity_valid_key is not None and self.humidity_value_key is None:
            yield "humidity_valid_key", "needs humidity_value_key, the value that it is about"
        yield from history_problems(self.history)
        yield from port_problems("serial_port", self.serial_port)
        yield from _simulated(self.serial_port)
        if self.serial_stopbits not in (None, 1, 1.5, 2):
            yield "serial_stopbits", f"must be 1, 1.5 or 2, not {self.serial_stopbits:g}"
        low, high = self.setpoint_limits
        if low >= high:
            yield "setpoint_limits", f"the first ({low:g} °C) must be below the second ({high:g} °C)"
        elif self.setpoint_limits != DEFAULT_SETPOINTS and self.driver in DRIVERS:  # few commands load a driver for it
            least, most = drivers.setpoints(self.driver)
            if low < least or high > most:
                yield "setpoint_limits", f"a {self.driver} takes {least:g} to {most:g} °C, not {low:g} to {high:g} °C"
        enable, disable = self.antifreeze_enable_limit, self.antifreeze_disable_limit
        if (enable is None) != (disable is None):
            yield "antifreeze_disable_limit", "give both antifreeze limits, or null for both to do without antifreeze"
        elif enable is not None and disable is not None and disable < enable:
            yield "antifreeze_disable_limit", f"{disable:g} °C is below antifreeze_enable_limit, {enable:g} °C"
        if self.dew_point_margin is not None and (
            self.humidity_value_key is None or self.temperature_value_key is None
        ):
            yield "dew_point_margin", "needs temperature_daemon with temperature_value_key and humidity_value_key"

    def findings(self) -> Iterator[tuple[str, str]]:
        """Files and folders that are not there, or not as they must be."""
        yield from super().findings()
        yield from history_findings(self.history)

    def limits(self) -> control.Limits:
        """What the control needs of this."""
        from rockit.chiller import control, setpoint  # the command line reads configs, too, and decides nothing

        return control.Limits(
            antifreeze_enable=self.antifreeze_enable_limit,
            antifreeze_disable=self.antifreeze_disable_limit,
            minimum_on_time=self.minimum_on_time,
            minimum_off_time=self.minimum_off_time,
            demand_hold=self.demand_hold,
            setpoint=setpoint.Limits(*self.setpoint_limits, self.setpoint_rate, self.dew_point_margin),
        )


def _simulated(port: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a `sim://` port; None is a key that is missing or bad, which is told elsewhere."""
    if port is None or not port.startswith("sim://"):
        return
    from rockit.chiller import simulators
    from rockit.common import simulate

    simulators.register_all()
    try:
        simulate.create(port, 0.0)
    except ValueError as error:
        yield "serial_port", str(error)
