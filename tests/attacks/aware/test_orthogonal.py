# SPDX-License-Identifier: Apache-2.0
"""Projections of one gradient beside another; that it fools unseen is tested with `evasion`."""

import pytest
import torch

from radproof.attacks.aware.orthogonal import Orthogonal, beside


def pair(*rows):
    return torch.tensor(rows, dtype=torch.float64).view(len(rows), 1, 1, -1)


def test_what_is_left_is_orthogonal_image_by_image():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 1, 5, 5, generator=rng, dtype=torch.float64)
    rest = beside(a, b)
    assert (rest * b).sum((1, 2, 3)).abs().max() < 1e-12
    assert ((rest * a).sum((1, 2, 3)) > 0).all()
    assert torch.allclose(rest[1:2], beside(a[1:2], b[1:2]))


def test_lengths_do_not_matter():
    a, b = pair((1.0, 1.0)), pair((1.0, 0.0))
    assert beside(a, b).flatten().tolist() == [0.0, 1.0]
    assert beside(a * 1e-200, b * 1e150).flatten().tolist() == pytest.approx([0.0, 1.0])


def test_of_parallel_gradients_all_is_taken_and_of_none_nothing():
    a = pair((1.0, -1.0), (1.0, -1.0), (0.0, 0.0))
    b = pair((-3.0, 3.0), (0.0, 0.0), (1.0, 2.0))
    assert beside(a, b).flatten(1).tolist() == [[1, -1], [1, -1], [0, 0]]


def watched(here, measure, steps, *settings):
    """What was measured on the way of one image."""
    seen = []

    def suspicion(z):
        values = measure(z)
        seen.append(float(values.detach()))
        return values

    Orthogonal(here.watch(suspicion), here.eps, steps, *settings)(here, here.x, here.goal, rng=torch.Generator())
    return seen


@pytest.mark.parametrize(("projection", "still"), [("orthogonal", True), ("selective", False)])
def test_steps_for_the_model_leave_the_detector_as_it_is_if_projected(world, projection, still):
    here = world(shares=(0.9,))
    seen = watched(here, lambda z: (z * here.checker).mean((1, 2, 3)), 4, projection, 100.0)
    assert (max(map(abs, seen)) < 1e-12) == still


@pytest.mark.parametrize("confidence", [0.1, 3.0])
def test_it_turns_to_the_detector_once_fooled_with_confidence(world, confidence):
    here = world(shares=(0.5,))
    seen = watched(here, lambda z: here(z).diff(dim=1).flatten(), 60, "selective", confidence)
    assert max(seen) > confidence
    assert sum(seen[-15:]) / 15 == pytest.approx(confidence, abs=1.5)


@pytest.mark.parametrize(("projection", "still"), [("orthogonal", True), ("selective", False)])
def test_steps_for_the_detector_leave_the_model_as_it_is_if_projected(world, projection, still):
    here, margins = world(shares=(-0.9,)), []

    def suspicion(z):
        margins.append(float(here.margin(z.detach())))
        return (z * here.checker).mean((1, 2, 3))

    attack = Orthogonal(here.watch(suspicion), here.eps, 4, projection, 0.0)
    attack(here, here.x, here.goal, rng=torch.Generator())
    assert (abs(margins[1] - margins[0]) < 1e-12) == still  # later steps meet the budget's border
