# SPDX-License-Identifier: Apache-2.0
"""How a classifier answered a set of images, every number with its interval.

Conventions: a score without a denominator is 0 (as scikit-learn's zero_division=0); a class of which the sample or the
draw holds no image is left out of the means over classes. Sigmoid heads: accuracy is the share of findings answered
rightly per image, the rest comes from each finding's own two-by-two table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radproof.core.goals import normal_class
from radproof.core.records import Estimate
from radproof.core.types import Head
from radproof.errors import BadInput, BadPlan
from radproof.measure.calibration import gaps, losses, probabilities, squared_distances
from radproof.measure.intervals import Floats, Resampler, divide

Bools = NDArray[np.bool_]


def answers(logits: ArrayLike, head: Head) -> NDArray[Any]:
    """The class of each image, (N,) int64; or which findings were answered, (N, K) bool."""
    values = np.asarray(logits)
    return values.argmax(axis=1) if head == "softmax" else values > 0


def recall(c: Floats) -> Floats:
    """(…, K) share of each class's images answered rightly, NaN without an image, from confusions (…, K, K)."""
    return divide(np.diagonal(c, axis1=-2, axis2=-1), c.sum(axis=-1))


def precision(c: Floats) -> Floats:
    """(…, K) share of each answer that was right: 0 if never answered, NaN for a class without an image."""
    return _where_present(c, np.nan_to_num(divide(np.diagonal(c, axis1=-2, axis2=-1), c.sum(axis=-2))))


def f1(c: Floats) -> Floats:
    """(…, K) harmonic mean of precision and recall, NaN for a class without an image."""
    hits = np.diagonal(c, axis1=-2, axis2=-1)
    return _where_present(c, np.nan_to_num(divide(2 * hits, c.sum(axis=-1) + c.sum(axis=-2))))


def macro(per_class: Floats) -> Floats:
    """Mean over the classes (last axis) that have a score; NaN where none has."""
    there = ~np.isnan(per_class)
    return divide(np.where(there, per_class, 0).sum(axis=-1), there.sum(axis=-1).astype(np.float64))


def describe(
    logits: ArrayLike, y: ArrayLike, resampler: Resampler, labels: Sequence[str], head: Head
) -> dict[str, Any]:
    """All scores of logits (N, K) against the truth y, (N,) classes or (N, K) findings in {0, 1}.

    Keys: accuracy, balanced_accuracy, macro_precision, macro_recall, macro_f1, macro_auroc, loss, ece,
    missed_findings, false_alarms, brier, per_class (label, images, precision, recall, f1, auroc) and confusion.
    Raises BadInput where shapes disagree or a logit is not finite.
    """
    values, truth = _checked(logits, y, resampler, labels, head)
    p, answer = probabilities(values, head), answers(values, head)
    isin = truth[:, None] == np.arange(len(labels)) if head == "softmax" else truth > 0.5
    said = answer[:, None] == np.arange(len(labels)) if head == "softmax" else answer
    tables = _tables(resampler, isin, said)
    right = (answer == truth)[:, None] if head == "softmax" else said == isin
    missed, false = _wrong_about_disease(resampler, isin, said, labels, head)
    return {
        "accuracy": resampler.mean(right.mean(axis=1)),
        **_over_classes(resampler, tables, p, isin, said, head),
        "loss": resampler.mean(losses(values, truth, head), proportion=False),
        "ece": _calibration(resampler, p, right if head == "softmax" else isin, head),
        "missed_findings": missed,
        "false_alarms": false,
        "brier": resampler.mean(squared_distances(p, truth, head), proportion=False),
        "per_class": tuple(_of_class(resampler, tables, p, isin, said, k, label) for k, label in enumerate(labels)),
        "confusion": _confusion(truth, answer, len(labels)) if head == "softmax" else None,
    }


def _checked(
    logits: ArrayLike, y: ArrayLike, resampler: Resampler, labels: Sequence[str], head: Head
) -> tuple[Floats, NDArray[Any]]:
    values, truth = np.asarray(logits, dtype=np.float64), np.asarray(y)
    n, k = len(resampler), len(labels)
    if values.shape != (n, k) or truth.shape != ((n,) if head == "softmax" else (n, k)):
        raise BadInput(
            f"expected logits ({n}, {k}) and a {head} truth for {n} images of {k} classes; "
            f"got logits {values.shape} and truth {truth.shape}"
        )
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise BadInput(f"the model answered NaN or infinity for {broken} of {n} images; scores would be meaningless")
    return values, truth


