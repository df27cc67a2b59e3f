# SPDX-License-Identifier: GPL-3.0-or-later
"""MQTT for live values, with a real Mosquitto and a second client that listens as Home Assistant does."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
import trustme
from harness import PATIENCE, ROOT, wait_for
from paho.mqtt.enums import CallbackAPIVersion
from servers import Mosquitto, binary

from rockit.common import VERSION
from rockit.common.quality import Quality
from rockit.history.model import Batch, Event, Series
from rockit.history.targets import TargetFailed, TargetRefused
from rockit.history.targets.address import Address
from rockit.history.targets.homeassistant import config, config_topic, identity, topic
from rockit.history.targets.mqtt import SHORTEST, MqttTarget

WATER = Series("clasp", "clasp_chiller", "water_temp", "degC", "Supply temperature")
ENERGY = Series("clasp", "clasp_chiller", "energy", "Wh", "Energy", counter=True)
WATER_TOPIC = "rockit/clasp/clasp_chiller/water_temp"
WATER_CONFIG = "homeassistant/sensor/rockit-clasp-clasp_chiller/water_temp/config"
ALIVE = "rockit/clasp/clasp_chiller"
MADE: list[MqttTarget] = []


def now() -> int:
    return time.time_ns() // 1_000_000


def batch(*rows: tuple[Series, int, float], quality: Quality = Quality.GOOD) -> Batch:
    series = list(dict.fromkeys(row[0] for row in rows))
    return Batch(series, [(series.index(one), when, value, int(quality)) for one, when, value in rows])


def fresh(value: float = 11.5) -> Batch:
    return batch((WATER, now(), value))


def target_of(url: str, token_file: Path | None = None, ca_file: Path | None = None, timeout: float = 20) -> MqttTarget:
    made = MqttTarget(
        Address.of(url),
        None if token_file is None else str(token_file),
        None if ca_file is None else str(ca_file),
        timeout,
    )
    MADE.append(made)
    return made


class Listener:
    """Another client that subscribes to everything."""

    def __init__(self, port: int, user: tuple[str, str] | None = None) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        if user:
            self.client.username_pw_set(*user)
        self.ready = threading.Event()
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: self.ready.set()
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, message.payload, message.retain)
        )
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self.ready.wait(PATIENCE)

    def of(self, where: str) -> list[bytes]:
        return [payload for heard, payload, _ in list(self.heard) if heard == where]

    def wait(self, where: str, count: int = 1) -> list[bytes]:
        found: list[bytes] = wait_for(lambda: len(self.of(where)) >= count and self.of(where), f"{count} of {where}")
        return found

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path) as server:
        yield server


@pytest.fixture
def listener(broker: Mosquitto) -> Iterator[Listener]:
    made = Listener(broker.port)
    yield made
    made.close()


@pytest.fixture
def target(broker: Mosquitto) -> MqttTarget:
    return target_of(f"mqtt://127.0.0.1:{broker.port}")


# What Home Assistant is told


def test_a_sensor_is_described() -> None:
    assert config(WATER, ALIVE, 120) == {
        "name": "Supply temperature",
        "unique_id": "rockit-clasp-clasp_chiller-water_temp",
        "state_topic": WATER_TOPIC,
        "value_template": "{{ value_json.value }}",
        "state_class": "measurement",
        "device_class": "temperature",
        "unit_of_measurement": "°C",
        "availability_topic": ALIVE,
        "expire_after": 120,
        "device": {
            "identifiers": ["rockit-clasp-clasp_chiller"],
            "name": "clasp_chiller",
            "manufacturer": "rockit-plant",
        },
        "origin": {"name": "rockit-plant", "sw_version": VERSION},
    }
    assert config_topic(WATER) == WATER_CONFIG


@pytest.mark.parametrize(
    ("key", "unit", "counter", "expected"),
    [
        ("humidity", "%", False, ("%", "humidity", "measurement")),
        ("tec_power", "%", False, ("%", None, "measurement")),
        ("flow", "L/min", False, ("L/min", "volume_flow_rate", "measurement")),
        ("pressure", "kPa", False, ("kPa", "pressure", "measurement")),
        ("tec_current_1", "A", False, ("A", "current", "measurement")),
        ("uptime", "min", False, ("min", "duration", "measurement")),
        ("power", "W", False, ("W", "power", "measurement")),
        ("energy", "Wh", True, ("Wh", "energy", "total_increasing")),
        # Home Assistant takes no "measurement" of energy or volume.
        ("stored", "Wh", False, ("Wh", None, "measurement")),
        ("water", "m3", True, ("m³", "volume", "total_increasing")),
        ("wind_speed", "m/s", False, ("m/s", "wind_speed", "measurement")),
        ("pulses", "", True, (None, None, "total_increasing")),
        ("pump", "", False, (None, None, "measurement")),
    ],
)
def test_units_and_classes_that_agree(key: str, unit: str, counter: bool, expected: tuple[str | None, ...]) -> None:
    told = config(Series("s", "d", key, unit, "", counter), ALIVE, 120)
    assert (told.get("unit_of_measurement"), told.get("device_class"), told["state_class"]) == expected
    assert told["name"] == key


def test_names_that_mqtt_does_not_take() -> None:
    assert topic("La Palma", "a/b", "x+#%\n") == "rockit/La Palma/a%2Fb/x%2B%23%25%0A"
    words = {identity(*names) for names in (("a", "b"), ("a-b",), ("a_b",), ("a b",), ("a.b",), ("ä",), ("ö",), ("-",))}
    assert len(words) == 8
    assert all(set(word) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for word in words)


# A real broker


def test_values_appear_and_home_assistant_finds_them(target: MqttTarget, listener: Listener) -> None:
    when = now()
    target.send(batch((WATER, when - 1000, 10.0), (WATER, when, 11.5), (ENERGY, when, 12345678.1)))
    [told] = listener.wait(WATER_TOPIC)
    said = msgspec.json.decode(told)
    assert said == {"value": 11.5, "time": said["time"], "quality": "good"}
    assert said["time"].endswith(f".{when % 1000:03d}Z")
    assert msgspec.json.decode(listener.wait("rockit/clasp/clasp_chiller/energy")[0])["value"] == 12345678.1
    assert listener.wait(ALIVE) == [b"online"]
    assert msgspec.json.decode(listener.wait(WATER_CONFIG)[0]) == config(WATER, ALIVE, SHORTEST)
    target.send(fresh(12.0))
    listener.wait(WATER_TOPIC, 2)
    assert len(listener.of(WATER_CONFIG)) == 1, "once is enough"


def test_who_comes_later_gets_descriptions_and_no_old_values(
    broker: Mosquitto, target: MqttTarget, listener: Listener
) -> None:
    target.send(fresh())
    listener.wait(WATER_TOPIC)
    late = Listener(broker.port)
    try:
        late.wait(WATER_CONFIG)
        late.wait(ALIVE)
        late.client.publish("end", b"", qos=1)
        late.wait("end")
        assert not late.of(WATER_TOPIC)
        assert all(retained for where, _, retained in late.heard if where != "end")
    finally:
        late.close()


def test_what_is_late_bad_or_known_is_left_out(target: MqttTarget, listener: Listener) -> None:
    target.send(batch((WATER, now() - 61_000, 1.0)))
    target.send(batch((WATER, now(), 2.0), quality=Quality.BAD))
    target.send(Batch(events=[("clasp", "clasp_chiller", Event(now(), "state", "mode", "MANUAL"))]))
    again = batch((WATER, now() - 10, 3.0), quality=Quality.UNCERTAIN)
    target.send(again)
    target.send(again)
    target.send(batch((WATER, again.samples[0][1] - 10, 4.0)))  # the last minutes once more
    target.send(fresh(5.0))
    said = [msgspec.json.decode(payload) for payload in listener.wait(WATER_TOPIC, 2)]
    assert [(one["value"], one["quality"]) for one in said] == [(3.0, "uncertain"), (5.0, "good")]


def test_a_slow_series_counts_for_longer(target: MqttTarget, listener: Listener) -> None:
    """A series that is asked for every ten minutes must not be unavailable in between."""
    for pause in (0, 600_000, 600_000, 7_200_000, 600_000):
        for name, one in list(target._shown.items()):
            target._shown[name] = replace(one, time=one.time - pause)  # as if it had been so long ago
        target.send(fresh())
    listener.wait(WATER_TOPIC, 5)
    shown = [msgspec.json.decode(payload)["expire_after"] for payload in listener.of(WATER_CONFIG)]
    assert shown == [SHORTEST, 1920], "three pauses and more; an outage of two hours is no pause"


CHILD = """
import sys, time
from rockit.history.model import Batch, Series
from rockit.history.targets.address import Address
from rockit.history.targets.mqtt import MqttTarget

