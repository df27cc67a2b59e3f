# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as people and scripts write them."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.history.model import DAY, LATEST_TIME
from rockit.history.times import FORMS, is_age, iso, iso_ms, ms_of, parse

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_800_000_000_123  # 2027-01-15T08:00:00.123Z
TEN = 1_795_255_200_000  # 2026-11-21T10:00:00Z


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T10:00:00Z", TEN), ("2026-11-21T10:00:00", TEN), ("2026-11-21T10:00", TEN),
        ("2026-11-21 10:00", TEN),
        ("2026-11-21t10:00:00z", TEN), ("2026-11-21 10:00Z", TEN), ("  2026-11-21T10:00Z\n", TEN),
        ("2026-11-21", TEN - 10 * 3_600_000), ("2026-11-21T10:00:00.5Z", TEN + 500),
        ("2026-11-21T10:00:00,25", TEN + 250),
        ("2026-11-21T10:00:00.0019999Z", TEN + 1), ("2026-11-21T10:00:00.007Z", TEN + 7),
        ("2026-11-21T11:00:00+01:00", TEN), ("2026-11-21T11:00+01", TEN), ("2026-11-21T15:45+0545", TEN),
        ("2026-11-21T08:30:00.5-01:30", TEN + 500), ("2028-02-29", 1_835_395_200_000),
        ("90s", NOW - 90_000), ("15m", NOW - 900_000), ("1h", NOW - 3_600_000), ("2d", NOW - 2 * DAY),
        ("3w", NOW - 21 * DAY), ("1y", NOW - 365 * DAY), ("1.5h", NOW - 5_400_000), ("2 d", NOW - 2 * DAY), ("0s", NOW),
        ("100y", 0), ("999999999999y", 0),
        ("1795255200", TEN), ("1795255200.5", TEN + 500), (1795255200, TEN), (1795255200.123, TEN + 123),
        (0, 0), (7, 7000),
        ("1970-01-01", 0), ("9999-12-31T23:59:59.999Z", LATEST_TIME),
    ],
)  # fmt: skip
def test_forms(text: str | float, time: int) -> None:
    assert parse(text, NOW) == time


@pytest.mark.parametrize(
    "value",
    ["", "nows", "yesterday", "2026", "20261121", "-5", "-1h", "1", "5 months", "1H", "h", "1e3s", "2026-13-01",
     "2026-02-29",
     "2026-11-21T", "2026-11-21T10", "2026-11-21T24:00", "2026-11-21T10:60", "2016-12-31T23:59:60Z",
     "2026-11-21T10:00.5",
     "2026-11-21Z", "2026-11-21T10:00+24:00", "2026-11-21T10:00+01:60", "2026-11-21T10:00 CET", "1969-12-31",
     "٢٠٢٦-11-21",
     "1970-01-01T00:30+01:00", "9999-12-31T23:59:59-00:01", "99999999999999", "x" * 30_000,
     True, False, None, float("nan"), float("inf"), -1, -0.001, 1e300, 253402300800, 10**400, b"1h", ["1h"]],
)  # fmt: skip
def test_what_is_no_time_is_told_which_forms_there_are(value: Any) -> None:
    with pytest.raises(ValueError) as caught:
        parse(value, NOW)
    text = str(caught.value)
    assert text.endswith(FORMS)
    assert len(text) < 400


def test_the_forms_of_the_sentence_are_taken() -> None:
    for form in ("90s", "15m", "1h", "2d", "3w", "1y", "2026-11-21", "2026-11-21T10:00", "2026-11-21T10:00:00.5Z",
                 "2026-11-21T11:00+01:00"):  # fmt: skip
        assert form in FORMS
        parse(form, NOW)


@given(st.integers(0, LATEST_TIME))
def test_what_is_written_is_read(time: int) -> None:
    assert parse(iso_ms(time), NOW) == ms_of(iso_ms(time)) == time
    assert parse(iso(time), NOW) == ms_of(iso(time)) == time // 1000 * 1000
    whole = datetime.fromtimestamp(time // 1000, UTC)
    assert iso(time) == whole.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


@given(st.integers(0, LATEST_TIME // 1000 - 1), st.integers(0, 999))
def test_seconds_keep_their_milliseconds(second: int, millisecond: int) -> None:
    assert parse(second + millisecond / 1000, NOW) == second * 1000 + millisecond


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_sentence(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse(text, NOW) <= LATEST_TIME


def test_ages_are_told_from_times() -> None:
    assert is_age("1.5h")
    assert is_age(" 3w ")
    for other in ("2026-11-21", "1795255200", 5, None, "-1h"):
        assert not is_age(other)


def test_nothing_heavy_is_imported() -> None:
    script = "import rockit.history.times, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    run = [sys.executable, "-c", script]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert not set(done.stdout.split()) & {"sqlalchemy", "numpy", "astropy", "click", "rich", "Pyro5", "plotext"}
