# SPDX-License-Identifier: Apache-2.0
"""Which reader a path is for, told by what lies there."""

import os
from collections.abc import Iterator
from pathlib import Path

from radproof.data.images import SUFFIXES
from radproof.data.manifest import NAME
from radproof.errors import BadData

_LOOKED_AT = 200  # files of a folder, before it is taken for what the last of them was
_KNOWN = (
    "a manifest, the NIH release's folder, a folder with one per class, a folder of images, DICOM or NIfTI files with "
    "a table of labels, a MedMNIST .npz, or WebDataset .tar shards"
)


def kind_of(path: Path, *, labelled: bool = False) -> str:
    """The kind of data set at a path; `labelled`: a table says what images show. Raises BadData for nothing known."""
    if not path.exists() and "{" not in path.name:
        raise BadData(f"there is no {path}; give {_KNOWN}")
    if path.is_dir():
        return _kind_of_folder(path, labelled)
    if path.name.endswith(".npz"):
        return "medmnist"
    if path.name.endswith((".tar", ".tar}")):
        return "webdataset"
    if path.name.endswith((".nii", ".nii.gz")):
        return "nifti"
    if _is_dicom(path):
        return "dicom"
    return "manifest"


def _kind_of_folder(path: Path, labelled: bool) -> str:
    if (path / NAME).is_file():
        return "manifest"
    if any(path.glob("Data_Entry_2017*.csv")):
        return "nih"
    for file in _some(path):
        name = file.name.lower()
        if name.endswith(SUFFIXES):
            return "labelled" if labelled else "folder"
        if name.endswith((".nii", ".nii.gz")):
            return "nifti"
        if name.endswith(".tar"):
            return "webdataset"
        if name.endswith((".dcm", ".dicom", ".ima")) or _is_dicom(file):
            return "dicom"
    return "labelled" if labelled else "folder"


def _some(root: Path) -> Iterator[Path]:
    seen = 0
    for parent, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(parent) / name
                seen += 1
            if seen >= _LOOKED_AT:
                return


def _is_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
