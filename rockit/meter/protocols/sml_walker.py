# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of SML, one after another.

A type-length byte: bit 7 another one follows, bits 6-4 the type, bits 3-0 the length (of the following ones four more
bits each). Lengths count the type-length bytes themselves; those of lists count elements. `01` is an absent value, `00`
the end of a message. Source: SML 1.04 (BSI TR-03109-1, Anlage IV), chapter 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from rockit.meter.protocols.sml_types import Time, TimeKind, Tree, Value

OCTETS: Final = 0x00
BOOLEAN: Final = 0x40
SIGNED: Final = 0x50
UNSIGNED: Final = 0x60
LIST: Final = 0x70
MORE: Final = 0x80
ABSENT: Final = 0x01
_LONGEST_HEAD = 4
"""Type-length bytes of one value: three describe 4 KiB already."""
_DEEPEST = 24
"""Lists in lists. A tree of parameters takes two for each of its levels."""

T = TypeVar("T")


class Impossible(Exception):
    """These bytes are no SML."""


class Values:
    """Reads one value after another from `data`, from `at` on. Its methods raise Impossible or IndexError."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.deep = 0

    # --- values

    def head(self) -> tuple[int, int]:
        """Type, and octets of content or elements of a list."""
        data = self.data
        start = at = self.at
        byte = data[at]
        kind, size = byte & 0x70, byte & 0x0F
        at += 1
        while byte & MORE:
            byte = data[at]
            at += 1
            if byte & 0x70 or at - start > _LONGEST_HEAD:
                raise Impossible
            size = size << 4 | byte & 0x0F
        self.at = at
        if kind != LIST:
            size -= at - start
            if size < 0 or at + size > len(data):
                raise Impossible
        return kind, size

    def _octets(self, size: int) -> bytes:
        start = self.at
        self.at = stop = start + size
        return self.data[start:stop]

    def _number(self, size: int, signed: bool) -> int:
        if not 1 <= size <= 8:
            raise Impossible
        start = self.at
        self.at = stop = start + size
        return int.from_bytes(self.data[start:stop], "big", signed=signed)

    def _boolean(self, size: int) -> bool:
        if size != 1:
            raise Impossible
        self.at += 1
        return self.data[self.at - 1] != 0

    def octets(self) -> bytes | None:
        """An octet string."""
        kind, size = self.head()
        if kind == OCTETS:
            return self._octets(size) if size else None
        self.skip(kind, size)
        return None

    def number(self) -> int | None:
        """An integer of any width."""
        kind, size = self.head()
        if kind in (SIGNED, UNSIGNED):
            return self._number(size, kind == SIGNED)
        self.skip(kind, size)
        return None

    def fixed_octets(self) -> bytes | None:
        """An octet string that a meter sends alike in every telegram (`sml_layout` relies on it, and checks it)."""
        kind, size = self.head()
        if kind == OCTETS:
            return Values._octets(self, size) if size else None
        self.skip(kind, size)
        return None

    def fixed_number(self) -> int | None:
        """An integer that a meter sends alike in every telegram."""
        kind, size = self.head()
        if kind in (SIGNED, UNSIGNED):
            return Values._number(self, size, kind == SIGNED)
        self.skip(kind, size)
        return None

    def value(self) -> tuple[Value, int]:
        """Anything that can be the value of a register, and its width where it is a number."""
        kind, size = self.head()
        if kind == OCTETS:
            return self._octets(size) if size else None, 0
        if kind in (SIGNED, UNSIGNED):
            return self._number(size, kind == SIGNED), size
        if kind == BOOLEAN:
            return self._boolean(size), 0
        return self._choice_of_time(kind, size), 0

    def time(self) -> Time | None:
        """SML_Time, or a bare number in its place."""
        kind, size = self.head()
        if kind in (SIGNED, UNSIGNED):
            return Time(TimeKind.SEC_INDEX, self._number(size, kind == SIGNED))
        return self._choice_of_time(kind, size)

    def _choice_of_time(self, kind: int, size: int) -> Time | None:
        if kind != LIST or size != 2:
            self.skip(kind, size)
            return None
        tag = self.fixed_number()
        if tag in (TimeKind.SEC_INDEX, TimeKind.TIMESTAMP):
            seconds = self.number()
            return None if seconds is None else Time(tag, seconds)
        if tag != TimeKind.LOCAL:
            self.skip(*self.head())
            return None
        kind, size = self.head()
        if kind != LIST or size != 3:
            self.skip(kind, size)
            return None
        seconds, offset, summer = self.number(), self.number(), self.number()
        return None if seconds is None else Time(tag, seconds, offset or 0, summer or 0)

    def tree(self, kind: int, size: int) -> Tree:
        """Anything, behind its head."""
        if kind == OCTETS:
            return self._octets(size) if size else None
        if kind in (SIGNED, UNSIGNED):
            return self._number(size, kind == SIGNED)
        if kind == BOOLEAN:
            return self._boolean(size)
        if kind != LIST:
            raise Impossible
        return self._repeat(size, lambda: self.tree(*self.head()))

    def skip(self, kind: int, size: int) -> None:
        """Go past something, behind its head."""
        self.tree(kind, size)

    def _repeat(self, size: int, read: Callable[[], T]) -> tuple[T, ...]:
        """So many elements. Each has at least a byte, so a wrong number soon meets the end of the data."""
        self.deep += 1
        if self.deep > _DEEPEST:
            raise Impossible
        elements = []
        for _ in range(size):
            elements.append(read())
        self.deep -= 1
        return tuple(elements)

    def elements(self, read: Callable[[], T]) -> tuple[T, ...]:
        """A list of any number of elements."""
        kind, size = self.head()
        if kind != LIST:
            self.skip(kind, size)
            return ()
        return self._repeat(size, read)

    def sequence(self, read: Callable[[], T | None]) -> tuple[T, ...]:
        """A list of any number of elements; those that are None are left out."""
        return tuple(element for element in self.elements(read) if element is not None)

    def is_list(self, size: int) -> bool:
        """Go into a list of `size` elements, or past anything else."""
        kind, found = self.head()
        if kind == LIST and found == size:
            return True
        self.skip(kind, found)
        return False
