# SPDX-License-Identifier: Apache-2.0
"""The median of a small window as a defence: it takes out single bright and dark pixels and keeps edges.

Xu, Evans & Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018 (2 × 2, 3 × 3).
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.registry import defense

Size = Annotated[Literal[2, 3, 5], Field(description="Side of the window in pixels.")]


@dataclass(frozen=True)
class Median:
    """Each channel by itself; of an even window the upper of the two middle pixels, the pixel at its lower right.

    The border is repeated outwards. The gradient is exact: it goes to the pixel that was chosen.
    """

    size: Size = 3
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, filtered. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same, with a gradient."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        before, after = self.size // 2, (self.size - 1) // 2
        wide = F.pad(x, (before, after, before, after), mode="replicate")
        windows = wide.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.kthvalue(self.size**2 // 2 + 1, dim=4).values


@defense(title="Median filter", paper="Xu, Evans & Qi, NDSS 2018")
def median(size: Size = 3) -> Defense:
    """Replace every pixel by the median of its neighbourhood."""
    return Median(size)
