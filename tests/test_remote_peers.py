# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that are silent, slow, half there, foreign or hostile: each costs its own connection, nobody anything else."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib

import pytest
import serpent
from harness import ROOT, wait_for
from served import (
    BATCH,
    COMPRESSED,
    CONNECT_FAIL,
    CONNECT_OK,
    EXCEPTION,
    INVOKE,
    JSON,
    KEEP_SERIALIZED,
    MARSHAL,
    ONEWAY,
    PING,
    RESULT,
    Plant,
    Raw,
    Served,
    handshake,
    in_threads,
    invoke,
    message,
    serving,
)

from rockit.common.remote import server as server_module
from rockit.common.remote import wire
from rockit.common.remote.connection import Connection

HTTP = b"GET /metrics HTTP/1.1\r\nHost: chiller\r\nUser-Agent: scanner\r\n\r\n"
PYRO4 = struct.pack("!4sHHHHiHHHH", b"PYRO", 48, 1, 0, 0, 10, 1, 0, 0, 0) + b"x" * 10


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def assert_serves(served: Served) -> None:
    with served.client() as client:
        assert client.report_status() == {"water_temp": 11.5, "alarms": []}


def test_silent_half_and_foreign_peers_disturb_nobody(served: Served) -> None:
    peers = [served.raw(shaken=False) for _ in range(40)]
    for beginning in (b"P", b"PYRO", handshake()[:39], handshake()[:-1], handshake()):
        peers += [served.raw(shaken=False) for _ in range(5)]
        for peer in peers[-5:]:
            peer.send(beginning)
    for half in (invoke("report_status")[:20], invoke("report_status")[:-1], message(INVOKE, b"", size=20000)):
        peers += [served.raw() for _ in range(5)]
        for peer in peers[-5:]:
            peer.send(half)
    for foreign in (b"\x16\x03\x01\x02\x00\x01", b"\0" * 5000, os.urandom(3000), HTTP, PYRO4):
        peers += [served.raw(shaken=False) for _ in range(5)]
        for peer in peers[-5:]:
            peer.send(foreign)
    answers = in_threads(20, lambda _: [served.client().report_status()["water_temp"] for _ in range(10)])
    assert answers == [[11.5] * 10] * 20
    assert served.server.clients >= 60, "the silent ones were there all the while"
    for peer in peers:
        peer.sock.close()
    wait_for(lambda: served.server.clients <= 200, "the server to see that they left")


def test_a_request_that_comes_byte_by_byte_is_answered(served: Served) -> None:
    with served.raw(shaken=False) as peer:
        for byte in handshake():
            peer.send(bytes([byte]))
        assert peer.reply()[0] == CONNECT_OK
        for byte in invoke("echo", 5):
            peer.send(bytes([byte]))
        assert peer.reply() == (RESULT, 0, 5)


def test_requests_that_come_together_are_answered_in_order(served: Served) -> None:
    with served.raw() as peer:
        peer.send(b"".join(invoke("echo", number) for number in range(50)) + invoke("echo", 99)[:30])
        assert [peer.reply()[2] for _ in range(50)] == list(range(50))
        peer.send(invoke("echo", 99)[30:])
        assert peer.reply()[2] == 99


def test_what_is_begun_and_not_finished_is_ended_and_what_is_idle_is_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = served.raw()
    silent, half = served.raw(shaken=False), served.raw()
    half.send(invoke("report_status")[:-1])
    monkeypatch.setattr(server_module, "MESSAGE_TIMEOUT", 0.2)
    assert_serves(served)  # wakes the loop, which until now had nothing to be in a hurry for
    assert silent.ended()
    assert half.ended()
    assert served.server.counters["connections_timed_out"] == 2
    assert idle.call("echo", 1)[2] == 1


def test_a_machine_that_vanishes_without_a_word_is_noticed(served: Served) -> None:
    with served.client() as client:
        client.report_status()
        (connection,) = served.server._all
        asked = {
            name: connection.sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}"))
            for name in ("IDLE", "INTVL", "CNT")
        }
        assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert asked["IDLE"] + asked["INTVL"] * asked["CNT"] <= 120


def test_clients_that_do_not_read_their_replies_keep_no_worker(plant: Plant) -> None:
    with serving(plant, workers=2) as served:
        lazy = [served.raw() for _ in range(6)]
        for peer in lazy:
            peer.send(b"".join(invoke("large", 1_500_000) for _ in range(10)))
        assert in_threads(4, lambda _: served.client().echo(3)) == [3] * 4
        assert [lazy[0].reply()[2] for _ in range(10)] == ["x" * 1_500_000] * 10, "nothing lost for who reads late"
        for peer in lazy:
            peer.reset()


