# SPDX-License-Identifier: GPL-3.0-or-later
"""The query loop with a task that fails on demand: it goes on, says each fault once, and runs commands in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from conftest import wait_for

from rockit.common import poll
from rockit.common.conditions import Condition
from rockit.common.errors import Code, CommandError
from rockit.common.framing import ProtocolError, Refused
from rockit.common.log import Log
from rockit.common.poll import UNSTEADY, Poller
from rockit.common.transport import NoAnswer, PortLost


class Task:
    """Polls in three steps; `trouble` is raised at the step it names."""

    def __init__(self) -> None:
        self.trouble: dict[str, Exception] = {}
        self.once: dict[str, Exception] = {}
        self.polls = 0
        self.reasons: list[str] = []
        self.shut_down = False
        self.in_step = threading.Event()
        self.hold: threading.Event | None = None
        self.connects = 0
        self.connects_then: list[int] = []

    def _at(self, place: str) -> None:
        error = self.once.pop(place, None) or self.trouble.get(place)
        if error is not None:
            raise error

    def connect(self) -> str:
        self.connects += 1
        self._at("connect")
        return "device"

    def disconnect(self) -> None:
        self._at("disconnect")

    def steps(self) -> Iterator[None]:
        for number in range(3):
            self.in_step.set()
            if self.hold is not None:
                self.hold.wait(30)
            self._at(f"step {number}")
            yield

    def finish(self) -> None:
        self._at("finish")
        self.polls += 1

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self.connects_then.append(self.connects)
        self._at("lost")

    def shutdown(self, deadline: float) -> None:
        self.shut_down = True


class Recorder(Log):
    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[str] = []

    def _write(self, level: str, text: str) -> None:
        self.lines.append(f"{level} {text}")


@pytest.fixture
def parts() -> Iterator[tuple[Task, Poller, Recorder, threading.Event, list[float]]]:
    task, log, stop, beats = Task(), Recorder(), threading.Event(), []
    poller = Poller(task, "device", 0.01, stop, log, lambda: beats.append(time.monotonic()))
    yield task, poller, log, stop, beats
    stop.set()
    poller.hurry()
    poller.thread.join(10)
    assert not poller.thread.is_alive()


def running(poller: Poller, task: Task) -> None:
    poller.start()
    wait_for(lambda: task.polls >= 2, "two polls")


def test_a_single_missing_answer_costs_a_fresh_start_and_no_outage(parts) -> None:
    task, poller, log, *_ = parts
    running(poller, task)
    for place in ("step 0", "step 2"):
        task.once[place] = NoAnswer("no answer within 1 s")
        wait_for(lambda: not task.once, "the glitch")
        polls = task.polls
        wait_for(lambda polls=polls: task.polls > polls, "the next poll")
    assert task.reasons == []
    assert [line for line in log.lines if "Lost" in line] == []
    assert poller.counters["polls_failed"] == 2


def test_a_device_that_connects_and_does_not_answer_has_no_second_chance_each_time(parts) -> None:
    task, poller, *_ = parts
    task.trouble["step 0"] = NoAnswer("no answer within 1 s")
    poller.start()
    wait_for(lambda: len(task.reasons) >= 2, "two failed attempts")
    assert task.connects_then[:2] == [1, 2]


def test_each_poll_is_judged_once(parts) -> None:
    task, poller, *_ = parts
    running(poller, task)
    for place in ("finish", "step 1"):
        task.once[place] = NoAnswer("no answer within 1 s")
        polls = task.polls
        wait_for(lambda polls=polls: not task.once and task.polls > polls, "the glitch and the next poll")
    poller._stop.set()
    poller.thread.join(30)
    assert len(poller._outcomes) == poller.counters["polls"]
    assert poller._outcomes.count(False) == 2


def test_a_fault_is_said_once_when_it_begins_and_once_when_it_ends(parts) -> None:
    task, poller, log, *_ = parts
    running(poller, task)
    task.trouble["step 1"] = NoAnswer("no answer within 1 s")
    wait_for(lambda: len(task.reasons) >= 3, "three failed attempts")
    task.trouble.clear()
    polls = task.polls
    wait_for(lambda: task.polls > polls, "a good poll")
    assert [line.split(" to ")[0] for line in log.lines] == [
        "info Established connection", "error Lost connection", "info Restored connection",
    ]  # fmt: skip
    assert "failed attempts" in log.lines[-1]


@pytest.mark.parametrize("place", ["connect", "step 0", "step 2", "finish", "lost", "disconnect"])
@pytest.mark.parametrize(
    "error", [ProtocolError("nonsense"), PortLost("gone"), OSError(5, "I/O"), RuntimeError("a bug"), ValueError()]
)
def test_no_error_anywhere_ends_the_loop(parts, place: str, error: Exception) -> None:
    task, poller, _log, *_ = parts
    running(poller, task)
    task.trouble[place] = error
    if place in ("connect", "lost", "disconnect"):
        task.trouble["step 0"] = PortLost("gone")
    wait_for(lambda: task.reasons, "the loss")
    task.trouble.clear()
    polls = task.polls
    wait_for(lambda: task.polls > polls, "polls again")


def test_a_device_that_says_no_when_it_is_asked_who_it_is_is_told_as_such(parts) -> None:
    task, poller, log, *_ = parts
    running(poller, task)
    task.once["step 1"] = NoAnswer("no answer within 1 s")
    task.trouble["connect"] = Refused("3", "bad command")
    wait_for(lambda: task.reasons, "the loss")
    assert "no answer within 1 s; then: the device refused: bad command (code 3)" in log.lines[-1]
    assert poller.counters["internal_errors"] == 0
    task.trouble.clear()


def test_a_line_that_loses_answers_now_and_then_is_an_alarm_until_it_is_steady(parts) -> None:
    task, poller, log, *_ = parts
    told: list[dict[str, Condition]] = []
    poller._tell = told.append
    running(poller, task)
    for _ in range(UNSTEADY):
        assert "unsteady_line" not in told[-1]
        failed = poller.counters["polls_failed"]
        task.once["step 1"] = NoAnswer("no answer within 1 s")
        wait_for(lambda failed=failed: poller.counters["polls_failed"] > failed, "the glitch")
        polls = task.polls
        wait_for(lambda polls=polls: task.polls > polls, "the next poll")
    wait_for(lambda: "unsteady_line" in told[-1], "the alarm")
    assert task.reasons == [], "it was never lost"
    assert [line for line in log.lines if "Lost" in line] == []
    wait_for(lambda: "unsteady_line" not in told[-1], "its end")


def test_a_bug_is_told_with_its_traceback_but_not_for_ever(parts) -> None:
    task, poller, log, *_ = parts
    task.trouble["finish"] = RuntimeError("a bug")
    poller.start()
    wait_for(lambda: poller.counters["internal_errors"] >= 4, "four errors", 60)
    assert sum("Traceback" in line for line in log.lines) == 3


def test_commands_run_between_two_exchanges_of_a_poll_and_not_after_it(parts) -> None:
    task, poller, *_ = parts
    task.hold = threading.Event()
    poller.start()
    task.in_step.wait(30)
    order: list[int] = []
    answer: list[str] = []
    caller = threading.Thread(
        target=lambda: answer.append(poller.submit(lambda: order.append(task.polls) or "done", 30))
    )
    caller.start()
    wait_for(lambda: poller._jobs.qsize() == 1, "the command in the queue")
    polls = task.polls
    task.hold.set()
    caller.join(30)
    assert answer == ["done"]
    assert order == [polls], "within the poll that had begun"


def test_a_command_that_waited_in_vain_never_runs(parts) -> None:
    task, poller, *_ = parts
    task.hold = threading.Event()
    poller.start()
    task.in_step.wait(30)
    ran: list[bool] = []
    with pytest.raises(CommandError) as error:
        poller.submit(lambda: ran.append(True) or "done", 0.05)
    assert error.value.code == Code.DEVICE_OFFLINE
    assert "nothing was sent" in error.value.message
    task.hold.set()
    polls = task.polls
    wait_for(lambda: task.polls > polls + 1, "polls afterwards")
    assert ran == []


def test_a_command_that_is_found_too_late_is_not_run() -> None:
    """After a stall of the whole process the loop may be quicker than the caller who waits no longer."""
    ran: list[bool] = []
    job = poll.Job(lambda: ran.append(True) or "done", -1.0)
    job.execute(Recorder())
    assert job.done.is_set()
    assert isinstance(job.error, poll.NotBegun)
    assert ran == []


def test_a_second_command_is_told_that_one_is_running(parts) -> None:
    task, poller, *_ = parts
    running(poller, task)
    inside, leave = threading.Event(), threading.Event()

    def slow() -> str:
        inside.set()
        leave.wait(30)
        return "done"

    caller = threading.Thread(target=lambda: poller.submit(slow, 30))
    caller.start()
    inside.wait(30)
    with pytest.raises(CommandError) as error:
        poller.submit(lambda: "never", 30)
    assert error.value.code == Code.BLOCKED
    leave.set()
    caller.join(30)
    assert poller.submit(lambda: "again", 30) == "again"


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (CommandError(Code.HELD, "held"), Code.HELD),
        (PortLost("gone"), Code.DEVICE_OFFLINE),
        (RuntimeError("bug"), Code.FAILED),
    ],
)
def test_what_a_command_raises_reaches_who_gave_it(parts, raised: Exception, code: Code) -> None:
    task, poller, *_ = parts
    running(poller, task)

    def fail() -> str:
        raise raised

    with pytest.raises(CommandError) as error:
        poller.submit(fail, 30)
    assert error.value.code == code
    polls = task.polls
    wait_for(lambda: task.polls > polls, "polls go on")


def test_the_watchdog_is_fed_while_disconnected_and_not_while_stuck(parts) -> None:
    task, poller, _log, _stop, beats = parts
    task.trouble["connect"] = PortLost("gone")
    poller.start()
    wait_for(lambda: len(task.reasons) >= 2, "two attempts")
    seen = len(beats)
    wait_for(lambda: len(beats) > seen, "a beat while waiting")
    task.hold = threading.Event()
    task.in_step.clear()
    task.trouble.clear()
    wait_for(task.in_step.is_set, "a stuck step", 60)
    stuck = len(beats)
    assert poller.thread.is_alive()
    with pytest.raises(CommandError):
        poller.submit(lambda: "never", 0.2)
    assert len(beats) == stuck, "a stuck loop must not feed the watchdog"
    task.hold.set()


def test_stop_ends_a_waiting_loop_and_leaves_the_device_safe(parts) -> None:
    task, poller, _log, stop, _beats = parts
    poller._period = 3600
    poller.start()
    wait_for(lambda: task.polls == 1, "the first poll")
    stop.set()
    assert poller.end(time.monotonic() + 30) is True
    assert task.shut_down


def test_hurry_polls_at_once(parts) -> None:
    task, poller, *_ = parts
    poller._period = 3600
    poller.start()
    wait_for(lambda: task.polls == 1, "the first poll")
    poller.hurry()
    wait_for(lambda: task.polls == 2, "the hurried poll")
