# SPDX-License-Identifier: GPL-3.0-or-later
"""A line: one port, one codec, one question at a time, and never an answer to another question.

Used by one thread. Other threads read `counters` only.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from rockit.common.framing import Damage, Damaged, Decoder, Request
from rockit.common.transport import NoAnswer, Stopped
from rockit.common.transport.port import Port
from rockit.common.transport.settings import LineSettings

F = TypeVar("F")
LAST_PAUSE, LAST_TIMEOUT = 0.4, 0.8
"""When the daemon is stopping, pauses are cut, and a lost answer must leave time for a second try, s."""
SLICE = 1.0
"""The longest pause without a sign of life, s."""
QUIET = 0.1
"""After an answer failed to come, the line must be silent for so long before the next request, s."""
AFTER_DAMAGE = 0.5
"""When a damaged frame came, it was most likely the answer: what else may come has so long, s."""


class Line(Generic[F]):
    """Carries `Request`s to a device and brings back the frame that matches.

    A port that fails raises PortLost. An answer that does not come, or comes damaged, raises NoAnswer after at most
    `settings.timeout`. Everything that was received and not believed is counted: `late` (answers a question that was
    given up), `doubled` (answers the question before, again), `foreign` (answers nothing we asked), and the kinds of
    `Damage`; `timeouts` counts answers that never came.

    An answer that was given up may still come, and be taken for the one to the same question asked again. Devices
    answer in order: so once an answer is owed (and after opening, since who asked before is not known), the questions
    of `synchronise` are asked first: one that nothing else asks, or two different ones, of which at most the first can
    be answered by what was owed. Behind the last answer nothing old can come.
    `beat` is called at least each second while a request is under way.

    A device that also talks unasked: its driver sets `unasked`, which is given each frame that answers nothing we
    asked and returns whether it takes it; what it does not take is foreign.
    """

    def __init__(
        self,
        where: str,
        settings: LineSettings,
        decoder: Callable[[], Decoder[F]],
        stop: threading.Event,
        note: Callable[[str], None],
        *,
        synchronise: tuple[Request[F], ...] = (),
        beat: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.where = where
        self.settings = settings
        self._port = Port(where, settings, note)
        self.counters: Counter[str] = self._port.counters
        self._new_decoder = decoder
        self._decoder = decoder()
        self._stop = stop
        self._synchronise = synchronise
        self._beat = beat
        self._clock = clock
        self._answered: Request[F] | None = None
        self._given_up: deque[Request[F]] = deque(maxlen=16)
        self._free_at = 0.0
        self._unsettled = False
        self._owed = False
        self._deadline: float | None = None
        self.unasked: Callable[[F], bool] = lambda _: False

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port.is_open

    def open(self) -> None:
        """Open the port. Raises PortLost."""
        self._port.open()
        self._decoder = self._new_decoder()
        self._unsettled = self._owed = True

    def close(self) -> None:
        """Close the port; never waits for bytes that a hung port would not take."""
        self._port.close()

    def finish_by(self, deadline: float) -> None:
        """From now on the daemon is stopping: requests go on until `deadline` (monotonic), with short pauses."""
        self._deadline = deadline

    def rest(self, seconds: float) -> None:
        """The next request waits this long at least: the device needs the time."""
        self._free_at = max(self._free_at, self._clock() + seconds)

    def exchange(self, request: Request[F]) -> F:
        """Send a request, return its answer. Raises PortLost, NoAnswer, or Stopped when the daemon is stopping."""
        if self._owed and self._deadline is None:  # while stopping, the order to be safe goes first
            for first in self._synchronise:
                self._exchange(first)
            self._owed = False
        try:
            return self._exchange(request)
        except Stopped:
            self._unsettled = True  # what was asked may still be answered
            raise

    def _exchange(self, request: Request[F]) -> F:
        self.pause()
        self._drain()
        self.counters["requests"] += 1
        self._port.write(request.data, self._check_stop, self.settings.timeout)
        return self._await(request)

    @property
    def _patience(self) -> float:
        return self.settings.timeout if self._deadline is None else min(self.settings.timeout, LAST_TIMEOUT)

    def _await(self, request: Request[F]) -> F:
        deadline = self._clock() + self._patience
        damaged: Damage | None = None
        while True:
            self._check_stop()
            over = self._clock() >= deadline
            # A machine that stalls is late itself: an answer that lies in the port by then came in time.
            data = self._port.read(wait=not over)
            frames = self._decoder.feed(data) if data else []
            for position, frame in enumerate(frames):
                if not isinstance(frame, Damaged) and request.matches(frame):
                    self._free_at = self._clock() + self.settings.interval
                    self._answered = request
                    # From here on such a frame is a double or foreign; it cannot be late for ever.
                    self._given_up = deque((old for old in self._given_up if not old.matches(frame)), maxlen=16)
                    for extra in frames[position + 1 :]:
                        self._count(extra)
                    self.counters["answers"] += 1
                    return frame
                self._count(frame)
                if isinstance(frame, Damaged) and frame.kind in (Damage.CHECKSUM, Damage.MALFORMED, Damage.TRUNCATED):
                    damaged = frame.kind
                    deadline = min(deadline, self._clock() + AFTER_DAMAGE)
            if over:
                return self._give_up(request, damaged)

    def _give_up(self, request: Request[F], damaged: Damage | None) -> F:
        for frame in self._decoder.flush():
            self._count(frame)
            if isinstance(frame, Damaged):
                damaged = damaged or frame.kind
        self._given_up.append(request)
        self._unsettled = self._owed = True
        self._free_at = self._clock() + self.settings.interval
        if damaged is not None:
            self.counters["damaged_answers"] += 1
            raise NoAnswer(f"{request.name}: the answer came damaged ({damaged})")
        self.counters["timeouts"] += 1
        raise NoAnswer(f"{request.name}: no answer within {self._patience:g} s")

    def _drain(self) -> None:
        """Take and count what lies in the port before asking: it cannot be the answer to what was not asked yet."""
        quiet_at = self._clock() + (QUIET if self._unsettled else 0.0)
        give_up_at = self._clock() + self.settings.timeout
        while True:
            self._check_stop()
            data = self._port.read(wait=False)
            for frame in self._decoder.feed(data) if data else []:
                self._count(frame)
            now = self._clock()
            if data:
                quiet_at = now + (QUIET if self._unsettled else 0.0)
            if data and now >= give_up_at:
                raise NoAnswer("the line does not fall silent; is something else talking on it?")
            if not data and now >= quiet_at:
                break
            if not data:
                self._stop.wait(min(0.02, quiet_at - now))
        for frame in self._decoder.flush():
            self._count(frame)
        self._unsettled = False

    def _count(self, frame: F | Damaged) -> None:
        if isinstance(frame, Damaged):
            self.counters[str(frame.kind)] += 1
        elif any(request.matches(frame) for request in self._given_up):
            self.counters["late"] += 1
        elif self._answered is not None and self._answered.matches(frame):
            self.counters["doubled"] += 1
        elif not self.unasked(frame):
            self.counters["foreign"] += 1

    def pause(self) -> None:
        """Leave the device the time it needs between a reply and the next request. Raises as `exchange` does."""
        self._port.require()
        while True:
            self._check_stop()
            wait = self._free_at - self._clock()
            if wait <= 0:
                return
            if self._deadline is not None:
                time.sleep(min(wait, LAST_PAUSE))  # bounded: the way out of a stopping daemon
                return
            self._stop.wait(min(wait, SLICE))

    def _check_stop(self) -> None:
        self._beat()
        if self._deadline is None and self._stop.is_set():
            raise Stopped("the daemon is stopping")
        if self._deadline is not None and self._clock() >= self._deadline:
            raise Stopped("no time left before the daemon ends")
