"""Small classifiers whose answers are known."""

import pytest
import torch
from torch import nn

from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier
from radproof.models.zoo import build


class Corners(nn.Module):
    """Feature map 0 is the bright upper left corner, map 1 the lower right one: what is looked at is known."""

    num_features = head_hidden_size = 2

    def forward_features(self, x):
        masks = torch.zeros(2, 1, *x.shape[2:], dtype=x.dtype)
        half = x.shape[2] // 2
        masks[0, :, :half, :half] = 1
        masks[1, :, half:, half:] = 1
        return x * masks.squeeze(1)

    def forward_head(self, maps):
        return maps.mean((2, 3))


def corners(channels=1, **more):
    blueprint = Blueprint(
        architecture="corners",
        labels=("upper", "lower"),
        input_size=16,
        channels=channels,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        **more,
    )
    return ImageClassifier(blueprint, Corners(), nn.Identity())


@pytest.fixture
def corner_model():
    return corners().freeze()


@pytest.fixture
def tiny():
    """A cxrnet of three classes at 32 pixels, on 48 pixel images."""
    return build("cxrnet", labels=("a", "b", "c"), input_size=32, hidden=8).freeze()


@pytest.fixture
def images():
    return torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(0))
