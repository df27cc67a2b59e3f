# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of tokens by which a receiver knows those who forward to it."""

from __future__ import annotations

import hmac
import os
from hashlib import sha256

SHORTEST = 16
"""Characters of a token."""
_FOR_EVERYBODY = 0o006


class Tokens:
    """Who may write: lines `TOKEN` or `TOKEN SITE` of a file; the latter may write about that site alone.

    A token may have several lines; lines that begin with # are notes. The file is read again when it has changed, so
    that a token can be withdrawn.
    """

    def __init__(self, path: str) -> None:
        """Raises ValueError, with a sentence, where the file is of no use."""
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._known: list[tuple[bytes, str | None]] = []
        self._refresh()

    def sites(self, token: str) -> list[str | None]:
        """What the token may write about: names of sites, None for all, nothing for a stranger. Raises ValueError.

        How long it takes does not tell how much of a token was right.
        """
        self._refresh()
        digest = sha256(token.encode()).digest()
        return [site for known, site in self._known if hmac.compare_digest(known, digest)]

    def _refresh(self) -> None:
        try:
            with open(self._path, encoding="utf-8") as file:
                status = os.fstat(file.fileno())
                stamp = status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode
                if stamp == self._stamp:
                    return
                self._stamp, self._known = (), []
                if status.st_mode & _FOR_EVERYBODY:
                    raise ValueError(f"{self._path} is open to everybody on this machine: chmod 640 {self._path}")
                self._known = [self._read(number, line) for number, line in enumerate(file, 1) if _counts(line)]
        except (OSError, UnicodeError) as error:
            self._stamp, self._known = (), []
            why = getattr(error, "strerror", None) or str(error)
            raise ValueError(f"the tokens in {self._path} cannot be read: {why}") from None
        if not self._known:
            raise ValueError(
                f"{self._path} holds no token; a line for each: TOKEN SITE, made by `openssl rand -hex 32`"
            )
        self._stamp = stamp

    def _read(self, number: int, line: str) -> tuple[bytes, str | None]:
        token, _, site = line.strip().partition(" ")
        if len(token) < SHORTEST:
            raise ValueError(
                f"{self._path} line {number}: fewer than {SHORTEST} characters can be guessed; `openssl rand -hex 32`"
            )
        return sha256(token.encode()).digest(), site.strip() or None


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")
