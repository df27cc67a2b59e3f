# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a file of SQLite while it is open: SQLite itself goes on writing into what was deleted."""

from __future__ import annotations

from pathlib import Path

from rockit.history.setaside import inode


class Watch:
    """Of one file; of a server, whose path is None, nothing is ever wrong. Raises OSError where the disk is dying."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._log = None if path is None else path.with_name(f"{path.name}-wal")
        self.inode = 0
        """Which file is open; 0 for none."""
        self._log_inode = 0
        self.bare = ""
        """Somebody has removed the log beside the file, says this.

        All who have it open go on with the deleted one, and to open a new one would mix the two: what is written must
        be moved into the file at once, so that a kill costs nothing.
        """

    def look(self) -> None:
        """This is the file that is about to be opened, or that was."""
        self.inode = inode(self._path)

    def opened(self) -> None:
        """The file is open, and was read or written."""
        self._log_inode, self.bare = inode(self._log), ""

    def replaced(self) -> bool:
        """Whether another file has its name now."""
        return self._path is not None and inode(self._path) not in (0, self.inode)

    def gone(self) -> str:
        """What has happened to the file, as the end of a sentence; empty where nothing has."""
        if self._path is None:
            return ""
        if not inode(self._path):
            return "has gone"
        return "" if self._path.stat().st_size else "was emptied by somebody"

    def lost_its_log(self) -> bool:
        """Whether the log has been removed since this was asked last; then `bare` says so."""
        if self._path is None or self.bare or self._log_inode in (0, inode(self._log)):
            return False
        self.bare = f"{self._log} was removed while it was in use; end all daemons that record into {self._path.name}"
        return True
