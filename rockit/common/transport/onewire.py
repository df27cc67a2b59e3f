# SPDX-License-Identifier: GPL-3.0-or-later
"""Sensors of the Linux 1-wire driver, which are files. Reading one makes the sensor measure, and takes a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rockit.common.transport import PortLost

ROOT = Path("/sys/bus/w1/devices")
PAUSE = 0.2
"""Between a damaged reading and the second try, s."""
_LONGEST = 4096


def read_w1(root: str | Path, name: str, *, pause: Callable[[float], object] = time.sleep) -> str:
    """What the sensor `name` (as `28-0123456789ab`) says: the text of its `w1_slave`.

    A reading that the driver calls damaged (NO) is repeated once. Raises PortLost, with the path and the sensors that
    there are, where it cannot be read.
    """
    path = Path(root) / name / "w1_slave"
    text = _read(path)
    if text.splitlines()[:1] and not text.splitlines()[0].rstrip().endswith("YES"):
        pause(PAUSE)
        text = _read(path)
    return text


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode("latin-1")
    except FileNotFoundError:
        raise PortLost(f"no sensor {path.parent.name} under {path.parent.parent}; {_others(path)}") from None
    except OSError as error:
        raise PortLost(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _others(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.parent.iterdir() if entry.name.startswith("28-"))
    except OSError:
        return "there is no such folder: are the 1-wire modules w1-gpio and w1-therm loaded?"
    return f"there are: {', '.join(names)}" if names else "there is none: is it wired, and the bus enabled?"
