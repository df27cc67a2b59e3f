# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated chillers, written from the makers' documents and not from our codecs: one can prove the other wrong."""

from __future__ import annotations

SIMULATORS: dict[str, str] = {
    "t257p": "rockit.chiller.simulators.thermotek:T257P",
    "t255p": "rockit.chiller.simulators.t255p:T255P",
    "thermoflex": "rockit.chiller.simulators.neslab:ThermoFlex",
    "rte": "rockit.chiller.simulators.neslab:Rte",
    "lauda": "rockit.chiller.simulators.lauda:Lauda",
}
"""Name in `sim://NAME` -> factory. Imported when first asked for."""


def register_all() -> None:
    """Make the simulated chillers known to `rockit.common.simulate`. May be called again."""
    from rockit.common import simulate  # the names alone are wanted by command lines, which shall start quickly

    for name, factory in SIMULATORS.items():
        simulate.register(name, factory)
