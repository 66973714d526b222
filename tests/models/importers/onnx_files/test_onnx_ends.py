"""Quantised files that end in a softmax or sigmoid: what radproof hands on are logits, and decisions are the file's."""

import numpy as np
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from torch import nn

from radproof.models.assembly import answering, assembled, guessed
from radproof.models.importers.onnx import read_onnx
from radproof.models.importers.onnx_parity import prove
from radproof.models.importers.onnx_quantised import agreement

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
ENDS = {"sigmoid": (1, nn.Sigmoid), "softmax": (3, lambda: nn.Softmax(1)), "findings": (3, nn.Sigmoid)}
FORMS = ("QDQ", "QOperator", "dynamic")


def images(n, classes, seed):
    """Pixels (n, 3, 16, 16) and classes: where a bright square stands."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.randint(0, max(classes, 2), (n,), generator=rng)
    x = torch.rand(n, 1, 16, 16, generator=rng) * 0.6
    for i, where in enumerate(y.tolist()):
        x[i, 0, 5 * where : 5 * where + 5] += 0.3
    return x.expand(-1, 3, -1, -1), y


class Reader(CalibrationDataReader):
    def __init__(self, classes):
        self.left = [{"x": ((images(32, classes, seed)[0] - MEAN) / STD).numpy()} for seed in range(5, 9)]

    def get_next(self):
        return self.left.pop() if self.left else None


@pytest.fixture(scope="module", params=ENDS)
def trained(request, tmp_path_factory):
    """A trained network's file, its name and its number of answers."""
    classes, end = ENDS[request.param]
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(128, classes)]
    net = nn.Sequential(*body)
    steps = torch.optim.Adam(net.parameters(), 1e-2)
    for step in range(60):
        x, y = images(32, classes, 100 + step)
        z = net((x - MEAN) / STD)
        truth = y[:, None].float() if classes == 1 else nn.functional.one_hot(y, classes).float()
        loss = nn.functional.cross_entropy(z, y) if request.param == "softmax" else None
        loss = nn.functional.binary_cross_entropy_with_logits(z, truth) if loss is None else loss
        steps.zero_grad()
        loss.backward()
        steps.step()
    path = tmp_path_factory.mktemp(request.param) / "m.onnx"
    whole = nn.Sequential(net, end()).eval().requires_grad_(False)
    torch.onnx.export(
        whole, (torch.randn(1, 3, 16, 16),), path, dynamo=False, opset_version=17, input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    return path, request.param, classes


def quantised(path, form, classes):
    out = path.with_name(f"{form}.onnx")
    if form == "dynamic":
        quantize_dynamic(path, out, weight_type=QuantType.QUInt8)
    else:
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(path, out, Reader(classes), quant_format=QuantFormat[form], **kinds)
    return out


@pytest.mark.parametrize("form", FORMS)
def test_the_classifier_decides_as_the_file_does(trained, asked, form):
    plain, name, classes = trained
    path = quantised(plain, form, classes)
    network = read_onnx(path)
    head, labels = "sigmoid" if name == "findings" else "softmax", ("a", "b", "c")[: max(classes, 2)]
    model = assembled(network, guessed(network, labels, head, architecture="onnx", name="q")).freeze()
    x, y = images(160, classes, 1)
    shown = (x - MEAN) / STD
    told = torch.cat([asked(path, image) for image in shown.split(1)])  # the file's own probabilities
    logits = model(x)

    closed = logits.softmax(1)[:, 1:] if name == "sigmoid" else logits.softmax(1) if head == "softmax" else None
    closed = logits.sigmoid() if closed is None else closed
    torch.testing.assert_close(closed, told, atol=0.006, rtol=0)
    if name == "findings":
        clear = (told - 0.5).abs() > 1 / 128
        assert int(clear.sum()) > 300
        assert torch.equal((logits > 0)[clear], (told > 0.5)[clear])
    else:
        both = torch.cat([1 - told, told], 1) if name == "sigmoid" else told
        clear = both.topk(2, 1).values.diff(dim=1).abs()[:, 0] > 1 / 128
        assert int(clear.sum()) > 100
        assert torch.equal(logits.argmax(1)[clear], both.argmax(1)[clear])
        assert float((logits.argmax(1) == y).float().mean()) > 0.9
        turned = answering(model, labels[::-1])(x)
        assert torch.equal(turned, logits.flip(1))
    assert network.head == ("softmax" if name == "softmax" else "sigmoid")


@pytest.mark.parametrize("form", FORMS)
def test_they_are_logits_beyond_what_the_files_probabilities_can_tell(trained, form):
    plain, _, classes = trained
    network = read_onnx(quantised(plain, form, classes))
    x, _ = images(64, classes, 2)
    shown = (x - MEAN) / STD
    exact = network.exact(shown)
    assert float(exact.amin()) < 0 and float(exact.amax() - exact.amin()) > 2
    found = agreement(exact, network.graph(shown), one_each=classes == 1)
    assert found.same > 0.9 and found.near > 0.98 and not found.far
    alone = torch.cat([network.exact(image) for image in shown.split(1)])
    assert torch.equal(exact, alone)  # whatever else is in the batch
    assert prove(plain.with_name(f"{form}.onnx"), network, shown) < 0.02


def weights(scale, zero=0):
    return {"s": np.float32(scale), "z": np.uint8(zero)}


def test_a_file_whose_integers_end_short_of_1_is_not_sure_beyond_them(made, asked, tmp_path):
    nodes = "p = Sigmoid(x) q = QuantizeLinear(p, s, z) y = DequantizeLinear(q, s, z)"
    path = made(tmp_path / "m.onnx", nodes, weights=weights(0.4 / 255), shape=("N", 3, 1, 1))
    network, x = read_onnx(path), torch.linspace(-4, 4, 48).reshape(16, 3, 1, 1)
    torch.testing.assert_close(network.exact(x).sigmoid(), asked(path, x), atol=0.001, rtol=0)
    assert not bool((network.exact(x) > 0).any())
    whole = made(tmp_path / "w.onnx", nodes, weights=weights(1 / 256), shape=("N", 3, 1, 1))
    torch.testing.assert_close(read_onnx(whole).exact(x), x.flatten(1))  # 255/256 is as near to 1 as they come


@pytest.mark.parametrize("behind", ["", "q = QuantizeLinear(p, s, z) y = DequantizeLinear(q, s, z)"])
def test_logarithms_of_probabilities_are_logits_already(made, asked, tmp_path, behind):
    first = "a = QuantizeLinear(x, t, o) b = DequantizeLinear(a, t, o) c = Flatten(b)"
    nodes = f"{first} {'p' if behind else 'y'} = LogSoftmax<axis=1>(c) {behind}"
    stored = {"t": np.float32(0.03), "o": np.uint8(128)} | (weights(0.04, 255) if behind else {})
    path = made(tmp_path / "m.onnx", nodes, weights=stored, shape=("N", 3, 1, 1))
    network, x = read_onnx(path), torch.randn(20, 3, 1, 1)
    assert torch.equal(network.exact(x), asked(path, x))


@pytest.mark.parametrize("batch", ["N", 4])
def test_rounding_that_follows_from_the_batch_is_asked_for_one_image_at_a_time(made, asked, tmp_path, batch):
    nodes = "q, s, z = DynamicQuantizeLinear(x) y = DequantizeLinear(q, s, z)"
    path = made(tmp_path / "m.onnx", nodes, shape=(batch, 3, 2, 2))
    network, x = read_onnx(path), torch.randn(6, 3, 2, 2) * torch.logspace(-2, 1, 6).view(6, 1, 1, 1)
    copies = [asked(path, image.expand(4, -1, -1, -1).contiguous())[:1] for image in x]
    assert torch.equal(network.exact(x), torch.cat(copies))


def test_agreement_by_hand():
    exact = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [0.0, 3.0]])
    assert (agreement(exact, exact, one_each=False).same, agreement(exact, exact, one_each=False).far) == (1, False)
    other = exact.clone()
    other[0] = torch.tensor([0.0, 0.1])
    assert agreement(exact, other, one_each=False).same == 0.75
    assert agreement(exact, other, one_each=False).far
    assert agreement(exact, other, one_each=True).same == 6 / 8
    assert agreement(exact, -exact, one_each=True).near == pytest.approx(-1)
    assert agreement(exact * 0, exact, one_each=True).near == 0  # constant, and the other is not
    assert agreement(exact * 0, exact * 0, one_each=True).near == 1
    bias = torch.tensor([100.0, -100.0])  # that one class is always likelier says nothing of the images
    assert agreement(exact + bias, bias - exact, one_each=False).near == pytest.approx(-1)
