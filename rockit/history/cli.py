# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs `history` and `export`, for the command line of any device; light at start-up."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rockit.common.cli import Target
    from rockit.common.remote.client import UntypedClient as Client
    from rockit.history.pages import Answer, Question

EVENTS = "events"
ROWS = 20
"""Buckets of a table, where nobody says how many."""
_DAMAGED = "rockit.history.damaged"
MOST_EVENTS = 10_000
"""A daemon lists no more at once."""


def history_verbs(group: click.Group) -> None:
    """Add `history` and `export` to a device's command line."""

    @group.command()
    @_since
    @_until
    @_key
    @_points
    @click.option(
        "--format", "form", type=click.Choice(["table", "csv", "json", "plot"]), default="table", show_default=True
    )
    @click.option("--events", is_flag=True, help="list what happened: states, alarms, commands (with --key: as well)")
    @click.pass_obj
    def history(
        target: Target,
        since: str,
        until: str | None,
        keys: tuple[str, ...],
        points: int | None,
        form: str,
        events: bool,
    ) -> None:
        """Show what was recorded, in a table or a plot for people, in CSV or JSON for programs.

        TIME is an age before now (90s, 15m, 1h, 2d, 3w, 1y), a date or a time in UTC (2026-11-21, 2026-11-21T10:00), or
        seconds since 1970. Tables and plots are made of buckets; CSV and JSON hold the samples unless --points says so.
        Buckets begin at round times: of one that reaches beyond the range, only what lies in the range counts.
        """
        if EVENTS in keys:  # as the daemon's own method has it
            events, keys = True, tuple(key for key in keys if key != EVENTS)
        if events and form == "plot":
            raise click.UsageError("events are no plot: --format table, csv or json")
        if events and keys and form == "csv":
            raise click.UsageError("samples and events are two tables: ask for them one after the other")
        question = _question(since, until, keys, points)
        with target.connect() as client:
            _HISTORIES[form](client, question, events, bool(keys) or not events)
        _end()

    @group.command()
    @_since
    @_until
    @_key
    @_points
    @click.option("--format", "form", type=click.Choice(_FORMATS), help="by the ending of FILE, if not given")
    @click.option("-o", "--output", required=True, metavar="FILE", help="file to write; - for standard output")
    @click.option("--overwrite", is_flag=True, help="replace FILE if it exists")
    @click.pass_obj
    def export(
        target: Target, since: str, until: str | None, keys: tuple[str, ...], points: int | None, form: str | None,
        output: str, overwrite: bool,
    ) -> None:  # fmt: skip
        """Write what was recorded to a file, with units, device and versions.

        TIME as for `history`. Every sample is written, unless --points asks for buckets. FILE is either whole or not
        there.
        """
        if EVENTS in keys:
            raise click.UsageError("events are no quantity: `history --events --format csv` (or json) lists them")
        question = _question(since, until, keys, points)
        from rockit.history import export as exporting
        from rockit.history.export_formats import TEXT_FORMATS

        form = form or exporting.format_of(output)
        if form is None:
            raise click.UsageError(f"--format is missing, and the name {output} does not tell: {', '.join(_FORMATS)}")
        if output == exporting.STDOUT and form not in TEXT_FORMATS:
            raise click.UsageError(f"{form} is no text: give -o a file")
        with target.connect() as client:
            recorded = exporting.export(client, question, form, output, overwrite=overwrite)
        _warn(recorded.problems)
        click.echo(f"{output}: {exporting.summary(recorded)}", err=output == exporting.STDOUT)
        _end()


_FORMATS = ("csv", "ecsv", "json", "parquet", "fits", "votable")
_since = click.option("--since", default="1d", show_default=True, metavar="TIME", help="from when on")
_until = click.option("--until", metavar="TIME", help="until when  [default: now]")
_key = click.option(
    "--key", "keys", multiple=True, metavar="KEY", help="one quantity (may be repeated)  [default: all]"
)
_points = click.option("--points", type=click.IntRange(1), metavar="N", help="about so many buckets instead of samples")


