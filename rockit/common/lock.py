# SPDX-License-Identifier: GPL-3.0-or-later
"""One instance of a daemon, by a lock that the kernel gives back when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from rockit.common.errors import StartError
from rockit.common.who import process_name


class InstanceLock:
    """Holds `path` locked for the life of the process. Raises StartError that names the holder."""

    def __init__(self, path: Path, daemon: str) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StartError(
                f"cannot make the lock file {path}: {error.strerror}; correct the owner of its folder"
            ) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(self._descriptor)
                raise StartError(f"cannot lock {path}: {error.strerror}; keep the state on a local disk") from None
            holder = os.pread(self._descriptor, 100, 0).decode(errors="replace").strip()
            who = process_name(int(holder)) if holder.isdigit() else "another process"
            os.close(self._descriptor)
            raise StartError(
                f"{daemon} is already running: {who} holds {path}; stop that one first, or look at its status "
                "(two daemons cannot share a state_directory)"
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would race with the next instance."""
        os.close(self._descriptor)
