# SPDX-License-Identifier: GPL-3.0-or-later
"""What may never be, whoever asks for it. Stands between the control and the relays, and knows nothing of the control.

It goes by what the relays were *read* to be and for how long, by the season in force and by the temperatures that are
known. Any part of the orders that it lets pass at once is safe in the state that was read: so whatever becomes of the
others, of the line, or of this process between two of them, no forbidden state comes of it. Pure, with the clock as an
argument.

Forbidden: both valves open; the boiler on while winter's valve is not the open one, a chiller on while summer's is not;
boiler and chiller together; the boiler in summer, a chiller in winter; a return outside of its window. A state that was
forbidden and was read all the same is an emergency: all sources off, until an operator has acknowledged it. Against
frost the winter valve is let open and the boiler on all the same, while nothing is wrong but that the water is cold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from rockit.boiler.model import BOILER, LIGHTS, SUMMER_VALVE, VALVES, WINTER_VALVE, Season

OUT_FOR = 60.0
"""The return is outside of its window when it has been for so long, s."""
UNKNOWN_FOR = 600.0
"""A chiller may run on so long without a known return temperature, s."""
BLIND_FOR = 900.0
"""The boiler may run on so long without any known temperature of the water, s."""
HOTTEST = 90.0
"""No water of the plant may be hotter, °C (a Lochinvar stops itself at 90 °C at its outlet)."""
FOLLOW = 20.0
"""A relay that has not followed for so long, s, and so many orders, is broken."""
TRIES = 3
PAUSE = 1.0
"""A relay that did not close is told again after this, s, and not several times in one poll."""
AGAIN = 60.0
"""A relay that does not close is tried again so often, s; one that does not open, with every poll."""
FORGIVEN = 3600.0
"""A relay that did not close counts as broken for so long, s, or until somebody acknowledges its alarm."""
RETURN_LOW, RETURN_HIGH = "the return is too cold", "the return is too hot"


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for this plant. °C, s."""

    sources: tuple[str, ...]
    valves: bool
    valve_time: float
    return_low: float
    return_high: float
    freeze_off: float = 7.0
    """Water below this is cold enough for frost to count."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the safety goes by; None: not known. °C."""

    relays: Mapping[str, bool] | None
    return_temp: float | None
    waters: tuple[float, ...]
    """What is known of the water in the loop, the return among it."""
    season: Season | None
    inside: tuple[float, ...] = ()
    """What is known of the water inside the boiler."""


@dataclass(frozen=True, slots=True)
class Contact:
    """A relay as it was read, and since when."""

    on: bool
    since_at: float


@dataclass(frozen=True, slots=True)
class Order:
    """A relay that was told to be `on` and has not been read so yet."""

    on: bool
    first_at: float
    last_at: float
    tries: int


