# SPDX-License-Identifier: GPL-3.0-or-later
"""The fast path: a meter sends the same telegram every second, with other numbers in it.

A layout is learnt from telegrams that were walked: which bytes are structure (type-length bytes, names, units, scalers,
and values that never changed so far) and which are values that change. A telegram whose structure is the same to the
byte needs no walk: one `struct` unpacks what changes, and the tuples are put together from that and from what was made
before. It is compared by arithmetic on the telegram as one big integer. What differs otherwise is walked again and
learnt: a value that changed for the first time makes the layout wider, a type-length byte makes another layout. Every
checksum is still checked.

How a layout is learnt: the walker itself walks, with values replaced by `_Slot`s. What it makes of them shows where
each value goes, so that walk and layout cannot differ. Walks of what only differs in its values must therefore be the
same: the walker looks at no value but those that it reads as fixed.
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any, cast

from rockit.meter.protocols.sml_messages import Walker
from rockit.meter.protocols.sml_types import Content, List
from rockit.meter.protocols.sml_walker import Impossible

_LONGEST = 2048
"""Telegrams longer than this are walked: they are profiles, and no two are alike."""
_MOST = 64
"""Layouts that are kept; a meter needs a handful."""
_BEGINNING = 8
_ENDING = 8
RESIDUE = 0x1D0F
"""`crc_hqx` of mirrored bytes of which the last two are their right X-25 checksum."""

_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Slot:
    """Stands for a value while a layout is learnt: where it is, how `struct` reads it, what makes a value of that."""

    start: int
    size: int
    code: str
    convert: Callable[[Any], Any] | None


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

    def _slot(self, size: int, code: str, convert: Callable[[Any], Any] | None = None) -> Any:
        slot = _Slot(self.at, size, code, convert)
        self.hide(size)
        return slot

    def _changes(self, size: int) -> bool:
        self.fields.append((self.at, size))
        return self.at in self._changing

    def _octets(self, size: int) -> bytes:
        return cast(bytes, self._slot(size, f"{size}s")) if self._changes(size) else super()._octets(size)

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
        code = _FORMATS.get(size)
        if code is not None:
            return cast(int, self._slot(size, code.lower() if signed else code))
        return cast(int, self._slot(size, f"{size}s", _signed if signed else _unsigned))

    def _boolean(self, size: int) -> bool:
        if size != 1:
            raise Impossible
        return cast(bool, self._slot(size, "?")) if self._changes(size) else super()._boolean(size)

    def _sum_octets(self, size: int) -> bytes:
        if size != 2:
            raise Impossible
        self.hide(size)
        return b""


def _signed(octets: bytes) -> int:
    return int.from_bytes(octets, "big", signed=True)


def _unsigned(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


class Layout:
    """Reads telegrams of one structure."""

    def __init__(self, telegram: bytes, changing: Set[int]) -> None:
        """Learn from a telegram without escapes, start marker to checksum. Raises Impossible or IndexError."""
        learner = _Learner(telegram, _BEGINNING, changing)
        stop = len(telegram) - _ENDING - telegram[-3]
        lists: list[List] = []
        sums: list[tuple[int, int]] = []
        others: list[slice] = []
        while learner.at < stop:
            start = learner.at
            message, covered = learner.message()
            sums.append((covered.start, covered.stop))
            if isinstance(message.body, List):
                lists.append(message.body)
            else:
                others.append(slice(start, learner.at))
        if learner.at != stop or not sums:
            raise Impossible
        learner.at = len(telegram) - 2
        learner.hide(2)
        number = int.from_bytes(telegram, "big")
        self.mask = int.from_bytes(learner.mask, "big")
        self.structure = number & self.mask
        """What a telegram (as a big-endian integer) that fits is under the mask."""
        self._telegram = telegram
        self._changing = changing
        self._fields = learner.fields
        for start, size in learner.fields:
            learner.mask[start : start + size] = bytes(size)
        self._bones = int.from_bytes(learner.mask, "big")
        self._shape = number & self._bones
        self._sums = _Sums(sums)
        self._others = _getter(others) if others else _nothing
        self._one = len(lists) == 1
        plan = _Plan(lists[0] if self._one else tuple(lists))
        self._unpack = struct.Struct(plan.format).unpack_from
        self._converted = plan.converted
        self._constants = plan.constants
        self._steps = plan.steps

    def wider(self, telegram: bytes) -> Layout | None:
        """The layout for this telegram as well, if it differs in values only."""
        if int.from_bytes(telegram, "big") & self._bones != self._shape:
            return None
        before = self._telegram
        new = {at for at, size in self._fields if telegram[at : at + size] != before[at : at + size]}
        return Layout(telegram, self._changing | new)

    def read(self, telegram: bytes, mirrored: bytes) -> Content | None:
        """What a telegram that fits says; None where its checksum or a message's is not the right X-25.

        `mirrored` is the telegram with the bits of every byte in reverse order, see `crc`.
        """
        if not self._sums.right(mirrored):
            return None
        parts = [*self._constants, *self._unpack(telegram)]
        for place, convert in self._converted:
            parts[place] = convert(parts[place])
        for get, make, columns in self._steps:
            if columns is None:
                parts.append(make(get(parts)))
            else:
                for number, column in get:
                    columns[number] = column(parts)
                parts.extend(map(make, zip(*columns)))  # noqa: B905 - all are as long as the rows are many
        return (parts[-1],) if self._one else tuple(parts[-1]), self._others(telegram)


_Parts = list[Any]
_Step = tuple[Any, Callable[[Any], Any], list[Any] | None]
"""How the next part is made: what gets its fields, what makes a tuple of them. For rows of the same class: what gets
the columns that vary, what makes a row, and all columns."""


class _Sums:
    """The checksums of a telegram of one layout, of the transport and of all messages.

    The transport's runs over the messages too. That of the longest message, most of the telegram, is not computed once
    more: checksums of the same bytes that began with different registers differ by what the difference of the registers
    becomes behind as many zeros, which two tables say.
    """

    def __init__(self, sums: list[tuple[int, int]]) -> None:
        """From where to where the checksums of the messages cover."""
        longest = max(sums, key=lambda each: each[1] - each[0])
        others = [each for each in sums if each is not longest]
        start, stop = longest
        zeros = bytes(stop - start)
        self._high = _table(zeros, 8, crc_hqx(zeros, 0xFFFF))
        self._low = _table(zeros, 0, 0)
        self._parts = itemgetter(slice(start), slice(start, stop), slice(stop, None))
        self._covered = _getter([slice(*each) for each in others]) if others else _nothing
        self._sent = _getter([slice(stop + 1, stop + 3) for _, stop in others]) if others else _nothing
        self._residues = [RESIDUE] * len(others)

    def right(self, mirrored: bytes) -> bool:
        """Whether all are right X-25. A checksum that runs on over the sent one then ends at the residue."""
        head, longest, tail = self._parts(mirrored)
        before = crc_hqx(head, 0xFFFF)
        behind = crc_hqx(longest, before)
        own = behind ^ self._high[before >> 8] ^ self._low[before & 0xFF]
        if crc_hqx(tail, behind) != RESIDUE or own ^ 0xFFFF != tail[1] << 8 | tail[2]:
            return False
        sums = map(crc_hqx, self._covered(mirrored), repeat(0xFFFF))
        return [*map(crc_hqx, self._sent(mirrored), sums)] == self._residues


def _table(zeros: bytes, shift: int, more: int) -> list[int]:
    """What each octet of a register (its place given by `shift`) becomes behind zeros; `more` is put on each."""
    table = [more]
    for bit in range(shift, shift + 8):
        becomes = crc_hqx(zeros, 1 << bit)
        table += [each ^ becomes for each in table]
    return table


class _Plan:
    """How lists are put together: all that reading needs is one row of parts, to which each step adds what it makes.

    It begins with the constants, then comes what the struct unpacks. The last part is what was to be put together.
    """

    def __init__(self, whole: tuple[Any, ...]) -> None:
        self.constants: list[Any] = []
        self.format = ">"
        self.converted: list[tuple[int, Callable[[Any], Any]]] = []
        self.steps: list[_Step] = []
        self._places: dict[int, int] = {}
        """Where the part is that stands for an object of the walk, by its identity."""
        slots: list[_Slot] = []
        self._sort(whole, slots)
        self._size = len(self.constants)
        at = 0
        for slot in sorted(slots, key=lambda slot: slot.start):
            if slot.convert is not None:
                self.converted.append((self._size, slot.convert))
            self._places[id(slot)] = self._size
            self._size += 1
            self.format += f"{slot.start - at}x{slot.code}"
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
        self.steps.append((get, _maker(type(part)), None))
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
        self.steps.append((varying, _maker(type(rows[0])), columns))
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


def _getter(places: Sequence[int | slice]) -> Callable[[Any], Any]:
    """Gets a tuple of what is at some places, also of one."""
    if len(places) == 1:
        place = places[0]
        return lambda parts: (parts[place],)
    return itemgetter(*places)


def _nothing(_: Any) -> tuple[()]:
    return ()


def _maker(of: type[Any]) -> Callable[[Any], Any]:
    return tuple if of is tuple else partial(tuple.__new__, of)


class Layouts:
    """The layouts that were learnt, by the length of the telegram. Bounded: where it is full, it begins anew."""

    def __init__(self) -> None:
        self._known: dict[int, list[Layout]] = {}
        self._count = 0

    def read(self, telegram: bytes, mirrored: bytes) -> Content | None:
        """What a telegram whose transport checksum is right says, if its structure is known, else None."""
        number = int.from_bytes(telegram, "big")
        for layout in self._known.get(len(telegram), ()):
            if number & layout.mask == layout.structure:
                return layout.read(telegram, mirrored)
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
