# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of chillerd: start, what keeps it from starting, systemd, its end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import serial
from harness import PATIENCE, ROOT, Process, Site, wait_for

from rockit.chiller.drivers.thermotek import T257P
from rockit.chiller.protocols.thermotek import request
from rockit.common.transport import PortLost
from rockit.common.transport.line import Line
from rockit.common.transport.settings import LineSettings

NOBODY = 65534


def run_daemon(site: Site, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run chillerd where it is expected to end by itself."""
    return site.run(str(ROOT / "chillerd"), *arguments, **environment)


def refused(site: Site, code: int, *arguments: str, **environment: str) -> str:
    """chillerd must end with `code` and a sentence on standard error: that one."""
    done = run_daemon(site, *arguments, **environment)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


def said(process: Process, text: str) -> list[str]:
    return [line for line in process.lines() if text in line]


# --- the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0(site: Site, number: int) -> None:
    site.simulator()
    daemon = site.chillerd()
    daemon.signal(number)
    assert daemon.wait() == 0
    assert daemon.lines()[-1] == "INFO chillerd@test: stopped"
    with serial.Serial(str(site.link), exclusive=True):
        pass  # the port was given back


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_while_it_looks_for_its_device(site: Site, number: int) -> None:
    daemon = site.chillerd(wait=False)
    wait_for(lambda: site.status().get("offline_because"), "a failed attempt")
    daemon.signal(number)
    assert daemon.wait() == 0
    assert said(daemon, "stopped")


def test_it_ends_while_an_answer_is_awaited(site: Site) -> None:
    site.write_config(serial_timeout=30)
    site.simulator("--fault", "silence")
    daemon = site.chillerd(wait=False)
    wait_for(lambda: site.status() and requests(site) > 0, "a question without an answer")
    daemon.signal()
    assert daemon.wait(25) == 0, "long before the time-out of the question"
    assert said(daemon, "stopped")


def requests(site: Site) -> int:
    with site.client() as client:
        return client.counters()["requests"]


@contextmanager
def bare_port(site: Site, *, stopped: bool = False) -> Iterator[int]:
    """A pseudo terminal at the site's link; gives the far end, which says nothing by itself.

    `stopped`: it sends XOFF all the time, so that whoever opens the port cannot send anything.
    """
    far, near = pty.openpty()
    tty.setraw(near)
    over = threading.Event()
    sender = threading.Thread(target=_stop_flow, args=(far, over))
    if stopped:
        mode = termios.tcgetattr(near)
        mode[0] |= termios.IXON
        termios.tcsetattr(near, termios.TCSANOW, mode)
        os.set_blocking(far, False)
        sender.start()
        wait_for(lambda: not select.select([], [near], [], 0)[1], "the XOFF, which the kernel delivers when it likes")
    site.link.symlink_to(os.ttyname(near))
    try:
        yield far
    finally:
        over.set()
        if stopped:
            sender.join()
        os.close(far)
        os.close(near)


def _stop_flow(far: int, over: threading.Event) -> None:
    while not over.wait(0.002):
        with suppress(BlockingIOError):
            os.write(far, b"\x13")


def test_it_ends_while_the_port_takes_nothing(site: Site) -> None:
    """Writes wait for an XON that never comes, and closing a tty would wait for them."""
    site.write_config(serial_timeout=30, safe_state="standby")
    with bare_port(site, stopped=True) as far:
        daemon = site.chillerd(wait=False)
        wait_for(lambda: site.status() and requests(site) == 1, "a question")
        assert not select.select([far], [], [], 0)[0], "which takes nothing"
        daemon.signal()
        assert daemon.wait(25) == 0
    assert said(daemon, "stopped")


def test_a_port_that_takes_nothing_is_told_as_such(site: Site) -> None:
    site.write_config(serial_timeout=0.3)
    with bare_port(site, stopped=True):
        daemon = site.chillerd(wait=False)
        wait_for(lambda: "takes no bytes" in site.status().get("offline_because", ""), "the cause")
        assert len(said(daemon, "takes no bytes (flow control")) == 1


def test_a_stop_of_long_ago_does_not_last_for_ever() -> None:
    """An XOFF that nobody took back, as noise on the line may leave it."""
    far, near = pty.openpty()
    try:
        tty.setraw(near)
        line = Line(os.ttyname(near), LineSettings(xonxoff=True), T257P.decoder, threading.Event(), pytest.fail)
        for _ in range(2):
            line.open()
            os.write(far, b"\x13")
            wait_for(lambda line=line: not select.select([], [line._port._port], [], 0)[1], "the XOFF")
            line.close()
        line.open()
        assert select.select([], [line._port._port], [], 0)[1]
        line.close()
    finally:
        os.close(far)
        os.close(near)


def test_a_port_that_takes_nothing_costs_no_processor_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyserial's write asks such a port again and again without a pause: it must not be called before there is room."""
    calls: list[bytes] = []
    monkeypatch.setattr(serial.Serial, "write", lambda _port, data: calls.append(data))
    settings = LineSettings(xonxoff=True, timeout=0.3)
    with bare_port(site, stopped=True):
        line = Line(str(site.link), settings, T257P.decoder, threading.Event(), pytest.fail)
        line.open()
        with pytest.raises(PortLost, match="takes no bytes"):
            line.exchange(request(1))
        line.close()
    assert calls == []


@pytest.mark.parametrize(("safe_state", "before", "after"), [
    ("standby", True, False), ("run", False, True), ("keep", True, True), ("keep", False, False), (None, True, True),
])  # fmt: skip
def test_the_device_is_left_in_the_configured_state(
    site: Site, safe_state: str | None, before: bool, after: bool
) -> None:
    site.write_config(safe_state=safe_state)
    site.simulator("--set", f"running={int(before)}")
    daemon = site.chillerd()
    assert site.info()["running"] is before
    daemon.signal()
    assert daemon.wait() == 0
    assert site.info()["running"] is after
    assert len(said(daemon, "left the chiller in")) == (safe_state in ("run", "standby"))


def test_a_plug_that_was_pulled_between_two_polls_disturbs_no_end(site: Site) -> None:
    """A tty that has hung up refuses to drop its output, with an error that is no OSError."""
    site.write_config(query_delay=3600)
    site.simulator()
    daemon = site.chillerd()
    site.fault("unplug on")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: said(daemon, "does not exist"), "the new start, which misses its port")
    site.fault("unplug off")
    wait_for(lambda: site.status()["connected"], "the chiller")
    site.fault("unplug on")
    daemon.signal()
    assert daemon.wait() == 0
    assert not said(daemon, "Traceback"), daemon.lines()


