# SPDX-License-Identifier: Apache-2.0
"""What every registered defence keeps, whoever wrote it."""

import pytest
import torch

from radproof.core.rng import generator
from radproof.defenses import defense
from radproof.defenses.bit_depth import BitDepth
from radproof.defenses.noise import Noise
from radproof.defenses.random_resize_pad import RandomResizePad
from radproof.defenses.style import StyleRandomisation
from radproof.errors import BadInput, BadPlan

RECIPES = list(defense)
CHEAPER = {"nl_means": {"search": 5}, "tvm_masked": {"gap": 0.1}}
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
    return request.param.make(CHEAPER.get(request.param.name, {}))


def test_the_registry_holds_these():
    assert [recipe.name for recipe in RECIPES] == [
        "bit_depth", "compose", "jpeg", "jpeg_tvm", "median", "nl_means", "noise", "random_resize_pad", "style", "tvm",
        "tvm_masked", "wavelet",
    ]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_answer_is_images_like_those_given_which_stay_as_they_were(part, shape):
    x = images(shape)
    before = x.clone()
    y = part(x, rng=generator(0))
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    assert 0 <= y.min() <= y.max() <= 1
    assert torch.equal(x, before)
    if min(shape[2:]) > 1:  # a line of pixels may be its own median
        assert not torch.equal(y, x)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 15, 16])
def test_small_sides_are_cleaned_too(part, side):
    for shape in [(1, 1, side, side), (1, 3, side, 17)]:
        x = images(shape).requires_grad_()
        assert part(x, rng=generator(0)).shape == x.shape
        (slope,) = torch.autograd.grad(part.surrogate(x, rng=generator(0)).sum(), x)
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_is_kept(part, dtype):
    x = images((2, 1, 16, 16)).to(dtype)
    real, twin = part(x, rng=generator(0)), part.surrogate(x, rng=generator(0))
    assert real.dtype == twin.dtype == dtype


def test_deterministic_means_the_same_bytes_from_any_generator(part):
    x = images((2, 1, 33, 20))
    first, again, other = (part(x, rng=generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == part.deterministic


def test_what_it_says_of_itself_is_consistent(part):
    assert part.ways in [("identity",), ("twin",), ("identity", "twin")]
    assert part.votes >= 1
    if part.deterministic:
        assert part.votes == 1
    if not part.differentiable:
        assert part.ways != ("twin",) or not part.deterministic


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_does_not_depend_on_its_batch(part, channels):
    x = images((5, channels, 33, 20))
    together = part(x, rng=generator(0))
    assert torch.equal(part(x[:3], rng=generator(0)), together[:3])
    others = torch.cat([images((4, channels, 33, 20), seed=7), x[4:]])
    assert torch.equal(part(others, rng=generator(0))[4], together[4])
    if part.deterministic:
        for row in range(5):
            assert torch.equal(part(x[row : row + 1], rng=generator(0)), together[row : row + 1])


def test_equal_images_of_a_batch_get_draws_of_their_own(part):
    x = images((1, 1, 33, 20)).expand(2, -1, -1, -1)
    one, other = part(x, rng=generator(0))
    assert torch.equal(one, other) == part.deterministic


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
    if part.differentiable:
        assert torch.equal(twin.detach(), real)


def test_the_gradient_of_what_is_differentiable_is_its_slope(part):
    if not part.differentiable:
        return
    x, along = images((1, 1, 9, 12)).double(), torch.randn(1, 1, 9, 12, generator=generator(2)).double()
    weights = torch.randn(1, 1, 9, 12, generator=generator(1)).double()

    def value(t):
        return (part.surrogate(x + t * along, rng=generator(0)) * weights).sum()

    at = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(value(at), at)
    measured = (value(1e-6) - value(-1e-6)) / 2e-6
    assert float(slope) == pytest.approx(float(measured), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.4])
def test_a_filter_leaves_a_constant_image_as_it_is(part, value):
    x = torch.full((1, 1, 20, 20), value).requires_grad_()
    if not isinstance(part, Noise | RandomResizePad | StyleRandomisation):
        step = 31 if isinstance(part, BitDepth) else 255
        assert (part(x, rng=generator(0)) - x).abs().max() <= 0.5 / step + 1e-6
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
    with pytest.raises(BadPlan, match="no parameter 'vigour'"):
        recipe.make({"vigour": 1})
    for name in recipe.params.model_fields:
        with pytest.raises(BadPlan, match=name):
            recipe.make({name: -1})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_presets_are_complete_and_valid(recipe):
    assert set(recipe.presets) in [set(), {"quick", "published", "exhaustive"}]
    votes = [recipe.make({}, preset=preset).votes for preset in ("quick", "published", "exhaustive")]
    assert votes == sorted(votes)
