# SPDX-License-Identifier: Apache-2.0
"""What a folder's listing keeps of each file: little, for there are many, and nothing that names a person."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from radproof.core.files import sha256_file
from radproof.data.dicom.deidentify import facts_of, patient_of
from radproof.data.dicom.header import Header, read_header
from radproof.data.dicom.values import numbers_of
from radproof.data.inventory import series_pseudonym

SLICED = ("CT", "MR", "PT")


@dataclass(frozen=True)
class Entry:
    """One DICOM file with an image."""

    path: str  # within the source
    sha256: str
    frames: int
    instance: str = field(repr=False)  # SOPInstanceUID, for tables that name images by it
    series: str  # a pseudonym; "" for images that are no slices
    group: str  # of images that go together: a pseudonym of the series, or of a file with several frames; else ""
    place: tuple[float, ...]  # sorts the slices of a series
    patient: str  # a pseudonym
    view: str
    age: int | None
    sex: str
    tagged: tuple[str, ...]  # values of the element that labels are taken from


def read_entry(root: Path, path: str, tag: str | None, key: bytes) -> Entry:
    """The entry of root/path, by its header; `key` is that of the pseudonyms. Raises BadImage."""
    header = read_header(root / path, also=() if tag is None else (tag,))
    facts = facts_of(header)
    series, frames = header.text("SeriesInstanceUID"), header.shape.frames
    return Entry(
        path=path,
        sha256=sha256_file(root / path),
        frames=frames,
        instance=header.text("SOPInstanceUID"),
        series=series_pseudonym(series, key) if facts.modality in SLICED else "",
        group=series_pseudonym(series or (f"file {path}" if frames > 1 else ""), key),
        place=_place(header),
        patient=patient_of(header, key),
        view=facts.view,
        age=facts.age,
        sex=facts.sex,
        tagged=tuple(str(value).strip("\x00 ") for value in header.values(tag)) if tag else (),
    )


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """By path; the slices of a series follow its first one, in their order in the body."""
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        groups.setdefault(entry.series or f"/{entry.path}", []).append(entry)
    return [entry for group in groups.values() for entry in sorted(group, key=lambda entry: entry.place)]


def slices(entries: Sequence[Entry]) -> list[int]:
    """Each entry's number within its series, from 0."""
    seen: dict[str, int] = {}
    numbers: list[int] = []
    for entry in entries:
        numbers.append(seen.get(entry.series, 0))
        seen[entry.series] = numbers[-1] + entry.frames
    return numbers


def _place(header: Header) -> tuple[float, ...]:
    """The distance along the slices' normal, then the instance number."""
    at = numbers_of(header.dataset, "ImagePositionPatient")
    across = numbers_of(header.dataset, "ImageOrientationPatient")
    number = (*numbers_of(header.dataset, "InstanceNumber"), 0.0)[0]
    if len(at) != 3 or len(across) != 6:
        return (0.0, number)
    return (round(float(np.dot(np.cross(across[:3], across[3:]), at)), 4), number)
