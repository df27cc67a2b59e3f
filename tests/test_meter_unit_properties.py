# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever a meter tells, and whoever aligns, replaces or restarts: no energy shown ever falls without an event."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from test_meter_unit import Bench

from rockit.common.errors import CommandError
from rockit.common.quality import Quality
from rockit.meter.kept import KeptMeter
from rockit.meter.model import Number

_energies = st.integers(0, 2000).map(lambda n: Decimal(n) / 2)
_readings = st.fixed_dictionaries(dict.fromkeys(("imported", "t1", "t2", "exported"), _energies))
_ids = st.sampled_from(["", "one", "one", "one", "two"])
_steps = st.one_of(
    st.tuples(st.just("take"), _readings, _ids),
    st.tuples(st.just("set"), st.sampled_from(["import_energy", "import_energy_t1"]), _energies),
    st.tuples(st.just("replace"), st.dictionaries(st.just("import_energy"), _energies), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
)
_forms = st.sampled_from([{"imported"}, {"t1", "t2"}, {"imported", "t1", "t2", "exported"}])


@settings(max_examples=300, deadline=None)
@given(st.lists(_steps, max_size=25), _forms, st.sampled_from([None, 500.0, 1000.0]))
def test_what_is_shown_never_falls_without_an_event(
    steps: list[tuple[str, Any, Any]], form: set[str], rollover: float | None
) -> None:
    bench = Bench(rollover=rollover)
    last: Number | None = None
    told = 0
    for kind, first, second in steps:
        before = len(bench.record.events)
        if kind == "take":
            bench.take(server_id=second, **{name: value for name, value in first.items() if name in form})
        elif kind == "restart":
            kept = msgspec.json.decode(msgspec.json.encode(bench.kept), type=KeptMeter)
            assert kept == bench.kept
            last = last if before == told else None
            bench, told = Bench(kept, rollover=rollover), 0
        else:
            try:
                if kind == "set":
                    bench.unit.set_reading(first, second)
                else:
                    bench.unit.replace(first, {})
            except CommandError:
                assert len(bench.record.events) == before, "what was refused did nothing"
        if kind == "take":
            if len(bench.record.events) != told:
                last, told = None, len(bench.record.events)
            if bench.shown is not None:
                assert last is None or bench.shown >= last
                last = bench.shown
    recorded = [values["import_energy"] for values in bench.record.of(Quality.GOOD) if "import_energy" in values]
    assert all(isinstance(value, int | Decimal) for value in recorded)
