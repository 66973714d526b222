# SPDX-License-Identifier: Apache-2.0
"""JPEG in torch arithmetic, so that an attacker who knows of it can climb through it.

Shin & Song, "JPEG-resistant Adversarial Images", NIPS 2017 workshop: rounding as round(c) + (c - round(c))³. Here the
value is the true rounding and only the slope, 3 (c - round(c))², is theirs: the twin answers what the codec answers,
and its gradient is small for coefficients that the codec would flatten. Tables and arithmetic: ITU-T T.81 and libjpeg.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from radproof.defenses.registry import Subsampling

# ITU-T T.81 tables K.1 and K.2, row by row
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
# JFIF: rows Y, Cb, Cr of R, G, B
_TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))
_FACTORS: dict[Subsampling, tuple[int, int]] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}


def jpeg_twin(x: Tensor, quality: int, subsampling: Subsampling) -> Tensor:
    """(N, C, H, W) in [0, 1] -> what the codec makes of it, with a gradient. C is 1 (grey) or 3 (RGB)."""
    levels = _round_straight(x * 255)
    if x.shape[1] == 1:
        decoded = _plane(levels, _table(_LUMINANCE, quality, x))
    else:
        decoded = _colour(levels, quality, _FACTORS[subsampling])
    return _round_straight(decoded.clamp(0, 255)) / 255


def _colour(rgb: Tensor, quality: int, factor: tuple[int, int]) -> Tensor:
    height, width = rgb.shape[-2:]
    shift = rgb.new_tensor([0.0, 128.0, 128.0]).view(1, 3, 1, 1)
    ycbcr = _round_straight(_mix(rgb, _TO_YCBCR) + shift)
    luminance = _plane(ycbcr[:, :1], _table(_LUMINANCE, quality, rgb))
    chrominance = _pad(ycbcr[:, 1:], 8 * factor[0], 8 * factor[1])
    small = _round_straight(F.avg_pool2d(chrominance, factor))
    coarse = _round_straight(_plane(small, _table(_CHROMINANCE, quality, rgb)).clamp(0, 255))
    # libjpeg's triangle filter is bilinear interpolation between pixel centres
    size = (small.shape[-2] * factor[0], small.shape[-1] * factor[1])
    fine = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)[..., :height, :width]
    return _mix(torch.cat([_round_straight(luminance.clamp(0, 255)), fine], dim=1) - shift, _TO_RGB)


def _plane(levels: Tensor, table: Tensor) -> Tensor:
    """One or more planes (N, P, H, W) of grey levels through 8 × 8 cosine blocks and back."""
    height, width = levels.shape[-2:]
    padded = _pad(levels, 8, 8) - 128
    n, planes, rows, columns = padded.shape
    blocks = padded.reshape(n, planes, rows // 8, 8, columns // 8, 8).transpose(3, 4)
    cosine = _cosine(levels)
    coefficients = cosine @ blocks @ cosine.T / table
    restored = cosine.T @ (_round_shin_song(coefficients) * table) @ cosine
    return restored.transpose(3, 4).reshape(n, planes, rows, columns)[..., :height, :width] + 128


def _round_shin_song(c: Tensor) -> Tensor:
    nearest = c.detach().round()
    smooth = nearest + (c - nearest) ** 3
    return smooth + (nearest - smooth).detach()


def _round_straight(v: Tensor) -> Tensor:
    return v + (v.detach().round() - v.detach())


def _pad(v: Tensor, rows: int, columns: int) -> Tensor:
    """Repeat the last row and column, as libjpeg does, up to whole blocks."""
    return F.pad(v, (0, -v.shape[-1] % columns, 0, -v.shape[-2] % rows), mode="replicate")


def _table(base: tuple[tuple[int, ...], ...], quality: int, like: Tensor) -> Tensor:
    """The libjpeg quantisation table at a quality: floor((table · S + 50) / 100) within 1 … 255."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return like.new_tensor([[min(max((step * scale + 50) // 100, 1), 255) for step in row] for row in base])


def _cosine(like: Tensor) -> Tensor:
    """The orthonormal 8 × 8 DCT-II matrix."""
    rows = [[math.cos((2 * j + 1) * i * math.pi / 16) / (2 if i else math.sqrt(8)) for j in range(8)] for i in range(8)]
    return like.new_tensor(rows)


def _mix(v: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("oc,nchw->nohw", v.new_tensor(matrix), v)
