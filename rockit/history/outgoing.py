# SPDX-License-Identifier: GPL-3.0-or-later
"""The outbox of one device: what waits for each target, and how far each of them has come."""

from __future__ import annotations

from typing import Any

import msgspec

from rockit.history import statements as sql
from rockit.history.database import Database, Statement
from rockit.history.model import Batch, Series
from rockit.history.store import Outbox

ROWS = 100
BYTES = 400_000
"""A batch has no more rows of the outbox than the one, and ends where the other is passed."""


class Outgoing:
    """One thread's view of the outbox. Raises StoreError."""

    def __init__(self, url: str, site: str, device: str) -> None:
        self._database = Database(url, make=False)
        self._session = self._database.session()
        self._site, self._device = site, device
        self.unreadable = 0
        """How many rows could not be read, and are passed over."""
        self._number = 0
        self._series: dict[int, Series] = {}

    def close(self) -> None:
        """Give the connection back."""
        self._session.close()
        self._database.close()

    def cursor(self, target: str) -> int:
        """The last row that a target has confirmed; 0 for one that is new."""
        return {str(name): int(sent) for name, sent in self._read(sql.CURSORS, self._id())}.get(target, 0)

    def confirm(self, target: str, row: int) -> None:
        """Remember that a target has all up to this row."""
        device = self._id()
        with self._session.writing():
            self._session.run(sql.PUT_CURSOR, target, device, row)

    def newest(self) -> int:
        """The last row that there is."""
        [(number,)] = self._read(sql.NEWEST_POST, self._id())
        return int(number or 0)

    def before(self, row: int, time: int) -> int:
        """The last row up to `row` that was recorded before `time` (ms)."""
        [(number,)] = self._read(sql.POST_BEFORE, self._id(), row, time)
        return int(number or 0)

    def batch(self, after: int) -> tuple[int, int, Batch] | None:
        """Id and time of the last row of the next batch after a row, and the batch; None where there is no more."""
        found = self._read(sql.UNSENT, self._id(), after, ROWS)
        if not found:
            return None
        batch = Batch()
        index: dict[int, int] = {}
        size = 0
        last, newest = after, 0
        for row, time, payload in found:
            if size > BYTES:
                break
            size += len(payload)
            last, newest = int(row), max(newest, int(time))
            try:
                post = msgspec.msgpack.decode(payload, type=Outbox)
                series = {number: self._known(number) for number, *_ in post.samples}
            except (msgspec.MsgspecError, KeyError):
                self.unreadable += 1  # its samples are in the history all the same
                continue
            for number, when, value, quality in post.samples:
                if number not in index:
                    index[number] = len(batch.series)
                    batch.series.append(series[number])
                batch.samples.append((index[number], when, value, quality))
            batch.events += [(self._site, self._device, event) for event in post.events]
        return last, newest, batch

    def stranded(self) -> list[tuple[str, int]]:
        """(site, rows) of what waits under another site's name for this device, and is sent by nobody."""
        found = []
        for number, site, device in self._read(sql.ALL_DEVICES):
            if device == self._device and site != self._site:
                [(rows,)] = self._read(sql.UNSENT_ROWS, number, number)
                found += [(str(site), int(rows))] if rows else []
        return found

    def prune(self, targets: list[str], time: int) -> int:
        """Drop what all `targets` have confirmed and was recorded before `time` (ms); how many rows that were."""
        device = self._id()
        known = {str(name): int(sent) for name, sent in self._read(sql.CURSORS, device)}
        newest = self.newest()
        done = min([known.get(target, 0) for target in targets], default=newest)
        with self._session.writing():
            for gone in known.keys() - set(targets):
                self._session.run(sql.DROP_CURSOR, gone, device)
            return self._session.changed(sql.DROP_POSTS, device, min(done, newest - 1), time)

    def _known(self, number: int) -> Series:
        if number not in self._series:
            self._series = {
                row[0]: Series(row[1], row[2], row[3], row[4], row[5], bool(row[6]))
                for row in self._read(sql.ALL_SERIES)
            }
        return self._series[number]

    def _id(self) -> int:
        """Of the device; 0, which none has, before anything was recorded."""
        if not self._number:
            self._number = next((int(row[0]) for row in self._read(sql.FIND_DEVICE, self._site, self._device)), 0)
        return self._number

    def _read(self, statement: Statement, *values: Any) -> list[tuple[Any, ...]]:
        with self._session.reading():
            return self._session.run(statement, *values)
