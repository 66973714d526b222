# SPDX-License-Identifier: Apache-2.0
"""What an image looks like from across the room: numbers that an attack of a few grey levels cannot change.

Everything is read off a thumbnail, so perturbations of single pixels are averaged away before they are looked at.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

THUMB, COARSE, GREYS = 32, 16, 16
ATTACK = 8 / 255  # the largest perturbation that must not matter
_WIDTH = 0.1  # of a histogram's bin to either side, in [0, 1]: three times the attack
_CHUNK = 64  # thumbnails at a time: their histograms are large while they are made


def thumbnails(x: Tensor) -> Tensor:
    """(N, C, H, W) of any size -> (N, C, 32, 32), area averages."""
    return F.adaptive_avg_pool2d(x, THUMB)


@dataclass(frozen=True)
class Described:
    """Thumbnails in numbers: the coarse picture (N, 256), grey levels (N, 16), contrast and colour (N,)."""

    picture: Tensor  # less its mean, over its spread
    greys: Tensor  # shares of pixels near each of 16 levels
    contrast: Tensor  # log energy of the coarse picture's gradient
    colour: Tensor  # log difference between channels

    def __getitem__(self, rows: Tensor) -> "Described":
        return Described(*(part[rows] for part in self.parts))

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """All four."""
        return self.picture, self.greys, self.contrast, self.colour


def describe(thumbs: Tensor) -> Described:
    """(N, C, 32, 32) -> numbers in float64; differentiable, also where an image is constant."""
    found = [_described(part).parts for part in thumbs.split(_CHUNK)]
    return Described(*(torch.cat(parts).double() for parts in zip(*found, strict=True)))


def moved(thumbs: Tensor) -> list[Tensor]:
    """The thumbnails as the largest attack could shift them: brighter, darker, and in colour where they can be."""
    way = torch.ones(thumbs.shape[1], 1, 1, device=thumbs.device)
    ways = [way, -way]
    if thumbs.shape[1] == 3:
        ways.append(way.cumsum(0) - 2)  # red down, blue up
    return [(thumbs + ATTACK * shift).clamp(0, 1) for shift in ways]


def _described(thumbs: Tensor) -> Described:
    small = F.avg_pool2d(thumbs, THUMB // COARSE)
    coarse, grey = small.mean(1), thumbs.mean(1)
    flat = coarse.flatten(1)
    level = flat.mean(1, keepdim=True)
    spread = (flat - level).square().mean(1, keepdim=True)
    bins = torch.linspace(0, 1, GREYS, device=thumbs.device, dtype=thumbs.dtype)
    near = (1 - (grey.flatten(1)[:, None] - bins[:, None]).abs() / _WIDTH).clamp_min(0)
    slopes = coarse.diff(dim=1).square().mean((1, 2)) + coarse.diff(dim=2).square().mean((1, 2))
    colours = (small - coarse[:, None]).square().mean((1, 2, 3))
    return Described(
        (flat - level) / (spread + ATTACK**2).sqrt(),
        near.mean(2),
        (slopes + (ATTACK / 2) ** 2).log(),
        (colours + ATTACK**2).log(),
    )
