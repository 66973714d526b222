# SPDX-License-Identifier: Apache-2.0
"""Fool the model with features that are usual for the class it then names: the hierarchical feature constraint (HFC).

Yao, He, Lin, Ding, Zheng, Zhou, "A Hierarchical Feature Constraint to Camouflage Medical Adversarial Attacks",
MICCAI 2021, arXiv:2012.09501. It needs no detector, and is meant for all that look at a network's layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Generator, Tensor

from radproof.attacks.aware.evasion import Rounds
from radproof.attacks.aware.measured import Measured
from radproof.attacks.aware.orthogonal import Confidence
from radproof.attacks.aware.search import PRESETS, Kept, Weight, walk
from radproof.attacks.balls import unit_l1
from radproof.attacks.objective import Objective
from radproof.attacks.registry import attack
from radproof.attacks.whitebox.losses import ByMargin
from radproof.core.goals import Flip, Over, Towards
from radproof.core.params import Epsilon, Steps
from radproof.core.registry import Need, Passes
from radproof.core.types import Attack, Classifier, Goal

Features = Callable[[Tensor, Tensor], Tensor]
"""Images (N, C, H, W) and a class for each (N,) -> log density (N,) of their features among clean images of it."""


@dataclass(frozen=True)
class FeatureConstrained:
    """Climb the margin and the features' log density together; each gradient is brought to one size, then weighted.

    After each of `rounds` walks the density's weight rises where the model is fooled by a margin of `confidence`, and
    falls elsewhere. Of what fools it that safely, the most usual is kept; else what fools it, else the highest margin.
    """

    features: Features
    eps: float
    steps: int = 20
    rounds: int = 3
    confidence: float = 1.0

    def __call__(self, model: Classifier, x: Tensor, goal: Goal, *, rng: Generator) -> Tensor:
        """Perturbed images, shaped like x; nothing is random. Raises NoGradient where model or features have none."""
        x = x.detach()
        if not len(x):
            return x.clone()
        objective = Objective(model, ByMargin(goal))
        classes = leads_to(goal, objective.logits(x))
        likely = Measured(lambda z, rows: self.features(z, classes[rows]), model.micro_batch, "the features' density")
        kept, weight, delta = Kept.none(x), Weight.of(x, 1.0), torch.zeros_like(x)
        never = torch.zeros(len(x), dtype=torch.bool, device=x.device)

        def note(delta: Tensor, margin: Tensor, fooled: Tensor, density: Tensor) -> Tensor:
            safely = fooled & (margin >= self.confidence)
            kept.improve(delta, fooled.long() + safely.long(), torch.where(fooled, density, margin))
            return safely

        def slope(delta: Tensor) -> tuple[Tensor, Tensor]:
            margin, claimed, up = objective.climb(x + delta)
            density, usual = likely.climb(x + delta)
            note(delta, margin, objective.confirm(x + delta, claimed), density)
            return unit_l1(up) + weight.over(unit_l1(usual)), never

        for _ in range(self.rounds):
            delta = walk(x, delta, self.eps, self.steps, slope)
            weight.adjust(note(delta, *objective.judge(x + delta), likely(x + delta)))
        return (x + kept.delta).clamp(0, 1)


def leads_to(goal: Goal, logits: Tensor) -> Tensor:
    """The class (N,) that an attack leads to: the goal's own, else the likeliest that is not true.

    Of findings side by side: the one that is to appear, else the likeliest of those that are not there.
    """
    way = goal.ways(logits, 1)[0]
    if isinstance(way, Over | Towards):
        return way.target
    there = goal.y > 0.5
    absent = logits.masked_fill(there, -torch.inf).argmax(1)
    if not isinstance(way, Flip):
        return absent
    return torch.where(there.gather(1, way.finding.unsqueeze(1)).squeeze(1), absent, way.finding)


def _cost(p: Mapping[str, Any]) -> Passes:
    """One look at the images; every walk takes `steps` gradients and looks once at where the last one led."""
    return Passes(1 + (p["steps"] + 1) * p["rounds"], p["steps"] * p["rounds"])


@attack(
    title="Hierarchical feature constraint",
    paper="arXiv:2012.09501",
    threat="linf",
    presets=PRESETS,
    cost=_cost,
)
def feature_constrained(
    features: Annotated[Features, Need("features")],
    eps: Epsilon = 8 / 255,
    steps: Steps = 20,
    rounds: Rounds = 3,
    confidence: Confidence = 1.0,
) -> Attack:
    """Fool the model while its layers' features stay usual for the class that it is led to.

    The bill counts the model's passes; those that look at the layers come on top.
    """
    return FeatureConstrained(features, eps, steps, rounds, confidence)
