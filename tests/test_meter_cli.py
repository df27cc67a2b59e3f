# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line `meter`: energies, alignment, telegrams in files, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from harness import ROOT, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from metersite import MeterSite, site_in
from smlmeters import CAPTURES, constructed, dzg, edl21, file, holley, needs_captures, register, truth

from rockit.meter.cli import group
from rockit.meter.energytable import energy_lines
from rockit.meter.protocols import obis
from rockit.meter.protocols import sml_encode as enc
from rockit.meter.simulators.d0 import D0Meter
from rockit.meter.simulators.p1 import P1Meter

VERBS = {
    "status", "json", "watch", "alarms", "acknowledge", "shelve", "describe", "counters", "completion", "history",
    "export", "energy", "decode", "set-reading", "replace",
}  # fmt: skip


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeterSite]:
    """A house with 36 kW and prices; tests leave it so, but for the reading of its pulses."""
    with site_in(tmp_path_factory.mktemp("plant")) as made:
        made.write_meters(
            {
                "house": {"driver": "sml", "port": made.head("house", "sml", "--speed 5", "power=360000")},
                "heat": {"driver": "s0", "port": made.pulses("edges", 20), "impulses_per_kwh": 1000},
            },
            tariffs=[{"from": "2026-01-01", "import": 0.5}, {"from": "2100-01-01", "import": 9}],
            currency="CHF",
        )
        made.meterd()
        wait_for(lambda: made.of("heat").get("import_energy") == 20, "the pulses")
        wait_for(lambda: imported(made) > 1000, "some energy")
        yield made


def imported(site: MeterSite) -> float:
    with site.client() as client:
        found = client.call("energy", "house", "hour", "2h", None)
    return float(sum(row.get("import_energy", 0) for row in found["periods"]))


