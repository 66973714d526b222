# SPDX-License-Identifier: Apache-2.0
"""How often one small difference stands beside another: the co-occurrences of steganalysis.

Fridrich & Kodovsky, "Rich Models for Steganalysis of Digital Images", IEEE TIFS 2012: differences are truncated to ±2
grey levels and counted in pairs. A pair, its mirror image and its negative tell the same, so of 25 bins 9 are left.
"""

import torch
from torch import Tensor

from radproof.detectors.residuals import Differences

_REACH = 2
_LEAST = 1e-3  # so that a bin that is nearly empty does not speak loudest
_SIZES = range(-_REACH, _REACH + 1)


def _kind(a: int, b: int) -> tuple[int, int]:
    return max((a, b), (b, a), (-a, -b), (-b, -a))


_PAIRS = {(a, b): _kind(a, b) for a in _SIZES for b in _SIZES}
_KINDS = tuple(sorted(set(_PAIRS.values())))

WORDS = tuple(
    f"pairs of {what} differences ({a}, {b})".replace("-", "−")
    for what in ("neighbouring", "diagonal")
    for a, b in _KINDS
)


def pair_statistics(found: Differences) -> Tensor:
    """(N, 18) log shares of pairs: of first differences along both directions together, and of diagonal differences."""
    first = (_joint(_bins(found.across), 3) + _joint(_bins(found.down), 2)) / 2
    diagonal = _bins(found.diagonal)
    second = (_joint(diagonal, 3) + _joint(diagonal, 2)) / 2
    return torch.cat([_by_kind(first), _by_kind(second)], dim=1)


def _bins(differences: Tensor) -> Tensor:
    """(N, H, W) -> (N, 5, H, W): how near each is to -2, …, 2; sums to 1, and is 0 or 1 for whole grey levels."""
    short = differences.clamp(-_REACH, _REACH)
    return torch.stack([(1 - (short - size).abs()).clamp_min(0) for size in _SIZES], dim=1)


def _joint(bins: Tensor, along: int) -> Tensor:
    """(N, 5, 5): shares of the pairs of neighbours along a dimension."""
    count = bins.shape[along] - 1
    a, b = bins.narrow(along, 0, count).flatten(2), bins.narrow(along, 1, count).flatten(2)
    return a @ b.transpose(1, 2) / a.shape[2]


def _by_kind(joint: Tensor) -> Tensor:
    merge = joint.new_zeros(len(_PAIRS), len(_KINDS))
    for row, kind in enumerate(_PAIRS.values()):
        merge[row, _KINDS.index(kind)] = 1
    return (joint.flatten(1) @ merge + _LEAST).log()
