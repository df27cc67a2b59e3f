# SPDX-License-Identifier: GPL-3.0-or-later
"""`sim://` ports of pyserial, and how a URL becomes a device."""

import json
import threading
import time

import pytest
import serial

from rockit.chiller.simulators import SIMULATORS, register_all
from rockit.common import simulate
from rockit.common.transport import protocol_sim

ASK = b".0103rSetTemp26\r"
ANSWER = b"#01030rSetTemp+020038\r"


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    register_all()
    packages = [*serial.protocol_handler_packages, "rockit.common.transport"]
    monkeypatch.setattr(serial, "protocol_handler_packages", packages)
    monkeypatch.setattr(protocol_sim, "_wires", {})


def opened(url, timeout=5.0):
    return serial.serial_for_url(url, timeout=timeout)


def ask(port, request=ASK):
    port.write(request)
    return port.read_until(b"\r")


def test_pyserial_opens_a_simulated_chiller():
    with opened("sim://t257p?ambient=4") as port:
        assert ask(port) == ANSWER
        assert ask(port, b".0108rAmbTemp0F\r")[14:19] == b"+0040"
        assert port.in_waiting == 0


def test_every_registered_device_can_be_made():
    for name in SIMULATORS:
        device = simulate.create(f"sim://{name}?ambient=12", 0.0)
        assert isinstance(device.info(), dict)
        assert "silence" in device.faults()
        assert simulate.options(name)["ambient"] is float


def test_the_device_outlives_the_port_and_every_url_has_its_own():
    with opened("sim://t257p") as port:
        ask(port, b".0117sCtrlT__+015002\r")
    with opened("sim://t257p") as port, opened("sim://t257p/second") as other:
        assert ask(port)[14:19] == b"+0150"
        assert ask(other)[14:19] == b"+0200"
    protocol_sim.forget("sim://t257p")
    with opened("sim://t257p") as port:
        assert ask(port) == ANSWER


def test_faults_in_the_url():
    with opened("sim://t257p?fault=silence&fault=low_flow:0.4", timeout=0.2) as port:
        assert ask(port) == b""
        listed = json.loads(protocol_sim.control("sim://t257p?fault=silence&fault=low_flow:0.4", "faults"))
        assert listed["silence"]["value"] == "on"
        assert listed["low_flow"]["value"] == "0.4"
    with opened("sim://t257p?fault=double:once") as port:
        port.write(ASK)
        assert port.read(2 * len(ANSWER)) == 2 * ANSWER
        assert ask(port) == ANSWER


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sim://t999", "no simulated device 't999'; there is .*t257p"),
        ("sim://", "sim://NAME"),
        ("sim://t257p?gravity=1", "no option 'gravity'; it has ambient, .*load"),
        ("sim://t257p?ambient=warm", "ambient: not a number"),
        ("sim://t257p?ambient=nan", "ambient: must be between"),
        ("sim://t257p?glycol=perhaps", "glycol is 0 or 1"),
        ("sim://t257p?unit=two", "unit"),
        ("sim://t257p?unit=40", "unit must be between 1 and 32"),
        ("sim://t257p?setpoint=99", "setpoint must be between 5 and 45"),
        ("sim://t257p?ambient=1&ambient=2", "twice"),
        ("sim://t257p?ambient", "option=value"),
        ("sim://t257p?fault=earthquake", "no fault 'earthquake'"),
        ("sim://t257p?fault=late:soon", "not a number"),
        ("sim://t257p?speed=0", "must be between"),
    ],
)
def test_a_bad_url_says_what_there_is(url, complaint):
    with pytest.raises(ValueError, match=complaint):
        simulate.create(url, 0.0)
    with pytest.raises(serial.SerialException, match=complaint):
        opened(url)


def test_options_are_converted():
    device = simulate.create("sim://t257p?glycol=on&setpoint=-5&unit=3&running=0&latency=0", 0.0)
    assert device.info()["setpoint"] == -5.0
    device.receive(b".0301WatchDog03\r", 0.0)
    assert device.output(0.0)[:6] == b"#03010"


