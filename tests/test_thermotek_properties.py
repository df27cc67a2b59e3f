# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek TTK: what must hold for every frame and every stream of bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rockit.chiller.protocols import thermotek
from rockit.chiller.protocols.thermotek import (
    COMMANDS,
    Command,
    CommandDecoder,
    Decoder,
    Error,
    Rejection,
    Reply,
    encode,
    encode_reply,
)
from rockit.common.framing import Damaged


def sealed(text: str) -> bytes:
    """The test's own frame builder."""
    return f"{text}{sum(map(ord, text)) % 256:02X}\r".encode()


def everything(decoder, data):
    return decoder.feed(data) + decoder.flush()


units = st.integers(1, 32)
numbers = st.sampled_from(sorted(COMMANDS))


def digits(width, alphabet="0123456789"):
    return st.text(alphabet, min_size=width, max_size=width)


DATA = {
    thermotek.NOTHING: st.just(""),
    thermotek.SWITCH: digits(1, "01"),
    thermotek.SENSOR: digits(1, "0123"),
    thermotek.PAGE: digits(1, "12"),
    thermotek.LETTER_U: st.just("U"),
    thermotek.TEMPERATURE: st.integers(-9999, 9999).map("{:+05d}".format),
    thermotek.FLOW: st.integers(0, 9999).map("{:+05d}".format),
    thermotek.CURRENT: st.integers(-9999, 9999).map("{:+05d}".format),
    thermotek.DRIVE: st.tuples(st.integers(0, 100), st.sampled_from("CH")).map(lambda pair: "{:03d},{}".format(*pair)),
    thermotek.PWM: st.tuples(st.integers(1, 255), st.sampled_from("CH")).map(lambda pair: "{:03d},{}".format(*pair)),
    thermotek.WATCHDOG: st.tuples(digits(1, "01234"), digits(3, "01")).map("".join),
    thermotek.ALARMS_1: digits(6, "0123456789ABCDEF"),
    thermotek.ALARMS_2: st.tuples(digits(1, "12"), digits(8, "0123456789ABCDEF")).map("".join),
    thermotek.WARNINGS: digits(4, "0123456789ABCDEF"),
    thermotek.PID: st.tuples(st.integers(-9999, 9999), st.integers(0, 9)).map(lambda pair: "{:+05d},{}".format(*pair)),
    thermotek.MINUTES: digits(6),
    thermotek.HERTZ: digits(4),
}


@st.composite
def commands(draw):
    number = draw(numbers)
    return draw(units), number, draw(DATA[COMMANDS[number].takes])


@st.composite
def replies(draw):
    """Replies as units send them: right ones, and errors with or without the echo of the data sent."""
    number = draw(numbers)
    error = draw(st.sampled_from(Error))
    entry = COMMANDS[number]
    data = draw(DATA[entry.gives if error is Error.NONE else entry.takes])
    if error is not Error.NONE and draw(st.booleans()):
        data = ""
    return Reply(draw(units), number, error, entry.name, data)


def built(reply):
    return sealed(f"#{reply.unit:02d}{reply.command:02d}{reply.error:d}{reply.name}{reply.data}")


@given(commands())
def test_commands_round_trip(command):
    unit, number, data = command
    assert everything(CommandDecoder(), encode(number, data, unit)) == [
        Command(unit, number, COMMANDS[number].name, data)
    ]


@given(replies())
def test_replies_round_trip(reply):
    wire = encode_reply(reply.command, reply.data, reply.error, reply.unit)
    assert wire == built(reply)
    assert everything(Decoder(), wire) == [reply]


@st.composite
def streams(draw):
    """Bytes that look like traffic: frames, pieces of frames, noise; and how they are split."""
    frames = st.one_of(
        replies().map(built),
        st.binary(max_size=20),
        st.lists(st.sampled_from(b"#.01239AFab+-,\r\n\x11\x13WatchDog"), max_size=20).map(bytes),
        st.tuples(replies().map(built), st.integers(0, 26)).map(lambda pair: pair[0][: pair[1]]),
        st.just(b"#23\r"),
    )
    data = b"".join(draw(st.lists(frames, max_size=8)))
    return data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))


@pytest.mark.parametrize("make", [Decoder, CommandDecoder])
@given(streams())
def test_splits_change_nothing(make, stream):
    data, cuts = stream
    decoder = make()
    pieces = [decoder.feed(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert [frame for piece in pieces for frame in piece] + decoder.flush() == everything(make(), data)


@given(streams())
def test_nothing_is_believed_that_was_not_literally_there_and_nothing_vanishes(stream):
    data, _ = stream
    bare = data.replace(b"\x11", b"").replace(b"\x13", b"")
    rest = bare
    for frame in everything(Decoder(), data):
        if isinstance(frame, Damaged):
            wire = frame.data
        elif isinstance(frame, Rejection):
            wire = f"#{frame.code}\r".encode()
        else:
            wire = built(frame)
            at = rest.upper().find(wire.upper())  # a checksum may be in lower case, nothing else
            wire = wire[:-3] + rest[at + len(wire) - 3 : at + len(wire)]
        if not rest.startswith(wire):
            assert rest[:1] == b"\n"  # the one line feed after an end
            rest = rest[1:]
        assert rest.startswith(wire)
        rest = rest[len(wire) :]
    assert rest in (b"", b"\n")


@given(replies(), st.data())
def test_one_wrong_byte_in_any_reply_never_makes_a_different_one(reply, data):
    wire = built(reply)
    at = data.draw(st.integers(0, len(wire) - 1))
    wrong = wire[:at] + bytes([data.draw(st.integers(0, 255))]) + wire[at + 1 :]
    for frame in everything(Decoder(), wrong):
        if isinstance(frame, Reply):
            # In a refusal the data mean nothing, and their length is not documented.
            assert frame == reply or (
                reply.error is not Error.NONE
                and (frame.unit, frame.command, frame.error, frame.name)
                == (reply.unit, reply.command, reply.error, reply.name)
            )


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data):
    for make in (Decoder, CommandDecoder):
        decoder = make()
        everything(decoder, data)
        assert decoder.flush() == []