def test_a_safe_state_that_cannot_be_reached_is_said(site: Site) -> None:
    site.write_config(safe_state="standby", serial_timeout=30)
    site.simulator("--set", "running=1")
    daemon = site.chillerd()
    site.fault("silence on")
    daemon.signal()
    assert daemon.wait(25) == 0
    assert said(daemon, "has not confirmed, in standby: sStatus_ (15): no answer within 0.8 s") or said(
        daemon, "the port hung"
    ), daemon.lines()


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.05, 0.2])  # at different moments of the new start
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGHUP, signal.SIGTERM), (signal.SIGTERM, signal.SIGHUP), (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM)],
)
def test_an_end_counts_more_than_a_new_start(site: Site, signals: tuple[int, ...], pause: float) -> None:
    site.write_config(safe_state="standby")
    site.simulator("--set", "running=1")
    daemon = site.chillerd()
    for number in signals:
        daemon.signal(number)
        time.sleep(pause)
    assert daemon.wait() == 0
    assert site.info()["running"] is False, daemon.lines()


def test_what_only_a_restart_can_change_is_not_taken(site: Site) -> None:
    site.simulator()
    daemon = site.chillerd()
    for keys in ({"daemon": "localhost_test2"}, {"state_directory": str(site.folder / "other")}):
        before = len(said(daemon, "needs a restart"))
        site.write_config(**keys)
        daemon.signal(signal.SIGHUP)
        wait_for(lambda before=before: len(said(daemon, "needs a restart")) > before, "the refusal")
    assert site.status()["connected"] is True


