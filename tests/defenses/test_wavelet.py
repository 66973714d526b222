# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.wavelet import Wavelet, analysis

RNG = generator(0)
ORTHOGONAL = [(family, side) for family in ("haar", "db2") for side in (2, 4, 6, 32)]


@pytest.mark.parametrize(("family", "side"), ORTHOGONAL)
def test_the_transform_is_orthogonal(family, side):
    matrix = analysis(family, side)
    assert torch.allclose(matrix @ matrix.T, torch.eye(side, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("family", "moments"), [("haar", 1), ("db2", 2)])
def test_its_fine_half_does_not_see_polynomials_below_its_moments(family, moments):
    at = torch.arange(16, dtype=torch.float64)
    fine = analysis(family, 16)[8:]
    for power in range(3):
        inside = (fine @ at**power)[:-1]  # the last row wraps around
        assert (inside.abs().max() < 1e-9) == (power < moments)


def test_haar_halves_are_scaled_sums_and_differences():
    line = torch.tensor([3.0, 5.0, 10.0, 4.0], dtype=torch.float64)
    expected = torch.tensor([8.0, 14.0, -2.0, 6.0], dtype=torch.float64) / math.sqrt(2)
    found = analysis("haar", 4) @ line
    assert torch.allclose(found[:2], expected[:2])
    assert torch.allclose(found[2:].abs(), expected[2:].abs())


@pytest.mark.parametrize("family", ["haar", "db2"])
def test_without_noise_nothing_is_shrunk(family):
    x = torch.rand(2, 3, 21, 34, generator=generator(1), dtype=torch.float64)
    assert torch.allclose(Wavelet(family, 3, 1e-9)(x, rng=RNG), x, atol=1e-9)


def test_one_band_by_hand():
    """A stripe of one pixel: all detail is in one band of equal size, s."""
    x = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    x[..., ::2] += 0.1
    x[..., 1::2] -= 0.1
    sigma, size = 0.1, 0.2  # (0.6 + 0.6 - 0.4 - 0.4) / 2
    left = size - sigma**2 / math.sqrt(size**2 - sigma**2)
    y = Wavelet("haar", 1, sigma)(x, rng=RNG)
    assert torch.allclose((y - 0.5).abs(), torch.full_like(x, left / 2))
    assert torch.equal((y - 0.5).sign(), (x - 0.5).sign())


@pytest.mark.parametrize("family", ["haar", "db2"])
def test_a_band_of_mere_noise_vanishes(family):
    x = 0.5 + 0.02 * torch.randn(1, 1, 64, 64, generator=generator(3))
    y = Wavelet(family, 3, 0.04)(x, rng=RNG)
    assert y.var() < 1.5 * x.var() / 64  # what is left of one coefficient in 8 x 8


@pytest.mark.parametrize("true", [0.01, 0.05])
def test_the_noise_can_be_estimated(true):
    smooth = torch.linspace(0.3, 0.7, 128).view(1, 1, 1, -1).expand(1, 1, 128, -1)
    x = smooth + true * torch.randn(1, 1, 128, 128, generator=generator(4))
    guessed, told, twice = (Wavelet("haar", 3, sigma)(x, rng=RNG) for sigma in (None, true, 4 * true))
    assert (guessed - told).square().mean().sqrt() < 0.2 * true
    assert (guessed - told).square().mean() < (guessed - twice).square().mean()
    assert (guessed - smooth).square().mean().sqrt() < 0.5 * true


def test_the_seam_of_the_transform_lies_off_the_image():
    """Black at the left and white at the right would ring into each other where the line wraps."""
    x = torch.linspace(0.02, 0.98, 64).view(1, 1, 1, -1).expand(1, 1, 64, -1)
    assert (Wavelet("db2", 3, 0.1)(x, rng=RNG) - x).abs().max() < 0.05
