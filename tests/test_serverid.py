# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of meters as their plates say them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.meter.protocols import serverid


@pytest.mark.parametrize(
    ("octets", "written"),
    [
        ("0a01484c5902000d6be6", "1 HLY02 0087 9590"),
        ("090145535911 03b599a5", "1 ESY11 6223 2997"),
        ("0a01445a47000282225e", "1 DZG00 4208 2910"),
        ("06454d48010271582051", "06 45 4D 48 01 02 71 58 20 51"),
        ("01a815986480020102", "EMH 02806498"),
        ("3032323830383136", "02280816"),
        ("31303031313835", "1001185"),
        ("", ""),
        ("0a01484c590200", "0A 01 48 4C 59 02 00"),
        ("0a01484c5902ffffffff", "0A 01 48 4C 59 02 FF FF FF FF"),
        ("01a8159864800f0102", "01 A8 15 98 64 80 0F 01 02"),
        ("ffffffffffff", "FF FF FF FF FF FF"),
    ],
)
def test_documented_forms(octets, written):
    assert serverid.text(bytes.fromhex(octets)) == written


def test_none_is_empty():
    assert serverid.text(None) == ""


@given(st.one_of(st.binary(max_size=12), st.sampled_from([b"\x0a\x01", b"\x01"]).flatmap(
    lambda start: st.binary(min_size=8, max_size=8).map(lambda rest: start + rest))))  # fmt: skip
def test_any_octets_are_written_as_one_line(octets):
    written = serverid.text(octets)
    assert written.isprintable()
    assert bool(written) or not octets.strip()
