# SPDX-License-Identifier: Apache-2.0
"""The finest detail of a radiograph in wavelets and cosines: how loud its noise is, and how far from Gaussian.

Donoho, "De-noising by soft-thresholding", IEEE TIT 1995: the median size of the finest diagonal detail is the noise
level, for anatomy is nearly absent there. Daubechies' filter of four taps is blind to slopes, and its weights are not
whole, so the median does not jump from one grey level to the next.
"""

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTH = tuple(w / (4 * sqrt(2)) for w in (1 + sqrt(3), 3 + sqrt(3), 3 - sqrt(3), 1 - sqrt(3)))
_DETAIL = tuple(sign * w for sign, w in zip((1, -1, 1, -1), reversed(_SMOOTH), strict=True))
_MAD = 0.6745  # of a standard normal distribution: the median size
_LEAST = 0.05  # grey levels
_HIGH = 13  # of an 8 × 8 cosine block, row + column: the top band
_LARGEST = 20  # grey levels: a coefficient beyond is anatomy

WAVELET_WORDS = (
    "noise level of the finest diagonal wavelets",
    "peakedness of the finest diagonal wavelets",
    "peakedness of the finest wavelets across",
    "peakedness of the finest wavelets down",
)
COSINE_WORDS = ("size of the highest cosines", "size of the highest cosines in calm blocks")


def wavelet_statistics(levels: Tensor) -> Tensor:
    """Grey levels (N, H, W) -> (N, 4), as WAVELET_WORDS names them."""
    diagonal, across, down = details(levels).flatten(2).unbind(1)
    noise = around(diagonal.abs(), 0.5) / _MAD
    return torch.stack([(noise + _LEAST).log(), *(_log_kurtosis(detail) for detail in (diagonal, across, down))], dim=1)


def details(levels: Tensor) -> Tensor:
    """(N, H, W) -> (N, 3, H', W'): the finest diagonal detail, that across and that down, whole windows only."""
    smooth, detail = levels.new_tensor(_SMOOTH), levels.new_tensor(_DETAIL)
    kernels = [torch.outer(a, b) for a, b in ((detail, detail), (smooth, detail), (detail, smooth))]
    return F.conv2d(levels[:, None], torch.stack(kernels)[:, None], stride=2)


def cosine_statistics(levels: Tensor) -> Tensor:
    """(N, 2): log size of the highest band of 8 × 8 cosine coefficients, over all blocks and in the calmer fifth."""
    n, height, width = levels.shape
    rows, columns = height // 8, width // 8
    blocks = levels[:, : rows * 8, : columns * 8].reshape(n, rows, 8, columns, 8).transpose(2, 3).reshape(n, -1, 64)
    band = (blocks @ _waves(levels)).abs().clamp(max=_LARGEST).mean(2)
    return torch.stack([(band.mean(1) + _LEAST).log(), (around(band, 0.2) + _LEAST).log()], dim=1)


def around(values: Tensor, quantile: float, width: float = 0.02) -> Tensor:
    """Quantile of each row of (N, M): the mean of the values whose rank is nearly its own, so many have a gradient."""
    count = values.shape[1]
    low = max(0, min(int((quantile - width) * count), count - 1))
    high = max(low + 1, round((quantile + width) * count))
    return values.sort(dim=1).values[:, low:high].mean(1)


def _waves(like: Tensor) -> Tensor:
    """The highest of the orthonormal cosine waves of an 8 × 8 block, as columns (64, K)."""
    i = torch.arange(8, device=like.device)
    cosine = torch.cos((2 * i + 1) * i[:, None] * torch.pi / 16).to(like.dtype) / 2
    cosine[0] = 8**-0.5
    return torch.einsum("ab,cd->acbd", cosine, cosine).flatten(2)[i + i[:, None] >= _HIGH].T


def _log_kurtosis(values: Tensor) -> Tensor:
    """(N, M) -> (N,): log of the fourth moment over the squared second; 0 for a constant."""
    square = values.square()
    return ((square.square().mean(1) + _LEAST) / (square.mean(1).square() + _LEAST)).log()
