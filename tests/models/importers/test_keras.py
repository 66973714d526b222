"""Keras networks as torch graphs: the same answers and gradients as Keras's own, and what is told of them."""

import copy
import json
import sys
import warnings
import zipfile
from importlib import import_module
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from radproof.errors import BadInput, BadModel
from radproof.models.blueprint import Blueprint
from radproof.models.classifier import ImageClassifier
from radproof.models.graph import cut
from radproof.models.importers.keras import read_keras
from radproof.models.importers.keras_build import import_keras

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = import_keras()
    found.utils.set_random_seed(0)
    return found


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(model):
    """Statistics and offsets that are not those of a new network."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta", "bias")):
            weight.assign(0.2 * rng.normal(size=weight.shape))
        elif weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(rng.uniform(0.5, 1.5, size=weight.shape))
    return model


def saved(model, folder, suffix=".keras"):
    path = folder / f"model{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


def answers(network, x):
    """What the graph says, with the closing function that was taken off."""
    logits = network.graph(x)
    return logits.softmax(-1) if network.head == "softmax" else logits.sigmoid()


def own(model, x, first=False):
    """What Keras says of (N, C, H, W)."""
    return model(x if first else x.permute(0, 2, 3, 1), training=False)


def calls(network, name):
    return sum(name in str(node.target) for node in network.graph.graph.nodes if node.op == "call_function")


def headed(keras, base):
    """A base with the published head, GAP, Dense 256 ReLU, Dropout 0.5, Dense 3 softmax, and lively statistics."""
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    base(torch.rand(16, *base.input_shape[1:], generator=seeded()), training=True)  # leaves its statistics behind
    rng = np.random.default_rng(0)
    for weight in base.weights:
        if weight.path.endswith(("moving_variance", "gamma")):
            weight.assign(weight * rng.uniform(0.8, 1.25, size=weight.shape))
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    x = keras.layers.Dense(256, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(base.input, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module")
def published(keras):
    """DenseNet with its four blocks, of two and three layers each instead of 121 in all."""
    build = import_module("keras.src.applications.densenet").DenseNet
    return headed(keras, build([2, 3, 2, 2], weights=None, include_top=False, input_shape=(64, 64, 3)))


@pytest.fixture(scope="module")
def densenet(published, tmp_path_factory):
    return read_keras(saved(published, tmp_path_factory.mktemp("densenet")))


@pytest.mark.parametrize("count", [1, 5])
def test_densenet_answers_as_in_keras(published, densenet, count):
    x = torch.rand(count, 3, 64, 64, generator=seeded())
    torch.testing.assert_close(answers(densenet, x), own(published, x), rtol=1e-4, atol=1e-5)
    assert (densenet.channels, densenet.size, densenet.classes, densenet.head) == (3, (64, 64), 3, "softmax")
    assert densenet.batch is None and densenet.exact is None
    assert not any(weight.requires_grad for weight in densenet.graph.parameters())
    assert calls(densenet, "permute") == calls(densenet, "dropout") == 0


def test_densenet_gradients_are_those_of_torch_through_keras(published, densenet):
    x = torch.rand(2, 3, 64, 64, generator=seeded(1), requires_grad=True)
    of_graph = torch.autograd.grad(torch.log_softmax(densenet.graph(x), -1)[:, 0].sum(), x)[0]
    of_keras = torch.autograd.grad(own(published, x)[:, 0].log().sum(), x)[0]
    torch.testing.assert_close(of_graph, of_keras, rtol=1e-3, atol=1e-3 * float(of_keras.abs().max()))


def slope(f, start, way, step):
    """Central difference of a function of images along a direction."""
    with torch.no_grad():
        return float((f(start + step * way) - f(start - step * way)) / (2 * step))


def ways(gradient):
    """The gradient's own direction, and random ones as long as it."""
    yield gradient / gradient.norm()
    for seed in range(4):
        way = torch.randn(gradient.shape, generator=seeded(seed), dtype=torch.float64)
        yield way / way.norm()


