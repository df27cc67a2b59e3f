# SPDX-License-Identifier: GPL-3.0-or-later
"""What a type checker knows of a script that uses the phone book."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = """
from rockit.common import daemons

with daemons.clasp_chiller.connect() as chiller:
    reveal_type(chiller.report_status()["water_temp"])  # 1
    reveal_type(chiller.report_status()["alarms"])  # 2
    reveal_type(chiller.set_setpoint(12.5))  # 3
    reveal_type(chiller.last_measurement())  # 4
    chiller.report_status()["water_tmp"]  # wrong key
    chiller.set_setpiont(12.5)  # wrong method
    chiller.set_setpoint("cold")  # wrong argument
    chiller.set_enabled()  # missing argument
    temperature: str = chiller.report_status()["water_temp"]  # wrong type
with daemons.clasp_power.connect() as power:
    power.switch("cmos", True)
    reveal_type(power.report_status())  # 5
reveal_type(daemons.clasp_chiller.uri)  # 6
daemons.clasp_chiller.ulr  # wrong attribute
"""


def test_a_script_is_checked_key_by_key_and_method_by_method(tmp_path: Path) -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed; it comes with the extra `lint`")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--explicit-package-bases", "--namespace-packages",
         "--ignore-missing-imports", "--no-error-summary", "--hide-error-context", str(script)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = SCRIPT.splitlines()
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        path, number, kind, text = line.split(":", 3)
        assert Path(path).name == "script.py", done.stdout
        mark = lines[int(number) - 1].partition("  # ")[2]
        assert mark, f"not expected: {line}"
        assert mark not in found or "note" in kind
        found.setdefault(mark, text.strip().replace("builtins.", ""))
    assert done.stderr == ""
    assert {key: text for key, text in found.items() if key.isdigit()} == {
        "1": 'Revealed type is "float"',
        "2": 'Revealed type is "list[str]"',
        "3": 'Revealed type is "int"',
        "4": 'Revealed type is "dict[str, Any]"',
        "5": 'Revealed type is "Any"',
        "6": 'Revealed type is "str"',
    }
    assert 'has no key "water_tmp"' in found["wrong key"]
    assert 'has no attribute "set_setpiont"' in found["wrong method"]
    assert 'incompatible type "str"; expected "float"' in found["wrong argument"]
    assert "Missing positional argument" in found["missing argument"]
    assert 'expression has type "float", variable has type "str"' in found["wrong type"]
    assert 'has no attribute "ulr"' in found["wrong attribute"]
