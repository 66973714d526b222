"""Files and cards together, and what a stranger's file may have wrong."""

import numpy as np
import pytest
import torch
import yaml
from onnx import helper, load, numpy_helper
from safetensors.torch import save_file
from torch import nn

from radproof.core.files import sha256_file
from radproof.errors import BadModel
from radproof.models.card import ModelCard, save_model
from radproof.models.imported import FAR
from radproof.models.importers.onnx_ops.table import OPERATORS
from radproof.models.opening import Told, card_of, is_own, model_file, open_model
from radproof.models.preflight import preflight
from radproof.models.zoo import build

LABELS = ("a", "b", "c")
X = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1])


class End(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x)


def net(channels=3, classes=3, end=None):
    torch.manual_seed(3)
    layers = [nn.Conv2d(channels, 6, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, classes)]
    return nn.Sequential(*layers, *([End(end)] if end else [])).eval()


def pt2(path, model, channels=3, side=32):
    images = torch.export.Dim("images", min=1, max=64)
    program = torch.export.export(model, (torch.rand(2, channels, side, side),), dynamic_shapes=({0: images},))
    torch.export.save(program, path)
    return path


def onnx(path, model, channels=3, side=32, free=True, **more):
    torch.onnx.export(
        model, (torch.rand(2, channels, side, side),), path, dynamo=False, opset_version=17, input_names=["x"],
        dynamic_axes={"x": {0: "n"}} if free else None, **more,
    )  # fmt: skip
    return path


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def told(labels=LABELS, head="softmax", card=None, architecture=None):
    return Told(card, architecture, labels, head)


def card(path, **more):
    entries = {
        "architecture": "onnx", "labels": list(LABELS), "input_size": 32, "mean": [0.5] * 3, "std": [0.25] * 3,
        "hidden": 0,
    }  # fmt: skip
    path.write_text(yaml.safe_dump(entries | more))
    return path


