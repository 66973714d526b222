# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from radproof.core.rng import generator
from radproof.detectors.squeezers import WORDS, SmallerAndBack, squeezers

RNG = generator(0)


def smooth(*shape):
    coarse = torch.rand(*shape[:2], 3, 3, generator=generator(1))
    return torch.nn.functional.interpolate(coarse, size=shape[2:], mode="bilinear")


def test_every_squeezer_has_its_words():
    assert list(squeezers()) == list(WORDS)


@pytest.mark.parametrize("name", list(WORDS))
@pytest.mark.parametrize("shape", [(2, 1, 16, 23), (1, 3, 17, 16)])
def test_they_keep_shape_and_range_and_change_little(name, shape):
    x = smooth(*shape)
    y = squeezers()[name](x, rng=RNG)
    assert y.shape == x.shape
    assert 0 <= y.min() <= y.max() <= 1
    assert 0 < (y - x).abs().mean() < 0.05


@pytest.mark.parametrize("name", list(WORDS))
def test_their_twins_are_near_and_have_a_gradient(name):
    part, x = squeezers()[name], smooth(2, 1, 32, 32).requires_grad_()
    twin = part.surrogate(x, rng=RNG)
    assert (twin - part(x, rng=RNG)).abs().mean() < 0.004
    (slope,) = torch.autograd.grad((twin * torch.arange(32.0)).sum(), x)
    assert slope.isfinite().all()
    assert (slope.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", list(WORDS))
def test_an_images_view_does_not_depend_on_its_batch(name):
    x = smooth(3, 1, 24, 24)
    part = squeezers()[name]
    alone = torch.cat([part(one, rng=RNG) for one in x.split(1)])
    assert torch.equal(part(x, rng=RNG), alone)


@pytest.mark.parametrize("name", list(WORDS))
def test_looking_draws_nothing(name):
    x, rng = smooth(1, 1, 16, 16), generator(5)
    before = rng.get_state()
    first = squeezers()[name](x, rng=rng)
    assert torch.equal(rng.get_state(), before)
    assert torch.equal(squeezers()[name](x, rng=generator(6)), first)


def test_a_smaller_image_keeps_what_is_flat_and_loses_a_checkerboard():
    part = SmallerAndBack()
    flat = torch.full((1, 1, 20, 20), 0.3)
    assert torch.allclose(part(flat, rng=RNG), flat, atol=1e-6)
    checkers = torch.zeros(1, 1, 40, 40)
    checkers[..., ::2, 1::2] = checkers[..., 1::2, ::2] = 1
    assert part(checkers, rng=RNG).std() < 0.5 * checkers.std()
