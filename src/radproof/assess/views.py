# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a network and a defence make of one image; a report's gallery and a server draw the same."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from radproof.core.types import Defense
from radproof.models.classifier import ImageClassifier
from radproof.models.explain import grad_cam


def explained(model: ImageClassifier, image: Tensor, classes: Tensor) -> Tensor:
    """Where the model looks for a class (1,): the heat map over the image (1, C, H, W), as (1, 3, H, W)."""
    from matplotlib import colormaps

    cam = grad_cam(model, image, classes)[0].float().cpu()
    heat = torch.as_tensor(colormaps["inferno"](cam.numpy())[..., :3]).permute(2, 0, 1).float()
    grey = image[0].float().cpu().mean(0, keepdim=True).expand(3, -1, -1)
    weight = 0.55 * cam
    return (grey * (1 - weight) + heat * weight)[None]


def cleaned(defense: Defense, image: Tensor, rng: Generator) -> Tensor:
    """What a defence hands on of an image, (1, C, H, W); of a random one, a single draw."""
    return defense(image, rng=rng)


def levels(image: Tensor) -> NDArray[np.int32]:
    """The 8-bit grey levels of (1, C, H, W) in [0, 1], as (C, H, W)."""
    return (image[0] * 255).round().int().cpu().numpy()
