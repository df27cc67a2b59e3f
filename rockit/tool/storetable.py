# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history holds, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rockit.common.cli import styled
from rockit.common.status import age_text
from rockit.history.maintenance import megabytes

_COLUMNS = ("QUANTITY", "UNIT", "FIRST", "LAST", "SAMPLES", "SEALED", "BYTES", "ROLL-UPS", "MISSING")
_LEFT = 4
"""So many columns hold text, the others numbers."""


def stats_lines(found: dict[str, Any]) -> Iterator[str]:
    """What `stats` found, first as a whole, then a line a series."""
    for name, value in _whole(found):
        yield f"{name:<9} {value}"
    for box in found["outbox"]:
        yield from _outbox_lines(box)
    rows = {
        owner: [_row(one) for one in those]
        for owner, those in groupby(found["series"], key=lambda one: f"{one['site']}/{one['device']}")
    }
    everything = [_COLUMNS, *(row for those in rows.values() for row in those)]
    widths = [max(len(row[index]) for row in everything) for index in range(len(_COLUMNS))]
    for owner, those in rows.items():
        yield ""
        yield styled(owner, bold=True)
        for row in (_COLUMNS, *those):
            cells = [f"{cell:<{width}}" for cell, width in zip(row[:_LEFT], widths[:_LEFT], strict=True)]
            cells += [f"{cell:>{width}}" for cell, width in zip(row[_LEFT:], widths[_LEFT:], strict=True)]
            yield f"   {'  '.join(cells)}".rstrip()


def _whole(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "history", found["store"]
    yield "database", f"{found['database']}, tables of version {found['schema']}"
    size = megabytes(found["bytes"])
    if "wal_bytes" in found:
        size += f", and {megabytes(found['wal_bytes'])} of write-ahead log"
    if found.get("free_bytes"):
        size += f"; {megabytes(found['free_bytes'])} of the file is free (vacuum gives it back)"
    yield "size", size
    sealed = f"{found['sealed']:,} sealed in {found['blocks']:,} blocks"
    if "bytes_per_sealed_sample" in found:
        sealed += f" ({found['bytes_per_sealed_sample']:g} bytes each)"
    yield "samples", f"{found['samples']:,}: {sealed}, {found['rows']:,} as rows"
    yield "roll-ups", f"{found['rollups']:,}"
    yield "events", f"{found['events']:,}"
    broken = found["damaged"]
    yield "damaged", f"{broken} blocks, which were set aside; see `rockit history check`" if broken else "none known"
    if not found["outbox"]:
        yield "outbox", "nothing is forwarded"


def _outbox_lines(box: dict[str, Any]) -> Iterator[str]:
    yield f"{'outbox':<9} {box['site']}/{box['device']}: {box['rows']:,} {_rows(box['rows'])}{_since(box)}"
    for target in box["targets"]:
        late = f"{target['rows']:,} {_rows(target['rows'])} behind{_since(target)}" if target["rows"] else "has all"
        yield f"{'':<9}    {target['target']}: {late}"
    if not box["targets"]:
        yield f"{'':<9}    no target has confirmed any of it (those of live values never do)"


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _since(about: dict[str, Any]) -> str:
    return f", the oldest {age_text(about['age'])} old" if "age" in about else ""


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    first = one.get("first", "-")
    if "rolled_up_since" in one:
        first = f"{one['rolled_up_since']}*"  # of which only roll-ups are left
    missing = one.get("missing_hours", 0)
    return (
        one["key"] + (f" ({one['damaged']} damaged)" if one["damaged"] else ""), one["unit"] or "-", _short(first),
        _short(one.get("last", "-")), f"{one['samples']:,}", f"{one['sealed']:,}",
        f"{one['bytes_per_sealed_sample']:.2f}" if "bytes_per_sealed_sample" in one else "-", f"{one['rollups']:,}",
        age_text(missing * 3600) if missing else "-",
    )  # fmt: skip


def _short(time: str) -> str:
    """2026-11-21 10:00:12"""
    return time.replace("T", " ")[:19] + ("*" if time.endswith("*") else "")
