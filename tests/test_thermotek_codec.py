# SPDX-License-Identifier: GPL-3.0-or-later
"""ThermoTek TTK: frames of the manual and of real units, byte for byte; and what must not be believed."""

import pytest

from rockit.chiller.protocols.thermotek import (
    COMMANDS,
    Command,
    CommandDecoder,
    Decoder,
    Error,
    Rejection,
    Reply,
    check,
    encode,
    encode_reply,
    request,
)
from rockit.common.framing import Damage, Damaged, ProtocolError, Refused

# Every request of the manual's command table, with the checksums of 10 and 11 computed (the manual misprints them).
_READS = """
    .0101WatchDog01 .0102rCtrlSen1E .0103rSetTemp26 .0104rSupplyT46 .0105rExtRTD_E0 .0106rExtThrm33 .0107rReturnT3C
    .0108rAmbTemp0F .0109rProsFlo2F .0110rTECB1Cr66 .0111rTECB2Cr68 .0113rTECDrLvB9 .0118rAlrmLv1E9 .0120rWarnLv1EE
    .0134rHiSpTWnF5 .0135rLoSpTWn00 .0136rHiAmTWnE2 .0137rLoAmTWnED .0138rLoPFlWnEE
    .0139rHiSpTAlE2 .0140rLoSpTAlE4 .0141rHiAmTAlC6 .0142rLoAmTAlD1 .0143rLoPFlAlD2
    .0146rPulWdMo13 .0148rPIDStatE6 .0149rUpTime_21 .0150rFanSpd1D3 .0151rFanSpd2D5 .0152rFanSpd3D7 .0153rFanSpd4D9
"""
READS = _READS.split()
WRITES = [
    (15, "1", ".0115sStatus_17C"),
    (15, "0", ".0115sStatus_07B"),
    (17, "+0200", ".0117sCtrlT__+0200FE"),
    (17, "+0150", ".0117sCtrlT__+015002"),
    (17, "-0050", ".0117sCtrlT__-005003"),
    (19, "1", ".0119rAlrmLv211C"),
    (19, "2", ".0119rAlrmLv221D"),
    (59, "U", ".0159sDUsrEEPU1D"),
]
REQUESTS = [(int(frame[3:5]), "", frame) for frame in READS] + WRITES
REPLIES = [
    ("#01010WatchDog0100E7", Reply(1, 1, Error.NONE, "WatchDog", "0100")),
    ("#01010WatchDog2101EA", Reply(1, 1, Error.NONE, "WatchDog", "2101")),
    ("#01040rSupplyT+029566", Reply(1, 4, Error.NONE, "rSupplyT", "+0295")),
    ("#01040rSupplyT+02065E", Reply(1, 4, Error.NONE, "rSupplyT", "+0206")),
    ("#01030rSetTemp+019040", Reply(1, 3, Error.NONE, "rSetTemp", "+0190")),
    ("#01080rAmbTemp+02642B", Reply(1, 8, Error.NONE, "rAmbTemp", "+0264")),
    ("#01090rProsFlo+001949", Reply(1, 9, Error.NONE, "rProsFlo", "+0019")),
    ("#01130rTECDrLv016,CE4", Reply(1, 13, Error.NONE, "rTECDrLv", "016,C")),
    ("#01150sStatus_1A1", Reply(1, 15, Error.NONE, "sStatus_", "1")),
    ("#01150sStatus_0A0", Reply(1, 15, Error.NONE, "sStatus_", "0")),
    ("#01170sCtrlT__+020023", Reply(1, 17, Error.NONE, "sCtrlT__", "+0200")),
    ("#01180rAlrmLv101A00040", Reply(1, 18, Error.NONE, "rAlrmLv1", "01A000")),
    ("#01190rAlrmLv2209000100CC", Reply(1, 19, Error.NONE, "rAlrmLv2", "209000100")),
    ("#01200rWarnLv10800DB", Reply(1, 20, Error.NONE, "rWarnLv1", "0800")),
    ("#01490rUpTime_1654067C", Reply(1, 49, Error.NONE, "rUpTime_", "165406")),
    ("#01590sDUsrEEPU42", Reply(1, 59, Error.NONE, "sDUsrEEP", "U")),
    ("#01173sCtrlT__+09993F", Reply(1, 17, Error.BOUNDS, "sCtrlT__", "+0999")),
    ("#01011WatchDog27", Reply(1, 1, Error.CHECKSUM, "WatchDog", "")),
]
CHILLERD = [  # the original chillerd puts zeros where the name belongs
    (".01010000000070", Command(1, 1, "00000000", "")),
    (".01030000000072", Command(1, 3, "00000000", "")),
    (".0115000000001A6", Command(1, 15, "00000000", "1")),
    (".0115000000000A5", Command(1, 15, "00000000", "0")),
]
VALID = [(frame.encode() + b"\r", reply) for frame, reply in REPLIES]


