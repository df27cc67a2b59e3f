# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts an executable, from an installation or from a clone.

In a clone the interpreter may lack the dependencies that `make` put into `.venv`: then that one takes over.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

_NEEDED = ("Pyro5", "serpent", "msgspec", "click", "serial", "rich")


def run(module: str) -> None:
    """Import `module` and call its `main()`, with an interpreter that has what it needs."""
    try:
        import_module(module).main()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        _elsewhere(error.name or "")


def open_streams() -> None:
    """Give output that was closed (`>&-`) somewhere to go: it is lost, and what was asked for is done all the same."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115 (for as long as the process lives)
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _elsewhere(missing: str) -> NoReturn:
    """Once more from the beginning, with the clone's own interpreter; nothing was done before the import failed."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    prefix = os.path.join(root, ".venv")
    python = os.path.join(prefix, "bin", "python")
    if os.path.exists(python) and os.path.abspath(sys.prefix) != prefix:
        os.execv(python, [python, *sys.argv])  # noqa: S606 (our own interpreter, our own arguments)
    sys.exit(f"{sys.argv[0]}: the Python package {missing} is missing; in a clone, `make venv` installs it in .venv")
