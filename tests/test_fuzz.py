# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuzzer finds nothing in our decoders, and would find something in bad ones."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from rockit.common.framing import Damage, Damaged

SCRIPT = Path(__file__).parent.parent / "fuzz" / "fuzz_thermotek.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_thermotek", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_chiller_protocol_is_fuzzed(fuzz):
    protocols = SCRIPT.parent.parent / "rockit" / "chiller" / "protocols"
    with_decoder = {path.stem for path in protocols.glob("*.py") if "\nclass Decoder" in path.read_text()}
    assert {name.partition(".")[0] for name in fuzz.decoders()} == with_decoder
    assert {"thermotek.Decoder", "thermotek.CommandDecoder", "t255p.Decoder", "t255p.CommandDecoder"} <= set(
        fuzz.decoders()
    )


def test_a_few_thousand_runs_find_nothing_and_do_reach_whole_frames(fuzz):
    believed = fuzz.run(1500, seed=20260101)
    assert believed
    assert all(frames > 100 for frames in believed.values()), believed


def test_it_runs_as_a_script():
    done = subprocess.run([sys.executable, SCRIPT, "--runs", "50"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class Honest:
    """A decoder of lines, right as it is; the faulty ones below differ in one thing each."""

    def __init__(self):
        self.held = b""

    def feed(self, data):
        *lines, self.held = (self.held + data).split(b"\r")
        return lines

    def flush(self):
        held, self.held = self.held, b""
        return [Damaged(Damage.TRUNCATED, held)] if held else []


class Raises(Honest):
    def feed(self, data):
        return [int(line) for line in super().feed(data)]


class DependsOnSplits(Honest):
    def feed(self, data):
        *lines, self.held = data.split(b"\r")
        return lines


class KeepsAfterFlush(Honest):
    def flush(self):
        return [Damaged(Damage.TRUNCATED, self.held)] if self.held else []


class Invents(Honest):
    def flush(self):
        return [Damaged(damaged.kind, damaged.data * 2) for damaged in super().flush()]


class Boundless(Honest):
    def feed(self, data):
        self.held += data
        return []


def test_a_right_decoder_passes(fuzz):
    # It holds any amount, so its inputs are kept short here.
    for data in (b"", b"abc", b"a\rb\rc"):
        fuzz.check("honest", Honest, data, [1])


@pytest.mark.parametrize("bad", [Raises, DependsOnSplits, KeepsAfterFlush, Invents, Boundless])
def test_a_bad_decoder_is_found(fuzz, bad):
    with pytest.raises(fuzz.BrokenPromiseError):
        fuzz.run(3000, seed=1, factories={"thermotek.Bad": bad})
