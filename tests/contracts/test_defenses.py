# SPDX-License-Identifier: Apache-2.0
"""What every registered defence keeps, whoever wrote it."""

import pytest
import torch
from pydantic import ValidationError

from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.errors import BadInput, BadPlan

RECIPES = list(defense)
SHAPES = [(2, 1, 24, 32), (2, 3, 24, 32), (2, 1, 17, 23), (2, 3, 17, 23), (1, 1, 1, 5), (1, 1, 40, 40)]


def images(shape, seed=0):
    """Smooth shades with a little noise, as a radiograph has; the channels differ."""
    rng = generator(seed, "images")
    n, c, h, w = shape
    coarse = torch.rand(n, c, 3, 3, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(h, w), mode="bilinear", align_corners=True)
    return (0.1 + 0.8 * smooth + 0.02 * torch.randn(shape, generator=rng)).clamp(0, 1)


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def part(request):
    return request.param.make({})


def test_the_registry_holds_the_three():
    assert [recipe.name for recipe in RECIPES] == ["jpeg", "jpeg_tvm", "tvm"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_answer_is_images_like_those_given_which_stay_as_they_were(part, shape):
    x = images(shape)
    before = x.clone()
    y = part(x, rng=generator(0))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(x, before)
    assert not torch.equal(y, x)


def test_deterministic_means_the_same_bytes_from_any_generator(part):
    x = images((2, 1, 33, 20))
    if part.deterministic:
        assert torch.equal(part(x, rng=generator(0)), part(x, rng=generator(1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_batch(part, channels):
    x = images((5, channels, 33, 20))
    together = part(x, rng=generator(0))
    for row in range(5):
        assert torch.equal(part(x[row : row + 1], rng=generator(0)), together[row : row + 1])


def test_grey_stays_grey_in_three_channels(part):
    x = images((2, 1, 32, 32))
    grey, colour = (part(v, rng=generator(0)) for v in (x, x.expand(-1, 3, -1, -1)))
    assert (colour - grey).abs().max() <= 3 / 255  # a codec's colour conversion rounds


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_the_twin_answers_nearly_the_same_and_has_a_gradient(part, shape):
    x = images(shape).requires_grad_()
    real, twin = part(x, rng=generator(0)), part.surrogate(x, rng=generator(0))
    assert not real.requires_grad
    assert twin.shape == real.shape
    assert (twin - real).abs().mean() < 1 / 255
    (slope,) = torch.autograd.grad((twin * torch.randn(shape, generator=generator(1))).sum(), x)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_a_constant_image_stays_what_it_is(part, value):
    x = torch.full((1, 1, 20, 20), value).requires_grad_()
    assert (part(x, rng=generator(0)) - x).abs().max() <= 0.5 / 255 + 1e-6
    (slope,) = torch.autograd.grad(part.surrogate(x, rng=generator(0)).sum(), x)
    assert torch.isfinite(slope).all()


def test_no_image_gives_no_image(part):
    x = torch.zeros(0, 1, 8, 8)
    assert part(x, rng=generator(0)).shape == part.surrogate(x, rng=generator(0)).shape == x.shape


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(8, 8),
        torch.rand(1, 4, 8, 8),
        torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
        torch.full((2, 1, 8, 8), torch.nan),
        torch.full((1, 1, 8, 8), 255.0),
    ],
    ids=["no batch", "four channels", "integers", "nan", "0 to 255"],
)
def test_what_is_no_image_is_refused(part, wrong):
    for clean in (part, part.surrogate):
        with pytest.raises(BadInput, match=r"expected|not numbers"):
            clean(wrong, rng=generator(0))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_parameters_are_checked_by_name(recipe):
    with pytest.raises(BadPlan, match="no parameter 'strength'"):
        recipe.make({"strength": 1})
    with pytest.raises((BadPlan, ValidationError), match=r"quality|lam"):
        recipe.make({"quality": 0} if "quality" in recipe.params.model_fields else {"lam": -1})
