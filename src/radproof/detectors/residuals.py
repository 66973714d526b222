# SPDX-License-Identifier: Apache-2.0
"""Statistics of what is left of a radiograph when its anatomy is taken away: where small perturbations live.

Fridrich & Kodovsky, "Rich Models for Steganalysis of Digital Images", IEEE TIFS 2012 (truncated residuals, the 5 × 5
kernel). A perturbation of one grey level is steganography seen from the other side: it raises the noise floor and
disturbs the smallest differences. Columns are few on purpose: each that tells little hides the others.

Counting has no gradient, so a value between two whole grey levels counts for both by its nearness. On images of whole
grey levels that is plain counting, and everywhere else it is smooth.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_LIMITS = (0, 1, 2, 4)  # grey levels: differences that noise of a level or two can turn over
_WAYS = ("across", "down", "diagonal")
_RESIDUALS = (
    "diagonal differences",
    "differences from four neighbours",
    "second differences across",
    "second differences down",
    "differences from 5 × 5 surroundings",
)

WORDS = (
    *(f"share of {way} differences of at most {limit} grey levels" for way in _WAYS for limit in _LIMITS),
    *(f"how {way} differences follow each other" for way in _WAYS[:2]),
    *(f"size of {name}" for name in _RESIDUALS),
)


@dataclass(frozen=True)
class Differences:
    """Grey levels (N, H, W) and the differences of neighbours that several statistics share; whole ones stay whole."""

    levels: Tensor

    @cached_property
    def across(self) -> Tensor:
        """(N, H, W - 1)."""
        return self.levels.diff(dim=2)

    @cached_property
    def down(self) -> Tensor:
        """(N, H - 1, W)."""
        return self.levels.diff(dim=1)

    @cached_property
    def diagonal(self) -> Tensor:
        """(N, H - 1, W - 1): a + d - b - c of each square of four."""
        return self.across.diff(dim=1)


def residual_statistics(found: Differences) -> Tensor:
    """(N, 19) of grey levels (N, H, W), sides ≥ 16; columns as WORDS names them."""
    ways = (found.across, found.down, found.diagonal)
    columns = [
        *(column for way in ways for column in _shares_below(way)),
        _following(found.across[:, :, 1:], found.across[:, :, :-1]),
        _following(found.down[:, 1:], found.down[:, :-1]),
        *(_size(residual) for residual in residuals(found)),
    ]
    return torch.stack(columns, dim=1)


def residuals(found: Differences) -> tuple[Tensor, ...]:
    """Five linear residuals; a single odd pixel has the weight 1 in those with a middle."""
    across, down = found.across.diff(dim=2), found.down.diff(dim=1)
    both = across.diff(dim=1).diff(dim=1)  # (1, -2, 1) in both directions
    corners = both[:, :-2, :-2] + both[:, :-2, 2:] + both[:, 2:, :-2] + both[:, 2:, 2:]
    return (
        found.diagonal / 2,
        (across[:, 1:-1] + down[:, :, 1:-1]) / -4,
        across / 2,
        down / 2,
        (corners + 2 * both[:, 1:-1, 1:-1]) / 12,
    )


def _shares_below(differences: Tensor) -> list[Tensor]:
    """Share of differences of at most so many grey levels."""
    sizes = differences.abs().flatten(1)
    return [(limit + 1 - sizes).clamp(0, 1).mean(1) for limit in _LIMITS]


def _following(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of adjacent differences after truncation."""
    short, other = a.clamp(-2, 2).flatten(1), b.clamp(-2, 2).flatten(1)
    return (short * other).mean(1) / (short.square().mean(1) + 1e-6)


def _size(residual: Tensor) -> Tensor:
    """Log of the truncated mean size."""
    return (residual.abs().clamp(max=4).flatten(1).mean(1) + 0.02).log()
