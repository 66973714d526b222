# SPDX-License-Identifier: Apache-2.0
from itertools import product

import numpy as np
import pytest
import torch
from scipy.ndimage import generic_filter, median_filter

from radproof.core.rng import generator
from radproof.defenses.median import Median

RNG = generator(0)


@pytest.mark.parametrize("size", [2, 3])
def test_the_network_is_right_for_every_order_of_zeros_and_ones(size):
    """A network of comparisons that is right for all zeros and ones is right for all numbers (Knuth, TAOCP 3)."""
    windows = torch.tensor(list(product((0.0, 1.0), repeat=size**2))).view(-1, 1, size, size)
    middle = size // 2  # the pixel whose window is the whole image
    found = Median(size)(windows, rng=RNG)[:, 0, middle, middle]
    assert torch.equal(found, windows.flatten(1).sort(dim=1).values[:, size**2 // 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_batch_of_every_type_bit_for_bit(size, dtype):
    levels = torch.randint(0, 256, (3, 3, 21, 18), generator=generator(1))  # with ties
    x = (levels / 255).to(dtype)
    found = Median(size)(x, rng=RNG)
    planes = [median_filter(plane, size=size, mode="nearest") for plane in x.double().flatten(0, 1).numpy()]
    assert found.dtype == dtype
    assert np.array_equal(found.double().flatten(0, 1).numpy(), np.stack(planes))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_with_a_gradient_it_is_the_same_image(size):
    x = torch.rand(2, 3, 12, 9, generator=generator(2))
    twin = Median(size).surrogate(x.clone().requires_grad_(), rng=RNG)
    assert torch.equal(twin.detach(), Median(size)(x, rng=RNG))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_pixels_gradient_counts_the_windows_that_chose_it(size):
    x = torch.rand(2, 1, 11, 8, generator=generator(3), dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(Median(size).surrogate(x, rng=RNG).sum(), x)
    for plane, found in zip(x.detach()[:, 0].numpy(), slope[:, 0], strict=True):
        middles = median_filter(plane, size=size, mode="nearest")
        assert np.array_equal(found.flatten(), [(middles == value).sum() for value in plane.ravel()])


@pytest.mark.parametrize("size", [2, 3])
def test_of_equal_pixels_one_gets_the_gradient(size):
    x = (torch.randint(0, 3, (1, 1, 9, 9), generator=generator(4)) / 2).requires_grad_()
    y = Median(size).surrogate(x, rng=RNG)
    for row, column in product(range(9), repeat=2):
        (slope,) = torch.autograd.grad(y[0, 0, row, column], x, retain_graph=True)
        at = slope[0, 0].nonzero()
        assert len(at) == 1
        assert slope.sum() == 1
        assert x[0, 0, at[0, 0], at[0, 1]] == y[0, 0, row, column]
        offset = at[0] - torch.tensor([row, column])
        assert bool((offset.abs() <= size // 2).all())


def test_the_border_is_repeated():
    x = torch.rand(1, 1, 5, 5, generator=generator(5))
    wide = np.pad(x[0, 0].numpy(), 1, mode="edge")
    expected = generic_filter(wide, np.median, size=3)[1:-1, 1:-1]
    assert np.array_equal(Median(3)(x, rng=RNG)[0, 0].numpy(), expected)


def test_no_images_are_no_images():
    assert Median(3)(torch.zeros(0, 1, 8, 8), rng=RNG).shape == (0, 1, 8, 8)
