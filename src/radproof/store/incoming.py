# SPDX-License-Identifier: Apache-2.0
"""A file while it comes: counted, hashed, never larger than it may be, and gone unless it is kept."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from radproof.errors import BadInput, StorageFull
from radproof.store.settings import MEGABYTE

DAY = 86_400.0  # seconds
RESERVE = 512 * MEGABYTE  # bytes of the disk that stay free
_LOOK = 16 * MEGABYTE  # bytes between looks at the disk
FULL = "the server's disk is full; nothing of the upload was kept: ask its operator to free some space"


class TooLarge(BadInput):
    """More bytes than one file, or one project, may hold."""

    http_status = 413


@dataclass(frozen=True)
class Staged:
    """An upload that came whole and waits for its place."""

    path: Path
    sha256: str
    size: int
    suffix: str = ""  # of the fixed list of api.contents, told by its content


class Incoming:
    """One of them. `arrived` is told of every byte, and answers with what the project's uploads hold together."""

    def __init__(self, folder: Path, *, most: int, room: int, used: int, arrived: Callable[[int], int]) -> None:
        self.size = 0
        self._most, self._room, self._used, self._arrived = most, room, used, arrived
        self._path = folder / secrets.token_hex(16)
        self._sum = hashlib.sha256()
        self._look = 0
        self._check_disk()
        try:
            self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", MEGABYTE)
        except OSError as error:
            raise _told(error) from None

    def write(self, piece: bytes) -> None:
        """Raises TooLarge or StorageFull before a byte too many is written."""
        if self.size + len(piece) > self._most:
            raise TooLarge(f"the file is larger than {_megabytes(self._most)}, which is what one may hold here")
        self.size += len(piece)
        if self._arrived(len(piece)) > self._room:
            left = _megabytes(max(0, self._room))
            raise TooLarge(
                f"the project keeps {_megabytes(self._used)} already and has room for {left} more; remove what is no "
                "longer needed, or ask for a larger quota"
            )
        if self.size - self._look >= _LOOK:
            self._check_disk()
        self._sum.update(piece)
        try:
            self._file.write(piece)
        except OSError as error:
            raise _told(error) from None

    def finish(self, suffix: str = "") -> Staged:
        """All of it is there, and on the disk."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _told(error) from None
        return Staged(self._path, self._sum.hexdigest(), self.size, suffix)

    def discard(self) -> None:
        """Remove what was not kept."""
        try:
            self._file.close()
        except OSError:  # what could not be written is not wanted either
            pass
        finally:
            self._path.unlink(missing_ok=True)

    def _check_disk(self) -> None:
        self._look = self.size
        if shutil.disk_usage(self._path.parent).free < RESERVE:
            raise StorageFull(FULL)


def _told(error: OSError) -> OSError | StorageFull:
    return StorageFull(FULL) if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else error


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.0f} MB" if size >= 10 * MEGABYTE or size == 0 else f"{size / MEGABYTE:,.2f} MB"
