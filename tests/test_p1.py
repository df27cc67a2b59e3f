# SPDX-License-Identifier: GPL-3.0-or-later
"""DSMR P1: telegrams, damage, what they say, and a simulated meter."""

from __future__ import annotations

from decimal import Decimal

import pytest
from bench import decoded, joined
from hypothesis import given, settings
from hypothesis import strategies as st

from rockit.common.framing import Damage, Damaged
from rockit.meter.drivers.p1 import readings
from rockit.meter.protocols import crc, p1
from rockit.meter.protocols.p1 import LONGEST, Decoder, Telegram
from rockit.meter.simulators.p1 import P1Meter


def sealed(text: str) -> bytes:
    data = text.replace("\n", "\r\n").encode("ascii") + b"!"
    return data + b"%04X\r\n" % crc.arc(data)


# In the form of the examples of the companion standards 5.0.2 and 2.2, with numbers of our own.
DSMR5 = sealed(
    "/ABC5\\2TEST\n\n1-3:0.2.8(50)\n0-0:1.0.0(101209113020W)\n"
    "0-0:96.1.1(4B384547303034303436333935353037)\n1-0:1.8.1(123456.789*kWh)\n1-0:1.8.2(000002.001*kWh)\n"
    "1-0:2.8.1(000000.000*kWh)\n1-0:2.8.2(123456.789*kWh)\n0-0:96.14.0(0002)\n1-0:1.7.0(01.193*kW)\n"
    "1-0:2.7.0(00.000*kW)\n0-0:96.7.21(00004)\n1-0:99.97.0(2)(0-0:96.7.19)(101208152415W)(0000000240*s)"
    "(101208151004W)(0000000301*s)\n0-0:96.13.0()\n1-0:32.7.0(220.1*V)\n1-0:31.7.0(001*A)\n0-1:24.1.0(003)\n"
    "0-1:96.1.0(3232323241424344313233343536373839)\n0-1:24.2.1(101209112500W)(12785.123*m3)\n"
    "0-2:24.1.0(004)\n0-2:24.2.1(101209110000W)(00.123*GJ)\n0-3:24.1.0(007)\n0-3:24.2.1(000000000000W)(00000.000*m3)\n"
)
DSMR2 = (
    b"/ABC5TEST\r\n\r\n0-0:96.1.1(5A424556303035303933313937373132)\r\n1-0:1.8.1(00185.000*kWh)\r\n"
    b"1-0:1.7.0(0000.98*kW)\r\n0-1:24.1.0(3)\r\n0-1:24.3.0(121030140000)(00)(60)(1)(0-1:24.2.1)(m3)\r\n"
    b"(00024.123)\r\n!\r\n"
)
SHORT = sealed("/XYZ5a\n\n1-0:1.8.1(000001.000*kWh)\n")


