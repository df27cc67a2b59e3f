# SPDX-License-Identifier: GPL-3.0-or-later
"""SML transport version 1: where in a stream of bytes a telegram begins and ends.

    1b1b1b1b 01010101  payload  1b1b1b1b 1a FF CC CC      FF: number of fill bytes, CC CC: checksum

Four 1b in the payload are sent twice. Nothing is aligned: a serial line loses bytes. The promise is that a good
telegram is found whatever stands before it, so a start marker always begins a new one. One case is ambiguous: eight 1b
and 01010101 are payload, or a telegram that broke off in its end marker and the start of the next. Such places are kept
as other possible starts, and the checksum at the end says which was meant. Sources: SML 1.04, chapter 8; libsml
issue 110.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from rockit.common.framing import Damage

ESCAPE = b"\x1b\x1b\x1b\x1b"
START = ESCAPE + b"\x01\x01\x01\x01"
END = 0x1A
LONGEST = 16384
"""Bytes of the longest telegram that is believed. The longest known is 528."""
_AHEAD = 16
"""More bytes than any decision at an escape needs, from its first 1b on."""
_REACH = LONGEST - _AHEAD + len(ESCAPE)
"""How far behind its start an end marker of a telegram is looked for."""
_TRIES = 8
"""Other possible starts that are tried at an end. More are no accident, and would cost time squared."""

M = TypeVar("M")


class Framer(Generic[M]):
    """Cuts a stream.

    `read` gets a telegram, start marker through checksum, and its offset in the stream; it returns None to refuse it.
    `lost` gets all other bytes, their offset, and what is wrong with them: GARBAGE did not begin as a telegram,
    CHECKSUM has an end marker and was refused. What they return comes out, in order. At most `LONGEST` bytes are held.
    """

    def __init__(self, read: Callable[[bytes, int], M | None], lost: Callable[[bytes, int, Damage], list[M]]) -> None:
        self._read = read
        self._lost = lost
        self._held = b""
        self._offset = 0
        self._starts: list[int] = []
        """Places in `_held`: where the telegram begins, and where it may begin as well; empty between telegrams."""
        self._at = 0
        """No escape begins in `_held` before this, but for those already seen."""

    def feed(self, data: bytes) -> list[M]:
        """Take more bytes, split anyhow; return what is decided."""
        data = self._held + data
        out: list[M] = []
        done = 0
        while True:
            if not self._starts[1:]:
                done = self._usual(data, done, out)
            if not self._starts:
                done = self._begin(data, done, out)
                if not self._starts:
                    break
            stop = self._end(data, out)
            if stop < 0:
                done = self._starts[0]
                break
            done = stop
        self._held = data[done:]
        self._offset += done
        self._starts = [start - done for start in self._starts]
        self._at -= done
        return out

    def flush(self) -> list[M]:
        """Give up what is unfinished."""
        kind = Damage.TRUNCATED if self._starts else Damage.GARBAGE
        out = self._lost(self._held, self._offset, kind) if self._held else []
        self._offset += len(self._held)
        self._held = b""
        self._starts = []
        return out

    def _usual(self, data: bytes, done: int, out: list[M]) -> int:
        """Telegrams without escapes that stand right behind each other: what a good line brings, without detours."""
        read, offset, last = self._read, self._offset, len(data) - 8
        while data.startswith(START, done):
            at = data.find(ESCAPE, done + 8, done + _REACH)
            if not 0 < at <= last or data[at + 4] != END:
                break
            found = read(data[done : at + 8], offset + done)
            if found is None:
                break
            out.append(found)
            done = at + 8
            self._starts = []  # a telegram may have begun in the bytes before
        return done

    def _begin(self, data: bytes, done: int, out: list[M]) -> int:
        """Find a start marker from `done` on, or say from where one may still come."""
        start = data.find(START, done)
        stop = start if start >= 0 else max(done, len(data) - _beginning(data))
        if stop > done:
            out += self._lost(data[done:stop], self._offset + done, Damage.GARBAGE)
        if start >= 0:
            self._starts = [start]
            self._at = start + len(START)
        return stop

    def _end(self, data: bytes, out: list[M]) -> int:
        """Go to the next thing that ends a telegram or gives one up: the place behind; -1 where more is needed.

        Where another telegram begins right there, `_starts` says so.
        """
        starts = self._starts
        size = len(data)
        while True:
            last = starts[0] + LONGEST - _AHEAD
            at = data.find(ESCAPE, self._at, last + len(ESCAPE))
            if at < 0:
                if size < last + _AHEAD:
                    self._at = max(self._at, size - len(ESCAPE) + 1)
                    return -1
                return self._lose(data, starts[1] if starts[1:] else last, Damage.TRUNCATED, starts[1:], out)
            self._at = at
            if size < at + 8:
                return -1
            kind = data[at + 4]
            if kind == END:
                return self._judge(data, at + 8, out)
            if kind == ESCAPE[0]:
                if size < at + _AHEAD - 1:
                    return -1
                start = data.find(START, at, at + _AHEAD - 1)
                if data[at + 4 : at + 8] == ESCAPE:
                    self._at = at + 8
                    if start >= 0:
                        starts.append(start)
                    continue
            else:
                start = at if data[at : at + 8] == START else -1
            if start >= 0:
                self._at = start + len(START)
                return self._lose(data, start, Damage.TRUNCATED, [start], out)
            return self._lose(data, at + 4, Damage.MALFORMED, [], out)

    def _judge(self, data: bytes, stop: int, out: list[M]) -> int:
        """An end marker that ends before `stop`: see which of the possible starts makes it right."""
        for start in self._starts[:_TRIES]:
            found = self._read(data[start:stop], self._offset + start)
            if found is not None:
                if start > self._starts[0]:
                    self._lose(data, start, Damage.TRUNCATED, [start], out)
                out.append(found)
                self._starts = []
                return stop
        # Where bytes of the end marker were lost, the first 1b of the next telegram stand in the checksum's place.
        while data[stop - 1] == ESCAPE[0]:
            stop -= 1
        return self._lose(data, stop, Damage.CHECKSUM, [], out)

    def _lose(self, data: bytes, stop: int, kind: Damage, starts: list[int], out: list[M]) -> int:
        start = self._starts[0]
        out += self._lost(data[start:stop], self._offset + start, kind)
        self._starts = starts
        return stop


def _beginning(data: bytes) -> int:
    """How many of the last bytes may be the beginning of a start marker."""
    if data[-1:] not in (START[:1], START[-1:]):
        return 0
    return next((size for size in range(len(START) - 1, 0, -1) if data.endswith(START[:size])), 0)
