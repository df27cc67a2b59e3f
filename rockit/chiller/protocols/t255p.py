# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek T255P: the older dialect, with one-letter commands.

No manual was at hand. Sources are drivers that run on real units (pythermotek; lab scripts for a Mira laser; a
QCoDeS driver) and the description of the related T251P that one of them quotes. Forms, both ended by CR, checksum as
in `thermotek`:

    command   .  letter  qualifier(0-4)  checksum(2)
    reply     #  letter  error(1)  data  checksum(2)

H is the odd one: its reply echoes the qualifier too, and sources differ on whether the error digit stands before or
after that. The qualifier being 0, both are read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from rockit.chiller.model import RunState
from rockit.chiller.protocols.thermotek import NOTHING, Shape
from rockit.chiller.protocols.thermotek_stream import StreamDecoder, seal, unseal
from rockit.common.framing import Damage, ProtocolError, Refused, Request

LONGEST_DATA = 9


class Error(IntEnum):
    """The error digit of a reply."""

    NONE = 0
    CHECKSUM = 1
    COMMAND = 2
    BOUNDS = 3
    """Qualifier out of bounds; also for G and O when the unit is in that mode already."""


_REASONS = {
    Error.NONE: "no error",
    Error.CHECKSUM: "checksum error",
    Error.COMMAND: "bad command",
    Error.BOUNDS: "qualifier out of bounds",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: what it does, the form of its qualifier, the form of the data in a reply without error."""

    name: str
    takes: Shape
    gives: Shape


_SETPOINT = "([+-][0-9]{3}|[0-9]{4})"
_FLAG = Shape(1, "[01]")

COMMANDS: dict[str, Entry] = {
    "U": Entry("status", NOTHING, Shape(4, "[0-3][01]{3}")),
    "I": Entry("manifold temperature", NOTHING, Shape(5, "[+-][0-9]{4}")),
    "H": Entry("memory", Shape(1, "0"), Shape(8, _SETPOINT + ",[0-9]{3}")),
    "J": Entry("alarms", NOTHING, Shape(6, "[01]{6}")),
    "G": Entry("run or standby", _FLAG, _FLAG),
    "M": Entry("set point", Shape(4, "[+-][0-9]{3}"), Shape(4, _SETPOINT)),
    "O": Entry("external sensor", _FLAG, _FLAG),
}
"""The commands that drivers use, by letter."""

ALARMS = (
    "low coolant level",
    "high temperature",
    "low temperature",
    "sensor fault",
    "EEPROM error",
    "watchdog error",
)
"""What the digits of J mean, in order; the first is the float switch."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; `data` without the echo of H."""

    letter: str
    error: Error
    data: str


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command, as a unit sees it."""

    letter: str
    qualifier: str


class Status(NamedTuple):
    """Answer to U."""

    mode: RunState
    alarm: bool
    chiller: bool
    dryer: bool


class Decoder(StreamDecoder[Reply]):
    """Replies of a unit: what the host reads. As strict as that of `thermotek`."""

    START = ord("#")
    LONGEST = 1 + 1 + 1 + LONGEST_DATA + 2 + 1

    def _read(self, frame: bytes) -> Reply | Damage:
        text = unseal(frame)
        if isinstance(text, Damage):
            return text
        if text[0] == "H":
            form = re.fullmatch("(H)(?:0([0-3])|([1-3])0)(.*)", text)
            error = form and (form[2] or form[3])
        else:
            form = re.fullmatch("(.)([0-3])()(.*)", text)
            error = form and form[2]
        if form is None or error is None or form[1] not in COMMANDS:
            return Damage.MALFORMED
        reply = Reply(form[1], Error(int(error)), form[4])
        if reply.error is Error.NONE and len(reply.data) != COMMANDS[reply.letter].gives.length:
            return Damage.MALFORMED
        return reply


class CommandDecoder(StreamDecoder[Command]):
    """Commands of a host: what a unit reads."""

    START = ord(".")
    LONGEST = 1 + 1 + 4 + 2 + 1

    def _read(self, frame: bytes) -> Command | Damage:
        text = unseal(frame)
        if isinstance(text, Damage):
            return text
        entry = COMMANDS.get(text[0])
        if entry is None or len(text) - 1 != entry.takes.length:
            return Damage.MALFORMED
        return Command(text[0], text[1:])


def encode(letter: str, qualifier: str = "") -> bytes:
    """The frame of a command. Raises ValueError for an unknown letter or a qualifier that it cannot take."""
    if letter not in COMMANDS:
        raise ValueError(f"there is no T255P command {letter!r}")
    if not COMMANDS[letter].takes.fits(qualifier):
        raise ValueError(f"T255P command {letter} ({COMMANDS[letter].name}) cannot take {qualifier!r}")
    return seal(f".{letter}{qualifier}")


def encode_reply(letter: str, data: str = "", error: int = 0) -> bytes:
    """The frame that a unit answers with. Raises ValueError for what `Decoder` would not believe."""
    frame = seal(f"#{letter}{'0' if letter == 'H' else ''}{error:d}{data}")
    if Decoder().feed(frame) == [Reply(letter, Error(error), data)]:
        return frame
    raise ValueError(f"no T255P would send {frame!r}")


def request(letter: str, qualifier: str = "") -> Request[Reply]:
    """The command as a question; the answer echoes the letter. Raises ValueError as `encode`."""
    frame = encode(letter, qualifier)
    return Request(f"{COMMANDS[letter].name} ({letter})", frame, lambda reply: reply.letter == letter)


def check(reply: Reply) -> Reply:
    """The reply where it has no error. Raises Refused with the unit's code and its meaning; a ProtocolError where our
    frame was damaged on its way (1 checksum), which is the line's fault and no answer to the question.
    """
    if reply.error is Error.CHECKSUM:
        raise ProtocolError(f"the unit reports a checksum error on {COMMANDS[reply.letter].name}")
    if reply.error is not Error.NONE:
        raise Refused(str(int(reply.error)), f"{_REASONS[reply.error]} on {COMMANDS[reply.letter].name}")
    return reply


def _formed(letter: str, data: str) -> str:
    if not COMMANDS[letter].gives.fits(data):
        raise ProtocolError(f"{data!r} is not an answer of a T255P to {COMMANDS[letter].name}")
    return data


def status(data: str) -> Status:
    """Data of U: mode, alarm, chiller on, dryer on. Raises ProtocolError."""
    mode, alarm, chiller, dryer = tuple(_formed("U", data))
    modes = (RunState.STARTING, RunState.STANDBY, RunState.RUN, RunState.SAFETY)
    return Status(modes[int(mode)], alarm == "1", chiller == "1", dryer == "1")


def manifold_temperature(data: str) -> float:
    """Data of I in °C: sign and four digits of 0.01 °C. Raises ProtocolError."""
    return int(_formed("I", data)) / 100


def memory(data: str) -> tuple[float, int]:
    """Data of H: set point in °C (four characters of 0.1 °C) and the maximum power setting. Raises ProtocolError."""
    _formed("H", data)
    return int(data[:4]) / 10, int(data[5:])


def alarms(data: str) -> tuple[str, ...]:
    """Data of J: names of the active alarms. Raises ProtocolError."""
    return tuple(name for name, digit in zip(ALARMS, _formed("J", data), strict=True) if digit == "1")


def setpoint(data: str) -> float:
    """Data of the answer to M in °C: four characters of 0.1 °C. Raises ProtocolError."""
    return int(_formed("M", data)) / 10


def setpoint_data(celsius: float) -> str:
    """Qualifier of M: sign and three digits of 0.1 °C, `+150` for 15.0. Raises ValueError beyond ±99.9."""
    if not -99.95 < celsius < 99.95:  # NaN fails this as well
        raise ValueError(f"a set point of {celsius} °C cannot be sent: a T255P takes -99.9 to 99.9")
    return f"{round(celsius * 10):+04d}"