def test_a_reply_that_nobody_takes_is_given_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MESSAGE_TIMEOUT", 0.2)
    with served.raw() as lazy:
        lazy.send(b"".join(invoke("large", 3_000_000) for _ in range(10)))
        wait_for(lambda: served.server.counters["connections_timed_out"] == 1, "the reply to be given up")
        assert served.server.clients == 0


@pytest.mark.parametrize(
    "sent", [PYRO4, HTTP, b"hello\r\n", handshake(version=501)], ids=["pyro4", "http", "text", "v501"]
)
def test_a_foreign_protocol_is_told_so_at_once(served: Served, sent: bytes) -> None:
    with served.raw(shaken=False) as peer:
        peer.send(sent)
        kind, _, why = peer.reply()
        assert kind == CONNECT_FAIL
        assert "Pyro" in why or "protocol version" in why
        assert peer.sock.recv(1) == b"", "and that is the end of it"


def test_a_request_beyond_the_allowed_size_is_refused_before_it_is_read(served: Served) -> None:
    with served.raw() as peer:
        peer.send(message(INVOKE, b"", size=2**32 - 1))
        _, flags, error = peer.reply()
        assert flags & EXCEPTION
        assert str(wire.MAX_REQUEST) in str(error["args"])
    with served.raw(shaken=False) as peer:
        peer.send(message(1, b"", size=wire.MAX_REQUEST + 1))
        assert peer.reply()[0] == CONNECT_FAIL


def test_a_small_request_that_inflates_without_end_is_refused(served: Served) -> None:
    bomb = zlib.compress(b"#" * 20_000_000, 9)
    assert len(bomb) < wire.MAX_REQUEST
    with served.raw() as peer:
        tracemalloc.start()
        peer.send(message(INVOKE, bomb, flags=COMPRESSED))
        _, flags, error = peer.reply()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert flags & EXCEPTION
        assert "inflated" in str(error["args"])
        assert peak < 2_000_000, "bytes, of twenty million"
    for damaged in (zlib.compress(invoke("echo", 1)[40:])[:-3], b"not compressed"):
        with served.raw() as peer:
            peer.send(message(INVOKE, damaged, flags=COMPRESSED))
            assert peer.reply()[1] & EXCEPTION


def test_an_honestly_compressed_request_is_served(served: Served) -> None:
    with served.raw() as peer:
        peer.send(message(INVOKE, zlib.compress(invoke("echo", "a" * 500)[40:]), flags=COMPRESSED))
        assert peer.reply() == (RESULT, 0, "a" * 500)


def test_data_that_python_cannot_nest_so_deep_costs_an_error_and_not_the_process(served: Served) -> None:
    for payload in (
        b"-" * 30000 + b"1",
        b"(" * 30000,
        b"1" + b"+1" * 15000,
        b"9" * 30000,
        b"\xff\xfe",
        b"",
        b"1",
        b"()",
    ):
        with served.raw() as peer:
            peer.send(message(INVOKE, payload))
            assert peer.reply()[1] & EXCEPTION
    assert_serves(served)


@pytest.mark.parametrize(
    "request_",
    [
        message(INVOKE, b"\xdb" * 100, serializer=MARSHAL),
        message(INVOKE, b"", serializer=4),
        message(INVOKE, b"", serializer=77),
        invoke("echo", 1, flags=KEEP_SERIALIZED, annotations=b"BLBI" + struct.pack("!I", 4) + b"\xdb\xff\xff\xff"),
        invoke("echo", 1, annotations=b"\xff\xff\xff\xff" + struct.pack("!I", 0)),
        invoke("echo", 1, annotations=b"ABCD" + struct.pack("!I", 99999)),
        message(RESULT, b"None"),
        handshake(),
    ],
    ids=["marshal", "msgpack", "unknown", "blob", "annotation", "annotation size", "result", "second handshake"],
)  # fmt: skip
def test_what_only_an_attacker_sends_is_refused(served: Served, request_: bytes) -> None:
    with served.raw() as peer:
        peer.send(request_)
        assert peer.ended()
    assert_serves(served)


