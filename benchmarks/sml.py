# SPDX-License-Identifier: GPL-3.0-or-later
"""Our SML decoder beside SmlLib and pysml on the same telegrams, in turn and in one run.

Ours gets the raw stream in pieces of 4 KiB: it frames, checks the checksums of transport and messages, and makes the
lists. SmlLib and pysml get each telegram by itself: they frame, check the transport's checksum (pysml also those of the
messages) and parse. Ours has seen the meters before, as it has in all but the first seconds. Telegrams are those of the
captures, where they are there, else written by our own encoder.

What a value costs ours depends on whether it ever changed. Captures are short, so most of their values never did: that
flatters ours. Hence a second figure, of layouts in which every value counts as one that changes. A meter that runs for
long is between the two.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.report import Figure
from rockit.meter.protocols import sml, sml_encode
from rockit.meter.protocols.sml import Entry, List, Telegram, Time, TimeKind
from rockit.meter.protocols.sml_layout import Layout

CAPTURES = Path(__file__).resolve().parents[2] / "shared" / "data" / "sml"
ROUNDS = 9
REPEATS = 10
"""How often ours reads all telegrams in a round: it is quick, and a clock of the process is coarse."""
PIECE = 4096


def run(_: Path) -> Iterator[Figure]:
    """Figures of one run; the folder is not needed."""
    found, source = _telegrams()
    telegrams = [telegram for telegram in found if _all_can_read(telegram)]
    stream = b"".join(telegrams)
    count = len(telegrams)
    decoder = sml.Decoder()
    changing = sml.Decoder()
    changing.feed(stream)
    _all_change(changing)
    contenders: dict[str, Callable[[], int]] = {
        "ours": lambda: _ours(decoder, stream),
        "ours, every value changing": lambda: _ours(changing, stream),
    }
    for name, make in (("SmlLib", _smllib), ("pysml", _pysml)):
        read = make(telegrams)
        if read is not None:
            contenders[name] = read
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(ROUNDS + 1):
        for name, read in contenders.items():
            began = time.process_time()
            passes = read()
            if number:  # the first warms the caches
                spent[name].append((time.process_time() - began) / passes)
    yield Figure(f"telegrams of {source}", count, "", None)
    for name, times in spent.items():
        yield Figure(f"{name}, telegrams a second", count / statistics.median(times), "/s")
    for name, most in (("SmlLib", 0.05), ("pysml", 0.02)):
        if name in spent:
            shares = [ours / theirs for ours, theirs in zip(spent["ours"], spent[name], strict=True)]
            yield Figure(f"share of {name}'s time, median of pairs", statistics.median(shares), "", most)
            shares = [a / b for a, b in zip(spent["ours, every value changing"], spent[name], strict=True)]
            yield Figure(f"share of {name}'s time, every value changing", statistics.median(shares), "")


def _all_change(decoder: sml.Decoder) -> None:
    """Make a decoder take every value of the meters that it knows for one that changed before."""
    for layouts in decoder._layouts._known.values():
        layouts[:] = [Layout(each.telegram, frozenset(at for at, _ in each.fields)) for each in layouts]


def _ours(decoder: sml.Decoder, stream: bytes) -> int:
    for _ in range(REPEATS):
        for at in range(0, len(stream), PIECE):
            decoder.feed(stream[at : at + PIECE])
    return REPEATS


def _smllib(telegrams: list[bytes]) -> Callable[[], int] | None:
    try:
        from smllib import SmlStreamReader
    except ImportError:
        return None

    def read() -> int:
        reader = SmlStreamReader()
        for telegram in telegrams:
            reader.add(telegram)
            reader.get_frame().parse_frame()
        return 1

    return read


def _pysml(telegrams: list[bytes]) -> Callable[[], int] | None:
    try:
        from sml import SmlBase
    except ImportError:
        return None

    def read() -> int:
        for telegram in telegrams:
            _, frame = SmlBase.find_frame(telegram)
            for _ in frame or ():
                pass
        return 1

    return read


def _all_can_read(telegram: bytes) -> bool:
    """SmlLib gives up a telegram with an entry that has no value: to give up early is no race."""
    for make in (_smllib, _pysml):
        read = make([telegram])
        try:
            if read is not None:
                read()
        except ValueError:
            return False
    return True


def _telegrams() -> tuple[list[bytes], str]:
    found = []
    for path in sorted(CAPTURES.glob("*.bin")):
        stream = path.read_bytes()
        items = sml.Decoder().feed(stream)
        found += [stream[item.offset : item.end] for item in items if isinstance(item, Telegram) and item.whole]
    if found:
        return found, "the captures"
    return [_made(number) for number in range(200)], "our own encoder"


def _made(number: int) -> bytes:
    server = bytes.fromhex("06454d48010203040506")
    energy = bytes.fromhex("0100010800ff")
    entries = (
        Entry(bytes.fromhex("8181c78203ff"), value=b"EMH"),
        Entry(bytes.fromhex("0100000009ff"), value=server),
        Entry(energy, 0x182, None, 30, -1, 133124849 + number, 5),
        Entry(bytes.fromhex("0100010801ff"), None, None, 30, -1, 133124849 + number, 5),
        Entry(bytes.fromhex("0100010802ff"), None, None, 30, -1, 0, 5),
        Entry(bytes.fromhex("01000f0700ff"), None, None, 27, -1, 1394 + number, 4),
        Entry(bytes.fromhex("8181c78205ff"), value=bytes(range(48))),
    )
    return sml_encode.push([List(None, server, None, Time(TimeKind.SEC_INDEX, 245817516 + number), entries)], number)
