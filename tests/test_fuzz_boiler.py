# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzzer finds nothing in the decoders of a boiler plant, and every one of them is fuzzed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "fuzz" / "fuzz_boiler.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_boiler", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_protocol_of_a_plant_is_fuzzed(fuzz):
    protocols = SCRIPT.parent.parent / "rockit" / "boiler" / "protocols"
    with_decoder = {path.stem for path in protocols.glob("*.py") if "\nclass Decoder" in path.read_text()}
    assert {name.partition(".")[0] for name in fuzz.decoders()} == with_decoder
    assert with_decoder <= set(fuzz.SEEDS)


def test_a_few_hundred_runs_find_nothing_and_do_reach_whole_frames(fuzz):
    believed = fuzz.run(300, seed=20260101)
    assert believed
    assert all(frames > 5 for frames in believed.values()), believed


def test_it_runs_as_a_script():
    done = subprocess.run([sys.executable, SCRIPT, "--runs", "20"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
