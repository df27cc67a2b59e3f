# SPDX-License-Identifier: GPL-3.0-or-later
"""What readings are made of SML telegrams, and what power they tell."""

from __future__ import annotations

from decimal import Decimal

import pytest
from smlmeters import CAPTURES, decoded, dzg, edl21, file, holley, needs_captures, register, whole

from rockit.common.framing import Damaged
from rockit.meter.drivers.sml import readings
from rockit.meter.model import Reading, Register
from rockit.meter.power import power
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.protocols.sml import Telegram, Time, TimeKind
from rockit.meter.protocols.sml_quirks import QUIRKS, Effect


def read(stream: bytes) -> Reading:
    return [reading for telegram in whole(decoded(stream)) for reading in readings(telegram)][-1]


def of(*registers: bytes, **more: bytes) -> Reading:
    return read(file([enc.list_body(registers, **more)]))


def test_a_reading():
    reading = read(edl21())
    assert reading.server_id == "06 45 4D 48 01 02 03 04 05 06"
    assert reading.seconds == 245817523
    assert reading.whole
    assert not reading.pin_locked
    assert reading.notes == {"manufacturer": "EMH"}
    assert list(reading.registers) == [
        "1-0:0.0.9*255", "1-0:1.8.0*255", "1-0:1.8.1*255", "1-0:1.8.2*255", "1-0:15.7.0*255",
    ]  # fmt: skip
    assert reading.registers["1-0:1.8.0*255"] == Register(
        Decimal("13312484.9"), "Wh", "Active energy import", counter=True, status=0x182
    )
    assert reading.registers["1-0:15.7.0*255"] == Register(Decimal("139.4"), "W", "Active power, absolute")
    assert reading.registers["1-0:0.0.9*255"].value == "06454d48010203040506"


def test_what_is_text_and_what_is_not():
    reading = read(holley())
    assert reading.notes == {"manufacturer": "HLY", "firmware": "1.02.007"}
    assert reading.seconds == 1347082
    odd = of(
        register("1-0:96.50.1*1", enc.octets(b"\xff\x00\x01"), None, None),
        register("1.8.0", enc.ABSENT, 30, -1),
        register("96.5.0", enc.boolean(True), None, None),
        register("16.7.0", enc.signed(7, 1), 27, None),
        register("0.9.1", enc.time(Time(TimeKind.TIMESTAMP, 1767225600)), None, None),
    )
    assert odd.notes == {}
    assert {code: each.value for code, each in odd.registers.items()} == {
        "1-0:96.50.1*1": "ff0001", "1-0:1.8.0*255": None, "1-0:96.5.0*255": True, "1-0:16.7.0*255": 7,
        "1-0:0.9.1*255": "2026-01-01T00:00:00Z",
    }  # fmt: skip


def test_values_of_dzg_are_corrected():
    assert power(read(dzg())) == Decimal("356.24")
    assert power(read(dzg(b"\x53\x86\xa8", 0x1C7904))) == Decimal("-310.64")


def test_a_saved_reading_is_marked():
    stream = edl21()[:-1] + b"\x00"
    (saved,) = [item for item in decoded(stream) if not isinstance(item, Damaged)]
    assert isinstance(saved, Telegram)
    assert [reading.whole for reading in readings(saved)] == [False]


@pytest.mark.parametrize(
    ("energies", "watts", "locked"),
    [((3,), None, True), ((3, 3), None, True), ((-1,), None, False), ((3, -1), None, False), ((3,), 27, False),
     ((), None, False)],
)  # fmt: skip
def test_a_meter_that_waits_for_its_pin(energies, watts, locked):
    registers = [register(f"1.8.{n}", enc.signed(2324, 2), 30, scaler) for n, scaler in enumerate(energies)]
    if watts:
        registers.append(register("16.7.0", enc.signed(5, 2), watts, 0))
    reading = of(*registers)
    assert reading.pin_locked is locked


def values(status: int | None = None, **watts: object) -> Reading:
    registers = {f"1-0:{code[1:].replace('_', '.')}*255": Register(value, "W") for code, value in watts.items()}
    return Reading({"1-0:1.8.0*255": Register(1, "Wh", status=status), **registers})


@pytest.mark.parametrize(
    ("reading", "watts"),
    [
        (values(_16_7_0=-5, _15_7_0=5, status=0x182), -5),
        (values(_16_7_0=5, status=0x1B0), 5),
        (values(_15_7_0=5, status=0x182), 5),
        (values(_15_7_0=Decimal("126.6"), status=0x1B0), Decimal("-126.6")),
        (values(_15_7_0=0, status=None), 0),
        (values(_15_7_0=5, status=None), None),
        (values(_15_7_0=5, status=0x1C0924), -5),
        (values(_15_7_0=5, status=0x1C0904), None),
        (values(_1_7_0=7), 7),
        (values(_1_7_0=0, _2_7_0=9), -9),
        (values(_2_7_0=9), -9),
        (values(_1_7_1=Decimal("-5632.1916"), status=0x82), Decimal("-5632.1916")),
        (values(_16_7_0=None, _1_7_0=3), 3),
        (values(_16_7_0="ff"), None),
        (values(_16_7_0=True), None),
        (values(), None),
    ],
)
def test_power(reading, watts):
    assert power(reading) == watts


def test_the_status_may_be_that_of_export():
    register_ = Register(4373, "Wh", status=0x101A2)
    assert power(Reading({"1-0:2.8.0*255": register_, "1-0:15.7.0*255": Register(8, "W")})) == -8


def test_every_quirk_names_its_source():
    assert len({quirk.name for quirk in QUIRKS}) == len(QUIRKS)
    for quirk in QUIRKS:
        assert quirk.source
        assert quirk.what
        assert quirk.effect is Effect.CORRECTION or quirk.correct is None


@needs_captures
@pytest.mark.parametrize(
    ("name", "watts", "server", "locked"),
    [
        ("DZG_DVS-7412.2_jmberg", "356.24", "1 DZG00 4208 2910", False),
        ("EMH-ED300L_consumption", "137.1", "06 45 4D 48 01 02 71 56 CD 45", False),
        ("EMH_eHZ361L5R", "-5632.1916", "1001185", False),
        ("HOLLEY_DTZ541-BDBA_without_PIN", None, "1 HLY02 0087 9590", True),
        ("ITRON_OpenWay-3.HZ_without_PIN", None, "1 ITR00 5504 6208", True),
        ("eBZ_DD3_DD32R06DTA-SMZ1", None, "1 EBZ01 0019 1547", True),
        ("ISKRA_MT175_D1A52-V22-K0t", "-4308", "06 49 53 4B 01 0E 1F 66 29 9A", False),
        ("EasyMeter_Q3A_A1064V1009", "810.26", "1 ESY11 6223 2997", False),
    ],
)
def test_captures(name, watts, server, locked):
    first = whole(decoded((CAPTURES / f"{name}.bin").read_bytes()))[0]
    (reading,) = readings(first)
    assert power(reading) == (None if watts is None else Decimal(watts))
    assert (reading.server_id, reading.pin_locked) == (server, locked)
