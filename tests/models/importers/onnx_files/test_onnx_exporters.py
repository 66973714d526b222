"""Networks through PyTorch's exporters, old and new: the same logits, the same gradients, the same attacks."""

import copy
import functools

import pytest
import timm
import torch
import torchvision.models as tv
from torch import nn

from radproof.attacks.whitebox.pgd import pgd
from radproof.core.goals import Misclassify
from radproof.models.graph import cut
from radproof.models.importers.onnx import read_onnx

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the exporters' own
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
NETWORKS = {
    "densenet121": lambda: tv.densenet121(weights=None, num_classes=4),
    "resnet50": lambda: tv.resnet50(weights=None, num_classes=4),
    "mobilenet_v3_large": lambda: tv.mobilenet_v3_large(weights=None, num_classes=4),
    "efficientnet_b0": lambda: timm.create_model("efficientnet_b0", num_classes=4),
    "resnet10t": lambda: timm.create_model("resnet10t", num_classes=4),
}
SIDE = 64
OLD = [(opset, folding) for opset in (9, 11, 13, 17) for folding in (True, False)]
EVERY = [(name, "new", opset, True) for name in NETWORKS for opset in (18, 20, 22)]
EVERY += [(name, "old", opset, folding) for name in NETWORKS for opset, folding in OLD]
CHOSEN = [
    ("densenet121", "old", 9, False),
    ("resnet10t", "old", 13, True),
    pytest.param("resnet50", "old", 13, True, marks=pytest.mark.slow),
    ("mobilenet_v3_large", "old", 17, True),
    ("efficientnet_b0", "old", 11, False),
    ("resnet10t", "new", 20, True),
    pytest.param("mobilenet_v3_large", "new", 20, True, marks=pytest.mark.slow),
]


def _images(count, seed):
    smooth = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(smooth, size=(SIDE, SIDE), mode="bilinear").clamp(0, 1)


class Pixels(nn.Module):
    """A stand-in classifier: pixels in [0, 1] -> logits."""

    labels, head, micro_batch = ("a", "b", "c", "d"), "softmax", 32

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network((x - 0.5) / 0.25)


def _take_statistics(norm, given):
    norm.running_var, norm.running_mean = torch.var_mean(given[0], (0, 2, 3))
    norm.running_var += norm.eps


@functools.cache
def _network(name):
    """Random weights, statistics of real activations, logits of a useful size."""
    torch.manual_seed(1)
    network = NETWORKS[name]()
    network.eval()
    hooks = []
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.7, 1.3)
            nn.init.uniform_(norm.bias, -0.2, 0.2)
            hooks.append(norm.register_forward_pre_hook(_take_statistics))
    with torch.no_grad():
        noise = torch.randn(16, 3, SIDE, SIDE) * torch.linspace(0.1, 3, 16)[:, None, None, None]
        network(torch.cat([(_images(32, 0) - 0.5) / 0.25, noise]))
    for hook in hooks:
        hook.remove()
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    with torch.no_grad():
        logits = network((_images(32, 9) - 0.5) / 0.25)
        last.bias -= logits.mean(0)
        scale = 0.5 / (logits - logits.mean(0)).std()
        last.weight *= scale
        last.bias *= scale
    return network.requires_grad_(False)


def _exported(path, name, exporter, opset, folding):
    network, x = copy.deepcopy(_network(name)), torch.randn(2, 3, SIDE, SIDE)
    if exporter == "new":
        torch.onnx.export(
            network, (x,), path, dynamo=True, opset_version=opset, external_data=False, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    else:
        torch.onnx.export(
            network, (x,), path, dynamo=False, opset_version=opset, do_constant_folding=folding, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    return read_onnx(path)


def _same(name, exporter, opset, folding, tmp_path, gradients=True):
    found = _exported(tmp_path / "m.onnx", name, exporter, opset, folding)
    assert (found.batch, found.size, found.classes, found.head) == (None, (SIDE, SIDE), 4, None)
    ours, theirs = found.graph.requires_grad_(False), _network(name)
    for x in ((_images(5, 20) - 0.5) / 0.25, torch.randn(1, 3, SIDE, SIDE)):
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
    if not gradients:
        return found
    a, b = (x.clone().requires_grad_() for _ in range(2))
    ours(a).square().sum().backward()
    theirs(b).square().sum().backward()
    assert b.grad.abs().max() > 0
    assert (a.grad - b.grad).norm() <= 1e-3 * b.grad.norm()
    return found


@pytest.mark.parametrize(("name", "exporter", "opset", "folding"), CHOSEN)
def test_same_logits_and_gradients(tmp_path, name, exporter, opset, folding):
    _same(name, exporter, opset, folding, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exporter", "opset", "folding"), EVERY)
def test_same_logits_for_every_exporter(tmp_path, name, exporter, opset, folding):
    """Folded weights are rounded elsewhere, which the kinks of random networks make a percent of a gradient of:
    gradients are compared where nothing is folded, and on trained networks in test_four_networks."""
    _same(name, exporter, opset, folding, tmp_path, gradients=exporter == "old" and not folding)


def _success(model, x, y, eps):
    adversarial = pgd.make({"eps": eps, "steps": 5})(model, x, Misclassify(y), rng=torch.Generator().manual_seed(5))
    return float((model(adversarial).argmax(1) != y).double().mean())


def _attacked(name, exporter, opset, tmp_path):
    found = _exported(tmp_path / "m.onnx", name, exporter, opset, True)
    ours, theirs = Pixels(found.graph).requires_grad_(False), Pixels(_network(name))
    x = _images(50, 30)
    y = theirs(x).argmax(1)
    for eps in (0.5 / 255, 1 / 255, 0.25 / 255, 2 / 255, 0.1 / 255, 4 / 255, 8 / 255):
        share = _success(theirs, x, y, eps)
        if 0.1 <= share <= 0.9:
            break
    assert 0 < share < 1
    assert abs(_success(ours, x, y, eps) - share) <= 0.02 + 1e-9  # one image of 50


@pytest.mark.parametrize("name", ["resnet10t", pytest.param("mobilenet_v3_large", marks=pytest.mark.slow)])
def test_the_same_attacks_succeed(tmp_path, name):
    _attacked(name, "old", 17, tmp_path)


def test_it_becomes_a_backbone_and_its_top(tmp_path):
    found = _exported(tmp_path / "m.onnx", "mobilenet_v3_large", "old", 13, True)
    x = (_images(3, 40) - 0.5) / 0.25
    backbone, top = cut(found.graph, x)
    maps = backbone.forward_features(x)
    assert maps.shape[1:] == (960, 2, 2)
    assert torch.equal(top(backbone.forward_head(maps)), found.graph(x))