def test_densenet_gradients_are_finite_differences(published, densenet):
    """Of Keras's own forward pass, whose float32 allows 1 % of the gradient; of the graph in float64, far closer."""
    x = torch.rand(1, 3, 64, 64, generator=seeded(2), requires_grad=True)
    gradient = torch.autograd.grad(torch.log_softmax(densenet.graph(x), -1)[0, 1], x)[0].double()
    start, size = x.detach().double(), float(gradient.norm())
    double = copy.deepcopy(densenet.graph).double()
    for way in ways(gradient):
        exact = float((gradient * way).sum())
        of_keras = slope(lambda x: own(published, x.float())[0, 1].log(), start, way, 1e-3)
        of_graph = slope(lambda x: torch.log_softmax(double(x), -1)[0, 1], start, way, 1e-7)
        assert of_keras == pytest.approx(exact, abs=0.01 * size)
        assert of_graph == pytest.approx(exact, abs=1e-4 * size)


def test_densenet_falls_to_pgd(densenet):
    blueprint = Blueprint(
        architecture="keras", labels=("a", "b", "c"), input_size=64, mean=(0.0,) * 3, std=(1.0,) * 3, hidden=0
    )
    model = ImageClassifier(blueprint, *cut(densenet.graph, torch.zeros(2, 3, 64, 64))).freeze()
    clean = torch.rand(4, 3, 64, 64, generator=seeded(3))
    assert model.feature_maps(clean).shape[2:] == (2, 2)
    torch.testing.assert_close(model(clean), densenet.graph(clean), rtol=1e-5, atol=1e-5)
    truth, x = model(clean).argmax(1), clean
    for _ in range(20):
        x = x.detach().requires_grad_()
        step = torch.autograd.grad(torch.nn.functional.cross_entropy(model(x), truth, reduction="sum"), x)[0].sign()
        x = (clean + (x + step * 2 / 255 - clean).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    assert (model(x).argmax(1) != truth).float().mean() >= 0.75


def test_densenet_from_hdf5(published, densenet, tmp_path):
    x = torch.rand(3, 3, 64, 64, generator=seeded())
    assert torch.equal(read_keras(saved(published, tmp_path, ".h5")).graph(x), densenet.graph(x))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_densenet121(keras, tmp_path, suffix):
    base = keras.applications.DenseNet121(weights=None, include_top=False, input_shape=(64, 64, 3))
    model = headed(keras, base)
    network = read_keras(saved(model, tmp_path, suffix))
    for count in (1, 5):
        x = torch.rand(count, 3, 64, 64, generator=seeded(), requires_grad=True)
        torch.testing.assert_close(answers(network, x), own(model, x), rtol=1e-4, atol=1e-5)
    x = x.detach()[:1].requires_grad_()
    gradient = torch.autograd.grad(torch.log_softmax(network.graph(x), -1)[0, 1], x)[0].double()
    start, size = x.detach().double(), float(gradient.norm())
    for way in ways(gradient):
        of_keras = slope(lambda x: own(model, x.float())[0, 1].log(), start, way, 1e-3)
        assert of_keras == pytest.approx(float((gradient * way).sum()), abs=0.01 * size)


def sequential(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((16, 24, 1)),
            layers.RandomFlip(),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(4),
            layers.Activation("softmax"),
        ]
    )


def functional(keras):
    """Branches, squeeze and excitation, several findings, a preprocessing that Keras writes as operations."""
    layers = keras.layers
    given = layers.Input((32, 24, 3))
    x = keras.applications.mobilenet_v2.preprocess_input(given)
    x = layers.Conv2D(8, 3, padding="same", activation="swish")(x)
    x = layers.BatchNormalization()(x)
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply()([x, layers.Conv2D(8, 1, activation="sigmoid")(squeezed)])
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Concatenate()([layers.Add()([x, y]), y])
    x = layers.UpSampling2D()(layers.LeakyReLU()(layers.AveragePooling2D(2)(x)))
    x = layers.PReLU(shared_axes=[1, 2])(layers.SeparableConv2D(4, 3)(layers.ZeroPadding2D(1)(x)))
    x = layers.GlobalMaxPooling2D()(layers.LayerNormalization()(layers.Cropping2D(1)(x)))
    return keras.Model(given, layers.Dense(3, activation="sigmoid")(x))