def sealed(text: str) -> bytes:
    """The test's own frame builder."""
    return f"{text}{sum(map(ord, text)) % 256:02X}\r".encode()


def everything(decoder, data):
    return decoder.feed(data) + decoder.flush()


@pytest.mark.parametrize(("number", "data", "frame"), REQUESTS, ids=[frame for *_, frame in REQUESTS])
def test_requests_of_the_manual_in_both_directions(number, data, frame):
    wire = frame.encode() + b"\r"
    assert encode(number, data) == wire
    assert everything(CommandDecoder(), wire) == [Command(1, number, COMMANDS[number].name, data)]


def test_watchdog_and_supply_requests_as_the_manual_spells_their_bytes():
    assert encode(1) == bytes.fromhex("2E 30 31 30 31 57 61 74 63 68 44 6F 67 30 31 0D")
    assert encode(4) == bytes.fromhex("2E 30 31 30 34 72 53 75 70 70 6C 79 54 34 36 0D")


@pytest.mark.parametrize(("wire", "reply"), VALID, ids=[wire[:-1].decode() for wire, _ in VALID])
def test_replies_of_manual_and_real_units_in_both_directions(wire, reply):
    assert everything(Decoder(), wire) == [reply]
    assert encode_reply(reply.command, reply.data, reply.error) == wire


@pytest.mark.parametrize(("frame", "command"), CHILLERD)
def test_commands_as_the_original_chillerd_sends_them(frame, command):
    assert everything(CommandDecoder(), frame.encode() + b"\r") == [command]


def test_misprinted_checksums_are_not_believed():
    for frame in (b".0110rTECB1Cr21\r", b".0111rTECB2Cr23\r"):
        assert everything(CommandDecoder(), frame) == [Damaged(Damage.CHECKSUM, frame)]


def test_the_table_holds_all_commands_and_no_reserved_number():
    reserved = {14, 31, 32, 33, 44, 45, 47, 54, 55, 56, 57, 58}
    assert set(COMMANDS) == set(range(1, 60)) - reserved
    assert all(len(entry.name) == 8 and entry.name.isascii() for entry in COMMANDS.values())
    assert len({entry.name for entry in COMMANDS.values()}) == len(COMMANDS)
    taking = {number for number, entry in COMMANDS.items() if entry.takes.length}
    assert taking == {12, 15, 16, 17, 19, *range(21, 31), 59}
    # A set command is echoed; the warning setters have their own numbers, not those of the alarms.
    assert all(COMMANDS[number].gives == COMMANDS[number].takes for number in taking - {19})
    assert [COMMANDS[n].name for n in (23, 24, 25)] == ["sHiAmTWn", "sLoAmTWn", "sLoPFlWn"]


@pytest.mark.parametrize(
    ("number", "data", "unit"),
    [
        (14, "", 1), (0, "", 1), (60, "", 1), (-1, "", 1),  # reserved or unknown
        (1, "", 0), (1, "", 33),  # units are 1 to 32
        (1, "0", 1), (15, "", 1), (59, "", 1), (15, "2", 1), (15, "11", 1), (16, "4", 1), (19, "3", 1),
        (17, "0200", 1), (17, "+200", 1), (17, "+02_0", 1), (17, "+ 200", 1), (17, "+٠٢٠٠", 1), (17, "+0200\n", 1),
        (25, "-0005", 1),
    ],
)  # fmt: skip
def test_what_we_must_not_send_is_our_error(number, data, unit):
    with pytest.raises(ValueError):
        encode(number, data, unit)
    with pytest.raises(ValueError):
        request(number, data, unit)


