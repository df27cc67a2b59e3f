# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path: a meter sends the same telegram every second, with other numbers in it.

A layout is learnt from telegrams that were walked: which bytes are structure (type-length bytes, names, units, scalers,
and values that never changed so far) and which are values that change. A telegram whose structure is the same to the
byte needs no walk: one `struct` unpacks what changes, and the tuples are put together from that and from what was made
before. It is compared by arithmetic on the telegram as one big integer. What differs otherwise is walked again and
learnt: a value that changed for the first time makes the layout wider, a type-length byte makes another layout.

Every checksum is checked. That of each message is computed. The transport's, which runs over the messages as well, is
not computed over the same bytes once more: for telegrams of one structure whose messages are all right it depends on
the checksums of the messages alone. This is exact, see `_Sums`.

How a layout is learnt: the walker itself walks, with values replaced by `_Slot`s. What it makes of them shows where
each value goes, so that walk and layout cannot differ. Walks of what only differs in its values must therefore be the
same: the walker looks at no value but those that it reads as fixed.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, cast

from rockit.meter.protocols.sml_messages import Sums, Walker
from rockit.meter.protocols.sml_types import List, Telegram
from rockit.meter.protocols.sml_walker import Impossible

_LONGEST = 2048
"""Telegrams longer than this are walked: they are profiles, and no two are alike."""
_MOST = 64
"""Layouts that are kept; a meter needs a handful."""
_BEGINNING = 8
_ENDING = 8
MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""For `bytes.translate`: the bits of every byte in reverse order, see `crc`."""
RESIDUE = 0x1D0F
"""`crc_hqx` of mirrored bytes of which the last two are their right X-25 checksum."""

_CODES = {1: "B", 2: "H", 3: "BH", 4: "I", 5: "BI", 6: "HI", 7: "BHI", 8: "Q"}
"""How `struct` reads integers of so many octets: a higher part and lower ones, where it knows none of that size."""
_BITS = {"H": 16, "I": 32}


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands for a value while a layout is learnt: where it is, and how `struct` reads its parts, the highest first."""

    start: int
    size: int
    codes: Sequence[str]


class _Learner(Walker):
    """Walks, and writes down where the values are. Those that begin at the places `changing` become slots."""

    def __init__(self, data: bytes, at: int, changing: Set[int]) -> None:
        super().__init__(data, at)
        self.fields: list[tuple[int, int]] = []
        """Where values are, and how many octets they have."""
        self.mask = bytearray(b"\xff" * len(data))
        """Zero where a telegram of this layout may differ."""
        self._changing = changing

    def hide(self, size: int) -> None:
        """Go past what may differ."""
        self.mask[self.at : self.at + size] = bytes(size)
        self.at += size

    def _slot(self, size: int, codes: Sequence[str]) -> Any:
        slot = _Slot(self.at, size, codes)
        self.hide(size)
        return slot

    def _changes(self, size: int) -> bool:
        self.fields.append((self.at, size))
        return self.at in self._changing

    def _octets(self, size: int) -> bytes:
        return cast(bytes, self._slot(size, [f"{size}s"])) if self._changes(size) else super()._octets(size)

    def _number(self, size: int, signed: bool) -> int:
        if not 1 <= size <= 8:
            raise Impossible
        if not self._changes(size):
            return super()._number(size, signed)
        # Energy has 5 octets, the first of them zero: it is quicker to take that for structure.
        while 4 < size < 8 and self.data[self.at] == 0:
            self.at += 1
            size -= 1
            signed = False
        codes = _CODES[size]
        return cast(int, self._slot(size, codes[0].lower() + codes[1:] if signed else codes))

    def _boolean(self, size: int) -> bool:
        if size != 1:
            raise Impossible
        return cast(bool, self._slot(size, "?")) if self._changes(size) else super()._boolean(size)

    def _sum_octets(self, size: int) -> bytes:
        if size != 2:
            raise Impossible
        self.hide(size)
        return b""