@pytest.mark.parametrize(
    "first", [invoke("report_status"), message(PING, b"ping"), message(1, b"[]"), message(1, b"{'object': []}"),
              message(1, b"", serializer=MARSHAL), handshake("Pyro.Daemon' or 1 or '"), handshake(flags=ONEWAY)],
)  # fmt: skip
def test_nothing_is_served_before_a_handshake(plant: Plant, served: Served, first: bytes) -> None:
    with served.raw(shaken=False) as peer:
        peer.send(first + invoke("report_status"))
        peer.sock.shutdown(socket.SHUT_WR)
        assert peer.ended()
    assert plant.calls == [] or first == handshake(flags=ONEWAY)
    assert_serves(served)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("unmarked", ()), ("log", ()), ("gate", ()), ("secret", ()), ("_hang_up", ()),
        ("__class__", ()), ("__init__", ()),
        ("__getattr__", ("secret",)), ("__getattr__", ("log",)), ("__getattr__", ()),
        ("__setattr__", ("allowed", ["127.0.0.2"])),
        ("report_status.__func__", ()), ("", ()), (5, ()), (None, ()), ([], ()), ("stream", ()),
    ],
)  # fmt: skip
def test_only_marked_methods_can_be_reached(
    plant: Plant, served: Served, method: object, arguments: tuple[object]
) -> None:
    with served.raw() as peer:
        _, flags, error = peer.call(method, *arguments)
        assert flags & EXCEPTION
        assert plant.secret not in str(error)
        peer.send(message(INVOKE, serpent.dumps((served.object_id, None, [(method, arguments, {})], {})), flags=BATCH))
        flags, answer = peer.reply()[1:]
        assert flags & EXCEPTION or "exception" in str(answer[0]) or method == "stream"
    assert plant.calls == []
    assert plant.allowed == {"127.0.0.1"}


def test_of_pyro_s_own_object_only_what_a_proxy_needs(served: Served) -> None:
    with served.raw() as peer:
        metadata = peer.call("get_metadata", served.object_id, object_id="Pyro.Daemon")[2]
        assert "report_status" in metadata["methods"]
        assert "unmarked" not in metadata["methods"]
        assert not metadata["attrs"]
        for method in ("registered", "info", "ping", "get_next_stream_item", "close_stream"):
            assert peer.call(method, "x", object_id="Pyro.Daemon")[1] & EXCEPTION


