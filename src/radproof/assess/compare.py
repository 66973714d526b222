# SPDX-License-Identifier: Apache-2.0
"""Two runs, or the contenders of one, on the same images: paired differences, and whether chance explains them.

McNemar, Psychometrika 1947 (exact: a binomial test on the images that only one answers rightly); Holm, Scandinavian
Journal of Statistics 1979, since many rows are tested. The test counts images, the interval patients: a difference
must pass both.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from radproof.assess.differences import differences
from radproof.assess.finished import Finished, Question
from radproof.assess.result import Column
from radproof.core.records import Estimate, Record
from radproof.core.rng import seed_for
from radproof.errors import BadInput
from radproof.measure.intervals import Resampler, clopper_pearson

if TYPE_CHECKING:
    import pandas as pd

LEAST = 0.5  # share of the smaller run's images that both runs must hold


class Compared(Record):
    """One figure of A and of B on the same images."""

    column: Column  # "clean" or "headline"
    goal: str
    eps: float
    budget: str
    defense: str  # of A
    against: str  # of B: the same between two runs, "none" within one
    a: Estimate  # share right, under attack before and after
    b: Estimate
    difference: Estimate  # a - b, paired by image
    only_a: int  # images that only A answers rightly
    only_b: int
    p: float  # exact McNemar
    p_holm: float  # corrected for the number of rows
    differs: bool  # p_holm below 1 - confidence, and 0 outside the difference's interval


class Comparison(Record):
    """What changed between two runs, or what each contender of one run changes."""

    a: str
    b: str
    images: int  # in both, with the same bytes and the same truth
    patients: int
    left_out: int  # in one only
    confidence: float
    differences: tuple[str, ...]  # what else is not the same, in words
    rows: tuple[Compared, ...]


def compare(a: Finished, b: Finished | None = None) -> Comparison:
    """A against B, question by question; without B every contender of A against the bare model.

    Raises BadInput where the runs do not hold the same images or answer no common question.
    """
    other = a if b is None else b
    pairing = Pairing(a, other)
    pairs = _contenders(a) if b is None else [(question, question) for question in _shared(a, other)]
    raw = [pairing.row(ours, theirs) for ours, theirs in pairs]
    corrected = holm([row.p for row in raw])
    names = _names(a, other)
    return Comparison(
        a=names[0] if b is not None else "contender",
        b=names[1] if b is not None else "none",
        images=len(pairing.images),
        patients=int(pairing.images["patient"].nunique()),
        left_out=len(set(a.images.index) | set(other.images.index)) - len(pairing.images),
        confidence=pairing.confidence,
        differences=() if b is None else tuple(differences(a.result, b.result)),
        rows=tuple(
            row.model_copy(update={"p_holm": p, "differs": p < 1 - pairing.confidence and _apart(row.difference)})
            for row, p in zip(raw, corrected, strict=True)
        ),
    )


@dataclass
class Pairing:
    """The images that two runs share. Raises BadInput where they are too few to compare anything."""

    a: Finished
    b: Finished
    images: "pd.DataFrame" = field(init=False)
    _resamplers: dict[bytes, Resampler] = field(default_factory=dict[bytes, Resampler])

    def __post_init__(self) -> None:
        ours, theirs = self.a.images, self.b.images
        common = ours.index.intersection(theirs.index, sort=False)
        left, right = ours.loc[common, ["truth", "sha256"]], theirs.loc[common, ["truth", "sha256"]]
        self.images = ours.loc[common[(left == right).all(axis=1)]]
        least = LEAST * min(len(ours), len(theirs))
        if len(self.images) < max(least, 1):
            changed = len(common) - len(self.images)
            names = _names(self.a, self.b)
            why = f" ({changed} more go by the same name but hold other bytes or another truth)" if changed else ""
            raise BadInput(
                f"{names[0]} holds {len(ours)} images, {names[1]} {len(theirs)}, and they share {len(self.images)}"
                f"{why}; a comparison needs the same images, at least half of the smaller run's: assess both with one "
                "data section"
            )

    @property
    def confidence(self) -> float:
        """Of the intervals, as run A's plan has it."""
        return float(self.a.result.plan.get("confidence", 0.95))

    def row(self, ours: Question, theirs: Question) -> Compared:
        """One question to A and one to B, over the shared images that both concern; not yet corrected."""
        x, y = self.a.answers[ours], self.b.answers[theirs]
        index = self.images.index.intersection(x.index, sort=False).intersection(y.index, sort=False)
        resampler = self._resampler(index)
        right_a, right_b = x.loc[index].to_numpy(bool), y.loc[index].to_numpy(bool)
        only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        p = mcnemar(only_a, only_b)
        return Compared(
            column="clean" if ours.column == "clean" else "headline",
            goal=ours.goal,
            eps=ours.eps,
            budget=ours.budget,
            defense=ours.defense,
            against=theirs.defense,
            a=resampler.mean(right_a),
            b=resampler.mean(right_b),
            difference=paired_difference(resampler, right_a.astype(float) - right_b),
            only_a=only_a,
            only_b=only_b,
            p=p,
            p_holm=p,
            differs=False,
        )

    def _resampler(self, index: "pd.Index[str]") -> Resampler:
        """Seeded as run A's own intervals are, so that equal images give its figures again."""
        key = "\n".join(index).encode()
        if key not in self._resamplers:
            plan = self.a.result.plan
            self._resamplers[key] = Resampler(
                list(self.images.loc[index, "patient"]),
                draws=int(plan.get("bootstrap", 2000)),
                seed=seed_for(int(plan.get("seed", 0)), "bootstrap"),
                confidence=self.confidence,
            )
        return self._resamplers[key]


