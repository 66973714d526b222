# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.rof import rof, rof_twin


def noisy(n, h, w, seed=0, dtype=torch.float64):
    rng = generator(seed, "rof")
    steps = (torch.arange(w) > w // 2).to(dtype).mul(0.5).add(0.2)
    return (steps + 0.05 * torch.randn(n, h, w, generator=rng, dtype=dtype)).clamp(0, 1)


def test_two_pixels_by_hand():
    # min ½(u1)² + ½(u2 - 1)² + w |u2 - u1|: each moves w towards the other, until they meet
    f = torch.tensor([[[0.0, 1.0]]], dtype=torch.float64)
    for w, expected in ((0.1, [0.1, 0.9]), (0.7, [0.5, 0.5])):
        solved = rof(f, w, gap=1e-9, max_iterations=5000)
        assert solved.u.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_column_is_a_row_turned():
    f = noisy(1, 5, 40)
    across = rof(f, 0.05, gap=1e-7, max_iterations=20000).u
    down = rof(f.transpose(1, 2).contiguous(), 0.05, gap=1e-7, max_iterations=20000).u
    # isotropic TV on forward differences is symmetric under transposition
    assert (across - down.transpose(1, 2)).abs().max() < 1e-3


@pytest.mark.parametrize("gap", [0.1, 1e-2, 1e-3])
def test_the_gap_is_kept_and_bounds_the_error(gap):
    f = noisy(3, 40, 48)
    solved = rof(f, 0.05, gap=gap, max_iterations=5000)
    exact = rof(f, 0.05, gap=1e-6, max_iterations=50_000)
    assert (solved.gap <= gap).all()
    across, down = solved.u.diff(dim=2), solved.u.diff(dim=1)
    length = torch.zeros_like(f)
    length[:, :, :-1] += across**2
    length[:, :-1] += down**2
    objective = 0.5 * (solved.u - f).square().sum((1, 2)) + 0.05 * length.sqrt().sum((1, 2))
    assert (0.5 * (solved.u - exact.u).square().sum((1, 2)) <= solved.gap * objective + 1e-6).all()


def test_a_tighter_gap_costs_more_and_each_image_stops_by_itself():
    easy, hard = noisy(1, 40, 40) * 0 + 0.3, noisy(1, 40, 40)
    both = rof(torch.cat([easy, hard]), 0.05, gap=1e-4, max_iterations=5000)
    assert both.iterations[0] < both.iterations[1]
    assert both.gap[0] == 0
    looser = rof(hard, 0.05, gap=1e-2, max_iterations=5000)
    assert looser.iterations[0] < both.iterations[1]


def test_giving_up_says_how_far_it_got():
    solved = rof(noisy(1, 40, 40), 0.05, gap=1e-5, max_iterations=7)
    assert solved.iterations.tolist() == [7]
    assert solved.gap[0] > 1e-5


def test_together_on_an_accelerator_images_that_are_done_leave(monkeypatch):
    f = torch.cat([noisy(1, 36, 40), torch.full((1, 36, 40), 0.5, dtype=torch.float64), noisy(1, 36, 40, 1)])
    alone = rof(f, 0.05, gap=1e-3, max_iterations=500)
    from radproof.defenses.rof import Solution, _solve

    n = len(f)
    found = Solution(torch.empty_like(f), f.new_empty(n, 2, 36, 40), f.new_empty(n), torch.empty(n, dtype=torch.long))
    _solve(f, 0.05, 1e-3, 500, found, 0)
    assert torch.allclose(found.u, alone.u, atol=1e-9)
    assert found.iterations.tolist() == alone.iterations.tolist()


def test_the_mean_is_kept_and_the_range_not_left():
    f = noisy(2, 33, 47)
    u = rof(f, 0.1, gap=1e-4, max_iterations=5000).u
    assert torch.allclose(u.mean((1, 2)), f.mean((1, 2)), atol=1e-9)
    assert (u.amin((1, 2)) >= f.amin((1, 2)) - 1e-4).all()
    assert (u.amax((1, 2)) <= f.amax((1, 2)) + 1e-4).all()


def test_the_twin_stays_at_the_solution_and_its_slope_is_the_solutions():
    f = noisy(1, 24, 24)
    w = 0.03
    dual = rof(f, w, gap=1e-7, max_iterations=100_000).dual
    x = f.clone().requires_grad_()
    twin = rof_twin(x, dual, w, steps=60)
    weights = torch.nn.functional.avg_pool2d(torch.randn(1, 1, 24, 24, generator=generator(3)), 5, 1, 2)[0].double()
    (slope,) = torch.autograd.grad((twin * weights).sum(), x)
    move = 1e-5 * weights / weights.norm()
    ends = [rof(f + sign * move, w, gap=1e-8, max_iterations=200_000).u for sign in (1, -1)]
    measured = ((ends[0] - ends[1]) * weights).sum() / 2e-5
    assert (twin - rof(f, w, gap=1e-7, max_iterations=100_000).u).abs().max() < 1e-3
    assert (slope * weights).sum() / weights.norm() == pytest.approx(measured.item(), rel=0.2)
