# SPDX-License-Identifier: Apache-2.0
"""Fewer grey levels as a defence: the simplest of the feature squeezers.

Xu, Evans & Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018 (5 bits for
ImageNet, 1 bit for MNIST).
"""

from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.registry import defense

Bits = Annotated[int, Field(ge=1, le=8, description="Bits that are left per pixel and channel.")]


@dataclass(frozen=True)
class BitDepth:
    """Each pixel rounded to the nearest of 2^bits levels from 0 to 1; costs next to nothing."""

    bits: Bits = 5
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=False, init=False)
    ways: tuple[Backward, ...] = field(default=("identity",), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same in few levels. Raises BadInput for what is no image."""
        require_images(x)
        highest = 2**self.bits - 1
        return (x.detach() * highest).round() / highest

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same levels with the gradient of the identity: rounding has none of its own."""
        return x + (self(x.detach(), rng=rng) - x).detach()


@defense(title="Bit-depth reduction", paper="Xu, Evans & Qi, NDSS 2018")
def bit_depth(bits: Bits = 5) -> Defense:
    """Round every pixel to one of 2^bits grey levels."""
    return BitDepth(bits)
