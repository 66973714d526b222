# SPDX-License-Identifier: Apache-2.0
"""What a defence does to images that nobody attacked: its price in quality, over all pixels or inside a region."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from radproof.core.types import Defense
from radproof.errors import BadInput
from radproof.measure.images import psnr, ssim_map


@dataclass(frozen=True)
class Effect:
    """How near each image stays to itself; of a random defence, for one draw."""

    ssim: Tensor  # (N,)
    psnr: Tensor  # (N,) in decibels, infinity where nothing changed


@torch.no_grad()
def effect(defense: Defense, x: Tensor, *, rng: Generator, region: Tensor | None = None) -> Effect:
    """Compare images (N, C, H, W) with what the defence makes of them.

    `region` is boolean, (N, 1, H, W): only its pixels count, and for SSIM those whose window lies inside the image (not
    a number where there is none). Raises BadInput for a region of another shape or without a pixel.
    """
    y = defense(x, rng=rng)
    similar = ssim_map(x, y)
    if region is None:
        return Effect(similar.flatten(1).mean(1), psnr(x, y))
    if (
        region.shape != (len(x), 1, *x.shape[2:])
        or region.dtype != torch.bool
        or not bool(region.flatten(1).any(1).all())
    ):
        raise BadInput(
            f"expected a boolean region {(len(x), 1, *x.shape[2:])} with a pixel in every image, got {region.dtype} "
            f"{tuple(region.shape)}"
        )
    top, left = ((a - b) // 2 for a, b in zip(x.shape[2:], similar.shape[2:], strict=True))
    inner = region[:, :, top : top + similar.shape[2], left : left + similar.shape[3]]
    return Effect(_mean(similar, inner), -10 * torch.log10(_mean((x.double() - y.double()).square(), region)))


def _mean(v: Tensor, region: Tensor) -> Tensor:
    """(N,) means of (N, C, H, W) over a region (N, 1, H, W)."""
    return (v * region).flatten(1).sum(1) / (region.flatten(1).sum(1) * v.shape[1])
