# SPDX-License-Identifier: Apache-2.0
"""Is the finest grain of the image what this house's images have? Needs no network, and no example of an attack.

One-class: clean images' residual statistics are turned to the axes of their covariance (Ledoit & Wolf, JMA 2004,
shrunk so that few images suffice) and an image is scored by how far it lies out on each. Plain Mahalanobis distance
adds squares, so one odd but honest image sets the threshold; clean radiographs have such tails, hence the sum of
log(1 + z²), the Cauchy likelihood, which asks for being unusual in many directions at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from radproof.core.types import Classifier
from radproof.detectors.common import require_detectable, require_enough, take
from radproof.detectors.registry import Restorable, detector
from radproof.detectors.residuals import residual_statistics
from radproof.errors import BadInput

_MAD = 1.4826  # median absolute deviation to standard deviation
_PIECE = 32  # images whose statistics are computed at a time
_NAMES = ("mean", "axes", "centre", "spread")


@dataclass(frozen=True)
class FittedFrequency:
    """Knows the clean images' statistics: mean (F,), axes (F, F), and centre and spread along the axes (F,)."""

    mean: Tensor
    axes: Tensor
    centre: Tensor
    spread: Tensor

    def score(self, x: Tensor) -> Tensor:
        """(N,) float64: how unusual the grain of x is. Raises BadInput for what is no image."""
        require_detectable(x)
        z = ((_statistics(x) - self.mean) @ self.axes - self.centre) / self.spread
        return torch.log1p(z.square()).sum(1)

    def state(self) -> dict[str, Tensor]:
        """All it learned."""
        return {"mean": self.mean, "axes": self.axes, "centre": self.centre, "spread": self.spread}


@dataclass(frozen=True)
class Frequency:
    """About 20 ms per image of 320 × 320 on one core; asks the model nothing."""

    def fit(self, model: Classifier, clean: Tensor) -> FittedFrequency:
        """Learn the usual grain from clean images (N ≥ 20, C, H, W); the model is not asked."""
        require_enough(clean)
        found = _statistics(clean)
        mean = found.mean(0)
        scale = found.std(0) + 1e-6
        covariance, _ = ledoit_wolf(((found - mean) / scale).numpy(), assume_centered=True)
        _, turn = torch.linalg.eigh(torch.from_numpy(covariance))
        axes = turn / scale[:, None]
        along = (found - mean) @ axes
        centre = along.median(0).values
        spread = _MAD * (along - centre).abs().median(0).values
        return FittedFrequency(mean, axes, centre, spread.clamp_min(1e-6))

    def restore(self, model: Classifier, state: Mapping[str, Tensor]) -> FittedFrequency:
        """Read back what `state` gave."""
        mean, axes, centre, spread = take(state, _NAMES)
        if axes.shape != (len(mean), len(mean)) or not len(mean) == len(centre) == len(spread):
            raise BadInput(f"a frequency detector's axes and means disagree: {len(axes)}, {len(mean)}; refit it")
        return FittedFrequency(mean, axes, centre, spread)


def _statistics(x: Tensor) -> Tensor:
    parts = [residual_statistics(part) for part in x.split(_PIECE)]
    return torch.cat(parts)


@detector(title="High-frequency residuals", paper="Fridrich & Kodovsky, 2012; Ledoit & Wolf, 2004")
def frequency() -> Restorable:
    """How unusual the finest grain of the image is among clean ones: residuals, cosine bands, smallest differences."""
    return Frequency()
