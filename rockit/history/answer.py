# SPDX-License-Identifier: GPL-3.0-or-later
"""What `history(keys, start, end, points)` of a daemon answers: plain dicts and lists, times as UTC text."""

from __future__ import annotations

import heapq
from base64 import b64encode
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from rockit.common.quality import Quality
from rockit.history.model import DAY, Event, Samples, Series
from rockit.history.query import View
from rockit.history.times import iso, iso_ms, parse

PAGE = 20_000
"""So many samples an answer has at most, of all keys together."""
PACKED = 300_000
"""A page of blocks ends with the day that passes so many bytes."""
MOST_POINTS = 100_000
"""So many buckets, of all keys together."""
MOST_EVENTS = 10_000
EVENTS = "events"
"""The name among the keys that asks for what happened."""


class QuestionError(ValueError):
    """A question that has no answer, and why."""


def answer(
    view: View,
    site: str,
    device: str,
    keys: Sequence[str] | None,
    start: Any,
    end: Any,
    points: int | None,
    now: int,
    *,
    packed: bool = False,
) -> dict[str, Any]:
    """See `docs/history.md`; `packed`: samples as blocks. Raises QuestionError for what has no answer."""
    try:
        until = now + 1 if end is None else parse(end, now)
        since = until - DAY if start is None else parse(start, now)
    except ValueError as error:
        raise QuestionError(str(error)) from None
    if end is None and since > now:
        raise QuestionError(f"the range begins in the future ({iso(since)}); here it is {iso(now)}")
    if since >= until:
        raise QuestionError(f"the range ends ({iso(until)}) before it begins ({iso(since)})")
    if points is not None and (isinstance(points, bool) or not isinstance(points, int) or points < 1):
        raise QuestionError(f"points must be a number of buckets, 1 or more, not {points!r}")
    known = _named(view, {number: one for number, one in view.series().items() if one.name[:2] == (site, device)})
    wanted = list(known) if keys is None else [key for key in dict.fromkeys(keys) if key != EVENTS]
    if unknown := [key for key in wanted if key not in known]:
        there = ", ".join([*known, EVENTS]) if known else "nothing yet"
        raise QuestionError(f"{', '.join(map(repr, unknown))} is not recorded here; recorded is {there}")
    if points is not None and points * max(len(wanted), 1) > MOST_POINTS:
        raise QuestionError(f"{points} points of {len(wanted)} keys are more than {MOST_POINTS}; ask for fewer")
    found: dict[str, Any] = {"site": site, "device": device, "start": iso_ms(since), "end": iso_ms(until)}
    chosen = {key: known[key] for key in wanted}
    if points is None:
        found |= {"level": "raw", "bucket": 0.0, **(_packed if packed else _raw)(view, chosen, since, until)}
    else:
        widths = [view.width(number, since, until, points) for number, _ in chosen.values()]
        width = max(widths, default=0)
        found |= {"level": "buckets", "bucket": width / 1000}
        found["series"] = {
            key: _about(view, number, series, since, until) | _buckets(view, number, series, since, until, width)
            for key, (number, series) in chosen.items()
        }
    if keys is not None and EVENTS in keys:
        happened = view.events(site, device, since, until, MOST_EVENTS + 1)
        found[EVENTS] = [_event(event) for event in happened[-MOST_EVENTS:]]
        if len(happened) > MOST_EVENTS:
            found["events_left_out"] = True
    if view.problems:
        found["problems"] = list(view.problems)
    return found


def _named(view: View, series: dict[int, Series]) -> dict[str, tuple[int, Series]]:
    """Key -> series; where a key has had several units, those that are not recorded now under `key [unit]`."""
    named: dict[str, tuple[int, Series]] = {}
    for number, one in sorted(series.items()):
        if one.key in named:
            both = [named[one.key], (number, one)]
            older, named[one.key] = sorted(both, key=lambda pair: view.latest(pair[0]) or (0, 0.0))
            named[f"{one.key} [{older[1].unit}]"] = older
        else:
            named[one.key] = number, one
    return named


