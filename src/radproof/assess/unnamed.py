# SPDX-License-Identifier: Apache-2.0
"""Sentences about a stranger's files without the names of files and folders, and without cells of tables."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from radproof.data.folder import FOLD_FOLDERS
from radproof.data.label_columns import KEYS, LABELS
from radproof.data.table import read_table
from radproof.errors import RadproofError

HIDDEN = "…"
_SHORTEST = 3  # characters of a name that would tell something
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/:;,'\"]+/)*[^\s/:;,'\"]+")
_COMMON = {
    *KEYS, *LABELS, *FOLD_FOLDERS, "patient", "patient_id", "path", "view", "age", "sex", "split", "fold", "set",
    "label", "table", "images", "image", "file", "manifest", "data", "the", "and", "with", "one", "png", "jpg", "jpeg",
    "tif", "tiff", "dcm", "dicom", "nii", "csv", "zip", "tar", "npz", "normal",
}  # fmt: skip
_CELLS = 200_000  # of a table that are looked at


class Unnamed:
    """Knows the names that must not be repeated."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}  # name -> what is said instead

    def files(self, paths: Sequence[str]) -> None:
        """Every entry of an archive, in order."""
        for number, text in enumerate(paths, 1):
            path = PurePosixPath(text)
            for name in (text.rstrip("/"), path.name, path.stem):
                self._add(name, f"file {number}")
            for folder in path.parts[:-1]:
                self._add(folder, HIDDEN)

    def table(self, path: Path | None) -> None:
        """The cells of a table, its header's too."""
        if path is None:
            return
        self._add(path.name, "the table")
        self._add(path.stem, "the table")
        try:
            rows = read_table(path, ())
        except RadproofError:
            rows = []
        left = _CELLS
        for row in rows:
            for cell in (*row.cells, *row.cells.values()):
                self._add(cell, HIDDEN)
            left -= len(row.cells)
            if left < 0:
                break

    def without(self, message: str, root: Path) -> str:
        """The sentence, with every known name, quoted text and path of the server taken out."""
        text = message.replace(str(root.resolve()), HIDDEN).replace(str(root), HIDDEN)
        for name in sorted((name for name in self._numbers if name in text), key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", self._numbers[name], text)
        return _PATH.sub(HIDDEN, _QUOTED.sub(HIDDEN, text))

    def _add(self, name: str, instead: str) -> None:
        if len(name) >= _SHORTEST and name.casefold() not in _COMMON:
            self._numbers.setdefault(name, instead)
