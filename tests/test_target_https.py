# SPDX-License-Identifier: GPL-3.0-or-later
"""Forwarding over HTTPS: the target against a real receiver with a real store, and strangers against the receiver."""

from __future__ import annotations

import gzip
import http.client
import math
import os
import re
import signal
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from harness import PATIENCE, ROOT, wait_for
from hypothesis import given
from hypothesis import strategies as st
from served import in_threads
from servers import Scripted
from servers import http as answer

from rockit.common.errors import StartError
from rockit.history import incoming, receiver
from rockit.history.model import Batch, Event, Series
from rockit.history.query import Reader
from rockit.history.receiver import Receiver
from rockit.history.store import Store
from rockit.history.targets import TargetFailed, TargetRefused
from rockit.history.targets.address import Address
from rockit.history.targets.https import ReceiverTarget

START = 1_760_000_000_123
WATER = Series("clasp", "clasp_chiller", "water_temp", "degC", "Supply temperature")
ENERGY = Series("clasp", "clasp_meter", "energy", "Wh", "Energy", counter=True)
CLASP = "clasp-0123456789abcdef"
EVERY = "every-0123456789abcdef"
SAMPLES = [(0, START, 11.5, 0), (1, START, 12345678.1, 0), (0, START + 1, -0.1, 1), (0, START + 2, 999.9, 2)]
STARTED = Event(START, "state", "mode", "AUTOMATIC", "by command", "127.0.0.1")


def batch() -> Batch:
    return Batch([WATER, ENERGY], list(SAMPLES), [("clasp", "clasp_chiller", STARTED)])


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(f"# who may write\n{CLASP} clasp\n\n{EVERY}\n")
    path.chmod(0o640)
    return path


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/central.sqlite"


def secret(folder: Path, token: str) -> str:
    path = folder / f"secret-{token}"
    path.write_text(token + "\n")
    path.chmod(0o600)
    return str(path)


class Running:
    """A receiver that runs in a thread."""

    def __init__(self, made: Receiver, said: list[str]) -> None:
        self.receiver = made
        self.said = said
        self.thread = threading.Thread(target=made.run, name="receiver under test")
        self.thread.start()

    def stop(self) -> None:
        self.receiver.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def post(self, body: Any, token: str | None = EVERY, **headers: str) -> tuple[int, Any, dict[str, str]]:
        """Status, what was said, and the answer's headers, of a post by hand in clear."""
        connection = http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=PATIENCE)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        try:
            connection.request("POST", "/batch", body, named)
            reply = connection.getresponse()
            said = reply.read()
            return reply.status, msgspec.json.decode(said) if said[:1] == b"{" else said, dict(reply.getheaders())
        finally:
            connection.close()


@contextmanager
def running(url: str, token_file: Path, **options: Any) -> Iterator[Running]:
    said: list[str] = []
    made = Receiver(url, "127.0.0.1", 0, token_file=str(token_file), say=said.append, **options)
    it = Running(made, said)
    try:
        yield it
    finally:
        it.stop()


@pytest.fixture
def plain(store_url: str, token_file: Path) -> Iterator[Running]:
    with running(store_url, token_file) as it:
        yield it


@contextmanager
def target_of(url: str, token_file: str | None = None, ca_file: Path | None = None, **options: Any) -> Iterator[Any]:
    made = ReceiverTarget(Address.of(url), token_file, None if ca_file is None else str(ca_file), **options)
    try:
        yield made
    finally:
        made.close()


def stored(url: str) -> dict[Series, list[tuple[int, float, int]]]:
    with Store(url) as store, Reader(store.database).view() as view:
        return {series: list(view.samples(number, 0, 2**45).rows()) for number, series in view.series().items()}


EXPECTED = {
    WATER: [(START, 11.5, 0), (START + 1, -0.1, 1), (START + 2, 999.9, 2)],
    ENERGY: [(START, 12345678.1, 0)],
}

# From end to end


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificate")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    mine = authority.issue_cert("localhost")
    mine.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return folder


