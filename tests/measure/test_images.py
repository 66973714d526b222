# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from radproof.errors import BadInput
from radproof.measure.images import l2, linf, mean_difference, psnr, ssim


def test_distances_by_hand():
    a = torch.zeros(1, 1, 2, 2)
    b = torch.tensor([[[[0.0, 0.3], [0.0, 0.4]]]])
    assert linf(a, b).item() == pytest.approx(0.4)
    assert l2(a, b).item() == pytest.approx(0.5)
    assert mean_difference(a, b).item() == pytest.approx(0.175)
    assert psnr(a, b).item() == pytest.approx(10 * math.log10(4 / 0.25))


def test_identical_images():
    x = torch.rand(2, 1, 20, 20)
    assert ssim(x, x).tolist() == pytest.approx([1, 1])
    assert psnr(x, x).tolist() == [math.inf, math.inf]


def test_ssim_is_per_image_and_has_a_gradient():
    x = torch.rand(3, 1, 16, 16)
    y = (x + 0.1 * torch.rand_like(x)).clamp(0, 1).requires_grad_()
    found = ssim(x, y)
    assert found[1].item() == pytest.approx(ssim(x[1:2], y[1:2]).item(), abs=1e-12)
    (slope,) = torch.autograd.grad(found.sum(), y)
    assert torch.isfinite(slope).all()
    assert (ssim(x, y + 0.01 * slope / slope.abs().amax()) > found).all()


def test_small_images_take_a_smaller_window():
    a, b = torch.rand(2, 1, 1, 3, 3, dtype=torch.float64)
    side = torch.exp(-0.5 * (torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64) / 1.5) ** 2)
    weights = torch.outer(side, side) / torch.outer(side, side).sum()
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    both = (weights * (a - mean_a) * (b - mean_b)).sum()
    above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
    below = (mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)
    assert ssim(a, b).item() == pytest.approx((above / below).item(), abs=1e-12)


@pytest.mark.parametrize("other", [torch.rand(1, 1, 8, 9), torch.rand(2, 1, 8, 8), torch.rand(8, 8)])
def test_shapes_must_agree(other):
    for distance in (ssim, linf):
        with pytest.raises(BadInput, match="one shape"):
            distance(torch.rand(1, 1, 8, 8), other)
