# SPDX-License-Identifier: Apache-2.0
"""Ways to look at an image a little differently: a radiologist would not notice, an attack often does not survive.

Xu, Evans & Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.defenses.jpeg import Jpeg
from radproof.defenses.tvm import Tvm

_LEVELS = 31  # 5 bits
_SMALLER = 0.9


def squeezers() -> dict[str, Callable[[Tensor], Tensor]]:
    """By name: JPEG at 75 and 50, 5 bits, 3 × 3 median, light total variation, nine tenths of the size and back."""
    unused = Generator()  # all of these are deterministic
    jpeg_75, jpeg_50, tvm = Jpeg(75), Jpeg(50), Tvm(lam=0.03, gap=1e-2)
    return {
        "jpeg_75": lambda x: jpeg_75(x, rng=unused),
        "jpeg_50": lambda x: jpeg_50(x, rng=unused),
        "bits_5": lambda x: (x * _LEVELS).round() / _LEVELS,
        "median_3": median,
        "tvm": lambda x: tvm(x, rng=unused),
        "resize": resize_and_back,
    }


def median(x: Tensor) -> Tensor:
    """3 × 3 median of each channel, the edge repeated."""
    n, channels, height, width = x.shape
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).reshape(n, channels, height, width, 9).median(dim=-1).values


def resize_and_back(x: Tensor) -> Tensor:
    """Nine tenths of the size and back again, bilinear with antialiasing."""
    small = F.interpolate(x, scale_factor=_SMALLER, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False).clamp(0, 1)
