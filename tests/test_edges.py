# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources of edges: recordings, GPIO and modem lines as far as they can be had without hardware."""

from __future__ import annotations

import errno
import os
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.common.transport import PortLost, edges
from rockit.common.transport.edges import Edge, GpioEdges, RecordedEdges, SerialEdges, edge_source

MS = 1_000_000

# --- recordings


def test_a_recording_comes_in_batches_and_ends(tmp_path):
    path = tmp_path / "edges.txt"
    path.write_text("# ns active seq\n1000 1 1\n\n2000 0 2   # the end\n3000 1 -\n")
    source = edge_source(f"edges://{path}", batch=2)
    source.open()
    assert source.wait(1.0) == [Edge(1000, True, 1), Edge(2000, False, 2)]
    assert source.wait(1.0) == [Edge(3000, True, None)]
    assert source.wait(0.0) == []
    source.open()
    assert len(source.wait(0.0)) == 2
    source.close()
    source.close()
    with pytest.raises(PortLost):
        source.wait(0.0)


@pytest.mark.parametrize("line", ["1000 1", "1000 2 1", "x 1 1", "1000 1 x", "1000 1 1 1", "\u00e9"])
def test_a_recording_that_is_none_is_named_with_its_line(tmp_path, line):
    path = tmp_path / "edges.txt"
    path.write_text(f"1 1 1\n{line}\n")
    with pytest.raises(PortLost, match=r"edges\.txt(, line 2| cannot be read)"):
        RecordedEdges(path).open()
    with pytest.raises(PortLost, match=r"cannot be read"):
        RecordedEdges(tmp_path / "none").open()


def test_a_list_is_a_recording():
    source = RecordedEdges([Edge(1, True, 1)])
    source.open()
    assert source.wait(0.0) == [Edge(1, True, 1)]


# --- addresses


def test_addresses():
    gpio = edge_source("gpio://gpiochip0/24")
    assert isinstance(gpio, GpioEdges)
    assert (gpio.path, gpio.line, gpio._active_low, gpio._bias) == ("/dev/gpiochip0", 24, True, "pull-up")
    other = edge_source("gpio://gpiochip4/7?active=high&bias=disabled")
    assert isinstance(other, GpioEdges)
    assert (other._active_low, other._bias) == (False, "disabled")
    serial = edge_source("serial-line:///dev/ttyS0?line=dcd")
    assert isinstance(serial, SerialEdges)
    assert (serial.port, serial.line) == ("/dev/ttyS0", "dcd")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/dev/ttyS0", "no address"), ("http://x/1", "no address"), ("gpio://gpiochip0", "chip and line"),
        ("gpio:///24", "chip and line"), ("gpio://gpiochip0/GPIO24", "chip and line"),
        ("gpio://gpiochip0/24?active=0", "active must be one of low, high"),
        ("gpio://gpiochip0/24?line=3", "no option line"), ("gpio://gpiochip0/24?x", "no address"),
        ("serial-line:///dev/ttyS0?line=rts", "line must be one of cts"), ("serial-line://ttyS0", "names no port"),
        ("edges://file", "names no file"), ("edges:///a?b=1", "no option b"), ("gpio://[x/2", "no address"),
        ("", "no address"), ("gpio://gpiochip0/99999999999999999999", "chip and line"),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_told(url, said):
    with pytest.raises(ValueError, match=said):
        edge_source(url)


@given(st.text(max_size=40))
def test_any_other_address_is_a_sentence(text):
    for url in (text, f"gpio://{text}", f"serial-line:///{text}", f"edges:///{text}"):
        with suppress(ValueError):  # and nothing else
            edge_source(url)


# --- GPIO


def event(kind: str, moment: int, number: int) -> SimpleNamespace:
    return SimpleNamespace(
        event_type=SimpleNamespace(name=kind), timestamp_ns=moment, line_seqno=number, line_offset=24
    )


class FakeRequest:
    def __init__(self) -> None:
        self.events: list[SimpleNamespace] = []
        self.error: Exception | None = None
        self.released = False

    def wait_edge_events(self, seconds: float) -> bool:
        if self.error:
            raise self.error
        return bool(self.events)

    def read_edge_events(self) -> list[SimpleNamespace]:
        events, self.events = self.events, []
        return events

    def release(self) -> None:
        self.released = True
        raise OSError(errno.ENODEV, "gone")


