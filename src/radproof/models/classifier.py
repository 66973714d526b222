# SPDX-License-Identifier: Apache-2.0
"""The one classifier that this package builds: pixels in, logits out, everything between them inside.

A perturbation budget means nothing unless pixels are pixels, so resize, channel count, normalisation and calibration
belong to the model and nobody outside can apply them twice, or not at all.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radproof.core.records import canonical_json
from radproof.core.types import Head
from radproof.errors import BadInput
from radproof.models.blueprint import Blueprint, Resize

Exact = Callable[[Tensor], Tensor]
"""The original's own logits (N, K), before the temperature, of prepared pixels."""

_TOLERANCE = 1e-6  # what rounding may leave outside [0, 1]


class Backbone(Protocol):
    """What timm's networks and cxrnet have in common."""

    num_features: int  # channels of the feature maps

    def forward_features(self, x: Tensor, /) -> Tensor:
        """Pixels (N, C, H, W) -> feature maps (N, F, h, w)."""
        ...

    def forward_head(self, maps: Tensor, /) -> Tensor:
        """Feature maps -> features (N, F)."""
        ...


def resize(x: Tensor, size: int | tuple[int, int], how: Resize = "bilinear") -> Tensor:
    """(N, C, H, W) -> (N, C, height, width), with antialiasing; differentiable, nothing done at that size."""
    size = (size, size) if isinstance(size, int) else size
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size=size, mode=how, align_corners=False, antialias=True)


def normalisation(blueprint: Blueprint) -> tuple[Tensor, Tensor]:
    """Mean and std (C, 1, 1) on the [0, 1] scale: (low + (high - low) x - mean) / std as one step each."""
    low, high = blueprint.range
    # Arithmetic on the meta device would import torch's compiler.
    mean = [(value - low) / (high - low) for value in blueprint.mean]
    std = [value / (high - low) for value in blueprint.std]
    return torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), torch.tensor(std, dtype=torch.float32).view(-1, 1, 1)


def prepared(x: Tensor, blueprint: Blueprint, mean: Tensor, std: Tensor) -> Tensor:
    """Pixels (N, 1 or 3, H, W) as a network takes them; mean and std as `normalisation` gives them."""
    if blueprint.channels == 1 and x.shape[1] == 3:
        x = x.mean(1, keepdim=True)
    if blueprint.order == "bgr":
        x = x.flip(1)
    # Broadcasting against three means makes three channels of one; channels-last saves a fifth of the time on CPUs.
    y = (resize(x, blueprint.size, blueprint.resize) - mean) / std
    return y.contiguous(memory_format=torch.channels_last)


class ImageClassifier(nn.Module):
    """Pixels in [0, 1], (N, 1 or 3, H, W) of any size -> logits (N, K). Implements core.types.Classifier.

    `strict` also refuses pixels outside [0, 1], at the cost of one more pass over them. `exact` gives the answers of
    an original that the network only stands in for, as where it computes with integers: answers are the original's,
    gradients the stand-in's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        blueprint: Blueprint,
        backbone: nn.Module,
        top: nn.Module,
        *,
        micro_batch: int = 32,
        strict: bool = False,
        exact: Exact | None = None,
    ) -> None:
        super().__init__()
        self.blueprint = blueprint
        self.backbone = backbone
        self.top = top
        self.micro_batch = micro_batch
        self.strict = strict
        self.exact = exact
        mean, std = normalisation(blueprint)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.blueprint.labels

    @property
    def head(self) -> Head:
        """Softmax: one class per image; sigmoid: findings side by side."""
        return self.blueprint.head

    @property
    def temperature(self) -> float:
        """What logits are divided by, fitted on validation images."""
        return self.blueprint.temperature

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K). Raises BadInput for another shape, integers, or pixels that are no numbers."""
        self._check(x)
        return self.corrected(self.answer(self.maps_of(x)), x)

    def corrected(self, logits: Tensor, x: Tensor) -> Tensor:
        """The logits of pixels x as the original gives them, where the network only stands in for it."""
        if self.exact is None:
            return logits
        with torch.no_grad():
            told = self.exact(self.prepare(x)).to(logits) / self.temperature
        return logits + (told - logits).detach()

    def features(self, x: Tensor) -> Tensor:
        """(N, F): what the backbone says of pixels x, before the head."""
        self._check(x)
        return self.pool(self.maps_of(x))

    def feature_maps(self, x: Tensor) -> Tensor:
        """(N, F, h, w): the last convolutional feature maps of pixels x."""
        self._check(x)
        return self.maps_of(x)

    def maps_of(self, x: Tensor) -> Tensor:
        """The same without the checks, for training on images that were checked once."""
        return self._backbone.forward_features(self.prepare(x))

    def pool(self, maps: Tensor) -> Tensor:
        """(N, F) features of feature maps."""
        return self._backbone.forward_head(maps)

    def answer(self, maps: Tensor) -> Tensor:
        """Logits (N, K) of feature maps."""
        return self.top(self.pool(maps)) / self.temperature

    def prepare(self, x: Tensor) -> Tensor:
        """Pixels as the backbone takes them: resized, one or three channels, normalised."""
        return prepared(x.to(self.mean.dtype), self.blueprint, self.mean, self.std)

    def calibrate(self, temperature: float) -> Self:
        """Divide logits by `temperature` from now on. Raises BadInput outside [0.001, 1000]."""
        if not 1e-3 <= temperature <= 1e3:
            raise BadInput(f"temperature must lie in [0.001, 1000], got {temperature}")
        self.blueprint = self.blueprint.model_copy(update={"temperature": float(temperature)})
        return self

    def freeze(self) -> Self:
        """Evaluation mode, and no gradients for weights: what every attack and every score needs."""
        self.eval()
        self.requires_grad_(False)
        return self

    def fingerprint(self) -> str:
        """sha256 over weights and blueprint: the same for equal classifiers on any device."""
        found = hashlib.sha256(canonical_json(self.blueprint.told()).encode())
        for name, tensor in sorted(self.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    @property
    def _backbone(self) -> Backbone:
        return cast(Backbone, self.backbone)

    def _check(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] not in (1, 3) or not x.numel():
            raise BadInput(f"expected images (N, C, H, W) with C 1 or 3, got a tensor of shape {tuple(x.shape)}")
        if not x.is_floating_point():
            raise BadInput(f"expected pixels as numbers in [0, 1], got {x.dtype}; divide by the largest grey level")
        pixels = x.detach()
        # One sum finds any NaN or infinity: pixels in [0, 1] cannot overflow.
        if not bool(pixels.sum(dtype=torch.float32).isfinite()):
            raise BadInput("the images hold NaN or infinite pixels; leave those images out or repair them")
        if self.strict and not bool((pixels.amin() >= -_TOLERANCE) & (pixels.amax() <= 1 + _TOLERANCE)):
            low, high = float(pixels.amin()), float(pixels.amax())
            raise BadInput(f"expected pixels in [0, 1], got [{low:g}, {high:g}]; the model normalises by itself")
