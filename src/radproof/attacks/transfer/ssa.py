# SPDX-License-Identifier: Apache-2.0
"""SSA, the Spectrum Simulation Attack (Long et al., ECCV 2022): copies whose frequencies are each scaled at random."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.ascent import Ascent
from radproof.attacks.balls import Linf
from radproof.attacks.gradients import At
from radproof.attacks.registry import attack
from radproof.attacks.rules import Momentum
from radproof.attacks.transfer.presets import OF_COPIES
from radproof.core.params import Copies, Decay, Epsilon, Steps, Unit
from radproof.core.registry import gradients
from radproof.core.rng import normal_like, uniform_like
from radproof.core.types import Attack


@dataclass(frozen=True)
class SpectrumNoise:
    """Copies IDCT(DCT(x + N(0, sigma^2)) * U(1-spread, 1+spread)), not clipped; one factor per frequency and channel.

    The cosine transform is over the whole image, as a product by a matrix from either side: exact for any size.
    """

    copies: int
    sigma: float
    spread: float = 0.5

    def copy(self, i: int, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        """Fresh noise and factors for every image."""
        rows, columns = (_cosines(side).to(x) for side in x.shape[2:])
        terms = rows @ (x + normal_like(x, self.sigma, rng)) @ columns.T
        return rows.T @ (terms * (1 + uniform_like(x, self.spread, rng))) @ columns


@lru_cache(maxsize=16)
def _cosines(side: int) -> Tensor:
    """(side, side) float64: the orthonormal DCT-II as a matrix; its transpose is the inverse."""
    from scipy.fft import dct

    return torch.from_numpy(np.asarray(dct(np.eye(side), axis=0, norm="ortho")))


Noise = Annotated[float, Field(ge=0, le=100, description="Standard deviation of the noise on each copy, in budgets.")]


@attack(
    title="Spectrum Simulation Attack",
    paper="arXiv:2207.05382",
    threat="linf",
    cost=lambda p: gradients(p["steps"] * p["copies"]),
    presets=OF_COPIES,
)
def ssa(
    eps: Epsilon = 16 / 255,
    steps: Steps = 10,
    decay: Decay = 1.0,
    copies: Copies = 20,
    rho: Unit = 0.5,
    noise: Noise = 1.0,
) -> Attack:
    """Sum gradients at copies with a disturbed spectrum, which other models are likelier to share."""
    return Ascent(Linf(eps), At(SpectrumNoise(copies, noise * eps, rho)), Momentum(decay), steps)
