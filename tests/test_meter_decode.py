# SPDX-License-Identifier: GPL-3.0-or-later
"""`meter decode`: telegrams in files, for people and for programs; whatever the file, and exactly."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from metersite import meter
from smlmeters import CAPTURES, constructed, dzg, edl21, file, holley, needs_captures, register, truth

from rockit.meter.cli import group
from rockit.meter.protocols import obis
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.simulators.d0 import D0Meter
from rockit.meter.simulators.p1 import P1Meter


def decode(path: Path | str, *arguments: str, given: bytes | None = None) -> list[dict[str, Any]]:
    """The lines of `meter decode --json`; numbers with a point as exact decimals."""
    done = CliRunner().invoke(group, ["decode", str(path), "--json", *arguments], input=given)
    assert done.exit_code == 0, done.output
    return [json.loads(line, parse_float=Decimal) for line in done.stdout.splitlines()]


def written(folder: Path, data: bytes) -> Path:
    path = folder / "capture"
    path.write_bytes(data)
    return path


EDL21 = {
    "129-129:199.130.3*255": {"value": "454d48", "unit": None, "status": None, "exponent": None},
    "1-0:0.0.9*255": {"value": "06454d48010203040506", "unit": None, "status": None, "exponent": None},
    "1-0:1.8.0*255": {"value": Decimal("13312484.9"), "unit": "Wh", "status": 0x182, "exponent": -1},
    "1-0:1.8.1*255": {"value": Decimal("13312484.9"), "unit": "Wh", "status": None, "exponent": -1},
    "1-0:1.8.2*255": {"value": Decimal("0.0"), "unit": "Wh", "status": None, "exponent": -1},
    "1-0:15.7.0*255": {"value": Decimal("139.4"), "unit": "W", "status": None, "exponent": -1},
    "129-129:199.130.5*255": {"value": bytes(range(48)).hex(), "unit": None, "status": None, "exponent": None},
}  # fmt: skip


def test_sml_as_programs_read_it(tmp_path: Path) -> None:
    first = edl21()
    lines = decode(written(tmp_path, b"\x00\x01" + first + b"\xff" + edl21(n=8)))
    assert [line.get("offset") for line in lines] == [2, 3 + len(first), None]
    assert lines[0] == {"offset": 2, "server_id": "06454d48010203040506", "values": EDL21}
    assert lines[2] == {"summary": {"frames": 2, "crc_errors": 0, "lists": 2, "bytes_skipped": 3}}


def spaced(data: bytes) -> bytes:
    text = data.hex(" ").upper()
    return "\r\n".join(text[at : at + 48] for at in range(0, len(text), 48)).encode()


@pytest.mark.parametrize("form", [bytes.hex, spaced, lambda data: data.hex() + "\n"])
def test_a_capture_may_be_written_in_hex(tmp_path: Path, form: Any) -> None:
    text = form(edl21())
    lines = decode(written(tmp_path, text if isinstance(text, bytes) else text.encode()))
    assert lines[0]["values"] == EDL21
    assert len(lines) == 2


def test_a_capture_may_come_in_by_a_pipe() -> None:
    done = meter("decode", "-", "--json", given=holley())
    assert (done.returncode, done.stderr) == (0, b"")
    first, last = done.stdout.splitlines()
    assert json.loads(first)["values"]["1-0:16.7.0*255"] == {"value": -460, "unit": "W", "status": None, "exponent": 0}
    assert json.loads(last)["summary"]["lists"] == 1
    assert b'"value":177360.1,' in first, "with all its digits, and no more"
    for_people = meter("decode", "-", given=spaced(holley()))
    assert for_people.returncode == 0
    assert "-460 W" in for_people.stdout.decode()


@pytest.mark.parametrize(
    ("value", "scaler", "text"),
    [
        (enc.unsigned(2**64 - 1), 0, "18446744073709551615"),
        (enc.signed(-(2**63)), -3, "-9223372036854775.808"),
        (enc.signed(5), 3, "5000"),
        (enc.signed(-7), -12, "-0.000000000007"),
        (enc.unsigned(123456789012345678), -1, "12345678901234567.8"),
    ],
)
def test_values_are_exact(tmp_path: Path, value: bytes, scaler: int, text: str) -> None:
    body = enc.list_body([register("1-0:77.7.7*255", value, 30, scaler)], server_id=b"\x01\x02")
    done = CliRunner().invoke(group, ["decode", str(written(tmp_path, file([body]))), "--json"])
    (entry,) = json.loads(done.stdout.splitlines()[0], parse_float=Decimal, parse_int=Decimal)["values"].values()
    assert entry["value"] == Decimal(text)
    assert entry["exponent"] == scaler


def test_a_damaged_telegram_is_counted_and_what_was_saved_of_it_is_marked(tmp_path: Path) -> None:
    whole = dzg()
    data = bytearray(whole)
    data[len(data) // 2] ^= 0x10
    lines = decode(written(tmp_path, bytes(data) + whole))
    assert lines[-1]["summary"]["crc_errors"] == 1
    assert lines[-1]["summary"]["frames"] == 2
    assert [line.get("salvaged", False) for line in lines[:-1]] == [False]
    spoilt = whole[:-1] + bytes([whole[-1] ^ 1])
    saved, last = decode(written(tmp_path, spoilt))
    assert saved["salvaged"] is True
    assert saved["values"]["1-0:1.8.0*255"]["value"] == Decimal("5430157.7")
    assert last["summary"]["crc_errors"] == 1
    shown = CliRunner().invoke(group, ["decode", str(tmp_path / "capture")]).stdout
    assert "saved from a damaged telegram" in shown


def test_p1_and_d0_are_recognised(tmp_path: Path) -> None:
    telegram = P1Meter(now=0.0).telegram()
    lines = decode(written(tmp_path, b"junk" + telegram + telegram))
    assert [line.get("offset") for line in lines[:2]] == [4, 4 + len(telegram)]
    assert lines[0]["server_id"] == "E0012345678901234"
    first = lines[0]["values"]["1-0:1.8.1*255"]
    assert (first["value"], first["unit"], first["status"]) == (4321000, "Wh", None)
    assert lines[0]["values"]["0-1:24.2.1*255"]["value"] == Decimal("987.654")
    assert lines[-1] == {"summary": {"frames": 2, "crc_errors": 0, "lists": 2, "bytes_skipped": 4}}
    d0 = D0Meter(now=0.0, push=True)
    block = d0._identification() + d0._block()
    lines = decode(written(tmp_path, block))
    assert lines[0]["server_id"] == "1SIM0012345678"
    assert lines[0]["values"]["1-0:1.8.0*255"]["value"] == 1234500
    assert lines[-1]["summary"]["lists"] == 1
    assert lines[-1]["summary"]["crc_errors"] == 0


def test_a_damaged_p1_or_d0_telegram_is_counted(tmp_path: Path) -> None:
    telegram = P1Meter(now=0.0).telegram()
    d0 = D0Meter(now=0.0, push=True)
    for data in (telegram.replace(b"500", b"501", 1), d0._identification() + d0._block().replace(b"F.F", b"F.E")):
        (last,) = decode(written(tmp_path, data))
        assert last["summary"]["lists"] == 0
        assert last["summary"]["crc_errors"] == 1
        assert last["summary"]["bytes_skipped"] > 100


@pytest.mark.parametrize("protocol", [None, "sml", "d0", "p1"])
@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 3000, bytes(range(256)) * 20, b"/XYZ\r\n!\r\n", b"ab c", b"\x1b" * 999]
)
def test_garbage_is_a_summary_and_exit_0(tmp_path: Path, protocol: str | None, data: bytes) -> None:
    lines = decode(written(tmp_path, data), *(["--protocol", protocol] if protocol else []))
    summary = lines[-1]["summary"]
    assert set(summary) == {"frames", "crc_errors", "lists", "bytes_skipped"}
    assert summary["crc_errors"] <= summary["frames"]
    shown = CliRunner().invoke(group, ["decode", str(tmp_path / "capture")])
    assert shown.exit_code == 0


_pieces = st.one_of(st.binary(max_size=60), st.sampled_from([edl21(), holley(), dzg(), b"/ABC5X\r\n\x02", b"!"]))


@settings(max_examples=60, deadline=None)
@given(st.lists(_pieces), st.sampled_from(["sml", "d0", "p1"]), st.integers(0, 400))
def test_whatever_is_in_a_file_is_decoded_without_an_error(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], protocol: str, cut: int
) -> None:
    path = written(tmp_path_factory.getbasetemp(), b"".join(pieces)[cut:])
    lines = decode(path, "--protocol", protocol)
    assert "summary" in lines[-1]
    assert CliRunner().invoke(group, ["decode", str(path), "--protocol", protocol]).exit_code == 0


# --- the captures


def as_truth(values: dict[str, Any]) -> dict[str, Any]:
    return {
        code: (float(one["value"]) if isinstance(one["value"], Decimal) else one["value"], one["unit"], one["status"],
               one["exponent"])
        for code, one in values.items()
    }  # fmt: skip


@needs_captures
@pytest.mark.parametrize("name", sorted(truth()))
def test_captures_are_decoded_to_their_truth(name: str) -> None:
    known = truth()[name]
    *lines, last = decode(CAPTURES / name)
    found = [as_truth(line["values"]) for line in lines if not line.get("salvaged")]
    assert found == [
        {
            code: (one["value"], obis.unit(one["unit"]) or None, one["status"], one["scaler"])
            for code, one in each.items()
        }
        for each in known["lists"]
    ]
    summary = last["summary"]
    assert summary["frames"] - summary["crc_errors"] == known["crc_ok"]
    assert summary["lists"] == len(lines)


@needs_captures
@pytest.mark.parametrize("case", constructed(), ids=lambda case: case["name"])
def test_constructed_streams_are_decoded(case: dict[str, Any], tmp_path: Path) -> None:
    for data in (bytes.fromhex(case["hex"]), case["hex"].encode()):
        *lines, last = decode(written(tmp_path, data))
        assert len([line for line in lines if not line.get("salvaged")]) == case["lists"]
        assert last["summary"]["lists"] == len(lines)