@pytest.mark.parametrize("noise", [b"\x11", b"\x13", b"\x13\x11\x11"])
def test_flow_control_bytes_are_skipped_anywhere(noise):
    for wire, reply in VALID:
        for at in range(len(wire) + 1):
            assert everything(Decoder(), wire[:at] + noise + wire[at:]) == [reply]


def test_line_feed_after_the_end_is_tolerated_and_only_there():
    wire, reply = VALID[0]
    assert everything(Decoder(), wire + b"\n" + wire + b"\x11\n") == [reply, reply]
    assert everything(Decoder(), wire + b"\n\n") == [reply, Damaged(Damage.GARBAGE, b"\n")]
    assert everything(Decoder(), b"\n" + wire) == [Damaged(Damage.GARBAGE, b"\n"), reply]
    decoder = Decoder()
    assert decoder.feed(wire) == [reply]
    assert decoder.flush() == []
    assert everything(decoder, b"\n" + wire) == [reply]


def test_lower_case_checksum_is_accepted():
    assert everything(Decoder(), b"#01010WatchDog2101ea\r") == [VALID[1][1]]


def test_a_new_start_ends_the_unfinished_frame():
    wire, reply = VALID[0]
    assert everything(Decoder(), b"#0101" + wire) == [Damaged(Damage.TRUNCATED, b"#0101"), reply]
    assert everything(Decoder(), b"##" + wire) == [Damaged(Damage.TRUNCATED, b"#")] * 2 + [reply]


def test_bytes_before_a_frame_are_garbage_and_flush_gives_up():
    wire, reply = VALID[0]
    assert everything(Decoder(), b".0101WatchDog01\r" + wire) == [Damaged(Damage.GARBAGE, b".0101WatchDog01\r"), reply]
    decoder = Decoder()
    assert decoder.feed(wire[:9]) == []
    assert decoder.flush() == [Damaged(Damage.TRUNCATED, wire[:9])]
    assert decoder.feed(wire) == [reply]


@pytest.mark.parametrize("code", ["23", "03"])
def test_the_short_rejection(code):
    assert everything(Decoder(), f"#{code}\r".encode()) == [Rejection(code)]


@pytest.mark.parametrize(
    "frame", [b"#2\r", b"#\r", b"#2A\r", b"#+3\r", b"#2 \r", b"#\xb2\xb3\r", b"#233\r", b"#2323\r"]
)
def test_nothing_else_is_a_rejection(frame):
    (damaged,) = everything(Decoder(), frame)
    assert isinstance(damaged, Damaged)
    assert damaged.data == frame


@pytest.mark.parametrize(
    "text",
    [
        "#00010WatchDog0100",  # unit 0
        "#33010WatchDog0100",  # unit 33
        "#+1010WatchDog0100", "# 1010WatchDog0100", "#1_010WatchDog0100",  # int() would take these
        "#01+10WatchDog0100", "#01 10WatchDog0100",
        "#0101+WatchDog0100", "#01016WatchDog0100", "#01019WatchDog",  # error digit
        "#01010WatchDog010", "#01010WatchDog01000", "#01010WatchDog",  # length of data
        "#01140reserved", "#01990unknown_",  # numbers that do not exist
        "#01010WatchDo", "#01173sCtrlT__+09",
    ],
)  # fmt: skip
def test_wrong_forms_with_right_checksums_are_malformed(text):
    assert everything(Decoder(), sealed(text)) == [Damaged(Damage.MALFORMED, sealed(text))]


@pytest.mark.parametrize("char", ["\x00", "\x09", "\x7f", "\xb2", "\xff"])
def test_unprintable_characters_are_malformed(char):
    body = b"#01010Watch" + char.encode("latin-1") + b"og0100"
    frame = body + b"%02X\r" % (sum(body) % 256)
    assert everything(Decoder(), frame) == [Damaged(Damage.MALFORMED, frame)]


