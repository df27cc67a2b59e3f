# SPDX-License-Identifier: GPL-3.0-or-later
"""Inputs that are fetched in threads of their own: the general one, and the plant's temperature sensors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import msgspec
import pytest
from boilers import serving
from harness import wait_for
from served import Lines

from rockit.boiler import sensors
from rockit.boiler.probe import Limits
from rockit.boiler.sensors import ModbusSensor, sensor_input
from rockit.boiler.simulators import onewire
from rockit.boiler.simulators.modbus_slave import ModbusSlave
from rockit.boiler.simulators.onewire import Folder
from rockit.boiler.simulators.world import forget, shared
from rockit.common import config
from rockit.common.errors import Code, CommandError
from rockit.common.framing import ProtocolError
from rockit.common.inputs import Aged, Input, InputProblem
from rockit.common.simulate_pty import PtyServer
from rockit.common.transport import NoAnswer

ID = "28-0123456789ab"
PERIOD = 0.02


class Bench:
    """Inputs that end with the test."""

    def __init__(self) -> None:
        self.log = Lines()
        self.stop = threading.Event()
        self.fetches = 0
        self.answer: Callable[[], Any] = lambda: {"temp": 20.0}
        self.made: list[Input] = []

    def fetch(self) -> Any:
        self.fetches += 1
        return self.answer()

    def input(self, maximum_age: float = 30.0) -> Input:
        return self.started(Input("a probe", "water temperature", PERIOD, self.fetch, self.stop, self.log, maximum_age))

    def started(self, made: Input) -> Input:
        made.start()
        self.made.append(made)
        return made

    def fetched(self) -> None:
        """A fetch that began after this call is over when this returns."""
        seen = self.fetches
        wait_for(lambda: self.fetches >= seen + 3, "two whole fetches")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(sensors, "SLOWEST", 0.3)  # that is how long these tests wait for a value to become too old
    made = Bench()
    yield made
    made.stop.set()
    for source in made.made:
        source._thread.join(30)
        assert not source._thread.is_alive(), "it ends when told to"


def temp(source: Input) -> Any:
    return source.value("temp", monotonic())


# --- the general input


def test_a_value_is_as_old_as_its_question(bench: Bench) -> None:
    asked: list[float] = []

    def answer() -> dict[str, float]:
        asked.append(monotonic())
        time.sleep(0.001)
        return {"temp": 20.0}

    bench.answer = answer
    source = bench.input()
    wait_for(lambda: temp(source) == 20.0, "the value")
    sample = source.samples(monotonic())["temp"]
    assert any(moment >= sample.time for moment in asked)
    assert source.value("temp", sample.time + 30.0) == 20.0
    bench.stop.set()
    source._thread.join(30)
    last = source._samples._samples["temp"].time
    assert last <= asked[-1]
    assert source.value("temp", last + 30.1) is None


def test_a_value_that_was_old_when_it_came_is_older(bench: Bench) -> None:
    bench.answer = lambda: Aged({"temp": 20.0}, 25.0)
    source = bench.input()
    wait_for(lambda: temp(source) == 20.0, "the value")
    assert source.value("temp", monotonic() + 10.0) is None


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InputProblem("the wire is off"), "Lost water temperature: the wire is off"),
        (NoAnswer("no answer within 1 s"), "Lost water temperature: no answer within 1 s"),
        (ProtocolError("not two lines"), "Lost water temperature: not two lines"),
        (CommandError(Code.FAILED, "it is asleep"), "Lost water temperature: it is asleep"),
        (ZeroDivisionError("oh"), "Lost water temperature: a probe gave something unexpected: ZeroDivisionError('oh')"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_told_once_with_its_reason_and_so_is_its_end(bench: Bench, error: Exception, told: str) -> None:
    def fail() -> Any:
        raise error

    source = bench.input()
    wait_for(lambda: temp(source) == 20.0, "the value")
    assert source.problem == ""
    bench.answer = fail
    bench.fetched()
    assert bench.log.lines == [("error", told)]
    assert temp(source) == 20.0, "one that fails takes nothing back"
    assert source.problem == ""
    assert source.problem_at(monotonic() + 31.0) == told.partition(": ")[2]
    bench.answer = lambda: {"temp": 21.0}
    wait_for(lambda: len(bench.log.lines) == 2, "the line that says so")
    failures = source.counters["input_failures"]
    assert bench.log.lines[1] == ("info", f"Restored water temperature from a probe after {failures} failures")
    wait_for(lambda: temp(source) == 21.0, "the next value")


def test_a_source_that_takes_its_values_back(bench: Bench) -> None:
    def gone() -> Any:
        raise InputProblem("it stood still for an hour", forget=True)

    source = bench.input()
    wait_for(lambda: temp(source) == 20.0, "the value")
    bench.answer = gone
    wait_for(lambda: temp(source) is None, "the value to be given up")
    assert source.problem == "it stood still for an hour"


def test_none_ends_the_life_of_a_value_and_of_no_other(bench: Bench) -> None:
    bench.answer = lambda: {"temp": 20.0, "wind": 3.0}
    source = bench.input()
    wait_for(lambda: source.value("wind", monotonic()) == 3.0, "the values")
    bench.answer = lambda: {"temp": 20.5, "wind": None}
    wait_for(lambda: source.value("wind", monotonic()) is None, "the wind to be given up")
    wait_for(lambda: temp(source) == 20.5, "the temperature")
    assert source.problem == "a probe has no valid value of wind"


@pytest.mark.parametrize("answer", [None, 5, "x", [1], Aged(5, 0.0)], ids=str)  # type: ignore[arg-type]
def test_an_answer_of_another_shape_ends_nothing(bench: Bench, answer: Any) -> None:
    bench.answer = lambda: answer
    source = bench.input()
    bench.fetched()
    assert "gave something unexpected" in bench.log.lines[0][1]
    bench.answer = lambda: {"temp": 20.0}
    wait_for(lambda: temp(source) == 20.0, "the value")


def test_a_fetch_that_hangs_makes_its_value_old_and_holds_nobody_up(bench: Bench) -> None:
    gate = threading.Event()
    source = bench.input(maximum_age=5.0)
    wait_for(lambda: temp(source) == 20.0, "the value")
    bench.answer = lambda: gate.wait(60) and {"temp": 22.0}
    seen = bench.fetches
    wait_for(lambda: bench.fetches > seen, "the fetch that hangs")
    later = monotonic() + 10.0
    assert source.value("temp", later) is None
    assert source.samples(later) == {}
    assert source.problem_at(later) == "a probe has not told anything for long"
    gate.set()
    wait_for(lambda: temp(source) == 22.0, "what it brought in the end")


def test_before_anything_came_nothing_is_known(bench: Bench) -> None:
    gate = threading.Event()
    bench.answer = lambda: gate.wait(60) and {"temp": 20.0}
    source = bench.input()
    assert temp(source) is None
    assert source.problem == "a probe has not told anything yet"
    gate.set()
    wait_for(lambda: source.problem == "", "the value")


# --- sensors


def sensor(bench: Bench, spec: str | ModbusSensor, root: Any = "/nowhere", active: bool = False) -> Input:
    return bench.started(sensor_input("return", spec, root, PERIOD, bench.stop, bench.log, lambda: active))


def test_a_sensor_on_the_1_wire_bus(bench: Bench, tmp_path: Any) -> None:
    water = [15.0]
    folder = Folder(tmp_path, {ID: lambda: water[0]})
    folder.refresh()
    source = sensor(bench, ID, tmp_path)
    wait_for(lambda: temp(source) == 15.0, "the temperature")
    folder.sensors[ID].fault = "missing"
    folder.refresh()
    wait_for(lambda: temp(source) is None, "the value to become too old")
    assert source.problem == f"no sensor {ID} under {tmp_path}; there is none: is it wired, and the bus enabled?"
    folder.sensors[ID].fault, water[0] = None, 15.5
    folder.refresh()
    wait_for(lambda: temp(source) == 15.5, "it is back")
    wait_for(lambda: len(bench.log.lines) == 2, "both lines")
    assert bench.log.lines[0][1].startswith("Lost return: no sensor 28-")
    assert bench.log.lines[1][1].startswith("Restored return from return after ")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("0", "exactly 0 °C, as a broken"), ("85", "exactly 85 °C, as a broken"), ("zeros", "all bytes are 0"),
     ("open", "(NO)"), ("crc", "(NO)")],
)  # fmt: skip
def test_a_sensor_that_breaks_and_is_repaired(bench: Bench, tmp_path: Any, fault: str, reason: str) -> None:
    folder = Folder(tmp_path, {ID: lambda: 15.0})
    folder.refresh()
    source = sensor(bench, ID, tmp_path)
    wait_for(lambda: temp(source) == 15.0, "the temperature")
    folder.sensors[ID].fault = fault
    folder.refresh()
    seen: list[Any] = []

    def unknown() -> bool:
        seen.append(temp(source))
        return seen[-1] is None

    wait_for(unknown, "the value to become too old")
    assert set(seen) <= {15.0, None}, "never the wrong one"
    assert reason in source.problem
    folder.sensors[ID].fault = None
    folder.refresh()
    wait_for(lambda: temp(source) == 15.0, "it is believed again")


def test_a_simulated_sensor(bench: Bench) -> None:
    forget("inputs")
    world = shared("inputs", monotonic(), speed=0.0)
    world.water_out_temp = 44.5
    url = "sim://ds18b20?world=inputs&at=outlet"
    source = sensor(bench, url)
    wait_for(lambda: temp(source) == 44.5, "the temperature")
    onewire.simulated(url, monotonic()).fault = "missing"
    wait_for(lambda: temp(source) is None, "the value to become too old")
    assert source.problem == f"no sensor {url}"
    onewire.simulated(url, monotonic()).fault = None
    with pytest.raises(ValueError, match=r"must be sim://ds18b20"):
        sensor(bench, "sim://ds18b20?at=return")


class Thermometers(ModbusSlave):
    """A module with inputs."""

    def __init__(self, registers: dict[int, int], **options: Any) -> None:
        super().__init__(latency=0.0, **options)
        self.registers = registers

    def read_registers(self, function: int, address: int, count: int) -> list[int]:
        assert function == 4
        return [self.registers.get(at, 0) for at in range(address, address + count)]


@pytest.mark.parametrize(("scale", "stuck"), [(0.1, True), (0.5, False), (1.0, False)])
def test_a_sensor_with_coarse_steps_may_tell_the_same_for_long(
    bench: Bench, tmp_path: Any, scale: float, stuck: bool
) -> None:
    link = tmp_path / "bus"
    with serving(Thermometers({0: round(41 / scale)}, now=monotonic()), link):
        made = sensor_input(
            "return", ModbusSensor(port=str(link), register=0, scale=scale), "/nowhere", PERIOD, bench.stop, bench.log,
            lambda: True, limits=Limits(stuck_after=3 * PERIOD, stuck_readings=3),
        )  # fmt: skip
        source = bench.started(made)
        wait_for(lambda: temp(source) == pytest.approx(41.0), "the temperature")
        if stuck:
            wait_for(lambda: "it is stuck" in source.problem_at(monotonic() + 60), "it to be found stuck")
        else:
            wait_for(lambda: source.counters["input_polls"] >= 20, "many readings")
            assert source.counters["input_failures"] == 0
        bench.stop.set()
        source._thread.join(30)


def test_sensors_that_share_a_modbus_module(bench: Bench, tmp_path: Any) -> None:
    link = tmp_path / "bus"
    device = Thermometers({0: 412, 1: 0x10000 - 35, 2: 0x7FFF}, now=monotonic())
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        supply, outside, open_wire = (
            sensor(bench, ModbusSensor(port=str(link), register=register)) for register in range(3)
        )
        wait_for(lambda: temp(supply) == pytest.approx(41.2), "the first")
        wait_for(lambda: temp(outside) == pytest.approx(-3.5), "the second, which is below zero")
        wait_for(lambda: "register 2 holds 0x7fff: no sensor" in open_wire.problem, "the one that is not there")
        device.registers[0] = 0x8000
        wait_for(lambda: temp(supply) is None, "a broken wire")
        device.registers[0] = 415
        wait_for(lambda: temp(supply) == pytest.approx(41.5), "it is mended")
    finally:
        server.stop()
        thread.join()
        server.close()
    wait_for(lambda: temp(supply) is None, "the port is gone")
    assert "Lost return" in bench.log.lines[0][1]
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: temp(supply) == pytest.approx(41.5), "it comes back by itself")
    finally:
        bench.stop.set()
        supply._thread.join(30)
        server.stop()
        thread.join()
        server.close()


@pytest.mark.parametrize(
    "wrong",
    [{"port": "/dev/x"}, {"port": "/dev/x", "register": 1, "function": 1}, {"port": "", "register": 1},
     {"port": "/dev/x", "register": 70000}, {"port": "/dev/x", "register": 1, "colour": "red"},
     {"port": "/dev/x", "register": 1, "unit": 0}, {"port": "/dev/x", "register": 1, "absent": [-1]}],
)  # fmt: skip
def test_modbus_sensors_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, ModbusSensor)


def test_what_the_config_says_of_a_modbus_sensor() -> None:
    made = config.parse('{"port": "tcp://10.0.0.5", "register": 3, "signed": false}', ModbusSensor, "test")
    assert made.celsius(0xFFFE) == pytest.approx(6553.4)
    with pytest.raises(config.ConfigError, match=r"HOST:PORT"):
        config.parse('{"port": "tcp://", "register": 3}', ModbusSensor, "test")
