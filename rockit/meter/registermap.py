# SPDX-License-Identifier: GPL-3.0-or-later
"""Register maps: which registers a Modbus meter has, as data files. Load, check, plan the reads, decode.

Pure apart from reading the file. `docs/register-maps.md` explains every key.
"""

from __future__ import annotations

import json
import math
import re
import struct
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from rockit.common import config
from rockit.common.errors import ConfigError
from rockit.meter.model import Number, Register

PACKAGED = Path(__file__).parent / "registers"
INSTALLED = Path("/etc/meterd/registers")

Type = Literal["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
Order = Literal["big", "little"]
Amount = int | float | str
"""A number, exact: a TOML number, or text such as "0.01"."""

_EXACT = Context(prec=80)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PREFIXED = re.compile(r"[kMGm](W|Wh|VA|VAh|var|varh|V|A|Hz)")
_ENERGY = frozenset({"Wh", "VAh", "varh"})


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[registers.NAME]`: one value. `scale` makes of the meter's number one in `unit`."""

    address: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    type: Type
    unit: str = ""
    label: str = ""
    scale: Amount = 1
    counter: bool = False
    not_available: list[int] = []
    low: Amount | None = None
    high: Amount | None = None

    @property
    def size(self) -> int:
        """Registers that the value takes."""
        return size_of(self.type)


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[[identity]]`: what is asked once on each connect. `expect` and `otherwise`: a wrong setting is told."""

    name: str
    address: Annotated[int, msgspec.Meta(ge=0, le=65535)]
    type: Type | Literal["text"]
    count: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    expect: list[int] = []
    otherwise: str = ""

    @property
    def size(self) -> int:
        """Registers that it takes; `count` is of text only."""
        return self.count if self.type == "text" else size_of(self.type)


class Serial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[serial]`: how the meter leaves the factory; what the config gives is stronger. `interval`, `timeout`: s."""

    baud: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    interval: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    timeout: Annotated[float, msgspec.Meta(gt=0, le=60)] = 1.0


class RegisterMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole map. `longest_read` and `gap` are in registers; `not_available` holds raw values by type."""

    title: str
    source: str
    function: Literal[3, 4]
    registers: dict[str, Spec]
    word_order: Order = "big"
    byte_order: Order = "big"
    longest_read: Annotated[int, msgspec.Meta(ge=1, le=125)] = 125
    gap: Annotated[int, msgspec.Meta(ge=0, le=124)] = 0
    disputed: list[str] = []
    not_available: dict[str, list[int]] = {}
    serial: Serial = Serial()
    identity: list[Identity] = []

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong between keys, or within a value's text."""
        if not self.registers:
            yield "registers", "holds no register"
        for kind in self.not_available:
            if kind not in _SIZES:
                yield f"not_available.{kind}", f"no type; there is {', '.join(_SIZES)}"
        for name, spec in self.registers.items():
            yield from _problems(f"registers.{name}", name, spec, self.longest_read)
        for index, entry in enumerate(self.identity):
            if entry.address + entry.size > 65536 or entry.size > self.longest_read:
                yield f"identity[{index}].count", "goes beyond the last register or the longest read"
            if entry.expect and not entry.otherwise:
                yield f"identity[{index}].otherwise", "says nothing, and expect is given: what shall a person be told?"


_SIZES = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2, "float64": 4}


def size_of(kind: str) -> int:
    """Registers of a type."""
    return _SIZES[kind]


def _problems(at: str, name: str, spec: Spec, longest: int) -> Iterator[tuple[str, str]]:
    if not _NAME.fullmatch(name):
        yield at, "a name is small letters, digits and _, and begins with a letter"
    if spec.address + spec.size > 65536 or spec.size > longest:
        yield f"{at}.address", "goes beyond the last register or the longest read"
    if _PREFIXED.fullmatch(spec.unit):
        base = spec.unit[1:]
        yield f"{at}.unit", f"give {base} without a prefix, and a scale that makes {base} of the meter's number"
    if spec.counter and spec.unit not in _ENERGY and spec.unit:
        yield f"{at}.counter", f"a counter is an energy or has no unit, not {spec.unit}"
    limits = {}
    for key in ("scale", "low", "high"):
        amount = getattr(spec, key)
        if amount is None:
            continue
        try:
            limits[key] = exact(amount)
        except ValueError:
            yield f"{at}.{key}", f"not a number: {amount!r}"
    if limits.get("scale") == 0:
        yield f"{at}.scale", "0 would make every value 0"
    if "low" in limits and "high" in limits and limits["low"] > limits["high"]:
        yield f"{at}.low", "is above high"


def load(name: str, beside: Path | None = None) -> RegisterMap:
    """The map `name`: one of the packaged ones or of `/etc/meterd/registers`, or a path to a `.toml` file.

    A relative path is looked for beside the config (`beside`, its folder), then in `/etc/meterd/registers`. Raises
    ConfigError that lists all that is wrong with it.
    """
    path = _find(name, beside)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not valid TOML: {error}"]) from None
    # The checks of configs name each key that is wrong; they start from JSON.
    return config.parse(json.dumps(raw, default=str), RegisterMap, str(path))


def packaged() -> tuple[str, ...]:
    """Names of the maps that come with the program."""
    return tuple(sorted(path.stem for path in PACKAGED.glob("*.toml")))


def _find(name: str, beside: Path | None) -> Path:
    if "/" in name or name.endswith(".toml"):
        for folder in (beside or Path(), INSTALLED):
            if (folder / name).is_file():
                return folder / name
        raise ConfigError(name, [f"there is no such file beside the config or in {INSTALLED}"])
    for folder in (PACKAGED, INSTALLED):
        if (folder / f"{name}.toml").is_file():
            return folder / f"{name}.toml"
    raise ConfigError(
        name,
        [f"no register map of that name; packaged are {', '.join(packaged())}; your own go to {INSTALLED}/{name}.toml"],
    )


