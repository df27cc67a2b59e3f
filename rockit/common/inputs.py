# SPDX-License-Identifier: GPL-3.0-or-later
"""Values from elsewhere, each fetched by a thread of its own, so that nobody can slow the control loop.

What could not be fetched, is marked invalid, is not a finite number, or is too old, is None: not known.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rockit.common.errors import CommandError
from rockit.common.framing import ProtocolError
from rockit.common.log import Log
from rockit.common.quality import Sample, Samples, utc_now, utc_text
from rockit.common.registry import Daemon
from rockit.common.remote.client import Client
from rockit.common.transport import LineError

MISSED = 3
"""A value is believed until so many fetches in a row have failed."""
STALE = 120.0
"""A measurement whose own `date` is older than this is not believed, s. Clocks of two hosts may differ a little."""


class InputProblem(Exception):
    """A fetch brought nothing, for the reason that the message gives.

    `forget`: nor is what was known before true any longer, for the source itself takes it back.
    """

    def __init__(self, reason: str, *, forget: bool = False) -> None:
        super().__init__(reason)
        self.forget = forget


class NotCurrent(InputProblem):
    """A measurement whose date says that it is not of now: nothing in it is known."""

    def __init__(self, measurement: Mapping[str, Any]) -> None:
        super().__init__(
            f"the date of its measurement is {str(measurement.get('date'))[:40]}, and now is {utc_text(utc_now())}; "
            "does it still measure, and are both clocks right?",
            forget=True,
        )


@dataclass(frozen=True)
class Aged:
    """Fetched values that were `age` s old when they were asked for."""

    values: Mapping[str, Any]
    age: float


class Input:
    """Calls `fetch` every `period` s, in a thread of its own, until `stop`; then `close`.

    `fetch` returns a mapping of values, in which None is "not known". A value is as old as the question for it, older
    where `fetch` says so by `Aged`, and known until it is older than `maximum_age` s. `fetch` raises InputProblem,
    LineError, ProtocolError or CommandError, whose message is told; whatever else it raises is told as unexpected. One
    that hangs makes its values old, and nobody waits for it. The log says once that `describes` is lost and once that
    it is there again, from `name`.
    """

    def __init__(
        self,
        name: str,
        describes: str,
        period: float,
        fetch: Callable[[], Mapping[str, Any] | Aged],
        stop: threading.Event,
        log: Log,
        maximum_age: float,
        *,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.maximum_age = maximum_age
        self.counters: Counter[str] = Counter()
        self._describes = describes
        self._period = period
        self._fetch = fetch
        self._close = close
        self._stop = stop
        self._log = log
        self._samples = Samples()
        self._keys: frozenset[str] = frozenset()
        self._reason = ""
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"input {name}", daemon=True)

    def start(self) -> None:
        """Begin to fetch."""
        self._thread.start()

    def value(self, key: str, now: float) -> Any | None:
        """The value of `key`, or None when it is not known at `now` (monotonic s)."""
        return self._samples.fresh(key, now, self.maximum_age)

    def samples(self, now: float) -> Mapping[str, Sample]:
        """All values that are known at `now` (monotonic s), with their times."""
        return self._samples.all_fresh(now, self.maximum_age)

    @property
    def problem(self) -> str:
        """Why not all that it ever told is known now; "" when it is."""
        return self.problem_at(time.monotonic())

    def problem_at(self, now: float) -> str:
        """See `problem`."""
        keys, reason = self._keys, self._reason
        if keys and keys <= self.samples(now).keys():
            return ""
        if reason:
            return reason
        return f"{self.name} has not told anything for long" if keys else f"{self.name} has not told anything yet"

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._once()
                self._stop.wait(self._period)
        finally:
            self._close()

    def _once(self) -> None:
        self.counters["input_polls"] += 1
        asked = time.monotonic()  # a value is as old as its question
        try:
            fetched = self._fetch()
            values, age = (fetched.values, fetched.age) if isinstance(fetched, Aged) else (fetched, 0.0)
            # None is not merged as a value but ends the life of an older one: "not known" is news, too.
            samples = Samples().merged({k: v for k, v in values.items() if v is not None}, asked - max(age, 0.0))
            keys = frozenset(values)
        except InputProblem as error:
            if error.forget:
                self._samples = Samples()
            self._failed(str(error))
        except (CommandError, LineError, ProtocolError) as error:
            self._failed(str(error))
        except Exception as error:  # noqa: BLE001 (whatever is answered must not end this thread)
            self._failed(f"{self.name} gave something unexpected: {error!r}")
        else:
            self._keys |= keys
            self._samples = samples
            missing = sorted(key for key in keys if values[key] is None)
            if missing:
                self._failed(f"{self.name} has no valid value of {', '.join(missing)}")
            else:
                self._restored()

    def _failed(self, reason: str) -> None:
        if self._stop.is_set():
            return  # what breaks when all ends is nobody's fault
        self.counters["input_failures"] += 1
        self._failures += 1
        first, self._reason = not self._reason, reason
        if first:
            self._log.error(f"Lost {self._describes}: {reason}")

    def _restored(self) -> None:
        if self._reason:
            self._log.info(f"Restored {self._describes} from {self.name} after {self._failures} failures")
        self._reason = ""
        self._failures = 0


class RemoteInput(Input):
    """An `Input` from one daemon: `fetch(client)` returns the mapping, `describes` says in the log what is lost.

    A value is known for a few periods.
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
        self._ask = fetch
        maximum_age = MISSED * period + daemon.timeout
        super().__init__(daemon.name, describes, period, self._fetch_remote, stop, log, maximum_age)

    def _fetch_remote(self) -> Mapping[str, Any]:
        try:
            with self._daemon.connect() as client:
                return self._ask(client)
        except NotCurrent as error:
            raise InputProblem(f"{self.name}: {error}", forget=True) from None


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
