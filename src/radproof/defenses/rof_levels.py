# SPDX-License-Identifier: Apache-2.0
"""A start for the ROF problem's dual: the problem at half the resolution, doubled in size, level upon level.

The smaller the gap that is wanted, the more steps the coarse levels are worth: they settle large shapes at a quarter
of the price each.
"""

import torch
from torch import Tensor

from radproof.defenses.rof_ascent import DualAscent

_SMALLEST_SIDE = 32
_FEWEST, _MOST, _MORE_LEVELS = 6, 60, 7  # coarse steps; from how many on a second coarse level pays


def levels_for(f: Tensor, w: float, gap: float) -> tuple[list[DualAscent], int]:
    """Ascents for planes like f, the full resolution first, and how many steps each coarse one shall take."""
    steps = round(min(_MOST, max(_FEWEST, 2.3 / gap ** (1 / 3))))
    levels, (n, height, width) = [DualAscent(f, w)], f.shape
    while min(height, width) >= 2 * _SMALLEST_SIDE and (len(levels) == 1 or steps >= _MORE_LEVELS):
        height, width = (height + 1) // 2, (width + 1) // 2
        # An edge of a coarse pixel is two pixels long and its area four: w is worth half as much there.
        levels.append(DualAscent(f.new_empty(n, height, width), levels[-1].w / 2))
    return levels, steps


def begin(levels: list[DualAscent], f: Tensor, steps: int) -> None:
    """Take planes f (N, H, W) and start the first of the levels from what the others find."""
    fine, coarser = levels[0], levels[1:]
    start = fine.begin(f)
    if not coarser:
        start.zero_()
        return
    begin(coarser, _halve(f), steps)
    for _ in range(steps):
        coarser[0].step()
    _double(coarser[0].p.grid, start)
    fine.q.close()


def _halve(f: Tensor) -> Tensor:
    """Means of 2 × 2 pixels; a last odd row or column counts for two."""
    height, width = f.shape[1:]
    if height % 2:
        f = torch.cat([f, f[:, -1:]], dim=1)
    rows = f[:, ::2] + f[:, 1::2]
    if width % 2:
        rows = torch.cat([rows, rows[:, :, -1:]], dim=2)
    return (rows[:, :, ::2] + rows[:, :, 1::2]).mul_(0.25)


def _double(coarse: Tensor, fine: Tensor) -> None:
    """Linear interpolation of a field (2, N, h, w) into (2, N, H, W); vectors may come out longer than 1."""
    (across, down), (fine_across, fine_down) = coarse, fine
    n, height, width = across.shape[0], fine.shape[2], across.shape[2]
    tall = across.new_empty(n, height, width)
    _double_centres(across.mT, tall.mT)
    _double_edges(tall, fine_across)
    _double_edges(down.mT, tall.mT)
    _double_centres(tall, fine_down)


def _double_edges(coarse: Tensor, fine: Tensor) -> None:
    """Along the last axis, for values between two pixels: every second fine edge is a coarse one."""
    fine[..., 1::2] = coarse[..., : fine.shape[-1] // 2]
    torch.lerp(coarse[..., 1:], coarse[..., :-1], 0.5, out=fine[..., 2::2])
    fine[..., 0] = 0.5 * coarse[..., 0]


def _double_centres(coarse: Tensor, fine: Tensor) -> None:
    """Along the last axis, for values in the middle of pixels."""
    torch.lerp(coarse[..., 1:], coarse[..., :-1], 0.25, out=fine[..., 2::2])
    torch.lerp(coarse[..., :-1], coarse[..., 1:], 0.25, out=fine[..., 1:-1:2])
    fine[..., 0], fine[..., -1] = coarse[..., 0], coarse[..., -1]
