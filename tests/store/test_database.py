# SPDX-License-Identifier: Apache-2.0
"""The database: its schema is the tables', readers cannot write, writers queue."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text
from tests.store.fresh import blank, migrated

from radproof.errors import BadInput
from radproof.store.database import Database
from radproof.store.ids import new_id
from radproof.store.tables import Base, Project, User


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with migrated(tmp_path) as made:
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Callable[[], Database]]:
    """Opens a database without any table, each time the same one."""
    opened: list[Database] = []
    with blank(tmp_path) as url:

        def one() -> Database:
            opened.append(Database(url))
            return opened[-1]

        yield one
        for made in opened:
            made.close()


def test_the_migrations_make_the_tables_of_the_code(empty: Callable[[], Database]) -> None:
    database = empty()
    database.migrate()
    with database.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    assert found == []


def test_a_missing_column_would_be_noticed(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("alter table models drop column fingerprint"))
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) != []


def test_it_is_ready_only_with_this_versions_schema(empty: Callable[[], Database]) -> None:
    made = empty()
    assert not made.ready()
    made.migrate()
    assert made.ready()


def test_a_database_of_a_later_version_is_refused(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(BadInput, match="later version"):
        database.migrate()
    assert not database.ready()


def test_servers_and_workers_that_start_together_all_find_the_schema(empty: Callable[[], Database]) -> None:
    start, errors = Barrier(4), list[BaseException]()

    def begin() -> None:
        made = empty()
        start.wait()
        try:
            made.migrate()
            assert made.ready()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=begin) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert errors == []


def test_a_failed_migration_leaves_nothing(empty: Callable[[], Database], monkeypatch: pytest.MonkeyPatch) -> None:
    made = empty()
    from alembic import command

    real = command.upgrade

    def broken(*arguments: object) -> None:
        real(*arguments)  # pyright: ignore[reportArgumentType]
        raise OSError("the machine stopped")

    monkeypatch.setattr(command, "upgrade", broken)
    with pytest.raises(OSError, match="stopped"):
        made.migrate()
    with made.engine.connect() as connection:
        assert inspect(connection).get_table_names() == []


def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(RuntimeError, match="reading session"), database.reading() as session:
        session.add(Project(id=new_id("prj"), name="p"))
        session.flush()


def test_readers_see_one_moment(database: Database) -> None:
    with database.reading() as session:
        assert session.execute(select(Project)).first() is None
        with database.writing() as other:
            other.add(Project(id=new_id("prj"), name="p"))
        assert session.execute(select(Project)).first() is None
    with database.reading() as session:
        assert session.execute(select(Project)).first() is not None


def test_what_fails_half_way_leaves_nothing(database: Database) -> None:
    with pytest.raises(ValueError, match="stop"), database.writing() as session:
        session.add(Project(id=new_id("prj"), name="p"))
        session.flush()
        raise ValueError("stop")
    with database.reading() as session:
        assert session.execute(select(Project)).first() is None


def test_writers_that_read_first_do_not_lose_updates(database: Database) -> None:
    """Each reads, then writes one more: else SQLite refuses some, and with PostgreSQL one overwrites another."""
    user = new_id("usr")
    with database.writing() as session:
        session.add(User(id=user, name="0"))
    start, errors = Barrier(4), list[BaseException]()

    def count() -> None:
        start.wait()
        try:
            for _ in range(10):
                with database.writing() as session:
                    found = session.get(User, user)
                    assert found is not None
                    found.name = str(int(found.name) + 1)
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=count) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with database.reading() as session:
        found = session.get(User, user)
    assert errors == []
    assert found is not None
    assert found.name == "40"


def test_other_engines_are_refused() -> None:
    with pytest.raises(BadInput, match="SQLite or PostgreSQL"):
        Database("mysql://u:p@h/d")
