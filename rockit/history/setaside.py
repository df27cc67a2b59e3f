# SPDX-License-Identifier: GPL-3.0-or-later
"""A damaged database file is moved out of the way: kept for those who can mend it, and no obstacle to what comes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

NAMES = (".sqlite", ".sqlite3", ".db")
"""A config that names something else by mistake must not have it moved."""
PARTS = ("", "-wal", "-shm")
"""What belongs to a file of SQLite."""


def inode(path: Path | None) -> int:
    """What tells a file from others that have, or had, its name; 0 where there is none."""
    try:
        return path.stat().st_ino if path is not None else 0
    except FileNotFoundError:
        return 0


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """While this lasts no other daemon opens a database in this folder for writing, or moves one aside.

    SQLite finds what belongs to a file by its name: who opens one while it is moved may get the log of another.
    """
    try:
        folder = os.open(path.parent, os.O_RDONLY) if path is not None else None
    except OSError:
        folder = None  # whatever is wrong with it, SQLite is about to say so
    try:
        if folder is not None:
            with suppress(OSError):  # a file system that has no locks
                fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        if folder is not None:
            os.close(folder)


def set_aside(path: Path, found: int = 0) -> tuple[bool, str]:
    """Move a database and what belongs to it aside; whether the way is free now, and a sentence about it.

    `found` is the inode of the file which was found damaged: where another process has put a new one in its place
    already, nothing is moved.
    """
    if not found and path.suffix not in NAMES:
        return False, f"it is left where it is, for its name is not that of a database ({', '.join(NAMES)})"
    with alone(path):
        now = inode(path)
        if not now:
            return True, "it has gone meanwhile, and a new one is begun"
        if found and now != found:
            return True, "another daemon has set it aside already, and the new one is used"
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = path.with_name(f"{path.name}.corrupt-{stamp}")
        number = 2
        try:
            while aside.exists():
                aside, number = path.with_name(f"{path.name}.corrupt-{stamp}-{number}"), number + 1
            for part in PARTS:
                if path.with_name(path.name + part).exists():
                    os.rename(path.with_name(path.name + part), aside.with_name(aside.name + part))
        except OSError as error:
            return False, f"it could not be set aside ({error.strerror}); correct the owner or mode of {path.parent}"
    return True, (
        f"it was set aside as {aside.name}, and a new one is begun; `rockit history import` brings back what it holds"
    )
