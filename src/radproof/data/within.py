# SPDX-License-Identifier: Apache-2.0
"""Files below a folder, and nothing else: a link that leads out of it would take in what nobody meant to give."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from radproof.errors import BadData


def files_below(folder: Path, root: Path) -> Iterator[str]:
    """Paths relative to `root` of all files in `folder` and below, sorted; hidden ones (.git, __MACOSX) are passed by.

    Raises BadData for a link that leads out of `root`.
    """
    for parent, inner, files in os.walk(folder):
        inner[:] = sorted(name for name in inner if not is_hidden(name))
        names = sorted(name for name in files if not is_hidden(name))
        for name in (*inner, *names):
            check_link(Path(parent) / name, root)
        yield from ((Path(parent) / name).relative_to(root).as_posix() for name in names)


def is_hidden(name: str) -> bool:
    """.git, .DS_Store, __MACOSX and their like."""
    return name.startswith((".", "__"))


def has_suffix(path: str, suffixes: Sequence[str]) -> bool:
    """Whether a path ends in one of them, whatever its capitals."""
    return path.lower().endswith(tuple(suffixes))


def check_link(path: Path, root: Path) -> None:
    """Raise BadData where `path`, below `root`, is a link that leads out of it."""
    if not path.is_symlink():
        return
    try:
        leads_out = not path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        leads_out = True  # to nothing, or in a circle
    if leads_out:
        raise BadData(
            f"{path.relative_to(root).as_posix()!r} is a link that leads out of the data set's folder or to nothing; "
            "put the file itself there"
        )