def test_a_batch_arrives_over_tls_and_twice_is_once(
    store_url: str, token_file: Path, certificate: Path, tmp_path: Path
) -> None:
    with running(store_url, token_file, certificate=str(certificate / "both.pem")) as it:
        assert it.said == [f"receiving at https://127.0.0.1:{it.receiver.port}/batch"]
        url = f"https://localhost:{it.receiver.port}"
        with target_of(url, secret(tmp_path, CLASP), certificate / "ca.pem") as target:
            target.send(batch())
            assert target.restarted()
            target.send(batch())
            assert not target.restarted(), "one connection for all"
        assert stored(store_url) == EXPECTED
        elsewhere = url.replace("localhost", "127.0.0.1")
        in_clear = url.replace("https", "http")
        for where, authority, said in (
            (url, None, "its certificate is not to be trusted: unable to get local issuer"),
            (elsewhere, certificate / "ca.pem", "its certificate is not to be trusted: IP address mismatch"),
            (in_clear, None, "connection"),
        ):
            with target_of(where, secret(tmp_path, CLASP), authority) as target:
                with pytest.raises(TargetFailed) as caught:
                    target.send(batch())
                assert said in str(caught.value)


def test_events_arrive_once(plain: Running, store_url: str) -> None:
    body = msgspec.msgpack.encode(batch())
    assert plain.post(body)[:2] == (200, {"new": 4})
    assert plain.post(gzip.compress(body), Content_Encoding="gzip")[:2] == (200, {"new": 0})
    with Store(store_url) as store:
        assert store.add_events("clasp", "clasp_chiller", [STARTED]) == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 253_402_300_799_999),
            st.floats(allow_nan=False, allow_infinity=False),
            st.integers(0, 2),
        )
    ),
    st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=50),
)
def test_what_is_sent_is_what_is_decoded(samples: list[tuple[int, int, float, int]], name: str) -> None:
    sent = Batch([WATER, Series(name, name, name, name, name)], samples, [(name, name, Event(START, "state", name))])
    packed = gzip.compress(msgspec.msgpack.encode(sent), 5)
    assert incoming.checked(incoming.unpacked(packed)) == sent


def test_many_at_once(plain: Running, store_url: str) -> None:
    def one(number: int) -> int:
        body = Batch([WATER], [(0, START + 1000 * number + n, float(n), 0) for n in range(200)])
        return plain.post(msgspec.msgpack.encode(body))[0]

    assert in_threads(16, one) == [200] * 16
    assert len(stored(store_url)[WATER]) == 3200


SERVE = """
import os, signal, sys
from rockit.history.receiver import Receiver
from rockit.history.store import Store

class Dying(Store):
    def receive(self, batch):
        new = super().receive(batch)
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return new

def say(text):
    print(text, flush=True)

url, token_file, how, port = sys.argv[1:]
Receiver(url, "127.0.0.1", int(port), token_file=token_file, open_store=Dying, say=say).run()
print("ended", flush=True)
"""


