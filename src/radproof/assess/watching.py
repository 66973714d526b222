# SPDX-License-Identifier: Apache-2.0
"""Detectors of a run: taught on training patients, held to their promise on validation patients."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from radproof.assess.detected import Latency
from radproof.assess.sections import DetectionPlan
from radproof.core.depth import Depth
from radproof.core.progress import Progress
from radproof.core.types import Classifier, Watch
from radproof.data.load import grids, load_batch
from radproof.data.manifest import Manifest
from radproof.data.subsets import take
from radproof.detectors.benign import Handling, benign
from radproof.detectors.calibrate import CLEAN, Threshold, Thresholds, calibrate_groups, one_per_patient
from radproof.detectors.common import logits_of
from radproof.detectors.drift import NOISE
from radproof.detectors.fitted import Fitted, learn, restore, score_all, taught_on
from radproof.detectors.look import Look
from radproof.detectors.registry import Learner
from radproof.detectors.screening import answers
from radproof.detectors.usual import middle
from radproof.errors import BadData

PIECE = 64  # calibration images that are in memory at a time, with one change of them
MOST = 2**29  # bytes of clean images that detectors learn from
RATES = (0.05, 0.01)  # at which every detector is told, beside the plan's own


@dataclass(frozen=True)
class Watching:
    """One detector of a run, taught and calibrated."""

    fitted: Fitted
    thresholds: Thresholds
    at: Mapping[float, Threshold]  # for RATES, promised for what the plan's own rate is, all groups together
    spread: float  # of clean images' scores

    @property
    def watch(self) -> Watch | None:
        """What a detector-aware attacker is given; None where no threshold could be promised."""
        value = self.thresholds.of("").value
        return None if value is None else Watch(self.fitted.suspicion, value, self.spread)


def teach_detectors(
    learners: Mapping[str, Learner],
    model: Classifier,
    plan: DetectionPlan,
    train: Manifest,
    calibration: Manifest,
    *,
    rate: float,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, Watching]:
    """Each detector by name. Raises BadData for images of several sizes, BadInput for too few, BadModel."""
    one_grid(train, calibration)
    depth = min(grid[-1] for grid in grids(calibration.samples, calibration.root))
    changes = benign(depth) if plan.benign else ()
    learned_from = enough(train, plan.images, seed)
    calibration = take(one_of_each(calibration, seed), plan.calibration, seed=seed)
    clean = load_batch(learned_from, learned_from.samples, device)
    pieces = taught_on(model, clean, {h.name: copies for h, copies in changed(clean, changes, depth)})
    taught = sum(map(len, pieces))
    progress.start("detectors", len(learners) * taught + (1 + len(changes)) * len(calibration))
    fitted: dict[str, Fitted] = {}
    for name, learner in learners.items():
        # As it is kept, so that a later start, which reads it back, gives the same scores.
        fitted[name] = restore(learner, model, as_kept(learn(learner, pieces)))
        progress.advance("detectors", taught)
    del pieces, clean
    scores, groups = _scored(fitted, model, calibration, changes, depth, plan.by, device, progress)
    return {name: _watching(one, scores[name], groups, plan.by, rate) for name, one in fitted.items()}


def as_kept(fitted: Fitted) -> dict[str, Tensor]:
    """What it learnt, laid out as in a file: in another layout sums round otherwise."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in fitted.state().items()}


def latency(fitted: Fitted, x: Tensor) -> Latency:
    """What judging one image (1, C, H, W) costs here: the second of two looks at it, and one pass of the model."""
    with torch.no_grad():
        fitted.judge(Look(fitted.model, x))
        began, look = time.perf_counter(), Look(fitted.model, x)
        fitted.judge(look)
        judged = time.perf_counter()
        fitted.model(x)
    spent, alone = judged - began, time.perf_counter() - judged
    return Latency(forwards=look.passes, milliseconds=round(1000 * spent, 3), model_milliseconds=round(1000 * alone, 3))


