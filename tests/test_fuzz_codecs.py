# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzzers find nothing in the decoders of meters and of boiler plants, and every one of these is fuzzed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = {"meter": "fuzz_meters", "boiler": "fuzz_boiler"}
SHARED = {"meter": {"modbus_framing"}, "boiler": set()}


@pytest.fixture(scope="module", params=SCRIPTS)
def package(request):
    return request.param


@pytest.fixture(scope="module")
def fuzz(package):
    name = SCRIPTS[package]
    spec = importlib.util.spec_from_file_location(name, ROOT / "fuzz" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_protocol_is_fuzzed(fuzz, package):
    protocols = ROOT / "rockit" / package / "protocols"
    with_decoder = {path.stem for path in protocols.glob("*.py") if "\nclass Decoder" in path.read_text()}
    assert {name.partition(".")[0] for name in fuzz.decoders()} == with_decoder | SHARED[package]
    assert with_decoder <= set(fuzz.SEEDS)


def test_a_few_hundred_runs_find_nothing_and_do_reach_whole_frames(fuzz):
    believed = fuzz.run(300, seed=20260101)
    assert believed
    assert all(frames > 5 for frames in believed.values()), believed


def test_it_runs_as_a_script(package):
    script = ROOT / "fuzz" / f"{SCRIPTS[package]}.py"
    done = subprocess.run([sys.executable, script, "--runs", "20"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
