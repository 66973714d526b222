# SPDX-License-Identifier: Apache-2.0
"""How far two sets of images are from each other, for the eye and in norms.

SSIM: Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004, with the
paper's 11 × 11 Gaussian window (sigma 1.5), K1 0.01, K2 0.03, data range 1 and population covariances. All take
(N, C, H, W) in [0, 1] and return (N,).
"""

import torch
from torch import Tensor

from radproof.errors import BadInput

_WINDOW, _SIGMA, _K1, _K2 = 11, 1.5, 0.01, 0.03


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity over the pixels whose window lies inside the image, then over channels.

    Differentiable. Where a side is under 11 pixels, the window is the largest odd one that fits.
    """
    return ssim_map(a, b).flatten(1).mean(1)


def ssim_map(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (N, C, H - w + 1, W - w + 1) around every pixel whose window, w wide, lies inside."""
    _same(a, b)
    window = _window(min(_WINDOW, *a.shape[-2:]), a)

    def local(x: Tensor) -> Tensor:
        return _weighted(_weighted(x.reshape(-1, 1, *x.shape[-2:]), window, 2), window, 3)

    # float64: a variance is a small difference of large numbers
    a, b = a.to(window.dtype), b.to(window.dtype)
    mean_a, mean_b = local(a), local(b)
    variances = local(a * a) - mean_a**2 + local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _K1**2) / (mean_a**2 + mean_b**2 + _K1**2)
    structure = (2 * covariance + _K2**2) / (variances + _K2**2)
    return (luminance * structure).view(len(a), -1, *luminance.shape[-2:])


def _weighted(x: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Sums under a sliding window along an axis; shifted additions, as float64 convolutions take five times as long."""
    places = x.shape[axis] - len(weights) + 1
    found = x.narrow(axis, 0, places) * weights[0]
    for shift in range(1, len(weights)):
        found = torch.addcmul(found, x.narrow(axis, shift, places), weights[shift])
    return found


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels; infinity for identical images, which a mean must leave out."""
    return -10 * torch.log10(_difference(a, b).square().mean(1))


def linf(a: Tensor, b: Tensor) -> Tensor:
    """Largest absolute difference of any pixel."""
    return _difference(a, b).abs().amax(1)


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distance over all pixels and channels."""
    return _difference(a, b).norm(dim=1)


def mean_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the pixels, in [0, 1] (times 255 for grey levels)."""
    return _difference(a, b).abs().mean(1)


def _difference(a: Tensor, b: Tensor) -> Tensor:
    _same(a, b)
    return (a.double() - b.double() if a.device.type != "mps" else a - b).flatten(1)


def _same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.dim() != 4 or a.numel() == 0:
        raise BadInput(
            f"expected two sets of images of one shape (N, C, H, W), got {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _window(size: int, like: Tensor) -> Tensor:
    size -= 1 - size % 2
    exact = torch.float32 if like.device.type == "mps" else torch.float64
    offsets = torch.arange(size, dtype=exact, device=like.device) - size // 2
    weights = torch.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return weights / weights.sum()
