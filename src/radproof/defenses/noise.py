# SPDX-License-Identifier: Apache-2.0
"""Gaussian noise and a vote over draws as a defence: randomised smoothing, of which certificates are made.

Cohen, Rosenfeld & Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML 2019 (sigma 0.12 to 1).
They count votes for classes; here logits are averaged, as for every random defence, and nothing is certified.
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.core.params import Fraction
from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.draws import normals
from radproof.defenses.registry import Votes, defense

Sigma = Annotated[float, Fraction, Field(gt=0, le=2, description="Standard deviation in [0, 1] pixel units, or n/255.")]


@dataclass(frozen=True)
class Noise:
    """x + sigma n, clipped to [0, 1]; the clip belongs to the classifier that is smoothed.

    All channels of a pixel get the same draw where they are the same image, each its own elsewhere.
    """

    sigma: Sigma = 0.12
    votes: Votes = 32
    deterministic: bool = field(default=False, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("twin",), init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same with noise. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same noise, with a gradient."""
        require_images(x.detach())
        drawn = normals(x, rng, *x.shape[1:])
        grey = (x.detach() == x.detach()[:, :1]).flatten(1).all(1).view(-1, 1, 1, 1)
        return (x + self.sigma * torch.where(grey, drawn[:, :1], drawn)).clamp(0, 1).to(x.dtype)


@defense(
    title="Gaussian noise and a vote",
    paper="Cohen et al., ICML 2019",
    presets={"quick": {"votes": 8}, "published": {"votes": 32}, "exhaustive": {"votes": 100}},
)
def noise(sigma: Sigma = 0.12, votes: Votes = 32) -> Defense:
    """Add Gaussian noise and average the answers to several draws; meant for networks trained with such noise."""
    return Noise(sigma, votes)