def test_one_name_is_one_device():
    simulate.register("t257p", SIMULATORS["t257p"])
    with pytest.raises(ValueError, match="already registered"):
        simulate.register("t257p", "somewhere:else")
    assert "t257p" in simulate.registered()


def test_a_plain_name_will_do():
    assert simulate.create("t257p", 0.0).info()["running"] is False


def test_reads_that_do_not_wait():
    with opened("sim://t257p?latency=0", timeout=0) as port:
        assert port.read(10) == b""
        port.write(ASK)
        assert port.in_waiting == len(ANSWER)
        assert port.read(6) == ANSWER[:6]
        assert port.read(100) == ANSWER[6:]
        port.write(ASK)
        port.reset_input_buffer()
        assert port.read(100) == b""
        port.write(memoryview(ASK))
        assert port.read(100) == ANSWER


def test_a_timeout_gives_what_has_come():
    with opened("sim://t257p?fault=truncate:5", timeout=0.2) as port:
        port.write(ASK)
        before = time.monotonic()
        assert port.read(100) == ANSWER[:5]
        assert time.monotonic() - before >= 0.2 - 0.001


@pytest.mark.parametrize("action", ["cancel_read", "close"])
def test_a_waiting_read_is_ended_by_another_thread(action):
    port = opened("sim://t257p?fault=silence", timeout=None)
    result = []
    reader = threading.Thread(target=lambda: result.append(port.read(1)))
    reader.start()
    getattr(port, action)()
    reader.join(10)
    port.close()
    assert not reader.is_alive()


def test_a_waiting_read_gets_bytes_that_come_later():
    with opened("sim://t257p?fault=late:0.3", timeout=10) as port:
        port.write(ASK)
        assert port.read(len(ANSWER)) == ANSWER


def test_a_port_is_open_once_and_usable_only_while_open():
    port = opened("sim://t257p")
    with pytest.raises(serial.SerialException, match="open already"):
        opened("sim://t257p")
    with pytest.raises(serial.SerialException, match="already open"):
        port.open()
    port.baudrate = 19200
    port.close()
    port.close()
    for use in (lambda: port.read(1), lambda: port.write(b"x"), lambda: port.in_waiting, port.reset_input_buffer):
        with pytest.raises(serial.PortNotOpenError):
            use()


def test_answers_that_nobody_waits_for_are_lost_with_the_port():
    with opened("sim://t257p?latency=0") as port:
        port.write(ASK)
    with opened("sim://t257p?latency=0", timeout=0) as port:
        assert port.read(100) == b""


def test_a_pulled_cable_breaks_the_port_until_it_is_opened_again():
    url = "sim://t257p"
    with opened(url) as port:
        assert ask(port) == ANSWER
        assert protocol_sim.control(url, "fault unplug on") == "ok"
        with pytest.raises(serial.SerialException, match="cable"):
            port.write(ASK)
        with pytest.raises(serial.SerialException, match="cable"):
            port.read(1)
        protocol_sim.control(url, "fault unplug off")
        with pytest.raises(serial.SerialException, match="cable"):
            port.write(ASK)
    with opened(url) as port:
        assert ask(port) == ANSWER
        protocol_sim.control(url, "fault unplug on")
    with pytest.raises(serial.SerialException, match="no such device"):
        opened(url)


def test_a_cable_pulled_in_the_middle_of_an_answer():
    url = "sim://t257p"
    with opened(url) as port:
        assert protocol_sim.control(url, "fault unplug at 7") == "ok"
        port.write(ASK)
        assert port.read(100) == ANSWER[:7]
        with pytest.raises(serial.SerialException):
            port.read(1)
        assert json.loads(protocol_sim.control(url, "info"))["plugged"] is False


def test_conditions_and_info_without_a_port():
    url = "sim://t257p?speed=1000"
    assert protocol_sim.control(url, "set coolant 31") == "ok"
    assert json.loads(protocol_sim.control(url, "info"))["coolant_temp"] == pytest.approx(31.0, abs=1.0)
    assert protocol_sim.control(url, "set gravity 2").startswith("error: no condition")
    with pytest.raises(ValueError, match="no simulated device"):
        protocol_sim.control("sim://t999", "info")