class Layout:
    """Reads telegrams of one structure."""

    def __init__(self, telegram: bytes, changing: Set[int]) -> None:
        """Learn from a telegram without escapes, start marker to checksum. Raises Impossible or IndexError."""
        learner = _Learner(telegram, _BEGINNING, changing)
        stop = len(telegram) - _ENDING - telegram[-3]
        lists: list[List] = []
        others = ""
        behind = 0
        sums: list[Sums] = []
        while learner.at < stop:
            start = learner.at
            message, covered = learner.message()
            sums.append(covered)
            if isinstance(message.body, List):
                lists.append(message.body)
            else:
                others += f"{start - behind}x{learner.at - start}s"
                behind = learner.at
        if learner.at != stop or not sums:
            raise Impossible
        learner.at = len(telegram) - 2
        learner.hide(2)
        number = int.from_bytes(telegram, "big")
        self.mask = int.from_bytes(learner.mask, "big")
        self.structure = number & self.mask
        """What a telegram (as a big-endian integer) that fits is under the mask."""
        self.telegram = telegram
        self._changing = changing
        self.fields = learner.fields
        """Where values are, and how many octets they have, whether they changed or not."""
        for start, size in learner.fields:
            learner.mask[start : start + size] = bytes(size)
        self._bones = int.from_bytes(learner.mask, "big")
        self._shape = number & self._bones
        self._sums = _Sums(sums, telegram)
        self._others = struct.Struct(others).unpack_from
        self._one = len(lists) == 1
        plan = _Plan(lists[0] if self._one else tuple(lists))
        self._unpack = struct.Struct(plan.format).unpack_from
        self._joined = plan.joined
        self._constants = plan.constants
        self._steps = plan.steps

    def wider(self, telegram: bytes) -> Layout | None:
        """The layout for this telegram as well, if it differs in values only."""
        if int.from_bytes(telegram, "big") & self._bones != self._shape:
            return None
        before = self.telegram
        new = {at for at, size in self.fields if telegram[at : at + size] != before[at : at + size]}
        return Layout(telegram, self._changing | new)

    def read(self, telegram: bytes, offset: int) -> Telegram | None:
        """A telegram that fits, at an offset in the stream; None where a message's checksum is not the right X-25."""
        if self._sums.left(telegram):
            return None
        parts = [*self._constants, *self._unpack(telegram)]
        for high, bits, low in self._joined:
            parts[high] = parts[high] << bits | parts[low]
        for get, of, columns in self._steps:
            if columns is None:
                parts.append(_new(of, get(parts)))
            else:
                for number, column in get:
                    columns[number] = column(parts)
                parts.extend(map(_new, repeat(of), zip(*columns)))  # noqa: B905 - all are as long as the rows are many
        lists = (parts[-1],) if self._one else tuple(parts[-1])
        found: Telegram = _new(Telegram, (offset, offset + len(telegram), True, lists, self._others(telegram)))
        return found


_Step = tuple[Any, type[Any], list[Any] | None]
"""How the next part is made: what gets its fields, and its class. For rows of the same class: what gets the columns
that vary, the class of a row, and all columns."""


class _Sums:
    """The checksums of a telegram of one layout, of the transport and of all messages.

    A message is its covered bytes, `63`, its checksum and `00`; all else of a telegram is structure. Checksums are
    linear (in exclusive or): what two telegrams differ in goes through the registers by itself. Covered bytes that
    differ change the register of the transport by as much as they change the message's own register, and that is by as
    much as its right checksum. So where the messages are right, each bit of their checksums says what it changes in
    that of the transport; two tables say it for each octet.
    """

    def __init__(self, sums: list[Sums], telegram: bytes) -> None:
        """The messages' checksums in a telegram where all are right."""
        at = 0
        covered = sent = ">"
        self._high: list[list[int]] = []
        self._low: list[list[int]] = []
        for start, stop, _ in sums:
            covered += f"{start - at}x{stop - start}s3x"
            sent += f"{stop + 1 - at}xH"
            at = stop + 3
            behind = bytes(len(telegram) - 2 - at)
            # A bit in the register, and behind the covered bytes: `63` is alike, the sent bit is not, no more differs.
            becomes = [crc_hqx(b"\0" + (1 << bit).to_bytes(2, "big") + behind, 1 << bit) for bit in range(16)]
            self._high.append(_table(becomes[8:]))
            self._low.append(_table(becomes[:8]))
        self._covered = struct.Struct(covered).unpack_from
        self._sent = struct.Struct(f"{sent}{len(telegram) - 2 - at}xH").unpack_from
        self._rest = 0
        self._rest = self.left(telegram)

    def left(self, telegram: bytes) -> Any:
        """What is wrong: bits of the transport's checksum, -1 for that of a message. 0 if all are right X-25."""
        mirrored = telegram.translate(MIRROR)
        sums = self._sent(mirrored)
        left = self._rest ^ sums[-1]
        # `sums` has one more, so not strict.
        for covered, sent, high, low in zip(self._covered(mirrored), sums, self._high, self._low):  # noqa: B905
            if crc_hqx(covered, 0xFFFF) ^ sent != 0xFFFF:
                return -1
            left ^= high[sent >> 8] ^ low[sent & 0xFF]
        return left


def _table(becomes: list[int]) -> list[int]:
    """What each octet becomes, from what each of its bits becomes, the lowest first."""
    table = [0]
    for each in becomes:
        table += [more ^ each for more in table]
    return table


