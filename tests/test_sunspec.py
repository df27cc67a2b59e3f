# SPDX-License-Identifier: GPL-3.0-or-later
"""SunSpec: finding the blocks, values with their scale factors, and what is not implemented."""

from __future__ import annotations

import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.common.framing import ProtocolError, Refused
from rockit.common.transport import NoAnswer
from rockit.meter.drivers import sunspec
from rockit.meter.drivers.sunspec import MODELS, SunSpecMeter


def text(value, size):
    return struct.unpack(f">{size}H", value.encode().ljust(2 * size, b"\0"))


def common(manufacturer="Maker", model="Thing", serial="S-1"):
    return [*text(manufacturer, 16), *text(model, 16), *text("", 8), *text("1.2", 8), *text(serial, 16), 1, 0x8000]


def words(cells, size):
    """A block of `size` registers that holds `cells` (place -> int or float), not implemented elsewhere (0x8000)."""
    out = [0x8000] * size
    for at, value in cells.items():
        if isinstance(value, float):
            out[at : at + 2] = struct.unpack(">2H", struct.pack(">f", value))
        else:
            out[at] = value & 0xFFFF
    return out


def acc(at, value):
    return {at: value >> 16, at + 1: value}


# Model 103 as a Kostal Plenticore told it (evcc issue 31535): A 4.29, V 228.6, W 940, Hz 49.99, WH 56985670.
INVERTER = {
    0: 429, 1: 146, 2: 137, 3: 145, 4: -2, 5: 0xFFFF, 8: 2286, 9: 2291, 10: 2274, 11: -1, 12: 940, 13: 0,
    14: 4999, 15: -2, 16: 978, 17: 0, **acc(22, 56985670), 24: 0, 29: 97, 30: 1,
}  # fmt: skip
METER = {
    1: -100, 2: 200, 3: 300, 4: -2, 6: 2300, 7: 2301, 8: 2302, 13: -1, 14: 5000, 15: -2, 16: -1234, 17: -400, 18: -400,
    19: -434, 20: 0, 21: 1300, 25: 0, 26: -50, 30: 0, **acc(36, 123456), **acc(44, 7890), 52: 1, **acc(38, 0),
    **acc(46, 0xFFFFFFFF),
}  # fmt: skip


class Unit:
    """A unit whose registers hold SunSpec blocks from `base` on; any other register is refused."""

    def __init__(self, *blocks, base=40000):
        self.cells = {}
        self.asked = []
        chain = [0x5375, 0x6E53]
        for model, data in blocks:
            chain += [model, len(data), *data]
        chain += [0xFFFF, 0]
        self.cells = {base + at: word for at, word in enumerate(chain)}

    def read(self, unit, function, address, count):
        assert (unit, function) == (7, 3)
        assert 1 <= count <= 125
        self.asked.append((address, count))
        if not all(address + at in self.cells for at in range(count)):
            raise Refused("2", "no such register")
        return tuple(self.cells[address + at] for at in range(count))


def values(meter):
    *_, reading = meter.poll()
    return {name: register.value for name, register in reading.registers.items()}


def test_an_inverter():
    unit = Unit((1, common("KOSTAL", "PLENTICORE", "90523")), (120, [0] * 26), (103, words(INVERTER, 50)))
    meter = SunSpecMeter(unit, 7)
    assert meter.identify() == {
        "sunspec_model": "103", "manufacturer": "KOSTAL", "model": "PLENTICORE", "version": "1.2", "serial": "90523"
    }  # fmt: skip
    *_, reading = meter.poll()
    assert reading.server_id == "90523"
    found = {name: register.value for name, register in reading.registers.items()}
    assert found["power"] == -940  # it produces: that is export
    assert found["export_energy"] == 56985670
    assert found["voltage_l1"] == Decimal("228.6")
    assert found["current_l3"] == Decimal("1.45")
    assert found["frequency"] == Decimal("49.99")
    assert found["dc_power"] == 970
    assert found["cabinet_temperature"] is None
    assert reading.registers["export_energy"].counter


def test_a_poll_is_one_read():
    unit = Unit((1, common()), (103, words(INVERTER, 50)))
    meter = SunSpecMeter(unit, 7)
    meter.identify()
    unit.asked.clear()
    values(meter)
    values(meter)
    assert len(unit.asked) == 2


