# SPDX-License-Identifier: GPL-3.0-or-later
"""A small file that holds what a daemon must know after a restart: always whole, whenever the power goes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


TOO_LONG = 5.0
"""A disk that has not saved a small file after this is in trouble, s."""
KEPT = 10
"""So many files that could not be understood are kept, the newest."""


class StateFile(Generic[T]):
    """One value of type `kind` (a msgspec.Struct, as a rule) in a JSON file.

    One process writes a file, one thread at a time; anybody may read it at any time. `problem` is a sentence for
    the log after a `load` that found something it could not use, else None.
    """

    def __init__(self, path: str | Path, kind: type[T]) -> None:
        self.path = Path(path)
        self.problem: str | None = None
        self._kind = kind
        # One fixed name: a process that is killed leaves at most one such file, and the next save takes it over.
        self._unfinished = self.path.with_name(f".{self.path.name}.new")

    def load(self) -> T | None:
        """The value; None where there is no file, or none that can be understood.

        The latter is kept beside as `<name>.corrupt-<UTC stamp>`, and `problem` says so. Keys that this version does
        not know are passed over. Raises OSError where there is a file and it cannot be read: going on without
        it would end in overwriting it.
        """
        self.problem = None
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            value = msgspec.json.decode(data, type=self._kind)
            if set(self._kind.__annotations__) & set(msgspec.json.decode(data)):
                return value
            reason = "none of its keys is ours"
        # A text that is no UTF-8 is a ValueError, one that is nested too deeply a RecursionError.
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            reason = str(error)
        self.problem = f"{self.path} does not hold what it should ({reason}); {self._set_aside()}"
        return None

    def save(self, value: T) -> bool:
        """Put `value` in the place of what is there; False where the file says just that already.

        The file is either the old or the new one, whole, at every moment. When this returns, the new one is on disk.
        Mode 0640. Raises OSError (disk full, no permission): the old file is untouched. Raises ValueError for a
        value that would not load again, such as NaN, which JSON does not have.
        """
        data = msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
        try:
            msgspec.json.decode(data, type=self._kind)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self.path} would not load again: {error}") from None
        with suppress(OSError):  # not there or not readable: then it is written
            if self.path.read_bytes() == data:
                return False
        try:
            self._write(data)
            os.replace(self._unfinished, self.path)
        except BaseException:
            with suppress(OSError):
                self._unfinished.unlink()
            raise
        self._sync_folder()
        return True

    def _write(self, data: bytes) -> None:
        self._unfinished.unlink(missing_ok=True)
        handle = os.open(self._unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.fchmod(handle, 0o640)  # whatever the umask
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
            os.fsync(handle)
        finally:
            os.close(handle)

    def _sync_folder(self) -> None:
        """Only then has the new name reached the disk too."""
        handle = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _set_aside(self) -> str:
        """Move the file out of the way without losing an earlier one; say in words what became of it."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        name = f"{self.path.name}.corrupt-{stamp}"
        number = 1
        while (aside := self.path.with_name(name if number == 1 else f"{name}-{number}")).exists():
            number += 1
        try:
            os.rename(self.path, aside)
        except OSError as error:
            return f"it could not be set aside either ({error.strerror}), and this start goes on without it"
        older = sorted(self.path.parent.glob(f"{self.path.name}.corrupt-*"), key=lambda path: path.stat().st_mtime)
        for path in older[:-KEPT]:
            path.unlink(missing_ok=True)
        return f"it was set aside as {aside.name}, and this start goes on without it"


class Keeper(Generic[T]):
    """Saves the newest value in a thread of its own, so that a disk that hangs stops nobody who did not ask to wait."""

    def __init__(self, file: StateFile[T], failed: Callable[[str], None]) -> None:
        """`failed` is told once when saving begins to fail, in that thread."""
        self._file = file
        self._failed = failed
        self._changed = threading.Condition()
        self._newest: deque[T] = deque(maxlen=1)
        self._given = self._written = 0
        self._thread: threading.Thread | None = None
        self._waiting_since: float | None = None
        self.failing = False

    def put(self, value: T) -> None:
        """Save this instead of what was given before. `value` must not be changed any more. Never waits."""
        with self._changed:
            self._newest.append(value)
            if self._waiting_since is None:
                self._waiting_since = time.monotonic()
            self._given += 1
            if self._thread is None:
                thread = threading.Thread(target=self._write, name=f"save {self._file.path.name}", daemon=True)
                thread.start()
                self._thread = thread
            self._changed.notify_all()

    def saved(self, within: float = 0.0) -> bool:
        """Whether the disk has all that was given by now; waits for that for `within` s at most."""
        with self._changed:
            wanted = self._given
            return self._changed.wait_for(lambda: self._written >= wanted, within) and not self.failing

    @property
    def troubled(self) -> bool:
        """Whether the disk refuses, or has been busy with one file for too long."""
        since = self._waiting_since
        return self.failing or (since is not None and time.monotonic() - since > TOO_LONG)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._written < self._given)
                value, number = self._newest[-1], self._given
            problem = ""
            try:
                self._file.save(value)
            except Exception as error:  # noqa: BLE001 - the thread must not end, whatever a value or a disk does
                problem = str(error) or repr(error)
            told, self.failing = self.failing, bool(problem)
            if problem and not told:
                self._failed(problem)
            with self._changed:
                self._written = number
                self._waiting_since = None if number == self._given else time.monotonic()
                self._changed.notify_all()
