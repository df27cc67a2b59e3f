# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated Thermo NESLAB RTE bath and ThermoFlex chiller (binary NC protocol), as the makers' manuals describe them.

Not documented, and assumed: a beginning that stays unfinished for 1 s is forgotten; a ThermoFlex takes some seconds to
power up and down; it refuses a set point out of range as bad data. The meaning of the RTE's status bits is not known:
its five status bytes are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from rockit.chiller.simulators.loop import LoopDevice
from rockit.chiller.simulators.thermal import clip
from rockit.common.simulate_device import Fault

CELSIUS, FAHRENHEIT, LPM, GPM, PSI, BAR = 1, 2, 3, 4, 6, 7
PATIENCE = 1.0


class Complaint(Exception):
    """The device answers with the error reply: 1 bad command, 2 bad data, 3 bad checksum."""


def error_number(text: str) -> None:
    """A fault whose argument is the number of an error reply."""
    if text not in ("1", "2", "3"):
        raise ValueError(f"takes 1 (bad command), 2 (bad data) or 3 (bad checksum), not {text!r}")


class Nc(LoopDevice):
    """The frame, and the commands that both families have. `us_units` shows °F, gallons and PSI."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        "refuse": Fault("the unit answers with error N (1 command, 2 data, 3 checksum)", "2", error_number),
    }
    THERMAL: ClassVar[Mapping[str, float]] = {
        "full_flow": 12.0, "heat_capacity": 30_000.0, "cooling": 900.0, "cooling_slope": 12.0, "pump_power": 60.0,
        "heating": 800.0,
    }  # fmt: skip
    RANGE: ClassVar[tuple[float, float]] = (5.0, 40.0)
    BAD_DATA: ClassVar[int] = 2

    def __init__(self, *, us_units: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.setpoint = clip(self.setpoint, *self.RANGE)
        self.us_units = us_units
        self.decimals = 1
        self.limits = list(self.RANGE)
        self._heard = bytearray()
        self._heard_at = 0.0
        self._commands: dict[int, Callable[[bytes], bytes]] = {
            0x00: lambda data: self._plain(data, b"\x00\x01"),
            0x09: lambda data: self._plain(data, self.status()),
            0x20: lambda data: self._plain(data, self.temperature(self.loop.supply)),
            0x40: lambda data: self._plain(data, self.temperature(self.limits[0])),
            0x60: lambda data: self._plain(data, self.temperature(self.limits[1])),
            0x70: lambda data: self._plain(data, self.temperature(self.setpoint)),
            0x81: self.on_off,
            0xC0: lambda data: self._set_limit(0, data),
            0xE0: lambda data: self._set_limit(1, data),
            0xF0: self._set_setpoint,
        }

    # --- what the families do differently

    def status(self) -> bytes:
        """The status bytes."""
        raise NotImplementedError

    def on_off(self, data: bytes) -> bytes:
        """Carry out command 81; the data of the answer."""
        raise NotImplementedError

    def out_of_range(self, celsius: float) -> float:
        """What becomes of a set point that is beyond RANGE."""
        raise NotImplementedError

    def deaf(self) -> bool:
        """Whether serial communication is off at the unit."""
        return False

    # --- the line

    def take(self, data: bytes, now: float) -> None:
        """Requests are told apart by their length; there is no terminator."""
        if now - self._heard_at > PATIENCE:
            self._heard.clear()
        self._heard_at = now
        self._heard += data
        while len(self._heard) >= 6:
            if self._heard[0] != 0xCA:
                del self._heard[0]
                continue
            size = self._heard[4] + 6
            if len(self._heard) < size:
                return
            request = bytes(self._heard[:size])
            del self._heard[:size]
            if request[1:3] == b"\x00\x01" and not self.deaf():
                self.reply(self._answer(request), now)

    def _answer(self, request: bytes) -> bytes:
        try:
            return frame(request[3], self._carry_out(request))
        except Complaint as complaint:
            return frame(0x0F, bytes([complaint.args[0], request[3]]))

    def _carry_out(self, request: bytes) -> bytes:
        if frame(request[3], request[5:-1]) != request:
            raise Complaint(3)
        if (code := self.spend("refuse")) is not None:
            raise Complaint(int(code))
        if request[3] not in self._commands:
            raise Complaint(1)
        return self._commands[request[3]](request[5:-1])

    def foreign(self, reply: bytes) -> bytes:
        """The answer to a question for the set point, or for the temperature."""
        return self._answer(frame(0x20 if reply[3] == 0x70 else 0x70, b""))

    def spoil(self, reply: bytes) -> bytes:
        """The checksum itself is wrong."""
        return reply[:-1] + bytes([reply[-1] ^ 0x10])

    # --- values

    def temperature(self, celsius: float) -> bytes:
        """Qualifier and value in the unit's scale and precision."""
        if self.us_units:
            return quantity(celsius * 9 / 5 + 32, self.decimals, FAHRENHEIT)
        return quantity(celsius, self.decimals, CELSIUS)

    def _written(self, data: bytes) -> float:
        if len(data) != 2:
            raise Complaint(self.BAD_DATA)
        raw = int.from_bytes(data, "big", signed=True) / 10**self.decimals
        return float((raw - 32) * 5 / 9 if self.us_units else raw)

    def _plain(self, data: bytes, answer: bytes) -> bytes:
        if data:
            raise Complaint(self.BAD_DATA)
        return answer

    def _set_setpoint(self, data: bytes) -> bytes:
        wanted = self._written(data)
        if not self.RANGE[0] - 1e-6 <= wanted <= self.RANGE[1] + 1e-6:
            wanted = self.out_of_range(wanted)
        self.setpoint = wanted
        return self.temperature(wanted)

    def _set_limit(self, which: int, data: bytes) -> bytes:
        self.limits[which] = self._written(data)
        return self.temperature(self.limits[which])


