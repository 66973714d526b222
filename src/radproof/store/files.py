# SPDX-License-Identifier: Apache-2.0
"""Uploaded files by the hash of what they hold, in a folder or in an fsspec store; whole or not there at all."""

import os
import re
import secrets
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from sqlalchemy import Double, case, cast, event, func, select, text
from sqlalchemy.orm import Session

from radproof.core.files import sha256_file
from radproof.store.incoming import DAY, Incoming, Staged, TooLarge
from radproof.store.places import place_of
from radproof.store.plain import copy_plain
from radproof.store.settings import MEGABYTE, Settings
from radproof.store.tables import DataSet, File, Model, Run

__all__ = ["Files", "Incoming", "Staged", "TooLarge"]
_TOLD = ((Model, Model.facts), (DataSet, DataSet.facts), (Run, Run.summary))  # where rows say how large they are
_MOST = 1e15  # bytes that one row is believed
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Files:
    """Where they are. What is uploaded waits in home/uploads until `keep` gives it its place."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._place = place_of(settings)
        self._arriving: dict[str, int] = {}  # bytes of each project's uploads that have not ended
        self._lock = Lock()

    @contextmanager
    def incoming(self, *, most: int, project: str = "", used: int = 0) -> Generator[Incoming]:
        """A file that is about to come: `most` bytes of it, in a project that keeps `used` already.

        Raises TooLarge while it is written, as soon as it is too large by itself or for the project's quota, and
        StorageFull. What was not handed to `keep` by the end is gone.
        """
        folder = self.settings.folder("uploads")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(folder)
        room = self.settings.quota_megabytes * MEGABYTE - used
        one = Incoming(folder, most=most, room=room, used=used, arrived=lambda size: self._arrived(project, size))
        try:
            yield one
        finally:
            one.discard()
            self._arrived(project, -one.size)

    def put(self, stream: BinaryIO, *, most: int) -> str:
        """Keep all of a stream; the sha256 of what it held."""
        with self.incoming(most=most) as one:
            while piece := stream.read(MEGABYTE):
                one.write(piece)
            staged = one.finish()
            self.keep(staged)
        return staged.sha256

    def keep(self, staged: Staged) -> None:
        """Give an upload its place, unless a file with the same bytes has it. Call it again within the transaction."""
        if not self._place.has(staged.sha256):
            self._place.take(staged.path, staged.sha256)

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        return self._place.has(_checked(sha256))

    def local(self, sha256: str) -> Path:
        """The file itself; one of a remote store is fetched, and checked against its hash. Raises UnknownName."""
        return self._place.local(_checked(sha256))

    def fetch(self, sha256: str, target: Path) -> None:
        """A copy of its own, which is checked where it comes from a remote store. Raises UnknownName, RadproofError."""
        self._place.fetch(_checked(sha256), target)

    def put_back(self, path: Path) -> int:
        """Give a backup's copy, which is called by its hash, its place again: a copy of it, the backup stays its own.

        Its bytes; -1 where it is a link, or holds other ones than its name says.
        """
        if _SHA256.fullmatch(path.name) is None:
            return -1
        staged = self.settings.folder("uploads", secrets.token_hex(16))
        try:
            size = copy_plain(path, staged)
            if size < 0 or sha256_file(staged) != path.name:
                return -1
            if not self._place.has(path.name):
                self._place.take(staged, path.name)
            return size
        finally:
            staged.unlink(missing_ok=True)

    def lock(self, session: Session) -> None:
        """Until the transaction ends nobody else adds or removes files. SQLite has one writer anyway."""
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("select pg_advisory_xact_lock(7238)"))

    def forget(self, session: Session, file: File) -> None:
        """Remove a row, and its bytes once the transaction is through and no other row names them."""
        sha256, bind = _checked(file.sha256), session.get_bind()
        session.delete(file)

        def sweep(_: Session) -> None:
            with Session(bind) as other:
                other.connection(execution_options={"writes": True})
                self.lock(other)
                if not other.scalar(select(func.count()).select_from(File).where(File.sha256 == sha256)):
                    self._place.remove(sha256)
                other.commit()

        event.listen(session, "after_commit", sweep, once=True)

    def used(self, session: Session, project: str) -> int:
        """Bytes that a project keeps: uploads, models and data sets as they were imported, and runs that are over."""
        return self.used_by(session, [project])[project]

    def used_by(self, session: Session, projects: Sequence[str]) -> dict[str, int]:
        """The same of several projects."""
        total = dict.fromkeys(projects, 0)
        sizes = [
            (File, cast(File.size, Double)),
            *((kind, cast(told["bytes"].as_string(), Double)) for kind, told in _TOLD),
        ]
        for kind, told in sizes:
            size = case((told > _MOST, _MOST), (told > 0, told), else_=0.0)  # sums of such never overflow
            asked = select(kind.project_id, func.sum(size)).where(kind.project_id.in_(projects))
            for project, found in session.execute(asked.group_by(kind.project_id)):
                total[project] += int(found or 0)
        return total

    def _arrived(self, project: str, size: int) -> int:
        with self._lock:
            self._arriving[project] = total = max(0, self._arriving.get(project, 0) + size)
            if not total:
                del self._arriving[project]
        return total


def _checked(sha256: str) -> str:
    if _SHA256.fullmatch(sha256) is None:
        raise ValueError("files are named by their sha256")
    return sha256


def _sweep(folder: Path) -> None:
    """What a killed server left half-way, a day later."""
    before = time.time() - DAY
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < before:
                    Path(entry.path).unlink() if not entry.is_dir(follow_symlinks=False) else shutil.rmtree(entry.path)
