# SPDX-License-Identifier: Apache-2.0
"""Whether a confidence of 80 % is right 80 % of the time.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: expected calibration error with 15 equal-width bins,
and temperature scaling. Brier, "Verification of forecasts expressed in terms of probability", 1950.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radproof.core.types import Head

Floats = NDArray[np.float64]
BINS = 15
TEMPERATURES = (0.05, 20.0)


def probabilities(logits: ArrayLike, head: Head) -> Floats:
    """(N, K) probabilities in float64: softmax over classes, or a sigmoid per finding."""
    from scipy.special import expit, softmax

    values = np.asarray(logits, dtype=np.float64)
    return softmax(values, axis=1) if head == "softmax" else expit(values)


def losses(logits: ArrayLike, y: ArrayLike, head: Head) -> Floats:
    """Negative log-likelihood of each image, (N,): cross-entropy, or binary cross-entropy averaged over findings."""
    from scipy.special import log_softmax

    values = np.asarray(logits, dtype=np.float64)
    if head == "softmax":
        truth = np.asarray(y, dtype=np.int64)
        return -log_softmax(values, axis=1)[np.arange(len(truth)), truth]
    truth = np.asarray(y, dtype=np.float64)
    return (np.logaddexp(0, values) - truth * values).mean(axis=1)


def gaps(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> Floats:
    """Each image's share in every bin's (right − confidence): (N, bins), from (N, M) claims and outcomes.

    Calibration error is the sum over bins of |sum over images| / claims, so these are what a bootstrap has to add.
    Bin m holds confidences in ((m − 1)/bins, m/bins].
    """
    claims, outcomes = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    which = np.clip(np.ceil(claims * bins).astype(np.int64) - 1, 0, bins - 1)
    shares = np.zeros((len(claims), bins))
    np.add.at(shares, (np.arange(len(claims))[:, None], which), outcomes - claims)
    return shares


def expected_calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """ECE of claims (N,) or (N, M) that turned out right (same shape, bool), equal-width bins."""
    claims = np.asarray(confidence, dtype=np.float64).reshape(len(np.asarray(confidence)), -1)
    shares = gaps(claims, np.asarray(right).reshape(claims.shape), bins)
    return float(np.abs(shares.sum(axis=0)).sum() / claims.size)


def squared_distances(p: ArrayLike, y: ArrayLike, head: Head) -> Floats:
    """(N,) squared distance of probabilities (N, K) from the truth: summed over classes, averaged over findings."""
    values = np.asarray(p, dtype=np.float64)
    if head == "softmax":
        truth = np.eye(values.shape[1])[np.asarray(y, dtype=np.int64)]
        return ((values - truth) ** 2).sum(axis=1)
    return ((values - np.asarray(y, dtype=np.float64)) ** 2).mean(axis=1)


def brier(p: ArrayLike, y: ArrayLike, head: Head) -> float:
    """The Brier score: the mean of the squared distances."""
    return float(squared_distances(p, y, head).mean())


def fit_temperature(logits: ArrayLike, y: ArrayLike, head: Head) -> float:
    """The temperature in [0.05, 20] whose logits / temperature are likeliest; fit it on validation images only."""
    from scipy.optimize import minimize_scalar

    values = np.asarray(logits, dtype=np.float64)

    def loss(log_temperature: float) -> float:
        return float(losses(values / np.exp(log_temperature), y, head).mean())

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
