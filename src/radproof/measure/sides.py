# SPDX-License-Identifier: Apache-2.0
"""Sides of a two-alternative forced choice: d′ without the bias for one side, and whether a reader was attentive.

"Left" said of a pair whose left image was altered is a hit (share H of those pairs), said of another a false alarm (F);
d′ = (z(H) − z(F))/√2 takes a liking for one side out: Macmillan & Creelman, "Detection Theory", 2nd ed., 2005, ch. 7.
Shares of 0 and 1 have no z, so 0.5 is added to each count and 1 to each total, always (the log-linear correction:
Hautus, Behav Res Methods 1995); it draws d′ of few answers towards 0. Variance: Gourevitch & Galanter, Psychometrika
1967; its interval is approximate.

A reader who always says "left", or clicks anything, is right half the time, as one who looked and saw nothing. Catch
trials, whose alteration nobody who looks can miss, tell the two apart; they count for nothing else. All have to be
found: of readers who click at random a share of 1/2^n finds n (`by_chance`), with five 1 in 32.
"""

import math
from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from radproof.core.records import Estimate, Record

FEW, LEAST, ENOUGH = 20, 5, 10  # tests of so many trials have at least 5 catch trials, and never more than 10
LOPSIDED = (0.2, 0.8)  # of answers that said "left": nothing beyond these is an even use of both sides
Numbers = NDArray[np.float64]


class Sides(Record):
    """What was said of pairs by the side of the altered image."""

    hits: int  # "left" of pairs altered on the left
    lefts: int  # such pairs
    false_alarms: int  # "left" of pairs altered on the right
    rights: int
    d_prime: Estimate  # without the bias for a side
    left: Estimate  # share of answers that said "left"


class Attention(Record):
    """Whether a reader looked, as far as can be known."""

    catches: int  # catch trials that were answered
    missed: int
    left: Estimate
    seconds: float | None  # median time of an answer
    why: tuple[str, ...]  # not attentive; empty: nothing speaks against it

    @property
    def attentive(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.why


def catch_trials(trials: int) -> int:
    """How many of a test's trials are catch trials: one in ten, but 5 to 10 of 20 or more.

    More than 10 would tell little more, and who looks may slip once in so many.
    """
    return min(ENOUGH, max(LEAST if trials >= FEW else 0, trials // 10))


def by_chance(catches: int) -> float:
    """The share of readers who click at random and find every catch trial."""
    return 0.5**catches


def attention(found: Sequence[bool], left: Estimate, seconds: Sequence[float]) -> Attention:
    """Judge one reader by catch trials, each found or missed, the share of "left", and the times of all answers."""
    missed = sum(not one for one in found)
    why: list[str] = []
    if missed:
        why.append(f"missed {missed} of {len(found)} catch trials, whose alteration is plain to see")
    if left.low is not None and left.high is not None and (left.low > LOPSIDED[1] or left.high < LOPSIDED[0]):
        why.append(f"said one side nearly always: “left” in {left.value:.0%} of {left.n} answers".replace("%", " %"))
    return Attention(
        catches=len(found), missed=missed, left=left, seconds=median(seconds) if seconds else None, why=tuple(why)
    )


def looked(found: int, shown: int) -> bool:
    """Whether more than chance found the catch trials: the exact interval's lower end lies above one half."""
    return exact(found, shown)[0] > 0.5 if shown else False


def columns(said: Sequence[bool], correct: Sequence[bool]) -> Numbers:
    """(4, N): hits, pairs altered left, false alarms, pairs altered right; from answers "left" and whether right."""
    left, was = np.array(said, dtype=bool), np.array(said, dtype=bool) == np.array(correct, dtype=bool)
    return np.array([left & was, was, left & ~was, ~was], dtype=np.float64)


def unbiased(hits: Numbers, lefts: Numbers, false_alarms: Numbers, rights: Numbers) -> Numbers:
    """(z(H) − z(F))/√2, log-linear."""
    from scipy.special import ndtri

    shares = (hits + 0.5) / (lefts + 1), (false_alarms + 0.5) / (rights + 1)
    return (ndtri(shares[0]) - ndtri(shares[1])) / math.sqrt(2)


def sides_of(told: Numbers, drawn: Numbers | None = None, confidence: float = 0.95) -> Sides:
    """From columns (4, N); `drawn` (4, draws): their sums where images were drawn again, whose spread counts too."""
    from scipy.special import ndtri

    hits, lefts, alarms, rights = (int(one) for one in told.sum(axis=1))
    n, tail = lefts + rights, (1 - confidence) / 2
    low, high = exact(hits + alarms, n, confidence)
    method = f"Clopper–Pearson, {100 * confidence:g} %"
    left = Estimate(value=(hits + alarms) / n, low=low, high=high, method=method, n=n)
    counts = {"hits": hits, "lefts": lefts, "false_alarms": alarms, "rights": rights}
    if not (lefts and rights):
        nothing = Estimate(value=None, low=None, high=None, method="needs pairs altered on either side", n=n)
        return Sides(**counts, d_prime=nothing, left=left)
    value = float(unbiased(*told.sum(axis=1)))
    reach = float(-ndtri(tail)) * math.sqrt((_spread(hits, lefts) + _spread(alarms, rights)) / 2)
    ends = (value - reach, value + reach)
    how = f"(z(H) − z(F))/√2, log-linear correction; Gourevitch & Galanter's variance, {100 * confidence:g} %"
    if drawn is not None:
        found = np.quantile(unbiased(*drawn), (tail, 1 - tail))
        ends = min(ends[0], float(found[0])), max(ends[1], float(found[1]))
        how += f", or a cluster bootstrap over images ({drawn.shape[1]} draws) where it is wider"
    return Sides(**counts, d_prime=Estimate(value=value, low=ends[0], high=ends[1], method=how, n=n), left=left)


def exact(right: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's bounds of a proportion; 0 and 1 where nothing, or everything, was right."""
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if right == 0 else float(betaincinv(right, n - right + 1, tail))
    high = 1.0 if right == n else float(betaincinv(right + 1, n - right, 1 - tail))
    return low, high


def _spread(count: int, n: int) -> float:
    """Variance of z of a share."""
    from scipy.special import ndtri

    share = (count + 0.5) / (n + 1)
    density = math.exp(-(float(ndtri(share)) ** 2) / 2) / math.sqrt(2 * math.pi)
    return share * (1 - share) / ((n + 1) * density**2)