# --- what keeps it from starting


def test_a_second_instance_names_the_first(site: Site) -> None:
    first = site.chillerd(wait=False)
    wait_for(site.status, "the first instance")
    told = refused(site, 1, str(site.config))
    assert f"localhost_test is already running: chillerd (pid {first.pid})" in told
    first.popen.kill()
    first.wait()
    site.chillerd(wait=False)
    wait_for(site.status, "a new instance: the lock of a dead one holds nobody up")


def test_a_taken_tcp_port_names_its_holder(site: Site) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", site.ports["localhost_test"]))
        holder.listen()
        told = refused(site, 1, str(site.config))
    assert f"cannot listen on 127.0.0.1:{site.ports['localhost_test']}: the port is taken by " in told
    assert f"(pid {os.getpid()})" in told


def test_an_address_of_another_machine_is_said(site: Site) -> None:
    content = json.loads(site.registry.read_text())
    content["daemons"]["localhost_test"]["machine"] = "Elsewhere"
    site.write_registry(content)
    assert "this machine does not have that address" in refused(site, 1, str(site.config))


def test_a_bad_config_is_78_with_all_errors(site: Site) -> None:
    site.write_config(query_delay=-1, serial_port=None, colour="blue", control_machines=["Nowhere"])
    told = refused(site, 78, str(site.config))
    for text in ("query_delay: ", "serial_port: required", "colour: unknown key"):
        assert text in told, text


def test_an_unknown_daemon_name_is_78_with_the_nearest(site: Site) -> None:
    told = refused(site, 78, str(site.write_config(daemon="localhost_tset")))
    assert "daemon: unknown daemon name 'localhost_tset'; did you mean" in told


def test_no_config_is_78_and_nonsense_64(site: Site) -> None:
    assert "there is no such file" in refused(site, 78, "/no/such/config.json")
    assert "neither a file nor one of the configs" in refused(site, 78, "nameless")
    assert "usage: chillerd" in refused(site, 64, "--polish")
    assert "usage: chillerd" in refused(site, 64, str(site.config), "more")


def test_a_state_directory_that_cannot_be_made_is_said(site: Site) -> None:
    (site.folder / "file").write_text("")
    told = refused(site, 78, str(site.write_config(state_directory=str(site.folder / "file" / "state"))))
    assert f"{site.folder / 'file' / 'state'} cannot be made" in told


def test_check_and_version_open_nothing(site: Site) -> None:
    checked = run_daemon(site, "--check", str(site.config))
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, f"{site.config}: valid\n", "")
    assert not (site.folder / "state").exists()
    version = run_daemon(site, "--version")
    assert version.returncode == 0
    assert version.stdout.startswith("chillerd ")
    assert run_daemon(site, "--help").returncode == 0
    site.write_config(query_delay="often")
    assert "query_delay" in refused(site, 78, "--check", str(site.config))


def test_the_config_can_be_named_in_every_way(site: Site) -> None:
    folder = Path(site.environment["CHILLERD_CONFIG_ROOT"])
    folder.mkdir()
    site.config.rename(folder / "clasp.json")
    for words in (["clasp"], ["-c", "clasp"], ["--config", str(folder / "clasp.json")], []):
        del site.environment["CHILLERD_CONFIG_PATH"]
        daemon = site.start("chillerd", str(ROOT / "chillerd"), *words)
        wait_for(site.status, f"chillerd with {words}")
        with site.client() as client:
            assert client.describe()["config_name"] == "clasp"
        assert daemon.stop() == 0
        site.environment["CHILLERD_CONFIG_PATH"] = "x"


# --- the port is somebody else's


def test_a_port_that_another_process_holds_is_waited_for(site: Site) -> None:
    with bare_port(site):
        with serial.Serial(str(site.link), exclusive=True):
            daemon = site.chillerd(wait=False)
            status = wait_for(lambda: "in use" in (s := site.status()).get("offline_because", "") and s, "the cause")
            assert f"{site.link} is in use by " in status["offline_because"]
            assert f"(pid {os.getpid()})" in status["offline_because"]
            assert daemon.popen.poll() is None
        site.link.unlink()
        site.simulator()
        wait_for(lambda: said(daemon, "Established connection"), "the port, once it is free")
    assert len(said(daemon, "Failed to connect")) == 1, "said once"
    assert len(said(daemon, "Established connection")) == 1