# Fault -> status byte, bit, and whether the unit stops.
_BITS = {
    "sensor": (0, 1, True), "too_hot": (0, 4, True), "temp_warning": (0, 6, False), "phase": (1, 4, True),
    "low_flow": (2, 2, True), "low_level": (2, 3, True), "flow_warning": (2, 6, False),
}  # fmt: skip


class ThermoFlex(Nc):
    """A ThermoFlex with the options flow meter and supply pressure sensor."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        **Nc.DEVICE_FAULTS,
        "sensor": Fault("RTD 1 is open: the unit stops", once=False),
        "too_hot": Fault("above the fixed limit: the unit stops", once=False),
        "temp_warning": Fault("above the high temperature set by the user, which is set to warn", once=False),
        "phase": Fault("phase monitor: the unit stops", once=False),
        "low_flow": Fault("flow below the limit: the unit stops", once=False),
        "low_level": Fault("reservoir low: the unit stops", once=False),
        "flow_warning": Fault("flow near the fixed limit", once=False),
        "no_options": Fault("neither flow meter nor pressure sensor is fitted", once=False),
    }
    POWERING: ClassVar[float] = 5.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._up_until: float | None = None
        self._down_until: float | None = None
        self._commands |= {
            0x02: lambda data: self._plain(data, b"084992.2N "),
            0x10: lambda data: self._plain(data, self._flow()),
            0x28: lambda data: self._plain(data, self._pressure(2.4)),
            0x29: lambda data: self._plain(data, self._pressure(-0.1)),
        }

    def status(self) -> bytes:
        """Four bytes."""
        status = bytearray(4)
        status[0] |= self.running
        for name, (byte, bit, _) in _BITS.items():
            if self.fault(name) is not None:
                status[byte] |= 1 << bit
        status[3] |= (self._up_until is not None) << 1 | (self._down_until is not None) << 2
        return bytes(status)

    def on_off(self, data: bytes) -> bytes:
        """One byte: 0 off, 1 on, 2 tell me."""
        if len(data) != 1 or data[0] > 2:
            raise Complaint(2)
        if data[0] == 1 and not self.running and self._up_until is None and not self._stopped():
            self._up_until = self.simulated + self.POWERING
        if data[0] == 0:
            self._up_until = None
            if self.running and self._down_until is None:
                self._down_until = self.simulated + self.POWERING
        on = (self.running or self._up_until is not None) and self._down_until is None
        return bytes([on])

    def out_of_range(self, celsius: float) -> float:
        """Refused."""
        raise Complaint(2, celsius)

    def fault_changed(self, name: str, argument: str | None) -> None:
        """Faults that stop the unit do so at once; it stays off when they are gone."""
        if argument is not None and name in _BITS and _BITS[name][2]:
            self.running = False
            self._up_until = self._down_until = None

    def step(self, dt: float) -> None:
        """See the base."""
        if self._up_until is not None and self.simulated >= self._up_until:
            self._up_until, self.running = None, True
        if self._down_until is not None and self.simulated >= self._down_until:
            self._down_until, self.running = None, False
        super().step(dt)

    def _stopped(self) -> bool:
        return any(self.fault(name) is not None for name, (_, _, stops) in _BITS.items() if stops)

    def _flow(self) -> bytes:
        self._fitted()
        return quantity(self.flow() / 3.78541, 1, GPM) if self.us_units else quantity(self.flow(), 1, LPM)

    def _pressure(self, bar: float) -> bytes:
        self._fitted()
        bar = bar if self.running else 0.0
        return quantity(bar * 14.50377, 1, PSI) if self.us_units else quantity(bar, 2, BAR)

    def _fitted(self) -> None:
        if self.fault("no_options") is not None:
            raise Complaint(1)


class Rte(Nc):
    """An RTE bath. It limits a set point to its range in silence, and knows no error 2."""

    DEVICE_FAULTS: ClassVar[Mapping[str, Fault]] = {
        **Nc.DEVICE_FAULTS,
        "local": Fault("the computer mode is off at the panel: no answers", once=False),
    }
    RANGE: ClassVar[tuple[float, float]] = (-25.0, 150.0)
    BAD_DATA: ClassVar[int] = 1

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # unit, external sensor, faults, mute, auto restart, 0.01 °C, full range cooling, serial communication
        self.switches = [int(self.running), 0, 1, 0, 0, 0, 0, 1]
        self._commands[0x21] = lambda data: self._plain(data, self.temperature(self.loop.ambient))

    def status(self) -> bytes:
        """Five bytes."""
        return bytes(5)

    def on_off(self, data: bytes) -> bytes:
        """Eight bytes: 0 off, 1 on, else no change."""
        if len(data) != 8:
            raise Complaint(self.BAD_DATA)
        self.switches = [new if new in (0, 1) else old for old, new in zip(self.switches, data, strict=True)]
        self.running = bool(self.switches[0])
        self.decimals = 2 if self.switches[5] else 1
        return bytes(self.switches)

    def out_of_range(self, celsius: float) -> float:
        """Limited."""
        return clip(celsius, *self.RANGE)

    def deaf(self) -> bool:
        """See the base."""
        return self.fault("local") is not None or not self.switches[7]


def frame(command: int, data: bytes) -> bytes:
    """A frame of RS-232: lead CA, address 1."""
    inner = bytes([0x00, 0x01, command, len(data)]) + data
    return b"\xca" + inner + bytes([(~sum(inner)) & 0xFF])


def quantity(value: float, decimals: int, unit: int) -> bytes:
    """Qualifier byte and 16 bit two's complement, high byte first."""
    scaled = int(round(value, decimals) * 10**decimals + (0.5 if value >= 0 else -0.5))
    return bytes([decimals << 4 | unit]) + scaled.to_bytes(2, "big", signed=True)
