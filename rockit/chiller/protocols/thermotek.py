# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek TTK, release II (T257P, RC-2U, RC-3U and relatives): frames in both directions.

Source: ThermoTek, "TTK Serial Communication Protocol Release II", rev X2.003; behaviour that it leaves out comes
from drivers that run on real units (named where it matters). Forms, both ended by CR:

    command   .  unit(2)  number(2)  name(8)  data(0-8)  checksum(2)
    reply     #  unit(2)  number(2)  error(1)  name(8)  data(0-9)  checksum(2)

The checksum is the sum of everything before it, modulo 256, as two hex digits. A unit does not check the name, only
the length, and echoes it. What the data of a reply mean is the business of `thermotek_values` and `thermotek_alarms`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from rockit.chiller.protocols.thermotek_stream import StreamDecoder, seal, unseal
from rockit.common.framing import Damage, ProtocolError, Refused, Request

UNITS = range(1, 33)
"""Unit numbers; RS-232, USB and Ethernet are always 1."""
NAME_LENGTH = 8


class Error(IntEnum):
    """The error digit of a reply."""

    NONE = 0
    CHECKSUM = 1
    COMMAND = 2
    BOUNDS = 3
    LENGTH = 4
    NOT_CONFIGURED = 5

    @property
    def reason(self) -> str:
        """The manual's meaning, in words."""
        return _REASONS[self]


