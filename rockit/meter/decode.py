# SPDX-License-Identifier: GPL-3.0-or-later
"""Telegrams in a file, as lines for people or as JSON: what `meter decode` prints."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from rockit.common.framing import Damage, Damaged
from rockit.meter.model import Reading, Register
from rockit.meter.protocols import obis

_HEX = frozenset(b"0123456789abcdefABCDEF \t\r\n")


def read_capture(data: bytes) -> bytes:
    """The bytes of a capture; one that is written down in hex is read as that."""
    if data and _HEX.issuperset(data):
        digits = b"".join(data.split())
        if len(digits) % 2 == 0:
            return bytes.fromhex(digits.decode("ascii"))
    return data


def guess(data: bytes) -> str:
    """Which protocol a capture looks like."""
    if b"\x1b\x1b\x1b\x1b" in data:
        return "sml"
    start = data.find(b"/")
    if start >= 0 and b"!" in data[start:]:
        after = data[start:].partition(b"!")[2][:4]
        dsmr = b":1.8." in data or b":96.1." in data
        numbered = all(byte in b"0123456789ABCDEFabcdef\r\n" for byte in after)
        return "p1" if dsmr and numbered and b"\x02" not in data else "d0"
    return "sml"


def decoded_lines(data: bytes, protocol: str | None, *, as_json: bool) -> Iterator[str]:
    """A line, or a paragraph, for each list or data block, and a summary. No data makes it raise."""
    lines = _sml(data) if (protocol or guess(data)) == "sml" else _plain(data, protocol or guess(data))
    for item in lines:
        yield _json(item) if as_json else "\n".join(_shown(item))


def _sml(data: bytes) -> Iterator[dict[str, Any]]:
    from rockit.meter.protocols.sml import Decoder, Time
    from rockit.meter.protocols.sml_quirks import corrected

    def value(of: Any) -> Any:
        scaled = of.scaled
        if isinstance(scaled, bytes):
            return scaled.hex()
        if isinstance(scaled, int) and abs(scaled) >= 2**63:
            return Decimal(scaled)  # JSON has no limit, the encoder has
        return scaled.seconds if isinstance(scaled, Time) else scaled

    decoder = Decoder()
    lists = 0
    for telegram in (*decoder.feed(data), *decoder.flush()):
        if isinstance(telegram, Damaged):
            continue
        for found in map(corrected, telegram.lists):
            lists += 1
            told: dict[str, Any] = {"offset": telegram.offset}
            if found.server_id is not None:
                told["server_id"] = found.server_id.hex()
            if not telegram.whole:
                told["salvaged"] = True
            told["values"] = {
                obis.text(entry.name): {
                    "value": value(entry), "unit": obis.unit(entry.unit) or None, "status": entry.status,
                    "exponent": entry.scaler,
                }
                for entry in found.entries
            }  # fmt: skip
            yield told
    counters = decoder.counters
    yield {
        "summary": {
            "frames": counters.frames, "crc_errors": counters.crc_errors, "lists": lists,
            "bytes_skipped": counters.bytes_skipped,
        }
    }  # fmt: skip


def _plain(data: bytes, protocol: str) -> Iterator[dict[str, Any]]:
    """Of D0 and P1; a data block counts as a frame, and one that is believed as a list."""
    decoder: Any
    if protocol == "p1":
        from rockit.meter.drivers import p1 as driver
        from rockit.meter.protocols.p1 import Decoder as P1Decoder

        decoder, kinds = P1Decoder(checked=b"!" + b"\r\n" not in data), ("Telegram",)
        readings: Any = driver.readings
    else:
        from rockit.meter.drivers import d0
        from rockit.meter.protocols.d0 import Decoder as D0Decoder

        decoder, kinds = D0Decoder(checked=b"\x02" in data), ("Telegram",)
        readings = d0.readings
    counts = {"frames": 0, "crc_errors": 0, "lists": 0, "bytes_skipped": 0}
    for frame in (*decoder.feed(data), *decoder.flush()):
        if isinstance(frame, Damaged):
            counts["bytes_skipped"] += len(frame.data)
            wrong = frame.kind is Damage.CHECKSUM
            counts["crc_errors"] += wrong
            counts["frames"] += wrong
        elif type(frame).__name__ in kinds:
            found = readings(frame)
            counts["frames"] += bool(found)  # a checksum of eight bits fits noise now and then
            for reading in found:
                counts["lists"] += 1
                yield {"offset": frame.offset, "server_id": reading.server_id, "values": _registers(reading)}
    yield {"summary": counts}


def _registers(reading: Reading) -> dict[str, Any]:
    return {key: _register(one) for key, one in reading.registers.items()}


def _register(one: Register) -> dict[str, Any]:
    exponent = one.value.as_tuple().exponent if isinstance(one.value, Decimal) else None
    return {"value": one.value, "unit": one.unit or None, "status": one.status, "exponent": exponent}


_ENCODER = msgspec.json.Encoder(decimal_format="number")
"""Decimals as numbers with all their digits."""


def _json(item: dict[str, Any]) -> str:
    return _ENCODER.encode(item).decode()


def _shown(item: dict[str, Any]) -> Iterator[str]:
    if "summary" in item:
        count = item["summary"]
        yield (
            f"{count['frames']} telegrams, {count['crc_errors']} of them damaged; {count['lists']} lists; "
            f"{count['bytes_skipped']} bytes of no telegram that can be believed"
        )
        return
    salvaged = ", saved from a damaged telegram" if item.get("salvaged") else ""
    yield f"At byte {item['offset']}, meter {_meter(item.get('server_id'))}{salvaged}"
    for code, one in item["values"].items():
        value = "no value" if one["value"] is None else f"{one['value']}"
        status = "" if one["status"] is None else f"  status 0x{one['status']:x}"
        name = obis.label(code)
        yield f"   {code:<22} {value} {one['unit'] or ''}{status}  {'' if name == code else name}".rstrip()


def _meter(server_id: str | None) -> str:
    from rockit.meter.protocols import serverid

    if not server_id:
        return "of no id"
    try:
        return serverid.text(bytes.fromhex(server_id))
    except ValueError:
        return server_id
