# SPDX-License-Identifier: GPL-3.0-or-later
"""Numato relay boards: documented transcripts, damage, and the driver on a simulated board over a real pty."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import pytest
from bench import Bench, decoded, joined
from hypothesis import given
from hypothesis import strategies as st

from rockit.boiler.drivers import BOARDS, load
from rockit.boiler.drivers.numato import Numato
from rockit.boiler.protocols import numato as protocol
from rockit.boiler.protocols.numato import LONGEST, Decoder, Reply
from rockit.boiler.simulators import numato as simulated
from rockit.boiler.simulators.relaybank import Move
from rockit.boiler.simulators.world import shared
from rockit.common import simulate
from rockit.common.framing import Damage, Damaged, ProtocolError
from rockit.common.simulate_pty import PtyServer
from rockit.common.transport import NoAnswer
from rockit.common.transport.line import Line

MAP = "boiler:0,chiller1:2,chiller2:1,winter_valve:5,summer_valve:11"

# The first is of a vendor's library, the second of Chronos, which ends commands with LF CR.
DOCUMENTED = [
    (b"relay read 0\n\roff\n\r>", Reply("relay read 0", "off")),
    (b"relay read 0 \n\n\ron\n\r>", Reply("relay read 0", "on")),
    (b"relay readall\n\r0812\n\r>", Reply("relay readall", "0812")),
    (b"relay readall\n\r1f\n\r>", Reply("relay readall", "1f")),
    (b"relay on A\n\r>", Reply("relay on A")),
    (b"ver\n\r00000008\n\r>", Reply("ver", "00000008")),
    (b"id get\n\r12345678\n\r>", Reply("id get", "12345678")),
    (b"\n\r>", Reply("")),
    (b">", Reply("")),
]


@pytest.mark.parametrize(("data", "reply"), DOCUMENTED)
def test_documented_replies(data, reply):
    assert Decoder().feed(data) == [reply]


@pytest.mark.parametrize(
    "data",
    [b"relay readall\n\r000\n\r>", b"relay readall\n\r00000\n\r>", b"relay readall\n\r00g0\n\r>",
     b"relay readall\n\r>", b"relay readal\n\r0000\n\r>", b"0000\n\r>", b"relay readall0000\n\r>",
     b"relay read 0\n\rof\n\r>", b"relay read 0\n\r>", b"relay read 0\n\ron\n\ron\n\r>", b"relay read 10\n\ron\n\r>",
     b"relay read G\n\ron\n\r>", b"relay on 0\n\ron\n\r>", b"relay on\n\r>", b"relay read\xb0 0\n\ron\n\r>",
     b"relay read 0\n\ro\x00n\n\r>", b"relay readall\n\rrelay readall\n\r0000\n\r>", b"on\n\r>", b"nonsense\n\r>",
     b"relay readall\n\r00>", b"relay on 0>"],
)  # fmt: skip
def test_what_has_no_documented_form_is_damage(data):
    assert Decoder().feed(data + b"ver\n\r1\n\r>") == [Damaged(Damage.MALFORMED, data), Reply("ver", "1")]


def test_documented_commands():
    assert protocol.write(10, True, 16).data == b"relay on A\r"
    assert protocol.write(0, False, 8).data == b"relay off 0\r"
    assert protocol.write(15, True, 16).data == b"relay on F\r"
    assert protocol.read_all(16).data == b"relay readall\r"


@pytest.mark.parametrize("number", [-1, 16, True])
def test_relays_that_the_board_does_not_have(number):
    with pytest.raises(ValueError, match=r"the relays 0 to 15"):
        protocol.write(number, True, 16)


def test_boards_that_number_otherwise_are_not_guessed_at():
    for count in (4, 32, 64):
        with pytest.raises(ValueError, match=r"8 or 16"):
            protocol.read_all(count)
    with pytest.raises(ValueError, match=r"not a command"):
        protocol.request("relay on 10")


def test_states_by_number():
    on = [number for number, state in enumerate(protocol.states("0812", 16)) if state]
    assert on == [1, 4, 11]
    assert protocol.states("81", 8) == (True, *[False] * 6, True)
    for value, count in (("81", 16), ("0081", 8), ("", 16), ("x000", 16)):
        with pytest.raises(ProtocolError):
            protocol.states(value, count)


def test_an_answer_is_the_one_with_our_echo():
    asked = protocol.read_all(16)
    assert asked.matches(Reply("relay readall", "00ff"))
    assert not asked.matches(Reply("relay readall", "ff")), "an answer of a board with 8 relays, or one cut short"
    assert not asked.matches(Reply("relay read 0", "on"))
    assert not protocol.write(1, True, 16).matches(Reply("relay on 2"))
    assert not protocol.write(1, True, 16).matches(Reply("relay off 1"))
    assert not protocol.request("relay read 1").matches(Reply(""))


def test_the_end_of_an_overlong_reply_is_no_reply():
    decoder = Decoder()
    assert decoder.feed(b"x" * 70) == [Damaged(Damage.GARBAGE, b"x" * 70)]
    assert decoder.feed(b"relay read 0\n\ron\n\r>ver\n\r1\n\r>") == [
        Damaged(Damage.GARBAGE, b"relay read 0\n\ron\n\r>"), Reply("ver", "1"),
    ]  # fmt: skip


def raw(item):
    if isinstance(item, Damaged):
        return item.data
    return item.command.encode() + b"|" + item.value.encode()


streams = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from([data for data, _ in DOCUMENTED]),
        st.sampled_from([b"\r", b"\n", b">", b"x" * LONGEST, b"relay readall\n\r", b"relay readall\n\r00"]),
    ),
    max_size=8,
).map(b"".join)


@given(streams, st.lists(st.integers(0, 500), max_size=6))
def test_any_bytes_split_anyhow_mean_the_same(data, cuts):
    out = decoded(Decoder(), data, cuts, holds=LONGEST)
    assert joined(out, raw) == joined(decoded(Decoder(), data), raw)


@given(st.integers(0, 0xFFFF), st.integers(0, 40), st.integers(0, 255), st.sampled_from([8, 16]))
def test_a_reply_that_lost_or_changed_a_byte_of_its_frame_is_never_another_value(bits, at, byte, count):
    bits &= (1 << count) - 1
    data = f"relay readall\n\r{bits:0{count // 4}x}\n\r>".encode()
    asked = protocol.read_all(count)
    for cut in (
        data[:at], data[:at] + data[at + 1 :], data[:at] + bytes([byte]) + data[at + 1 :],
        data[:at] + bytes([byte]) + data[at:], data[:at] + b">" + data[at:],
    ):  # fmt: skip
        for reply in decoded(Decoder(), cut):
            if not isinstance(reply, Damaged) and asked.matches(reply) and int(reply.value, 16) != bits:
                # Digit for digit: without a checksum that is beyond the protocol (USB has its own).
                assert len(cut) == len(data)
                assert cut[:15] == data[:15]


# --- the driver, without a port


@pytest.fixture
def bench():
    return Bench(simulated.Numato(), Numato)


def test_it_is_found_by_name():
    assert load("numato", BOARDS) is Numato
    assert Numato.line_settings.baud == 19200
    assert Numato.modbus is False


@pytest.mark.parametrize(
    "fault",
    ["silence", "late 1.5", "late 0.5", "double", "truncate", "checksum", "garbage", "garbage instead", "foreign",
     "foreign before", *(f"drop {at}" for at in range(0, 22, 3)), *(f"truncate {at}" for at in range(0, 22, 3))],
)  # fmt: skip
def test_a_bad_line_gives_no_answer_or_the_right_one(bench, fault):
    bench.driver.write(3, True)
    name, _, argument = fault.partition(" ")
    bench.device.set_fault(name, f"once {argument}")
    expected = tuple(number == 3 for number in range(16))
    try:
        first = bench.driver.read()
    except NoAnswer:
        first = None
    assert first in (None, expected)
    if name == "double" or fault in ("late 0.5", "foreign before"):
        assert first == expected
    if name in ("silence", "truncate", "checksum") or fault in ("garbage instead", "foreign", "late 1.5"):
        assert first is None
    assert bench.driver.read() == expected


def test_an_old_state_that_comes_late_is_not_taken_for_the_new_one(bench):
    bench.driver.write(3, True)
    bench.device.set_fault("late", "once 1.5")
    with pytest.raises(NoAnswer):
        bench.driver.read()
    bench.driver.write(3, False)
    assert bench.driver.read() == (False,) * 16
    assert Reply("relay readall", "0008") in bench.strange


def test_what_somebody_left_half_written_does_not_spoil_our_command(bench):
    bench.device.receive(b"relay rea", 0.0)
    bench._owed = True  # as a line is after it was opened
    assert bench.driver.read() == (False,) * 16
    assert bench.sent[0].startswith(b"\r")
    assert bench.device.moves == []


def test_a_board_that_numbers_in_digits_beyond_ours_is_not_believed():
    bench = Bench(simulated.Numato(count=8), Numato)
    with pytest.raises(NoAnswer):
        bench.driver.read()


# --- the driver on a pty


@contextmanager
def on_pty(link, device):
    server = PtyServer(device, link)
    server.start()
    thread = threading.Thread(target=server.run)
    thread.start()
    line = Line(
        str(link), Numato.line_settings, Numato.decoder, threading.Event(), print, synchronise=Numato.synchronise
    )
    try:
        line.open()
        yield line, server
    finally:
        line.close()
        server.stop()
        thread.join()
        server.close()


def board(world="", **options):
    simulate.register("numato", "rockit.boiler.simulators.numato:Numato")
    query = "&".join(
        f"{key}={value}" for key, value in {"relays": MAP, "latency": 0, "world": world, **options}.items()
    )
    return simulate.create(f"sim://numato?{query}", time.monotonic())


def test_relays_of_a_plant(tmp_path):
    device = board("numato on a pty")
    world = shared("numato on a pty", 0.0)
    with on_pty(tmp_path / "relays", device) as (line, _):
        driver = Numato(line)
        assert driver.identify() == {"family": "Numato USB relay", "version": "00000008", "id": "00000000"}
        assert driver.read() == (False,) * 16
        for number in (0, 11):
            driver.write(number, True)
        assert driver.read() == tuple(number in (0, 11) for number in range(16))
        assert (world.relays["boiler"], world.burner.contact, world.relays["summer_valve"]) == (True, True, True)
        assert "chiller1" not in world.relays
        driver.write(0, False)
        assert world.burner.contact is False
    assert [(move.number, move.name, move.on) for move in device.moves] == [
        (0, "boiler", True), (11, "summer_valve", True), (0, "boiler", False),
    ]  # fmt: skip
    assert device.info()["on"] == "summer_valve"


def test_relays_stay_as_they_are_when_the_host_is_gone(tmp_path):
    device = board()
    with on_pty(tmp_path / "relays", device) as (line, server):
        Numato(line).write(2, True)
        line.close()
        line.open()
        assert Numato(line).read()[2] is True
        assert server.device is device


def test_a_board_whose_id_is_not_understood_is_used_nevertheless(bench):
    bench.device.serial = "a>b"
    assert bench.driver.identify() == {"family": "Numato USB relay", "version": "00000008"}
    assert bench.driver.read() == (False,) * 16


def test_eight_relays(tmp_path):
    with on_pty(tmp_path / "relays", simulated.Numato(count=8, latency=0)) as (line, _):
        driver = Numato(line, count=8)
        driver.write(7, True)
        assert driver.read() == (*[False] * 7, True)
        with pytest.raises(ValueError, match=r"no 8"):
            driver.write(8, True)


# --- faults of the simulated board, which the tests of the plant rely on


def told(device, command):
    device.receive(command + b"\r", 1.0)
    return device.output(2.0)


def test_a_relay_that_is_stuck_shows_and_a_welded_contact_does_not():
    device = simulated.Numato(relays=MAP)
    device.set_fault("stuck_off", "5")
    told(device, b"relay on 5")
    assert told(device, b"relay read 5") == b"relay read 5\n\roff\n\r>"
    device.set_fault("stuck_off", "off")
    assert told(device, b"relay read 5") == b"relay read 5\n\ron\n\r>"
    device.set_fault("welded", "5")
    told(device, b"relay off 5")
    assert told(device, b"relay readall") == b"relay readall\n\r0000\n\r>"
    assert device.info()["on"] == "winter_valve"
    device.set_fault("welded", "off")
    assert [(move.name, move.on) for move in device.moves] == [("winter_valve", True), ("winter_valve", False)]


def test_a_board_that_starts_again_has_all_relays_off():
    device = simulated.Numato(relays=MAP)
    told(device, b"relay writeall 0007")
    device.set_fault("reset", "on")
    assert told(device, b"relay readall") == b"relay readall\n\r0000\n\r>"
    assert [move.on for move in device.moves] == [True] * 3 + [False] * 3


def test_a_decimal_index_moves_nothing():
    device = simulated.Numato()
    for command in (b"relay on 10", b"relay on G", b"relay on a", b"relay on", b"\nrelay on x"):
        told(device, command)
    assert device.moves == []
    told(device, b"relay on A")
    assert device.moves == [Move(1.0, 10, "", True)]


@pytest.mark.parametrize("relays", ["boiler", "boiler:16", ":1", "boiler:0,chiller1:0", "boiler:-1"])
def test_a_map_that_cannot_be(relays):
    with pytest.raises(ValueError):
        simulated.Numato(relays=relays)
