# SPDX-License-Identifier: Apache-2.0
"""A few images as detectors see them: every pass through the model is made once, whoever asks for it first."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from radproof.core.types import Classifier, Head
from radproof.detectors.squeezers import squeezers
from radproof.errors import BadModel
from radproof.models.layers import Seen, see


class Look:
    """Images (N, C, H, W) in [0, 1], at most the model's micro-batch, and what the model says of them.

    A `soft` look is the detector-aware attacker's: squeezers are replaced by their differentiable twins and everything
    has a gradient with respect to `x`. Otherwise nothing has. `change` says, while learning only, which harmless change
    the images went through: "clean" for none.
    """

    def __init__(self, model: Classifier, x: Tensor, *, soft: bool = False, change: str = "clean") -> None:
        self.model, self.x, self.soft, self.change = model, x, soft, change
        self._seen: dict[str, Seen] = {}

    def __len__(self) -> int:
        return len(self.x)

    @property
    def head(self) -> Head:
        """The model's head."""
        return self.model.head

    @property
    def passes(self) -> int:
        """Through the model, so far."""
        return len(self._seen)

    def squeezed(self, squeezer: str) -> Tensor:
        """The images through a squeezer by name, not kept; "" leaves them as they are."""
        if not squeezer:
            return self.x
        part, rng = squeezers()[squeezer], Generator(device=self.x.device)  # deterministic, all of them
        return part.surrogate(self.x, rng=rng) if self.soft else part(self.x, rng=rng)

    def seen(self, squeezer: str = "") -> Seen:
        """Logits and layers of the images as they are, or through a squeezer."""
        if squeezer not in self._seen:
            with torch.set_grad_enabled(self.soft):
                seen = see(self.model, self.squeezed(squeezer))
            if not bool(seen.logits.isfinite().all()):
                raise BadModel("the model's answer holds NaN or infinity; repair it, or leave those images out")
            self._seen[squeezer] = seen
        return self._seen[squeezer]

    def only(self, rows: Tensor) -> "Look":
        """Some of the images, with what was seen of them."""
        found = Look(self.model, self.x[rows], soft=self.soft, change=self.change)
        found._seen = {
            view: Seen(seen.logits[rows], {name: layer[rows] for name, layer in seen.layers.items()})
            for view, seen in self._seen.items()
        }
        return found


def looks(model: Classifier, x: Tensor, change: str = "clean") -> list[Look]:
    """The images in pieces of the model's micro-batch."""
    return [Look(model, part, change=change) for part in x.split(max(1, model.micro_batch))] if len(x) else []


def images_of(pieces: Sequence[Look]) -> Tensor:
    """All images of some looks, (N, C, H, W)."""
    return torch.cat([piece.x for piece in pieces])
