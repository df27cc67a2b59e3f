# SPDX-License-Identifier: GPL-3.0-or-later
"""Register maps: what a file may say, how it is read in few blocks, and exact values out of documented images."""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rockit.common.errors import ConfigError
from rockit.meter import registermap
from rockit.meter.registermap import Block, blocks_of, decode, load, plan, shortest, value_of

CANONICAL = {
    "power", "voltage", "current", "frequency", "power_factor", "apparent_power", "reactive_power", "import_energy",
    "export_energy", "total_energy", "import_power", "export_power",
}  # fmt: skip


def words(hexadecimal):
    data = bytes.fromhex(hexadecimal)
    return struct.unpack(f">{len(data) // 2}H", data)


def image(registers, cells):
    """What a meter answers whose registers hold `cells` (address -> hex), all others 0."""
    held = {}
    for address, text in cells.items():
        held.update({address + n: word for n, word in enumerate(words(text))})
    return {
        block: tuple(held.get(block.address + n, 0) for n in range(block.count)) for block in blocks_of(registers)
    }  # fmt: skip


def values(name, cells):
    registers = load(name)
    return {key: register.value for key, register in decode(registers, image(registers, cells)).registers.items()}


# --- the packaged maps

# Map -> (registers as the meter's bytes, what they mean). Numbers by hand from the makers' formats and IEEE 754.
DOCUMENTED = {
    "sdm120": (
        {0x00: "43663333", 0x06: "3fa66666", 0x0C: "43958000", 0x46: "42480000", 0x48: "42f6e979", 0x1E: "3f733333"},
        {"voltage_l1": "230.2", "current_l1": "1.3", "power": "299", "frequency": "50", "power_factor": "0.95",
         "import_energy": "123456"},
    ),
    "sdm630": (
        {0x00: "4366199a", 0x02: "4366199a", 0x34: "c4fa0000", 0x10: "c42a0000", 0x46: "4247eb85", 0x48: "461c4000",
         0x4A: "3f800000", 0x15E: "42c80000", 0x164: "3dcccccd"},
        {"voltage_l1": "230.1", "voltage_l2": "230.1", "power": "-2000", "power_l3": "-680", "frequency": "49.98",
         "import_energy": "10000000", "export_energy": "1000", "import_energy_l3": "100000", "export_energy_l3": "100"},
    ),
    "em24-ethernet": (
        # int32, low word first: 2301 -> 230.1 V; -12345 -> -1234.5 W
        {0x00: "08fd0000", 0x0C: "03e80000", 0x28: "cfc7ffff", 0x33: "01f3", 0x34: "e2400001", 0x4E: "000a0000",
         0x31: "fc18"},
        {"voltage_l1": "230.1", "current_l1": "1", "power": "-1234.5", "frequency": "49.9", "import_energy": "12345600",
         "export_energy": "1000", "power_factor": "-1"},
    ),
    "em340": (
        {0x04: "08fd0000", 0x28: "30390000", 0x34: "e2400001", 0x40: "00070000"},
        {"voltage_l3": "230.1", "power": "1234.5", "import_energy": "12345600", "import_energy_l1": "700"},
    ),
    "em24": (
        {0x00: "08fd0000", 0x28: "30390000", 0x37: "01f4", 0x35: "03e8", 0x3E: "e2400001", 0x5C: "00050000"},
        {"voltage_l1": "230.1", "power": "1234.5", "frequency": "50", "power_factor": "1", "import_energy": "12345600",
         "export_energy": "500"},
    ),
    "abb-b23": (
        {0x5B00: "000008fd", 0x5B0C: "000003e8", 0x5B14: "fffe1dc0", 0x5B2C: "1387", 0x5B3A: "fc19",
         0x5000: "000000000012d687", 0x5004: "ffffffffffffffff", 0x5B02: "ffffffff", 0x5B16: "7fffffff"},
        {"voltage_l1": "230.1", "current_l1": "10", "power": "-1234.56", "frequency": "49.99", "power_factor": "-0.999",
         "import_energy": "12345670", "export_energy": None, "voltage_l2": None, "power_l1": None},
    ),
    "umg96": (
        {19000: "4366199a", 19012: "3fa00000", 19026: "449a5000", 19050: "42480000", 19068: "4b3c614e",
         19076: "43fa0000"},
        {"voltage_l1": "230.1", "current_l1": "1.25", "power": "1234.5", "frequency": "50", "import_energy": "12345678",
         "export_energy": "500"},
    ),
    "pm5xxx": (
        {2999: "40200000", 3027: "4366199a", 3059: "3f9e0419", 3109: "42480000", 3203: "000000000012d687",
         3207: "8000000000000000", 3053: "7fc00000"},
        {"current_l1": "2.5", "voltage_l1": "230.1", "power": "1234.5", "frequency": "50", "import_energy": "1234567",
         "export_energy": None, "power_l1": None},
    ),
    "iem3xxx": ({3059: "3f9e0419", 3203: "000000000012d687"}, {"power": "1234.5", "import_energy": "1234567"}),
    "dzg-dvh4013": (
        {0x00: "00003039", 0x04: "000059e2", 0x0A: "000004d2", 0x12: "0000c350", 0x4000: "00bc614e",
         0x4160: "00000007"},
        {"import_power": "1234.5", "export_power": "0", "voltage_l1": "230.1", "current_l1": "1.234", "frequency": "50",
         "import_energy": "12345678", "export_energy_l3": "7"},
    ),
}  # fmt: skip


