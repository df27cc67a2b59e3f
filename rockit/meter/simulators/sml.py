# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated SML meters that push through their optical head, in the three forms that German households have.

What they send is written with `sml_encode`; nothing here knows how it is read. `modern` is a meter of 2017 and later
(power with its sign, direction in the bits of the status), `edl21` its forerunner (power without a sign: its direction
stands in bit 5 of the status), `two-tariffs` one that counts by tariff and tells no total. Forms and status words are
those of the captures that the reference describes; names and numbers are our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from rockit.common.simulate_device import Fault, FaultyDevice, Info, number
from rockit.meter.protocols import sml_encode as sml
from rockit.meter.protocols.sml_types import Entry, List, Time, TimeKind

_JOULES_PER_WH = 3600.0
_IMPORT, _EXPORT = bytes.fromhex("0100010800ff"), bytes.fromhex("0100020800ff")
_TARIFFS = bytes.fromhex("0100010801ff"), bytes.fromhex("0100010802ff")
_POWER, _ABSOLUTE, _IMPORT_POWER = (bytes.fromhex(f"0100{code}0700ff") for code in ("10", "0f", "01"))
_MAKER, _SERVER = bytes.fromhex("010060320101"), bytes.fromhex("0100600100ff")
_MAKER_EDL21, _SERVER_EDL21 = bytes.fromhex("8181c78203ff"), bytes.fromhex("0100000009ff")
_KEY = bytes.fromhex("8181c78205ff")
_WATT_HOURS, _WATTS = 30, 27
_MODERN, _MODERN_EXPORT = 0x1C0104, 0x1C0904
_EDL21, _EDL21_EXPORT = 0x0182, 0x01A2


