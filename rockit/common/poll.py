# SPDX-License-Identifier: GPL-3.0-or-later
"""The query loop: one thread that alone talks to a device, and goes on talking for years.

It keeps the schedule, reconnects with back-off and never gives up, runs commands between two exchanges of a poll,
says once when the connection is lost and once when it is back, and feeds the watchdog.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from rockit.common.conditions import Condition, Priority
from rockit.common.errors import Code, CommandError
from rockit.common.framing import ProtocolError
from rockit.common.log import Log
from rockit.common.transport import LineError, PortLost, Stopped

BACK_OFF = (0.5, 1.0, 2.0)
"""Pauses between attempts to connect, s; the last one repeats for ever."""
SHORTEST = 0.1
"""No poll follows another sooner than this after its start, s, whatever the config says."""
BEAT = 1.0
"""How often a waiting loop shows that it lives, s."""


COMMAND_WAIT = 8.0
"""A command is answered within this, s: a T257P that is asked once a second needs six to write and read back; clients
wait ten."""
RECENT, UNSTEADY, STEADY = 50, 10, 3
"""A line is unsteady from so many failures among the recent polls, until there are fewer than so many."""


class Task(Protocol):
    """What is polled. All methods are called from the loop's thread only."""

    def connect(self) -> str:
        """Open the port and identify the device; returns what to call it. Raises LineError or ProtocolError."""
        ...

    def disconnect(self) -> None:
        """Close the port. Never raises, never waits."""
        ...

    def steps(self) -> Iterator[None]:
        """One poll, yielding after each exchange. Raises LineError or ProtocolError."""
        ...

    def finish(self) -> None:
        """A whole poll is in: decide, act, publish. May talk to the device."""
        ...

    def lost(self, reason: str) -> None:
        """There is no connection (called at every failed attempt): publish that."""
        ...

    def shutdown(self, deadline: float) -> None:
        """The daemon stops: leave the device in its safe state, by `deadline` (monotonic)."""
        ...


class NotBegun(CommandError):
    """A command for which the loop had no time: the device keeps it waiting."""

    def __init__(self, waited: float) -> None:
        super().__init__(
            Code.DEVICE_OFFLINE, f"the device has not answered for {waited:g} s; nothing was sent or changed"
        )


class Job:
    """A command on its way to the loop."""

    def __init__(self, run: Callable[[], str], wait: float) -> None:
        self._run = run
        self._wait = wait
        self._until = time.monotonic() + wait
        self._lock = threading.Lock()
        self._begun = False
        self._given_up = False
        self.done = threading.Event()
        self.message = ""
        self.error: CommandError | None = None

    def execute(self, log: Log) -> None:
        """In the loop's thread: run unless the caller has given up."""
        with self._lock:
            if self._given_up:
                return
            # After a stall of this process the loop may be quicker here than the caller who waits no longer.
            if time.monotonic() > self._until:
                self.error = NotBegun(self._wait)
                self.done.set()
                return
            self._begun = True
        try:
            self.message = self._run()
        except CommandError as error:
            self.error = error
        except (LineError, ProtocolError) as error:
            self.error = CommandError(Code.DEVICE_OFFLINE, str(error))
        except Exception as error:
            log.exception("a command failed")
            self.error = CommandError(Code.FAILED, f"failed in the daemon: {error!r}")
        finally:
            self.done.set()

    def give_up(self) -> bool:
        """The caller waits no longer; True when the command had not begun and now never will."""
        with self._lock:
            self._given_up = not self._begun
            return self._given_up


