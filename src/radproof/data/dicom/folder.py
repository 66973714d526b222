# SPDX-License-Identifier: Apache-2.0
"""A folder of DICOM files as PNG files, what their headers say of the display, and a manifest that names nobody."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from radproof.core.progress import SILENT, Progress
from radproof.core.types import Head
from radproof.data.damaged import Damage, refuse
from radproof.data.dicom.display import Voi, check_voi
from radproof.data.dicom.entry import Entry, in_order, read_entry, slices
from radproof.data.dicom.header import NoImage, read_header
from radproof.data.dicom.labelling import Labeller, by_folder, by_table, by_tag, check_sources, classes_of
from radproof.data.dicom.opened import is_dicom
from radproof.data.dicom.read import decode
from radproof.data.images import StoredImage
from radproof.data.inventory import sample_id, secret_of
from radproof.data.labels import Claims, read_labels
from radproof.data.manifest import Manifest, Sample
from radproof.data.pictures import Picture, materialise
from radproof.data.pool import each
from radproof.errors import BadData, BadImage

DIRECTORY, NO_IMAGE, NOT_DICOM, LINK = "DICOMDIR", "DICOM without an image", "not DICOM", "links out of the folder"
UNLABELLED, OTHER_CLASSES, UNUSED = "unlabelled", "other classes", "table rows without an image"


def read_dicom_folder(
    root: Path,
    out: Path,
    *,
    labels: Path | None = None,
    label_tag: str | None = None,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    voi: Voi = "file",
    damaged: Damage = refuse,
    progress: Progress = SILENT,
) -> Manifest:
    """Every DICOM image below `root`, told by its content, as images/<id>.png and images/<id>.dicom.json in `out`.

    Labels: the table `labels` (its key the path, the file's name or the SOPInstanceUID), else the element `label_tag`
    of each file (a keyword such as BodyPartExamined), else the folders ([train/]CLASS/...). A file of several frames
    gives an image per frame, path#frame; slices of a series stand in their order in the body. What is left out is
    counted in source["left_out"]. Opens strangers' bytes with native decoders: call it in a guarded child process.
    Raises BadImage naming a damaged file by its path within `root`, unless `damaged` lets it pass; BadData or BadInput
    for what cannot be done.
    """
    voi = check_voi(voi)
    check_sources(labels, label_tag, multi_label=multi_label)
    if not root.is_dir():
        raise BadData(f"there is no folder {root}; expected one that holds DICOM files")
    table = None if labels is None else read_labels(labels, root=root, classes=classes, multi_label=multi_label)
    if table is not None:
        table.check_patients()
    claims = None if table is None else Claims(table)
    left_out: Counter[str] = Counter()
    entries = in_order(_entries(root, label_tag, left_out, damaged, progress))
    _check_twice(entries)
    labeller = by_table(claims) if claims else by_tag(multi_label=multi_label) if label_tag else by_folder
    samples = _samples(entries, labeller, voi, left_out)
    if claims is None:
        head: Head = "sigmoid" if multi_label else "softmax"
        shown = classes_of([sample for _, _, sample in samples], classes, fewest=1 if multi_label else 2)
    else:
        head, shown = claims.table.head, claims.table.classes
        left_out[UNUSED] = claims.unused
    samples = [(entry, frame, kept) for entry, frame, sample in samples if (kept := _within(sample, shown, head))]
    left_out[OTHER_CLASSES] = sum(entry.frames for entry in entries) - left_out[UNLABELLED] - len(samples)
    source = {
        "kind": "dicom",
        "classes": list(shown),
        "multi_label": multi_label,
        "labels": "table" if table else label_tag or "folders",
        "voi": list(voi) if isinstance(voi, tuple) else voi,
        "left_out": {reason: count for reason, count in sorted(left_out.items()) if count},
        "patients": _patients(samples),
    }
    pictures = [_picture(root, entry, frame, sample, voi) for entry, frame, sample in samples]
    return materialise(pictures, out, labels=shown, head=head, source=source, damaged=damaged, progress=progress)


def _entries(root: Path, tag: str | None, left_out: Counter[str], damaged: Damage, progress: Progress) -> list[Entry]:
    """Every file below `root` that is a DICOM image, the others counted."""
    paths = _files(root)
    first = next((path for path in paths if not _other(root, path)), None)
    key = b"" if first is None else secret_of(root / first, "pseudonyms")

    def one(path: str) -> Entry | str | None:
        if other := _other(root, path):
            return other
        try:
            return read_entry(root, path, tag, key)
        except NoImage:
            return NO_IMAGE
        except BadImage as error:
            return damaged(path, error)

    found: list[Entry] = []
    for entry in each(one, paths, stage="read headers", progress=progress):
        if isinstance(entry, str):
            left_out[entry] += 1
        elif entry is not None:
            found.append(entry)
    if not found:
        seen = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items())) or "no files"
        raise BadData(f"the folder holds no DICOM image ({seen}); check the path")
    return found


def _other(root: Path, path: str) -> str:
    """What a file is that is no DICOM file of this folder, "" for those that are."""
    if not (root / path).resolve().is_relative_to(root.resolve()):
        return LINK
    if Path(path).name.upper() == "DICOMDIR":
        return DIRECTORY
    return "" if (root / path).is_file() and is_dicom(root / path) else NOT_DICOM


def _files(root: Path) -> list[str]:
    found: list[str] = []
    for parent, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__")))
        found += [(Path(parent) / name).relative_to(root).as_posix() for name in names if not name.startswith(".")]
    return sorted(found)


def _check_twice(entries: Sequence[Entry]) -> None:
    first: dict[str, str] = {}
    for entry in entries:
        if entry.instance and first.setdefault(entry.instance, entry.path) != entry.path:
            raise BadData(
                f"{entry.path} and {first[entry.instance]} are the same image by their SOPInstanceUID; remove one, "
                "or it would stand in two folds"
            )


def _samples(
    entries: Sequence[Entry], labeller: Labeller, voi: Voi, left_out: Counter[str]
) -> list[tuple[Entry, int, Sample]]:
    """Every frame with its labels; those that nothing labels are counted."""
    found: list[tuple[Entry, int, Sample]] = []
    for entry, place in zip(entries, slices(entries), strict=True):
        for frame in range(entry.frames):
            path = f"{entry.path}#{frame}" if entry.frames > 1 else entry.path
            step: dict[str, Any] = {"step": "dicom", "from": entry.sha256, "frame": frame, "voi": voi}
            if entry.series:
                step |= {"series": entry.series, "slice": place + frame}
            patient = entry.patient or entry.group
            bare = Sample(
                sample_id(path), path, patient, (), view=entry.view, age=entry.age, sex=entry.sex, chain=(step,)
            )
            sample = labeller(entry, bare)
            if sample is None:
                left_out[UNLABELLED] += 1
            else:
                found.append((entry, frame, sample))
    return found


def _patients(samples: Sequence[tuple[Entry, int, Sample]]) -> str:
    """Whether the patient of every image is known, or of some only the series, or of some nothing."""
    if not all(sample.patient for _, _, sample in samples):
        return "unknown"
    return "series" if any(sample.patient == entry.group for entry, _, sample in samples) else "known"


def _within(sample: Sample, classes: Sequence[str], head: Head) -> Sample | None:
    """The sample with the labels that are classes; None for a softmax head where that is not one."""
    kept = tuple(label for label in sample.labels if label in classes)
    return replace(sample, labels=kept) if head == "sigmoid" or len(kept) == 1 else None


def _picture(root: Path, entry: Entry, frame: int, sample: Sample, voi: Voi) -> Picture:
    sidecar: dict[str, Any] = {}  # known once the pixels are: a display may depend on them

    def load() -> StoredImage:
        image = decode(read_header(root / entry.path), frame=frame, voi=voi, sha256=entry.sha256)
        sidecar.update(image.sidecar())
        return image.stored

    return Picture(sample, load, sidecar)