def test_events_of_gpiod_become_edges(monkeypatch):
    gpiod = pytest.importorskip("gpiod", reason="needs python's gpiod")
    request, asked = FakeRequest(), {}

    def request_lines(path, config, **more):
        asked.update(path=path, config=config, **more)
        return request

    monkeypatch.setattr(gpiod, "request_lines", request_lines)
    source = GpioEdges("gpiochip0", 24)
    source.open()
    (settings,) = asked["config"].values()
    assert (asked["path"], list(asked["config"])) == ("/dev/gpiochip0", [24])
    assert asked["event_buffer_size"] >= 256
    assert settings.active_low
    assert settings.edge_detection is gpiod.line.Edge.BOTH
    assert settings.bias is gpiod.line.Bias.PULL_UP
    assert settings.event_clock is gpiod.line.Clock.MONOTONIC
    assert 0.005 <= settings.debounce_period.total_seconds() <= 0.010
    assert source.wait(0.0) == []
    request.events = [event("RISING_EDGE", 5, 1), event("FALLING_EDGE", 9, 2)]
    assert source.wait(1.0) == [Edge(5, True, 1), Edge(9, False, 2)]
    request.error = OSError(errno.ENODEV, "No such device")
    with pytest.raises(PortLost, match=r"gpiochip0 line 24"):
        source.wait(1.0)
    assert request.released
    with pytest.raises(PortLost, match=r"not open"):
        source.wait(1.0)


def test_the_names_of_events_are_those_of_gpiod():
    gpiod = pytest.importorskip("gpiod", reason="needs python's gpiod")
    real = [gpiod.EdgeEvent(kind.value, 7, 24, 3, 2) for kind in gpiod.EdgeEvent.Type]
    assert {(edge.active, edge.sequence) for edge in edges.gpio_edges(real)} == {(True, 2), (False, 2)}


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOENT, "there is no /dev/gpiochip0"), (errno.EACCES, "group"), (errno.EPERM, "group"),
     (errno.EBUSY, "in use"), (errno.EINVAL, "has no line 24"), (errno.EIO, "line 24")],
)  # fmt: skip
def test_a_gpio_line_that_cannot_be_had_is_told(monkeypatch, number, said):
    gpiod = pytest.importorskip("gpiod", reason="needs python's gpiod")

    def request_lines(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(gpiod, "request_lines", request_lines)
    with pytest.raises(PortLost, match=said):
        GpioEdges("gpiochip0", 24).open()


def test_a_chip_that_is_not_there_is_told():
    pytest.importorskip("gpiod", reason="needs python's gpiod")
    with pytest.raises(PortLost, match=r"there is no /dev/gpiochip987"):
        GpioEdges("gpiochip987", 1).open()
    with pytest.raises(PortLost):
        GpioEdges("/dev/null", 1).open()


def test_a_missing_gpiod_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(PortLost, match=r"rockit-plant\[gpio\]"):
        GpioEdges("gpiochip0", 24).open()


# --- modem lines


@pytest.fixture
def pty() -> Iterator[str]:
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_a_pseudo_terminal_has_no_modem_lines(pty):
    with pytest.raises(PortLost, match=r"has no modem lines"):
        SerialEdges(pty).open()
    with pytest.raises(PortLost, match=r"not open"):
        SerialEdges(pty).wait(0.0)


def test_a_port_that_is_none_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PortLost, match=r"has no modem lines"):
        SerialEdges(str(tmp_path / "file")).open()
    with pytest.raises(PortLost, match=r"there is no"):
        SerialEdges(str(tmp_path / "none")).open()


