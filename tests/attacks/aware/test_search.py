# SPDX-License-Identifier: Apache-2.0
"""Walks, what is kept of them, and weights."""

import pytest
import torch

from radproof.attacks.aware.search import LEVEL, Kept, Weight, pace, rungs, walk


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def spot(value, n=1):
    return torch.full((n, 1, 1, 1), value)


def straight(slope):
    """A walk's slope that draws nobody back."""
    return lambda d: (slope(d), torch.zeros(len(d), dtype=torch.bool))


def test_the_step_is_halved_at_every_quarter():
    assert [pace(step, 8, 0.1) for step in range(8)] == [0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625]
    assert pace(0, 1, 0.1) == 0.5


def test_no_step_is_smaller_than_what_storing_can_show():
    assert [pace(step, 4, LEVEL) for step in range(4)] == [0.5, 0.25, 0.25, 0.25]
    assert pace(3, 4, LEVEL / 4) == 0.5


@pytest.mark.parametrize(
    ("eps", "walks", "radii"),
    [
        (8, 1, [8]),
        (8, 2, [4, 8]),
        (8, 3, [2, 4, 8]),
        (8, 8, [2, 2, 4, 4, 4, 8, 8, 8]),
        (2, 3, [1, 1, 2]),
        (0.5, 3, [0.5] * 3),
    ],
)
def test_the_radii_rise_to_the_budget_from_what_storing_can_show(eps, walks, radii):
    assert [radius / LEVEL for radius in rungs(eps * LEVEL, walks)] == pytest.approx(radii)


def test_a_walk_stays_in_ball_and_box_and_asks_at_all_but_the_last():
    x, asked = torch.tensor([0.5, 0.95]).view(2, 1, 1, 1), []
    slope = straight(lambda d: (asked.append(d.clone()), torch.ones_like(d))[1])
    found = walk(x, torch.zeros_like(x), 0.1, 4, slope)
    assert len(asked) == 4
    assert float(asked[0].abs().max()) == 0
    assert (x + found).flatten().tolist() == pytest.approx([0.5 + 0.1 * (0.5 + 0.25 + 0.125 + 0.0625), 1.0])


def test_momentum_outlives_a_single_turn():
    slopes = iter([1.0, 1.0, -1.0])
    found = walk(spot(0.5), spot(0.0), 0.1, 3, straight(lambda d: torch.full_like(d, next(slopes))))
    assert float(found) == pytest.approx(0.1 * (0.5 + 0.25 + 0.125))  # 0.75 * 1.75 - 1 still points forward


def test_who_is_drawn_back_comes_nearer_to_the_original():
    back = torch.tensor([True, False])
    found = walk(spot(0.5, 2), spot(0.1, 2), 0.1, 1, lambda d: (torch.zeros_like(d), back))
    assert found.flatten().tolist() == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ((True, 1.0, 0.0), (True, 0.4, 9.0)),  # slack before confidence
        ((True, 0.0, 0.0), (True, -0.1, 9.0)),  # unseen, exactly at the threshold
        ((True, -9.0, 0.0), (False, 9.0, 9.0)),
        ((True, 1.0, 2.0), (True, 2.0, 1.0)),  # equal ranks: the loss
        ((True, -1.0, 1.0), (True, -2.0, 9.0)),  # detected: the nearest to the threshold
        ((False, -1.0, 2.0), (False, 1.0, 1.0)),
    ],
)
def test_undetected_success_goes_before_success_and_success_before_loss(better, worse):
    for order in ((better, worse), (worse, better)):
        kept = Kept.none(spot(0.5))
        for fooled, room, loss in order:
            kept.unseen(spot(loss), torch.tensor([fooled]), numbers(room), 0.5, numbers(loss))
        assert float(kept.delta) == better[2]


def test_images_are_kept_one_by_one():
    kept = Kept.none(spot(0.5, 2))
    for value, rank in ((1.0, [1, 0]), (2.0, [0, 1])):
        kept.improve(spot(value, 2), torch.tensor(rank), numbers(0, 0))
    assert kept.delta.flatten().tolist() == [1.0, 2.0]


def test_a_hopeless_loss_is_still_kept_until_there_is_a_better():
    kept = Kept.none(spot(0.5))
    for value, loss in ((1.0, -torch.inf), (2.0, -5.0), (3.0, -torch.inf)):
        kept.improve(spot(value), torch.tensor([0]), numbers(loss))
    assert float(kept.delta) == 2.0


def test_weights_go_by_factors_until_bracketed_and_are_bisected_then():
    weight = Weight.of(torch.zeros(3, 1, 1, 1, dtype=torch.float64), 1.0)
    seen = []
    for more in ([True, False, True], [True, False, False], [False, True, False]):
        weight.adjust(torch.tensor(more))
        seen.append(weight.value.tolist())
    assert seen[0] == pytest.approx([10, 0.1, 10])
    assert seen[1] == pytest.approx([100, 0.01, 10**0.5])
    assert seen[2] == pytest.approx([1000**0.5, 0.001**0.5, 10**0.25])
    assert weight.over(torch.ones(3, 1, 2, 2))[:, 0, 0, 0].tolist() == pytest.approx(seen[2])
