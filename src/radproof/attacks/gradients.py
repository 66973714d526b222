# SPDX-License-Identifier: Apache-2.0
"""Ways to estimate a gradient: at the image, through or at random views of it, or over its neighbourhood.

Views are made and differentiated a group at a time, so memory is bounded by one group however many copies there are.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from radproof.attacks.balls import unit_l1
from radproof.attacks.objective import Objective
from radproof.core.rng import uniform_like

Estimate = Callable[[Tensor], Tensor]  # x (N, C, H, W) -> its gradient, same shape


class Views(Protocol):
    """Random variations of images."""

    @property
    def copies(self) -> int:
        """How many of each image."""
        ...

    def copy(self, i: int, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        """Copy number i of all N images, whose truth is y: shaped like x, every image with its own layout."""
        ...


class Gradient(Protocol):
    """Turns an objective into an estimate of its gradient. Any memory from step to step is the closure's."""

    def __call__(self, objective: Objective, rng: Generator) -> Estimate:
        """The estimate for one run of one batch; random draws are made when it is called."""
        ...


@dataclass(frozen=True)
class Plain:
    """The gradient itself (FGSM, PGD, MI)."""

    def __call__(self, objective: Objective, rng: Generator) -> Estimate:
        """No randomness is used."""
        return objective.gradient


@dataclass(frozen=True)
class Through:
    """Backpropagate through the views, summed over them (SIA)."""

    views: Views

    def __call__(self, objective: Objective, rng: Generator) -> Estimate:
        """One vector-Jacobian product through the views per group."""

        def estimate(x: Tensor) -> Tensor:
            total = torch.zeros_like(x)
            for group in _groups(self.views.copies, objective.group):
                leaf = x.detach().requires_grad_()
                with torch.enable_grad():
                    z = torch.cat([self.views.copy(i, leaf, objective.goal.y, rng) for i in group])
                total += torch.autograd.grad(z, leaf, objective.gradient(z.detach()))[0]
            return total

        return estimate


@dataclass(frozen=True)
class At:
    """Differentiate at the views and sum, leaving out the views' own Jacobian (USMM, STM)."""

    views: Views

    def __call__(self, objective: Objective, rng: Generator) -> Estimate:
        """The views are made without a gradient."""

        def estimate(x: Tensor) -> Tensor:
            total = torch.zeros_like(x)
            for group in _groups(self.views.copies, objective.group):
                with torch.no_grad():
                    z = torch.cat([self.views.copy(i, x, objective.goal.y, rng) for i in group])
                total += objective.gradient(z).unflatten(0, (-1, len(x))).sum(0)
            return total

        return estimate


@dataclass(frozen=True)
class Flat:
    """Average over random neighbours, blending in the gradient one step downhill from each (PGN).

    Ge et al., "Boosting Adversarial Transferability by Achieving Flat Local Maxima", arXiv:2306.05225. Neighbours
    are not clipped to [0, 1]. The downhill step is in mean-absolute units: the average pixel moves by `step`.
    """

    radius: float
    step: float
    samples: int = 20
    blend: float = 0.5

    def __call__(self, objective: Objective, rng: Generator) -> Estimate:
        """Two gradients per neighbour."""

        def estimate(x: Tensor) -> Tensor:
            total = torch.zeros_like(x)
            for group in _groups(self.samples, objective.group):
                near = torch.cat([x + uniform_like(x, self.radius, rng) for _ in group])
                here = objective.gradient(near)
                below = objective.gradient(near - self.step * unit_l1(here))
                total += ((1 - self.blend) * here + self.blend * below).unflatten(0, (-1, len(x))).sum(0)
            return total / self.samples

        return estimate


def _groups(copies: int, size: int) -> Iterator[range]:
    for start in range(0, copies, size):
        yield range(start, min(start + size, copies))
