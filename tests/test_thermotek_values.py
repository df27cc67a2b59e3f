# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek TTK: what the data of replies mean, and data that mean nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.chiller.model import Drive, RunState
from rockit.chiller.protocols import thermotek_alarms as alarms
from rockit.chiller.protocols import thermotek_values as values
from rockit.common.framing import ProtocolError


@pytest.mark.parametrize(
    ("parse", "data", "value"),
    [
        (values.temperature, "+0152", 15.2),
        (values.temperature, "-0050", -5.0),
        (values.temperature, "+9999", 999.9),
        (values.flow, "+0032", 3.2),
        (values.current, "+2152", 2.152),
        (values.current, "-0001", -0.001),
        (values.drive, "063,C", (63, Drive.COOL)),
        (values.drive, "100,H", (100, Drive.HEAT)),
        (values.pwm, "001,C", (1, Drive.COOL)),
        (values.pwm, "255,H", (255, Drive.HEAT)),
        (values.pid, "-0152,3", (-15.2, 3)),
        (values.uptime, "165406", 165406),
        (values.fan_speed, "0042", 42),
        (values.switch, "1", True),
        (values.switch, "0", False),
        (values.control_sensor, "2", values.ControlSensor.EXTERNAL_RTD),
        (values.watchdog, "0100", (RunState.STARTING, True, False, False)),
        (values.watchdog, "1000", (RunState.STANDBY, False, False, False)),
        (values.watchdog, "2101", (RunState.RUN, True, False, True)),
        (values.watchdog, "3010", (RunState.SAFETY, False, True, False)),
        (values.watchdog, "4000", (RunState.TEST, False, False, False)),
    ],
)
def test_values(parse, data, value):
    assert parse(data) == value


def test_minus_nothing_is_nothing():
    assert str(values.temperature("-0000")) == "0.0"


@pytest.mark.parametrize(
    ("parse", "bad"),
    [
        (values.temperature, ["", "0152", "+152", "+01520", "+0 52", "+0_52", " 0152", "++152", "+٠١٥٢", "+0152\n"]),
        (values.temperature, ["+15.2", "+----", "+FFFF", "±0152"]),
        (values.flow, ["-0032", "00032", "+003", "+0_32"]),
        (values.current, ["2152", "+2_52", "+215"]),
        (values.drive, ["101,C", "999,H", "063C", "63,C", "063,c", "063,X", "+63,C", "06_,C", "063;C", "063,C "]),
        (values.pwm, ["000,C", "256,C", "128,1", "1_8,C"]),
        (values.pid, ["+0152", "+0152,", "+0152,x", "+0152,10", "0152,3", "+0152;3"]),
        (values.uptime, ["16540", "1654067", "+65406", "16_406", "16540 "]),
        (values.fan_speed, ["42", "+042", "0 42"]),
        (values.switch, ["2", "", "10"]),
        (values.control_sensor, ["4", "-", "01"]),
        (values.watchdog, ["5100", "0200", "0120", "0102", "010", "01000", "٠100"]),
        (alarms.level_1, ["01A00", "01A0000", "01A00G", "01a000", "+1A000", "0x0000", "01A_00"]),
        (lambda data: alarms.level_2(2, data), ["209000", "109000100", "309000100", "20900010G"]),
        (alarms.warnings, ["080", "08000", "08 0", "080g"]),
    ],
)  # fmt: skip
def test_values_that_are_not_exactly_as_documented(parse, bad):
    for data in bad:
        with pytest.raises(ProtocolError):
            parse(data)


@pytest.mark.parametrize(
    ("value", "data"),
    [(20.0, "+0200"), (-5.0, "-0050"), (15.04, "+0150"), (15.06, "+0151"), (-0.0, "+0000"), (-0.04, "+0000"),
     (0.1 + 0.2, "+0003"), (999.9, "+9999"), (-999.94, "-9999"), (20, "+0200")],
)  # fmt: skip
def test_temperature_data(value, data):
    assert values.temperature_data(value) == data


@pytest.mark.parametrize("value", [1000.0, -1000.0, 999.96, float("nan"), float("inf"), -float("inf"), 1e300])
def test_temperatures_that_have_no_data(value):
    with pytest.raises(ValueError):
        values.temperature_data(value)


def test_flow_data():
    assert [values.flow_data(value) for value in (0.0, -0.0, 0.5, 3.2, 999.9)] == [
        "+0000",
        "+0000",
        "+0005",
        "+0032",
        "+9999",
    ]
    for value in (-0.1, 1000.0, float("nan"), float("inf")):
        with pytest.raises(ValueError):
            values.flow_data(value)


# Alarms


def test_alarms_of_the_manuals_examples():
    assert alarms.level_1("01A000") == ("supply sensor fault", "low process flow", "current sensor 1 fault")
    assert alarms.level_2(2, "209000100") == (
        "supply sensor global fault",
        "supply sensor short",
        "current sensor 1 open",
    )
    assert alarms.warnings("0800") == ("low ambient temperature",)


def test_no_alarm_has_no_name():
    assert alarms.level_1("000000") == alarms.level_2(1, "100000000") == alarms.warnings("0000") == ()


@pytest.mark.parametrize(
    ("digit", "bit", "name"),
    [
        (0, 1, "ambient sensor fault"), (0, 2, "high control temperature"), (0, 8, "low control temperature"),
        (1, 1, "supply sensor fault"), (1, 4, "return sensor fault"),
        (2, 1, "low coolant level"), (2, 2, "low process flow"), (2, 8, "current sensor 1 fault"),
        (3, 2, "high ambient temperature"), (4, 4, "no process flow"), (4, 8, "fan failure"),
        (5, 1, "current sensor 2 fault"), (5, 8, "system error"),
    ],
)  # fmt: skip
def test_level_1_bit_by_bit(digit, bit, name):
    assert alarms.level_1("0" * digit + f"{bit:X}" + "0" * (5 - digit)) == (name,)


def test_level_2_places():
    assert alarms.level_2(1, "1" + "01000000") == ("ADC system error",)
    assert alarms.level_2(1, "1" + "00000008") == ("EEPROM 2 write error",)
    assert alarms.level_2(2, "2" + "40000000") == ("return sensor open",)
    assert alarms.level_2(2, "2" + "00000002") == ("rear right fan open",)


def test_reserved_bits_are_named_never_lost():
    assert alarms.level_2(1, "1" + "10000000") == ("reserved bit B0.1",)
    assert alarms.level_2(1, "1" + "00080000") == ("reserved bit B3.8",)
    assert alarms.level_2(2, "2" + "0000F000") == tuple(f"reserved bit C4.{bit}" for bit in (1, 2, 4, 8))
    assert alarms.warnings("8004") == ("reserved bit W0.8", "reserved bit W3.4")


def test_every_set_bit_has_one_name_of_its_own():
    for parse, digits in (
        (alarms.level_1, 6),
        (lambda data: alarms.level_2(1, "1" + data), 8),
        (lambda data: alarms.level_2(2, "2" + data), 8),
        (alarms.warnings, 4),
    ):
        assert len(set(parse("F" * digits))) == 4 * digits
    assert set(alarms.level_1("FFFFFF")) >= alarms.STOPPING


@given(st.integers(-9999, 9999))
def test_temperatures_round_trip(tenths):
    assert round(values.temperature(values.temperature_data(tenths / 10)) * 10) == tenths
