# SPDX-License-Identifier: Apache-2.0
"""A copy of a server's home while it works: databases as of one moment each, then the files that they name; and back.

Uploads lie in the copy under blobs/, wherever the server keeps them.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from radproof.core.files import atomic
from radproof.errors import BadInput, RadproofError
from radproof.store.database import Database
from radproof.store.files import Files
from radproof.store.plain import copy_plain, make_private, plain_files
from radproof.store.settings import Settings
from radproof.store.trail import Trail

DATABASES = ("radproof.db", "jobs.db")
BLOBS = "blobs"
FOLDERS = (BLOBS, "models", "data", "runs", "guards", "plans")
PAGES = 1000  # of a database that are copied before writers get their turn


@dataclass(frozen=True)
class Copied:
    """What a backup holds."""

    databases: int
    files: int
    size: int  # bytes
    told: bool  # in the audit trail
    missing: int = 0  # uploads that a row names, and the store does not have whole


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
    told = _tell(settings, "server.backup", {"files": files})  # first, so that the copy tells of itself
    databases = [name for name in DATABASES if (home / name).is_file()]
    for name in databases:  # first: a file that a row names was there before the row
        _copy_database(home / name, out / name)
    if (home / "secret").is_file():
        copy_plain((home / "secret").resolve(), out / "secret")
    copied = [_copy_file(path, home, out) for name in FOLDERS for path in plain_files(home / name)] if files else []
    kept = Files(settings)
    fetched = [_fetch(kept, name, out) for name in _uploads(out)] if files and settings.store else []
    sizes = [size for size in (*copied, *fetched) if size >= 0]
    size = sum(sizes) + sum((out / name).stat().st_size for name in databases)
    return Copied(len(databases), len(sizes), size, told, sum(size < 0 for size in fetched))


def restore(settings: Settings, source: Path) -> Copied:
    """Make a new home of a backup; its uploads go where the settings keep them, be that another place than before.

    The databases come last: half a home is none. What others could have put into the backup leads nowhere: links below
    its folders are left out, and everything is a copy that the owner alone can read. Raises BadInput for PostgreSQL, a
    folder that is no backup or has a link in a database's, the secret's or a folder's place, and a home that holds
    something.
    """
    if settings.database:
        raise BadInput(
            "this server keeps its data in another database; restore that with pg_restore, then copy the home"
        )
    home = settings.home.resolve()
    for name in ("secret", *DATABASES, *FOLDERS):
        if (source / name).is_symlink():
            raise BadInput(f"{name} is a link in {source}; expected a folder as `radproof admin backup` made it")
    if not (source / DATABASES[0]).is_file():
        raise BadInput(f"{source} holds no {DATABASES[0]}; expected a folder that `radproof admin backup` made")
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BadInput(f"{settings.home} holds something already; give --home a new folder")
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    kept = Files(settings)
    placed = [kept.put_back(path) for path in _named(source / BLOBS)]
    copied = [
        _copy_file(path, source, home) for name in FOLDERS if name != BLOBS for path in plain_files(source / name)
    ]
    databases = [name for name in reversed(DATABASES) if (source / name).is_file()]
    for name in ("secret", *databases):
        copy_plain(source / name, home / name)
    sizes = [size for size in (*placed, *copied) if size >= 0]
    size = sum(sizes) + sum((home / name).stat().st_size for name in databases)
    told = _tell(settings, "server.restore")
    return Copied(len(databases), len(sizes), size, told, sum(size < 0 for size in placed))


def _tell(settings: Settings, action: str, detail: Mapping[str, Any] | None = None) -> bool:
    """That everything was copied, in the trail. A full disk is a reason for a backup, not against it."""
    database = Database(settings.database_url)
    try:
        with database.writing() as session:
            Trail(database).add(session, action, **(detail or {}))
    except SQLAlchemyError:
        return False
    finally:
        database.close()
    return True


def _uploads(out: Path) -> list[str]:
    """Hashes of the files that the copied database names and that did not lie in the home."""
    with closing(sqlite3.connect(f"{(out / DATABASES[0]).resolve().as_uri()}?mode=ro", uri=True)) as database:
        found = [name for (name,) in database.execute("select distinct sha256 from files order by sha256")]
    return [name for name in found if not _blob(out, name).is_file()]


def _fetch(files: Files, sha256: str, out: Path) -> int:
    """Its bytes; -1 where the store does not have it whole. Raises RadproofError for a store that is away."""
    target = _blob(out, sha256)
    try:
        make_private(target.parent)
        files.fetch(sha256, target)
        return target.stat().st_size
    except RadproofError:
        return -1
    except Exception as error:  # of whatever library reaches the store
        raise RadproofError(f"the store of uploads cannot be read ({type(error).__name__}); try again") from None


def _blob(out: Path, sha256: str) -> Path:
    return out / BLOBS / sha256[:2] / sha256


def _copy_database(source: Path, target: Path) -> None:
    """SQLite's online backup: whole, though others write meanwhile."""
    with (
        atomic(target) as temporary,
        closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
        closing(sqlite3.connect(temporary)) as new,
    ):
        temporary.chmod(0o600)
        old.backup(new, pages=PAGES)


def _named(folder: Path) -> list[Path]:
    """Everything below a folder but folders, links too: they are counted as missing."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def _copy_file(path: Path, home: Path, out: Path) -> int:
    """Its bytes; -1 for one that went meanwhile or is a link."""
    return copy_plain(path, out / path.relative_to(home))
