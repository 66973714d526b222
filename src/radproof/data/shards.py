# SPDX-License-Identifier: Apache-2.0
"""Tar archives from strangers, read in place: only plain files with plain names, and nothing is unpacked by name."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from radproof.data.table import inner_path
from radproof.errors import BadData

MAX_MEMBER = 256 * 1024**2  # bytes; a radiograph of 64 million pixels in 16 bits has half of it
MAX_MEMBERS = 2_000_000
MAX_SHARDS = 10_000
_AT_ONCE = 4 * 1024**2  # bytes of one read: headers that announce more would fill the memory
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


class Sipping:
    """A stream that refuses long reads, which tarfile makes only for extended headers that are bombs."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream, self._name = stream, name

    def read(self, size: int) -> bytes:
        """So many bytes; raises BadData for a size below 0 or above what any header takes."""
        if not 0 <= size <= _AT_ONCE:
            raise BadData(f"{self._name}: a header announces {size:,} bytes of names (a decompression bomb?)")
        return self._stream.read(size)

    def tell(self) -> int:
        """As of the stream."""
        return self._stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        """As of the stream; raises BadData for a place before its beginning."""
        if position < 0:
            raise BadData(f"{self._name}: a header announces a negative size")
        return self._stream.seek(position, whence)


@dataclass(frozen=True)
class Member:
    """One file in a tar archive: its name, and where its bytes lie."""

    name: str
    start: int
    size: int


def plain_members(archive: tarfile.TarFile, name: str, *, max_member: int = MAX_MEMBER) -> Iterator[tarfile.TarInfo]:
    """The files of an archive, checked one by one; folders are passed by.

    Raises BadData for links, devices, sparse files, names that lead outside, and sizes or counts beyond the limits.
    """
    last = -1
    for number in range(MAX_MEMBERS + 1):
        try:
            info = archive.next()
        except BadData:
            raise
        except Exception as error:  # damaged headers make tarfile raise nearly anything
            raise BadData(f"{name} is damaged after {number} members ({type(error).__name__}); get it again") from None
        if info is None:
            return
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue]  # tarfile would remember all of them
        where = f"{name}, member {number + 1}"
        if info.offset <= last or info.size < 0:
            raise BadData(f"{where}: the headers lead back to an earlier place; get the archive again")
        last = info.offset
        if info.isdir():
            continue
        inner_path(info.name, where=where)
        if not info.isreg() or info.issparse():
            raise BadData(f"{where} is a link, a device or a sparse file; only plain files are read")
        if info.size > max_member:
            raise BadData(f"{where} holds {info.size:,} bytes, more than the limit of {max_member:,}")
        yield info
    raise BadData(f"{name} holds more than {MAX_MEMBERS:,} members; cut it into shards")


def members(path: Path) -> list[Member]:
    """The files of an uncompressed tar archive. Raises BadData as `plain_members` does, and for one that is cut off."""
    try:
        with path.open("rb") as stream:
            length = path.stat().st_size
            with tarfile.open(fileobj=Sipping(stream, path.name), mode="r:") as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
                found = [Member(info.name, info.offset_data, info.size) for info in plain_members(archive, path.name)]
    except BadData:
        raise
    except Exception as error:
        raise BadData(
            f"{path.name} is not an uncompressed tar archive ({type(error).__name__}); unpack .tar.gz with gunzip first"
        ) from None
    if any(member.start + member.size > length for member in found):
        raise BadData(f"{path.name} ends too early; get it again")
    return found


def content(path: Path, member: Member) -> bytes:
    """A member's bytes."""
    with path.open("rb") as stream:
        stream.seek(member.start)
        return stream.read(member.size)


def shard_paths(path: Path) -> list[Path]:
    """A .tar file, all those in a folder, or all those of a pattern such as shard-{000..003}.tar.

    Raises BadData where one is missing.
    """
    if path.is_dir():
        found = sorted(path.glob("*.tar"))
        if not found:
            raise BadData(
                f"no .tar file in {path}; give a folder of shards, or a pattern such as shard-{{000..003}}.tar"
            )
        return found
    match = _RANGE.search(path.name)
    if match is None:
        names = [path.name]
    else:
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < MAX_SHARDS:
            raise BadData(
                f"{match[0]} counts {last - first + 1} shards; expected 1 to {MAX_SHARDS}, the first one first"
            )
        width = len(match[1])
        names = [f"{path.name[: match.start()]}{n:0{width}d}{path.name[match.end() :]}" for n in range(first, last + 1)]
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise BadData(f"{len(missing)} of {len(names)} shards are missing, the first is {missing[0]}; complete them")
    return [path.parent / name for name in names]
