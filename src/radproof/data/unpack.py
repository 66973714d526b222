# SPDX-License-Identifier: Apache-2.0
"""A packed archive of images becomes a folder: whole or not at all, plain files only, each where its name says."""

import gzip
import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from radproof.core.progress import SILENT, Progress
from radproof.data.shards import Sipping, plain_members
from radproof.data.transfer import RESERVE
from radproof.errors import BadData, StorageFull

MAX_IMAGE = 64 * 1024**2  # bytes
MAX_TOTAL = 32 * 1024**3  # of one archive
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.png")


def unpack(archive: Path, folder: Path, *, max_total: int = MAX_TOTAL, progress: Progress = SILENT) -> int:
    """Unpack the PNG files of a .tar.gz into `folder`; how many there were.

    A folder that is there already was finished. Raises BadData for anything else than plain PNG files under plain
    names, for sizes beyond the limits and for damage; StorageFull. Nothing is left then.
    """
    progress.start(f"unpack {archive.name}", archive.stat().st_size)
    making = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        count = _unpack(archive, making, max_total, progress)
        making.rename(folder)
    except BadData:
        raise
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and shutil.disk_usage(archive.parent).free < RESERVE:
            raise StorageFull(f"the disk is full; free some space and run again to unpack {archive.name}") from None
        raise BadData(f"{archive.name} is damaged ({type(error).__name__}); remove it and fetch it again") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return count


def _unpack(archive: Path, folder: Path, max_total: int, progress: Progress) -> int:
    total = count = 0
    with archive.open("rb") as packed, gzip.open(packed) as stream:
        source = Sipping(stream, archive.name)  # pyright: ignore[reportArgumentType]
        at = 0
        with tarfile.open(fileobj=source, mode="r:") as tar:  # pyright: ignore[reportCallIssue, reportArgumentType]
            for info in plain_members(tar, archive.name, max_member=MAX_IMAGE):
                name = PurePosixPath(info.name).name
                if not _IMAGE.fullmatch(name) or len(PurePosixPath(info.name).parts) > 2:
                    raise BadData(f"{archive.name}: {info.name[:80]!r} is no image of this data set")
                total += info.size
                if total > max_total or shutil.disk_usage(folder).free < info.size + RESERVE:
                    raise _too_much(archive, total, max_total)
                if (folder / name).exists():
                    raise BadData(f"{archive.name}: {name} is there twice; fetch the archive again")
                info.name = name
                tar.extract(info, folder, filter="data", set_attrs=False)
                count += 1
                progress.advance(f"unpack {archive.name}", packed.tell() - at)
                at = packed.tell()
    if not count:
        raise BadData(f"{archive.name} holds no PNG file; fetch it again")
    return count


def _too_much(archive: Path, total: int, max_total: int) -> BadData | StorageFull:
    if total > max_total:
        return BadData(f"{archive.name} unpacks to more than {max_total:,} bytes (a decompression bomb?)")
    return StorageFull(f"the disk is full; free some space and run again to unpack {archive.name}")
