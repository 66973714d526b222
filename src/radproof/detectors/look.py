# SPDX-License-Identifier: Apache-2.0
"""A few images as detectors see them: every pass through the model is made once, whoever asks for it first."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from radproof.core.types import Classifier, Head
from radproof.detectors.squeezers import squeezers
from radproof.models.layers import Seen, see


class Look:
    """Images (N, C, H, W) in [0, 1], at most the model's micro-batch, and what the model says of them.

    A `soft` look is the detector-aware attacker's: squeezers are replaced by their differentiable twins and everything
    has a gradient with respect to `x`. Otherwise nothing has.
    """

    def __init__(self, model: Classifier, x: Tensor, *, soft: bool = False) -> None:
        self.model, self.x, self.soft = model, x, soft
        self._seen: dict[str, Seen] = {}
        self._squeezed: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.x)

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    def squeezed(self, squeezer: str) -> Tensor:
        """The images through a squeezer by name; "" leaves them as they are."""
        if not squeezer:
            return self.x
        if squeezer not in self._squeezed:
            part, rng = squeezers()[squeezer], Generator(device=self.x.device)  # deterministic, all of them
            self._squeezed[squeezer] = part.surrogate(self.x, rng=rng) if self.soft else part(self.x, rng=rng)
        return self._squeezed[squeezer]

    def seen(self, squeezer: str = "") -> Seen:
        """Logits and layers of the images as they are, or through a squeezer."""
        if squeezer not in self._seen:
            with torch.set_grad_enabled(self.soft):
                self._seen[squeezer] = see(self.model, self.squeezed(squeezer))
        return self._seen[squeezer]


def looks(model: Classifier, x: Tensor) -> list[Look]:
    """The images in pieces of the model's micro-batch."""
    return [Look(model, part) for part in x.split(max(1, model.micro_batch))] if len(x) else []


def images_of(pieces: Sequence[Look]) -> Tensor:
    """All images of some looks, (N, C, H, W)."""
    return torch.cat([piece.x for piece in pieces])
