# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished day of one series as one block of bytes: small, exact, checked. No I/O.

Format 1, little endian: `RH`, version, CRC-32 of all that follows, flags, number of samples, first time in ms, scale,
length of each column before compression; then zlib of the columns one after the other:

- times: second differences, in ms, as integers of the least width that holds all
- values: where each is an integer divided by 10**scale, differences of these integers; else (scale 255) the doubles
- qualities: a byte each, where not all are good

The bytes of each column are transposed (all lowest bytes first), which is what makes them compress well. Decimal
scaling is used only where it gives back every double bit by bit.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import sub

from rockit.history.model import Samples

VERSION = 1
_MAGIC = b"RH"
_HEAD = struct.Struct("<2sBI")
_BODY = struct.Struct("<BIqBcIcI")
_HAS_QUALITIES = 1
_DOUBLES = 255
_MOST_DECIMALS = 9
_LEVEL = 6
_LONGEST = 64 * 2**20
"""No day has more bytes than this before compression: a damaged length must not fill the memory."""


class BlockError(ValueError):
    """A block that does not hold what was put into it."""


def encode(samples: Samples) -> bytes:
    """A block with these samples; at least one."""
    times, values = samples.times, samples.values
    first = times[0]
    steps = _differences(times)
    time_code, time_bytes = _packed(_differences(steps) if steps else [])
    scale, integers = _scaled(values)
    if integers is None:
        value_code, value_bytes = b"d", _transposed(_little(array("d", values)), 8)
    else:
        value_code, value_bytes = _packed([integers[0], *_differences(integers)])
    flags = _HAS_QUALITIES if samples.qualities is not None else 0
    # The first step stands before the second differences: they begin from it.
    body = _BODY.pack(
        flags, len(times), first, scale, time_code, len(time_bytes), value_code, len(value_bytes)
    ) + zlib.compress(
        struct.pack("<q", steps[0] if steps else 0) + time_bytes + value_bytes + (samples.qualities or b""), _LEVEL
    )
    return _HEAD.pack(_MAGIC, VERSION, zlib.crc32(body)) + body


def verify(data: bytes) -> bytes:
    """What stands behind the head of a block that is whole. Raises BlockError."""
    try:
        magic, version, checksum = _HEAD.unpack_from(data)
    except struct.error:
        raise BlockError("it is too short to be a block") from None
    body = data[_HEAD.size :]
    if magic != _MAGIC:
        raise BlockError("it does not begin as a block does")
    if zlib.crc32(body) != checksum:
        raise BlockError("its checksum is wrong")
    if version != VERSION:
        raise BlockError(f"it has format {version}; this version reads {VERSION}")
    return body


def decode(data: bytes) -> Samples:
    """The samples of a block, as they were. Raises BlockError for bytes that are not whole or of a later format."""
    body = verify(data)
    try:
        flags, count, first, scale, time_code, time_length, value_code, value_length = _BODY.unpack_from(body)
        unpacker = zlib.decompressobj()
        columns = unpacker.decompress(body[_BODY.size :], _LONGEST)
        if flags & ~_HAS_QUALITIES:
            raise BlockError(f"its flags ({flags}) are of a later version")
        if len(columns) != 8 + time_length + value_length + (count if flags & _HAS_QUALITIES else 0):
            raise BlockError("its columns have the wrong length")
        (step,) = struct.unpack_from("<q", columns)
        seconds = _unpacked(time_code, columns[8 : 8 + time_length])
        numbers = _unpacked(value_code, columns[8 + time_length : 8 + time_length + value_length])
    except (struct.error, zlib.error, ValueError, KeyError) as error:
        raise BlockError(f"its contents cannot be read ({error})") from None
    steps = list(accumulate(seconds, initial=step)) if count > 1 else []
    times = list(accumulate(steps, initial=first))
    if scale == _DOUBLES:
        values = list(numbers)
    else:
        power = 10.0**scale
        values = (
            [number / power for number in accumulate(numbers)] if scale else [float(n) for n in accumulate(numbers)]
        )
    if len(times) != count or len(values) != count:
        raise BlockError("it does not hold as many samples as it says")
    return Samples(times, values, columns[8 + time_length + value_length :] if flags & _HAS_QUALITIES else None)


def _differences(numbers: Sequence[int]) -> list[int]:
    return list(map(sub, numbers[1:], numbers))


def _scaled(values: list[float]) -> tuple[int, list[int] | None]:
    """The least number of decimals that all values have, and the integers; (255, None) where they are no decimals."""
    if max(map(abs, values)) < 2**40:
        wanted = array("d", values).tobytes()
        for scale in range(_MOST_DECIMALS + 1):
            power = 10.0**scale
            # Most series end here at their first values, which is why a few are tried before all are.
            if any(round(value * power) / power != value for value in values[:16]):
                continue
            integers = [round(value * power) for value in values]
            if max(map(abs, integers)) < 2**53 and array("d", [n / power for n in integers]).tobytes() == wanted:
                return scale, integers
    return _DOUBLES, None


def _packed(numbers: list[int]) -> tuple[bytes, bytes]:
    """Integers as bytes of the least width that holds all, transposed, with the code of that width."""
    low, high = (min(numbers), max(numbers)) if numbers else (0, 0)
    for code, bits in (("b", 7), ("h", 15), ("i", 31), ("q", 63)):
        if -(1 << bits) <= low and high < 1 << bits:
            column = array(code, numbers)
            return code.encode(), _transposed(_little(column), column.itemsize)
    raise ValueError("a number that has no 64 bits")  # times and scaled values are far below


def _unpacked(code: bytes, data: bytes) -> array[int] | array[float]:
    column: array[int] | array[float] = array(code.decode())
    width = column.itemsize
    if len(data) % width:
        raise BlockError("its columns have the wrong length")
    count = len(data) // width
    whole = bytearray(len(data))
    for place in range(width):
        whole[place::width] = data[place * count : (place + 1) * count]
    column.frombytes(bytes(whole))
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _little(column: array[int] | array[float]) -> bytes:
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def _transposed(data: bytes, width: int) -> bytes:
    return data if width == 1 else b"".join(data[place::width] for place in range(width))
