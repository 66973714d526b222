import pytest
import torch

from radproof.models.zoo import build
from radproof.training.layers import unfreeze


def model():
    return build("mobilenetv3_small_050", labels=("a", "b"), input_size=32, hidden=4)


def changed(net, last):
    """Names of everything that one training step changes."""
    layers = unfreeze(net, last)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD(layers.parameters(), lr=0.1)
    layers.train()
    net(torch.rand(4, 1, 32, 32)).square().sum().backward()
    optimiser.step()
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def test_none_means_the_head_alone_and_no_batch_statistics():
    assert all(name.startswith("top.") for name in changed(model(), 0))


def test_the_last_layers_and_their_statistics_only():
    net = model()
    names = [name for name, m in net.backbone.named_modules() if list(m.parameters(recurse=False))]
    of_backbone = [name.removeprefix("backbone.") for name in changed(net, 3) if name.startswith("backbone.")]
    moved = {name.rpartition(".")[0] for name in of_backbone}
    assert moved <= set(names[-3:])
    assert names[-1] in moved


def test_all_moves_the_first_layer_too():
    moved = changed(model(), "all")
    assert "backbone.conv_stem.weight" in moved
    assert "backbone.bn1.running_mean" in moved


def test_more_than_there_are_means_all():
    assert not unfreeze(model(), 10_000).frozen


def test_frozen_batch_normalisation_answers_as_in_use():
    net = model()
    layers = unfreeze(net, 3)
    layers.train()
    assert all(not layer.training for layer in layers.frozen)
    assert all(layer.training for layer in layers.learning)


def test_batch_statistics_keep_up_with_short_epochs():
    net = build("tf_efficientnet_lite0", labels=("a", "b"), input_size=32)
    usual = net.backbone.bn1.momentum
    unfreeze(net, 3).keep_up(20)
    assert (1 - net.backbone.bn2.momentum) ** 20 == pytest.approx(0.05)
    assert net.backbone.bn1.momentum == usual  # frozen
    unfreeze(net, 3).keep_up(10_000)
    assert (1 - net.backbone.bn2.momentum) ** 20 == pytest.approx(0.05)


def test_densenets_last_fifty():
    net = build("densenet121", labels=("a", "b"), input_size=32)
    layers = unfreeze(net, 50)
    assert len(layers.learning) == 50
    assert layers.learning[-1] is net.backbone.features.norm5
