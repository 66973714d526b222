# SPDX-License-Identifier: Apache-2.0
"""One engine for SQLite and PostgreSQL: short transactions, and a schema that Alembic brings up to date."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from radproof.errors import BadInput

BUSY = 10_000  # milliseconds that a writer waits for another
# SQLite's order of writers, until the transaction ends; one whose machine was lost in it holds the others up a minute.
_ALONE = text("select pg_advisory_xact_lock(7235), set_config('idle_in_transaction_session_timeout', '60000', true)")


class Database:
    """Where everything but files is kept."""

    def __init__(self, url: str) -> None:
        self.url = _driver(url)
        self.engine = _engine(self.url)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        still = {"isolation_level": "REPEATABLE READ"} if self.engine.dialect.name == "postgresql" else {}
        self._views = sessionmaker(self.engine.execution_options(**still), expire_on_commit=False)

    @contextmanager
    def reading(self) -> Generator[Session]:
        """One view of the database at one moment; nothing can be written in it."""
        with self._views() as session:
            event.listen(session, "before_flush", _refuse)
            yield session

    @contextmanager
    def writing(self) -> Generator[Session]:
        """One transaction: all of it or nothing. Keep it short: there is one writer at a time.

        So what is read in it stays true until it ends, with SQLite and PostgreSQL alike.
        """
        with self._sessions() as session:
            session.connection(execution_options={"writes": True})
            if self.engine.dialect.name == "postgresql":
                session.execute(_ALONE)
            yield session
            session.commit()

    def migrate(self) -> None:
        """Bring the schema to this version's. Raises BadInput for a database of a later version."""
        with self.engine.execution_options(writes=True).begin() as connection:  # those that start together queue
            if self.engine.dialect.name == "postgresql":
                connection.execute(text("select pg_advisory_xact_lock(7236)"))
            found = MigrationContext.configure(connection).get_current_revision()
            if found == _head():
                return
            config = _config()
            config.attributes["connection"] = connection
            script = ScriptDirectory.from_config(config)
            if found is not None and found not in {one.revision for one in script.walk_revisions()}:
                raise BadInput("the database was made by a later version of radproof; upgrade the server")
            command.upgrade(config, "head")

    def ready(self) -> bool:
        """Whether it answers, with this version's schema."""
        try:
            with self.engine.connect() as connection:
                return MigrationContext.configure(connection).get_current_revision() == _head()
        except SQLAlchemyError:
            return False

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)


def _engine(url: str) -> Engine:
    told = make_url(url)
    if told.get_backend_name() == "sqlite":
        if told.database:
            Path(told.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(told, connect_args={"timeout": BUSY / 1000, "check_same_thread": False})
        event.listen(engine, "connect", _pragmas)
        event.listen(engine, "begin", _begin)
        return engine
    if told.get_backend_name() != "postgresql":
        raise BadInput(f"the database is SQLite or PostgreSQL, not {told.get_backend_name()}")
    return create_engine(told, pool_pre_ping=True, pool_size=10, max_overflow=20, pool_recycle=1800)


def _pragmas(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # begin is ours, or readers could not become writers in order
    for line in (f"busy_timeout={BUSY}", "foreign_keys=ON", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {line}")
    _write_ahead(connection)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Readers beside one writer. SQLite refuses the switch at once, without waiting, where others make it too."""
    until = monotonic() + BUSY / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > until:
                raise
            sleep(0.01)


def _begin(connection: Connection) -> None:
    """A writer queues at its beginning: a reader that turns into one later is refused at once by SQLite."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _refuse(session: Session, *_: Any) -> None:
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("a reading session was written to")


@cache
def _head() -> str | None:
    """The revision of this version's schema; reading it means running every migration's file."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config
