# SPDX-License-Identifier: Apache-2.0
"""Whatever a detector is given: a finite score or a sentence that says what is wrong, never NaN or another error."""

import math
from importlib import import_module
from pkgutil import iter_modules

import pytest
import torch

import radproof.detectors
from radproof.detectors import detector
from radproof.detectors.fitted import fit
from radproof.errors import BadInput
from radproof.models.zoo import build

for module in iter_modules(radproof.detectors.__path__):
    import_module(f"radproof.detectors.{module.name}")
NAMES = [recipe.name for recipe in detector]
SIDE = 24


def learner(name):
    recipe = detector[name]
    return recipe.make({"steps": 10} if "steps" in recipe.params.model_fields else {})  # what it learns is not asked


def said(act, count):
    """Scores of `count` images, or the sentence that says why there are none."""
    try:
        scores = act()
    except BadInput as error:
        return str(error)
    assert scores.shape == (count,)
    assert bool(scores.isfinite().all())
    return scores


@pytest.fixture(scope="module")
def network():
    """A small network that shows its layers."""
    return build("cxrnet", labels=("a", "b", "c"), input_size=16, hidden=8).freeze()


@pytest.fixture(scope="module", params=NAMES)
def fitted(request, network, pictures):
    return fit(learner(request.param), network, pictures(40, 0, side=SIDE))


REFUSED = {
    "one pixel": torch.rand(2, 1, 1, 1),
    "15 pixels": torch.rand(2, 1, 15, 15),
    "a strip": torch.rand(2, 1, 1, 4000),
    "NaN": torch.full((2, 1, SIDE, SIDE), math.nan),
    "infinity": torch.full((2, 1, SIDE, SIDE), math.inf),
    "one NaN pixel": torch.where(torch.arange(2 * SIDE * SIDE).view(2, 1, SIDE, SIDE) == 77, math.nan, 0.5),
    "grey levels": torch.full((2, 1, SIDE, SIDE), 128.0),
    "below black": torch.full((2, 1, SIDE, SIDE), -0.1),
    "integers": torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8),
    "two channels": torch.rand(2, 2, SIDE, SIDE),
    "four channels": torch.rand(2, 4, SIDE, SIDE),
    "no batch": torch.rand(1, SIDE, SIDE),
    "nothing": torch.zeros(0),
}


@pytest.mark.parametrize("wrong", REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_is_refused(fitted, wrong):
    for ask in (fitted.score, fitted.measures):
        with pytest.raises(BadInput, match=r"expected|not numbers"):
            ask(wrong)


def test_no_images_get_no_scores(fitted):
    none = torch.zeros(0, 1, SIDE, SIDE)
    assert fitted.score(none).shape == (0,)
    assert fitted.measures(none) == {}
    assert fitted.suspicion(none).shape == (0,)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0], ids=["black", "grey", "white"])
def test_constant_images(fitted, value):
    x = torch.full((3, 1, SIDE, SIDE), value)
    scores = said(lambda: fitted.score(x), 3)
    assert not isinstance(scores, str)
    assert torch.allclose(scores, scores[:1].expand(3), rtol=1e-4)
    assert all(bool(values.isfinite().all()) for values in fitted.measures(x).values())


@pytest.mark.parametrize("what", ["pictures", "black", "white"])
def test_the_soft_score_has_a_finite_gradient(fitted, pictures, what):
    x = pictures(2, 5, side=SIDE) if what == "pictures" else torch.full((2, 1, SIDE, SIDE), float(what == "white"))
    x.requires_grad_()
    found = fitted.suspicion(x)
    assert bool(found.isfinite().all())
    found.sum().backward()
    assert bool(x.grad.isfinite().all())


def test_one_image_many_times_scores_the_same_each_time(fitted, pictures):
    x = pictures(1, 6, side=SIDE).repeat(9, 1, 1, 1)
    scores = said(lambda: fitted.score(x), 9)
    assert not isinstance(scores, str)
    assert torch.allclose(scores, scores[:1].expand(9), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "x",
    [
        torch.rand(2, 3, SIDE, SIDE),
        torch.rand(2, 1, 48, 17),
        torch.rand(2, 1, 16, 16),
        torch.rand(2, 1, SIDE, SIDE, dtype=torch.float64),
        (torch.rand(2, 1, SIDE, SIDE) > 0.5).float(),
        torch.rand(2, 1, SIDE, SIDE).transpose(2, 3),
        1e-30 * torch.rand(2, 1, SIDE, SIDE),
    ],
    ids=["colour", "another size", "smallest", "double", "checks", "strided", "nearly black"],
)
def test_images_unlike_the_learnt_ones(fitted, x):
    said(lambda: fitted.score(x), 2)


ODD = {
    "one image many times": lambda pictures: pictures(1, 0, side=SIDE).repeat(20, 1, 1, 1),
    "two images many times": lambda pictures: pictures(2, 0, side=SIDE).repeat(10, 1, 1, 1),
    "black": lambda _: torch.zeros(20, 1, SIDE, SIDE),
    "white": lambda _: torch.ones(20, 1, SIDE, SIDE),
    "every grey": lambda _: torch.linspace(0, 1, 20).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE).clone(),
    "smallest": lambda pictures: pictures(20, 0, side=16),
}


@pytest.mark.parametrize("clean", ODD.values(), ids=ODD)
@pytest.mark.parametrize("name", NAMES)
def test_odd_clean_images(name, clean, network, pictures):
    taught = clean(pictures)
    x = torch.cat([taught[:2], pictures(2, 3, side=taught.shape[-1])])

    def act():
        fitted = fit(learner(name), network, taught)
        assert all(bool(tensor.isfinite().all()) for tensor in fitted.state().values())
        assert all(bool(values.isfinite().all()) for values in fitted.measures(x).values())
        return fitted.score(x)

    said(act, 4)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_learnt_from_is_refused(name, network, pictures):
    few, broken = pictures(19, 0, side=SIDE), pictures(25, 0, side=SIDE)
    broken[7, 0, 3, 3] = math.nan
    for wrong in (few, few[:1], few[:0], broken, (broken * 255).to(torch.uint8), torch.rand(25, 1, 15, 15)):
        with pytest.raises(BadInput, match=r"at least 20 clean images|expected|not numbers"):
            fit(learner(name), network, wrong)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_shows_no_layers(name, model, pictures):
    found = said(lambda: fit(learner(name), model, pictures(20, 0)).score(pictures(3, 1)), 3)
    assert not isinstance(found, str) or "layers" in found


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_answers_nan_is_no_reason_for_a_nan_score(name, pictures):
    broken = build("cxrnet", labels=("a", "b"), input_size=16, hidden=8).freeze()
    for weights in broken.parameters():
        weights.fill_(math.nan)
    said(lambda: fit(learner(name), broken, pictures(20, 0, side=SIDE)).score(pictures(3, 1, side=SIDE)), 3)