class _Plan:
    """How lists are put together: all that reading needs is one row of parts, to which each step adds what it makes.

    It begins with the constants, then comes what the struct unpacks. The last part is what was to be put together.
    """

    def __init__(self, whole: tuple[Any, ...]) -> None:
        self.constants: list[Any] = []
        self.format = ">"
        self.joined: list[tuple[int, int, int]] = []
        """Places of the higher part of an integer and of a lower one, between them the bits of that."""
        self.steps: list[_Step] = []
        self._places: dict[int, int] = {}
        """Where the part is that stands for an object of the walk, by its identity."""
        slots: list[_Slot] = []
        self._sort(whole, slots)
        self._size = len(self.constants)
        at = 0
        for slot in sorted(slots, key=lambda slot: slot.start):
            place = self._places[id(slot)] = self._size
            self.joined += [(place, _BITS[code], place + 1 + more) for more, code in enumerate(slot.codes[1:])]
            self._size += len(slot.codes)
            self.format += f"{slot.start - at}x{''.join(slot.codes)}"
            at = slot.start + slot.size
        self._make(whole)

    def _sort(self, part: Any, slots: list[_Slot]) -> None:
        """Tell values and constants apart."""
        if isinstance(part, _Slot):
            slots.append(part)
        elif not _varies(part):
            self._places[id(part)] = len(self.constants)
            self.constants.append(part)
        else:
            rows, rest = _rows(part)
            for column in zip(*rows, strict=True):
                if _varies(column):
                    rest.extend(column)
            for each in rest:
                self._sort(each, slots)

    def _make(self, part: Any) -> int:
        """Plan the steps for a part; return its place."""
        known = self._places.get(id(part))
        if known is not None:
            return known
        rows, _ = _rows(part)
        if len(rows) > 1:
            self._make_rows(rows)
        get = _getter([self._make(each) for each in part])
        self.steps.append((get, type(part), None))
        self._size += 1
        return self._size - 1

    def _make_rows(self, rows: list[Any]) -> None:
        """Named tuples of one class, all in one step: columns of constants, and columns that vary."""
        columns = list(zip(*rows, strict=True))
        for column in columns:
            nested = _rows(column)[0] if _varies(column) else []
            if nested:
                self._make_rows(nested)
        varying = [
            (number, _getter([self._make(each) for each in column]))
            for number, column in enumerate(columns)
            if _varies(column)
        ]
        self.steps.append((varying, type(rows[0]), columns))
        for row in rows:
            self._places[id(row)] = self._size
            self._size += 1


def _varies(part: Any) -> bool:
    return isinstance(part, _Slot) or (isinstance(part, tuple) and any(map(_varies, part)))


def _rows(part: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """Those elements of a plain tuple that vary, where they are named tuples of one class; and the other elements."""
    rows = [each for each in part if _varies(each)]
    of = type(rows[0])
    if type(part) is not tuple or of is tuple or len(rows) < 2 or any(type(row) is not of for row in rows):
        return [], list(part)
    if of is _Slot:
        return [], list(part)
    return rows, [each for each in part if not _varies(each)]


def _getter(places: Sequence[int]) -> Callable[[Any], Any]:
    """Gets from a list what is at some places, in order."""
    if list(places) == list(range(places[0], places[0] + len(places))):
        return itemgetter(slice(places[0], places[0] + len(places)))
    return itemgetter(*places)


_new: Callable[..., Any] = tuple.__new__
"""Makes named tuples quicker than they do: no names, no defaults."""


class Layouts:
    """The layouts that were learnt, by the length of the telegram. Bounded: where it is full, it begins anew."""

    def __init__(self) -> None:
        self._known: dict[int, list[Layout]] = {}
        self._count = 0

    def read(self, telegram: bytes, offset: int) -> Telegram | None:
        """The telegram at an offset in the stream, if its structure is known and all its checksums are right."""
        number = int.from_bytes(telegram, "big")
        for layout in self._known.get(len(telegram), ()):
            if number & layout.mask == layout.structure:
                return layout.read(telegram, offset)
        return None

    def learn(self, telegram: bytes) -> None:
        """Learn from a telegram that was walked, without escapes, its checksums all right and X-25."""
        if len(telegram) > _LONGEST:
            return
        if self._count >= _MOST:
            self._known.clear()
            self._count = 0
        known = self._known.setdefault(len(telegram), [])
        try:
            for place, layout in enumerate(known):
                wider = layout.wider(telegram)
                if wider is not None:
                    known[place] = wider
                    return
            known.insert(0, Layout(telegram, frozenset()))
            self._count += 1
        except (Impossible, IndexError):  # a shortened checksum: not worth a layout
            return
