# SPDX-License-Identifier: Apache-2.0
"""What a server tells of a data set that it imported: counts, grids, what was left out, and the audit."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from radproof.assess.baselines import shortcuts
from radproof.assess.result import Shortcut
from radproof.assess.unreadable import Excluded, UnreadableFacts
from radproof.core.progress import Progress
from radproof.core.records import Record
from radproof.core.types import Head
from radproof.data.audit import Audit, audit
from radproof.data.load import grids
from radproof.data.manifest import FOLDS, Manifest
from radproof.data.zipped import Unpacked
from radproof.measure.intervals import Resampler

_SHOWN = 200  # grids and views that are listed
_CLASSES = 5000
_LINES, _LONG = 500, 5000  # of an audit, and characters of one
Count = Annotated[int, Field(ge=0, le=10**12)]
Size = Annotated[int, Field(ge=0, le=2**53)]
Word = Annotated[str, Field(max_length=300)]
Line = Annotated[str, Field(max_length=_LONG)]
REMOVED = "the uploaded archive and the original files were removed once the images were imported"


class FoldFacts(Record):
    """Of one fold."""

    images: Count
    patients: Count
    classes: Annotated[dict[Word, Count], Field(max_length=_CLASSES)]  # images per class


class GridFacts(Record):
    """Images of one size and depth."""

    height: Count
    width: Count
    channels: Count
    levels: Count  # grey levels from black to white
    images: Count


class AuditFacts(Record):
    """What speaks against test figures on these data."""

    failed: bool
    lines: Annotated[tuple[Line, ...], Field(max_length=_LINES)]  # the findings in words, images by their ids
    shortcuts: Annotated[
        tuple[Shortcut, ...], Field(max_length=20)
    ] = ()  # what can be told without a look at what the images show
    unreadable: UnreadableFacts = UnreadableFacts()


class Received(Record):
    """A data set as it lies in its folder. What a guarded process may say of it is bounded."""

    kind: Literal["manifest"] = "manifest"  # as a plan names it
    source: Word  # what it was: folder, labelled, dicom, nifti, nih, medmnist, webdataset, manifest
    labels: Annotated[tuple[Word, ...], Field(max_length=_CLASSES)]
    head: Head
    images: Count
    patients: Count
    patients_known: bool  # for every image; else patients in two folds cannot be ruled out
    phantom: bool
    folds: Annotated[dict[Word, FoldFacts], Field(max_length=len(FOLDS))]
    grids: Annotated[tuple[GridFacts, ...], Field(max_length=_SHOWN)]
    views: Annotated[dict[Word, Count], Field(max_length=_SHOWN)]
    left_out: Annotated[dict[Word, Count], Field(max_length=_SHOWN)]
    excluded: Annotated[tuple[Excluded, ...], Field(max_length=_SHOWN)]
    excluded_count: Count
    audit: AuditFacts
    bytes: Size  # of its images
    fingerprint: Word
    removed: Word = REMOVED
    guard: Annotated[tuple[Word, ...], Field(max_length=20)] = ()


def facts_of(
    made: Manifest,
    found: Manifest,
    source: str,
    excluded: Sequence[Excluded],
    unpacked: Unpacked,
    progress: Progress,
    *,
    damaged: UnreadableFacts | None = None,
    audited: Audit | None = None,
) -> Received:
    """Of a data set as it was `made` from what was `found`: the audit looks at the latter, whose names say more.

    `audited`: what it said, where it has been done.
    """
    looked = audited or audit(found, progress=progress)
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
        excluded=tuple(excluded),
        excluded_count=damaged.files if damaged else len(excluded),
        audit=AuditFacts(
            failed=looked.failed,
            lines=tuple(_cut(line) for line in (*(_told(damaged) if damaged else ()), *looked.lines())),
            shortcuts=offered,
            unreadable=damaged or UnreadableFacts(),
        ),
        bytes=sum(sample.size for sample in made.samples),
        fingerprint=made.fingerprint(),
    )


def _cut(line: str) -> str:
    """A line may list every image of the data set."""
    return line if len(line) <= _LONG else f"{line[: _LONG - 1]}…"


def _told(damaged: UnreadableFacts) -> tuple[str, ...]:
    if not damaged.files:
        return ()
    verb = "file cannot" if damaged.files == 1 else "files cannot"
    share = f"{100 * damaged.files / damaged.of:.2g} %"
    why = "; ".join(f"{count} × {reason}" for reason, count in damaged.reasons.items())
    return (f"{damaged.files} {verb} be read ({share} of {damaged.of}; {damaged.most} may be left out): {why}",)


def _fold(made: Manifest, name: str) -> FoldFacts:
    fold = made.fold(name)
    return FoldFacts(images=len(fold), patients=len(fold.patients()), classes=fold.counts())