def paired_difference(resampler: Resampler, d: NDArray[np.float64]) -> Estimate:
    """The mean of per-image differences of -1, 0 or 1, with its interval.

    Where all are equal a bootstrap sees no spread: then n patients without a single exception bound how often there
    are some (Clopper-Pearson), and an exception changes the difference by at most 1 from 0, by at most 2 from 1 or -1.
    """
    estimate = resampler.mean(d, proportion=False)
    if not len(d) or (d != d[0]).any():
        return estimate
    room = clopper_pearson(0.0, estimate.patients or 0, resampler.confidence)[1] * (1 if d[0] == 0 else 2)
    low, high = max(-1.0, float(d[0]) - room), min(1.0, float(d[0]) + room)
    method = f"Clopper–Pearson of exceptions, n = patients, {100 * resampler.confidence:g} %"
    return estimate.model_copy(update={"low": low, "high": high, "method": method})


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p of McNemar's test: that a coin decided who alone answers an image rightly."""
    both = only_a + only_b
    if not both:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(min(only_a, only_b), both, 0.5).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values, in the order given."""
    order = sorted(range(len(p)), key=lambda k: p[k])
    corrected, most = [1.0] * len(p), 0.0
    for rank, k in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[k]))
        corrected[k] = most
    return corrected


def _apart(difference: Estimate) -> bool:
    return (difference.low or 0.0) > 0 or (difference.high or 0.0) < 0


def _shared(a: Finished, b: Finished) -> list[Question]:
    """Questions that both runs answer: clean images first, then goals and budgets as A has them."""
    shared = [question for question in a.answers if question in b.answers]
    attacked = [[q for q in run.answers if q.column == "headline"] for run in (a, b)]
    if all(attacked) and not any(question.column == "headline" for question in shared):
        told = (f"{name} has {_listed(found)}" for name, found in zip(_names(a, b), attacked, strict=True))
        raise BadInput(f"the runs share no goal at a budget: {'; '.join(told)}; give both plans one budget in common")
    return shared


def _contenders(run: Finished) -> list[tuple[Question, Question]]:
    found = [
        (q, bare) for q in run.answers if q.defense != "none" and (bare := q._replace(defense="none")) in run.answers
    ]
    if not found:
        raise BadInput(f"{run.path} has no defence to compare with the bare model; give a second run")
    return found


def _listed(questions: Sequence[Question]) -> str:
    goals = sorted({question.goal for question in questions})
    rungs = {question.eps: question.budget for question in questions}
    return f"{' and '.join(goals)} at {', '.join(rungs[eps] for eps in sorted(rungs))}"


def _names(a: Finished, b: Finished) -> tuple[str, str]:
    """The folders' names, with as much of what lies above as tells them apart."""
    one, other = (tuple(reversed(run.path.resolve().parts)) for run in (a, b))
    for depth in range(1, max(len(one), len(other)) + 1):
        if one[:depth] != other[:depth]:
            return "/".join(reversed(one[:depth])), "/".join(reversed(other[:depth]))
    return one[0], other[0]
