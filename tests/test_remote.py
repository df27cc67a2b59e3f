# SPDX-License-Identifier: GPL-3.0-or-later
"""Remote objects between friends: answers, errors that say which of three things failed, access, many clients."""

from __future__ import annotations

import math
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import Pyro5.client
import pytest
from Pyro5.callcontext import current_context
from served import OBJECT, Plant, Served, daemon_at, in_threads, invoke, serving

from rockit.common.errors import Code, CommandError, StartError, Unreachable
from rockit.common.remote import server as server_module
from rockit.common.remote import wire
from rockit.common.remote.client import UntypedClient
from rockit.common.who import plain_address


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """A port where something else than a daemon lives: says `reply` to whatever it gets, and ends the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)


# Values and calls


def test_a_command_whose_caller_has_gone_is_not_carried_out() -> None:
    """As after a stall of the daemon: the caller was told that it is not known whether it was done, and has left."""
    plant = Plant()
    with serving(plant, workers=1) as served:
        busy, leaver = served.raw(), served.raw()
        busy.send(invoke("hold"))
        assert plant.entered.acquire(timeout=30)
        leaver.send(invoke("set_switch", True))
        leaver.sock.close()
        plant.gate.set()
        with served.client() as client:
            assert client.call("echo", 1) == 1, "behind it in the queue of the only worker"
        assert plant.switched == []


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1.5, 2**40, "", "12.5 °C, naïve \n\"quoted\" 'twice'", [], [1, [2, [3]]], {},
        {"a": {"b": {"c": [None, True, {"d": 1.5}]}}}, {"1": "x"}, math.inf,
    ],
)  # fmt: skip
def test_plain_values_go_both_ways_unchanged(served: Served, value: Any) -> None:
    with served.client() as client:
        answer = client.echo(value)
    assert (answer, type(answer)) == (value, type(value))


def test_nan_arrives_as_nan(served: Served) -> None:
    with served.client() as client:
        answer = client.echo({"water_temp": math.nan, "values": [math.nan, 1.0]})
    assert math.isnan(answer["water_temp"])
    assert math.isnan(answer["values"][0])
    assert answer["values"][1] == 1.0


def test_a_command_returns_its_code_and_its_sentence(plant: Plant, served: Served) -> None:
    with served.client() as client:
        code = client.set_switch(True)
        assert (code, type(code), client.message) == (0, int, "the switch is on")
        assert (client.set_switch("burn"), client.message) == (13, "the relay says no")
        assert client.set_switch(False) == 0
        assert client.message == "the switch is off"
    assert [what for what, _ in plant.switched] == [True, "burn", False]
    assert plant.log.of("info")[0] == "set_switch(True) from 127.0.0.1: done, the switch is on"
    assert plant.log.of("info")[1] == "set_switch('burn') from 127.0.0.1: code 13, the relay says no"


def test_a_command_that_fails_in_the_daemon_is_a_code_and_a_traceback_in_the_log(plant: Plant, served: Served) -> None:
    with served.client() as client:
        assert client.set_switch("break") == Code.FAILED
        assert "a mistake of ours" in client.message
        assert "Traceback" in plant.log.of("error")[0]
        assert client.set_switch() == Code.FAILED
        assert "wrong arguments; it is called as " in client.message
    assert len(plant.log.of("error")) == 1, "wrong arguments are the caller's mistake"


def test_a_plain_pyro_proxy_in_another_process_gets_code_sentence_and_error(served: Served) -> None:
    script = f"""
import Pyro5.client, Pyro5.errors
from Pyro5.callcontext import current_context
with Pyro5.client.Proxy({served.daemon().uri!r}) as proxy:
    print(proxy.report_status())
    print(repr(proxy.set_switch(True)), bytes(current_context.response_annotations["CMSG"]).decode())
    proxy.report_status()
    print(dict(current_context.response_annotations))
    proxy._pyroSerializer = "json"
    print(proxy.echo([1, None]))
    for name in ("unmarked", "secret"):
        try:
            getattr(proxy, name)
        except AttributeError as error:
            print("no", name)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'water_temp': 11.5, 'alarms': []}", "0 the switch is on", "{}", "[1, None]", "no unmarked", "no secret",
    ]  # fmt: skip


