# SPDX-License-Identifier: Apache-2.0
"""What the probes found of one contender, as estimates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radproof.assess.material import Material
from radproof.assess.probe_answers import ABSENT
from radproof.assess.probes import planned_jobs, probe_batches, probe_key, subjects
from radproof.assess.summary import Measurer
from radproof.assess.workspace import Workspace
from radproof.core.params import show_fraction
from radproof.core.records import Estimate
from radproof.measure.intervals import Resampler

Floats = NDArray[np.float64]
TINY = 1e-30  # partial derivatives below this have largely underflowed in float32


@dataclass(frozen=True)
class Contest:
    """Images still right after one attack and after another, and the paired difference: one minus other."""

    one: Estimate
    other: Estimate
    gain: Estimate


@dataclass(frozen=True)
class Probed:
    """One contender at the plan's largest budget. Shares are of all probed images unless said otherwise."""

    name: str  # "none" is the bare model
    random: bool
    eot: int
    budget: str
    steps: int  # of PGD
    clean: Estimate
    absent: Estimate  # share of images without a gradient
    dead: Estimate  # whose gradient is zero or has underflowed
    broken: Estimate  # whose gradient is NaN or infinite
    one_step: Contest  # PGD, and FGSM
    margin: Contest  # PGD on the cross-entropy, and on the margin
    square: Contest  # PGD, and with Square where that failed
    longer: Contest | None  # the plan's attacks, and with longer PGD where those failed
    noise: Contest  # clean, and under random noise
    attacked: Contest  # clean, and under PGD
    huge: Estimate  # accuracy at 1/2
    rose: Estimate  # share of attacked images whose loss is higher at the end
    rising: float | None  # mean share of steps that raise the loss
    apart: float  # two answers to one image, at most, as a share of the largest logit
    alone: float  # the same for an image by itself and among others
    variance: float  # of the confidence in the truth, mean
    agreement: Estimate  # cosine of gradients over halves of the draws
    probabilities: bool  # answers look like probabilities
    constant: bool  # all images get one answer


def probed(material: Material, space: Workspace, measurer: Measurer) -> tuple[Probed, ...]:
    """The figures of every contender, the bare model first."""
    return tuple(_figures(material, space, measurer, name) for name in subjects(material))


def _figures(material: Material, space: Workspace, measurer: Measurer, name: str) -> Probed:
    stored = [space.load(probe_key(name), batch) for batch in probe_batches(material)]
    joined = {key: np.concatenate([arrays[key] for arrays in stored]) for key in stored[0] if key != "steps"}
    contender, plan = subjects(material)[name], material.plan
    resampler = measurer.resampler(joined["rows"])
    share = resampler.mean
    right, pgd, size = joined["right"], joined["pgd"], joined["size"]
    control = (pgd & ~joined["again"]).astype(float)  # what another draw of a random defence changes by itself
    planned = right & joined["planned"]
    tried = np.isfinite(joined["rose"])
    return Probed(
        name=name,
        random=contender.random,
        eot=plan.eot,
        budget=show_fraction(plan.budgets[-1]),
        steps=int(max(arrays["steps"] for arrays in stored)),
        clean=share(right),
        absent=share(size == ABSENT),
        dead=share((size >= 0) & (size < TINY)),
        broken=share(np.isnan(size)),
        one_step=_contest(resampler, pgd, joined["fgsm"]),
        margin=_contest(resampler, pgd, joined["margin"]),
        square=_contest(resampler, pgd, joined["square"], control),
        longer=_contest(resampler, planned, joined["longer"], (planned & ~joined["again"]) * float(contender.random))
        if planned_jobs(material, name, plan.budgets[-1])
        else None,
        noise=_contest(resampler, right, joined["noise"]),
        attacked=_contest(resampler, right, pgd),
        huge=share(joined["huge"]),
        rose=share(np.nan_to_num(joined["rose"]), tried),
        rising=float(joined["rising"][tried].mean()) if tried.any() else None,
        apart=float(joined["apart"].max()),
        alone=float(joined["alone"].max()),
        variance=float(joined["variance"].mean()),
        agreement=_mean_where_finite(resampler, joined["agreement"]),
        probabilities=_like_probabilities(joined["logits"], material.manifest.head),
        constant=_constant(joined["logits"]),
    )


def _contest(
    resampler: Resampler, one: NDArray[np.bool_], other: NDArray[np.bool_], control: ArrayLike = 0.0
) -> Contest:
    gain = one.astype(float) - other - np.asarray(control, dtype=np.float64)
    return Contest(resampler.mean(one), resampler.mean(other), resampler.mean(gain))


def _mean_where_finite(resampler: Resampler, values: Floats) -> Estimate:
    there = np.isfinite(values)
    return resampler.mean(np.where(there, values, 0.0), there, proportion=False)


def _like_probabilities(logits: Floats, head: str) -> bool:
    within = bool(((logits >= 0) & (logits <= 1)).all())
    return within and (head == "sigmoid" or bool(np.abs(logits.sum(1) - 1).max() < 1e-4))


def _constant(logits: Floats) -> bool:
    return len(logits) > 1 and bool(np.ptp(logits, axis=0).max() <= 1e-6 * np.abs(logits).max())
