# SPDX-License-Identifier: Apache-2.0
"""Is the image in one piece? Blocks that were moved, turned or flipped leave seams and do not go with their neighbours.

For attacks on structure, which move pixels instead of changing their levels a little, and for codecs that cut the image
in squares. Edges are compared by the structure tensor (Bigun & Granlund, ICCV 1987), whose direction is smooth where
edges are not. A chest is roughly its own mirror image; one with its blocks moved is less so.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from radproof.detectors import seams
from radproof.detectors.look import Look
from radproof.detectors.one_class import OneClass
from radproof.detectors.registry import Learner, detector

TOP = 255.0  # grey levels of eight bits, in which all of it is told
_COARSE = 16  # blocks per side for the mirror
_PIECE = 1  # images measured at a time: what fits near the processor
_PROPERTIES = ("brightness", "contrast", "amount of edges", "direction of edges")

WORDS = (
    *(f"how the {what} jumps from block to block, {how}" for what in _PROPERTIES for how in ("on average", "at most")),
    "likeness of left and right",
)


@dataclass(frozen=True)
class Pieces:
    """Seams and blocks in numbers, with a codec's squares or without. Implements one_class.Measure; asks no model."""

    codec: bool = True

    @property
    def words(self) -> tuple[str, ...]:
        """What each column tells."""
        return (*seams.WORDS, *WORDS, *(seams.CODEC_WORDS if self.codec else ()))

    def __call__(self, look: Look) -> Tensor:
        """(N, F), of the mean over the channels; the same arithmetic for a soft look."""
        levels = look.x.float().mean(1) * TOP
        return torch.cat([self._of(part) for part in levels.split(_PIECE)])

    def _of(self, levels: Tensor) -> Tensor:
        own, codec = seams.seam_statistics(levels)
        return torch.cat([own, block_statistics(levels), *([codec] if self.codec else [])], dim=1)


def block_statistics(levels: Tensor) -> Tensor:
    """Grey levels (N, H, W), sides ≥ 16 -> (N, 9), as WORDS names them: over grids of 2 to 8 blocks per side."""
    across, down = levels[:, :-1].diff(dim=2), levels[:, :, :-1].diff(dim=1)
    middle = levels - levels.mean((1, 2), keepdim=True)
    maps = torch.stack([middle, middle.square()], dim=1)
    edges = torch.stack([across.square(), down.square(), across * down], dim=1)
    spread = (middle.square().mean((1, 2)) + 1).sqrt()
    found = torch.stack([_jumps(_pooled(maps, grid), _pooled(edges, grid), spread) for grid in seams.GRIDS])
    both = torch.stack([found.mean(0), found.amax(0)], dim=2).flatten(1)
    return torch.cat([both, _mirrored(_pooled(maps[:, :1], _COARSE)[:, 0])[:, None]], dim=1)


def _jumps(maps: Tensor, edges: Tensor, spread: Tensor) -> Tensor:
    """(N, 4): mean change of each property from a block to its neighbours."""
    mean, square = maps.unbind(1)
    across, down, both = edges.unbind(1)
    amount = across + down
    return torch.stack(
        [
            _steps(mean[:, None]) / spread,
            _steps(((square - mean.square()).clamp_min(0) + 1).log()[:, None] / 2),
            _steps((amount + 1).log()[:, None] / 2),
            _steps(torch.stack([across - down, 2 * both], dim=1) / (amount[:, None] + 1)),
        ],
        dim=1,
    )


def _steps(blocks: Tensor) -> Tensor:
    """(N, C, g, g) -> (N,): mean distance of neighbouring blocks in both directions."""
    steps = [blocks.diff(dim=axis).square().sum(1) for axis in (2, 3)]
    return torch.cat([(step + 1e-6).sqrt().flatten(1) for step in steps], dim=1).mean(1)


def _pooled(maps: Tensor, grid: int) -> Tensor:
    """(N, C, H, W) -> (N, C, g, g): means of equal blocks; pixels beyond a whole number of blocks are left out."""
    height, width = (side // grid for side in maps.shape[2:])
    inner = maps[:, :, : grid * height, : grid * width]
    return inner.unflatten(3, (grid, width)).mean(4).unflatten(2, (grid, height)).mean(3)


def _mirrored(coarse: Tensor) -> Tensor:
    """(N,): Fisher's z of the correlation of a coarse image (N, g, g) with its mirror image."""
    middle = coarse - coarse.mean((1, 2), keepdim=True)
    alike = (middle * middle.flip(2)).mean((1, 2)) / (middle.square().mean((1, 2)) + 1)
    return (0.999 * alike).atanh()


@detector(title="Block consistency", paper="Fan & de Queiroz, 2003; Bigun & Granlund, 1987")
def blocks(
    codec: Annotated[
        bool, Field(description="Whether a codec's squares of 8 pixels count; not where images may come as JPEG.")
    ] = True,
) -> Learner:
    """Whether the image is in one piece: straight seams, how blocks go with their neighbours, left against right."""
    return OneClass(Pieces(codec))