def _about(view: View, number: int, series: Series, since: int, until: int, *, growth: bool = True) -> dict[str, Any]:
    about: dict[str, Any] = {
        "label": series.label,
        "unit": series.unit,
        "kind": "counter" if series.counter else "gauge",
    }
    if (latest := view.latest(number)) is not None:
        about["latest"] = {"time": iso_ms(latest[0]), "value": latest[1]}
    if growth and series.counter and (grown := view.growth(number, since, until)) is not None:
        about["difference"] = {
            "value": grown.value, "from": iso_ms(grown.start), "to": iso_ms(grown.end), "resets": grown.resets,
        }  # fmt: skip
    return about


def _buckets(view: View, number: int, series: Series, since: int, until: int, width: int) -> dict[str, Any]:
    found = view.buckets(number, since, until, width)
    columns: dict[str, Any] = {
        "time": [iso(time) for time, _ in found],
        "count": [rollup.samples for _, rollup in found],
        "min": [rollup.least for _, rollup in found],
        "max": [rollup.greatest for _, rollup in found],
        "last": [rollup.last for _, rollup in found],
    }
    if not series.counter:
        columns["mean"] = [rollup.mean for _, rollup in found]
    return columns


def _raw(view: View, chosen: dict[str, tuple[int, Series]], since: int, until: int) -> dict[str, Any]:
    """One page: whole up to some moment, of all keys, and from there on the next."""
    runs = {key: Samples() for key in chosen}
    ahead = {key: view.days(number, since, until) for key, (number, _) in chosen.items()}
    cut = until
    # Day by day, so that a page costs what it holds, however long the range is.
    following = {key: next(days, None) for key, days in ahead.items()}
    while any(following.values()):
        day = min(run.times[0] for run in following.values() if run is not None) // DAY
        for key, run in following.items():
            if run is not None and run.times[0] // DAY == day:
                runs[key] = runs[key].merged(run)
                following[key] = next(ahead[key], None)
        if sum(map(len, runs.values())) > PAGE:
            times = sorted(time for run in runs.values() for time in run.times)
            cut = max(times[PAGE], times[0] + 1)
            break
    page: dict[str, Any] = {"series": {}}
    whole = cut == until
    for key, (number, series) in chosen.items():
        run = runs[key].between(since, cut)
        columns: dict[str, Any] = {"time": [iso_ms(time) for time in run.times], "value": run.values}
        if run.qualities is not None and any(run.qualities):
            columns["quality"] = [int(Quality(quality)) for quality in run.qualities]
        page["series"][key] = _about(view, number, series, since, until, growth=whole) | columns
    if not whole:
        page["next"] = iso_ms(cut)
    return page


def _packed(view: View, chosen: dict[str, tuple[int, Series]], since: int, until: int) -> dict[str, Any]:
    """Whole days, as blocks in base64: for programs that want very many samples."""
    page: dict[str, Any] = {
        "series": {key: _about(view, *one, since, until, growth=False) | {"blocks": []} for key, one in chosen.items()}
    }
    days = heapq.merge(*(_keyed(key, view.blocks(number, since, until)) for key, (number, _) in chosen.items()))
    size = 0
    for day, group in groupby(days, key=itemgetter(0)):
        if size > PACKED:
            page["next"] = iso_ms(day * DAY)
            break
        for _, key, data in group:
            page["series"][key]["blocks"].append(b64encode(data).decode())
            size += len(data)
    return page


def _keyed(key: str, days: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, str, bytes]]:
    return ((day, key, data) for day, data in days)


def _event(event: Event) -> dict[str, Any]:
    return {
        "time": iso_ms(event.time), "kind": event.kind, "name": event.name, "value": event.value,
        "detail": event.detail, "who": event.who,
    }  # fmt: skip
