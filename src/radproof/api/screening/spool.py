# SPDX-License-Identifier: Apache-2.0
"""Private folders in which an image lies as long as it is judged; what a killed server left is removed."""

import fcntl
import os
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from radproof.core.guard_watch import remove

_HELD = "held"  # locked as long as the server that made the folder lives
_YOUNG = 60.0  # seconds in which a folder may not have its lock yet


class Spool:
    """home/screening: one folder per process of this server."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: dict[Path, int] = {}
        self._inbox: Path | None = None
        self._lock, self._first = Lock(), Lock()
        self._sweep()

    def room(self) -> Path:
        """A new folder, for this user alone."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self.root / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        lock = os.open(folder / _HELD, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with self._lock:
            self._locks[folder] = lock
        return folder

    def leave(self, folder: Path) -> None:
        """Remove a room with what lies in it, and let go of its lock; a room that was left already is left so."""
        with self._lock:
            lock = self._locks.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)

    def inbox(self) -> Path:
        """Where images arrive: no process of a model may look there."""
        with self._first:
            self._inbox = self._inbox or self.room()
            return self._inbox

    def close(self) -> None:
        """Let go of the locks."""
        if self._inbox:
            shutil.rmtree(self._inbox, ignore_errors=True)
        with self._lock:
            locks = [*self._locks.values()]
            self._locks.clear()
        for lock in locks:
            os.close(lock)

    def _sweep(self) -> None:
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            with suppress(OSError):
                if _deserted(folder):
                    remove(str(folder))
                    shutil.rmtree(folder, ignore_errors=True)


def _deserted(folder: Path) -> bool:
    try:
        lock = os.open(folder / _HELD, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - folder.stat().st_mtime > _YOUNG
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
