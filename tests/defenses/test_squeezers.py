# SPDX-License-Identifier: Apache-2.0
"""Bit depth, median and non-local means against hand, SciPy and brute force."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter, uniform_filter

from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.defenses.bit_depth import BitDepth
from radproof.defenses.median import Median
from radproof.defenses.nl_means import NlMeans
from radproof.errors import BadPlan

RNG = generator(0)


def images(*shape):
    return torch.rand(*shape, generator=generator(1))


@pytest.mark.parametrize(
    ("bits", "expected"),
    [(1, [0, 0, 1, 1, 1]), (2, [0, 1 / 3, 2 / 3, 1, 1]), (8, [0, 64 / 255, 133 / 255, 230 / 255, 1])],
)
def test_pixels_go_to_the_nearest_level(bits, expected):
    x = torch.tensor([0.0, 0.25, 0.52, 0.9, 1.0]).view(1, 1, 1, 5)
    assert torch.allclose(BitDepth(bits)(x, rng=RNG).flatten(), torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("bits", range(1, 9))
def test_no_pixel_moves_more_than_half_a_level_and_all_levels_are_used(bits):
    x = torch.linspace(0, 1, 4096).view(1, 1, 64, 64)
    y = BitDepth(bits)(x, rng=RNG)
    assert len(y.unique()) == 2**bits
    assert (y - x).abs().max() <= 0.5 / (2**bits - 1) + 1e-6


def test_rounding_hands_the_gradient_straight_through():
    x = images(1, 1, 4, 4).requires_grad_()
    weights = torch.arange(16.0).view(1, 1, 4, 4)
    twin = BitDepth(2).surrogate(x, rng=RNG)
    assert torch.allclose(twin, BitDepth(2)(x, rng=RNG))
    (slope,) = torch.autograd.grad((twin * weights).sum(), x)
    assert torch.equal(slope, weights)


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("shape", [(2, 3, 13, 10), (1, 1, 1, 7), (1, 1, 3, 1)])
def test_the_median_is_scipys(size, shape):
    x = images(*shape)
    planes = [median_filter(plane, size=size, mode="nearest") for plane in x.flatten(0, 1).numpy()]
    assert np.array_equal(Median(size)(x, rng=RNG).flatten(0, 1).numpy(), np.stack(planes))


def test_the_gradient_of_a_median_goes_to_the_pixel_that_was_chosen():
    x = images(1, 1, 9, 9).requires_grad_()
    y = Median(3).surrogate(x, rng=RNG)
    (slope,) = torch.autograd.grad(y[0, 0, 4, 6], x)
    expected = (x == y[0, 0, 4, 6]).float()
    assert torch.equal(slope, expected)
    assert expected.sum() == 1


def brute_force(x, search, patch, strength):
    channels, height, width = x.shape
    reach, half = search // 2, patch // 2
    wide = np.pad(x, ((0, 0), (reach + half,) * 2, (reach + half,) * 2), mode="edge")

    def around(row, column):
        row, column = row + reach + half, column + reach + half
        return wide[:, row - half : row + half + 1, column - half : column + half + 1]

    out = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            total, weights = np.zeros(channels), 0.0
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    other = around(row + i, column + j)
                    weight = np.exp(-np.mean((around(row, column) - other) ** 2) / strength**2)
                    total, weights = total + weight * other[:, half, half], weights + weight
            out[:, row, column] = total / weights
    return out


@pytest.mark.parametrize(("search", "patch", "strength"), [(5, 3, 0.2), (3, 1, 0.1), (7, 5, 0.4)])
def test_non_local_means_are_those_of_a_loop(search, patch, strength):
    x = images(2, 3, 6, 8).double()
    expected = np.stack([brute_force(image, search, patch, strength) for image in x.numpy()])
    assert np.allclose(NlMeans(search, patch, strength)(x, rng=RNG).numpy(), expected, atol=1e-12)


def test_weights_that_forget_make_a_box_and_weights_that_see_all_leave_the_image():
    x = images(1, 1, 20, 20).double()
    box = uniform_filter(x[0, 0].numpy(), 5, mode="nearest")
    assert np.allclose(NlMeans(5, 3, 1e4)(x, rng=RNG)[0, 0].numpy(), box, atol=1e-6)
    assert torch.allclose(NlMeans(5, 3, 1e-3)(x, rng=RNG), x, atol=1e-6)


def test_noise_is_averaged_out_and_an_edge_stays():
    clean = torch.zeros(1, 1, 40, 40) + 0.2
    clean[..., 20:] = 0.8
    noisy = clean + 0.02 * torch.randn(clean.shape, generator=generator(2))
    y = NlMeans(11, 3, 0.05)(noisy, rng=RNG)
    assert (y - clean).square().mean().sqrt() < 0.35 * 0.02
    assert (y - clean)[..., 18:22].abs().max() < 0.05


def test_recipes_take_the_papers_settings_and_fractions():
    assert defense["nl_means"].make({"strength": "8/255"}) == NlMeans(11, 3, 8 / 255)
    assert defense["bit_depth"].make({}) == BitDepth(5)
    assert defense["median"].make({}) == Median(3)
    with pytest.raises(BadPlan, match="odd"):
        defense["nl_means"].make({"patch": 4})
    with pytest.raises(BadPlan, match="size"):
        defense["median"].make({"size": 4})
