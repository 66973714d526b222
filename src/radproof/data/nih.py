# SPDX-License-Identifier: Apache-2.0
"""The NIH ChestX-ray14 release, read as it was downloaded.

Labels are text-mined and noisy; the release's own lists are disjoint by patient. Wang et al., "ChestX-ray8", CVPR 2017.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from radproof.core.goals import NORMAL
from radproof.core.names import nearest
from radproof.core.progress import SILENT, Progress
from radproof.data.inventory import check_classes, hashed, parse_age, sample_id
from radproof.data.manifest import Manifest, Sample
from radproof.data.table import Row, read_table
from radproof.errors import BadData, UnknownName

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)
NO_FINDING = "No Finding"
DEFAULT_CLASSES = ("Normal", "Pneumonia", "Pneumothorax")
VIEWS = ("AP", "PA")
_IMAGE, _LABELS, _PATIENT, _VIEW = "Image Index", "Finding Labels", "Patient ID", "View Position"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def read_nih(
    root: Path,
    *,
    classes: Sequence[str] | None = None,
    multi_label: bool = False,
    views: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Manifest:
    """The release below `root` as a manifest; folds are the release's own lists ("train" is its train_val list).

    Normal (or No Finding) means exactly that; any other class means that finding and no other of the chosen ones.
    Images with two chosen findings or none are left out and counted in `source`. multi_label keeps every image, with
    the chosen findings (all 14 by default) side by side.
    Raises BadData for a damaged release or an empty class, UnknownName for a finding or view that is none.
    """
    chosen = _chosen(classes, multi_label)
    _check_views(views)
    if not root.is_dir():
        raise BadData(f"there is no folder {root}; expected the NIH release with images/ and Data_Entry_2017*.csv")
    rows = _rows(_entry_table(root))
    release = _Release(_image_files(root), _lists(root))
    left_out: Counter[str] = Counter()
    samples: list[Sample] = []
    for row in rows:
        sample = _sample(row, release, chosen, multi_label, views)
        if isinstance(sample, str):
            left_out[sample] += 1
        else:
            samples.append(sample)
    _check(samples, chosen, left_out)
    source = {
        "kind": "nih",
        "classes": list(chosen),
        "multi_label": multi_label,
        "views": sorted(views) if views else [],
        "left_out": dict(sorted(left_out.items())),
        "release_lists": bool(release.folds),
    }
    head = "sigmoid" if multi_label else "softmax"
    return Manifest(root, chosen, hashed(samples, root, progress), head, source)


@dataclass(frozen=True)
class _Release:
    files: Mapping[str, str]  # file name -> path below the root
    folds: Mapping[str, str]  # file name -> train | test


def _chosen(classes: Sequence[str] | None, multi_label: bool) -> tuple[str, ...]:
    chosen = tuple(classes) if classes else FINDINGS if multi_label else DEFAULT_CLASSES
    for name in chosen:
        if name not in FINDINGS and (multi_label or not _is_normal(name)):
            known = FINDINGS if multi_label else (*FINDINGS, "Normal")
            reason = " (multi-label: Normal is no finding, it is an image without any)" if _is_normal(name) else ""
            raise UnknownName(f"no NIH finding named {name!r}{reason}{nearest(name, known)}")
    if len({NO_FINDING if _is_normal(name) else name for name in chosen}) < len(chosen):
        raise BadData(f"classes name a class twice: {', '.join(chosen)}; name each once")
    if len(chosen) < 2 and not multi_label:
        raise BadData(f"a classifier needs at least two classes; got {', '.join(chosen)}; add Normal, for example")
    return chosen


def _is_normal(name: str) -> bool:
    return name.strip().lower() in NORMAL


def _check_views(views: Sequence[str] | None) -> None:
    for view in views or ():
        if view not in VIEWS:
            raise UnknownName(f"no view named {view!r}{nearest(view, VIEWS)}")


def _entry_table(root: Path) -> Path:
    tables = sorted(root.glob("Data_Entry_2017*.csv"))
    if not tables:
        raise BadData(f"no Data_Entry_2017*.csv in {root}; download it beside the images, from where they came")
    return tables[-1]  # _v2020 sorts after the first release


def _rows(table: Path) -> list[Row]:
    rows = read_table(table, (_IMAGE, _LABELS, _PATIENT))
    first: dict[str, int] = {}
    for row in rows:
        name = row[_IMAGE]
        if not _FILE_NAME.fullmatch(name):
            raise BadData(f"{table.name}, line {row.line}: {name[:80]!r} is not the bare name of an image file")
        if name in first:
            raise BadData(f"{table.name}, line {row.line}: image {name} was already given in line {first[name]}")
        if not (row[_PATIENT].isascii() and row[_PATIENT].isdigit()):
            raise BadData(f"{table.name}, line {row.line}: patient {row[_PATIENT][:20]!r} is not a number")
        for finding in _findings(row):
            if finding not in FINDINGS and finding != NO_FINDING:
                hint = nearest(finding[:80], (*FINDINGS, NO_FINDING))
                raise BadData(f"{table.name}, line {row.line}: unknown finding {finding[:80]!r}{hint}")
        first[name] = row.line
    return rows


def _findings(row: Row) -> frozenset[str]:
    return frozenset(
        finding if finding == NO_FINDING else finding.replace(" ", "_")
        for finding in (part.strip() for part in row[_LABELS].split("|"))
    )


def _image_files(root: Path) -> dict[str, str]:
    """Every file in images/, images_001/ ... and their images/ folders, by name; the first place wins."""
    found: dict[str, str] = {}
    for folder in sorted(root.glob("images*")):
        for inner in (folder, folder / "images"):
            if inner.is_dir():
                for file in sorted(inner.iterdir()):
                    found.setdefault(file.name, file.relative_to(root).as_posix())
    return found


def _lists(root: Path) -> dict[str, str]:
    """File name -> fold by the release's lists; empty where the lists were not downloaded."""
    folds: dict[str, str] = {}
    for fold, name in (("train", "train_val_list.txt"), ("test", "test_list.txt")):
        path = root / name
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8-sig", errors="replace").split():
            if folds.setdefault(line, fold) != fold:
                raise BadData(
                    f"image {line[:80]!r} is in both train_val_list.txt and test_list.txt; download them again"
                )
    return folds


