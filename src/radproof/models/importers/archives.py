# SPDX-License-Identifier: Apache-2.0
"""Zip archives as torch writes them, checked by their table of contents before anything in them is read.

torch stores every entry uncompressed, so an honest archive unpacks to no more than its own size.
"""

import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from radproof.errors import BadModel

_MOST_ENTRIES = 100_000


def listing(path: Path) -> Mapping[str, zipfile.ZipInfo]:
    """The entries of a torch archive by name. Raises BadModel for one that is no whole, plain, stored zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BadModel(f"{path.name} is not a whole zip archive: {error}") from None
    if len(entries) > _MOST_ENTRIES:
        raise BadModel(f"{path.name} lists {len(entries)} entries; {_MOST_ENTRIES} at most are read")
    for entry in entries:
        _check(path.name, entry)
    names = {entry.filename: entry for entry in entries}
    if len(names) < len(entries):
        raise BadModel(f"{path.name} holds two entries of one name, which readers take differently; save it again")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise BadModel(f"{path.name} lists more bytes than it holds: entries overlap, as in a zip bomb")
    return names


def read_entry(path: Path, name: str, most: int) -> bytes:
    """One entry's bytes. Raises BadModel where it is damaged or longer than `most`."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > most:
                raise BadModel(f"{path.name}: {_shown(name)} is longer than {most} bytes")
            return archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, NotImplementedError, RuntimeError) as error:
        raise BadModel(f"{path.name} is damaged at {_shown(name)}: {error}") from None


def _check(file: str, entry: zipfile.ZipInfo) -> None:
    name = _shown(entry.filename)
    parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
    if "\0" in entry.orig_filename or ".." in parts or parts[:1] == ("/",) or ":" in entry.filename[:3]:
        raise BadModel(f"{file} holds an entry that points outside the archive: {name}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BadModel(f"{file} holds a link, {name}; a model file holds none")
    if entry.flag_bits & 1:
        raise BadModel(f"{file} is encrypted; save it without a password")
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise BadModel(
            f"{file} compresses {name} ({entry.compress_size} bytes for {entry.file_size}); torch stores entries as "
            "they are; save the file with torch"
        )


def _shown(name: str) -> str:
    return repr(name if len(name) < 80 else name[:77] + "...")
