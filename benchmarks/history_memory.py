# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history adds to the memory of a daemon: run with a URL, prints MB (1e6 bytes) of resident memory."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

POLLS = 1000
_open: list[object] = []
"""Stays open, as it does in a daemon."""


def main(url: str) -> None:
    history = ModuleType("rockit.history.keeping")
    history.__dict__["history"] = None  # all that the daemon takes from it
    sys.modules[history.__name__] = history
    import_module("rockit.chiller.daemon")
    import_module("rockit.common.remote.server")
    assert "sqlalchemy" not in sys.modules
    before = _resident()
    del sys.modules[history.__name__]
    import_module(history.__name__)
    _in_a_thread(lambda: _record(url))
    recorded = _resident()
    _in_a_thread(lambda: _ask(url))
    print(before, recorded - before, _resident() - before)


def _record(url: str) -> None:
    from benchmarks import history_load as load
    from rockit.history.model import Series
    from rockit.history.store import Store

    store = Store(url, lambda: load.NOW + 1)
    _open.append(store)
    device = store.device_id(load.SITE, "one_more")
    ids = [store.series_id(Series(load.SITE, "one_more", f"value_{number}")) for number in range(10)]
    for poll in range(POLLS):
        moment = load.NOW + poll * load.POLL
        store.record(device, [(number, moment, poll / 10 + number, 0) for number in ids], post=True)


def _ask(url: str) -> None:
    from benchmarks import history_load as load
    from rockit.history.answer import answer
    from rockit.history.database import Database
    from rockit.history.query import Reader

    reader = Reader(Database(url))
    _open.append(reader)
    with reader.view() as view:
        answer(view, load.SITE, "device_0", ["water_temp", "energy"], "365d", None, 1000, load.NOW)


def _in_a_thread(what: Callable[[], None]) -> None:
    thread = threading.Thread(target=what)
    thread.start()
    thread.join()


def _resident() -> float:
    """MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("the kernel does not tell the resident memory")


if __name__ == "__main__":
    main(sys.argv[1])
