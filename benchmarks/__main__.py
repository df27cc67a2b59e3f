# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the benchmarks, prints each figure beside its promise; exit 1 when one is missed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from benchmarks import at_rest, boiler, cli_start, end, history, hung_port, sml
from benchmarks.report import Figure

ALL = {
    "cli_start": cli_start.run,
    "at_rest": at_rest.run,
    "hung_port": hung_port.run,
    "end": end.run,
    "history": history.run,
    "sml": sml.run,
    "boiler": boiler.run,
}


def main(names: list[str]) -> int:
    figures: list[Figure] = []
    for name in names or ALL:
        with tempfile.TemporaryDirectory(prefix="rockit-bench-") as folder:
            for figure in ALL[name](Path(folder)):
                print(f"{name:<10} {figure}", flush=True)
                figures.append(figure)
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
