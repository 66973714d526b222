# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from radproof.core.depth import EIGHT
from radproof.detectors import mahalanobis as room
from radproof.detectors.benign import benign
from radproof.detectors.fitted import fit, restore
from radproof.detectors.look import Look, looks
from radproof.detectors.mahalanobis import Layer, Mahalanobis
from radproof.errors import BadInput, BadModel
from radproof.models.zoo import build

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def fitted(network, pictures):
    return fit(room.mahalanobis.make({}), network, pictures(60, 0))


def test_distances_by_hand_with_more_channels_than_images():
    classes = np.repeat([0, 2, 1], [14, 12, 3])  # three images make no class
    x = rng.normal(size=(29, 40)) @ rng.normal(size=(40, 40)) + 3 * classes[:, None]
    layer = Layer.of(torch.from_numpy(x), torch.from_numpy(classes))
    means = [x[classes == k].mean(0) for k in (0, 2)]
    residuals = np.concatenate([x[classes == k] - mean for k, mean in zip((0, 2), means, strict=True)])
    scale = np.sqrt((residuals**2).mean(0))
    shrunk = LedoitWolf(assume_centered=True).fit(residuals / scale).covariance_ * np.outer(scale, scale)
    new = rng.normal(size=(5, 40)) * 4
    nearest = [min((row - mean) @ np.linalg.inv(shrunk) @ (row - mean) for mean in means) for row in new]
    assert layer(torch.from_numpy(new)).numpy() == pytest.approx(np.log(nearest), abs=1e-5)


def test_where_no_class_has_enough_images_all_share_one_mean():
    x = torch.from_numpy(rng.normal(size=(8, 3)))
    assert torch.allclose(Layer.of(x, torch.arange(8)).means, x.mean(0, keepdim=True))


def test_a_channel_that_never_varied_does_not_decide_alone():
    x = torch.from_numpy(rng.normal(size=(60, 6)))
    x[:, 4] = 0.25
    layer, new = Layer.of(x, torch.zeros(60)), x[:3].clone()
    before = layer(new)
    new[:, 4] += 1e-4
    assert torch.allclose(layer(new), before, atol=1e-2)
    new[:, 4] += 1
    assert (layer(new) > before + 1).all()


def test_the_usual_is_that_of_images_it_did_not_learn_from(fitted, network, pictures):
    fresh = torch.cat([fitted.judge.distances(look) for look in looks(network, pictures(100, 1))])
    within = torch.cat([fitted.judge.distances(look) for look in looks(network, pictures(60, 0))])
    usual = fitted.judge.usual
    assert ((fresh.mean(0) - usual.mean) / usual.scale).abs().max() < 0.5
    assert ((within.mean(0) - usual.mean) / usual.scale).min() < -1.5


def test_copies_are_left_out_together(network, pictures):
    x = pictures(57, 0)  # no multiple of the folds
    judge = fit(
        Mahalanobis(), network, torch.cat([x, *(one.apply(x, EIGHT) for one in benign(EIGHT) if "jpeg-" in one.name)])
    ).judge
    y = pictures(80, 1)
    fresh = torch.cat([judge.distances(look) for look in looks(network, y)])
    assert ((fresh.mean(0) - judge.usual.mean) / judge.usual.scale).max() < 0.5


def test_pushed_images_stand_out(fitted, network, pictures, pushed, auroc):
    x = pictures(60, 1)
    attacked = pushed(network, x)
    assert (network(attacked).argmax(1) != network(x).argmax(1)).float().mean() > 0.8
    assert auroc(fitted.score(x), fitted.score(attacked)) > 0.75


def test_the_score_by_hand(fitted, network, pictures):
    look = Look(network, pictures(4, 2))
    table, usual = fitted.judge.distances(look), fitted.judge.usual
    above = ((table - usual.mean) / usual.scale).numpy()
    assert fitted.judge(look).numpy() == pytest.approx(usual(table).numpy() + np.maximum(above, 0).sum(1))
    measures = fitted.judge.measures(look)
    assert measures["distance from clean images at layer stages.1"].numpy() == pytest.approx(np.abs(above[:, 1]))


def test_a_layer_that_repeats_another_is_left_out(fitted):
    assert list(fitted.judge.layers) == ["stages.0", "stages.1", "stages.2", "stages.3", "hidden", "logits"]


def test_the_soft_score_is_the_score_and_its_gradient_is_right(fitted, network, pictures):
    model, x = deepcopy(network).double(), pictures(2, 3).double()
    judge = fitted.judge
    leaf = x.clone().requires_grad_()
    score = judge(Look(model, leaf, soft=True))
    assert torch.allclose(score.detach(), judge(Look(model, x)), atol=1e-9)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    for row, i, j in ((0, 5, 20), (1, 16, 16), (1, 30, 3)):
        step = torch.zeros_like(x)
        step[row, 0, i, j] = 1e-6
        numeric = (judge(Look(model, x + step)) - judge(Look(model, x - step))).sum() / 2e-6
        assert gradient[row, 0, i, j].item() == pytest.approx(numeric.item(), rel=1e-3, abs=1e-6)


def test_it_reads_back(fitted, network, pictures):
    again = restore(Mahalanobis(), network, fitted.state())
    assert torch.equal(again.score(pictures(5, 2)), fitted.score(pictures(5, 2)))
    assert list(again.judge.layers) == list(fitted.judge.layers)


def test_another_networks_layers_are_refused(fitted, pictures):
    other = build("resnet18", labels=("a", "b", "c"), input_size=32, hidden=8).freeze()
    with pytest.raises(BadInput, match=r"layer stages\.0 has 24 channels, this one has no such layer"):
        restore(Mahalanobis(), other, fitted.state()).score(pictures(2, 0))
    wider = build("cxrnet", labels=("a", "b", "c"), input_size=32, hidden=9).freeze()
    with pytest.raises(BadInput, match="layer hidden has 8 channels, this one has 9 channels"):
        restore(Mahalanobis(), wider, fitted.state()).score(pictures(2, 0))


def broken(state, **changes):
    return {name: changes.get(name.rpartition("/")[2], tensor) for name, tensor in state.items()}


def test_states_not_its_own_are_refused(fitted, network):
    state = fitted.state()
    own = {name: tensor for name, tensor in state.items() if "logits" not in name}
    for wrong, words in (
        ({}, "holds nothing"),
        (own, "5 layers and knows the usual of 6"),
        (broken(state, means=torch.zeros(3, 2)), "disagree"),
        ({**state, "bank": torch.zeros(2)}, "'bank', which is no layer's"),
        ({name: value for name, value in state.items() if not name.endswith("means")}, "holds whiten, expected"),
        ({name: value for name, value in state.items() if name.startswith("usual")}, "holds no layers"),
    ):
        with pytest.raises(BadInput, match=words):
            restore(Mahalanobis(), network, wrong)


def test_classifiers_without_layers_are_refused(model, pictures):
    with pytest.raises(BadModel, match="mahalanobis looks into the network's layers"):
        fit(Mahalanobis(), model, pictures(20, 0))


def test_a_sigmoid_head_has_one_mean(pictures):
    network = build("cxrnet", labels=("a", "b"), head="sigmoid", input_size=32, hidden=0).freeze()
    found = fit(Mahalanobis(), network, pictures(20, 0))
    assert {len(layer.means) for layer in found.judge.layers.values()} == {1}
    assert torch.isfinite(found.score(pictures(3, 1))).all()
