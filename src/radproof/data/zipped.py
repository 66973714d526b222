# SPDX-License-Identifier: Apache-2.0
"""A stranger's zip archive becomes a folder: whole or not at all, plain files only, each below it.

Entries are told by their number: what they are called may name a patient.
"""

import os
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from radproof.core.progress import SILENT, Progress
from radproof.data.transfer import RESERVE
from radproof.data.within import is_hidden
from radproof.errors import BadData, StorageFull

STAGE = "unpack"
_PIECE = 1024**2
_LOCAL = 30  # bytes of an entry's own header before its name
_PROGRAMS = (b"MZ", b"\x7fELF")
_ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"Rar!",
    b"7z\xbc\xaf",
    b"\xfd7zXZ",
    b"BZh",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
)
_MAY_PACK = (".npz", ".nii.gz")  # packed by nature, and read so
_WHOLE = "give a zip archive of plain files"


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. Sizes in bytes, unpacked."""

    entries: int = 200_000
    total: int = 64 * 10**9
    entry: int = 2 * 10**9
    ratio: int = 200  # unpacked to packed, over all; small archives may pack better
    free: int = 64 * 10**6  # from here on the ratio counts
    name: int = 1000  # characters of a path
    part: int = 255  # bytes of each of its parts, in UTF-8
    depth: int = 24  # folders


@dataclass(frozen=True)
class Unpacked:
    """What came out: files, bytes, the paths of every entry by its number, and how many were left out and why."""

    files: int
    size: int
    paths: tuple[str, ...]
    left_out: dict[str, int]


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive of a data set, by how it begins; .npz is one too, and read as it is."""
    if not path.is_file() or path.suffix.lower() == ".npz":
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def unpack_zip(archive: Path, folder: Path, *, limits: Limits | None = None, progress: Progress = SILENT) -> Unpacked:
    """Unpack every file below `folder`, which must not be there yet; hidden files and programs are left out.

    Raises BadData naming an entry by its number for whatever an honest archive has not: sizes beyond the limits,
    entries that overlap, names that lead elsewhere or meet, links, passwords, archives within; StorageFull. Nothing is
    left then.
    """
    limits = limits or Limits()
    making = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(making, ignore_errors=True)
    try:
        making.mkdir(parents=True, mode=0o700)
        with zipfile.ZipFile(archive) as packed:
            wanted, hidden = _checked(packed, archive.stat().st_size, limits)
            done = _unpack(packed, wanted, making, limits, progress)
        making.rename(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise BadData(f"the archive is damaged ({type(error).__name__}); pack it again, and {_WHOLE}") from None
    except OSError:
        if shutil.disk_usage(folder.parent).free < RESERVE:
            raise _full() from None
        raise BadData(f"the archive cannot be unpacked; {_WHOLE}") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return Unpacked(
        files=done.files,
        size=done.size,
        paths=tuple(info.filename for info in packed.infolist()),
        left_out={reason: count for reason, count in (Counter({"hidden files": hidden}) + done.left_out).items()},
    )


@dataclass
class _Done:
    files: int = 0
    size: int = 0
    looked: int = 0
    left_out: Counter[str] = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        self.left_out = Counter()


Entry = tuple[int, zipfile.ZipInfo, PurePosixPath]


def _checked(packed: zipfile.ZipFile, size: int, limits: Limits) -> tuple[list[Entry], int]:
    """The files to unpack, by the table of contents alone, and how many hidden ones there are."""
    entries = packed.infolist()
    if len(entries) > limits.entries:
        raise BadData(f"the archive lists {len(entries):,} entries; {limits.entries:,} at most are read")
    _check_sizes(entries, packed.start_dir, size, limits)
    found: list[Entry] = []
    files: set[str] = set()
    folders: dict[str, str] = {}  # as they meet on disks that do not tell capitals apart -> as they are spelt
    hidden = 0
    for number, info in enumerate(entries, 1):
        path = _path(number, info, limits)
        _check_kind(number, info)
        if any(is_hidden(part) for part in path.parts):
            hidden += 1
            continue
        for above in (path, *path.parents) if info.is_dir() else path.parents:
            if folders.setdefault(_met(above), str(above)) != str(above):
                raise BadData(f"entry {number} lies in a folder that is spelt in two ways; rename one of them")
        if not info.is_dir():
            if _met(path) in files:
                raise BadData(
                    f"entry {number} has the name of another one, capitals aside; rename it and pack it again"
                )
            files.add(_met(path))
            found.append((number, info, path))
    if both := files & set(folders):
        raise BadData(f"{len(both)} name(s) are of a file and of a folder; pack it again")
    if not found:
        raise BadData(f"the archive holds no file; {_WHOLE}")
    return found, hidden


def _check_sizes(entries: Sequence[zipfile.ZipInfo], directory: int, size: int, limits: Limits) -> None:
    end = 0
    for number, info in sorted(enumerate(entries, 1), key=lambda one: one[1].header_offset):
        if info.file_size > limits.entry:
            raise BadData(f"entry {number} unpacks to {info.file_size:,} bytes; {limits.entry:,} at most are read")
        if info.header_offset < end:
            raise BadData(f"entry {number} overlaps another one, as in a zip bomb; {_WHOLE}")
        end = info.header_offset + _LOCAL + info.compress_size
    if end > min(directory, size):
        raise BadData(f"the archive lists more bytes than it holds; {_WHOLE}")
    total = sum(info.file_size for info in entries)
    if total > limits.total:
        raise BadData(f"the archive unpacks to {total:,} bytes; {limits.total:,} at most are read")
    if total > limits.free and total > limits.ratio * max(size, 1):
        raise BadData(f"the archive unpacks to {total // max(size, 1)} times its size, as a zip bomb does; {_WHOLE}")


def _path(number: int, info: zipfile.ZipInfo, limits: Limits) -> PurePosixPath:
    name = info.orig_filename
    path = PurePosixPath(name)
    outside = name.startswith("/") or "\\" in name or ".." in path.parts or ":" in name or "\0" in name
    if outside or not name or name != info.filename:
        raise BadData(f"entry {number} has a name that may lead out of the archive; {_WHOLE}")
    if not all(c.isprintable() for c in name) or any(part == "." for part in name.split("/")) or "//" in name:
        raise BadData(f"entry {number} has a name that is no plain path; {_WHOLE}")
    longest = max((len(part.encode("utf-8", "surrogatepass")) for part in path.parts), default=0)
    if len(name) > limits.name or longest > limits.part or len(path.parts) > limits.depth:
        raise BadData(f"entry {number} has a longer or deeper name than is read; use shorter ones")
    return path


def _check_kind(number: int, info: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadData(f"entry {number} is a link or a device; {_WHOLE}")
    if info.flag_bits & (1 | 1 << 6 | 1 << 13):
        raise BadData(f"entry {number} is encrypted; pack it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BadData(f"entry {number} is packed in an unusual way; pack it with deflate, as most programs do")


def _unpack(
    packed: zipfile.ZipFile, wanted: Sequence[Entry], folder: Path, limits: Limits, progress: Progress
) -> _Done:
    done = _Done()
    progress.start(STAGE, max(1, sum(info.file_size for _, info, _ in wanted)))
    for number, info, path in wanted:
        with packed.open(info) as stream:
            head = stream.read(_PIECE)
            if head.startswith(_PROGRAMS):
                done.left_out["programs"] += 1
                continue
            if head.startswith(_ARCHIVES) and not path.name.lower().endswith(_MAY_PACK):
                raise BadData(f"entry {number} is an archive itself; unpack it, and pack all files into one archive")
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                piece = head
                while piece:
                    _count(done, len(piece), folder, limits)
                    file.write(piece)
                    progress.advance(STAGE, len(piece))
                    piece = stream.read(_PIECE)
        done.files += 1
    if not done.files:
        raise BadData(f"the archive holds programs alone; {_WHOLE}")
    return done


def _count(done: _Done, size: int, folder: Path, limits: Limits) -> None:
    """What really comes out counts, whatever the table of contents says."""
    done.size += size
    if done.size > limits.total:
        raise BadData(f"the archive unpacks to more than {limits.total:,} bytes; it is larger than it says")
    if done.size - done.looked >= 16 * _PIECE or not done.looked:
        done.looked = done.size
        if shutil.disk_usage(folder).free < RESERVE:
            raise _full()


def _full() -> StorageFull:
    return StorageFull("the disk is full; nothing of the archive was kept: free some space and import it again")


def _met(path: PurePosixPath) -> str:
    """A name as disks see it that tell neither capitals nor ways of writing an accent apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", str(path)).casefold())
