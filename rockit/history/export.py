# SPDX-License-Identifier: GPL-3.0-or-later
"""Fetches what was recorded and writes it to a file: under a temporary name first, so that no file is ever half there.

Memory: 16 bytes for each sample while they are fetched, so 16 MB a million; see `export_formats` for what writing adds.
A chiller with twelve quantities every 10 s makes 38 million a year. For less, ask for buckets (`--points`) or keys.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from rockit.common import VERSION
from rockit.common.errors import Code, CommandError
from rockit.history import times
from rockit.history.export_formats import ENDINGS, LIBRARIES, Meta, write
from rockit.history.pages import Question, Recorded, collect
from rockit.history.tables import span

STDOUT = "-"


def format_of(path: str) -> str | None:
    """The format that a file's name asks for."""
    return ENDINGS.get(Path(path).suffix.lower())


def export(client: Any, question: Question, kind: str, output: str, *, overwrite: bool) -> Recorded:
    """Fetch, write, and give back what was written. Raises CommandError.

    `output` is a path, or `-` for standard output. What stands in the way is found before the daemon is asked.
    """
    if missing := [name for name in LIBRARIES.get(kind, ()) if find_spec(name) is None]:
        need = f"the format {kind} needs {' and '.join(missing)}: pip install 'rockit-plant[export]'"
        raise CommandError(Code.FAILED, f"{need}; csv and json need nothing")
    if output == STDOUT:
        with _progress(hidden=sys.stdout.isatty()) as progress:
            return _fetch_and_write(client, question, kind, sys.stdout.buffer, progress)
    with replacing(Path(output), overwrite=overwrite) as stream, _progress() as progress:
        return _fetch_and_write(client, question, kind, stream, progress)


@contextmanager
def replacing(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file `path` when the block ends well.

    Otherwise, and when it is ended by SIGINT, SIGTERM or SIGHUP, what was at `path` stays, and nothing else is left.
    When the block has ended, the file is on disk. Raises CommandError for what is in the way.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    if os.path.lexists(target):
        if not target.is_file():
            raise CommandError(Code.FAILED, f"{path} is no file that can be replaced; -o - writes to standard output")
        if not overwrite:
            raise _exists(path)
    unfinished = target.with_name(f".{secrets.token_hex(8)}.part")
    with _ended_by_exceptions():
        try:
            try:
                handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                with open(handle, "w+b") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                _put(unfinished, target, path, overwrite=overwrite)
            except OSError as error:
                why = str(error.strerror or error)
                if not target.parent.is_dir():
                    why = f"there is no folder {target.parent}"
                raise CommandError(Code.FAILED, f"{path} cannot be written: {why}") from None
        finally:
            with suppress(OSError):
                unfinished.unlink()


def _put(unfinished: Path, target: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        os.replace(unfinished, target)
    else:
        try:
            os.link(unfinished, target)  # unlike rename, it does not replace what somebody else has just put there
        except FileExistsError:
            raise _exists(path) from None
        except OSError:  # this file system has no links
            os.rename(unfinished, target)
    with suppress(OSError):  # it is written; not every file system takes this, nor every folder may be read
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _exists(path: Path) -> CommandError:
    return CommandError(Code.FAILED, f"{path} exists; --overwrite replaces it")


@contextmanager
def _ended_by_exceptions() -> Iterator[None]:
    """Signals that would end the process at once end it through an exception, so that files are cleaned up."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []  # only that one may set handlers
    before = {number: signal.signal(number, leave) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fetch_and_write(
    client: Any, question: Question, kind: str, stream: BinaryIO, progress: Callable[[Recorded, int | None], None]
) -> Recorded:
    description = client.describe()
    recorded = collect(client, question, progress)
    progress(recorded, None)
    write(kind, recorded, _meta(recorded, description), stream)
    return recorded


def _meta(recorded: Recorded, description: dict[str, Any]) -> Meta:
    """What a reader in ten years wants to know of the file."""
    meta: Meta = {
        "origin": f"rockit-plant {VERSION}",
        "written": times.iso(round(time.time() * 1000)),
        "site": recorded.site,
        "device": recorded.device,
    }
    for key in ("kind", "driver", "software_version"):
        if isinstance(description.get(key), str):
            meta[key] = description[key]
    identity = description.get("device")
    for key, value in identity.items() if isinstance(identity, dict) else ():
        meta[f"identity_{key}"] = value if isinstance(value, int | float) else str(value)
    meta |= {
        "start": times.iso_ms(recorded.start),
        "end": times.iso_ms(recorded.end),
        "time_scale": "UTC",
        "level": "buckets" if recorded.bucket else "raw",
    }
    if recorded.bucket:
        meta |= {
            "bucket": recorded.bucket,
            "bucket_time": "start of the bucket",
            "bucket_range": "only what lies from start to end counts",  # the first and the last may reach beyond
        }
    if recorded.problems:
        meta["problems"] = "; ".join(recorded.problems)
    return meta


@contextmanager
def _progress(*, hidden: bool = False) -> Iterator[Callable[[Recorded, int | None], None]]:
    """A bar on standard error, by the time (ms) that is covered, then (None) for the writing; only on a terminal."""
    if hidden or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _recorded, _reached: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))
    done = TextColumn("{task.description} {task.fields[values]:,} values")
    columns = done, BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("fetching", total=None, values=0)

        def show(recorded: Recorded, reached: int | None) -> None:
            if reached is None:
                bar.remove_task(task)
                bar.add_task("writing", total=None, values=len(recorded))
                return
            whole = max(1, recorded.end - recorded.start)
            bar.update(task, total=whole, completed=min(whole, reached - recorded.start), values=len(recorded))

        yield show


def summary(recorded: Recorded) -> str:
    """What was written, in words."""
    filled = {column.key for column in recorded.columns if len(column.values)}
    empty = dict.fromkeys(column.key for column in recorded.columns if column.key not in filled)
    period = f"between {times.iso(recorded.start)} and {times.iso(recorded.end)}"
    if not len(recorded):
        return f"nothing {'could be read' if recorded.problems else 'was recorded'} {period}; the file has no rows"
    quantities = _counted(len(filled), "quantity", "quantities")
    if empty:
        period += f"; nothing of {', '.join(empty)}"
    if not recorded.bucket:
        return f"{_counted(len(recorded), 'sample')} of {quantities} {period}"
    buckets = len(set().union(*(column.times for column in recorded.columns)))
    return f"{quantities} in {_counted(buckets, 'bucket')} of {span(recorded.bucket)} {period}"


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
