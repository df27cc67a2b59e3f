# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed days: every sample comes back bit by bit, and no damaged block passes for a whole one."""

from __future__ import annotations

import math
import random
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from histories import bits
from hypothesis import given
from hypothesis import strategies as st

from rockit.history import block
from rockit.history.model import BUCKET, DAY, LATEST_TIME, Samples
from rockit.history.rollup import Growing, Rollup, stored, stretches

finite = st.floats(allow_nan=False, allow_infinity=False)
decimal = st.builds(lambda n, k: n / 10**k, st.integers(-(10**9), 10**9), st.integers(0, 9))
value = st.one_of(finite, decimal, st.sampled_from([0.0, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53, 0.1, 1 / 3]))
rows = st.lists(st.tuples(st.integers(0, LATEST_TIME), value, st.integers(0, 2)), min_size=1, max_size=60)


def same(one: Samples, other: Samples) -> bool:
    return (
        one.times == other.times
        and list(map(bits, one.values)) == list(map(bits, other.values))
        and one.qualities == other.qualities
    )


def columns(found: list[tuple[int, float, int]]) -> Samples:
    """As they come, -0.0 too: a block keeps what it is given."""
    unique = {time: (value, quality) for time, value, quality in reversed(found)}
    times = sorted(unique)
    qualities = bytes(unique[time][1] for time in times)
    return Samples(times, [unique[time][0] for time in times], qualities if any(qualities) else None)


@given(rows)
def test_every_sample_comes_back_bit_by_bit(found: list[tuple[int, float, int]]) -> None:
    samples = columns(found)
    assert same(block.decode(block.encode(samples)), samples)


@given(st.integers(0, 9), st.lists(st.integers(-(10**7), 10**7), min_size=1, max_size=300), st.integers(1, 20_000))
def test_decimals_come_back_bit_by_bit(scale: int, numbers: list[int], step: int) -> None:
    samples = Samples([DAY + n * step for n in range(len(numbers))], [n / 10**scale for n in numbers])
    assert same(block.decode(block.encode(samples)), samples)


@given(rows, st.data())
def test_a_damaged_block_is_never_believed(found: list[tuple[int, float, int]], data: st.DataObject) -> None:
    whole = block.encode(columns(found))
    place = data.draw(st.integers(0, len(whole) - 1))
    change = data.draw(st.integers(1, 255))
    broken = bytearray(whole)
    broken[place] ^= change
    with pytest.raises(block.BlockError):
        block.decode(bytes(broken))


@given(rows, st.data())
def test_a_block_that_was_cut_short_is_never_believed(found: list[tuple[int, float, int]], data: st.DataObject) -> None:
    whole = block.encode(columns(found))
    with pytest.raises(block.BlockError):
        block.decode(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200))
def test_anything_else_is_no_block(data: bytes) -> None:
    with pytest.raises(block.BlockError):
        block.decode(data)
    body = struct.pack("<2sBI", b"RH", 1, zlib.crc32(data)) + data  # as if the checksum were right
    with pytest.raises(block.BlockError):
        block.decode(body)


def test_a_later_format_says_so() -> None:
    body = b"what version 2 has"
    with pytest.raises(block.BlockError, match="it has format 2; this version reads 1"):
        block.decode(struct.pack("<2sBI", b"RH", 2, zlib.crc32(body)) + body)


def test_a_block_cannot_fill_the_memory() -> None:
    count = 2**28
    body = struct.pack("<BIqBcIcI", 0, count, 0, 0, b"b", count, b"b", count) + zlib.compress(bytes(2**27), 9)
    with pytest.raises(block.BlockError):
        block.decode(struct.pack("<2sBI", b"RH", 1, zlib.crc32(body)) + body)


def test_a_day_of_a_sensor_takes_less_than_four_bytes_a_sample() -> None:
    """Noise of two digits on a slow wave, polled every 10 s by a loop that is late by some ms."""
    chance = random.Random(1)
    times = [n * 10_000 + int(abs(chance.gauss(0, 3))) for n in range(8640)]
    values = [round(20 + 5 * math.sin(n / 1000) + chance.gauss(0, 0.2), 2) for n in range(8640)]
    assert len(block.encode(Samples(times, values))) / 8640 < 4


def test_the_format_of_a_file_that_was_written_once_is_read_for_ever() -> None:
    """The bytes of version 1: a change that cannot read them needs a version of its own."""
    samples = Samples([86_400_000, 86_410_000, 86_420_003, 86_430_000], [11.5, 11.6, 11.4, 11.4], bytes([0, 0, 1, 0]))
    old = bytes.fromhex(Path(__file__).with_name("block_v1.hex").read_text())
    assert same(block.decode(old), samples)


@given(st.lists(value, min_size=1, max_size=80))
def test_a_roll_up_that_grows_equals_one_that_is_computed_anew(values: list[float]) -> None:
    values = [found + 0.0 for found in values if abs(found) < 1e300] or [1.0]
    grown = Growing()
    for time, found in enumerate(values):
        grown.add(time, found)
    assert grown.stored() == stored(values) == (*Rollup.of(values), grown.falls)
    assert grown.falls == sum(one > other for one, other in pairwise(values))
    assert min(values) <= Rollup.of(values).mean <= max(values)


@given(st.lists(st.tuples(st.integers(0, 8 * BUCKET), finite.filter(lambda v: abs(v) < 1e290)), min_size=1))
def test_buckets_are_absent_where_nothing_was_measured_and_hold_all_where_something_was(
    found: list[tuple[int, float]],
) -> None:
    samples = Samples.of((time, number, 0) for time, number in found)
    parts = {number: Rollup.of(values) for number, values in stretches(samples, BUCKET)}
    assert set(parts) == {time // BUCKET for time in samples.times}
    assert sum(part.samples for part in parts.values()) == len(samples)
    for number, part in parts.items():
        inside = [v for t, v in zip(samples.times, samples.values, strict=True) if t // BUCKET == number]
        assert part == Rollup.of(inside)


def test_a_bad_sample_is_kept_and_does_not_count() -> None:
    samples = Samples.of([(0, 5.0, 0), (1, 999.9, 2), (2, 7.0, 1)])
    assert samples.values == [5.0, 999.9, 7.0]
    assert dict(stretches(samples, BUCKET)) == {0: [5.0, 7.0]}


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, 2**53 + 1, -(2**60)])
def test_what_is_no_number_or_would_not_be_kept_exactly_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="recorded"):
        Samples.of([(0, wrong, 0)])
