# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/history.md says of backups is so."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

from harness import ROOT

from rockit.history.model import Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

PAGE = (ROOT / "docs" / "history.md").read_text()
WATER = Series("clasp", "clasp_chiller", "water_temp", "degC")


def samples(path: Path) -> Samples:
    with Store(f"sqlite:///{path}") as store, Reader(store.database).view() as view:
        [number] = view.series()
        return view.samples(number, 0, 10**9)


def test_a_backup_of_a_file_that_is_written_is_whole(tmp_path: Path) -> None:
    [command] = re.findall(r"^    sqlite3 history\.sqlite \"(VACUUM INTO '.*')\"$", PAGE, re.MULTILINE)
    path = tmp_path / "history.sqlite"
    expected = Samples([1000 * n for n in range(1000)], [float(n) for n in range(1000)])
    with Store(f"sqlite:///{path}") as store:
        store.merge(WATER, expected)
        shutil.copy(path, tmp_path / "plain.sqlite")
        connection = sqlite3.connect(path)
        connection.execute(command.replace("/backup/history.sqlite", str(tmp_path / "copy.sqlite")))
        connection.close()
    copied = samples(tmp_path / "copy.sqlite")
    assert (copied.times, copied.values) == (expected.times, expected.values)
    with sqlite3.connect(tmp_path / "plain.sqlite") as plain:
        tables = [name for (name,) in plain.execute("SELECT name FROM sqlite_master")]
        assert "series" not in tables or plain.execute("SELECT count(*) FROM series").fetchone() == (0,), (
            "what is in -wal only"
        )
