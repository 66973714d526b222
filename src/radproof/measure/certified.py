# SPDX-License-Identifier: Apache-2.0
"""Randomised smoothing: what counts of a classifier's answers to a noisy image prove about it.

Cohen, Rosenfeld & Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019; Clopper & Pearson,
Biometrika 1934; Hung & Fithian, "Rank verification for exponential families", Annals of Statistics 2019 (the test of
the first against the second).

The smoothed classifier answers what the classifier answers most often to the image plus N(0, sigma²) noise. Where the
most frequent answer has probability p > 1/2, no change of the image with an L2 norm below sigma · Phi⁻¹(p) turns it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radproof.errors import BadInput

Counts = NDArray[np.int64]  # (K,): draws of noise that each class was the answer to


@dataclass(frozen=True)
class Guarantee:
    """What was proved of one image, wrong with a probability of at most alpha over the noise drawn."""

    selected: int  # the class most frequent among the selection draws
    hits: int  # estimation draws with that answer
    p_low: float  # lower bound of its probability
    radius: float  # L2, in the units of sigma; 0 where nothing is proved

    @property
    def answer(self) -> int | None:
        """The class that is certified, or None (abstention)."""
        return self.selected if self.p_low > 0.5 else None


def lower_bound(hits: int, n: int, alpha: float) -> float:
    """One-sided Clopper–Pearson bound: the probability behind `hits` of `n` lies below it with probability <= alpha.

    Beta⁻¹(alpha; hits, n − hits + 1). Raises BadInput for counts or an alpha that cannot be.
    """
    if not 0 <= hits <= n or n < 1 or not 0 < alpha < 1:
        raise BadInput(f"expected 0 <= hits <= n, n >= 1 and alpha in (0, 1), got {hits} of {n} at alpha {alpha}")
    from scipy.special import betaincinv

    return 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, alpha))


def radius(p_low: float, sigma: float) -> float:
    """sigma · Phi⁻¹(p_low), the L2 norm below which no change turns the answer; 0 for p_low <= 1/2."""
    from scipy.special import ndtri

    return sigma * float(ndtri(p_low)) if p_low > 0.5 else 0.0


def largest_radius(sigma: float, n: int, alpha: float) -> float:
    """The cap that `n` draws set: sigma · Phi⁻¹(alpha^(1/n)), reached where every draw agrees."""
    return radius(alpha ** (1 / n), sigma)


def guarantee(selection: Counts, estimation: Counts, sigma: float, alpha: float) -> Guarantee:
    """CERTIFY of the paper, from the counts of two sets of draws.

    The sets must be independent: a class chosen for its count among the draws that then estimate it is estimated too
    high, and the promise breaks.
    """
    selected = int(np.argmax(selection))
    hits, n = int(estimation[selected]), int(estimation.sum())
    p_low = lower_bound(hits, n, alpha)
    return Guarantee(selected, hits, p_low, radius(p_low, sigma))


def majority(counts: Counts, alpha: float) -> int | None:
    """PREDICT of the paper: the most frequent answer, or None where the second could be as frequent.

    A two-sided binomial test of the first against the second at level alpha.
    """
    ranked = np.argsort(-counts, kind="stable")
    first = int(counts[ranked[0]])
    second = int(counts[ranked[1]]) if len(counts) > 1 else 0
    if first + second == 0:
        return None
    from scipy import stats

    p = stats.binomtest(first, first + second, 0.5).pvalue
    return int(ranked[0]) if p <= alpha else None


def root_mean_square(l2: float, values: int) -> float:
    """An L2 norm over `values` pixel values as the change of each if all changed alike; unit as given.

    It is also the L-infinity budget that the L2 ball holds whole.
    """
    return l2 / math.sqrt(values)


def ladder(sigma: float, cap: float) -> tuple[float, ...]:
    """Radii to tell of where none are asked for: 0, sigma/4, sigma/2, … up to the cap."""
    return tuple(sigma * k / 4 for k in range(math.floor(4 * cap / sigma) + 1))


def certified_at(radii: Sequence[float], right: NDArray[np.bool_], proved: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(len(radii), N): whether each image is answered rightly and proved up to each radius.

    `right` (N,): certified, and the certified answer is the truth; `proved` (N,): radii.
    """
    return right & (proved >= np.asarray(radii, dtype=np.float64)[:, None])
