# SPDX-License-Identifier: GPL-3.0-or-later
"""Data lines of D0 and P1: `A-B:C.D.E*F(value*unit)`, exact values, the meter's own times.

Sources: IEC 62056-21, 5.8 (form of a data block) and 6.6 (letters of reduced codes); DSMR P1 companion standard 5.0.2,
6.4 and 6.12 (times, M-Bus channels), 2.2 (gas in two lines).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from rockit.meter.model import Register
from rockit.meter.protocols import obis

_CODE = r"[0-9A-Za-z][0-9A-Za-z.:*&-]{0,31}"
_GROUP = r"\([ -'*-~]*\)"
_SET = re.compile(rf"(?P<code>{_CODE})?(?P<groups>(?:{_GROUP})+)")
_NUMBER = re.compile(r"[+-]?(?P<whole>[0-9]+)(?:\.[0-9]*)?")
_TIME = re.compile(r"[0-9]{12}[SW]")
_SHORT_TIME = re.compile(r"[0-9]{12}")

_ERROR = re.compile(r"(?<![^:])[Ff]\.[Ff](?![^*&])")
"""The error register, the only code with a letter in its fourth place."""

_PREFIXES = {"": 0, "k": 3, "M": 6, "G": 9}
_UNITS: dict[str, tuple[str, int]] = {
    **{prefix + unit: (unit, power) for unit in ("W", "Wh", "var", "varh", "VA", "VAh", "J")
       for prefix, power in _PREFIXES.items()},
    "kV": ("V", 3), "kA": ("A", 3), "C": ("degC", 0), "l": ("L", 0), "l/h": ("L/h", 0),
}  # fmt: skip
"""What meters write -> our unit, power of ten. What is not here keeps the unit as it is written."""

DEVICES = {2: "Electricity", 3: "Gas", 4: "Heat", 6: "Warm water", 7: "Water", 12: "Heat", 22: "Cold water"}
"""Device types of M-Bus (EN 13757-3), by which P1 says what hangs on a channel."""


@dataclass(frozen=True, slots=True)
class DataLine:
    """One data set: its code as written, and what stands in each of its parentheses."""

    code: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """A number with a unit. `number` is exact, in `unit`; None where the meter wrote none."""

    number: Decimal | None
    unit: str
    digits: int = 0
    """Places before the point, as the meter wrote it."""
    power: int = 0
    """`unit` times ten to this power is what the meter wrote."""

    @property
    def modulus(self) -> Decimal:
        """Where the register rolls over, in `unit`: 6 places in kWh are 1,000,000 kWh = 1E9 Wh."""
        return Decimal(10 ** (self.digits + self.power))


def parse(text: str) -> tuple[DataLine, ...] | None:
    """The data sets of a line, without its CR LF; a code of "" belongs to the line before. None: it is no data line."""
    out: list[DataLine] = []
    at = 0
    while at < len(text) and (found := _SET.match(text, at)):
        out.append(DataLine(found["code"] or "", tuple(found["groups"][1:-1].split(")("))))
        at = found.end()
    return tuple(out) if out and at == len(text) else None


def parse_all(texts: Iterable[str]) -> tuple[tuple[DataLine, ...], tuple[str, ...]]:
    """The data sets of many lines, and the lines that are none. What begins with `(` continues the line before."""
    sets: list[DataLine] = []
    wrong: list[str] = []
    follows = False
    for text in texts:
        found = parse(text)
        if found is None or (not found[0].code and not follows):
            wrong.append(text)
            follows = False
            continue
        for data in found:
            if data.code:
                sets.append(data)
            else:
                sets[-1] = DataLine(sets[-1].code, sets[-1].values + data.values)
        follows = True
    return tuple(sets), tuple(wrong)


def key(code: str) -> str:
    """The whole code (`1-0:1.8.0*255`) of one as written; as it is written where it is no OBIS code."""
    try:
        return obis.text(obis.parse(_ERROR.sub("97.97.0", code)))
    except ValueError:
        return code


def value(text: str) -> Value | None:
    """What `000123.456*kWh` says; None where there is no unit: such a thing is text."""
    written, star, unit = text.partition("*")
    if not star or not unit:
        return None
    name, power = _UNITS.get(unit, (unit, 0))
    found = _NUMBER.fullmatch(written)
    if found is None:
        return Value(None, name)
    sign, digits, exponent = Decimal(written).as_tuple()
    assert isinstance(exponent, int)
    # Made of its digits: arithmetic would round to the context's precision.
    number = Decimal((sign, digits, exponent + power))
    whole = exponent + power >= 0
    return Value(Decimal(int(number)) if whole else number, name, len(found["whole"]), power)


def utc(text: str) -> str | None:
    """UTC (`2010-12-09T10:25:00Z`) of `101209112500W`: S is summer time (UTC+2), W winter time. None: no such time."""
    if not _TIME.fullmatch(text):
        return None
    local = _moment(text[:-1])
    return None if local is None else f"{(local - timedelta(hours=2 if text[-1] == 'S' else 1)).isoformat()}Z"


def local(text: str) -> str | None:
    """`2009-02-12T16:00:00` of `090212160000`, which does not tell its zone. None: no such time."""
    moment = _moment(text) if _SHORT_TIME.fullmatch(text) else None
    return None if moment is None else moment.isoformat()


def _moment(digits: str) -> datetime | None:
    try:
        return datetime.strptime(f"20{digits}", "%Y%m%d%H%M%S")
    except ValueError:
        return None


def registers(lines: Iterable[DataLine]) -> tuple[dict[str, Register], dict[str, str]]:
    """Registers by whole code, and notes: `<code> time` (UTC), `<code> local time`, `<code> more`, `<code> status`.

    A code that comes twice counts once, the first.
    """
    lines = tuple(lines)
    devices = _devices(lines)
    found: dict[str, Register] = {}
    notes: dict[str, str] = {}
    for line in lines:
        code, text, said = _understood(line)
        if code not in found:
            found[code] = _register(code, text, devices)
            notes |= {f"{code} {what}": told for what, told in said.items()}
    return found, notes


def moduli(lines: Iterable[DataLine]) -> dict[str, Decimal]:
    """Where each counter rolls over, in its register's unit, by whole code: as far as its digits tell."""
    out: dict[str, Decimal] = {}
    for line in lines:
        code, text, _ = _understood(line)
        read = value(text)
        if read is not None and read.number is not None and obis.counter(code, read.unit):
            out.setdefault(code, read.modulus)
    return out


