# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from radproof.core.rng import generator
from radproof.defenses.masked_rof import masked_rof
from radproof.defenses.rof import rof
from radproof.defenses.tvm_masked import TvmMasked

TIGHT = {"gap": 1e-5, "max_iterations": 20_000}


def planes(n=1, height=12, width=9):
    coarse = torch.rand(n, 1, 3, 3, generator=generator(1), dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=True)[:, 0]
    return (smooth + 0.05 * torch.randn(n, height, width, generator=generator(2), dtype=torch.float64)).clamp(0, 1)


def masks(f, drop=0.5):
    return (torch.rand(f.shape, generator=generator(3), dtype=f.dtype) >= drop).to(f)


def objective(u, f, kept, lam, softly=0.0):
    """Written anew: isotropic TV, forward differences, 0 at the far edge."""
    right, down = np.diff(u, axis=1, append=u[:, -1:]), np.diff(u, axis=0, append=u[-1:])
    return (kept * (u - f) ** 2).sum() + lam * np.sqrt(right**2 + down**2 + softly**2).sum()


@pytest.mark.parametrize("lam", [0.02, 0.2])
def test_with_all_pixels_kept_it_is_the_plain_problem(lam):
    f = planes(2, 20, 17)
    found = masked_rof(f, torch.ones_like(f), lam, **TIGHT)
    exact = rof(f, lam / 2, gap=1e-8, max_iterations=50_000)
    assert (found.gap <= 1e-5).all()
    assert (found.u - exact.u).abs().max() < 3e-3


@pytest.mark.parametrize("lam", [0.02, 0.2])
def test_with_pixels_missing_another_solver_gets_no_lower(lam):
    f = planes(1, 6, 5)
    kept = masks(f)
    found = masked_rof(f, kept, lam, **TIGHT)
    ours = objective(found.u[0].numpy(), f[0].numpy(), kept[0].numpy(), lam)

    def cost(u):
        return objective(u.reshape(6, 5), f[0].numpy(), kept[0].numpy(), lam, softly=1e-5)

    theirs = minimize(cost, found.u[0].numpy().ravel() + 0.01, method="L-BFGS-B", options={"maxfun": 10_000}).fun
    assert ours <= theirs * (1 + 1e-5)
    far = minimize(cost, np.full(30, 0.5), method="L-BFGS-B", options={"maxfun": 30_000, "maxiter": 1000}).fun
    assert ours == pytest.approx(far, rel=0.02)


def test_the_gap_bounds_how_far_the_objective_is_from_the_best():
    f = planes(1, 24, 24)
    kept = masks(f)
    values = {}
    for gap in (0.3, 0.03, 1e-5):
        found = masked_rof(f, kept, 0.05, gap=gap, max_iterations=20_000)
        values[gap] = objective(found.u[0].numpy(), f[0].numpy(), kept[0].numpy(), 0.05)
        assert float(found.gap) <= gap
        assert (found.dual.square().sum(1).sqrt() <= 0.05 + 1e-9).all()
    for gap, value in values.items():
        assert value - values[1e-5] <= (gap + 1e-5) * value


def test_it_gives_up_where_told_and_says_how_far_it_got():
    f = planes(1, 24, 24)
    found = masked_rof(f, masks(f), 0.05, gap=1e-9, max_iterations=15)
    assert float(found.iterations) == 15
    assert float(found.gap) > 1e-9


def test_what_was_dropped_does_not_matter():
    f = planes(1, 20, 20)
    kept = masks(f)
    other = torch.where(kept > 0, f, 1 - f)
    assert torch.equal(masked_rof(f, kept, 0.03, gap=1e-3, max_iterations=500).u,
                       masked_rof(other, kept, 0.03, gap=1e-3, max_iterations=500).u)  # fmt: skip
    x = f[:, None].clone().requires_grad_()
    defended = TvmMasked(lam=0.03)
    solved, mask = defended.solve(x, rng=generator(4))
    weights = torch.randn(x.shape, generator=generator(5), dtype=x.dtype)
    (slope,) = torch.autograd.grad((defended.surrogate(x, rng=generator(4)) * weights).sum(), x)
    assert bool((slope[0, 0][mask[0] == 0] == 0).all())
    assert float((slope[0, 0][mask[0] > 0] != 0).double().mean()) > 0.9
    assert len(solved.u) == 1


def test_holes_of_a_ramp_are_filled_in_between():
    ramp = torch.linspace(0.2, 0.8, 40, dtype=torch.float64).expand(1, 40, 40)
    u = masked_rof(ramp, masks(ramp), 0.001, gap=1e-4, max_iterations=5000).u
    assert (u - ramp).abs().mean() < 0.01


def test_the_twin_follows_the_solution():
    """Its gradient is the implicit one: what a small step of the pixels does to the solved image."""
    x = planes(1, 10, 10)[:, None].requires_grad_()
    defended = TvmMasked(lam=0.05, gap=1e-5, max_iterations=20_000, unrolled=300)
    weights = torch.randn(x.shape, generator=generator(5), dtype=x.dtype)
    (slope,) = torch.autograd.grad((defended.surrogate(x, rng=generator(4)) * weights).sum(), x)
    along = slope / slope.norm()
    ends = [float((defended(x.detach() + t * along, rng=generator(4)) * weights).sum()) for t in (0.02, -0.02)]
    assert (ends[0] - ends[1]) / 0.04 == pytest.approx(float(slope.norm()), rel=0.25)


@pytest.mark.parametrize("drop", [0.2, 0.5, 0.8])
def test_pixels_are_dropped_as_often_as_asked_and_in_all_channels(drop):
    x = torch.rand(2, 3, 60, 60, generator=generator(1))
    _, kept = TvmMasked(drop=drop, max_iterations=1).solve(x, rng=generator(0))
    assert float(kept.mean()) == pytest.approx(1 - drop, abs=0.03)
    assert torch.equal(kept[0], kept[1])
    assert not torch.equal(kept[0], kept[3])


def test_nothing_kept_is_mid_grey():
    f = planes(1, 3, 3)
    assert torch.equal(masked_rof(f, torch.zeros_like(f), 0.03, gap=1e-2, max_iterations=9).u, torch.full_like(f, 0.5))
