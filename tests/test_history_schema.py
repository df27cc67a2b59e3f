# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables: made once, brought up to date, left alone where they are of a later version."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy
from histories import Clock
from served import in_threads
from sqlalchemy import Connection, inspect, text

from rockit.history import schema
from rockit.history.database import Database, StoreError, Trouble, parsed
from rockit.history.model import DAY, Samples, Series
from rockit.history.query import Reader
from rockit.history.store import Store

WATER = Series("clasp", "chiller", "water_temp", "degC")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(request.getfixturevalue("postgresql")) if request.param == "postgresql" else f"sqlite:///{tmp_path}/h.db"


def filled(url: str) -> None:
    with Store(url, Clock(DAY)) as store:
        store.merge(WATER, Samples([1000, 2000], [11.5, 11.6]))


def values(url: str) -> list[float]:
    database = Database(url)
    with Reader(database).view() as view:
        found = view.samples(1, 0, DAY).values
    database.close()
    return found


def test_an_older_history_is_brought_up_to_date_and_loses_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(url)
    steps: list[int] = []

    def second(connection: Connection) -> None:
        steps.append(2)
        connection.execute(text("ALTER TABLE series ADD COLUMN note TEXT"))

    def third(connection: Connection) -> None:
        steps.append(3)
        connection.execute(text("UPDATE series SET note = 'from version 2'"))

    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: second, 2: third})
    for _ in range(2):
        with Store(url, Clock(DAY)) as store, store.database.engine.begin() as connection:
            assert connection.execute(text("SELECT note FROM series")).scalar() == "from version 2"
            assert connection.execute(text("SELECT value FROM about WHERE name = 'version'")).scalar() == "3"
    assert steps == [2, 3], "each step once"
    assert values(url) == [11.5, 11.6]


def test_a_step_that_fails_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(url)

    def broken(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE series ADD COLUMN note TEXT"))
        connection.execute(text("UPDATE no_such_table SET x = 1"))

    monkeypatch.setattr(schema, "VERSION", 2)
    monkeypatch.setattr(schema, "MIGRATIONS", {1: broken})
    with pytest.raises(StoreError, match="no_such_table"):
        Store(url, Clock(DAY))
    monkeypatch.undo()
    engine = sqlalchemy.create_engine(url)
    assert "note" not in {column["name"] for column in inspect(engine).get_columns("series")}
    engine.dispose()
    filled(url)
    assert values(url) == [11.5, 11.6]


TABLES = {
    "another table": "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
    "a table about, another one": "CREATE TABLE about (author TEXT)",
    "the same columns": "CREATE TABLE about (name TEXT, value TEXT)",
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_file_of_another_program_stays_as_it_is(tmp_path: Path, table: str) -> None:
    path = tmp_path / "orders.sqlite"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text(table))
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"it is another program's: it has a table '(orders|about)'") as caught:
        Store(f"sqlite:///{path}")
    assert caught.value.trouble is Trouble.REFUSES, "and nothing is set aside"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_server_may_have_tables_of_others_but_not_of_our_names(postgresql: str) -> None:
    engine = sqlalchemy.create_engine(postgresql)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (name TEXT)"))
    with pytest.raises(StoreError, match="it has a table 'events' that is not that of a history"):
        Store(postgresql)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE events RENAME TO orders"))
    engine.dispose()
    filled(postgresql)
    assert values(postgresql) == [11.5, 11.6]


def test_who_asks_makes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "100 % of #1.sqlite"
    filled(f"sqlite:///{path}")
    asking = Database(f"sqlite:///{path}", make=False)
    with Reader(asking).view() as view:
        assert view.samples(1, 0, DAY).values == [11.5, 11.6]
    asking.close()
    path.unlink()
    with pytest.raises(StoreError, match="unable to open database file"):
        asking.session()
    assert list(tmp_path.iterdir()) == []


def test_a_later_version_is_left_alone(url: str) -> None:
    filled(url)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE about SET value = '7'"))
    engine.dispose()
    with pytest.raises(StoreError, match="its tables have version 7; this software knows versions up to 1") as caught:
        Store(url, Clock(DAY))
    assert caught.value.trouble is Trouble.REFUSES, "and is no reason to set the file aside"
    assert values(url) == [11.5, 11.6]


def test_many_daemons_may_begin_one_history_at_once(url: str) -> None:
    def begin(index: int) -> int:
        with Store(url, Clock(DAY)) as store:
            return store.merge(Series("clasp", f"chiller{index}", "water_temp"), Samples([1000], [1.0]))

    assert in_threads(6, begin) == [1] * 6
    with Store(url, Clock(DAY)) as store:
        assert len(store.series()) == 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("sqlite://", "needs a file"), ("sqlite:///:memory:", "needs a file"), ("mysql://h/x", "mysql is not known"),
        ("postgresql://h/x", "postgresql is not known"), ("/var/lib/x", "that is no database URL"),
        ("", "that is no database URL"),
    ],
)  # fmt: skip
def test_a_url_that_is_none_of_ours_says_what_there_is(wrong: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(wrong)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in Database("postgresql+psycopg://rockit:secret@192.0.2.1/x").name


def test_what_is_synchronised_and_shared_is_what_was_promised(tmp_path: Path) -> None:
    """WAL, FULL: what was committed survives a power cut."""
    with Store(f"sqlite:///{tmp_path}/h.sqlite", Clock(DAY)) as store, store.session.writing():
        cursor = store.session._cursor
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert cursor.execute("PRAGMA synchronous").fetchone() == (2,)


def test_after_the_end_the_file_alone_is_the_whole_history(tmp_path: Path) -> None:
    """Also while somebody else had it open; and nobody but its group may read it."""
    path = tmp_path / "h.sqlite"
    store = Store(f"sqlite:///{path}", Clock(DAY))
    reader = Reader(Database(f"sqlite:///{path}"))
    with reader.view() as view:
        assert view.series() == {}
    store.merge(WATER, Samples([1000, 2000], [11.5, 11.6]))
    store.close()
    copy = tmp_path / "copy.sqlite"
    copy.write_bytes(path.read_bytes())
    assert values(f"sqlite:///{copy}") == [11.5, 11.6]
    assert path.stat().st_mode & 0o777 == 0o640
    reader.database.close()
