# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of three hosts does what it says, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from harness import ROOT, wait_for

EXAMPLE = ROOT / "examples" / "three_hosts.py"


def environment(folder: Path, seconds: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "EXAMPLE_SECONDS": seconds}


def left_behind(folder: Path, pid: int) -> list[str]:
    """Files, processes and namespaces of an example that ran there."""
    found = [str(path) for path in folder.iterdir() if path.name.startswith("rockit-")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{folder}/rockit-" in words:
                found.append(words)
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if ip is not None:
        names = subprocess.run([ip, "netns", "list"], capture_output=True, text=True, check=False).stdout
        found += [name for name in names.split() if name.startswith(f"rockit-{pid}-")]
    return found


@pytest.mark.parametrize("options", [[], ["--processes"]])
def test_everything_is_there_after_the_central_host_was_cut_off(tmp_path: Path, options: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), *options], env=environment(tmp_path, "3"), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        told = process.stdout.read()
        assert process.wait() == 0, told
    lines = told.splitlines()
    if options:
        assert lines[0] == "three hosts, as processes on this machine"
    order = ["both forward to the central host", "the central host is cut off", "it is back"]
    assert [line for line in lines if line in order] == order
    table = [line.split() for line in lines if line.startswith(("dome_chiller", "plant_chiller"))]
    assert [row[0] for row in table] == ["dome_chiller", "plant_chiller"]
    for _, recorded, meanwhile, central in table:
        assert int(recorded) == int(central) > int(meanwhile) > 0
    assert "every sample is there, with its time, value and quality" in lines
    assert left_behind(tmp_path, process.pid) == []


def test_one_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with (
        open(output, "wb") as stream,
        subprocess.Popen([sys.executable, str(EXAMPLE)], env=environment(tmp_path, "600"), stdout=stream) as process,
    ):
        wait_for(lambda: "both forward" in output.read_text(), "the three hosts")
        assert left_behind(tmp_path, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 1, "it did not come to its end"
    assert left_behind(tmp_path, process.pid) == []
    assert output.read_text().endswith("example: stopped, nothing left behind\n")


@pytest.mark.parametrize(("options", "seconds"), [(["--help"], "3"), ([], "soon")])
def test_what_it_does_not_understand(tmp_path: Path, options: list[str], seconds: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *options],
        env=environment(tmp_path, seconds),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 64
    assert "EXAMPLE_SECONDS is a number of seconds; the only option is --processes" in done.stdout
