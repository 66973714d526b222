# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from radproof.detectors.drift import Drift, Side, middle_layers, moved
from radproof.detectors.fitted import fit, restore
from radproof.detectors.look import Look
from radproof.detectors.squeezers import squeezers
from radproof.errors import BadInput, BadModel
from radproof.models.layers import Seen
from radproof.models.zoo import build


def grainy(x, seed):
    return (x + torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)) * 4 / 255).clamp(0, 1)


@pytest.fixture(scope="module")
def taught(network, pictures):
    clean = pictures(80, 0)
    return fit(Drift(), network, clean, {"noise": grainy(clean, 1)})


def test_attacked_images_stand_out(taught, network, pictures, pushed, auroc):
    x = pictures(40, 1)
    assert auroc(taught.score(x), taught.score(pushed(network, x, eps=4 / 255))) > 0.9


def test_noisy_copies_are_a_population_of_their_own_if_there_are_enough(taught, network, pictures):
    few = fit(Drift(), network, pictures(40, 0), {"noise": grainy(pictures(19, 0), 1)})
    assert {len(side.usuals) for side in taught.judge.sides.values()} == {2}
    assert {len(side.usuals) for side in few.judge.sides.values()} == {1}


def test_what_moved_is_the_difference_of_layers(network, pictures):
    x = pictures(3, 4)
    look = Look(network, x)
    view = squeezers()["median_3"](x, rng=torch.Generator())
    layer = middle_layers(look.seen())[0]
    with torch.no_grad():
        found = {}
        for name, images in (("plain", x), ("squeezed", view)):
            maps = network.backbone.stem(network.prepare(images))
            for stage in network.backbone.stages[: int(layer.rpartition(".")[2]) + 1]:
                maps = stage(maps)
            found[name] = maps.mean((2, 3))
    expected = (found["squeezed"] - found["plain"]).double()
    assert torch.allclose(moved(look, "median_3", layer), expected, atol=1e-6)
    assert torch.allclose(moved(look, "", layer), found["plain"].double(), atol=1e-6)


@pytest.mark.parametrize(
    ("stages", "kept"), [(4, [2]), (5, [2, 3]), (7, [3, 4, 5]), (12, [5, 6, 7, 8, 9, 10]), (1, [0])]
)
def test_the_middle_is_after_two_fifths_and_before_the_last(stages, kept):
    layers = {f"s{n}": torch.zeros(1, 2) for n in range(stages)}
    seen = Seen(torch.zeros(1, 2), {**layers, "features": torch.zeros(1, 2), "hidden": torch.zeros(1, 2)})
    assert middle_layers(seen) == tuple(f"s{n}" for n in kept)


def test_a_side_is_as_unusual_as_the_nearer_population_says():
    rng = torch.Generator().manual_seed(0)
    near, far = (torch.randn(200, 3, generator=rng, dtype=torch.float64) + shift for shift in (0.0, 30.0))
    halves = [torch.arange(200) % 2] * 2
    both, one = Side.of([near, far], halves), Side.of([near], halves[:1])
    at_far, between = torch.full((1, 3), 30.0), torch.full((1, 3), 15.0)
    assert one(at_far) > 5
    assert both(at_far) < 3
    assert both(between) > 5


def test_wide_layers_are_projected_always_alike_and_keep_distances(pictures):
    from radproof.detectors.drift import WIDEST, _projection

    turn = _projection(1000)
    _projection.cache_clear()
    assert torch.equal(turn, _projection(1000))
    assert turn.shape == (1000, WIDEST)
    x = torch.randn(50, 1000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ratio = (x @ turn).norm(dim=1) / x.norm(dim=1)
    assert ((ratio - 1).abs() < 5 / math.sqrt(2 * WIDEST)).all()


def test_another_network_is_refused(taught, network, pictures):
    other = build("resnet10t", labels=network.labels, input_size=32, hidden=8).freeze()
    with pytest.raises(BadInput, match="network"):
        restore(Drift(), other, taught.state()).score(pictures(2, 1))


def test_a_model_without_layers_is_refused(model, pictures):
    with pytest.raises(BadModel, match="drift looks into the network's layers"):
        fit(Drift(), model, pictures(20, 0))


def test_a_state_that_lacks_a_view_is_refused(taught, network):
    state = {name: tensor for name, tensor in taught.state().items() if not name.startswith("tvm/")}
    with pytest.raises(BadInput, match="fit this detector again"):
        restore(Drift(), network, state)
