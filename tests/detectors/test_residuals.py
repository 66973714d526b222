# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from radproof.core.rng import generator
from radproof.detectors.residuals import WORDS, Differences, residual_statistics, residuals

SRM = [[-1, 2, -2, 2, -1], [2, -6, 8, -6, 2], [-2, 8, -12, 8, -2], [2, -6, 8, -6, 2], [-1, 2, -2, 2, -1]]
KERNELS = (
    np.array([[1, -1], [-1, 1]]) / 2,
    np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 4,
    np.array([[1, -2, 1]]) / 2,
    np.array([[1], [-2], [1]]) / 2,
    np.array(SRM) / 12,
)


def whole_levels(seed, *shape):
    return torch.randint(0, 256, shape, generator=generator(seed, "levels")).float()


def statistics(levels):
    found = residual_statistics(Differences(levels))
    assert found.shape == (1, len(WORDS))
    return dict(zip(WORDS, found[0].tolist(), strict=True))


@pytest.mark.parametrize("which", range(len(KERNELS)))
def test_residuals_are_the_published_kernels(which):
    image = whole_levels(1, 17, 20)
    expected = correlate2d(image.double().numpy(), KERNELS[which], mode="valid")
    found = residuals(Differences(image[None]))[which][0].numpy()
    assert np.allclose(found, expected, atol=1e-4) or np.allclose(found, -expected, atol=1e-4)


def test_the_share_of_small_differences_by_hand():
    levels = torch.zeros(1, 16, 16)
    levels[..., 8:] = 3  # one step of three levels in every row
    found = statistics(levels)
    below = [found[f"share of across differences of at most {limit} grey levels"] for limit in (0, 1, 2, 4)]
    assert below == pytest.approx([14 / 15, 14 / 15, 14 / 15, 1], abs=1e-6)
    assert found["share of down differences of at most 0 grey levels"] == 1


def test_a_difference_between_two_levels_counts_by_its_nearness():
    levels = torch.zeros(1, 16, 16)
    levels[..., 8:] = 1.75  # a quarter of the step lies within one level
    assert statistics(levels)["share of across differences of at most 1 grey levels"] == pytest.approx(14.25 / 15)


def test_how_differences_follow_each_other():
    slope = torch.arange(16.0).repeat(1, 16, 1)  # +1, +1, … go on
    stripes = (torch.arange(16) % 2).float().repeat(1, 16, 1)  # +1, -1, … alternate
    assert statistics(slope)["how across differences follow each other"] == pytest.approx(1, abs=1e-4)
    assert statistics(stripes)["how across differences follow each other"] == pytest.approx(-1, abs=1e-4)
    assert statistics(stripes)["how down differences follow each other"] == 0


def test_an_edge_counts_no_more_than_four_levels():
    levels = torch.zeros(1, 16, 16)
    levels[..., 8:] = 200  # in each row two second differences of 200 / 2
    assert statistics(levels)["size of second differences across"] == pytest.approx(np.log(2 * 4 / 14 + 0.02), abs=1e-5)
    assert statistics(levels)["size of second differences down"] == pytest.approx(np.log(0.02), abs=1e-5)
