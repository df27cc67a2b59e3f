# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of one meter: where each stands, what is added to it, and what happened to it. No I/O, no clock.

Whoever uses it holds the meter's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal

from rockit.common.conditions import Condition, Priority
from rockit.common.errors import Code, CommandError
from rockit.meter.counting import step
from rockit.meter.energy import Jump
from rockit.meter.kept import KeptMeter
from rockit.meter.model import Register

CONFIRMED = 3
"""What cannot be is believed when so many readings in a row say so: a counter that falls, a meter that is another."""
LATELY = 7 * 86_400_000
"""So long after another meter was seen, ms, somebody may say where the old one ended and the new one began."""


class CounterBook:
    """Counters by name. `event` is told of what happens: name, what, from where to where."""

    def __init__(
        self, meter: str, kept: KeptMeter, rollover: Decimal | None, event: Callable[[str, str, str], None]
    ) -> None:
        self._meter = meter
        self._kept = kept
        self._rollover = rollover
        self._event = event
        self._falling: dict[str, list[Decimal]] = {}
        self.counters: Counter[str] = Counter()
        self.conditions: dict[str, Condition] = {}

    def read(self, name: str, one: Register, value: Decimal, time: int, digit: Decimal, *, new: bool) -> Decimal | None:
        """A reading at `time` (ms) as it is shown; None where it is not believed yet.

        `digit` is what its last digit counts where that is coarse, `new` says that another meter tells it.
        """
        kept = self._kept
        offset = Decimal(0) if new else kept.offsets.get(name, Decimal(0))
        value += offset
        end = self._rollover or one.modulus
        last = kept.last.get(name)
        if last is not None and not new and value < last < value + digit:
            value = last  # the same, in fewer digits: its PIN is asked for again
        result = step(last, value, time, None if end is None else end + offset, offset, replaced=new)
        if result.change == "fell":
            said = self._falling.setdefault(name, [])
            if said and value < said[-1]:
                said.clear()
            said.append(value)
            if len(said) < CONFIRMED:
                self.counters["counter_dips"] += 1
                return None
            self._event(name, "fell", f"from {last} to {value}")
            text = f"{name} of meter {self._meter} fell from {last} to {value}; was it replaced?"
            self.conditions[f"{self._meter}_fell"] = Condition(text, Priority.MEDIUM, latched=True)
        self._falling.pop(name, None)
        if result.jump is not None:
            self._jump(name, result.jump)
        kept.last[name] = value
        return value

    def replaced(self, server_id: str) -> None:
        """Another meter has been seen, and its first readings were taken."""
        before, self._kept.server_id = self._kept.server_id, server_id
        self._kept.offsets.clear()
        self._falling.clear()
        text = f"meter {self._meter} was {before} and is {server_id} now; its counters go on from there"
        self.conditions[f"{self._meter}_replaced"] = Condition(text, Priority.MEDIUM, latched=True)
        self._event("", "replaced", f"from {before} to {server_id}")

    def align(self, name: str, value: Decimal, time: int) -> Decimal:
        """From `time` on a counter is shown as `value`; returns what it was. Raises KeyError where it was not read."""
        last = self._kept.last[name]
        self._kept.offsets[name] = self._kept.offsets.get(name, Decimal(0)) + value - last
        self._jump(name, Jump(time, "aligned", last, value))
        self._kept.last[name] = value
        return last

    def tell_replaced(
        self, ends: Mapping[str, Decimal], begins: Mapping[str, Decimal], time: int, *, counts_on: bool
    ) -> bool:
        """Somebody says where an old meter ended and a new one began; True where the new one was seen already.

        `counts_on`: whoever counts goes on, and is aligned with the new meter's display (pulses). Raises CommandError.
        """
        known = self._replaced_lately(time)
        if not known and self._kept.server_id:
            text = f"this meter is still {self._kept.server_id}: a new one is noticed by its id"
            raise CommandError(Code.FAILED, f"{text}, and then you can say where the counters stood")
        for name, value in ends.items():
            least = known[name].before if name in known else self._kept.last.get(name)
            if least is not None and value < least:
                text = f"{name} was read as {least} Wh, and cannot have ended at {value} Wh"
                raise CommandError(Code.OUT_OF_RANGE, text)
        for name, jump in known.items():
            told = Jump(jump.time, "replaced", ends.get(name, jump.before), begins.get(name, jump.after))
            self._kept.jumps[name][-1] = told
            self._event(name, "replaced", f"from {_told(told.before)} to {_told(told.after)}")
        if not known:
            self._begin_anew(ends, begins, time, counts_on=counts_on)
        return bool(known)

    def _replaced_lately(self, now: int) -> dict[str, Jump]:
        """Counter -> how it went on when another meter was seen, where that was not long ago."""
        newest = {name: jumps[-1] for name, jumps in self._kept.jumps.items() if jumps}
        return {name: jump for name, jump in newest.items() if jump.cause == "replaced" and now - jump.time < LATELY}

    def _begin_anew(
        self, ends: Mapping[str, Decimal], begins: Mapping[str, Decimal], time: int, *, counts_on: bool
    ) -> None:
        kept = self._kept
        for name, last in kept.last.items():
            self._jump(name, Jump(time, "replaced", ends.get(name, last), begins.get(name)))
        counted = kept.last if counts_on else {}
        offsets = {
            name: begins[name] - last + kept.offsets.get(name, Decimal(0))
            for name, last in counted.items()
            if name in begins
        }
        kept.last.clear()
        kept.offsets = offsets
        kept.server_id = ""
        self._falling.clear()

    def _jump(self, name: str, jump: Jump) -> None:
        self._kept.jumps.setdefault(name, []).append(jump)
        self._event(name, jump.cause, f"from {_told(jump.before)} to {_told(jump.after)}")


def _told(value: Decimal | None) -> str:
    return "what was read" if value is None else f"{value}"
