# SPDX-License-Identifier: GPL-3.0-or-later
"""The formats of `export` that astropy's tables make: ECSV, FITS, VOTable and Parquet. Imports are heavy."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO, StringIO
from typing import Any, BinaryIO

import erfa
import numpy as np
from astropy.table import Column, MaskedColumn, Table
from astropy.units import Unit, imperial

from rockit.common.status import plain
from rockit.history.export_formats import TIME, TIME_LABEL, Meta, Writer, cells, one_line, text_on
from rockit.history.model import DAY
from rockit.history.pages import Recorded
from rockit.history.times import iso_ms

Moments = np.ndarray[Any, np.dtype[np.int64]]
_EPOCH_MJD = 40_587
"""1970-01-01 as a Modified Julian Date."""
_MASKED = -1
"""What stands in integer columns where there is no value."""
_SPELLINGS = {"degC": "deg_C", "°C": "deg_C", "degF": "deg_F", "°F": "deg_F", "Wh": "W h", "kWh": "kW h", "VA": "V A"}
"""Units that astropy spells otherwise than rockit."""


def write_ecsv(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """As astropy writes it: the time is a `Time` again when it is read back."""
    from astropy.time import Time

    # The head is astropy's own, of a table with one row; it would need 150 bytes of memory for each cell.
    table, moments = _one_row(recorded, meta)
    time = Time(moments / 1000, format="unix", scale="utc", precision=3)
    time.format = "isot"
    table.add_column(time, index=0, name=TIME)
    table[TIME].info.description = TIME_LABEL
    head = StringIO()
    table.write(head, format="ascii.ecsv", delimiter=",")
    with text_on(stream) as text:
        text.writelines(head.getvalue().splitlines(keepends=True)[:-1])
        for moment, values in cells(recorded):
            text.write(f"{','.join([iso_ms(moment)[:-1], *values])}\n")


def write_fits(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """A binary table. Metadata in the standard's keywords where it has some, and all of it as HIERARCH ROCKIT ….

    Labels are TCOMMn in ASCII, as that is all FITS has, and whole in the comments from which astropy restores them.
    """
    from astropy.io import fits

    table, moments = _table(recorded, {})
    _add_mjd(table, moments)
    described = BytesIO()
    table[:0].write(described, format="fits")
    described.seek(0)
    hdu = fits.table_to_hdu(table, name="HISTORY")
    hdu.columns[TIME].coord_type, hdu.columns[TIME].coord_unit = "UTC", "d"
    header = hdu.header
    header["TIMESYS"], header["MJDREF"] = "UTC", 0.0
    for keyword, key in (("ORIGIN", "origin"), ("DATE", "written"), ("DATE-BEG", "start"), ("DATE-END", "end")):
        header[keyword] = _ascii(str(meta[key]).removesuffix("Z"))
    for key, value in meta.items():
        keyword = "HIERARCH ROCKIT " + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:40]  # longer ones are no cards
        header[keyword] = _ascii(value) if isinstance(value, str) else value
    for number, column in enumerate(recorded.columns, 2):
        if column.label:
            header[f"TCOMM{number}"] = _ascii(column.label)
        if column.unit and not header.get(f"TUNIT{number}"):
            header[f"TUNIT{number}"] = _ascii(column.unit)  # one that astropy cannot write in FITS's own units
    for comment in fits.getheader(described, 1).get("COMMENT", ()):
        header.add_comment(comment)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(stream)


def write_votable(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """VOTable 1.4; the time refers to a TIMESYS, metadata is INFO of the resource."""
    from astropy.io.votable import from_table
    from astropy.io.votable.tree import Info, TimeSys

    # All but the rows is astropy's own; of rows it writes six thousand a second.
    table, moments = _one_row(recorded, {})
    _add_mjd(table, moments)
    file = from_table(table)
    resource = file.resources[0]
    version = {"version_1_2_or_later": True, "version_1_4_or_later": True}
    # Where the clock is: at the device. It is not corrected for the light's way to anywhere.
    resource.time_systems.append(
        TimeSys(ID="utc", timeorigin="MJD-origin", timescale="UTC", refposition="TOPOCENTER", config=version)
    )
    for key, value in meta.items():
        resource.infos.append(Info(name=key, value=str(value), config=version))
    time = resource.tables[0].get_field_by_id_or_name(TIME)
    time.ref, time.ucd = "utc", "time.epoch"
    whole = BytesIO()
    file.to_xml(whole)
    before, rest = whole.getvalue().decode().split("<TR>", 1)
    mjd = _mjd()
    with text_on(stream) as text:
        text.write(before.rstrip(" "))
        for moment, values in cells(recorded):
            text.write("".join(f"<TD>{cell}</TD>" for cell in (repr(mjd(moment)), *values)).join(("<TR>", "</TR>\n")))
        text.write(rest.split("</TR>\n", 1)[1])


def write_parquet(recorded: Recorded, meta: Meta, stream: BinaryIO) -> None:
    """Timestamps in UTC and nulls, as pandas and others expect them; unit and label are metadata of each field.

    The file's own metadata has ours as JSON (`rockit`), and what astropy restores units and labels from.
    """
    import pyarrow as pa
    from astropy.table.meta import get_yaml_from_table
    from pyarrow import parquet

    table, moments = _table(recorded, meta)
    kinds = {"f": pa.float64(), "i": pa.int64()}
    fields = [pa.field(TIME, pa.timestamp("ms", tz="UTC"), nullable=False, metadata={"label": TIME_LABEL})]
    arrays = [pa.array(moments, type=pa.int64()).cast(fields[0].type)]
    for column in recorded.columns:
        data = table[column.name]
        kind = kinds[data.dtype.kind]
        fields.append(pa.field(column.name, kind, metadata={"unit": column.unit, "label": column.label}))
        arrays.append(pa.array(np.ma.getdata(data), type=kind, mask=np.ma.getmaskarray(data)))
    table = table[:0]
    table.add_column(np.array([], dtype="datetime64[ms]"), index=0, name=TIME)
    described = {"rockit": json.dumps(plain(meta)), "table_meta_yaml": "\n".join(get_yaml_from_table(table))}
    parquet.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=described)), stream)


WRITERS: dict[str, Writer] = {
    "ecsv": write_ecsv,
    "fits": write_fits,
    "votable": write_votable,
    "parquet": write_parquet,
}


def _table(recorded: Recorded, meta: Meta) -> tuple[Table, Moments]:
    """The columns on one grid of times, and the times (ms), which the table still lacks."""
    found = [np.asarray(column.times, dtype="int64") for column in recorded.columns]
    return _on_grid(recorded, meta, np.unique(np.concatenate([np.array([], dtype="int64"), *found])))


def _one_row(recorded: Recorded, meta: Meta) -> tuple[Table, Moments]:
    """The same columns with a row of zeros, for what astropy tells of them."""
    one = array("q", [0])
    columns = [replace(column, times=one, values=array(column.values.typecode, [0])) for column in recorded.columns]
    return _on_grid(replace(recorded, columns=columns), meta, np.array([0]))


def _on_grid(recorded: Recorded, meta: Meta, moments: Moments) -> tuple[Table, Moments]:
    table = Table(meta=dict(meta))
    for column in recorded.columns:
        kind, missing = ("int64", _MASKED) if column.integer else ("float64", np.nan)
        mask = np.ones(len(moments), dtype=bool)
        data = np.full(len(moments), missing, dtype=kind)
        places = np.searchsorted(moments, column.times)
        data[places], mask[places] = column.values, False
        told: dict[str, Any] = {"unit": None if column.integer else _unit(column.unit), "description": column.label}
        if mask.any():
            table[column.name] = MaskedColumn(data, mask=mask, fill_value=missing, **told)
        else:
            table[column.name] = Column(data, **told)
    return table, moments


def _add_mjd(table: Table, moments: Moments) -> None:
    days = [*map(_mjd(), moments.tolist())]
    table.add_column(Column(days, unit="d", description=f"{TIME_LABEL}, MJD", dtype="float64"), index=0, name=TIME)


def _mjd() -> Callable[[int], float]:
    """What makes a Modified Julian Date of a time in ms.

    A day that ends with a leap second has 86,401 s, as for astropy and the IAU's library; the leap second itself is
    none of our times.
    """
    leaps = [leap for leap in erfa.leap_seconds.get() if (leap["year"], leap["month"]) > (1972, 1)]  # whole ones
    ends = [datetime(leap["year"], leap["month"], 1, tzinfo=UTC) for leap in leaps]
    long_days = {round(end.timestamp() * 1000) // DAY - 1 for end in ends}

    def mjd(time: int) -> float:
        day, rest = divmod(time, DAY)
        return day + _EPOCH_MJD + rest / (DAY + 1000 if day in long_days else DAY)

    return mjd


def _unit(text: str) -> Any:
    """As astropy's; what it does not know keeps its name."""
    if text in ("degF", "°F"):
        return imperial.deg_F
    return Unit(_SPELLINGS.get(text, text), parse_strict="silent")


def _ascii(value: object) -> str:
    return one_line(value).encode("ascii", "backslashreplace").decode()
