# SPDX-License-Identifier: GPL-3.0-or-later
"""Values from other daemons, each fetched by a thread of its own, so that nobody's network can slow the control loop.

What could not be fetched, is marked invalid, is not a finite number, or is too old, is None: not known.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rockit.common.errors import CommandError
from rockit.common.log import Log
from rockit.common.quality import Sample, Samples, utc_now, utc_text
from rockit.common.registry import Daemon
from rockit.common.remote.client import Client

MISSED = 3
"""A value is believed until so many fetches in a row have failed."""
STALE = 120.0
"""A measurement whose own `date` is older than this is not believed, s. Clocks of two hosts may differ a little."""


class NotCurrent(Exception):
    """A measurement whose date says that it is not of now: nothing in it is known."""

    def __init__(self, measurement: Mapping[str, Any]) -> None:
        super().__init__(
            f"the date of its measurement is {str(measurement.get('date'))[:40]}, and now is {utc_text(utc_now())}; "
            "does it still measure, and are both clocks right?"
        )


class RemoteInput:
    """Fetches from one daemon every `period` s.

    `fetch(client)` returns a mapping of values; None in it is "the daemon says that it does not know". `value(key)`
    gives the newest, or None when it is older than a few periods. `describes` says in the log what is lost.
    """

    def __init__(
        self,
        daemon: Daemon[Any],
        describes: str,
        period: float,
        fetch: Callable[[Client], Mapping[str, Any]],
        stop: threading.Event,
        log: Log,
    ) -> None:
        self._daemon = daemon
        self._describes = describes
        self._period = period
        self._fetch = fetch
        self._stop = stop
        self._log = log
        self._samples = Samples()
        self._fault = False
        self._failures = 0
        self.counters: Counter[str] = Counter()
        self.maximum_age = MISSED * period + daemon.timeout
        self._thread = threading.Thread(target=self._run, name=f"input {daemon.name}", daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        self._thread.start()

    def value(self, key: str, now: float) -> Any | None:
        """The value of `key`, or None when it is not known at `now` (monotonic s)."""
        return self._samples.fresh(key, now, self.maximum_age)

    def samples(self, now: float) -> Mapping[str, Sample]:
        """All values that are known at `now` (monotonic s), with their times."""
        return self._samples.all_fresh(now, self.maximum_age)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._once()
            self._stop.wait(self._period)

    def _once(self) -> None:
        self.counters["input_polls"] += 1
        asked = time.monotonic()  # a value is as old as its question
        try:
            with self._daemon.connect() as client:
                values = self._fetch(client)
        except CommandError as error:
            self._failed(str(error))
        except NotCurrent as error:
            self._samples = Samples()
            self._failed(f"{self._daemon.name}: {error}")
        except Exception as error:  # noqa: BLE001 (whatever another daemon answers must not end this thread)
            self._failed(f"{self._daemon.name} gave something unexpected: {error!r}")
        else:
            # None is not merged as a value but ends the life of an older one: "not known" is news, too.
            known = {key: value for key, value in values.items() if value is not None}
            self._samples = Samples().merged(known, asked)
            missing = sorted(key for key, value in values.items() if value is None)
            if missing:
                self._failed(f"{self._daemon.name} has no valid value of {', '.join(missing)}")
            else:
                self._restored()

    def _failed(self, reason: str) -> None:
        self.counters["input_failures"] += 1
        self._failures += 1
        if not self._fault:
            self._fault = True
            self._log.error(f"Lost {self._describes}: {reason}")

    def _restored(self) -> None:
        if self._fault:
            self._log.info(f"Restored {self._describes} from {self._daemon.name} after {self._failures} failures")
        self._fault = False
        self._failures = 0


def measurement_is_current(measurement: Mapping[str, Any], now: datetime) -> bool:
    """Whether a measurement's own `date` is recent; one without a readable date is not."""
    try:
        date = datetime.strptime(str(measurement["date"]), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return False
    return abs((now - date).total_seconds()) <= STALE


def number(measurement: Mapping[str, Any], key: str, valid_key: str | None, low: float, high: float) -> float | None:
    """The number under `key`: None unless it is there, marked valid (where `valid_key` says), finite and plausible."""
    value = measurement.get(key)
    if valid_key is not None and measurement.get(valid_key) is not True:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if low <= value <= high else None  # NaN is not
