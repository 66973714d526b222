# SPDX-License-Identifier: Apache-2.0
"""What every registered detector keeps, whoever wrote it. What it does with hostile images: tests/detectors."""

import pytest
import torch

from radproof.core.rng import generator
from radproof.detectors import detector
from radproof.detectors.fitted import fit, learn, restore, score_all, taught_on
from radproof.errors import BadInput
from radproof.models.zoo import build

RECIPES = list(detector)
PARTS = ["blocks", "consistency", "drift", "ensemble", "frequency", "lid", "mahalanobis", "novelty", "reconstruction"]


@pytest.fixture(scope="module")
def network():
    found = build("cxrnet", labels=("Normal", "Pneumonia", "Pneumothorax"), input_size=24, hidden=8, seed=1).freeze()
    found.micro_batch = 6
    return found


def clean(n, channels=1, side=(24, 20), seed=0):
    rng = generator(seed, "clean")
    coarse = torch.rand(n, channels, 4, 4, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear", align_corners=True)
    return (0.1 + 0.8 * smooth + 0.01 * torch.randn(smooth.shape, generator=rng)).clamp(0, 1)


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: recipe.name)
def part(request):
    quick = {"steps": 10} if "steps" in request.param.params.model_fields else {}
    return request.param.make(quick)


@pytest.fixture(scope="module")
def fitted(part, network):
    return fit(part, network, clean(30), {"noise": clean(24, seed=9)})


def test_the_registry_holds_the_nine():
    assert [recipe.name for recipe in RECIPES] == PARTS


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
    assert torch.allclose(fitted.score(x), alone, rtol=0.02, atol=0.02)  # a pass of one image rounds otherwise


def test_teaching_twice_gives_the_same(part, fitted, network):
    again = fit(part, network, clean(30), {"noise": clean(24, seed=9)})
    assert all(torch.equal(tensor, again.state()[name]) for name, tensor in fitted.state().items())


def test_state_is_restored(part, fitted, network):
    state = {name: tensor.clone() for name, tensor in fitted.state().items()}
    assert all(tensor.isfinite().all() for tensor in state.values())
    restored = restore(part, network, state)
    x = clean(4, seed=2)
    assert torch.allclose(restored.score(x), fitted.score(x), rtol=1e-4, atol=1e-4)  # some is stored in float32


def test_another_state_is_refused(part, network):
    with pytest.raises(BadInput, match="fit"):
        restore(part, network, {"other": torch.zeros(3)})


def test_measures_are_told_in_words_by_image(fitted):
    found = fitted.measures(clean(3, seed=4))
    assert found
    assert all(value.shape == (3,) and value.isfinite().all() for value in found.values())
    assert all(word[0].islower() or word[0].isupper() for word in found)


def test_the_attackers_suspicion_is_nearly_the_score_and_has_a_gradient(fitted):
    x = clean(6, seed=5)
    x = (x * 255).round() / 255
    leaf = x.clone().requires_grad_()
    soft = fitted.suspicion(leaf)
    (gradient,) = torch.autograd.grad(soft.sum(), leaf)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()
    hard = fitted.score(x)
    spread = fitted.score(clean(30)).std() + 0.05 * hard.abs().mean()
    assert ((soft.detach().double() - hard).abs() < 2 * spread).all()


def test_grey_in_three_channels_is_grey_or_is_refused(fitted):
    x = clean(4, seed=3)
    try:
        scores = fitted.score(x.expand(-1, 3, -1, -1))
    except BadInput as error:
        assert "channel" in str(error)  # noqa: PT017 - one of two right answers
    else:
        assert torch.allclose(scores, fitted.score(x), rtol=0.05, atol=0.05)


def test_odd_sizes(part, network):
    fitted = fit(part, network, clean(20, side=(17, 31)))
    assert torch.isfinite(fitted.score(clean(2, side=(17, 31)))).all()


def test_too_few_images_teach_nothing(part, network):
    with pytest.raises(BadInput, match="at least 20 clean images, got 19"):
        fit(part, network, clean(19))


def test_detectors_of_one_model_share_its_passes(network):
    passes = 0

    def counted(*_):
        nonlocal passes
        passes += 1

    handle = network.backbone.register_forward_hook(counted)
    stem = network.backbone.stem.register_forward_hook(counted)
    try:
        pieces = taught_on(network, clean(24))
        names = ("consistency", "drift", "lid", "mahalanobis")
        taught = {name: learn(detector[name].make({}), pieces) for name in names}
        assert passes == 4 * 7  # four pieces, seven views
        passes = 0
        together = score_all(taught, clean(5, seed=1))
        assert passes == 7
    finally:
        handle.remove()
        stem.remove()
    for name, one in taught.items():
        assert torch.equal(together[name], one.score(clean(5, seed=1)))
