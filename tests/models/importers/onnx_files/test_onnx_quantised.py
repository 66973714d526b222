"""Quantised files: the original answers, and the stand-in has gradients that belong to it."""

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import nn

from radproof.models.importers.onnx import read_onnx

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
W = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)


class Reader(CalibrationDataReader):
    def __init__(self):
        generator = np.random.default_rng(1)
        self.left = [{"x": generator.normal(size=(8, 3, 16, 16)).astype(np.float32)} for _ in range(4)]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def plain(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "m.onnx"
    x = torch.randn(1, 3, 16, 16)
    torch.onnx.export(
        network, (x,), path, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes={"x": {0: "n"}}
    )
    return path


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_static(plain, network, asked, tmp_path, form, per_channel):
    path = tmp_path / "q.onnx"
    quantize_static(
        plain,
        path,
        Reader(),
        quant_format=form,
        per_channel=per_channel,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    found = read_onnx(path)
    x = torch.randn(16, 3, 16, 16)
    assert torch.equal(found.exact(x), asked(path, x))
    assert not torch.equal(found.exact(x), network(x))  # it does round
    ours = found.graph(x)
    assert torch.corrcoef(torch.stack([ours.flatten(), found.exact(x).flatten()]))[0, 1] > 0.99
    assert any("quantised" in note and "correlate" in note for note in found.notes)
    a, b = (x.clone().requires_grad_() for _ in range(2))
    found.graph(a)[:, 0].sum().backward()
    network(b)[:, 0].sum().backward()
    assert torch.nn.functional.cosine_similarity(a.grad.flatten(), b.grad.flatten(), dim=0) > 0.9


def test_dynamic(plain, network, asked, tmp_path):
    path = tmp_path / "q.onnx"
    quantize_dynamic(plain, path, weight_type=QuantType.QUInt8)
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert "ConvInteger" in kinds and "DynamicQuantizeLinear" in kinds
    found, x = read_onnx(path), torch.randn(6, 3, 16, 16)
    assert torch.equal(found.exact(x), torch.cat([asked(path, image) for image in x.split(1)]))
    assert not torch.equal(found.exact(x), asked(path, x))  # its rounding depends on the batch
    torch.testing.assert_close(found.graph(x), network(x), atol=0.05, rtol=0.05)


def test_activations_are_kept_in_range_and_not_rounded(made, tmp_path):
    nodes = "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)"
    path = made(tmp_path / "m.onnx", nodes, weights={"s": np.float32(0.01), "z": np.uint8(100)}, shape=("N", 3, 4, 4))
    found = read_onnx(path)
    x = torch.linspace(-1.5, 2, 48).reshape(1, 3, 4, 4).requires_grad_()
    y = found.graph(x)
    torch.testing.assert_close(y.reshape(-1), x.detach().clamp(-1.0, 1.55).reshape(-1), atol=1e-6, rtol=0)
    y.sum().backward()
    inside = ((x > -1.0) & (x < 1.55)).float()
    torch.testing.assert_close(x.grad, inside, atol=1e-6, rtol=0)


def test_weights_are_what_the_integers_stand_for(made, tmp_path):
    integers = np.clip(np.round(W / 0.05), -128, 127).astype(np.int8)
    weights = {"w": integers, "s": np.full(4, 0.05, np.float32) * [1, 2, 3, 4], "z": np.zeros(4, np.int8)}
    weights["s"] = weights["s"].astype(np.float32)
    path = made(tmp_path / "m.onnx", "v = DequantizeLinear<axis=0>(w, s, z) y = Conv(x, v)", weights=weights)
    found, x = read_onnx(path), torch.randn(2, 3, 9, 11)
    real = torch.from_numpy(integers.astype(np.float32)) * torch.from_numpy(weights["s"])[:, None, None, None]
    torch.testing.assert_close(found.graph(x), nn.functional.conv2d(x, real).flatten(1), atol=1e-4, rtol=1e-5)