def meter(*arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run `meter …` where there is neither config nor daemon."""
    environment = {**os.environ, "METERD_CONFIG_PATH": "/nonexistent", "ROCKIT_DAEMONS_PATH": "/nonexistent"}
    command = [sys.executable, str(ROOT / "meter"), *arguments]
    return subprocess.run(command, env=environment, input=given, capture_output=True, timeout=60)


# --- verbs, help, exit codes


def test_all_promised_verbs_are_there() -> None:
    assert set(group.list_commands(click.Context(group))) == VERBS


@pytest.mark.parametrize("verb", ["", *sorted(VERBS)])
def test_help_needs_no_config_and_no_daemon(verb: str) -> None:
    shown = meter(*([verb] if verb else []), "--help")
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert shown.stdout.decode().startswith(f"Usage: meter {verb}".rstrip())


@pytest.mark.parametrize(
    "arguments",
    [("status",), ("json",), ("energy", "house"), ("set-reading", "house", "1.8.0", "5kWh"), ("replace", "house")],
)
def test_without_a_daemon_the_exit_code_is_155(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with site_in(tmp_path) as site:
        site.write_meters({"house": {"driver": "sml", "port": "/dev/null"}})
        done = site.meter(*arguments)
    assert done.returncode == 155
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "localhost_test" in done.stderr


def test_without_a_config_the_exit_code_is_78() -> None:
    assert meter("status").returncode == 78


# --- energy


def test_energy_is_a_table_for_people(plant: MeterSite) -> None:
    done = plant.meter("energy", "house", "--by", "hour", "--since", "2h")
    assert (done.returncode, done.stderr) == (0, "")
    head, titles, *rows = done.stdout.splitlines()
    assert head == "house, kWh by hour (Europe/Berlin)"
    assert titles.split() == ["import", "export", "balance", "CHF"]
    assert any("█" in row for row in rows)
    assert "not all of it" in rows[-1] or "no data" in rows[-1], "this hour has not ended"


def energy(plant: MeterSite, *arguments: str) -> dict[str, Any]:
    done = plant.meter("energy", "house", "--json", *(arguments or ("--by", "hour", "--since", "2h")))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("by", ["hour", "day", "week", "month", "year"])
def test_energy_by_each_period_tells_the_same_for_programs(plant: MeterSite, by: str) -> None:
    found = energy(plant, "--by", by)
    assert (found["meter"], found["by"], found["unit"], found["currency"]) == ("house", by, "Wh", "CHF")
    assert found["time_zone"] == "Europe/Berlin"
    for row in found["periods"]:
        assert row["start"].endswith("Z")
        assert row["start"] < row["end"]
    assert found["periods"][-1]["complete"] is False, "it has not ended"
    most = max(found["periods"], key=lambda row: row.get("import_energy", 0.0))  # another one may have begun just now
    assert most["import_energy"] > 0
    assert most["balance"] == pytest.approx(most["import_energy"] - most["export_energy"])
    assert most["cost"] == pytest.approx(most["import_energy"] / 1000 * 0.5, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("energy", "attic"), 11, "there is no meter 'attic'; there are: house, heat"),
        (("energy", "house", "--by", "minute"), 64, "minute"),
        (("energy", "house", "--since", "yesterday"), 11, "yesterday"),
        (("energy", "house", "--since", "2026-13"), 11, "2026-13"),
        (("energy", "house", "--since", "2099"), 11, "start before now"),
        (("set-reading", "heat", "import_energy", "12345.6"), 64, "12345.6kWh or 12345.6Wh"),
        (("set-reading", "heat", "import_energy", "much"), 64, "no reading"),
        (("set-reading", "heat", "import_energy", "12,5kWh"), 64, "no reading"),
        (("set-reading", "heat", "import_energy", "5m3"), 64, "no reading"),
        (("set-reading", "heat", "import_energy"), 64, "VALUE"),
        (("set-reading", "heat", "9.9.9", "5kWh"), 11, "import_energy"),
        (("set-reading", "heat", "power", "5kWh"), 11, "is no counter of heat"),
        (("set-reading", "attic", "import_energy", "5kWh"), 11, "attic"),
        (("set-reading", "heat", "import_energy", "9999999999999kWh"), 11, "1e15 Wh"),
        (("replace", "house", "--final", "import_energy"), 64, "REGISTER=VALUE"),
        (("replace", "house", "--final", "import_energy=5"), 64, "5kWh or 5Wh"),
        (("replace", "house", "--first", "nothing=5kWh"), 11, "is no counter of house"),
        (("replace", "attic"), 11, "attic"),
        (("acknowledge", "nothing"), 1, "nothing"),
        (("decode", "/nonexistent/file"), 64, "/nonexistent/file"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(plant: MeterSite, arguments: tuple[str, ...], code: int, text: str) -> None:
    done = plant.meter(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("value", "shown"), [("1.5kWh", 1500), ("1500.25Wh", 1500.25), ("2 MWh", 2_000_000), ("12345.6789kWh", 12345678.9)]
)
def test_a_reading_is_set_exactly_as_it_was_given(plant: MeterSite, value: str, shown: float) -> None:
    done = plant.meter("set-reading", "heat", "import_energy", value)
    assert (done.returncode, done.stderr) == (0, "")
    assert plant.of("heat")["import_energy"] == shown


HOUR = "2026-11-21T{:02}:00:00Z"


def told(rows: list[dict[str, Any]], **more: Any) -> list[str]:
    periods = [
        {"start": HOUR.format(n), "end": HOUR.format(n + 1), "complete": True, **row} for n, row in enumerate(rows)
    ]
    found = {
        "meter": "house", "by": "hour", "time_zone": "UTC", "currency": "EUR", "periods": periods, "gaps": [],
        "falls": 0, **more,
    }  # fmt: skip
    return [click.unstyle(line) for line in energy_lines(found)]


def test_bars_are_as_long_as_what_flowed() -> None:
    lines = told([{"import_energy": 1000.0}, {"import_energy": 500.0}, {"import_energy": 0.0}])
    assert [line.count("█") for line in lines[2:]] == [24, 12, 0]
    assert lines[2].startswith("2026-11-21 00:00       1.000  █")
    assert lines[4] == "2026-11-21 02:00       0.000"


def test_a_long_silence_is_one_line_and_a_short_one_is_shown() -> None:
    lines = told([{"import_energy": 1.0}, *[{"complete": False}] * 9, {"import_energy": 2.0}])
    assert len(lines) == 5
    assert lines[3].strip() == "no data for 9 hours"
    lines = told([{"import_energy": 1.0}, *[{"complete": False}] * 3, {"import_energy": 2.0}])
    assert len(lines) == 7
    assert [line.split()[-2:] for line in lines[3:6]] == [["no", "data"]] * 3


def test_a_gap_is_told_and_not_drawn() -> None:
    gap = {"start": HOUR.format(1), "end": HOUR.format(5), "register": "import_energy", "energy": 25_000.0}
    lines = told([{"import_energy": 1000.0}, {"import_energy": 10.0, "complete": False}], gaps=[gap])
    assert lines[3].endswith("not all of it")
    assert lines[-1] == (
        "gap: 25.000 kWh (import energy) flowed between 2026-11-21 01:00 and 2026-11-21 05:00, and in no line above"
    )


def test_falls_that_nobody_explained_are_told() -> None:
    assert "`meter replace`" in told([{"import_energy": 1.0}], falls=2)[-1]


def test_a_meter_of_which_nothing_is_known() -> None:
    assert told([{"complete": False}]) == ["Nothing is known of the energy of house in this time."]


def test_what_has_no_cost_has_a_dash() -> None:
    lines = told([{"import_energy": 1000.0, "cost": 0.5}, {"import_energy": 1000.0}])
    assert lines[1].split() == ["import", "EUR"]
    assert lines[2].split()[2:4] == ["1.000", "0.50"]
    assert lines[3].split()[2:4] == ["1.000", "-"]


# --- telegrams in files


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
