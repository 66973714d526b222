# SPDX-License-Identifier: Apache-2.0
"""A data set's images before detectors that were taught for the occasion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from radproof.assess.parts import settle_all
from radproof.assess.sections import DetectionPlan, Part
from radproof.assess.watching import one_grid, teach_detectors
from radproof.core.progress import Progress
from radproof.data.load import grids, load_batch, partition
from radproof.data.manifest import Manifest
from radproof.detectors import detector
from radproof.detectors.fitted import score_all
from radproof.models.classifier import ImageClassifier

BATCH = 16


@dataclass(frozen=True)
class Flag:
    """What a detector said of one image."""

    sample: str
    detector: str
    score: float
    threshold: float | None
    flagged: bool | None  # None: no threshold could be promised


def flag_images(
    network: ImageClassifier,
    usual: Manifest,
    judged: Manifest,
    detectors: Sequence[str],
    *,
    rate: float,
    seed: int,
    progress: Progress,
) -> tuple[Manifest, tuple[Flag, ...]]:
    """Teach on `usual`'s training fold, set thresholds on its validation fold, judge `judged`.

    Returns `judged` with the scores in every image's chain, and the same as flags. Raises BadData, BadInput, BadModel
    and UnknownName as teaching does.
    """
    device = next(network.parameters()).device
    settled = settle_all([Part(name=name) for name in detectors], detector, "published")
    train, calibration = usual.fold("train"), usual.fold("validation")
    one_grid(train, calibration, judged)
    taught = teach_detectors(
        {label: part.make() for label, part in settled.items()},
        network,
        DetectionPlan(),
        train,
        calibration,
        rate=rate,
        seed=seed,
        device=device,
        progress=progress,
    )
    fitted = {label: one.fitted for label, one in taught.items()}
    progress.start("detect", len(judged))
    flags: list[Flag] = []
    for rows in partition(grids(judged.samples, judged.root), BATCH):
        samples = [judged.samples[row] for row in rows]
        for label, scores in score_all(fitted, load_batch(judged, samples, device)).items():
            threshold = taught[label].thresholds.of("").value
            for sample, score in zip(samples, scores.tolist(), strict=True):
                flagged = None if threshold is None else score > threshold
                flags.append(Flag(sample.id, label, score, threshold, flagged))
        progress.advance("detect", len(rows))
    steps: dict[str, list[dict[str, Any]]] = {}
    for flag in flags:
        step = {"step": "detect", "detector": flag.detector, "score": flag.score, "flagged": flag.flagged}
        steps.setdefault(flag.sample, []).append({**step, "threshold": flag.threshold})
    told = judged.only(replace(s, chain=(*s.chain, *steps[s.id])) for s in judged.samples)
    return told, tuple(flags)
