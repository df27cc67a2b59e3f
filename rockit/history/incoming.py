# SPDX-License-Identifier: GPL-3.0-or-later
"""A batch that came over a network: unpacked and checked before anything is done with it. No I/O.

A sender that is known may still be broken or taken over: no body may cost more memory than is said here, and nothing
gets into the store that its readers do not expect.
"""

from __future__ import annotations

import sys
import zlib
from typing import Annotated

import msgspec
from msgspec import Meta

from rockit.common.quality import Quality
from rockit.history.model import LATEST_TIME, Batch, Event, Series

COMPRESSED = 8 * 2**20
"""Bytes of a body as it comes."""
UNPACKED = 64 * 2**20
"""Bytes of it unpacked."""
SERIES = 10_000
SAMPLES = 250_000
EVENTS = 50_000
_AT_ONCE = 2**20
_GZIP = 16 + zlib.MAX_WBITS

_Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
_Label = Annotated[str, Meta(max_length=500, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
_Text = Annotated[str, Meta(max_length=65_536, pattern=r"\A[^\x00]*\Z")]
_Time = Annotated[int, Meta(ge=0, le=LATEST_TIME)]
_Index = Annotated[int, Meta(ge=0, lt=SERIES)]
_Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
# NaN is not between the two either.
_Value = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Quality = Annotated[int, Meta(ge=int(min(Quality)), le=int(max(Quality)))]


class _Series(msgspec.Struct):
    site: _Name
    device: _Name
    key: _Name
    unit: _Label = ""
    label: _Label = ""
    counter: bool = False


class _Event(msgspec.Struct, array_like=True):
    time: _Time
    kind: _Label
    name: _Label
    value: _Text = ""
    detail: _Text = ""
    who: _Text = ""
    number: _Count = 0


class _Batch(msgspec.Struct):
    series: Annotated[list[_Series], Meta(max_length=SERIES)] = []
    samples: Annotated[list[tuple[_Index, _Time, _Value, _Quality]], Meta(max_length=SAMPLES)] = []
    events: Annotated[list[tuple[_Name, _Name, _Event]], Meta(max_length=EVENTS)] = []


class TooLarge(ValueError):
    """More than we take at once."""


def unpacked(body: bytes | bytearray) -> bytearray:
    """What gzip has packed. Raises TooLarge, without having unpacked more, or ValueError for what is not gzip."""
    machine = zlib.decompressobj(_GZIP)
    data = bytearray()
    rest: bytes | bytearray = body
    try:
        while not machine.eof:
            part = machine.decompress(rest, _AT_ONCE)
            if not part and not machine.unconsumed_tail and not machine.eof:
                raise ValueError("the gzip data end too early")
            if len(data) + len(part) > UNPACKED:
                raise TooLarge(f"unpacked it is larger than {UNPACKED} bytes: send fewer at once")
            data += part
            rest = machine.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"this is not gzip: {error}") from None
    if machine.unused_data:
        raise ValueError("there is something behind the gzip data")
    return data


def checked(data: bytes | bytearray) -> Batch:
    """The batch in these bytes (msgpack). Raises ValueError with a sentence."""
    try:
        found = msgspec.msgpack.decode(data, type=_Batch)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise ValueError(f"this is no batch: {error}") from None
    if found.samples and max(sample[0] for sample in found.samples) >= len(found.series):
        raise ValueError(f"this is no batch: a sample names a series that is not among the {len(found.series)}")
    return Batch(
        [Series(*msgspec.structs.astuple(series)) for series in found.series],
        found.samples,
        [(site, device, Event(*msgspec.structs.astuple(event))) for site, device, event in found.events],
    )


def sites(batch: Batch) -> set[str]:
    """All that a batch writes about."""
    return {series.site for series in batch.series} | {site for site, _, _ in batch.events}
