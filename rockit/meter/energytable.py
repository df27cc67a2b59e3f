# SPDX-License-Identifier: GPL-3.0-or-later
"""Energies by periods as a table with bars: import to the right, and what is not known said, and not drawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from typing import Any

from rockit.common.cli import styled

_FORMS = {"hour": "%Y-%m-%d %H:%M", "day": "%a %Y-%m-%d", "week": "week of %Y-%m-%d", "month": "%Y-%m", "year": "%Y"}
_COLUMNS = (("import_energy", "import"), ("export_energy", "export"), ("balance", "balance"))
_BAR = 24
SILENT = 4
"""More periods of silence in a row than this are told by their number."""


def energy_lines(found: dict[str, Any]) -> Iterator[str]:
    """The answer of `energy`, for people: kWh, and times of the site."""
    zone = _zone(found["time_zone"])
    rows = found["periods"]
    shown = [(key, title) for key, title in _COLUMNS if any(key in row for row in rows)]
    costs = any("cost" in row for row in rows)
    if not shown:
        yield f"Nothing is known of the energy of {found['meter']} in this time."
        return
    yield f"{styled(found['meter'], bold=True)}, kWh by {found['by']} ({found['time_zone']})"
    heads = [f"{title:>12}" for _, title in shown] + ([f"{found['currency']:>10}"] if costs else [])
    moments = [_local(row["start"], zone) for row in rows]
    form = _FORMS[found["by"]]
    if found["by"] == "hour" and len({moment.utcoffset() for moment in moments}) > 1:
        form += " %Z"  # one hour is there twice, or not at all
    names = {row["start"]: moment.strftime(form) for row, moment in zip(rows, moments, strict=True)}
    width = max(map(len, names.values()))
    yield " " * width + "".join(heads)
    top = max((abs(row.get(shown[0][0], 0.0)) for row in rows), default=0.0)
    for row in _without_long_silence(rows, [key for key, _ in shown]):
        if isinstance(row, int):
            yield f"{'':<{width}}  no data for {row} {found['by']}s"
            continue
        cells = [f"{row[key] / 1000:12.3f}" if key in row else f"{'-':>12}" for key, _ in shown]
        if costs:
            cells.append(f"{row['cost']:10.2f}" if "cost" in row else f"{'-':>10}")
        bar = "█" * round(_BAR * abs(row[shown[0][0]]) / top) if top and shown[0][0] in row else ""
        note = "" if row["complete"] else "  not all of it" if any(key in row for key, _ in shown) else "  no data"
        yield f"{names[row['start']]:<{width}}{''.join(cells)}  {bar}{note}".rstrip()
    if "why_no_cost" in found:
        yield f"no cost: {found['why_no_cost']}"
    totals = {key for key, _ in shown}
    for gap in (gap for gap in found["gaps"] if gap["register"] in totals):
        yield (
            f"gap: {gap['energy'] / 1000:.3f} kWh ({gap['register'].replace('_', ' ')}) flowed between "
            f"{_moment(gap['start'], zone)} and {_moment(gap['end'], zone)}, and in no line above"
        )
    if found["falls"]:
        yield f"{found['falls']} times a counter fell and nobody said why: `meter replace` says that a meter is new"


def _without_long_silence(rows: list[dict[str, Any]], keys: list[str]) -> Iterator[dict[str, Any] | int]:
    """The rows, and in the place of many in a row of which nothing is known, how many those are."""
    silent: list[dict[str, Any]] = []
    for row in [*rows, None]:
        if row is not None and not any(key in row for key in keys):
            silent.append(row)
            continue
        if len(silent) > SILENT:
            yield len(silent)
        else:
            yield from silent
        silent.clear()
        if row is not None:
            yield row


def _moment(text: str, zone: tzinfo) -> str:
    return _local(text, zone).strftime("%Y-%m-%d %H:%M")


def _local(text: str, zone: tzinfo) -> datetime:
    return datetime.fromisoformat(text).astimezone(zone)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return UTC  # this machine does not know the daemon's zone
