# SPDX-License-Identifier: Apache-2.0
"""What an attacker climbs beside the model's answer: a number per image, with its gradient."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from radproof.core.types import Watch
from radproof.errors import BadModel, NoGradient

PASSES = 8  # of a detector's soft look: the image and its squeezed views


@dataclass(frozen=True)
class Measured:
    """A measure of images, higher is better for the attacker; asked in pieces, as every graph holds memory."""

    measure: Callable[[Tensor, Tensor], Tensor]  # images (n, C, H, W) and their rows (n,) -> (n,)
    size: int  # images per piece
    what: str  # its name in errors
    passes: int = 1  # through the model, whose graphs are alive at once

    def __call__(self, z: Tensor) -> Tensor:
        """Values (N,) in float64 (float32 on mps), without gradient; NaN counts as -infinity. Raises BadModel."""
        with torch.no_grad():
            return torch.cat([_ordered(self._of(z[rows], rows)) for rows in self._pieces(z, self.size)])

    def climb(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Values (N,) and their gradient, shaped like z; a row with NaN or infinity in it becomes zero.

        Raises NoGradient (a BadModel) for a measure that cannot be differentiated.
        """
        found = [self._differentiate(z[rows], rows) for rows in self._pieces(z, self.size // self.passes)]
        slope = torch.cat([slope for _, slope in found])
        sound = slope.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)
        return torch.cat([value for value, _ in found]), torch.where(sound, slope, torch.zeros_like(slope))

    def _pieces(self, z: Tensor, size: int) -> tuple[Tensor, ...]:
        return torch.arange(len(z), device=z.device).split(max(1, size))

    def _of(self, z: Tensor, rows: Tensor) -> Tensor:
        values = self.measure(z, rows)
        if values.shape != (len(z),):
            raise BadModel(f"{self.what} gave {tuple(values.shape)} for {len(z)} images, expected one number for each")
        return values

    def _differentiate(self, z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        leaf = z.detach().requires_grad_()
        with torch.enable_grad():
            values = self._of(leaf, rows)
            total = values.sum()
        slope = torch.autograd.grad(total, leaf, allow_unused=True)[0] if total.requires_grad else None
        if slope is None:
            raise NoGradient(
                f"{self.what} has no gradient with respect to the image, which an attack that knows it climbs; attack "
                "the model alone and let the detector judge the images, or give a differentiable stand-in"
            )
        return _ordered(values.detach()), slope


def headroom(watch: Watch, size: int) -> Measured:
    """How many spreads an image is under the detector's threshold: undetected from 0 on."""
    spread = watch.spread if watch.spread > 0 else 1.0

    def under(z: Tensor, rows: Tensor) -> Tensor:
        return (watch.threshold - watch.suspicion(z)) / spread

    return Measured(under, size, "the detector's suspicion", PASSES)


def _ordered(values: Tensor) -> Tensor:
    """Numbers that can be compared: NaN is the worst."""
    values = values.float() if values.device.type == "mps" else values.double()
    return values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
