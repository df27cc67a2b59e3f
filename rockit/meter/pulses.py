# SPDX-License-Identifier: GPL-3.0-or-later
"""S0 pulses (EN 62053-31): edges in, counted pulses, energy and power out. Pure: state in, state out.

A pulse and the pause behind it last 30 ms at least. A pulse counts when its level has stood for the time of debouncing,
proven by the next edge or by `advance`. Only what was seen counts: lost edges are counted as lost and end the interval
that power is computed from, they are never made up for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rockit.common.transport.edges import Edge

JOULES_PER_KWH = 3_600_000
_NS = 1_000_000_000
_MS = 1_000_000
_MOST = 256
"""Starts that are kept at most, whatever the settings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a pulse is. Raises ValueError for what cannot be.

    `impulses_per_kwh` stands on the meter. Milliseconds: `debounce_ms`, for which a level must stand, and
    `spacing_ms`, below which a second pulse cannot follow the start of the last. Seconds: `window_s`, the pulses of
    which are averaged for power (short, so that it follows the load; long enough that jitter of 1 ms is nothing), and
    `timeout_s`, after which a power that can only be told to be small is told to be 0.
    """

    impulses_per_kwh: Fraction | Decimal | int
    debounce_ms: float = 8.0
    spacing_ms: float = 30.0
    window_s: float = 2.0
    timeout_s: float = 3600.0

    def __post_init__(self) -> None:
        if not self.impulses_per_kwh > 0:
            raise ValueError("impulses_per_kwh must be more than 0")
        if not 0 <= self.debounce_ms <= self.spacing_ms:
            raise ValueError("debounce_ms must be 0 or more, and not above spacing_ms")
        if not (self.window_s > 0 and self.timeout_s > 0):
            raise ValueError("window_s and timeout_s must be more than 0")

    @property
    def impulse(self) -> Fraction:
        """Energy of one pulse, exact, Wh."""
        return 1000 / Fraction(self.impulses_per_kwh)


@dataclass(frozen=True, slots=True)
class Pulses:
    """All that is known of one input. To be kept over a restart: `count`, `offset`, `lost`, `rejected`."""

    count: int = 0
    offset: Fraction = Fraction(0)
    """The meter's reading where the count was 0, Wh."""
    lost: int = 0
    """Edges that the line's own numbering proves to have been missed."""
    rejected: int = 0
    """Pulses that came sooner after another than the standard permits."""
    since: int | None = None
    """From when on the line was listened to without a break, monotonic ns."""
    starts: tuple[int, ...] = ()
    """Starts of the last pulses in a row without a loss, monotonic ns."""
    active: bool | None = None
    """The level that stands; None: not known yet."""
    pending: Edge | None = None
    """The last edge, as long as its level has not stood for long enough."""
    after_loss: bool = False
    """Whether edges were lost since the level that stands."""
    last: Edge | None = None
    last_start: int | None = None


def restarted(state: Pulses, now_ns: int) -> Pulses:
    """The line is listened to (again) from now on: what happened before is not known, so that no interval spans it."""
    return replace(
        state, since=now_ns, starts=(), active=None, pending=None, after_loss=False, last=None, last_start=None
    )


def feed(state: Pulses, edges: Iterable[Edge], settings: Settings) -> Pulses:
    """Take edges in the order of their times, batched in any way.

    Times or numbers that go backwards are those of a source that was opened anew.
    """
    for edge in edges:
        state = _edge(state, edge, settings)
    return state


def advance(state: Pulses, now_ns: int, settings: Settings) -> Pulses:
    """It is `now_ns` (monotonic), and every edge up to now was fed: the level of the last one stands."""
    return _confirmed(state, now_ns, settings)


def _edge(state: Pulses, edge: Edge, settings: Settings) -> Pulses:
    missed = 0
    if (last := state.last) is not None:
        step = 1 if edge.sequence is None or last.sequence is None else edge.sequence - last.sequence
        if edge.time_ns < last.time_ns or step < 1:
            state = restarted(state, edge.time_ns)
        else:
            missed = step - 1
    if missed:
        # The pending level may have been short: it is not proven to have stood, and is forgotten.
        state = replace(state, starts=(), since=edge.time_ns, after_loss=True, lost=state.lost + missed)
    else:
        state = _confirmed(state, edge.time_ns, settings)
    since = edge.time_ns if state.since is None else state.since
    return replace(state, pending=edge, last=edge, since=since)


def _confirmed(state: Pulses, now_ns: int, settings: Settings) -> Pulses:
    """The pending level stands, if it has lasted long enough by `now_ns`."""
    edge = state.pending
    if edge is None or now_ns - edge.time_ns < settings.debounce_ms * _MS:
        return state
    begins = edge.active and (state.active is not True or state.after_loss)
    state = replace(state, pending=None, active=edge.active, after_loss=False)
    if not begins:
        return state
    start = edge.time_ns
    if state.last_start is not None and start - state.last_start < settings.spacing_ms * _MS:
        return replace(state, rejected=state.rejected + 1)
    recent = tuple(old for old in state.starts[-_MOST:-1] if start - old <= settings.window_s * _NS)
    starts = (*recent, *state.starts[-1:], start)
    return replace(state, count=state.count + 1, last_start=start, starts=starts)


def energy(state: Pulses, settings: Settings) -> Fraction:
    """The reading of the meter, exact, Wh."""
    return state.offset + state.count * settings.impulse


def energy_decimal(state: Pulses, settings: Settings, places: int = 3) -> Decimal:
    """The reading in Wh, rounded once to so many decimals."""
    return Decimal(round(energy(state, settings) * 10**places)).scaleb(-places)


def set_reading(state: Pulses, settings: Settings, watt_hours: Fraction | Decimal | int) -> Pulses:
    """What the meter itself shows now, Wh: the count stays as it is, and the reading follows the meter."""
    return replace(state, offset=Fraction(watt_hours) - state.count * settings.impulse)


def power(state: Pulses, settings: Settings, now_ns: int) -> float | None:
    """Power at `now_ns` in W; None where it is not known (before the second pulse after a start or a loss).

    The mean of the last interval, or of those in the window where there are more. Time without a pulse bounds it:
    after t seconds it is at most the energy of one pulse by t. After the time-out it is 0, which means less than that.
    """
    impulse = JOULES_PER_KWH / Fraction(settings.impulses_per_kwh)
    quiet_since = state.starts[-1] if state.starts else state.since
    if quiet_since is None:
        return None
    quiet = now_ns - quiet_since
    if quiet >= settings.timeout_s * _NS:
        return 0.0
    if len(state.starts) < 2:
        return None
    joules = impulse * _NS
    mean = joules * (len(state.starts) - 1) / (state.starts[-1] - state.starts[0])
    return float(min(mean, joules / quiet) if quiet > 0 else mean)
