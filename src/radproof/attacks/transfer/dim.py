# SPDX-License-Identifier: Apache-2.0
"""DIM, the Diverse Input Method (Xie et al., CVPR 2019): climb through a random change of size and place.

The paper shows the network the larger, padded image; here it is brought back to the size that the network knows.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.ascent import Ascent
from radproof.attacks.balls import Linf
from radproof.attacks.gradients import Through
from radproof.attacks.registry import attack
from radproof.attacks.rules import Momentum
from radproof.core.params import Copies, Decay, Epsilon, Steps, Unit
from radproof.core.registry import gradients
from radproof.core.types import Attack


@dataclass(frozen=True)
class ResizePad:
    """Copies that, each with probability `chance`, are enlarged, padded with black at a random place, and resized back.

    A side of L pixels becomes one of L … P-1, evenly likely, inside a canvas of P = floor(ratio * L), at least L+1.
    With a ratio below 1 it shrinks to one of floor(ratio * L) … L-1 inside a canvas of L, and nothing is resized back.
    Both sides change by the same share. All three steps are linear along each side, so an image becomes R X C^T.
    """

    copies: int = 1
    chance: float = 0.5
    ratio: float = 1.1

    def copy(self, i: int, x: Tensor, y: Tensor, rng: Generator) -> Tensor:
        """A coin, a size and a place for every image."""
        coin, share, down, right = torch.rand(4, len(x), generator=rng, device=x.device, dtype=x.dtype)
        return torch.where((coin < self.chance).view(-1, 1, 1, 1), self.moved(x, share, down, right), x)

    def moved(self, x: Tensor, share: Tensor, down: Tensor, right: Tensor) -> Tensor:
        """x at a size and a place, each (N,) in [0, 1)."""
        rows, columns = self._maps(x.shape[2], share, down), self._maps(x.shape[3], share, right)
        return rows.unsqueeze(1) @ x @ columns.mT.unsqueeze(1)

    def _maps(self, side: int, share: Tensor, place: Tensor) -> Tensor:
        """(N, side, side): what resizing, padding and resizing back make of one axis."""
        other = int(self.ratio * side + 1e-9)
        least, canvas = (side, max(side + 1, other)) if self.ratio > 1 else (min(side - 1, max(1, other)), side)
        size = least + (share * (canvas - least)).floor()
        offset = (place * (canvas - size + 1)).floor()
        seat = torch.arange(canvas, device=share.device, dtype=share.dtype) - offset.unsqueeze(1)
        inside = (seat >= 0) & (seat < size.unsqueeze(1))
        enlarge = _interpolation(seat, size.unsqueeze(1), side) * inside.unsqueeze(2)
        back = _interpolation(torch.arange(side, device=share.device, dtype=share.dtype), side, canvas)
        return back @ enlarge


def _interpolation(at: Tensor, size: Tensor | int, side: int) -> Tensor:
    """Pixels (…, n) of an axis resized from `side` to `size` -> bilinear weights (…, n, side), corners not aligned."""
    source = ((at + 0.5) * (side / size) - 0.5).clamp(0, side - 1)
    return (1 - (source.unsqueeze(-1) - torch.arange(side, device=at.device, dtype=at.dtype)).abs()).clamp(min=0)


Chance = Annotated[Unit, Field(description="Probability that a copy is moved at all.")]
Ratio = Annotated[float, Field(gt=0, le=4, description="Canvas over image, per side; below 1: least size over image.")]


@attack(
    title="Diverse Input Method",
    paper="arXiv:1803.06978",
    threat="linf",
    cost=lambda p: gradients(p["steps"] * p["copies"]),
    presets={
        "quick": {"steps": 10, "copies": 1},
        "published": {"steps": 10, "copies": 1},
        "exhaustive": {"steps": 20, "copies": 8},
    },
)
def dim(
    eps: Epsilon = 16 / 255,
    steps: Steps = 10,
    decay: Decay = 1.0,
    copies: Copies = 1,
    chance: Chance = 0.5,
    ratio: Ratio = 1.1,
) -> Attack:
    """Climb through copies that are now and then enlarged, padded and resized back."""
    return Ascent(Linf(eps), Through(ResizePad(copies, chance, ratio)), Momentum(decay), steps)
