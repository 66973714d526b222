# SPDX-License-Identifier: Apache-2.0
"""A copy of a server's home while it works: databases as of one moment each, then the files that they name."""

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from radproof.core.files import atomic
from radproof.errors import BadInput
from radproof.store.database import Database
from radproof.store.settings import Settings
from radproof.store.trail import Trail

DATABASES = ("radproof.db", "jobs.db")
FOLDERS = ("blobs", "models", "data", "runs", "guards", "plans")
PAGES = 1000  # of a database that are copied before writers get their turn


@dataclass(frozen=True)
class Copied:
    """What a backup holds."""

    databases: int
    files: int
    size: int  # bytes
    told: bool  # in the audit trail


def backup(settings: Settings, out: Path, *, files: bool = True) -> Copied:
    """Copy databases, secret and files into a new folder, which only the owner can read.

    Raises BadInput for PostgreSQL, a home that is none, and a folder that holds something.
    """
    if settings.database:
        raise BadInput("this server keeps its data in another database; back that up with pg_dump, then copy the home")
    home = settings.home.resolve()
    if not (home / DATABASES[0]).is_file():
        raise BadInput(f"no server has its home in {settings.home}; give --home")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out} holds something already; name a new folder")
    if home in (out.resolve(), *out.resolve().parents):
        raise BadInput("the backup would lie within what it copies; name a folder elsewhere")
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o700)
    told = _tell(settings, files)  # first, so that the copy tells of itself
    databases = [name for name in DATABASES if (home / name).is_file()]
    for name in databases:  # first: a file that a row names was there before the row
        _copy_database(home / name, out / name)
    if (home / "secret").is_file():
        shutil.copy2(home / "secret", out / "secret")
    copied = [_copy_file(path, home, out) for name in FOLDERS for path in _below(home / name)] if files else []
    size = sum(one for one in copied if one >= 0) + sum((out / name).stat().st_size for name in databases)
    return Copied(len(databases), sum(one >= 0 for one in copied), size, told)


def _tell(settings: Settings, files: bool) -> bool:
    """That everything was copied, in the trail. A full disk is a reason for a backup, not against it."""
    database = Database(settings.database_url)
    try:
        with database.writing() as session:
            Trail(database).add(session, "server.backup", files=files)
    except SQLAlchemyError:
        return False
    finally:
        database.close()
    return True


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's online backup: whole, though others write meanwhile."""
    with (
        atomic(target) as temporary,
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(temporary)) as new,
    ):
        old.backup(new, pages=PAGES)


def _below(folder: Path) -> list[Path]:
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def _copy_file(path: Path, home: Path, out: Path) -> int:
    """Its bytes; -1 for one that went meanwhile or is a link."""
    target = out / path.relative_to(home)
    try:
        if path.is_symlink():
            return -1
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
        return target.stat().st_size
    except FileNotFoundError:
        return -1