@pytest.mark.parametrize("field", [b"+7", b" 7", b"_7", b"G7", b"\xb2\xb3", b"0x"])
def test_a_checksum_that_is_not_two_hex_digits(field):
    # The sum of this frame is 07 or E7, so that a lenient int(…, 16) would believe `+7`, ` 7` and `_7`.
    body = next(b"#01010%8d0100" % n for n in range(1000) if sum(b"#01010%8d0100" % n) % 256 == 7)
    assert everything(Decoder(), body + b"07\r")[0].command == 1
    assert everything(Decoder(), body + field + b"\r") == [Damaged(Damage.CHECKSUM, body + field + b"\r")]


def test_an_endless_frame_and_endless_garbage_take_bounded_memory():
    decoder = Decoder()
    pieces = decoder.feed(b"#" + b"5" * 100_000)
    assert pieces[0] == Damaged(Damage.MALFORMED, b"#" + b"5" * 25)
    assert {piece.kind for piece in pieces[1:]} == {Damage.GARBAGE}
    rest = decoder.flush()
    assert sum(len(piece.data) for piece in rest) < 100
    assert b"".join(piece.data for piece in pieces + rest) == b"#" + b"5" * 100_000
    assert decoder.feed(VALID[0][0]) == [VALID[0][1]]


def test_a_late_or_foreign_reply_is_not_the_answer():
    asked = request(4)
    assert asked.data == b".0104rSupplyT46\r"
    assert asked.matches(Reply(1, 4, Error.NONE, "rSupplyT", "+0200"))
    assert asked.matches(Reply(1, 4, Error.NOT_CONFIGURED, "rSUPPLYt", ""))  # the manual's own echoes differ in case
    assert asked.matches(Rejection("23"))
    assert not asked.matches(Reply(2, 4, Error.NONE, "rSupplyT", "+0200"))
    assert not asked.matches(Reply(1, 3, Error.NONE, "rSupplyT", "+0200"))
    assert not asked.matches(Reply(1, 4, Error.NONE, "rSetTemp", "+0200"))
    assert request(4, unit=7).matches(Reply(7, 4, Error.NONE, "rSupplyT", "+0200"))


@pytest.mark.parametrize(
    ("digit", "words"),
    [
        (2, "bad or unused command number"),
        (3, "parameter out of bounds"),
        (5, "sensor or feature not configured"),
    ],
)
def test_every_error_digit_is_named_and_refused(digit, words):
    (reply,) = everything(Decoder(), sealed(f"#0117{digit}sCtrlT__+0999"))
    assert Error(digit).reason == words
    with pytest.raises(Refused, match=words) as refused:
        check(reply, 17)
    assert refused.value.code == str(digit)


@pytest.mark.parametrize(("digit", "words"), [(1, "checksum error"), (4, "wrong message length")])
def test_a_request_that_arrived_damaged_is_the_lines_fault_and_no_refusal(digit, words):
    (reply,) = everything(Decoder(), sealed(f"#0117{digit}sCtrlT__+0999"))
    assert Error(digit).reason == words
    with pytest.raises(ProtocolError, match=words) as error:
        check(reply, 17)
    assert not isinstance(error.value, Refused)


def test_check_passes_what_is_right_and_refuses_a_rejection():
    assert check(VALID[0][1], 1) is VALID[0][1]
    with pytest.raises(Refused) as refused:
        check(Rejection("23"), 16)
    assert refused.value.code == "23"


def test_a_unit_that_does_not_know_the_command_is_heard():
    wire = encode_reply(14, error=Error.COMMAND, name="whatever")
    assert everything(Decoder(), wire) == [Reply(1, 14, Error.COMMAND, "whatever", "")]
    for impossible in ({"command": 14, "name": "whatever"}, {"command": 1, "data": "01"}, {"command": 1, "error": 6}):
        with pytest.raises(ValueError):
            encode_reply(**impossible)


@pytest.mark.parametrize("wire", [wire for wire, _ in VALID])
def test_one_wrong_byte_never_makes_a_different_reply(wire):
    (original,) = everything(Decoder(), wire)
    for at in range(len(wire)):
        for byte in range(256):
            got = everything(Decoder(), wire[:at] + bytes([byte]) + wire[at + 1 :])
            assert [frame for frame in got if isinstance(frame, Reply) and frame != original] == []
