"""One trained network in every kind of file: the same answers, the same gradients, and the same attacks succeed."""

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch.nn import functional as F

from radproof.attacks.whitebox.pgd import pgd
from radproof.core.goals import Misclassify
from radproof.models.assembly import assembled
from radproof.models.card import ModelCard
from radproof.models.importers.onnx import read_onnx
from radproof.models.importers.pt2 import read_pt2
from radproof.models.importers.state_dict import read_state_dict

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SIDE, LABELS = 64, ("clear", "opaque")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NETWORKS = {
    "torchvision:densenet121": lambda: torchvision.models.densenet121(weights=None, num_classes=2),
    "torchvision:resnet50": lambda: torchvision.models.resnet50(weights=None, num_classes=2),
    "efficientnet_b0": lambda: timm.create_model("efficientnet_b0", num_classes=2),
    "torchvision:mobilenet_v3_large": lambda: torchvision.models.mobilenet_v3_large(weights=None, num_classes=2),
}


def drawn(count, seed):
    """Grey blocks with noise; every second image with a light spot, some of them faint."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for number in range(count):
        blocks = 0.4 + 0.08 * rng.standard_normal((SIDE // 8, SIDE // 8)).repeat(8, 0).repeat(8, 1)
        image = blocks + 0.02 * rng.standard_normal((SIDE, SIDE))
        if number % 2:
            (row, column), width = rng.integers(16, SIDE - 16, 2), rng.uniform(5, 9)
            spot = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
            image += rng.uniform(0.1, 0.35) * spot
        images.append(np.clip(image, 0, 1))
    return torch.tensor(np.stack(images)).float()[:, None], torch.arange(count) % 2


def prepared(x):
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (MEAN, STD))
    return (x - mean) / std


class Original(torch.nn.Module):
    """The network itself, shown what the card says."""

    labels, head, micro_batch = LABELS, "softmax", 32

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(prepared(x))


def trained(make):
    """Until it tells most of other images right; smoothed labels keep logits in ones, as long training would."""
    torch.manual_seed(0)
    network, (x, y), (other, truth) = make(), drawn(400, 1), drawn(60, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.2  # a few batches must do
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    for epoch in range(12):
        network.train()
        for rows in torch.randperm(len(x)).split(20):
            optimiser.zero_grad()
            F.cross_entropy(network(prepared(x[rows])), y[rows], label_smoothing=0.2).backward()
            optimiser.step()
        with torch.no_grad():
            for rows in torch.randperm(len(x)).split(40):
                network(prepared(x[rows]))  # batch statistics of the final weights
            right = (network.eval()(prepared(other)).argmax(1) == truth).double().mean()
        if epoch >= 2 and right > 0.75:
            break
    return network.requires_grad_(False)


def written(network, folder):
    """The network in eight files."""
    example = (torch.rand(2, 3, SIDE, SIDE),)
    torch.save(network.state_dict(), folder / "weights.pt")
    save_file({name: value.clone() for name, value in network.state_dict().items()}, folder / "weights.safetensors")
    images = torch.export.Dim("images", min=1, max=512)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=({0: images},)), folder / "program.pt2")
    for opset in (9, 13, 17):
        torch.onnx.export(
            network, example, folder / f"old-{opset}.onnx", dynamo=False, opset_version=opset,
            input_names=["x"], dynamic_axes={"x": {0: "images"}},
        )  # fmt: skip
    for opset in (18, 20):
        torch.onnx.export(
            network, example, folder / f"new-{opset}.onnx", dynamo=True, opset_version=opset,
            external_data=False, verbose=False, dynamic_shapes=({0: torch.export.Dim("images")},),
        )  # fmt: skip
    return sorted(folder.iterdir())


def read(file, architecture):
    if file.suffix in (".pt", ".safetensors"):
        return read_state_dict(file, architecture)
    return read_pt2(file) if file.suffix == ".pt2" else read_onnx(file)


@pytest.mark.parametrize("architecture", NETWORKS)
def test_a_trained_network_in_every_file(architecture, tmp_path):
    network = trained(NETWORKS[architecture])
    original, (x, truth) = Original(network).eval(), drawn(100, 2)
    logits = original(x)
    y = logits.argmax(1)
    assert (y == truth).double().mean() > 0.6

    def success(model, eps):
        goal, rng = Misclassify(y), torch.Generator().manual_seed(5)
        found = pgd.make({"eps": eps, "steps": 5})(model, x, goal, rng=rng)
        return float((model(found).argmax(1) != y).double().mean())

    def gradient(model):
        some = x[:10].clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(some), y[:10], reduction="sum"), some)[0]

    budgets = [levels / 255 for levels in (1, 0.5, 2, 0.25, 4, 8)]
    eps = next(eps for eps in budgets if 0.1 <= success(original, eps) <= 0.9)
    card = ModelCard(architecture=architecture, labels=LABELS, input_size=SIDE, hidden=0, mean=MEAN, std=STD)
    files = written(network, tmp_path)
    assert len(files) == 8
    for file in files:
        model = assembled(read(file, architecture), card).freeze()
        torch.testing.assert_close(model(x), logits, atol=1e-4, rtol=1e-5)  # of logits that reach a hundred
        assert (gradient(model) - gradient(original)).norm() <= 0.01 * gradient(original).norm(), file.name
        assert abs(success(model, eps) - success(original, eps)) <= 0.02 + 1e-9, file.name
