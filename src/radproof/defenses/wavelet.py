# SPDX-License-Identifier: Apache-2.0
"""Wavelet shrinkage as a defence: small coefficients, where perturbations live, are drawn to zero.

Donoho, "De-noising by soft-thresholding", IEEE Trans. Inf. Theory 1995; Chang, Yu & Vetterli, "Adaptive wavelet
thresholding for image denoising and compression", IEEE TIP 2000 (BayesShrink); as a defence Prakash et al., "Deflecting
Adversarial Attacks with Pixel Deflection", CVPR 2018 (BayesShrink, sigma 0.04).
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from radproof.core.params import Fraction
from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.registry import defense

_ROOT = math.sqrt(3)
_LOW = {
    "haar": (1 / math.sqrt(2), 1 / math.sqrt(2)),
    "db2": tuple(v / (4 * math.sqrt(2)) for v in (1 + _ROOT, 3 + _ROOT, 3 - _ROOT, 1 - _ROOT)),
}
_TINY = 1e-12  # a band with less variance than this beyond the noise's counts as noise
_GAUSSIAN_QUARTILE = 0.6745  # median(|n|) for n ~ N(0, 1)

Family = Annotated[Literal["haar", "db2"], Field(description="Haar, or Daubechies with two vanishing moments.")]
Levels = Annotated[int, Field(ge=1, le=6, description="Scales, each half as fine as the one before.")]
NoiseLevel = Annotated[
    float | None,
    Fraction,
    Field(gt=0, le=1, description="Noise to remove, or n/255; none estimates it from the finest scale."),
]


@dataclass(frozen=True)
class Wavelet:
    """Soft thresholds of sigma² / s in an orthogonal transform, s² a band's own variance beyond sigma² (BayesShrink).

    Each channel by itself; the border is repeated outwards to whole blocks. A band with no more variance than the noise
    goes to zero altogether. The gradient is exact, thresholds included.
    """

    family: Family = "haar"
    levels: Levels = 3
    sigma: NoiseLevel = 0.04
    deterministic: bool = field(default=True, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("identity", "twin"), init=False)
    votes: int = field(default=1, init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, shrunk. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same, with a gradient."""
        require_images(x.detach())
        if not len(x):
            return x.clone()
        height, width = x.shape[2:]
        block = 2**self.levels
        margin = block * (len(_LOW[self.family]) // 2 - 1)  # keeps the seam where the transform wraps off the image
        sides = (margin, margin + -width % block, margin, margin + -height % block)
        wide = F.pad(x if x.element_size() >= 4 else x.float(), sides, mode="replicate")
        out = self._shrunk(wide, self.levels, None)[..., margin : margin + height, margin : margin + width]
        return out.clamp(0, 1).to(x.dtype)

    def _shrunk(self, v: Tensor, levels: int, noise: Tensor | None) -> Tensor:
        """One scale there and back; the scales below it on the way. `noise` is the variance, (N, C, 1, 1)."""
        rows, columns = (analysis(self.family, side).to(v) for side in v.shape[2:])
        spectrum = rows @ v @ columns.T
        half, across = v.shape[2] // 2, v.shape[3] // 2
        top, bottom = spectrum.split(half, dim=2)
        (coarse, upright), (level, diagonal) = top.split(across, dim=3), bottom.split(across, dim=3)
        noise = self._noise(diagonal) if noise is None else noise
        if levels > 1:
            coarse = self._shrunk(coarse, levels - 1, noise)
        upright, level, diagonal = (_shrink(band, noise) for band in (upright, level, diagonal))
        return rows.T @ torch.cat([torch.cat([coarse, upright], 3), torch.cat([level, diagonal], 3)], 2) @ columns

    def _noise(self, finest: Tensor) -> Tensor:
        if self.sigma is not None:
            return finest.new_full((len(finest), finest.shape[1], 1, 1), self.sigma**2)
        return (finest.abs().flatten(2).median(2).values / _GAUSSIAN_QUARTILE).square()[..., None, None]


def _shrink(band: Tensor, noise: Tensor) -> Tensor:
    beyond = (band.square().mean(dim=(2, 3), keepdim=True) - noise).clamp_min(_TINY)
    return band.sign() * F.relu(band.abs() - noise * beyond.rsqrt())


@lru_cache(maxsize=64)
def analysis(family: str, side: int) -> Tensor:
    """The orthogonal matrix (side, side), float64, that parts a line into its coarse half and its fine half.

    The side is even; the line wraps around.
    """
    low = torch.tensor(_LOW[family], dtype=torch.float64)
    high = low.flip(0) * torch.tensor([(-1) ** k for k in range(len(low))])
    matrix = torch.zeros(side, side, dtype=torch.float64)
    for i in range(side // 2):
        for k in range(len(low)):
            matrix[i, (2 * i + k) % side] += low[k]
            matrix[side // 2 + i, (2 * i + k) % side] += high[k]
    return matrix


@defense(title="Wavelet shrinkage", paper="Chang et al., IEEE TIP 2000; Prakash et al., CVPR 2018")
def wavelet(family: Family = "haar", levels: Levels = 3, sigma: NoiseLevel = 0.04) -> Defense:
    """Draw small wavelet coefficients to zero, by soft thresholds fitted to each band (BayesShrink)."""
    return Wavelet(family, levels, sigma)