@pytest.mark.parametrize(("inverted", "sign"), [(False, 1), (True, -1)])
def test_a_meter(inverted, sign):
    found = values(SunSpecMeter(Unit((1, common()), (203, words(METER, 105))), 7, inverted=inverted))
    assert found["power"] == -1234 * sign
    assert found["power_l3"] == -434 * sign
    assert found["reactive_power"] == -50 * sign
    assert found["current_l1"] == -1
    assert found["voltage_l2"] == Decimal("230.1")
    assert found["export_energy"] == 1234560
    assert found["import_energy"] == 78900
    assert found["export_energy_l1"] is None  # not accumulated
    assert found["import_energy_l1"] is None


def test_models_with_floats():
    inverter = words({20: 940.5, 22: 50.0, 30: 1e6, 14: 230.1}, 60)
    inverter[2:4] = (0x7FC0, 0)
    found = values(SunSpecMeter(Unit((1, common()), (113, inverter)), 7))
    assert (found["power"], found["export_energy"], found["current_l1"]) == (Decimal("-940.5"), 1000000, None)
    assert found["voltage_l1"] == Decimal("230.1")
    meter = words({26: 940.5, 58: 12.5, 66: 1e6}, 124)
    found = values(SunSpecMeter(Unit((1, common()), (213, meter)), 7))
    assert (found["power"], found["export_energy"], found["import_energy"]) == (
        Decimal("940.5"),
        Decimal("12.5"),
        1000000,
    )


@pytest.mark.parametrize("base", sunspec.BASES)
def test_where_the_blocks_begin(base):
    assert values(SunSpecMeter(Unit((1, common()), (101, words(INVERTER, 50)), base=base), 7))["power"] == -940


def test_a_meter_behind_an_inverter_has_its_own_name():
    unit = Unit(
        (1, common("SolarEdge", "SE5000", "inverter")), (103, words(INVERTER, 50)),
        (1, common("WattNode", "WND", "grid")), (203, words(METER, 105)),
        (1, common("WattNode", "WND", "load")), (203, words({**METER, 16: 77}, 105)),
    )  # fmt: skip
    assert SunSpecMeter(unit, 7).identify()["serial"] == "inverter"
    assert SunSpecMeter(unit, 7, kind="meter").identify()["serial"] == "grid"
    second = SunSpecMeter(unit, 7, kind="meter", index=1)
    assert second.identify()["serial"] == "load"
    assert values(second)["power"] == 77
    with pytest.raises(ProtocolError, match=r"no meter among its models \[1, 103, 1, 203, 1, 203\]"):
        SunSpecMeter(unit, 7, kind="meter", index=2).identify()


def test_what_is_no_sunspec_device():
    with pytest.raises(ProtocolError, match=r"no SunS"):
        SunSpecMeter(Unit(base=1000), 7).identify()
    with pytest.raises(ProtocolError, match=r"no inverter or meter"):
        SunSpecMeter(Unit((1, common())), 7).identify()


def test_a_chain_without_end_ends():
    unit = Unit(*[(64000, [])] * 200)
    with pytest.raises(ProtocolError):
        SunSpecMeter(unit, 7).identify()
    assert len(unit.asked) < 100
    with pytest.raises(ProtocolError):
        SunSpecMeter(Unit((64000, [0] * 25000), base=50000), 7).identify()


def test_a_silent_unit_costs_one_time_out():
    class Silent:
        asked = 0

        def read(self, *_):
            self.asked += 1
            raise NoAnswer("silent")

    silent = Silent()
    with pytest.raises(NoAnswer):
        list(SunSpecMeter(silent, 7).poll())
    assert silent.asked == 1


def test_another_device_in_its_place_is_identified_anew():
    unit = Unit((1, common()), (103, words(INVERTER, 50)))
    meter = SunSpecMeter(unit, 7)
    values(meter)
    unit.cells = Unit((1, common()), (203, words(METER, 105))).cells
    with pytest.raises(ProtocolError, match=r"another model"):
        values(meter)
    assert values(meter)["power"] == -1234


def test_a_counter_is_not_negative():
    assert sunspec.decode(113, words({30: -5.0}, 60))["export_energy"].value is None


def test_scale_factors_that_cannot_be():
    for factor in (0x8000, 11, -11):
        found = sunspec.decode(103, words({**INVERTER, 13: factor}, 50))
        assert found["power"].value is None
    assert sunspec.decode(103, words({**INVERTER, 13: -3}, 50))["power"].value == Decimal("-0.94")
    assert "export_energy" not in sunspec.decode(103, words(INVERTER, 50)[:24])  # its scale factor is not there


@settings(deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.lists(st.integers(0, 0xFFFF), max_size=125), st.booleans())
def test_any_block_gives_exact_values_or_none(model, block, inverted):
    for register in sunspec.decode(model, block, inverted=inverted).values():
        assert register.value is None or Decimal(register.value).is_finite()
        assert not (register.counter and register.value is not None and register.value < 0)