def test_every_packaged_map_has_a_documented_image():
    assert set(DOCUMENTED) == set(registermap.packaged())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_images(name):
    cells, expected = DOCUMENTED[name]
    found = values(name, cells)
    assert {key: found[key] for key in expected} == {
        key: None if text is None else Decimal(text) for key, text in expected.items()
    }


@pytest.mark.parametrize("name", DOCUMENTED)
def test_packaged_maps_keep_the_conventions(name):
    registers = load(name)
    assert registers.title
    assert registers.source
    for key, spec in registers.registers.items():
        base = key[:-3] if key[-3:] in ("_l1", "_l2", "_l3") else key
        assert base in CANONICAL
        assert spec.counter == base.endswith("_energy")
        assert spec.label
        assert spec.counter or (spec.low is not None and spec.high is not None)
    for block in blocks_of(registers):
        assert block.count <= registers.longest_read


def test_wrong_application_of_an_em24_is_told():
    entry = load("em24-ethernet").identity[0]
    assert registermap.expectation(entry, 7) is None
    assert "0xA000" in registermap.expectation(entry, 3)


# --- a user's own


MINIMAL = """
title = "Mine"
source = "my manual"
function = 3
[registers.power]
address = 10
type = "int16"
scale = 0.1
unit = "W"
"""


def written(folder, text, name="mine.toml"):
    (folder / name).write_text(text)
    return name


def test_a_users_map_needs_few_lines(tmp_path):
    registers = load(written(tmp_path, MINIMAL), tmp_path)
    assert blocks_of(registers) == (Block(10, 1),)
    assert decode(registers, {Block(10, 1): (0xFFFF,)}).registers["power"].value == Decimal("-0.1")
    assert load(str(tmp_path / "mine.toml")) == registers


def test_a_map_by_name_may_stand_in_the_systems_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(registermap, "INSTALLED", tmp_path)
    written(tmp_path, MINIMAL)
    assert load("mine").title == load("mine.toml").title == "Mine"


@pytest.mark.parametrize(("name", "what"), [("sdm639", "sdm630"), ("no/such.toml", "beside the config")])
def test_a_map_that_is_not_there(name, what, tmp_path):
    with pytest.raises(ConfigError, match=what):
        load(name, tmp_path)


@pytest.mark.parametrize(("text", "what"), [("title = ", "not valid TOML"), ("\xff", "not valid TOML")])
def test_a_file_that_is_no_toml(tmp_path, text, what):
    with pytest.raises(ConfigError, match=what):
        load(written(tmp_path, text), tmp_path)


def test_every_error_at_once_and_with_its_key(tmp_path):
    text = """
    title = "Mine"
    function = 5
    gaps = 3
    [serial]
    parity = "X"
    [not_available]
    int31 = [1]
    [registers.Power]
    address = 70000
    type = "float"
    unit = "kW"
    """
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text), tmp_path)
    told = "\n".join(error.value.problems)
    for key in ("source", "function", "gaps", "serial.parity", "registers.Power.address", "registers.Power.type"):
        assert f"{key}: " in told
    assert "did you mean gap?" in told


def test_what_only_a_value_can_tell(tmp_path):
    text = """
    title = "Mine"
    source = "x"
    function = 3
    longest_read = 3
    [not_available]
    int31 = [1]
    [[identity]]
    name = "model"
    address = 65535
    type = "text"
    count = 3
    [[identity]]
    name = "mode"
    address = 1
    type = "uint16"
    expect = [7]
    [registers.Power]
    address = 65535
    type = "float32"
    unit = "kW"
    scale = "a lot"
    [registers.energy]
    address = 1
    type = "uint64"
    counter = true
    unit = "W"
    scale = 0
    low = 5
    high = "1e1"
    [registers.range]
    address = 1
    type = "uint16"
    low = 5
    high = 4
    """
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text), tmp_path)
    keys = [problem.partition(": ")[0] for problem in error.value.problems]
    assert keys == [
        "not_available.int31", "registers.Power", "registers.Power.address", "registers.Power.unit",
        "registers.Power.scale", "registers.energy.address", "registers.energy.counter", "registers.energy.scale",
        "registers.range.low", "identity[0].count", "identity[1].otherwise",
    ]  # fmt: skip


# --- few reads

spans = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 4)), min_size=1, max_size=40)


