# SPDX-License-Identifier: Apache-2.0
"""Non-local means as a defence: each pixel becomes the mean of those nearby whose surroundings look like its own.

Buades, Coll & Morel, "A non-local algorithm for image denoising", CVPR 2005; as a feature squeezer Xu, Evans & Qi, NDSS
2018 (search 11 × 11, patch 3 × 3, strength 4 grey levels).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint

from radproof.core.params import Fraction
from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.registry import defense


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("a window with a centre has an odd side")
    return value


Odd = AfterValidator(_odd)
Search = Annotated[int, Odd, Field(ge=3, le=41, description="Side of the window that is searched; odd.")]
Patch = Annotated[int, Odd, Field(ge=1, le=15, description="Side of the patches that are compared; odd.")]
Strength = Annotated[
    float, Fraction, Field(gt=0, le=1, description="Difference of patches at which a weight falls to 1/e, or n/255.")
]


@dataclass(frozen=True)
class NlMeans:
    """Weights exp(-d² / strength²), d² the mean square difference of two patches over their pixels and channels.

    All channels share one weight. The border is repeated outwards. The gradient is exact, weights included; it is
    computed row by row of the search window a second time, so that memory stays small. Costs search² passes over the
    image.
    """

    search: Search = 11
    patch: Patch = 3
    strength: Strength = 4 / 255
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, smoothed. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same, with a gradient."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        wide = F.pad(x if x.element_size() >= 4 else x.float(), (self.search // 2 + self.patch // 2,) * 4, "replicate")
        found = torch.zeros_like(wide[..., : x.shape[2], : x.shape[3]]), torch.zeros((), device=x.device)
        for down in range(self.search):
            more = self._row(wide, down) if not wide.requires_grad else _frugally(self._row, wide, down)
            found = found[0] + more[0], found[1] + more[1]
        return (found[0] / found[1]).clamp(0, 1).to(x.dtype)

    def _row(self, wide: Tensor, down: int) -> tuple[Tensor, Tensor]:
        """Weighted sum (N, C, H, W) and weights (N, 1, H, W) of the neighbours in one row of the search window."""
        reach, half = self.search // 2, self.patch // 2
        height, width = (side - 2 * reach for side in wide.shape[2:])
        centre = wide[..., reach : reach + height, reach : reach + width]
        total, weights = torch.zeros((), device=wide.device), torch.zeros((), device=wide.device)
        for right in range(self.search):
            other = wide[..., down : down + height, right : right + width]
            weight = (_window_sum((other - centre).square().mean(1, keepdim=True), self.patch) * self._scale()).exp()
            total = total + weight * other[..., half : height - half, half : width - half]
            weights = weights + weight
        return total, weights

    def _scale(self) -> float:
        return -1 / (self.patch * self.strength) ** 2


def _window_sum(v: Tensor, side: int) -> Tensor:
    """Sums over all windows of a side that lie inside, one axis after the other."""
    for axis in (2, 3):
        length = v.shape[axis] - side + 1
        v = sum((v.narrow(axis, i, length) for i in range(1, side)), v.narrow(axis, 0, length))
    return v


def _frugally(work: Callable[[Tensor, int], tuple[Tensor, Tensor]], wide: Tensor, down: int) -> tuple[Tensor, Tensor]:
    return checkpoint(work, wide, down, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore


@defense(title="Non-local means", paper="Buades et al., CVPR 2005; Xu, Evans & Qi, NDSS 2018")
def nl_means(search: Search = 11, patch: Patch = 3, strength: Strength = 4 / 255) -> Defense:
    """Average each pixel with those nearby whose surroundings look alike."""
    return NlMeans(search, patch, strength)
