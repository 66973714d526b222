# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.fft import dctn

from radproof.core.rng import generator
from radproof.detectors.wavelets import (
    COSINE_WORDS,
    WAVELET_WORDS,
    around,
    cosine_statistics,
    details,
    wavelet_statistics,
)


def noise(size, sigma):
    return sigma * torch.randn(1, size, size, generator=generator(8, "noise"))


def test_the_detail_is_orthonormal_and_blind_to_slopes():
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    assert details((3 * y - 2 * x + 5)[None])[:, 0].abs().max() < 1e-4
    assert details((3 * y)[None])[:, 1].abs().max() < 1e-4  # across: a slope downwards is none
    assert details(noise(400, 3.0)).flatten(2).std(2)[0].tolist() == pytest.approx([3, 3, 3], rel=0.03)


def test_across_is_across():
    stripes = 9.0 * (torch.arange(20) % 2).repeat(1, 20, 1)  # upright stripes
    _, across, down = details(stripes)[0]
    assert across.abs().min() > 4 and down.abs().max() < 1e-4


def test_the_noise_level_is_the_noises():
    for sigma in (0.5, 2.0):
        found = wavelet_statistics(noise(300, sigma))[0, 0].item()
        assert found == pytest.approx(np.log(sigma + 0.05), abs=0.05)


def test_the_noise_level_does_not_see_the_anatomy():
    picture = noise(300, 1.0)
    picture[:, 100:200, 100:200] += 80
    assert wavelet_statistics(picture)[0, 0].item() == pytest.approx(np.log(1.05), abs=0.07)


def test_peakedness_of_noise_and_of_nothing():
    assert wavelet_statistics(noise(300, 2.0))[0, 1:].exp().tolist() == pytest.approx([3, 3, 3], rel=0.1)
    assert wavelet_statistics(torch.full((1, 16, 16), 77.0))[0, 1:].tolist() == pytest.approx([0, 0, 0], abs=1e-3)
    assert len(WAVELET_WORDS) == 4


def test_cosine_bands_equal_scipys():
    levels = torch.rand(1, 19, 24, generator=generator(1)) * 12  # the last three rows make no block
    blocks = levels[0, :16].double().numpy().reshape(2, 8, 3, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    sizes = np.abs([dctn(block, norm="ortho") for block in blocks])[:, np.add.outer(np.arange(8), np.arange(8)) >= 13]
    found = cosine_statistics(levels)[0].tolist()
    assert len(found) == len(COSINE_WORDS)
    assert found[0] == pytest.approx(np.log(sizes.mean() + 0.05), abs=1e-4)
    assert found[1] == pytest.approx(np.log(np.sort(sizes.mean(1))[1] + 0.05), abs=1e-4)  # the second of six


def test_around_a_quantile_many_values_have_a_gradient():
    values = torch.arange(100.0)[None].requires_grad_(True)
    middle = around(values, 0.5)
    assert middle.item() == pytest.approx(49.5)
    middle.sum().backward()
    assert (values.grad != 0).sum() == 4
    assert around(torch.tensor([[7.0]]), 0.05).item() == 7  # one value is each quantile
