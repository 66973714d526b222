# SPDX-License-Identifier: Apache-2.0
"""How detectors kept their promise, and what the forensic rule says of the same images."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import roc_curve

from radproof.assess.answers import Answered, Floats
from radproof.assess.material import Material
from radproof.assess.result import Detection, DetectionRow, PairedCheck
from radproof.assess.summary import Measurer

POINTS = 60  # of an ROC curve: enough to draw it


def detections(found: Sequence[Answered], material: Material, measurer: Measurer) -> tuple[Detection, ...]:
    """One record per detector: its threshold, what rate it kept on clean images, and each attack at each budget."""
    clean = next(a for a in found if a.job.kind == "clean" and a.defense == "none")
    attacked = [a for a in found if a.scores and a.job.kind == "attack"]
    return tuple(_detection(name, clean, attacked, material, measurer) for name in material.detectors)


def _detection(
    name: str, clean: Answered, attacked: Sequence[Answered], material: Material, measurer: Measurer
) -> Detection:
    threshold = material.thresholds[name]
    tau = np.inf if threshold.value is None else threshold.value
    return Detection(
        detector=name,
        threshold=threshold.value,
        promised_rate=threshold.promised,
        calibration_images=threshold.n,
        achieved_rate=measurer.resampler(clean.rows).mean(clean.scores[name] > tau),
        rows=tuple(_row(name, tau, clean, a, measurer) for a in attacked),
    )


def _row(name: str, tau: float, clean: Answered, a: Answered, measurer: Measurer) -> DetectionRow:
    fooled = a.clean_right & a.reached
    flagged = a.scores[name] > tau
    mean = measurer.resampler(a.rows).mean
    scores = np.concatenate([clean.scores[name], a.scores[name]])
    positive = np.concatenate([np.zeros(len(clean.rows), bool), fooled])
    counted = np.concatenate([np.ones(len(clean.rows), bool), fooled])
    both = measurer.of_patients([measurer.patient(int(row)) for row in (*clean.rows, *a.rows)])
    return DetectionRow(
        detector=name,
        attack=a.job.label + (f" ({a.job.goal})" if a.job.goal != "misclassify" else ""),
        budget=a.job.budget,
        eps=a.job.eps,
        positives="successful",
        auroc=both.auroc(scores, positive, counted),
        detected=mean(flagged, fooled),
        undetected_success=mean(fooled & ~flagged, a.clean_right),
        roc=_roc(scores[counted], positive[counted]),
    )


def _roc(scores: Floats, positive: np.ndarray) -> tuple[tuple[float, float], ...]:
    if positive.all() or not positive.any():
        return ()
    false, true, _ = roc_curve(positive, scores)
    keep = np.unique(np.linspace(0, len(false) - 1, POINTS).round().astype(int))
    return tuple((round(float(false[i]), 4), round(float(true[i]), 4)) for i in keep)


def paired_checks(found: Sequence[Answered], measurer: Measurer) -> tuple[PairedCheck, ...]:
    """What a comparison with the archived original would flag, with and without its label rule."""
    return tuple(
        PairedCheck(
            attack=a.job.label,
            budget=a.job.budget,
            flagged=measurer.resampler(a.rows).mean(a.paired[:, 0]),
            flagged_without_label_rule=measurer.resampler(a.rows).mean(a.paired[:, 1]),
        )
        for a in found
        if a.paired is not None and a.job.goal == "misclassify"
    )
