# SPDX-License-Identifier: Apache-2.0
"""Data sets in files that need decoding by native code: read once, in a guarded process, into PNG files.

What is left is a manifest like any other; what the source was, its own files and nothing of a person, it says itself.
"""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from radproof import __version__
from radproof.core.files import sha256_file
from radproof.core.guard import Limits, guarded, inside
from radproof.core.progress import SILENT, Progress
from radproof.core.records import digest
from radproof.data.damaged import Damage, refuse
from radproof.data.manifest import NAME, Manifest
from radproof.data.shards import shard_paths
from radproof.errors import BadData

READERS = {
    "dicom": "radproof.data.dicom.folder:read_dicom_folder",
    "nifti": "radproof.data.nifti:read_nifti",
    "medmnist": "radproof.data.medmnist:read_medmnist",
    "webdataset": "radproof.data.webdataset:read_webdataset",
}


def import_foreign(
    kind: str, path: Path, cache: Path, how: Mapping[str, Any], *, damaged: Damage = refuse, progress: Progress = SILENT
) -> Manifest:
    """The data set, decoded below `cache` or found there from before; `how` are the reader's own arguments.

    `damaged` counts within a guarded process alone: else every file has to be readable.

    Raises BadData for what cannot be read, for a file that makes its reader break the guard's limits, and as the
    readers do.
    """
    told = {name: value for name, value in how.items() if value is not None}
    labels = told.get("labels")
    key = digest(
        {
            "radproof": __version__,  # another one may read otherwise
            "kind": kind,
            "how": {**told, "labels": sha256_file(Path(labels)) if labels and Path(labels).is_file() else None},
            "files": _listing(path),
        }
    )
    out = cache / f"{kind}-{key[:16]}"
    if not (out / NAME).is_file():
        out.mkdir(parents=True, exist_ok=True)
        arguments: dict[str, Any] = {
            "reader": READERS[kind],
            "path": str(path.resolve()),
            "out": str(out.resolve()),
            "how": told,
        }
        if inside():
            read(damaged=damaged, progress=progress, **arguments)
        else:
            guarded(
                "radproof.data.foreign:read",
                arguments,
                read=[_existing(path), *([Path(labels)] if labels else [])],
                write=[out],
                limits=Limits(cpu=None, wall=None),
                progress=progress,
                blame=BadData,
                what="the data set",
            )
    return Manifest.read(out)


def read(
    reader: str,
    path: str,
    out: str,
    how: Mapping[str, Any],
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> None:
    """What the guarded process does."""
    module, _, name = reader.partition(":")
    arguments = {key: Path(value) if key == "labels" else value for key, value in how.items()}
    getattr(import_module(module), name)(Path(path), Path(out), damaged=damaged, progress=progress, **arguments)


def _existing(path: Path) -> Path:
    """What must be readable: the path, or the folder of a pattern of shards."""
    return path if path.exists() else path.parent


def _listing(path: Path) -> list[list[object]]:
    """Names, sizes and times of every file: what a finished import is known again by."""
    if not path.is_dir():
        files = [path] if path.exists() else shard_paths(path)
        root = path.parent
    else:
        files = sorted(Path(parent) / name for parent, _, names in os.walk(path) for name in names)
        root = path
    told = [(file, file.stat()) for file in files if file.is_file()]
    return [[file.relative_to(root).as_posix(), facts.st_size, facts.st_mtime_ns] for file, facts in told]
