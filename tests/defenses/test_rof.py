# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses.rof import Solution, _solve, rof, rof_twin
from radproof.defenses.rof_levels import _double, begin, levels_for


def noisy(n, h, w, seed=0, dtype=torch.float64):
    rng = generator(seed, "rof")
    steps = (torch.arange(w) > w // 2).to(dtype).mul(0.5).add(0.2)
    return (steps + 0.05 * torch.randn(n, h, w, generator=rng, dtype=dtype)).clamp(0, 1)


def variation(u):
    """Isotropic total variation of all planes together."""
    length = torch.zeros_like(u)
    length[:, :, :-1] += u.diff(dim=2) ** 2
    length[:, :-1] += u.diff(dim=1) ** 2
    return length.sqrt().sum()


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


def test_together_on_an_accelerator_images_that_are_done_leave():
    f = torch.cat([noisy(1, 70, 65), torch.full((1, 70, 65), 0.5, dtype=torch.float64), noisy(1, 70, 65, 1)])
    alone = rof(f, 0.05, gap=1e-3, max_iterations=500)
    n, h, w = f.shape
    found = Solution(torch.empty_like(f), f.new_empty(n, 2, h, w), f.new_empty(n), torch.empty(n, dtype=torch.long))
    levels, steps = levels_for(f, 0.05, 1e-3)
    begin(levels, f, steps)
    _solve(levels[0], 1e-3, 500, found, 0, first=4)
    assert torch.allclose(found.u, alone.u, atol=1e-9)
    assert torch.allclose(found.dual, alone.dual, atol=1e-9)
    assert found.iterations.tolist() == alone.iterations.tolist()
    assert found.iterations.unique().numel() > 1


def test_an_image_does_not_depend_on_the_others_in_its_batch():
    f = torch.cat([noisy(1, 70, 65, seed) for seed in range(3)]).float()
    together = rof(f, 0.05, gap=1e-2, max_iterations=500)
    for row in range(3):
        alone = rof(f[row : row + 1], 0.05, gap=1e-2, max_iterations=500)
        assert torch.equal(alone.u[0], together.u[row])
        assert torch.equal(alone.dual[0], together.dual[row])


@pytest.mark.parametrize("side", [(64, 96), (65, 71), (70, 129), (130, 64)], ids=str)
def test_coarse_levels_help_and_leave_the_answer_where_it_is(side, monkeypatch):
    f = noisy(1, *side)
    helped = rof(f, 0.05, gap=1e-3, max_iterations=5000)
    monkeypatch.setattr("radproof.defenses.rof_levels._SMALLEST_SIDE", 1000)
    plain = rof(f, 0.05, gap=1e-3, max_iterations=5000)
    assert helped.iterations[0] < 0.85 * plain.iterations[0]
    objective = 0.5 * (plain.u - f).square().sum() + 0.05 * variation(plain.u)
    assert 0.5 * (helped.u - plain.u).square().sum() <= 4 * 1e-3 * objective


@pytest.mark.parametrize("side", [(64, 66), (65, 67)], ids=str)
def test_doubling_a_smooth_field_keeps_it(side):
    # a field that is linear in position, drawn at both resolutions: edges lie on every second fine edge
    h, w = ((n + 1) // 2 for n in side)
    rows, columns = torch.arange(h, dtype=torch.float64)[:, None], torch.arange(w, dtype=torch.float64)[None]
    across, down = (
        0.01 * (2 * rows + 0.5) + 0.02 * (2 * columns + 1),
        0.03 * (2 * rows + 1) - 0.01 * (2 * columns + 0.5),
    )
    fine = torch.empty(2, 1, *side, dtype=torch.float64)
    _double(torch.stack([across, down])[:, None], fine)
    rows, columns = torch.arange(side[0])[:, None], torch.arange(side[1])[None]
    inner = (slice(2, -2), slice(2, -2))
    assert torch.allclose(fine[0, 0][inner], (0.01 * rows + 0.02 * columns)[inner].double(), atol=1e-12)
    assert torch.allclose(fine[1, 0][inner], (0.03 * rows - 0.01 * columns)[inner].double(), atol=1e-12)


def test_steps_stay_stable_for_thousands_of_iterations():
    # the checkerboard is the mode of the largest step; a hair too long a step and the momentum blows it up
    f = 0.5 + 0.1 * (-1.0) ** (torch.arange(40)[:, None] + torch.arange(40)[None])[None].double()
    solved = rof(f, 0.2, gap=1e-12, max_iterations=290)
    assert solved.gap[0] < 1e-3
    assert (solved.u - 0.5).abs().max() < 1e-3


def test_the_reported_gap_is_that_of_the_returned_pair():
    f, w = noisy(2, 64, 70), 0.05
    solved = rof(f, w, gap=1e-2, max_iterations=500)
    across, down = solved.dual[:, 0], solved.dual[:, 1]
    assert (across.square() + down.square()).amax() <= w * w * (1 + 1e-12)
    assert not across[:, :, -1].any()
    assert not down[:, -1].any()
    div = across - torch.nn.functional.pad(across, (1, 0))[:, :, :-1]
    div += down - torch.nn.functional.pad(down, (0, 0, 1, 0))[:, :-1]
    assert torch.allclose(solved.u, f + div, atol=1e-12)
    # the dual objective is ½‖f‖² − ½‖f + div p‖²
    for row in range(2):
        primal = 0.5 * (solved.u[row] - f[row]).square().sum() + w * variation(solved.u[row : row + 1])
        dual = 0.5 * (f[row].square().sum() - solved.u[row].square().sum())
        assert ((primal - dual) / primal).item() == pytest.approx(solved.gap[row].item(), rel=1e-6)


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
