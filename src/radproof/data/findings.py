# SPDX-License-Identifier: Apache-2.0
"""What an audit hands on: a record for reports, with ids and pseudonyms only, and readable lines for people."""

from collections.abc import Mapping, Sequence
from typing import Literal

from radproof.core.records import Record

SHOWN = 10  # examples per finding


class Twins(Record):
    """Images that are one film: equal files, equal pixels, altered, mirrored, or told so by an augmented one's name."""

    kind: Literal["file", "pixels", "altered", "mirrored", "name"]
    ids: tuple[str, ...]
    folds: tuple[str, ...]  # in the order of ids
    likeness: float = 1.0  # correlation of fine detail after alignment

    @property
    def across(self) -> bool:
        """Whether the film is in more than one fold."""
        return len(set(self.folds)) > 1


class Unreadable(Record):
    """A file that is no usable image."""

    id: str
    reason: str


class Audit(Record):
    """What was looked at and what was found; samples by id, patients by the manifest's names for them."""

    images: int
    patients: int
    folds: dict[str, int]  # images per fold; "" before a split
    without_patient: int
    shared_patients: tuple[str, ...]  # in more than one fold
    twins: tuple[Twins, ...]
    augmented: tuple[str, ...]  # by name
    augmented_outside_training: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    changed: tuple[str, ...]  # the file is not the one that was imported
    constant: tuple[str, ...]  # one grey level throughout

    @property
    def across(self) -> tuple[Twins, ...]:
        """The twins that stand in two folds."""
        return tuple(twins for twins in self.twins if twins.across)

    @property
    def verifiable(self) -> bool:
        """Whether leakage can be ruled out at all: every image names its patient and is in a fold."""
        return self.without_patient == 0 and "" not in self.folds

    @property
    def failed(self) -> bool:
        """Whether something was found that invalidates figures measured on the test fold."""
        return bool(
            self.shared_patients or self.across or self.augmented_outside_training or self.unreadable or self.changed
        )

    def lines(self, paths: Mapping[str, str] | None = None) -> list[str]:
        """The findings for people; `paths` (id -> path) names files where the reader must find them."""
        paths = paths or {}
        folds = ", ".join(f"{name or 'not split'} {count}" for name, count in self.folds.items())
        listed: tuple[tuple[str, str, Sequence[str]], ...] = (
            ("FAIL", "patients in more than one fold", self.shared_patients),
            ("FAIL", "films in more than one fold", [_twins_line(twins, paths) for twins in self.across]),
            ("FAIL", "augmented images outside the training fold", _named(self.augmented_outside_training, paths)),
            ("FAIL", "unreadable files", [f"{paths.get(bad.id, bad.id)}: {bad.reason}" for bad in self.unreadable]),
            ("FAIL", "files changed since import", _named(self.changed, paths)),
            ("note", "images of one grey level", _named(self.constant, paths)),
            ("note", "films held twice in one fold", [_twins_line(t, paths) for t in self.twins if not t.across]),
        )
        lines = [f"{self.images} images of {self.patients} patients ({folds})"]
        for mark, what, examples in listed:
            lines += _listed(mark, what, examples)
        if "" in self.folds:
            lines.append("note: not all images are in a fold; split first, to learn about leakage between folds")
        if self.without_patient:
            lines.append(
                f"note: {self.without_patient} images name no patient; patients in two folds are not verifiable"
            )
        lines.append("failed: figures measured on the test fold would not count" if self.failed else "passed")
        return lines


def _listed(mark: str, what: str, examples: Sequence[str]) -> list[str]:
    if not examples:
        return []
    more = [f"  … and {len(examples) - SHOWN} more"] if len(examples) > SHOWN else []
    return [f"{mark}: {len(examples)} {what}", *(f"  {example}" for example in examples[:SHOWN]), *more]


def _named(ids: Sequence[str], paths: Mapping[str, str]) -> list[str]:
    return [paths.get(i, i) for i in ids]


def _twins_line(twins: Twins, paths: Mapping[str, str]) -> str:
    places = ", ".join(
        f"{paths.get(i, i)} ({fold or 'no fold'})" for i, fold in zip(twins.ids, twins.folds, strict=True)
    )
    return f"{twins.kind}, likeness {twins.likeness:.2f}: {places}" if twins.likeness < 1 else f"{twins.kind}: {places}"
