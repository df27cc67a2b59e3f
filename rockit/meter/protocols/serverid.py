# SPDX-License-Identifier: GPL-3.0-or-later
"""The id of a meter, written as on its plate where its form is known. It is opaque: nothing is concluded from it.

Forms: DIN 43863-5 (medium, three letters, block of fabrication, number); EDL21 (06 and three letters, shown in hex as
on the plates of EMH and ISKRA); wired M-Bus address (EN 13757-3, after 01: letters packed in two octets, number in BCD,
version, medium). Examples: the captures of libsml-testing.
"""

from __future__ import annotations

_DIN = (b"\x0a\x01", b"\x09\x01")


def text(server_id: bytes | None) -> str:
    """`1 HLY02 0087 9590`, `06 45 4D 48 01 02 71 58 20 51`, `EMH 02806498`, what is ASCII as it is, else hex.

    Empty for None and for no octets.
    """
    if not server_id:
        return ""
    return _din(server_id) or _mbus(server_id) or _ascii(server_id) or server_id.hex(" ").upper()


def _din(octets: bytes) -> str:
    letters = octets[2:5]
    if len(octets) != 10 or octets[:2] not in _DIN or not (letters.isalpha() and letters.isascii()):
        return ""
    number = int.from_bytes(octets[6:], "big")
    if number > 99_999_999:
        return ""
    digits = f"{number:08d}"
    # The first digit is the medium: 1 is electricity.
    return f"{octets[1]} {letters.decode()}{octets[5]:02X} {digits[:4]} {digits[4:]}"


def _mbus(octets: bytes) -> str:
    if len(octets) != 9 or octets[0] != 0x01:
        return ""
    packed = int.from_bytes(octets[1:3], "little")
    letters = [packed >> shift & 0x1F for shift in (10, 5, 0)]
    number = octets[6:2:-1].hex()
    if packed >> 15 or not all(1 <= letter <= 26 for letter in letters) or not number.isdecimal():
        return ""
    return "".join(chr(0x40 + letter) for letter in letters) + " " + number


def _ascii(octets: bytes) -> str:
    written = octets.decode("ascii", "replace")
    return written.strip() if octets.isascii() and written.isprintable() else ""
