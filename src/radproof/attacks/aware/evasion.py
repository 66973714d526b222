# SPDX-License-Identifier: Apache-2.0
"""Fool the model, and pay for every spread of suspicion above the detector's threshold.

Carlini & Wagner, "Adversarial Examples Are Not Easily Detected", AISec 2017, arXiv:1705.07263: the detector becomes a
term of the loss. Its weight is searched for each image.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.aware.measured import headroom
from radproof.attacks.aware.search import PRESETS, Kept, Weight, rungs, walk
from radproof.attacks.balls import unit_l1
from radproof.attacks.objective import Objective
from radproof.attacks.registry import attack
from radproof.attacks.whitebox.apgd import LossChoice
from radproof.attacks.whitebox.losses import LOSSES, Loss, own
from radproof.core.params import Epsilon, Steps
from radproof.core.registry import Need, Passes
from radproof.core.types import Attack, Classifier, Goal, Watch

Rounds = Annotated[int, Field(ge=1, le=50, description="Walks, each with a new weight between model and detector.")]
Slack = Annotated[
    float,
    Field(ge=0, le=10, description="How far under the threshold to aim, in spreads of clean scores: storing moves it."),
]


@dataclass(frozen=True)
class Evasion:
    """Maximise loss - c * max(0, suspicion above the aim, in spreads): `rounds` walks of `steps` signed steps.

    Both gradients are brought to one size first, so c has no unit. The walks' radii rise to eps, and each starts at
    the best so far. Where the model is fooled and the detector not, a step climbs the detector's side alone and is
    drawn back towards the original. After a walk c rises there, and falls everywhere else. Every perturbation on the
    way is a candidate: undetected success first, then success, then loss.
    """

    watch: Watch
    eps: float
    steps: int = 20
    rounds: int = 3
    slack: float = 0.25
    loss: Loss = own

    def __call__(self, model: Classifier, x: Tensor, goal: Goal, *, rng: Generator) -> Tensor:
        """Perturbed images, shaped like x; nothing is random. Raises NoGradient where model or detector has none."""
        x = x.detach()
        if not len(x):
            return x.clone()
        objective, hidden = Objective(model, self.loss(goal)), headroom(self.watch, model.micro_batch)
        kept, weight = Kept.none(x), Weight.of(x, 1.0)

        def slope(delta: Tensor) -> tuple[Tensor, Tensor]:
            loss, claimed, up = objective.climb(x + delta)
            room, ease = hidden.climb(x + delta)
            fooled, alarmed = objective.confirm(x + delta, claimed), room < self.slack
            kept.unseen(delta, fooled, room, self.slack, loss)
            calm = torch.where(_each(alarmed), weight.over(unit_l1(ease)), torch.zeros_like(ease))
            return torch.where(_each(fooled & alarmed), calm, unit_l1(up) + calm), fooled & alarmed

        for radius in rungs(self.eps, self.rounds):
            delta = walk(x, kept.delta, radius, self.steps, slope)
            (loss, fooled), room = objective.judge(x + delta), hidden(x + delta)
            kept.unseen(delta, fooled, room, self.slack, loss)
            weight.adjust(fooled & (room < self.slack))
        return (x + kept.delta).clamp(0, 1)


def _each(chosen: Tensor) -> Tensor:
    return chosen.view(-1, 1, 1, 1)


def _cost(p: Mapping[str, Any]) -> Passes:
    """Every walk takes `steps` gradients and looks once at where the last one led."""
    return Passes((p["steps"] + 1) * p["rounds"], p["steps"] * p["rounds"])


@attack(
    title="Evasion of a detector",
    paper="arXiv:1705.07263",
    threat="linf",
    presets=PRESETS,
    cost=_cost,
)
def evasion(
    watch: Annotated[Watch, Need("watch")],
    eps: Epsilon = 8 / 255,
    steps: Steps = 20,
    rounds: Rounds = 3,
    slack: Slack = 0.25,
    loss: LossChoice = "auto",
) -> Attack:
    """Fool the model while a penalty, weighted anew for each image, keeps the detector's suspicion under its threshold.

    The bill counts the model's passes; those that the detector makes for itself come on top.
    """
    return Evasion(watch, eps, steps, rounds, slack, LOSSES[loss])
