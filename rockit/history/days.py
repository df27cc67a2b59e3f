# SPDX-License-Identifier: GPL-3.0-or-later
"""The raw samples of a history, a UTC day of a series at a time: in its block, as rows, or some in each."""

from __future__ import annotations

from collections.abc import Callable

from rockit.history import block
from rockit.history import statements as sql
from rockit.history.database import Session
from rockit.history.model import BUCKET, BUCKETS_A_DAY, Samples

Blocks = dict[tuple[int, int], Samples]
"""(series id, day) -> what is sealed of it."""


class Days:
    """All in the caller's transaction, and for its thread. Raises StoreError."""

    def __init__(self, session: Session, now: Callable[[], int]) -> None:
        """`now` tells the time in ms: when a block was found damaged."""
        self._session = session
        self._now = now
        self._sealed: dict[int, tuple[int, dict[int, tuple[float, int]]]] = {}

    def unlearn(self) -> None:
        """What is known of sealed days may not be so: a transaction was rolled back, or others were here."""
        self._sealed.clear()

    def sealed(self, series: int, day: int) -> dict[int, tuple[float, int]]:
        """What is sealed of the day that a series is recorded in: nothing, unless the clock has stepped back."""
        known = self._sealed.get(series)
        if known is None or known[0] != day:
            found = self.block(series, day, {})
            known = self._sealed[series] = day, {time: (value, quality) for time, value, quality in found.rows()}
        return known[1]

    def oldest(self, series: int) -> int | None:
        """The first day that has raw samples of a series."""
        [(day, _)], [(bucket,)] = self._session.run(sql.BLOCK_DAYS, series), self._session.run(sql.OLDEST_LOOSE, series)
        return min([int(n) for n in (day, bucket and bucket // BUCKETS_A_DAY) if n is not None], default=None)

    def seal(self, series: int, day: int, more: Samples, blocks: Blocks) -> int:
        """Put the loose samples of a day, and `more`, into its block; how many of `more` were new."""
        self._sealed.pop(series, None)
        loose = Samples.stored(self._session.run(sql.TAKE_DAY, series, *_buckets(day)))
        if not len(loose) and not len(more):
            return 0  # another process has sealed it meanwhile
        before = self.block(series, day, blocks).merged(loose)
        whole = before.merged(more)
        if len(whole):
            self._session.run(sql.PUT_BLOCK, series, day, len(whole), block.encode(whole))
        blocks[series, day] = whole
        return len(whole) - len(before)

    def block(self, series: int, day: int, blocks: Blocks) -> Samples:
        """What is sealed of a day; `blocks` are those that this transaction has seen."""
        if (series, day) not in blocks:
            found = self._session.run(sql.BLOCK, series, day)
            blocks[series, day] = self._decoded(series, day, found[0][0]) if found else Samples()
        return blocks[series, day]

    def _decoded(self, series: int, day: int, data: bytes) -> Samples:
        """A block that is damaged is moved aside, as it is: what comes goes on, and `check` tells of it."""
        try:
            return block.decode(data)
        except block.BlockError as error:
            self._session.run(sql.SET_ASIDE, series, day, self._now(), str(error), data)
            self._session.run(sql.DROP_BLOCK, series, day)
            return Samples()

    def bucket(self, series: int, bucket: int, blocks: Blocks) -> Samples:
        """The samples of a roll-up."""
        loose = Samples.stored(self._session.run(sql.BUCKET_SAMPLES, bucket, series))
        sealed = self.block(series, bucket // BUCKETS_A_DAY, blocks)
        return sealed.between(bucket * BUCKET, (bucket + 1) * BUCKET).merged(loose)


def _buckets(day: int) -> range:
    return range(day * BUCKETS_A_DAY, (day + 1) * BUCKETS_A_DAY)
