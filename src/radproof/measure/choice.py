# SPDX-License-Identifier: Apache-2.0
"""Two-alternative forced choice: can readers tell which of two images was altered? Needs no torch.

An observer who compares two draws of equal variance is right with probability Φ(d′/√2), so d′ = √2·z(proportion
correct): Green & Swets, "Signal Detection Theory and Psychophysics", 1966; Macmillan & Creelman, "Detection Theory",
2nd ed., 2005, ch. 7. A bias for one side makes it smaller: where the sides are told, d′ without it stands beside.

An interval of the proportion is one of d′ through the same rising function. Answers about different images are taken
as independent: Clopper & Pearson, Biometrika 1934. Where several readers answer about the same images they are not:
then images are drawn again with all their answers (cluster bootstrap), and the wider of both intervals holds. It
speaks of these readers on images like these; of readers who were not asked it says nothing.

"Could not tell" is claimed only where the whole interval of the proportion lies within 0.1 of chance (|d′| < 0.36), and
that of d′ without bias within the same, and catch trials show that the readers looked (`certain`):
the absence of a proof is no proof of absence, and few answers prove neither (Schuirmann, J Pharmacokinet. 1987).
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from radproof.core.records import Estimate, Record
from radproof.errors import BadInput
from radproof.measure.sides import Sides, columns, exact, looked, sides_of

__all__ = ["Choice", "certain", "d_prime", "enough", "exact", "forced_choice", "shown", "verdict_of"]
Verdict = Literal["told apart", "the wrong way round", "could not tell", "not established"]
CHANCE = 0.5
MARGIN = 0.1  # of the proportion correct about chance within which nobody can be said to tell
MOST = 6.0  # d′ at or beyond which it is unbounded: no answer, or every answer, was right
DRAWS = 2000
_BLOCK = 2_000_000


class Choice(Record):
    """How often the altered image was found, and what that supports."""

    answers: int
    correct: int
    images: int  # pairs that were answered
    readers: int
    proportion: Estimate
    d_prime: Estimate  # ±MOST stands for that or more
    sides: Sides | None  # where it is known who said which side
    verdict: Verdict
    reason: str = ""  # why more was not established

    @property
    def sentence(self) -> str:
        """For a report: d′ with its interval, and what it supports."""
        who = "the reader" if self.readers <= 1 else f"these {self.readers} readers"
        if not self.answers:
            return "Nothing was answered yet: not established."
        words = {
            "told apart": f"{who} could tell the altered image",
            "the wrong way round": f"{who} saw a difference, and took the original for the altered image",
            "could not tell": f"{who} could not tell the altered image",
            "not established": f"whether {who} could tell is not established",
        }[self.verdict]
        why = f"; {self.reason}" if self.reason else ""
        return f"d′ {shown(self.d_prime)}: {words} ({self.correct} of {self.answers} right{why})."


def forced_choice(
    correct: Sequence[bool],
    images: Sequence[str] | None = None,
    *,
    left: Sequence[bool] | None = None,
    readers: int = 1,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Choice:
    """Estimate from answers (N,), each right or wrong, about `images` (N,): all different by default.

    `left` (N,): whether the answer was "left"; then d′ without the bias for a side is estimated too.

    Raises BadInput for lists of different lengths and a confidence outside (0, 1).
    """
    names = [str(number) for number in range(len(correct))] if images is None else list(images)
    if not len(names) == len(correct) == len(correct if left is None else left) or not 0 < confidence < 1:
        raise BadInput(
            f"a forced choice needs one image for each answer and a confidence between 0 and 1; got {len(correct)} "
            f"answers, {len(names)} images, confidence {confidence}"
        )
    n, right, percent = len(correct), sum(map(bool, correct)), f"{100 * confidence:g} %"
    clusters = len(set(names))
    if not n:
        nothing = Estimate(value=None, low=None, high=None, method="nothing to measure", n=0)
        return _choice(0, 0, 0, readers, nothing, nothing, None)
    low, high = exact(right, n, confidence)
    method = f"Clopper–Pearson, {percent}"
    told = np.array([correct, np.ones(n)], dtype=np.float64)
    told = told if left is None else np.concatenate([told, columns(left, correct)])
    sums = _drawn(told, names, draws, seed) if clusters < n else None
    if sums is not None:
        drawn = sums[0] / sums[1]
        tail = (1 - confidence) / 2
        ends = np.quantile(drawn, (tail, 1 - tail))
        low, high = min(low, float(ends[0])), max(high, float(ends[1]))
        method = f"the wider of Clopper–Pearson and a cluster bootstrap over images, {draws} draws, {percent}"
    proportion = Estimate(value=right / n, low=low, high=high, method=method, n=n)
    limits = (d_prime(right / n), d_prime(low), d_prime(high))
    words = f"√2·z of the proportion correct; {method}"
    if any(abs(limit) >= MOST for limit in limits):
        words += f"; {MOST:g} stands for that or more"
    return _choice(
        n,
        right,
        clusters,
        readers,
        proportion,
        Estimate(value=limits[0], low=limits[1], high=limits[2], method=words, n=n),
        None if left is None else sides_of(told[2:], None if sums is None else sums[2:], confidence),
    )


def d_prime(proportion: float) -> float:
    """√2·z(proportion correct), between -MOST and MOST."""
    from scipy.special import ndtri

    return float(np.clip(math.sqrt(2) * ndtri(proportion), -MOST, MOST))


def verdict_of(proportion: Estimate, sides: Sides | None = None) -> Verdict:
    """What an interval of the proportion correct supports, and that of d′ without bias where it is known."""
    if proportion.low is None or proportion.high is None:
        return "not established"
    if proportion.low > CHANCE:
        return "told apart"
    if proportion.high < CHANCE:
        return "the wrong way round"
    within = proportion.low > CHANCE - MARGIN and proportion.high < CHANCE + MARGIN
    if sides is not None:
        found, most = sides.d_prime, d_prime(CHANCE + MARGIN)
        within &= found.low is not None and found.high is not None and -most < found.low and found.high < most
    return "could not tell" if within else "not established"


def enough(confidence: float = 0.95) -> int:
    """The fewest answers, half of them right, from which "could not tell" may follow."""
    n = 4
    while (
        forced_choice(
            [True, False] * (n // 2), left=[True, True, False, False] * (n // 4), confidence=confidence
        ).verdict
        != "could not tell"
    ):
        n += 4
    return n


def certain(found: Choice, caught: int, catches: int) -> Choice:
    """The same, without "could not tell" unless catch trials, `caught` of `catches` found, show that readers looked."""
    if found.verdict != "could not tell" or looked(caught, catches):
        return found
    why = f"{caught} of {catches} catch trials found" if catches else "without catch trials"
    reason = f"{why}: not enough to know that they looked"
    return found.model_copy(update={"verdict": "not established", "reason": reason})


def shown(one: Estimate) -> str:
    """'0.2 (−0.1 to 0.5)', 'at least 1.9', '−0.3 or less'."""
    if one.value is None or one.low is None or one.high is None:
        return "not measured"
    if one.value >= MOST:
        return f"at least {_number(one.low)}"
    if one.value <= -MOST:
        return f"{_number(one.high)} or less"
    return f"{_number(one.value)} ({_number(one.low)} to {_number(one.high)})"


def _choice(
    n: int, right: int, images: int, readers: int, proportion: Estimate, d: Estimate, sides: Sides | None
) -> Choice:
    return Choice(
        answers=n,
        correct=right,
        images=images,
        readers=readers,
        proportion=proportion,
        d_prime=d,
        sides=sides,
        verdict=verdict_of(proportion, sides),
    )


def _drawn(told: NDArray[np.float64], images: Sequence[str], draws: int, seed: int) -> NDArray[np.float64]:
    """The sums of columns (k, N) in each draw of images, with all answers about each: (k, draws)."""
    index = {name: number for number, name in enumerate(sorted(set(images)))}
    of_answer = np.array([index[name] for name in images])
    sums = np.stack([np.bincount(of_answer, weights, len(index)) for weights in told])
    rng = np.random.Generator(np.random.PCG64(seed))
    found: list[NDArray[np.float64]] = []
    rows = max(1, _BLOCK // len(index))
    for start in range(0, draws, rows):
        chosen = rng.integers(0, len(index), (min(rows, draws - start), len(index)))
        found.append(np.stack([one[chosen].sum(axis=1) for one in sums]))
    return np.concatenate(found, axis=1)


def _number(value: float) -> str:
    """Two figures are more than an interval of d′ bears."""
    if abs(value) >= MOST:
        return "−∞" if value < 0 else "∞"
    text = f"{value:.1f}"
    return ("0.0" if text == "-0.0" else text).replace("-", "−")