def nested(keras):
    layers = keras.layers
    base = keras.Sequential(
        [layers.Input((16, 16, 3)), layers.Conv2D(6, 3, activation="relu"), layers.BatchNormalization()]
    )
    given = layers.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(base(given, training=False))
    return keras.Model(given, layers.Softmax()(layers.Dense(2)(x)))


def lazy(keras):
    """A network that learns its input's shape when it is built, with one answer."""
    layers = keras.layers
    model = keras.Sequential([layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(1, activation="sigmoid")])
    model.build((None, 12, 12, 3))
    return model


SMALL = [
    (sequential, (1, (16, 24), 4, "softmax"), 255),
    (functional, (3, (32, 24), 3, "sigmoid"), 255),
    (nested, (3, (16, 16), 2, "softmax"), 1),
    (lazy, (3, (12, 12), 1, "sigmoid"), 1),
]


@pytest.mark.parametrize(("make", "told", "top"), SMALL)
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_small_networks_answer_as_in_keras(keras, tmp_path, make, told, top, suffix):
    model = shaken(make(keras))
    network = read_keras(saved(model, tmp_path, suffix))
    assert (network.channels, network.size, network.classes, network.head) == told
    for count in (1, 5):
        x = top * torch.rand(count, network.channels, *network.size, generator=seeded(count))
        torch.testing.assert_close(answers(network, x), own(model, x), rtol=1e-4, atol=1e-5)
    assert network.hints.get("range") == ((0.0, 255.0) if top == 255 else None)
    assert any(f"the {network.head} at the end was taken off" in note for note in network.notes)


def test_channels_first(keras, tmp_path):
    layers, first = keras.layers, "channels_first"
    model = shaken(
        keras.Sequential(
            [
                layers.Input((3, 10, 12)),
                layers.Conv2D(5, 3, data_format=first, padding="same"),
                layers.BatchNormalization(axis=1),
                layers.MaxPooling2D(data_format=first),
                layers.GlobalAveragePooling2D(data_format=first),
                layers.Dense(2),
            ]
        )
    )
    network = read_keras(saved(model, tmp_path))
    assert (network.size, network.head) == ((10, 12), None)
    x = torch.rand(5, 3, 10, 12, generator=seeded())
    torch.testing.assert_close(network.graph(x), own(model, x, first=True), rtol=1e-4, atol=1e-5)


def test_networks_of_any_size(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((None, None, 3)),
            layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    network = read_keras(saved(model, tmp_path))
    assert network.size is None
    for size in ((31, 40), (224, 224), (64, 65)):
        x = torch.rand(3, 3, *size, generator=seeded())
        torch.testing.assert_close(answers(network, x), own(model, x), rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_float32(keras, tmp_path):
    layers, policy = keras.layers, "mixed_float16"
    model = keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(4, 3, dtype=policy),
            layers.GlobalAveragePooling2D(dtype=policy),
            layers.Dense(2, dtype="float16"),
        ]
    )
    network = read_keras(saved(model, tmp_path))
    x = torch.rand(3, 3, 8, 8, generator=seeded())
    assert network.graph(x).dtype == torch.float32
    torch.testing.assert_close(network.graph(x), own(model, x).float(), rtol=0.02, atol=0.01)
    assert "computed in float32 where the file says mixed_float16" in network.notes


def test_files_of_keras_2(keras, tmp_path):
    """Its first layer tells the input, axes are lists, a depthwise convolution names its groups."""
    layers = keras.layers
    model = shaken(
        keras.Sequential(
            [
                layers.Input((8, 8, 3)),
                layers.DepthwiseConv2D(3),
                layers.BatchNormalization(),
                layers.GlobalAveragePooling2D(),
                layers.Dense(2, activation="softmax"),
            ]
        )
    )
    path = saved(model, tmp_path, ".h5")
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        old = config["config"]["layers"][1:]
        old[0]["config"] |= {"batch_input_shape": [None, 8, 8, 3], "groups": 1}
        old[1]["config"]["axis"] = [3]
        for layer in old:
            layer["config"]["dtype"] = "float32"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "old", "layers": old}})
    network = read_keras(path)
    x = torch.rand(3, 3, 8, 8, generator=seeded())
    torch.testing.assert_close(answers(network, x), own(model, x), rtol=1e-4, atol=1e-5)


