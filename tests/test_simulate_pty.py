# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated device on a real pty, opened through pyserial as a daemon would."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import serial

from rockit.chiller.simulators.thermotek import T257P
from rockit.common.simulate import PtyServer, SimulatorError, control

ROOT = Path(__file__).parent.parent
ASK = b".0103rSetTemp26\r"
ANSWER = b"#01030rSetTemp+020038\r"

CHILD = """
import sys, time
from rockit.chiller.simulators.thermotek import T257P
from rockit.common.simulate import serve
sys.exit(serve(T257P(now=time.monotonic()), sys.argv[1], ready=lambda: print("ready", flush=True)))
"""


def until(condition, what, seconds=10.0):
    """Wait for a condition; the deadline only bounds a failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.005)


@contextlib.contextmanager
def serving(link, device=None, **options):
    server = PtyServer(device or T257P(now=time.monotonic()), link, **options)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(10)
        server.close()
    assert not thread.is_alive()


@contextlib.contextmanager
def port(link, timeout=5.0):
    with serial.Serial(str(link), 9600, timeout=timeout, xonxoff=True, exclusive=True) as opened:
        yield opened


def ask(opened, request=ASK):
    opened.write(request)
    return opened.read_until(b"\r")


@contextlib.contextmanager
def child(link):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CHILD, str(link)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def link(tmp_path):
    return tmp_path / "chiller"


def test_a_host_asks_and_is_answered_again_after_closing_the_port(link):
    with serving(link):
        assert link.is_symlink()
        assert stat.S_ISCHR(link.stat().st_mode)
        for _ in range(3):
            with port(link) as opened:
                assert ask(opened) == ANSWER
    assert not os.path.lexists(link)
    assert not os.path.lexists(f"{link}.control")
    assert list(link.parent.iterdir()) == []


def test_bytes_pass_unchanged_in_both_directions(link):
    """No echo, no newline translation, no control characters: the pty is raw from the start."""

    class Mirror(T257P):
        def take(self, data, now):
            self.reply(bytes(data), now)

    everything = bytes(range(256))
    with serving(link, Mirror(latency=0.0)):
        fd = os.open(link, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(fd, everything)
            seen = b""
            while len(seen) < 256:
                seen += os.read(fd, 4096)
        finally:
            os.close(fd)
    assert seen == everything


def test_faults_are_switched_over_the_control_socket(link):
    with serving(link), port(link) as opened:
        assert control(link, "fault checksum once") == "ok"
        assert ask(opened) == b"#01030rSetTemp+020138\r"
        assert ask(opened) == ANSWER
        assert control(link, "fault double on") == "ok"
        assert json.loads(control(link, "faults"))["double"]["value"] == "on"
        opened.write(ASK)
        assert opened.read(len(ANSWER) * 2) == ANSWER * 2
        assert control(link, "fault double off") == "ok"
        listed = json.loads(control(link, "faults"))
        assert {"silence", "late", "slow", "low_level", "unplug"} <= set(listed)
        assert {entry["value"] for entry in listed.values()} == {"off"}
        assert all(entry["description"] for entry in listed.values())


def test_a_fault_does_not_reach_an_answer_that_is_on_its_way(link):
    with serving(link, T257P(latency=0.3, now=time.monotonic())), port(link) as opened:
        opened.write(ASK)
        until(lambda: json.loads(control(link, "info"))["commands"] == 1, "the question has arrived")
        assert control(link, "fault late 1000") == "ok"
        assert opened.read_until(b"\r") == ANSWER


def test_silence_means_no_bytes(link):
    with serving(link), port(link, timeout=0.3) as opened:
        control(link, "fault silence once")
        assert ask(opened) == b""
        assert ask(opened) == ANSWER


def test_info_and_conditions(link):
    with serving(link), port(link) as opened:
        ask(opened, b".0115sStatus_17C\r")
        info = json.loads(control(link, "info"))
        assert info["running"] is True
        assert info["setpoint"] == 20.0
        assert info["plugged"] is True
        assert "ambient" in json.loads(control(link, "conditions"))
        assert control(link, "set ambient 4") == "ok"
        assert json.loads(control(link, "info"))["ambient"] == 4.0


def test_speed_makes_the_physics_run(link):
    with serving(link, T257P(running=True, setpoint=10.0, now=time.monotonic()), speed=1000.0):
        until(lambda: json.loads(control(link, "info"))["coolant_temp"] < 11.0, "the coolant is cold")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("fault earthquake on", "no fault 'earthquake'"), ("fault late soon", "not a number"), ("fault", "NAME VALUE"),
        ("set gravity 1", "no condition 'gravity'"), ("set ambient warm", "not a number"), ("set ambient", "KEY VALUE"),
        ("fault low_level once", "cannot be once"), ("fault unplug at x", "whole number"),
        ("dance", "no command 'dance'"),
    ],
)  # fmt: skip
def test_bad_commands_are_refused_in_words(link, command, complaint):
    with serving(link):
        answer = control(link, command)
        assert answer.startswith("error: ")
        assert complaint in answer
        assert control(link, "info").startswith("{")


def test_clients_of_the_socket_that_misbehave_do_no_harm(link):
    rude, gone = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    with serving(link), port(link) as opened, rude, gone:
        rude.connect(f"{link}.control")
        with contextlib.suppress(OSError):
            rude.sendall(b"x" * 100_000)
        gone.connect(f"{link}.control")
        gone.sendall(b"info\n")
        gone.close()
        assert ask(opened) == ANSWER
        assert control(link, "info").startswith("{")


def test_a_pulled_cable_breaks_the_port_and_a_new_one_works(link):
    with serving(link):
        with port(link) as opened:
            assert ask(opened) == ANSWER
            assert control(link, "fault unplug on") == "ok"
            assert not os.path.lexists(link)
            with pytest.raises(serial.SerialException):
                ask(opened)
        with pytest.raises(serial.SerialException):
            serial.Serial(str(link))
        assert json.loads(control(link, "faults"))["unplug"]["value"] == "on"
        assert json.loads(control(link, "info"))["plugged"] is False
        assert control(link, "fault unplug off") == "ok"
        with port(link) as opened:
            assert ask(opened) == ANSWER


def test_a_cable_pulled_in_the_middle_of_an_answer(link):
    with serving(link):
        with port(link) as opened:
            assert control(link, "fault unplug at 7") == "ok"
            assert json.loads(control(link, "faults"))["unplug"]["value"] == "at 7"
            opened.write(ASK)
            assert opened.read(7) == ANSWER[:7]
            with pytest.raises(serial.SerialException):
                opened.read(1)
        until(lambda: not os.path.lexists(link), "the link is gone")
        control(link, "fault unplug off")
        with port(link) as opened:
            assert ask(opened) == ANSWER


def test_the_device_lives_on_while_the_cable_is_out(link):
    with serving(link):
        with port(link) as opened:
            ask(opened, b".0117sCtrlT__+0150" + b"02\r")
        control(link, "fault unplug on")
        control(link, "fault unplug off")
        with port(link) as opened:
            assert ask(opened)[14:19] == b"+0150"


def test_a_host_that_does_not_read_does_not_stop_the_device(link):
    with serving(link), port(link) as opened:
        opened.xonxoff = False
        for _ in range(2000):
            opened.write(ASK)
        assert control(link, "info", timeout=20).startswith("{")
        opened.reset_input_buffer()


def test_a_stale_link_and_socket_are_replaced(link):
    link.symlink_to("/dev/pts/no-such-terminal")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(f"{link}.control")
    dead.close()
    with serving(link), port(link) as opened:
        assert ask(opened) == ANSWER


@pytest.mark.parametrize("kind", ["file", "directory", "device link", "control file"])
def test_what_is_not_ours_is_left_alone(link, kind):
    target = Path(f"{link}.control") if kind == "control file" else link
    if kind == "directory":
        target.mkdir()
    elif kind == "device link":
        target.symlink_to("/dev/null")
    else:
        target.write_text("mine")
    before = os.lstat(target)
    with pytest.raises(SimulatorError, match="choose another link"):
        PtyServer(T257P(), link).start()
    assert os.path.samestat(os.lstat(target), before)
    assert [entry.name for entry in link.parent.iterdir()] == [target.name]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(SimulatorError, match="cannot make"):
        PtyServer(T257P(), tmp_path / "nowhere" / "chiller").start()


def test_two_simulators_on_one_link(link):
    with serving(link), port(link) as opened:
        with pytest.raises(SimulatorError, match="another simulator serves"):
            PtyServer(T257P(), link).start()
        assert ask(opened) == ANSWER
        assert control(link, "info").startswith("{")
    with serving(link), port(link) as opened:
        assert ask(opened) == ANSWER


def test_nobody_at_the_link(link):
    with pytest.raises(SimulatorError, match="no simulator answers"):
        control(link, "info")
    with pytest.raises(ValueError, match="one line"):
        control(link, "info\nstop")


def test_stop_is_answered_when_all_is_tidy(link):
    server = PtyServer(T257P(), link)
    server.start()
    thread = threading.Thread(target=lambda: (server.run(), server.close()))
    thread.start()
    assert control(link, "stop") == "ok"
    assert list(link.parent.iterdir()) == []
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_serve_ends_tidily_on_signals(link, how):
    with child(link) as process:
        with port(link) as opened:
            assert ask(opened) == ANSWER
        process.send_signal(how)
        assert process.wait(10) == 0
    assert list(link.parent.iterdir()) == []


def test_a_killed_simulator_is_succeeded(link):
    with child(link) as process:
        process.kill()
        process.wait(10)
    assert link.is_symlink()
    with child(link) as process:
        with port(link) as opened:
            assert ask(opened) == ANSWER
        assert control(link, "stop") == "ok"
        assert process.wait(10) == 0
    assert list(link.parent.iterdir()) == []
