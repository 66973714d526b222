"""Hostile Keras files: each is refused by name before Keras is asked, and does its damage where nobody asks."""

import json
import os
import stat
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest

from radproof.errors import BadModel
from radproof.models.importers import keras as importer
from radproof.models.importers.keras import read_keras

KERNEL, BIAS = (3, 3, 3, 4), (4,)
DENSE, DENSE_BIAS = (4, 2), (2,)


class Reached(Exception):
    """Keras was asked."""


@pytest.fixture(autouse=True)
def _no_keras(monkeypatch):
    def reached(*args, **more):
        raise Reached

    monkeypatch.setattr(importer, "rebuilt", reached)


def layer(kind, name, **config):
    return {"module": "keras.layers", "class_name": kind, "config": {"name": name, **config}, "registered_name": None}


def small(*more, **top):
    """The configuration of a Sequential network: convolution, pooling, two classes."""
    layers = [
        layer("InputLayer", "given", batch_shape=[None, 8, 8, 3], dtype="float32"),
        layer("Conv2D", "conv", filters=4, kernel_size=[3, 3], activation="relu"),
        *more,
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dense", "dense", units=2, activation="softmax"),
    ]
    config = {"name": "small", "layers": layers}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None, **top}


def weights_to(file):
    rng = np.random.default_rng(0)
    for place, shape in (("conv/vars/0", KERNEL), ("conv/vars/1", BIAS), ("dense/vars/0", DENSE)):
        file[f"layers/{place}"] = rng.normal(size=shape).astype("float32")
    file["layers/dense/vars/1"] = np.zeros(DENSE_BIAS, "float32")


def zipped(folder, config=None, change=weights_to, more=(), text=None, name="model.keras"):
    with h5py.File(folder / "weights.h5", "w") as file:
        change(file)
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        archive.writestr("config.json", text or json.dumps(config or small()))
        archive.write(folder / "weights.h5", "model.weights.h5")
        for entry, content in more:
            archive.writestr(entry, content)
    return path


def hdf5(folder, config=None, change=None):
    path = folder / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config or small())
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"conv", b"dense"]
        group["conv/kernel"] = np.ones(KERNEL, "float32")
        if change:
            change(file)
    return path


def refused(path, *words):
    with pytest.raises(BadModel) as caught:
        read_keras(path)
    for word in words:
        assert word in str(caught.value)
    assert path.name in str(caught.value)


def outside(code, *arguments):
    """Run in a throw-away process with little memory."""
    cap = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
    run = [sys.executable, "-c", cap + code, *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_the_plain_files_pass_all_checks(tmp_path):
    for path in (zipped(tmp_path), hdf5(tmp_path)):
        with pytest.raises(Reached):
            read_keras(path)


LAMBDA = {"class_name": "__lambda__", "config": {"code": "4wA=", "defaults": None, "closure": None}}
HOSTILE = {
    "Lambda": (layer("Lambda", "code", function=LAMBDA), "Lambda layer"),
    "lambda as activation": (layer("Activation", "code", activation=LAMBDA), "Python code"),
    "lambda in a corner": (layer("Dropout", "code", rate=0.5, noise_shape=LAMBDA), "Python code"),
    "torch module": (layer("TorchModuleWrapper", "code", module="UEsDBA=="), "pickled torch module"),
    "TensorFlow program": (layer("TFSMLayer", "code", filepath="/tmp/x"), "TensorFlow program"),
    "os.system as class": ({**layer("system", "code"), "module": "os"}, "'system' of 'os'"),
    "a known name from elsewhere": ({**layer("Dense", "code", units=2), "module": "os"}, "'Dense' of 'os'"),
    "a registered name": ({**layer("Dense", "code", units=2), "registered_name": "evil>Dense"}, "no part of Keras"),
    "a helper of Keras": ({**layer("get_file", "code"), "module": "keras.utils"}, "'get_file'"),
    "another operation": ({**layer("GetItem", "x"), "module": "keras.src.ops.numpy"}, "'GetItem'"),
    "function as activation": (
        layer("Dense", "code", units=2, activation={"module": "os", "class_name": "function", "config": "system"}),
        "calls 'system' as an activation",
    ),
    "function elsewhere": (
        layer("Dropout", "x", rate={"module": "builtins", "class_name": "function", "config": "eval"}),
        "'function'",
    ),
    "wide layer": (layer("Dense", "bomb", units=10**9), "'units' is 1e+09"),
    "wide kernel": (layer("Conv2D", "bomb", filters=1, kernel_size=[10**6, 10**7]), "'kernel_size' is 1e+07"),
    "training mode": (
        {**layer("BatchNormalization", "x"), "inbound_nodes": [{"args": [], "kwargs": {"training": True}}]},
        "training mode",
    ),
    "int8": (
        layer("Dense", "x", units=2, dtype={"class_name": "QuantizedDTypePolicy", "config": {"name": "i8"}}),
        "i8",
    ),
}


@pytest.mark.parametrize("which", HOSTILE)
@pytest.mark.parametrize("make", [zipped, hdf5])
def test_configurations(tmp_path, make, which):
    bad, words = HOSTILE[which]
    refused(make(tmp_path, small(bad)), words)
    hidden = {"class_name": "Sequential", "config": {"name": "within", "layers": [bad]}}
    refused(make(tmp_path, small(hidden)), words)


def test_what_matters_in_training_alone_is_left_out(tmp_path):
    evil = {"module": "os", "class_name": "system", "config": {}}
    config = small(compile_config={"optimizer": evil, "loss": evil})
    config["config"]["layers"][1]["config"] |= {"kernel_initializer": evil, "kernel_regularizer": evil}
    with pytest.raises(Reached):
        read_keras(zipped(tmp_path, config))


def test_networks_whose_code_is_elsewhere(tmp_path):
    refused(zipped(tmp_path, {**small(), "class_name": "MyNet", "module": "my"}), "not a Sequential", "model convert")


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5 + "1" + "}" * 10**5, "not json", "[1]", "1" * 10**5])
def test_json_that_is_none(tmp_path, text):
    refused(zipped(tmp_path, text=text), "configuration")


