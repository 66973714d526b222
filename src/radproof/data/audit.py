# SPDX-License-Identifier: Apache-2.0
"""What would make a test figure worthless, looked for before anything is trained or attacked.

Patients in two folds; one film in two folds, as a file, as pixels, altered (see twins.py for measured rates) or by the
name of an augmented copy; augmented copies outside training; files that cannot be read or have changed since import.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from radproof.core.files import sha256_file
from radproof.core.progress import SILENT, Progress
from radproof.data.augmented import is_augmented, originals
from radproof.data.findings import Audit, Twins, Unreadable
from radproof.data.images import StoredImage
from radproof.data.load import read_pixels
from radproof.data.manifest import FOLDS, Manifest, Sample
from radproof.data.pool import each
from radproof.data.twins import SIDE, find_twins, thumbnail
from radproof.errors import BadImage

Rows = tuple[int, ...]


def audit(manifest: Manifest, *, progress: Progress = SILENT) -> Audit:
    """Look at every image of the manifest once, some 10 ms each, and report; nothing found is an exception."""
    samples = manifest.samples
    looks = each(lambda sample: _look(sample, manifest.root), samples, stage="audit images", progress=progress)
    seen = list(zip(samples, looks, strict=True))
    augmented = [sample for sample in samples if is_augmented(sample)]
    return Audit(
        images=len(samples),
        patients=len(manifest.patients()),
        folds=_fold_counts(samples),
        without_patient=sum(not sample.patient for sample in samples),
        shared_patients=_shared_patients(samples),
        twins=_twins(samples, looks, progress),
        augmented=tuple(sample.id for sample in augmented),
        augmented_outside_training=tuple(sample.id for sample in augmented if sample.fold not in ("train", "")),
        unreadable=tuple(Unreadable(id=sample.id, reason=look.reason) for sample, look in seen if look.reason),
        changed=tuple(s.id for s, look in seen if s.sha256 and look.file and look.file != s.sha256),
        constant=tuple(sample.id for sample, look in seen if look.constant),
    )


@dataclass(frozen=True)
class _Look:
    """What one pass over a file tells."""

    file: str  # sha256 of its bytes
    pixels: str  # sha256 of its pixels: equal for one picture in two containers
    constant: bool
    thumb: NDArray[np.float32]
    reason: str = ""  # why it is unreadable


def _look(sample: Sample, root: Path) -> _Look:
    path = root / sample.path
    try:
        stored = read_pixels(sample, root)
    except BadImage as error:
        return _Look("", "", False, np.zeros((SIDE, SIDE), np.float32), str(error))
    constant = bool((stored.pixels == stored.pixels[:1, :1]).all())
    return _Look(sha256_file(path), _pixel_hash(stored), constant, thumbnail(stored))


def _pixel_hash(stored: StoredImage) -> str:
    about = f"{stored.pixels.shape} {stored.top} ".encode()
    return sha256(about + stored.pixels.tobytes()).hexdigest()


def _fold_counts(samples: Sequence[Sample]) -> dict[str, int]:
    counts = {fold: sum(sample.fold == fold for sample in samples) for fold in (*FOLDS, "")}
    return {fold: count for fold, count in counts.items() if count}


def _shared_patients(samples: Sequence[Sample]) -> tuple[str, ...]:
    folds: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.patient:
            folds[sample.patient].add(sample.fold)
    return tuple(sorted(patient for patient, found in folds.items() if len(found) > 1))


def _twins(samples: Sequence[Sample], looks: Sequence[_Look], progress: Progress) -> tuple[Twins, ...]:
    """Equal files and pixels anywhere, copies that were altered or are told by their names across folds."""

    def group(kind: str, rows: Rows, likeness: float = 1.0) -> Twins:
        ids, folds = tuple(samples[row].id for row in rows), tuple(samples[row].fold for row in rows)
        return Twins.model_validate({"kind": kind, "ids": ids, "folds": folds, "likeness": likeness})

    files = _equal([look.file for look in looks])
    pixels = [rows for rows in _equal([look.pixels for look in looks]) if rows not in files]
    told = {pair for rows in (*files, *pixels) for pair in combinations(rows, 2)}
    found = [*(group("file", rows) for rows in files), *(group("pixels", rows) for rows in pixels)]
    thumbs = np.stack([look.thumb for look in looks]) if looks else np.zeros((0, SIDE, SIDE), np.float32)
    for match in find_twins(thumbs, [sample.fold for sample in samples], progress):
        if (match.a, match.b) not in told:
            kind = "mirrored" if match.mirrored else "altered"
            found.append(group(kind, (match.a, match.b), round(min(match.likeness, 1.0), 3)))
            told.add((match.a, match.b))
    found += [group("name", pair) for pair in _told_by_name(samples) if pair not in told]
    return tuple(found)


def _equal(keys: Sequence[str]) -> list[Rows]:
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        if key:
            rows[key].append(row)
    return [tuple(same) for same in rows.values() if len(same) > 1]


def _told_by_name(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """(original, augmented copy), in row order, where the two are in different folds."""
    by_stem: defaultdict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        if not is_augmented(sample):
            by_stem[PurePosixPath(sample.path).stem].append(row)
    pairs: list[tuple[int, int]] = []
    for row, sample in enumerate(samples):
        if is_augmented(sample):
            sources = next((by_stem[stem] for stem in originals(sample.path) if stem in by_stem), [])
            pairs += [(min(row, s), max(row, s)) for s in sources if samples[s].fold != sample.fold]
    return pairs
