#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw bytes at every decoder of a boiler plant and see that it keeps the promises of `fuzz_thermotek`.

python fuzz/fuzz_boiler.py --runs 100000 --seed 1
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import fuzz_thermotek as shared

PACKAGE = "rockit.boiler.protocols"
MODULES = ("numato", "opentherm")
HELD = 2_000
"""No decoder may hold more bytes than this, whatever came in."""
SEEDS = {
    "numato": [
        b"relay readall\n\r0041\n\r>", b"relay on 5\n\r>", b"relay read A\n\roff\n\r>", b"ver\n\r00000008\n\r>",
        b"\r", b">",
    ],
    "opentherm": [
        b"T80190000\r\n", b"BC0193080\r\n", b"CS: 55.00\r\n", b"PR: A=OpenTherm Gateway 4.2.5\r\n", b"NG\r\n",
        b"Error 01\r\n",
    ],
}  # fmt: skip


def decoders() -> dict[str, shared.Factory]:
    """Every decoder of a boiler plant's protocols that is there."""
    return shared.decoders(PACKAGE, MODULES)


def run(runs: int, seed: int) -> dict[str, int]:
    """Check every decoder `runs` times; return how many frames each believed. Raises BrokenPromiseError."""
    return shared.run(runs, seed, decoders(), SEEDS, HELD)


if __name__ == "__main__":
    sys.exit(shared.main("boiler", decoders(), SEEDS, HELD))
