# SPDX-License-Identifier: Apache-2.0
"""What may enter a defence or a detector: a wrong shape or a NaN must end as a message, never as a cleaned image."""

from torch import Tensor

from radproof.errors import BadInput

_TOLERANCE = 1e-6  # what rounding may leave outside [0, 1]


def require_images(x: Tensor, *, smallest: int = 1) -> None:
    """Raise BadInput unless x is (N, C, H, W) with C 1 or 3, sides of at least `smallest`, finite and in [0, 1]."""
    if x.dim() != 4 or x.shape[1] not in (1, 3) or min(x.shape[-2:]) < smallest:
        raise BadInput(
            f"expected images (N, C, H, W) with C 1 or 3 and sides of at least {smallest} pixels, got {tuple(x.shape)}"
        )
    if not x.is_floating_point():
        raise BadInput(f"expected floating-point pixels in [0, 1], got {x.dtype}; divide by the largest grey level")
    if not x.numel():
        return
    lowest, highest = x.amin(), x.amax()  # twice as fast as aminmax, and NaN passes through both
    if not bool((lowest >= -_TOLERANCE) & (highest <= 1 + _TOLERANCE)):  # nor is NaN
        inside = ((x >= -_TOLERANCE) & (x <= 1 + _TOLERANCE)).flatten(1).all(1)
        rows = (~inside).nonzero().flatten().tolist()
        raise BadInput(
            f"images {rows[:5]} of this batch hold pixels that are not numbers in [0, 1]; scale or leave them out"
        )