def ciphered(length: int = 40) -> bytes:
    body = bytes(range(1, 256)) * (length // 255 + 1)
    return b"\xdb\x08SAGy\x00\x01\x02\x03\x82" + (length + 1).to_bytes(2, "big") + b"\x30" + body[:length]


def telegrams(items: list[object]) -> list[Telegram]:
    return [item for item in items if isinstance(item, Telegram)]


def test_a_telegram_of_dsmr_5():
    (telegram,) = Decoder().feed(DSMR5)
    assert isinstance(telegram, Telegram)
    assert (telegram.offset, telegram.end, telegram.header) == (0, len(DSMR5), "ABC5\\2TEST")
    (reading,) = readings(telegram)
    registers = reading.registers
    assert registers["1-0:1.8.1*255"].value == Decimal(123456789)
    assert registers["1-0:1.8.1*255"].label == "Active energy import, tariff 1 (low)"
    assert registers["1-0:1.8.2*255"].label == "Active energy import, tariff 2 (normal)"
    assert registers["1-0:2.8.2*255"].label == "Active energy export, tariff 2 (normal)"
    assert (registers["1-0:1.7.0*255"].value, registers["1-0:1.7.0*255"].unit) == (1193, "W")
    assert (registers["1-0:32.7.0*255"].value, registers["1-0:32.7.0*255"].unit) == (Decimal("220.1"), "V")
    assert registers["0-0:96.14.0*255"].value == "0002"
    assert registers["0-0:96.13.0*255"].value == ""
    assert registers["1-0:99.97.0*255"].value.startswith("(2)(0-0:96.7.19)")
    assert reading.server_id == "K8EG004046395507"
    assert reading.notes["equipment 1"] == "2222ABCD123456789"
    assert reading.notes["version"] == "50"
    assert reading.notes["time"] == "2010-12-09T10:30:20Z"
    assert reading.notes["manufacturer"] == "ABC"


def test_devices_on_the_m_bus_have_their_own_times():
    (reading,) = readings(Decoder().feed(DSMR5)[0])
    gas, heat, water = (reading.registers[f"0-{channel}:24.2.1*255"] for channel in (1, 2, 3))
    assert (gas.value, gas.unit, gas.label, gas.counter) == (Decimal("12785.123"), "m3", "Gas volume", True)
    assert (heat.value, heat.unit, heat.label, heat.counter) == (Decimal(123000000), "J", "Heat energy", True)
    assert reading.notes["0-1:24.2.1*255 time"] == "2010-12-09T10:25:00Z"
    assert reading.notes["0-2:24.2.1*255 time"] == "2010-12-09T10:00:00Z"
    assert (water.value, water.unit, water.label) == (None, "m3", "Water volume")
    assert "0-3:24.2.1*255 time" not in reading.notes


def test_dsmr_2_has_no_checksum_and_counts_only_when_it_is_asked_for():
    (damaged,) = Decoder().feed(DSMR2)
    assert damaged == Damaged(Damage.MALFORMED, DSMR2)
    assert "no CRC" in p1.hint(damaged)
    (telegram,) = Decoder(checked=False).feed(DSMR2)
    (reading,) = readings(telegram)
    gas = reading.registers["0-1:24.2.1*255"]
    assert (gas.value, gas.unit, gas.label) == (Decimal("24.123"), "m3", "Gas volume")
    assert reading.notes["0-1:24.2.1*255 local time"] == "2012-10-30T14:00:00"
    assert reading.registers["1-0:1.7.0*255"].value == 980
    assert reading.server_id == "ZBEV005093197712"


def test_form_is_all_that_shows_damage_there():
    bad = DSMR2.replace(b"00185.000*kWh)", b"00185.000*kWh")
    items = Decoder(checked=False).feed(bad + DSMR2)
    assert items[0] == Damaged(Damage.MALFORMED, bad)
    assert len(telegrams(items)) == 1
    wrong = SHORT.replace(b"000001", b"000002")
    assert Decoder(checked=False).feed(wrong) == [Damaged(Damage.CHECKSUM, wrong)]


def test_an_equipment_id_that_is_no_hex_stays_as_it_is():
    for text, said in (("E0012", "E0012"), ("XYZ", "XYZ"), ("0041", "0041"), ("", "")):
        (telegram,) = Decoder().feed(sealed(f"/ABC5x\n\n0-0:96.1.1({text})\n"))
        assert readings(telegram)[0].server_id == said


def test_several_values_in_one_line_are_text():
    two = DSMR2.replace(b"(60)(1)", b"(60)(2)")
    (reading,) = readings(Decoder(checked=False).feed(two)[0])
    assert "0-1:24.2.1*255" not in reading.registers
    assert reading.registers["0-1:24.3.0*255"].value.startswith("(121030140000)(00)(60)(2)")


def test_the_status_of_a_gas_reading_is_told():
    (reading,) = readings(Decoder(checked=False).feed(DSMR2.replace(b"(00)(60)", b"(80)(60)"))[0])
    assert reading.notes["0-1:24.2.1*255 status"] == "80"


def test_tariffs_of_belgium_are_the_other_way_round():
    (telegram,) = Decoder().feed(sealed("/FLU5\\253770234_A\n\n1-0:1.8.1(000001.000*kWh)\n"))
    assert readings(telegram)[0].registers["1-0:1.8.1*255"].label == "Active energy import, tariff 1 (normal)"


def test_an_empty_telegram_is_no_reading():
    (telegram,) = Decoder().feed(sealed("/ABC5x\n\n"))
    assert readings(telegram) == []
    (telegram,) = Decoder().feed(sealed("/ABC5x\n"))
    assert telegram.lines == ()


def test_a_line_that_is_none_in_a_right_telegram_is_counted():
    telegram, line = Decoder().feed(sealed("/ABC5x\n\nnonsense\n1-0:1.7.0(00.100*kW)\n"))
    assert len(telegram.lines) == 1
    assert line == Damaged(Damage.MALFORMED, b"nonsense")


def test_encrypted_telegrams_are_recognised():
    first, second, telegram = Decoder().feed(ciphered() + ciphered(1000) + SHORT)
    assert first == Damaged(Damage.MALFORMED, ciphered())
    assert second.data == ciphered(1000)
    assert "encrypted" in p1.hint(first)
    assert isinstance(telegram, Telegram)
    assert p1.hint(Damaged(Damage.CHECKSUM, SHORT)) == ""


@pytest.mark.parametrize("noise", [b"\xdb", b"\xdb\x08", b"\xdb\x08" + b"x" * 12, b"\xdb\x08abcdefgh\x82\xff\xff\x30"])
def test_noise_that_looks_encrypted_swallows_nothing(noise):
    items = decoded(Decoder(), noise + SHORT + SHORT)
    assert len(telegrams(items)) == 2 or (noise == b"\xdb\x08" and len(telegrams(items)) >= 1)


@given(st.integers(0, len(DSMR5) - 1), st.integers(0, 7), st.sets(st.integers(0, 2000), max_size=5))
@settings(max_examples=200)
def test_any_flipped_bit_is_seen(at, bit, cuts):
    bad = bytearray(DSMR5)
    bad[at] ^= 1 << bit
    items = decoded(Decoder(), bytes(bad) + SHORT, cuts)
    # The case of a hexadecimal digit says nothing, the rest says all.
    believed = [item for item in telegrams(items) if item.header != "XYZ5a"]
    assert all(
        item.lines == Decoder().feed(DSMR5)[0].lines and bytes(bad).upper() == DSMR5.upper() for item in believed
    )
    assert items[-1].header == "XYZ5a"


@given(st.integers(1, len(DSMR5) - 1))
def test_a_telegram_that_was_cut_off_does_not_cost_the_next_one(length):
    *damage, last = Decoder().feed(DSMR5[:length] + SHORT)
    assert isinstance(last, Telegram)
    assert last.header == "XYZ5a"
    assert last.offset == length or len(damage) == 1
    assert b"".join(item.data for item in damage if isinstance(item, Damaged)) in (DSMR5[:length], b"")


def test_a_new_start_at_the_start_of_a_line_ends_a_telegram():
    half = DSMR5[: DSMR5.index(b"1-0:1.8.2")]
    first, second = Decoder().feed(half + SHORT)
    assert first == Damaged(Damage.TRUNCATED, half)
    assert second.header == "XYZ5a"


def test_flush_gives_up_what_is_unfinished():
    decoder = Decoder()
    assert decoder.feed(DSMR5[:100]) == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, DSMR5[:100])]
    assert decoder.flush() == []
    assert decoder.feed(SHORT)[0].offset == 100


