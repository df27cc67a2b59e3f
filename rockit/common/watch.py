# SPDX-License-Identifier: GPL-3.0-or-later
"""A live view of a status: redrawn in place on a terminal, appended elsewhere. Imports rich; not for start-up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from rockit.common.cli import shown_lines, wants_colour
from rockit.common.errors import CommandError

if TYPE_CHECKING:
    from rockit.common.cli import Target


def watch(target: Target, shown: Callable[[dict[str, Any]], list[str]], interval: float, count: int | None) -> None:
    """A device's status, every `interval` s, `count` times or until Ctrl-C. A daemon that goes away is waited for."""
    client = target.connect()

    def look() -> list[str]:
        try:
            return shown_lines(shown, client.report_status())
        except CommandError as error:
            return [f"{time.strftime('%H:%M:%S')} error: {error.message}"]

    live(look, interval, count)


def live(look: Callable[[], list[str]], interval: float, count: int | None) -> None:
    """Show what `look` says, again and again: in place on a terminal, line after line elsewhere."""
    console = Console(no_color=not wants_colour())
    looks = 0
    # Not the console's own opinion, which variables such as FORCE_COLOR sway: a pipe gets lines and nothing else.
    in_place = sys.stdout.isatty() and not console.is_dumb_terminal
    view = Live(console=console, auto_refresh=False) if in_place else None
    with view or nullcontext():
        while count is None or looks < count:
            if view is not None:
                view.update(Text.from_ansi("\n".join(look())), refresh=True)
            else:
                click.echo("\n".join(look()))
            looks += 1
            if looks != count:
                time.sleep(interval)
