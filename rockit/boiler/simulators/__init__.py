# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated boiler plant, written from the makers' documents and not from our codecs."""

from __future__ import annotations

SIMULATORS: dict[str, str] = {
    "lochinvar": "rockit.boiler.simulators.lochinvar:Lochinvar",
    "sola": "rockit.boiler.simulators.sola:Sola",
    "otgw": "rockit.boiler.simulators.otgw:OpenThermGateway",
    "numato": "rockit.boiler.simulators.numato:Numato",
    "modbusrelays": "rockit.boiler.simulators.modbusrelays:ModbusRelays",
}
"""Name in `sim://NAME` -> factory. Imported when first asked for."""


def register_all() -> None:
    """Make the simulated devices known to `rockit.common.simulate`. May be called again."""
    from rockit.common import simulate

    for name, factory in SIMULATORS.items():
        simulate.register(name, factory)
