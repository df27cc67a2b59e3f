# SPDX-License-Identifier: GPL-3.0-or-later
"""Line protocol: against a real VictoriaMetrics, and against answers that only a bad day brings."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import PATIENCE
from hypothesis import given
from hypothesis import strategies as st
from servers import Scripted, VictoriaMetrics, http

from rockit.common.quality import Quality
from rockit.history.model import Batch, Event, Series
from rockit.history.targets import TargetFailed, TargetRefused
from rockit.history.targets.address import Address
from rockit.history.targets.influx import InfluxTarget, escaped, lines

START = 1_760_000_000_123
WATER = Series("clasp", "clasp_chiller", "water_temp", "degC", "Supply temperature")
ENERGY = Series("clasp", "clasp_meter", "energy", "Wh", "Energy", counter=True)
TAKEN = http("204 No Content")
MADE: list[InfluxTarget] = []


def batch(*rows: tuple[Series, int, float], quality: Quality = Quality.GOOD) -> Batch:
    series = list(dict.fromkeys(row[0] for row in rows))
    return Batch(series, [(series.index(one), time, value, int(quality)) for one, time, value in rows])


def one(value: float = 11.5, time: int = START) -> Batch:
    return batch((WATER, time, value))


def target_of(url: str, token_file: Path | None = None, timeout: float = 10.0) -> InfluxTarget:
    made = InfluxTarget(Address.of(url), None if token_file is None else str(token_file), timeout=timeout)
    MADE.append(made)
    return made


def at(server: Scripted, path: str = "", timeout: float = 10.0) -> InfluxTarget:
    return target_of(f"influx+http://127.0.0.1:{server.port}{path}", timeout=timeout)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while MADE:
        MADE.pop().close()


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics(tmp_path) as server:
        yield server


@pytest.fixture
def target(metrics: VictoriaMetrics) -> InfluxTarget:
    return target_of(metrics.url())


# The words


def test_a_line_for_each_device_and_moment() -> None:
    flow = Series("clasp", "clasp_chiller", "flow", "L/min")
    given_rows = batch((WATER, START, 11.5), (flow, START, 7.0), (ENERGY, START, 12345678.1), (WATER, START + 1, -0.0))
    assert lines(given_rows) == (
        f"rockit,device=clasp_chiller,site=clasp water_temp=11.5,flow=7.0 {START}\n"
        f"rockit,device=clasp_meter,site=clasp energy=12345678.1 {START}\n"
        f"rockit,device=clasp_chiller,site=clasp water_temp=-0.0 {START + 1}\n"
    )


def test_bad_samples_and_events_stay_at_home() -> None:
    assert lines(batch((WATER, START, 999.9), quality=Quality.BAD)) == ""
    assert lines(batch((WATER, START, 11.5), quality=Quality.UNCERTAIN)) != ""
    assert lines(Batch(events=[("clasp", "clasp_chiller", Event(START, "state", "mode", "MANUAL"))])) == ""


def test_of_one_moment_twice_the_first_counts() -> None:
    assert lines(batch((WATER, START, 1.0), (WATER, START, 2.0))).count("water_temp=") == 1


def test_names_are_escaped_as_the_protocol_has_it() -> None:
    assert escaped("La Palma, N=1") == r"La\ Palma\,\ N\=1"
    assert escaped("Küche °C 温") == "Küche\\ °C\\ 温"
    assert escaped(r"a\b") == r"a\b"
    assert escaped("a\\") == "a_", "it would escape what follows"
    assert escaped("a\\\\b") == r"a_\b", "two are one for some readers"
    assert escaped("a\\,b") == r"a_\,b"
    assert escaped("a\nb\rc\0") == "a_b_c_"


def read(line: str) -> tuple[list[str], list[str], str]:
    """Tags, fields and time of a line, as the specification has it: a backslash takes the meaning of what follows."""
    parts: list[list[str]] = [[""]]
    characters = iter(line)
    for character in characters:
        if character == "\\":
            following = next(characters)
            parts[-1][-1] += following if following in ",= " else character + following
        elif character == " ":
            parts.append([""])
        elif character == ",":
            parts[-1].append("")
        else:
            parts[-1][-1] += character
    tags, fields, [time] = parts
    return tags, fields, time


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.floats(allow_nan=False, allow_infinity=False))
def test_no_name_breaks_out_of_its_place(site: str, device: str, key: str, value: float) -> None:
    text = lines(batch((Series(site, device, key), START, value)))
    assert text.endswith("\n")
    assert text.count("\n") == 1
    tags, fields, time = read(text[:-1])
    assert [tag.partition("=")[0] for tag in tags] == ["rockit", "device", "site"]
    assert len(fields) == 1
    assert float(fields[0].rpartition("=")[2]) == value
    assert time == str(START)


# A real server


def test_values_and_times_come_back_exactly(metrics: VictoriaMetrics, target: InfluxTarget) -> None:
    ice = Series("La Palma, N=1", 'the "big" one\\x', "temp 1", "degC")
    rows = [(WATER, START + 10_001 * n, round(-3 + n * 0.1, 1)) for n in range(2000)]
    # A meter's register in Wh with a tenth as its last digit, and a counter of pulses.
    rows += [(ENERGY, START + 9_999 * n, round(12_345_678.1 + n * 0.7, 1)) for n in range(2000)]
    rows += [(ice, START + 7 * n, float(2**52 + n)) for n in range(100)]
    target.send(batch(*rows))
    found = metrics.exported('{db="rockit"}')
    for series, name in ((WATER, "rockit_water_temp"), (ENERGY, "rockit_energy"), (ice, "rockit_temp 1")):
        expected = {time: value for known, time, value in rows if known == series}
        assert found.pop((name, series.device, series.site)) == expected
    assert not found
    invalid = [
        line for line in metrics.get("/metrics").decode().splitlines() if line.startswith("vm_rows_invalid_total")
    ]
    assert all(line.endswith(" 0") for line in invalid)


def test_what_a_server_keeps_of_17_digits_is_near(metrics: VictoriaMetrics, target: InfluxTarget) -> None:
    """A limit of VictoriaMetrics, on record: it stores decimals of about 15 digits. We send all of them."""
    values = [struct.unpack("d", struct.pack("q", 4_622_664_000_000_000_000 + 7**n))[0] for n in range(20)]
    target.send(batch(*((WATER, START + n, value) for n, value in enumerate(values))))
    [found] = metrics.exported('{db="rockit"}').values()
    assert [found[START + n] for n in range(20)] == pytest.approx(values, rel=1e-12)
    assert repr(values[-1]) in lines(one(values[-1]))


def test_sending_again_adds_nothing(metrics: VictoriaMetrics, target: InfluxTarget) -> None:
    rows = [(WATER, START + n, float(n)) for n in range(500)]
    for _ in range(3):
        target.send(batch(*rows))
    [found] = metrics.exported('{db="rockit"}').values()
    assert found == {time: value for _, time, value in rows}


def test_a_killed_server_is_noticed_and_the_last_minutes_sent_again_complete_it(
    metrics: VictoriaMetrics, target: InfluxTarget
) -> None:
    rows = [(WATER, START + 10_000 * n, n / 10) for n in range(300)]
    target.send(batch(*rows[:100]))
    assert target.restarted(), "the first connection: nobody knows what was before"
    target.send(batch(*rows[100:200]))
    assert not target.restarted()
    metrics.restart()
    target.send(batch(*rows[200:]))
    assert target.restarted()
    target.send(batch(*rows))
    assert not target.restarted()
    [found] = metrics.exported('{db="rockit"}').values()
    assert found == {time: value for _, time, value in rows}


def test_a_server_that_is_away_fails_and_one_that_is_back_takes_it(
    metrics: VictoriaMetrics, target: InfluxTarget
) -> None:
    target.send(one())
    target.restarted()
    metrics.kill()
    for _ in range(2):
        with pytest.raises(TargetFailed, match=r"127\.0\.0\.1:\d+/write.db=rockit: .*refused"):
            target.send(one(1.0, START + 1))
    metrics.start()
    target.send(one(1.0, START + 1))
    assert target.restarted()


def test_a_password_is_presented_and_a_wrong_one_refused(tmp_path: Path) -> None:
    with VictoriaMetrics(tmp_path, "-httpAuth.username=rockit", "-httpAuth.password=s3/cret") as server:
        place = f"127.0.0.1:{server.port}/write"
        target_of(f"influx+http://rockit:s3%2Fcret@{place}").send(one())
        wrong = target_of(f"influx+http://rockit:guess@{place}")
        with pytest.raises(TargetRefused, match="does not take our token or password, HTTP 401") as caught:
            wrong.send(one())
        assert "guess" not in str(caught.value)
        assert wrong.name == f"influx+http://rockit@{place}"


# Answers of other servers


def test_the_path_and_the_query_are_passed_on(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc==\n")
    token.chmod(0o640)
    with Scripted(TAKEN, TAKEN, TAKEN, TAKEN) as server:
        for path, secret in (
            ("", None),
            ("/", None),
            ("/api/v2/write?org=my%20org&bucket=b", token),
            ("/write?db=x&precision=ms", token),
        ):
            target = target_of(f"influx+http://127.0.0.1:{server.port}{path}", secret)
            target.send(one())
            target.close()
        heads = [head.decode().split("\r\n") for head, _ in server.requests]
        bodies = [gzip.decompress(body).decode() for _, body in server.requests]
    assert [head[0] for head in heads] == [
        "POST /write?precision=ms HTTP/1.1",
        "POST /write?precision=ms HTTP/1.1",
        "POST /api/v2/write?org=my%20org&bucket=b&precision=ms HTTP/1.1",
        "POST /write?db=x&precision=ms HTTP/1.1",
    ]
    assert not any("Authorization" in line for line in heads[0])
    assert "Authorization: Token abc==" in heads[2]
    assert "Authorization: Bearer abc==" in heads[3]
    assert bodies == [lines(one())] * 4


def test_a_server_that_cannot_unpack_gets_it_plain() -> None:
    with Scripted(http("415 Bad request", b"gzip encoding is not supported"), TAKEN, TAKEN) as server:
        target = at(server)
        target.send(one())
        target.send(one(12.0))
        assert [body for _, body in server.requests[1:]] == [lines(one()).encode(), lines(one(12.0)).encode()]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (http("500 Oops", b"disk full"), TargetFailed, "HTTP 500: disk full"),
        (http("503 Service Unavailable"), TargetFailed, "HTTP 503"),
        (http("429 Slow down"), TargetFailed, "HTTP 429"),
        (http("400 Bad Request", b'{"error":"field type\n conflict"}'), TargetRefused, "field type conflict"),
        (http("404 Not Found", b"database not found"), TargetRefused, "HTTP 404: database not found"),
        (http("403 Forbidden"), TargetRefused, "does not take our token or password, HTTP 403"),
        (http("302 Found", b"", "Location: /login"), TargetRefused, "HTTP 302"),
        (http("200 OK", b"<html>welcome"), TargetRefused, "HTTP 200: <html>welcome"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", TargetFailed, "SSH"),
        (b"", TargetFailed, "the connection ended without an answer"),
        (b"HTTP/1.1 20", TargetFailed, "HTTP/1.1 20"),
    ],
)
def test_only_a_204_confirms(answer: bytes, kind: type[TargetFailed], said: str) -> None:
    def give(sock: socket.socket) -> None:
        sock.sendall(answer)

    with Scripted(give) as server:
        with pytest.raises(TargetFailed) as caught:
            at(server).send(one())
        assert type(caught.value) is kind
        assert said in str(caught.value)


def test_what_a_server_is_told_not_to_keep_does_not_stop_the_rest() -> None:
    answer = http("400 Bad Request", b'{"error":"partial write: points beyond retention policy dropped=1"}')
    with Scripted(answer) as server:
        at(server).send(one())


def test_an_end_that_was_announced_is_no_restart() -> None:
    with Scripted(http("204 No Content", b"", "Connection: close"), TAKEN, TAKEN) as server:
        target = at(server)
        target.send(one())
        assert target.restarted()
        target.send(one())
        target.send(one())
        assert not target.restarted()
        assert server.connections == 2


def test_an_end_without_a_word_is_one() -> None:
    with Scripted(TAKEN, lambda sock: sock.sendall(TAKEN), TAKEN) as server:
        target = at(server)
        target.send(one())
        target.restarted()
        target.send(one())
        assert not target.restarted()
        server.ended.acquire(timeout=PATIENCE)
        target.send(one())
        assert target.restarted()


def silent(sock: socket.socket) -> None:
    sock.recv(1)  # until the other side goes


def dripping(sock: socket.socket) -> None:
    """A byte now and then keeps every single read from running into its time."""
    sock.settimeout(0.02)
    for character in iter(lambda: b"x", b""):
        sock.sendall(character)
        try:
            if not sock.recv(1):
                return
        except TimeoutError:
            continue


@pytest.mark.parametrize("answer", [silent, dripping])
def test_nothing_takes_longer_than_it_may(answer: type) -> None:
    with Scripted(answer) as server, pytest.raises(TargetFailed, match=r"no answer within 0\.3 s|no answer in time"):
        at(server, timeout=0.3).send(one())


@pytest.mark.parametrize("waits_for", ["an answer", "a connection"])
def test_close_ends_a_send_that_waits(waits_for: str) -> None:
    waiting = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filler = [socket.socket() for _ in range(4)]
        for sock in filler:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())

        def hold(sock: socket.socket) -> None:
            waiting.set()
            silent(sock)

        with Scripted(hold) as server:
            port = server.port if waits_for == "an answer" else full.getsockname()[1]
            target = target_of(f"influx+http://127.0.0.1:{port}", timeout=600)
            failures: list[str] = []

            def send() -> None:
                try:
                    target.send(one())
                except TargetFailed as error:
                    failures.append(str(error))

            thread = threading.Thread(target=send)
            thread.start()
            if waits_for == "an answer":
                assert waiting.wait(PATIENCE)
            target.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            assert failures == [f"influx+http://127.0.0.1:{port}: closed"]
        for sock in filler:
            sock.close()
    with pytest.raises(TargetFailed, match="closed"):
        target.send(one())


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(TargetFailed, match=r"influx\+http://no-such-host\.invalid: "):
        target_of("influx+http://no-such-host.invalid").send(one())


def test_nothing_to_send_asks_nobody() -> None:
    target_of("influx+http://no-such-host.invalid").send(Batch())


def test_a_token_that_everybody_may_read_is_not_used(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc")
    target = target_of("influx+http://127.0.0.1:1", token)
    token.chmod(0o644)
    with pytest.raises(TargetRefused, match=f"open to everybody on this machine: chmod 640 {token}"):
        target.send(one())
    token.chmod(0o640)
    token.write_text("abc\r\nX-Evil: 1\n")
    with pytest.raises(TargetRefused, match="one line of printable ASCII"):
        target.send(one())
    token.unlink()
    with pytest.raises(TargetRefused, match=r"cannot be read by user id [0-9]+: No such file"):
        target.send(one())