def test_the_sentence_of_a_command_does_not_reach_the_next_client(plant: Plant) -> None:
    with (
        serving(plant, workers=1) as served,
        served.client() as first,
        Pyro5.client.Proxy(served.daemon().uri) as second,
    ):
        first.set_switch(True)
        second.report_status()
        assert dict(current_context.response_annotations) == {}


# Errors: the daemon says no, or there is no daemon


def test_an_error_that_a_read_raises_arrives_as_it_is(plant: Plant, served: Served) -> None:
    with served.client() as client:
        with pytest.raises(CommandError) as caught:
            client.refuse()
        assert (caught.value.code, str(caught.value)) == (12, "the chiller does not answer")
        assert not isinstance(caught.value, Unreachable)
        assert client.echo(1) == 1
    assert plant.log.lines == []


@pytest.mark.parametrize(("method", "text"), [("break_down", "a mistake of ours"), ("mistype", "no len()")])
def test_a_mistake_of_ours_in_a_read_is_logged_and_is_not_unreachable(
    plant: Plant, served: Served, method: str, text: str
) -> None:
    with served.client() as client:
        with pytest.raises(CommandError, match=f"{method} failed in the daemon") as caught:
            client.call(method)
        assert not isinstance(caught.value, Unreachable)
        assert (caught.value.code, text in caught.value.message) == (Code.FAILED, True)
        assert client.echo(1) == 1
    assert len(plant.log.of("error")) == 1
    assert "Traceback" in plant.log.of("error")[0]


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [("nonsense", (), "nonsense"), ("unmarked", (), "unmarked"), ("echo", (), "wrong arguments; it is called as echo("),
     ("echo", (1, 2), "wrong arguments; it is called as echo("), ("stream", (), "iterator"),
     ("large", (5_000_000,), "too large"),
     ("echo", ("x" * 40_000,), str(wire.MAX_REQUEST)), ("echo", (object(),), "echo")],
)  # fmt: skip
def test_a_call_that_cannot_be_done_is_a_sentence_and_not_unreachable(
    plant: Plant, served: Served, method: str, arguments: tuple[Any, ...], text: str
) -> None:
    with served.client() as client:
        with pytest.raises(CommandError) as caught:
            client.call(method, *arguments)
        assert not isinstance(caught.value, Unreachable), caught.value
        assert text in str(caught.value)
        assert client.echo(1) == 1
    assert plant.log.of("error") == []


def unreachable(port: int, timeout: float = 20.0, object_id: str = OBJECT) -> str:
    client = UntypedClient(daemon_at(port, object_id), timeout)
    with client, pytest.raises(Unreachable) as caught:
        client.report_status()
    assert caught.value.code == 155
    start, _, why = str(caught.value).partition(f" at 127.0.0.1:{port}: ")
    assert start == "cannot reach plant"
    return why


def test_nothing_listens() -> None:
    assert unreachable(free_port()) == "nothing listens there; is the daemon running?"


def test_a_daemon_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        why = unreachable(silent.getsockname()[1], timeout=0.3)
    assert why.startswith("no answer within 0.3 s")


def test_a_command_gets_more_time_and_the_message_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rockit.common.remote.client.COMMAND_MARGIN", 0.25)
    monkeypatch.setattr("rockit.common.remote.client.LEAST_FOR_COMMANDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = UntypedClient(daemon_at(silent.getsockname()[1]), 0.25)
        with client, pytest.raises(Unreachable, match=r"no answer within 0\.5 s.* not known, look"):
            client.set_switch(True)


def test_another_daemon_answers(served: Served) -> None:
    assert unreachable(served.port, object_id="someone_else").startswith("another daemon answers there")


@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 40,
     struct.pack("!4sHHHHiHHHH", b"PYRO", 48, 3, 0, 0, 0, 1, 0, 0, 0) + b" " * 40],
    ids=["http", "pyro4"],
)  # fmt: skip
def test_what_answers_is_not_a_daemon_of_ours(reply: bytes) -> None:
    with answering(reply) as port:
        assert "does not speak Pyro 5" in unreachable(port)