def test_memory_is_bounded():
    for start, fill in (
        (b"/ABC5x\r\n", b"x"),
        (b"/ABC5x\r\n", b"\n"),
        (b"/", b"A"),
        (b"", b"x"),
        (ciphered()[:14], b"x"),
    ):
        decoder = Decoder(checked=False)
        decoder.feed(start)
        for _ in range(20):
            decoder.feed(fill * 4096)
            assert len(decoder._buffer) <= LONGEST


def test_long_messages_and_four_devices_fit():
    text = "".join(f"0-{n}:24.1.0(003)\n0-{n}:24.2.1(101209112500W)(12785.123*m3)\n" for n in range(1, 5))
    text += "".join(f"0-0:96.13.{n}({'41' * 1024})\n" for n in range(2))
    (telegram,) = Decoder().feed(sealed("/ABC5x\n\n" + text))
    assert len(readings(telegram)[0].registers) == 10


pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([SHORT, DSMR2, SHORT[:20], SHORT[:-3], SHORT[5:], ciphered(), ciphered()[:9], b"/", b"!", b"\r\n",
                     b"\n/", b"\n!", b"!1234\r\n", b"/ABC5x\r\n", b"\xdb", b"\xdb\x08"]),
)  # fmt: skip
streams = st.lists(pieces, max_size=8).map(b"".join)


