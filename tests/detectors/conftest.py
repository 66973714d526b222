# SPDX-License-Identifier: Apache-2.0
"""Smooth pictures with a grain, and a small classifier that looks at them."""

from dataclasses import dataclass

import pytest
import torch

from radproof.core.rng import generator


@dataclass(frozen=True)
class Spots:
    """A softmax over fixed random patterns."""

    patterns: torch.Tensor
    labels: tuple[str, ...] = ("Normal", "Pneumonia", "Pneumothorax")
    head: str = "softmax"
    micro_batch: int = 5

    def __call__(self, x):
        assert len(x) <= self.micro_batch
        return (x.mean(1) - 0.5).flatten(1) @ self.patterns


def draw(n, seed, side=32):
    rng = generator(seed, "spots")
    coarse = torch.rand(n, 1, 5, 5, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic", align_corners=True)
    grain = torch.nn.functional.avg_pool2d(torch.randn(n, 1, side, side, generator=rng), 3, 1, 1)
    return ((0.1 + 0.8 * smooth + 0.008 * grain).clamp(0, 1) * 255).round() / 255


@pytest.fixture(scope="session")
def pictures():
    return draw


@pytest.fixture(scope="session")
def model():
    return Spots(torch.randn(32 * 32, 3, generator=generator(0, "patterns")) * 0.3)