def test_names_of_files_do_not_matter(keras, tmp_path):
    path = saved(lazy(keras), tmp_path)
    other = path.rename(tmp_path / "0a1b2c")
    assert read_keras(other).classes == 1


def rewritten(path, change):
    """The same archive with another configuration."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    change(config)
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def widened(config):
    """Two layers, each no wider than the file has weights, and together 2000 times larger."""
    layer = json.loads(json.dumps(config["config"]["layers"][-1]))
    layer["config"] |= {"units": 600, "name": "wide"}
    again = json.loads(json.dumps(layer))
    again["config"]["name"] = "wider"
    for one in (layer, again, config["config"]["layers"][-1]):
        del one["build_config"]
    config["config"]["layers"][-1:-1] = [layer, again]


def test_more_weights_than_the_file_holds_are_never_allocated(keras, tmp_path, monkeypatch):
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((12, 12, 3)), layers.Conv2D(24, 3), layers.GlobalMaxPooling2D(), layers.Dense(2)]
    )
    path = rewritten(saved(model, tmp_path), widened)
    monkeypatch.setattr(type(model), "load_weights", lambda *a, **k: pytest.fail("filled"))
    with pytest.raises(BadModel, match=r"describes a network of 377,474 weights, and holds 722"):
        read_keras(path)


def test_weights_that_are_missing_or_of_another_shape(keras, tmp_path):
    path = saved(lazy(keras), tmp_path)

    def narrower(config):
        config["config"]["layers"][-1]["config"]["units"] = 3
        config["config"]["layers"][-1].pop("build_config", None)

    with pytest.raises(BadModel, match=r"model.keras: Keras cannot fill this network with its weights"):
        read_keras(rewritten(path, narrower))


def test_what_is_no_classifier_of_images(keras, tmp_path):
    layers = keras.layers
    image, other = layers.Input((8, 8, 3)), layers.Input((8, 8, 3))
    pooled = layers.GlobalAveragePooling2D()(image)
    both = layers.GlobalAveragePooling2D()(layers.Add()([image, other]))
    for model, words in (
        (keras.Model([image, other], layers.Dense(2)(both)), "expected one image"),
        (keras.Model(image, [layers.Dense(2)(pooled), layers.Dense(3)(pooled)]), "expected (N, K)"),
        (keras.Model(image, layers.Conv2D(2, 1)(image)), "expected (N, K)"),
        (keras.Sequential([layers.Input((9,)), layers.Dense(2)]), "expected one image"),
        (keras.Sequential([layers.Input((8, 8, 4)), layers.Flatten(), layers.Dense(2)]), "4 channels"),
    ):
        with pytest.raises(BadModel) as caught:
            read_keras(saved(model, tmp_path))
        assert words in str(caught.value)


def test_a_backend_that_runs_already(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(backend=SimpleNamespace(backend=lambda: "jax")))
    with pytest.raises(BadInput, match=r"Keras runs on jax in this process already; set KERAS_BACKEND=torch"):
        import_keras()


def test_code_in_a_lambda_runs_where_nobody_asks(keras, tmp_path):
    """A Lambda layer that writes a file, as any user of Keras without safe mode finds out."""
    victim = tmp_path / "written-by-the-model"
    code = eval(f"lambda x: (open({str(victim)!r}, 'w').close(), x)[1]")
    for suffix in (".keras", ".h5"):
        path = saved(keras.Sequential([keras.layers.Input((8, 8, 3)), keras.layers.Lambda(code)]), tmp_path, suffix)
        victim.unlink(missing_ok=True)
        keras.models.load_model(path, safe_mode=False, compile=False)
        assert victim.exists()
        victim.unlink()
        with pytest.raises(BadModel, match="holds a Lambda layer: Python code"):
            read_keras(path)
        assert not victim.exists()
