# SPDX-License-Identifier: GPL-3.0-or-later
"""One Modbus meter, as its register map describes it. Several of them share a bus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from rockit.common.framing import Refused
from rockit.meter import registermap
from rockit.meter.model import Reading
from rockit.meter.registermap import Block, RegisterMap


class Bus(Protocol):
    """What a driver sees of its bus. Raises as `rockit.common.transport.modbus.ModbusBus` does."""

    def read(self, unit: int, function: int, address: int, count: int) -> tuple[int, ...]:
        """`count` 16-bit registers of one unit, by function 3 or 4."""
        ...


class ModbusMeter:
    """The meter with the address `unit`. Any silence or damage ends a poll: NoAnswer and PortLost pass through.

    `counters`: how often each register told what cannot be (`implausible NAME`) or a read was refused (`refused`).
    `warnings`: what a person should be told about how the meter is set, known after `identify`.
    """

    def __init__(self, bus: Bus, unit: int, registers: RegisterMap) -> None:
        self.unit = unit
        self.counters: Counter[str] = Counter()
        self.warnings: tuple[str, ...] = ()
        self._bus = bus
        self._map = registers
        self._blocks = registermap.blocks_of(registers)
        self._identity: dict[str, str] = {}

    def identify(self) -> dict[str, str]:
        """What the meter says of itself, and the map's title as `meter`. What it refuses to tell is left out."""
        found = {"meter": self._map.title}
        warnings = []
        for entry in self._map.identity:
            try:
                words = self._bus.read(self.unit, self._map.function, entry.address, entry.size)
            except Refused:
                continue
            value: object
            if entry.type == "text":
                value = registermap.text_of(words)
            else:
                gone = self._map.not_available.get(entry.type, [])
                value = registermap.value_of(words, entry.type, gone, self._map.word_order, self._map.byte_order)
            if value not in (None, ""):
                found[entry.name] = str(value)
            if (warning := registermap.expectation(entry, value)) is not None:
                warnings.append(warning)
        self._identity, self.warnings = found, tuple(warnings)
        return dict(found)

    def poll(self) -> Iterator[Reading | None]:
        """One read a step; the last step gives the Reading. Raises Refused where all reads were refused.

        A part that the meter refuses is left out, and told in the notes: some models lack some registers.
        """
        words: dict[Block, tuple[int, ...]] = {}
        refusal: Refused | None = None
        refused = []
        for block in self._blocks:
            try:
                words[block] = self._bus.read(self.unit, self._map.function, block.address, block.count)
            except Refused as error:
                refusal = error
                refused.append(f"{block.address}-{block.address + block.count - 1}")
                self.counters["refused"] += 1
            yield None
        if refusal is not None and not words:
            raise refusal
        decoded = registermap.decode(self._map, words)
        self.counters.update(f"implausible {name}" for name in decoded.implausible)
        notes = {"refused": ", ".join(refused)} if refused else {}
        yield Reading(decoded.registers, server_id=self._identity.get("serial", ""), notes=notes)
