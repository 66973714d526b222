import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from radproof.errors import BadInput, BadModel, UnknownName
from radproof.models.blueprint import Blueprint
from radproof.models.weights import shapes_of
from radproof.models.zoo import build, expected_shapes, from_blueprint

LABELS = ("Normal", "Pneumonia")
SMALL = "mobilenetv3_small_050"


def test_misspelt_architecture_names_the_nearest():
    with pytest.raises(UnknownName, match="densenet121"):
        build("densnet121", labels=LABELS)
    with pytest.raises(UnknownName, match="cxrnet"):
        build("cxr-net", labels=LABELS)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp/x", "zzzzzz", ""])
def test_only_known_names_are_built(name):
    with pytest.raises(UnknownName, match="no network named"):
        build(name, labels=LABELS)


def test_head_of_the_published_recipe():
    model = build(SMALL, labels=("a", "b", "c"), input_size=64)
    assert [type(layer).__name__ for layer in model.top] == ["Linear", "ReLU", "Dropout", "Linear"]
    assert model.top.hidden.out_features == 256
    assert model.top.dropout.p == 0.5
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 3)


def test_linear_head():
    model = build("cxrnet", labels=LABELS, hidden=0, input_size=32)
    assert [type(layer).__name__ for layer in model.top] == ["Linear"]


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (build("cxrnet", labels=LABELS, seed=seed).fingerprint() for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert first == again != other


def test_mean_and_std_are_timms_unless_given():
    model = build(SMALL, labels=LABELS, input_size=64)
    config = resolve_data_config({}, model=timm.create_model(SMALL))
    assert model.blueprint.mean == config["mean"]
    assert model.blueprint.std == config["std"]
    other = build(SMALL, labels=LABELS, input_size=64, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    assert other.blueprint.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": ("only",)}, "two classes"),
        ({"labels": ("a", "a")}, "differ"),
        ({"labels": ("a", " b")}, "spaces"),
        ({"labels": ()}, "labels"),
        ({"input_size": 8}, "input_size"),
        ({"mean": (0.5,)}, "one per channel"),
        ({"std": (0.0, 1.0, 1.0)}, "std"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "mean"),
        ({"head": "sofmax"}, "head"),
    ],
)
def test_refuses_impossible_values(changes, words):
    with pytest.raises(BadInput, match=words):
        build(SMALL, **{"labels": LABELS, **changes})


def test_weights_of_a_whole_timm_network_fit(tmp_path):
    theirs = timm.create_model(SMALL).eval()
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    model = build(
        SMALL, labels=LABELS, input_size=64, mean=(0, 0, 0), std=(1, 1, 1), weights=tmp_path / "w.safetensors"
    )
    x = torch.rand(2, 3, 64, 64)
    expected = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
    assert torch.allclose(model.freeze().features(x), expected, atol=1e-5)


def test_weights_of_another_architecture_are_refused(tmp_path):
    safetensors.torch.save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BadModel, match=r"lacks blocks.* and has besides conv1"):
        build(SMALL, labels=LABELS, weights=tmp_path / "w.safetensors")


def test_weights_and_pretrained_exclude_each_other():
    with pytest.raises(BadInput, match="either"):
        build("cxrnet", labels=LABELS, weights="x.safetensors", pretrained=True)


def test_pretrained_without_network_says_what_to_do(monkeypatch):
    def offline(*_args, **_options):
        raise ConnectionError("no route")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(BadModel, match="safetensors"):
        build(SMALL, labels=LABELS, pretrained=True)


def test_cxrnet_has_no_pretrained_weights():
    with pytest.raises(BadModel, match="cxrnet"):
        build("cxrnet", labels=LABELS, pretrained=True)


@pytest.mark.parametrize("name", ["cxrnet", SMALL])
def test_expected_shapes_are_the_real_ones(name):
    three = 1 if name == "cxrnet" else 3
    blueprint = Blueprint(architecture=name, labels=LABELS, channels=three, mean=(0,) * three, std=(1,) * three)
    assert expected_shapes(blueprint) == shapes_of(from_blueprint(blueprint).state_dict())


def test_shared_efficientnet_fits_but_for_its_classifier_and_sees_what_timm_shows_it(shared):
    path = shared / "weights" / "timm-tf_efficientnet_lite0-imagenet.safetensors"
    model = build("tf_efficientnet_lite0", labels=LABELS, weights=path).freeze()
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(safetensors.torch.load_file(path))
    ours = model.backbone.state_dict()
    assert theirs.state_dict().keys() - ours.keys() == {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.items())
    config = {**resolve_data_config({}, model=theirs), "crop_pct": 1.0, "interpolation": "bilinear"}
    file = min((shared / "data" / "nih-chestxray14-320" / "images").iterdir())
    with Image.open(file) as image:
        shown = create_transform(**config)(image.convert("RGB")).unsqueeze(0)
        grey = torch.frombuffer(bytearray(image.convert("L").tobytes()), dtype=torch.uint8).reshape(1, 1, 320, 320)
    # Pillow rounds to 8 bits after each of two passes; one grey level is 2/255 after normalisation.
    assert (model.prepare(grey / 255) - shown).abs().max() < 4 / 255
