# SPDX-License-Identifier: Apache-2.0
"""Where files lie by their hash: a folder of this machine, or anything that fsspec reaches."""

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from radproof.core.files import atomic, sha256_file
from radproof.errors import BadInput, RadproofError, StorageFull, UnknownName
from radproof.store.incoming import FULL
from radproof.store.plain import make_private
from radproof.store.settings import Settings


class Place(Protocol):
    """All of a file, or nothing of it."""

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        ...

    def take(self, path: Path, sha256: str) -> None:
        """Keep what lies at a path."""
        ...

    def local(self, sha256: str) -> Path:
        """Where it can be read."""
        ...

    def fetch(self, sha256: str, target: Path) -> None:
        """A copy of it, whole; nothing of it is kept besides."""
        ...

    def remove(self, sha256: str) -> None:
        """It need not be there."""
        ...


def place_of(settings: Settings) -> Place:
    """The place that the settings name. Raises BadInput for one that fsspec does not know."""
    if not settings.store:
        return Folder(settings.folder("blobs"))
    import fsspec

    try:
        system, root = fsspec.url_to_fs(settings.store)  # pyright: ignore[reportUnknownMemberType]
    except (ImportError, ValueError) as error:
        why = type(error).__name__
        raise BadInput(f"setting store: {why}; expected a URL that fsspec knows, such as s3://bucket/path") from None
    return Remote(system, str(root), settings.folder("cache"))


class Folder:
    """home/blobs/ab/HASH, readable by the server's user alone."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        return self._path(sha256).is_file()

    def take(self, path: Path, sha256: str) -> None:
        """A second name for the same bytes where they lie on one disk, a copy else; `path` stays as it is."""
        target = self._path(sha256)
        make_private(target.parent)
        try:
            link_or_copy(path, target)
        except StorageFull:
            raise StorageFull(FULL) from None
        _sync(target.parent)

    def local(self, sha256: str) -> Path:
        """Raises UnknownName where it is not there."""
        path = self._path(sha256)
        if not path.is_file():
            raise _gone()
        return path

    def fetch(self, sha256: str, target: Path) -> None:
        """Raises UnknownName where it is not there."""
        with atomic(target) as temporary:
            _copy(self.local(sha256), temporary)

    def remove(self, sha256: str) -> None:
        """It need not be there."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256


class Remote:
    """ROOT/ab/HASH of an fsspec file system; what is needed here is fetched into a folder and checked."""

    def __init__(self, system: Any, root: str, cache: Path) -> None:
        self.system, self.root, self.cache = system, root.rstrip("/"), Folder(cache)

    def has(self, sha256: str) -> bool:
        """Whether it is there."""
        return bool(self.system.isfile(self._name(sha256)))

    def take(self, path: Path, sha256: str) -> None:
        """Under another name first: half a file is none."""
        name = self._name(sha256)
        temporary = f"{name}.{secrets.token_hex(4)}.part"
        self.system.makedirs(name.rpartition("/")[0], exist_ok=True)
        try:
            self.system.put_file(str(path), temporary)
            self.system.mv(temporary, name)
        except BaseException:
            with suppress(Exception):
                self.system.rm_file(temporary)
            raise

    def local(self, sha256: str) -> Path:
        """Raises UnknownName where it is not there, RadproofError where the store gives other bytes."""
        with suppress(UnknownName):
            return self.cache.local(sha256)
        target = self.cache.root / sha256[:2] / sha256
        self.fetch(sha256, target)
        return target

    def fetch(self, sha256: str, target: Path) -> None:
        """As local, to another place than the cache."""
        with atomic(target) as temporary:
            temporary.touch(0o600)
            try:
                self.system.get_file(self._name(sha256), str(temporary))
            except FileNotFoundError:
                raise _gone() from None
            if sha256_file(temporary) != sha256:
                raise RadproofError("the store gives other bytes than were put there; restore it from its backup")

    def remove(self, sha256: str) -> None:
        """It need not be there."""
        self.cache.remove(sha256)
        with suppress(FileNotFoundError):
            self.system.rm_file(self._name(sha256))

    def _name(self, sha256: str) -> str:
        return f"{self.root}/{sha256[:2]}/{sha256}"


def link_or_copy(path: Path, target: Path) -> None:
    """The same bytes under another name, readable by their owner alone; a target that is there already stays."""
    with suppress(FileExistsError):
        try:
            target.hardlink_to(path)
        except FileExistsError:
            raise
        except OSError:  # another disk, or one without links
            with atomic(target) as temporary:
                _copy(path, temporary)


def _copy(path: Path, target: Path) -> None:
    with (
        path.open("rb") as source,
        os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out,
    ):
        shutil.copyfileobj(source, out, 1 << 20)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _gone() -> UnknownName:
    return UnknownName("the uploaded file is no longer there; upload it again")
