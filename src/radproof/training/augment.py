# SPDX-License-Identifier: Apache-2.0
"""Random changes that a radiograph could have been taken with: scanner, position, exposure. Training fold only.

torchvision's transforms do the work; their parameters are drawn here, from a generator that is an argument, because
torchvision's own random transforms draw from the global one and could not be repeated image by image.
"""

import math

import torch
from torch import Generator, Tensor

from radproof.core.rng import numpy_generator
from radproof.training.augment_mix import augmix
from radproof.training.augment_style import Bank
from radproof.training.recipe import AugmentRecipe

_DRAWS = 8  # turn, zoom, two shifts, brightness, contrast, gamma, flip


def draw(images: int, rng: Generator) -> Tensor:
    """(images, 8) numbers in [-1, 1): all the chance in one epoch, a row for each image in turn."""
    return torch.rand(images, _DRAWS, generator=rng) * 2 - 1


def augment(images: Tensor, draws: Tensor, recipe: AugmentRecipe, bank: Bank | None = None) -> Tensor:
    """Change each image (N, C, H, W) in [0, 1] as its row of draws (N, 8) says; same shape, in [0, 1].

    The row also seeds the choice of looks and of AugMix's operations, so batch mates never matter. Looks come from
    `bank` (see `style_bank`). Raises BadInput where the recipe asks for looks and there is no bank.
    """
    if not recipe.enabled:
        return images
    return torch.stack([_one(image, row, recipe, bank) for image, row in zip(images, draws.tolist(), strict=True)])


def _one(image: Tensor, row: list[float], recipe: AugmentRecipe, bank: Bank | None) -> Tensor:
    if recipe.style:
        # The look comes first: the frame that a turn leaves black is no part of it.
        image = Bank.require(bank)(image, row, recipe.style, recipe.style_strength)
    image = _placed_and_exposed(image, row, recipe)
    return augmix(image, numpy_generator("augmix", *row), recipe) if recipe.augmix else image


def _placed_and_exposed(image: Tensor, row: list[float], recipe: AugmentRecipe) -> Tensor:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as T

    turn, zoom, right, down, brightness, contrast, gamma, flip = row
    height, width = image.shape[1:]
    if recipe.flip and flip < 0:
        image = T.horizontal_flip(image)
    if recipe.rotation or recipe.zoom or recipe.shift:
        image = T.affine(
            image,
            angle=turn * recipe.rotation,
            translate=[right * recipe.shift * width, down * recipe.shift * height],
            scale=1 + zoom * recipe.zoom,
            shear=[0.0, 0.0],
            interpolation=InterpolationMode.BILINEAR,
            fill=[0.0],
        )
    if recipe.exposure:
        # Gamma is drawn on a logarithmic scale, so that darker and lighter are equally likely.
        image = T.adjust_gamma(image.clamp(0, 1), math.exp(gamma * math.log1p(recipe.exposure)))
        image = T.adjust_contrast(image, 1 + contrast * recipe.exposure)
        image = T.adjust_brightness(image, 1 + brightness * recipe.exposure)
    return image.clamp(0, 1)
