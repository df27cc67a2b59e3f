# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated meters, written from the standards and the makers' documents and not from our codecs."""

from __future__ import annotations

SIMULATORS: dict[str, str] = {
    "sml": "rockit.meter.simulators.sml:SmlMeter",
    "d0": "rockit.meter.simulators.d0:D0Meter",
    "p1": "rockit.meter.simulators.p1:P1Meter",
    "sdm630": "rockit.meter.simulators.modbus:Sdm630",
    "capture": "rockit.meter.simulators.capture:Capture",
}
"""Name in `sim://NAME` -> factory. Imported when first asked for."""


def register_all() -> None:
    """Make the simulated meters known to `rockit.common.simulate`. May be called again."""
    from rockit.common import simulate

    for name, factory in SIMULATORS.items():
        simulate.register(name, factory)
