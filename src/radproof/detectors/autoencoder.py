# SPDX-License-Identifier: Apache-2.0
"""A small convolutional autoencoder of the finest detail, taught on clean images alone.

Meng & Chen, "MagNet: A Two-Pronged Defense against Adversarial Examples", CCS 2017: taught to give clean images back
through noise. Small perturbations live in the finest detail, so what a 5 × 5 mean says is passed by and only the rest
goes through the bottleneck: two numbers for every 2 × 2 pixels. Each channel is a plane of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from radproof.core.rng import generator
from radproof.detectors.common import take
from radproof.errors import BadInput

_CODE = 2  # numbers that pass for every 2 × 2 pixels
_SCALE = 255 / 8  # the detail of a radiograph is a few grey levels
_NOISE = 2 / 255  # the largest standard deviation of the noise it learns to leave out
_WARM = 20  # steps in which the rate rises
_NAMES = tuple(f"{part}.{number}" for number in range(5) for part in ("weight", "bias"))


@dataclass(frozen=True)
class Teaching:
    """How long and on what an autoencoder is taught."""

    width: int
    steps: int
    crop: int  # pixels
    batch: int
    rate: float
    seed: int


@dataclass(frozen=True)
class Autoencoder:
    """Five convolutions, as a tuple of weights and biases in turn."""

    weights: tuple[Tensor, ...]

    @classmethod
    def drawn(cls, width: int, rng: Generator) -> Self:
        """Untaught (He et al., ICCV 2015)."""
        weights: list[Tensor] = []
        for shape in _shapes(width):
            fan = shape[1] * shape[2] * shape[3]
            weights += [torch.randn(shape, generator=rng) * (2 / fan) ** 0.5, torch.zeros(shape[0])]
        return cls(tuple(weights))

    def __call__(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> its reconstruction, same shape; odd sides are padded by their edge, and cut again."""
        height, width = x.shape[2:]
        planes = F.pad(x.flatten(0, 1)[:, None], (0, width % 2, 0, height % 2), mode="replicate")
        w = [tensor.to(x) for tensor in self.weights]
        smooth = F.avg_pool2d(planes, 5, 1, 2, count_include_pad=False)
        y = F.conv2d((planes - smooth) * _SCALE, w[0], w[1], stride=2, padding=1).relu()
        y = F.conv2d(y, w[2], w[3], padding=1).relu()
        code = F.conv2d(y, w[4], w[5])
        y = F.conv2d(code, w[6], w[7], padding=1).relu()
        detail = F.pixel_shuffle(F.conv2d(y, w[8], w[9], padding=1), 2)
        return (smooth + detail / _SCALE)[:, 0, :height, :width].unflatten(0, x.shape[:2])

    def state(self) -> dict[str, Tensor]:
        """The weights by name."""
        return dict(zip(_NAMES, self.weights, strict=True))

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Self:
        """Read back. Raises BadInput for weights that do not go together."""
        weights = tuple(tensor.float() for tensor in take(state, _NAMES))
        shapes = [tuple(tensor.shape) for tensor in weights[::2]]
        if shapes != list(_shapes(len(weights[1]))) or any(
            bias.shape != weight.shape[:1] for weight, bias in zip(weights[::2], weights[1::2], strict=True)
        ):
            raise BadInput(f"the stored autoencoder's weights do not fit together: {shapes}; fit this one again")
        return cls(weights)


def teach(images: Tensor, how: Teaching) -> Autoencoder:
    """Learn from clean images (N, C, H, W) on the CPU; the same weights for the same seed, nothing global touched."""
    rng = generator(how.seed, "autoencoder")
    net = Autoencoder.drawn(how.width, rng)
    weights = [weight.requires_grad_() for weight in net.weights]
    optimiser = torch.optim.Adam(weights, lr=how.rate)
    with torch.enable_grad():
        for step in range(how.steps):
            optimiser.param_groups[0]["lr"] = how.rate * min(1.0, (step + 1) / _WARM) * (1 - step / how.steps)
            clean = _crops(images, how, rng)
            sigma = _NOISE * torch.rand(len(clean), 1, 1, 1, generator=rng)
            noisy = clean + sigma * torch.randn(clean.shape, generator=rng)
            loss = (net(noisy) - clean).abs().mean() * _SCALE
            for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = slope
            optimiser.step()
    return Autoencoder(tuple(weight.detach() for weight in weights))


def _crops(images: Tensor, how: Teaching, rng: Generator) -> Tensor:
    """(batch, 1, side, side): random squares of random channels; an image smaller than the crop gives what it has."""
    n, channels, height, width = images.shape
    side = min(how.crop, height, width)
    where = torch.rand(how.batch, 4, generator=rng, dtype=torch.float64)
    limits = torch.tensor([n, channels, height - side + 1, width - side + 1])
    places = (where * limits).long().tolist()
    return torch.stack([images[i, c : c + 1, top : top + side, left : left + side] for i, c, top, left in places])


def _shapes(width: int) -> tuple[tuple[int, int, int, int], ...]:
    return (width, 1, 3, 3), (width, width, 3, 3), (_CODE, width, 1, 1), (width, _CODE, 3, 3), (4, width, 3, 3)