def _tables(resampler: Resampler, isin: Bools, said: Bools) -> Floats:
    """Two-by-two tables of each class against the rest, for sample and draws: (draws + 1, K, 2, 2), 1 is "has it"."""
    cells = np.eye(4, dtype=np.int64)[2 * isin.astype(np.int64) + said]  # (N, K, 4)
    return resampler.totals(cells.reshape(len(cells), -1)).reshape(-1, isin.shape[1], 2, 2)


def _over_classes(
    resampler: Resampler, tables: Floats, p: Floats, isin: Bools, said: Bools, head: Head
) -> dict[str, Estimate]:
    there = np.flatnonzero(isin.any(axis=0))
    of_truth = [resampler.patients(isin[:, k]) for k in there]
    of_answer = [resampler.patients(said[:, k]) for k in there]
    of_either = [resampler.patients(isin[:, k] | said[:, k]) for k in there]
    sensitivity, specificity = recall(tables)[..., 1], recall(tables)[..., 0]
    balanced = sensitivity if head == "softmax" else (sensitivity + specificity) / 2
    areas = np.stack([resampler.auroc_draws(p[:, k], isin[:, k]) for k in range(p.shape[1])], axis=1)

    def estimate(per_class: Floats, patients: Sequence[int]) -> Estimate:
        behind = {"images": len(resampler), "patients": resampler.patients()}
        return resampler.interval(macro(per_class), **behind, degenerate=patients)

    return {
        "balanced_accuracy": estimate(balanced, of_truth),
        "macro_precision": estimate(precision(tables)[..., 1], of_answer),
        "macro_recall": estimate(sensitivity, of_truth),
        "macro_f1": estimate(f1(tables)[..., 1], of_either),
        "macro_auroc": estimate(areas, of_truth),
    }


def _of_class(
    resampler: Resampler, tables: Floats, p: Floats, isin: Bools, said: Bools, k: int, label: str
) -> dict[str, Any]:
    truth, answer, table = isin[:, k], said[:, k], tables[:, k]

    def estimate(per_class: Floats, rows: Bools) -> Estimate:
        patients = resampler.patients(rows)
        return resampler.interval(per_class[:, 1], images=int(rows.sum()), patients=patients, degenerate=(patients,))

    unseen = resampler.interval(np.array([np.nan]), images=0, patients=0)
    if not truth.any():
        return {"label": label, "images": 0} | dict.fromkeys(("precision", "recall", "f1", "auroc"), unseen)
    never = Estimate(value=0, low=0, high=1, method="never answered: zero by convention", n=0, patients=0)
    return {
        "label": label,
        "images": int(truth.sum()),
        "precision": estimate(precision(table), answer) if answer.any() else never,
        "recall": estimate(recall(table), truth),
        "f1": estimate(f1(table), truth | answer),
        "auroc": resampler.auroc(p[:, k], truth),
    }


def _wrong_about_disease(
    resampler: Resampler, isin: Bools, said: Bools, labels: Sequence[str], head: Head
) -> tuple[Estimate | None, Estimate | None]:
    """Disease read as Normal over images with disease, and the reverse; None without a class that means Normal."""
    try:
        normal = normal_class(labels)
    except BadPlan:
        normal = None
    if head == "softmax" and normal is None:
        return None, None
    if head == "softmax":
        ill, called_ill = ~isin[:, normal], ~said[:, normal]
    else:  # a finding called "No Finding" is no disease
        findings = [k for k in range(len(labels)) if k != normal]
        ill, called_ill = isin[:, findings].any(axis=1), said[:, findings].any(axis=1)
    return resampler.mean(~called_ill, ill), resampler.mean(called_ill, ~ill)


def _calibration(resampler: Resampler, p: Floats, outcome: Bools, head: Head) -> Estimate:
    claims = p.max(axis=1, keepdims=True) if head == "softmax" else p
    made = np.full((len(claims), 1), float(claims.shape[1]))
    totals = resampler.totals(np.concatenate([gaps(claims, outcome), made], axis=1))
    errors = divide(np.abs(totals[:, :-1]).sum(axis=1), totals[:, -1])
    return resampler.interval(errors, images=len(resampler), patients=resampler.patients())


def _confusion(truth: NDArray[Any], answer: NDArray[Any], k: int) -> tuple[tuple[int, ...], ...]:
    counted = np.bincount(truth.astype(np.int64) * k + answer, minlength=k * k).reshape(k, k)
    return tuple(tuple(int(cell) for cell in row) for row in counted)


def _where_present(c: Floats, values: Floats) -> Floats:
    return np.where(c.sum(axis=-1) > 0, values, np.nan)
