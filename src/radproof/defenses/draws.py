# SPDX-License-Identifier: Apache-2.0
"""Random numbers for a batch, image by image: what a row draws depends on its place alone, not on its neighbours."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor


def generators(rng: Generator, count: int) -> Iterator[Generator]:
    """A generator for each of `count` rows; the first rows get the same ones whatever the count."""
    seeds = torch.randint(2**62, (count,), generator=rng, device=rng.device).tolist()
    return (Generator(device=rng.device).manual_seed(seed) for seed in seeds)


def uniforms(x: Tensor, rng: Generator, *shape: int) -> Tensor:
    """(N, *shape) from U[0, 1), float32 where x knows fewer digits."""
    return _stack(x, [torch.rand(shape, generator=own, device=own.device) for own in generators(rng, len(x))], shape)


def normals(x: Tensor, rng: Generator, *shape: int) -> Tensor:
    """(N, *shape) from N(0, 1), float32 where x knows fewer digits."""
    return _stack(x, [torch.randn(shape, generator=own, device=own.device) for own in generators(rng, len(x))], shape)


def _stack(x: Tensor, rows: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    exact = x.dtype if x.element_size() >= 4 else torch.float32
    return (torch.stack(rows) if rows else torch.empty(0, *shape)).to(x.device, exact)