def _question(since: str, until: str | None, keys: tuple[str, ...], points: int | None) -> Question:
    """What to ask the daemon, once it can be right. Raises click.UsageError."""
    from rockit.history.model import MINUTE
    from rockit.history.pages import Question
    from rockit.history.times import iso, parse

    now = round(time.time() * 1000)
    ends: list[int] = []
    for option, text in (("--since", since), ("--until", until)):
        try:
            ends += [] if text is None else [parse(text, now)]
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=option) from None
    if len(ends) == 2 and ends[0] >= ends[1]:
        raise click.UsageError(f"--until {until} is not after --since {since}")
    if ends[0] > now + MINUTE:  # the daemon's clock may be a little ahead of ours
        raise click.UsageError(f"--since {since} is in the future: it is {iso(now)} now (times are UTC)")
    return Question(list(keys) or None, since, until, points)


def _table(client: Client, question: Question, events: bool, measured: bool) -> None:
    from rockit.history.tables import event_lines, table_lines

    if measured:
        answer = _answer(client, replace(question, points=question.points or ROWS))
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        _echo(table_lines(answer, width))
    if events:
        _echo([""] if measured else [])
        _echo(event_lines(_events(client, question)["events"]))


def _plot(client: Client, question: Question, _events: bool, _measured: bool) -> None:
    from rockit.common.cli import wants_colour
    from rockit.common.errors import Code, CommandError

    try:
        from rockit.history.plot import LEAST_WIDTH, Look, plot
    except ImportError as error:  # not installed, or without the compiled part that this machine needs
        text = f"a plot needs plotext 6 or later: pip install 'plotext>=6' ({error})"
        raise CommandError(Code.FAILED, text) from None
    size = shutil.get_terminal_size()
    braille = "utf" in sys.stdout.encoding.lower() and not (sys.stdout.isatty() and os.environ.get("TERM") == "linux")
    look = Look(max(size.columns, LEAST_WIDTH), size.lines, wants_colour(), braille)
    _echo(plot(_answer(client, replace(question, points=question.points or look.points)), look))


def _csv(client: Client, question: Question, events: bool, _measured: bool) -> None:
    from rockit.history.pages import pages
    from rockit.history.tables import csv_lines, cut_buckets, event_csv

    if events:
        _echo(event_csv(_events(client, question)["events"]))
        return
    problems: dict[str, None] = {}
    told: list[str] = []

    def answers() -> Iterator[Answer]:
        for answer in pages(client, question):
            problems.update(dict.fromkeys(answer.get("problems", ())))
            told.extend(cut_buckets(answer))
            yield answer

    _echo(csv_lines(answers()))
    if sys.stderr.isatty():  # for whoever looks; programs read it in the help
        for note in told:
            click.echo(f"note: {note}", err=True)
    _warn(problems)


def _json(client: Client, question: Question, events: bool, measured: bool) -> None:
    from rockit.common.status import json_line

    answer = _answer(client, question) if measured else _events(client, question)
    if events and measured:
        answer["events"] = _events(client, question)["events"]
    _echo([json_line(answer)])


_HISTORIES: dict[str, Callable[[Client, Question, bool, bool], None]] = {
    "table": _table,
    "csv": _csv,
    "json": _json,
    "plot": _plot,
}


def _answer(client: Client, question: Question) -> Answer:
    from rockit.history.pages import joined, pages

    answer = joined(pages(client, question))
    _warn(answer.get("problems", ()))
    if "waiting" in answer:
        click.echo(f"note: {answer['waiting']}", err=True)
    return answer


def _events(client: Client, question: Question) -> Answer:
    answer = _answer(client, replace(question, keys=[EVENTS], points=None))
    if len(answer["events"]) >= MOST_EVENTS:
        click.echo(f"note: these are the newest {MOST_EVENTS} events of the range; ask for shorter ones", err=True)
    return answer


def _warn(problems: Iterable[str]) -> None:
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
        click.get_current_context().meta[_DAMAGED] = True


def _end() -> None:
    """Exit 1 where not all could be read."""
    if click.get_current_context().meta.get(_DAMAGED):
        from rockit.common.errors import Code, CommandError

        text = "not all that was recorded could be read; `rockit history check` on the daemon's machine tells more"
        raise CommandError(Code.FAILED, text)


def _echo(lines: Iterable[str]) -> None:
    """Print lines; what the terminal's character set lacks becomes a question mark."""
    encoding = sys.stdout.encoding
    for line in lines:
        click.echo(line.encode(encoding, "replace").decode(encoding))
