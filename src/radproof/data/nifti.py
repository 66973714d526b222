# SPDX-License-Identifier: Apache-2.0
"""Slices of NIfTI volumes as images, with labels from a table: one row per volume, or per slice."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from radproof.core.depth import SIXTEEN
from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.data.damaged import Damage, refuse
from radproof.data.images import StoredImage
from radproof.data.inventory import pseudonym, sample_id
from radproof.data.labels import Claims, read_labels
from radproof.data.manifest import Manifest, Sample
from radproof.data.pictures import Picture, materialise
from radproof.data.volumes import Grid, Volumes, read_grid
from radproof.data.within import files_below, has_suffix
from radproof.errors import BadData, BadImage, BadPlan, UnknownName

Axis = Literal["sagittal", "coronal", "axial"]
SUFFIXES = (".nii", ".nii.gz")
WINDOWS = ("file", "percentiles", "minmax")
Voi = str | Sequence[float]


def read_nifti(
    path: Path,
    out: Path,
    *,
    labels: Path | None = None,
    voi: Voi = "file",
    axis: Axis = "axial",
    slices: Literal["all", "middle"] | int = "all",
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> Manifest:
    """Slices of all .nii and .nii.gz files at or below `path` as 16-bit PNGs in `out`, upright, the right at the left.

    `slices`: all, the middle one, or every nth around it. `voi`: file (the header's window, else percentiles),
    percentiles (0.5 to 99.5 of the volume), minmax, or (centre, width). A row of `labels` is of a volume by its path or
    name, or of one slice as NAME#INDEX, counted from 0 from right, back or below. Volumes without a row are left out; a
    volume is a patient of its own where the table has none. Raises BadData, BadInput, or BadImage for a damaged volume
    unless `damaged` lets it pass.
    """
    window = _voi(voi)
    _check(axis, slices)
    if labels is None:
        raise BadPlan("NIfTI volumes need a table that says what they show: labels: FILE.csv")
    table = read_labels(labels, root=path if path.is_dir() else path.parent, classes=classes, multi_label=multi_label)
    root = path if path.is_dir() else path.parent
    found = list(_files(path, root))
    if not found:
        raise BadData(f"no .nii or .nii.gz file at {path}")
    volumes = Volumes()
    pictures: list[Picture] = []
    claims = Claims(table)
    without = 0
    for file in found:
        grid = _grid(root, file, damaged)
        if grid is None:
            continue
        chosen = list(_slices(grid, axis, slices, file, claims))
        without += not chosen
        for index, labelled in chosen:
            sample = labelled if labelled.patient else replace(labelled, patient=pseudonym(file))
            pictures.append(Picture(sample, partial(_decode, volumes, root / file, grid, axis, index, window)))
    source = {
        "kind": "nifti",
        "axis": axis,
        "slices": slices,
        "voi": voi if isinstance(voi, str) else list(voi),
        "classes": list(table.classes),
        "multi_label": multi_label,
        "left_out": {"volumes without a row": without, "rows without a slice": claims.unused},
        "patients": "table and volumes",
    }
    return materialise(
        pictures, out, labels=table.classes, head=table.head, source=source, damaged=damaged, progress=progress
    )


def _voi(voi: Voi) -> str | tuple[float, float]:
    if isinstance(voi, str):
        if voi not in WINDOWS:
            raise UnknownName(f"no window named {voi!r}{nearest(voi, WINDOWS)}; or give (centre, width)")
        return voi
    if len(voi) != 2 or not 0 < voi[1] < 1e12 or not abs(voi[0]) < 1e12:
        raise BadPlan(f"a window is (centre, width) with a width above 0; got {list(voi)}")
    return float(voi[0]), float(voi[1])


def _check(axis: str, slices: str | int) -> None:
    if axis not in get_args(Axis):
        raise UnknownName(f"no axis named {axis!r}{nearest(axis, get_args(Axis))}")
    if slices not in ("all", "middle") and not (isinstance(slices, int) and slices >= 1):
        raise BadPlan(f"slices must be all, middle, or n for every nth; got {slices!r}")


def _files(path: Path, root: Path) -> Iterator[str]:
    if path.is_dir():
        yield from (file for file in files_below(path, root) if has_suffix(file, SUFFIXES))
    elif path.is_file():
        yield path.name


def _grid(root: Path, file: str, damaged: Damage) -> Grid | None:
    try:
        return read_grid(root / file)
    except BadImage as error:
        return damaged(file, error)


def _slices(grid: Grid, axis: Axis, slices: str | int, file: str, claims: Claims) -> Iterator[tuple[int, Sample]]:
    count = grid.upright[get_args(Axis).index(axis)]
    middle = count // 2
    step = slices if isinstance(slices, int) else 1
    for index in [middle] if slices == "middle" else range(middle % step, count, step):
        label = claims.of(file, *_keys(file, index))
        if label is not None:
            chain = ({"step": "slice", "axis": axis, "index": index},)
            path = f"{file}#{axis}-{index}"
            yield index, label.onto(Sample(sample_id(path), path, "", (), chain=chain))


def _keys(file: str, index: int) -> tuple[str, ...]:
    stem = file[: -len(".nii.gz")] if file.lower().endswith(".nii.gz") else file[: -len(".nii")]
    return f"{file}#{index}", f"{stem}#{index}", file


def _decode(
    volumes: Volumes, path: Path, grid: Grid, axis: Axis, index: int, voi: str | tuple[float, float]
) -> StoredImage:
    plane = volumes.plane(path, grid, get_args(Axis).index(axis), index, voi)
    return StoredImage(plane[:, :, None], SIXTEEN)
