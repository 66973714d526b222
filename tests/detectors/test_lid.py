# SPDX-License-Identifier: Apache-2.0
from copy import deepcopy

import numpy as np
import pytest
import torch

from radproof.core.depth import EIGHT
from radproof.detectors import lid as room
from radproof.detectors.benign import benign
from radproof.detectors.fitted import fit, restore
from radproof.detectors.lid import Lid, log_dimensionality
from radproof.detectors.look import Look, looks
from radproof.errors import BadInput, BadModel, BadPlan
from radproof.models.zoo import build


@pytest.fixture(scope="module")
def fitted(network, pictures):
    return fit(room.lid.make({}), network, pictures(60, 0))


def by_hand(x, bank, k):
    """Ma et al., equation 4, one image at a time."""
    apart = np.sort(np.sqrt(((bank - x) ** 2).sum(1)))[:k]
    return -1 / np.mean(np.log(apart / apart[-1]))


def test_dimensionality_by_hand():
    rng = np.random.default_rng(1)
    x, bank = rng.normal(size=(4, 7)), rng.normal(size=(50, 7))
    found = log_dimensionality(torch.from_numpy(x), torch.from_numpy(bank), 12)
    assert found.exp().numpy() == pytest.approx([by_hand(row, bank, 12) for row in x])


@pytest.mark.parametrize("dimensions", [2, 6])
def test_it_counts_the_dimensions_of_a_surface(dimensions):
    rng = np.random.default_rng(2)
    flat = rng.uniform(size=(4000, dimensions)) @ np.linalg.qr(rng.normal(size=(20, 20)))[0][:dimensions]
    inner = flat.mean(0) + 0.1 * (flat[:200] - flat.mean(0))
    found = log_dimensionality(torch.from_numpy(inner), torch.from_numpy(flat[200:]), 50).exp()
    assert found.mean().item() == pytest.approx(dimensions, rel=0.1)


def test_whoever_is_kept_out_is_no_neighbour():
    bank = torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left_out = log_dimensionality(bank, bank, 10, kept_out=torch.eye(30, dtype=torch.bool))
    for row in (0, 17, 29):
        others = np.delete(bank.numpy(), row, axis=0)
        assert left_out[row].exp().item() == pytest.approx(by_hand(bank[row].numpy(), others, 10))


def test_copies_and_equal_distances_stay_finite():
    bank = torch.zeros(9, 2, dtype=torch.float64)
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    found = log_dimensionality(x, bank, 4)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(x.grad).all()


def test_the_usual_is_that_of_images_it_did_not_learn_from(network, pictures):
    x = pictures(60, 0)
    judge = fit(Lid(), network, torch.cat([x, benign(EIGHT)[0].apply(x, EIGHT)])).judge
    assert {len(bank) for bank in judge.bank.values()} == {60}  # a copy is nobody's neighbour
    fresh = torch.cat([judge.dimensionalities(look) for look in looks(network, pictures(100, 1))])
    assert ((fresh.mean(0) - judge.usual.mean) / judge.usual.scale).abs().max() < 0.5


def test_at_most_200_images_are_kept(network, pictures):
    judge = fit(Lid(k=100), network, pictures(230, 0)).judge
    assert {tuple(bank.shape) for name, bank in judge.bank.items() if name == "stages.1"} == {(200, 48)}
    assert judge.k == 99
    assert all(bank.dtype == torch.float32 for bank in judge.bank.values())


def test_pushed_images_stand_out(fitted, network, pictures, pushed, auroc):
    x = pictures(60, 1)
    assert auroc(fitted.score(x), fitted.score(pushed(network, x, eps=16 / 255))) > 0.6


def test_the_soft_score_is_the_score_and_its_gradient_is_right(fitted, network, pictures):
    model, x, judge = deepcopy(network).double(), pictures(2, 3).double(), fitted.judge
    leaf = x.clone().requires_grad_()
    score = judge(Look(model, leaf, soft=True))
    assert torch.allclose(score.detach(), judge(Look(model, x)), atol=1e-9)
    (gradient,) = torch.autograd.grad(score.sum(), leaf)
    for row, i, j in ((0, 5, 20), (1, 16, 16)):
        step = torch.zeros_like(x)
        step[row, 0, i, j] = 1e-6
        numeric = (judge(Look(model, x + step)) - judge(Look(model, x - step))).sum() / 2e-6
        assert gradient[row, 0, i, j].item() == pytest.approx(numeric.item(), rel=1e-3, abs=1e-6)


def test_it_reads_back_with_words(fitted, network, pictures):
    again = restore(Lid(), network, fitted.state())
    assert torch.equal(again.score(pictures(5, 2)), fitted.score(pictures(5, 2)))
    assert list(again.measures(pictures(1, 2)))[:2] == [
        "local dimensionality at layer stages.0",
        "local dimensionality at layer stages.1",
    ]


def test_refusals(fitted, network, model, pictures):
    with pytest.raises(BadModel, match="lid looks into the network's layers"):
        fit(Lid(), model, pictures(20, 0))
    with pytest.raises(BadPlan, match="neighbours"):
        room.lid.make({"k": 4})
    state = fitted.state()
    shorter = {name: value[:9] if name.endswith("logits/bank") else value for name, value in state.items()}
    for wrong in (shorter, {name: value for name, value in state.items() if "logits" not in name}):
        with pytest.raises(BadInput, match="do not go together"):
            restore(Lid(), network, wrong)
    other = build("resnet18", labels=("a", "b", "c"), input_size=32, hidden=8).freeze()
    with pytest.raises(BadInput, match=r"the lid detector was fitted on a network whose layer stages\.0"):
        restore(Lid(), other, state).score(pictures(1, 0))
