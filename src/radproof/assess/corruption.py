# SPDX-License-Identifier: Apache-2.0
"""What each contender makes of the graded corruptions, beside what it makes of clean images.

Mean corruption error after Hendrycks & Dietterich, ICLR 2019: for each corruption the errors over its grades are added
and divided by those of a reference, here the bare model; then the mean over corruptions.
"""

from collections.abc import Sequence

import numpy as np

from radproof.assess.answers import Answered
from radproof.assess.result import CorruptionRow, CorruptionSummary
from radproof.assess.summary import Measurer
from radproof.core.records import Estimate
from radproof.measure.classification import macro
from radproof.measure.intervals import Floats, Resampler, divide

REFERENCE = "none"
Graded = dict[tuple[str, int], Answered]  # corruption and severity -> its answers


def corruption_summaries(found: Sequence[Answered], measurer: Measurer) -> tuple[CorruptionSummary, ...]:
    """One record per contender; empty where the plan has no graded corruption."""
    clean = {a.defense: a for a in found if a.job.kind == "clean"}
    answers = {name: _graded(found, name) for name in clean}
    reference = answers.get(REFERENCE, {})
    return tuple(
        _summary(clean[name], mine, {} if name == REFERENCE else reference, measurer)
        for name, mine in answers.items()
        if mine
    )


def _graded(found: Sequence[Answered], contender: str) -> Graded:
    mine = [a for a in found if a.job.kind == "corruption" and a.defense == contender and "severity" in a.job.params]
    return {(a.job.label.partition("(")[0], int(a.job.params["severity"])): a for a in mine}


def _summary(clean: Answered, mine: Graded, reference: Graded, measurer: Measurer) -> CorruptionSummary:
    resampler = measurer.resampler(clean.rows)
    right = np.stack([values for values in _means({key: a.right.astype(float) for key, a in mine.items()}).values()])
    rows = [
        CorruptionRow(
            corruption=name,
            severity=severity,
            accuracy=resampler.mean(a.right),
            ssim=resampler.mean(a.measures["ssim"], proportion=False) if "ssim" in a.measures else None,
        )
        for (name, severity), a in sorted(mine.items())
    ]
    return CorruptionSummary(
        defense=clean.defense,
        clean=resampler.mean(clean.right),
        rows=tuple(rows),
        accuracy=resampler.mean(right.mean(axis=0)),
        error=resampler.mean(1 - right.mean(axis=0)),
        kept=_ratio(resampler, right.mean(axis=0), clean.right.astype(float)),
        relative_error=_relative(resampler, mine, reference) if reference else None,
        reference=REFERENCE if reference else "",
    )


def _means(values: dict[tuple[str, int], Floats]) -> dict[str, Floats]:
    """Per corruption the mean over its grades, per image: so that no corruption counts for more than another."""
    names = dict.fromkeys(name for name, _ in values)
    return {name: np.mean([v for (one, _), v in values.items() if one == name], axis=0) for name in names}


def _ratio(resampler: Resampler, above: Floats, below: Floats) -> Estimate:
    sums = resampler.totals(np.stack([above, below], axis=1))
    return _interval(resampler, divide(sums[:, 0], sums[:, 1]), resampler.patients(below))


def _relative(resampler: Resampler, mine: Graded, reference: Graded) -> Estimate:
    """Both answered the same images, so the draws are paired.

    A corruption in which the reference never errs is left out.
    """
    shared = {key: a for key, a in mine.items() if key in reference}
    wrong = _means({key: (~a.right).astype(float) for key, a in shared.items()})
    theirs = _means({key: (~reference[key].right).astype(float) for key in shared})
    sums = resampler.totals(np.stack([*wrong.values(), *theirs.values()], axis=1))
    return _interval(resampler, macro(divide(sums[:, : len(wrong)], sums[:, len(wrong) :])))


def _interval(resampler: Resampler, values: Floats, *degenerate: int) -> Estimate:
    return resampler.interval(values, images=len(resampler), patients=resampler.patients(), degenerate=degenerate)
