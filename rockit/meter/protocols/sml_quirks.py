# SPDX-License-Identifier: GPL-3.0-or-later
"""What meters do otherwise than SML says, as data. A correction changes a value; a tolerance only lets one in.

What a meter says is changed only where captures or its manual prove it wrong, and by what it says of itself just then,
not by its serial number: an earlier fix by numbers made right values of other meters wrong (libsml issue 132).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from rockit.meter.protocols.sml_types import Entry, List

IMPORT_ENERGY = bytes((1, 0, 1, 8, 0, 255))
POWER = bytes((1, 0, 16, 7, 0, 255))


class Effect(StrEnum):
    """What a quirk does to values."""

    CORRECTION = "correction"
    TOLERANCE = "tolerance"


class Quirk(NamedTuple):
    """One habit of some meters."""

    name: str
    meters: str
    effect: Effect
    what: str
    source: str
    correct: Callable[[List], List] | None = None
    """Of a correction of a list; a tolerance is where bytes are read."""


_DZG_IDS = (b"\x0a\x01DZG", b"\x09\x01DZG")
_DZG_BITS = 0xFFE009FF
_DZG_IMPORTING = 0x104
"""Status of a modern meter: above the start-up threshold (bit 8), not exporting (bit 11), no reserved bit set."""


def _dzg(given: List) -> List:
    if not (given.server_id or b"").startswith(_DZG_IDS):
        return given
    status = next((entry.status for entry in given.entries if entry.name == IMPORT_ENERGY), None)
    if status is None or status & _DZG_BITS != _DZG_IMPORTING:
        return given
    entries = tuple(_unsigned(entry) if entry.name == POWER else entry for entry in given.entries)
    return given if entries == given.entries else given._replace(entries=entries)


def _unsigned(entry: Entry) -> Entry:
    if isinstance(entry.value, int) and entry.value < 0 and 1 <= entry.width <= 3:
        return entry._replace(value=entry.value + (1 << 8 * entry.width))
    return entry


QUIRKS = (
    Quirk(
        "dzg-sign",
        "DZG DVS-7412.2, DVS-7420.2",
        Effect.CORRECTION,
        "Power of 1 to 3 octets is sent unsigned under a signed type: where the status says import and the number is "
        "negative, its sign bit is a bit of the number.",
        "libsml-testing DZG_DVS-7412.2_jmberg (356.24 W, not -299.12 W); bits of the status: pysml, after DZG's "
        "manual. dzg_dwsb20 exports with bit 11 set and stays negative (vzlogger issue 533)",
        _dzg,
    ),
    Quirk(
        "status-sign",
        "EMH ED300L, eHZ; Dr. Neuhaus SMARTY",
        Effect.CORRECTION,
        "Power 15.7.0 has no sign; bit 5 of the EDL21 status (low octet not 04) of the energy register says export. "
        "Never applied to 16.7.0. See `rockit.meter.power`.",
        "libsml-testing EMH-ED300L_consumption and _delivery (0x182, 0x1b0); FNN Lastenheft EDL 1.0, p. 31, as cited "
        "in libsml issue 101",
    ),
    Quirk(
        "hager-status",
        "Hager EHZ361 (EMH)",
        Effect.TOLERANCE,
        "Bit 5 of the status is clear although it exports: its signed power 1.7.1 is taken as it is.",
        "libsml-testing EMH_eHZ361L5R (-5632.1916 W, status 0x82)",
    ),
    Quirk(
        "holley-time",
        "Holley DTZ541",
        Effect.TOLERANCE,
        "A bare Unsigned32 stands in place of the choice SML_Time: it is a secIndex.",
        "libsml issue 75; libsml-testing HOLLEY_DTZ541-ZDBA",
    ),
    Quirk(
        "kermit",
        "Holley DTZ541, some firmware and its RS-485 port",
        Effect.TOLERANCE,
        "Checksums are CRC-16/KERMIT, high octet first. Believed for a whole telegram only.",
        "libsml issue 75; SmlLib issue 22",
    ),
    Quirk(
        "short-checksum",
        "ISKRA MT691",
        Effect.TOLERANCE,
        "A leading zero octet of a message's checksum is dropped (`62 xx`).",
        "libsml-testing ISKRA_MT691_eHZ-MS2020, telegram at byte 1944",
    ),
    Quirk(
        "wide-tags",
        "Holley, ITRON, eBZ",
        Effect.TOLERANCE,
        "The tag of a message body is an Unsigned32.",
        "libsml-testing",
    ),
    Quirk(
        "fine-scalers",
        "EasyMeter Q3A, Hager EHZ361",
        Effect.TOLERANCE,
        "Scaler -4 (0.1 mWh) on integers of 64 bits: more digits than a double keeps, so that values are exact.",
        "libsml-testing EasyMeter_Q3A_A1064V1009",
    ),
    Quirk(
        "no-value",
        "EMH eHZ-IW8E2A5L0EK2P",
        Effect.TOLERANCE,
        "An entry has a time and no value.",
        "libsml-testing EMH_eHZ-IW8E2A5L0EK2P_with_error",
    ),
)


def corrected(given: List) -> List:
    """The list with the values that its meter meant; the same object where it meant what it sent."""
    for quirk in QUIRKS:
        if quirk.correct is not None:
            given = quirk.correct(given)
    return given
