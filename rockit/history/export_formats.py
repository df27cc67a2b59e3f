# SPDX-License-Identifier: GPL-3.0-or-later
"""What was recorded as a file in each format of `export`. CSV and JSON need nothing but Python, the others astropy.

A row for each time, to the millisecond; a quantity that was not sampled at that time is masked there (empty, null).
Times are UTC: text in CSV, JSON and ECSV, timestamps in Parquet, and Modified Julian Dates in FITS and VOTable, which
as floating point numbers tell microseconds apart.

Memory, beside the columns themselves: text is written row by row and takes none. FITS and Parquet are made from a
table of all rows, 9 bytes a cell, so 90 MB for a million rows of ten columns, and three to six times that while they
are written.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import BinaryIO

from rockit.common.status import plain
from rockit.history.pages import Recorded, rows
from rockit.history.times import iso_ms

Meta = dict[str, str | float]
Writer = Callable[[Recorded, Meta, BinaryIO], None]
TIME = "time"
TIME_LABEL = "Time (UTC)"
TEXT_FORMATS = ("csv", "ecsv", "json", "votable")
LIBRARIES = {"ecsv": ("astropy",), "fits": ("astropy",), "votable": ("astropy",), "parquet": ("astropy", "pyarrow")}
ENDINGS = {
    ".csv": "csv", ".ecsv": "ecsv", ".json": "json", ".parquet": "parquet", ".pq": "parquet", ".fits": "fits",
    ".fit": "fits", ".votable": "votable", ".vot": "votable", ".xml": "votable",
}  # fmt: skip


def write(kind: str, recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """Write all in the format `kind`. Nothing warns, and nothing is asked of the network. Raises OSError."""
    if kind not in LIBRARIES:
        _PLAIN[kind](recorded, meta, stream)
        return
    with warnings.catch_warnings():
        # Of units that a format does not have (they are written as text), and of years whose leap seconds are unknown.
        warnings.simplefilter("ignore")
        from astropy.utils.iers import conf

        from rockit.history.export_astropy import WRITERS

        with conf.set_temp("auto_download", False):
            WRITERS[kind](recorded, meta, stream)


def write_csv(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """Comment lines with the metadata and with what the columns are, a line of names, and the rows."""
    with text_on(stream) as text:
        for key, value in meta.items():
            text.write(f"# {key}: {one_line(value)}\n")
        for column in recorded.columns:
            unit = f" [{one_line(column.unit)}]" if column.unit else ""
            text.write(f"# column {one_line(column.name)}{unit}: {one_line(column.label)}\n")
        csv.writer(text, lineterminator="\n").writerow([TIME, *(column.name for column in recorded.columns)])
        for time, values in cells(recorded):
            text.write(f"{','.join([iso_ms(time), *values])}\n")


def write_json(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """An object: `meta`, `columns` (name -> unit and label; in order, time first) and `rows`, a list each."""
    columns = {TIME: {"unit": "", "label": TIME_LABEL}}
    columns |= {column.name: {"unit": column.unit, "label": column.label} for column in recorded.columns}
    head = json.dumps({"meta": plain(meta), "columns": columns}, allow_nan=False)
    with text_on(stream) as text:
        text.write(f'{head[:-1]}, "rows": [')
        between = "\n"
        for time, values in rows(recorded.columns):
            text.write(between + json.dumps([iso_ms(time), *map(plain, values)], allow_nan=False))
            between = ",\n"
        text.write("\n]}\n")


_PLAIN: dict[str, Writer] = {"csv": write_csv, "json": write_json}


def cells(recorded: Recorded) -> Iterator[tuple[int, list[str]]]:
    """Each row's time (ms) and the text of its values, nothing for none."""
    for time, values in rows(recorded.columns):
        yield time, ["" if value is None else repr(value) for value in values]


def one_line(value: object) -> str:
    """Text that can end no line before its time."""
    return "".join(c if c.isprintable() else " " for c in str(value))


@contextmanager
def text_on(stream: BinaryIO) -> Iterator[TextIOWrapper]:
    """UTF-8 text onto a stream of bytes, which stays open."""
    wrapped = TextIOWrapper(stream, encoding="utf-8", newline="\n")
    try:
        yield wrapped
        wrapped.flush()
    finally:
        wrapped.detach()