def test_deep_configurations(tmp_path):
    deep = layer("Dropout", "x", rate=0.5)
    for _ in range(60):
        deep = {"class_name": "Sequential", "config": {"name": "s", "layers": [deep]}}
    refused(zipped(tmp_path, small(deep)), "nested too deep")


def test_archives_that_write_outside(tmp_path):
    for entry in ("../outside", "/absolute", "assets/../../x", "config.json/x", "model.zip", "a\\..\\b", "CONFIG.JSON"):
        refused(zipped(tmp_path, more=[(entry, b"x")]), "nothing else")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_with_a_second_configuration(tmp_path):
    refused(zipped(tmp_path, more=[("config.json", "{}")]), "twice")


def test_archives_with_links(tmp_path):
    path = tmp_path / "link.keras"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("config.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("model.weights.h5", b"x")
    refused(path, "link")


def test_archives_that_swell(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(small()))
        archive.writestr("model.weights.h5", bytes(200 * 2**20))
    assert path.stat().st_size < 2**20  # of 200 MiB
    refused(path, "would grow to 209,715,200 bytes")


def test_archives_without_weights(tmp_path):
    path = tmp_path / "half.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(small()))
    refused(path, "holds no model.weights.h5")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model.weights.h5", b"PK\x03\x04 an archive within")
    refused(path, "is no HDF5 file")


@pytest.mark.parametrize("make", [zipped, hdf5])
def test_files_cut_short(tmp_path, make):
    whole = make(tmp_path).read_bytes()
    path = tmp_path / "cut"
    for share in (0, 4, 8, len(whole) // 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:share])
        refused(path)


def test_bytes_turned_over_never_leave_the_house_of_errors(tmp_path):
    rng = np.random.default_rng(1)
    for make in (zipped, hdf5):
        whole = bytearray(make(tmp_path).read_bytes())
        path = tmp_path / "turned"
        for at in rng.integers(0, len(whole), 60):
            broken = bytearray(whole)
            broken[at] ^= 0xFF
            path.write_bytes(broken)
            with pytest.raises((BadModel, Reached)):
                read_keras(path)


def secret_of(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.arange(4, dtype="float32").tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["there"] = np.arange(4, dtype="float32")
    return secret


def external_link(tmp_path):
    secret_of(tmp_path)
    return lambda file: file.__setitem__("model_weights/conv/bias", h5py.ExternalLink(tmp_path / "secret.h5", "/there"))


def virtual(tmp_path):
    secret_of(tmp_path)

    def change(file):
        layout = h5py.VirtualLayout(BIAS, "float32")
        layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "there", BIAS)
        file.create_virtual_dataset("model_weights/conv/bias", layout)

    return change


def external_storage(tmp_path):
    secret = secret_of(tmp_path)
    return lambda file: file.create_dataset("model_weights/conv/bias", BIAS, "float32", external=[(secret, 0, 16)])


@pytest.mark.parametrize(
    ("plan", "words"),
    [(external_link, "is a link"), (virtual, "from another file"), (external_storage, "from another file")],
)
def test_weights_that_lie_in_another_file(tmp_path, plan, words):
    path = hdf5(tmp_path, change=plan(tmp_path))
    with h5py.File(path) as file:  # plain h5py hands the secret over
        assert file["model_weights/conv/bias"][:].tolist() == [0, 1, 2, 3]
    refused(path, words, "conv/bias")


def test_weights_in_another_file_within_an_archive(tmp_path):
    def change(file):
        weights_to(file)
        del file["layers/conv/vars/1"]
        file["layers/conv/vars/1"] = h5py.ExternalLink(tmp_path / "secret.h5", "/there")

    secret_of(tmp_path)
    refused(zipped(tmp_path, change=change), "is a link", "conv/vars/1")


def test_datasets_that_declare_more_than_there_is(tmp_path):
    huge = {"shape": (10**6, 10**6), "dtype": "float32", "chunks": (1000, 1000)}
    path = hdf5(tmp_path, change=lambda file: file.create_dataset("model_weights/bomb", **huge))
    assert path.stat().st_size < 20_000
    damage = outside("import h5py, sys; h5py.File(sys.argv[1])['model_weights/bomb'][:]", path)
    assert "MemoryError" in damage.stderr
    refused(path, "declares 4,000,000,000,000 bytes")


def test_datasets_that_swell(tmp_path):
    packed = {"data": np.zeros((4000, 4000), "float32"), "compression": "gzip"}
    path = hdf5(tmp_path, change=lambda file: file.create_dataset("model_weights/bomb", **packed))
    assert path.stat().st_size < 10**6 < 64 * 10**6
    refused(path, "is compressed", "h5repack")


def test_one_place_claimed_many_times(tmp_path):
    def change(file):
        for index in range(50):
            file[f"model_weights/again{index}"] = file["model_weights/conv/kernel"]

    refused(hdf5(tmp_path, change=change), "twice")


def test_groups_without_end(tmp_path):
    refused(hdf5(tmp_path, change=lambda file: file.__setitem__("model_weights/round", file["/"])), "twice")
    deep = "/".join(["g"] * 100)
    refused(hdf5(tmp_path, change=lambda file: file.create_group(deep)), "levels of groups")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.__setitem__("x", h5py.SoftLink("/model_weights")), "is a link"),
        (lambda file: file.__setitem__("x", np.dtype("f4")), "neither a group nor a dataset"),
        (
            lambda file: file.create_dataset("x", data=file["model_weights"].ref, dtype=h5py.ref_dtype),
            "no plain numbers",
        ),
        (lambda file: file.create_dataset("x", data=["text"], dtype=h5py.string_dtype()), "no plain numbers"),
        (lambda file: file.create_dataset("x", (2,), h5py.vlen_dtype("f4")), "no plain numbers"),
        (lambda file: file.attrs.create("x", file["model_weights"].ref, dtype=h5py.ref_dtype), "neither text nor"),
        (lambda file: file["model_weights"].attrs.create("x", ["y"] * 50_000, dtype=h5py.string_dtype()), "too large"),
    ],
)
def test_other_things_that_hdf5_can_hold(tmp_path, change, words):
    path = tmp_path / "model.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["model_config"] = json.dumps(small())
        file["model_weights/conv/kernel"] = np.ones(KERNEL, "float32")
        change(file)
    refused(path, words)


def test_weights_alone_and_other_files(tmp_path):
    path = tmp_path / "alone.h5"
    with h5py.File(path, "w") as file:
        weights_to(file)
    refused(path, "without the network", "model.save")
    (tmp_path / "x.keras").write_bytes(b"\x80\x04 a pickle")
    refused(tmp_path / "x.keras", "neither")
