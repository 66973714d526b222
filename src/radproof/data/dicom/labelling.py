# SPDX-License-Identifier: Apache-2.0
"""Where the labels of a folder of DICOM files come from: a table, an element of each file, or the folders."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from radproof.core.names import nearest
from radproof.data.dicom.entry import Entry
from radproof.data.folder import FOLD_FOLDERS
from radproof.data.label_columns import plain_text
from radproof.data.labels import MAX_CLASSES, Claims
from radproof.data.manifest import Sample
from radproof.errors import BadData, BadInput, UnknownName

Labeller = Callable[[Entry, Sample], Sample | None]
"""A sample with its labels, or None where nothing says them."""

TAGS = (
    "AdmittingDiagnosesDescription",
    "BodyPartExamined",
    "ImageLaterality",
    "ImageType",
    "Laterality",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "PatientSex",
    "PerformedProcedureStepDescription",
    "ProtocolName",
    "ReasonForTheRequestedProcedure",
    "RequestedProcedureDescription",
    "SeriesDescription",
    "StudyDescription",
    "ViewPosition",
)


def check_tag(keyword: str) -> None:
    """Raise UnknownName for an element that holds no label: names, numbers and dates would become classes."""
    if keyword not in TAGS:
        raise UnknownName(
            f"labels cannot come from the DICOM element {keyword[:80]!r}{nearest(keyword[:80], TAGS)}; "
            f"possible are {', '.join(TAGS)}"
        )


def by_table(claims: Claims) -> Labeller:
    """By path#frame, path, file name or SOPInstanceUID. Raises BadData for a row that fits two files."""

    def label(entry: Entry, sample: Sample) -> Sample | None:
        found = claims.of(entry.path, sample.path, entry.path, entry.instance)
        return None if found is None else found.onto(sample)

    return label


def by_tag(*, multi_label: bool) -> Labeller:
    """By the values of an element; without `multi_label` there must be exactly one."""

    def label(entry: Entry, sample: Sample) -> Sample | None:
        values = tuple(dict.fromkeys(value for value in entry.tagged if value))
        if not values or (len(values) > 1 and not multi_label):
            return None
        return replace(sample, labels=tuple(plain_text(value, "label", where=sample.path) for value in values))

    return label


def by_folder(entry: Entry, sample: Sample) -> Sample | None:
    """By the first folder of the path, below one for the fold where there is one."""
    folders = PurePosixPath(entry.path).parts[:-1]
    fold = FOLD_FOLDERS.get(folders[0].lower(), "") if len(folders) > 1 else ""
    inner = folders[1:] if fold else folders
    return replace(sample, labels=(inner[0],), fold=fold) if inner else None


def classes_of(samples: Sequence[Sample], classes: Sequence[str] | None, *, fewest: int) -> tuple[str, ...]:
    """The classes asked for, or all that are shown, sorted. Raises BadData for too few or too many."""
    found = sorted({label for sample in samples for label in sample.labels})
    for name in classes or ():
        if name not in found:
            raise UnknownName(f"no image shows the class {name[:80]!r}{nearest(name[:80], found)}")
    chosen = tuple(dict.fromkeys(classes)) if classes else tuple(found)
    if len(chosen) < fewest:
        raise BadData(
            f"a classifier needs at least {fewest} classes; found {', '.join(chosen) or 'none'}; sort the files into "
            "one folder per class, or give a table of labels or the DICOM element that holds them"
        )
    if len(chosen) > MAX_CLASSES:
        raise BadData(f"{len(chosen)} different labels are no classes; take another DICOM element or a table of labels")
    return chosen


def check_sources(labels: Path | None, label_tag: str | None, *, multi_label: bool) -> None:
    """Labels come from one place. Raises BadInput for two, or for folders that should hold several labels."""
    if labels is not None and label_tag is not None:
        raise BadInput("labels come from a table or from a DICOM element, not from both; give one of them")
    if multi_label and labels is None and label_tag is None:
        raise BadInput("folders give one label an image; for several give a table of labels or a DICOM element")
    if label_tag is not None:
        check_tag(label_tag)