def test_no_permission_for_the_port_says_whose_it_is(site: Site) -> None:
    site.simulator()
    port = os.path.realpath(site.link)
    os.chmod(port, 0)
    with unprivileged(site) as command:
        site.start("chillerd", *command, str(site.config))
        status = wait_for(lambda: "no permission" in (s := site.status()).get("offline_because", "") and s, "the cause")
        assert f"no permission to open {site.link}" in status["offline_because"]
        assert "mode 0000; add user " in status["offline_because"]
        os.chmod(port, 0o666)
        wait_for(lambda: site.status()["connected"], "the port, once it may be opened")


def test_an_unwritable_state_directory_is_said(site: Site) -> None:
    with unprivileged(site) as command:
        os.chown(site.folder / "state", os.geteuid(), os.getegid())
        (site.folder / "state").chmod(0o555)
        done = site.run(*command, str(site.config))
    assert done.returncode == 78, done.stderr
    assert f"{site.folder / 'state'} is not writable by user id " in done.stderr


@contextmanager
def unprivileged(site: Site) -> Iterator[list[str]]:
    """Arguments for Python that run chillerd as somebody who may write to the state directory only.

    Root becomes nobody, after the imports and a first check of the config, which brings the late ones: Python itself
    may stand in root's home. Others are what they are.
    """
    state = site.folder / "state"
    state.mkdir()
    script = (
        "import os, sys\n"
        f"given = sys.argv[1:]; sys.path.insert(0, {str(ROOT)!r})\n"
        "import pwd, grp, serial, rockit.chiller.drivers.thermotek, rockit.common.remote.client\n"
        "import rockit.history.keeping\n"
        "from rockit.chiller.daemon import main\n"
        f"sys.argv = ['chillerd', '--check', {str(site.config)!r}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.argv = ['chillerd', *given]\n"
    )
    if os.geteuid() == 0:
        os.chown(state, NOBODY, NOBODY)
        script += f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    # They stay open: other tests, in other processes, need the same ones.
    for folder in (site.folder, *site.folder.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    yield ["-c", script + "main()\n"]


# --- systemd


@pytest.fixture
def systemd(site: Site) -> Iterator[socket.socket]:
    """The socket on which systemd listens to its services."""
    path = site.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE)
        site.environment["NOTIFY_SOCKET"] = str(path)
        yield listener


def until(listener: socket.socket, text: str) -> list[str]:
    """All messages up to the first that begins with `text`."""
    heard = []
    while True:
        heard.append(listener.recv(4096).decode())
        if heard[-1].startswith(text):
            return heard


def test_systemd_is_told_ready_alive_and_stopping(site: Site, systemd: socket.socket) -> None:
    site.environment["WATCHDOG_USEC"] = "600000"
    site.simulator()
    daemon = site.chillerd(wait=False)
    ready = until(systemd, "READY=1")[-1]
    assert f"STATUS=serving PYRO:localhost_test_daemon@127.0.0.1:{site.ports['localhost_test']}" in ready
    for _ in range(3):
        until(systemd, "WATCHDOG=1")
    daemon.signal()
    until(systemd, "STOPPING=1")
    assert daemon.wait() == 0


def test_the_watchdog_is_fed_without_a_device_too(site: Site, systemd: socket.socket) -> None:
    """A cable that is out must not make systemd restart the daemon again and again."""
    site.environment["WATCHDOG_USEC"] = "600000"
    site.chillerd(wait=False)
    wait_for(lambda: site.status().get("offline_because"), "a failed attempt")
    for _ in range(3):
        until(systemd, "WATCHDOG=1")


