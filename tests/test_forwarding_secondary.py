# SPDX-License-Identifier: GPL-3.0-or-later
"""Forwarding to a receiver over HTTPS, to a copy that may lose what it took, and to a broker of live values."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trustme
from harness import PATIENCE, ROOT, free_ports, wait_for
from histories import Clock
from outboxes import ALL, DEVICE, SITE, WATER, Gate, Local, Watched, at_once, forwarding, local
from servers import Mosquitto, VictoriaMetrics
from test_target_mqtt import Listener

from rockit.common.quality import Quality
from rockit.history import forwarder, outgoing
from rockit.history.model import BUCKET, DAY, MINUTE, Event
from rockit.history.store import wall_clock
from rockit.history.targets.address import Address
from rockit.history.targets.https import ReceiverTarget
from rockit.history.targets.influx import InfluxTarget
from rockit.history.targets.mqtt import MqttTarget
from rockit.history.targets.postgres import PostgresTarget

__all__ = ["local"]
WATER_TOPIC = f"rockit/{SITE}/{DEVICE}/water_temp"

# A receiver


SERVE = """
import sys
from rockit.history.receiver import serve

url, port, token_file, certificate = sys.argv[1:]
serve(
    url, "127.0.0.1", int(port), token_file=token_file, certificate=certificate,
    say=lambda text: print(text, flush=True),
)
"""


class Central:
    """`serve` in a process of its own, which can be killed and comes back at the same port."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
        self.url = f"sqlite:///{folder}/central.sqlite"
        [self.port] = free_ports(1)
        for name, line in (("tokens", f"clasp-0123456789abcdef {SITE}"), ("token", "clasp-0123456789abcdef")):
            (folder / name).write_text(line + "\n")
            (folder / name).chmod(0o600)
        self.target = ReceiverTarget(
            Address.of(f"https://localhost:{self.port}/batch"), str(folder / "token"), str(folder / "ca.pem")
        )
        self._command = [
            *(sys.executable, "-c", SERVE, self.url, str(self.port)),
            *(str(folder / "tokens"), str(folder / "both.pem")),
        ]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"receiving at https://127.0.0.1:{self.port}/batch\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=PATIENCE)
            self._process = None


@pytest.fixture
def central(tmp_path: Path) -> Iterator[Central]:
    made = Central(tmp_path)
    made.start()
    yield made
    made.kill()


def test_a_receiver_that_is_killed_at_any_moment(
    local: Local, central: Central, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outgoing, "ROWS", 3)
    at_once(monkeypatch)
    chance = random.Random()
    first = wall_clock() - 2 * DAY
    sender = Watched(central.target)
    with forwarding(local, sender) as running:
        for number in range(4):
            begin = first + number * BUCKET
            local.polls(begin, 60)
            local.poll(begin, {}, [Event(begin, "state", name, "AUTOMATIC") for name in ("mode", "status")])
            running.wake()
            time.sleep(chance.uniform(0.0, 0.3))  # a random moment
            central.kill()
            central.start()
        running.caught_up()
        assert running.forwarders[0].counters["history_forward_failures"] > 0
    local.arrived_at(central.url)
    assert local.cursors() == {central.target.name: local.newest()}


# VictoriaMetrics


@contextmanager
def metrics_of(folder: Path) -> Iterator[VictoriaMetrics]:
    (folder / "metrics").mkdir()
    with VictoriaMetrics(folder / "metrics") as server:
        yield server


def believed(local: Local) -> dict[tuple[str, ...], dict[int, float]]:
    """What a server of time series must have."""
    return {
        (f"rockit_{series.key}", series.device, series.site): {
            time: value for time, (value, quality) in samples.items() if quality != Quality.BAD
        }
        for series, samples in local.model.samples.items()
    }


