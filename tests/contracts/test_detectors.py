# SPDX-License-Identifier: Apache-2.0
"""What every registered detector keeps, whoever wrote it."""

from dataclasses import dataclass

import pytest
import torch

from radproof.core.rng import generator
from radproof.detectors import detector
from radproof.errors import BadInput

RECIPES = list(detector)


@dataclass(frozen=True)
class Model:
    """A softmax over two fixed random patterns, for any size of image."""

    labels: tuple[str, ...] = ("Normal", "Pneumonia")
    head: str = "softmax"
    micro_batch: int = 6

    def __call__(self, x):
        assert len(x) <= self.micro_batch
        pattern = torch.randn(2, x[0, 0].numel(), generator=generator(0))
        return 0.2 * x.mean(1).flatten(1) @ pattern.T


def clean(n, channels=1, side=(24, 20), seed=0):
    rng = generator(seed, "clean")
    coarse = torch.rand(n, channels, 4, 4, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear", align_corners=True)
    return (0.1 + 0.8 * smooth + 0.01 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: recipe.name)
def part(request):
    return request.param.make({})


@pytest.fixture(scope="module")
def fitted(part):
    return part.fit(Model(), clean(30))


def test_the_registry_holds_the_two():
    assert [recipe.name for recipe in RECIPES] == ["consistency", "frequency"]


def test_scores_are_one_finite_number_per_image_and_repeat(fitted):
    x = clean(7, seed=1)
    before = x.clone()
    scores = fitted.score(x)
    assert scores.shape == (7,)
    assert scores.dtype == torch.float64
    assert torch.isfinite(scores).all()
    assert torch.equal(fitted.score(x), scores)
    assert torch.equal(x, before)


def test_an_image_does_not_depend_on_its_batch(fitted):
    x = clean(7, seed=1)
    alone = torch.cat([fitted.score(x[row : row + 1]) for row in range(7)])
    assert torch.allclose(fitted.score(x), alone, rtol=1e-4, atol=1e-4)


def test_fitting_twice_gives_the_same(part, fitted):
    again = part.fit(Model(), clean(30))
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in fitted.state().items())


def test_state_is_restored_to_the_bit(part, fitted):
    restored = part.restore(Model(), fitted.state())
    assert torch.equal(restored.score(clean(4, seed=2)), fitted.score(clean(4, seed=2)))


def test_another_state_is_refused(part, fitted):
    with pytest.raises(BadInput, match="fit this one again"):
        part.restore(Model(), {"other": torch.zeros(3)})
    with pytest.raises(BadInput, match="refit it"):
        part.restore(Model(), {name: tensor[1:] for name, tensor in fitted.state().items()} | {"centre": torch.ones(1)})


def test_colour_is_scored_too(part):
    fitted = part.fit(Model(), clean(24, channels=3))
    assert torch.isfinite(fitted.score(clean(3, channels=3, seed=1))).all()


def test_grey_in_three_channels_scores_as_grey(fitted):
    x = clean(4, seed=3)
    assert torch.allclose(fitted.score(x.expand(-1, 3, -1, -1)), fitted.score(x), rtol=0.05)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_image_has_a_score(fitted, value):
    assert torch.isfinite(fitted.score(torch.full((2, 1, 24, 20), value))).all()


def test_constant_images_alone_can_be_fitted(part):
    fitted = part.fit(Model(), torch.full((20, 1, 16, 16), 0.5))
    assert torch.isfinite(fitted.score(clean(2, side=(16, 16)))).all()


def test_odd_sizes(part):
    fitted = part.fit(Model(), clean(20, side=(17, 31)))
    assert torch.isfinite(fitted.score(clean(2, side=(17, 31)))).all()


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(24, 20),
        torch.rand(1, 2, 24, 20),
        torch.rand(1, 1, 15, 40),
        torch.full((2, 1, 24, 20), torch.nan),
        torch.full((2, 1, 24, 20), torch.inf),
        torch.zeros(1, 1, 24, 20, dtype=torch.uint8),
    ],
    ids=["no batch", "two channels", "small", "nan", "infinite", "integers"],
)
def test_what_is_no_image_is_refused(part, fitted, wrong):
    with pytest.raises(BadInput, match=r"expected|not numbers"):
        fitted.score(wrong)
    with pytest.raises(BadInput, match=r"expected|not numbers"):
        part.fit(Model(), wrong)


def test_too_few_images_teach_nothing(part):
    with pytest.raises(BadInput, match="at least 20 clean images, got 19"):
        part.fit(Model(), clean(19))
