# SPDX-License-Identifier: Apache-2.0
"""Other scanners' looks for training: the answer to attacks that change a radiograph's style, not its anatomy.

The looks are those that the STM attack borrows (`attacks/transfer/styles.py`), taken from other training images.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from radproof.attacks.transfer.styles import Acquisition
from radproof.core.rng import generator
from radproof.errors import BadInput
from radproof.training.recipe import AugmentRecipe

MOST = 128  # images whose looks are kept: enough to differ, few enough to measure at once


@dataclass(frozen=True)
class Bank:
    """Looks of training images, measured once."""

    looks: Acquisition

    def __call__(self, image: Tensor, row: list[float], share: float, strength: float) -> Tensor:
        """An image (C, H, W), restyled where its row of draws falls into the share; in [0, 1]."""
        if float(torch.rand((), generator=generator("restyled", *row))) >= share:
            return image
        rng = generator("look", *row, device=image.device)
        return torch.lerp(image, self.looks(image.unsqueeze(0), rng)[0], strength)

    @classmethod
    def require(cls, bank: Self | None) -> Self:
        """The bank. Raises BadInput where there is none."""
        if bank is None:
            raise BadInput(
                "style augmentation needs a bank of training images; make one with style_bank, or set style: 0"
            )
        return bank


def style_bank(images: Tensor, recipe: AugmentRecipe, device: torch.device) -> Bank | None:
    """Looks of up to 128 training images (N, C, H, W), evenly spread over the fold; None where the recipe asks none."""
    if not (recipe.enabled and recipe.style):
        return None
    rows = torch.linspace(0, len(images) - 1, min(MOST, len(images))).round().long()
    return Bank(Acquisition(images[rows].to(device)))
