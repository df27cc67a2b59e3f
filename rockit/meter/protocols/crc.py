# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksums of meters, at the speed of the standard library's C.

`binascii.crc_hqx` is the polynomial 0x1021 with the most significant bit first. The meters' checksums have it with the
least significant bit first: the same on bytes whose bits are reversed, its result reversed as well.
"""

from __future__ import annotations

from binascii import crc_hqx

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _reversed(word: int) -> int:
    return _REVERSED[word & 0xFF] << 8 | _REVERSED[word >> 8]


def x25(data: bytes) -> int:
    """CRC-16/X-25 (HDLC); 0x906E of b"123456789"."""
    return _reversed(crc_hqx(data.translate(_REVERSED), 0xFFFF)) ^ 0xFFFF


def kermit(data: bytes) -> int:
    """CRC-16/KERMIT; 0x2189 of b"123456789"."""
    return _reversed(crc_hqx(data.translate(_REVERSED), 0))


_ARC = []
for _byte in range(256):
    for _ in range(8):
        _byte = _byte >> 1 ^ 0xA001 if _byte & 1 else _byte >> 1
    _ARC.append(_byte)


def arc(data: bytes) -> int:
    """CRC-16/ARC, of DSMR; 0xBB3D of b"123456789". A telegram a second: no need for more speed."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _ARC[(crc ^ byte) & 0xFF]
    return crc
