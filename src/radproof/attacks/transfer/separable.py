# SPDX-License-Identifier: Apache-2.0
"""Linear filters of rectangles of an image, separable into rows and columns: a rectangle X becomes R X C^T.

Only the rectangles named are computed. One block-diagonal product over the whole image would do the same in fewer
calls, but at 224 pixels it costs 20 times the arithmetic, and at 1024 pixels as much as the network.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHRINK = 0.8  # of a side, when a block is resized down and up
DROPPED = 0.4  # of the frequencies per axis, the highest, when a block is low-passed


class Patch(NamedTuple):
    """One rectangle of one image, and the maps of its rows and columns."""

    image: int
    rows: slice
    columns: slice
    left: Tensor
    right: Tensor


@lru_cache(maxsize=128)
def down_and_up(side: int) -> Tensor:
    """(side, side) float32: bilinear resize to floor(0.8*side)+1 samples and back, corners not aligned."""
    eye = torch.eye(side, dtype=torch.float64)[None]
    small = F.interpolate(eye, size=int(SHRINK * side) + 1, mode="linear", align_corners=False)
    return F.interpolate(small, size=side, mode="linear", align_corners=False)[0].T.float().contiguous()


@lru_cache(maxsize=128)
def low_pass(side: int) -> Tensor:
    """(side, side) float32: the cosine transform (DCT-II), its highest floor(0.4*side) terms zeroed, and back."""
    from scipy.fft import dct

    basis = np.asarray(dct(np.eye(side), axis=0, norm="ortho"))[: side - int(DROPPED * side)]
    return torch.from_numpy(basis.T @ basis).float()


def filter_patches(x: Tensor, patches: Sequence[Patch]) -> Tensor:
    """X with every patch replaced by left @ patch @ right^T, for all channels; differentiable in x (N, C, H, W)."""
    return _Filter.apply(x, patches) if patches else x  # pyright: ignore[reportReturnType] - apply is untyped


class _Filter(torch.autograd.Function):
    """Written out because autograd would allocate a whole image for the gradient of every patch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, patches: Sequence[Patch]) -> Tensor:
        ctx.patches = patches
        out = x.clone()
        for image, rows, columns, left, right in patches:
            out[image, :, rows, columns] = left.to(x) @ x[image, :, rows, columns] @ right.to(x).T
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        out = grad.clone()
        for image, rows, columns, left, right in ctx.patches:
            out[image, :, rows, columns] = left.to(grad).T @ grad[image, :, rows, columns] @ right.to(grad)
        return out, None
