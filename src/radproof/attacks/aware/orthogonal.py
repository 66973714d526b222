# SPDX-License-Identifier: Apache-2.0
"""Orthogonal projected gradient descent: fool the model along directions that the detector does not see, and back.

Bryniarski, Hingun, Pachuca, Wang, Carlini, "Evading Adversarial Example Detection Defenses with Orthogonal Projected
Gradient Descent", ICLR 2022, arXiv:2106.15023.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.aware.evasion import Slack
from radproof.attacks.aware.measured import headroom
from radproof.attacks.aware.search import RUNGS, Kept, drawn_back, moved, pace, rungs
from radproof.attacks.balls import Linf, unit_l1
from radproof.attacks.objective import Objective
from radproof.attacks.registry import attack
from radproof.attacks.whitebox.losses import ByMargin
from radproof.core.params import Epsilon, Steps
from radproof.core.registry import Need, Passes
from radproof.core.types import Attack, Classifier, Goal, Watch

Projection = Literal["orthogonal", "selective"]
PARALLEL = 1e-3  # a direction of which no more is left by a projection is taken as it was
Confidence = Annotated[
    float, Field(ge=0, le=100, description="Margin in logits from which an image counts as safely fooled.")
]


@dataclass(frozen=True)
class Orthogonal:
    """Step along one gradient at a time: the model's until it is fooled by a margin, the detector's from then on.

    "orthogonal" takes out of each what it has in common with the other, "selective" nothing. Steps keep the
    gradient's direction, as signs would undo the projection. The radius rises to eps in three phases; what is safely
    fooled and still seen is drawn back towards the original.
    """

    watch: Watch
    eps: float
    steps: int = 60
    projection: Projection = "orthogonal"
    confidence: float = 1.0
    slack: float = 0.25

    def __call__(self, model: Classifier, x: Tensor, goal: Goal, *, rng: Generator) -> Tensor:
        """Perturbed images, shaped like x; nothing is random. Raises NoGradient where model or detector has none."""
        x = x.detach()
        if not len(x):
            return x.clone()
        objective, hidden = Objective(model, ByMargin(goal)), headroom(self.watch, model.micro_batch)
        kept, delta, phases = Kept.none(x), torch.zeros_like(x), min(RUNGS, self.steps)
        for phase, radius in enumerate(rungs(self.eps, phases)):
            steps = (self.steps + phase) // phases
            for step in range(steps):
                margin, claimed, up = objective.climb(x + delta)
                room, ease = hidden.climb(x + delta)
                fooled = objective.confirm(x + delta, claimed)
                kept.unseen(delta, fooled, room, self.slack, margin)
                hide, size = fooled & (margin >= self.confidence), pace(step, steps, radius)
                delta = drawn_back(delta, hide & (room < self.slack), size)
                delta = moved(x, delta, size * radius * unit_l1(self._direction(up, ease, hide)), Linf(radius))
        margin, fooled = objective.judge(x + delta)
        kept.unseen(delta, fooled, hidden(x + delta), self.slack, margin)
        return (x + kept.delta).clamp(0, 1)

    def _direction(self, up: Tensor, ease: Tensor, hide: Tensor) -> Tensor:
        """From the model's gradient and the detector's: the latter where it is time to hide."""
        if self.projection == "orthogonal":
            up, ease = beside(up, ease), beside(ease, up)
        return torch.where(hide.view(-1, 1, 1, 1), ease, up)


def beside(climbed: Tensor, spared: Tensor) -> Tensor:
    """What of one gradient is orthogonal to another, image by image; all of it where nothing else would be left."""
    climbed, spared = unit_l1(climbed), unit_l1(spared)
    common = (climbed * spared).sum((1, 2, 3), keepdim=True)
    length = spared.square().sum((1, 2, 3), keepdim=True)
    rest = climbed - common / torch.where(length > 0, length, torch.ones_like(length)) * spared
    left = rest.square().sum((1, 2, 3), keepdim=True)
    return torch.where(left > PARALLEL**2 * climbed.square().sum((1, 2, 3), keepdim=True), rest, climbed)


@attack(
    title="Orthogonal projected gradient descent",
    paper="arXiv:2106.15023",
    threat="linf",
    presets={"quick": {"steps": 60}, "published": {"steps": 400}, "exhaustive": {"steps": 1000}},
    cost=lambda p: Passes(p["steps"] + 1, p["steps"]),
)
def orthogonal(
    watch: Annotated[Watch, Need("watch")],
    eps: Epsilon = 8 / 255,
    steps: Steps = 60,
    projection: Annotated[
        Projection,
        Field(
            description="orthogonal: steps for the model leave the detector's score as it is, to first order, and the "
            "other way round; selective: one gradient at a time, as it is."
        ),
    ] = "orthogonal",
    confidence: Confidence = 1.0,
    slack: Slack = 0.25,
) -> Attack:
    """Climb the model's margin where the detector does not look; once fooled, calm the detector likewise.

    The bill counts the model's passes; those that the detector makes for itself come on top.
    """
    return Orthogonal(watch, eps, steps, projection, confidence, slack)
