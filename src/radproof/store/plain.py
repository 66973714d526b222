# SPDX-License-Identifier: Apache-2.0
"""Copies of plain files in folders of one's own: no link is followed, and nobody else can read what was made."""

import os
import shutil
import stat
from pathlib import Path


def make_private(folder: Path) -> None:
    """The folder and what is missing above it, for the owner alone."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def plain_files(folder: Path) -> list[Path]:
    """All plain files below it, by no link; none where it is a link itself."""
    if folder.is_symlink():
        return []
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    return [path for path in found if is_plain(path)]


def is_plain(path: Path) -> bool:
    """Neither a link nor a folder, nor anything that only looks like a file."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def copy_plain(source: Path, target: Path) -> int:
    """The same bytes in a new file, with the time of their last change; how many, or -1 for what is no plain file."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if is_plain(source):
            raise
        return -1
    with os.fdopen(handle, "rb") as old:
        about = os.fstat(old.fileno())
        if not stat.S_ISREG(about.st_mode):
            return -1
        make_private(target.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(target, flags, 0o600), "wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            size = new.tell()
        os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
    return size
