# SPDX-License-Identifier: Apache-2.0
"""A random size and place as a defence: perturbations are tuned to pixels that are then no longer where they were.

Xie, Wang, Zhang, Ren & Yuille, "Mitigating Adversarial Effects Through Randomization", ICLR 2018 (299 pixels to 299 …
330 inside a canvas of 331; 30 draws averaged).
"""

from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.transfer.dim import ResizePad
from radproof.core.types import Backward, Defense
from radproof.defenses.checks import require_images
from radproof.defenses.draws import uniforms
from radproof.defenses.registry import Votes, defense

Ratio = Annotated[float, Field(gt=1, le=2, description="Canvas over image, per side.")]


@dataclass(frozen=True)
class RandomResizePad:
    """Enlarged to a random size, set at a random place on a black canvas, and brought back to the size it had.

    The paper's network sees the canvas; here it sees what it was trained on. All of it is linear in the pixels.
    """

    ratio: Ratio = 331 / 299
    votes: Votes = 30
    deterministic: bool = field(default=False, init=False)
    differentiable: bool = field(default=True, init=False)
    ways: tuple[Backward, ...] = field(default=("twin",), init=False)

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """(N, C, H, W) in [0, 1] -> the same, moved. Raises BadInput for what is no image."""
        with torch.no_grad():
            return self.surrogate(x.detach(), rng=rng)

    def surrogate(self, x: Tensor, *, rng: Generator) -> Tensor:
        """The same sizes and places, with a gradient."""
        require_images(x.detach())
        exact = x if x.element_size() >= 4 else x.float()
        share, down, right = uniforms(exact, rng, 3).unbind(1)
        return ResizePad(chance=1.0, ratio=self.ratio).moved(exact, share, down, right).clamp(0, 1).to(x.dtype)


@defense(
    title="Random resizing and padding",
    paper="Xie et al., ICLR 2018",
    presets={"quick": {"votes": 5}, "published": {"votes": 30}, "exhaustive": {"votes": 30}},
)
def random_resize_pad(ratio: Ratio = 331 / 299, votes: Votes = 30) -> Defense:
    """Enlarge the image at random, pad it at a random place, bring it back to its size; average over draws."""
    return RandomResizePad(ratio, votes)