@pytest.mark.parametrize(("number", "said"), [(errno.EACCES, "group"), (errno.EBUSY, "in use"), (errno.EIO, "lost")])
def test_a_port_that_may_not_be_had_is_told(monkeypatch, number, said):
    def denied(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(edges.os, "open", denied)
    with pytest.raises(PortLost, match=said):
        SerialEdges("/dev/ttyS0").open()


class FakeDriver:
    """The three requests of a tty driver, on a file; every look takes `pace` ns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: int = 2 * MS) -> None:
        self.changes: list[int] = []
        self.counts = True
        self.during = 0
        self.error: int | None = None
        self.pace = pace
        self.now = 0
        self.modes = [0, 0, termios.CRTSCTS, 0, 0, 0, []]
        monkeypatch.setattr(edges.fcntl, "ioctl", self.ioctl)
        monkeypatch.setattr(edges.termios, "tcgetattr", lambda fd: list(self.modes))
        monkeypatch.setattr(edges.termios, "tcsetattr", lambda fd, when, modes: setattr(self, "modes", modes))
        clock = SimpleNamespace(
            monotonic=lambda: self.now / 1e9, monotonic_ns=lambda: self.now, sleep=lambda _: self.passes()
        )
        monkeypatch.setattr(edges, "time", clock)

    def passes(self) -> None:
        self.now += self.pace

    def ioctl(self, fd: int, request: int, argument: bytes = b"") -> bytes:
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        done = sum(moment <= self.now for moment in self.changes)
        if request == termios.TIOCMGET:
            self.now += self.during
            done = sum(moment <= self.now for moment in self.changes)
            return struct.pack("i", termios.TIOCM_CTS if done % 2 else 0)
        if request == edges._TIOCGICOUNT:
            if not self.counts:
                raise OSError(errno.ENOTTY, "no counters")
            return struct.pack("20i", done, *[77] * 19)
        return b""


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    return FakeDriver(monkeypatch)


def heard(source: SerialEdges) -> list[Edge]:
    """All edges up to half a second of silence."""
    out: list[Edge] = []
    while seen := source.wait(0.5):
        out += seen
    return out


def serial(tmp_path) -> SerialEdges:
    (tmp_path / "tty").write_text("")
    source = SerialEdges(str(tmp_path / "tty"))
    source.open()
    return source


def test_a_modem_line_is_seen_with_its_numbers(tmp_path, driver):
    source = serial(tmp_path)
    driver.changes = [11 * MS, 51 * MS, 111 * MS, 151 * MS]
    seen = heard(source)
    assert [(edge.time_ns // MS, edge.active, edge.sequence) for edge in seen] == [
        (12, True, 1), (52, False, 2), (112, True, 3), (152, False, 4),
    ]  # fmt: skip
    assert source.wait(0.0) == []
    assert driver.modes[2] == termios.CLOCAL


def test_a_driver_without_counters_gives_no_numbers(tmp_path, driver):
    driver.counts = False
    source = serial(tmp_path)
    driver.changes = [11 * MS, 51 * MS]
    assert [(edge.active, edge.sequence) for edge in heard(source)] == [(True, None), (False, None)]


def test_a_bounce_between_two_looks_is_seen_by_the_counter(tmp_path, driver):
    source = serial(tmp_path)
    driver.changes = [10 * MS + at for at in (100, 200, 300, 400, 500)]
    assert [(edge.time_ns // MS, edge.active, edge.sequence) for edge in heard(source)] == [
        (12, True, 1), (12, False, 2), (12, True, 3), (12, False, 4), (12, True, 5),
    ]  # fmt: skip


def test_a_change_between_level_and_counter_is_no_contradiction(tmp_path, driver):
    source = serial(tmp_path)
    driver.during = MS // 2
    driver.changes = [at * 10 * MS + at * MS // 8 for at in range(1, 9)]
    seen = heard(source)
    assert [(edge.active, edge.sequence) for edge in seen] == [(at % 2 == 1, at) for at in range(1, 9)]


def test_a_storm_of_changes_is_a_gap(tmp_path, driver):
    source = serial(tmp_path)
    driver.changes = [11 * MS + at for at in range(1001)]
    assert [(edge.active, edge.sequence) for edge in heard(source)] == [(True, 1001)]


def test_what_happened_while_nobody_looked_is_a_gap(tmp_path, driver):
    source = serial(tmp_path)
    driver.changes = [11 * MS, 51 * MS, 111 * MS, 251 * MS, 281 * MS]
    driver.now = 200 * MS
    seen = heard(source)
    assert [(edge.active, edge.sequence) for edge in seen] == [(True, 3), (False, 4), (True, 5)]
    driver.changes += [driver.now + 10 * MS, driver.now + 50 * MS, driver.now + 550 * MS]
    driver.now += 500 * MS
    assert [(edge.active, edge.sequence) for edge in heard(source)] == [(False, 8)]


def test_a_port_that_goes_away_is_told_and_closed(tmp_path, driver):
    source = serial(tmp_path)
    driver.error = errno.EIO
    with pytest.raises(PortLost, match=r"was lost"):
        source.wait(1.0)
    with pytest.raises(PortLost, match=r"not open"):
        source.wait(1.0)
    driver.error = None
    source.open()
    assert source.wait(0.1) == []
    source.close()


@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.booleans())
def test_counters_that_wrap_lose_nothing(counter, changes, active):
    now = edges._Look(2 * MS, active ^ (changes % 2 == 1), (counter + changes) % 2**32)
    found = edges.edges_between(edges._Look(0, active, counter), now, 5 * MS)
    assert len(found) == changes
    assert not found or found[-1].active is now.active
