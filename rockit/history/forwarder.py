# SPDX-License-Identifier: GPL-3.0-or-later
"""Forwards what was recorded: stored first, then sent in order until the target confirms it, however long it takes.

A batch may be sent twice (an answer was lost, a cursor not yet saved): targets take that without harm.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from rockit.common.conditions import Condition, Priority
from rockit.common.log import Log
from rockit.common.status import age_text
from rockit.history.database import StoreError
from rockit.history.outgoing import Outgoing
from rockit.history.store import wall_clock
from rockit.history.targets import Target, TargetFailed, TargetRefused

BACK_OFF = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Pauses while a target does not take anything, s; the last one repeats for ever."""
LOOK = 10.0
"""So often it is looked for what others have left in the outbox, s."""
SAVE = 30.0
"""How often a cursor is saved while nothing but live values is sent, s: each costs a write to the disk."""
AGAIN = 15 * 60_000
"""What was sent to a target that may lose it is kept for so long, ms, and sent again after a restart of it."""
LIVE = 60_000
"""To a target of live values nothing older than this is sent, ms."""
PRUNE = 300.0
LATE = 600.0
"""A target that has taken nothing for so long is an alarm, s."""


class Forwarder:
    """One target's thread."""

    def __init__(
        self, store: str, site: str, device: str, target: Target, targets: list[str], log: Log,
        now: Callable[[], int] = wall_clock,
    ) -> None:  # fmt: skip
        """`targets` are the names of all that keep a cursor: what all of them have is dropped from the outbox."""
        self._store, self._site, self._device = store, site, device
        self._target = target
        self._targets = targets
        self._log = log
        self._now = now
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._anew = threading.Event()
        self._failing_since: float | None = None
        self._sending_since: float | None = None
        self._why = ""
        self._refused = False
        self._sent = 0
        self._taken: deque[tuple[float, int]] = deque()
        """Of a target that may lose: when (monotonic s) it had taken up to which row, for the last AGAIN."""
        self._saved = -1
        self._saved_at = self._pruned_at = time.monotonic()
        # All that is ever counted: others add these up while we count.
        names = "forwarded", "forward_failures", "sent_again", "unreadable", "errors"
        self.counters: Counter[str] = Counter({f"history_{name}": 0 for name in names})
        self._thread = threading.Thread(target=self._run, name=f"forward {target.name}", daemon=True)

    def begin(self) -> None:
        """Begin; or begin anew with another file, which has taken the place of the first."""
        if self._thread.is_alive():
            self._anew.set()
        elif not self._stop.is_set():
            self._thread.start()
        self._wake.set()

    def wake(self) -> None:
        """There is something new in the outbox."""
        self._wake.set()

    def end(self, deadline: float) -> None:
        """Stop, by `deadline` (monotonic); what was not sent waits in the outbox."""
        self._stop.set()
        self._wake.set()
        self._target.close()
        if self._thread.is_alive():  # it never began where the store could not be opened
            self._thread.join(max(0.0, deadline - time.monotonic()))

    def condition(self) -> Condition | None:
        """An alarm, where the target has taken nothing for long."""
        failing, sending = self._failing_since, self._sending_since
        since = failing or sending
        if failing is not None and self._refused:
            return Condition(f"somebody must see to this: {self._why}", Priority.MEDIUM, logged=False)
        if since is None or time.monotonic() - since < LATE:
            return None
        age = age_text(time.monotonic() - since)
        why = self._why if failing else f"{self._target.name} does not answer"
        return Condition(f"nothing could be forwarded for {age}: {why}", Priority.LOW, logged=False)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self._session()
            except (TargetFailed, StoreError) as error:
                failures = failures + 1 if self._failing_since is not None else 1
                self._failed(error)
            except Exception as error:  # noqa: BLE001 - this thread must not end, whatever went wrong
                failures += 1
                self._why = repr(error)
                self._failing_since = self._failing_since or time.monotonic()
                self.counters["history_errors"] += 1
                if self.counters["history_errors"] <= 3:
                    self._log.exception(f"history: forwarding to {self._target.name} met an error of its own")
            else:
                failures = 0
                continue
            self._stop.wait(BACK_OFF[min(failures, len(BACK_OFF)) - 1])

    def _session(self) -> None:
        """Send until something fails or we are stopped."""
        anew = self._anew.is_set() or not self._taken
        self._anew.clear()
        outgoing = Outgoing(self._store, self._site, self._device)
        try:
            self._sent = self._saved = outgoing.cursor(self._target.name)
            if anew:
                self._tell_stranded(outgoing)
                self._taken = deque([(-math.inf, self._sent)])
            self._sent = self._kept()
            if self._target.live:
                self._sent = outgoing.before(outgoing.newest(), self._now() - LIVE)
            while not self._stop.is_set() and not self._anew.is_set():
                self._wake.clear()
                if not self._send(outgoing):
                    self._rest(outgoing)
                    self._wake.wait(LOOK)
            self._save(outgoing)
        finally:
            outgoing.close()

    def _tell_stranded(self, outgoing: Outgoing) -> None:
        for site, rows in outgoing.stranded() if not self._target.live else ():
            self._log.warning(
                f"history: {rows} polls of {site}/{self._device}, as this was called before, were not sent to all"
                " targets, and are sent by nobody now; `rockit history import` this history where they are missing"
            )

    def _send(self, outgoing: Outgoing) -> bool:
        """One batch; False where nothing waits."""
        found = outgoing.batch(self._sent)
        if found is None:
            return False
        row, _, batch = found
        if outgoing.unreadable:
            self.counters["history_unreadable"] += outgoing.unreadable
            self._log.error(
                f"history: {outgoing.unreadable} polls of the outbox cannot be read, and are not sent to"
                f" {self._target.name}; they are in the history here: import it there"
            )
            outgoing.unreadable = 0
        if batch.samples or batch.events:
            self._sending_since = time.monotonic()
            try:
                self._target.send(batch)
            finally:
                self._sending_since = None
        self.counters["history_forwarded"] += len(batch.samples)
        self._restored()
        before, self._sent = self._sent, row
        if self._target.loses:
            if self._target.restarted() and self._kept() < before:
                # It may have lost what it had taken before: all of the last minutes once more. What it took first a
                # quarter of an hour ago counts as kept all the same: some servers end every connection after a minute.
                self._sent = self._kept()
                self.counters["history_sent_again"] += 1
            elif row > self._taken[-1][1] and time.monotonic() - self._taken[-1][0] > LOOK:
                self._taken.append((time.monotonic(), row))
        if time.monotonic() - self._saved_at > SAVE:
            self._save(outgoing)
        return True

    def _kept(self) -> int:
        """The last row that the target will not lose any more."""
        if not self._target.loses:
            return self._sent
        while len(self._taken) > 1 and self._taken[1][0] <= time.monotonic() - AGAIN / 1000:
            self._taken.popleft()
        return self._taken[0][1]

    def _rest(self, outgoing: Outgoing) -> None:
        """Nothing waits: keep things small."""
        now = time.monotonic()
        if now - self._saved_at > SAVE:
            self._save(outgoing)
        if now - self._pruned_at > PRUNE:
            self._pruned_at = now
            with suppress(StoreError):  # a full disk hinders nothing that is forwarded
                while outgoing.prune(self._targets, self._now() - AGAIN) and not self._stop.is_set():
                    continue

    def _save(self, outgoing: Outgoing) -> None:
        """The cursor. Not saving it costs a batch that is sent twice."""
        self._saved_at = time.monotonic()
        kept = self._kept()
        if not self._target.live and kept != self._saved:
            with suppress(StoreError):
                outgoing.confirm(self._target.name, kept)
                self._saved = kept

    def _failed(self, error: Exception) -> None:
        self.counters["history_forward_failures"] += 1
        self._why, self._refused = str(error), isinstance(error, TargetRefused)
        if self._failing_since is None and not self._stop.is_set():
            self._failing_since = time.monotonic()
            refused = " (somebody must see to that)" if isinstance(error, TargetRefused) else ""
            what = "values of now are not sent later" if self._target.live else "it waits here until it can be sent"
            self._log.error(f"history: cannot forward: {error}{refused}; {what}")

    def _restored(self) -> None:
        if self._failing_since is not None:
            took = age_text(time.monotonic() - self._failing_since)
            self._log.info(f"history: forwarding to {self._target.name} goes on after {took}")
            self._failing_since = None