def serve(store_url: str, token_file: Path, how: str, port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVE, store_url, str(token_file), how, str(port)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def port_of(child: subprocess.Popen[str]) -> int:
    assert child.stdout is not None
    found = re.fullmatch(r"receiving at http://127\.0\.0\.1:(\d+)/batch\n", child.stdout.readline())
    assert found
    return int(found[1])


def test_killed_between_commit_and_answer(store_url: str, token_file: Path, tmp_path: Path) -> None:
    with serve(store_url, token_file, "dies", 0) as child:
        port = port_of(child)
        with target_of(f"http://127.0.0.1:{port}/batch", secret(tmp_path, CLASP)) as target:
            with pytest.raises(TargetFailed, match=r"the connection ended without an answer|reset"):
                target.send(batch())
            assert child.wait(PATIENCE) == -signal.SIGKILL
            assert stored(store_url) == EXPECTED, "committed, and nobody was told"
            with serve(store_url, token_file, "lives", port) as second:
                port_of(second)
                target.send(batch())
                assert target.restarted()
                assert stored(store_url) == EXPECTED
                second.send_signal(signal.SIGTERM)
                assert second.wait(PATIENCE) == 0, "an end that was asked for is no failure"
                assert second.stdout is not None
                assert second.stdout.read() == "ended\n"


# Who may write


def test_strangers(plain: Running) -> None:
    body = msgspec.msgpack.encode(batch())
    for token in (None, "", "guess", CLASP[:-1], CLASP + "0", f"{CLASP} clasp", "ä"):
        status, said, headers = plain.post(body, None if token is None else token.encode().decode("latin-1"))
        assert (status, said) == (401, {"error": "this token is not known here"})
        assert headers["www-authenticate"] == "Bearer"
    status, _, _ = plain.post(body, None, Authorization=f"Basic {EVERY}")
    assert status == 401


def test_a_token_of_one_site_writes_about_no_other(plain: Running, tmp_path: Path, store_url: str) -> None:
    foreign = Series("goto", "goto_chiller", "water_temp", "degC")
    url = f"http://127.0.0.1:{plain.receiver.port}"
    with target_of(url, secret(tmp_path, CLASP)) as target:
        for one in (
            Batch([WATER, foreign], [(0, START, 1.0, 0), (1, START, 1.0, 0)]),
            Batch(events=[("goto", "goto_chiller", STARTED)]),
        ):
            with pytest.raises(TargetRefused, match=r"HTTP 403: .*this token is not for the site 'goto'"):
                target.send(one)
        target.send(Batch([WATER], [(0, START, 1.0, 0)]))
    with target_of(url, secret(tmp_path, EVERY)) as target:
        target.send(Batch([foreign], [(0, START, 1.0, 0)]))
    assert set(stored(store_url)) == {WATER, foreign}


def test_a_token_that_is_withdrawn_counts_no_more(plain: Running, token_file: Path) -> None:
    body = msgspec.msgpack.encode(batch())
    assert plain.post(body, EVERY)[0] == 200
    token_file.write_text(f"{CLASP} clasp\n")
    assert plain.post(body, EVERY)[0] == 401
    assert plain.post(body, CLASP)[0] == 200
    token_file.chmod(0o644)
    status, said, headers = plain.post(body, CLASP)
    assert status == 503
    assert "no token can be checked" in said["error"]
    assert headers["retry-after"] == "5"
    token_file.unlink()
    assert plain.post(body, CLASP)[0] == 503
    assert plain.post(body, CLASP)[0] == 503
    assert len(plain.said) == 3, "each trouble once"
    assert f"chmod 640 {token_file}" in plain.said[1]
    assert "No such file" in plain.said[2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no token"),
        ("# note\n", "holds no token"),
        ("short clasp\n", "line 1: fewer than 16"),
        (None, "cannot be read"),
    ],
)
def test_files_of_tokens_that_are_of_no_use(tmp_path: Path, store_url: str, content: str | None, said: str) -> None:
    path = tmp_path / "of-no-use"
    if content is not None:
        path.write_text(content)
        path.chmod(0o640)
    with pytest.raises(StartError, match=said):
        Receiver(store_url, "127.0.0.1", 0, token_file=str(path))


# What is not taken


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": [(2, START, 1.0, 0)]}, "a series that is not among the 2"),
        ({"samples": [(-1, START, 1.0, 0)]}, "samples[0][0]"),
        ({"samples": [(0, -1, 1.0, 0)]}, "samples[0][1]"),
        ({"samples": [(0, 2**60, 1.0, 0)]}, "samples[0][1]"),
        ({"samples": [(0, 1.5, 1.0, 0)]}, "samples[0][1]"),
        ({"samples": [(0, START, math.nan, 0)]}, "samples[0][2]"),
        ({"samples": [(0, START, math.inf, 0)]}, "samples[0][2]"),
        ({"samples": [(0, START, None, 0)]}, "samples[0][2]"),
        ({"samples": [(0, START, 1.0, 3)]}, "samples[0][3]"),
        ({"samples": [(0, START, 1.0)]}, "samples[0]"),
        ({"series": [{"site": "", "device": "d", "key": "k"}]}, "series[0].site"),
        ({"series": [{"site": "s" * 201, "device": "d", "key": "k"}]}, "series[0].site"),
        ({"series": [{"site": "s", "device": "a\nb", "key": "k"}]}, "series[0].device"),
        ({"series": [{"site": "s", "device": "d"}]}, "key"),
        ({"events": [("s", "d", [START, "state", "mode", "a\0b"])]}, "events[0][2]"),
        ({"events": [("s", "d", [START, "state", "mode", "x" * 70_000])]}, "events[0][2]"),
        ({"events": [("s", "d\x7f", [START, "state", "mode"])]}, "events[0][1]"),
    ],
)
def test_a_batch_that_is_not_right(changes: dict[str, Any], said: str) -> None:
    whole = msgspec.to_builtins(batch())
    with pytest.raises(ValueError, match="this is no batch: .*" + re.escape(said)):
        incoming.checked(msgspec.msgpack.encode(whole | changes))


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    for read in (incoming.checked, incoming.unpacked):
        with suppress(ValueError):
            read(data)


