"""AugMix: blends of operations, each of which vanishes with its strength and is what its name says."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from radproof.core.rng import numpy_generator
from radproof.training import augment_mix
from radproof.training.augment_mix import OPERATIONS, augmix
from radproof.training.recipe import AugmentRecipe

SMOOTH = torch.from_numpy(gaussian_filter(np.random.default_rng(0).random((1, 64, 64)), (0, 3, 3))).float()
IMAGE = (SMOOTH - SMOOTH.min()) / (SMOOTH.max() - SMOOTH.min()) * 0.8 + 0.1


def mixed(seed=0, **changes):
    return augmix(IMAGE, numpy_generator(seed), AugmentRecipe(augmix=True, **changes))


def test_zero_severity_is_the_image_itself():
    assert torch.equal(mixed(augmix_severity=0), IMAGE)


def test_severity_moves_images_further():
    far = [sum(float((mixed(s, augmix_severity=v) - IMAGE).abs().mean()) for s in range(40)) for v in (0.1, 1, 3, 10)]
    assert far == sorted(far)
    assert far[0] < 0.1 * far[2]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.__name__)
def test_every_operation_vanishes_with_its_strength_and_stays_an_image(operation):
    assert (operation(IMAGE, 1e-9) - IMAGE).abs().max() <= 0.5 / 255 + 1e-4
    for strength in (-1, 1):
        out = operation(IMAGE, strength)
        assert out.shape == IMAGE.shape
        assert -1e-6 <= out.min() <= out.max() <= 1 + 1e-6
        assert (out - IMAGE).abs().mean() > 0.002


def test_no_operation_inverts_or_mirrors():
    # A ramp from dark to bright to the right, brighter towards the top, stays one.
    ramp = torch.linspace(0.3, 0.9, 64).expand(1, 64, 64) - torch.linspace(0, 0.2, 64).view(1, 64, 1)
    for operation in OPERATIONS:
        for strength in (-0.3, 0.3):
            inner = operation(ramp, strength)[0, 22:42, 22:42]
            assert inner[:, 10:].mean() > inner[:, :10].mean(), operation.__name__
            assert inner[:10].mean() > inner[10:].mean(), operation.__name__


def test_weights_and_share_add_up(monkeypatch):
    # Every operation answers black: what is left of the image is the share that the paper calls m.
    monkeypatch.setattr(augment_mix, "OPERATIONS", (lambda image, s: torch.zeros_like(image),))
    left = torch.stack([mixed(seed) / IMAGE for seed in range(400)])
    assert torch.allclose(left, left[:, :, :1, :1].expand_as(left), atol=1e-5)  # the same in every pixel
    share = left[:, 0, 0, 0].double().numpy()
    assert np.abs(np.sort(share) - np.linspace(0, 1, 400)).max() < 0.09  # uniform: Kolmogorov-Smirnov at 0.3 %


def test_chains_are_one_to_three_operations_long(monkeypatch):
    calls = []
    monkeypatch.setattr(augment_mix, "OPERATIONS", (lambda image, s: calls.append(s) or image,))
    lengths = set()
    for seed in range(60):
        calls.clear()
        assert torch.allclose(mixed(seed, augmix_width=1, augmix_severity=5), IMAGE, atol=1e-6)
        lengths.add(len(calls))
        assert all(abs(s) <= 0.5 for s in calls)
    assert lengths == {1, 2, 3}


def test_equalised_and_posterised_as_named():
    greys = augment_mix.posterise(IMAGE, 1.0).unique()
    assert len(greys) <= 8
    even = augment_mix.equalise(IMAGE, 1.0).flatten().sort().values
    assert (even - torch.linspace(0, 1, even.numel())).abs().max() < 0.05
    softer = augment_mix.blur(IMAGE, 1.0)[0].numpy()
    theirs = gaussian_filter(IMAGE[0].numpy(), 0.64, mode="mirror", truncate=3.2)
    assert np.abs(softer - theirs).max() < 2e-3
