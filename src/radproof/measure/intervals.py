# SPDX-License-Identifier: Apache-2.0
"""Intervals: cluster bootstrap over patients, because images of one patient are not independent.

Efron & Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals); Field & Welsh, "Bootstrapping
clustered data", JRSS B 2007; Clopper & Pearson, Biometrika 1934, where all images agree and a bootstrap sees no spread.

The patients of every draw are chosen once, so equal questions about equal images always get equal answers, and
differences between two estimates of one Resampler are paired.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radproof.core.params import show_fraction
from radproof.core.records import Estimate
from radproof.core.rng import numpy_generator
from radproof.errors import BadInput

Floats = NDArray[np.float64]
_BLOCK = 4_000_000  # weights held at a time: 32 MB, whatever the number of images


class Resampler:
    """The images' patients and the draws of them, made once. An image with patient "" counts as its own patient.

    Statistics are computed for the sample itself (row 0) and for every draw (rows 1 …) at once: `totals`, `confusion`
    and `auroc_draws` return such (draws + 1, …) arrays and `interval` turns one column of them into an Estimate.
    Raises BadInput for no image, fewer than one draw, or a confidence outside (0, 1).
    """

    def __init__(self, patients: Sequence[str], *, draws: int = 2000, seed: int = 0, confidence: float = 0.95) -> None:
        if not len(patients) or draws < 1 or not 0 < confidence < 1:
            raise BadInput(
                f"intervals need at least one image, one draw and a confidence between 0 and 1; got {len(patients)} "
                f"images, {draws} draws, confidence {confidence}"
            )
        names = [(0, patient) if patient else (1, str(row)) for row, patient in enumerate(patients)]
        index = {name: number for number, name in enumerate(sorted(set(names)))}
        self.of_image: NDArray[np.int64] = np.array([index[name] for name in names])  # (N,) patient of each image
        self.draws, self.confidence = draws, confidence
        self._counts = _counts(len(index), draws, seed)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.of_image)

    def patients(self, rows: ArrayLike | None = None) -> int:
        """Distinct patients among the images where `rows` (N,) is true; all of them by default."""
        return len(np.unique(self.of_image if rows is None else self.of_image[np.asarray(rows, dtype=bool)]))

    def mean(self, values: ArrayLike, mask: ArrayLike | None = None, *, proportion: bool | None = None) -> Estimate:
        """The mean of `values` (N,) over the images where `mask` is true.

        Values that are all 0 or 1 are a proportion unless `proportion=False`; a proportion of 0/n or n/n gets a
        Clopper-Pearson interval with n = patients. A paired difference is the mean of the differences.
        Raises BadInput for NaN or infinite values in the mask.
        """
        rows = self._rows(mask)
        chosen = self._per_image(values)[rows]
        if not np.isfinite(chosen).all():
            raise BadInput("a mean of NaN or infinite values has no interval; leave those images out with the mask")
        kept = np.zeros((len(self), 2))
        kept[rows] = np.stack([chosen, np.ones(len(chosen))], axis=1)
        summed, images = self.totals(kept).T
        is_proportion = bool(np.isin(chosen, (0, 1)).all()) if proportion is None else proportion
        behind = (self.patients(rows),) if is_proportion else ()
        return self.interval(
            divide(summed, images), images=int(rows.sum()), patients=self.patients(rows), degenerate=behind
        )

    def median(self, values: ArrayLike, mask: ArrayLike | None = None, *, most: float) -> Estimate:
        """The median of `values` (N,) where infinity (or NaN) means "not reached by `most`, the largest tried".

        A bound that falls on such images is given as `most`, and the method says so.
        """
        rows = self._rows(mask)
        chosen = self._per_image(values)[rows]
        chosen = np.where(np.isfinite(chosen), chosen, np.inf)
        order = np.argsort(chosen, kind="stable")
        ranked, owner = chosen[order], self.of_image[rows][order]
        medians = self._over_draws(lambda counts: _medians(ranked, counts[:, owner]))
        estimate = self.interval(np.minimum(medians, most), images=int(rows.sum()), patients=self.patients(rows))
        if estimate.high is not None and estimate.high >= most:
            limit = f"; {show_fraction(most)} stands for that or more, the largest tried"
            estimate = estimate.model_copy(update={"method": estimate.method + limit})
        return estimate

    def auroc(self, scores: ArrayLike, positive: ArrayLike, mask: ArrayLike | None = None) -> Estimate:
        """Area under the ROC curve of `scores` (N,) for `positive` (N,) bool against the rest, ties counted as half."""
        rows = self._rows(mask)
        isin = np.asarray(positive, dtype=bool)
        return self.interval(
            self.auroc_draws(scores, isin, rows),
            images=int(rows.sum()),
            patients=self.patients(rows),
            degenerate=(self.patients(rows & isin), self.patients(rows & ~isin)),
        )

    def auroc_draws(self, scores: ArrayLike, positive: ArrayLike, mask: ArrayLike | None = None) -> Floats:
        """AUROC of the sample and of each draw: (draws + 1,), NaN where positives or negatives are missing.

        Every count and half-count is exact in float64, so the order of summation cannot change a bit.
        """
        rows, isin = self._rows(mask), np.asarray(positive, dtype=bool)
        values = self._per_image(scores)
        if np.isnan(values[rows]).any():
            raise BadInput("scores hold NaN; an image that could not be scored must be left out with the mask")
        ups, downs = np.flatnonzero(rows & isin), np.flatnonzero(rows & ~isin)
        downs = downs[np.argsort(values[downs], kind="stable")]
        below = np.searchsorted(values[downs], values[ups], side="left")
        through = np.searchsorted(values[downs], values[ups], side="right")

        def area(counts: Floats) -> Floats:
            weights, others = counts[:, self.of_image[ups]], counts[:, self.of_image[downs]]
            ranked = np.concatenate([np.zeros((len(counts), 1)), others.cumsum(axis=1)], axis=1)
            won = (weights * (ranked[:, below] + ranked[:, through])).sum(axis=1) / 2
            return divide(won, weights.sum(axis=1) * ranked[:, -1])

        return self._over_draws(area)

    def confusion(self, truth: ArrayLike, answer: ArrayLike, k: int) -> Floats:
        """Confusion matrices of the sample and of each draw: (draws + 1, K, K), rows truth, columns answer."""
        cell = np.asarray(truth, dtype=np.int64) * k + np.asarray(answer, dtype=np.int64)
        return self.totals(np.eye(k * k, dtype=np.int64)[cell]).reshape(-1, k, k)

    def totals(self, values: ArrayLike) -> Floats:
        """Sums of `values` (N, F) over the sample and over each draw: (draws + 1, F)."""
        per_image = np.asarray(values)
        per_patient = np.zeros((self._counts.shape[1], per_image.shape[1]))
        np.add.at(per_patient, self.of_image, per_image)
        if np.issubdtype(per_image.dtype, np.integer):  # exact in any order of summation, so BLAS may choose it
            return self._over_draws(lambda counts: counts @ per_patient)
        columns = np.ascontiguousarray(per_patient.T)  # without BLAS: the order must not depend on its threads
        return self._over_draws(lambda counts: np.einsum("bp,fp->bf", counts, columns))

    def interval(self, values: Floats, *, images: int, patients: int, degenerate: Sequence[int] = ()) -> Estimate:
        """The Estimate of (draws + 1,) values: the sample's in row 0; NaN marks a draw without an answer.

        `degenerate` gives, for a score in [0, 1], the patients behind it (several for a mean over classes): where
        sample and draws are all 0 or all 1, its bounds are Clopper-Pearson's (averaged over the classes). The
        percentile interval is widened to hold the value, which a biased score such as ECE can leave.
        """
        value, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
        if math.isnan(value) or images == 0:
            return Estimate(value=None, low=None, high=None, method="nothing to measure", n=images, patients=patients)
        percent = f"{100 * self.confidence:g} %"
        if degenerate and value in (0.0, 1.0) and bool((drawn == value).all()):
            low, high = np.mean([clopper_pearson(value, n, self.confidence) for n in degenerate], axis=0)
            method = f"Clopper–Pearson, n = patients, {percent}"
        else:
            tail = (1 - self.confidence) / 2
            low, high = np.quantile(drawn, (tail, 1 - tail)) if len(drawn) else (value, value)
            made = f"{self.draws}" if len(drawn) == self.draws else f"{len(drawn)} of {self.draws}"
            method = f"cluster bootstrap over patients, {made} draws, {percent}"
        low, high = min(float(low), value), max(float(high), value)
        return Estimate(value=value, low=low, high=high, method=method, n=images, patients=patients)

    def _over_draws(self, statistic: Callable[[Floats], Floats]) -> Floats:
        return np.concatenate([statistic(block) for block in self._blocks()])

    def _blocks(self) -> Iterator[Floats]:
        rows = max(1, _BLOCK // max(self._counts.shape[1], len(self)))
        for start in range(0, len(self._counts), rows):
            yield self._counts[start : start + rows].astype(np.float64)

    def _rows(self, mask: ArrayLike | None) -> NDArray[np.bool_]:
        return np.ones(len(self), dtype=bool) if mask is None else self._per_image(mask).astype(bool)

    def _per_image(self, values: ArrayLike) -> Floats:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (len(self),):
            raise BadInput(f"expected one value for each of {len(self)} images, got an array of shape {array.shape}")
        return array


def clopper_pearson(value: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided exact bounds of the proportion `value` of n; (0, 1) where n is 0."""
    from scipy.special import betaincinv

    hits, tail = round(value * n), (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def divide(above: Floats, below: Floats) -> Floats:
    """Divide, with NaN where below is 0: an undefined draw, told from a score of 0."""
    return np.divide(above, below, out=np.full(np.broadcast(above, below).shape, np.nan), where=below != 0)


def _counts(patients: int, draws: int, seed: int) -> NDArray[np.uint16]:
    """How often each draw holds each patient; row 0 is the sample itself: (draws + 1, P)."""
    rng = numpy_generator(seed, "cluster bootstrap", patients)
    counts = np.ones((draws + 1, patients), dtype=np.uint16)
    for row in counts[1:]:
        row[:] = np.bincount(rng.integers(0, patients, patients), minlength=patients)
    return counts


def _medians(ranked: Floats, weights: Floats) -> Floats:
    """Medians of values in ascending order, each repeated as often as its weight says: (b,), NaN where none is."""
    if not len(ranked):
        return np.full(len(weights), np.nan)
    through = weights.cumsum(axis=1)
    total = through[:, -1]
    lower = (through <= ((total - 1) // 2)[:, None]).sum(axis=1)
    upper = (through <= (total // 2)[:, None]).sum(axis=1)
    last = len(ranked) - 1
    middle = (ranked[np.minimum(lower, last)] + ranked[np.minimum(upper, last)]) / 2
    return np.where(total > 0, middle, np.nan)