def prepared(x, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


# Files and their cards


@pytest.mark.parametrize("write", [onnx, pt2])
def test_without_a_card_the_usual_is_assumed_and_the_suffix_means_nothing(tmp_path, write):
    file = write(tmp_path / "a.bin", net())
    model, found = open_model(file, told=told())
    assert torch.allclose(model(X), net()(prepared(X)), atol=1e-4)
    assert found.labels == LABELS and found.file == "a.bin" and found.imported == sha256_file(file)
    assert found.size == (32, 32)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_a_card_beside_the_file_in_its_folder_or_given(tmp_path):
    file = onnx(tmp_path / "model.onnx", net())
    expected = net()(prepared(X, (0.5,) * 3, (0.25,) * 3))
    card(tmp_path / "model.card.yaml")
    assert torch.allclose(open_model(file, told=told())[0](X), expected, atol=1e-4)
    (tmp_path / "model.card.yaml").rename(tmp_path / "card.yaml")
    assert card_of(file, told()) is None  # it does not name this file
    card(tmp_path / "card.yaml", file="model.onnx")
    assert torch.allclose(open_model(file, told=told())[0](X), expected, atol=1e-4)
    assert torch.allclose(open_model(tmp_path, told=told())[0](X), expected, atol=1e-4)
    other = card(tmp_path / "other.yaml", labels=["x", "y", "z"])
    assert open_model(file, told=told(card=other))[1].labels == ("x", "y", "z")


def test_a_card_of_another_file_is_refused(tmp_path):
    file = onnx(tmp_path / "model.onnx", net())
    card(tmp_path / "model.card.yaml", imported="0" * 64)
    with pytest.raises(BadModel, match="not the file that its card names"):
        open_model(file, told=told())
    card(tmp_path / "model.card.yaml", imported=sha256_file(file))
    assert open_model(file, told=told())[1].imported == sha256_file(file)


def test_an_own_folder_has_its_card(tmp_path):
    model = build("cxrnet", labels=LABELS, input_size=32, hidden=0)
    save_model(tmp_path, model, ModelCard(**dict(model.blueprint)))
    assert is_own(tmp_path)
    assert open_model(tmp_path, told=told())[1].architecture == "cxrnet"
    with pytest.raises(BadModel, match="has a card of its own"):
        open_model(tmp_path, told=told(architecture="resnet18"))


@pytest.mark.parametrize("named", ["", "../model.onnx", "/etc/passwd", "missing.onnx", "sub/model.onnx"])
def test_a_folders_card_names_a_file_beside_it(tmp_path, named):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "model.onnx").write_bytes(b"x")
    card(folder / "card.yaml", file=named)
    with pytest.raises(BadModel, match="names no model file beside it"):
        model_file(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(BadModel, match="there is no model at"):
        open_model(tmp_path / "missing", told=told())
    with pytest.raises(BadModel, match=r"holds no card\.yaml"):
        open_model(tmp_path, told=told())


def test_weights_alone_need_their_networks_name(tmp_path):
    save_file({"w": torch.rand(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(BadModel, match="say which network they are of: --architecture"):
        open_model(tmp_path / "a.safetensors", told=told())


# What files may have wrong


@pytest.mark.parametrize("write", [onnx, pt2])
@pytest.mark.parametrize(
    ("model", "channels", "said"),
    [
        (lambda: net(classes=2), 3, "gives 2 answers, and there are 3 classes"),
        (lambda: net(classes=1000), 3, "gives 1000 answers, and there are 3 classes"),
        (lambda: net(channels=4), 4, "expected (images of )?1 or 3"),
        (lambda: net(end=lambda x: x.argmax(1)), 3, "no real numbers|one number for each class"),
        (lambda: net(end=lambda x: x * float("nan")), 3, "answers NaN or infinity"),
    ],
)
def test_refused_by_name(tmp_path, write, model, channels, said):
    file = write(tmp_path / "m", model(), channels)
    with pytest.raises(BadModel, match=said):
        open_model(file, told=told())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"input_size": 64}, "takes 32 × 32 pixels only, its card says input_size 64 × 64"),
        ({"channels": 1, "mean": [0.5], "std": [0.5]}, "takes 3 channels, its card says 1"),
        ({"labels": ["a", "b"]}, "gives 3 answers, and there are 2 classes"),
        ({"mean": [0.5]}, "mean and std need 3 numbers"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_card_that_disagrees(tmp_path, more, said):
    file = onnx(tmp_path / "model.onnx", net())
    card(tmp_path / "model.card.yaml", **more)
    with pytest.raises(BadModel, match=said):
        open_model(file, told=told())


def doubts(tmp_path, model, write=onnx, labels=LABELS, y=Y, head="softmax"):
    opened, found = open_model(write(tmp_path / "m", model), told=told(labels, head))
    return {doubt.kind for doubt in preflight(opened, X, y, opened.labels, head)}, opened, found


@pytest.mark.parametrize("write", [onnx, pt2])
def test_probabilities_are_turned_into_logits(tmp_path, write):
    kinds, opened, found = doubts(tmp_path, net(end=lambda x: x.softmax(1)), write)
    assert kinds == set()
    assert torch.allclose(opened(X).softmax(1), net()(prepared(X)).softmax(1), atol=1e-4)
    assert "softmax" in " ".join(found.notes)


@pytest.mark.parametrize("write", [onnx, pt2])
@pytest.mark.parametrize("end", [None, torch.sigmoid])
def test_a_single_answer_is_two_classes(tmp_path, write, end):
    kinds, opened, found = doubts(tmp_path, net(classes=1, end=end), write, ("no", "yes"), Y % 2)
    assert kinds == set()
    said = opened(X).softmax(1)[:, 1]
    assert torch.allclose(said, net(classes=1)(prepared(X)).sigmoid()[:, 0], atol=1e-4)
    assert any("read as yes where it is above 0" in note for note in found.notes)


@pytest.mark.parametrize("write", [onnx, pt2])
def test_a_single_probability_made_otherwise_is_doubted(tmp_path, write):
    kinds, _, _ = doubts(tmp_path, net(classes=1, end=lambda x: x.tanh() * 0.5 + 0.5), write, ("no", "yes"), Y % 2)
    assert kinds == {"probabilities"}


def test_a_softmax_is_not_read_as_findings_side_by_side(tmp_path):
    with pytest.raises(BadModel, match="ends in a softmax"):
        doubts(tmp_path, net(end=lambda x: x.softmax(1)), head="sigmoid")


def test_sigmoids_read_as_one_class_are_told(tmp_path):
    _, _, found = doubts(tmp_path, net(end=torch.sigmoid))
    assert any("sigmoid for each class" in note for note in found.notes)


@pytest.mark.parametrize("write", [onnx, pt2])
@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda x: x.round(), "gradient-masking"),
        (lambda x: (x * 0.1).round() * 10, "gradient-masking"),
        (lambda x: x * 0 + 1, "constant-answers"),
        (lambda x: x - x.mean(0, keepdim=True), "batch-dependence"),
    ],
)
def test_doubted_by_name(tmp_path, write, end, kind):
    """What a file can express, and a gradient cannot climb or a figure not mean."""
    assert kind in doubts(tmp_path, net(end=end), write)[0]