@given(st.data())
def test_a_body_with_a_broken_byte_is_taken_as_a_batch_or_refused(data: st.DataObject) -> None:
    body = bytearray(msgspec.msgpack.encode(batch()))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = incoming.checked(body)
    except ValueError:
        return
    assert all(math.isfinite(value) and 0 <= index < len(found.series) for index, _, value, _ in found.samples)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    megabyte = bytes(2**20)
    bomb = b"".join(machine.compress(megabyte) for _ in range(200)) + machine.flush()
    assert len(bomb) < 2**20
    with pytest.raises(incoming.TooLarge, match="unpacked it is larger"):
        incoming.unpacked(bomb)
    claims = b"\x81\xa7samples\xdd\xff\xff\xff\xff"
    with pytest.raises(ValueError, match="this is no batch"):
        incoming.checked(claims)


def test_bodies_that_are_too_large_or_not_what_they_say(plain: Running) -> None:
    body = msgspec.msgpack.encode(batch())
    assert plain.post(os.urandom(2**20), Content_Encoding="gzip")[0] == 400
    assert plain.post(gzip.compress(body)[:-1], Content_Encoding="gzip")[:2] == (
        400,
        {"error": "the gzip data end too early"},
    )
    assert plain.post(gzip.compress(body) + b"x", Content_Encoding="gzip")[0] == 400
    assert plain.post(gzip.compress(bytes(65 * 2**20), 1), Content_Encoding="gzip")[0] == 413
    assert plain.post(body, Content_Encoding="br")[0] == 415
    assert plain.post(b"x" * (incoming.COMPRESSED + 1))[0] == 413
    chunks = iter([b"x" * 2**20] * 9)  # of unknown length
    assert plain.post(chunks)[0] == 413
    assert plain.post(b"")[0] == 400
    assert plain.post(body)[0] == 200, "it goes on"
    assert plain.receiver._waiting == 0


def test_too_many_samples_at_once_are_refused_before_they_are_made() -> None:
    body = b"\x82\xa6series\x90\xa7samples\xdd" + (250_001).to_bytes(4, "big") + b"\x94\x00\x00\x00\x00" * 250_001
    with pytest.raises(ValueError, match=r"length <= 250000"):
        incoming.checked(body)


