# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path of the SML decoder believes no less and no more than the walker: checksums, integers of any width."""

from __future__ import annotations

import pytest
from smlmeters import edl21, lists, register, whole

from rockit.common.framing import Damaged
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml import Decoder, Telegram
from rockit.meter.protocols.sml_types import List, Tag


def known(*telegrams: bytes) -> Decoder:
    """A decoder that has learnt a meter."""
    decoder = Decoder()
    assert len(whole(decoder.feed(b"".join(telegrams)))) == len(telegrams)
    return decoder


def test_no_flipped_bit_is_believed_in_a_known_structure():
    good = edl21(power=1500, n=9)
    decoder = known(edl21(power=1394, n=1), edl21(power=77, n=2), good)
    for bit in range(8 * 8, 8 * len(good)):
        hurt = bytearray(good)
        hurt[bit // 8] ^= 1 << bit % 8
        assert not whole([*decoder.feed(bytes(hurt)), *decoder.flush()]), bit
    assert len(whole(decoder.feed(good))) == 1


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_checksums_of_any_number_of_messages(number):
    def made(value: int) -> bytes:
        bodies = [enc.list_body([register("1.8.0", enc.signed(value * each, 4), 30, 0)]) for each in range(number)]
        messages = [enc.message(bytes((value, each)), Tag.LIST_RESPONSE, body) for each, body in enumerate(bodies)]
        return enc.telegram(messages)

    decoder = known(made(1), made(2), made(3))
    decoder._walk = None  # type: ignore[assignment,method-assign]  # the fast path alone
    (telegram,) = whole(decoder.feed(made(77)))
    assert [each.entries[0].value for each in telegram.lists] == [77 * each for each in range(number)]
    bad = made(78)
    for flip in (1, 0x8000):
        (lost, *_) = decoder.feed(bad[:-2] + (int.from_bytes(bad[-2:], "big") ^ flip).to_bytes(2, "big"))
        assert isinstance(lost, Damaged)


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_integers_of_any_width_in_a_known_structure(size, signed):
    def made(value: int) -> bytes:
        octets = (enc.signed if signed else enc.unsigned)(value, size)
        return enc.telegram([enc.message(b"a", Tag.LIST_RESPONSE, enc.list_body([register("1.8.0", octets, 30, 0)]))])

    top = 1 << 8 * size - 1
    values = [top // 3, top // 5, top - 1, 0, 1, *([-1, -top, -top // 3] if signed else [top, 2 * top - 1])]
    decoder = known(*map(made, values))
    again: list[List] = lists([item for value in values for item in decoder.feed(made(value))])
    assert [each.entries[0].value for each in again] == values
    assert isinstance(decoder.feed(made(top // 7))[0], Telegram)
