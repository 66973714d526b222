# SPDX-License-Identifier: Apache-2.0
"""AugMix (Hendrycks et al., ICLR 2020): an image blended with several chains of random operations.

Only operations that a thorax survives take part: none inverts greys or mirrors. The paper's consistency loss
(Jensen-Shannon, over three views) is left out: images alone are mixed, and the training's own loss is kept.
"""

import math
from collections.abc import Callable

import torch
from numpy.random import Generator
from torch import Tensor

from radproof.training.recipe import AugmentRecipe

Operation = Callable[[Tensor, float], Tensor]
"""An image (C, H, W) in [0, 1] and a strength in [-1, 1], where 0 changes nothing -> an image in [0, 1]."""
LONGEST = 3  # operations in a chain


def augmix(image: Tensor, rng: Generator, recipe: AugmentRecipe) -> Tensor:
    """(C, H, W) in [0, 1] -> the same: (1 - m) image + m sum of w_i chain_i, m ~ Beta(1, 1), w ~ Dirichlet(1)."""
    if not recipe.augmix_severity:
        return image
    shares = rng.dirichlet([1.0] * recipe.augmix_width)
    kept = float(rng.beta(1.0, 1.0))
    mixed = torch.zeros_like(image)
    for share in shares:
        mixed = mixed + float(share) * _chain(image, rng, recipe.augmix_severity)
    return torch.lerp(mixed, image, kept).clamp(0, 1)


def _chain(image: Tensor, rng: Generator, severity: float) -> Tensor:
    for _ in range(int(rng.integers(1, LONGEST + 1))):
        operation = OPERATIONS[int(rng.integers(len(OPERATIONS)))]
        strength = float(rng.uniform(0, severity / 10)) * (1 if rng.random() < 0.5 else -1)
        image = operation(image, strength).clamp(0, 1)
    return image


def _moved(image: Tensor, *, angle: float = 0, right: float = 0, down: float = 0, shear: float = 0) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as T

    return T.affine(
        image,
        angle=angle,
        translate=[right * image.shape[2], down * image.shape[1]],
        scale=1,
        shear=[shear, 0.0],
        interpolation=InterpolationMode.BILINEAR,
        fill=[0.0],
    )


def rotate(image: Tensor, s: float) -> Tensor:
    """Turned by up to 30 degrees."""
    return _moved(image, angle=30 * s)


def shift_right(image: Tensor, s: float) -> Tensor:
    """Shifted by up to a third of the width."""
    return _moved(image, right=s / 3)


def shift_down(image: Tensor, s: float) -> Tensor:
    """Shifted by up to a third of the height."""
    return _moved(image, down=s / 3)


def shear(image: Tensor, s: float) -> Tensor:
    """Sheared by up to 0.3 radians."""
    return _moved(image, shear=math.degrees(0.3 * s))


def expose(image: Tensor, s: float) -> Tensor:
    """Gamma between 1/2 and 2."""
    from torchvision.transforms.v2 import functional as T

    return T.adjust_gamma(image, 2**s)


def contrast(image: Tensor, s: float) -> Tensor:
    """Contrast about the mean, times 1/2 to 2."""
    from torchvision.transforms.v2 import functional as T

    return T.adjust_contrast(image, 2**s)


def equalise(image: Tensor, s: float) -> Tensor:
    """Greys towards equally frequent ones; full strength is histogram equalisation."""
    from torchvision.transforms.v2 import functional as T

    return torch.lerp(image, T.equalize(image), abs(s))


def posterise(image: Tensor, s: float) -> Tensor:
    """Rounded to between 256 and 8 greys."""
    steps = 2 ** (8 - 5 * abs(s)) - 1
    return (image * steps).round() / steps


def blur(image: Tensor, s: float) -> Tensor:
    """Gaussian blur of up to 1 % of the shorter side."""
    from torchvision.transforms.v2 import functional as T

    sigma = abs(s) * min(image.shape[1:]) / 100
    reach = min(math.ceil(3 * sigma), min(image.shape[1:]) - 1)
    return T.gaussian_blur(image, kernel_size=[2 * reach + 1] * 2, sigma=[sigma] * 2) if reach else image


OPERATIONS: tuple[Operation, ...] = (
    rotate,
    shift_right,
    shift_down,
    shear,
    expose,
    contrast,
    equalise,
    posterise,
    blur,
)
