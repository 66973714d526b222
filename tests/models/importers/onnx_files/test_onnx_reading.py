"""What a file says of itself, and the proof that a conversion is right."""

import numpy as np
import pytest
import torch
from onnx import load_model_from_string

from radproof.errors import BadModel
from radproof.models.importers import onnx_graph
from radproof.models.importers.onnx import read_onnx, read_onnx_black_box
from radproof.models.importers.onnx_ops import operators
from radproof.models.importers.onnx_parity import prove

RNG = np.random.default_rng(0)
W, V = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32), RNG.normal(size=(4, 5)).astype(np.float32)
SMALL = "a = Conv(x, w) b = Relu(a) c = GlobalAveragePool(b) d = Flatten(c) y = MatMul(d, v)"
BOTH = {"w": W, "v": V}


def _pooled(x):
    return torch.nn.functional.conv2d(x, torch.from_numpy(W)).relu().mean((2, 3)) @ torch.from_numpy(V)


def test_weights_have_readable_names(made, tmp_path):
    found = read_onnx(made(tmp_path / "m.onnx", SMALL, weights=BOTH))
    assert "w" in dict(found.graph.named_parameters())
    assert {node.op for node in found.graph.graph.nodes} == {"placeholder", "get_attr", "call_function", "output"}


@pytest.mark.parametrize(
    ("end", "head"), [("out = Softmax(y)", "softmax"), ("out = Sigmoid(y)", "sigmoid"), ("out = Identity(y)", None)]
)
def test_the_head_is_taken_off(made, tmp_path, end, head):
    found, x = read_onnx(made(tmp_path / "m.onnx", SMALL, weights=BOTH, end=end)), torch.randn(3, 3, 9, 11)
    assert found.head == head
    torch.testing.assert_close(found.graph(x), _pooled(x), atol=1e-5, rtol=1e-5)


def test_any_size_and_any_number(made, asked, tmp_path):
    path = made(tmp_path / "m.onnx", SMALL, weights=BOTH, shape=("N", 3, "H", "W"))
    found = read_onnx(path)
    assert (found.size, found.batch) == (None, None)
    for shape in ((1, 3, 20, 31), (4, 3, 64, 17)):
        x = torch.randn(shape)
        torch.testing.assert_close(found.graph(x), asked(path, x), atol=1e-5, rtol=1e-5)


def test_a_size_that_is_not_told_is_found(made, tmp_path):
    weights = {"v": RNG.normal(size=(3 * 64 * 64, 2)).astype(np.float32) / 100}
    found = read_onnx(
        made(tmp_path / "m.onnx", "d = Flatten(x) y = MatMul(d, v)", weights=weights, shape=("N", 3, "H", "W"))
    )
    assert found.size == (64, 64) and any("64x64" in note for note in found.notes)


def test_channels_last(made, asked, tmp_path):
    path = made(
        tmp_path / "m.onnx",
        "t = Transpose<perm=[0,3,1,2]>(x) " + SMALL.replace("Conv(x", "Conv(t"),
        weights=BOTH,
        shape=("N", 9, 11, 3),
    )
    found, x = read_onnx(path), torch.randn(2, 3, 9, 11)
    assert found.size == (9, 11) and found.channels == 3
    torch.testing.assert_close(found.graph(x), asked(path, x.permute(0, 2, 3, 1)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", [[1, -1], [1, 297], [-1, 297]])
def test_one_image_at_a_time_becomes_any_number(made, asked, tmp_path, target):
    path = made(tmp_path / "m.onnx", "y = Reshape(x, s)", weights={"s": np.array(target)}, shape=(1, 3, 9, 11))
    found, x = read_onnx(path), torch.randn(5, 3, 9, 11)
    assert found.batch is None
    torch.testing.assert_close(found.graph(x), torch.cat([asked(path, image[None]) for image in x]))


def test_a_network_that_mixes_its_images_keeps_its_number(made, asked, tmp_path):
    path = made(tmp_path / "m.onnx", "m = ReduceMean<axes=[0]>(x) y = Sub(x, m)", opset=13, shape=(2, 3, 9, 11))
    found, x = read_onnx(path), torch.randn(2, 3, 9, 11)
    assert found.batch == 2
    torch.testing.assert_close(found.graph(x), asked(path, x), atol=1e-6, rtol=1e-5)


def test_hints(made, tmp_path):
    path = made(tmp_path / "m.onnx", SMALL, weights=BOTH)
    model = load_model_from_string(path.read_bytes())
    model.producer_name = "maker"
    for key, value in {"names": "{1: 'b', 0: 'a'}", "mean": "[0.1, 0.2, 0.3]", "std": "0.5", "evil": "\x1b[0m"}.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    hints = read_onnx(path).hints
    assert hints["labels"] == ("a", "b") and hints["mean"] == (0.1, 0.2, 0.3) and hints["std"] == (0.5,)
    assert hints["producer"] == "maker" and hints["metadata"]["evil"] == " [0m"


def test_an_operator_without_conversion_is_named_and_left_to_the_black_box(made, asked, tmp_path):
    path = made(
        tmp_path / "m.onnx",
        "a = Hardmax(x) y = Add(x, a)",
        opset=13,
    )
    with pytest.raises(BadModel, match=r"operator Hardmax \(a\) of ai.onnx opset 13 cannot be converted.*--black-box"):
        read_onnx(path)
    x = torch.randn(3, 3, 9, 11)
    assert np.array_equal(read_onnx_black_box(path)(x.numpy()), asked(path, x).numpy())


@pytest.mark.parametrize("wrong", [lambda x: x.abs(), lambda x: x * 1.001, lambda x: x.relu() + 0.001])
def test_a_wrong_conversion_is_found_and_named(made, tmp_path, monkeypatch, wrong):
    path = made(tmp_path / "m.onnx", SMALL, weights=BOTH)
    right = read_onnx(path)
    assert prove(path, right, torch.randn(4, 3, 9, 11)) < 1e-5
    table = {**operators(), ("", "Relu"): lambda call: call.do(wrong, call[0])}
    monkeypatch.setattr(onnx_graph, "operators", lambda: table)
    with pytest.raises(BadModel, match=r"the first operator that differs is Relu \(b\)"):
        read_onnx(path)
