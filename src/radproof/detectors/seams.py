# SPDX-License-Identifier: Apache-2.0
"""Straight seams in an image: lines at which neighbours differ more than they do just beside the line.

Anatomy is soft-edged and seldom straight, so a jump between two pixels has company left and right of it; where a block
was moved, or a codec cut the image in squares, it has none. Fan & de Queiroz, "Identification of Bitmap Compression
History", IEEE TIP 2003, find the codec's squares so.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

GRIDS = range(2, 9)  # blocks per side
CODEC = 8  # pixels
_WINDOWS = 8  # of a side: how long a seam must be to be seen by itself
_LEAST = 0.5  # grey levels: a jump less than that is none
_STRONGEST = 0.005  # share of all places
_FLAT = 1e-3

WORDS = (
    "the strongest straight seam",
    "the strongest straight seams together",
    "how seams stand out from their surroundings",
    "the strongest seam through the whole image",
    "how whole lines stand out from the others",
    *(f"seams of {grid} × {grid} blocks" for grid in GRIDS),
    "seams of the most likely grid",
)
CODEC_WORDS = (f"seams every {CODEC} pixels", f"seams every {CODEC} pixels, wherever they begin")


def seam_statistics(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Grey levels (N, H, W), sides ≥ 16 -> (N, 13), as WORDS names them, and (N, 2) for CODEC_WORDS.

    Both directions together. What all lines of a codec's squares have in common speaks in the latter alone.
    """
    found = (seams(levels), seams(levels.transpose(1, 2)))
    parts = torch.cat([windows.flatten(1) for windows, _ in found], dim=1)
    strongest = parts.topk(max(1, int(_STRONGEST * parts.shape[1])), dim=1).values
    codec = [_along([(line, range(start, line.shape[1], CODEC)) for _, line in found]) for start in range(CODEC)]
    own = [_without_codec(line) for _, line in found]
    lines = torch.cat(own, dim=1)
    grids = [_along([(line, _between(line.shape[1] + 1, grid)) for line in own]) for grid in GRIDS]
    columns = [
        strongest[:, 0],
        strongest.mean(1),
        _log_kurtosis(parts),
        lines.amax(1),
        _log_kurtosis(lines),
        *grids,
        torch.stack(grids).amax(0),
    ]
    return torch.stack(columns, dim=1), torch.stack([codec[-1], torch.stack(codec).amax(0)], dim=1)


def seams(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Of upright lines, log of the jump across over the jumps beside: by window (N, R, W - 1), and whole (N, W - 1).

    Column j lies between pixels j and j + 1; windows of an eighth of the height overlap by half.
    """
    jumps = levels.diff(dim=2).abs()
    window = levels.shape[1] // _WINDOWS
    parts = F.avg_pool2d(jumps[:, None], (window, 1), (window // 2, 1))[:, 0]
    return _against_beside(parts), _against_beside(jumps.mean(1, keepdim=True))[:, 0]


def _against_beside(jumps: Tensor) -> Tensor:
    """(N, R, L) -> the same: log ratio to the mean of the two lines on either side."""
    wide = F.pad(jumps, (2, 2), mode="replicate")
    beside = (wide[..., :-4] + wide[..., 1:-3] + wide[..., 3:-1] + wide[..., 4:]) / 4
    return ((jumps + _LEAST) / (beside + _LEAST)).log()


def _without_codec(lines: Tensor) -> Tensor:
    """(N, L) less the median of every eighth line there; nothing less where blocks could be half of those lines."""
    if lines.shape[1] < 2 * max(GRIDS) * CODEC - 1:
        return lines
    here = torch.arange(lines.shape[1], device=lines.device) % CODEC == CODEC - 1
    return lines - here * lines[:, CODEC - 1 :: CODEC].median(1, keepdim=True).values


def _between(side: int, grid: int) -> list[int]:
    """Columns between the blocks of a grid; pixels beyond a whole number of blocks belong to none."""
    return [k * (side // grid) - 1 for k in range(1, grid)]


def _along(lines: Sequence[tuple[Tensor, Sequence[int]]]) -> Tensor:
    """(N,): the mean over some lines of both directions."""
    return torch.cat([line[:, list(which)] for line, which in lines], dim=1).mean(1)


def _log_kurtosis(values: Tensor) -> Tensor:
    """(N, M) -> (N,): large where a few stand out; 0 where all are equal."""
    square = (values - values.mean(1, keepdim=True)).square()
    return ((square.square().mean(1) + _FLAT) / (square.mean(1).square() + _FLAT)).log()
