# SPDX-License-Identifier: Apache-2.0
"""What a server tells of a data set that it imported: counts, grids, what was left out, and the audit."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from radproof.assess.baselines import shortcuts
from radproof.assess.result import Shortcut
from radproof.core.progress import Progress
from radproof.core.records import Record
from radproof.core.types import Head
from radproof.data.audit import audit
from radproof.data.load import grids
from radproof.data.manifest import FOLDS, Manifest
from radproof.data.zipped import Unpacked
from radproof.measure.intervals import Resampler

_SHOWN = 200  # excluded files, and grids, that are listed
REMOVED = "the uploaded archive and the original files were removed once the images were imported"


class Excluded(Record):
    """A file that is no usable image: by its number in the archive."""

    index: int  # 1 is the first entry; 0 where it is not known
    sha256: str  # its first 16 digits
    reason: str


class FoldFacts(Record):
    """Of one fold."""

    images: int
    patients: int
    classes: dict[str, int]  # images per class


class GridFacts(Record):
    """Images of one size and depth."""

    height: int
    width: int
    channels: int
    levels: int  # grey levels from black to white
    images: int


class AuditFacts(Record):
    """What speaks against test figures on these data."""

    failed: bool
    lines: tuple[str, ...]  # the findings in words, images by their ids
    shortcuts: tuple[Shortcut, ...] = ()  # what can be told without a look at what the images show


class Received(Record):
    """A data set as it lies in its folder."""

    kind: Literal["manifest"] = "manifest"  # as a plan names it
    source: str  # what it was: folder, labelled, dicom, nifti, nih, medmnist, webdataset, manifest
    labels: tuple[str, ...]
    head: Head
    images: int
    patients: int
    patients_known: bool  # for every image; else patients in two folds cannot be ruled out
    phantom: bool
    folds: dict[str, FoldFacts]
    grids: tuple[GridFacts, ...]
    views: dict[str, int]
    left_out: dict[str, int]
    excluded: tuple[Excluded, ...]
    excluded_count: int
    audit: AuditFacts
    bytes: int
    fingerprint: str
    removed: str = REMOVED
    guard: tuple[str, ...] = ()


def facts_of(
    made: Manifest,
    found: Manifest,
    source: str,
    excluded: Sequence[Excluded],
    unpacked: Unpacked,
    progress: Progress,
) -> Received:
    """Of a data set as it was `made` from what was `found`: the audit looks at the latter, whose names say more."""
    looked = audit(found, progress=progress)
    test = made.only(sample for sample in made.samples if sample.fold == "test")
    offered = shortcuts(made, test, Resampler([s.patient for s in test.samples])) if len(test) else ()
    counted = Counter(
        (height, width, channels, depth.top + 1)
        for height, width, channels, depth in grids(made.samples, made.root, progress=progress)
    )
    told = made.source.get("left_out")
    left_out = {str(reason): int(count) for reason, count in told.items() if count} if isinstance(told, dict) else {}
    return Received(
        source=source,
        labels=made.labels,
        head=made.head,
        images=len(made),
        patients=len(made.patients()),
        patients_known=all(sample.patient for sample in made.samples),
        phantom=made.source.get("kind") == "phantom",
        folds={name: _fold(made, name) for name in FOLDS if any(s.fold == name for s in made.samples)},
        grids=tuple(
            GridFacts(height=h, width=w, channels=c, levels=levels, images=count)
            for (h, w, c, levels), count in counted.most_common(_SHOWN)
        ),
        views=dict(Counter(sample.view for sample in made.samples if sample.view).most_common(_SHOWN)),
        left_out={**left_out, **{reason: count for reason, count in unpacked.left_out.items() if count}},
        excluded=tuple(excluded[:_SHOWN]),
        excluded_count=len(excluded),
        audit=AuditFacts(failed=looked.failed, lines=tuple(looked.lines()), shortcuts=offered),
        bytes=sum(sample.size for sample in made.samples),
        fingerprint=made.fingerprint(),
    )


def _fold(made: Manifest, name: str) -> FoldFacts:
    fold = made.fold(name)
    return FoldFacts(images=len(fold), patients=len(fold.patients()), classes=fold.counts())
