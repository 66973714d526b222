# SPDX-License-Identifier: Apache-2.0
"""MedMNIST's .npz files, any two-dimensional set in any size: Yang et al., "MedMNIST v2", Scientific Data 2023.

The archive's listing and the arrays' headers are checked before anything is decoded; images are read one after another.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.core.types import Head
from radproof.data.arrays import Archive, Reel
from radproof.data.damaged import Damage, refuse
from radproof.data.inventory import sample_id
from radproof.data.manifest import Fold, Manifest, Sample
from radproof.data.pictures import Picture, materialise
from radproof.errors import BadData, UnknownName

_FOLDS: Mapping[str, Fold] = {"train": "train", "val": "validation", "test": "test"}
_NAME = re.compile(r"([a-z]+mnist(?:3d)?)(?:_\d+)?", re.IGNORECASE)
MAX_SIDE, MAX_FINDINGS = 1024, 1000
_VOLUMES = "the set holds volumes, and radproof judges two-dimensional classifiers; take a set without 3D in its name"


def read_medmnist(
    path: Path,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> Manifest:
    """Every image of an .npz file as a PNG in `out`, with the release's own folds; patients are not known.

    One column of labels makes a softmax head (binary, several classes or ordinal grades), several a sigmoid head.
    Classes have the release's names where the `medmnist` package is installed and the file has kept its name, else they
    are 'class 0', 'class 1', … Raises BadData for volumes, a damaged or swollen archive, or labels without sense.
    """
    with Archive(path, {f"{fold}_{what}.npy" for fold in _FOLDS for what in ("images", "labels")}) as archive:
        folds = [_fold(archive, name) for name in _FOLDS if f"{name}_images.npy" in archive.names]
        if not folds:
            raise BadData(f"{path.name} holds no train_images, val_images or test_images; it is no MedMNIST set")
        head = _head(folds, multi_label)
        names = _names(path, folds)
        chosen = _chosen(names, classes)
        pictures = [picture for fold in folds for picture in _pictures(fold, names, chosen, head)]
        source = {
            "kind": "medmnist",
            "set": path.stem,
            "classes": list(chosen),
            "multi_label": head == "sigmoid",
            "left_out": {"other classes": sum(len(fold.labels) for fold in folds) - len(pictures)},
            "patients": "unknown",  # the release says of no set whose images they are
            "folds": "release",
        }
        return materialise(pictures, out, labels=chosen, head=head, source=source, damaged=damaged, progress=progress)


@dataclass(frozen=True)
class _Fold:
    name: str  # the release's: train, val, test
    images: Reel  # (N, H, W) or (N, H, W, 3) uint8, read one by one
    labels: NDArray[np.int64]  # (N, 1) or (N, K)


def _fold(archive: Archive, name: str) -> _Fold:
    images = archive.reel(f"{name}_images.npy")
    shape = images.shape
    if len(shape) == 5 or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise BadData(_VOLUMES)
    if len(shape) not in (3, 4) or images.dtype != np.uint8 or not all(1 <= side <= MAX_SIDE for side in shape[1:3]):
        raise BadData(f"{name}_images is {images.dtype} {shape}; expected uint8 (N, H, W) or (N, H, W, 3)")
    labels = archive.array(f"{name}_labels.npy", most=shape[0] * MAX_FINDINGS * 8)
    if labels.dtype.kind not in "iub" or labels.ndim not in (1, 2) or len(labels) != shape[0] or not labels.size:
        raise BadData(f"{name}_labels is {labels.dtype} {labels.shape}; expected whole numbers for {shape[0]} images")
    return _Fold(name, images, labels.astype(np.int64).reshape(len(labels), -1))


def _head(folds: Sequence[_Fold], multi_label: bool) -> Head:
    widths = {fold.labels.shape[1] for fold in folds}
    low = min(int(fold.labels.min()) for fold in folds)
    high = max(int(fold.labels.max()) for fold in folds)
    width = widths.pop()
    if widths or low < 0 or high >= (MAX_FINDINGS if width == 1 else 2):
        raise BadData(f"labels run from {low} to {high} in {width} columns; expected class numbers, or 0 and 1 in each")
    if multi_label and width == 1:
        raise BadData("multi_label needs several findings per image; this set gives one class each")
    return "softmax" if width == 1 else "sigmoid"


def _names(path: Path, folds: Sequence[_Fold]) -> tuple[str, ...]:
    width = folds[0].labels.shape[1]
    count = width if width > 1 else 1 + max(int(fold.labels.max()) for fold in folds)
    known = _released(path)
    if known and len(known) >= count:
        return known
    return tuple(f"class {number}" for number in range(max(count, 2)))


def _released(path: Path) -> tuple[str, ...]:
    match = _NAME.fullmatch(path.stem)
    about = releases().get(match[1].lower()) if match else None
    return tuple(about["label"][number] for number in sorted(about["label"], key=int)) if about else ()


def releases() -> Mapping[str, Mapping[str, Any]]:
    """What the `medmnist` package knows of its sets (names, addresses, MD5s); empty where it is not installed.

    Its table is read as text: importing the package makes a folder in the user's home.
    """
    spec = find_spec("medmnist")
    folder = next(iter(spec.submodule_search_locations or ()), None) if spec else None
    file = Path(folder) / "info.py" if folder else None
    if file is None or not file.is_file():
        return {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "INFO":
            return ast.literal_eval(node.value)
    return {}


def _chosen(names: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    for name in classes or ():
        if name not in names:
            raise UnknownName(f"no class named {name!r}{nearest(name, names)}")
    return tuple(dict.fromkeys(classes)) if classes else names


def _pictures(fold: _Fold, names: Sequence[str], chosen: Sequence[str], head: Head) -> list[Picture]:
    found: list[Picture] = []
    for index, row in enumerate(fold.labels.tolist()):
        shown = {names[row[0]]} if head == "softmax" else {name for name, bit in zip(names, row, strict=True) if bit}
        labels = tuple(name for name in chosen if name in shown)
        if labels or head == "sigmoid":
            path = f"{fold.name}/{index}"
            sample = Sample(sample_id(path), path, "", labels, _FOLDS[fold.name])
            found.append(Picture(sample, partial(fold.images.image, index)))
    return found