def test_the_server_calls_nobody_for_a_proxy_among_the_arguments(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap, served.raw() as peer:
        trap.setblocking(False)
        state = (f"PYRO:x@127.0.0.1:{trap.getsockname()[1]}", [], [], [], "hello", "serpent")
        _, flags, error = peer.call("echo", {"__class__": "Pyro5.client.Proxy", "state": state})
        assert flags & EXCEPTION
        assert "not a value" in str(error["args"])
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_json_is_served_too(served: Served) -> None:
    with served.raw() as peer:
        peer.send(message(INVOKE, b'{"object": "plant_daemon", "method": "echo", "params": [[1, null]], "kwargs": {}}',
                          serializer=JSON))  # fmt: skip
        header = peer.sock.recv(4096)
        assert header.endswith(b"[1, null]") or header.endswith(b"[1,null]")


def test_one_way_calls_start_no_threads_of_their_own(plant: Plant) -> None:
    with serving(plant, workers=3) as served, served.raw() as peer:
        threads = threading.active_count()
        peer.send(b"".join(invoke("hold", flags=ONEWAY) for _ in range(50)) + invoke("echo", "last"))
        assert plant.entered.acquire(timeout=30)
        assert not plant.entered.acquire(blocking=False), "one after the other"
        assert threading.active_count() <= threads + 3
        plant.gate.set()
        assert peer.reply() == (RESULT, 0, "last"), "and none of them is answered"
        assert all(plant.entered.acquire(blocking=False) for _ in range(49)), "but each was run"


def handed_over(served: Served, peer: str) -> bool:
    """Whether a whole request of that peer is with the workers."""
    return any(c.peer == peer and c.buffer and not c.watched for c in list(served.server._all))


@pytest.mark.parametrize("flags", [0, ONEWAY])
def test_who_is_not_allowed_cannot_operate_by_leaving_in_time(plant: Plant, flags: int) -> None:
    """Pyro forgets who called when the peer resets before the call runs; nobody must pass for local by that."""
    with serving(plant, workers=1) as served:
        holder, stranger = served.raw(), served.raw("127.0.0.2")
        holder.send(invoke("hold"))
        assert plant.entered.acquire(timeout=30)
        stranger.send(invoke("set_switch", True, flags=flags))
        wait_for(lambda: handed_over(served, "127.0.0.2"), "the request in the queue")
        stranger.reset()
        plant.gate.set()
        assert holder.reply()[2] == "held"
        wait_for(lambda: plant.log.lines or plant.switched, "the stranger's request to be done with")
        assert plant.switched == []
        assert "from 127.0.0.2: code 3" in plant.log.of("info")[0]


@pytest.mark.parametrize("how", ["plain", "one-way", "batch"])
def test_every_way_to_operate_asks_who_is_calling(plant: Plant, served: Served, how: str) -> None:
    with served.raw("127.0.0.2") as stranger:
        if how == "plain":
            assert stranger.call("set_switch", True)[2] == 3
        elif how == "one-way":
            stranger.send(invoke("set_switch", True, flags=ONEWAY))
        else:
            calls = [("set_switch", (True,), {}), ("echo", (4,), {})]
            stranger.send(message(INVOKE, serpent.dumps((served.object_id, None, calls, {})), flags=BATCH))
            assert stranger.reply()[2] == [3, 4]
        assert stranger.call("report_status")[2]["water_temp"] == 11.5, "reading is open to all"
    assert plant.switched == []
    assert "code 3, 127.0.0.2 is not one of the control machines" in plant.log.of("info")[-1]


def test_the_connection_limit_holds_against_silent_ones_and_recovers(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(plant, connections=5) as served:
        crowd = [served.raw(shaken=False) for _ in range(60)]
        wait_for(lambda: served.server.counters["connections_denied"] == 55, "the crowd")
        assert served.server.clients == 5 + server_module.MAX_DENIED, "beyond that, closed at once"
        monkeypatch.setattr(server_module, "MESSAGE_TIMEOUT", 0.2)
        wait_for(lambda: served.server.clients == 0, "the silent ones to be ended")
        assert_serves(served)
        for peer in crowd:
            peer.sock.close()


def test_a_client_is_let_in_at_the_cost_of_one_that_never_spoke(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "SILENT_EVICTION", 0.0)
    with serving(plant, connections=5) as served:
        with served.client() as early:
            assert early.echo(1) == 1
            crowd = [served.raw(shaken=False) for _ in range(4)]
            wait_for(lambda: served.server.clients == 5, "the crowd")
            assert_serves(served)
            assert served.server.counters["connections_denied"] == 0
            assert early.echo(2) == 2
        for peer in crowd:
            peer.sock.close()


def test_descriptors_and_threads_come_back(plant: Plant) -> None:
    before = descriptors(), threading.active_count()
    with serving(plant, workers=4) as served:
        assert_serves(served)
        wait_for(lambda: served.server.clients == 0, "the first client to be gone")
        running = descriptors()
        for number in range(300):
            peer = served.raw(shaken=number % 3 == 0)
            peer.send((b"", HTTP, PYRO4, invoke("large", 500_000), handshake()[: number % 40])[number % 5])
            peer.reset() if number % 2 else peer.sock.close()
        assert_serves(served)
        wait_for(lambda: served.server.clients == 0, "all of them to be gone")
        wait_for(lambda: descriptors() <= running, "their descriptors")
        left = [served.raw() for _ in range(3)]
        served.server.stop()
        assert [peer.ended() for peer in left] == [True] * 3, "stop() ends what is still connected"
    # Not equal: what earlier tests left may have been on its way out when this one began to count.
    wait_for(lambda: descriptors() <= before[0] and threading.active_count() <= before[1], "everything given back")


def test_a_mistake_of_ours_in_the_loop_costs_one_connection(
    plant: Plant, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served.raw() as bystander:
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "whole", lambda self: 1 // 0)
            for _ in range(10):
                with served.raw(shaken=False) as victim:
                    victim.send(handshake())
                    assert victim.ended()
        assert bystander.call("echo", 1)[2] == 1
    assert served.server.counters["server_errors"] == 10
    assert len(plant.log.of("error")) == 3, "a peer must not fill the log"
    assert "ZeroDivisionError" in plant.log.of("error")[0]


def test_a_method_that_would_end_the_process_ends_a_call(served: Served) -> None:
    with served.raw() as peer:
        peer.send(invoke("leave"))
        assert peer.ended()
    assert_serves(served)


def test_when_there_are_no_descriptors_left_it_waits_for_some() -> None:
    script = f"""
import resource, sys, threading
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from served import Plant, Served
served = Served(Plant())
soft = len(__import__("os").listdir("/proc/self/fd")) + 12
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
print(served.port, flush=True)
sys.stdin.read()
print(served.server.counters["connections_not_accepted"], flush=True)
served.stop()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        port = int(process.stdout.readline())
        first = Raw(port)
        first.shake()
        crowd = [Raw(port) for _ in range(30)]
        assert [first.call("echo", n)[2] for n in range(20)] == list(range(20)), "who is in is served"
        late = socket.create_connection(("127.0.0.1", port), timeout=30)
        late.sendall(handshake())
        for peer in crowd:
            peer.sock.close()
        assert late.recv(4096)[6] == CONNECT_OK, "who waited outside is let in when others have left"
        for sock in (first.sock, late):
            sock.close()
        process.stdin.close()
        refused = int(process.stdout.readline())
        assert refused > 0, "the limit was reached"
        assert refused < 50, "and it did not spin on it"
        assert process.wait(30) == 0
