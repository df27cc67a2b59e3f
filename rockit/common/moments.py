# SPDX-License-Identifier: GPL-3.0-or-later
"""Moments that must survive a restart: monotonic seconds while a daemon runs, UTC seconds on the disk. No clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


def moved(value: T, by: float, latest: float) -> T:
    """`value`, a dataclass, with every moment in it moved by `by` s and none later than `latest`.

    Moments are the fields whose names end in `_at`, here and in dataclasses inside, also those in mappings and tuples.
    A clock that was set back makes a moment lie ahead; it then counts as `latest`, so that no protection ends early.
    """
    changed: dict[str, Any] = {}
    for one in fields(value):  # type: ignore[arg-type]
        found = getattr(value, one.name)
        if found is None:
            continue
        if one.name.endswith("_at"):
            changed[one.name] = min(found + by, latest)
        elif is_dataclass(found):
            changed[one.name] = moved(found, by, latest)
        elif isinstance(found, Mapping):
            changed[one.name] = {
                key: moved(item, by, latest) if is_dataclass(item) else item for key, item in found.items()
            }
        elif isinstance(found, tuple):
            changed[one.name] = tuple(moved(item, by, latest) if is_dataclass(item) else item for item in found)
    return replace(value, **changed)  # type: ignore[type-var]
