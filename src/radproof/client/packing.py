# SPDX-License-Identifier: Apache-2.0
"""Folders as one file to send: a data set as a zip, a model as its weights and its card."""

import os
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from radproof.errors import BadData, BadModel

CARD, WEIGHTS = "card.yaml", "weights.safetensors"
_PACKED = (".png", ".jpg", ".jpeg", ".gz", ".zip", ".parquet", ".npz")  # zipping these again gains nothing


def packed_model(path: Path, card: Path | None) -> tuple[Path, Path | None]:
    """The file to send, and its card. Raises BadModel for a folder that is no model's."""
    if path.is_dir():
        if not (path / WEIGHTS).is_file() or not (path / CARD).is_file():
            raise BadModel(f"{path} holds no {CARD} and {WEIGHTS}; send a model's folder, or one file")
        return path / WEIGHTS, card or path / CARD
    if not path.is_file():
        raise BadModel(f"no file {path}")
    beside = path.with_name(f"{path.stem}.card.yaml")
    return path, card or (beside if beside.is_file() else None)


@contextmanager
def packed(path: Path) -> Generator[Path]:
    """A data set as one file: a zip itself, or one of the folder or file, removed afterwards. Links are left out."""
    if path.is_file() and path.suffix.lower() == ".zip":
        yield path
        return
    if not path.is_dir() and not path.is_file():
        raise BadData(f"no data set at {path}; expected a folder of images, or a zip")
    with tempfile.TemporaryDirectory(prefix="radproof-") as folder:
        target = Path(folder) / "data.zip"
        with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
            root = path if path.is_dir() else path.parent
            for file in _files(path) if path.is_dir() else [path]:
                kind = zipfile.ZIP_STORED if file.suffix.lower() in _PACKED else zipfile.ZIP_DEFLATED
                # one time for all: the same folder, the same bytes
                info = zipfile.ZipInfo(file.relative_to(root).as_posix())
                info.compress_type, info.external_attr = kind, 0o600 << 16
                with file.open("rb") as source, archive.open(info, "w", force_zip64=True) as stream:
                    while piece := source.read(1 << 20):
                        stream.write(piece)
        yield target


def _files(path: Path) -> list[Path]:
    found = [Path(parent, name) for parent, _, names in os.walk(path) for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.is_file() and not file.is_symlink())