class Poller:
    """Runs a Task in a thread of its own.

    `period` is the time from the start of one poll to the start of the next, s (a poll that takes longer is followed
    at once by the next). `beat` is called before each step and at least once a second while waiting; a task whose steps
    take longer calls it as well (`Line` does, so that a watchdog of some seconds is enough).
    `tell` takes the alarms about the connection.
    """

    def __init__(
        self, task: Task, name: str, period: float, stop: threading.Event, log: Log, beat: Callable[[], None],
        tell: Callable[[Mapping[str, Condition]], None] = lambda _conditions: None,
        after: Callable[[], None] = lambda: None, shortest: float = SHORTEST,
    ) -> None:  # fmt: skip
        """`after` is called after each poll, whatever came of it. `shortest` is 0 for a device that sets the pace."""
        self._task = task
        self._name = name
        self._period = max(period, shortest)
        self._stop = stop
        self._log = log
        self._beat = beat
        self._tell = tell
        self._after = after
        self._outcomes: deque[bool] = deque(maxlen=RECENT)
        self._unsteady = False
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._command = threading.Lock()
        self._connected = False
        self._fault_since: float | None = None
        self._attempts = 0
        self._ever = False
        self._hurry = False
        self.counters: Counter[str] = Counter()
        self.thread = threading.Thread(target=self._run, name="poll", daemon=True)

    def start(self) -> None:
        """Begin."""
        self.thread.start()

    def hurry(self) -> None:
        """Poll now and not when the period is over: something has changed."""
        self._hurry = True
        self._jobs.put(None)

    def submit(self, run: Callable[[], str], wait: float = COMMAND_WAIT) -> str:
        """Run a command in the loop's thread, before the next exchange of a poll; returns its sentence.

        A poll follows at once, so that the status shows all that comes of it.

        Raises what the command raises, BLOCKED when another command is under way, DEVICE_OFFLINE when it was not
        done within `wait` s (it then never runs if it had not begun).
        """
        if not self._command.acquire(blocking=False):
            raise CommandError(Code.BLOCKED, "another command is running; try again when it is done")
        try:
            job = Job(run, wait)
            self._jobs.put(job)
            if not job.done.wait(wait):
                if job.give_up():
                    raise NotBegun(wait)
                raise CommandError(
                    Code.DEVICE_OFFLINE,
                    f"begun, but the device has not confirmed it for {wait:g} s; look at the status",
                )
            if job.error is not None:
                raise job.error
            return job.message
        finally:
            self._command.release()
            self.hurry()

    def _run(self) -> None:
        """Until told to stop. Whatever goes wrong inside costs a cycle, never the loop."""
        while not self._stop.is_set():
            try:
                self._session()
            except Stopped:
                break
            except (LineError, ProtocolError, OSError) as error:
                self._failed(str(error))
            except Exception as error:  # noqa: BLE001 - an error of ours must not end the control of a plant
                self._own_error("the poll loop met an error of its own and goes on")
                self._failed(f"error in the daemon: {error!r}")

    def _session(self) -> None:
        """Connect, and poll until something fails."""
        if not self._connected:
            self._task.connect()
        second_chance = False
        while not self._stop.is_set():
            self._beat()
            started = time.monotonic()
            self.counters["polls"] += 1
            try:
                for _ in self._task.steps():
                    self._beat()
                    self._serve(0.0)
                self._succeeded()
                self._task.finish()
                self._judge(good=True)
                self._guarded(self._after, "what comes after a poll failed")
            except (PortLost, Stopped):
                raise
            except (LineError, ProtocolError) as error:
                self.counters["polls_failed"] += 1
                self._judge(good=False)
                # One damaged or missing answer costs a fresh start of the poll. Two in a row are a fault; and where
                # there was a fault already, one is enough.
                if second_chance or not self._connected:
                    raise
                second_chance = True
                self._connect_again(error)
                continue
            second_chance = False
            self._serve(started + self._period - time.monotonic())

    def _connect_again(self, cause: Exception) -> None:
        """A line without echo is only sure of its answers after a new identification."""
        self._task.disconnect()
        try:
            self._task.connect()
        except Stopped:
            raise
        except (LineError, ProtocolError) as error:
            raise LineError(str(error) if str(error) == str(cause) else f"{cause}; then: {error}") from None

    def _succeeded(self) -> None:
        """A whole poll was read."""
        self._connected = True
        if not self._ever:
            self._ever = True
            self._log.info(f"Established connection to {self._name}")
        elif self._fault_since is not None:
            took = time.monotonic() - self._fault_since
            self._log.info(f"Restored connection to {self._name} after {took:.0f} s; failed attempts: {self._attempts}")
        self._fault_since = None
        self._attempts = 0

    def _judge(self, *, good: bool) -> None:
        """A line that loses answers now and then is never lost, and still somebody should look at it."""
        self._outcomes.append(good)
        failed = self._outcomes.count(False)
        self._unsteady = failed >= (STEADY if self._unsteady else UNSTEADY)
        text = f"{failed} of the last {len(self._outcomes)} polls of {self._name} failed; see the counters"
        self._tell({"unsteady_line": Condition(text, Priority.MEDIUM)} if self._unsteady else {})

    def _failed(self, reason: str) -> None:
        first = self._fault_since is None
        if first:
            self._fault_since = time.monotonic()
            verb = "Lost connection to" if self._ever else "Failed to connect to"
            self._log.error(f"{verb} {self._name}: {reason}; trying again until it answers")
            self.counters["connections_lost"] += self._ever
        self._connected = False
        self._attempts += 1
        self._guarded(self._task.disconnect, "the port could not be closed")
        self._guarded(lambda: self._task.lost(reason), "the loss could not be published")
        self._guarded(self._after, "what comes after a poll failed")
        self._serve(BACK_OFF[min(self._attempts, len(BACK_OFF)) - 1])

    def _guarded(self, call: Callable[[], None], otherwise: str) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - see _run
            self._own_error(otherwise)

    def _own_error(self, what: str) -> None:
        """The first ones are logged whole, all are counted: what comes back each second must not fill a disk."""
        self.counters["internal_errors"] += 1
        if self.counters["internal_errors"] <= 3:
            self._log.exception(what)

    def _serve(self, seconds: float) -> None:
        """Run waiting commands, and go on doing so for `seconds`."""
        until = time.monotonic() + seconds
        while not self._stop.is_set():
            self._beat()
            if self._hurry and seconds > 0:
                self._hurry = False
                return
            left = until - time.monotonic()
            try:
                job = self._jobs.get(timeout=min(left, BEAT)) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                if left <= 0:
                    return
                continue
            if job is not None:
                self.counters["commands"] += 1
                job.execute(self._log)

    def end(self, deadline: float, *, leave: bool = False) -> bool:
        """After `stop` was set: wait for the thread, then bring the device into its safe state, or `leave` it as it is.

        False when the port hangs.
        """
        self._jobs.put(None)  # wakes it
        self.thread.join(max(0.0, (deadline - time.monotonic()) * 0.5))
        if self.thread.is_alive():
            return False
        if not leave:
            # In a thread as well: opening a network port may wait for longer than we may.
            last = threading.Thread(target=self._task.shutdown, args=(deadline,), name="shutdown", daemon=True)
            last.start()
            last.join(max(0.0, deadline - time.monotonic()) + 0.1)
            if last.is_alive():
                return False
        self._guarded(self._task.disconnect, "the port could not be closed")
        return True
