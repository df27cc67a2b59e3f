#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Throw bytes at every chiller decoder and see that it keeps its promises.

A decoder never raises, hands out every byte that it took at most once, gives the same frames however the stream is
split, and holds nothing after a flush. With atheris installed the bytes are guided by coverage; without it they are
mutations of known traffic from a seeded generator:

    python fuzz/fuzz_thermotek.py --runs 100000 --seed 1
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import itertools
import random
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rockit.common.framing import Damaged, Decoder

MODULES = ("thermotek", "t255p", "neslab", "lauda")
HELD = 4096
"""No decoder may hold more bytes than this, whatever came in."""

SEEDS: dict[str, list[bytes]] = {
    "thermotek": [
        b"#01010WatchDog2101EA\r",
        b"#01040rSupplyT+029566\r",
        b"#01130rTECDrLv016,CE4\r\n",
        b"#01180rAlrmLv101A00040\r",
        b"#01190rAlrmLv2209000100CC\r",
        b"#01173sCtrlT__+09993F\r",
        b"#23\r",
        b"\x13\x11",
        b".0117sCtrlT__+0200FE\r",
        b".01010000000070\r",
    ],
    "t255p": [
        b"#U020106B\r",
        b"#I0+150390\r",
        b"#H00+150,10049\r",
        b"#G31CE\r",
        b".M+1503C\r",
        b".H0A6\r",
        b"\x11.U83\r\x13",
    ],
    "neslab": [bytes.fromhex(frame) for frame in ("CA0001200311027157", "CA0001700311 00C8B2", "CA00010F020320CA")],
    "lauda": [b"20.00\r\n", b"-05.00\r\n", b"OK\r\n", b"ERR_6\r\n", b"0000000\r\n"],
}

Factory = Callable[[], Decoder[Any]]


class BrokenPromiseError(AssertionError):
    """A decoder did what no decoder may do."""


def decoders(package: str = "rockit.chiller.protocols", modules: Iterable[str] = MODULES) -> dict[str, Factory]:
    """Every concrete class called …Decoder of every protocol of a package that is there, by module and name."""
    found: dict[str, Factory] = {}
    for name in modules:
        full = f"{package}.{name}"
        if importlib.util.find_spec(full) is None:
            continue
        for label, member in vars(import_module(full)).items():
            if inspect.isclass(member) and label.endswith("Decoder") and member.__module__ == full:
                found[f"{name}.{label}"] = cast(Factory, member)
    return found


def account(frames: list[Any]) -> list[Any]:
    """What must not depend on the splits: the frames, and the bytes that were thrown away between them."""
    merged: list[Any] = []
    for frame in frames:
        if not isinstance(frame, Damaged):
            merged.append(frame)
        elif merged and isinstance(merged[-1], bytes):
            merged[-1] += frame.data
        else:
            merged.append(frame.data)
    return merged


def check(name: str, make: Factory, data: bytes, cuts: list[int], most: int = HELD) -> list[Any]:
    """Feed `data` whole and cut at `cuts` to a decoder; return the frames. Raises BrokenPromiseError."""
    whole, split = make(), make()
    edges = [0, *sorted(cuts), len(data)]
    try:
        at_once = whole.feed(data)
        held = whole.flush()
        piecewise = [frame for a, b in itertools.pairwise(edges) for frame in split.feed(data[a:b])]
        piecewise += split.flush()
        left = whole.flush() + whole.feed(b"") + split.flush()
    except Exception as error:
        raise BrokenPromiseError(f"{name} raised {error!r} on {data!r}") from error
    if account(piecewise) != account(at_once + held):
        raise BrokenPromiseError(f"{name} depends on the splits {cuts} of {data!r}: {piecewise} and {at_once + held}")
    if left:
        raise BrokenPromiseError(f"{name} still held {left} after a flush; it took {data!r}")
    damaged = [frame.data for frame in at_once + held if isinstance(frame, Damaged)]
    if not all(damaged) or sum(map(len, damaged)) > len(data):
        raise BrokenPromiseError(f"{name} threw away {damaged}, more than it took: {data!r}")
    if sum(len(frame.data) for frame in held if isinstance(frame, Damaged)) > most:
        raise BrokenPromiseError(f"{name} held more than {most} bytes of {data!r}")
    return [frame for frame in at_once + held if not isinstance(frame, Damaged)]


def traffic(chance: random.Random, seeds: list[bytes], most: int = HELD) -> bytes:
    """Something like what a bad line carries: known frames, most of them damaged, and noise."""
    pieces = []
    for _ in range(chance.randint(0, 6)):
        piece = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
            at = chance.randint(0, len(piece))
            kind = chance.randrange(4)
            if kind == 0:
                piece[at:at] = chance.randbytes(chance.randint(1, 4))
            elif kind == 1:
                del piece[at : at + chance.randint(1, 3)]
            elif kind == 2 and at < len(piece):
                piece[at] = chance.randrange(256)
            elif kind == 3:
                piece[at:at] = piece[:at]
        pieces.append(bytes(piece))
    if chance.random() < 0.02:
        pieces.append(chance.choice(seeds)[:1] * chance.randint(1, 3 * most))
    return b"".join(pieces)


def run(
    runs: int,
    seed: int,
    factories: dict[str, Factory] | None = None,
    known: dict[str, list[bytes]] = SEEDS,
    most: int = HELD,
) -> dict[str, int]:
    """Check every decoder `runs` times; return how many frames each believed. Raises BrokenPromiseError."""
    chance = random.Random(seed)
    believed: dict[str, int] = {}
    for name, make in (decoders() if factories is None else factories).items():
        seeds = known.get(name.partition(".")[0]) or [b"\x00"]
        believed[name] = 0
        for _ in range(runs):
            data = traffic(chance, seeds, most)
            cuts = [chance.randint(0, len(data)) for _ in range(chance.randint(0, 5))]
            believed[name] += len(check(name, make, data, cuts, most))
    return believed


def main(
    what: str = "chiller",
    factories: dict[str, Factory] | None = None,
    known: dict[str, list[bytes]] = SEEDS,
    most: int = HELD,
) -> int:
    """Fuzz until the runs are over; exit 1 on a broken promise."""
    parser = argparse.ArgumentParser(description=f"fuzz the {what} decoders")
    parser.add_argument("--runs", type=int, default=10_000, help="inputs for each decoder")
    parser.add_argument("--seed", type=int, default=0, help="seed of the generator that is used without atheris")
    given = parser.parse_args()
    factories = decoders() if factories is None else factories
    if importlib.util.find_spec("atheris") is not None:
        guided(given.runs, factories, most)
    try:
        believed = run(given.runs, given.seed, factories, known, most)
    except BrokenPromiseError as broken:
        print(broken, file=sys.stderr)
        return 1
    for name, frames in believed.items():
        print(f"{name}: {given.runs} inputs, {frames} frames believed")
    return 0


def guided(runs: int, factories: dict[str, Factory], most: int) -> None:
    """Let atheris choose the bytes. Does not return: libFuzzer ends the process after `runs` inputs."""
    atheris = import_module("atheris")

    def one_input(data: bytes) -> None:
        for name, make in factories.items():
            check(name, make, data[1:], [data[0] % len(data)] if data else [], most)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-runs={runs}"], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
