"""Blobs: class b has a brighter square, so that a small network learns it in seconds."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from radproof.training.loop import train
from radproof.training.recipe import TrainingRecipe

LABELS = ("a", "b")


@dataclass(frozen=True)
class Blobs:
    images: list[Tensor]
    targets: Tensor


def draw_blobs(n: int, seed: int) -> Blobs:
    rng = torch.Generator().manual_seed(seed)
    targets = (torch.arange(n) % 3 == 0).long()
    images = [torch.rand(1, 36, 40, generator=rng) * 0.4 for _ in range(n)]
    for image, target in zip(images, targets.tolist(), strict=True):
        image[:, 8:22, 8:22] += 0.4 * target
    return Blobs(images, targets)


@pytest.fixture(scope="session")
def blobs() -> tuple[Blobs, Blobs]:
    return draw_blobs(48, 0), draw_blobs(24, 1)


@pytest.fixture
def recipe() -> TrainingRecipe:
    return TrainingRecipe(
        architecture="cxrnet",
        input_size=16,
        hidden=8,
        head_epochs=2,
        epochs=3,
        lr=2e-3,
        batch=16,
        unfreeze="all",
        precision="fp32",
    )


@pytest.fixture
def teach(blobs, tmp_path):
    """Train on the blobs; keyword arguments replace what is given to train()."""

    def run(recipe, folder=None, **changes):
        fit, judge = blobs
        arguments = {"labels": LABELS, "head": "softmax", "device": torch.device("cpu"), **changes}
        data = arguments.pop("data", (fit.images, fit.targets, judge.images, judge.targets))
        return train(recipe, *data, folder=folder or tmp_path / "model", **arguments)

    return run