def _understood(line: DataLine) -> tuple[str, str, dict[str, str]]:
    """Whole code, the text that is the value, and what else the line says of it."""
    code, groups = key(line.code), line.values
    if len(groups) == 7 and code.endswith(":24.3.0*255") and groups[3] == "1":
        # DSMR 2.2 and 3: (time)(status)(period)(number of values)(code)(unit)(value)
        when = {"time": utc(groups[0]), "local time": local(groups[0])}
        status = {} if groups[1].strip("0") == "" else {"status": groups[1]}
        return key(groups[4]), f"{groups[6]}*{groups[5]}", {k: v for k, v in when.items() if v is not None} | status
    if len(groups) == 2 and _TIME.fullmatch(groups[0]):
        # Zeros in place of the time: nothing was read from the device yet.
        time = utc(groups[0])
        return (code, groups[1], {"time": time}) if time else (code, f"*{groups[1].partition('*')[2]}", {})
    if len(groups) > 1 and value(groups[0]) is not None and value(groups[1]) is None:
        return code, groups[0], {"more": " ".join(groups[1:])}
    return code, groups[0] if len(groups) == 1 else "".join(f"({group})" for group in groups), {}


def _register(code: str, text: str, devices: dict[str, str]) -> Register:
    read = None if text.startswith("(") else value(text)
    if read is None:
        return Register(utc(text) or text, label=obis.label(code))
    name = obis.label(code)
    channel, _, rest = code.partition(":")
    if rest.startswith("24.2."):
        device = devices.get(channel, "")
        name = f"{device} {'volume' if read.unit == 'm3' else 'energy'}".strip().capitalize()
    counter = obis.counter(code, read.unit)
    return Register(read.number, read.unit, name, counter, modulus=read.modulus if counter else None)


def _devices(lines: Iterable[DataLine]) -> dict[str, str]:
    """`0-1` -> Gas."""
    out: dict[str, str] = {}
    for line in lines:
        channel, _, rest = key(line.code).partition(":")
        if rest == "24.1.0*255" and re.fullmatch(r"[0-9]{1,3}", line.values[0]):
            out[channel] = DEVICES.get(int(line.values[0]), "")
    return out
