# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated meter with a P1 port (DSMR 5, or 4 with `period` 10), with a gas meter on M-Bus channel 1.

Its clock begins on a fixed day: a simulation has to repeat itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from rockit.common.simulate_device import FaultyDevice, Info, number

_JOULES_PER_KWH = 3_600_000.0
_GAS_PERIOD = 300.0
"""Seconds between two readings of the gas meter (DSMR 5)."""


class P1Meter(FaultyDevice):
    """One meter. `power` in W (below 0: export), `gas` in m3/h, `tariff` 1 (low) or 2 (normal), counters in kWh and m3.

    It sends every `period` simulated seconds. `crc` False: as DSMR 2.2, without a checksum. `start` is its local time
    at the beginning (`2026-01-15T12:00:00`).
    """

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "power": "W, below 0: export",
        "gas": "m3/h",
        "tariff": "1 low, 2 normal",
    }

    def __init__(
        self,
        *,
        power: float = 500.0,
        gas: float = 0.6,
        tariff: int = 2,
        period: float = 1.0,
        low: float = 4321.0,
        normal: float = 1234.5,
        volume: float = 987.654,
        crc: bool = True,
        start: str = "2026-01-15T12:00:00",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if period < self.TICK:
            raise ValueError(f"period must be {self.TICK:g} s or more")
        if tariff not in (1, 2):
            raise ValueError("tariff must be 1 or 2")
        self.power, self.gas, self.tariff, self.period, self.crc = power, gas, tariff, period, crc
        self.imported = {1: low, 2: normal}
        self.exported = {1: 0.0, 2: 0.0}
        self.volume = volume
        self._start = _utc(datetime.fromisoformat(start))
        self._gas_time, self._gas_shown = self._start, volume
        self._next = period

    def take(self, data: bytes, now: float) -> None:
        """The port has no way in."""

    def step(self, dt: float) -> None:
        """Counters grow; the gas meter is read every five minutes, a telegram is sent when the period is over."""
        (self.imported if self.power >= 0 else self.exported)[self.tariff] += abs(self.power) * dt / _JOULES_PER_KWH
        self.volume += self.gas * dt / 3600.0
        clock = self._moment
        if (clock - self._gas_time).total_seconds() >= _GAS_PERIOD:
            self._gas_time, self._gas_shown = clock, self.volume
        if self.simulated >= self._next - 1e-6:
            self._next += self.period
            self.reply(self.telegram(), self.line_time)

    def change(self, key: str, value: str) -> None:
        """Power, gas or tariff."""
        if key == "tariff":
            if value not in ("1", "2"):
                raise ValueError("tariff is 1 or 2")
            self.tariff = int(value)
        elif key == "power":
            self.power = number(value, -99_000.0, 99_000.0)
        else:
            self.gas = number(value, 0.0, 100.0)

    def state(self) -> Info:
        """Power in W, counters in kWh and m3, as no telegram rounds them."""
        return {
            "power": self.power, "tariff": self.tariff, "volume": self.volume,
            "import_1": self.imported[1], "import_2": self.imported[2],
            "export_1": self.exported[1], "export_2": self.exported[2],
        }  # fmt: skip

    def telegram(self) -> bytes:
        """One whole telegram of this moment."""
        power = self.power
        lines = [
            "/SIM5P1-METER",
            "",
            "1-3:0.2.8(50)",
            f"0-0:1.0.0({_local(self._moment)})",
            f"0-0:96.1.1({b'E0012345678901234'.hex().upper()})",
            f"1-0:1.8.1({self.imported[1]:010.3f}*kWh)",
            f"1-0:1.8.2({self.imported[2]:010.3f}*kWh)",
            f"1-0:2.8.1({self.exported[1]:010.3f}*kWh)",
            f"1-0:2.8.2({self.exported[2]:010.3f}*kWh)",
            f"0-0:96.14.0({self.tariff:04d})",
            f"1-0:1.7.0({max(power, 0.0) / 1000:06.3f}*kW)",
            f"1-0:2.7.0({max(-power, 0.0) / 1000:06.3f}*kW)",
            "0-0:96.7.21(00004)",
            "0-0:96.7.9(00002)",
            "1-0:99.97.0(1)(0-0:96.7.19)(251224150415W)(0000000240*s)",
            "0-0:96.13.0()",
            "1-0:32.7.0(230.1*V)",
            f"1-0:31.7.0({round(abs(power) / 230.1):03d}*A)",
            f"1-0:21.7.0({max(power, 0.0) / 1000:06.3f}*kW)",
            f"1-0:22.7.0({max(-power, 0.0) / 1000:06.3f}*kW)",
            "0-1:24.1.0(003)",
            f"0-1:96.1.0({b'G0098765432109876'.hex().upper()})",
            f"0-1:24.2.1({_local(self._gas_time)})({self._gas_shown:09.3f}*m3)",
        ]
        text = "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"!"
        return text + (b"%04X" % _checksum(text) if self.crc else b"") + b"\r\n"

    @property
    def _moment(self) -> datetime:
        return self._start + timedelta(seconds=self.simulated)

    def spoil(self, reply: bytes) -> bytes:
        """The first digit of the last value is another; without a CRC, a character that cannot be."""
        at = reply.rfind(b"(") + 1 or len(reply) // 2
        return reply[:at] + bytes([reply[at] ^ (0x01 if self.crc else 0x80)]) + reply[at + 1 :]


def _checksum(data: bytes) -> int:
    """Long division by x^16 + x^15 + x^2 + 1, bit by bit, least significant bit first."""
    rest = 0
    for byte in data:
        for bit in range(8):
            out = (rest ^ byte >> bit) & 1
            rest >>= 1
            if out:
                rest ^= 0b1010_0000_0000_0001
    return rest


def _summer(moment: datetime) -> bool:
    """Whether a time (UTC) is in the summer time of the EU: between the last Sundays of March and October, 01:00."""
    begins, ends = (_last_sunday(moment.year, month) for month in (3, 10))
    return begins <= moment < ends


def _last_sunday(year: int, month: int) -> datetime:
    last = datetime(year, month, 31, 1)
    return last - timedelta(days=(last.weekday() + 1) % 7)


def _local(moment: datetime) -> str:
    summer = _summer(moment)
    return f"{moment + timedelta(hours=2 if summer else 1):%y%m%d%H%M%S}{'S' if summer else 'W'}"


def _utc(local: datetime) -> datetime:
    winter = local - timedelta(hours=1)
    return winter - timedelta(hours=1) if _summer(winter - timedelta(hours=1)) else winter