_REASONS = {
    Error.NONE: "no error",
    Error.CHECKSUM: "checksum error",
    Error.COMMAND: "bad or unused command number",
    Error.BOUNDS: "parameter out of bounds",
    Error.LENGTH: "wrong message length",
    Error.NOT_CONFIGURED: "sensor or feature not configured",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """Form of a data field: its length in characters and a pattern that all of it must match."""

    length: int
    pattern: str

    def fits(self, data: str) -> bool:
        """True where `data` has exactly this form."""
        return re.fullmatch(self.pattern, data) is not None


NOTHING = Shape(0, "")
SWITCH = Shape(1, "[01]")
SENSOR = Shape(1, "[0-3]")
PAGE = Shape(1, "[12]")
TEMPERATURE = Shape(5, "[+-][0-9]{4}")
FLOW = Shape(5, "[+][0-9]{4}")
CURRENT = Shape(5, "[+-][0-9]{4}")
DRIVE = Shape(5, "[0-9]{3},[CH]")
WATCHDOG = Shape(4, "[0-4][01]{3}")
ALARMS_1 = Shape(6, "[0-9A-F]{6}")
ALARMS_2 = Shape(9, "[12][0-9A-F]{8}")
WARNINGS = Shape(4, "[0-9A-F]{4}")
PWM = Shape(5, "[0-9]{3},[CH]")
PID = Shape(7, "[+-][0-9]{4},[0-9]")
MINUTES = Shape(6, "[0-9]{6}")
HERTZ = Shape(4, "[0-9]{4}")
LETTER_U = Shape(1, "U")
"""The manual's frames of command 59 have a ninth letter after the name, in both directions: by length it is data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One command: its name on the wire, the form of its data, the form of the data in a reply without error."""

    name: str
    takes: Shape
    gives: Shape


COMMANDS: dict[int, Entry] = {
    1: Entry("WatchDog", NOTHING, WATCHDOG),
    2: Entry("rCtrlSen", NOTHING, SENSOR),
    3: Entry("rSetTemp", NOTHING, TEMPERATURE),
    4: Entry("rSupplyT", NOTHING, TEMPERATURE),
    5: Entry("rExtRTD_", NOTHING, TEMPERATURE),
    6: Entry("rExtThrm", NOTHING, TEMPERATURE),
    7: Entry("rReturnT", NOTHING, TEMPERATURE),
    8: Entry("rAmbTemp", NOTHING, TEMPERATURE),
    9: Entry("rProsFlo", NOTHING, FLOW),
    10: Entry("rTECB1Cr", NOTHING, CURRENT),
    11: Entry("rTECB2Cr", NOTHING, CURRENT),
    12: Entry("sExtSens", SWITCH, SWITCH),
    13: Entry("rTECDrLv", NOTHING, DRIVE),
    15: Entry("sStatus_", SWITCH, SWITCH),
    16: Entry("sCtrlSen", SENSOR, SENSOR),
    17: Entry("sCtrlT__", TEMPERATURE, TEMPERATURE),
    18: Entry("rAlrmLv1", NOTHING, ALARMS_1),
    19: Entry("rAlrmLv2", PAGE, ALARMS_2),
    20: Entry("rWarnLv1", NOTHING, WARNINGS),
    21: Entry("sHiSpTWn", TEMPERATURE, TEMPERATURE),
    22: Entry("sLoSpTWn", TEMPERATURE, TEMPERATURE),
    23: Entry("sHiAmTWn", TEMPERATURE, TEMPERATURE),
    24: Entry("sLoAmTWn", TEMPERATURE, TEMPERATURE),
    25: Entry("sLoPFlWn", FLOW, FLOW),
    26: Entry("sHiSpTAl", TEMPERATURE, TEMPERATURE),
    27: Entry("sLoSpTAl", TEMPERATURE, TEMPERATURE),
    28: Entry("sHiAmTAl", TEMPERATURE, TEMPERATURE),
    29: Entry("sLoAmTAl", TEMPERATURE, TEMPERATURE),
    30: Entry("sLoPFlAl", FLOW, FLOW),
    34: Entry("rHiSpTWn", NOTHING, TEMPERATURE),
    35: Entry("rLoSpTWn", NOTHING, TEMPERATURE),
    36: Entry("rHiAmTWn", NOTHING, TEMPERATURE),
    37: Entry("rLoAmTWn", NOTHING, TEMPERATURE),
    38: Entry("rLoPFlWn", NOTHING, FLOW),
    39: Entry("rHiSpTAl", NOTHING, TEMPERATURE),
    40: Entry("rLoSpTAl", NOTHING, TEMPERATURE),
    41: Entry("rHiAmTAl", NOTHING, TEMPERATURE),
    42: Entry("rLoAmTAl", NOTHING, TEMPERATURE),
    43: Entry("rLoPFlAl", NOTHING, FLOW),
    46: Entry("rPulWdMo", NOTHING, PWM),
    48: Entry("rPIDStat", NOTHING, PID),
    49: Entry("rUpTime_", NOTHING, MINUTES),
    50: Entry("rFanSpd1", NOTHING, HERTZ),
    51: Entry("rFanSpd2", NOTHING, HERTZ),
    52: Entry("rFanSpd3", NOTHING, HERTZ),
    53: Entry("rFanSpd4", NOTHING, HERTZ),
    59: Entry("sDUsrEEP", LETTER_U, LETTER_U),
}
"""Every command by its number; numbers that the manual reserves are absent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. Where `error` is not NONE, `data` is an echo without meaning."""

    unit: int
    command: int
    error: Error
    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """The short reply `#23` CR, without address and checksum: the unit will not do it.

    Seen on a T257P for parameters out of bounds and as the answer to command 16 (driver of the Rubin Observatory).
    """

    code: str


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command, as a unit sees it. The name is whatever the host sent."""

    unit: int
    command: int
    name: str
    data: str


class Decoder(StreamDecoder[Reply | Rejection]):
    """Replies of a unit: what the host reads.

    Believed are frames with the right checksum, a unit number of 1 to 32, an error digit of 0 to 5 and, where that
    is 0, a known command with data of the documented length. Whether the data make sense, the value parsers say.
    """

    START = ord("#")
    LONGEST = 1 + 2 + 2 + 1 + NAME_LENGTH + 9 + 2 + 1

    def _read(self, frame: bytes) -> Reply | Rejection | Damage:
        if re.fullmatch(rb"#[0-9]{2}\r", frame):
            return Rejection(frame[1:3].decode("ascii"))
        text = unseal(frame)
        if isinstance(text, Damage):
            return text
        header = re.fullmatch("([0-9]{2})([0-9]{2})([0-5])(.{8})(.{0,9})", text)
        if header is None or int(header[1]) not in UNITS:
            return Damage.MALFORMED
        reply = Reply(int(header[1]), int(header[2]), Error(int(header[3])), header[4], header[5])
        return reply if _length_possible(reply) else Damage.MALFORMED


def _length_possible(reply: Reply) -> bool:
    if reply.error in (Error.CHECKSUM, Error.COMMAND, Error.LENGTH):
        return True  # the unit did not understand the command, so what it echoes follows no table
    entry = COMMANDS.get(reply.command)
    if entry is None:
        return False
    if reply.error is Error.NONE:
        return len(reply.data) == entry.gives.length
    return len(reply.data) in (0, entry.takes.length, entry.gives.length)


class CommandDecoder(StreamDecoder[Command]):
    """Commands of a host: what a unit reads.

    The name is not compared with the table (units do not either; chillerd sends zeros). Wrong checksums, numbers
    and lengths come out as Damaged with the whole frame in it, from which a simulator can make its error reply.
    """

    START = ord(".")
    LONGEST = 1 + 2 + 2 + NAME_LENGTH + 8 + 2 + 1

    def _read(self, frame: bytes) -> Command | Damage:
        text = unseal(frame)
        if isinstance(text, Damage):
            return text
        header = re.fullmatch("([0-9]{2})([0-9]{2})(.{8})(.{0,8})", text)
        if header is None or int(header[1]) not in UNITS:
            return Damage.MALFORMED
        command = Command(int(header[1]), int(header[2]), header[3], header[4])
        entry = COMMANDS.get(command.command)
        return command if entry is not None and len(command.data) == entry.takes.length else Damage.MALFORMED


def _entry(command: int, unit: int) -> Entry:
    if command not in COMMANDS:
        raise ValueError(f"there is no TTK command {command!r}")
    if unit not in UNITS:
        raise ValueError(f"TTK unit numbers are 1 to 32, not {unit!r}")
    return COMMANDS[command]


def encode(command: int, data: str = "", unit: int = 1) -> bytes:
    """The frame of a command, to be sent in one write (a pause of 10 ms inside it makes the unit drop it).

    Raises ValueError for a number that is reserved or unknown, for data that do not have the documented form, and
    for a unit number other than 1 to 32.
    """
    entry = _entry(command, unit)
    if not entry.takes.fits(data):
        raise ValueError(f"TTK command {command} ({entry.name}) cannot take the data {data!r}")
    return seal(f".{unit:02d}{command:02d}{entry.name}{data}")


def encode_reply(command: int, data: str = "", error: int = 0, unit: int = 1, name: str | None = None) -> bytes:
    """The frame that a unit answers with; `name` is the echo, absent: the name of the table.

    Raises ValueError for what `Decoder` would not believe.
    """
    echo = COMMANDS[command].name if name is None and command in COMMANDS else name
    frame = seal(f"#{unit:02d}{command:02d}{error:d}{echo}{data}")
    if Decoder().feed(frame) == [Reply(unit, command, Error(error), str(echo), data)]:
        return frame
    raise ValueError(f"no TTK unit would send {frame!r}")


def request(command: int, data: str = "", unit: int = 1) -> Request[Reply | Rejection]:
    """The command as a question. Its answer has the same unit, number and name (manuals and units differ in the
    case of some letters), or is a Rejection, which carries nothing to compare. Raises ValueError as `encode`.
    """
    name = COMMANDS[command].name if command in COMMANDS else ""

    def matches(frame: Reply | Rejection) -> bool:
        if isinstance(frame, Rejection):
            return True
        return (frame.unit, frame.command, frame.name.lower()) == (unit, command, name.lower())

    return Request(f"{name} ({command:02d})", encode(command, data, unit), matches)


def check(frame: Reply | Rejection, command: int) -> Reply:
    """The frame where it is a reply without error to `command`.

    Raises Refused with the unit's code and its meaning; a ProtocolError where the code says that our frame was damaged
    on its way (1 checksum, 4 length), which is the line's fault and no answer to the question.
    """
    asked = f"on command {command:02d} {COMMANDS[command].name}"
    if isinstance(frame, Rejection):
        raise Refused(frame.code, f"short rejection {asked}, as for a parameter out of bounds")
    if frame.error in (Error.CHECKSUM, Error.LENGTH):
        raise ProtocolError(f"the unit reports {frame.error.reason} {asked}")
    if frame.error is not Error.NONE:
        raise Refused(str(int(frame.error)), f"{frame.error.reason} {asked}")
    return frame
