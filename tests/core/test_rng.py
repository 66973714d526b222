"""Seeds depend on what is named and on nothing else."""

import torch

from radproof.core.rng import generator, normal_like, numpy_generator, seed_for, uniform_like


def test_seeds_are_stable_across_machines():
    assert seed_for(1, "sia", 4 / 255, 0) == 7955099355488689502


def test_different_parts_give_different_streams():
    draws = {torch.rand((), generator=generator(1, "sia", batch)).item() for batch in range(50)}
    assert len(draws) == 50
    assert numpy_generator(1, "a").random() == numpy_generator(1, "a").random()


def test_draws_have_the_shape_and_the_range_asked_for():
    x = torch.zeros(4, 1, 8, 8)
    u = uniform_like(x, 0.5, generator(0))
    assert u.shape == x.shape
    assert u.abs().max() <= 0.5
    assert abs(float(normal_like(torch.zeros(10_000), 2.0, generator(0)).std()) - 2.0) < 0.1
