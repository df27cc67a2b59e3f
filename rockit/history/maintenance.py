# SPDX-License-Identifier: GPL-3.0-or-later
"""What a history holds and how large it is, without decoding it; and how it is made smaller."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Table, bindparam, delete, distinct, func, literal_column, select, text
from sqlalchemy.exc import SQLAlchemyError

from rockit.common.errors import Code, CommandError
from rockit.history import block, times
from rockit.history import statements as sql
from rockit.history.database import BUSY, Database, Session, Statement, StoreError, Trouble
from rockit.history.model import BUCKET, BUCKETS_A_DAY, DAY, Series, day_of
from rockit.history.query import View
from rockit.history.schema import VERSION, blocks, current, cursors, damaged, events, metadata, outbox, rollups, samples
from rockit.history.store import Store, wall_clock

Progress = Callable[[str, int, int], None]
"""What is done now, how much of it is, of how much."""
_COUNT = func.count()
_BUCKETS_A_DAY = literal_column(str(BUCKETS_A_DAY), BigInteger)


def _by(key: Any, *columns: Any) -> Statement:
    return Statement(select(key, *columns).group_by(key))


def _rows(table: Table) -> Statement:
    return Statement(select(_COUNT).select_from(table))


_LOOSE = _by(samples.c.series, _COUNT, func.min(samples.c.time), func.max(samples.c.time))
_BYTES = func.sum(func.length(blocks.c.data))
_SEALED = _by(blocks.c.series, _COUNT, func.sum(blocks.c.count), _BYTES, func.min(blocks.c.day), func.max(blocks.c.day))
_ROLLED = _by(rollups.c.series, _COUNT, func.min(rollups.c.bucket), func.max(rollups.c.bucket))
_CURRENT = Statement(select(current.c.series, current.c.bucket, current.c.last_time))
_DAMAGED = _by(damaged.c.series, _COUNT)
_OUTBOX = _by(outbox.c.device, _COUNT, func.min(outbox.c.time))
_DROP_OUTBOX = Statement(
    # The newest row of all stays, whose ever it is: ids only grow.
    delete(outbox).where(
        (outbox.c.device == bindparam("device")) & (outbox.c.id < select(func.max(outbox.c.id)).scalar_subquery())
    ),
    ("device",),
)
_CURSORS = Statement(select(cursors.c.device, cursors.c.target, cursors.c.sent).order_by(cursors.c.target))
_BEHIND = Statement(
    select(_COUNT, func.min(outbox.c.time)).where(
        (outbox.c.device == bindparam("device")) & (outbox.c.id > bindparam("sent"))
    ),
    ("device", "sent"),
)
_UNSEALED = Statement(
    select(func.count(distinct(samples.c.series * literal_column("1000000") + samples.c.bucket // _BUCKETS_A_DAY)))
    .where(samples.c.bucket < bindparam("bucket")),
    ("bucket",),
)  # fmt: skip
_OLD_BLOCKS = Statement(
    select(func.sum(blocks.c.count), func.min(blocks.c.day)).where(blocks.c.day < bindparam("day")), ("day",)
)
_OLD_ROWS = Statement(
    select(_COUNT, func.min(samples.c.bucket)).where(samples.c.bucket < bindparam("bucket")), ("bucket",)
)


def stats(database: Database, now: int | None = None) -> dict[str, Any]:
    """What a history holds, in numbers; sizes in bytes, times in ISO. Raises StoreError.

    Samples are counted by what the blocks say of themselves: `check` tells whether that is true.
    """
    now = wall_clock() if now is None else now
    session = database.session()
    try:
        with session.reading():
            series = _series(session)
            found: dict[str, Any] = {"store": database.name, **_kind(database, session), "schema": VERSION}
            found |= size(database, session)
            rows, sealed, length = (sum(one[key] for one in series) for key in ("rows", "sealed", "_bytes"))
            found["samples"] = rows + sealed
            found |= {"rows": rows, "sealed": sealed, "blocks": sum(one["blocks"] for one in series)}
            found |= _quotient("bytes_per_sealed_sample", length, sealed)
            found["rollups"] = sum(one["rollups"] for one in series)
            [(found["events"],)] = session.run(_rows(events))
            [(found["damaged"],)] = session.run(_rows(damaged))
            found["outbox"] = _outbox(session, now)
            found["series"] = [{key: one[key] for key in one if key[0] != "_"} for one in series]
    finally:
        session.close()
    return found


def _kind(database: Database, session: Session) -> dict[str, str]:
    if database.sqlite:
        return {"database": f"SQLite {sqlite3.sqlite_version}"}
    [(version,)] = session.run(Statement(text("SHOW server_version")))
    return {"database": f"PostgreSQL {version}"}


def size(database: Database, session: Session) -> dict[str, int]:
    """How much room it takes, in bytes. In a transaction of the session. Raises StoreError."""
    path = database.path
    if path is None:
        names = ", ".join(f"('{name}')" for name in metadata.tables)
        sizes = f"SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0) FROM (VALUES {names}) AS t(name)"  # noqa: S608
        return {"bytes": int(session.run(Statement(text(sizes)))[0][0])}
    [(free,)], [(page,)] = (session.run(Statement(text(f"PRAGMA {name}"))) for name in ("freelist_count", "page_size"))
    log = path.with_name(f"{path.name}-wal")
    return {
        "bytes": path.stat().st_size,
        "wal_bytes": log.stat().st_size if log.exists() else 0,
        "free_bytes": int(free) * int(page),
    }


def _series(session: Session) -> list[dict[str, Any]]:
    loose, sealed, rolled, growing, broken = (
        {row[0]: row[1:] for row in session.run(statement)}
        for statement in (_LOOSE, _SEALED, _ROLLED, _CURRENT, _DAMAGED)
    )
    known = View(session).series()
    # What belongs to no series is counted, too; `check` tells of it.
    lost = {number: Series("", "", f"series {number}") for number in {*loose, *sealed, *rolled, *growing} - {*known}}
    found = []
    for number, one in sorted((known | lost).items(), key=lambda item: (item[1].site, item[1].device, item[0])):
        rows, *_ = loose.get(number, (0,))
        count, inside, length, *_ = sealed.get(number, (0, 0, 0))
        about: dict[str, Any] = {
            "site": one.site, "device": one.device, "key": one.key, "unit": one.unit, "label": one.label,
            "kind": "counter" if one.counter else "gauge", "samples": rows + int(inside), "rows": rows,
            "sealed": int(inside), "blocks": count, "_bytes": int(length),
            **_quotient("bytes_per_sealed_sample", int(length), int(inside)),
            "rollups": rolled.get(number, (0,))[0] + (number in growing), "damaged": broken.get(number, (0,))[0],
        }  # fmt: skip
        buckets = [*rolled.get(number, (0,))[1:], *growing.get(number, ())[:1]]
        if buckets:
            about["missing_hours"] = (max(buckets) - min(buckets) + 1 - about["rollups"]) * BUCKET / 3_600_000
        ends = _ends(session, number, loose.get(number), sealed.get(number))
        if ends is not None:
            about |= {"first": times.iso_ms(ends[0]), "last": times.iso_ms(ends[1])}
        if buckets and (ends is None or min(buckets) < ends[0] // BUCKET):
            about["rolled_up_since"] = times.iso(min(buckets) * BUCKET)
        found.append(about)
    return found


def _ends(
    session: Session, number: int, loose: tuple[Any, ...] | None, sealed: tuple[Any, ...] | None
) -> tuple[int, int] | None:
    """The times of the first and of the last sample that are kept; None where none are."""
    found = [] if loose is None else [int(loose[1]), int(loose[2])]
    for day in () if sealed is None else sorted({int(sealed[-2]), int(sealed[-1])}):
        found += _day(session, number, day) or [day * DAY]
    return (min(found), max(found)) if found else None


def _day(session: Session, number: int, day: int) -> list[int]:
    """The times that are sealed of a day; none where its block cannot be read."""
    try:
        return [when for (data,) in session.run(sql.BLOCK, number, day) for when in block.decode(data).times]
    except block.BlockError:
        return []


def _outbox(session: Session, now: int) -> list[dict[str, Any]]:
    """For each device what its outbox holds, and how far behind each target is."""
    owners = {row[0]: row[1:] for row in session.run(sql.ALL_DEVICES)}
    targets: dict[int, list[dict[str, Any]]] = {}
    for device, name, sent in session.run(_CURSORS):
        [(behind, oldest)] = session.run(_BEHIND, device, sent)
        targets.setdefault(device, []).append({"target": name, "rows": behind, **_since(oldest, now)})
    waiting = {row[0]: row[1:] for row in session.run(_OUTBOX)}
    found = []
    for device in sorted({*waiting, *targets}):
        site, name = owners.get(device, ("", f"device {device}"))
        rows, oldest = waiting.get(device, (0, None))
        about = {"site": site, "device": name, "rows": rows, **_since(oldest, now)}
        found.append({**about, "targets": targets.get(device, [])})
    return found


def _since(oldest: int | None, now: int) -> dict[str, Any]:
    return {} if oldest is None else {"oldest": times.iso(int(oldest)), "age": (now - int(oldest)) / 1000}


def _quotient(name: str, whole: int, parts: int) -> dict[str, float]:
    return {name: round(whole / parts, 2)} if parts else {}


# Making it smaller


def forgettable(database: Database, days: int, now: int) -> tuple[int, int, int]:
    """How many raw samples are older than so many days, the first day that has some, and the first that is kept.

    Raises StoreError.
    """
    first = day_of(now) - days
    session = database.session()
    try:
        with session.reading():
            [(sealed, oldest)] = session.run(_OLD_BLOCKS, first)
            [(loose, bucket)] = session.run(_OLD_ROWS, first * BUCKETS_A_DAY)
    finally:
        session.close()
    begins = [first, *([int(oldest)] if sealed else []), *([int(bucket) // BUCKETS_A_DAY] if loose else [])]
    return int(sealed or 0) + int(loose), min(begins), first


def forget(store: Store, days: int, progress: Progress) -> int:
    """Drop all raw samples that are older than so many days; on how many days there were some. Raises StoreError."""
    done = 0
    whole = forgettable(store.database, days, store.now())
    while store.forget(days):
        done += 1
        progress("forgetting", min(done, whole[2] - whole[1]), whole[2] - whole[1])
    return done


def waiting(database: Database, site: str, device: str) -> tuple[int, int]:
    """How many rows the outbox of a device has, and how many of them some target lacks.

    Raises CommandError where there is no such device, and StoreError.
    """
    session = database.session()
    try:
        with session.reading():
            number = _device(session, site, device)
            rows = next((int(row[1]) for row in session.run(_OUTBOX) if row[0] == number), 0)
            return rows, int(session.run(sql.UNSENT_ROWS, number, number)[0][0])
    finally:
        session.close()


def drop_outbox(store: Store, site: str, device: str) -> int:
    """Drop what waits to be forwarded; the samples themselves stay. How many rows. Raises CommandError, StoreError."""
    with store.session.writing():
        return store.session.changed(_DROP_OUTBOX, _device(store.session, site, device))


def _device(session: Session, site: str, device: str) -> int:
    for (number,) in session.run(sql.FIND_DEVICE, site, device):
        return int(number)
    known = ", ".join(f"{row[1]}/{row[2]}" for row in session.run(sql.ALL_DEVICES)) or "none"
    raise CommandError(Code.FAILED, f"there is no device {site}/{device} here; there is {known}")


def seal(store: Store, progress: Progress) -> int:
    """Seal all finished days, a day of a series at a time; how many. Raises StoreError."""
    with store.session.reading():
        [(whole,)] = store.session.run(_UNSEALED, day_of(store.now() - BUCKET) * BUCKETS_A_DAY)
    done = 0
    while store.seal():
        done += 1
        progress("sealing", min(done, whole), whole)
    return done


def compact(database: Database) -> None:
    """Give free pages back to the disk. Raises CommandError where there is no room to do it, and StoreError."""
    if database.path is not None:
        _compact_file(database.path, database.name)
        return
    try:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for name in metadata.tables:
                connection.exec_driver_sql(f"VACUUM (ANALYZE) {name}")
    except SQLAlchemyError as error:
        text_ = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise StoreError(Trouble.REFUSES, f"{database.name}: {text_}") from error


def _compact_file(path: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as connection:
            pages, free, page = (
                connection.execute(f"PRAGMA {what}").fetchone()[0]
                for what in ("page_count", "freelist_count", "page_size")
            )
            _require_room(path, (pages - free) * page)
            connection.execute("VACUUM")
            # Until then the new content is in the log, and the file as long as it was.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StoreError(Trouble.REFUSES, f"{name}: {error}") from error


def _require_room(path: Path, needed: int) -> None:
    """SQLite writes the new content first to a temporary file and then to the log, which lies beside the file."""
    wanted: dict[int, tuple[Path, int]] = {}
    for folder in (path.absolute().parent, _temporary()):
        device = folder.stat().st_dev
        wanted[device] = wanted.get(device, (folder, 0))[0], wanted.get(device, (folder, 0))[1] + needed
    for folder, bytes_ in wanted.values():
        found = os.statvfs(folder)
        if found.f_bavail * found.f_frsize < bytes_:
            raise CommandError(
                Code.FAILED,
                f"{path}: to make it smaller takes {megabytes(bytes_)} of free space in {folder} for a while, and there"
                f" are {megabytes(found.f_bavail * found.f_frsize)}; make room, or set SQLITE_TMPDIR to a folder on"
                " another disk. The history is as usable as before",
            )


def _temporary() -> Path:
    """Where SQLite puts temporary files."""
    named = [folder for name in ("SQLITE_TMPDIR", "TMPDIR") if (folder := os.environ.get(name))]
    usual = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108
    usable = (
        Path(folder) for folder in (*named, *usual) if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
    )
    return next(usable, Path())


def megabytes(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