@dataclass(frozen=True, slots=True)
class Guard:
    """What the safety remembers; it survives a restart."""

    contacts: Mapping[str, Contact] = field(default_factory=dict)
    orders: Mapping[str, Order] = field(default_factory=dict)
    emergency: tuple[str, ...] = ()
    """Its causes, latched."""
    emergency_at: float | None = None
    present: tuple[str, ...] = ()
    """Those of the causes that are there now."""
    acknowledged: bool = False
    out_at: float | None = None
    return_at: float | None = None
    """When the return was known last."""
    water_at: float | None = None

    failures: Mapping[str, Contact] = field(default_factory=dict)
    """Relays that did not follow: what they were told to be, and since when."""

    @property
    def broken(self) -> frozenset[str]:
        """Relays that do not follow."""
        return frozenset(self.failures)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be done now, in this order, and what may not and why."""

    guard: Guard
    orders: tuple[tuple[str, bool], ...]
    denied: Mapping[str, str]
    may_heat: bool
    """Whether heat may be asked of the boiler: there is no emergency, or none that heat against frost makes worse."""


def acknowledged(guard: Guard) -> Guard:
    """An operator has seen the emergency: it ends when its causes have."""
    return replace(guard, acknowledged=bool(guard.emergency))


def forgiven(guard: Guard, name: str) -> Guard:
    """An operator has seen to a relay that did not close: it is tried again. What did not open must be read open."""
    if name not in guard.failures or not guard.failures[name].on:
        return guard
    return replace(
        guard,
        failures={other: failed for other, failed in guard.failures.items() if other != name},
        orders={other: order for other, order in guard.orders.items() if other != name},
    )


def judge(wanted: Mapping[str, bool], seen: Seen, limits: Limits, guard: Guard, now: float) -> Verdict:
    """Which of the `wanted` relays may be switched now."""
    guard = _watched(seen, limits, guard, now)
    if seen.relays is None:
        denied = {name: "the relays do not answer" for name, on in wanted.items() if on}
        return Verdict(guard, (), denied, _may_heat(seen, limits, guard))
    relays = seen.relays
    denied = {}
    orders: list[tuple[str, bool]] = []
    for name in limits.sources:
        on = wanted.get(name, False)
        why = None if not (on or relays[name]) else _against_source(name, seen, limits, guard, now)
        if why is not None:
            if on:
                denied[name] = why
            on = False
        if on is not relays[name]:
            orders.append((name, on))
    if valves := list(_valve_orders(wanted, seen, limits, guard, denied, now)):
        denied |= {name: "a valve is to move" for name, on in orders if on}
        orders = [(name, on) for name, on in orders if not on] + valves
    orders += [(name, wanted[name]) for name in LIGHTS if name in wanted and wanted[name] is not relays[name]]
    orders.sort(key=_rank)
    return Verdict(*_ordered(guard, orders, now), denied, _may_heat(seen, limits, guard))


def _may_heat(seen: Seen, limits: Limits, guard: Guard) -> bool:
    """In an emergency: while nothing is wrong but that the water is too cold, or was.

    Another cause that has gone and waits for its acknowledgement lets no water freeze either, but no more than that.
    """
    if not set(guard.emergency) - {RETURN_LOW}:
        return True
    cold = not seen.waters or min(seen.waters) < limits.freeze_off
    return cold and not set(guard.present) - {RETURN_LOW}


def _rank(order: tuple[str, bool]) -> int:
    """Sources off, valves closed, valves opened, sources on, lights."""
    name, on = order
    if name in LIGHTS:
        return 4
    return (2 if on else 1) if name in VALVES else (3 if on else 0)


def _valve_orders(
    wanted: Mapping[str, bool], seen: Seen, limits: Limits, guard: Guard, denied: dict[str, str], now: float
) -> Iterator[tuple[str, bool]]:
    if not limits.valves or seen.relays is None:
        return
    relays = seen.relays
    running = next((name for name in limits.sources if relays[name]), None)
    if all(relays[valve] for valve in VALVES):
        # What runs, and may not obey, keeps its water.
        needed = {WINTER_VALVE if name == BOILER else SUMMER_VALVE for name in limits.sources if relays[name]}
        yield from ((valve, False) for valve in VALVES if needed != {valve})
        return
    for valve, other in (VALVES, VALVES[::-1]):
        on = wanted.get(valve, relays[valve])
        if on is relays[valve]:
            continue
        if not on:
            if running is None and guard.emergency and valve == WINTER_VALVE and seen.season is not Season.TO_WINTER:
                denied[valve] = "emergency: the way to the boiler stays open"
            elif running is None:
                yield valve, False
            else:
                denied[valve] = f"{running} is on, and would run against a closed valve"
        elif running is not None:
            denied[valve] = f"{running} is on"
        elif wanted.get(other, False):
            denied[valve] = "both valves would be open"
        elif guard.emergency and not (valve == WINTER_VALVE and _may_heat(seen, limits, guard)):
            denied[valve] = "emergency"
        elif not _since(guard, other, False, limits.valve_time, now):
            denied[valve] = f"the {other.replace('_', ' ')} has not been closed for long enough"
        else:
            yield valve, True


def _since(guard: Guard, name: str, on: bool, seconds: float, now: float) -> bool:
    """Whether a relay has been read to be so for so long."""
    contact = guard.contacts.get(name)
    return contact is not None and contact.on is on and now - contact.since_at >= seconds


def _against_source(name: str, seen: Seen, limits: Limits, guard: Guard, now: float) -> str | None:
    """Why a source may not be on now; None where it may."""
    relays = seen.relays or {}
    heats = name == BOILER
    right = Season.WINTER if heats else Season.SUMMER
    if guard.emergency and not (heats and _may_heat(seen, limits, guard)):
        return f"emergency: {', '.join(guard.emergency)}"
    leaving = seen.season is not None and seen.season.changing and relays[name]  # it may run out its minimum time
    if seen.season is not right and not leaving:
        return "the season is not known" if seen.season is None else f"the season is {seen.season.name}"
    if limits.valves:
        valve, other = (WINTER_VALVE, SUMMER_VALVE) if heats else (SUMMER_VALVE, WINTER_VALVE)
        if relays[other] or not _since(guard, valve, True, limits.valve_time, now):
            return f"the {valve.replace('_', ' ')} is not known to be open"
    if heats and any(relays[other] for other in limits.sources if other != BOILER):
        return "a chiller is on"
    if not heats and relays.get(BOILER, False):
        return "the boiler is on"
    return _against_heat(seen, limits, guard, now) if heats else _against_cold(seen, limits, guard, now)


def _against_heat(seen: Seen, limits: Limits, guard: Guard, now: float) -> str | None:
    if seen.return_temp is not None and seen.return_temp > limits.return_high:
        return RETURN_HIGH
    if any(value > HOTTEST for value in (*seen.waters, *seen.inside)):
        return "the water is too hot"
    contact = guard.contacts.get(BOILER)
    if seen.waters or contact is None or guard.water_at is None or now - guard.water_at <= BLIND_FOR:
        return None
    # It has run blind for long enough; or it has, and rests as long.
    so_long = now - contact.since_at >= BLIND_FOR
    ran_blind = contact.since_at - guard.water_at > BLIND_FOR
    return "no temperature of the water is known" if (so_long if contact.on else ran_blind and not so_long) else None


def _against_cold(seen: Seen, limits: Limits, guard: Guard, now: float) -> str | None:
    if seen.return_temp is not None and seen.return_temp < limits.return_low:
        return RETURN_LOW
    if seen.return_temp is None and (guard.return_at is None or now - guard.return_at > UNKNOWN_FOR):
        return "the return temperature is not known"
    return None


def _watched(seen: Seen, limits: Limits, guard: Guard, now: float) -> Guard:
    """What was read, and whether any of it is an emergency."""
    changes: dict[str, object] = {}
    if seen.return_temp is not None:
        changes["return_at"] = now
        inside = limits.return_low <= seen.return_temp <= limits.return_high
        # What was not known meanwhile, or before a restart, was not out for so long.
        anew = guard.out_at is None or guard.return_at is None or now - guard.return_at > OUT_FOR
        changes["out_at"] = None if inside else now if anew else guard.out_at
    if seen.waters or guard.water_at is None:
        changes["water_at"] = now
    if seen.relays is not None:
        changes |= _contacts(seen.relays, guard, now)
    if changes:
        guard = replace(guard, **changes)  # type: ignore[arg-type]
    causes = set(_causes(seen, limits, guard, now))
    if not causes and guard.acknowledged and seen.relays is not None:
        return replace(guard, emergency=(), emergency_at=None, present=(), acknowledged=False)
    # What has gone from one side of its window to the other has not been inside; but it is not on both.
    value = seen.return_temp
    other = set() if value is None else {RETURN_HIGH if value < limits.return_low else RETURN_LOW}
    present = tuple(sorted(causes - other))
    if causes <= set(guard.emergency):
        return guard if present == guard.present else replace(guard, present=present)
    at = now if guard.emergency_at is None else guard.emergency_at
    latched = tuple(sorted({*guard.emergency, *causes}))
    return replace(guard, emergency=latched, emergency_at=at, present=present, acknowledged=False)


def _contacts(relays: Mapping[str, bool], guard: Guard, now: float) -> dict[str, object]:
    changed: dict[str, object] = {}
    moved = {
        name: Contact(on, now) for name, on in relays.items()
        if name not in guard.contacts or guard.contacts[name].on is not on
    }  # fmt: skip
    if moved:
        changed["contacts"] = {**guard.contacts, **moved}
    followed = [name for name, order in guard.orders.items() if relays.get(name) is order.on]
    if followed:
        changed["orders"] = {name: order for name, order in guard.orders.items() if name not in followed}
    over = [
        name
        for name, failed in guard.failures.items()
        if relays.get(name) is failed.on or (failed.on and now - failed.since_at > FORGIVEN)
    ]
    if over:
        changed["failures"] = {name: failed for name, failed in guard.failures.items() if name not in over}
    return changed


def _causes(seen: Seen, limits: Limits, guard: Guard, now: float) -> Iterator[str]:
    """Every reason for an emergency that is present."""
    if guard.out_at is not None:
        if seen.return_temp is not None and now - guard.out_at >= OUT_FOR:
            yield RETURN_LOW if seen.return_temp < limits.return_low else RETURN_HIGH
        if guard.return_at is not None and now - guard.return_at <= UNKNOWN_FOR:
            yield from {RETURN_LOW, RETURN_HIGH} & set(guard.emergency)  # it has not been inside since
    for name in guard.broken:
        if name in limits.sources and not guard.failures[name].on:
            yield f"{name} does not go off"
    relays = seen.relays
    if relays is None:
        return
    boiler = relays.get(BOILER, False)
    chiller = any(relays[name] for name in limits.sources if name != BOILER)
    if boiler and chiller:
        yield "boiler and chiller are on together"
    if not limits.valves:
        if boiler and seen.season is Season.SUMMER:
            yield "the boiler is on in summer"
        if chiller and seen.season is Season.WINTER:
            yield "a chiller is on in winter"
        return
    if all(relays[valve] for valve in VALVES):
        yield "both valves are open"
    if boiler and not relays[WINTER_VALVE]:
        yield "the boiler is on without the winter valve"
    if chiller and not relays[SUMMER_VALVE]:
        yield "a chiller is on without the summer valve"


def _ordered(guard: Guard, orders: list[tuple[str, bool]], now: float) -> tuple[Guard, tuple[tuple[str, bool], ...]]:
    """The orders that are due now, and the guard that remembers them."""
    due: list[tuple[str, bool]] = []
    noted: dict[str, Order] = {}
    for name, on in orders:
        old = guard.orders.get(name)
        if old is None or old.on is not on:
            noted[name] = Order(on, now, now, 1)
        elif on and now - old.last_at < (AGAIN if old.tries >= TRIES else PAUSE):
            noted[name] = old
            continue
        else:
            noted[name] = Order(on, old.first_at, now, old.tries + 1)
        due.append((name, on))
    failed = {
        name: Contact(order.on, now)
        for name, order in noted.items()
        if order.tries >= TRIES and order.last_at - order.first_at >= FOLLOW and name not in guard.failures
    }
    if noted or guard.orders:
        guard = replace(guard, orders=noted, failures={**guard.failures, **failed} if failed else guard.failures)
    return guard, tuple(due)
