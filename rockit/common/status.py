# SPDX-License-Identifier: GPL-3.0-or-later
"""Statuses as text: JSON that is always valid, ages that a person can read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The same with every number that JSON does not know (NaN, infinities) as None, and what it lacks as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def json_line(value: Any) -> str:
    """One line of valid JSON, NaN as null."""
    return json.dumps(plain(value), allow_nan=False, ensure_ascii=True)


def age_text(seconds: float) -> str:
    """`3 s`, `5 min`, `2.5 h`, `4 days`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.0f} days"
