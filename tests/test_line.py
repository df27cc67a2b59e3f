# SPDX-License-Identifier: GPL-3.0-or-later
"""The line on a real pty: what is not the answer to the question is counted, and never taken for it."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest
from conftest import wait_for

from rockit.chiller.protocols import thermotek
from rockit.common.framing import Request
from rockit.common.transport import NoAnswer, PortLost, Stopped
from rockit.common.transport.line import Line
from rockit.common.transport.settings import LineSettings

SUPPLY = b"#01040rSupplyT+02065E\r"
SETPOINT = b"#01030rSetTemp+019040\r"
Answer = Callable[[bytes], list[bytes]]


class Peer:
    """The other end of a pty: answers each request with what `answer` gives for it, one write each."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        self._slave = slave
        self._ended, self._end = os.pipe()
        self.requests: list[bytes] = []
        self.answer: Answer = lambda _request: []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self.master, self._ended], [], [])
            if self._ended in ready:
                return
            data = os.read(self.master, 4096)
            self.requests.append(data)
            for part in self.answer(data):
                os.write(self.master, part)

    def say(self, data: bytes) -> None:
        os.write(self.master, data)

    def hang_up(self) -> None:
        """Both ends go, as when an adaptor is pulled.

        The thread ends first: the next peer gets the same descriptor numbers, and this one must not answer there.
        """
        if not self._thread.is_alive():
            return
        os.close(self._end)
        self._thread.join()
        for descriptor in (self._ended, self._slave, self.master):
            os.close(descriptor)


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.hang_up()


@pytest.fixture
def line(peer: Peer) -> Iterator[Line[thermotek.Reply | thermotek.Rejection]]:
    made = make_line(peer.path)
    made.open()
    yield made
    made.close()


def make_line(
    path: str, synchronise: tuple[Request[Any], ...] = (), **settings: float
) -> Line[thermotek.Reply | thermotek.Rejection]:
    wanted = LineSettings(xonxoff=True, **{"timeout": 0.4, "interval": 0.0, **settings})
    return Line(path, wanted, thermotek.Decoder, threading.Event(), lambda _text: None, synchronise=synchronise)


def ask(number: int) -> Request[thermotek.Reply | thermotek.Rejection]:
    return thermotek.request(number)


def counted(line: Line[thermotek.Reply | thermotek.Rejection], *names: str) -> dict[str, int]:
    return {name: line.counters[name] for name in names}


def test_the_answer_comes_back_and_a_request_is_one_write(peer: Peer, line: Line) -> None:
    peer.answer = lambda _request: [SUPPLY]
    assert line.exchange(ask(4)).data == "+0206"
    assert peer.requests == [b".0104rSupplyT46\r"]


@pytest.mark.parametrize("cut", range(1, len(SUPPLY)))
def test_an_answer_in_two_pieces_is_one_answer(peer: Peer, line: Line, cut: int) -> None:
    peer.answer = lambda _request: [SUPPLY[:cut], SUPPLY[cut:]]
    assert line.exchange(ask(4)).data == "+0206"


def test_a_late_answer_is_not_the_answer_to_the_next_question(peer: Peer, line: Line) -> None:
    with pytest.raises(NoAnswer, match="no answer"):
        line.exchange(ask(4))
    peer.answer = lambda _request: [SUPPLY, SETPOINT]  # the late one first, then the right one
    assert line.exchange(ask(3)).data == "+0190"
    assert counted(line, "timeouts", "late", "foreign", "doubled") == {
        "timeouts": 1,
        "late": 1,
        "foreign": 0,
        "doubled": 0,
    }


SENSOR = b"#01020rCtrlSen0"


def sealed(frame: bytes) -> bytes:
    return frame + b"%02X\r" % (sum(frame) % 256)


def test_the_late_answer_to_a_question_is_not_the_answer_to_the_same_question_asked_again(peer: Peer) -> None:
    line = make_line(peer.path, synchronise=(ask(2),))
    peer.answer = lambda request: [sealed(SENSOR)] if b"rCtrlSen" in request else []
    line.open()
    with pytest.raises(NoAnswer):
        line.exchange(ask(4))
    late = b"#01040rSupplyT+029566\r"  # 29.5 °C, as it was then

    def answer(request: bytes) -> list[bytes]:
        return [late, sealed(SENSOR)] if b"rCtrlSen" in request else [SUPPLY]

    peer.answer = answer
    assert line.exchange(ask(4)).data == "+0206"
    assert counted(line, "late", "doubled") == {"late": 1, "doubled": 0}
    asked = [request[5:13] for request in peer.requests]
    assert asked == [b"rCtrlSen", b"rSupplyT", b"rCtrlSen", b"rSupplyT"], "after opening, and while one is owed"
    assert line.exchange(ask(4)).data == "+0206"
    assert peer.requests[-1][5:13] == b"rSupplyT", "and not again"
    line.close()


def test_nothing_is_asked_while_the_line_cannot_be_synchronised(peer: Peer) -> None:
    line = make_line(peer.path, synchronise=(ask(2),), timeout=0.3)
    line.open()
    for _ in range(2):
        with pytest.raises(NoAnswer):
            line.exchange(ask(4))
    assert {request[5:13] for request in peer.requests} == {b"rCtrlSen"}
    line.close()