def test_other_paths_and_methods(plain: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", plain.receiver.port, timeout=PATIENCE)
    for method, path, status in (("GET", "/batch", 405), ("POST", "/", 404), ("GET", "/docs", 404)):
        connection.request(method, path)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == status
        assert reply.getheader("server") is None
    connection.close()


# When the store has trouble


def test_a_store_that_refuses_keeps_the_sender_waiting(tmp_path: Path, token_file: Path) -> None:
    folder = tmp_path / "not-there-yet"
    url = f"sqlite:///{folder}/central.sqlite"
    with running(url, token_file) as it:
        body = msgspec.msgpack.encode(batch())
        for _ in range(2):
            status, said, headers = it.post(body)
            assert status == 503
            assert headers["retry-after"] == "5"
            assert str(folder) not in str(said), "strangers need not know"
        with target_of(f"http://127.0.0.1:{it.receiver.port}", secret(tmp_path, CLASP)) as target:
            with pytest.raises(TargetFailed, match="HTTP 503") as caught:
                target.send(batch())
            assert type(caught.value) is TargetFailed
            folder.mkdir()
            target.send(batch())
        assert len(it.said) == 3
        assert it.said[1].startswith("nothing can be stored: ")
        assert it.said[2] == "batches are stored again"
    assert stored(url) == EXPECTED


class Held:
    """A store that waits for its gate."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        self.received: list[Batch] = []

    def receive(self, batch: Batch) -> int:
        assert self.gate.wait(PATIENCE)
        self.received.append(batch)
        return len(batch.samples)

    def tend(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_memory_is_bounded_when_all_come_at_once(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "WAITING", 4 * 2**20)
    gate = threading.Event()
    store = Held(gate)
    label = "x" * 65_000
    large = msgspec.msgpack.encode(
        Batch(events=[("clasp", "d", Event(n, "state", label[:500], label)) for n in range(14)])
    )
    with running("sqlite:////nowhere", token_file, open_store=lambda _: store) as it:
        results: list[int] = []

        def send(_: int) -> None:
            results.append(it.post(large)[0])

        senders = threading.Thread(target=in_threads, args=(12, send))
        senders.start()
        wait_for(lambda: len(results) == 8, "those for whom there is no room")
        assert set(results) == {503}
        assert it.receiver._waiting <= 4 * 2**20
        gate.set()
        senders.join(PATIENCE)
        assert sorted(results) == [200] * 4 + [503] * 8
        assert it.receiver._waiting == 0
        assert len(store.received) == 4


def test_a_sender_that_stops_in_the_middle(plain: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "BODY_TIMEOUT", 0.2)

    def slowly() -> Iterator[bytes]:
        yield b"x"
        wait_for(lambda: plain.receiver._waiting == 1, "the first byte")
        wait_for(lambda: plain.receiver._waiting == 0, "the end of its patience")

    assert plain.post(slowly())[0] == 408


# The start


def test_nothing_passes_in_clear_unless_that_is_wanted(store_url: str, token_file: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "chiller.example.org", ""):
        with pytest.raises(StartError, match="tokens would pass in clear"):
            Receiver(store_url, host, 0, token_file=str(token_file))
    made = Receiver(store_url, "0.0.0.0", 0, token_file=str(token_file), insecure=True)
    made._socket.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": "taken"}, "cannot listen at 127.0.0.1 port .*in use"),
        ({"certificate": "/none.pem"}, "certificate /none.pem or its key is of no use: No such file"),
        ({"store_url": "mysql://x/y"}, "mysql is not known"),
    ],
)
def test_what_cannot_start_says_why(
    plain: Running, store_url: str, token_file: Path, options: dict[str, Any], said: str
) -> None:
    port = plain.receiver.port if options.get("port") == "taken" else 0
    with pytest.raises(StartError, match=said):
        Receiver(
            options.get("store_url", store_url),
            "127.0.0.1",
            port,
            token_file=str(token_file),
            certificate=options.get("certificate"),
        )


def test_a_package_that_is_missing_is_named(store_url: str, token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(StartError, match=re.escape("pip install 'rockit-plant[receiver]'")):
        Receiver(store_url, "127.0.0.1", 0, token_file=str(token_file))


# The target against other servers


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (answer("200 OK", b"<html>Please log in"), TargetRefused, "is no rockit history: it answers HTTP 200: <html>"),
        (answer("204 No Content"), TargetRefused, "HTTP 204"),
        (answer("404 Not Found"), TargetRefused, "HTTP 404"),
        (answer("400 Bad Request", b'{"error":"this is no batch"}'), TargetRefused, "this is no batch"),
        (answer("503 Service Unavailable", b"", "Retry-After: 5"), TargetFailed, "HTTP 503"),
        (answer("502 Bad Gateway"), TargetFailed, "HTTP 502"),
    ],
)
def test_only_a_receivers_word_confirms(reply: bytes, kind: type[TargetFailed], said: str, tmp_path: Path) -> None:
    with Scripted(reply) as server, target_of(f"http://127.0.0.1:{server.port}", secret(tmp_path, CLASP)) as target:
        with pytest.raises(TargetFailed) as caught:
            target.send(batch())
        assert type(caught.value) is kind
        assert said in str(caught.value)
        assert CLASP not in str(caught.value)


def test_the_path_is_the_receivers_own_or_that_of_a_proxy(tmp_path: Path) -> None:
    with Scripted(*[answer("200 OK", b'{"new":4}')] * 3) as server:
        for path in ("", "/", "/rockit/clasp"):
            with target_of(f"http://127.0.0.1:{server.port}{path}", secret(tmp_path, CLASP)) as target:
                target.send(batch())
                target.send(Batch([WATER]))  # nothing in it
        assert [head.split()[1] for head, _ in server.requests] == [b"/batch", b"/batch", b"/rockit/clasp"]
        assert all(f"Authorization: Bearer {CLASP}".encode() in head for head, _ in server.requests)


def test_the_interpreter_that_forwards_needs_no_web_server() -> None:
    program = (
        "import sys; from rockit.history.targets import create\n"
        "class O: url = 'https://h/batch'; token_file = ca_file = None\n"
        "create(O.url, O); print(sorted({'starlette', 'uvicorn', 'paho', 'sqlalchemy', 'psycopg'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("[]\n", "")
