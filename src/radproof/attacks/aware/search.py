# SPDX-License-Identifier: Apache-2.0
"""Walks within growing parts of the budget, what is worth keeping of them, and weights searched image by image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.attacks.balls import Linf, unit_l1

RUNGS = 3  # radii: a quarter of the budget, half of it, all of it
LEVEL = 1 / 255  # a grey level as it is stored: no smaller radius, and no step under a quarter of it, survives
HALVINGS = 4  # of the step in one walk
DECAY = 0.75  # of the momentum
FACTOR = 10.0  # between weights, until one was too large and one too small


def rungs(eps: float, walks: int) -> list[float]:
    """The radius of each walk, rising to eps: what succeeds in a small ball is not lost to those who may do more."""
    return [max(eps * 0.5 ** ((walks - 1 - walk) * RUNGS // walks), min(eps, LEVEL)) for walk in range(walks)]


def pace(step: int, steps: int, radius: float) -> float:
    """The step's size in radii: a half at first, halved at every quarter of the walk while storing can show it."""
    return max(0.5 ** (1 + HALVINGS * step // steps), min(0.5, LEVEL / 4 / radius))


def moved(x: Tensor, delta: Tensor, step: Tensor, ball: Linf) -> Tensor:
    """One step further, within the ball and as far as the image stays in [0, 1]."""
    return torch.clamp(ball.project(delta + step), -x, 1 - x)


def drawn_back(delta: Tensor, back: Tensor, share: float) -> Tensor:
    """The perturbation, less a share of it where `back` (N,)."""
    return torch.where(back.view(-1, 1, 1, 1), (1 - share) * delta, delta)


def walk(
    x: Tensor, delta: Tensor, radius: float, steps: int, slope: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Signed steps with momentum from the perturbation delta on; `slope` is asked at all perturbations but the last.

    It gives the direction and which images (N,) are drawn back towards their originals as well.
    """
    ball, velocity = Linf(radius), torch.zeros_like(x)
    for step in range(steps):
        direction, back = slope(delta)
        velocity, size = DECAY * velocity + unit_l1(direction), pace(step, steps, radius)
        delta = moved(x, drawn_back(delta, back, size), size * radius * ball.steepest(velocity), ball)
    return delta


PRESETS: Mapping[str, Mapping[str, int]] = {
    "quick": {"steps": 20, "rounds": 3},
    "published": {"steps": 50, "rounds": 8},
    "exhaustive": {"steps": 100, "rounds": 12},
}
"""Of attacks that search a weight in walks."""


@dataclass
class Kept:
    """The best perturbation found for each image: the higher rank first, then the greater worth."""

    delta: Tensor
    rank: Tensor  # (N,) whole numbers
    worth: Tensor  # (N,)

    @classmethod
    def none(cls, x: Tensor) -> Self:
        """Nothing yet: anything is better."""
        rank = torch.full((len(x),), -1, dtype=torch.long, device=x.device)
        kind = torch.float32 if x.device.type == "mps" else torch.float64
        return cls(torch.zeros_like(x), rank, torch.full((len(x),), -torch.inf, dtype=kind, device=x.device))

    def improve(self, delta: Tensor, rank: Tensor, worth: Tensor) -> None:
        """Take what is better than before."""
        better = (rank > self.rank) | ((rank == self.rank) & (worth > self.worth))
        self.delta = torch.where(better.view(-1, 1, 1, 1), delta, self.delta)
        self.rank, self.worth = torch.where(better, rank, self.rank), torch.where(better, worth, self.worth)

    def unseen(self, delta: Tensor, fooled: Tensor, room: Tensor, slack: float, loss: Tensor) -> None:
        """Rank by success against model and detector at once: fooled with slack, undetected, fooled, or none of these.

        Of equal ranks the higher loss is kept; of those that fool and are detected, the one nearest to the threshold.
        """
        rank = fooled.long() * (1 + (room >= 0).long() + ((room >= 0) & (room >= slack)).long())
        self.improve(delta, rank, torch.where(rank == 1, room, loss))


@dataclass
class Weight:
    """A positive weight for each image, searched by factors and, once bracketed, by bisection of the logarithm."""

    value: Tensor  # (N,)
    low: Tensor  # (N,), 0 where no weight was too small yet
    high: Tensor  # (N,), infinite where none was too large yet

    @classmethod
    def of(cls, x: Tensor, start: float) -> Self:
        """The same for all images at first."""
        value = torch.full((len(x),), start, dtype=x.dtype, device=x.device)
        return cls(value, torch.zeros_like(value), torch.full_like(value, torch.inf))

    def over(self, grad: Tensor) -> Tensor:
        """Each image's gradient times its weight."""
        return self.value.view(-1, 1, 1, 1) * grad

    def adjust(self, more: Tensor) -> None:
        """Larger where `more` (N,), else smaller."""
        self.low, self.high = torch.where(more, self.value, self.low), torch.where(more, self.high, self.value)
        between = (self.low * self.high).sqrt()
        free = torch.where(more, self.value * FACTOR, self.value / FACTOR)
        self.value = torch.where((self.low > 0) & self.high.isfinite(), between, free)