@pytest.mark.parametrize("recorded", ["just now", "last week"])
def test_a_copy_that_is_killed_gets_the_last_minutes_again(
    local: Local, tmp_path: Path, recorded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forgets what it took in its last seconds, whenever that was recorded: in the middle of catching up, too."""
    at_once(monkeypatch)
    age = {"just now": 10 * MINUTE, "last week": 7 * DAY}[recorded]
    first = wall_clock() - age
    with metrics_of(tmp_path) as server:
        target = Watched(InfluxTarget(Address.of(server.url())))
        with forwarding(local, target) as running:
            for number in range(4):
                local.polls(first + number * 100_000, 100, 1000)
                local.poll(first + number * 100_000 + 500, {WATER: (999.9, Quality.BAD)})
                running.caught_up()
                server.restart()
            local.polls(first + 400_000, 10, 1000)
            running.wake()
            wait_for(lambda: server.exported('{db="rockit"}') == believed(local), "all samples")


def test_a_restart_that_nobody_noticed_by_a_failure(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there again before the next poll."""
    at_once(monkeypatch)
    first = wall_clock() - DAY
    with metrics_of(tmp_path) as server:
        target = Watched(InfluxTarget(Address.of(server.url())))
        with forwarding(local, target) as running:
            local.polls(first, 50)
            running.caught_up()
            server.restart()
            local.polls(first + BUCKET, 1)
            running.wake()
            wait_for(lambda: running.forwarders[0].counters["history_sent_again"] == 1, "the last minutes once more")
            wait_for(lambda: server.exported('{db="rockit"}') == believed(local), "all samples")
            assert running.logs[0].lines == []


def test_what_a_copy_took_long_ago_is_not_sent_again(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor follows what it took a quarter of an hour ago: the outbox keeps what may have to be sent again."""
    at_once(monkeypatch, LOOK=0.0)
    first = wall_clock() - DAY
    with metrics_of(tmp_path) as server:
        target = Watched(InfluxTarget(Address.of(server.url())))
        with forwarding(local, target) as running:
            local.polls(first, 50)
            running.caught_up()
            assert set(local.cursors().values()) <= {0}, "nothing is sure yet"
            monkeypatch.setattr(forwarder, "AGAIN", 0)  # as if a quarter of an hour went by
            local.polls(first + BUCKET, 5)
            running.caught_up()
            wait_for(lambda: local.cursors() == {target.name: 55}, "the cursor")
            monkeypatch.setattr(forwarder, "AGAIN", 15 * MINUTE)
            server.stop()  # in order: it keeps what it has
            server.start()
            local.polls(first + 2 * BUCKET, 1)
            running.caught_up()
            assert running.forwarders[0].counters["history_sent_again"] == 0
        assert server.exported('{db="rockit"}') == believed(local)
    assert sum(len(batch.samples) for batch in target.taken) == 56 * 3
    with forwarding(local, target):  # the daemon's next life
        pass
    assert local.cursors() == {target.name: 55}


class Restless(Watched):
    """Its connection is made anew when the test says so, as by a server that ends those on which nothing is said."""

    anew = False

    def restarted(self) -> bool:
        was, self.anew = self.anew, False
        return self.target.restarted() or was


@pytest.mark.parametrize("fails", [False, True])
def test_a_copy_that_never_keeps_a_connection_or_often_fails_is_caught_up_with_for_all_that(
    local: Local, tmp_path: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its cursor would stand for ever, the outbox grow, and each time more be sent again."""
    at_once(monkeypatch, LOOK=0.0, AGAIN=200)
    first = wall_clock() - DAY
    gate = Gate(shut=False)
    with metrics_of(tmp_path) as server:
        target = Restless(InfluxTarget(Address.of(server.url())), gate)
        number = 0
        with forwarding(local, target) as running:

            def one_more() -> bool:
                nonlocal number
                target.anew, gate.shut = True, fails
                local.polls(first + number * 10_000, 1)
                running.wake()
                if fails:
                    gate.wait()
                    gate.shut = False
                running.caught_up()
                number += 1
                return local.cursors().get(target.name, 0) > 5

            wait_for(one_more, "the cursor to move")
        assert server.exported('{db="rockit"}') == believed(local)


def test_a_copy_gets_what_is_in_a_new_file(local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose rows are numbered from one again."""
    at_once(monkeypatch, LOOK=0.0, AGAIN=0)
    first = wall_clock() - DAY
    with metrics_of(tmp_path) as server:
        target = Watched(InfluxTarget(Address.of(server.url())))
        with forwarding(local, target) as running:
            local.polls(first, 50)
            running.caught_up()
            wait_for(lambda: local.cursors() == {target.name: 50}, "the cursor")
            local.store.close()
            for part in tmp_path.glob("local.sqlite*"):
                part.rename(tmp_path / f"damaged-{part.name}")
            new = Local(local.url)
            running.forwarders[0].begin()
            new.polls(first + BUCKET, 5)
            running.wake()
            wait_for(lambda: new.cursors() == {target.name: 5}, "its rows")
            new.store.close()
        found = server.exported('{db="rockit"}')
    assert sum(map(len, found.values())) == 3 * 55


# A broker


def test_a_broker_gets_live_values_and_holds_nothing_up(
    local: Local, tmp_path: Path, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch, PRUNE=0.0)
    now = wall_clock()
    with Mosquitto(tmp_path) as broker:
        listener = Listener(broker.port)
        target = Watched(MqttTarget(Address.of(f"mqtt://127.0.0.1:{broker.port}")))
        with forwarding(local, target, PostgresTarget(postgresql)) as running:
            local.polls(now - DAY, 3)
            local.poll(now - 61_000, {WATER: (1.0, 0)})
            local.poll(now, {WATER: (2.0, 0)})
            running.caught_up(0)
            assert [msgspec.json.decode(said)["value"] for said in listener.wait(WATER_TOPIC)] == [2.0]
            running.caught_up(1)
            listener.close()

            broker.kill()
            local.polls(now - 10 * MINUTE, 60, 5_000)  # measured while it is away
            local.poll(wall_clock(), {WATER: (3.0, 0)})
            running.wake()
            wait_for(lambda: running.logs[0].of("error"), "the failure")
            running.caught_up(1)
            wait_for(lambda: len(local.waiting()) < 65, "the outbox to be pruned, for all that")

            broker.start()
            listener = Listener(broker.port)
            local.poll(wall_clock(), {WATER: (4.0, 0)})
            running.wake()
            heard = [msgspec.json.decode(said)["value"] for said in listener.wait(WATER_TOPIC)]
            assert heard in ([3.0], [4.0], [3.0, 4.0])
            wait_for(lambda: running.logs[0].of("info"), "word of that")
            listener.close()
        assert set(local.cursors()) == {running.names[0]}, "live values have no cursor"
    local.arrived_at(postgresql)


def test_to_a_broker_nothing_older_than_a_minute_is_given(
    local: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    clock = Clock(wall_clock())
    local.polls(clock.time - DAY, 20)
    local.polls(clock.time - 90_000, 10)
    with Mosquitto(tmp_path) as broker:
        target = Watched(MqttTarget(Address.of(f"mqtt://127.0.0.1:{broker.port}")))
        with forwarding(local, target, now=clock) as running:
            running.caught_up()
        times = [sample[1] for batch in target.given for sample in batch.samples]
        assert local.cursors() == {}, "live values have none"
        assert sorted(set(times)) == [clock.time - 90_000 + 10_000 * number for number in range(3, 10)]
        assert len(times) == 7 * len(ALL)
