# SPDX-License-Identifier: Apache-2.0
"""A new home's database with the schema in it: the migrations run once per process, and copies are made of that.

SQLite, or with RADPROOF_TEST_DATABASE=postgresql a database of its own on a server of the tests' own.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
from sqlalchemy import Connection, text
from tests.store.cluster import Cluster, running

from radproof.jobs.waiting import Waiting
from radproof.store.database import Database

WANTED = "RADPROOF_TEST_DATABASE"
TEMPLATE = "radproof_template"
_NUMBERS = count(1)


def on_postgresql() -> bool:
    """Whether the tests are to run there."""
    return os.environ.get(WANTED, "sqlite") == "postgresql"


@contextmanager
def fresh(home: Path) -> Generator[str]:
    """What `Settings.database` is to be for a new `home`; close all that uses it before this ends."""
    if on_postgresql():
        with on_server() as url:
            yield url
        return
    home.mkdir(parents=True, exist_ok=True)
    for made in _migrated().iterdir():
        shutil.copyfile(made, home / made.name)
    yield ""


@contextmanager
def migrated(home: Path) -> Generator[Database]:
    """The same, opened."""
    with fresh(home) as url:
        made = Database(url or f"sqlite:///{home / 'radproof.db'}")
        try:
            yield made
        finally:
            made.close()


@contextmanager
def blank(home: Path) -> Generator[str]:
    """The URL of a database with nothing in it."""
    if on_postgresql():
        with on_server("template1") as url:
            yield url
        return
    yield f"sqlite:///{home / 'radproof.db'}"


def unlocked(connection: Connection) -> None:
    """Without the triggers that refuse changes of the trail."""
    if connection.dialect.name == "sqlite":
        for verb in ("update", "delete"):
            connection.execute(text(f"drop trigger events_no_{verb}"))
        return
    for verb in ("change", "truncate"):
        connection.execute(text(f"drop trigger events_no_{verb} on events"))


@contextmanager
def on_server(template: str = TEMPLATE) -> Generator[str]:
    """The URL of a database of its own on PostgreSQL. Skips where there is none."""
    cluster, name = _cluster(), f"radproof_{next(_NUMBERS)}"
    _order(cluster, f"create database {name} template {template}")
    try:
        yield cluster.at(name)
    finally:
        _order(cluster, f"drop database {name} with (force)")


@cache
def _migrated() -> Path:
    """A folder with both of SQLite's files as a new server makes them."""
    folder = Path(tempfile.mkdtemp(prefix="radproof-fresh-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _make(f"sqlite:///{folder / 'radproof.db'}", f"sqlite:///{folder / 'jobs.db'}")
    return folder


@cache
def _cluster() -> Cluster:
    """It runs until the process ends."""
    stack = ExitStack()
    made = stack.enter_context(running())
    atexit.register(stack.close)
    _order(made, f"create database {TEMPLATE}")
    _make(made.at(TEMPLATE), made.at(TEMPLATE))
    return made


def _make(tables: str, jobs: str) -> None:
    database = Database(tables)
    database.migrate()
    database.close()
    Waiting(jobs).close()


def _order(cluster: Cluster, words: str) -> None:
    with psycopg.connect(cluster.url, autocommit=True) as connection:
        connection.execute(words)  # pyright: ignore[reportArgumentType]
