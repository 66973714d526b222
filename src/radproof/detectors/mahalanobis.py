# SPDX-License-Identifier: Apache-2.0
"""Distances of an image's features from those of clean images, in every layer of the network.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018: class means with one covariance per layer, the distance to the nearest class. Here the class is the model's own
answer, the covariance is shrunk (Ledoit & Wolf, JMA 2004), and instead of a regression on known attacks the layers'
log distances are compared with clean images' own: any unusual pattern counts, and being farther out in any layer.
Distances of the images learnt from are taken with themselves and their copies left out; they would look too near.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.detectors.kin import folds, kin
from radproof.detectors.layered import chosen, classes_of, gathered, packed, spread_of, unpacked
from radproof.detectors.look import Look
from radproof.detectors.registry import Judge, Learner, detector
from radproof.detectors.usual import Usual
from radproof.errors import BadInput

_FOLDS = 10
_FEWEST = 5  # images that make a class's mean
_LEAST = 1e-4  # shrinkage, so that the covariance can always be inverted
_TINY = 1e-12
_USUAL = "usual."
_WHAT = "mahalanobis"


@dataclass(frozen=True)
class Layer:
    """One layer's clean features: class means (K, F), and the turn and scale to unit covariance (F, F)."""

    means: Tensor
    whiten: Tensor

    @classmethod
    def of(cls, features: Tensor, classes: Tensor) -> Self:
        """Features (N, F) float64 and classes (N,); classes of under five images have no mean of their own."""
        groups = [features[classes == k] for k in classes.unique() if int((classes == k).sum()) >= _FEWEST]
        groups = groups or [features]
        means = torch.stack([group.mean(0) for group in groups])
        residuals = torch.cat([group - mean for group, mean in zip(groups, means, strict=True)])
        scale = spread_of(residuals)
        inverse = _inverse_root(residuals / scale) / scale
        # As it is stored, so that a detector read back gives the same scores.
        return cls(means, inverse.float().double())

    def __call__(self, features: Tensor) -> Tensor:
        """(N, F) -> (N,): log of the squared Mahalanobis distance to the nearest class."""
        means, whiten = self.means.to(features.device), self.whiten.to(features.device)
        apart = (features.double() @ whiten.T)[:, None] - means @ whiten.T
        return (apart.square().sum(2).amin(1) + _TINY).log()


@dataclass(frozen=True)
class FittedMahalanobis:
    """Knows each layer's clean features and how far clean images usually lie. Implements registry.Judge."""

    layers: dict[str, Layer]
    usual: Usual

    def __call__(self, look: Look) -> Tensor:
        """How unusual the distances are together, and how much farther than usual."""
        table = self.distances(look)
        usual = self.usual.to(table)
        return usual(table) + ((table - usual.mean) / usual.scale).clamp_min(0).sum(1)

    def measures(self, look: Look) -> dict[str, Tensor]:
        """Each layer's distance by itself."""
        words = [f"distance from clean images at layer {name}" for name in self.layers]
        return dict(zip(words, self.usual.each(self.distances(look)).unbind(1), strict=True))

    def distances(self, look: Look) -> Tensor:
        """(N, layers) log distances. Raises BadInput for a network with other layers."""
        widths = {name: layer.means.shape[1] for name, layer in self.layers.items()}
        features = chosen(look.seen(), widths, _WHAT)
        return torch.stack([layer(x) for layer, x in zip(self.layers.values(), features, strict=True)], dim=1)

    def state(self) -> dict[str, Tensor]:
        """Means and whitening by layer, and what is usual."""
        found = {name: {"means": layer.means, "whiten": layer.whiten.float()} for name, layer in self.layers.items()}
        return {**packed(found), **self.usual.state(_USUAL)}


@dataclass(frozen=True)
class Mahalanobis:
    """Implements registry.Learner."""

    def learn(self, pieces: Sequence[Look]) -> Judge:
        """Raises BadModel where the network shows no layers."""
        features, classes = gathered(pieces, _WHAT), classes_of(pieces)
        part = folds(kin(pieces), _FOLDS)
        table = torch.stack([_left_out(layer, classes, part) for layer in features.values()], dim=1)
        return FittedMahalanobis({name: Layer.of(x, classes) for name, x in features.items()}, Usual.of(table))

    def restore(self, state: Mapping[str, Tensor]) -> Judge:
        """Read back what `state` gave."""
        usual = Usual.restored(state, _USUAL)
        own = {name: tensor for name, tensor in state.items() if not name.startswith(_USUAL)}
        layers = {name: _layer(name, *tensors) for name, tensors in unpacked(own, ("means", "whiten")).items()}
        if len(layers) != len(usual.mean):
            raise BadInput(f"the stored state has {len(layers)} layers and knows the usual of {len(usual.mean)}; refit")
        return FittedMahalanobis(layers, usual)


def _left_out(features: Tensor, classes: Tensor, part: Tensor) -> Tensor:
    """(N,) log distances, each image's from means and a covariance that its part had no share in."""
    found = torch.zeros(len(features), dtype=torch.float64)
    for one in part.unique():
        out = part == one
        found[out] = Layer.of(features[~out], classes[~out])(features[out])
    return found


def _inverse_root(scaled: Tensor) -> Tensor:
    """W (F, F) with WᵀW the inverse of the shrunk covariance of centred rows (N, F)."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    shrinkage = max(float(ledoit_wolf_shrinkage(scaled.numpy(), assume_centered=True)), _LEAST)
    covariance = scaled.T @ scaled / len(scaled)
    eye = torch.eye(len(covariance), dtype=covariance.dtype)
    level = max(float(covariance.diagonal().mean()), _TINY)
    root = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * level * eye)
    return torch.linalg.solve_triangular(root, eye, upper=False)


def _layer(name: str, means: Tensor, whiten: Tensor) -> Layer:
    if means.dim() != 2 or whiten.shape != (means.shape[1], means.shape[1]):
        raise BadInput(
            f"the stored means and covariance of layer {name} disagree: {tuple(means.shape)}, {tuple(whiten.shape)}; "
            "fit this detector again"
        )
    return Layer(means.double(), whiten.double())


@detector(title="Mahalanobis distance in every layer", paper="Lee et al., NeurIPS 2018; Ledoit & Wolf, 2004")
def mahalanobis() -> Learner:
    """How far the network's own view of the image lies from clean images of the class it answers, layer by layer."""
    return Mahalanobis()
