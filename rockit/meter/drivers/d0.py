# SPDX-License-Identifier: GPL-3.0-or-later
"""Meters with a D0 interface (IEC 62056-21): what a data block says, and how to ask for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass

from rockit.common.transport.settings import LineSettings
from rockit.meter.model import Reading
from rockit.meter.protocols import d0, datalines

ASKED = LineSettings(baud=300, bytesize=7, parity="E")
"""Where every meter listens."""
UNASKED = LineSettings(baud=9600, bytesize=7, parity="E")
"""Where most meters that send by themselves do so; those of mode D send at 2400."""

_SILENCE = 1.5
"""Most seconds between a question and its answer, or between two characters (IEC 62056-21, 6.3.14)."""
_SLACK = 1.0
"""Seconds that buffers and adapters may add."""
_IDENT_LENGTH = 64
_NAMES = (":0.0.0*255", ":0.0.9*255", ":96.1.0*255", ":96.1.255*255")
"""Where a meter says which one it is, the best first."""


def readings(telegram: d0.Telegram) -> list[Reading]:
    """What one data block says; nothing where it has no register.

    Registers by whole code; energies in Wh, powers in W. Notes: `manufacturer`, `identification`, and for single
    registers `<code> more` (what else stands in its line, as the time of a maximum).
    """
    registers, notes = datalines.registers(telegram.lines)
    if not registers:
        return []
    if not any(code.startswith("1-0:") for code in registers):
        # Some meters number their only channel 1.
        registers = {f"1-0:{code[4:]}" if code.startswith("1-1:") else code: one for code, one in registers.items()}
    if telegram.ident is not None:
        notes |= {"manufacturer": telegram.ident.maker, "identification": telegram.ident.text}
    said = [
        str(read.value) for name in _NAMES for code, read in registers.items() if code.endswith(name) and read.value
    ]
    return [Reading(registers, server_id=said[0] if said else "", notes=notes)]


@dataclass(frozen=True, slots=True)
class Send:
    """Write it, and wait until the last bit has left: the speed may change next."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Baud:
    """Set the port to this speed, bits a second."""

    baud: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Let these seconds pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Expect:
    """Feed the decoder until a frame of this kind comes; send it into the readout.

    Frames before it are passed over, those behind it are kept for the next `Expect`. None instead, once `silence`
    seconds passed without a byte, or `seconds` in all.
    """

    kind: type[d0.Ident] | type[d0.Telegram]
    seconds: float
    silence: float = _SILENCE + _SLACK


Action = Send | Baud | Wait | Expect
Readout = Generator[Action, d0.Ident | d0.Telegram | None, d0.Telegram | None]
"""Yields what to do next; takes the answer to `Expect`, None else; returns the telegram, None where none came."""


def readout(address: str = "", *, baud: int = ASKED.baud, switch_delay: float = 0.0) -> Readout:
    """Ask a meter for its data block, in the mode (A, B or C) that its identification names.

    `baud` is where it listens; `switch_delay` are seconds between the acknowledgement and the change of speed, which
    some optical heads need. It always ends, and begins, at `baud`. Raises ValueError for an impossible address.
    """
    question = d0.request(address)
    yield Baud(baud)
    yield Send(question)
    ident = yield Expect(d0.Ident, _SILENCE + _SLACK + _seconds(len(question) + _IDENT_LENGTH, baud))
    if not isinstance(ident, d0.Ident):
        return None
    speed = d0.baud_of(ident) or baud
    if d0.mode_of(ident) == "C":
        yield Wait(d0.reaction_time(ident))
        yield Send(d0.acknowledge(ident.baud_character))
        if switch_delay:
            yield Wait(switch_delay)
    if speed != baud:
        yield Baud(speed)
    telegram = yield Expect(d0.Telegram, _SILENCE + _SLACK + _seconds(d0.LONGEST, speed))
    if speed != baud:
        yield Baud(baud)
    if not isinstance(telegram, d0.Telegram):
        return None
    # Noise of the change of speed may stand between the two: here one answers the other all the same.
    return dataclasses.replace(telegram, ident=ident)


def listen(baud: int = UNASKED.baud, period: float = 60.0) -> Readout:
    """Wait for the next block of a meter that sends by itself, at least every `period` seconds (mode D: 2400 bit/s)."""
    yield Baud(baud)
    telegram = yield Expect(d0.Telegram, period + _seconds(d0.LONGEST, baud), silence=period + _SLACK)
    return telegram if isinstance(telegram, d0.Telegram) else None


def _seconds(characters: int, baud: int) -> float:
    return 10.0 * characters / baud
