# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens and authorities, from files: read anew for each use, so that they can be changed under a daemon that runs."""

from __future__ import annotations

import os
import ssl

from rockit.history.targets import TargetRefused

LONGEST = 4096
"""Bytes of a token; InfluxDB's have 88."""
_FOR_EVERYBODY = 0o006


def read_token(path: str) -> str:
    """The one line that a file holds. Raises TargetRefused where it is not there, or everybody could read it."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(LONGEST + 1)
    except OSError as error:
        raise TargetRefused(
            f"token_file {path} cannot be read by user id {os.geteuid()}: {error.strerror or error}; write the token"
            " into it, and let the daemon's user read it"
        ) from None
    if mode & _FOR_EVERYBODY:
        raise TargetRefused(f"token_file {path} is open to everybody on this machine: chmod 640 {path}")
    text = data.decode("ascii", "replace").strip()
    if not text or len(data) > LONGEST or not text.isprintable() or "\N{REPLACEMENT CHARACTER}" in text:
        raise TargetRefused(f"token_file {path} must hold one line of printable ASCII, and nothing else")
    return text


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """TLS that believes certificates of this authority alone, or, with None, of those that the machine trusts.

    Raises TargetRefused.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        why = getattr(error, "strerror", None) or str(error)
        raise TargetRefused(
            f"ca_file {ca_file} holds no certificate that can be used: {why}; it must be a PEM file that the daemon's"
            " user can read, with the certificate of who signed that of the other side"
        ) from None