@given(streams, st.lists(st.integers(0, 2000), max_size=8), st.booleans())
def test_nothing_is_invented_nothing_disappears_however_it_is_split(data, cuts, checked):
    def raw(item):
        return item.data if isinstance(item, Damaged) else data[item.offset : item.end]

    whole = decoded(Decoder(checked), data)
    assert b"".join(map(raw, whole)) == data
    for split in (cuts, range(len(data))):
        assert joined(decoded(Decoder(checked), data, split, holds=LONGEST), raw) == joined(whole, raw)


# --- the simulated meter


def heard(meter: P1Meter, seconds: float, step: float = 0.25, **options: bool) -> list[object]:
    decoder = Decoder(**options)
    meter.advance(0.0)
    out: list[object] = []
    for tick in range(round(seconds / step) + 1):
        out += decoder.feed(meter.output(tick * step))
    return out


def test_a_simulated_meter_counts_on():
    found = telegrams(heard(P1Meter(power=3_600_000.0 / 100, tariff=1, low=10.0, period=10.0), 31.0))
    registers = [readings(telegram)[0].registers for telegram in found]
    assert [one["1-0:1.8.1*255"].value for one in registers] == [10100, 10200, 10300]
    assert {one["1-0:1.8.2*255"].value for one in registers} == {1234500}
    assert {one["1-0:1.7.0*255"].value for one in registers} == {36000}


def test_gas_of_a_simulated_meter_is_read_every_five_minutes():
    found = telegrams(heard(P1Meter(gas=12.0, volume=100.0, period=60.0), 601.0, step=1.0))
    read = [readings(telegram)[0] for telegram in found]
    gas = [(str(one.registers["0-1:24.2.1*255"].value), one.notes["0-1:24.2.1*255 time"]) for one in read]
    assert len(set(gas)) == 3
    assert gas[0] == ("100.000", "2026-01-15T11:00:00Z")
    assert gas[-1] == ("102.000", "2026-01-15T11:10:00Z")
    assert read[0].notes["time"] == "2026-01-15T11:01:00Z"


@pytest.mark.parametrize(
    ("start", "first", "later"),
    [("2026-03-29T01:59:59", "260329030000S", "2026-03-29T01:00:00Z"),
     ("2026-10-25T01:59:59", "261025020000S", "2026-10-25T00:00:00Z"),
     ("2026-07-01T00:00:00", "260701000001S", "2026-06-30T22:00:01Z")],
)  # fmt: skip
def test_summer_time_of_a_simulated_meter(start, first, later):
    meter = P1Meter(start=start)
    (telegram,) = telegrams(heard(meter, 1.5))
    assert next(line.values[0] for line in telegram.lines if line.code == "0-0:1.0.0") == first
    assert readings(telegram)[0].notes["time"] == later


def test_export_and_tariff_of_a_simulated_meter():
    meter = P1Meter(power=-2000.0)
    meter.set_condition("tariff", "1")
    (telegram,) = telegrams(heard(meter, 1.5))
    registers = readings(telegram)[0].registers
    assert registers["1-0:2.7.0*255"].value == 2000
    assert registers["0-0:96.14.0*255"].value == "0001"
    assert meter.info()["tariff"] == 1
    for key, value in (("tariff", "3"), ("power", "1e9"), ("gas", "-1")):
        with pytest.raises(ValueError):
            meter.set_condition(key, value)
    for options in ({"tariff": 3}, {"period": 0.1}):
        with pytest.raises(ValueError):
            P1Meter(**options)


@pytest.mark.parametrize("crc_there", [True, False])
@pytest.mark.parametrize("fault", ["checksum", "truncate", "drop", "garbage", "silence"])
def test_faults_of_the_line_give_no_wrong_value(fault, crc_there):
    if fault == "drop" and not crc_there:
        return  # without a checksum nothing can tell
    meter = P1Meter(crc=crc_there)
    meter.set_fault(fault, "once")
    items = heard(meter, 3.5, checked=crc_there)
    good = telegrams(items)
    assert len(good) == (3 if fault == "garbage" else 2)
    assert any(isinstance(item, Damaged) for item in items) or fault == "silence"
    assert {readings(telegram)[0].registers["1-0:1.7.0*255"].value for telegram in good} == {500}
