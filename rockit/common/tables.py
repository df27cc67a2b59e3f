# SPDX-License-Identifier: GPL-3.0-or-later
"""Listings for people: alarms and descriptions as lines of text that fit a pipe as well as a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rockit.common.cli import styled

_COLOUR = {"critical": "bright_red", "high": "red", "medium": "yellow", "low": "cyan"}


def alarm_lines(alarms: list[dict[str, Any]]) -> Iterator[str]:
    """One alarm a paragraph; a sentence where there is none."""
    if not alarms:
        yield "No alarms."
        return
    for alarm in alarms:
        name = styled(alarm["name"], bold=True, fg=_COLOUR.get(alarm["priority"]))
        since = f" since {alarm['since']}" if "since" in alarm else ""
        yield f"{name}  {alarm['priority']}, {alarm['state']}{since}, {alarm.get('count', 0)} times"
        yield f"   {alarm['text']}"
        if "acknowledged_by" in alarm:
            comment = f": {alarm['comment']}" if alarm.get("comment") else ""
            yield f"   acknowledged by {alarm['acknowledged_by']}{comment}"
        if "shelved_until" in alarm:
            yield f"   shelved until {alarm['shelved_until']}"


def description_lines(description: dict[str, Any]) -> Iterator[str]:
    """A daemon's `describe()` for people."""
    for key, value in description.items():
        if key in ("methods", "measurements", "settings"):
            continue
        text = str(value)
        if isinstance(value, dict):
            text = ", ".join(f"{name} {item}" for name, item in value.items()) or "not known yet"
        yield f"{key.replace('_', ' ')}: {text}"
    yield ""
    yield styled("Measurements", bold=True)
    for key, measured in description.get("measurements", {}).items():
        limits = "  limits {} to {}".format(*measured["limits"]) if "limits" in measured else ""
        unit = f" [{measured['unit']}]" if measured.get("unit") else ""
        yield f"   {key}{unit}  {measured['label']}, at most {measured['maximum_age']:g} s old{limits}"
    yield ""
    yield styled("Methods", bold=True)
    yield from method_lines(description.get("methods", {}))


def method_lines(methods: dict[str, dict[str, str]]) -> Iterator[str]:
    """Signatures and docstrings."""
    for method in methods.values():
        yield f"   {styled(method['signature'], bold=True)}  [{method['class']}]"
        for line in method["doc"].splitlines():
            yield f"      {line}".rstrip()
