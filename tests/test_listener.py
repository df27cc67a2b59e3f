# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening at a real pseudo terminal to a device that talks by itself."""

from __future__ import annotations

import os
import pty
import threading
import tty
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from harness import wait_for
from smlmeters import edl21

from rockit.common.transport import PortLost, Stopped
from rockit.common.transport.listener import Listener
from rockit.common.transport.settings import LineSettings
from rockit.meter.protocols.sml import Decoder, Telegram


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A pseudo terminal with a listener at its near end."""

    def __init__(self, baud: int = 9600) -> None:
        self.far, self._near = pty.openpty()
        tty.setraw(self._near)
        self.clock, self.stop, self.beats = Clock(), threading.Event(), 0
        self.listener: Listener[Telegram] = Listener(
            os.ttyname(self._near), LineSettings(baud=baud), Decoder, self.stop, lambda _text: None,
            beat=self.beat, clock=self.clock,
        )  # fmt: skip

    def beat(self) -> None:
        self.beats += 1

    def heard(self, count: int) -> list[tuple[Telegram, float]]:
        """So many telegrams, however many ticks that takes."""
        found: list[tuple[Telegram, float]] = []

        def enough() -> bool:
            found.extend(self.listener.listen())
            return len(found) >= count

        wait_for(enough, f"{count} telegrams")
        assert len(found) == count
        return found

    def pull(self) -> None:
        """Both ends go, as those of an adapter do that is pulled out."""
        for descriptor in (self.far, self._near):
            if descriptor >= 0:
                os.close(descriptor)
        self.far = self._near = -1


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.listener.close()
    made.pull()


def test_telegrams_that_came_together_get_the_times_of_their_line(line: Line) -> None:
    line.listener.open()
    telegrams = [edl21(n=n) for n in (1, 2, 3)]
    os.write(line.far, b"".join(telegrams))
    heard = line.heard(3)
    times = [at for _, at in heard]
    seconds = len(telegrams[0]) * 10 / 9600
    assert times[-1] == pytest.approx(line.clock.now, abs=1e-9)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([seconds, seconds])


def test_bytes_behind_a_telegram_make_it_older(line: Line) -> None:
    line.listener.open()
    os.write(line.far, edl21() + edl21(n=8)[:96])
    ((_, at),) = line.heard(1)
    assert at == pytest.approx(line.clock.now - 0.1)
    assert line.listener.noise is True, "something has begun"
    line.clock.now += 5
    os.write(line.far, edl21(n=8)[96:])
    ((_, at),) = line.heard(1)
    assert at == pytest.approx(line.clock.now)
    assert line.listener.noise is False


def test_times_always_ascend_however_quick_a_replay_is(line: Line) -> None:
    line.listener.open()
    times = []
    for n in range(20):
        os.write(line.far, edl21(n=2 * n) + edl21(n=2 * n + 1))
        times += [at for _, at in line.heard(2)]
    assert all(a < b for a, b in pairwise(times))


def test_the_order_of_telegrams_is_the_line_s(line: Line) -> None:
    line.listener.open()
    os.write(line.far, b"".join(edl21(energy=1000 + n) for n in range(8)))
    energies = [telegram.lists[0].entries[2].value for telegram, _ in line.heard(8)]
    assert energies == [1000 + n for n in range(8)]


def test_silence_gives_nothing_and_lives(line: Line) -> None:
    line.listener.open()
    assert line.listener.listen() == []
    assert line.beats == 1
    assert line.listener.noise is False


def test_a_stop_ends_it_at_the_next_tick(line: Line) -> None:
    line.listener.open()
    found: list[Any] = []

    def listen() -> None:
        try:
            while True:
                line.listener.listen()
        except Stopped as error:
            found.append(error)

    thread = threading.Thread(target=listen)
    thread.start()
    wait_for(lambda: line.beats > 1, "the loop")
    line.stop.set()
    thread.join(30)
    assert not thread.is_alive()
    assert len(found) == 1
    beats = line.beats
    with pytest.raises(Stopped):
        line.listener.listen()
    assert line.beats == beats + 1


def test_a_pulled_cable_is_a_lost_port(line: Line) -> None:
    line.listener.open()
    os.write(line.far, edl21())
    line.heard(1)
    line.pull()
    with pytest.raises(PortLost):
        line.heard(1)
    assert line.listener.is_open is False
    assert line.listener.counters["port_lost"] == 1
    with pytest.raises(PortLost):
        line.listener.listen()


def test_a_port_that_is_not_there_is_a_lost_port() -> None:
    listener: Listener[Telegram] = Listener(
        "/dev/there-is-none", LineSettings(), Decoder, threading.Event(), lambda _text: None
    )
    with pytest.raises(PortLost, match=r"there-is-none"):
        listener.open()
    with pytest.raises(PortLost):
        listener.listen()


def test_what_was_not_believed_is_counted(line: Line) -> None:
    line.listener.open()
    spoilt = bytearray(edl21())
    spoilt[120] ^= 0x04
    os.write(line.far, b"\x00" * 7 + bytes(spoilt) + edl21(n=8))
    assert [telegram.whole for telegram, _ in line.heard(2)] == [False, True], "with what was saved of it"
    counters = line.listener.counters
    assert counters["answers"] == 1, "one telegram is not two"
    assert counters["checksum"] == 1
    assert counters["lost_bytes"] == 7 + len(spoilt)


def test_half_a_telegram_before_a_new_beginning_is_lost_and_the_next_one_is_not(line: Line) -> None:
    line.listener.open()
    os.write(line.far, edl21()[:200])
    wait_for(lambda: line.listener.listen() == [] and line.listener.noise, "the half")
    line.listener.close()
    assert line.listener.counters["lost_bytes"] == 200, "counted, too"
    line.listener.open()
    assert line.listener.noise is False
    os.write(line.far, edl21()[200:] + edl21(n=8))
    ((telegram, _),) = line.heard(1)
    assert telegram.end == len(edl21()[200:]) + len(edl21(n=8))
