# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures; what they are made of stands in harness.py, which the benchmarks use as well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PATIENCE, ROOT, Process, Site, free_ports, wait_for
from histories import postgresql_database
from served import Plant, Served, serving

__all__ = ["PATIENCE", "ROOT", "Process", "Site", "free_ports", "wait_for"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    made = Site(tmp_path)
    monkeypatch.setenv("ROCKIT_DAEMONS_PATH", str(made.registry))
    made.write_config()
    yield made
    for process in reversed(made.processes):
        process.stop()


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
def served(plant: Plant) -> Iterator[Served]:
    with serving(plant) as running:
        yield running


@pytest.fixture
def postgresql() -> Iterator[str]:
    with postgresql_database() as url:
        yield url
