# SPDX-License-Identifier: GPL-3.0-or-later
"""What the telegrams and registers of each kind of meter mean. A driver is imported only when a config names it."""

from __future__ import annotations

SUNSPEC = "sunspec"
"""In the place of a register map: a device that tells itself where its registers are."""


def map_problem(name: str) -> str:
    """What is wrong with the `map` of a Modbus meter; empty where it can be used."""
    from rockit.common.errors import ConfigError
    from rockit.meter import registermap

    if name.partition(":")[0] == SUNSPEC:
        return "" if name in _SUNSPEC else f"{name!r} is not one of {', '.join(_SUNSPEC)}"
    try:
        registermap.load(name)
    except ConfigError as error:
        return str(error)
    return ""


_SUNSPEC = (SUNSPEC, f"{SUNSPEC}:inverter", f"{SUNSPEC}:meter")