@settings(deadline=None)
@given(spans, st.integers(4, 125), st.integers(0, 30))
def test_reads_cover_all_and_keep_the_limits(wanted, longest, gap):
    blocks = plan(wanted, longest, gap)
    needed = {at + n for at, size in wanted for n in range(size)}
    for at, size in wanted:
        assert any(b.address <= at and at + size <= b.address + b.count for b in blocks)
    for block in blocks:
        assert 1 <= block.count <= longest
        run = 0
        for at in range(block.address, block.address + block.count):
            run = 0 if at in needed else run + 1
            assert run <= gap
        assert {block.address, block.address + block.count - 1} <= needed


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), unique=True, min_size=1, max_size=30))
def test_reads_are_few(addresses):
    assert len(plan([(at, 1) for at in addresses], 125, 124)) <= 3


def test_the_gap_that_may_be_read_over():
    assert plan([(0, 2), (4, 1)], 10, 2) == (Block(0, 5),)
    assert plan([(0, 2), (4, 1)], 10, 1) == (Block(0, 2), Block(4, 1))


def test_a_value_that_fits_into_no_read():
    with pytest.raises(ValueError, match=r"do not fit"):
        plan([(0, 4)], 3, 0)


# --- exact values


@settings(deadline=None)
@given(st.floats(width=32))
def test_a_float32_is_the_number_a_person_would_write(value):
    data = struct.pack(">f", value)
    found = shortest(data)
    if not math.isfinite(value):
        assert found is None
        return
    assert struct.pack(">f", float(found)) == data or value == 0
    digits = len(found.normalize().as_tuple().digits)
    assert digits <= 9
    if digits > 1:
        shorter = float(f"{value:.{digits - 1}g}")
        assume(abs(shorter) <= 3.4028234663852886e38)
        assert struct.pack(">f", shorter) != data


@pytest.mark.parametrize("text", ["230.1", "49.98", "0.1", "1234.567", "16777216", "0", "3.4028235E+38", "1E-45"])
def test_a_written_number_survives(text):
    assert shortest(struct.pack(">f", float(text))) == Decimal(text)


@pytest.mark.parametrize(
    ("kind", "hexadecimal", "word_order", "byte_order", "value"),
    [("uint16", "fffe", "big", "big", 65534), ("int16", "fffe", "big", "big", -2),
     ("int16", "feff", "big", "little", -2),
     ("uint32", "00010002", "big", "big", 65538), ("uint32", "00010002", "little", "big", 131073),
     ("int32", "fffeffff", "little", "big", -2), ("uint64", "ffffffffffffffff", "big", "big", 2**64 - 1),
     ("int64", "0001000000000000", "little", "big", 1), ("float32", "0000c348", "little", "big", Decimal(-200)),
     ("float64", "3fb999999999999a", "big", "big", Decimal("0.1")), ("float64", "7ff8000000000000", "big", "big", None),
     ("float32", "7f800000", "big", "big", None)],
)  # fmt: skip
def test_types_and_orders(kind, hexadecimal, word_order, byte_order, value):
    assert value_of(words(hexadecimal), kind, (), word_order, byte_order) == value


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(-12, 12))
def test_scaled_integers_are_exact(raw, exponent):
    scaled = registermap.times(raw, Decimal(10) ** exponent)
    assert Decimal(scaled).scaleb(-exponent, registermap._EXACT) == raw


def test_nothing_is_made_up(tmp_path):
    text = (
        MINIMAL + "not_available = [-32768]\nlow = -100\nhigh = 100\n[registers.other]\naddress = 90\ntype = 'uint16'\n"
    )
    registers = load(written(tmp_path, text), tmp_path)
    for word, value, implausible in (
        (0x8000, None, ()),
        (2000, None, ("power",)),
        (1000, 100, ()),
        (1001, None, ("power",)),
        (0xFC17, None, ("power",)),
    ):
        found = decode(registers, {Block(10, 1): (word,)})
        assert set(found.registers) == {"power"}  # the other block was not read
        assert (found.registers["power"].value, found.implausible) == (value, implausible)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_text(data):
    data += bytes(len(data) % 2)
    assert registermap.text_of(struct.unpack(f">{len(data) // 2}H", data)).isprintable()
    assert registermap.text_of(words("42323320 3131322d 31303000 5800")) == "B23 112-100"


def test_the_example_of_the_documentation(tmp_path):
    text = (Path(__file__).resolve().parents[1] / "docs" / "register-maps.md").read_text()
    registers = load(written(tmp_path, text.partition("```toml\n")[2].partition("```")[0]), tmp_path)
    found = decode(registers, image(registers, {0x10: "08fd", 0x20: "fffeffff", 0x30: "d6870012"})).registers
    assert {name: register.value for name, register in found.items()} == {
        "voltage_l1": Decimal("230.1"), "power": -2, "import_energy": 12345670
    }  # fmt: skip


def test_the_documentation_names_every_packaged_map_and_every_key():
    text = (Path(__file__).resolve().parents[1] / "docs" / "register-maps.md").read_text()
    keys = [*registermap.RegisterMap.__struct_fields__, *registermap.Spec.__struct_fields__]
    for name in [
        *registermap.packaged(),
        *registermap.Identity.__struct_fields__,
        *registermap.Serial.__struct_fields__,
    ]:
        assert f"`{name}`" in text
    for key in keys:
        assert f"`{key}`" in text or f"`[{key}]`" in text or f"`[{key}." in text or f"`[[{key}]]`" in text
