# SPDX-License-Identifier: Apache-2.0
"""Small classifiers that need no torch module, and generators."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass
class Toy:
    """A random two-layer network as a plain object: what any wrapper around a model looks like to an attack."""

    first: Tensor  # (8, C, 3, 3)
    last: Tensor  # (K, 8)
    head: str = "softmax"
    micro_batch: int = 8
    calls: int = 0

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(f"class{k}" for k in range(len(self.last)))

    def __call__(self, x: Tensor, /) -> Tensor:
        self.calls += 1
        features = torch.tanh(F.conv2d(x - 0.5, self.first, padding=1))
        return features.square().mean(dim=(2, 3)) @ self.last.T + features.mean(dim=(2, 3)) @ self.last.T


@pytest.fixture
def toy() -> Callable[..., Toy]:
    def make(
        channels: int = 1, *, classes: int = 3, head: str = "softmax", dtype: torch.dtype = torch.float32, **kwargs: int
    ) -> Toy:
        rng = Generator().manual_seed(7)
        first = torch.randn(8, channels, 3, 3, generator=rng, dtype=dtype) * 1.5
        last = torch.randn(classes, 8, generator=rng, dtype=dtype) * 4
        return Toy(first.requires_grad_(), last.requires_grad_(), head, **kwargs)

    return make


@pytest.fixture
def rng() -> Generator:
    return Generator().manual_seed(3)


@pytest.fixture
def images() -> Callable[..., Tensor]:
    def make(n: int = 4, channels: int = 1, side: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.rand(n, channels, side, side, generator=Generator().manual_seed(11), dtype=dtype)

    return make
