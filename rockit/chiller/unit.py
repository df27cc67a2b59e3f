# SPDX-License-Identifier: GPL-3.0-or-later
"""One chiller: what the query loop does with it, and the snapshot that everybody else reads.

The loop's thread reads, decides and writes. Other threads read `snapshot`, which is replaced and never changed, and
change `request` under a lock that is never held during I/O. What must survive goes to the disk in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rockit.chiller import control
from rockit.chiller.config import ChillerConfig
from rockit.chiller.drivers import ChillerDriver
from rockit.chiller.inputs import ChillerInputs
from rockit.chiller.kept import KeptState, Saved
from rockit.chiller.memory import Request
from rockit.chiller.model import MEASUREMENTS, ChillerMode, Values
from rockit.chiller.setpoint import ATTEMPTS
from rockit.common.conditions import Condition, Priority
from rockit.common.device import SAVING, Alarms
from rockit.common.errors import Code, CommandError
from rockit.common.framing import ProtocolError, Refused
from rockit.common.log import Log
from rockit.common.quality import Samples, utc_now
from rockit.common.record import Record
from rockit.common.state import StateFile
from rockit.common.transport import LineError, NoAnswer, PortLost, Stopped
from rockit.common.transport.line import Line

READ_BACKS = 3
READ_BACK_PAUSE = 0.7
"""A write is looked for so often, with such pauses, before it counts as not followed, s."""
MOMENT = 0.5
"""So long the query loop waits for the disk before a start, s."""
ROUNDS = 4
"""Decisions in one poll: standby, its consequences, and the set point; whatever is left waits for the next."""
SWITCH, SET_POINT = "switch", "set point"


@dataclass(frozen=True)
class Snapshot:
    """The chiller as of the last poll. `polled_at` is monotonic s, `polled` the same moment in UTC."""

    connected: bool = False
    polled_at: float | None = None
    polled: datetime | None = None
    samples: Samples = field(default_factory=Samples)
    identity: dict[str, str] = field(default_factory=dict)
    decision: control.Decision | None = None
    offline_because: str = "it has not been asked yet; the daemon has just started"


class ChillerUnit:
    """Reads, decides, acts, publishes."""

    def __init__(
        self, config: ChillerConfig, line: Line[Any], driver: ChillerDriver, inputs: ChillerInputs, alarms: Alarms,
        state: StateFile[Saved], log: Log, record: Record,
    ) -> None:  # fmt: skip
        self._config = config
        limits = config.limits()
        point = replace(limits.setpoint, resolution=driver.setpoint_resolution, gap=driver.setpoint_gap)
        self._limits = replace(limits, setpoint=point)
        self._tolerance = driver.setpoint_resolution / 2 + 1e-6
        self._line = line
        self._driver = driver
        self._inputs = inputs
        self._alarms = alarms
        self._log = log
        self._record = record
        self._kept = KeptState(state, config.driver, log)
        self._lock = threading.Lock()
        self._decided_for = Request()
        self._refused: dict[str, str] = {}
        self.stops = 0
        self._poll_began = self._asked = 0.0
        self._took: tuple[float, ...] = ()
        self.counters: Counter[str] = Counter()
        self.request, self._memory = self._kept.load(config.setpoint_limits, alarms)
        self.snapshot = Snapshot()

    # What the query loop calls.

    def connect(self) -> str:
        """Open the port and see that it is our family that answers."""
        self._line.open()
        identity = self._driver.identify()
        self.snapshot = replace(self.snapshot, identity=identity)
        return identity.get("family", "chiller")

    def disconnect(self) -> None:
        """Close the port."""
        self._line.close()

    def steps(self) -> Iterator[None]:
        """One poll of the device."""
        self._poll_began = asked = time.monotonic()
        for values in self._driver.poll():
            self._take(values, asked)
            self._asked = asked
            if self.snapshot.polled_at is None and self._reading().run_state is not None:
                self._alarms.update("poll", {})
                self._publish()  # the first contact: a whole poll takes seconds
            yield
            asked = time.monotonic()

    def finish(self) -> None:
        """A whole poll is in."""
        self._took = (*self._took[-2:], time.monotonic() - self._poll_began)
        self._alarms.update("poll", {})
        decision = self._decide()
        self._publish()  # before it is acted upon: a write may take seconds, and what was read is true now
        self._carry_out(decision)

    def _publish(self) -> None:
        polled = utc_now() - timedelta(seconds=time.monotonic() - self._asked)
        self.snapshot = replace(self.snapshot, connected=True, polled_at=self._asked, polled=polled, offline_because="")

    def lost(self, reason: str) -> None:
        """No connection: what was measured is not known any more."""
        self.snapshot = replace(self.snapshot, connected=False, samples=Samples(), offline_because=reason)
        offline = Condition(f"the chiller does not answer: {reason}", Priority.CRITICAL, logged=False)
        self._alarms.update("poll", {"offline": offline})
        self._decide()

    def shutdown(self, deadline: float) -> None:
        """Leave the chiller as the config says."""
        if self._config.safe_state == "keep":
            return
        run = self._config.safe_state == "run"
        now = time.monotonic()
        forbidden = control.forbids_to_leave_running(self.request, self._inputs.now(now), self._memory, now)
        if run and forbidden is not None:
            self._log.warning(f"the chiller is not left in run, as configured: {forbidden}")
            return
        self._line.finish_by(deadline)
        problem, text = "there was no time to ask it", "could not be left in"
        if not self._line.is_open:
            try:
                self._line.open()
                if not self.snapshot.identity:
                    self.connect()
            except (LineError, ProtocolError) as error:
                self._log.error(f"the chiller {text} {self._config.safe_state}: {error}")
                return
        if not self._runs(run):
            with self._lock:  # so that the next start knows that nobody did it at the panel
                self._memory = replace(self._memory, running=run, switched_at=time.monotonic())
                self._save()
        while True:
            try:
                self._driver.write_running(run)
                self._ask(self._driver.read_state)
            except Stopped:  # the line says so when the deadline is there
                break
            except PortLost as error:
                problem = str(error)
                break
            except NoAnswer as error:
                problem, text = str(error), "was told to be left, and has not confirmed, in"
                continue
            except (LineError, ProtocolError) as error:
                problem = str(error)
                continue
            if self._runs(run):
                self._log.info(f"left the chiller in {self._config.safe_state}, as configured, and read back")
                return
            problem = f"it acknowledges, and reports {self._reading().run_state}"
        self._log.error(f"the chiller {text} {self._config.safe_state}: {problem}")

    # What other threads call.

    def set_mode(self, mode: ChillerMode) -> None:
        """Change who decides; needs no device and no port."""
        with self._lock:
            self.request, self._memory = control.change_mode(self.request, self._memory, self._reading(), mode)
            self._save()

    def acknowledged(self, alarm: str) -> None:
        """Somebody has seen to that alarm: what was given up with it is tried again."""
        with self._lock:
            self._memory = self._memory.acknowledged(alarm)
            self._save()

    # Commands: run by the query loop between two exchanges.

    def set_enabled(self, enabled: bool, stops: int | None = None) -> str:
        """Start or stop in manual mode; returns when read back. Raises CommandError.

        `stops` is what that counter said when a start was asked for: a stop that came later counts more.
        """
        stops = self.stops if stops is None else stops
        self._check(enabled, stops)
        self._look(self._driver.read_state, lambda: self._noted(enabled))
        with self._lock:
            self._check(enabled, stops)  # once more: looking took its time
            self.request, self._memory = replace(self.request, enabled=enabled), self._memory.forgiven()
            self._save()
        try:
            decision = self._settle()
        finally:
            self._check(enabled, stops)  # what somebody asked for meanwhile explains more than a line that failed
        word = "run" if enabled else "standby"
        if decision.want and not enabled:
            now = "kept running by" if self._runs(True) else "it is in standby, and to be run by"
            raise CommandError(Code.HELD, f"noted, but {now} {decision.why}")
        if self._runs(enabled):
            return f"the chiller is in {word}, read back from the device"
        if SWITCH in self._refused:
            raise CommandError(
                Code.DEVICE_REFUSED, f"{self._refused[SWITCH]}; it is tried again, {ATTEMPTS} times in all"
            )
        if decision.held:
            raise CommandError(Code.HELD, f"noted, and held by {decision.held}; it follows when that ends")
        raise CommandError(Code.FAILED, f"sent, but the device does not report {word}; it is tried again")

    def _check(self, enabled: bool, stops: int) -> None:
        """Whether a start or a stop may go on."""
        if self.request.mode is not ChillerMode.MANUAL:
            raise CommandError(Code.NOT_MANUAL, "the mode is automatic; change it with `mode manual` first")
        if enabled and stops != self.stops:
            raise CommandError(Code.BLOCKED, "somebody has asked for a stop meanwhile, which counts more")

    def set_setpoint(self, celsius: float) -> str:
        """Ask for a set point, °C; returns when what is written now has been read back. Raises CommandError."""
        self._look(self._driver.read_setpoint, lambda: "nothing was changed")
        before = self.request.setpoint
        self._ask_setpoint(celsius)
        decision = self._settle()
        device = self._reading().setpoint_temp
        if self._holds(celsius):
            return f"the set point is {device:.1f} °C, read back from the device"
        if SET_POINT in self._refused:
            self._ask_setpoint(before)
            raise CommandError(Code.DEVICE_REFUSED, f"{self._refused[SET_POINT]}; the set point is not changed")
        if decision.set_point_held:
            raise CommandError(Code.HELD, f"noted, and held by {decision.set_point_held}; the device is at {device} °C")
        raise CommandError(Code.FAILED, f"sent, but the device reports a set point of {device} °C; it is tried again")

    def _ask_setpoint(self, celsius: float | None) -> None:
        with self._lock:
            self.request, self._memory = replace(self.request, setpoint=celsius), self._memory.set_point_forgiven()
            self._save()

    def _look(self, read: Callable[[], Values], otherwise: Callable[[], str]) -> None:
        """A command begins with asking the device: what the last poll said may be true no more."""
        if not self.snapshot.connected:
            raise CommandError(Code.DEVICE_OFFLINE, f"{otherwise()}: {self.snapshot.offline_because}")
        try:
            self._ask(read)
        except (LineError, ProtocolError) as error:
            raise CommandError(Code.DEVICE_OFFLINE, f"{otherwise()}: {error}") from None

    def noted_stop(self) -> str:
        """A stop that cannot be sent now is not forgotten."""
        with self._lock:
            self.stops += 1
            self.request = replace(self.request, enabled=False)
            self._save()
        return "nothing was sent, but noted: when the chiller is back it shall stand by"

    def _noted(self, enabled: bool) -> str:
        """Of a chiller that is away: a stop is noted, so that it does not start when it is back; a start is not."""
        if not enabled:
            return self.noted_stop()
        standing = {True: "run", False: "stand by", None: "be left as it is"}[self.request.enabled]
        return f"nothing was changed (when the chiller is back it shall {standing})"

    @property
    def forgetful(self) -> str:
        """What to add to a success that the disk has not taken."""
        return "" if self.saved(SAVING) else "; it will be forgotten at a restart, see the alarm state_not_saved"

    def saved(self, within: float) -> bool:
        """Whether mode, request and timers are on the disk; waits `within` s for that."""
        return self._kept.saved(within)

    # Inside.

    def _ask(self, read: Callable[[], Values]) -> None:
        self._line.pause()
        asked = time.monotonic()
        try:
            self._take(read(), asked)
            self._asked = asked
        except Refused as error:  # of a question; only an order that is refused was not followed
            raise ProtocolError(f"the device does not tell: {error}") from None

    def _take(self, values: Values, asked: float) -> None:
        """Believe what was read, but for numbers that no chiller can mean: those make their key unknown.

        A value is as old as its question: the answer may have waited, in the port of a machine that stalled.
        """
        broken = [
            key
            for key, value in values.items()
            if key in MEASUREMENTS and value is not None and not MEASUREMENTS[key].plausible(value)
        ]
        self.counters["implausible"] += len(broken)
        believed = {**values, **dict.fromkeys(broken)}
        self._record.add(believed, asked)
        self.snapshot = replace(self.snapshot, samples=self.snapshot.samples.merged(believed, asked))

    def _reading(self) -> control.Reading:
        """What the device said, as far as it is still true."""
        now, snapshot = time.monotonic(), self.snapshot

        def value(key: str) -> Any:
            return snapshot.samples.fresh(key, now, self.maximum_age(key))

        return control.Reading(value("run_state"), value("setpoint_temp"), value("ambient_temp"), value("device_alarm"))

    def maximum_age(self, key: str) -> float:
        """How old a value may be and still count, s: three polls, and as many more as the driver takes turns for.

        A slow device makes a poll longer than configured; a machine that stalled once does not.
        """
        poll = max(self._config.query_delay, min(self._took, default=0.0))
        age = 3 * poll + self._line.settings.timeout
        slow = self._driver.slow_measures
        return age * (len(slow) + 1) if key in slow else age

    def _settle(self) -> control.Decision:
        """What a command does: decide and act until there is nothing more to do, each write read back."""
        try:
            return self._carry_out(self._decide())
        except (LineError, ProtocolError) as error:
            raise CommandError(
                Code.DEVICE_OFFLINE, f"the request is kept, but whether the chiller followed is not known: {error}"
            ) from None

    def _carry_out(self, decision: control.Decision) -> control.Decision:
        self._refused = {}
        for _ in range(ROUNDS):
            if not self._act(decision):
                break
            decision = self._decide()
        return decision

    def _decide(self) -> control.Decision:
        now = time.monotonic()
        inputs, reading = self._inputs.now(now), self._reading()
        with self._lock:
            self._decided_for = self.request
            decision = control.decide(reading, inputs, self.request, self._limits, self._memory, now)
            self._memory = decision.memory
            self._save()
        if decision.switch:  # a start that is not remembered could be followed by another too soon
            self.saved(MOMENT)
        if reading.run_state is None:
            # Of a chiller that does not answer nobody knows that its troubles are over.
            held = self._alarms.standing(control.OF_THE_DEVICE)
            decision = replace(decision, alarms={**held, **decision.alarms})
        else:
            warnings = self.snapshot.samples.fresh("warnings", now, self.maximum_age("warnings")) or ()
            self._alarms.update("driver", control.told_by_the_device(decision, warnings))
        self._alarms.update("control", decision.alarms)
        self._alarms.update("state", self._kept.alarms())
        self.snapshot = replace(self.snapshot, decision=decision)
        return decision

    def _act(self, decision: control.Decision) -> bool:
        """Carry out one thing; False when there was none."""
        if self.request is not self._decided_for:
            return True  # somebody asked for something else meanwhile: decide again
        try:
            if decision.switch is not None:
                self._switch(decision.switch, "an alarm of the device" if decision.memory.tripped else decision.why)
            elif decision.read_faults:
                self._ask_faults()
            elif decision.set_point is not None:
                self._write_setpoint(decision.set_point)
            else:
                return False
        except Refused as error:
            self.counters["refused"] += 1
            self._log.warning(str(error))
            if decision.switch is not None or not decision.read_faults:
                self._refused[SET_POINT if decision.switch is None else SWITCH] = str(error)
        return True

    def _switch(self, run: bool, why: str) -> None:
        self.counters["switch_orders"] += 1
        self._log.info(f"{'start' if run else 'standby'} ({why})")
        with self._unknown_unless_read("run_state", "pump", "drive"):
            self._driver.write_running(run)
            self._read_back(self._driver.read_state, lambda: self._runs(run))

    def _write_setpoint(self, celsius: float) -> None:
        self.counters["set_point_writes"] += 1
        self._log.info(f"set point {celsius:.1f} °C")
        with self._unknown_unless_read("setpoint_temp"):
            self._driver.write_setpoint(celsius)
            self._read_back(self._driver.read_setpoint, lambda: self._holds(celsius))

    def _ask_faults(self) -> None:
        faults = self._driver.read_faults()
        with self._lock:
            # Reading may clear what it tells: an empty second answer says nothing of why the unit stopped.
            known, self._memory = self._memory.faults, replace(
                self._memory, faults=faults or self._memory.faults, faults_read=True
            )  # fmt: skip
        if faults and faults != known:
            self._log.warning(f"the chiller reports: {', '.join(faults)}")

    @contextmanager
    def _unknown_unless_read(self, *keys: str) -> Iterator[None]:
        """Around a write: where its answer is lost, nobody knows whether the device followed."""
        try:
            yield
        except Refused:
            raise
        except (LineError, ProtocolError):
            self._take(dict.fromkeys(keys), time.monotonic())
            raise

    def _read_back(self, read: Callable[[], Values], done: Callable[[], bool]) -> None:
        """Read what was written until it took effect; some devices show it a second later (PolyScience, LAUDA WK)."""
        for look in range(READ_BACKS):
            if look:
                self._line.rest(READ_BACK_PAUSE)
            self._ask(read)
            if done():
                return

    def _runs(self, wanted: bool | None) -> bool:
        state = self._reading().run_state
        return state is not None and state.running == wanted

    def _holds(self, wanted: float | None) -> bool:
        device = self._reading().setpoint_temp
        return device is not None and wanted is not None and abs(device - wanted) < self._tolerance

    def _save(self) -> None:
        """Keep what must survive. The caller holds the lock; never waits."""
        self._kept.save(self.request, self._memory)
