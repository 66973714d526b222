# SPDX-License-Identifier: Apache-2.0
"""Ways to look at an image a little differently: a radiologist would not notice, an attack often does not survive.

Xu, Evans & Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018. All are
defences, deterministic, with a differentiable twin each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.core.types import Backward, Defense
from radproof.defenses.bit_depth import BitDepth
from radproof.defenses.checks import require_images
from radproof.defenses.jpeg import Jpeg
from radproof.defenses.median import Median
from radproof.defenses.tvm import Tvm

_SMALLER = 0.9
WORDS = {
    "jpeg_75": "JPEG at quality 75",
    "jpeg_50": "JPEG at quality 50",
    "bits_5": "32 grey levels",
    "median_3": "a 3 × 3 median",
    "tvm": "light total-variation smoothing",
    "resize": "nine tenths of the size",
}


@dataclass(frozen=True)
class SmallerAndBack:
    """Nine tenths of the size and back again, bilinear with antialiasing; the gradient is exact."""

    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("twin",), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same, with a gradient."""
        require_images(x.detach())
        small = F.interpolate(x, scale_factor=_SMALLER, mode="bilinear", align_corners=False, antialias=True)
        return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1)


@cache
def squeezers() -> Mapping[str, Defense]:
    """By name: JPEG at 75 and 50, 5 bits, 3 × 3 median, light total variation, nine tenths of the size and back."""
    return {
        "jpeg_75": Jpeg(75),
        "jpeg_50": Jpeg(50),
        "bits_5": BitDepth(5),
        "median_3": Median(3),
        "tvm": Tvm(lam=0.03, gap=1e-2),
        "resize": SmallerAndBack(),
    }
