# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of one meter: where each stands, what is added to it, and what happened to it. No I/O, no clock.

Whoever uses it holds the meter's lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from rockit.common.conditions import Condition, Priority
from rockit.common.errors import Code, CommandError
from rockit.meter.counting import SLACK, step
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
        self._doubted: dict[str, list[Decimal]] = {}
        self._times: dict[str, int] = {}
        self.soon = False
        """Something has happened that must be on the disk soon."""
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
        end = None if end is None or value - offset > end else end  # a display that shows more does not end there
        last = kept.last.get(name)
        if last is not None and not new and value < last < value + digit:
            value = last  # the same, in fewer digits: its PIN is asked for again
        fall, before = kept.falls.get(name), self._times.get(name)
        fell_from = fall.before if fall is not None and time - fall.time < LATELY else None
        result = step(
            last, value, time, None if end is None else end + offset, offset, replaced=new,
            elapsed=None if before is None else (time - before) / 1000, fell_from=fell_from,
        )  # fmt: skip
        if result.change in ("fell", "leapt"):
            if not self._confirmed(name, value):
                self.counters["counter_dips" if result.change == "fell" else "counter_leaps"] += 1
                return None
            assert last is not None
            self._wonder(name, result.change, Jump(time, "leapt", last, value))
        self._doubted.pop(name, None)
        if result.change == "returned":
            # It never was what it fell to: it goes on from where it fell.
            fell = kept.falls.pop(name)
            self._jump(name, Jump(fell.time, "returned", fell.before, fell.after))
        if result.jump is not None:
            self._jump(name, result.jump)
        kept.last[name] = value
        self._times[name] = time
        return value

    def _confirmed(self, name: str, value: Decimal) -> bool:
        """Whether what cannot be was said so often in a row that it is so."""
        said = self._doubted.setdefault(name, [])
        if said and not said[-1] <= value <= said[-1] + SLACK:
            said.clear()
        said.append(value)
        return len(said) >= CONFIRMED

    def _wonder(self, name: str, change: str, jump: Jump) -> None:
        """A counter has fallen, or leapt, and nobody has said why."""
        if change == "leapt":
            self._jump(name, jump)
        else:
            self._kept.falls[name] = Jump(jump.time, "replaced", jump.before, jump.after)
            self.soon = True
            self._event(name, "fell", f"from {jump.before} to {jump.after}")
        text = f"{name} of meter {self._meter} {change} from {jump.before} to {jump.after}; was it replaced?"
        self.conditions[f"{self._meter}_fell"] = Condition(text, Priority.MEDIUM, latched=True)

    def replaced(self, server_id: str, read: Collection[str]) -> None:
        """Another meter has been seen, and its first readings, of these counters, were taken."""
        kept = self._kept
        before, kept.server_id, kept.seen_new = kept.server_id, server_id, True
        kept.offsets.clear()
        kept.falls.clear()
        kept.last = {name: value for name, value in kept.last.items() if name in read}
        self._doubted.clear()
        text = f"meter {self._meter} was {before} and is {server_id} now; its counters go on from there"
        self.conditions[f"{self._meter}_replaced"] = Condition(text, Priority.MEDIUM, latched=True)
        self._event("", "replaced", f"from {before} to {server_id}")

    def align(self, name: str, value: Decimal, time: int) -> Decimal:
        """From `time` on a counter is shown as `value`; returns what it was. Raises KeyError where it was not read."""
        last = self._kept.last[name]
        self._kept.offsets[name] = self._kept.offsets.get(name, Decimal(0)) + value - last
        self._jump(name, Jump(time, "aligned", last, value))
        self._kept.last[name] = value
        self._kept.falls.pop(name, None)
        return last

    def tell_replaced(
        self, ends: Mapping[str, Decimal], begins: Mapping[str, Decimal], time: int, *, counts_on: bool
    ) -> bool:
        """Somebody says where an old meter ended and a new one began; True where the new one was seen already.

        `counts_on`: whoever counts goes on, and is aligned with the new meter's display (pulses). Raises CommandError.
        """
        known = self._seen(time)
        if not known and self._kept.server_id:
            text = f"this meter is still {self._kept.server_id}: a new one is noticed by its id"
            raise CommandError(Code.FAILED, f"{text}, and then you can say where the counters stood")
        for name, value in ends.items():
            least = known[name].before if name in known else self._kept.last.get(name)
            if least is not None and value < least:
                text = f"{name} was read as {least} Wh, and cannot have ended at {value} Wh"
                raise CommandError(Code.OUT_OF_RANGE, text)
        for name, value in begins.items():
            most = known[name].after if name in known else None
            if most is not None and value > most:
                text = f"{name} was read as {most} Wh then, and cannot have begun at {value} Wh"
                raise CommandError(Code.OUT_OF_RANGE, text)
        for name, jump in known.items():
            told = Jump(jump.time, "replaced", ends.get(name, jump.before), begins.get(name, jump.after))
            others = self._kept.jumps.setdefault(name, [])
            if jump in others:
                others.remove(jump)
            self._kept.falls.pop(name, None)
            self._jump(name, told)
        self._kept.seen_new = False
        if not known:
            self._begin_anew(ends, begins, time, counts_on=counts_on)
        return bool(known)

    def _seen(self, now: int) -> dict[str, Jump]:
        """Counter -> how it went on when it fell, or another meter was seen; where nobody has said yet why."""
        found = {name: fall for name, fall in self._kept.falls.items() if now - fall.time < LATELY}
        if self._kept.seen_new:
            newest = {name: jumps[-1] for name, jumps in self._kept.jumps.items() if jumps}
            found |= {name: one for name, one in newest.items() if one.cause == "replaced" and now - one.time < LATELY}
        return found

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
        # From there it goes on: a first reading that does not fit is doubted as any other.
        kept.last = dict(begins)
        self._times = dict.fromkeys(begins, time)
        kept.offsets = offsets
        kept.server_id = ""
        self._doubted.clear()

    def _jump(self, name: str, jump: Jump) -> None:
        self._kept.jumps.setdefault(name, []).append(jump)
        self.soon = True
        self._event(name, jump.cause, f"from {_told(jump.before)} to {_told(jump.after)}")


def _told(value: Decimal | None) -> str:
    return "what was read" if value is None else f"{value}"