def _sample(
    row: Row, release: _Release, chosen: Sequence[str], multi_label: bool, views: Sequence[str] | None
) -> Sample | str:
    """The row as a sample, or why it is left out."""
    if views and row[_VIEW] not in views:
        return "other views"
    found = _findings(row)
    labels = tuple(name for name in chosen if name in found or (_is_normal(name) and found == frozenset((NO_FINDING,))))
    if not multi_label and len(labels) != 1:
        return "two chosen findings" if labels else "other findings"
    name = row[_IMAGE]
    path = release.files.get(name)
    if path is None:
        return "missing files"
    return Sample(
        id=sample_id(name),  # the name is unique in the release, wherever the folders were unpacked
        path=path,
        patient=f"nih-{int(row[_PATIENT])}",
        labels=labels,
        fold=release.folds.get(name, ""),
        view=row[_VIEW],
        age=parse_age(row["Patient Age"]),
        sex=row["Patient Gender"] or row["Patient Sex"],
    )


def _check(samples: Sequence[Sample], chosen: Sequence[str], left_out: Mapping[str, int]) -> None:
    missing = left_out.get("missing files", 0)
    if not samples and missing:
        raise BadData(
            f"none of the {missing} images that the table names is on disk; unpack the archives so that images/ "
            "(or images_001/images/ ...) lies beside the table"
        )
    absent = f" ({missing} image files of the table are missing on disk)" if missing else ""
    check_classes(samples, chosen, remedy=f"leave it out of `classes` or complete the download{absent}")