class Clock(threading.Event):
    """Time that passes only when somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        self.now += timeout or 0.0
        return False


def test_the_device_has_its_pause_between_a_reply_and_the_next_request(peer: Peer) -> None:
    clock, beats = Clock(), []
    line: Line[Any] = Line(
        peer.path, LineSettings(xonxoff=True, timeout=9.0, interval=2.5), thermotek.Decoder, clock, pytest.fail,
        clock=clock, beat=lambda: beats.append(clock.now),
    )  # fmt: skip
    line.open()
    peer.answer = lambda _request: [SUPPLY]
    line.exchange(ask(4))
    for waited, rest in ((2.5, 0.0), (2.5, 1.0), (4.0, 4.0)):
        before = clock.now
        line.rest(rest)
        line.exchange(ask(4))
        assert clock.now - before == pytest.approx(waited)
        assert max(clock.waits) <= 1.0, "and is not silent for long"
    line.close()
    assert max(b - a for a, b in pairwise(beats)) <= 1.0


def test_a_machine_that_stalls_does_not_call_the_device_silent_or_noisy(peer: Peer) -> None:
    clock = Clock()

    def stall() -> None:
        clock.now += 60.0
        if line.counters["requests"] == line.counters["answers"] + 1:
            wait_for(lambda: line._port._port.in_waiting, "the answer")

    line: Line[Any] = Line(
        peer.path, LineSettings(xonxoff=True, timeout=0.4, interval=0.0), thermotek.Decoder, clock, pytest.fail,
        clock=clock, beat=stall,
    )  # fmt: skip
    line.open()
    peer.answer = lambda _request: [SUPPLY]
    assert line.exchange(ask(4)).data == "+0206"
    line.close()


def test_a_late_answer_that_waits_in_the_port_is_drained_before_asking_again(peer: Peer, line: Line) -> None:
    with pytest.raises(NoAnswer):
        line.exchange(ask(4))
    peer.say(b"#01040rSupplyT+029566\r")  # 29.5 °C, too late
    wait_for(lambda: line._port._port.in_waiting, "the late bytes in the port")
    peer.answer = lambda _request: [SUPPLY]
    assert line.exchange(ask(4)).data == "+0206", "the old 29.5 °C must not pass for the new answer"
    assert line.counters["late"] == 1


def test_a_doubled_answer_is_counted_and_does_not_answer_the_next_question(peer: Peer, line: Line) -> None:
    peer.answer = lambda request: [SUPPLY, SUPPLY] if b"rSupplyT" in request else [SETPOINT]
    assert line.exchange(ask(4)).data == "+0206"
    assert line.exchange(ask(3)).data == "+0190"
    assert counted(line, "doubled", "late", "foreign") == {"doubled": 1, "late": 0, "foreign": 0}


def test_a_foreign_answer_is_passed_over(peer: Peer, line: Line) -> None:
    other_unit = b"#02040rSupplyT+020660\r"
    wrong_sum = sum(other_unit[:-3]) % 256
    other_unit = other_unit[:-3] + f"{wrong_sum:02X}\r".encode()
    peer.answer = lambda _request: [other_unit, SUPPLY]
    assert line.exchange(ask(4)).data == "+0206"
    assert line.counters["foreign"] == 1


@pytest.mark.parametrize(
    ("answer", "counter"),
    [
        (SUPPLY[:-4] + b"05E\r", "checksum"),
        (b"#01040rSupplyT+0206", "truncated"),
        (b"#01040rSup" + f"{sum(b'#01040rSup') % 256:02X}".encode() + b"\r", "malformed"),
        (b"\x00\xff noise", "garbage"),
    ],
)
def test_what_is_damaged_is_no_answer_and_says_how(peer: Peer, line: Line, answer: bytes, counter: str) -> None:
    peer.answer = lambda _request: [answer]
    with pytest.raises(NoAnswer):
        line.exchange(ask(4))
    assert line.counters[counter] == 1, dict(line.counters)
    peer.answer = lambda _request: [SUPPLY]
    assert line.exchange(ask(4)).data == "+0206", "and the next exchange is clean"


def test_a_line_that_never_falls_silent_is_told_from_one_that_answers(peer: Peer, line: Line) -> None:
    with pytest.raises(NoAnswer):
        line.exchange(ask(4))
    chatter = threading.Event()

    def talk() -> None:
        while not chatter.wait(0.01):
            peer.say(b"noise")

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        with pytest.raises(NoAnswer, match="silent"):
            line.exchange(ask(4))
    finally:
        chatter.set()
        talker.join()


def test_a_port_that_goes_is_lost_and_not_silent(peer: Peer, line: Line) -> None:
    peer.hang_up()
    with pytest.raises(PortLost):
        line.exchange(ask(4))
    with pytest.raises(PortLost):
        line.exchange(ask(4))


def test_a_stop_ends_a_wait_at_once(peer: Peer) -> None:
    stop = threading.Event()
    line = Line(peer.path, LineSettings(timeout=600), thermotek.Decoder, stop, lambda _text: None)
    line.open()
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    with pytest.raises(Stopped):
        line.exchange(ask(4))
    timer.join()
    line.close()


def test_a_port_without_device_says_what_to_do(tmp_path) -> None:
    with pytest.raises(PortLost, match="does not exist; is the cable plugged in"):
        make_line(str(tmp_path / "nothing")).open()


def test_something_that_is_no_port_says_so(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(PortLost, match="cannot be set up as a serial port"):
        make_line(str(path)).open()


def test_a_port_in_use_names_who_has_it(peer: Peer, line: Line) -> None:
    with pytest.raises(PortLost, match="is in use by"):
        make_line(peer.path).open()


def test_a_pty_that_takes_no_parity_is_used_without_and_says_so_once(peer: Peer) -> None:
    said: list[str] = []
    line = Line(
        peer.path, LineSettings(bytesize=7, parity="E", timeout=0.4), thermotek.Decoder, threading.Event(), said.append
    )
    peer.answer = lambda _request: [SUPPLY]
    for _ in range(3):
        line.open()
        assert line.exchange(ask(4)).data == "+0206"
        line.close()
    assert len(said) == 1
    assert "8N1" in said[0]
