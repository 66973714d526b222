# SPDX-License-Identifier: Apache-2.0
"""The median of a small window as a defence: it takes out single bright and dark pixels and keeps edges.

Xu, Evans & Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018 (2 × 2, 3 × 3).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
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

    The border is repeated outwards. The gradient is exact: it goes to the pixel that was chosen, of equal ones to one.
    On a CPU images are filtered one after the other, so that they stay in the processor's cache.
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
        if self.size in _NETWORKS:
            pieces = wide.detach().split(1 if wide.device.type == "cpu" else len(wide))
            found = torch.cat([_NETWORKS[self.size](piece) for piece in pieces])
            return _taken(wide, found, self.size) if wide.requires_grad else found
        windows = wide.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.kthvalue(self.size**2 // 2 + 1, dim=4).values


def _taken(wide: Tensor, found: Tensor, size: int) -> Tensor:
    """The same pixels, each taken from where it was found, so that a gradient knows the way back."""
    height, width = found.shape[2:]
    place = torch.zeros_like(found, dtype=torch.long)
    for row, column in product(range(size), repeat=2):
        here = wide.detach()[:, :, row : row + height, column : column + width] == found
        place.masked_fill_(here, row * wide.shape[3] + column)
    rows, columns = torch.arange(height, device=wide.device), torch.arange(width, device=wide.device)
    place += rows[:, None] * wide.shape[3] + columns
    return wide.flatten(2).gather(2, place.flatten(2)).view_as(found)


def _of_four(wide: Tensor) -> Tensor:
    """The third smallest of 2 × 2: columns are sorted once for both windows that they are in."""
    low, high = _sorted(wide[:, :, :-1], wide[:, :, 1:])
    return torch.maximum(torch.maximum(low[..., :-1], low[..., 1:]), torch.minimum(high[..., :-1], high[..., 1:]))


def _of_nine(wide: Tensor) -> Tensor:
    """The median of 3 × 3: of sorted columns, that of the highest low, the middle middle and the lowest high."""
    a, b = _sorted(wide[:, :, :-2], wide[:, :, 1:-1])
    b, high = _sorted(b, wide[:, :, 2:])
    low, middle = _sorted(a, b)
    highest = torch.maximum(torch.maximum(low[..., :-2], low[..., 1:-1]), low[..., 2:])
    lowest = torch.minimum(torch.minimum(high[..., :-2], high[..., 1:-1]), high[..., 2:])
    return _of_three(highest, _of_three(middle[..., :-2], middle[..., 1:-1], middle[..., 2:]), lowest)


def _of_three(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    low, high = _sorted(a, b)
    return torch.maximum(low, torch.minimum(high, c))


def _sorted(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.minimum(a, b), torch.maximum(a, b)


_NETWORKS: dict[int, Callable[[Tensor], Tensor]] = {2: _of_four, 3: _of_nine}


@defense(title="Median filter", paper="Xu, Evans & Qi, NDSS 2018")
def median(size: Size = 3) -> Defense:
    """Replace every pixel by the median of its neighbourhood."""
    return Median(size)
