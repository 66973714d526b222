# SPDX-License-Identifier: Apache-2.0
"""Images sorted into one folder per class, with or without folders for the folds: what most teams have.

Such folders do not say whose image it is, so leakage between folds cannot be ruled out unless a table of patients
comes along. Patients are pseudonymised on the way in.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.data.augmented import STEP, says_augmented
from radproof.data.images import SUFFIXES
from radproof.data.inventory import check_classes, hashed, parse_age, pseudonym, sample_id
from radproof.data.manifest import Fold, Manifest, Sample
from radproof.data.table import Row, inner_path, read_table
from radproof.data.within import check_link, files_below, is_hidden
from radproof.errors import BadData, UnknownName

FOLD_FOLDERS: Mapping[str, Fold] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_LAYOUT = "expected one folder per class (Normal/, Pneumonia/, ...), or train/, val/ and test/ that hold them"


def read_folder(
    root: Path,
    *,
    patients: Path | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """root/CLASS/... or root/FOLD/CLASS/... as a manifest; `classes` takes some of the classes.

    `patients` is a CSV of path,patient[,view,age,sex], paths relative to root. Without it patients are "" and
    source["patients"] is "unknown". Raises BadData for a layout without classes, an empty class, an image that the
    table lacks; UnknownName for a class without a folder.
    """
    folders = _class_folders(root)
    labels = _labels(folders, classes)
    samples: list[Sample] = []
    ignored: Counter[str] = Counter()
    for folder in folders:
        if folder.label in labels:
            _collect(root, folder, samples, ignored)
    check_classes(samples, labels, remedy=_empty_remedy(ignored))
    _check_each_fold(samples, labels)
    left_out = {"other file types": ignored.total()}
    if patients:
        samples, left_out["table rows without an image"] = _with_patients(samples, patients)
    source = {
        "kind": "folder",
        "classes": list(labels),
        "left_out": left_out,
        "patients": "table" if patients else "unknown",
    }
    return Manifest(root, labels, hashed(samples, root, progress), "softmax", source)


@dataclass(frozen=True)
class _ClassFolder:
    path: Path
    label: str
    fold: str


def _class_folders(root: Path) -> list[_ClassFolder]:
    if not root.is_dir():
        raise BadData(f"there is no folder {root}; {_LAYOUT}")
    inner = _folders(root)
    folds = [folder for folder in inner if folder.name.lower() in FOLD_FOLDERS]
    if not folds:
        return [_ClassFolder(folder, folder.name, "") for folder in inner]
    if len(folds) < len(inner):
        others = ", ".join(folder.name for folder in inner if folder not in folds)
        raise BadData(f"folders for folds stand beside others ({others}); {_LAYOUT}")
    return [
        _ClassFolder(folder, folder.name, FOLD_FOLDERS[fold.name.lower()])
        for fold in folds
        for folder in _folders(fold)
    ]


def _folders(root: Path) -> list[Path]:
    found = sorted(entry for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    for folder in found:
        check_link(folder, root)
    return found


def _labels(folders: Sequence[_ClassFolder], classes: Sequence[str] | None) -> tuple[str, ...]:
    found = sorted({folder.label for folder in folders})
    for name in classes or ():
        if name not in found:
            raise UnknownName(f"no class folder named {name!r}{nearest(name, found)}")
    labels = tuple(dict.fromkeys(classes)) if classes else tuple(found)
    if len(labels) < 2:
        raise BadData(f"a classifier needs at least two classes; found {', '.join(labels) or 'none'}; {_LAYOUT}")
    return labels


def _collect(root: Path, folder: _ClassFolder, samples: list[Sample], ignored: Counter[str]) -> None:
    for path in files_below(folder.path, root):
        suffix = Path(path).suffix.lower()
        if suffix not in SUFFIXES:
            ignored[suffix or "no suffix"] += 1
            continue
        chain = (STEP,) if says_augmented(path) else ()
        samples.append(Sample(sample_id(path), path, "", (folder.label,), folder.fold, chain=chain))


def _empty_remedy(ignored: Counter[str]) -> str:
    seen = ", ".join(f"{count} {suffix}" for suffix, count in sorted(ignored.items()))
    return (
        f"remove the empty folder or put images ({', '.join(SUFFIXES)}) into it"
        f"{f'; files of other types were seen: {seen}' if seen else ''}"
    )


def _check_each_fold(samples: Sequence[Sample], labels: Sequence[str]) -> None:
    for fold in sorted({sample.fold for sample in samples}):
        try:
            check_classes([s for s in samples if s.fold == fold], labels, remedy="move images there or split anew")
        except BadData as error:
            raise BadData(f"{fold} folder: {error}") from None


def _with_patients(samples: Sequence[Sample], table: Path) -> tuple[list[Sample], int]:
    """The samples with what the table says of them, and how many of its rows name no image."""
    rows = _by_path(table)
    without = [sample.path for sample in samples if sample.path not in rows]
    if without:
        raise BadData(
            f"{len(without)} images have no row in {table.name}, the first is {without[0]!r}; "
            "its column `path` must be relative to the data set's folder"
        )
    known = [
        replace(
            sample,
            patient=pseudonym(rows[sample.path]["patient"]),
            view=rows[sample.path]["view"],
            age=parse_age(rows[sample.path]["age"]),
            sex=rows[sample.path]["sex"],
        )
        for sample in samples
    ]
    return known, len(rows) - len(known)


def _by_path(table: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for row in read_table(table, ("path", "patient")):
        where = f"{table.name}, line {row.line}"
        path = inner_path(row["path"], where=where)
        if path in rows:
            raise BadData(f"{where}: the image was already given in line {rows[path].line}")
        if not row["patient"]:
            raise BadData(f"{where}: no patient; give every image one, a number of your own will do")
        rows[path] = row
    return rows
