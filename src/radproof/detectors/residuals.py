# SPDX-License-Identifier: Apache-2.0
"""Statistics of what is left of a radiograph when its anatomy is taken away: where small perturbations live.

Fridrich & Kodovsky, "Rich Models for Steganalysis of Digital Images", IEEE TIFS 2012 (truncated residuals, the 5 × 5
kernel); Donoho, IEEE TIT 1995 (noise from the finest diagonal detail). A perturbation of one grey level is
steganography seen from the other side: it raises the noise floor of quiet blocks and disturbs the smallest differences.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_SRM = ((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1))
_BLOCK = 8
_QUIET = (0.05, 0.2, 0.5)  # quantiles over blocks: the quietest tell most
_BANDS = ((4, 6), (7, 8), (9, 10), (11, 12), (13, 14))  # of an 8 × 8 cosine block, by row + column
_SMALL = 2.5  # grey levels: differences that noise of a level or two can turn over


def residual_statistics(x: Tensor) -> Tensor:
    """(N, C, H, W) in [0, 1], sides ≥ 16 -> (N, F) float64; the mean over channels of each channel's statistics."""
    grey = x[:, :1] if bool((x == x[:, :1]).all()) else x
    levels = (grey.detach().float() * 255).flatten(0, 1)
    across, down = levels.diff(dim=2), levels.diff(dim=1)
    diagonal = across.diff(dim=1) / 2
    residuals = (
        diagonal,
        F.conv2d(levels[:, None], _kernel(((0, -1, 0), (-1, 4, -1), (0, -1, 0)), 4, levels))[:, 0],
        across.diff(dim=2) / 2,
        down.diff(dim=1) / 2,
        F.conv2d(levels[:, None], _kernel(_SRM, 12, levels))[:, 0],
    )
    columns = [
        *_shares_below(across, (0, 1, 2, 4)),
        *_shares_below(down, (0, 1, 2, 4)),
        *_neighbours(across[:, :, 1:], across[:, :, :-1]),
        *_neighbours(down[:, 1:], down[:, :-1]),
        *_shares_below(diagonal, (0, 0.5, 1, 2)),
        *(column for residual in residuals for column in _energies(residual)),
        *_bands(levels),
    ]
    return torch.stack(columns, dim=1).double().view(len(x), -1, len(columns)).mean(1).cpu()


def _shares_below(differences: Tensor, limits: tuple[float, ...]) -> list[Tensor]:
    """Share of differences of at most so many grey levels."""
    sizes = differences.abs().flatten(1)
    return [(sizes <= limit + 0.25).float().mean(1) for limit in limits]


def _neighbours(a: Tensor, b: Tensor) -> list[Tensor]:
    """Of adjacent differences: correlation after truncation, shares that alternate and that go on, if small."""
    short, other = a.clamp(-2, 2).flatten(1), b.clamp(-2, 2).flatten(1)
    small = ((a.abs() <= _SMALL) & (b.abs() <= _SMALL)).flatten(1)
    signs = (a * b).flatten(1)
    return [
        (short * other).mean(1) / (short.square().mean(1) + 1e-6),
        ((signs < 0) & small).float().mean(1),
        ((signs > 0) & small).float().mean(1),
    ]


def _energies(residual: Tensor) -> list[Tensor]:
    """Log of the truncated mean size, and of the energy in quiet, calmer and ordinary blocks."""
    size = residual.abs().clamp(max=4).flatten(1).mean(1)
    blocks = F.avg_pool2d(residual.clamp(-8, 8).square()[:, None], _BLOCK).flatten(1).sort(dim=1).values
    return [(size + 0.02).log(), *((blocks[:, int(q * blocks.shape[1])] + 0.01).log() for q in _QUIET)]


def _bands(levels: Tensor) -> list[Tensor]:
    """Log size of cosine coefficients by frequency band: over all 8 × 8 blocks, and in the calmer fifth."""
    n, height, width = levels.shape
    rows, columns = height // 8, width // 8
    blocks = levels[:, : rows * 8, : columns * 8].reshape(n, rows, 8, columns, 8).transpose(2, 3)
    i = torch.arange(8, device=levels.device)
    cosine = torch.cos((2 * i + 1) * i[:, None] * torch.pi / 16) / 2
    cosine[0] = 8**-0.5
    sizes = (cosine @ blocks @ cosine.T).abs().clamp(max=20).flatten(1, 2)
    found: list[Tensor] = []
    for low, high in _BANDS:
        band = sizes[:, :, (i + i[:, None] >= low) & (i + i[:, None] <= high)].mean(2)
        calm = band.sort(dim=1).values[:, int(0.2 * band.shape[1])]
        found += [(band.mean(1) + 0.05).log(), (calm + 0.05).log()]
    return found


def _kernel(rows: tuple[tuple[int, ...], ...], divisor: int, like: Tensor) -> Tensor:
    return like.new_tensor(rows)[None, None] / divisor
