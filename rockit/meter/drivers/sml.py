# SPDX-License-Identifier: GPL-3.0-or-later
"""Meters that push SML through their optical head: what their lists teach."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from rockit.meter.model import Number, Reading, Register
from rockit.meter.protocols import obis, serverid
from rockit.meter.protocols.sml import Decoder, Entry, List, Telegram, Time, TimeKind
from rockit.meter.protocols.sml_quirks import corrected

__all__ = ["Decoder", "pin_locked", "readings"]

_NOTES = {
    "1-0:96.50.1*1": "manufacturer",
    "129-129:199.130.3*255": "manufacturer",
    "1-0:0.0.0*255": "identification",
    "0-0:96.1.255*255": "serial_number",
    "1-0:0.2.0*0": "firmware",
    "1-0:96.90.2*1": "firmware_checksum",
}
"""Registers of text that never changes: kept as notes where they are printable, by these names."""
_WATTS = 27
_WATT_HOURS = 30


def readings(telegram: Telegram) -> list[Reading]:
    """One for each list of a telegram. Energy comes in Wh and power in W, with the meter's errors corrected."""
    return [_reading(corrected(each), telegram.whole) for each in telegram.lists]


def pin_locked(given: List) -> bool:
    """Whether the meter seems to wait for its PIN: it then tells whole kWh (scaler 3) and no power."""
    scalers = {entry.scaler for entry in given.entries if entry.unit == _WATT_HOURS}
    return scalers == {3} and all(entry.unit != _WATTS for entry in given.entries)


def _reading(given: List, whole: bool) -> Reading:
    registers: dict[str, Register] = {}
    notes: dict[str, str] = {}
    for entry in given.entries:
        code = obis.text(entry.name)
        if not code or code == obis.PUBLIC_KEY:
            continue
        written = _printable(entry.value) if code in _NOTES else ""
        if written:
            notes[_NOTES[code]] = written
        else:
            registers[code] = _register(code, entry)
    server_id = serverid.text(given.server_id)
    return Reading(registers, server_id, _seconds(given), whole, pin_locked(given), notes)


def _register(code: str, entry: Entry) -> Register:
    unit = obis.unit(entry.unit)
    return Register(_value(entry), unit, obis.label(code), obis.counter(code, unit), entry.status)


def _value(entry: Entry) -> Number | bool | str | None:
    value = entry.scaled
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Time):
        return _time(value)
    return value if isinstance(value, int | Decimal) else None


def _time(time: Time) -> int | str:
    """Seconds of operation as they are; a time of day as people read it."""
    if time.kind == TimeKind.SEC_INDEX:
        return time.seconds
    try:
        return datetime.fromtimestamp(time.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return time.seconds


def _printable(value: object) -> str:
    if not isinstance(value, bytes) or not value.isascii():
        return ""
    written = value.decode("ascii")
    return written.strip() if written.isprintable() else ""


def _seconds(given: List) -> int | None:
    times = (given.sensor_time, *(entry.time for entry in given.entries))
    return next((time.seconds for time in times if time is not None and time.kind == TimeKind.SEC_INDEX), None)
