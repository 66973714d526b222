# SPDX-License-Identifier: Apache-2.0
"""From a data set to a guard: what it learns from, what its thresholds are set on, and that the two never meet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from radproof.assess.sections import DetectionPlan
from radproof.assess.watching import changed, enough, one_of_each
from radproof.core.progress import SILENT, Progress
from radproof.data.load import LoadedImages, load_images
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.detectors import detector
from radproof.detectors.benign import Handling, benign
from radproof.detectors.calibrate import CLEAN, By
from radproof.detectors.guard import Choice, Guard, Images, fit_guard
from radproof.errors import BadData, BadInput
from radproof.models.classifier import ImageClassifier

CALIBRATED = 1000  # validation images at most, one of each patient
OUTSIDE = "novelty"  # the detector of images that are not of the model's kind
STAGE = "teach the detector"


@dataclass(frozen=True)
class Lesson:
    """Which detector is taught, and what its thresholds promise."""

    detector: str
    rate: float = 0.05  # share of clean images that may be flagged
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


def teach(
    model: ImageClassifier, clean: Manifest, lesson: Lesson, device: torch.device, progress: Progress = SILENT
) -> Guard:
    """Learn from the training fold, set thresholds on the validation fold; harmless changes join in both.

    Raises BadData for images of several sizes or depths, BadInput for too few.
    """
    learned = enough(clean.fold("train"), DetectionPlan().images, lesson.seed)
    calibration = take(one_of_each(clean.fold("validation"), lesson.seed), CALIBRATED, seed=lesson.seed)
    loaded = [load_images(part.samples, part.root, progress=progress) for part in (learned, calibration)]
    bits = _one_grid(*loaded)
    x, y = (torch.stack(part.images).to(device) for part in loaded)
    changes = benign(bits)
    progress.start(STAGE, len(x) + (1 + len(changes)) * len(y))

    def altered(handling: Handling) -> Callable[[], Tensor]:
        def make() -> Tensor:
            progress.advance(STAGE, len(y))  # those before it are done
            return handling.apply(y, bits)

        return make

    def unchanged() -> Tensor:
        progress.advance(STAGE, len(x))
        return y

    tables: dict[str, Images] = {CLEAN: unchanged, **{one.name: altered(one) for one in changes}}
    patients = [sample.patient for sample in calibration.samples]
    made = fit_guard(
        model,
        Choice(name=lesson.detector),
        x,
        tables,
        model_fingerprint=model.fingerprint(),
        changed={one.name: copies for one, copies in changed(x, changes, bits)},
        outside=Choice(name=OUTSIDE) if any(recipe.name == OUTSIDE for recipe in detector) else None,
        false_positive_rate=lesson.rate,
        by=lesson.by,
        views=[sample.view for sample in calibration.samples] if lesson.by == "view" else None,
        patients=patients if any(patients) else None,
        bits=bits,
        data_fingerprint=clean.fingerprint(),
        seed=lesson.seed,
    )
    progress.advance(STAGE, len(y))
    return made


def _one_grid(*loaded: LoadedImages) -> int:
    """The depth of all images. Raises BadData where they differ in size or depth."""
    found = {(*image.shape, bits) for part in loaded for image, bits in zip(part.images, part.bits, strict=True)}
    if len(found) > 1:
        raise BadData(
            f"detectors look at an image's grain, so all must share size, channels and depth; these have {len(found)} "
            "kinds; import them with a size first (`radproof data import --size`), or teach a detector on each kind"
        )
    return found.pop()[-1]
