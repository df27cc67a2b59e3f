# SPDX-License-Identifier: GPL-3.0-or-later
"""A bar that shows a person how far a long work is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on standard error, on a terminal: what is being done, how much of it is, of how much (0: not known)."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _what, _done, _whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    # What goes into a pipe must not be printed above the bar instead.
    with Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()) as shown:
        task = shown.add_task("", total=None)

        def show(what: str, done: int, whole: int) -> None:
            shown.update(task, description=what, completed=done, total=whole or None)

        yield show
