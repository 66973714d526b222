# SPDX-License-Identifier: Apache-2.0
"""Every parameter of a denoiser's training, in one frozen record."""

from typing import Literal

from pydantic import Field

from radproof.core.params import Epsilon
from radproof.core.records import Record
from radproof.defenses.denoiser import Depth, Width


class DenoiserRecipe(Record):
    """How a denoiser is trained in front of a fixed model."""

    width: Width = 16
    depth: Depth = 3
    epochs: int = Field(default=10, ge=1, le=1000, description="Passes over the training images.")
    lr: float = Field(default=1e-3, gt=0, le=1, description="Highest learning rate of the cycle (Adam).")
    batch: int = Field(default=16, ge=2, le=4096, description="Images per step.")
    eps: Epsilon = Field(default=8 / 255, description="Largest budget of the attacks it learns from, or n/255.")
    steps: int = Field(default=4, ge=1, le=1000, description="Steps of the attack, where it has steps.")
    attack: str = Field(
        default="pgd", min_length=1, description="A registered attack with an eps; a third of the images are FGSM's."
    )
    guide: Literal["logits", "pixels"] = Field(
        default="logits", description="What is to be as on the clean image: the model's logits, or the pixels."
    )
    images: int | None = Field(default=None, ge=2, description="Training images, evenly spread; none takes all.")
    size: int | None = Field(
        default=None, ge=8, le=4096, description="Side of the squares it learns on; none keeps the images' own size."
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="Seed of weights, order, budgets and attacks.")
