# SPDX-License-Identifier: GPL-3.0-or-later
"""One vocabulary for what all meters measure, whether they say it in OBIS codes or in a register map.

Scripts, histories and dashboards use these names; what has none keeps its code or its own name.
"""

from __future__ import annotations

from rockit.common.quality import Measurement
from rockit.meter.model import Register

_POWER, _ENERGY = (-1e9, 1e9), (0.0, 1e15)
_REGISTERS: tuple[tuple[str, str, str, str, tuple[float, float]], ...] = (
    ("power", "1-0:16.7.0*255", "Power, + import, - export", "W", _POWER),
    ("import_energy", "1-0:1.8.0*255", "Energy import", "Wh", _ENERGY),
    ("import_energy_t1", "1-0:1.8.1*255", "Energy import, tariff 1", "Wh", _ENERGY),
    ("import_energy_t2", "1-0:1.8.2*255", "Energy import, tariff 2", "Wh", _ENERGY),
    ("export_energy", "1-0:2.8.0*255", "Energy export", "Wh", _ENERGY),
    ("export_energy_t1", "1-0:2.8.1*255", "Energy export, tariff 1", "Wh", _ENERGY),
    ("export_energy_t2", "1-0:2.8.2*255", "Energy export, tariff 2", "Wh", _ENERGY),
    ("power_l1", "1-0:36.7.0*255", "Power L1", "W", _POWER),
    ("power_l2", "1-0:56.7.0*255", "Power L2", "W", _POWER),
    ("power_l3", "1-0:76.7.0*255", "Power L3", "W", _POWER),
    ("voltage_l1", "1-0:32.7.0*255", "Voltage L1", "V", (0, 1e6)),
    ("voltage_l2", "1-0:52.7.0*255", "Voltage L2", "V", (0, 1e6)),
    ("voltage_l3", "1-0:72.7.0*255", "Voltage L3", "V", (0, 1e6)),
    ("current_l1", "1-0:31.7.0*255", "Current L1", "A", (-1e6, 1e6)),
    ("current_l2", "1-0:51.7.0*255", "Current L2", "A", (-1e6, 1e6)),
    ("current_l3", "1-0:71.7.0*255", "Current L3", "A", (-1e6, 1e6)),
    ("frequency", "1-0:14.7.0*255", "Frequency", "Hz", (0, 1000)),
)
NAMES: dict[str, str] = {code: name for name, code, *_ in _REGISTERS}
"""OBIS code -> name."""
MEASUREMENTS: dict[str, Measurement] = {
    name: Measurement(label, unit, *limits, counter=unit == "Wh") for name, _, label, unit, limits in _REGISTERS
}
UNIT_OF_NAME = {name: measured.unit for name, measured in MEASUREMENTS.items()}
ENERGIES = {
    "import": ("import_energy", "import_energy_t1", "import_energy_t2"),
    "export": ("export_energy", "export_energy_t1", "export_energy_t2"),
}
"""Direction -> the total, and what it consists of where the meter counts by tariff."""


def name_of(key: str, register: Register) -> str:
    """What a register is called in scripts and histories; its own key where it has no name, or another unit."""
    name = NAMES.get(key, key)
    return name if UNIT_OF_NAME.get(name, register.unit) == register.unit else key


def measurement_of(name: str, register: Register) -> Measurement:
    """What is known of a register that is called so."""
    known = MEASUREMENTS.get(name)
    if known is not None and known.unit == register.unit:
        return known
    return Measurement(register.label or name, register.unit, -1e15, 1e15, register.counter)