target = MqttTarget(Address.of(sys.argv[1]))
target.send(Batch([Series("clasp", "clasp_chiller", "water_temp")], [(0, time.time_ns() // 1_000_000, 11.5, 0)]))
print("sent", flush=True)
sys.stdin.read()
target.close()
"""


@pytest.mark.parametrize("end", ["killed", "closed"])
def test_the_broker_says_when_we_have_gone(broker: Mosquitto, listener: Listener, end: str) -> None:
    command = [sys.executable, "-c", CHILD, f"mqtt://127.0.0.1:{broker.port}"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"sent\n"
        assert listener.wait(ALIVE) == [b"online"]
        if end == "killed":
            child.send_signal(signal.SIGKILL)
        else:
            assert child.stdin is not None
            child.stdin.close()
        assert listener.wait(ALIVE, 2) == [b"online", b"offline"]
        assert child.wait(PATIENCE) == (-signal.SIGKILL if end == "killed" else 0)


def test_a_broker_that_restarts_is_told_everything_again(broker: Mosquitto, target: MqttTarget) -> None:
    target.send(batch((WATER, now(), 11.5), (ENERGY, now(), 1.0)))
    assert target.restarted()
    broker.restart()  # it has forgotten what it was to retain

    def sent() -> bool:
        try:
            target.send(fresh(12.0))
        except TargetFailed:
            return False
        return True

    wait_for(sent, "the connection")
    assert target.restarted()
    late = Listener(broker.port)
    try:
        assert late.wait(ALIVE) == [b"online"]
        late.wait(WATER_CONFIG)
        late.wait(config_topic(ENERGY))  # of which nothing new has come
    finally:
        late.close()


def test_home_assistant_that_starts_is_told_again(target: MqttTarget, listener: Listener) -> None:
    target.send(fresh())
    listener.wait(WATER_CONFIG)
    listener.client.publish("homeassistant/status", "online", qos=1)
    listener.wait(WATER_CONFIG, 2)


def test_a_broker_that_is_away_fails_at_once(broker: Mosquitto) -> None:
    target = target_of(f"mqtt://127.0.0.1:{broker.port}", timeout=600)
    broker.kill()
    with pytest.raises(TargetFailed, match=r"mqtt://127.0.0.1:\d+: no connection: .*refused"):
        target.send(fresh())
    target.send(batch((WATER, now() - 61_000, 1.0)))  # nobody waits for what is late


def test_close_ends_a_send_that_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        target = target_of(f"mqtt://127.0.0.1:{mute.getsockname()[1]}", timeout=600)
        failures: list[str] = []

        def send() -> None:
            try:
                target.send(fresh())
            except TargetFailed as error:
                failures.append(str(error))

        thread = threading.Thread(target=send)
        thread.start()
        peer, _ = mute.accept()
        target.close()
        thread.join(PATIENCE)
        peer.close()
        assert not thread.is_alive()
        assert failures == [f"{target.name}: closed"]
        with pytest.raises(TargetFailed, match="closed"):
            target.send(fresh())


def test_a_broker_that_reads_nothing_takes_no_memory() -> None:
    """It greets, and then its window is full: what waits to be written does not grow."""
    with socket.create_server(("127.0.0.1", 0)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        target = target_of(f"mqtt://127.0.0.1:{stuck.getsockname()[1]}", timeout=0.3)
        many = [Series("clasp", "clasp_chiller", f"key_{n}", label="x" * 4000) for n in range(3000)]

        def greet() -> None:
            peer, _ = stuck.accept()
            peers.append(peer)
            peer.recv(4096)
            peer.sendall(b"\x20\x02\x00\x00")

        peers: list[socket.socket] = []
        thread = threading.Thread(target=greet)
        thread.start()
        waiting = []
        for _ in range(4):
            with pytest.raises(TargetFailed, match="takes nothing"):
                target.send(batch(*((one, now(), 1.0) for one in many)))
            waiting.append(len(target._unwritten))
        thread.join(PATIENCE)
        assert 0 < waiting[-1] <= waiting[0] <= 2 * len(many)
        target.close()
        for peer in peers:
            peer.close()


def with_password(folder: Path) -> Mosquitto:
    passwords = folder / "passwords"
    subprocess.run(
        [binary("mosquitto_passwd", "mosquitto"), "-c", "-b", str(passwords), "rockit", "s/cr:et"],
        check=True,
        capture_output=True,
    )
    return Mosquitto(folder, "allow_anonymous false", f"password_file {passwords}")


def test_passwords(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    with with_password(tmp_path) as server:
        place = f"127.0.0.1:{server.port}"
        target_of(f"mqtt://rockit:s%2Fcr%3Aet@{place}").send(fresh())
        secret.write_text("s/cr:et\n")
        secret.chmod(0o640)
        target_of(f"mqtt://rockit@{place}", secret).send(fresh())
        secret.write_text("rockit:s/cr:et\n")
        target_of(f"mqtt://{place}", secret).send(fresh())
        for wrong in (target_of(f"mqtt://rockit:guess@{place}"), target_of(f"mqtt://{place}")):
            for _ in range(2):
                with pytest.raises(TargetRefused, match="the broker refuses us: Not authorized") as caught:
                    wrong.send(fresh())
                assert "guess" not in str(caught.value)


def test_a_password_that_is_corrected_is_taken_without_a_restart(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("rockit:guess")
    secret.chmod(0o640)
    with with_password(tmp_path) as server:
        target = target_of(f"mqtt://127.0.0.1:{server.port}", secret)
        with pytest.raises(TargetRefused):
            target.send(fresh())
        secret.write_text("rockit:s/cr:et")

        def sent() -> bool:
            try:
                target.send(fresh())
            except TargetRefused:
                return False
            return True

        wait_for(sent, "the new password")


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")  # the library drops a socket that shook no hands
def test_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("localhost")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    settings = [f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem", "allow_anonymous true"]
    with Mosquitto(tmp_path, *settings) as server:
        target_of(f"mqtts://localhost:{server.port}", ca_file=tmp_path / "ca.pem").send(fresh())
        with pytest.raises(TargetFailed, match=r"no connection: .*unable to get local issuer"):
            target_of(f"mqtts://localhost:{server.port}").send(fresh())
        with pytest.raises(TargetFailed, match=r"no connection: .*not valid for '127\.0\.0\.1'"):
            target_of(f"mqtts://127.0.0.1:{server.port}", ca_file=tmp_path / "ca.pem").send(fresh())
    with pytest.raises(TargetRefused, match=r"ca_file .*none\.pem holds no certificate"):
        target_of("mqtts://localhost", ca_file=tmp_path / "none.pem").send(fresh())
