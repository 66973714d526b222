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


@pytest.fixture(scope="session")
def network(pictures):
    """A small network that nobody trained, its answers spread over three classes and easily changed."""
    from radproof.models.zoo import build

    found = build("cxrnet", labels=("Normal", "Pneumonia", "Pneumothorax"), input_size=32, hidden=8, dropout=0.0)
    x = pictures(64, 5)
    for module in found.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    found.train()
    with torch.no_grad():
        found.maps_of(x)
        found.freeze()
        logits, top = found(x), found.top.classes
        top.weight /= logits.std(0)[:, None]
        top.bias.copy_((top.bias - logits.mean(0)) / logits.std(0))
    found.micro_batch = 16
    return found


@pytest.fixture(scope="session")
def pushed():
    """Images changed by a short gradient ascent on the network's own answer."""

    def push(model, x, eps=8 / 255, steps=6):
        answer, found = model(x).argmax(1), x.clone()
        for _ in range(steps):
            found.requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(found), answer, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, found)
            found = x + (found.detach() + eps / 4 * gradient.sign() - x).clamp(-eps, eps)
            found = found.clamp(0, 1)
        return found

    return push


@pytest.fixture(scope="session")
def auroc():
    """How often an attacked image scores above a clean one."""
    return lambda clean, attacked: (attacked[:, None] > clean[None]).double().mean().item()
