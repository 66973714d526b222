# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.tvm import Tvm

RNG = generator(0)


def test_equal_channels_are_solved_once_and_give_the_grey_answer():
    grey = torch.rand(2, 1, 20, 26, generator=generator(1))
    rgb = grey.expand(-1, 3, -1, -1)
    assert len(Tvm().solve(rgb).u) == 2
    assert torch.equal(Tvm()(rgb, rng=RNG), Tvm()(grey, rng=RNG).expand(-1, 3, -1, -1))


def test_other_channels_are_smoothed_one_by_one():
    rgb = torch.rand(2, 3, 20, 26, generator=generator(1))
    each = torch.cat([Tvm()(rgb[:, c : c + 1], rng=RNG) for c in range(3)], dim=1)
    assert torch.equal(Tvm()(rgb, rng=RNG), each)


def test_the_gradient_reaches_all_equal_channels_alike():
    rgb = torch.rand(1, 1, 16, 16, generator=generator(1)).expand(-1, 3, -1, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(Tvm().surrogate(rgb, rng=RNG).square().sum(), rgb)
    assert torch.equal(slope[:, 0], slope[:, 1])
    assert torch.equal(slope[:, 0], slope[:, 2])


def test_a_larger_lambda_leaves_less_variation():
    x = torch.rand(1, 1, 32, 32, generator=generator(1))
    variation = [Tvm(lam)(x, rng=RNG).diff(dim=3).abs().sum().item() for lam in (0.01, 0.1, 1.0)]
    assert variation == sorted(variation, reverse=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(dtype):
    x = torch.rand(1, 1, 16, 16, generator=generator(1)).to(dtype)
    assert Tvm()(x, rng=RNG).dtype == dtype
