# SPDX-License-Identifier: Apache-2.0
"""One door to every kind of data set: read it, choose classes, split, balance, resample, in that order."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, get_args

from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.core.records import digest
from radproof.data.damaged import Damage, refuse
from radproof.data.folder import read_folder
from radproof.data.foreign import READERS, import_foreign
from radproof.data.inflated import inflate as inflated_by
from radproof.data.labelled import read_labelled
from radproof.data.load import import_images
from radproof.data.manifest import FOLDS, NAME, Manifest
from radproof.data.nih import read_nih
from radproof.data.phantoms_on_disk import materialise_phantoms
from radproof.data.splits import Way
from radproof.data.splits import split as split_by
from radproof.data.subsets import Aspect
from radproof.data.subsets import balance as balanced
from radproof.errors import BadData, BadPlan, UnknownName

Kind = Literal["nih", "folder", "phantom", "manifest", "labelled", "dicom", "nifti", "medmnist", "webdataset"]
Voi = str | tuple[float, float]
Slices = str | int
AXIS, SLICES = "axial", "all"
PHANTOMS, PHANTOM_SIZE = 600, 256


def open_data(
    kind: Kind,
    path: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    split: Way = "patient",
    inflate: int | None = None,
    size: int | None = None,
    window: tuple[float, float] | None = None,
    count: int | None = None,
    seed: int = 0,
    balance: Sequence[Aspect] = (),
    patients: Path | None = None,
    labels: Path | None = None,
    label_tag: str | None = None,
    voi: Voi = "file",
    axis: str = AXIS,
    slices: Slices = SLICES,
    damaged: Damage = refuse,
    cache: Path,
    progress: Progress = SILENT,
) -> Manifest:
    """A data set ready to train and test on: three folds, images on disk.

    `size` is the longer side after import (None keeps the stored grid) and `window` the grey levels, as shares of the
    range, that become black and white; phantoms and resampled sets are written below `cache` once and found there
    again. `inflate` fills every class up with changed copies before the split. A manifest that was split already keeps
    its folds. `count` and, unless given, `size` concern phantoms; `patients` is the table of a folder, `labels` of
    images that lie in no folders of classes, `label_tag` and `voi` concern DICOM, `voi`, `axis` and `slices` NIfTI.
    `damaged` is told of files that a foreign reader cannot read. Raises BadData, BadPlan or UnknownName.
    """
    _check_told(kind, label_tag, voi, axis, slices)
    if kind == "phantom":
        manifest = _phantoms(cache, count or PHANTOMS, size or PHANTOM_SIZE, seed, progress)
    elif kind in READERS:
        how = _how(kind, labels, label_tag, voi, classes, multi_label)
        how |= {"axis": axis, "slices": slices} if kind == "nifti" else {}
        manifest = import_foreign(kind, _given(kind, path), cache, how, damaged=damaged, progress=progress)
    else:
        manifest = _read(kind, path, classes, multi_label, patients, labels, progress)
    if kind in ("phantom", "manifest"):
        if multi_label and manifest.head != "sigmoid":
            raise BadPlan(f"multi_label needs several findings per image; {manifest.describe()} has one class each")
        manifest = _only_classes(manifest, classes)
    if inflate is not None:
        manifest = _inflated(manifest, inflate, seed, cache, progress)
    if not _is_split(manifest, kind):
        manifest = split_by(manifest, by=split, seed=seed)
    manifest = balanced(manifest, by=balance, seed=seed)
    size = None if kind == "phantom" else size
    return manifest if size is None and window is None else _imported(manifest, size, window, cache, progress)


def _read(
    kind: Kind,
    path: Path | None,
    classes: Sequence[str] | None,
    multi_label: bool,
    patients: Path | None,
    labels: Path | None,
    progress: Progress,
) -> Manifest:
    path = _given(kind, path)
    if kind == "labelled":
        if labels is None:
            raise BadPlan("a folder of images without folders of classes needs a table: labels: FILE.csv")
        return read_labelled(path, labels, classes=classes, multi_label=multi_label, progress=progress)
    if labels is not None:
        raise BadPlan(f"data of kind {kind} say themselves what they show; leave labels out")
    if kind == "nih":
        return read_nih(path, classes=classes, multi_label=multi_label, progress=progress)
    if kind == "manifest":
        return Manifest.read(path)
    if kind != "folder":
        raise UnknownName(f"no kind of data named {kind!r}{nearest(kind, get_args(Kind))}")
    if multi_label:
        raise BadPlan("multi_label needs several findings per image; a folder per class holds one class each")
    return read_folder(path, patients=patients, classes=classes, progress=progress)


def _given(kind: Kind, path: Path | None) -> Path:
    if path is None:
        raise BadPlan(f"data of kind {kind!r} needs a path; only phantoms need none")
    return path


def _check_told(kind: Kind, label_tag: str | None, voi: Voi, axis: str, slices: Slices) -> None:
    if kind != "nifti" and (axis, slices) != (AXIS, SLICES):
        raise BadPlan(f"axis and slices are of NIfTI volumes; data of kind {kind} have none")
    if kind != "dicom" and (label_tag or (voi != "file" and kind != "nifti")):
        raise BadPlan(f"label_tag and voi are of DICOM files (voi also of NIfTI); data of kind {kind} have none")


def _how(
    kind: Kind, labels: Path | None, label_tag: str | None, voi: Voi, classes: Sequence[str] | None, multi_label: bool
) -> dict[str, Any]:
    """What the reader of a foreign data set is told."""
    told: dict[str, Any] = {"classes": list(classes) if classes else None, "multi_label": multi_label or None}
    if kind in ("dicom", "nifti"):
        told |= {"labels": str(labels.resolve()) if labels else None, "voi": voi if isinstance(voi, str) else list(voi)}
    elif labels is not None:
        raise BadPlan(f"data of kind {kind} say themselves what they show; leave labels out")
    return told | {"label_tag": label_tag}


def _phantoms(cache: Path, count: int, size: int, seed: int, progress: Progress) -> Manifest:
    key = digest({"phantoms": count, "size": size, "seed": seed, "told": ["patient", "image"]})
    return _kept(cache / f"phantoms-{key[:16]}") or materialise_phantoms(
        cache / f"phantoms-{key[:16]}", count=count, size=size, seed=seed, progress=progress
    )


def _inflated(manifest: Manifest, per_class: int, seed: int, cache: Path, progress: Progress) -> Manifest:
    key = digest({"of": manifest.fingerprint(), "per_class": per_class, "seed": seed})
    out = cache / f"inflated-{key[:16]}"
    return _kept(out) or inflated_by(manifest, per_class, out, seed=seed, progress=progress)


def _imported(
    manifest: Manifest, size: int | None, window: tuple[float, float] | None, cache: Path, progress: Progress
) -> Manifest:
    about = {"labels": manifest.labels, "head": manifest.head, "source": dict(manifest.source)}
    about |= {"size": size, "window": window}
    key = digest({**about, "samples": [asdict(sample) for sample in manifest.samples]})
    out = cache / f"imported-{key[:16]}"
    return _kept(out) or import_images(manifest, out, size=size, window=window, progress=progress)


def _kept(folder: Path) -> Manifest | None:
    """A finished earlier import: its manifest is written last."""
    return Manifest.read(folder) if (folder / NAME).is_file() else None


def _only_classes(manifest: Manifest, classes: Sequence[str] | None) -> Manifest:
    if not classes:
        return manifest
    for name in classes:
        if name not in manifest.labels:
            raise UnknownName(f"no class named {name!r}{nearest(name, manifest.labels)}")
    chosen = tuple(dict.fromkeys(classes))
    if manifest.head == "sigmoid":
        kept = [replace(s, labels=tuple(name for name in chosen if name in s.labels)) for s in manifest.samples]
    else:
        if len(chosen) < 2:
            raise BadData(f"a classifier needs at least two classes; got {', '.join(chosen)}")
        kept = [sample for sample in manifest.samples if sample.labels[0] in chosen]
    return replace(manifest, labels=chosen, samples=tuple(kept))


def _is_split(manifest: Manifest, kind: Kind) -> bool:
    """Whether someone has decided the folds already: a manifest, or a source with all three of them."""
    if kind == "manifest":
        return "split" in manifest.source or any(s.fold == "validation" for s in manifest.samples)
    return kind in READERS and {s.fold for s in manifest.samples} == set(FOLDS)
