# SPDX-License-Identifier: Apache-2.0
"""From a data set to a guard: what it learns from, what its thresholds are set on, and that the two never meet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch

from radproof.assess.sections import DetectionPlan
from radproof.assess.watching import PIECE, changed, enough, one_grid, one_of_each
from radproof.core.depth import Depth
from radproof.core.progress import SILENT, Progress
from radproof.data.load import grids, load_batch
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.detectors import detector
from radproof.detectors.benign import Handling, benign
from radproof.detectors.calibrate import CLEAN, By
from radproof.detectors.guard import Choice, Guard, Images, Source, fit_guard
from radproof.errors import BadData, BadInput
from radproof.models.card import ModelCard
from radproof.models.classifier import ImageClassifier

CALIBRATED = 1000  # validation images at most, one of each patient
OUTSIDE = "novelty"  # the detector of images that are not of the model's kind
STAGE = "teach the detector"


@dataclass(frozen=True)
class Lesson:
    """Which detector is taught, and what its thresholds promise."""

    detector: str
    rate: float = 0.05  # share of clean images that may get an alarm, whichever
    by: By = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise BadInput(f"the false-alarm rate must lie between 0 and 1, got {self.rate:g}; 0.05 is usual")


def known_groups(by: str) -> By:
    """What thresholds can be set by. Raises BadInput for anything else."""
    for known in get_args(By):
        if by == known:
            return known
    raise BadInput(f"thresholds are set by class or by view, got {by!r}; leave it out for one threshold for all")


def source_of(card: ModelCard, clean: Manifest, *, other: bool = False) -> Source:
    """Whether the model was trained on these data in these folds; `other`: somebody says that it has seen none of them.

    Raises BadData where neither is so: a model is surer of images that it has learnt from, and thresholds set on such
    images promise too much.
    """
    if card.data_fingerprint == clean.fingerprint():
        return "training"
    if other:
        return "other"
    found = "are not those that the model was trained on, or are split otherwise"
    raise BadData(
        f"the data {found if card.data_fingerprint else 'cannot be compared: the card names no training data'}, so "
        "thresholds could be set on patients that it has learnt from; give the manifest that it was trained on "
        "(`radproof data import` writes one), or split the data as its training did (--split, --seed); for images of "
        "another source, that the model has not seen, say --other-data"
    )


def teach(
    model: ImageClassifier,
    clean: Manifest,
    lesson: Lesson,
    device: torch.device,
    progress: Progress = SILENT,
    *,
    source: Source = "",
) -> Guard:
    """Learn from the training fold, set thresholds on the validation fold; harmless changes join in both.

    Raises BadData for images of several sizes or depths, BadInput for too few.
    """
    learned = enough(clean.fold("train"), DetectionPlan().images, lesson.seed)
    calibration = take(one_of_each(clean.fold("validation"), lesson.seed), CALIBRATED, seed=lesson.seed)
    one_grid(learned, calibration)
    depth = grids(calibration.samples[:1], calibration.root)[0][-1]
    x, changes = load_batch(learned, learned.samples, device), benign(depth)
    progress.start(STAGE, len(x) + (1 + len(changes)) * len(calibration))

    def pieces() -> Iterator[dict[str, Images]]:
        progress.advance(STAGE, len(x))  # the first piece is asked for when all has been learnt
        yield from _pieces(calibration, changes, depth, device, progress)

    patients = [sample.patient for sample in calibration.samples]
    return fit_guard(
        model,
        Choice(name=lesson.detector),
        x,
        pieces(),
        model_fingerprint=model.fingerprint(),
        changed={one.name: copies for one, copies in changed(x, changes, depth)},
        outside=Choice(name=OUTSIDE) if any(recipe.name == OUTSIDE for recipe in detector) else None,
        false_positive_rate=lesson.rate,
        by=lesson.by,
        views=[sample.view for sample in calibration.samples] if lesson.by == "view" else None,
        patients=patients if any(patients) else None,
        depth=depth,
        data_fingerprint=clean.fingerprint(),
        data=source,
        seed=lesson.seed,
    )


def _pieces(
    calibration: Manifest, changes: Sequence[Handling], depth: Depth, device: torch.device, progress: Progress
) -> Iterator[dict[str, Images]]:
    """So many images at a time, and what makes each harmless change of them."""
    for start in range(0, len(calibration), PIECE):
        x = load_batch(calibration, calibration.samples[start : start + PIECE], device)
        yield {CLEAN: x, **{one.name: partial(one.apply, x, depth) for one in changes}}
        progress.advance(STAGE, (1 + len(changes)) * len(x))