def test_it_ends_while_a_terminal_server_takes_no_connection(site: Site) -> None:
    """pyserial waits five seconds for one."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, socket.create_connection(deaf.getsockname()):
        site.write_config(serial_port=f"socket://127.0.0.1:{deaf.getsockname()[1]}", safe_state="standby")
        daemon = site.chillerd(wait=False)
        wait_for(lambda: "cannot open" in site.status().get("offline_because", ""), "the first attempt")
        daemon.signal()
        assert daemon.wait() == 0
    assert said(daemon, "the port hung"), daemon.lines()


def test_the_watchdog_starves_when_the_query_loop_is_stuck(site: Site, systemd: socket.socket) -> None:
    """The remote object still answers then, which is why it does not feed the watchdog."""
    site.environment["WATCHDOG_USEC"] = "300000"
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, socket.create_connection(deaf.getsockname()):
        # Its queue is full: pyserial waits 5 s for a connection, and nobody can wake it.
        site.write_config(serial_port=f"socket://127.0.0.1:{deaf.getsockname()[1]}")
        site.chillerd(wait=False)
        while select.select([systemd], [], [], 3.0)[0]:  # until nothing comes for ten times the interval
            systemd.recv(4096)
        assert site.status()["connected"] is False


def test_the_watchdog_is_fed_while_an_answer_is_awaited(site: Site, systemd: socket.socket) -> None:
    """A device that is slow must not make systemd restart the daemon either."""
    site.environment["WATCHDOG_USEC"] = "600000"
    site.write_config(serial_timeout=60)
    site.simulator("--fault", "silence")
    site.chillerd(wait=False)
    wait_for(lambda: site.status() and requests(site) == 1, "a question without an answer")
    for _ in range(5):
        until(systemd, "WATCHDOG=1")
    assert requests(site) == 1


def test_the_watchdog_of_another_process_is_not_ours(site: Site, systemd: socket.socket) -> None:
    site.environment |= {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}
    site.simulator()
    site.chillerd()
    polls = wait_for(lambda: site.status() and requests(site), "requests")
    wait_for(lambda: requests(site) > polls + 30, "more requests")
    systemd.setblocking(False)
    heard = []
    while select.select([systemd], [], [], 0)[0]:
        heard.append(systemd.recv(4096).decode())
    assert [text.partition("\n")[0] for text in heard] == ["READY=1"]


def test_an_abstract_notify_socket_works(site: Site) -> None:
    name = f"rockit-test-{os.getpid()}-{site.ports['localhost_test']}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(PATIENCE)
        site.environment["NOTIFY_SOCKET"] = f"@{name}"
        site.chillerd(wait=False)
        until(listener, "READY=1")


def test_the_journal_gets_levels(site: Site) -> None:
    daemon = site.chillerd(wait=False, JOURNAL_STREAM="8:1")
    wait_for(lambda: said(daemon, "Failed to connect"), "the error")
    assert said(daemon, "Failed to connect")[0].startswith("<3>ERROR chillerd@test: ")
    assert daemon.lines()[0].startswith("<6>INFO chillerd@test: ")


# --- state


def test_a_corrupt_state_file_is_set_aside_and_told(site: Site) -> None:
    state = site.folder / "state"
    state.mkdir()
    (state / "chiller.json").write_text('{"request": {"mode": 7')
    (state / "alarms.json").write_bytes(b"\xff\xfe")
    site.simulator()
    daemon = site.chillerd()
    assert site.status()["mode"] == 1
    for name in ("chiller.json", "alarms.json"):
        (told,) = said(daemon, f"{name} does not hold what it should")
        assert told.startswith("ERROR chillerd@test: ")
        (aside,) = state.glob(f"{name}.corrupt-*")
        assert aside.name in told
    assert said(daemon, "mode and request start from their defaults")
    wait_for((state / "chiller.json").exists, "the new state")
    assert json.loads((state / "chiller.json").read_text())["request"]["mode"] == 1


def test_nothing_of_it_remains_but_its_state(site: Site) -> None:
    site.simulator()
    assert site.chillerd().stop() == 0
    names = {path.name for path in (site.folder / "state").iterdir()}
    assert names <= {"lock", "chiller.json", "alarms.json", "history.sqlite"}
    left = subprocess.run(
        [sys.executable, str(ROOT / "chiller"), "json"], env=site.environment, capture_output=True, timeout=60
    )
    assert left.returncode == 155
