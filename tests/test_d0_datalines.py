# SPDX-License-Identifier: GPL-3.0-or-later
"""Data lines of D0 and P1: forms, exact values, times."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.meter.protocols import datalines
from rockit.meter.protocols.datalines import DataLine, moduli, parse, parse_all, registers


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("1.8.0(000123.456*kWh)", [("1.8.0", ("000123.456*kWh",))]),
        ("1-0:1.8.0*255(1*kWh)", [("1-0:1.8.0*255", ("1*kWh",))]),
        ("1.8.0*01(1*kWh)", [("1.8.0*01", ("1*kWh",))]),
        ("1.8.0&01(1*kWh)", [("1.8.0&01", ("1*kWh",))]),
        ("F.F(00)", [("F.F", ("00",))]),
        ("C.1.0(12345678)", [("C.1.0", ("12345678",))]),
        ("0-0:96.13.0()", [("0-0:96.13.0", ("",))]),
        ("1.6.1(0.1*kW)(0501010000)", [("1.6.1", ("0.1*kW", "0501010000"))]),
        ("1.8.1(1*kWh)1.8.2(2*kWh)", [("1.8.1", ("1*kWh",)), ("1.8.2", ("2*kWh",))]),
        ("(00000.000)", [("", ("00000.000",))]),
    ],
)
def test_forms(text, sets):
    assert parse(text) == tuple(DataLine(*one) for one in sets)


@pytest.mark.parametrize(
    "text", ["", "1.8.0", "1.8.0(1*kWh", "1.8.0 1*kWh)", "1.8.0((1))", "1.8.0(1)x", "!", "1.8.0(\x01)"]
)
def test_what_is_no_data_line(text):
    assert parse(text) is None


def test_a_line_in_parentheses_needs_one_before_it():
    assert parse_all(["(1)", "1.8.0(2)", "(3)", "x", "(4)"]) == ((DataLine("1.8.0", ("2", "3")),), ("(1)", "x", "(4)"))


def test_values_are_exact_and_in_our_units():
    for text, number, unit in [
        ("000123.456*kWh", Decimal(123456), "Wh"), ("00000.1234567*kWh", Decimal("123.4567"), "Wh"),
        ("12*kWh", Decimal(12000), "Wh"), ("1.5*MWh", Decimal(1500000), "Wh"), ("00.500*kW", Decimal(500), "W"),
        ("3*kvar", Decimal(3000), "var"), ("0.2*kvarh", Decimal(200), "varh"), ("7*W", Decimal(7), "W"),
        ("7.5*Wh", Decimal("7.5"), "Wh"), ("230.10*V", Decimal("230.10"), "V"), ("1*A", Decimal(1), "A"),
        ("50.01*Hz", Decimal("50.01"), "Hz"), ("00012.345*m3", Decimal("12.345"), "m3"),
        ("0.123*GJ", Decimal(123000000), "J"), ("-1.5*kW", Decimal(-1500), "W"), ("9*furlong", Decimal(9), "furlong"),
    ]:  # fmt: skip
        value = datalines.value(text)
        assert value is not None
        assert (value.number, value.unit) == (number, unit)
        assert "E" not in str(value.number)


@given(st.text("0123456789", min_size=1, max_size=60), st.text("0123456789", max_size=60))
def test_no_digit_is_lost(whole, fraction):
    value = datalines.value(f"{whole}.{fraction}*kWh")
    assert value is not None
    assert value.number is not None
    numerator, denominator = value.number.as_integer_ratio()
    assert numerator * 10 ** len(fraction) == int(whole + fraction) * 1000 * denominator
    assert value.digits == len(whole)


@pytest.mark.parametrize("text", ["*kWh", "----*kWh", "1,5*kWh", "1e3*kWh", "nan*kWh", "\u0661*kWh", " 1*kWh"])
def test_a_unit_without_a_number_is_a_register_without_a_value(text):
    found, _ = registers([DataLine("1.8.0", (text,))])
    assert found["1-0:1.8.0*255"].value is None
    assert found["1-0:1.8.0*255"].unit == "Wh"


def test_text_stays_text():
    found, _ = registers([DataLine("C.1.0", ("00012345",)), DataLine("XY", ("abc",)), DataLine("0.2.0", ("1.5",))])
    assert {code: register.value for code, register in found.items()} == {
        "1-0:96.1.0*255": "00012345", "XY": "abc", "1-0:0.2.0*255": "1.5",
    }  # fmt: skip
    assert not any(register.counter for register in found.values())


def test_codes_with_letters_and_other_channels():
    written = ["F.F", "1-1:F.F", "F.F*01", "C.F", "1-1:C.1.0", "1-1:1.8.1", "0.2.0", "P.01", "EFF.FE"]
    assert [datalines.key(code) for code in written] == [
        "1-0:97.97.0*255", "1-1:97.97.0*255", "1-0:97.97.0*1", "C.F", "1-1:96.1.0*255", "1-1:1.8.1*255",
        "1-0:0.2.0*255", "1-0:99.1.0*255", "EFF.FE",
    ]  # fmt: skip


def test_historic_values_are_channels_of_their_own_and_no_counters():
    found, _ = registers([DataLine(code, (f"{n}*kWh",)) for n, code in enumerate(["1.8.0", "1.8.0*01", "1.8.0&12"])])
    assert {code: (register.value, register.counter) for code, register in found.items()} == {
        "1-0:1.8.0*255": (0, True), "1-0:1.8.0*1": (1000, False), "1-0:1.8.0*12": (2000, False),
    }  # fmt: skip


def test_a_code_that_comes_twice_counts_once():
    found, _ = registers([DataLine("1.8.0", ("1*kWh",)), DataLine("1-0:1.8.0*255", ("2*kWh",))])
    assert found["1-0:1.8.0*255"].value == 1000


def test_where_a_counter_rolls_over():
    assert moduli(
        [DataLine("1.8.0", ("000123.456*kWh",)), DataLine("1.7.0", ("1*kW",)), DataLine("0-1:24.2.1", ("00012.3*m3",)),
         DataLine("2.8.0", ("--*kWh",))]
    ) == {"1-0:1.8.0*255": Decimal(10**9), "0-1:24.2.1*255": Decimal(10**5)}  # fmt: skip


def test_times():
    assert datalines.utc("101209112500W") == "2010-12-09T10:25:00Z"
    assert datalines.utc("200701000000S") == "2020-06-30T22:00:00Z"
    assert datalines.local("090212160000") == "2009-02-12T16:00:00"
    for wrong in ("000000000000W", "101332112500W", "101209112500", "101209112500X", "1012091125W"):
        assert datalines.utc(wrong) is None
    assert datalines.local("000000000000") is None


@given(st.text(max_size=60))
def test_no_line_is_an_error(text):
    sets, _ = parse_all(text.split("\n"))
    registers(sets)
    moduli(sets)


@given(st.lists(st.text("0129-:.*()&kWhm3FCSW", max_size=30), max_size=8))
def test_nearly_right_lines_are_no_error(texts):
    sets, wrong = parse_all(texts)
    registers(sets)
    moduli(sets)
    assert len(wrong) <= len(texts)
