# SPDX-License-Identifier: Apache-2.0
"""What is usual among clean images' measurements, and how far from it one image lies: the one-class part of detectors.

Measurements are turned to the axes of their covariance (Ledoit & Wolf, JMA 2004, shrunk so that few images suffice).
Plain Mahalanobis distance adds squares, so one odd but honest image sets the threshold; clean radiographs have such
tails, hence the sum of log(1 + z²), the Cauchy likelihood, which asks for being unusual in many directions at once.
Both sides count: an attacked answer that is steadier than an honest one is as telling as one that is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.detectors.common import take
from radproof.errors import BadInput

_MAD = 1.4826  # median absolute deviation to standard deviation
_LEAST = 1e-6
_NAMES = ("mean", "scale", "turn", "centre", "spread")


@dataclass(frozen=True)
class Usual:
    """Of F measurements: mean and scale (F,), the turn to uncorrelated axes (F, F), centre and spread along them."""

    mean: Tensor
    scale: Tensor
    turn: Tensor
    centre: Tensor
    spread: Tensor

    @classmethod
    def of(cls, table: Tensor) -> Self:
        """Learnt from clean measurements (N, F)."""
        from sklearn.covariance import ledoit_wolf

        table = table.detach().double().cpu()
        mean, scale = table.mean(0), table.std(0) + _LEAST
        covariance, _ = ledoit_wolf(((table - mean) / scale).numpy(), assume_centered=True)
        _, turn = torch.linalg.eigh(torch.from_numpy(covariance))
        along = ((table - mean) / scale) @ turn
        centre, spread = middle(along)
        return cls(mean, scale, turn, centre, spread.clamp_min(_LEAST))

    def __call__(self, table: Tensor) -> Tensor:
        """(N, F) -> (N,): how unusual a row is, all measurements together."""
        mine = self.to(table)
        along = ((table.to(mine.mean) - mine.mean) / mine.scale) @ mine.turn
        return torch.log1p(((along - mine.centre) / mine.spread).square()).sum(1)

    def each(self, table: Tensor) -> Tensor:
        """(N, F) -> (N, F): how many spreads each measurement by itself lies from the usual, without its sign."""
        mine = self.to(table)
        return ((table.to(mine.mean) - mine.mean) / mine.scale).abs()

    def state(self, prefix: str = "") -> dict[str, Tensor]:
        """The five tensors."""
        return {prefix + name: getattr(self, name) for name in _NAMES}

    @classmethod
    def restored(cls, state: Mapping[str, Tensor], prefix: str = "") -> Self:
        """Read back. Raises BadInput for tensors that do not go together."""
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        mean, scale, turn, centre, spread = take(own, _NAMES)
        if turn.shape != (len(mean), len(mean)) or not len(mean) == len(scale) == len(centre) == len(spread):
            raise BadInput(f"a stored detector's axes and means disagree: {len(turn)}, {len(mean)}; fit it again")
        return cls(mean, scale, turn, centre, spread)

    def to(self, like: Tensor) -> Self:
        """On another device."""
        if self.mean.device == like.device:
            return self
        return type(self)(*(getattr(self, name).to(like.device) for name in _NAMES))


def middle(table: Tensor) -> tuple[Tensor, Tensor]:
    """Median (F,) and robust spread (F,), in standard deviations of a normal distribution, of each column."""
    centre = table.median(0).values
    return centre, _MAD * (table - centre).abs().median(0).values