def test_all_places_taken_is_said_and_ends_when_others_leave(plant: Plant) -> None:
    with serving(plant, connections=3) as served:
        clients = [served.client() for _ in range(3)]
        assert [client.echo(1) for client in clients] == [1] * 3
        late = served.client()
        for _ in range(3):
            with pytest.raises(Unreachable, match="all 3 connections of this daemon are in use; close some"):
                late.report_status()
        script = f"import Pyro5.client\nPyro5.client.Proxy({served.daemon().uri!r}).report_status()"
        plain = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert "all 3 connections of this daemon are in use" in plain.stderr.splitlines()[-1]
        assert [client.echo(2) for client in clients] == [2] * 3, "who is in stays in"
        clients[0].close()
        assert in_threads(1, lambda _: retried(late)) == [{"water_temp": 11.5, "alarms": []}]
        late.close()


def retried(client: UntypedClient) -> Any:
    while True:
        try:
            return client.report_status()
        except Unreachable:
            continue


def test_an_idle_connection_makes_room_and_its_owner_notices_nothing(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE_EVICTION", -1.0)
    with serving(plant, connections=3) as served:  # one more than idle ones: the last to be served may still be busy
        clients = [served.client() for _ in range(4)]
        for _ in range(3):
            assert [client.report_status()["water_temp"] for client in clients] == [11.5] * 4
            assert [client.set_switch(True) for client in clients] == [0] * 4
        assert len(plant.switched) == 12, "each command once"
        for client in clients:
            client.close()


# Connections that end


def test_a_read_is_asked_once_more_and_a_command_is_not(plant: Plant, served: Served) -> None:
    with served.client() as client:
        with pytest.raises(Unreachable, match=r"ended before the answer$"):
            client.call("hang_up")
        assert plant.calls == ["hang_up", "hang_up"]
        plant.calls.clear()
        with pytest.raises(Unreachable, match="ended before the answer; whether it was done is not known"):
            client.set_hang_up()
        assert plant.calls == ["set_hang_up"]
        plant.calls.clear()
        with pytest.raises(Unreachable):
            client.hang_up()
        assert plant.calls == ["hang_up"], "of a method that nothing is known of, once"
        assert client.echo(5) == 5


@pytest.mark.parametrize("method", ["report_status", "set_switch"])
def test_a_client_outlives_a_restart_of_the_daemon_on_its_port(plant: Plant, method: str) -> None:
    arguments = (True,) if method == "set_switch" else ()
    with serving(plant) as before:
        client = before.client()
        first = getattr(client, method)(*arguments)
        before.stop()
        with pytest.raises(Unreachable, match="nothing listens there"):
            client.report_status()
        with serving(plant, port=before.port):
            assert getattr(client, method)(*arguments) == first
        with serving(plant, port=before.port):
            assert getattr(client, method)(*arguments) == first, "also when it was away while nobody asked"
        client.close()
    if method == "set_switch":
        assert len(plant.switched) == 3


# Many clients


def test_100_connected_clients_are_all_served_while_most_workers_are_kept(plant: Plant) -> None:
    with serving(plant, workers=4) as served:
        holders = [threading.Thread(target=lambda: served.client(60).call("hold")) for _ in range(3)]
        for holder in holders:
            holder.start()
        for _ in holders:
            assert plant.entered.acquire(timeout=30)
        clients = [served.client() for _ in range(100)]
        assert [client.echo(0) for client in clients] == [0] * 100
        assert served.server.clients == 103
        answers = in_threads(100, lambda n: [clients[n].echo([n, turn]) for turn in range(5)])
        assert answers == [[[n, turn] for turn in range(5)] for n in range(100)]
        plant.gate.set()
        for holder in holders:
            holder.join(30)
        for client in clients:
            client.close()


def test_one_client_may_be_used_by_several_threads(served: Served) -> None:
    with served.client() as client:
        answers = in_threads(8, lambda n: [client.echo([n, turn]) for turn in range(40)])
    assert answers == [[[n, turn] for turn in range(40)] for n in range(8)]
    assert served.server.counters["connections"] == 1


def test_a_client_may_be_closed_by_another_thread_and_used_again(served: Served) -> None:
    client = served.client()
    assert in_threads(1, lambda _: client.echo(1)) == [1]
    client.close()
    client.close()
    assert client.echo(2) == 2
    client.close()


# Access


def test_who_is_not_among_the_allowed_reads_and_does_not_operate() -> None:
    plant = Plant(allowed=frozenset({"192.0.2.7"}))
    with serving(plant) as served, served.client() as client:
        assert client.report_status()["water_temp"] == 11.5
        assert client.set_switch(True) == Code.NOT_ACCEPTED
        assert client.message == "127.0.0.1 is not one of the control machines of this daemon"
        for _ in range(20):
            assert client.set_switch(True) == Code.NOT_ACCEPTED
    assert plant.switched == []
    assert plant.log.of("info") == [f"set_switch(True) from 127.0.0.1: code 3, {client.message}"]
    assert plant.log.counters["log_left_out"] == 20, "a stranger cannot fill the log"


def test_arguments_by_name_are_in_the_log_as_well(served: Served, plant: Plant) -> None:
    with Pyro5.client.Proxy(served.daemon().uri) as proxy:
        assert proxy.set_switch(on=True) == 0
    assert plant.log.of("info") == ["set_switch(on=True) from 127.0.0.1: done, the switch is on"]


@pytest.mark.parametrize(
    ("listens", "calls", "known_as"), [("::1", "::1", "::1"), ("::", "127.0.0.1", "127.0.0.1"), ("::", "::1", "::1")]
)
def test_ipv6_and_ipv4_inside_it_are_the_addresses_of_the_registry(listens: str, calls: str, known_as: str) -> None:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    plant = Plant(allowed=frozenset({known_as}))
    with serving(plant, host=listens) as served, served.client(host=calls) as client:
        assert client.set_switch(True) == 0
    assert plant.switched == [(True, known_as)]


@pytest.mark.parametrize(
    ("written", "plain"),
    [("10.2.6.181", "10.2.6.181"), ("::ffff:10.2.6.181", "10.2.6.181"), ("::FFFF:0A02:06B5", "10.2.6.181"),
     ("2001:DB8:0:0::1", "2001:db8::1"), ("fe80::1%eth0", "fe80::1"), ("0:0:0:0:0:0:0:1", "::1"),
     ("chiller", "chiller")],
)  # fmt: skip
def test_addresses_are_compared_in_one_form(written: str, plain: str) -> None:
    assert plain_address(written) == plain


def test_a_method_called_inside_the_daemon_is_local() -> None:
    plant = Plant(allowed=frozenset())
    assert plant.set_switch(True) == 0
    assert plant.switched == [(True, "local")]
    current_context.response_annotations = {}


# Start


def test_a_taken_port_names_who_has_it(plant: Plant) -> None:
    script = f"""
import sys
sys.path[:0] = {sys.path!r}
from served import Plant, Served
from rockit.common.errors import StartError
try:
    Served(Plant(), port=int(sys.argv[1]))
except StartError as error:
    print(error)
"""
    with serving(plant) as served:
        done = subprocess.run(
            [sys.executable, "-c", script, str(served.port)], capture_output=True, text=True, timeout=60
        )
    assert f"cannot listen on 127.0.0.1:{served.port}: the port is taken by" in done.stdout
    assert f"(pid {os.getpid()})" in done.stdout
    assert "give this daemon another port" in done.stdout


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Pyro leaves its socket to the collector
def test_an_address_of_another_machine_is_said(plant: Plant) -> None:
    with pytest.raises(StartError, match="this machine does not have that address; check the daemon's machine"):
        Served(plant, host="192.0.2.1")


def test_stop_before_run_ends_run_at_once(plant: Plant) -> None:
    server = server_module.Server(plant, OBJECT, "127.0.0.1", 0, plant.log)
    server.stop()
    server.run()
    server.stop()
    assert "nothing listens" in unreachable(server.port)
