# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks every daemon of the registry how it is, all at once, so that the dead ones cost one time-out together."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rockit.common import registry
from rockit.common.cli import styled
from rockit.common.errors import CommandError, Unreachable
from rockit.common.status import age_text

PARALLEL = 32


def survey(timeout: float) -> list[dict[str, Any]]:
    """One dict a daemon: name, address, state (`up`, `device offline`, `down`, `other`), and what else is known."""
    names = list(registry.registry().daemons)
    with ThreadPoolExecutor(min(PARALLEL, len(names) or 1)) as pool:
        return list(pool.map(lambda name: _ask(registry.find(name), timeout), names))


def _ask(daemon: registry.Daemon[Any], timeout: float) -> dict[str, Any]:
    found: dict[str, Any] = {"name": daemon.name, "address": f"{daemon.host}:{daemon.port}"}
    try:
        with daemon.connect(timeout) as client:
            status = client.report_status()
    except Unreachable as error:
        why = error.message.partition(": ")[2]
        return {**found, "state": "down", "why": why}
    except CommandError as error:
        return {**found, "state": "other", "why": error.message}
    if not isinstance(status, dict) or "connected" not in status:
        return {**found, "state": "other", "why": "answers, but is not a daemon of this package"}
    found["state"] = "up" if status["connected"] else "device offline"
    for key in ("reading_age", "alarms", "status_label"):
        if key in status:
            found[key] = status[key]
    return found


_COLOUR = {"up": "green", "device offline": "bright_red", "down": "yellow", "other": "yellow"}


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """The survey as aligned lines."""
    name_width = max((len(row["name"]) for row in found), default=4)
    address_width = max((len(row["address"]) for row in found), default=7)
    yield f"{'DAEMON':<{name_width}}  {'ADDRESS':<{address_width}}  {'STATE':<14}  {'AGE':<8}  ALARMS"
    for row in found:
        state = styled(f"{row['state']:<14}", fg=_COLOUR[row["state"]])
        age = age_text(row["reading_age"]) if "reading_age" in row else "-"
        rest = row["why"] if "why" in row else ", ".join(row.get("alarms", [])) or "none"
        yield f"{row['name']:<{name_width}}  {row['address']:<{address_width}}  {state}  {age:<8}  {rest}"
