# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import numpy as np
import pytest
import torch
from scipy.stats import norm

from radproof.detectors.feature_space import FeatureSpace
from radproof.detectors.look import Look
from radproof.errors import BadInput, BadModel
from radproof.models.layers import see
from radproof.models.zoo import build


@pytest.fixture(scope="module")
def space(network, pictures):
    return FeatureSpace.of(network, pictures(60, 0))


def test_densities_by_hand(space, network, pictures):
    clean, x, classes = pictures(60, 0), pictures(4, 1), torch.tensor([0, 1, 2, 1])
    before, here, answers = see(network, clean).layers, see(network, x).layers, network(clean).argmax(1).numpy()
    expected = []
    for name in ("stages.0", "stages.1", "stages.2", "stages.3", "hidden"):
        all_of_them, new = before[name].double().numpy(), here[name].double().numpy()
        per_image = []
        for row, k in zip(new, classes.tolist(), strict=True):
            own = all_of_them[answers == k]
            mean = (own.sum(0) + 5 * all_of_them.mean(0)) / (len(own) + 5)
            variance = (((own - mean) ** 2).sum(0) + 5 * all_of_them.var(0)) / (len(own) + 5)
            variance = np.maximum(variance, all_of_them.var(0).min())
            per_image.append(norm.logpdf(row, mean, np.sqrt(variance)).mean())
        expected.append(per_image)
    found = space.log_density(Look(network, x), classes)
    assert found.dtype == torch.float64
    assert found.numpy() == pytest.approx(np.mean(expected, axis=0), abs=1e-4)


def test_clean_images_are_denser_than_pushed_ones(space, network, pictures, pushed):
    x = pictures(60, 1)
    answers = network(x).argmax(1)
    density = space.bound(network)
    clean = density(x, answers)
    attacked = pushed(network, x)
    assert (density(attacked, network(attacked).argmax(1)) < clean).float().mean() > 0.7


def test_bound_goes_in_pieces_and_has_the_right_gradient(network, pictures):
    model = deepcopy(network).double()
    space = FeatureSpace.of(model, pictures(30, 0).double())
    x, classes = pictures(3, 2).double(), torch.tensor([2, 0, 1])
    sizes = []
    handle = model.backbone.stem.register_forward_hook(lambda _module, given, _out: sizes.append(len(given[0])))
    model.micro_batch = 2
    density = space.bound(model)
    leaf = x.clone().requires_grad_()
    found = density(leaf, classes)
    handle.remove()
    assert sizes == [2, 1]
    assert torch.allclose(found, space.log_density(see(model, x), classes))
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    for row, i, j in ((0, 5, 20), (2, 16, 16)):
        step = torch.zeros_like(x)
        step[row, 0, i, j] = 1e-6
        numeric = (density(x + step, classes) - density(x - step, classes)).sum() / 2e-6
        assert gradient[row, 0, i, j].item() == pytest.approx(numeric.item(), rel=1e-4, abs=1e-8)


def test_climbing_it_makes_an_image_denser(space, network, pictures):
    x, classes = pictures(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    density = space.bound(network)
    leaf = x.clone().requires_grad_()
    before = density(leaf, classes)
    (gradient,) = torch.autograd.grad(before.sum(), leaf)
    assert (density(x + 1e-3 * gradient.sign(), classes) > before).all()


def test_a_class_the_model_never_answers_borrows_from_all(network, pictures):
    never = deepcopy(network)
    with torch.no_grad():
        never.top.classes.bias[1] = -1e6
    space = FeatureSpace.of(never, pictures(30, 0))
    expected = see(never, pictures(30, 0)).layers["stages.2"].double().mean(0)
    assert torch.allclose(space.means["stages.2"][1], expected, atol=1e-6)


def test_findings_side_by_side_have_one_place(pictures):
    network = build("cxrnet", labels=("a", "b"), head="sigmoid", input_size=32, hidden=0).freeze()
    density = FeatureSpace.of(network, pictures(20, 0)).bound(network)
    x = pictures(2, 1)
    assert torch.equal(density(x, torch.tensor([0, 1])), density(x, torch.tensor([1, 0])))


def test_refusals(space, network, model, pictures):
    x = pictures(3, 0)
    with pytest.raises(BadModel, match="hfc looks into the network's layers"):
        FeatureSpace.of(model, pictures(20, 0))
    with pytest.raises(BadInput, match="at least 20 clean images"):
        FeatureSpace.of(network, x)
    for classes, words in (
        (torch.tensor([0, 1]), "one class for each of 3"),
        (torch.tensor([0, 1, 3]), "from 0 to 2"),
        (torch.tensor([0, -1, 1]), "from 0 to 2"),
        (torch.tensor([0.0, 1.0, 1.0]), "whole numbers"),
    ):
        with pytest.raises(BadInput, match=words):
            space.log_density(Look(network, x), classes)
    other = build("resnet18", labels=("a", "b", "c"), input_size=32, hidden=8).freeze()
    with pytest.raises(BadInput, match="fitted on a network"):
        space.bound(other)(x, torch.tensor([0, 1, 2]))
    flat = deepcopy(network)
    for weight in flat.parameters():
        weight.zero_()
    with pytest.raises(BadModel, match="same for all clean images"):
        FeatureSpace.of(flat, pictures(20, 0))
