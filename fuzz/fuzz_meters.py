#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw bytes at every meter decoder and see that it keeps the promises of `fuzz_thermotek`.

python fuzz/fuzz_meters.py --runs 100000 --seed 1
"""

from __future__ import annotations

import sys
from functools import reduce
from operator import xor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_thermotek as shared
from pymodbus.framer import FramerRTU

from rockit.meter.protocols import crc
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml_types import Entry, List, Time

PACKAGE = "rockit.meter.protocols"
MODULES = ("sml", "d0", "p1")
HELD = 70_000
"""No decoder may hold more bytes than this, whatever came in."""


def _sml() -> list[bytes]:
    server = bytes.fromhex("0a0145584d0000000001")
    entries = (
        Entry(bytes.fromhex("0100603201ff"), value=b"EXM"),
        Entry(bytes.fromhex("0100010800ff"), 0x1C0104, Time(1, 1), 30, -1, 123456789, 5),
        Entry(bytes.fromhex("0100100700ff"), None, None, 27, -2, -31064, 2),
        Entry(bytes.fromhex("8181c78205ff"), value=b"\x1b" * 5 + b"\x01" * 4),
    )
    made = [
        enc.push([List(None, server, None, Time(1, n), entries[:n])], n, kermit=kermit)
        for n in (1, 3, 4)
        for kermit in (False, True)
    ]
    return [*made, enc.START, enc.ESCAPE, b"\x1b", made[0][:-9]]


def _d0() -> list[bytes]:
    data = b"1-0:1.8.0*255(000123.456*kWh)\r\n1-0:16.7.0*255(-00012.3*W)\r\n!\r\n\x03"
    return [
        b"/EXM5METER-1\r\n",
        b"\x02" + data + bytes((reduce(xor, data),)),
        b"/?!\r\n",
        b"/EXM5X\r\n\r\n" + data[:-1],
    ]


def _p1() -> list[bytes]:
    text = b"/EXM5METER\r\n\r\n1-3:0.2.8(50)\r\n1-0:1.8.1(000123.456*kWh)\r\n1-0:1.7.0(00.123*kW)\r\n!"
    return [text + b"%04X\r\n" % crc.arc(text), text + b"\r\n", b"/", b"!0000\r\n"]


def _modbus() -> list[bytes]:
    rtu = bytes.fromhex("010304435c0000")
    frames = [rtu + FramerRTU.compute_CRC(rtu).to_bytes(2), bytes.fromhex("018302c0f1"), bytes.fromhex("0104020001")]
    lrc = -sum(rtu) & 0xFF
    frames.append(b":" + (rtu + bytes([lrc])).hex().upper().encode() + b"\r\n")
    return [*frames, bytes.fromhex("0001000000070104044366b334"), bytes.fromhex("000200000003018402")]


SEEDS = {"sml": _sml(), "d0": _d0(), "p1": _p1(), "modbus_framing": _modbus()}


def decoders() -> dict[str, shared.Factory]:
    """Every decoder of a meter's protocol that is there."""
    return shared.decoders(PACKAGE, MODULES) | shared.decoders("rockit.common.transport", ("modbus_framing",))


def run(runs: int, seed: int) -> dict[str, int]:
    """Check every decoder `runs` times; return how many frames each believed. Raises BrokenPromiseError."""
    return shared.run(runs, seed, decoders(), SEEDS, HELD)


if __name__ == "__main__":
    sys.exit(shared.main("meter", decoders(), SEEDS, HELD))
