# SPDX-License-Identifier: Apache-2.0
"""Where clean images of a class lie inside a network: what a feature-constrained attacker stays close to.

Yao et al., "A Hierarchical Feature Constraint to Camouflage Medical Adversarial Attacks", MICCAI 2021
(arXiv:2012.09501). One Gaussian per layer and class, without covariances; few images of a class borrow from all.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.core.types import Classifier
from radproof.detectors.common import require_enough
from radproof.detectors.layered import LOGITS, chosen, classes_of, gathered, spread_of
from radproof.detectors.look import Look, looks
from radproof.errors import BadInput, BadModel
from radproof.models.layers import Seen, see

_BORROWED = 5  # images' worth of all classes in each class's mean and variance
_WHAT = "hfc"


@dataclass(frozen=True)
class FeatureSpace:
    """By layer, every class's means and variances (K, F), float64; K is 1 where findings stand side by side."""

    means: dict[str, Tensor]
    variances: dict[str, Tensor]

    @classmethod
    def of(cls, model: Classifier, clean: Tensor) -> Self:
        """Learnt from clean images (N ≥ 20, C, H, W), each of the class that the model answers.

        Raises BadInput for too few images, BadModel where the network shows no layers.
        """
        require_enough(clean)
        with torch.no_grad():
            pieces = looks(model, clean.detach())
            features, classes = gathered(pieces, _WHAT), classes_of(pieces)
        features = {name: layer for name, layer in features.items() if name != LOGITS}
        if not features:
            raise BadModel("the network's layers are the same for all clean images, so nothing can be learnt from them")
        count = len(model.labels) if model.head == "softmax" else 1
        found = {name: _gaussians(layer, classes, count) for name, layer in features.items()}
        return cls({name: mean for name, (mean, _) in found.items()}, {name: var for name, (_, var) in found.items()})

    def log_density(self, looked: Look | Seen, classes: Tensor) -> Tensor:
        """(N,) float64 for classes (N,): the mean over layers of the log density per channel; with a gradient.

        Raises BadInput for another network's layers, or classes that do not go with the images.
        """
        seen = looked.seen() if isinstance(looked, Look) else looked
        rows = self._rows(classes, len(seen.logits)).to(seen.logits.device)
        features = chosen(seen, {name: mean.shape[1] for name, mean in self.means.items()}, _WHAT)
        found: list[Tensor] = []
        for x, mean, variance in zip(features, self.means.values(), self.variances.values(), strict=True):
            mean, variance = mean.to(x.device)[rows], variance.to(x.device)[rows]
            found.append(-((x.double() - mean).square() / variance + (2 * torch.pi * variance).log()).mean(1) / 2)
        return torch.stack(found).mean(0)

    def bound(self, model: Classifier) -> Callable[[Tensor, Tensor], Tensor]:
        """For an attack: images (N, C, H, W) and classes (N,) -> (N,) log densities with a gradient, in pieces."""

        def density(x: Tensor, classes: Tensor) -> Tensor:
            size = max(1, model.micro_batch)
            parts = zip(x.split(size), classes.split(size), strict=True)
            return torch.cat([self.log_density(see(model, part), own) for part, own in parts])

        return density

    def _rows(self, classes: Tensor, images: int) -> Tensor:
        count = len(next(iter(self.means.values())))
        if classes.shape != (images,):
            raise BadInput(f"expected one class for each of {images} images, got a tensor of {tuple(classes.shape)}")
        if count == 1:
            return torch.zeros_like(classes, dtype=torch.int64)
        if classes.is_floating_point() or (images and not 0 <= int(classes.min()) <= int(classes.max()) < count):
            raise BadInput(f"classes must be whole numbers from 0 to {count - 1}, got {classes.unique().tolist()}")
        return classes


def _gaussians(features: Tensor, classes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(K, F) means and variances of features (N, F)."""
    mean, variance = features.mean(0), spread_of(features - features.mean(0)).square()
    least = variance.min()
    means, variances = [], []
    for k in range(count):
        own = features[classes == k]
        middle = (own.sum(0) + _BORROWED * mean) / (len(own) + _BORROWED)
        spread = ((own - middle).square().sum(0) + _BORROWED * variance) / (len(own) + _BORROWED)
        means.append(middle)
        variances.append(spread.clamp_min(least))
    return torch.stack(means), torch.stack(variances)