def test_operators_without_gradients_are_refused_or_doubted(tmp_path):
    def end(x):
        return torch.nn.functional.one_hot(x.argmax(1), 3).float() * 9

    with pytest.raises(BadModel, match=r"OneHot.*--black-box"):
        doubts(tmp_path, net(end=end), onnx)
    assert "gradient-masking" in doubts(tmp_path, net(end=end), pt2)[0]


def test_dropout_left_on_is_switched_off_and_other_chance_refused(tmp_path):
    kinds, opened, _ = doubts(tmp_path, net(end=lambda x: torch.dropout(x, 0.5, True)), pt2)
    assert kinds == set()
    assert torch.allclose(opened(X), net()(prepared(X)), atol=1e-4)
    with pytest.raises(BadModel, match="rand"):
        doubts(tmp_path, net(end=lambda x: x + torch.rand_like(x)), pt2)


def test_several_answers_are_refused(tmp_path):
    with pytest.raises(BadModel, match=r"(?i)output|answers"):
        doubts(tmp_path, net(end=lambda x: {"logits": x, "other": x.mean(1)}), pt2)


# Proved on images of the data


def bright(mean=-100.0, std=1.0):
    return {"mean": [mean] * 3, "std": [std] * 3}


def some(n=3):
    return [torch.rand(1 if i else 3, 40 + i, 32, generator=torch.Generator().manual_seed(i)) for i in range(n)]


@pytest.mark.parametrize("free", [True, False])
def test_a_file_is_proved_on_images_as_its_card_shows_them(tmp_path, free, monkeypatch):
    file = onnx(tmp_path / "model.onnx", net(), free=free)
    card(tmp_path / "model.card.yaml", **bright())
    plain = Told(labels=LABELS)
    shown = Told(labels=LABELS, images=some)
    assert "on 3 of the data's images it answers as its file does" in open_model(file, told=shown)[1].notes
    assert not any("of the data's images" in note for note in open_model(file, told=plain)[1].notes)

    # A conversion that is wrong only beyond what made images reach.
    monkeypatch.setitem(OPERATORS, ("", "Relu"), lambda call: call.do(torch.clamp, call[0], 0.0, 20.0))
    open_model(file, told=plain)
    with pytest.raises(BadModel, match=r"model\.onnx: the converted network differs from its ONNX file .*Relu"):
        open_model(file, told=shown)


def test_a_file_that_takes_just_so_many_images_is_proved_too(tmp_path):
    class Whole(nn.Module):
        def forward(self, x):
            return x.reshape(2, 3, -1).mean(2) - x.mean()  # one image's answer depends on the other

    file = onnx(tmp_path / "model.onnx", Whole(), free=False)
    found = open_model(file, told=Told(labels=LABELS, images=some))[1]
    assert "on 3 of the data's images it answers as its file does" in found.notes


def test_images_are_read_for_onnx_alone(tmp_path):
    def never():
        raise AssertionError

    model = build("cxrnet", labels=LABELS, input_size=32, hidden=0)
    save_model(tmp_path / "own", model, ModelCard(**dict(model.blueprint)))
    open_model(tmp_path / "own", told=Told(labels=LABELS, images=never))
    open_model(pt2(tmp_path / "m.pt2", net()), told=Told(labels=LABELS, images=never))


@pytest.mark.parametrize(("std", "far"), [(0.25, True), (0.001, False)])
def test_a_stand_in_that_answers_otherwise_on_real_images_is_told(tmp_path, std, far):
    file = onnx(tmp_path / "model.onnx", net())
    whole = load(file)
    whole.graph.node[0].input[0] = "rounded"
    steps = {"s": np.float32(10), "z": np.uint8(128)}  # coarse: ordinary images all become zero
    whole.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in steps.items())
    whole.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s", "z"], ["rounded"]))
    whole.graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]))
    file.write_bytes(whole.SerializeToString())
    card(tmp_path / "model.card.yaml", mean=[0.5] * 3, std=[std] * 3)
    notes = open_model(file, told=Told(labels=LABELS, images=lambda: some(8)))[1].notes
    (note,) = [note for note in notes if "8 of the data's images the stand-in gives the same class for" in note]
    assert (FAR in note) == far
    assert not any(FAR in note for note in open_model(file, told=Told(labels=LABELS))[1].notes)