# --- reading


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One read: `count` registers from `address`."""

    address: int
    count: int


def plan(spans: Iterable[tuple[int, int]], longest: int, gap: int) -> tuple[Block, ...]:
    """The fewest reads that cover all `spans` (address, registers), in order of address.

    No read is longer than `longest`, none reads more than `gap` registers on end that nobody wants, none splits a span.
    Raises ValueError for a span that is longer than `longest`.
    """
    blocks: list[Block] = []
    for address, size in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not 0 < size <= longest:
            raise ValueError(f"{size} registers at {address} do not fit into one read of {longest}")
        last = blocks[-1] if blocks else None
        end = address + size
        if last and address <= last.address + last.count + gap and end - last.address <= longest:
            blocks[-1] = Block(last.address, max(last.count, end - last.address))
        else:
            blocks.append(Block(address, size))
    return tuple(blocks)


def blocks_of(registers: RegisterMap) -> tuple[Block, ...]:
    """The reads that a poll of this map takes."""
    spans = ((spec.address, spec.size) for spec in registers.registers.values())
    return plan(spans, registers.longest_read, registers.gap)


@dataclass(frozen=True, slots=True)
class Decoded:
    """Registers of the blocks that were read, and the names of those whose value could not be true."""

    registers: Mapping[str, Register]
    implausible: tuple[str, ...]


def decode(registers: RegisterMap, blocks: Mapping[Block, Sequence[int]]) -> Decoded:
    """Exact values out of what was read. What is not available or out of its range has the value None.

    A register whose block is not there is absent. `blocks` holds 16-bit numbers, as many as the block counts.
    """
    found: dict[str, Register] = {}
    implausible = []
    for name, spec in registers.registers.items():
        words = words_at(blocks, spec.address, spec.size)
        if words is None:
            continue
        gone = [*spec.not_available, *registers.not_available.get(spec.type, [])]
        value = value_of(words, spec.type, gone, registers.word_order, registers.byte_order)
        scaled = None if value is None else times(value, exact(spec.scale))
        if scaled is not None and not _within(scaled, spec):
            implausible.append(name)
            scaled = None
        modulus = None
        if spec.counter and spec.type.startswith("uint"):
            modulus = Decimal(1 << 16 * spec.size) * exact(spec.scale)
        found[name] = Register(scaled, spec.unit, spec.label, spec.counter, modulus=modulus)
    return Decoded(found, tuple(implausible))


def words_at(blocks: Mapping[Block, Sequence[int]], address: int, size: int) -> Sequence[int] | None:
    """The registers at `address` out of blocks that were read; None where no block holds all of them."""
    for block, words in blocks.items():
        if block.address <= address and address + size <= block.address + block.count:
            return words[address - block.address :][:size]
    return None


def value_of(
    words: Sequence[int], kind: str, not_available: Iterable[int] = (), word_order: Order = "big",
    byte_order: Order = "big",
) -> Number | None:  # fmt: skip
    """The number in some registers; None for NaN, an infinity, or one of `not_available` (as the type reads it)."""
    ordered = words if word_order == "big" else words[::-1]
    data = b"".join(word.to_bytes(2, byte_order) for word in ordered)
    if kind.startswith("float"):
        return shortest(data) if len(data) == 4 else _double(data)
    number = int.from_bytes(data, signed=kind.startswith("int"))
    return None if number in not_available else number


def text_of(words: Sequence[int]) -> str:
    """Text in registers, two characters each, without the filling at its end."""
    data = b"".join(word.to_bytes(2) for word in words)
    return "".join(chr(byte) for byte in data.split(b"\0")[0] if 0x20 <= byte < 0x7F).strip()


def shortest(data: bytes) -> Decimal | None:
    """The number that a person would write for a float32: the fewest digits that give the same four bytes.

    230.1, and not 230.10000610351562. None for NaN and infinities.
    """
    (value,) = struct.unpack(">f", data)
    if not math.isfinite(value):
        return None
    for digits in range(1, 10):  # nine are always enough for 24 bits
        text = f"{value:.{digits}g}"
        try:
            if struct.pack(">f", float(text)) == data:
                break
        except OverflowError:  # rounded up beyond the largest float32
            continue
    return _plain(Decimal(text))


def _double(data: bytes) -> Decimal | None:
    (value,) = struct.unpack(">d", data)
    return _plain(Decimal(repr(value))) if math.isfinite(value) else None


def exact(amount: Amount) -> Decimal:
    """A number of a map as it is written. Raises ValueError."""
    try:
        number = Decimal(str(amount))
    except InvalidOperation:
        raise ValueError(f"not a number: {amount!r}") from None
    if not number.is_finite() or abs(number.adjusted()) > 40:
        raise ValueError(f"not a usable number: {amount!r}")
    return number


def times(value: Number, scale: Decimal) -> Number:
    """`value` x `scale`, exact; an integer where both are."""
    if isinstance(value, int) and scale == scale.to_integral_value():
        return value * int(scale)
    return _plain(_EXACT.multiply(Decimal(value), scale))


def _plain(number: Decimal) -> Decimal:
    """The same without an exponent above 0 and without a sign of zero: 230, and not 2.3E+2."""
    return Decimal(format(number, "f")) if number else Decimal(0)


def _within(value: Number, spec: Spec) -> bool:
    return (spec.low is None or value >= exact(spec.low)) and (spec.high is None or value <= exact(spec.high))


def expectation(entry: Identity, value: Any) -> str | None:
    """What a person should be told because the meter is set differently than the map needs; else None."""
    return entry.otherwise if entry.expect and value not in entry.expect else None
