# SPDX-License-Identifier: Apache-2.0
"""Smooth pictures with a grain, and a small classifier that looks at them."""

from dataclasses import dataclass

import pytest
import torch

from radproof.core.registry import Registry
from radproof.core.rng import generator
from radproof.detectors import detector
from radproof.detectors.one_class import OneClass


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


@dataclass(frozen=True)
class Rough:
    """Two numbers of an image, enough for a detector."""

    words: tuple[str, ...] = ("size of differences across", "size of differences down")

    def __call__(self, look):
        return torch.stack([look.x.diff(dim=3).abs().mean((1, 2, 3)), look.x.diff(dim=2).abs().mean((1, 2, 3))], 1)


@dataclass(frozen=True)
class Level:
    """One number: how bright an image is."""

    words: tuple[str, ...] = ("mean brightness",)

    def __call__(self, look):
        return look.x.mean((1, 2, 3))[:, None]


@pytest.fixture
def cheap(monkeypatch):
    """Two detectors that cost nothing, known by name for as long as a test lasts: "rough" and "level"."""
    apart = Registry("detector")

    @apart(title="Rough", paper="")
    def rough(least: int = 0):
        """Differences of neighbours."""
        return OneClass(Rough())

    @apart(title="Level", paper="")
    def level():
        """Brightness."""
        return OneClass(Level())

    for recipe in apart:
        monkeypatch.setitem(detector._recipes, recipe.name, recipe)