class SmlMeter(FaultyDevice):
    """One meter. `power` in W (below 0: export), `energy` and `exported` in kWh, `period` in s.

    `form` is `modern`, `edl21` or `two-tariffs`; `pin` False is a modern meter whose PIN was not entered. `serial` is
    its number. `tariff` is the one that counts now.
    """

    CONDITIONS: ClassVar[Mapping[str, str]] = {
        "power": "W, below 0: export",
        "pin": "1: its PIN was entered; 0: it tells whole kWh and no power",
        "tariff": "1 or 2, which counts now",
    }
    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "replaced": Fault("another meter is in its place, which has counted 1.5 kWh", once=False),
        "restart": Fault("its seconds of operation begin anew", once=False),
    }

    def __init__(
        self, *, form: str = "modern", power: float = 420.0, energy: float = 12345.6789, exported: float = 1.5,
        period: float = 1.0, pin: bool = True, serial: int = 4711, kermit: bool = False, tariff: int = 1,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(**options)
        if form not in ("modern", "edl21", "two-tariffs"):
            raise ValueError(f"form is modern, edl21 or two-tariffs, not {form!r}")
        if period < self.TICK:
            raise ValueError(f"period must be {self.TICK:g} s or more")
        if tariff not in (1, 2):
            raise ValueError("tariff must be 1 or 2")
        self.form, self.power, self.pin, self.kermit, self.tariff = form, power, pin, kermit, tariff
        self.period = period
        self._serial = serial
        self._imported = {1: energy * 1000, 2: 0.0}
        self._exported = exported * 1000
        self._booted = 0.0
        self._next = period
        self._sent = 0

    def take(self, data: bytes, now: float) -> None:
        """The head only listens."""

    def step(self, dt: float) -> None:
        """Counters grow; a telegram is sent when the period is over."""
        grown = abs(self.power) * dt / _JOULES_PER_WH
        if self.power >= 0:
            self._imported[self.tariff] += grown
        else:
            self._exported += grown
        if self.simulated >= self._next - 1e-6:
            self._next += self.period
            self._sent += 1
            self.reply(sml.push([self._list()], self._sent, kermit=self.kermit), self.line_time)

    def change(self, key: str, value: str) -> None:
        """Power, PIN or tariff."""
        if key == "power":
            self.power = number(value, -1e6, 1e6)
        elif key == "pin":
            self.pin = number(value, 0, 1) == 1
        elif value in ("1", "2"):
            self.tariff = int(value)
        else:
            raise ValueError("tariff is 1 or 2")

    def fault_changed(self, name: str, argument: str | None) -> None:
        """Another meter, or the same one switched on anew."""
        if argument is None:
            return
        self._booted = self.simulated
        if name == "replaced":
            self._serial += 1
            self._imported, self._exported = {1: 1500.0, 2: 0.0}, 0.0

    def state(self) -> Info:
        """Power in W, counters in Wh, as no telegram rounds them."""
        return {
            "power": self.power, "import": sum(self._imported.values()), "export": self._exported, "sent": self._sent,
        }  # fmt: skip

    def spoil(self, reply: bytes) -> bytes:
        """A byte in the middle of the last value is another."""
        at = len(reply) * 2 // 3
        return reply[:at] + bytes([reply[at] ^ 0x10]) + reply[at + 1 :]

    def _list(self) -> List:
        server = bytes.fromhex("0a0153494d00") + self._serial.to_bytes(4, "big")
        time = Time(TimeKind.SEC_INDEX, int(self.simulated - self._booted) + 1)
        entries = {"modern": self._modern, "edl21": self._edl21, "two-tariffs": self._two_tariffs}[self.form](server)
        return List(None, server, bytes.fromhex("0100620affff"), time, tuple(entries))

    def _modern(self, server: bytes) -> list[Entry]:
        status = _MODERN if self.power >= 0 else _MODERN_EXPORT
        total = sum(self._imported.values())
        found = [Entry(_MAKER, value=b"SIM"), Entry(_SERVER, value=server)]
        if not self.pin:
            return [
                *found,
                _energy(_IMPORT, total, status, kilo=True),
                _energy(_EXPORT, self._exported, None, kilo=True),
            ]
        power = round(self.power * 100)
        return [
            *found,
            _energy(_IMPORT, total, status),
            _energy(_EXPORT, self._exported, None),
            Entry(_POWER, unit=_WATTS, scaler=-2, value=power, width=_width(power)),
        ]

    def _edl21(self, server: bytes) -> list[Entry]:
        status = _EDL21 if self.power >= 0 else _EDL21_EXPORT
        power = round(abs(self.power) * 10)
        return [
            Entry(_MAKER_EDL21, value=b"SIM"),
            Entry(_SERVER_EDL21, value=server),
            _energy(_IMPORT, sum(self._imported.values()), status),
            _energy(_TARIFFS[0], self._imported[1], None),
            _energy(_TARIFFS[1], self._imported[2], None),
            Entry(_ABSOLUTE, unit=_WATTS, scaler=-1, value=power, width=4),
            Entry(_KEY, value=bytes(range(48))),
        ]

    def _two_tariffs(self, server: bytes) -> list[Entry]:
        return [
            Entry(_MAKER_EDL21, value=b"SIM"),
            Entry(_SERVER_EDL21, value=server),
            _energy(_TARIFFS[0], self._imported[1], _EDL21),
            _energy(_TARIFFS[1], self._imported[2], _EDL21),
            Entry(_IMPORT_POWER, unit=_WATTS, scaler=-1, value=round(max(self.power, 0.0) * 10), width=4),
        ]


def _energy(name: bytes, watt_hours: float, status: int | None, *, kilo: bool = False) -> Entry:
    """Tenths of Wh in five octets; a meter without its PIN tells whole kWh."""
    if kilo:
        return Entry(name, status, unit=_WATT_HOURS, scaler=3, value=int(watt_hours // 1000), width=5)
    return Entry(name, status, unit=_WATT_HOURS, scaler=-1, value=int(watt_hours * 10), width=5)


def _width(value: int) -> int:
    """As few octets as it needs, as real meters do: the form of their telegrams changes with their power."""
    return (value if value >= 0 else ~value).bit_length() // 8 + 1