def changed(clean: Tensor, changes: Sequence[Handling], depth: Depth) -> list[tuple[Handling, Tensor]]:
    """Copies to learn from: all images with noise, which needs a population of its own; the others in turns."""
    turns = [change for change in changes if change.name != NOISE]
    return [
        (change, change.apply(clean if change.name == NOISE else clean[turns.index(change) :: len(turns)], depth))
        for change in changes
    ]


def enough(train: Manifest, images: int, seed: int) -> Manifest:
    """So many images of the training fold, or as many as memory is set aside for."""
    height, width, channels, _ = grids(train.samples[:1], train.root)[0]
    return take(train, min(images, max(100, MOST // (4 * height * width * channels))), seed=seed)


def one_of_each(calibration: Manifest, seed: int) -> Manifest:
    """One image per patient: those of one patient are not independent of each other, and a promise needs it."""
    rows = one_per_patient([sample.patient or "" for sample in calibration.samples], seed=seed)
    keep = {calibration.samples[row].id for row in rows}
    return calibration.only(sample for sample in calibration.samples if sample.id in keep)


def one_grid(*manifests: Manifest) -> None:
    """Detectors compare grain, so what they learn from and judge must share size, channels and depth.

    Raises BadData where not.
    """
    found = {
        (*grid[:3], Depth(grid[3].top)) for manifest in manifests for grid in grids(manifest.samples, manifest.root)
    }
    if len({grid[:3] for grid in found}) == 1 < len(found):
        depths = sorted(grid[3] for grid in found)
        told = " and ".join(map(str, depths)) if len(depths) < 4 else f"{len(depths)} different ones"
        raise BadData(
            f"detectors need images of one depth, and these are stored in {told}; export them alike, or leave "
            "out the detectors: the grain of the one is not the grain of the other"
        )
    if len(found) > 1:
        sizes = len({grid[:3] for grid in found})
        raise BadData(
            f"detectors need images of one size, and these have {sizes}; import them with a size first "
            "(`radproof data import --size`, or `size:` under `data:` in a plan), or leave out the detectors"
        )


def group_names(by: str, model: Classifier, logits: Tensor, views: Sequence[str]) -> list[str]:
    """What each image is, for thresholds of its own: the model's answer, or the view."""
    if by == "view":
        return list(views)
    return [answer.group for answer in answers(logits, model)]


Scores = dict[str, dict[str, np.ndarray]]  # detector -> change -> (N,)


def _scored(
    fitted: Mapping[str, Fitted],
    model: Classifier,
    calibration: Manifest,
    changes: Sequence[Handling],
    depth: Depth,
    by: str,
    device: torch.device,
    progress: Progress,
) -> tuple[Scores, dict[str, list[str]] | None]:
    found: dict[str, dict[str, list[Tensor]]] = {name: {} for name in fitted}
    groups: dict[str, list[str]] = {}
    for start in range(0, len(calibration), PIECE):
        samples = calibration.samples[start : start + PIECE]
        clean = load_batch(calibration, samples, device)
        for change in (None, *changes):
            name = change.name if change else CLEAN
            x = change.apply(clean, depth) if change else clean
            for detector, scores in score_all(fitted, x).items():
                found[detector].setdefault(name, []).append(scores)
            if by:
                views = [sample.view or "" for sample in samples]
                groups.setdefault(name, []).extend(group_names(by, model, logits_of(model, x), views))
            progress.advance("detectors", len(samples))
    joined = {name: {c: torch.cat(parts).numpy() for c, parts in own.items()} for name, own in found.items()}
    return joined, groups if by else None


def _watching(
    fitted: Fitted, scores: Mapping[str, np.ndarray], groups: Mapping[str, list[str]] | None, by: str, rate: float
) -> Watching:
    thresholds = calibrate_groups(scores, groups, false_positive_rate=rate, by=by)  # pyright: ignore[reportArgumentType]
    _, spread = middle(torch.from_numpy(scores[CLEAN])[:, None])
    at = {one: calibrate_groups(scores, false_positive_rate=one).of("") for one in RATES}
    return Watching(fitted, thresholds, at, max(float(spread), 1e-9))
