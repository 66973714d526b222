# SPDX-License-Identifier: Apache-2.0
"""Blocks of the image itself shuffled, turned, rolled or flipped: any reader sees it, so it has no budget.

Not to be mistaken for SIA, which disturbs blocks inside its gradient estimate and leaves the image looking untouched.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from radproof.attacks.registry import Corruption, corruption
from radproof.core.params import Unit
from radproof.errors import BadPlan

Operation = Literal["shuffle", "rot90", "rotate", "roll", "flip"]
DEGREES = 15.0  # most that "rotate" turns a block


@dataclass(frozen=True)
class BlockTransform:
    """A grid of equal blocks; a random part of them moved, the result blended with the original."""

    grid: int
    operations: tuple[Operation, ...]
    fraction: float
    blend: float

    def __call__(self, x: Tensor, *, rng: Generator) -> Tensor:
        """Images (N, C, H, W) in [0, 1]; pixels beyond a whole number of blocks stay. Raises BadPlan if too small."""
        if self.grid > min(x.shape[2:]):
            raise BadPlan(
                f"grid={self.grid} cannot divide images of {x.shape[2]}x{x.shape[3]} pixels; "
                f"choose at most {min(x.shape[2:])}"
            )
        moved = torch.stack([self._image(image, rng) for image in x]) if len(x) else x
        return ((1 - self.blend) * x + self.blend * moved).clamp(0, 1)

    def _image(self, image: Tensor, rng: Generator) -> Tensor:
        g = self.grid
        height, width = (side // g for side in image.shape[1:])
        inner = image[:, : g * height, : g * width].unflatten(1, (g, height)).unflatten(3, (g, width))
        blocks = inner.permute(1, 3, 0, 2, 4).flatten(0, 1).clone()  # (g*g, C, height, width)
        chosen = torch.randperm(g * g, generator=rng, device=rng.device)[: round(self.fraction * g * g)]
        which = torch.randint(len(self.operations), (len(chosen),), generator=rng, device=rng.device)
        for code, operation in enumerate(self.operations):
            rows = chosen[which == code]
            if operation == "shuffle":
                blocks[rows] = blocks[rows.roll(1)]  # the order of `chosen` is random: each takes its neighbour's place
            else:
                for row in rows.tolist():
                    blocks[row] = _OPERATIONS[operation](blocks[row], rng)
        out = image.clone()
        whole = blocks.unflatten(0, (g, g)).permute(2, 0, 3, 1, 4)
        out[:, : g * height, : g * width] = whole.reshape(-1, g * height, g * width)
        return out


def _rot90(block: Tensor, rng: Generator) -> Tensor:
    """A quarter, half or three-quarter turn; blocks that are not square take the half."""
    turns = 1 + _integer(3, rng)
    return block.rot90(turns if block.shape[1] == block.shape[2] else 2, (1, 2))


def _rotate(block: Tensor, rng: Generator) -> Tensor:
    """Up to DEGREES either way about the centre; corners take the nearest pixel."""
    angle = math.radians(DEGREES) * (2 * float(torch.rand((), generator=rng, device=rng.device)) - 1)
    height, width = block.shape[1:]
    sin, cos = math.sin(angle), math.cos(angle)
    theta = block.new_tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]])[None]
    where = F.affine_grid(theta, [1, *block.shape], align_corners=False)
    return F.grid_sample(block[None], where, padding_mode="border", align_corners=False)[0]


def _roll(block: Tensor, rng: Generator) -> Tensor:
    axis = 1 + _integer(2, rng)
    return block.roll(_integer(block.shape[axis], rng), axis)


def _flip(block: Tensor, rng: Generator) -> Tensor:
    return block.flip(1 + _integer(2, rng))


def _integer(n: int, rng: Generator) -> int:
    return int(torch.randint(n, (), generator=rng, device=rng.device))


_OPERATIONS: dict[Operation, Callable[[Tensor, Generator], Tensor]] = {
    "rot90": _rot90,
    "rotate": _rotate,
    "roll": _roll,
    "flip": _flip,
}


@corruption(title="Block transform", paper="", threat="visible")
def block_transform(
    grid: Annotated[int, Field(ge=1, le=64, description="Blocks per side.")] = 3,
    operations: Annotated[
        tuple[Operation, ...],
        Field(min_length=1, description="Any of shuffle, rot90, rotate, roll, flip."),
    ] = ("shuffle", "rot90", "rotate", "roll", "flip"),
    fraction: Annotated[Unit, Field(description="Share of the blocks that are moved.")] = 1.0,
    blend: Annotated[Unit, Field(description="0 keeps the original, 1 shows the moved blocks only.")] = 1.0,
) -> Corruption:
    """Move the blocks of the image itself: a visible corruption, without budget or adversary."""
    return BlockTransform(grid, operations, fraction, blend)
